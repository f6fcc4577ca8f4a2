"""Chapter 10's exercises: the solutions in the notebook pass, agree with posekit, and mistakes get their own hint."""

from pathlib import Path

import nbformat
import numpy as np
import pytest

from posekit import geometry
from posekit.inference import cascade
from posekit.notebook.checks import CheckFailed, ch10
from tests.wrong_answers import ch10 as wrong

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex10_cascade.ipynb"


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "cascade": cascade, "COCO17": cascade.COCO17}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()
CHECKS = {
    "second_look": ch10.check_second_look,
    "put_back": ch10.check_put_back,
    "invent": ch10.check_invent,
    "refiners_cost": ch10.check_refiners_cost,
}


@pytest.mark.parametrize("name", CHECKS)
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    CHECKS[name](SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    with pytest.raises(CheckFailed, match="no value yet"):
        CHECKS[name](None)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in wrong.WRONG:
        hints.setdefault(check.__name__, set()).add(piece)
    assert len(hints) == 4 and all(len(pieces) >= 8 for pieces in hints.values())


def test_the_second_look_and_the_way_back_are_posekits():
    rng = np.random.default_rng(0)
    pose, places = rng.uniform(20, 80, (17, 2)), rng.uniform(-0.4, 0.4, (17, 2))
    _, maps = cascade.look(np.zeros((100, 100, 3), np.uint8), pose, 32, sigma=1.5)
    for k in range(17):
        x, y, side = SOLVED["second_look"](pose, k, 1.5)
        np.testing.assert_allclose(
            geometry.crop_affine((x, y), side, 32, flip=bool(cascade.RIGHT[k])), maps[k]
        )
        inside = geometry.decode_keypoints(places[k], (32, 32))
        there = geometry.apply_affine(geometry.invert(maps[k]), inside[None])[0]
        mine = SOLVED["put_back"](places[k], pose[k], side, bool(cascade.RIGHT[k]))
        np.testing.assert_allclose(mine, there, atol=1e-9)


def test_invented_mistakes_are_those_that_posekit_draws():
    rng = np.random.default_rng(1)
    pose, mean = rng.uniform(20, 80, (17, 2)), rng.normal(size=(17, 2))
    root = np.tril(rng.uniform(0.1, 0.5, (17, 2, 2)))
    errors = cascade.Displacements(mean, root @ np.swapaxes(root, 1, 2))
    mine = SOLVED["invent"](pose, mean, errors.covariance, np.random.default_rng(5))
    drawn = errors.draw(np.random.default_rng(5)) * cascade.diameter(pose)
    np.testing.assert_allclose(mine, pose - drawn, atol=1e-4)
