"""`make slides`: write a deck of slides for each chapter into `_build/slides`.

`book/slides/NN_name.yml` holds the slides of the chapter `chapters/NN_name.ipynb`, in order. A
slide has

- `title`: a few words;
- `lines`: one to three lines;
- `notes`: for the speaker, what to show, to ask or to add;
- optionally `figure`: the number of a figure, of this or another chapter, and the first words of
  its caption, "6.3 Four random crops", which are compared, since numbers change;
- optionally `equation`: a formula in TeX, set large;
- optionally `answer`: one more line, shown at the next key press. It counts as one of the three.

Lines, answers and notes are markdown with formulas between `$`. A figure is taken from the
chapter's committed output, with its alt text, so nothing is stored twice. Measured numbers are
written with the role `{run}`, or occur in the chapter; `tests/book/test_slides.py` checks it. A
deck is an HTML file; its folder needs no network and no server. MathJax and reveal.js are those of
`book/assets/vendor`.
"""

import argparse
import base64
import html
import json
import re
import shutil
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from notebooks import CAPTION, lookup

ROOT = Path(__file__).resolve().parents[2]
SLIDES = ROOT / "book" / "slides"
CHAPTERS = ROOT / "chapters"
VENDOR = ROOT / "book" / "assets" / "vendor"
OUT = ROOT / "_build" / "slides"
COURSE = "Human Pose Estimation, Step by Step"
VENDORED = (
    "mathjax/tex-mml-svg.js",
    "reveal/reveal.js",
    "reveal/reveal.css",
    "reveal/notes.js",
    "reveal/zoom.js",
)

WIDTH, HEIGHT = 1280, 720
"""Size of a slide in pixels; reveal.js scales it to the window."""
MOST_LINES = 3
_SIDE = (700, 540)
_BELOW = (1180, 350)
_KEYS = {"title", "lines", "notes", "figure", "equation", "answer"}
_IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
_RUN = re.compile(r"\{run\}`([^`]+)`")


@dataclass(frozen=True)
class Figure:
    """An image of a chapter.

    Attributes:
        number: as in the chapter, "6.3".
        alt: its description.
        caption: without its number, in markdown.
        suffix: ".png", ".svg" or ".webp".
        data: the contents of the file.
        size: width and height; only their ratio has a meaning.
    """

    number: str
    alt: str
    caption: str
    suffix: str
    data: bytes
    size: tuple[float, float]

    @property
    def file(self) -> str:
        """Name of the file next to the deck."""
        return f"figures/{self.number}{self.suffix}"


@dataclass(frozen=True)
class Slide:
    """One slide; the texts are markdown with the values of `{run}` not yet filled in."""

    title: str
    lines: tuple[str, ...]
    notes: str
    figure: Figure | None = None
    equation: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Deck:
    """The slides of a chapter."""

    stem: str
    title: str
    slides: tuple[Slide, ...]

    @property
    def number(self) -> int:
        """Number of the chapter."""
        return int(self.stem[:2])


