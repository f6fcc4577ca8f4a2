"""`make quiz`: write the questions of `book/quiz/` as a question bank in GIFT format, for Moodle.

`book/quiz/NN_name.yml` holds the five questions of the chapter `chapters/NN_name.ipynb`. The page
`book/quiz.md` shows the same files through the directive of `sphinx_quiz.py`. A question has a
`title`, a `question` and one of these:

- `options`: four of them, each with a `why`; the text of one stands under `right`, of the others
  under `wrong`;
- `number`: the answer, with its `tolerance`, a `why`, and under `wrong` typical wrong numbers, each
  with a `why`;
- `truth`: `true` or `false`, with a `why`.

The texts are markdown without formulas, because not every Moodle typesets them. Measured figures
are written with the role `{run}`.
"""

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
QUIZ = ROOT / "book" / "quiz"
CHAPTERS = ROOT / "chapters"
GIFT = ROOT / "_build" / "quiz" / "human_pose_estimation.gift"
COURSE = "Human Pose Estimation, Step by Step"

RESERVED = "~=#{}:"


@dataclass(frozen=True)
class Option:
    """One answer to choose, in markdown, and why it is right or wrong."""

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class WrongNumber:
    """A number that a typical mistake leads to, and which mistake that is."""

    number: float
    why: str


