"""The long training of the released model, in phases over several days, and its progress.

    head ─► small ─► upper ─► whole      each trains more layers, or on larger images
    last                                 the learning rate goes down to 0

A phase is a run of `training.train`: if killed, it is resumed from its checkpoint; a file `finish`
in its hidden folder ends it after the current epoch. The next phase starts from its averaged
weights, without its optimizer state. All phases but the last keep the learning rate at its peak, so
that it does not matter when they end; the last takes it down to 0.

    python book/experiments/long_run.py train FOLDER      train the phases that are not done
    python book/experiments/long_run.py watch FOLDER      evaluate the newest checkpoint repeatedly
    python book/experiments/long_run.py evaluate FOLDER   evaluate it once
    python book/experiments/long_run.py export FOLDER     write weights_f16.npz and weights_f16.json
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments import released_data, scorecard
from posekit import metrics, records, training
from posekit.errors import DataError
from posekit.files import atomic_write
from posekit.inference import evaluation, predictor
from posekit.inputs import Augmentation
from posekit.training import weights_file

AUGMENT = Augmentation(
    rotation=30,
    scale=0.4,
    shift=0.1,
    colour=0.3,
    half_body=0.15,
    erase=0.1,
    camera=0.25,
    far=0.2,
)
"""Crops as a tracker and a cheap camera give them: too large, too small, half a body, a small
person, dim, blurred."""
COMMON = {
    "backbone": "efficientnet_lite0",
    "head": "pyramid_votes",
    "input_downsample": 1,
    "loss": "laplace",
    "num_joints": 19,
    "visibility_weight": 0.2,
    "augment": AUGMENT,
    "ema_momentum": 0.999,
    "dtype": "float32",
    "decay": 0.0,
    "epoch_people": 12_800,
}
"""Settings of all phases; an epoch is 400 steps, three to six minutes on two cores."""
PHASES = {
    "head": {"input_size": 128, "frozen_stages": 5, "learning_rate": 1e-3, "epochs": 6},
    "small": {
        "input_size": 128,
        "frozen_stages": 3,
        "learning_rate": 1e-3,
        "epochs": 2,
        "warmup": 0.2,
        "seed": 1,
    },
    "upper": {
        "input_size": 160,
        "frozen_stages": 3,
        "learning_rate": 7e-4,
        "epochs": 9,
        "warmup": 0.05,
        "seed": 2,
    },
    "whole": {
        "input_size": 160,
        "frozen_stages": 0,
        "learning_rate": 5e-4,
        "epochs": 100,
        "warmup": 0.005,
        "seed": 3,
    },
    "last": {
        "input_size": 160,
        "frozen_stages": 3,
        "learning_rate": 6e-4,
        "epochs": 10,
        "warmup": 0.02,
        "decay": 0.98,
        "ema_momentum": 0.998,
        "seed": 4,
    },
}
"""Phase -> settings that differ. "whole" is long, and is ended by `finish`. "last" freezes the
lowest stages again, because a step is then 1.7 times as fast, and averages over fewer steps,
because its weights settle."""
SYNTHETIC_PHASES = ("upper", "whole", "last")
"""Phases whose mix includes rendered people."""
BEFORE = "before.json"
"""Name of the file with the figures of `KEPT` that the weights of the first phase came with."""
KEPT = ("images", "cpu_seconds", "seconds")
"""Facts of a training in `export`'s file; a training that continues from the file adds to them."""
RELEASED_SIZE = 192
"""Side of the released network's input in pixels; phases of smaller inputs are scored at it, which
raises their scores (Touvron et al., \"Fixing the train-test resolution discrepancy\", 2019)."""
WATCH_SECONDS = 2100
"""Time between two evaluations of `watch`."""
FIRST_WATCH_SECONDS = 600
"""Time before the first evaluation of `watch`."""


def make_recipe(phase: str) -> training.Recipe:
    """Return the recipe of a phase."""
    return training.Recipe(**{**COMMON, **PHASES[phase]})