@cache
def _cells(stem: str) -> list[dict]:
    return json.loads((CHAPTERS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]


def _size(suffix: str, data: bytes) -> tuple[float, float]:
    """Width and height of an image."""
    if suffix == ".png":
        return struct.unpack(">II", data[16:24])
    if suffix == ".svg":
        box = re.search(rb'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', data)
        return float(box[1]), float(box[2])
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF


@cache
def figures(chapter: int) -> dict[str, Figure]:
    """Return the figures of a chapter that have a number, by it.

    A caption belongs to the image between it and the caption before it in the same cell, or else to
    the last image of the outputs above.

    Args:
        chapter: its number.
    """
    found = {}
    above = None
    (path,) = CHAPTERS.glob(f"{chapter:02d}_*.ipynb")
    for cell in _cells(path.stem):
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            above = None if cell["outputs"] else above
            for output in cell["outputs"]:
                data = output.get("data", {})
                if "image/png" in data:
                    alt = "".join(data.get("text/plain", ""))
                    above = (".png", base64.b64decode("".join(data["image/png"])), alt)
            continue
        start = 0
        for caption in CAPTION.finditer(source):
            for image in _IMAGE.finditer(source, start, caption.start()):
                path = (CHAPTERS / image[2]).resolve()
                above = (path.suffix, path.read_bytes(), image[1])
            start = caption.end()
            number = f"{caption[1]}.{caption[2]}"
            if above:
                text = re.match(r"(.+?)\*\s*(?:\n\n|$)", source[caption.end() :], re.S)[1]
                suffix, data, alt = above
                found[number] = Figure(number, alt, text, suffix, data, _size(suffix, data))
            above = None
    return found


def _figure(text: str, where: str) -> Figure:
    number, _, words = text.partition(" ")
    figure = figures(int(number.split(".")[0])).get(number)
    if figure is None:
        raise ValueError(f"{where}: no chapter has an image with the number {number}")
    if not words or not figure.caption.startswith(words):
        raise ValueError(
            f"{where}: expected the first words of the caption of figure {number}, "
            f"{figure.caption[:40]!r}, got {words!r}"
        )
    return figure


def read(path: Path) -> Deck:
    """Read the slides of a chapter.

    Args:
        path: a file of `book/slides/`, named like its chapter.

    Returns:
        The deck, with its title as in the notebook.

    Raises:
        ValueError: with the file, the slide, and what does not fit.
    """
    heading = "".join(_cells(path.stem)[0]["source"]).splitlines()[0]
    slides = []
    for i, entry in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")), start=1):
        where = f"{path.name}, slide {i}"
        if not {"title", "lines", "notes"} <= set(entry) <= _KEYS:
            raise ValueError(f"{where}: expected keys of {sorted(_KEYS)}, got {sorted(entry)}")
        lines = tuple(str(line).strip() for line in entry["lines"])
        answer = entry.get("answer", "").strip()
        if not 1 <= len(lines) + bool(answer) <= MOST_LINES:
            raise ValueError(f"{where}: expected at most {MOST_LINES} lines, got {len(lines)}")
        figure = _figure(str(entry["figure"]), where) if "figure" in entry else None
        equation = entry.get("equation", "").strip()
        slides.append(
            Slide(entry["title"], lines, entry["notes"].strip(), figure, equation, answer)
        )
    return Deck(path.stem, heading.removeprefix("# ").strip(), tuple(slides))


def read_all() -> list[Deck]:
    """Read all decks, in the order of the book."""
    return [read(path) for path in sorted(SLIDES.glob("[0-9][0-9]_*.yml"))]


# ---- HTML ----------------------------------------------------------------------------------------


def _math(content: str, options: dict) -> str:
    text = html.escape(content.strip())
    return rf"\[{text}\]" if options["display_mode"] else rf"\({text}\)"


_MARKDOWN = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=_math)


def fill_in(text: str) -> str:
    """Replace each role `{run}` by the value of its record."""
    return _RUN.sub(lambda match: lookup(match[1]), text)


def _inline(text: str) -> str:
    return _MARKDOWN.renderInline(fill_in(text))


def _fit(size: tuple[float, float], box: tuple[float, float]) -> tuple[int, int]:
    scale = min(box[0] / size[0], box[1] / size[1])
    return round(size[0] * scale), round(size[1] * scale)


def _image(figure: Figure, equation: bool) -> tuple[str, str]:
    """The layout in which a figure is larger, and the figure in it.

    Photos of others need their credit, which the caption holds.
    """
    credit = "CC BY" in figure.caption
    sizes = {
        "side": _fit(figure.size, (_SIDE[0], _SIDE[1] - 150 * credit)),
        "below": _fit(figure.size, (_BELOW[0], _BELOW[1] - 50 * equation)),
    }
    layout = max(sizes, key=lambda name: sizes[name][0])
    width, height = sizes[layout]
    caption = f". {_inline(figure.caption)}" if credit else ""
    return layout, (
        f'<figure style="max-width: {max(width, 420)}px">'
        f'<img src="{quote(figure.file)}" width="{width}" height="{height}" '
        f'alt="{html.escape(figure.alt)}">'
        f"<figcaption>Figure {figure.number}{caption}</figcaption></figure>"
    )


def section(slide: Slide) -> str:
    """Return a slide as HTML.

    Args:
        slide: with or without figure, equation and answer.

    Returns:
        A `<section>` for reveal.js.
    """
    layout, figure = "text", ""
    if slide.figure:
        layout, figure = _image(slide.figure, bool(slide.equation))
    words = "".join(f"<li>{_inline(line)}</li>" for line in slide.lines)
    words = f"<ul>{words}</ul>"
    if slide.equation:
        words += rf'<div class="equation">\[{html.escape(slide.equation)}\]</div>'
    if slide.answer:
        words += f'<p class="answer fragment">{_inline(slide.answer)}</p>'
    body = f'<div class="words">{words}</div>'
    body = figure + body if layout == "below" else body + figure
    notes = _MARKDOWN.render(fill_in(slide.notes))
    return (
        f"<section>\n<h2>{_inline(slide.title)}</h2>\n"
        f'<div class="body {layout}">{body}</div>\n<aside class="notes">{notes}</aside>\n</section>'
    )


