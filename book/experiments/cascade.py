"""Stages two and three on MiniDome, the paper's way and a cheaper one (chapter 10)."""

import csv
import functools
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from experiments import common
from posekit import metrics, models, records, training
from posekit.images import decode_image
from posekit.inference import cascade, evaluation, predictor

SIZE, WIDTH, UNITS = 64, 16, (1, 1, 1)
"""The refiners: side of a sub-image in pixels, channels, residual units."""
STEPS, PEOPLE = {2: 800, 3: 400}, 16
"""Steps of each stage, people a step. Stage three begins with the weights of stage two, and needs half as long."""
RUNS = {
    f"{way}{name}": (way, fitted)
    for name, fitted in (("_full", False), ("", True))
    for way in (cascade.SHARED, cascade.SEPARATE)
}
"""Name -> the way, and whether it is fitted how far a refiner is believed, or it is believed in full, as in the paper."""
TIGHT = 0.1
"""Of PCK, in torsos, beside 0.2: precision is what the stages are for."""


def stage_scores(answers: evaluation.EvalResults) -> dict:
    """What `evaluation.scores` gives, and what shows precision.

    Returns:
        also `pck@0.1`; `by_joint` {"0.1", "0.2"}: (17,) PCK; `distance`: mean distance to the truth in torsos, and `distance_by_joint`, (17,)
        medians; `out_of_sight`: the share of labelled joints that the next stage's sub-image does not show, and `out_of_sight_by_joint`.
    """
    a, tight = answers, metrics.pck(answers.keypoints, answers.target, answers.labelled, TIGHT)
    wide = metrics.pck(a.keypoints, a.target, a.labelled)
    counted = a.labelled & a.in_crop
    off = (
        np.linalg.norm(a.keypoints - a.target, axis=-1)
        / metrics.torso_length(a.target, a.labelled)[:, None]
    )
    counted &= np.isfinite(off)
    reach = cascade.SIGMA / 2 * cascade.diameter(a.keypoints)[:, None]
    missed = np.abs(a.keypoints - a.target).max(axis=-1) > reach
    return {
        **evaluation.scores(a),
        f"pck@{TIGHT}": tight["value"],
        "by_joint": {
            str(TIGHT): tight["per_joint"].round(4).tolist(),
            "0.2": wide["per_joint"].round(4).tolist(),
        },
        "distance": round(float(off[counted].mean()), 5),
        "distance_by_joint": [
            round(float(np.median(off[counted[:, k], k])), 5) for k in range(cascade.K)
        ],
        "out_of_sight": round(float(missed[counted].mean()), 5),
        "out_of_sight_by_joint": [
            round(float(missed[counted[:, k], k].mean()), 5) for k in range(cascade.K)
        ],
    }


def gain(before: evaluation.EvalResults, after: evaluation.EvalResults) -> dict:
    """What a stage adds to PCK, with its interval: the difference on the same people, resampled."""
    found = {}
    for threshold in (TIGHT, 0.2):
        a, counted = metrics.pck_hits(after.keypoints, after.target, after.labelled, threshold)
        b, _ = metrics.pck_hits(before.keypoints, before.target, before.labelled, threshold)
        pair = metrics.paired_bootstrap(a, b, counted)
        found[f"pck@{threshold}"] = {key: round(value, 5) for key, value in pair.items()}
    return found


