"""Recorded experiments: what takes longer than a cell is run once by anybody and read by the notebooks (chapters 06 and 07).

`python -m posekit experiment NAME` writes `book/runs/NAME/record.json` and `log.csv`; `read(NAME)` gives them back.
"""

import csv
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit import evaluation, predict, records, sources, training
from posekit.errors import DataError
from posekit.minidome.sequence import make_sequence


@dataclass(frozen=True)
class Run:
    """A recorded experiment.

    Args:
        record: record.json: `about`, `command`, `seconds` and `runs`, a dict run name -> training record.
        log: run name -> column name -> (epochs,) float array; NaN where a column was not scored at that epoch.
    """

    record: dict
    log: dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Experiment:
    """An entry of `EXPERIMENTS`: what it shows, and the function that runs it into a folder: run name -> run folder."""

    about: str
    function: Callable[[Path], dict[str, Path]]


def book_runs() -> Path:
    """The folder book/runs of the checkout that holds the current folder.

    Raises:
        DataError: outside a checkout of the book.
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file() and (folder / "book").is_dir():
            return folder / "book" / "runs"
    raise DataError(here, "not inside a checkout of the book", "change into the folder that holds _config.yml")


def read(name: str) -> Run:
    """Read a recorded experiment from book/runs.

    Raises:
        DataError: when it has not been recorded; says the command that records it.
    """
    folder = book_runs() / name
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        raise DataError(f"book/runs/{name}", "not recorded", f"run: python -m posekit experiment {name}") from None
    log = {}
    for run in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == run]
        log[run] = {k: np.array([float(r[k] or "nan") for r in mine]) for k in mine[0] if k != "run"}
    return Run(record, log)


def table(name: str) -> dict:
    """Read a small table of book/tables, which `book/tools/tables.py` made from annotations that are not in the book.

    Raises:
        DataError: when there is none of that name.
    """
    path = book_runs().parent / "tables" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f"book/tables/{name}.json", "no such table", "see python book/tools/tables.py --help") from None


def run(name: str, out: Path | None = None, keep: Path | None = None) -> Path:
    """Run an experiment and write its record; an older record stays until the new one is whole.

    Args:
        name: a name in `EXPERIMENTS`.
        out: the folder to write; book/runs/NAME if None.
        keep: a new folder that gets the trained runs with their models; they are thrown away if None.

    Returns:
        The folder.

    Raises:
        DataError: for an unknown name.
    """
    if name not in EXPERIMENTS:
        raise DataError(f"experiment {name!r}", "unknown", f"choose one of: {', '.join(sorted(EXPERIMENTS))}")
    out = Path(out) if out else book_runs() / name
    entry, begin = EXPERIMENTS[name], time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        runs = entry.function(Path(scratch))
        whole = Path(scratch) / "whole"
        whole.mkdir()
        records = {k: json.loads((folder / "record.json").read_text(encoding="utf-8")) for k, folder in runs.items()}
        record = {
            "name": name,
            "about": entry.about,
            "command": f"python -m posekit experiment {name}",
            "seconds": round(time.monotonic() - begin, 1),
            "runs": records,
        }
        (whole / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        with (whole / "log.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for i, (k, folder) in enumerate(runs.items()):
                with (folder / "log.csv").open(newline="", encoding="utf-8") as source:
                    header, *rows = csv.reader(source)
                writer.writerows(([["run", *header]] if i == 0 else []) + [[k, *row] for row in rows])
        if keep:
            for k, folder in runs.items():
                shutil.copytree(folder, Path(keep) / k)
        out.mkdir(parents=True, exist_ok=True)
        for file in whole.iterdir():
            shutil.copy2(file, out / file.name)
    return out


def minidome_records(folder: Path, frames: int, seed: int) -> Path:
    """Generate a MiniDome sequence of two cameras and write its people as records; returns the record folder."""
    sequence = folder / f"minidome{seed}"
    make_sequence(sequence, frames=frames, seed=seed)
    return real_records(folder, "minidome", sequence)


def real_records(folder: Path, dataset: str, source: Path, split: str = "train", box: str = "annotation") -> Path:
    """Write one split of a data set as records into `folder`; returns the record folder."""
    out, left_out = folder / f"{source.name}-{split}-{box}", Counter()
    people = sources.read(dataset, source, split, left_out)
    records.write_records(people, out, dataset, split, box=box, left_out=left_out)
    return out


def _train(folder: Path, name: str, train: list[Path], val: Path, tamper: Callable | None = None, **recipe) -> Path:
    print(f"--- {name}", flush=True)
    training.train(train, val, training.Recipe(**recipe), folder / name, tamper=tamper)
    return folder / name


def minidome_6min(folder: Path) -> dict[str, Path]:
    """Six minutes of training with the defaults on 1,500 MiniDome frames, scored on 150 frames of another seed."""
    train, val = minidome_records(folder, 1500, 1), minidome_records(folder, 150, 2)
    return {"minidome-6min": _train(folder, "minidome-6min", [train], val, minutes=6)}


def off_by_one(images: object, targets: dict) -> tuple[object, dict]:
    """The mistake of the collapse: each person gets the labels of the next, as when one photo was skipped and its label not."""
    from keras import ops

    return images, {name: ops.roll(values, 1, axis=0) for name, values in targets.items()}


def collapse(folder: Path) -> dict[str, Path]:
    """The same network, data and length twice; in the second run the labels are off by one person."""
    train, val = [minidome_records(folder, 400, 1)], minidome_records(folder, 80, 2)
    recipe = {"width": 16, "epochs": 12}
    return {
        "healthy": _train(folder, "healthy", train, val, **recipe),
        "collapsed": _train(folder, "collapsed", train, val, tamper=off_by_one, **recipe),
    }


def minidome_small(folder: Path) -> dict[str, Path]:
    """The small model of the package, `posekit.load("minidome")`."""
    train, val = minidome_records(folder, 1500, 1), minidome_records(folder, 150, 2)
    run = _train(folder, "minidome", [train], val, width=20, minutes=10)
    training.pack(run)
    _rescore(run, {"val": val})
    return {"minidome": run}


def _rescore(run: Path, folders: dict[str, Path]) -> None:
    """Score a run on record folders and keep the scores in its record, under the keys of `folders`."""
    path = run / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    loaded = predict.load(run)
    record.update({key: evaluation.jsonable(evaluation.evaluate(loaded, folder)) for key, folder in folders.items()})
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def lsp_30min(folder: Path) -> dict[str, Path]:
    """Thirty minutes on real photos: LSPET and LSP im0001-im0900, scored on im0901-im1000 with both boxes."""
    data = os.environ.get("POSEKIT_DATA")
    if not data:
        raise DataError("POSEKIT_DATA", "is not set", "point it to the folder that holds lsp/ and lspet/")
    lsp, lspet = Path(data) / "lsp", Path(data) / "lspet"
    train = [
        real_records(folder, "lspet", lspet, "train", "joints"),
        real_records(folder, "lsp", lsp, "train", "joints"),
        real_records(folder, "lsp", lsp, "train", "image"),
    ]
    val = {box: real_records(folder, "lsp", lsp, "val", box) for box in ("joints", "image")}
    run = _train(folder, "lsp-30min", train, val["image"], minutes=30)
    _rescore(run, {"val_joints_box": val["joints"]})
    return {"lsp-30min": run}


EXPERIMENTS = {
    "minidome-6min": Experiment("six minutes with the defaults on 1,500 MiniDome frames", minidome_6min),
    "collapse": Experiment("the mean-pose collapse, provoked by labels that are off by one person", collapse),
    "minidome": Experiment("the small model that the package holds", minidome_small),
    "lsp-30min": Experiment("thirty minutes on LSPET and LSP (real photos, through POSEKIT_DATA)", lsp_30min),
}
