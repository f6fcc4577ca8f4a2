"""The loss ladder of chapter 12: densities that are densities, a flow that can be undone, gradients
against differences, the mask."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_losses import POISON, people, value_and_gradient

from posekit import losses
from posekit.errors import DataError

ROOT = Path(__file__).parents[1]


def sigmas(seed: int = 0, n: int = 5, joints: int = 17) -> np.ndarray:
    return np.random.default_rng(100 + seed).uniform(0.02, 0.4, (n, joints, 2)).astype(np.float32)


def shaken(layer, seed: int = 0, size: float = 0.5):
    """A flow, or a loss with one, that has left the identity. Sizes keep the sums of 64 units near
    those of 8."""
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_variables:
        variable.assign(
            rng.normal(0, size * min(1, (8 / variable.shape[0]) ** 0.5), variable.shape)
        )
    return layer


def ladder() -> dict:
    """Name -> loss; see `call`."""
    made = {name: losses.keypoint_loss(name) for name in losses.LOSSES} | {
        "rle": shaken(losses.RLE())
    }
    made["direct"] = shaken(losses.RLE(residual=False))
    return made


def call(name, loss, y_true, y_pred, sigma=None):
    if name in ("l2", "l1", "smooth_l1"):
        return loss(y_true, y_pred)
    return loss(y_true, y_pred, sigmas() if sigma is None else sigma)


NAMES = tuple(ladder())

# ---- the formulas --------------------------------------------------------------------------------


def test_hand_worked_values():
    """One joint off by 0.1 in x and 0.3 in y, σ 0.2 and 0.1."""
    y_true = np.array([[[0.0, 0.0, 1]]], np.float32)
    y_pred = np.array([[[0.1, -0.3]]], np.float32)
    sigma = np.array([[[0.2, 0.1]]], np.float32)
    gaussian = 0.5 * (0.5**2 + 3**2) + math.log(0.2 * 0.1) + math.log(2 * math.pi)
    laplace = 0.5 + 3 + math.log(0.4) + math.log(0.2)
    assert float(losses.masked_gaussian(y_true, y_pred, sigma)) == pytest.approx(gaussian, rel=1e-5)
    assert float(losses.masked_laplace(y_true, y_pred, sigma)) == pytest.approx(laplace, rel=1e-5)
    smooth = 0.1**2 / 2 / 0.2 + (0.3 - 0.1)
    assert float(losses.masked_smooth_l1(y_true, y_pred, beta=0.2)) == pytest.approx(
        smooth, rel=1e-5
    )


@pytest.mark.parametrize("seed", range(3))
def test_smooth_l1_with_beta_1_is_half_of_l2(seed):
    """The published trap: on a crop of side 1 every error is below 1, and nothing of the line is
    left."""
    y_true, y_pred = people(seed)
    y_pred = np.clip(y_pred, -0.49, 0.49)
    smooth, gradient = value_and_gradient(losses.masked_smooth_l1, y_true, y_pred)
    squared, slope = value_and_gradient(losses.masked_l2, y_true, y_pred)
    assert smooth == pytest.approx(squared / 2, rel=1e-6)
    np.testing.assert_allclose(gradient, slope / 2, rtol=1e-5, atol=1e-9)


def test_smooth_l1_becomes_l1_as_beta_shrinks_and_is_keras_huber():
    y_true, y_pred = people()
    l1 = float(losses.masked_l1(y_true, y_pred))
    assert float(losses.masked_smooth_l1(y_true, y_pred, beta=1e-5)) == pytest.approx(l1, rel=1e-3)
    y_true[..., 2] = 1
    huber = float(keras.losses.Huber(delta=0.1)(y_true[..., :2], y_pred)) / 0.1 * 2
    assert float(losses.masked_smooth_l1(y_true, y_pred, beta=0.1)) == pytest.approx(
        huber, rel=1e-5
    )


@pytest.mark.parametrize("density", [losses.gaussian_nll, losses.laplace_nll])
@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0])
def test_densities_integrate_to_one_and_have_their_scale(density, sigma):
    e = np.linspace(-30 * sigma, 30 * sigma, 600_001)
    p = np.exp(-np.asarray(density(e, np.full_like(e, sigma))))
    step = e[1] - e[0]
    assert p.sum() * step == pytest.approx(1, abs=1e-4)
    spread = (
        math.sqrt((p * e**2).sum() * step)
        if density is losses.gaussian_nll
        else (p * np.abs(e)).sum() * step
    )
    assert spread == pytest.approx(sigma, rel=1e-3)


@pytest.mark.parametrize(("name", "power"), [("gaussian", 2), ("laplace", 1)])
def test_the_best_scale_is_the_size_of_the_error(name, power):
    """The likelihood is largest at σ = |e|: for a wrong joint the network must say so, for a right
    one it may."""
    y_true = np.array([[[0, 0, 1]]], np.float32)
    y_pred = np.array([[[0.07, -0.2]]], np.float32)
    loss = losses.keypoint_loss(name)
    at = np.abs(y_pred)
    best = float(loss(y_true, y_pred, at))
    assert all(float(loss(y_true, y_pred, at * factor)) > best for factor in (0.8, 1.25))
    gradient = value_and_gradient(lambda t, s: loss(t, y_pred, s), y_true, at)[1]
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_a_fixed_scale_gives_the_losses_without_one():
    """Gaussian at σ = 1 is L2 / 2, Laplace at σ = 1 is L1, up to constants: the ladder's rungs are
    one idea."""
    y_true, y_pred = people()
    one = np.ones_like(y_pred)
    for likelihood, plain, factor in (
        (losses.masked_gaussian, losses.masked_l2, 0.5),
        (losses.masked_laplace, losses.masked_l1, 1),
    ):
        gradient = value_and_gradient(lambda t, p, f=likelihood: f(t, p, one), y_true, y_pred)[1]
        np.testing.assert_allclose(
            gradient, factor * value_and_gradient(plain, y_true, y_pred)[1], rtol=1e-5
        )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_differences(name):
    """With respect to the joints, and to σ where there is one: central differences."""
    loss = ladder()[name]
    (y_true, y_pred) = people(1)
    rng = np.random.default_rng(3)
    y_true = y_true[:2]
    y_pred = y_pred[:2]
    sigma = sigmas(1)[:2]
    error = y_pred - y_true[..., :2]
    y_pred = y_true[..., :2] + np.sign(error) * np.maximum(
        np.abs(error), 0.02
    )  # away from L1's kink
    directions = [rng.normal(size=y_pred.shape).astype(np.float32) for _ in range(2)]
    with tf.GradientTape() as tape:
        p = tf.Variable(y_pred)
        s = tf.Variable(sigma)
        value = call(name, loss, y_true, p, s)
    slopes = tape.gradient(value, [p, s])
    for which, (slope, direction) in enumerate(zip(slopes, directions, strict=True)):
        if slope is None:
            assert which == 1 and name in ("l2", "l1", "smooth_l1")
            continue
        step = 1e-3 * (1, 0.02)[which]
        ends = []
        for sign in (1, -1):
            moved = [y_pred.copy(), sigma.copy()]
            moved[which] += sign * step * direction
            ends.append(float(call(name, loss, y_true, *moved)))
        wanted = float(np.sum(slope.numpy() * direction))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(wanted, rel=3e-2, abs=2e-2), which


# ---- the flow ------------------------------------------------------------------------------------


def test_a_new_flow_is_the_identity():
    flow = losses.RealNVP()
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    for way in (flow.to_data, flow.to_normal):
        out, log_det = way(x)
        np.testing.assert_array_equal(out, x)
        np.testing.assert_array_equal(log_det, np.zeros(50))
    normal = -0.5 * (x**2).sum(axis=1) - math.log(2 * math.pi)
    np.testing.assert_allclose(flow(x), normal, rtol=1e-5)


@pytest.mark.parametrize("couplings", [1, 2, 6])
def test_the_flow_can_be_undone(couplings):
    flow = shaken(losses.RealNVP(couplings, 8))
    z = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
    x, forth = flow.to_data(z)
    again, back = flow.to_normal(x)
    assert np.abs(np.asarray(x) - z).max() > 0.1
    np.testing.assert_allclose(again, z, atol=2e-4)
    np.testing.assert_allclose(back, -np.asarray(forth), atol=2e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_log_determinant_is_the_jacobians(seed):
    flow = shaken(losses.RealNVP(6, 8), seed)
    x = np.random.default_rng(seed).normal(size=(8, 2)).astype(np.float32)
    at = tf.Variable(x)
    with tf.GradientTape(persistent=True) as tape:
        z, log_det = flow.to_normal(at)
        columns = [z[:, 0], z[:, 1]]
    rows = [tape.gradient(column, at).numpy() for column in columns]
    exact = np.log(np.abs(rows[0][:, 0] * rows[1][:, 1] - rows[0][:, 1] * rows[1][:, 0]))
    np.testing.assert_allclose(log_det, exact, atol=1e-3)
    step = 1e-2  # and by differences, without any framework's gradient
    ways = [
        (
            np.asarray(flow.to_normal(x + step * unit)[0])
            - np.asarray(flow.to_normal(x - step * unit)[0])
        )
        / (2 * step)
        for unit in np.eye(2, dtype=np.float32)
    ]
    near = np.log(np.abs(ways[0][:, 0] * ways[1][:, 1] - ways[0][:, 1] * ways[1][:, 0]))
    assert np.median(np.abs(near - np.asarray(log_det))) < 0.02


def test_the_flows_density_integrates_to_one():
    side = np.linspace(-12, 12, 601, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    flow = shaken(losses.RealNVP(3, 8), size=0.3)
    p = np.exp(np.asarray(flow(grid), np.float64))
    assert p.max() > 1.05 / (2 * math.pi)
    assert p.sum() * (side[1] - side[0]) ** 2 == pytest.approx(1, abs=5e-3)


def test_the_flow_learns_the_shape_of_what_it_sees():
    """Two heaps: a normal density cannot say that the middle is empty, the flow learns it."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.25, (512, 2)).astype(np.float32) + np.where(
        rng.random((512, 1)) < 0.5, -1, 1
    ).astype(np.float32)
    keras.utils.set_random_seed(0)
    flow = losses.RealNVP(hidden=32)
    optimizer = keras.optimizers.Adam(1e-2)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow(x))
        optimizer.apply(tape.gradient(loss, flow.trainable_variables), flow.trainable_variables)
        return loss

    history = [float(step()) for _ in range(150)]
    gaussian = (
        0.5 * np.linalg.slogdet(np.cov(x.T))[1] + 1 + math.log(2 * math.pi)
    )  # the best normal density
    assert history[-1] < gaussian - 0.2