def phase_records(folder: Path, phase: str, licensed_only: bool = False) -> list[Path]:
    """Return the record folders that a phase is trained on, see `released_data`."""
    synthetic = phase in SYNTHETIC_PHASES
    return released_data.training_records(folder / "records", synthetic, licensed_only)


def train(
    folder: Path,
    start_from: str | Path = training.IMAGENET,
    first_phase: str = "head",
    licensed_only: bool = False,
) -> None:
    """Train the phases that are not done, each from the weights of the one before.

    Args:
        folder: for the records and the runs of the phases.
        start_from: of the first phase, see `training.train`.
        first_phase: the first to train; with `start_from` a `.npz` of `export`, a later one
            continues on a new machine.
        licensed_only: train on photos under open licences only.
    """
    atomic_write(folder / "process_group", f"{os.getpgrp()}\n".encode())
    if Path(start_from).suffix == ".npz" and not (folder / BEFORE).is_file():
        facts = weights_file.read(start_from)[1]
        _write_json(folder / BEFORE, {key: facts.get(key, 0) for key in KEPT})
    val = released_data.validation_records(folder / "records")
    phases = list(PHASES)
    for phase in phases[phases.index(first_phase) :]:
        if not (folder / phase / "record.json").is_file():
            mix = phase_records(folder, phase, licensed_only)
            print(f"--- {phase}, from {start_from}", flush=True)
            training.train(
                mix,
                val["lsp"],
                make_recipe(phase),
                folder / phase,
                start_from=start_from,
                checkpoint_seconds=30,
            )
        start_from = folder / phase / predictor.WEIGHTS_FILE


# ---- evaluation ---------------------------------------------------------------------------------


def checkpoint_path(folder: Path, phase: str) -> Path:
    """Return the path of the checkpoint of an unfinished phase."""
    return folder / f".{phase}.partial" / "checkpoint.npz"


def newest_weights(folder: Path) -> tuple[str, Path]:
    """Find the averaged weights of the phase in progress, or of the last one that is done.

    Returns:
        The phase; its file, checkpoint.npz or weights.npz.

    Raises:
        DataError: if there is none.
    """
    for phase in reversed(PHASES):
        for file in (checkpoint_path(folder, phase), folder / phase / predictor.WEIGHTS_FILE):
            if file.is_file():
                return phase, file
    raise DataError(folder, "holds no checkpoint yet", "wait for the first one")


def load_averaged(phase: str, file: Path) -> keras.Model:
    """Build the network of a phase, with all joints, and load the averaged weights of a file.

    Args:
        phase: a name of `PHASES`.
        file: as of `newest_weights`.
    """
    recipe = make_recipe(phase)
    network = training.build_network(recipe, recipe.num_joints)
    if file.name == predictor.WEIGHTS_FILE:
        weights_file.load(file, network)
    else:
        with np.load(file) as arrays:
            network.set_weights([arrays[f"ema{i}"] for i in range(len(network.weights))])
    return network


def make_predictor(phase: str, network: keras.Model) -> predictor.Predictor:
    """Make a predictor of 17 joints, for crops of at least `RELEASED_SIZE` pixels.

    The weights do not depend on the size of the input, and a network that was trained at 128 pixels
    scores better at 160.
    """
    recipe = make_recipe(phase)
    size = max(RELEASED_SIZE, recipe.input_size)
    final = training.build_network(replace(recipe, input_size=size))
    final.set_weights(training.first_joints(network.get_weights(), final.get_weights()))
    return predictor.Predictor(final, {})


