"""The book: built without a warning and without the network, every page reachable, every reference
alive, every picture described."""

import itertools
import json
import math
import re
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "tools"))

import sphinx_book  # noqa: E402

TOC = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))


def toc_files(node=TOC) -> list[str]:
    found = [node[key] for key in ("root", "file") if key in node]
    for key in ("parts", "chapters", "sections"):
        for child in node.get(key, []):
            found += toc_files(child)
    return found


@pytest.fixture(scope="session")
def html(built_book) -> Path:
    folder = built_book / "_build" / "html"
    assert (folder / "index.html").is_file(), (built_book / "log.txt").read_text()[-3000:]
    return folder


@pytest.fixture(scope="session")
def pages(html) -> dict[str, BeautifulSoup]:
    """Every page that a reader can meet, parsed; slides have tests of their own."""
    files = [
        file
        for file in sorted(html.rglob("*.html"))
        if file.relative_to(html).parts[0] not in ("_static", "slides")
    ]
    return {
        str(p.relative_to(html)): BeautifulSoup(p.read_text(encoding="utf-8"), "html.parser")
        for p in files
    }


def test_builds_without_a_warning(built_book):
    log = (built_book / "log.txt").read_text()
    assert log.rstrip().endswith("exit code 0"), log[-4000:]


def test_contents_hold_every_page():
    files = toc_files()
    assert len(files) == len(set(files))
    wanted = {
        str(p.relative_to(ROOT).with_suffix(""))
        for p in (ROOT / "chapters").rglob("*.ipynb")
        if "." not in p.parts[-2]
    }
    wanted |= {f"book/{p.stem}" for p in (ROOT / "book").glob("*.md")}
    wanted |= {f"book/teaching/{p.stem}" for p in (ROOT / "book" / "teaching").glob("*.md")}
    assert set(files) == wanted


def test_every_page_of_the_contents_is_built_and_linked(pages):
    intro = pages["book/intro.html"]
    linked = {urlsplit(a["href"]).path for a in intro.select("nav.bd-links a[href]")}
    for file in toc_files():
        assert f"{file}.html" in pages
        if file != "book/intro":
            assert any(
                f"../{file}.html".endswith(link.removeprefix("../")) and link for link in linked
            ), file


def test_no_page_names_a_resource_outside(pages):
    for name, page in pages.items():
        assert "thebe" not in "".join(str(s) for s in page.select("script")).lower().replace(
            "sphinx-thebe.css", ""
        ), name
        for tag, key in (
            ("script", "src"),
            ("link", "href"),
            ("img", "src"),
            ("iframe", "src"),
            ("source", "src"),
            ("video", "src"),
        ):
            for node in page.find_all(tag, **{key: True}):
                if tag == "link" and "canonical" in node.get("rel", []):
                    continue
                assert urlsplit(node[key]).scheme in ("", "data"), f"{name}: {node[key][:100]}"
        for script in page.find_all("script", src=False):
            assert "https://" not in script.text, f"{name}: {script.text[:200]}"


def test_every_link_inside_leads_somewhere(pages, html):
    ids = {
        name: {n["id"] for n in page.find_all(id=True)}
        | {n["name"] for n in page.find_all("a", attrs={"name": True})}
        for name, page in pages.items()
    }
    dead = []
    for name, page in pages.items():
        for node in page.select("main a[href], nav a[href]"):
            target = urlsplit(node["href"])
            if target.scheme or target.netloc:
                continue
            path = (html / name).parent / unquote(target.path) if target.path else html / name
            relative = str(path.resolve().relative_to(html.resolve())) if path.exists() else None
            anchor = unquote(target.fragment)
            if relative is None or (anchor and relative in ids and anchor not in ids[relative]):
                dead.append(f"{name}: {node['href']}")
    assert dead == []


def test_every_picture_is_described(pages):
    for name, page in pages.items():
        for image in page.select("article img"):
            alt = image.get("alt", "")
            assert len(alt) >= 15 and not alt.endswith((".png", ".svg", ".jpg")), (
                f"{name}: {image.get('src', '')[:60]} alt={alt!r}"
            )


def test_each_schematic_is_a_figure_with_a_caption(pages):
    drawn = {path.stem for path in (ROOT / "chapters" / "figures").glob("*.svg")}
    shown = set()
    for name, page in pages.items():
        for image in page.select("article img[src$=svg]"):
            stem = Path(unquote(image["src"])).stem
            if stem in drawn:
                caption = image.find_parent("figure").figcaption
                assert len(caption.get_text(strip=True)) >= 30, f"{name}: {stem}"
                shown.add(stem)
    assert shown == drawn


def smallest_letters(drawing: Path) -> float:
    """Size of the smallest letters of an SVG, as a fraction of its width."""
    root = ElementTree.parse(drawing).getroot()
    sizes = []

    def visit(node, size, scale):
        size = float(node.get("font-size", size))
        for factor in re.findall(r"scale\((-?[\d.]+)", node.get("transform", "")):
            scale *= abs(float(factor))
        if node.tag.endswith("}text") or node.tag.endswith("}tspan"):
            sizes.append(size * scale)
        for child in node:
            visit(child, size, scale)

    visit(root, 16, 1)
    return min(sizes, default=math.inf) / float(root.get("viewBox").split()[2])


