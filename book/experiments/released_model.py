"""The released model, `posekit.load("stage1")`: the long training, made into a run with its model
card's figures."""

import csv
import json
import os
from dataclasses import asdict
from pathlib import Path

from experiments import common, long_run, released_data, scorecard
from posekit import records, training
from posekit.files import atomic_write
from posekit.inference import evaluation, predictor
from posekit.training import weights_file

SHORT = {
    "input_size": 160,
    "frozen_stages": 3,
    "learning_rate": 1e-3,
    "decay": 0.3,
    "minutes": 30,
}
"""Settings of a run of half an hour, added to `long_run.COMMON`."""
TERMS = (
    "Research and teaching only: trained on LSP Extended and on webcam photos that mostly state no "
    "licence, on LSP and on COCO photos; see the model card."
)


def stage1(folder: Path) -> dict[str, Path]:
    """Train the phases that are not done, and finish the model.

    An interrupted call is continued by the next one with the same folder.

    Args:
        folder: for the records and the runs, see `long_run`.
    """
    long_run.train(folder)
    return {"stage1": finish(folder)}


def licensed_only(folder: Path) -> dict[str, Path]:
    """Train for half an hour on photos under open licences only, and score as the card does."""
    val = released_data.validation_records(folder / "records")
    mix = released_data.training_records(folder / "records", licensed_only=True)
    recipe = {**long_run.COMMON, **SHORT}
    run = common.train(
        folder, "licensed-only", mix, val["lsp"], start_from=training.IMAGENET, **recipe
    )
    model = predictor.load(run)
    common.note(run, card={"joints": scorecard.joints_table(model, val)[0]})
    return {"licensed-only": run}


def finish(folder: Path) -> Path:
    """Make the newest averaged weights a run that can be evaluated, exported and trained further.

    Args:
        folder: of `long_run.train`.

    Returns:
        The run, `folder`/stage1, with calibration, threshold and the figures of the card.
    """
    val = released_data.validation_records(folder / "records")
    run = folder / "stage1"
    _write_run(folder, run, val["lsp"])
    model = predictor.load(run)
    results = [
        evaluation.predict_records(model, val[kind], flip=False)
        for kind in scorecard.CALIBRATION_KINDS
    ]
    common.note(run, calibration=scorecard.calibrate(results), terms=TERMS)
    common.rescore(
        run, {"val": val["lsp"], "val_joints_box": val["lsp_joints_box"], "val_coco": val["coco"]}
    )
    model = predictor.load(run)
    common.note(run, card=scorecard.card(model, val, Path(os.environ["POSEKIT_DATA"])))
    return run


def _write_run(folder: Path, run: Path, val: Path) -> None:
    """Write model.keras, weights.npz, log.csv and the record without scores."""
    phase, file = long_run.newest_weights(folder)
    network = long_run.load_averaged(phase, file)
    recipe = long_run.make_recipe(phase)
    final = long_run.make_predictor(phase, network).model
    mix = long_run.phase_records(folder, phase)
    mean_pose, mean_visibility = training.mean_targets(mix)
    long_run.note_cpu_seconds(folder)
    seen = long_run.images_seen(folder)
    log = _joined_logs(folder)
    record = {
        "command": "make released-model",
        "recipe": {**asdict(recipe), "start_from": training.IMAGENET},
        "phases": {
            name: {**long_run.PHASES[name], "images": images} for name, images in seen.items()
        },
        "released_size": final.input_shape[1],
        "data": _data(mix, val),
        **training.provenance(),
        "parameters": final.count_params(),
        "cpu_seconds": round(long_run.cpu_seconds(folder)),
        "seconds": round(long_run.seconds(folder)),
        "images": sum(seen.values()),
        "mean_pose": mean_pose.round(5).tolist(),
        "mean_visibility": mean_visibility.round(5).tolist(),
    }
    run.mkdir(exist_ok=True)
    final.save(run / "model.keras")
    atomic_write(run / "record.json", (json.dumps(record, indent=1) + "\n").encode())
    training.pack(run)
    released = {**asdict(recipe), "input_size": final.input_shape[1]}
    weights_file.save(
        run / predictor.WEIGHTS_FILE,
        network,
        network.get_weights(),
        recipe=released,
        images=seen,
        cpu_seconds=record["cpu_seconds"],
        seconds=record["seconds"],
    )
    with (run / "log.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, lineterminator="\n").writerows(log)


def _data(mix: list[Path], val: Path) -> dict[str, dict]:
    """Return the record folders: data set, people, box, digest and fraction of the mix; the last is
    for validation."""
    manifests = {path: records.read_manifest(path) for path in dict.fromkeys(mix)}
    shares = released_data.shares(mix, {path: m["people"] for path, m in manifests.items()})
    keys = ("dataset", "split", "people", "box", "digest")
    manifests[val] = records.read_manifest(val)
    return {
        path.name: {
            **{key: manifest[key] for key in keys},
            "share": shares.get(path.name, 0.0),
        }
        for path, manifest in manifests.items()
    }


def _joined_logs(folder: Path) -> list[list[str]]:
    """Join the logs of the phases, with the number of the phase as first column."""
    rows = []
    for number, phase in enumerate(long_run.PHASES, start=1):
        header, *lines = long_run.read_log(folder, phase) or [[]]
        if header and not rows:
            rows.append(["phase", *header])
        rows += [[number, *line] for line in lines]
    return rows
