"""`make assignments`: write what students get into `_assignments/`: the chapters, and copies of the
exercises without solutions, cut by nbgrader's own preprocessors.

The solution between nbgrader's markers becomes a cell to fill in, outputs are removed, the check
cells are locked. A student opens the copy in JupyterLab, where posekit is installed; each check
reports at once whether the answer is right. Folders are those of the book, and pages and figures
that a notebook links to are there too, so that all links work.
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearHiddenTests,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
)
from notebooks import BEGIN, ROOT, find, is_exercise, normalise, read, to_text
from traitlets.config import Config

STUB = "# Your code here.\n..."


def cut(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The student's copy of a notebook of exercises.

    Args:
        notebook: the solution; not changed.

    Returns:
        A new notebook without solutions and outputs.

    Raises:
        RuntimeError: by nbgrader, when a solution's markers do not match.
        ValueError: when the notebook holds no solution to cut out.
    """
    nb = normalise(notebook, exercise=True)
    if not any(BEGIN in cell.source for cell in nb.cells):
        raise ValueError(f"no cell with {BEGIN!r}: nothing to cut out")
    config = Config()
    config.ClearSolutions.code_stub = {"python": STUB}
    for preprocessor in (
        LockCells,
        ClearSolutions,
        ClearOutput,
        CheckCellMetadata,
        ComputeChecksums,
        ClearHiddenTests,
        ComputeChecksums,
        CheckCellMetadata,
    ):
        nb, _ = preprocessor(config=config).preprocess(nb, {})
    for cell in nb.cells:
        cell.metadata.pop("mystnb", None)
        cell.metadata.pop("jupyter", None)
        if "tags" in cell.metadata:
            cell.metadata.tags = [tag for tag in cell.metadata.tags if tag != "hide-cell"]
    return nb


_LINK = re.compile(r"\]\(([^)#\s]+)")


def links(path: Path) -> list[Path]:
    """The files of the book that a notebook or a page links to, absolute.

    Args:
        path: a notebook or a file of Markdown.

    Returns:
        Existing files, each once, in order.
    """
    if path.suffix == ".ipynb":
        cells = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    else:
        cells = [path.read_text(encoding="utf-8")] if path.suffix == ".md" else []
    targets = [(path.parent / link).resolve() for cell in cells for link in _LINK.findall(cell)]
    return list(dict.fromkeys(target for target in targets if target.is_file()))


def handout(paths: list[Path]) -> dict[Path, bytes]:
    """What students get.

    Args:
        paths: notebooks of exercises.

    Returns:
        Path below the folder of the book -> contents: all chapters, the students' copies of the
        exercises, and every page and figure to which one of these leads.

    Raises:
        RuntimeError: by nbgrader, when a solution's markers do not match.
        ValueError: when an exercise holds no solution to cut out.
    """
    wanted = [*(path for path in find() if not is_exercise(path)), *paths]
    out: dict[Path, bytes] = {}
    while wanted:
        path = wanted.pop(0)
        name = path.relative_to(ROOT)
        if name in out or (is_exercise(path) and path not in paths):
            continue
        try:
            copy = to_text(cut(read(path))).encode() if is_exercise(path) else path.read_bytes()
        except (RuntimeError, ValueError) as error:
            raise type(error)(f"{path.name}: {error}") from None
        out[name] = copy
        wanted += [target for target in links(path) if target.is_relative_to(ROOT)]
    return out


def main() -> int:
    """Write all, or the exercises that are named with all chapters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "notebooks", nargs="*", help="exercises, paths or glob patterns; default: all"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "_assignments", help="default: _assignments"
    )
    args = parser.parse_args()
    paths = [path for path in find(args.notebooks) if is_exercise(path)]
    if not paths:
        raise SystemExit("error: no exercises found in chapters/exercises")
    try:
        files = handout(paths)
    except (RuntimeError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
    for name, content in files.items():
        target = args.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    print(f"{args.out}: {len(files)} files, {len(paths)} of them exercises without solutions")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
