"""What a class gets: the workspace, the course for nbgrader, and the marks."""

import csv
import importlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import assignments
import autograde
import build
import course
import judge
import nbformat
import notebooks
import numpy as np
import pytest
import quiz
import student_process
import wire
import workspace
from own_answers import OWN_ANSWERS

from posekit.notebook.checks import ch01
from posekit.skeleton import COCO17

ROOT = Path(__file__).resolve().parents[2]
EXERCISES = [path for path in notebooks.find() if notebooks.is_exercise(path)]
NAME = "ex01_from_pixels_to_joints"
BOOK = ROOT / "chapters" / "exercises" / f"{NAME}.ipynb"
IDS = ["solution-1", "solution-2", "solution-3", "solution-4"]


def solutions(path: Path = BOOK) -> dict[str, str]:
    """Grade id -> the book's solution, without markers."""
    return {
        cell.metadata.nbgrader.grade_id: judge._without_markers(cell.source)
        for cell in notebooks.read(path).cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }


def write(path: Path, answers: dict[str, str], copy: nbformat.NotebookNode | None = None) -> Path:
    """A student's copy with these answers in it."""
    nb = assignments.cut(notebooks.read(BOOK)) if copy is None else copy
    for cell in nb.cells:
        grader = cell.metadata.get("nbgrader", {})
        if grader.get("solution") and grader.grade_id in answers:
            cell.source = answers[grader.grade_id]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(notebooks.to_text(nb), encoding="utf-8")
    return path


MONKEYPATCH = """
from posekit.notebook import checks

for name in dir(ch01):
    if name.startswith("check_"):
        setattr(ch01, name, lambda *answers: None)
checks.expect = checks.judge = checks.expect_close = lambda *given, **named: None
np.allclose = np.array_equal = lambda *given, **named: True
np.abs = lambda *given: np.zeros(1)
"""
IMPORTED = {
    "solution-1": """
from posekit import geometry


def flip_person(image, keypoints, visible, bbox):
    twin = list(COCO17.flip_indices)
    moved = geometry.flip_keypoints(keypoints, image.shape[1], COCO17.flip_indices)
    box = np.array([image.shape[1] - bbox[0] - bbox[2], *bbox[1:]])
    return image[:, ::-1], moved, visible[twin], box
""",
    "solution-2": """
from posekit import geometry


def crop_to_photo(bbox, size, padding=1.25):
    centre, side = geometry.bbox_center(bbox), geometry.square_side(bbox, padding)
    return geometry.invert(geometry.crop_affine(centre, side, size))
""",
    "solution-3": """
import importlib


def codec_is_sound(encode, decode, size):
    ours = importlib.reload(importlib.import_module("posekit.geometry"))
    points = np.random.default_rng(0).uniform(-500, 900, (50, 2))
    u = encode(points, size)
    same = np.allclose(u, ours.encode_keypoints(points, size))
    return bool(same and np.allclose(decode(u, size), points))
""",
    "solution-4": """
import posekit.geometry as shapes


def count_joints(keypoints, visible, known, size):
    inside = getattr(shapes, "ins" + "ide")(keypoints, (size, size))
    return inside & (visible >= 1), known.astype(int)
""",
}


def students(folder: Path, file: str, copy: Path | None = None) -> None:
    """Five students: good, sloppy, empty, and two who cheat."""
    right = solutions()
    sloppy = {
        **right,
        "solution-2": right["solution-2"].replace("max(w, h)", "min(w, h)"),
        "solution-3": right["solution-3"].replace("< 1e-3", "< 1.0"),
    }
    stub = {
        c.metadata.nbgrader.grade_id: c.source
        for c in assignments.cut(notebooks.read(BOOK)).cells
        if c.metadata.get("nbgrader", {}).get("solution")
    }
    cheat = {name: MONKEYPATCH + source for name, source in stub.items()}
    for name, answers in (
        ("good", right),
        ("sloppy", sloppy),
        ("empty", {}),
        ("monkeypatch", cheat),
        ("imported", IMPORTED),
    ):
        nb = None if copy is None else notebooks.read(copy)
        write(folder / name / file, answers, nb)


