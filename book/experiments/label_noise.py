"""LSP Extended's labels come from a crowd, and some have left and right swapped: a trained model finds them (model card)."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from posekit.datasets import PersonAnnotation
from posekit.inference import evaluation
from posekit.inference.evaluation import EvalResults
from posekit.inference.predictor import Predictor
from posekit.skeleton import COCO17

PARTS = {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}
"""What annotators swap: a pair of limbs, or both."""
AT_LEAST = 0.35
"""Mean distance between a limb's joints and their twins, in torsos: of limbs that lie on each other nobody can tell."""
CLEARLY = 3.0
"""So many times nearer must the answer be to the swapped labels."""
UPRIGHT = 0.5
"""So high must the shoulders stand above the hips, in torsos: of people upside down it is the model that mixes up the sides."""


def joints_of(part: str) -> list[int]:
    """Indices of a part's joints, left before right of each."""
    return [COCO17.index(f"{side}_{joint}") for joint in PARTS[part] for side in ("left", "right")]


def torso(a: EvalResults) -> np.ndarray:
    """(N,) both diagonals of the trunk where they are labelled, the longer one: a swap of arms must not change the unit much."""
    pairs = [("left_shoulder", "right_hip"), ("right_shoulder", "left_hip")]
    lengths = []
    for one, other in pairs:
        i, j = COCO17.index(one), COCO17.index(other)
        both = a.labelled[:, i] & a.labelled[:, j]
        lengths.append(np.where(both, np.linalg.norm(a.target[:, i] - a.target[:, j], axis=-1), 0))
    return np.max(lengths, axis=0)


def upright(a: EvalResults) -> np.ndarray:
    """(N,) bool: whose labelled shoulders stand above the labelled hips; an exchange of sides changes nothing here."""
    shoulders, hips = (
        [COCO17.index(f"{side}_{joint}") for side in ("left", "right")]
        for joint in ("shoulder", "hip")
    )
    above = a.target[:, hips, 1].mean(axis=1) - a.target[:, shoulders, 1].mean(axis=1)
    return a.labelled[:, shoulders + hips].all(axis=1) & (above > UPRIGHT * torso(a))


def swapped(a: EvalResults) -> dict[str, np.ndarray]:
    """Where the model's answer lies clearly nearer to the labels with left and right exchanged.

    Args:
        a: answers to the people in question, best with the flip test.

    Returns:
        part -> (N,) bool; only upright people all of whose joints of the part are labelled and inside the crop are judged.
    """
    unit, found, twins = torso(a), {}, list(COCO17.flip_indices)
    stands = upright(a)
    for part in PARTS:
        joints = joints_of(part)
        judged = (a.labelled & a.in_crop)[:, joints].all(axis=1) & stands

        def mean_distance(
            labels: np.ndarray, answers: np.ndarray, joints: list[int] = joints
        ) -> np.ndarray:
            return np.linalg.norm(answers[:, joints] - labels[:, joints], axis=-1).mean(axis=1)

        as_labelled, exchanged = (
            mean_distance(labels, a.keypoints) for labels in (a.target, a.target[:, twins])
        )
        apart = mean_distance(a.target, a.target[:, twins])
        found[part] = judged & (apart > AT_LEAST * unit) & (as_labelled > CLEARLY * exchanged)
    return found


def find(model: Predictor, records: Path, out: Path) -> None:
    """Judge a record folder and write a table of the swaps, `person_id,part`.

    Args:
        model: trained on these labels, as they are: the right ones are far more, and outvote the others.
        records: with the box of the joints.
        out: the csv.
    """
    answers = evaluation.predict_records(model, records)
    found = swapped(answers)
    rows = [(p, part) for part, who in found.items() for p in answers.person_id[who].tolist()]
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("person_id", "part"), *sorted(rows)])


def read(table: Path) -> dict[str, list[str]]:
    """person_id -> the parts that are swapped."""
    found = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["person_id"], []).append(row["part"])
    return found


def count(table: Path) -> dict[str, int]:
    """People with swapped `arms`, `legs`, and `both`."""
    parts = list(read(table).values())
    return {
        **{part: sum(part in p for p in parts) for part in PARTS},
        "both": sum(len(p) == 2 for p in parts),
    }


def mended(people: Iterable[PersonAnnotation], table: Path) -> Iterator[PersonAnnotation]:
    """The same people, with left and right exchanged where the table says so."""
    parts = read(table)
    for person in people:
        order = np.arange(len(COCO17))
        for part in parts.get(person.person_id, ()):
            joints = joints_of(part)
            order[joints] = np.array(COCO17.flip_indices)[joints]
        labels = {
            k: getattr(person, k)[order] for k in ("keypoints", "keypoints_visible", "joint_known")
        }
        yield replace(person, **labels)
