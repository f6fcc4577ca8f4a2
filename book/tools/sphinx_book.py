"""The book's own small Sphinx extension: nothing from the network, and measured figures taken from
their records.

- Drops thebe's scripts and settings, whose address would be named in every page though nothing uses
  them.
- The role ``{run}`NAME:key/subkey:.2f` `` writes a value of `book/runs/NAME/record.json`; a missing
  one is a warning, and warnings fail the build.
- Gives each figure of a notebook its alt text, which the notebook stores as the plain text of the
  output.
- Makes a figure with a caption of an image that stands alone and the paragraph in italics after it.
- Puts the in-page demo, and the model that it runs, beside the pages, in `live/`.
"""

import base64
import hashlib
import json
import shutil
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

RUNS = Path(__file__).resolve().parents[1] / "runs"


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


class RunRole(SphinxRole):
    """``{run}`NAME:key/subkey:.2f` ``."""

    def run(self):
        """Returns the text node, or a warning where the record has no such value."""
        self.env.note_dependency(str(RUNS / self.text.partition(":")[0] / "record.json"))
        try:
            return [nodes.inline(self.text, lookup(self.text), classes=["run-value"])], []
        except LookupError as error:
            message = self.inliner.reporter.warning(f"run: {error}", line=self.lineno)
            return [nodes.problematic(self.rawtext, self.rawtext)], [message]


def _drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    def wanted(script) -> bool:
        text = (
            f"{getattr(script, 'filename', '')} "
            f"{dict(getattr(script, 'attributes', {}) or {}).get('body', '')}"
        )
        return "thebe" not in text.lower()

    context["script_files"] = [
        script for script in context.get("script_files", []) if wanted(script)
    ]


def _drop_thebe_settings(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for node in list(doctree.findall(nodes.raw)):
        if "text/x-thebe-config" in node.astext():
            node.parent.remove(node)


def notebook_figures(path: Path) -> dict[str, tuple[str, int | None]]:
    """Return alt text and width of the figures in a notebook's outputs.

    Args:
        path: the notebook. Its figures are stored as `posekit.viz.show` writes them: the PNG in
            `image/png`, the alt text in `text/plain`, the size in the output's metadata.

    Returns:
        SHA-256 of the PNG (the name under which MyST-NB writes the file) -> (alt text, width in
        CSS pixels or None).
    """
    figures = {}
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                digest = hashlib.sha256(base64.b64decode(data["image/png"])).hexdigest()
                width = output.metadata.get("image/png", {}).get("width")
                figures[digest] = (data.get("text/plain", ""), width)
    return figures


def _describe_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Give each figure of a notebook its alt text and width; the height follows from the width."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    figures = notebook_figures(path)
    for node in doctree.findall(nodes.image):
        digest = Path(node["uri"]).stem
        if digest in figures:
            node["alt"], width = figures[digest]
            node["classes"] += ["posekit-figure", "no-scaled-link"]
            node.attributes.pop("height", None)
            if width:
                node["width"] = f"{width}px"


def _caption_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Make figures of images in markdown: an image that stands alone, then a paragraph in italics.

    Written like that they are readable in JupyterLab and on a code host as well.
    """
    for image in list(doctree.findall(nodes.image)):
        place = image.parent
        below = place.next_node(descend=False, siblings=True)
        alone = isinstance(place, nodes.paragraph) and len(place) == 1
        if (
            alone
            and isinstance(below, nodes.paragraph)
            and len(below) == 1
            and isinstance(below[0], nodes.emphasis)
        ):
            below.parent.remove(below)
            caption = nodes.caption("", "", *below[0].children)
            name = nodes.make_id(f"figure-{Path(image['uri']).stem}")
            place.replace_self(nodes.figure("", image, caption, ids=[name]))


def _carry_demo(app: Sphinx, error: Exception | None) -> None:
    from posekit.live import server

    if error is None and app.builder.format == "html":
        live = Path(app.outdir) / "live"
        own = shutil.ignore_patterns("index.html", "page.css")  # of `python -m posekit webcam`
        shutil.copytree(server.WEB, live, ignore=own, dirs_exist_ok=True)
        shutil.copyfile(server.model_file(), live / "model.onnx")


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_role("run", RunRole())
    app.connect("html-page-context", _drop_thebe, priority=900)
    app.connect("doctree-resolved", _drop_thebe_settings, priority=900)
    app.connect("doctree-read", _describe_figures)
    app.connect("doctree-read", _caption_figures)
    app.connect("build-finished", _carry_demo)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
