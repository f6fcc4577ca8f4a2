"""The pages for teachers: all chapters are there, and the figures, sections and questions that they
name are in the chapters."""

import html
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEACHING = ROOT / "book" / "teaching"
PAGES = sorted(TEACHING.glob("*.md"))
CHAPTERS = {int(path.stem[:2]): path for path in sorted((ROOT / "chapters").glob("[0-9]*.ipynb"))}
EXERCISES = {
    int(path.stem[2:4]): path for path in sorted((ROOT / "chapters/exercises").glob("ex*.ipynb"))
}


def markdown(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def sections(page: str) -> dict[int, str]:
    """The part of a page below `## Chapter N`."""
    parts = re.split(r"^## Chapter (\d+) · .*$", page, flags=re.M)
    return {int(n): text for n, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_chapter_has_goals_and_misunderstandings():
    goals = (TEACHING / "overview.md").read_text(encoding="utf-8")
    for number, path in CHAPTERS.items():
        assert f"| [{number} · " in goals and f"(../../chapters/{path.name})" in goals, number
    found = sections((TEACHING / "misunderstandings.md").read_text(encoding="utf-8"))
    assert set(found) == set(CHAPTERS)
    for number, text in found.items():
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(rows) - 1 >= 5, number
        assert all(line.count("|") == 4 for line in rows), number


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_figures_that_are_named_exist(path):
    for figures in re.findall(r"[Ff]igures? (\d+\.\d+(?: and \d+\.\d+)*)", path.read_text()):
        for figure in figures.split(" and "):
            caption = f"*Figure {figure}. "
            assert caption in markdown(CHAPTERS[int(figure.split(".")[0])]), figure


def test_misunderstandings_name_sections_and_questions_that_exist():
    page = (TEACHING / "misunderstandings.md").read_text(encoding="utf-8")
    for number, text in sections(page).items():
        chapter = markdown(CHAPTERS[number])
        check = chapter.split("## Check yourself")[1].split("## Exercises")[0]
        questions = {int(n) for n in re.findall(r"(?:<summary>|^)(\d)\. ", check, re.M)}
        for row in text.splitlines():
            settles = row.split("|")[-2] if row.startswith("| ") else ""
            for question in re.findall(r"question (\d)", settles):
                assert int(question) in questions, f"chapter {number}, question {question}"
            for quoted in re.findall(r'"([^"]+)"', settles):
                plain = html.unescape(chapter.replace("*", ""))
                assert quoted in plain, f"chapter {number}: {quoted}"


@pytest.mark.parametrize("name", ["overview", "plans"])
def test_exercises_that_are_named_exist(name):
    rows = (TEACHING / f"{name}.md").read_text(encoding="utf-8").splitlines()
    named = {
        (int(chapter), int(number))
        for row in rows
        if row.startswith("|")
        for chapter, number in re.findall(r"(?<![\d.])(\d{1,2})\.(\d)(?![\d.])", row)
    }
    assert len(named) >= 20
    for chapter, number in named:
        text = markdown(EXERCISES[chapter])
        assert f"## Exercise {number} (" in text, f"{chapter}.{number}"


def test_reading_times_are_those_of_the_introduction():
    intro = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    intro = intro.replace("\N{NO-BREAK SPACE}", " ")  # keeps "1½ h" on one line
    times = {
        int(number): time
        for number, time in re.findall(r"^\| \[(\d+) · .*\| ([\d½]+ h) \|$", intro, re.M)
    }
    assert set(times) == set(CHAPTERS)
    plans = (TEACHING / "plans.md").read_text(encoding="utf-8")
    week, semester = plans.split("## A semester")
    named = [(int(n), time) for n, time in re.findall(r"\b(\d+) \(([\d½]+ h)\)", week)]
    for row in re.findall(r"^\| \d+ \| (.*?\d+ · .*)$", semester, re.M):
        cells = row.split(" | ")
        chapters = [int(n) for n in re.findall(r"(\d+) · ", cells[0])]
        named += zip(chapters, cells[1].split(", "), strict=True)
    assert len(named) >= 24
    assert [(n, time) for n, time in named if times[n] != time] == []
