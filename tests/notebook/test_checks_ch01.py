"""Chapter 01's exercises: the solutions in the notebook pass, and agree with posekit everywhere (wrong answers: test_checks.py)."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posekit import geometry
from posekit.notebook.checks import CheckFailed, ch01
from posekit.skeleton import COCO17

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex01_from_pixels_to_joints.ipynb"
number = st.floats(-500, 1500, allow_nan=False)
length = st.floats(1, 900, allow_nan=False)


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "COCO17": COCO17}
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    for cell in cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()


@pytest.mark.parametrize(
    ("check", "names"),
    [
        (ch01.check_flip_person, ["flip_person"]),
        (ch01.check_crop_to_photo, ["crop_to_photo"]),
        (ch01.check_codec, ["normalise", "denormalise"]),
        (ch01.check_count_joints, ["count_joints"]),
    ],
)
def test_solution_passes_and_an_empty_answer_is_told_so(check, names, capsys):
    check(*(SOLVED[name] for name in names))
    assert capsys.readouterr().out.startswith("✓ ")
    with pytest.raises(CheckFailed, match="no value yet"):
        check(*(None for _ in names))


@given(x=number, y=number, w=length, h=length, size=st.integers(8, 512), padding=st.floats(0.5, 3))
def test_crop_to_photo_undoes_posekits_crop(x, y, w, h, size, padding):
    box = np.array([x, y, w, h])
    forward = geometry.crop_affine(
        geometry.bbox_center(box), geometry.square_side(box, padding), size
    )
    there = geometry.apply_affine(forward, np.array([[x, y], [x + w, y + h]]))
    back = geometry.apply_affine(SOLVED["crop_to_photo"](box, size, padding), there)
    np.testing.assert_allclose(back, [[x, y], [x + w, y + h]], atol=1e-6)


@given(
    points=st.lists(st.tuples(number, number), min_size=17, max_size=17), width=st.integers(1, 2000)
)
def test_flip_is_posekits_and_its_own_inverse(points, width):
    points = np.array(points)
    image, flags = np.arange(width * 3, dtype=np.uint8).reshape(1, width, 3), np.arange(17) % 3
    box = np.array([1.0, 2, 3, 4])
    once = SOLVED["flip_person"](image, points, flags, box)
    np.testing.assert_array_equal(
        once[1], geometry.flip_keypoints(points, width, COCO17.flip_indices)
    )
    for before, after in zip((image, points, flags, box), SOLVED["flip_person"](*once)):
        np.testing.assert_allclose(after, before, atol=1e-9)


@given(
    points=st.lists(st.tuples(number, number), min_size=17, max_size=17), size=st.integers(1, 600)
)
def test_the_codec_and_the_count_are_posekits(points, size):
    points = np.array(points)
    u = SOLVED["normalise"](points, (size, 2 * size))
    np.testing.assert_array_equal(u, geometry.encode_keypoints(points, (size, 2 * size)))
    assert np.abs(SOLVED["denormalise"](u, (size, 2 * size)) - points).max() < 1e-3
    flags, known = np.arange(17) % 3, np.arange(17) % 2 == 0
    inside, weight = SOLVED["count_joints"](points, flags, known, size)
    np.testing.assert_array_equal(inside, geometry.inside(points, (size, size)) & (flags >= 1))
    np.testing.assert_array_equal(weight, known)
