"""Recorded experiments: what takes longer than a notebook cell is run once (chapters 04 to 14).

`python -m posekit experiment NAME` runs the function that `EXPERIMENTS` lists under NAME and writes
`book/runs/NAME/record.json` and `log.csv`; `posekit.notebook.runs.read(NAME)` reads them. An
experiment is a function from a working folder to {name of a training run: its folder}.
"""

import contextlib
import csv
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from experiments import (
    ablation,
    backbone_comparison,
    cascade,
    common,
    depth,
    loss_comparison,
    released_model,
    stage_one,
    transfer,
)
from posekit.errors import DataError
from posekit.files import atomic_write, lock_output
from posekit.notebook import runs as recorded


@dataclass(frozen=True)
class Experiment:
    """An entry of `EXPERIMENTS`.

    Args:
        about: what the experiment shows, in one line.
        function: runs it in a folder; returns {name of a training run: its folder}.
        draws_reasons: whether a chapter draws reasons from it; see `common.failure`.
    """

    about: str
    function: Callable[[Path], dict[str, Path]]
    draws_reasons: bool = False


EXPERIMENTS = {
    "minidome-6min": Experiment(
        "six minutes with the defaults on 1,500 MiniDome frames", stage_one.minidome_6min
    ),
    "collapse": Experiment(
        "the mean-pose collapse, provoked by labels that are off by one person", stage_one.collapse
    ),
    "minidome": Experiment("the small model that the package holds", stage_one.minidome_small),
    "lsp-30min": Experiment(
        "thirty minutes on LSPET and LSP (photos through POSEKIT_DATA)", stage_one.lsp_30min
    ),
    "stage1": Experiment(
        "the released model: from ImageNet weights, on all photos of POSEKIT_DATA, in phases",
        released_model.stage1,
    ),
    "licensed-only": Experiment(
        "half an hour on photos under open licences only", released_model.licensed_only
    ),
    "ablations": Experiment(
        "the recipe with one change per row, from a trained backbone, three seeds",
        ablation.ablations,
        draws_reasons=True,
    ),
    "gradients": Experiment("gradients through 2 to 100 blocks at initialisation", depth.gradients),
    "degradation": Experiment(
        "plain and residual nets of growing depth, trained alike", depth.degradation
    ),
    "race": Experiment(
        "four backbones of equal multiply-adds (MiniDome, and photos through POSEKIT_DATA)",
        backbone_comparison.compare_backbones,
    ),
    "pooling": Experiment(
        "a ResNet-18 whose last feature map is flattened or averaged, with two kinds of head",
        backbone_comparison.compare_pooling,
    ),
    "losses-pilot": Experiment(
        "the learning rates that `losses` chooses from, one seed, a few epochs",
        loss_comparison.pilot,
    ),
    "losses": Experiment(
        "five losses and two other heads on MiniDome, from a trained backbone, three seeds",
        loss_comparison.compare_losses,
        draws_reasons=True,
    ),
    "transfer": Experiment(
        "the same people and the same time from random, ImageNet, MiniDome and released weights",
        transfer.compare_starts,
    ),
    "cascade": Experiment(
        "stages two and three on MiniDome, shared and separate refiners", cascade.train_cascades
    ),
}
"""Name on the command line -> experiment."""


def run(name: str, out: Path | None = None, keep: Path | None = None) -> Path:
    """Run an experiment and write its record; an older record is replaced only at the end.

    Args:
        name: a name in `EXPERIMENTS`.
        out: the folder to write; `book/runs/NAME` if None.
        keep: the working folder, which keeps records and trained models. What an earlier,
            interrupted call finished there is not repeated. None: a temporary folder.

    Returns:
        The folder.

    Raises:
        DataError: if the name is unknown, or another process uses one of the folders.
    """
    if name not in EXPERIMENTS:
        raise DataError(
            f"experiment {name!r}", "unknown", f"choose one of: {', '.join(sorted(EXPERIMENTS))}"
        )
    out = Path(out) if out else recorded.book_runs() / name
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        for folder in (out, keep):
            if folder:
                stack.enter_context(lock_output(folder))
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        work = Path(keep) if keep else Path(scratch) / "work"
        work.mkdir(parents=True, exist_ok=True)
        runs = EXPERIMENTS[name].function(work)
        finished = Path(scratch) / "finished"
        finished.mkdir()
        _write_record(finished, name, runs, time.monotonic() - begin)
        _write_log(finished, runs)
        for file in sorted(finished.iterdir()):  # log.csv, then record.json
            atomic_write(out / file.name, file.read_bytes())
    return out


def mark_failures(records: dict[str, dict], draws_reasons: bool) -> None:
    """Add the entry "failure" with its reason to the records of runs that have failed.

    Args:
        records: name -> record of a run; those without a score are left as they are.
        draws_reasons: see `common.failure`.
    """
    for record in records.values():
        if "mean_pose" in record.get("val", {}):
            reason = common.failure(record["val"], draws_reasons)
            if reason:
                record["failure"] = reason


def _write_record(folder: Path, name: str, runs: dict[str, Path], elapsed: float) -> None:
    """Write record.json: the records of all runs under one head, with "failure" where one has
    failed."""
    records = {
        run: json.loads((path / "record.json").read_text(encoding="utf-8"))
        for run, path in runs.items()
    }
    mark_failures(records, EXPERIMENTS[name].draws_reasons)
    seconds = sum(record.get("seconds", 0) for record in records.values())
    record = {
        "name": name,
        "about": EXPERIMENTS[name].about,
        "command": f"python -m posekit experiment {name}",
        "seconds": round(seconds or elapsed, 1),
        "runs": records,
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _write_log(folder: Path, runs: dict[str, Path]) -> None:
    """Write log.csv: the logs of all runs, with the name of the run as first column."""
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for i, (run, path) in enumerate(runs.items()):
            with (path / "log.csv").open(newline="", encoding="utf-8") as source:
                header, *rows = csv.reader(source)
            if i == 0:
                writer.writerow(["run", *header])
            writer.writerows([run, *row] for row in rows)
