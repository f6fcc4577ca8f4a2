"""`make course`: write a folder for nbgrader, `_course/`, with a source and a release version of
each notebook of exercises.

nbgrader releases, collects, and keeps the marks; `JudgeAnswers` takes the place of its execution.
It judges each answer in processes of its own (see `judge.py`), with numbers that students cannot
see, so that nothing an answer does to the checks in its own kernel helps.
"""

import argparse
import copy
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path

import nbformat
from assignments import STUB
from judge import SOLVED, judge
from nbgrader.apps import NbGraderAPI
from nbgrader.preprocessors import NbGraderPreprocessor
from notebooks import ROOT, find, is_exercise, normalise, read, to_text
from traitlets import Int, Unicode
from traitlets.config import Config
from workspace import fill

# nbgrader calls the program `alembic`, which lies next to Python's.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"

CONFIG = '''"""nbgrader's settings for this course. Written once by `make course`; yours to edit."""

import sys
from pathlib import Path

sys.path.insert(0, {tools!r})
from course import JudgeAnswers

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = {course!r}
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.ClearSolutions.code_stub = {{"python": {stub!r}}}

# Answers are judged in processes of their own; the submitted notebook itself is not run.
c.Autograde.autograde_preprocessors = [
    JudgeAnswers,
    "nbgrader.preprocessors.IgnorePattern",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.JudgeAnswers.source = c.CourseDirectory.root + "/source"
c.JudgeAnswers.seed = {seed}  # of the numbers that students cannot see: do not publish it
'''

_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)\s]+)\)")


class JudgeAnswers(NbGraderPreprocessor):
    """Fills the outputs of the check cells with what the judge says; in place of `Execute`."""

    source = Unicode(help="nbgrader's folder of source versions").tag(config=True)
    seed = Int(0, help="seed of the numbers that students cannot see").tag(config=True)

    def preprocess(self, nb: nbformat.NotebookNode, resources: dict) -> tuple:
        """Judge one notebook.

        Args:
            nb: the student's, sanitised by nbgrader; its check cells are changed.
            resources: nbgrader's.

        Returns:
            Both.
        """
        names = resources["nbgrader"]
        solution = Path(self.source) / names["assignment"] / f"{names['notebook']}.ipynb"
        with tempfile.TemporaryDirectory(prefix="submission") as folder:
            path = Path(folder) / solution.name
            nbformat.write(nb, path)
            results = {r.exercise.grade_id: r for r in judge(path, solution, self.seed)}
        for cell in nb.cells:
            if cell.cell_type != "code" or not cell.metadata.get("nbgrader", {}).get("grade"):
                continue
            result = results.get(cell.metadata.nbgrader["grade_id"])
            says = result.message if result else "This exercise is not in the source version."
            if result and result.verdict == SOLVED:
                note = f"\nNote to the teacher: {result.note}" if result.note else ""
                cell.outputs = [nbformat.v4.new_output("stream", text=says + note)]
            else:
                says = says if result is None else f"{result.verdict}: {says}"
                cell.outputs = [
                    nbformat.v4.new_output(
                        "error", ename="CheckFailed", evalue=says, traceback=[f"✗ Not yet, {says}"]
                    )
                ]
            cell.execution_count = 1
        return nb, resources


def source_version(notebook: nbformat.NotebookNode, site: str | None) -> nbformat.NotebookNode:
    """The version with solutions from which nbgrader makes the release.

    Args:
        notebook: of exercises; not changed.
        site: address of the built book, to which the links to chapters and pages lead. None: such
            links become plain text, because nbgrader hands out the notebook alone.

    Returns:
        A new notebook.
    """
    nb = copy.deepcopy(normalise(notebook, exercise=True))

    def link(match: re.Match) -> str:
        text, target = match.groups()
        if site is None:
            return text
        path = (ROOT / "chapters" / "exercises" / target).resolve().relative_to(ROOT)
        return f"[{text}]({site.rstrip('/')}/{path.with_suffix('.html').as_posix()})"

    for cell in nb.cells:
        for name in ("mystnb", "jupyter"):
            cell.metadata.pop(name, None)
        cell.metadata.pop("tags", None)
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(link, cell.source)
        else:
            cell.outputs, cell.execution_count = [], None
    return nb


def write_course(folder: Path, names: list[str], site: str | None, course_id: str) -> list[str]:
    """Write the course, or bring it up to date; what a teacher has edited stays.

    Args:
        folder: the course's.
        names: beginnings of notebooks' names, such as `ex01`; empty: all.
        site: see `source_version`.
        course_id: nbgrader's name of the course.

    Returns:
        The assignments whose release version was written.

    Raises:
        SystemExit: if there is no such notebook, or nbgrader cannot make a release version.
    """
    paths = [path for path in find() if is_exercise(path)]
    unknown = [n for n in names if not any(path.stem.startswith(n) for path in paths)]
    if unknown:
        raise SystemExit(f"error: {unknown[0]}: no such notebook of exercises")
    chosen = [path for path in paths if not names or path.stem.startswith(tuple(names))]
    folder = folder.resolve()
    files = {
        Path("source", path.stem, path.name): to_text(source_version(read(path), site)).encode()
        for path in chosen
    }
    fill(folder, files)
    config = folder / "nbgrader_config.py"
    if not config.exists():
        text = CONFIG.format(
            tools=str(ROOT / "book" / "tools"),
            course=course_id,
            stub=STUB,
            seed=secrets.randbelow(2**31),
        )
        config.write_text(text, encoding="utf-8")
    settings = Config()
    settings.CourseDirectory.root = str(folder)
    settings.CourseDirectory.course_id = course_id
    settings.ClearSolutions.code_stub = {"python": STUB}
    api = NbGraderAPI(config=settings)
    released = []
    for path in chosen:
        source = folder / "source" / path.stem / path.name
        release = folder / "release" / path.stem / path.name
        if release.exists() and release.stat().st_mtime >= source.stat().st_mtime:
            continue
        done = api.generate_assignment(path.stem, force=True, create=True)
        if not done["success"]:
            raise SystemExit(f"error: nbgrader, {path.stem}: {done['error']}\n{done['log']}")
        released.append(path.stem)
    return released


def main() -> int:
    """Write the course."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("exercises", nargs="*", help="such as ex01 ex06; default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "_course", help="default: _course")
    parser.add_argument("--site", help="address of the built book; links lead there")
    parser.add_argument("--course-id", default="pose", help="default: pose")
    args = parser.parse_args()
    released = write_course(args.out, args.exercises, args.site, args.course_id)
    print(f"{args.out}: {len(released)} release versions written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