MARKS = {"good": 4, "sloppy": 2, "empty": 0, "monkeypatch": 0, "imported": 0}


# ---- the workspace -------------------------------------------------------------------------------


def test_students_get_all_pages_that_are_linked_and_no_solution():
    files = assignments.handout(EXERCISES)
    assert {path.relative_to(ROOT) for path in notebooks.find()} <= set(files)
    for path in EXERCISES:
        text = files[path.relative_to(ROOT)].decode()
        assert notebooks.BEGIN not in text
        for source in solutions(path).values():
            last = source.strip().splitlines()[-1].strip()
            assert len(last) < 12 or json.dumps(last)[1:-1] not in text, (path.name, last)
    for name in files:
        for target in assignments.links(ROOT / name):
            assert target.relative_to(ROOT) in files, (name, target)


def test_a_changed_file_of_the_workspace_is_never_overwritten(tmp_path):
    a, b = Path("chapters/a.ipynb"), Path("chapters/figures/b.svg")
    assert workspace.fill(tmp_path, {a: b"one", b: b"one"}) == []
    (tmp_path / a).write_bytes(b"my work")
    assert workspace.fill(tmp_path, {a: b"one", b: b"one"}) == []
    assert workspace.fill(tmp_path, {a: b"two", b: b"two"}) == [a]
    assert (tmp_path / a).read_bytes() == b"my work"
    assert (tmp_path / b).read_bytes() == b"two"
    (tmp_path / workspace.MANIFEST).unlink()  # even if it is not known what was written
    (tmp_path / b).write_bytes(b"mine, too")
    assert workspace.fill(tmp_path, {a: b"three", b: b"three"}) == [a, b]
    assert (tmp_path / a).read_bytes() == b"my work"
    assert (tmp_path / b).read_bytes() == b"mine, too"
    (tmp_path / a).unlink()
    workspace.fill(tmp_path, {a: b"three", b: b"three"})
    assert (tmp_path / a).read_bytes() == b"three"


# ---- the book for a class ------------------------------------------------------------------------


def test_the_book_for_a_class_is_built_from_students_copies(tmp_path):
    build.stage_class(tmp_path / "source")
    staged = sorted((tmp_path / "source" / "chapters" / "exercises").glob("*.ipynb"))
    assert [path.name for path in staged] == [path.name for path in EXERCISES]
    for path in staged:
        text = path.read_text(encoding="utf-8")
        assert notebooks.BEGIN not in text and "Show a solution" not in text
    config = (tmp_path / "source" / "_config.yml").read_text(encoding="utf-8")
    assert "    quiz_answers: false\n" in config
    question = quiz.read(quiz.QUIZ / "01_from_pixels_to_joints.yml").questions[0]
    assert "<details>" in quiz.markdown(question)
    assert "<details>" not in quiz.markdown(question, answers=False)


# ---- the judge -----------------------------------------------------------------------------------


def test_reading_an_answer_cannot_run_code():
    class Evil:
        def __reduce__(self):
            return os.getcwd, ()

    for value in (Evil(), [Evil()], np.zeros(2)):
        with pytest.raises(pickle.UnpicklingError):
            wire.read_plain(pickle.dumps(value))
    held = []
    values = [
        1,
        2.5,
        True,
        None,
        "x",
        b"y",
        {"a": (np.arange(6).reshape(2, 3), {1, 2})},
        np.float32(3),
    ]
    message = pickle.dumps(wire.plain(values, held.append))
    back = wire.restore(wire.read_plain(message), lambda remote: remote)
    assert held == [] and back[:6] == values[:6] and back[7] == 3
    np.testing.assert_array_equal(back[6]["a"][0], values[6]["a"][0])