# ---- RLE -----------------------------------------------------------------------------------------


def test_rle_with_an_identity_flow_is_the_plain_likelihood():
    y_true, y_pred = people()
    sigma = sigmas()
    gaussian = float(losses.masked_gaussian(y_true, y_pred, sigma))
    laplace = float(losses.masked_laplace(y_true, y_pred, sigma))
    assert float(losses.RLE(residual=False)(y_true, y_pred, sigma)) == pytest.approx(
        gaussian, rel=1e-5
    )
    assert float(losses.RLE()(y_true, y_pred, sigma)) == pytest.approx(gaussian + laplace, rel=1e-5)


def test_only_the_simple_density_holds_the_scale():
    """σ doubled and the flow stretched to half: the flow's likelihood does not notice. Why Laplace
    needs a log σ of its own."""

    class Half(losses.RealNVP):
        def call(self, x):
            return super().call(2 * x) + 2 * math.log(2)

    y_true, y_pred = people()
    loss = losses.RLE(residual=False)
    other = losses.RLE(residual=False)
    other.flow = Half()
    a, b = (float(f(y_true, y_pred, s)) for f, s in ((loss, sigmas()), (other, 2 * sigmas())))
    assert a == pytest.approx(b, rel=1e-5)


def test_gradients_reach_the_flow_and_both_outputs():
    loss = shaken(losses.RLE())
    (y_true, y_pred) = people()
    with tf.GradientTape() as tape:
        p = tf.Variable(y_pred)
        s = tf.Variable(sigmas())
        value = loss(y_true, p, s)
    for gradient in tape.gradient(value, [p, s, *loss.trainable_variables]):
        assert gradient is not None and np.all(np.isfinite(gradient)) and np.abs(gradient).max() > 0


