"""Labels of LSP Extended with left and right exchanged, as found by a trained model (model
card)."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from posekit.body_size import longest_torso_diagonal
from posekit.datasets import PersonAnnotation
from posekit.inference import evaluation
from posekit.inference.evaluation import EvalResults
from posekit.inference.predictor import Predictor
from posekit.skeleton import COCO17

PARTS = {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}
"""Pairs of limbs that annotators exchange; sometimes both."""
MIN_SEPARATION = 0.35
"""Least mean distance between the joints of a left and a right limb, in torso lengths: limbs that
overlap are not judged."""
MIN_RATIO = 3.0
"""A label is suspected if the prediction is this many times nearer to the exchanged label."""
MIN_UPRIGHT = 0.5
"""Least height of the shoulders above the hips, in torso lengths: with people upside down it is the
model that exchanges the sides."""


def joints_of(part: str) -> list[int]:
    """Return the joint indices of a part, left before right of each kind."""
    return [COCO17.index(f"{side}_{joint}") for joint in PARTS[part] for side in ("left", "right")]


def is_upright(results: EvalResults) -> np.ndarray:
    """Return whether the labelled shoulders are above the labelled hips, whatever their sides.

    Returns:
        (N,) bool; false if one of the four joints is not labelled.
    """
    shoulders = [COCO17.index(f"{side}_shoulder") for side in ("left", "right")]
    hips = [COCO17.index(f"{side}_hip") for side in ("left", "right")]
    hip_y = results.target[:, hips, 1].mean(axis=1)
    shoulder_y = results.target[:, shoulders, 1].mean(axis=1)
    labelled = results.labelled[:, shoulders + hips].all(axis=1)
    torso = longest_torso_diagonal(results.target, results.labelled)
    return labelled & (hip_y - shoulder_y > MIN_UPRIGHT * torso)


def swapped(results: EvalResults) -> dict[str, np.ndarray]:
    """Find limbs whose prediction is clearly nearer to the labels with left and right exchanged.

    Args:
        results: predictions, best with the flip test.

    Returns:
        Part -> (N,) bool. Only upright people with all joints of the part labelled and inside the
        crop are judged.
    """
    torso = longest_torso_diagonal(results.target, results.labelled)
    upright = is_upright(results)
    exchanged = results.target[:, list(COCO17.flip_indices)]
    found = {}
    for part in PARTS:
        joints = joints_of(part)

        def distance(a: np.ndarray, b: np.ndarray, joints: list[int] = joints) -> np.ndarray:
            return np.linalg.norm(a[:, joints] - b[:, joints], axis=-1).mean(axis=1)

        judged = (results.labelled & results.in_crop)[:, joints].all(axis=1) & upright
        separate = distance(results.target, exchanged) > MIN_SEPARATION * torso
        to_labels = distance(results.keypoints, results.target)
        to_exchanged = distance(results.keypoints, exchanged)
        found[part] = judged & separate & (to_labels > MIN_RATIO * to_exchanged)
    return found


def find(model: Predictor, records: Path, out: Path) -> None:
    """Write a table of the suspected swaps in a record folder, `person_id,part`.

    Args:
        model: trained on these labels as they are; most are right, and outvote the others.
        records: a record folder, with the joints' box.
        out: the CSV file.
    """
    results = evaluation.predict_records(model, records)
    rows = [
        (person, part)
        for part, mask in swapped(results).items()
        for person in results.person_id[mask].tolist()
    ]
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("person_id", "part"), *sorted(rows)])


def read(table: Path) -> dict[str, list[str]]:
    """Read a table of `find`: person_id -> exchanged parts."""
    found = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["person_id"], []).append(row["part"])
    return found


def count(table: Path) -> dict[str, int]:
    """Count people with exchanged `arms`, `legs`, and `both`."""
    parts = list(read(table).values())
    counts = {part: sum(part in p for p in parts) for part in PARTS}
    counts["both"] = sum(len(p) == 2 for p in parts)
    return counts


def corrected(people: Iterable[PersonAnnotation], table: Path) -> Iterator[PersonAnnotation]:
    """Yield the same people, with left and right exchanged where the table says so."""
    parts = read(table)
    for person in people:
        order = np.arange(len(COCO17))
        for part in parts.get(person.person_id, ()):
            joints = joints_of(part)
            order[joints] = np.array(COCO17.flip_indices)[joints]
        labels = {
            name: getattr(person, name)[order]
            for name in ("keypoints", "keypoints_visible", "joint_known")
        }
        yield replace(person, **labels)
