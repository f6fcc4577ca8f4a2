"""Stages two and three on MiniDome, the paper's way and a cheaper one (chapter 10)."""

import csv
import json
import time
from pathlib import Path

import keras
import numpy as np

from posekit import cascade, evaluation, geometry, predict, records, training
from posekit.experiments import work

WIDTHS = {cascade.SHARED: 16, cascade.SEPARATE: 16}
STEPS, PEOPLE, SIZE = 3000, 8, 64
"""Steps of a stage, people a step, side of a sub-image in pixels."""


def stored_answers(answers: evaluation.Answers, people: list[records.PersonRecord]) -> tuple[np.ndarray, np.ndarray]:
    """A stage's joints and the true ones in pixels of the stored pictures, (N, 17, 2) each."""
    back = np.stack([geometry.invert(person.crop_to_image) for person in people])
    return geometry.apply_affine(back, answers.keypoints), np.stack([person.keypoints for person in people])


def train_stages(way: str, first: predict.Predictor, train: Path, held_out: Path, val: Path, out: Path) -> None:
    """Two refiners, one after the other, each on the errors that the stages before it make on people held out for that."""
    begin, stages, rows = time.monotonic(), cascade.Cascade(first, ()), []
    people, errors = list(records.read_records(held_out)), []
    for stage in (2, 3):
        answers = stages.answers(held_out)[-1]
        predicted, true = stored_answers(answers, people)
        found = cascade.Displacements.measured(predicted, true, answers.labelled & answers.inside)
        errors.append({"mean": found.mean.round(4).tolist(), "covariance": found.covariance.round(5).tolist()})
        keras.utils.set_random_seed(stage)
        model = cascade.refiner(way, SIZE, width=WIDTHS[way])
        batches = cascade.make_batches([train], found, SIZE, PEOPLE, seed=stage)
        losses = cascade.train_refiner(model, batches, STEPS)
        rows += [(stage, i + 1, loss) for i, loss in enumerate(losses)]
        print(f"{way}, stage {stage}: loss {losses[0]:.4f} -> {losses[-1]:.4f}", flush=True)
        stages = cascade.Cascade(first, (*stages.refiners, model))
    answers = stages.answers(val)
    found = [evaluation.jsonable(evaluation.scores(a)) for a in answers]
    distance = [_distances(a) for a in answers]
    record = {
        "way": way,
        "stages": found,
        "distance_by_joint": distance,
        "parameters": [model.count_params() for model in stages.refiners],
        "multiply_adds": [cascade.multiply_adds(model) for model in stages.refiners],
        "displacements": errors,
        "sigma": cascade.SIGMA,
        "steps": STEPS,
        "people_a_step": PEOPLE,
        "size": SIZE,
        "seconds": round(time.monotonic() - begin, 1),
        **training.provenance(),
    }
    out.mkdir(parents=True, exist_ok=True)
    for stage, model in enumerate(stages.refiners, 2):
        model.save(out / f"stage{stage}.keras")
    with (out / "log.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("stage", "part", "loss"), *rows])
    (out / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _distances(answers: evaluation.Answers) -> list[float]:
    """(17,) median distance to the truth in shares of the crop, over labelled joints inside it."""
    off = np.linalg.norm(answers.crop_keypoints - answers.crop_true, axis=-1)
    return [round(float(np.median(off[answers.inside[:, k], k])), 5) for k in range(off.shape[1])]


def refine(folder: Path) -> dict[str, Path]:
    """The packaged stage one and two refiners on top of it: shared by all joints, and a network for each joint."""
    train, held_out, val = (
        work.minidome_records(folder, frames, seed, box_px=448) for frames, seed in ((1500, 1), (200, 3), (150, 2))
    )
    first, runs = predict.load("minidome"), {}
    for way in WIDTHS:
        runs[way] = folder / way
        if not (runs[way] / "record.json").is_file():
            train_stages(way, first, train, held_out, val, runs[way])
    return runs
