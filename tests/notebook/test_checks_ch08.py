"""Chapter 08's exercises: the solutions in the notebook pass and agree with posekit; mistakes get their own hint."""

import runpy
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pytest

from posekit import geometry
from posekit.notebook.checks import CheckFailed, ch08
from posekit.skeleton import COCO17

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex08_pitfalls.ipynb"
WRONG = runpy.run_path(str(Path(__file__).parents[1] / "wrong_answers/ch08.py"))["WRONG"]
EXERCISES = {
    "mirror": ch08.check_mirror,
    "test_crop": ch08.check_test_crop,
    "find_twins": ch08.check_find_twins,
}


def solutions() -> dict:
    """The functions that the notebook's solution cells define, and the hash that it hands out."""
    names = {"np": np, "cv2": cv2, "COCO17": COCO17}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source or cell.source.startswith("def dhash"):
            exec(cell.source, names)
    return names


SOLVED = solutions()


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    EXERCISES[name](SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    for empty in (None, lambda *args: None):
        with pytest.raises(CheckFailed, match="no value yet"):
            EXERCISES[name](empty)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in WRONG:
        hints.setdefault(check, set()).add(piece)
    assert set(hints) == set(EXERCISES.values()) and all(
        len(pieces) >= 8 for pieces in hints.values()
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_mirror_is_posekits(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(8, 90, 2)
    image, joints = (
        rng.integers(0, 256, (height, width, 3)).astype(np.uint8),
        rng.uniform(0, 90, (17, 2)),
    )
    flags = rng.integers(0, 3, 17)
    picture, moved, new = SOLVED["mirror"](image, joints, flags)
    np.testing.assert_array_equal(picture, cv2.flip(image, 1))
    np.testing.assert_allclose(moved, geometry.flip_keypoints(joints, width, COCO17.flip_indices))
    np.testing.assert_array_equal(new, flags[list(COCO17.flip_indices)])


@pytest.mark.parametrize("name", ch08.BROKEN_CROPS)
def test_each_broken_crop_is_broken_for_every_box_that_is_not_square(name):
    """The zoo is fair: no broken crop hides behind a lucky choice of boxes in the solution."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y, long = rng.uniform(100, 300, 3)
        box, size = (x, 1.7 * y, long, 0.4 * long), int(rng.integers(60, 200))
        with pytest.raises(AssertionError):
            assert np.allclose(
                ch08.BROKEN_CROPS[name](box, size),
                ch08.RIGHT_CROPS["posekit's own crop"](box, size),
            )


def test_the_broken_mirror_of_the_task_is_broken():
    """The task shows a mirror and says that it is wrong; so it must not pass."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    shown = (
        next(cell.source for cell in cells if "anonymised" in cell.source)
        .split("```python")[1]
        .split("```")[0]
    )
    names = {"COCO17": COCO17}
    exec(shown, names)
    with pytest.raises(CheckFailed):
        ch08.check_mirror(names["mirror"])


def test_the_hash_of_the_chapter_the_exercise_and_the_check_is_one():
    chapter = NOTEBOOK.parents[1] / "08_pitfalls.ipynb"
    names = {"np": np, "cv2": cv2}
    source = next(
        c.source for c in nbformat.read(chapter, as_version=4).cells if "def dhash" in c.source
    )
    exec(source.split("\n\n\n")[0], names)
    for seed in range(5):
        picture = np.random.default_rng(seed).integers(0, 256, (40, 30)).astype(np.uint8)
        wanted = ch08.dhash(picture)
        np.testing.assert_array_equal(names["dhash"](picture), wanted)
        np.testing.assert_array_equal(SOLVED["dhash"](picture), wanted)
