"""The house rules for notebooks, as CONTRIBUTING.md states them:
`python book/tools/rules.py [NOTEBOOK...]` prints what breaks them.

`tests/book/test_notebooks.py` holds them, and shows on made-up notebooks that each rule can be
broken.
"""

import argparse
import ast
import base64
import io
import re
import tokenize

import nbformat
from notebooks import (
    BEGIN,
    CAPTION,
    END,
    NUMBERS,
    ROOT,
    find,
    is_exercise,
    normalise,
    read,
    to_text,
)

MAX_LINES = 25
MAX_PICTURE = 100_000
MAX_NAMES = 8
MAX_IGNORED = 0.25
MAX_WRAPPED = 60
MIN_ALT = 15
TAGS = {
    "cited-figures",
    "hide-cell",
    "hide-input",
    "hide-output",
    "nbval-ignore-output",
    "raises-exception",
    "remove-cell",
    "remove-input",
}
_PATHS = re.compile(r"(?<![\w.:/])(/(?:home|root|tmp|Users|work|mnt|var|opt)/|[A-Z]:\\)|\.venv")
_IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT = re.compile(r'\balt="([^"]*)"')
_QUIET = re.compile(
    r"[-\w.,+−]+<!-- run [^>]+ -->|```.*?```|\$\$.*?\$\$|\$[^$\n]+\$|\{[\w:]+\}`[^`]*`|`[^`]*`"
    r"|\]\([^)]*\)|<[^>]+>|^\s*\|.*\|\s*$",
    re.S | re.M,
)
_FIGURE = re.compile(
    r"(?<![\w.,:@^/-])(\d+(?:[.,]\d+)?)\s?(?:%|percent\b|(?:ms|s|seconds?|minutes?|min|hours?|h)\b)|(?<![\w,:@^/-])(0?\.\d{2,})(?!\w)"
)


def text_of(output: dict) -> str:
    """All text that an output shows, images left out."""
    parts = [output.get("text", "")]
    parts += [
        value
        for kind, value in output.get("data", {}).items()
        if kind.startswith("text/") and isinstance(value, str)
    ]
    return re.sub(r"data:[\w/+]+;base64,[\w+/=]+", "", "\n".join(parts))


def pictures(output: dict) -> list[int]:
    """Sizes in bytes of the images in an output."""
    data = output.get("data", {})
    sizes = [len(base64.b64decode(v)) for k, v in data.items() if k in ("image/png", "image/jpeg")]
    inline = re.findall(r"data:image/[\w+]+;base64,([\w+/=]+)", data.get("text/html", ""))
    return sizes + [len(base64.b64decode(v)) for v in inline]


def logical_lines(source: str) -> int:
    """Count a cell's statements, comments, blank lines and the lines of its multi-line strings.

    A statement that the formatter wraps over several lines counts once, nbgrader's markers not.
    """
    count = -source.count(BEGIN) - source.count(END)
    code = "\n".join("pass" if line.startswith(("%", "!")) else line for line in source.split("\n"))
    in_statement = False
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NEWLINE:
            count += 1
            in_statement = False
        elif token.type == tokenize.NL:
            count += not in_statement
        elif token.type not in (tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT):
            in_statement = True
            count += token.string.count("\n")
    return count


def alt_texts(output: dict) -> list[str]:
    """Return the alt text of each image in an output, empty where there is none.

    An image in `text/html` has its `alt`; a PNG or JPEG has the output's `text/plain`, where
    Matplotlib and Pillow put `<Figure ...>`.
    """
    data = output.get("data", {})
    alts = []
    for tag in _IMG.findall(data.get("text/html", "")):
        alt = _ALT.search(tag)
        alts.append(alt[1] if alt else "")
    if "image/png" in data or "image/jpeg" in data:
        alts.append(data.get("text/plain", ""))
    return alts


def posekit_names(sources: list[str]) -> set[str]:
    """What a notebook imports from posekit: a module or a name counts one."""
    names = set()
    for source in sources:
        for node in ast.walk(
            ast.parse(
                "\n".join(
                    line for line in source.split("\n") if not line.lstrip().startswith(("%", "!"))
                )
            )
        ):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "posekit":
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {
                    alias.name for alias in node.names if alias.name.split(".")[0] == "posekit"
                }
    return names


