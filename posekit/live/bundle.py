"""One JavaScript module out of several files, because anywidget takes a widget as one string."""

import re
from pathlib import Path

__all__ = ["bundle"]

_IMPORT = re.compile(r'^import (?P<what>.+) from "(?P<file>\./[^"]+)"(?: with \{.*\})?;\n', re.M)
_EXPORT = re.compile(r"^export (?=const |function |async function |class )", re.M)


def bundle(path: Path) -> str:
    """Return a JavaScript module with the files it imports in place of its import lines.

    Args:
        path: of the module. It imports names of modules that import nothing themselves
            (`import { a, b } from "./FILE.js";`) or the content of a JSON file
            (`import name from "./FILE.json" with { type: "json" };`), one import per line.

    Returns:
        The text of a module without imports, with the exports of `path`.

    Raises:
        ValueError: if an import of another form remains.
    """

    def content(match: re.Match) -> str:
        file = path.parent / match["file"]
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            return f"const {match['what']} = {text.strip()};\n"
        return _EXPORT.sub("", text)

    text = _IMPORT.sub(content, path.read_text(encoding="utf-8"))
    left = re.search(r"^import\b.*", text, re.M)
    if left:
        raise ValueError(f"{path}: cannot bundle {left.group()!r}")
    return text