_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{style}
<link rel="stylesheet" href="slides.css">
</head>
"""
_DECK = """<body>
<main class="reveal"><div class="slides">
<section class="first">
<p>{course}</p>
<h1>{number} · {title}</h1>
<p class="keys">→ next slide &nbsp; S speaker notes &nbsp; F full screen &nbsp; ? all keys</p>
<p class="keys">Alt-click, on Linux Ctrl-click, enlarges a figure</p>
<aside class="notes"><p>Read the chapter and run its cells once before the lecture.</p></aside>
</section>
{sections}
</div></main>
<script>
window.MathJax = {{
  tex: {{inlineMath: [["\\\\(", "\\\\)"]], displayMath: [["\\\\[", "\\\\]"]]}},
  svg: {{fontCache: "none"}},
  options: {{enableMenu: false}},
  startup: {{ready() {{
    MathJax.startup.defaultReady();
    MathJax.startup.promise.then(() => Reveal.initialize({{
      width: {width}, height: {height}, margin: 0, center: false, hash: true,
      slideNumber: "c/t", transition: "none", pdfSeparateFragments: false,
      plugins: [RevealNotes, RevealZoom],
    }}));
  }}}},
}};
</script>
<script src="vendor/reveal/reveal.js"></script>
<script src="vendor/reveal/notes.js"></script>
<script src="vendor/reveal/zoom.js"></script>
<script src="vendor/mathjax/tex-mml-svg.js"></script>
</body>
</html>
"""
_INDEX = """<body class="index">
<main>
<h1>Slides</h1>
<p>{course}. One deck per chapter. They need no network.</p>
<ol>
{items}
</ol>
<h2>Keys</h2>
<p>→ and ← to the next and the last slide, S for the speaker's notes in a second window, F for full
screen, O for an overview, B for a black screen, ? for all keys. To print a deck or to save it as a
PDF, add <code>?print-pdf</code> to its address and print.</p>
</main>
</body>
</html>
"""


def page(deck: Deck) -> str:
    """Return a deck as an HTML page, whose figures and scripts lie next to it.

    Args:
        deck: as read by `read`.
    """
    head = _HEAD.format(
        title=html.escape(f"{deck.number} · {deck.title}"),
        style='<link rel="stylesheet" href="vendor/reveal/reveal.css">',
    )
    body = _DECK.format(
        course=COURSE,
        number=deck.number,
        title=html.escape(deck.title),
        sections="\n".join(section(slide) for slide in deck.slides),
        width=WIDTH,
        height=HEIGHT,
    )
    return head + body


def index(decks: list[Deck]) -> str:
    """Return the page that lists the decks.

    Args:
        decks: in the order of the list.
    """
    items = [
        f'<li value="{deck.number}"><a href="{deck.stem}.html">{html.escape(deck.title)}</a>, '
        f"{len(deck.slides) + 1} slides</li>"
        for deck in decks
    ]
    head = _HEAD.format(title=f"Slides · {COURSE}", style="")
    return head + _INDEX.format(course=COURSE, items="\n".join(items))


def write(out: Path, decks: list[Deck]) -> None:
    """Write decks, their figures, scripts and an index into a folder.

    Args:
        out: the folder; what was in it is removed.
        decks: as read by `read`.
    """
    shutil.rmtree(out, ignore_errors=True)
    (out / "figures").mkdir(parents=True)
    for name in VENDORED:
        target = out / "vendor" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(VENDOR / name, target)
        shutil.copyfile(VENDOR / name.split("/")[0] / "LICENSE", target.parent / "LICENSE")
    shutil.copyfile(SLIDES / "slides.css", out / "slides.css")
    for deck in decks:
        (out / f"{deck.stem}.html").write_text(page(deck), encoding="utf-8", newline="\n")
        for slide in deck.slides:
            if slide.figure:
                (out / slide.figure.file).write_bytes(slide.figure.data)
    (out / "index.html").write_text(index(decks), encoding="utf-8", newline="\n")


def main() -> int:
    """Write the decks, and print where they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder (default: _build/slides)")
    args = parser.parse_args()
    decks = read_all()
    write(args.out, decks)
    count = sum(len(deck.slides) + 1 for deck in decks)
    print(f"{len(decks)} decks, {count} slides. Open:\n  {(args.out / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
