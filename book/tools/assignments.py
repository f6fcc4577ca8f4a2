"""`make assignments`: cut the students' copies of the exercises into `_assignments/`, by nbgrader's
own preprocessors.

The solution between nbgrader's markers becomes a cell to fill in, outputs are removed, the check
cells are locked. A student opens the copy in JupyterLab, where posekit is installed; each check
reports at once whether the answer is right.
"""

import argparse
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


def main() -> int:
    """Cut all exercises, or those named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "notebooks", nargs="*", help="paths or glob patterns; default: all exercises"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "_assignments", help="default: _assignments"
    )
    args = parser.parse_args()
    paths = [path for path in find(args.notebooks) if is_exercise(path)]
    if not paths:
        raise SystemExit("error: no exercises found in chapters/exercises")
    args.out.mkdir(parents=True, exist_ok=True)
    for path in paths:
        try:
            copy = cut(read(path))
        except (RuntimeError, ValueError) as error:
            raise SystemExit(f"error: {path.name}: {error}") from None
        target = args.out / path.name
        target.write_text(to_text(copy), encoding="utf-8")
        print(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
