"""What the tools for notebooks share: where the notebooks are, and the one form in which they are
committed."""

import copy
import hashlib
import json
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_CHECK_CALL = re.compile(r"^(?:\w+\.)*check_(\w+)\(", re.MULTILINE)
_KEPT = ("tags", "mystnb", "slideshow", "nbgrader")


def find(patterns: list[str] | None = None) -> list[Path]:
    """The notebooks that match glob patterns or paths below the root; all chapters and exercises
    without any."""
    if not patterns:
        return sorted((ROOT / "chapters").glob("*.ipynb")) + sorted(
            (ROOT / "chapters/exercises").glob("*.ipynb")
        )
    found = []
    for pattern in patterns:
        path = Path(pattern)
        matches = [path.resolve()] if path.is_file() else sorted(ROOT.glob(pattern))
        if not matches:
            raise SystemExit(f"error: {pattern}: no such notebook")
        found += matches
    return found


def is_exercise(path: Path) -> bool:
    """Is this a notebook of exercises?"""
    return path.parent.name == "exercises"


def _image_sizes(metadata: dict) -> dict:
    """Keep the width and height on the page that an output's metadata gives its images."""
    return {
        kind: {key: sizes[key] for key in ("width", "height") if key in sizes}
        for kind, sizes in metadata.items()
        if kind.startswith("image/")
    }


def _outputs(outputs: list, count: int | None) -> list:
    merged = []
    for output in outputs:
        output = copy.deepcopy(output)
        output.pop("transient", None)
        if "metadata" in output:
            output["metadata"] = _image_sizes(output["metadata"])
        if output["output_type"] == "execute_result":
            output["execution_count"] = count
        before = merged[-1] if merged else None
        if output["output_type"] == "stream" and before and before.get("name") == output["name"]:
            before["text"] += output["text"]
        else:
            merged.append(output)
    return merged


def _nbgrader(kind: str, name: str) -> dict:
    solution = kind == "solution"
    return {
        "grade": not solution,
        "grade_id": f"{kind}-{name}",
        "locked": not solution,
        "schema_version": 3,
        "solution": solution,
        "task": False,
        **({} if solution else {"points": 1}),
    }


def normalise(notebook: nbformat.NotebookNode, exercise: bool) -> nbformat.NotebookNode:
    """The committed form of a notebook: it depends on sources and outputs only, not on who ran it,
    when or where.

    Cells get ids from their content and execution counts in order; metadata is cut to what the book
    uses; solution and check cells of exercises get nbgrader's metadata, and the tag that folds the
    solution away in the book.

    Args:
        notebook: as read; not changed.
        exercise: whether it is a notebook of exercises.

    Returns:
        A new notebook.
    """
    nb = copy.deepcopy(notebook)
    nb.nbformat = 4
    nb.nbformat_minor = 5
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    nb.cells = [cell for cell in nb.cells if cell.source.strip()]
    seen: dict[str, int] = {}
    count = solutions = 0
    for cell in nb.cells:
        cell.source = "\n".join(line.rstrip() for line in cell.source.strip("\n").split("\n"))
        if cell.cell_type != "code":
            cell.pop("attachments", None)
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:10]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = nbformat.from_dict(
            {k: cell.metadata[k] for k in _KEPT if k in cell.metadata}
        )
        cell.metadata.pop("nbgrader", None)
        if cell.cell_type == "code":
            count += 1
            if cell.execution_count is not None:
                cell.execution_count = count
            cell.outputs = [
                nbformat.from_dict(o) for o in _outputs(cell.outputs, cell.execution_count)
            ]
        if exercise and BEGIN in cell.source:
            solutions += 1
            cell.metadata.nbgrader = nbformat.from_dict(_nbgrader("solution", str(solutions)))
            cell.metadata.tags = sorted({*cell.metadata.get("tags", []), "hide-cell"})
            cell.metadata.mystnb = nbformat.from_dict(
                {"code_prompt_show": "Show a solution", "code_prompt_hide": "Hide the solution"}
            )
        elif exercise and cell.cell_type == "code" and (call := _CHECK_CALL.search(cell.source)):
            cell.metadata.nbgrader = nbformat.from_dict(
                _nbgrader("check", call[1].replace("_", "-"))
            )
    return nb


def to_text(notebook: nbformat.NotebookNode) -> str:
    """A notebook as it is written to disk: sorted keys, one space of indent, a newline at the
    end."""
    return (
        json.dumps(
            json.loads(nbformat.writes(notebook)), indent=1, sort_keys=True, ensure_ascii=False
        )
        + "\n"
    )


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook in nbformat 4."""
    return nbformat.read(path, as_version=4)
