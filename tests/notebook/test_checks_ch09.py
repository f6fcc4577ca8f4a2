"""Chapter 09's exercises: the solutions in the notebook pass, agree with posekit everywhere, and mistakes get their own hint."""

import ast
import math
from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest
from keras import ops

from posekit import losses
from posekit.models import heads
from posekit.notebook.checks import CheckFailed, ch09
from tests.wrong_answers import ch09 as wrong

CHAPTERS = Path(__file__).parents[2] / "chapters"
EXERCISES = {
    "laplace_log": ch09.check_laplace_log,
    "coupling": ch09.check_coupling,
    "repair": ch09.check_repair,
    "soft_argmax": ch09.check_soft_argmax,
}


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "ops": ops, "math": math}
    for cell in nbformat.read(CHAPTERS / "exercises/ex09_losses.ipynb", as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


def chapter() -> dict:
    """The functions that the chapter defines, without running it."""
    names = {"np": np, "ops": ops, "math": math, "keras": keras, "layers": keras.layers}
    for cell in nbformat.read(CHAPTERS / "09_losses.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            functions = [
                node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)
            ]
            exec(compile(ast.Module(functions, []), "09_losses", "exec"), names)
    return names


SOLVED, TAUGHT = solutions(), chapter()


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    EXERCISES[name](SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    for empty in (None, lambda *args: None):
        with pytest.raises(CheckFailed, match="no value yet"):
            EXERCISES[name](empty)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in wrong.WRONG:
        hints.setdefault(check, set()).add(piece)
    assert set(hints) == set(EXERCISES.values()) and all(
        len(pieces) >= 10 for pieces in hints.values()
    )


# ---- the chapter's functions and the exercises' are posekit's --------------------------------------------------------------


def people(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_true = rng.uniform(-0.5, 0.5, (5, 17, 3)).astype(np.float32)
    y_true[..., 2] = rng.random((5, 17)) > 0.4
    y_true[y_true[..., 2] == 0, :2] = np.nan
    y_pred = rng.normal(0, 0.3, (5, 17, 2)).astype(np.float32)
    return y_true, y_pred, rng.uniform(0.01, 0.4, (5, 17, 2)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_the_chapters_losses_are_posekits(seed):
    y_true, y_pred, scale = people(seed)
    rle = losses.RLE()
    rng = np.random.default_rng(seed)
    rle.flow.set_weights([rng.normal(0, 0.2, w.shape) for w in rle.flow.get_weights()])
    pairs = [
        (TAUGHT["l2"](y_true, y_pred), losses.masked_l2(y_true, y_pred)),
        (TAUGHT["l1"](y_true, y_pred), losses.masked_l1(y_true, y_pred)),
        (TAUGHT["smooth_l1"](y_true, y_pred, 0.1), losses.masked_smooth_l1(y_true, y_pred, 0.1)),
        (TAUGHT["gaussian"](y_true, y_pred, scale), losses.masked_gaussian(y_true, y_pred, scale)),
        (TAUGHT["laplace"](y_true, y_pred, scale), losses.masked_laplace(y_true, y_pred, scale)),
        (TAUGHT["rle"](y_true, y_pred, scale, rle.flow.nets), rle(y_true, y_pred, scale)),
    ]
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3)])
def test_the_chapters_soft_argmax_is_posekits_integral_head(shape):
    features = keras.Input((*shape, 8))
    outputs = heads.integral_head(features, 5, deconvolutions=0)
    model = keras.Model(features, outputs)
    maps = keras.Model(features, model.get_layer("head_maps").output)
    x = np.random.default_rng(0).normal(0, 40, (3, *shape, 8)).astype(np.float32)
    wanted, scores = np.asarray(model(x)["keypoints"]), np.asarray(maps(x))
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(TAUGHT["soft_argmax"](scores), wanted, atol=1e-5)
    np.testing.assert_allclose(SOLVED["soft_argmax"](scores)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_exercises_laplace_is_posekits(seed):
    y_true, y_pred, scale = people(seed)
    both = np.repeat(scale[..., :1], 2, axis=-1)
    mine = SOLVED["laplace_log"](y_true, y_pred, np.log(scale[..., 0]))
    np.testing.assert_allclose(mine, losses.masked_laplace(y_true, y_pred, both), rtol=1e-5)


@pytest.mark.parametrize("keep", [0, 1])
def test_the_masked_coupling_is_the_chapters_in_the_plane(keep):
    net = TAUGHT["little_network"](8)
    rng = np.random.default_rng(keep)
    net.set_weights([rng.normal(0, 0.5, w.shape) for w in net.get_weights()])
    stays, x = np.eye(2)[keep], rng.normal(size=(30, 2))

    def masked(given):
        out = np.asarray(net(given[:, keep : keep + 1]), np.float64)
        return np.tanh(out[:, :1]) * np.ones(2), out[:, 1:] * np.ones(2)

    for back in (False, True):
        wanted = TAUGHT["coupling"](x.astype(np.float32), net, keep, back)
        for a, b in zip(SOLVED["coupling"](x, masked, stays, back), wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("belief", ["laplace", "gaussian"])
def test_the_repaired_scale_is_the_likeliest(belief):
    rng = np.random.default_rng(4)
    scale = rng.uniform(0.01, 0.2, (50, 17, 2))
    error, weight = rng.normal(0, 2 * scale), (rng.random((50, 17)) > 0.2).astype(float)
    nll = {"laplace": losses.laplace_nll, "gaussian": losses.gaussian_nll}[belief]
    best = SOLVED["repair"](error, scale, weight, belief)

    def cost(factor):
        one = nll(error.astype(np.float32), (factor * scale).astype(np.float32))
        return float(np.asarray(one)[weight > 0].mean())

    assert all(cost(best * factor) > cost(best) for factor in (0.9, 1.1))
