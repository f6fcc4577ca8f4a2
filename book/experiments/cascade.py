"""Stages two and three of the cascade on MiniDome, shared by all joints and one per joint (chapter
13)."""

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
from posekit.training.refiner import train_refiner

SIZE = 64
"""Side of a refiner's sub-image in pixels."""
WIDTH = 16
"""Channels of a refiner's first stage."""
UNITS = (1, 1, 1)
"""Residual units of a refiner's stages."""
STEPS = {2: 800, 3: 400}
"""Training steps of each stage. Stage three starts from the weights of stage two."""
PEOPLE = 16
"""People per step."""
SEEDS = (0, 1, 2)
"""Of the initial weights, the batches and the simulated errors of the refiners. Stage one is the
same for all. The refiners of the first are those of the package."""
RUNS = {
    f"{way}{suffix}": (way, fitted)
    for suffix, fitted in (("_full", False), ("", True))
    for way in (cascade.SHARED, cascade.SEPARATE)
}
"""Name -> whether the joints share a refiner, and whether its step size is fitted or 1 as in the
paper."""
TIGHT = 0.1
"""A second PCK threshold besides 0.2, in torso lengths: the stages are for precision."""


def stage_scores(results: evaluation.EvalResults) -> dict:
    """Score a stage as `evaluation.scores` does, and its precision.

    Args:
        results: predictions of the stage.

    Returns:
        The scores, and `pck@0.1`; `by_joint` {"0.1", "0.2"}: (17,) PCK; `distance`: mean distance
        to the target in torso lengths, `distance_by_joint`: (17,) medians; `out_of_sight`: share of
        labelled joints outside the next stage's sub-image, `out_of_sight_by_joint`: (17,).
    """
    r = results
    tight = metrics.pck(r.keypoints, r.target, r.labelled, TIGHT)
    wide = metrics.pck(r.keypoints, r.target, r.labelled)
    torso = metrics.torso_length(r.target, r.labelled)
    distance = np.linalg.norm(r.keypoints - r.target, axis=-1) / torso[:, None]
    counted = r.labelled & r.in_crop & np.isfinite(distance)
    reach = cascade.SIGMA / 2 * cascade.torso_diameter(r.keypoints)[:, None]
    missed = np.abs(r.keypoints - r.target).max(axis=-1) > reach
    joints = range(cascade.K)
    medians = [float(np.median(distance[counted[:, k], k])) for k in joints]
    missed_by_joint = [float(missed[counted[:, k], k].mean()) for k in joints]
    return {
        **evaluation.scores(r),
        f"pck@{TIGHT}": tight["value"],
        "by_joint": {
            str(TIGHT): tight["per_joint"].round(4).tolist(),
            "0.2": wide["per_joint"].round(4).tolist(),
        },
        "distance": round(float(distance[counted].mean()), 5),
        "distance_by_joint": [round(v, 5) for v in medians],
        "out_of_sight": round(float(missed[counted].mean()), 5),
        "out_of_sight_by_joint": [round(v, 5) for v in missed_by_joint],
    }


def pck_gain(before: evaluation.EvalResults, after: evaluation.EvalResults) -> dict:
    """Compare two stages on the same people by a paired bootstrap of PCK@0.1 and PCK@0.2."""
    gains = {}
    for threshold in (TIGHT, 0.2):
        a, counted = metrics.pck_hits(after.keypoints, after.target, after.labelled, threshold)
        b, _ = metrics.pck_hits(before.keypoints, before.target, before.labelled, threshold)
        paired = metrics.paired_bootstrap(a, b, counted)
        gains[f"pck@{threshold}"] = {key: round(value, 5) for key, value in paired.items()}
    return gains