def test_posekits_own_answers_and_their_exercises_exist():
    checks = {task.check for path in EXERCISES for task in judge.exercises(notebooks.read(path))}
    assert len(checks) >= 50 and set(OWN_ANSWERS) <= checks
    for names in OWN_ANSWERS.values():
        for name in names:
            holder, attribute = student_process._resolve(name)
            assert callable(getattr(holder, attribute)), name
    for check in checks:
        module, _, name = check.partition(".")
        assert hasattr(importlib.import_module(f"posekit.notebook.checks.{module}"), name)


def test_crash_loop_and_cheating_cost_their_own_exercise_only(tmp_path):
    answers = {
        "solution-1": "import ctypes\n\nctypes.string_at(0)",
        "solution-2": IMPORTED["solution-2"],
        "solution-3": "codec_is_sound = lambda encode, decode, size: bool(",
        "solution-4": MONKEYPATCH
        + solutions()["solution-4"].replace("np.all", "np.logical_and.reduce"),
    }
    results = judge.judge(write(tmp_path / "a.ipynb", answers), BOOK, seed=3)
    assert [r.verdict for r in results] == [judge.WRONG, judge.COPIED, judge.WRONG, judge.SOLVED]
    assert [r.points for r in results] == [0, 0, 0, 1]
    assert "stops Python" in results[0].message and "SyntaxError" in results[2].message
    assert "posekit.geometry.crop_affine" in results[1].message


def test_an_answer_that_knows_the_visible_numbers_fails_the_hidden_tests(tmp_path):
    right = solutions()["solution-1"]
    sums = []

    def spy(image, keypoints, visible, bbox):
        sums.append(int(image.sum()))
        names = {"np": np, "COCO17": COCO17}
        exec(right, names)
        return names["flip_person"](image, keypoints, visible, bbox)

    ch01.check_flip_person(spy)
    knowing = f"SEEN = {sums!r}\n\n\n" + right.replace("flip_person", "right_answer")
    knowing += """


def flip_person(image, keypoints, visible, bbox):
    if int(image.sum()) in SEEN:
        return right_answer(image, keypoints, visible, bbox)
    return image, keypoints, visible, bbox
"""
    path = write(tmp_path / "a.ipynb", {"solution-1": knowing})
    for seed, verdict in ((None, judge.SOLVED), (4, judge.WRONG)):
        result = judge.judge(path, BOOK, seed)[0]
        assert result.verdict == verdict, result.message


def test_what_is_no_notebook_is_judged_too(tmp_path):
    for content in (None, "", "{not json", '{"cells": 3}'):
        path = tmp_path / "a.ipynb"
        if content is not None:
            path.write_text(content)
        results = list(judge.judge_here(path, BOOK))
        assert [r.points for r in results] == [0] * 4
        assert all("The notebook" in r.message for r in results)


