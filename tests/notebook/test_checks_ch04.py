"""Chapter 04's exercises: the solutions in the notebook pass, agree with posekit everywhere, and mistakes get their own hint."""

import math
from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest

from posekit.models import resnet
from posekit.notebook.checks import CheckFailed, ch04
from tests.wrong_answers import ch04 as wrong

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex04_resnet.ipynb"


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "keras": keras}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (ch04.check_preact_bottleneck, "preact_bottleneck"),
        (ch04.check_unit_parameters, "unit_parameters"),
        (ch04.check_shortcut_is_free, "shortcut_is_free"),
        (ch04.check_paths, "paths"),
    ],
)
def test_solution_passes_and_an_empty_answer_is_told_so(check, name, capsys):
    check(SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    with pytest.raises(CheckFailed, match="no value yet"):
        check(None)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in wrong.WRONG:
        hints.setdefault(check.__name__, set()).add(piece)
    assert len(hints) == 4 and all(len(pieces) >= 6 for pieces in hints.values())


@pytest.mark.parametrize(("filters", "stride"), [(4, 1), (8, 1), (4, 2), (8, 2)])
def test_the_solution_is_posekits_unit(filters, stride):
    def conv(x, filters, kernel, stride=1):
        return resnet.conv(x, filters, kernel, stride, name=f"mine_{next(counter)}")

    def norm_relu(x):
        return resnet.norm_relu(x, name=f"mine_{next(counter)}")

    counter = iter(range(100))
    x = keras.Input((8, 8, 16))
    mine = keras.Model(x, SOLVED["preact_bottleneck"](x, filters, stride, conv, norm_relu))
    theirs = keras.Model(x, resnet.preact_bottleneck_unit(x, filters, stride, name="unit"))
    assert sorted(tuple(w.shape) for w in mine.weights) == sorted(
        tuple(w.shape) for w in theirs.weights
    )
    rng = np.random.default_rng(0)
    values = {}
    for model in (mine, theirs):  # by shape: two kernels of one shape share their numbers
        model.set_weights(
            [
                values.setdefault(w.shape, rng.uniform(0.5, 1.5, w.shape))
                for w in model.get_weights()
            ]
        )
    pictures = rng.normal(size=(2, 8, 8, 16)).astype(np.float32)
    np.testing.assert_allclose(mine(pictures), theirs(pictures), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "filters", "stride"), [(16, 4, 1), (16, 8, 2), (8, 4, 1), (16, 4, 2)]
)
def test_the_solution_counts_posekits_unit(channels, filters, stride):
    x = keras.Input((8, 8, channels))
    unit = keras.Model(x, resnet.bottleneck_unit(x, filters, stride, name="unit"))
    assert SOLVED["unit_parameters"](channels, filters, stride) == sum(
        math.prod(w.shape) for w in unit.trainable_weights
    )


def test_a_specimen_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="choose one of"):
        ch04.specimen("broken")


def test_the_paths_add_up_to_the_gradient():
    slopes = np.random.default_rng(1).normal(size=9)
    for shortcut in (0.5, 1.0):
        assert SOLVED["paths"](shortcut, slopes).sum() == pytest.approx(np.prod(shortcut + slopes))
