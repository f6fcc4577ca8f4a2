"""`make autograde SUBMISSIONS=FOLDER`: mark what students handed in, without nbgrader's database.

The folder holds one folder per student, with the notebooks anywhere in it. Written are `grades.csv`
(one row per student), `details.csv` (one row per exercise), and `feedback/STUDENT.html`. Each
notebook is judged in processes of its own (see `judge.py`), so that a crash, an endless loop or an
unreadable file costs its own student's marks only.
"""

import argparse
import csv
import html
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
from judge import BROKEN, Result, exercises, judge
from notebooks import ROOT, find, is_exercise

BOOK = {path.stem: path for path in find() if is_exercise(path)}
"""Name of a notebook of exercises -> the book's version, with solutions."""


@dataclass(frozen=True)
class Submission:
    """One notebook of one student.

    Args:
        student: name of the student's folder.
        notebook: name of the notebook, `exNN_name`.
        path: the file, or None where none was handed in.
        note: to the teacher.
    """

    student: str
    notebook: str
    path: Path | None
    note: str = ""


def collect(folder: Path, names: Iterable[str] = ()) -> list[Submission]:
    """The submissions in a folder.

    Args:
        folder: one folder per student, with the notebooks anywhere in it.
        names: notebooks that were set, as `ex01` or `ex01_from_pixels_to_joints`; without any,
            those that at least one student handed in.

    Returns:
        One for each student and each notebook, also where nothing was handed in.

    Raises:
        SystemExit: if there is no student, no such notebook, or nothing was handed in.
    """
    if not folder.is_dir():
        raise SystemExit(f"error: {folder}: no such folder")
    students = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    files: dict[tuple[str, str], list[Path]] = {}
    for student in students:
        for path in sorted(student.rglob("*.ipynb")):
            if ".ipynb_checkpoints" not in path.parts and (name := _name(path.stem)):
                files.setdefault((student.name, name), []).append(path)
    wanted = sorted({_known(name) for name in names} or {name for _, name in files})
    if not wanted:
        raise SystemExit(f"error: {folder}: no student's folder holds a notebook exNN_….ipynb")
    found = []
    for student in students:
        for name in wanted:
            paths = sorted(files.get((student.name, name), []), key=lambda p: p.stat().st_mtime)
            note = f"{len(paths)} files, the newest was judged" if len(paths) > 1 else ""
            found.append(Submission(student.name, name, paths[-1] if paths else None, note))
    return found


def _name(stem: str) -> str | None:
    """The book's notebook that a file is: browsers add ` (1)`, students their name."""
    return next((name for name in BOOK if stem.startswith(name)), None)


def _known(name: str) -> str:
    matches = [known for known in BOOK if known == name or known.startswith(f"{name}_")]
    if len(matches) != 1:
        raise SystemExit(f"error: {name}: no such notebook of exercises")
    return matches[0]


def grade(submission: Submission, seed: int | None) -> list[Result]:
    """Judge one submission; whatever happens, there is a result for each exercise."""
    book = BOOK[submission.notebook]
    try:
        return judge(submission.path or Path("missing.ipynb"), book, seed)
    except Exception as error:
        message = "The answer could not be judged."
        tasks = exercises(nbformat.read(book, as_version=4))
        return [Result(task, BROKEN, 0, message, f"{error}"[:300]) for task in tasks]


def grade_all(
    submissions: list[Submission],
    seed: int | None,
    jobs: int = 1,
    report: Callable[[str], None] = print,
) -> dict[Submission, list[Result]]:
    """Judge all submissions, some at the same time."""

    def one(submission: Submission) -> list[Result]:
        results = grade(submission, seed)
        points = sum(result.points for result in results)
        report(f"{submission.student}: {submission.notebook}: {points:g} of {_worth(results):g}")
        return results

    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(submissions, pool.map(one, submissions), strict=True))


def _worth(results: list[Result]) -> float:
    return sum(result.exercise.points for result in results)