def _stage(
    way: str, stage: int, errors: cascade.Displacements, start: list, train: Path, out: Path
) -> keras.Model:
    """A trained refiner, of this call or of one before; its losses stand in a table beside it."""
    keras.utils.set_random_seed(stage)
    model, kept = (
        cascade.refiner(way, SIZE, base_channels=WIDTH, units=UNITS),
        out / f"stage{stage}.weights.h5",
    )
    if kept.is_file():
        model.load_weights(kept)
        return model
    if start:
        model.set_weights(start)
    losses = cascade.train_refiner(
        model, cascade.make_batches([train], errors, SIZE, PEOPLE, seed=stage), STEPS[stage]
    )
    print(f"{out.name}, stage {stage}: loss {losses[0]:.4f} -> {losses[-1]:.4f}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        (stage, round((i + 1) * STEPS[stage] / len(losses)), loss) for i, loss in enumerate(losses)
    ]
    with (out / f"stage{stage}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("stage", "step", "loss"), *rows])
    model.save_weights(kept)
    return model


def train_stages(
    name: str, first: predictor.Predictor, train: Path, held_out: Path, val: Path, folder: Path
) -> dict:
    """Two refiners, one after the other, each on the errors that the stages before it make on people held out for that.

    Stage two is the same whether it will be believed in full or not, and trained once."""
    begin, (way, fitted), stages, errors = (
        time.monotonic(),
        RUNS[name],
        cascade.Cascade(first, ()),
        [],
    )
    people, start = list(records.read_records(held_out)), []
    answers = stages.answers(held_out)[0]
    predicted, true = cascade.stored_poses(answers, people)
    counted, pictures = (
        answers.labelled & answers.in_crop,
        [decode_image(p.encoded, p.person_id) for p in people],
    )
    for stage in STEPS:
        found = cascade.Displacements.measured(predicted, true, counted)
        facts = {
            "mean": found.mean.round(5).tolist(),
            "covariance": found.covariance.round(6).tolist(),
        }
        errors.append({**facts, "zoom": [round(z, 5) for z in found.zoom]})
        model = _stage(way, stage, found, start, train, folder / (way if stage == 2 else name))
        start, full = model.get_weights(), cascade.Cascade(first, (*stages.refiners, model))
        parts = [slice(i, i + 32) for i in range(0, len(people), 32)]
        after = np.concatenate(
            [full.refine(stage, pictures[part], predicted[part]) for part in parts]
        )
        belief = (
            cascade.fit_step_size(predicted, after, true, counted) if fitted else np.ones(cascade.K)
        )
        predicted = predicted + belief[:, None] * (after - predicted)
        stages = cascade.Cascade(first, full.refiners, (*stages.belief, belief))
    out = folder / name
    out.mkdir(parents=True, exist_ok=True)
    for stage, (model, belief) in enumerate(zip(stages.refiners, stages.belief, strict=True), 2):
        if way == cascade.SHARED:
            cascade.save(
                model,
                belief,
                out / f"stage{stage}.npz",
                size=SIZE,
                base_channels=WIDTH,
                units=UNITS,
            )
    answers = stages.answers(val)
    tables = [
        (folder / (way if s == 2 else name) / f"stage{s}.csv").read_text(encoding="utf-8")
        for s in STEPS
    ]
    lines = [
        tables[0].splitlines()[0],
        *(line for table in tables for line in table.splitlines()[1:]),
    ]
    (out / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "stages": [evaluation.jsonable(stage_scores(a)) for a in answers],
        "gains": [gain(before, after) for before, after in itertools.pairwise(answers)],
        "belief": [belief.round(3).tolist() for belief in stages.belief],
        "displacements": errors,
        "parameters": [model.count_params() for model in stages.refiners],
        "multiply_adds": [cascade.multiply_adds(model) for model in stages.refiners],
        "seconds": round(time.monotonic() - begin, 1),
    }


def _milliseconds(*jobs: Callable, repeats: int = 15) -> list[float]:
    """Median time of each job; they take turns, so that a busy moment hits all of them."""
    times = []
    for _ in range(repeats + 2):
        times.append([])
        for job in jobs:
            begin = time.perf_counter()
            job()
            times[-1].append(1e3 * (time.perf_counter() - begin))
    return np.median(times[2:], axis=0).tolist()


def cost(first: predictor.Predictor, val: Path) -> dict:
    """What a stage costs beside stage one, in one run: multiply-adds, and milliseconds a person, one at a time and sixteen at once.

    Returns:
        `multiply_adds` {"stage one", way}: a person; `milliseconds` {people at once: {"stage one", way: a whole stage, "cutting": its part that
        cuts sub-images}}. Stage one without the flip test and without its own cutting.
    """
    people = [person for person, _ in zip(records.read_records(val), range(16))]
    images, poses = (
        [decode_image(p.encoded, p.person_id) for p in people],
        np.stack([p.keypoints for p in people]),
    )
    refiners = {
        way: cascade.refiner(way, SIZE, base_channels=WIDTH, units=UNITS)
        for way, _ in RUNS.values()
    }
    stages = {way: cascade.Cascade(first, (model,)) for way, model in refiners.items()}

    def measured(n: int) -> dict[str, float]:
        crops, some = (
            np.zeros((n, first.input_size, first.input_size, 3), np.float32),
            (images[:n], poses[:n]),
        )
        jobs = {
            "stage one": lambda: first.predict_crops(crops),
            **{way: functools.partial(stage.refine, 2, *some) for way, stage in stages.items()},
            "cutting": lambda: [
                cascade.look(image, pose, SIZE) for image, pose in zip(*some, strict=True)
            ],
        }
        return {
            k: round(t / n, 3) for k, t in zip(jobs, _milliseconds(*jobs.values()), strict=True)
        }

    counted = {"stage one": sum(models.multiply_adds(first.model).values())}
    counted |= {way: cascade.multiply_adds(model) for way, model in refiners.items()}
    return {"multiply_adds": counted, "milliseconds": {str(n): measured(n) for n in (1, 16)}}


def train_cascades(folder: Path) -> dict[str, Path]:
    """The packaged stage one and two refiners on top of it: shared by all joints, and a network for each joint."""
    train, held_out, val = (
        common.minidome_records(folder, frames, seed, box_px=448)
        for frames, seed in ((1500, 1), (200, 3), (150, 2))
    )
    first, runs = predictor.load("minidome"), {}
    names = ("dataset", "split", "people", "box", "digest")
    data = {p.name: {k: records.read_manifest(p)[k] for k in names} for p in (train, held_out, val)}
    blind = evaluation.evaluate(
        first, val
    )  # for the mean pose; the rest are stage one's own scores
    about = {key: blind[key] for key in ("n", "flip", "box", "jitter", "mean_pose")}
    for name, (way, fitted) in RUNS.items():
        runs[name] = folder / name
        if (runs[name] / "record.json").is_file():
            continue
        found = train_stages(name, first, train, held_out, val, folder)
        record = {
            "way": way,
            "fitted": fitted,
            "recipe": {
                **{
                    key: first.record["recipe"][key]
                    for key in ("backbone", "base_channels", "input_size")
                },
                "refiners": {
                    "sigma": cascade.SIGMA,
                    "size": SIZE,
                    "width": WIDTH,
                    "units": UNITS,
                    "steps": STEPS,
                },
            },
            "data": data,
            "images": sum(STEPS.values()) * PEOPLE,
            "people_a_step": PEOPLE,
            **found,
            "val": evaluation.jsonable({**about, **found["stages"][-1]}),
            **training.provenance(),
        }
        if name == cascade.SHARED:
            record["cost"] = cost(first, val)
        (runs[name] / "record.json").write_text(
            json.dumps(record, indent=1) + "\n", encoding="utf-8"
        )
    return runs