# ---- the mask, and what must not matter ----------------------------------------------------------


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("name", NAMES)
def test_masked_joints_change_nothing(name, poison):
    """Neither the label nor the prediction of a masked joint moves the loss or a gradient, the
    flow's included."""
    loss = ladder()[name]
    (y_true, y_pred) = people()
    masked = y_true[..., 2] == 0
    found = []
    for label, guess in ((0.1, None), (poison, None), (0.1, 1e3)):
        t = y_true.copy()
        p = y_pred.copy()
        s = tf.Variable(sigmas())
        t[masked, :2] = label
        p[masked] = p[masked] if guess is None else guess
        p = tf.Variable(p)
        with tf.GradientTape() as tape:
            value = call(name, loss, tf.constant(t), p, s)
        watched = [p, s, *getattr(loss, "trainable_variables", [])]
        gradients = tape.gradient(
            value, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        found.append([value.numpy(), *(g.numpy() for g in gradients)])
        assert np.isfinite(value) and all(np.all(np.isfinite(g)) for g in found[-1])
        np.testing.assert_array_equal(found[-1][1][masked], 0)
        np.testing.assert_array_equal(found[-1][2][masked], 0)
    for again in found[1:]:
        for a, b in zip(found[0], again, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_all_masked_is_zero_with_zero_gradient(name):
    loss = ladder()[name]
    (y_true, y_pred) = people()
    y_true[..., :2] = np.nan
    y_true[..., 2] = 0
    value, gradient = value_and_gradient(lambda t, p: call(name, loss, t, p), y_true, y_pred)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_predictions_give_a_float32_loss(name):
    loss = ladder()[name]
    (y_true, y_pred) = people()
    assert call(name, loss, tf.constant(y_true), tf.cast(y_pred, tf.bfloat16)).dtype == tf.float32


def test_an_unknown_loss_names_the_known():
    with pytest.raises(DataError, match="smooth_l1"):
        losses.keypoint_loss("l3")


# ---- the same on every backend -------------------------------------------------------------------

SCRIPT = """
import json, sys
import keras
import numpy as np
from posekit import losses

keras.utils.set_random_seed(0)
y_true, y_pred, sigma, *weights = np.load(sys.argv[1]).values()
rle = losses.RLE()
for variable, value in zip(rle.trainable_variables, weights, strict=True):
    variable.assign(value)
values = {name: losses.keypoint_loss(name) for name in losses.LOSSES} | {"rle": rle}
out = {
    k: f(y_true, y_pred, sigma) if k in losses.LOSSES_WITH_SIGMA else f(y_true, y_pred)
    for k, f in values.items()
}
print(json.dumps({k: float(keras.ops.convert_to_numpy(v)) for k, v in out.items()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_ladder_is_the_same_on_each_backend(backend, tmp_path):
    pytest.importorskip(backend)
    y_true, y_pred = people()
    y_true[..., :2][y_true[..., 2] == 0] = np.nan
    rle = shaken(losses.RLE())
    wanted = {name: losses.keypoint_loss(name) for name in losses.LOSSES} | {"rle": rle}
    wanted = {name: float(call(name, f, y_true, y_pred)) for name, f in wanted.items()}
    arrays = [y_true, y_pred, sigmas(), *(v.numpy() for v in rle.trainable_variables)]
    np.savez(tmp_path / "arrays.npz", *arrays)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "arrays.npz")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(wanted, rel=1e-4)