@pytest.mark.parametrize(
    "drawing",
    [*sorted(ROOT.glob("chapters/figures/*.svg")), *sorted(ROOT.glob("book/assets/*.svg"))],
    ids=lambda path: path.stem,
)
def test_letters_of_drawings_are_legible_on_a_phone(drawing):
    """9 px or more where a drawing is 360 px wide, as on a phone of 390 px."""
    if drawing.stem == "way":  # narrow pages show way-narrow.svg instead
        pytest.skip("not shown on phones")
    assert 360 * smallest_letters(drawing) >= 9


def test_pages_are_accessible_in_outline(pages):
    for name, page in pages.items():
        if name in ("index.html", "genindex.html", "search.html"):
            continue
        assert page.html.get("lang") == "en", name
        assert len(page.select("article h1")) == 1, name
        levels = [int(h.name[1]) for h in page.select("article :is(h1, h2, h3, h4, h5)")]
        jumps = [(a, b) for a, b in itertools.pairwise(levels) if b > a + 1]
        assert jumps == [], f"{name}: a heading level is skipped: {levels}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "chapters").rglob("*_*.ipynb")), ids=lambda path: path.stem
)
def test_each_figure_of_a_notebook_has_its_own_alt_text_and_width_on_the_page(path, pages):
    figures = sphinx_book.notebook_figures(path)
    page = pages[str(path.relative_to(ROOT).with_suffix(".html"))]
    shown = {
        Path(image["src"]).stem: image for image in page.select("img.posekit-figure[src$=png]")
    }
    assert set(shown) == set(figures)
    for digest, (alt, width) in figures.items():
        assert shown[digest]["alt"] == alt and len(alt) >= 15
        assert shown[digest]["style"] == f"width: {width}px;" and width > 100


def test_nothing_failed_to_render(pages):
    for name, page in pages.items():
        assert page.select(".problematic, .system-message") == [], name
        for paragraph in page.select("article p, article li"):
            text = "".join(
                t for t in paragraph.find_all(string=True) if t.parent.name not in ("code", "span")
            )
            assert "{footcite" not in text and "{run}" not in text and "{ref}" not in text, (
                f"{name}: {text[:100]}"
            )


def test_solutions_are_folded_away(pages):
    for name, page in pages.items():
        if "/exercises/" in name:
            cells = [c for c in page.select("div.cell") if "BEGIN SOLUTION" in c.text]
            assert cells and all(
                c.select("details") and not c.select("details[open]") for c in cells
            ), name


def test_formulas_are_typeset_from_the_books_own_copy(pages, html):
    scripts = {
        (html / name).parent / s["src"].split("?")[0]
        for name, page in pages.items()
        for s in page.find_all("script", src=True)
        if "mathjax" in s["src"].lower()
    }
    assert {path.resolve() for path in scripts} == {
        (html / "_static/vendor/mathjax/tex-mml-svg.js").resolve()
    }
    assert all(path.is_file() for path in scripts)
    assert (html / "_static" / "vendor" / "mathjax" / "LICENSE").is_file()


def test_dead_links_are_read_from_sphinx_s_report(tmp_path):
    import build

    assert "linkcheck" in build.command(tmp_path, links=True)
    link = {"filename": "book/a.md", "lineno": 3, "uri": "https://a.org/x", "code": 0}
    lines = [
        {**link, "status": "working", "info": ""},
        {**link, "status": "broken", "info": "404 Client Error"},
        {**link, "status": "redirected", "info": "https://a.org/y"},
    ]
    report = tmp_path / "output.json"
    report.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert build.broken(report) == ["book/a.md:3: https://a.org/x: 404 Client Error"]


# ---- the role that takes figures from records ----------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "first").mkdir()
    record = {
        "seconds": 61.04,
        "runs": {"l1": {"val": {"pck@0.2": 0.8751, "pcp": [0.1, 0.25]}}},
        "command": "python -m x",
    }
    (tmp_path / "first" / "record.json").write_text(json.dumps(record))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("first:seconds:.0f", "61"),
        ("first:runs/l1/val/pck@0.2:.2f", "0.88"),
        ("first:runs/l1/val/pcp/1:.0%", "25%"),
        ("first:command", "python -m x"),
    ],
)
def test_run_role_reads_the_record(runs, text, value):
    assert sphinx_book.lookup(text, runs) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("second:seconds", "no record book/runs/second"),
        ("first:runs/l2/val", "stopped at 'l2'"),
        ("first:runs/l1", "no single value"),
        ("first:runs/l1/val/pcp/7", "stopped at '7'"),
        ("first:seconds/x", "stopped at 'x'"),
    ],
)
def test_run_role_refuses_what_is_not_recorded(runs, text, complaint):
    with pytest.raises(LookupError, match=complaint):
        sphinx_book.lookup(text, runs)