def unfounded_figures(text: str, known: str) -> list[str]:
    """Percentages, durations and small decimals in prose that neither cite a source nor stand in
    `known`.

    Args:
        text: markdown.
        known: code and output text of the cells above.

    Returns:
        The figures, as written.
    """
    part = r"[^.!?\n]*(?:(?:\.\d|et al\.)[^.!?\n]*)*"
    cited = re.sub(rf"{part}(?:\{{footcite:\w+\}}`[^`]*`|\]\(#references\)){part}", " ", text)
    found = []
    for match in _FIGURE.finditer(_QUIET.sub(" ", cited)):
        number = (match[1] or match[2]).replace(",", ".")
        bare = re.escape(number.removeprefix("0"))
        share = re.escape(f"{float(number) / 100:g}".removeprefix("0")) if "%" in match[0] else bare
        if not re.search(rf"(?<![\d.])0?(?:{bare}|{share}0?)(?!\d)", known):
            found.append(match[0].strip())
    return found


def _images(cell: nbformat.NotebookNode) -> int:
    """Count the images that a cell shows, as its output or in its text."""
    if cell.cell_type == "code":
        return sum(
            any(kind in output.get("data", {}) for kind in ("image/png", "image/jpeg"))
            for output in cell.outputs
        )
    return len(re.findall(r"^!\[", cell.source, re.M))


def figure_complaints(cells: list) -> list[str]:
    """What is wrong with the captions of a notebook's figures and the references to them.

    A caption is the paragraph after an image, or the first one after the cell that shows it. Each
    figure is referred to by its number in the text.
    """
    out = []
    captions = 0
    text = []
    for i, cell in enumerate(cells):
        if cell.cell_type == "code":
            below = cells[i + 1] if i + 1 < len(cells) else None
            while below is not None and "remove-cell" in below.metadata.get("tags", []):
                i += 1
                below = cells[i + 1] if i + 1 < len(cells) else None
            captioned = (
                below is not None and below.cell_type == "markdown" and CAPTION.match(below.source)
            )
            if _images(cell) and not captioned:
                out.append(
                    f"cell {i}: a figure without a caption: start the next cell with "
                    "'*Figure N.n. What it shows.*'"
                )
            continue
        paragraphs = cell.source.split("\n\n")
        for image, caption in zip(paragraphs, [*paragraphs[1:], ""], strict=True):
            if image.startswith("![") and not CAPTION.match(caption):
                out.append(f"cell {i}: an image without a caption in the paragraph after it")
        text += [part for part in paragraphs if not CAPTION.match(part)]
        captions += sum(1 + match[3].count(" and ") for match in CAPTION.finditer(cell.source))
    shown = sum(map(_images, cells))
    interactive = sum(
        "<img" in output.get("data", {}).get("text/html", "")
        for cell in cells
        for output in cell.get("outputs", [])
    )  # may have a caption
    if not shown <= captions <= shown + interactive:
        out.append(f"{shown} figures, but captions for {captions}")
    named = {
        number
        for part in text
        for match in NUMBERS.finditer(part)
        for number in re.findall(r"E?\d+\.\d+", match[2])
    }
    for cell in cells:
        if cell.cell_type == "markdown":
            for match in CAPTION.finditer(cell.source):
                numbers = re.findall(r"E?\d+\.\d+", match[0])
                out += [
                    f"figure {number} is not referred to in the text"
                    for number in numbers
                    if number not in named
                ]
    return out


