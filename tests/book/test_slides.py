"""The slides: one figure and three lines each, every number found in the chapter or in a record,
and every deck readable in a browser without a network."""

import json
import re
from pathlib import Path

import pytest
import slides
import yaml

ROOT = Path(__file__).resolve().parents[2]
STEMS = [path.stem for path in sorted((ROOT / "chapters").glob("[0-9]*.ipynb"))]
SAMPLE = "06_deeppose"
DECKS = [stem if stem == SAMPLE else pytest.param(stem, marks=pytest.mark.slow) for stem in STEMS]
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w])")


@pytest.fixture(scope="module")
def decks() -> list[slides.Deck]:
    return slides.read_all()


def chapter_text(stem: str) -> str:
    """All that a chapter shows as text: cells and outputs."""
    cells = json.loads((ROOT / "chapters" / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        parts.append("".join(cell["source"]))
        for output in cell.get("outputs", []):
            parts.append("".join(output.get("text", "")))
            parts.append("".join(output.get("data", {}).get("text/plain", "")))
    return "\n".join(parts)


def numbers(markdown: str) -> set[str]:
    """Numbers of at least two digits, without commas; none of roles, formulas, code and references
    to chapters."""
    markdown = re.sub(r"[Cc]hapters? \d+(?: and \d+)?", " ", markdown)
    text = re.sub(r"\{run\}`[^`]*`|`[^`]*`|\$[^$]*\$", " ", markdown)
    found = {number.replace(",", "") for number in NUMBER.findall(text)}
    return {number for number in found if len(re.sub(r"\D", "", number)) >= 2}


# ---- the source ----------------------------------------------------------------------------------


def test_every_chapter_has_a_deck_with_10_to_15_slides(decks):
    assert [deck.stem for deck in decks] == STEMS
    assert {deck.stem: len(deck.slides) for deck in decks if not 10 <= len(deck.slides) <= 15} == {}


def test_slides_are_short_and_have_notes(decks):
    for deck in decks:
        titles = [slide.title for slide in deck.slides]
        assert len(set(titles)) == len(titles), deck.stem
        assert max(map(len, titles)) <= 50, deck.stem
        for slide in deck.slides:
            lines = [*slide.lines, *([slide.answer] if slide.answer else [])]
            assert 1 <= len(lines) <= 3, (deck.stem, slide.title)
            for line in lines:
                assert len(slides.fill_in(line)) <= 160, (deck.stem, line)
            assert len(slide.notes.split()) >= 15, (deck.stem, slide.title)


def test_each_deck_has_figures_with_alt_texts_an_exercise_and_a_question(decks):
    for deck in decks:
        figures = [slide.figure for slide in deck.slides if slide.figure]
        numbers = [figure.number for figure in figures]
        assert len(numbers) >= 4 and len(set(numbers)) == len(numbers), deck.stem
        assert all(len(figure.alt) >= 40 for figure in figures), deck.stem
        exercises = re.findall(rf"\b{deck.number}\.([1-4])\b", deck.slides[-1].lines[-1])
        assert exercises, f"{deck.stem}: the last slide names no exercise"
        assert any("?" in slide.notes or slide.answer for slide in deck.slides), deck.stem


def test_every_number_is_in_the_chapter(decks):
    """A number that a new run of the notebook changes must not stay on a slide."""
    wrong = []
    for deck in decks:
        known = {number.replace(",", "") for number in NUMBER.findall(chapter_text(deck.stem))} | {
            number for slide in deck.slides if slide.figure for number in [slide.figure.number]
        }
        known |= {f"{deck.number}.{i}" for i in range(1, 5)}  # exercises
        for slide in deck.slides:
            for text in (slide.title, *slide.lines, slide.answer, slide.notes):
                wrong += [(deck.stem, slide.title, n) for n in numbers(text) - known]
    assert wrong == []


def test_a_wrong_number_would_be_found():
    assert numbers("PCK 0.31, 1,280 people, $1/23$ and `x[45]`, {run}`a:b/67` in 8 s") == {
        "0.31",
        "1280",
    }


def test_a_figure_is_the_one_that_is_meant(tmp_path):
    entry = {"title": "A", "lines": ["b"], "notes": "c"}

    def read(**keys):
        path = tmp_path / f"{SAMPLE}.yml"
        path.write_text(yaml.safe_dump([{**entry, **keys}]))
        return slides.read(path)

    figure = read(figure="6.3 Four random crops").slides[0].figure
    assert figure.suffix == ".png" and "Four random crops" in figure.alt
    assert read(figure="6.4 Stage one").slides[0].figure.suffix == ".svg"
    for keys, message in (
        ({"figure": "6.99 Four"}, "no chapter has an image with the number 6.99"),
        ({"figure": "6.4 Four random crops"}, "first words"),
        ({"figure": "6.4"}, "first words"),
        ({"lines": list("abcd")}, "at most 3 lines"),
        ({"lines": list("abc"), "answer": "d"}, "at most 3 lines"),
        ({"image": "x.png"}, "expected keys"),
    ):
        with pytest.raises(ValueError, match=message):
            read(**keys)


# ---- the pages -----------------------------------------------------------------------------------


def test_decks_name_nothing_outside_their_folder(decks, tmp_path):
    slides.write(tmp_path / "out", decks)
    pages = sorted((tmp_path / "out").glob("*.html"))
    assert len(pages) == len(STEMS) + 1
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r'(?:src|href)="([^"]+)"', text):
            if not name.startswith("https://"):  # a link to click on
                assert (page.parent / name).is_file(), (page.name, name)
        assert not re.search(r'(?:src|<link[^>]*href)="https?:', text), page.name
        assert "{run}" not in text and "$" not in re.sub(r"<script>.*?</script>", "", text), page


@pytest.fixture(scope="module")
def folder(decks, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("slides") / "out"
    slides.write(out, decks)
    return out


FAULTS = """() => {
  const faults = [];
  const slide = Reveal.getCurrentSlide();
  const box = slide.getBoundingClientRect();
  const shown = 'h1, h2, li, p, img, figcaption, mjx-container > svg';
  for (const part of slide.querySelectorAll(shown)) {
    if (part.closest('.notes')) continue;
    const r = part.getBoundingClientRect();
    const name = part.tagName + ' ' + (part.textContent || part.alt || '').slice(0, 40);
    if (r.width < 1 || r.height < 1) faults.push('empty: ' + name);
    if (r.left < box.left || r.right > box.right || r.top < box.top || r.bottom > box.bottom - 20)
      faults.push('outside: ' + name);
    if (part.scrollWidth > part.clientWidth + 1 && part.clientWidth) faults.push('cut: ' + name);
    const words = part.closest('.words');
    if (words && r.right > words.getBoundingClientRect().right + 1) faults.push('wide: ' + name);
    if (part.tagName === 'IMG' && !part.naturalWidth) faults.push('not loaded: ' + name);
  }
  const blocks = [...slide.querySelectorAll('h2, .words > *, figure')];
  blocks.forEach((a, i) => blocks.slice(i + 1).forEach((b) => {
    const [p, q] = [a.getBoundingClientRect(), b.getBoundingClientRect()];
    if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
        Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1)
      faults.push('overlap: ' + a.tagName + ' and ' + b.tagName);
  }));
  if (slide.querySelectorAll('img').length > 1) faults.push('more than one figure');
  if (slide.querySelector('[data-mml-node=merror]')) faults.push('a formula with an error');
  return faults;
}"""
"""What is wrong on the slide that is shown: parts that are empty, cut or outside, and overlaps."""


def opened(browser, page: Path):
    """A deck in a window of 1280 × 720, and the addresses and errors that it caused."""
    view = browser.new_page(viewport={"width": 1280, "height": 720})
    view.set_default_timeout(120_000)  # a busy machine
    asked, wrong = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.goto(page.as_uri())
    view.wait_for_function("window.Reveal && Reveal.isReady()")
    return view, asked, wrong


def faults(view) -> dict[int, list[str]]:
    found = {}
    for i in range(view.evaluate("Reveal.getTotalSlides()")):
        view.evaluate(f"Reveal.slide({i}, 0, 9)")  # with its answer
        if wrong := view.evaluate(FAULTS):
            found[i + 1] = wrong
    return found


@pytest.mark.browser
@pytest.mark.parametrize("stem", DECKS)
def test_nothing_is_cut_and_nothing_is_asked_of_the_network(browser, folder, stem):
    view, asked, wrong = opened(browser, folder / f"{stem}.html")
    assert faults(view) == {}
    assert wrong == []
    assert [url for url in asked if not url.startswith(folder.as_uri())] == []
    view.close()


@pytest.mark.browser
def test_a_deck_works_by_keyboard_and_for_screen_readers(browser, folder):
    from axe_playwright_python.sync_playwright import Axe

    view, _, _ = opened(browser, folder / "09_evaluation.html")
    view.keyboard.press("ArrowRight")
    assert view.evaluate("Reveal.getState().indexh") == 1
    question = view.evaluate(
        "Reveal.getSlides().findIndex((slide) => slide.querySelector('.answer'))"
    )
    view.evaluate(f"Reveal.slide({question})")
    answer = view.locator("section.present .answer")
    assert answer.evaluate("node => getComputedStyle(node).visibility") == "hidden"
    view.keyboard.press("ArrowRight")
    assert answer.evaluate("node => getComputedStyle(node).visibility") == "visible"
    for i in (0, 1, question):
        view.evaluate(f"Reveal.slide({i}, 0, 9)")
        found = Axe().run(view, options={"resultTypes": ["violations"]}).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    view.close()
    index = browser.new_page()
    index.goto((folder / "index.html").as_uri())
    found = Axe().run(index, options={"resultTypes": ["violations"]}).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    index.close()


@pytest.mark.browser
def test_a_slide_that_is_too_full_would_be_found(browser, tmp_path):
    long = slides.Slide("Too much", ("many words " * 80,) * 3, "notes")
    wide = slides.Slide("Too wide", ("a",), "notes", equation=r"x" + r" + y" * 80)
    slides.write(tmp_path / "out", [slides.Deck("01_full", "Full", (long, wide))])
    view, _, _ = opened(browser, tmp_path / "out" / "01_full.html")
    found = faults(view)
    view.close()
    assert set(found) == {2, 3}
    assert any(fault.startswith("outside: LI") for fault in found[2])
