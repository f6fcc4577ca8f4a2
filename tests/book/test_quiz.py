"""The quiz: five sound questions per chapter, all of them on the page and in the question bank, and
a question bank that is read back as it was written."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "tools"))

import quiz  # noqa: E402

CHAPTERS = quiz.read_all()
QUESTIONS = [question for chapter in CHAPTERS for question in chapter.questions]
named = pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)


def texts(question) -> list[str]:
    """Every text of a question that a reader sees."""
    return [
        question.text,
        *(text for option in question.options for text in (option.text, option.why)),
        *([question.why] if question.why else []),
        *(wrong.why for wrong in question.wrong),
    ]


# ---- the questions -------------------------------------------------------------------------------


def test_every_chapter_has_five_questions():
    stems = [path.stem for path in sorted((ROOT / "chapters").glob("[0-9]*.ipynb"))]
    assert [chapter.stem for chapter in CHAPTERS] == stems
    assert {len(chapter.questions) for chapter in CHAPTERS} == {5}


def test_titles_differ_and_are_short():
    titles = [question.title for question in QUESTIONS]
    assert len(set(titles)) == len(titles)
    assert max(map(len, titles)) <= 50


@named
def test_a_choice_has_four_options_that_differ_and_one_is_right(question):
    if question.kind == "choice":
        assert len(question.options) == 4
        assert sum(option.right for option in question.options) == 1
        plain = {re.sub(r"\W", "", option.text.lower()) for option in question.options}
        assert len(plain) == 4
        assert len({option.why for option in question.options}) == 4


@named
def test_wrong_numbers_lie_outside_what_is_accepted(question):
    if question.kind == "number":
        assert question.tolerance >= 0 and question.wrong
        for wrong in question.wrong:
            assert abs(wrong.number - question.answer) > 2 * question.tolerance
        numbers = [wrong.number for wrong in question.wrong]
        assert len(set(numbers)) == len(numbers)


@named
def test_a_tolerance_covers_the_rounding_and_little_more(question):
    if question.kind == "number" and question.tolerance:
        assert question.tolerance <= 0.05 * abs(question.answer) + 1e-9


@named
def test_every_answer_has_a_reason(question):
    reasons = [
        text for text in texts(question)[1:] if text not in {o.text for o in question.options}
    ]
    assert all(len(reason.split()) >= 5 for reason in reasons)


def test_the_position_and_the_truth_give_nothing_away():
    right = [
        [option.right for option in question.options].index(True)
        for question in QUESTIONS
        if question.kind == "choice"
    ]
    for position in range(4):
        assert 0.15 <= right.count(position) / len(right) <= 0.35
    truths = [question.answer for question in QUESTIONS if question.kind == "truth"]
    assert 0.4 <= sum(truths) / len(truths) <= 0.6


def test_the_right_option_is_not_always_the_longest():
    choices = [question for question in QUESTIONS if question.kind == "choice"]
    longest = [max(q.options, key=lambda option: len(option.text)).right for q in choices]
    assert sum(longest) <= 0.5 * len(choices)


@named
def test_texts_have_no_formulas_and_all_measured_values(question):
    for text in texts(question):
        assert "$" not in text, "Moodle may not typeset it"
        assert "{run}" not in quiz.html(text)


def test_sections_and_figures_that_a_question_names_exist():
    for chapter in CHAPTERS:
        cells = json.loads((ROOT / "chapters" / f"{chapter.stem}.ipynb").read_text())["cells"]
        prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        headings = set(re.findall(r"(?m)^#{2,4} (.+)$", prose))
        for question in chapter.questions:
            text = " ".join("\n".join(texts(question)).split())
            for section in re.findall(r'(?:section|table in) "([^"]+)"', text):
                assert section.rstrip(",.") in headings, f"{question.name}: {section}"
            for figure in re.findall(r"[Ff]igure (\d+\.\d+)", text):
                assert f"*Figure {figure}." in prose, f"{question.name}: figure {figure}"


#: Measured values that questions quote from the outputs of their chapter: they change together.
QUOTED = {
    "1.3": ["median error of the network 3.2%", "median error of the mean pose 9.4%"],
    "2.3": ["by the lower edge 20%", "left_ankle 82% 44%", "missing left ankles, 69%"],
    "2.4": ["photo 0.005 0.108", "scene 0.136 0.108"],
    "2.5": ["left shoulder on the right of the image: COCO 72%"],
    "4.1": ["resnet 10 0.100", "resnet 98 0.112", "plain 10 0.099", "plain 98 0.133"],
    "5.4": ["densenet121 190 MiB 187 MiB", "densenet121_recomputed - 61 MiB"],
    "5.5": ["+0.0161 counts", "lsp (counts from 0.015)"],
    "6.5": ["7% of the joints lie outside", "everything is inside 0.93", "network 0.93 0.85"],
    "7.2": ["L1: centre 0.286, mean pose 0.127", "68% of this fall needs no image"],
    "7.4": ["prediction mode 0.75", "training mode, batches of 64 0.75 0.08"],
    "7.5": ["the mean pose, in photo coordinates: 0.91"],
    "8.4": [
        "released model, as it is 0.55 0.82",
        "released, only the head 0.56 0.84",
        "released, everything 0.54",
        "released, layer-wise rates 0.54",
    ],
    "8.5": ["RGB, -1 ... 1 0.96", "BGR, -1 ... 1 0.96"],
    "9.4": ["PCK@0.2 by the torso 0.76", "PCK@0.2 by the joints' box 0.94"],
    "10.4": ["inversion mean OKS 0.71 (+0.04)", "miss mean OKS 0.86 (+0.18)"],
    "11.5": ["validate_augmented 0.644 0.634 0.615 0.635"],
    "12.5": ["0.705 0.705 0.706", "0.694 0.699 0.692", "L1 → Gaussian, σ -0.010 (---)"],
    "13.3": ["1.0 64 6.1%", "-.032 [-.049, -.011]", "-.023 [-.039, -.009]"],
    "14.4": ["BGR (OpenCV's order) 0.67 1.01", "0.07 0.02 0.63", "0.09 1.14 0.85"],
    "15.5": ["6.0 0.18 0.15", "3.7 0.28 0.39", "2.5 0.64 1.03"],
}


def printed(stem: str) -> str:
    """What the cells of a chapter print, with single spaces."""
    notebook = json.loads((ROOT / "chapters" / f"{stem}.ipynb").read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            parts.append("".join(text))
    return " ".join("\n".join(parts).split())


@pytest.mark.parametrize("name", QUOTED)
def test_measured_values_are_those_of_the_chapter(name):
    chapter = next(c for c in CHAPTERS if int(c.number) == int(name.split(".")[0]))
    output = printed(chapter.stem)
    assert [value for value in QUOTED[name] if value not in output] == []


def test_the_words_are_those_of_the_field():
    language = pytest.importorskip("test_language")
    found = []
    for path in sorted(quiz.QUIZ.glob("*.yml")):
        text = language.prose(path.read_text(encoding="utf-8"))
        found += [str(hit) for hit in language.hits_in(path.name, 1, text)]
    assert found == []


def test_a_file_with_a_wrong_key_is_refused(tmp_path):
    path = tmp_path / f"{CHAPTERS[0].stem}.yml"
    path.write_text("- {title: a, question: b, truth: true, because: c}\n")
    with pytest.raises(ValueError, match=r"question 1: expected the keys .*'why'.*'because'"):
        quiz.read(path)


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_has_the_directive_of_every_chapter():
    page = (ROOT / "book" / "quiz.md").read_text(encoding="utf-8")
    assert re.findall(r"```\{quiz\} (\S+)", page) == [chapter.stem for chapter in CHAPTERS]
    for chapter in CHAPTERS:
        assert f"## {int(chapter.number)} · {chapter.title}\n" in page


@named
def test_the_answer_is_folded(question):
    markdown = quiz.markdown(question)
    asked, _, answer = markdown.partition("<details>")
    assert answer.rstrip().endswith("</details>")
    for option in question.options:
        assert option.text in asked and option.why.strip() in answer
    if question.why:
        assert question.why.strip() in answer and question.why.strip() not in asked


def test_the_built_page_shows_all_questions(built_book):
    file = built_book / "_build" / "html" / "book" / "quiz.html"
    page = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
    article = page.select_one("article")
    titles = [node.get_text() for node in article.select("p > strong:first-child")]
    assert [q for q in QUESTIONS if f"{q.name} · {q.title}" not in titles] == []
    folded = article.select("details")
    assert len(folded) == len(QUESTIONS)
    assert all(len(node.get_text().split()) >= 15 for node in folded)


# ---- the question bank ---------------------------------------------------------------------------


def gift_part(text: str) -> str:
    """A text of GIFT without its format and its escapes; refuses what GIFT reserves."""
    text = text.strip()
    assert text.startswith("[html]"), text[:60]
    out, rest = [], iter(text.removeprefix("[html]"))
    for character in rest:
        if character == "\\":
            escaped = next(rest)
            assert escaped in "~=#{}:n\\", f"unknown escape \\{escaped}"
            out.append("\n" if escaped == "n" else escaped)
        else:
            assert character not in "~=#{}:", f"{character} is not escaped: {text[:80]}"
            out.append(character)
    return "".join(out)


def split(text: str, separators: str, most: int = 0) -> list[str]:
    """Split at characters that are not escaped; a separator begins its part."""
    parts, current, escaped = [], "", False
    for character in text:
        if character in separators and not escaped and (not most or len(parts) < most):
            parts.append(current)
            current = ""
        current += character
        escaped = character == "\\" and not escaped
    return [*parts, current]


def parse_gift(text: str) -> dict[str, list[SimpleNamespace]]:
    """Category -> questions, by the rules of https://docs.moodle.org/en/GIFT_format: blocks are
    separated by empty lines; `::name::text{answers}`. Stricter than Moodle in what it accepts."""
    bank, category = {}, None
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = [line for line in block.split("\n") if not line.strip().startswith("//")]
        block = "\n".join(lines).strip()
        if not block:
            continue
        if block.startswith("$CATEGORY:"):
            category = block.removeprefix("$CATEGORY:").strip()
            assert "\n" not in category and category not in bank
            bank[category] = []
            continue
        _, name, rest = re.split(r"(?<!\\)::", block, maxsplit=2)
        assert len(split(rest, "{")) == 2 and len(split(rest, "}")) == 2 and rest[-1] == "}"
        asked, body = split(rest[:-1], "{")
        question = SimpleNamespace(
            name=re.sub(r"\\(.)", r"\1", name), text=gift_part(asked), answers=[]
        )
        body = body[1:].strip()
        if body.startswith("#"):
            question.kind = "number"
            for part in split(body[1:], "=~")[1:]:
                if part.startswith("~"):
                    question.otherwise = gift_part(split(part, "#", 1)[1][1:])
                    continue
                head, why = split(part[1:], "#", 1)
                weight, value, tolerance = re.fullmatch(
                    r"%(\d+)%(-?\d+(?:\.\d+)?):(\d+(?:\.\d+)?)", head
                ).groups()
                question.answers.append(
                    (int(weight), float(value), float(tolerance), gift_part(why[1:]))
                )
        elif re.match(r"(TRUE|FALSE)#", body):
            question.kind = "truth"
            truth, *reasons = split(body, "#")
            question.answers = [truth == "TRUE", *(gift_part(part[1:]) for part in reasons)]
        else:
            question.kind = "choice"
            first, *parts = split(body, "=~")
            assert first.strip() == ""
            for part in parts:
                option, why = split(part[1:], "#", 1)
                question.answers.append((part[0] == "=", gift_part(option), gift_part(why[1:])))
        bank[category].append(question)
    return bank


def test_the_question_bank_is_read_back_as_written():
    bank = parse_gift(quiz.bank(CHAPTERS))
    assert [category.rsplit("/", 1)[1] for category in bank] == [
        f"{chapter.number} {chapter.title}" for chapter in CHAPTERS
    ]
    for chapter, found in zip(CHAPTERS, bank.values(), strict=True):
        for question, read in zip(chapter.questions, found, strict=True):
            assert read.name == f"{question.name} {question.title}"
            assert read.kind == question.kind
            assert read.text == quiz.html(question.text)
            why = quiz.html(question.why) if question.why else ""
            if question.kind == "choice":
                assert read.answers == [
                    (o.right, quiz.html(o.text), quiz.html(o.why)) for o in question.options
                ]
            elif question.kind == "truth":
                assert read.answers == [question.answer, why, why]
            else:
                assert read.answers == [
                    (100, question.answer, question.tolerance, why),
                    *((0, wrong.number, 0, quiz.html(wrong.why)) for wrong in question.wrong),
                ]
                assert read.otherwise == why


@pytest.mark.parametrize(
    "text",
    [
        "a = b ~ c # d {e} f: g",
        "a backslash \\ and \\n as two characters, \\= and \\\\",
        "two\n\nparagraphs",
        "[html] inside",
        "// no comment",
    ],
)
def test_every_reserved_character_survives(text):
    assert gift_part("[html]" + quiz.escape(text)) == text
    assert "\n" not in quiz.escape(text)


def test_the_parser_refuses_what_is_not_escaped():
    with pytest.raises(AssertionError, match="not escaped"):
        parse_gift("$CATEGORY: a/b\n\n::1::[html]1 = 1{TRUE#[html]a#[html]b}\n")


def test_the_command_writes_the_file(tmp_path, monkeypatch, capsys):
    out = tmp_path / "deep" / "bank.gift"
    monkeypatch.setattr(sys, "argv", ["quiz.py", "--out", str(out)])
    assert quiz.main() == 0
    assert out.read_text(encoding="utf-8") == quiz.bank(CHAPTERS)
    assert f"{len(QUESTIONS)} questions of {len(CHAPTERS)} chapters" in capsys.readouterr().out