def complaints(notebook: nbformat.NotebookNode, exercise: bool) -> list[str]:
    """What in a notebook breaks the house rules.

    Args:
        notebook: as read.
        exercise: whether it is a notebook of exercises.

    Returns:
        One line a complaint, empty for a notebook in order.
    """
    out: list[str] = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if to_text(notebook) != to_text(normalise(notebook, exercise)):
        out.append("not in the committed form: run make refresh")
    if (
        not notebook.cells
        or notebook.cells[0].cell_type != "markdown"
        or not notebook.cells[0].source.startswith("# ")
    ):
        out.append("the first cell is not markdown with the title")
    titles = sum(
        len(re.findall(r"^# ", re.sub(r"```.*?```", "", c.source, flags=re.S), re.M))
        for c in notebook.cells
        if c.cell_type == "markdown"
    )
    if titles != 1:
        out.append(f"{titles} headings with one #, wanted one")
    if not code or "notebook.setup(" not in code[0].source:
        out.append("the first code cell does not call notebook.setup")
    out += figure_complaints(notebook.cells)
    known = ""
    for i, cell in enumerate(notebook.cells):
        where = (
            f"cell {i} ({cell.source.strip().splitlines()[0][:40]!r})"
            if cell.source.strip()
            else f"cell {i}"
        )
        tags = set(cell.metadata.get("tags", []))
        if tags - TAGS:
            out.append(f"{where}: unknown tags {sorted(tags - TAGS)}")
        if cell.cell_type == "markdown":
            if "cited-figures" not in tags:
                out += [
                    f"{where}: {f!r} is no figure from a cell above or a record"
                    for f in unfounded_figures(cell.source, known)
                ]
            if re.search(r"!\[\s*\]\(", cell.source):
                out.append(f"{where}: an image without alt text")
            if re.search(r"!\[[^\]]*\]\(https?:", cell.source):
                out.append(f"{where}: an image from the network")
            continue
        below = notebook.cells[i + 1] if i + 1 < len(notebook.cells) else None
        hidden = below is not None and "remove-cell" in below.metadata.get("tags", [])
        checks = cell.source + (f"\n{below.source}" if hidden else "")
        if "nbval-ignore-output" in tags and not re.search(r"\bassert\b", checks):
            out.append(f"{where}: its output is not compared, and it asserts nothing")
        out += _code_complaints(cell, where, tags)
        known += cell.source + "\n" + "\n".join(text_of(o) for o in cell.outputs) + "\n"
    ignored = sum("nbval-ignore-output" in cell.metadata.get("tags", []) for cell in code)
    if ignored > max(1, MAX_IGNORED * len(code)):
        out.append(f"{ignored} of {len(code)} code cells are not compared")
    names = {
        n for n in posekit_names([c.source for c in code]) if not n.startswith("posekit.notebook")
    }
    if len(names) > MAX_NAMES:
        out.append(f"imports {len(names)} names from posekit, at most {MAX_NAMES}: {sorted(names)}")
    if exercise:
        out += _exercise_complaints(code)
    return out


def _code_complaints(cell: nbformat.NotebookNode, where: str, tags: set[str]) -> list[str]:
    out = []
    if (lines := logical_lines(cell.source)) > MAX_LINES:
        out.append(f"{where}: {lines} lines, at most {MAX_LINES}")
    if (lines := len(cell.source.split("\n"))) > MAX_WRAPPED:
        out.append(f"{where}: {lines} lines as wrapped, at most {MAX_WRAPPED}")
    if cell.execution_count is None:
        out.append(
            f"{where}: no execution count, so its output is never compared: run make refresh"
        )
    if "plt.show(" in cell.source:
        out.append(f"{where}: plt.show() leaves the figure without alt text: use viz.show")
    for output in cell.outputs:
        text = text_of(output)
        if output.output_type == "stream" and output.name == "stderr":
            out.append(f"{where}: writes to stderr: {text.strip()[:60]!r}")
        if output.output_type == "error" and "raises-exception" not in tags:
            out.append(f"{where}: ends in an error")
        if _PATHS.search(text) or _PATHS.search(cell.source):
            out.append(f"{where}: a path of this machine")
        sizes = pictures(output)
        if any(size > MAX_PICTURE for size in sizes):
            out.append(
                f"{where}: an image of {max(sizes) / 1000:.0f} kB, at most {MAX_PICTURE // 1000}"
            )
        if any(len(alt.strip()) < MIN_ALT or alt.startswith("<") for alt in alt_texts(output)):
            out.append(f"{where}: an image without alt text: use viz.show")
    return out


def _exercise_complaints(code: list) -> list[str]:
    out = []
    solutions = [cell for cell in code if BEGIN in cell.source]
    checks = [cell for cell in code if cell.metadata.get("nbgrader", {}).get("grade")]
    if not 2 <= len(checks) <= 4:
        out.append(f"{len(checks)} exercises with a check, wanted 2 to 4")
    if not solutions:
        out.append("no solution between nbgrader's markers")
    for cell in code:
        if cell.source.count(BEGIN) != cell.source.count(END):
            out.append(f"{BEGIN} and {END} do not match in {cell.source.splitlines()[0][:40]!r}")
        if BEGIN in cell.source and re.search(r"\bcheck_\w+\(", cell.source):
            out.append(
                "a solution and its check share a cell: the student could not keep the check"
            )
    for cell in checks:
        if not any(o.get("name") == "stdout" and "✓" in o.get("text", "") for o in cell.outputs):
            out.append(f"{cell.source.splitlines()[-1][:50]!r} does not pass on the solution")
    return out


def main() -> int:
    """Print the complaints; 1 when there are any."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", help="paths or glob patterns; default: all")
    found = False
    for path in find(parser.parse_args().notebooks):
        for line in complaints(read(path), is_exercise(path)):
            print(f"{path.relative_to(ROOT)}: {line}")
            found = True
    return int(found)


if __name__ == "__main__":
    raise SystemExit(main())
