"""Which exercises this reader has solved, kept in a small file of their own (book: the exercises).

Written by the checks, shown by `posekit.notebook.progress`.
"""

import ast
import contextlib
import datetime
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from posekit import files

_CHECKS = Path(__file__).with_name("checks")
_LOCK_S = 2.0  # for another notebook of the same reader to finish its line


@dataclass(frozen=True)
class Chapter:
    """A chapter with exercises.

    Args:
        module: of its checks, such as `ch01`.
        title: of the chapter.
        checks: names of the checks, in the order of the exercises, with the name of what each of
            them checks.
    """

    module: str
    title: str
    checks: dict[str, str]


def chapters() -> list[Chapter]:
    """Return the chapters with exercises, in order.

    Read from the source of the checks: to import all of them would import Keras.
    """
    found = []
    for path in sorted(_CHECKS.glob("ch*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        title = re.match(
            r"Checks of the exercises of chapter \d+, ([^.:]+)", ast.get_docstring(tree)
        )
        checks = {
            node.name: " and ".join(argument.arg for argument in node.args.args)
            for node in tree.body
            if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")
        }
        found.append(Chapter(path.stem, title[1], checks))
    return found


def state_file() -> Path | None:
    """Return the path of the reader's file: `POSEKIT_PROGRESS`, or `posekit/progress.json` in the
    folder that the operating system has for the state of programs. None for
    `POSEKIT_PROGRESS=off`.

    Raises:
        posekit.DataError: if `POSEKIT_PROGRESS` is an address.
    """
    named = os.environ.get("POSEKIT_PROGRESS")
    if named == "off":
        return None
    if named:
        return files.local_path(named).absolute()
    import platformdirs

    return platformdirs.user_state_path("posekit", appauthor=False) / "progress.json"


def read() -> dict[str, dict[str, str]]:
    """Return the checks that have passed: module -> name of the check -> day (ISO 8601).

    Empty where there is no file, or none that can be read.
    """
    path = state_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    known = content if isinstance(content, dict) else {}
    return {module: days for module, days in known.items() if isinstance(days, dict)}


def record(module: str, check: str) -> None:
    """Note that a check has passed.

    Does nothing where no reader sits in front of a notebook or of IPython, as in a test, and where
    the file cannot be written.

    Args:
        module: of the check, such as `ch01`.
        check: its name, such as `check_flip_person`.
    """
    path = state_file()
    if path is None or not _has_reader() or check in read().get(module, {}):
        return
    from filelock import FileLock

    with contextlib.suppress(OSError):  # a home folder that is read-only or full; a lock in use
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=_LOCK_S):
            known = read()
            known.setdefault(module, {})[check] = datetime.date.today().isoformat()
            with files.atomic_file(path) as part:
                part.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")


def _has_reader() -> bool:
    """Whether a person can type: JupyterLab and VS Code allow input, nbclient and nbval do not."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    kernel = getattr(shell, "kernel", None)
    return shell is not None and (kernel is None or getattr(kernel, "_allow_stdin", True))


def overview() -> tuple[int, int, list[dict[str, str]]]:
    """Return how many exercises are solved and how many there are, and a row per chapter that names
    the solved ones and the open ones."""
    passed = read()
    rows = []
    count = {"solved": 0, "open": 0}
    for chapter in chapters():
        row = {"chapter": f"chapter {chapter.module[2:]}, {chapter.title}"}
        for state in count:
            names = [
                f"{name} ({number})"
                for number, (check, name) in enumerate(chapter.checks.items(), 1)
                if (check in passed.get(chapter.module, {})) == (state == "solved")
            ]
            count[state] += len(names)
            row[state] = ", ".join(names) or "none"
        rows.append(row)
    return count["solved"], sum(count.values()), rows
