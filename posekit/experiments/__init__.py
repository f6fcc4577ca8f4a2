"""Recorded experiments: what takes longer than a cell is run once by anybody and read by the notebooks (chapters 04 to 10).

`python -m posekit experiment NAME` writes `book/runs/NAME/record.json` and `log.csv`; `read(NAME)` gives them back. The
experiments themselves are functions from a folder to run folders: `stage_one` (chapter 06), `depth` (04) and `race` (05).
"""

import csv
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit import training
from posekit.errors import DataError
from posekit.experiments import ablation, depth, ladder, race, refine, released, stage_one


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
    raise DataError(
        here, "not inside a checkout of the book", "change into the folder that holds _config.yml"
    )


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
        raise DataError(
            f"book/runs/{name}", "not recorded", f"run: python -m posekit experiment {name}"
        ) from None
    log = {}
    for run in dict.fromkeys(row["run"] for row in rows):
        mine = [row for row in rows if row["run"] == run]
        log[run] = {
            k: np.array([float(r[k] or "nan") for r in mine]) for k in mine[0] if k != "run"
        }
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
        raise DataError(
            f"book/tables/{name}.json", "no such table", "see python book/tools/tables.py --help"
        ) from None


def run(name: str, out: Path | None = None, keep: Path | None = None) -> Path:
    """Run an experiment and write its record; an older record stays until the new one is whole.

    Args:
        name: a name in `EXPERIMENTS`.
        out: the folder to write; book/runs/NAME if None.
        keep: the folder to work in, which keeps the records and the trained models. What is whole there from an earlier,
            interrupted call is not done again. None: a scratch folder that is removed.

    Returns:
        The folder.

    Raises:
        DataError: for an unknown name.
    """
    if name not in EXPERIMENTS:
        raise DataError(
            f"experiment {name!r}", "unknown", f"choose one of: {', '.join(sorted(EXPERIMENTS))}"
        )
    out = Path(out) if out else book_runs() / name
    entry, begin = EXPERIMENTS[name], time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(keep) if keep else Path(scratch) / "work"
        work.mkdir(parents=True, exist_ok=True)
        runs = entry.function(work)
        whole = Path(scratch) / "whole"
        whole.mkdir()
        records = {
            k: json.loads((folder / "record.json").read_text(encoding="utf-8"))
            for k, folder in runs.items()
        }
        record = {
            "name": name,
            "about": entry.about,
            "command": f"python -m posekit experiment {name}",
            "seconds": round(
                sum(r.get("seconds", 0) for r in records.values()) or time.monotonic() - begin, 1
            ),
            "runs": records,
        }
        (whole / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        with (whole / "log.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for i, (k, folder) in enumerate(runs.items()):
                with (folder / "log.csv").open(newline="", encoding="utf-8") as source:
                    header, *rows = csv.reader(source)
                writer.writerows(
                    ([["run", *header]] if i == 0 else []) + [[k, *row] for row in rows]
                )
        out.mkdir(parents=True, exist_ok=True)
        for file in whole.iterdir():
            shutil.copy2(file, out / file.name)
    return out


def write(
    name: str,
    about: str,
    command: str,
    facts: dict,
    header: Sequence[str],
    rows: Sequence[Sequence],
) -> Path:
    """Keep a benchmark's figures in book/runs, in the form that `read` reads.

    Args:
        name: of the folder.
        about: what was measured.
        command: what repeats it.
        facts: the figures; they stand in record.json beside where and with what they were taken.
        header: columns of log.csv; the first is `run`.
        rows: its lines.

    Returns:
        The folder.
    """
    folder = book_runs() / name
    folder.mkdir(parents=True, exist_ok=True)
    record = {"name": name, "about": about, "command": command, **training.provenance(), **facts}
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return folder


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
    "first": Experiment(
        "the released models' first generation, trained on all photos of POSEKIT_DATA and on MiniDome",
        released.first,
    ),
    "teacher": Experiment(
        "the second generation: longer, with people before a phone, labels mended", released.teacher
    ),
    "student": Experiment(
        "the third generation, which learns from the second's answers too", released.student
    ),
    "lessons": Experiment("what the teacher's answers gain the student", released.lessons),
    "labels": Experiment("what LSPET's mended labels gain", released.labels),
    "ablations": Experiment(
        "the recipe without one ingredient at a time, three seeds", ablation.ablations
    ),
    "gradients": Experiment(
        "gradients through 2 to 100 blocks that have learned nothing yet", depth.gradients
    ),
    "degradation": Experiment(
        "plain and residual nets of growing depth, trained alike", depth.degradation
    ),
    "race": Experiment(
        "four networks of equal multiply-adds (MiniDome, and photos through POSEKIT_DATA)",
        race.race,
    ),
    "losses": Experiment(
        "the loss ladder on MiniDome: five losses and two heads, three seeds", ladder.ladder
    ),
    "cascade": Experiment(
        "stages two and three on MiniDome, shared and separate refiners", refine.refine
    ),
}