@dataclass(frozen=True)
class Question:
    """One question. The fields that its kind does not use are empty.

    Attributes:
        name: number of the chapter and of the question, "3.2".
        title: a few words, different in every question.
        text: the question, in markdown.
        kind: "choice", "number" or "truth".
        options: of a choice, in the order of the page.
        answer: a number, or True or False.
        tolerance: largest accepted distance from a number.
        why: the reason for a number, or for True or False.
        wrong: typical wrong numbers.
    """

    name: str
    title: str
    text: str
    kind: str
    options: tuple[Option, ...] = ()
    answer: float | bool | None = None
    tolerance: float = 0.0
    why: str = ""
    wrong: tuple[WrongNumber, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """A chapter and its questions."""

    stem: str
    title: str
    questions: tuple[Question, ...]

    @property
    def number(self) -> str:
        """Two digits, as in the name of the notebook."""
        return self.stem[:2]


def _keys(entry: dict, where: str, *wanted: str) -> None:
    if set(entry) != set(wanted):
        raise ValueError(f"{where}: expected the keys {sorted(wanted)}, got {sorted(entry)}")


def _question(entry: dict, name: str, where: str) -> Question:
    common = {"name": name, "title": entry.get("title"), "text": entry.get("question")}
    if "options" in entry:
        _keys(entry, where, "title", "question", "options")
        options = []
        for option in entry["options"]:
            kind = "right" if "right" in option else "wrong"
            _keys(option, f"{where}, an option", kind, "why")
            options.append(Option(str(option[kind]), kind == "right", option["why"]))
        return Question(**common, kind="choice", options=tuple(options))
    if "number" in entry:
        _keys(entry, where, "title", "question", "number", "tolerance", "why", "wrong")
        for wrong in entry["wrong"]:
            _keys(wrong, f"{where}, a wrong number", "number", "why")
        return Question(
            **common,
            kind="number",
            answer=float(entry["number"]),
            tolerance=float(entry["tolerance"]),
            why=entry["why"],
            wrong=tuple(WrongNumber(float(w["number"]), w["why"]) for w in entry["wrong"]),
        )
    _keys(entry, where, "title", "question", "truth", "why")
    return Question(**common, kind="truth", answer=entry["truth"], why=entry["why"])


def read(path: Path) -> Chapter:
    """Read the questions of one chapter.

    Args:
        path: a file of `book/quiz/`, named like its chapter.

    Returns:
        The chapter, with its title as in the notebook.

    Raises:
        ValueError: with the file, the question and the keys that do not fit.
    """
    notebook = json.loads((CHAPTERS / f"{path.stem}.ipynb").read_text(encoding="utf-8"))
    heading = "".join(notebook["cells"][0]["source"]).splitlines()[0]
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    questions = tuple(
        _question(entry, f"{int(path.stem[:2])}.{i}", f"{path.name}, question {i}")
        for i, entry in enumerate(entries, start=1)
    )
    return Chapter(path.stem, heading.removeprefix("# ").strip(), questions)


def read_all() -> list[Chapter]:
    """Read all chapters that have questions, in the order of the book."""
    return [read(path) for path in sorted(QUIZ.glob("[0-9][0-9]_*.yml"))]


# ---- markdown of the page ------------------------------------------------------------------------


def _number(value: float) -> str:
    """4.0 as 4, 0.25 as 0.25, and a minus sign instead of a hyphen."""
    return f"{value:.10g}".replace("-", "\u2212")


def _answer(question: Question) -> str:
    if question.kind == "choice":
        lines = []
        for letter, option in zip("ABCD", question.options, strict=True):
            verdict = "is right" if option.right else "is wrong"
            lines.append(f"- **{letter}** {verdict}. {option.why.strip()}")
        return "\n".join(lines)
    if question.kind == "truth":
        return f"**{question.answer}.** {question.why.strip()}"
    text = f"**{_number(question.answer)}**"
    if question.tolerance:
        text += f" (± {_number(question.tolerance)} is accepted)"
    text = f"{text}. {question.why.strip()}"
    for wrong in question.wrong:
        text += f"\n\n{_number(wrong.number)} is wrong. {wrong.why.strip()}"
    return text


def markdown(question: Question, answers: bool = True) -> str:
    """Return a question in markdown, with its answer folded.

    Args:
        question: of any kind.
        answers: False leaves the answer out, as in the book for a class.

    Returns:
        Several blocks of markdown; the answer is in a `<details>`.
    """
    prefix = "True or false? " if question.kind == "truth" else ""
    blocks = [f"**{question.name} · {question.title}**", prefix + question.text.strip()]
    if question.kind == "choice":
        pairs = zip("ABCD", question.options, strict=True)
        blocks.append("\n".join(f"- **{letter}** {option.text}" for letter, option in pairs))
    if answers:
        blocks += ["<details>\n<summary>Answer</summary>", _answer(question), "</details>"]
    return "\n\n".join(blocks) + "\n"


# ---- GIFT ----------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """Escape the characters that GIFT reserves; a line break becomes `\\n`.

    Source: https://docs.moodle.org/en/GIFT_format, and `repchar` in Moodle's
    `question/format/gift/format.php`.
    """
    text = text.replace("\\", "\\\\")
    for character in RESERVED:
        text = text.replace(character, "\\" + character)
    return text.replace("\n", "\\n")


def html(text: str) -> str:
    """Markdown as HTML, the values of `{run}` filled in."""
    from sphinx_book import lookup

    text = re.sub(r"\{run\}`([^`]+)`", lambda match: lookup(match[1]), text)
    return MarkdownIt("commonmark").enable("table").render(text.strip()).strip()


def _part(text: str) -> str:
    return "[html]" + escape(html(text))


def gift(question: Question) -> str:
    """Return a question in GIFT, with the reason of each answer as its feedback.

    Args:
        question: of any kind.

    Returns:
        One block without an empty line.
    """
    title = escape(f"{question.name} {question.title}")
    head = f"::{title}::{_part(question.text)}"
    if question.kind == "choice":
        answers = [
            f"\t{'=' if option.right else '~'}{_part(option.text)}#{_part(option.why)}"
            for option in question.options
        ]
        return "\n".join([head + "{", *answers, "}"])
    why = _part(question.why)
    if question.kind == "truth":  # first the feedback of the wrong choice, then of the right one
        return f"{head}{{{str(question.answer).upper()}#{why}#{why}}}"
    answers = [f"\t=%100%{question.answer:.10g}:{question.tolerance:.10g}#{why}"]
    answers += [f"\t=%0%{w.number:.10g}:0#{_part(w.why)}" for w in question.wrong]
    return "\n".join([head + "{#", *answers, f"\t~#{why}", "}"])


def bank(chapters: list[Chapter]) -> str:
    """Return the question bank: one category per chapter, in it one question after another.

    Args:
        chapters: with their questions.

    Returns:
        The contents of the GIFT file, which is UTF-8.
    """
    blocks = [f"// {COURSE}: question bank in GIFT format"]
    for chapter in chapters:
        blocks.append(f"$CATEGORY: $course$/top/{COURSE}/{chapter.number} {chapter.title}")
        blocks += [gift(question) for question in chapter.questions]
    return "\n\n".join(blocks) + "\n"


def main() -> int:
    """Write the question bank, and print where it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=GIFT, help="GIFT file (default: _build/quiz)")
    args = parser.parse_args()
    chapters = read_all()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(bank(chapters), encoding="utf-8", newline="\n")
    count = sum(len(chapter.questions) for chapter in chapters)
    print(f"{count} questions of {len(chapters)} chapters:\n  {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