def _train_stage(
    way: str,
    stage: int,
    seed: int,
    errors: cascade.Displacements,
    start: list,
    train: Path,
    out: Path,
) -> keras.Model:
    """Train a refiner, or load the one of an earlier call; its losses are in a table next to it."""
    seed = 10 * seed + stage
    keras.utils.set_random_seed(seed)
    model = cascade.refiner(way, SIZE, base_channels=WIDTH, units=UNITS)
    weights = out / f"stage{stage}.weights.h5"
    if weights.is_file():
        model.load_weights(weights)
        return model
    if start:
        model.set_weights(start)
    batches = cascade.make_batches([train], errors, SIZE, PEOPLE, seed=seed)
    losses = train_refiner(model, batches, STEPS[stage])
    print(f"{out.name}, stage {stage}: loss {losses[0]:.4f} -> {losses[-1]:.4f}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        (stage, round((i + 1) * STEPS[stage] / len(losses)), loss) for i, loss in enumerate(losses)
    ]
    with (out / f"stage{stage}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("stage", "step", "loss"), *rows])
    model.save_weights(weights)
    return model


def train_stages(
    name: str,
    seed: int,
    first: predictor.Predictor,
    train: Path,
    held_out: Path,
    val: Path,
    folder: Path,
) -> dict:
    """Train two refiners, each on the errors of the stages before it on held-out people.

    Stage two is the same with a fitted step size and without, and trained once.

    Args:
        name: of the run, a key of `RUNS`.
        seed: one of `SEEDS`.
        first: stage one.
        train: records to train on.
        held_out: records on which the errors of each stage are measured.
        val: records to score on.
        folder: for the runs. This one is in the subfolder `NAME-SEED`, and the stage two that it
            shares with another in `WAY-SEED`.

    Returns:
        Scores of each stage, gains, step sizes, measured errors and costs, for record.json.
    """
    begin = time.monotonic()
    way, fitted = RUNS[name]
    stages = cascade.Cascade(first, ())
    people = list(records.read_records(held_out))
    pictures = [decode_image(p.encoded, p.person_id) for p in people]
    results = stages.predict_records(held_out)[0]
    predicted, target = cascade.stored_poses(results, people)
    counted = results.labelled & results.in_crop
    errors = []
    start = []
    for stage in STEPS:
        measured = cascade.Displacements.fit(predicted, target, counted)
        errors.append(
            {
                "mean": measured.mean.round(5).tolist(),
                "covariance": measured.covariance.round(6).tolist(),
                "log_scale": [round(v, 5) for v in measured.log_scale],
            }
        )
        out = folder / f"{way if stage == 2 else name}-{seed}"
        model = _train_stage(way, stage, seed, measured, start, train, out)
        start = model.get_weights()
        full = cascade.Cascade(first, (*stages.refiners, model))
        parts = [slice(i, i + 32) for i in range(0, len(people), 32)]
        after = np.concatenate(
            [full.refine(stage, pictures[part], predicted[part]) for part in parts]
        )
        step_size = np.ones(cascade.K)
        if fitted:
            step_size = cascade.fit_step_size(predicted, after, target, counted)
        predicted = predicted + step_size[:, None] * (after - predicted)
        stages = cascade.Cascade(first, full.refiners, (*stages.step_sizes, step_size))
    out = folder / f"{name}-{seed}"
    out.mkdir(parents=True, exist_ok=True)
    if way == cascade.SHARED:
        for stage, (model, step_size) in enumerate(
            zip(stages.refiners, stages.step_sizes, strict=True), 2
        ):
            path = out / f"stage{stage}.npz"
            cascade.save(model, step_size, path, size=SIZE, base_channels=WIDTH, units=UNITS)
    _join_tables(
        [folder / f"{way if s == 2 else name}-{seed}" / f"stage{s}.csv" for s in STEPS], out
    )
    by_stage = stages.predict_records(val)
    return {
        "stages": [evaluation.jsonable(stage_scores(r)) for r in by_stage],
        "gains": [pck_gain(before, after) for before, after in itertools.pairwise(by_stage)],
        "step_size": [step_size.round(3).tolist() for step_size in stages.step_sizes],
        "displacements": errors,
        "parameters": [model.count_params() for model in stages.refiners],
        "multiply_adds": [cascade.multiply_adds(model) for model in stages.refiners],
        "seconds": round(time.monotonic() - begin, 1),
    }


def _join_tables(tables: list[Path], out: Path) -> None:
    """Write the rows of all tables under one header to `out`/log.csv."""
    lines = []
    for table in tables:
        header, *rows = table.read_text(encoding="utf-8").splitlines()
        lines += rows if lines else [header, *rows]
    (out / "log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _milliseconds(*jobs: Callable, repeats: int = 15) -> list[float]:
    """Median time of each job; they take turns, so that a busy moment affects all of them."""
    times = []
    for _ in range(repeats + 2):
        times.append([])
        for job in jobs:
            begin = time.perf_counter()
            job()
            times[-1].append(1e3 * (time.perf_counter() - begin))
    return np.median(times[2:], axis=0).tolist()


def cost(first: predictor.Predictor, val: Path) -> dict:
    """Measure what a stage costs compared with stage one.

    Args:
        first: stage one; measured without the flip test and without cutting its crop.
        val: records to take 16 people from.

    Returns:
        `multiply_adds` per person of `stage one`, `shared` and `separate`; `milliseconds` per
        person, for 1 and 16 people at once, of the same and of `cutting`, the part of a stage that
        cuts sub-images.
    """
    people = list(itertools.islice(records.read_records(val), 16))
    images = [decode_image(p.encoded, p.person_id) for p in people]
    poses = np.stack([p.keypoints for p in people])
    refiners = {
        way: cascade.refiner(way, SIZE, base_channels=WIDTH, units=UNITS)
        for way in (cascade.SHARED, cascade.SEPARATE)
    }
    stages = {way: cascade.Cascade(first, (model,)) for way, model in refiners.items()}

    def measured(n: int) -> dict[str, float]:
        crops = np.zeros((n, first.input_size, first.input_size, 3), np.float32)
        pairs = list(zip(images[:n], poses[:n], strict=True))
        jobs = {"stage one": lambda: first.predict_crops(crops)}
        for way, stage in stages.items():
            jobs[way] = functools.partial(stage.refine, 2, images[:n], poses[:n])
        jobs["cutting"] = lambda: [
            cascade.crop_sub_images(image, pose, SIZE) for image, pose in pairs
        ]
        times = _milliseconds(*jobs.values())
        return {name: round(t / n, 3) for name, t in zip(jobs, times, strict=True)}

    counted = {"stage one": sum(models.multiply_adds(first.model).values())}
    counted |= {way: cascade.multiply_adds(model) for way, model in refiners.items()}
    return {"multiply_adds": counted, "milliseconds": {str(n): measured(n) for n in (1, 16)}}


def train_cascades(folder: Path) -> dict[str, Path]:
    """Train two refiners on the packaged stage one, shared by all joints and one per joint, from
    each of `SEEDS`."""
    train, held_out, val = (
        common.minidome_records(folder, frames, seed, box_px=448)
        for frames, seed in ((1500, 1), (200, 3), (150, 2))
    )
    first = predictor.load("minidome")
    keys = ("dataset", "split", "people", "box", "digest")
    data = {p.name: {k: records.read_manifest(p)[k] for k in keys} for p in (train, held_out, val)}
    # For the scores of the mean pose; the other scores of stage one come with the stages.
    baseline = evaluation.evaluate(first, val)
    about = {key: baseline[key] for key in ("n", "flip", "box", "jitter", "mean_pose")}
    recipe = {
        key: first.record["recipe"][key] for key in ("backbone", "base_channels", "input_size")
    }
    recipe["refiners"] = {
        "sigma": cascade.SIGMA,
        "size": SIZE,
        "width": WIDTH,
        "units": UNITS,
        "steps": STEPS,
    }
    runs = {}
    for seed, name in itertools.product(SEEDS, RUNS):
        way, fitted = RUNS[name]
        out = runs[f"{name}-{seed}"] = folder / f"{name}-{seed}"
        if (out / "record.json").is_file():
            continue
        trained = train_stages(name, seed, first, train, held_out, val, folder)
        record = {
            "way": way,
            "fitted": fitted,
            "seed": seed,
            "recipe": recipe,
            "data": data,
            "images": sum(STEPS.values()) * PEOPLE,
            "people_a_step": PEOPLE,
            **trained,
            "val": evaluation.jsonable({**about, **trained["stages"][-1]}),
            **training.provenance(),
        }
        if name == cascade.SHARED and seed == SEEDS[0]:
            record["cost"] = cost(first, val)
        text = json.dumps(record, indent=1) + "\n"
        (out / "record.json").write_text(text, encoding="utf-8")
    return runs
