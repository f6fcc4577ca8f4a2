"""Recorded experiments: read `book/runs`, and load the code of `book/experiments` (chapters 02 to
14).

A comparison that takes longer than a cell is run once, by `python -m posekit experiment NAME`,
which writes `book/runs/NAME/record.json` and `log.csv`. The chapters read these files. Both folders
belong to the book, so every function here needs a checkout of it.
"""

import csv
import importlib.util
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from posekit.errors import DataError
from posekit.files import atomic_write

__all__ = ["Run", "book_runs", "experiments", "read", "table", "write"]


@dataclass(frozen=True)
class Run:
    """A recorded experiment.

    Args:
        record: record.json: `about`, `command`, `seconds` and `runs`, a dict from the name of each
            training run to its training record.
        log: name of the training run -> column -> (epochs,) float array, NaN where the column was
            not scored at that epoch.
    """

    record: dict
    log: dict[str, dict[str, np.ndarray]]


def _book() -> Path:
    """Return the folder `book` of the checkout around the current directory."""
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file() and (folder / "book").is_dir():
            return folder / "book"
    raise DataError(
        here, "not inside a checkout of the book", "change into the folder that holds _config.yml"
    )


def book_runs() -> Path:
    """Return the folder `book/runs` of the checkout around the current directory.

    Raises:
        DataError: outside a checkout of the book.
    """
    return _book() / "runs"


def experiments() -> ModuleType:
    """Import the package `book/experiments` of the checkout around the current directory.

    Returns:
        The module, under the name `experiments`; its `EXPERIMENTS` lists the experiments.

    Raises:
        DataError: outside a checkout of the book.
    """
    path = _book() / "experiments" / "__init__.py"
    loaded = sys.modules.get("experiments")
    if loaded is not None and Path(loaded.__file__ or "").resolve() == path:
        return loaded
    if not path.is_file():
        raise DataError(path, "missing", "restore book/experiments from the repository")
    spec = importlib.util.spec_from_file_location("experiments", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["experiments"] = module
    spec.loader.exec_module(module)
    return module


def read(name: str) -> Run:
    """Read a recorded experiment from `book/runs`.

    Args:
        name: the folder below `book/runs`.

    Raises:
        DataError: outside a checkout, or if the experiment is not recorded; the error names the
            command that records it.
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
        own = [row for row in rows if row["run"] == run]
        columns = [column for column in own[0] if column != "run"]
        log[run] = {
            column: np.array([float(row[column] or "nan") for row in own]) for column in columns
        }
    return Run(record, log)


def table(name: str) -> dict:
    """Read a table of counts from `book/tables`, as written by `book/tools/tables.py`.

    Args:
        name: `"coco"` or `"leeds"`.

    Raises:
        DataError: outside a checkout, or if there is no table of that name.
    """
    path = _book() / "tables" / f"{name}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(
            f"book/tables/{name}.json", "no such table", "see python book/tools/tables.py --help"
        ) from None


def write(
    name: str,
    about: str,
    command: str,
    results: dict,
    header: Sequence[str],
    rows: Sequence[Sequence],
) -> Path:
    """Write the results of a benchmark to `book/runs`, in the form that `read` reads.

    Args:
        name: the folder below `book/runs`.
        about: what was measured.
        command: the command that repeats the measurement.
        results: the keys that record.json holds besides the provenance (machine, versions, commit).
        header: columns of log.csv; the first is `run`.
        rows: the rows of log.csv.

    Returns:
        The folder.

    Raises:
        DataError: outside a checkout of the book.
    """
    from posekit import training

    folder = book_runs() / name
    record = {"name": name, "about": about, "command": command, **training.provenance(), **results}
    log = io.StringIO()
    csv.writer(log, lineterminator="\n").writerows([header, *rows])
    atomic_write(folder / "log.csv", log.getvalue().encode())
    atomic_write(folder / "record.json", (json.dumps(record, indent=1) + "\n").encode())
    return folder
