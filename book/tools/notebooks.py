"""What the tools for notebooks share: where the notebooks are, and the one form in which they are
committed."""

import copy
import hashlib
import itertools
import json
import re
from pathlib import Path

import citations
import nbformat

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "book" / "runs"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
_CHECK_CALL = re.compile(r"^(?:\w+\.)*check_(\w+)\(", re.MULTILINE)
_KEPT = ("tags", "mystnb", "slideshow", "nbgrader")
_HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
_RUN = re.compile(r"\{run\}`([^`]+)`|[-\w.,+−]+<!-- run ([^>]+) -->")
_REFERENCES = re.compile(rf"^{citations.HEADING}$.*\Z", re.M | re.S)
CAPTION = re.compile(r"^\*Figures? (E?\d+)\.(\d+|n)((?: and E?\d+\.(?:\d+|n))*)\. (?=\S)", re.M)
"""The start of a caption: "*Figure 6.3. ", or "*Figures 6.3 and 6.4. "."""
NUMBERS = re.compile(r"\b([Ff]igures? )((?:E?\d+\.\d+)(?:(?:, | and |, and | to )E?\d+\.\d+)*)\b")
"""A reference to figures, "figure 6.3" or "figures 6.3 and 6.4"."""


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


def lookup(text: str, runs: Path = RUNS) -> str:
    """The value that `NAME:key/subkey:format` names, as text.

    Args:
        text: name of the run, path of keys separated by `/`, and optionally a format of Python's
            `format`.
        runs: folder of the records.

    Returns:
        The formatted value.

    Raises:
        LookupError: with one line that names the record and the key.
    """
    name, _, rest = text.partition(":")
    path, _, form = rest.partition(":")
    record = runs / name / "record.json"
    if not record.is_file():
        raise LookupError(f"no record book/runs/{name}/record.json")
    value = json.loads(record.read_text(encoding="utf-8"))
    for key in path.split("/"):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError, ValueError):
            raise LookupError(
                f"book/runs/{name}/record.json has no {path!r} (stopped at {key!r})"
            ) from None
    if isinstance(value, dict | list):
        raise LookupError(f"book/runs/{name}/record.json: {path!r} is no single value")
    return format(value, form)


def _write_values(markdown: str) -> str:
    """Replace the role `{run}` by the value of the record and a comment that names it, and bring
    values that stand there already up to date."""

    def value(match: re.Match) -> str:
        text = match[1] or match[2]
        return f"{lookup(text)}<!-- run {text} -->"

    return _RUN.sub(value, markdown)


def _number_figures(cells: list) -> None:
    """Number the captions in order, and the references to them accordingly.

    A new caption may have the number `n`: "*Figure 6.n. ".
    """
    counter = itertools.count(1)
    numbers = {}

    def renumber(match: re.Match) -> str:
        chapter = match[1]
        old = [f"{chapter}.{match[2]}", *match[3].split(" and ")[1:]]
        new = [f"{chapter}.{next(counter)}" for _ in old]
        numbers.update(zip(old, new, strict=True))
        return f"*Figure{'s' if len(new) > 1 else ''} {' and '.join(new)}. "

    markdown = [cell for cell in cells if cell.cell_type == "markdown"]
    for cell in markdown:
        cell.source = CAPTION.sub(renumber, cell.source)

    def refer(match: re.Match) -> str:
        kept = match.string[: match.start()].endswith("*")  # a caption
        numbered = re.sub(r"E?\d+\.\d+", lambda n: numbers.get(n[0], n[0]), match[2])
        return match[0] if kept else match[1] + numbered

    for cell in markdown:
        cell.source = NUMBERS.sub(refer, cell.source)


def _list_references(cells: list) -> None:
    """Turn the roles of citations into links, and write the list of references.

    The list is all that follows the heading in its cell.

    Raises:
        ValueError: if works are cited, and the heading is missing.
    """
    markdown = [cell for cell in cells if cell.cell_type == "markdown"]
    texts = [_REFERENCES.sub("", cell.source) for cell in markdown]
    texts = [citations.link_citations(text) for text in texts]
    keys = citations.cited_keys("\n".join(texts))
    lists = [bool(_REFERENCES.search(cell.source)) for cell in markdown]
    if keys and not any(lists):
        raise ValueError(f"it cites {keys[0]}, and has no heading {citations.HEADING!r}")
    for cell, text, has_list in zip(markdown, texts, lists, strict=True):
        listed = f"{citations.HEADING}\n\n{citations.reference_list(keys)}" if has_list else ""
        cell.source = text + listed


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
    solution away in the book. Cells that the book folds or removes are folded in JupyterLab too.
    Figures are numbered, values of records and citations are written out, see `citations`.

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
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = _write_values(cell.source)
    _number_figures(nb.cells)
    _list_references(nb.cells)
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
        if cell.cell_type == "code" and _HIDDEN & {*cell.metadata.get("tags", [])}:
            cell.metadata.jupyter = nbformat.from_dict({"source_hidden": True})
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