def score(model: predictor.Predictor, val: dict[str, Path]) -> dict[str, float]:
    """Compute the figures of the progress table.

    Args:
        model: predicts without the flip test for webcam photos, with it for LSP and COCO.
        val: as of `released_data.validation_records`.

    Returns:
        Name of a figure -> value, rounded.
    """
    scores = {}
    with_person = []
    for key in ("webcam", "stills"):
        results = evaluation.predict_records(model, val[key], flip=False)
        with_person.append(results.presence)
        shares = scorecard.pck_shoulder(results)
        for part in ("wrists", "elbows", "all"):
            scores[f"{key} {part}"] = shares[part][0]
    lsp = evaluation.predict_records(model, val["lsp"], flip=True)
    scores["LSP PCP"] = metrics.pcp(lsp.keypoints, lsp.target, lsp.labelled)["mean"]
    coco = evaluation.predict_records(model, val["coco"], flip=True)
    scores["COCO PCK@0.2"] = metrics.pck(coco.keypoints, coco.target, coco.labelled)["value"]
    with_person.append(coco.presence)
    without = [
        evaluation.predict_records(model, val[kind], flip=False).presence
        for kind in scorecard.BACKGROUND_KINDS
    ]
    scores["AUROC"] = scorecard.presence_roc(with_person, without)["auroc"]
    return {name: round(float(value), 4) for name, value in scores.items()}


def images_seen(folder: Path) -> dict[str, int]:
    """Count the training images of each phase, from its record or its checkpoint.

    With those that the weights of the first phase had seen before, see `train`.
    """
    counts = dict(_read_json(folder / BEFORE, {}).get("images", {}))
    for phase in PHASES:
        record = folder / phase / "record.json"
        checkpoint = checkpoint_path(folder, phase)
        if record.is_file():
            seen = json.loads(record.read_text(encoding="utf-8"))["images"]
        elif checkpoint.is_file():
            with np.load(checkpoint) as file:
                steps = json.loads(str(file["state"]))["steps"]
            seen = steps * make_recipe(phase).batch_size
        else:
            continue
        counts[phase] = counts.get(phase, 0) + seen
    return counts


def evaluate(folder: Path) -> dict:
    """Score the newest averaged weights, and add a row to progress.json and progress.md.

    Returns:
        The row.
    """
    phase, file = newest_weights(folder)
    model = make_predictor(phase, load_averaged(phase, file))
    note_cpu_seconds(folder)
    scores = score(model, released_data.validation_records(folder / "records"))
    row = {
        "time": time.strftime("%Y-%m-%d %H:%M"),
        "phase": phase,
        "images": sum(images_seen(folder).values()),
        "cpu_hours": round(cpu_seconds(folder) / 3600, 2),
        **scores,
    }
    rows = [*_read_json(folder / "progress.json", []), row]
    _write_json(folder / "progress.json", rows)
    atomic_write(folder / "progress.md", markdown_table(rows).encode())
    return row


def markdown_table(rows: list[dict]) -> str:
    """Format rows of `evaluate` as a Markdown table; the last row gives the columns."""
    columns = list(rows[-1])
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(str(row.get(column, "")) for column in columns) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def export(folder: Path) -> int:
    """Write the newest averaged weights as weights_f16.npz, with facts in weights_f16.json.

    Returns:
        The size of weights_f16.npz in bytes.
    """
    phase, file = newest_weights(folder)
    network = load_averaged(phase, file)
    note_cpu_seconds(folder)
    seen = images_seen(folder)
    facts = {
        "phase": phase,
        "recipe": asdict(make_recipe(phase)),
        "phases": {name: PHASES[name] for name in seen},
        "images": seen,
        "cpu_seconds": round(cpu_seconds(folder)),
        "seconds": round(seconds(folder)),
        "mix": _mix_shares(folder, phase),
        "scores": _read_json(folder / "progress.json", [None])[-1],
        **training.provenance(),
    }
    weights = network.get_weights()
    size = weights_file.save(folder / "weights_f16.npz", network, weights, **facts)
    _write_json(folder / "weights_f16.json", facts)
    return size


def _mix_shares(folder: Path, phase: str) -> dict[str, float]:
    """Fraction of each record folder in the mix of a phase."""
    mix = phase_records(folder, phase)
    people = {path: records.read_manifest(path)["people"] for path in set(mix)}
    return released_data.shares(mix, people)


def read_log(folder: Path, phase: str) -> list[list[str]]:
    """Return the rows of a phase's log.csv, the header first, or [] if it has not begun."""
    for log in (folder / phase / "log.csv", folder / f".{phase}.partial" / "log.csv"):
        if log.is_file():
            with log.open(newline="", encoding="utf-8") as file:
                return list(csv.reader(file))
    return []


