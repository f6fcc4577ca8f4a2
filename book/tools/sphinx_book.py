"""The book's own small Sphinx extension: nothing from the network, and measured figures taken from
their records.

- Drops thebe's scripts and settings, whose address would be named in every page though nothing uses
  them.
- The role ``{run}`NAME:key/subkey:.2f` `` writes a value of `book/runs/NAME/record.json`; a missing
  one is a warning, and warnings fail the build.
- Gives each figure of a notebook its alt text, which the notebook stores as the plain text of the
  output.
- Makes a figure with a caption of an image and the paragraph in italics after it, and links of
  references to numbered figures.
- Links citations in notebooks to their entries in the list of references.
- Prepares docstrings for the API reference.
- Repairs markup that screen readers do not understand.
- Puts the in-page demo, and the model that it runs, into `live/`, and the slides into `slides/`.
"""

import base64
import hashlib
import itertools
import re
import shutil
from pathlib import Path

import citations
import nbformat
import slides
from docutils import nodes
from notebooks import NUMBERS, RUNS, lookup
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxRole


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


def _place(image: nodes.image) -> nodes.Element | None:
    """Return the cell whose output an image is, or the paragraph that it fills; else None."""
    node = image.parent
    while node is not None:
        if isinstance(node, nodes.container) and "cell" in node["classes"]:
            return node
        node = node.parent
    paragraph = image.parent
    return paragraph if isinstance(paragraph, nodes.paragraph) and len(paragraph) == 1 else None


_SCROLLING = ["figure-scroll", "pst-scrollable-table-container"]
"""Classes of the box in which a figure with text scrolls on a phone: shrunk, its letters would be
too small to read. The second is the theme's: its script makes such boxes reachable by keyboard."""
_PHONE_WIDTH = 400
"""Figures wider than this many CSS pixels do not fit on a phone; `book.css` says there that they
scroll."""


def _scrolling(image: nodes.image) -> nodes.container:
    """Return the box in which a figure scrolls on a phone."""
    wide = int(re.sub(r"\D", "", image.get("width", "")) or 0) > _PHONE_WIDTH
    return nodes.container("", image, classes=[*_SCROLLING, *["figure-wide"] * wide])


def _caption_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Make figures of images and the paragraph in italics after them.

    The image stands alone in a paragraph or is the output of a cell. Written like that, caption and
    number are readable in JupyterLab and on a code host as well.
    """
    for image in list(doctree.findall(nodes.image)):
        place = _place(image)
        below = place.next_node(descend=False, siblings=True) if place is not None else None
        if not (
            isinstance(below, nodes.paragraph)
            and len(below) == 1
            and isinstance(below[0], nodes.emphasis)
        ):
            continue
        last = [*place.findall(nodes.image)][-1]
        if image is not last:
            continue
        below.parent.remove(below)
        caption = nodes.caption("", "", *below[0].children)
        name = nodes.make_id(f"figure-{Path(image['uri']).stem}")
        if isinstance(caption[0], nodes.Text) and (
            label := re.match(r"Figures? (\S+?)(?: and \S+)*\.(?= )", caption[0])
        ):
            rest = nodes.Text(caption[0][label.end() :])
            caption.replace(caption[0], [nodes.strong("", label[0]), rest])
            name = f"figure-{label[1].replace('.', '-').lower()}"
        figure = nodes.figure("", ids=[name])
        (place if isinstance(place, nodes.paragraph) else image).replace_self(figure)
        if "posekit-figure" in image["classes"]:
            image = _scrolling(image)
        figure += [image, caption]
    for image in list(doctree.findall(nodes.image)):  # figures of pages that ask for it
        if "posekit-figure" in image["classes"] and isinstance(image.parent, nodes.figure):
            image.replace_self(_scrolling(image.deepcopy()))


def _link_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Make a link of each reference to a figure of the same page."""
    ids = {name for figure in doctree.findall(nodes.figure) for name in figure["ids"]}
    for text in list(doctree.findall(nodes.Text)):
        if isinstance(text.parent, nodes.strong | nodes.literal | nodes.reference | nodes.title):
            continue
        parts, end = [], 0
        for match in NUMBERS.finditer(text):
            for number in re.finditer(r"E?\d+\.\d+", match[0]):
                name = f"figure-{number[0].replace('.', '-').lower()}"
                if name in ids:
                    begin = match.start() + number.start()
                    parts.append(nodes.Text(text[end:begin]))
                    parts.append(nodes.reference("", number[0], refid=name, internal=True))
                    end = match.start() + number.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