# ---- writing -------------------------------------------------------------------------------------


def write_csv(folder: Path, graded: dict[Submission, list[Result]]) -> None:
    """Write `grades.csv` and `details.csv`."""
    names = sorted({submission.notebook for submission in graded})
    points = {(s.student, s.notebook): sum(r.points for r in rs) for s, rs in graded.items()}
    worth = {s.notebook: _worth(results) for s, results in graded.items()}
    with (folder / "grades.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["student", *names, "points", "max_points"])
        for student in sorted({submission.student for submission in graded}):
            mine = [points[student, name] for name in names]
            numbers = [f"{n:g}" for n in (*mine, sum(mine), sum(worth.values()))]
            rows.writerow([_cell(student), *numbers])
    with (folder / "details.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["student", "notebook", "exercise", "verdict", "points", "max_points", "says", "note"]
        )
        for submission, results in graded.items():
            for result in results:
                task = result.exercise
                note = "; ".join(filter(None, (result.note, submission.note)))
                texts = [submission.student, submission.notebook, task.check, result.verdict]
                numbers = [f"{result.points:g}", f"{task.points:g}"]
                rows.writerow([*map(_cell, texts), *numbers, _cell(result.message), _cell(note)])


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
article { border-left: 0.4rem solid #b3261e; padding: 0 1rem; margin: 1.5rem 0; }
article.solved { border-color: #1b6e3c; }
pre { background: #f3f3f3; color: #111; padding: 0.6rem; overflow-x: auto; }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #eee; } }
"""


def write_feedback(folder: Path, student: str, results: dict[Submission, list[Result]]) -> Path:
    """Write one student's page.

    Args:
        folder: for the pages.
        student: name of the student's folder.
        results: of this student's submissions.

    Returns:
        The file.
    """
    title = html.escape(f"Feedback for {student}")
    total = [r for rows in results.values() for r in rows]
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{_STYLE}</style><h1>{title}</h1>",
        f"<p>{sum(r.points for r in total):g} of {_worth(total):g} points.</p>",
    ]
    for submission, rows in results.items():
        answers = _answers(submission.path)
        points = f"{sum(r.points for r in rows):g} of {_worth(rows):g}"
        parts.append(f"<h2>{html.escape(submission.notebook)}: {points} points</h2>")
        for result in rows:
            task = result.exercise
            solved = "solved" if result.points else "open"
            source = answers.get(task.solution_id, "")
            parts += [
                f'<article class="{solved}"><h3>{html.escape(task.title or task.check)}</h3>',
                f"<p><strong>{html.escape(result.verdict)}</strong>, {result.points:g} of ",
                f"{task.points:g}. {html.escape(result.message)}</p>",
                f"<pre>{html.escape(source)}</pre></article>" if source else "</article>",
            ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{student}.html"
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _answers(path: Path | None) -> dict[str, str]:
    try:
        cells = nbformat.read(path, as_version=4).cells
        graders = [(cell.metadata.get("nbgrader", {}), cell.source) for cell in cells]
        return {g["grade_id"]: str(source) for g, source in graders if g.get("solution")}
    except Exception:
        return {}


def main() -> int:
    """Mark a folder of submissions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("submissions", type=Path, help="folder with one folder per student")
    parser.add_argument(
        "--exercises", nargs="*", default=[], help="such as ex01 ex06; default: all"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "grades")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks judged at the same time")
    parser.add_argument("--seed", type=int, help="of the numbers that students cannot see")
    args = parser.parse_args()
    seed = secrets.randbelow(2**31) if args.seed is None else args.seed
    graded = grade_all(collect(args.submissions, args.exercises), seed, max(args.jobs, 1))
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(args.out, graded)
    for student in sorted({submission.student for submission in graded}):
        mine = {s: results for s, results in graded.items() if s.student == student}
        write_feedback(args.out / "feedback", student, mine)
    print(f"marked with seed {seed}: {args.out / 'grades.csv'}, details.csv and feedback/")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