# ---- time ---------------------------------------------------------------------------------------


def cpu_seconds(folder: Path) -> float:
    """Sum the processor time of all training processes, as `note_cpu_seconds` has noted it."""
    before = _read_json(folder / BEFORE, {}).get("cpu_seconds", 0)
    return before + sum(_read_json(folder / "cpu_seconds.json", {}).values())


def seconds(folder: Path) -> float:
    """Sum the seconds by the clock of all phases."""
    total = _read_json(folder / BEFORE, {}).get("seconds", 0)
    for phase in PHASES:
        header, *rows = read_log(folder, phase) or [[]]
        if rows:
            total += float(rows[-1][header.index("seconds")])
    return total


def note_cpu_seconds(folder: Path) -> None:
    """Note the processor time of the training in progress in cpu_seconds.json.

    The training is the process group that `train` names in the file `process_group`. When it has
    ended, its last note stays. Without a training or the command `ps` nothing is noted.
    """
    path = folder / "process_group"
    if not path.is_file():
        return
    group = path.read_text(encoding="utf-8").strip()
    begin = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
    command = ["ps", "-eo", "pgid=,cputimes="]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return
    processes = [line.split() for line in listed.splitlines()]
    total = sum(float(seconds) for number, seconds in processes if number == group)
    notes = _read_json(folder / "cpu_seconds.json", {})
    key = f"group {group} of {begin}"
    notes[key] = max(total, notes.get(key, 0.0))
    _write_json(folder / "cpu_seconds.json", notes)


def _read_json(path: Path, default: object) -> object:
    """Read a JSON file, or return the default if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default


def _write_json(path: Path, content: object) -> None:
    atomic_write(path, (json.dumps(content, indent=1) + "\n").encode())


# ---- command line -------------------------------------------------------------------------------


def watch(folder: Path, every: float = WATCH_SECONDS, export_at: str | None = None) -> None:
    """Evaluate the newest checkpoint repeatedly, and note processor time in between.

    Args:
        folder: as of `train`.
        every: seconds between two evaluations.
        export_at: HH:MM at which to evaluate, export and return; None: never return.
    """
    last = time.monotonic() - every + FIRST_WATCH_SECONDS
    while True:
        note_cpu_seconds(folder)
        if export_at and time.strftime("%H:%M") >= export_at:
            print(evaluate(folder), flush=True)
            print(f"weights_f16.npz: {export(folder):,} bytes", flush=True)
            return
        if time.monotonic() - last >= every:
            last = time.monotonic()
            try:
                print(evaluate(folder), flush=True)
            except DataError as error:
                print(error, flush=True)
        time.sleep(20)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("train", "watch", "evaluate", "export"))
    parser.add_argument("folder", type=Path, help="for the records and the runs")
    parser.add_argument(
        "--start-from",
        default=training.IMAGENET,
        help="weights of the first phase: imagenet, a run or a .npz file (default: %(default)s)",
    )
    parser.add_argument(
        "--first-phase",
        default="head",
        choices=list(PHASES),
        help="the first phase to train (default: %(default)s)",
    )
    parser.add_argument(
        "--every",
        type=float,
        default=WATCH_SECONDS,
        metavar="SECONDS",
        help="time between two evaluations of `watch` (default: %(default)s)",
    )
    parser.add_argument(
        "--export-at", metavar="HH:MM", help="time at which `watch` exports and stops"
    )
    parser.add_argument(
        "--licensed-only",
        action="store_true",
        help="train on photos under open licences only, see `released_data.OPEN_LICENCE`",
    )
    args = parser.parse_args(arguments)
    if args.action == "train":
        train(args.folder, args.start_from, args.first_phase, args.licensed_only)
    elif args.action == "watch":
        watch(args.folder, args.every, args.export_at)
    elif args.action == "evaluate":
        print(evaluate(args.folder))
    else:
        print(f"weights_f16.npz: {export(args.folder):,} bytes")


if __name__ == "__main__":
    main()