class LinkCitations(SphinxTransform):
    """Links each citation of a notebook to its entry in the list of references."""

    default_priority = 800  # before MyST resolves links to headings

    def apply(self) -> None:
        """Change the document."""
        cited = set()
        for link in self.document.findall(nodes.reference):
            if link.get("refuri") == "#references":
                name = f"ref-{citations.key_of(link.astext())}"
                link.attributes.pop("refuri")
                link.attributes.pop("id_link", None)
                link.update_basic_atts({"refid": name, "internal": True, "classes": ["citation"]})
                link["refid"] = name
                cited.add(name)
        for item in self.document.findall(nodes.list_item):
            label = next(iter(item.findall(nodes.strong)), None)
            try:
                name = f"ref-{citations.key_of(label.astext().removesuffix('.'))}" if label else ""
            except KeyError:
                continue
            if name in cited:
                item["ids"].append(name)


def _table(lines: list[str]) -> list[str]:
    """Return a table of Markdown, given line by line, as a table of reStructuredText."""
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    table = [".. list-table::", "   :header-rows: 1", ""]
    for row in [rows[0], *rows[2:]]:
        table += [f"   {'* - ' if i == 0 else '  - '}{cell}" for i, cell in enumerate(row)]
    return [*table, ""]


def _prepare_docstring(app: Sphinx, what: str, name: str, obj, options, lines: list[str]) -> None:
    """Make reStructuredText of what the docstrings write as Markdown, in place.

    In the docstring of an attribute Napoleon would read what stands before a colon as its type.
    """
    out: list[str] = []
    for is_table, group in itertools.groupby(lines, lambda line: line.lstrip().startswith("|")):
        if is_table:
            out += _table(list(group))
        else:  # |x| is a substitution, outside of `code`
            for line in group:
                parts = line.split("`")
                parts[::2] = [text.replace("|", r"\|") for text in parts[::2]]
                out.append("`".join(parts))
    if what in ("attribute", "data") and out:
        out[0] = out[0].replace(": ", " – ", 1)
    lines[:] = out


_REPAIRS = {
    '<summary><span class="toctree-toggle"': (
        '<summary aria-label="Show or hide the pages below"><span class="toctree-toggle"'
    ),
    '<div role="list" class="citation-list">': '<div class="citation-list">',
}
"""Markup of the theme and of docutils that screen readers do not understand -> better markup:
buttons that have only an icon, and a list whose items are no list items."""


def _repair_markup(app: Sphinx, error: Exception | None) -> None:
    """Replace the markup in `_REPAIRS` in all pages."""
    if error is None and app.builder.format == "html":
        for page in Path(app.outdir).rglob("*.html"):
            text = before = page.read_text(encoding="utf-8")
            for markup, better in _REPAIRS.items():
                text = text.replace(markup, better)
            if text != before:
                page.write_text(text, encoding="utf-8")


def _carry_demo(app: Sphinx, error: Exception | None) -> None:
    from posekit.live import server

    if error is None and app.builder.format == "html":
        live = Path(app.outdir) / "live"
        own = shutil.ignore_patterns("index.html", "page.css")  # of `python -m posekit webcam`
        shutil.copytree(server.WEB, live, ignore=own, dirs_exist_ok=True)
        shutil.copyfile(server.model_file(), live / "model.onnx")


def _carry_slides(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        slides.write(Path(app.outdir) / "slides", slides.read_all())


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_role("run", RunRole())
    app.connect("html-page-context", _drop_thebe, priority=900)
    app.connect("doctree-resolved", _drop_thebe_settings, priority=900)
    app.connect("doctree-read", _describe_figures)
    app.connect("doctree-read", _caption_figures)
    app.connect("doctree-read", _link_figures)
    app.add_transform(LinkCitations)
    app.connect("build-finished", _carry_demo)
    app.connect("build-finished", _carry_slides)
    app.connect("build-finished", _repair_markup)
    app.connect("autodoc-process-docstring", _prepare_docstring, priority=400)  # before Napoleon
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