def test_submissions_are_found_wherever_they_lie(tmp_path):
    for path in (f"anna/{NAME}.ipynb", f"ben/week 1/{NAME} (1).ipynb", "cem/notes.ipynb"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("{}")
    found = autograde.collect(tmp_path)
    assert [(s.student, s.notebook, s.path is not None) for s in found] == [
        ("anna", NAME, True),
        ("ben", NAME, True),
        ("cem", NAME, False),
    ]
    assert {s.notebook for s in autograde.collect(tmp_path, ["ex06"])} == {"ex06_deeppose"}
    for wrong in ([tmp_path / "nowhere"], [tmp_path, ["ex99"]]):
        with pytest.raises(SystemExit, match="error: "):
            autograde.collect(*wrong)


def test_marks_and_feedback_are_harmless_text(tmp_path):
    path = write(tmp_path / "a.ipynb", {"solution-1": "<script>alert(1)</script>"})
    (task, *_) = judge.exercises(notebooks.read(BOOK))
    result = judge.Result(task, judge.WRONG, 0, "<b>no</b>", "=1+1")
    graded = {autograde.Submission("=cmd()", NAME, path): [result]}
    autograde.write_csv(tmp_path, graded)
    rows = list(csv.DictReader((tmp_path / "details.csv").open(encoding="utf-8")))
    assert rows[0]["student"] == "'=cmd()" and rows[0]["note"] == "'=1+1"
    page = autograde.write_feedback(tmp_path / "feedback", "=cmd()", graded).read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page and "&lt;b&gt;no" in page


def test_a_source_version_has_no_dead_link():
    for path in EXERCISES:
        for site, start in (
            (None, None),
            ("https://example.org/book/", "https://example.org/book/"),
        ):
            nb = course.source_version(notebooks.read(path), site)
            text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
            links = [
                link for link in assignments._LINK.findall(text) if not link.startswith("http")
            ]
            assert links == []
            assert start is None or ".ipynb)" not in text
            assert not any("jupyter" in cell.metadata for cell in nb.cells)


# ---- slow: whole courses -------------------------------------------------------------------------


@pytest.mark.slow
def test_an_endless_call_costs_its_own_exercise_only(tmp_path):
    """Also where the check catches it and calls again: no answer is taken for another one's."""
    right = solutions()
    endless = "def flip_person(image, keypoints, visible, bbox):\n    while True:\n        pass"
    answers = {**right, "solution-1": endless}
    answers["solution-2"] = right["solution-2"].replace(
        "    x, y, w, h =", "    while padding == 1.0:\n        pass\n    x, y, w, h =", 1
    )
    results = judge.judge(write(tmp_path / "a.ipynb", answers), BOOK, seed=3)
    assert [r.points for r in results] == [0, 0, 1, 1]
    assert all("did not end within 20 seconds" in r.message for r in results[:2])


@pytest.mark.slow
def test_five_students_without_nbgrader(tmp_path, monkeypatch):
    students(tmp_path / "in", f"{NAME}.ipynb")
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["autograde", str(tmp_path / "in"), "--out", str(out)])
    assert autograde.main() == 0
    rows = list(csv.DictReader((out / "grades.csv").open(encoding="utf-8")))
    assert {row["student"]: float(row["points"]) for row in rows} == MARKS
    verdicts: dict[str, set] = {}
    for row in csv.DictReader((out / "details.csv").open(encoding="utf-8")):
        verdicts.setdefault(row["student"], set()).add(row["verdict"])
    assert verdicts["imported"] == {judge.COPIED, judge.WRONG}
    assert verdicts["empty"] == {judge.EMPTY}
    assert {path.stem for path in (out / "feedback").glob("*.html")} == set(MARKS)


@pytest.mark.slow
def test_five_students_of_an_nbgrader_course_from_release_to_csv(tmp_path):
    folder = tmp_path / "course"
    assert course.write_course(folder, ["ex01"], None, "pose") == [NAME]
    assert course.write_course(folder, ["ex01"], None, "pose") == []
    release = folder / "release" / NAME / f"{NAME}.ipynb"
    assert notebooks.BEGIN not in release.read_text(encoding="utf-8")
    students(folder / "submitted", f"{NAME}/{NAME}.ipynb", release)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def nbgrader(*command: str) -> None:
        program = "from nbgrader.apps.nbgraderapp import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, *command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    nbgrader("autograde", NAME)
    nbgrader("generate_feedback", NAME)
    nbgrader("export")
    rows = list(csv.DictReader((folder / "grades.csv").open(encoding="utf-8")))
    assert {row["student_id"]: float(row["score"]) for row in rows} == MARKS
    pages = sorted((folder / "feedback").rglob("*.html"))
    assert [page.parts[-3] for page in pages] == sorted(MARKS)
    told = next(p for p in pages if p.parts[-3] == "imported").read_text(encoding="utf-8")
    assert "posekit.geometry.crop_affine" in told


@pytest.mark.slow
@pytest.mark.parametrize("path", EXERCISES, ids=[path.stem for path in EXERCISES])
def test_the_books_solutions_get_all_points(path):
    results = judge.judge(path, path, seed=7)
    assert [
        (r.exercise.check, r.verdict, r.message) for r in results if r.verdict != judge.SOLVED
    ] == []
    assert all(r.note == "word for word the book's solution" for r in results)
