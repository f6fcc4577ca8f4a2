"""posekit.losses: a masked joint changes nothing, and what is left is the formula of the paper."""

import numpy as np
import pytest
import tensorflow as tf

from posekit import losses

COORDINATE_LOSSES = (losses.masked_l1, losses.masked_l2)
POISON = (np.nan, np.inf, -np.inf, 1e9, 0.0)


def people(seed: int = 0, n: int = 5, joints: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """Targets (n, joints, 3) with about a third of the joints masked, and predictions (n, joints,
    2)."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(-0.5, 0.5, (n, joints, 3)).astype(np.float32)
    target[..., 2] = rng.random((n, joints)) > 0.35
    return target, rng.normal(0, 0.3, (n, joints, 2)).astype(np.float32)


def judgements(seed: int = 0, n: int = 5, joints: int = 17) -> tuple[np.ndarray, np.ndarray]:
    """Visibility targets (n, joints, 2), a third of them unknown, and probabilities (n, joints)."""
    rng = np.random.default_rng(seed)
    target = (rng.random((n, joints, 2)) > 0.35).astype(np.float32)
    return target, rng.uniform(0.02, 0.98, (n, joints)).astype(np.float32)


def value_and_gradient(loss, y_true, y_pred) -> tuple[float, np.ndarray]:
    y_pred = tf.Variable(y_pred)
    with tf.GradientTape() as tape:
        value = loss(tf.constant(y_true), y_pred)
    return float(value), tape.gradient(value, y_pred).numpy()


# ---- the formula ---------------------------------------------------------------------------------


def test_hand_worked_values():
    """Three joints, the last one masked: |dx|+|dy| = 0.3, 0.1 and dx²+dy² = 0.05, 0.01; both means
    over two joints."""
    y_true = np.array([[[0.1, 0.2, 1], [0.0, -0.4, 1], [9, 9, 0]]], np.float32)
    y_pred = np.array([[[0.2, 0.0], [0.0, -0.3], [0, 0]]], np.float32)
    assert float(losses.masked_l1(y_true, y_pred)) == pytest.approx((0.3 + 0.1) / 2, abs=1e-6)
    assert float(losses.masked_l2(y_true, y_pred)) == pytest.approx((0.05 + 0.01) / 2, abs=1e-6)


def test_hand_worked_cross_entropy():
    y_true = np.array([[[1, 1], [0, 1], [1, 0]]], np.float32)
    y_pred = np.array([[0.8, 0.4, 0.001]], np.float32)
    wanted = -(np.log(0.8) + np.log(0.6)) / 2
    assert float(losses.masked_bce(y_true, y_pred)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_l2_is_the_loss_of_deeppose(seed):
    """Toshev & Szegedy 2014, section 3.1: the sum over people and joints of ||y_i - psi_i||², here
    divided by its terms."""
    y_true, y_pred = people(seed)
    total = 0.0
    terms = 0
    for person, predicted in zip(y_true, y_pred):
        for (x, y, w), joint in zip(person, predicted):
            if w > 0:
                total = total + np.linalg.norm([x - joint[0], y - joint[1]]) ** 2
                terms = terms + 1
    assert float(losses.masked_l2(y_true, y_pred)) == pytest.approx(total / terms, rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_the_formula(seed):
    """L1: sign(error) / joints; L2: 2 error / joints; cross-entropy: (p - t) / (p (1 - p)) /
    joints; 0 where masked."""
    y_true, y_pred = people(seed)
    weight = y_true[..., 2:]
    error = y_pred - y_true[..., :2]
    np.testing.assert_allclose(
        value_and_gradient(losses.masked_l1, y_true, y_pred)[1],
        weight * np.sign(error) / weight.sum(),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        value_and_gradient(losses.masked_l2, y_true, y_pred)[1],
        weight * 2 * error / weight.sum(),
        rtol=1e-5,
        atol=1e-8,
    )
    y_true, p = judgements(seed)
    wanted = y_true[..., 1] * (p - y_true[..., 0]) / (p * (1 - p)) / y_true[..., 1].sum()
    np.testing.assert_allclose(
        value_and_gradient(losses.masked_bce, y_true, p)[1], wanted, rtol=1e-4, atol=1e-7
    )


def test_full_mask_equals_keras():
    """With every joint labelled, L2 is twice Keras' mean squared error (it means over x and y too),
    BCE is Keras' own."""
    import keras

    y_true, y_pred = people()
    y_true[..., 2] = 1
    mse = keras.losses.MeanSquaredError()(y_true[..., :2], y_pred)
    assert float(losses.masked_l2(y_true, y_pred)) == pytest.approx(2 * float(mse), rel=1e-5)
    mae = keras.losses.MeanAbsoluteError()(y_true[..., :2], y_pred)
    assert float(losses.masked_l1(y_true, y_pred)) == pytest.approx(2 * float(mae), rel=1e-5)
    y_true, p = judgements()
    y_true[..., 1] = 1
    assert float(losses.masked_bce(y_true, p)) == pytest.approx(
        float(keras.losses.BinaryCrossentropy()(y_true[..., 0], p)), rel=1e-4
    )


# ---- the mask ------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("loss", COORDINATE_LOSSES)
def test_masked_coordinates_change_neither_loss_nor_gradient(loss, poison):
    y_true, y_pred = people()
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    masked = y_true[..., 2] == 0
    assert masked.any() and np.isfinite(value) and np.abs(gradient[~masked]).min() > 0
    poisoned = y_true.copy()
    poisoned[masked, :2] = poison
    again, gradient_again = value_and_gradient(loss, poisoned, y_pred)
    assert again == value
    np.testing.assert_array_equal(gradient_again, gradient)
    np.testing.assert_array_equal(gradient[masked], 0)


@pytest.mark.parametrize("poison", POISON)
def test_masked_visibility_changes_neither_loss_nor_gradient(poison):
    y_true, y_pred = judgements()
    value, gradient = value_and_gradient(losses.masked_bce, y_true, y_pred)
    masked = y_true[..., 1] == 0
    assert masked.any() and np.isfinite(value) and np.abs(gradient[~masked]).min() > 0
    poisoned = y_true.copy()
    poisoned[masked, 0] = poison
    again, gradient_again = value_and_gradient(losses.masked_bce, poisoned, y_pred)
    assert again == value
    np.testing.assert_array_equal(gradient_again, gradient)
    np.testing.assert_array_equal(gradient[masked], 0)


@pytest.mark.parametrize("loss", COORDINATE_LOSSES)
def test_prediction_of_a_masked_joint_changes_nothing(loss):
    y_true, y_pred = people()
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    masked = y_true[..., 2] == 0
    moved = y_pred.copy()
    moved[masked] += 1e6
    again, gradient_again = value_and_gradient(loss, y_true, moved)
    assert again == value
    np.testing.assert_array_equal(gradient_again, gradient)


@pytest.mark.parametrize("loss", COORDINATE_LOSSES)
def test_more_masked_joints_do_not_dilute(loss):
    """The trap of dividing by all entries: people without labels must not make the others count
    less."""
    y_true, y_pred = people()
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    unlabelled = np.zeros_like(y_true)
    more_true = np.concatenate([y_true, unlabelled])
    more_pred = np.concatenate([y_pred, y_pred])
    again, gradient_again = value_and_gradient(loss, more_true, more_pred)
    assert again == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(gradient_again[: len(y_pred)], gradient, rtol=1e-6)


@pytest.mark.parametrize("target", [0.0, np.nan, 1e9])
@pytest.mark.parametrize("loss", COORDINATE_LOSSES)
def test_all_masked_coordinates_stay_finite(loss, target):
    y_true, y_pred = people()
    y_true[..., :2] = target
    y_true[..., 2] = 0
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("target", [0.0, np.nan, 1e9])
def test_all_masked_visibility_stays_finite(target):
    y_true, y_pred = judgements()
    y_true[..., 0] = target
    y_true[..., 1] = 0
    value, gradient = value_and_gradient(losses.masked_bce, y_true, y_pred)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_certain_and_wrong_stays_finite():
    """A probability of exactly 0 or 1 that is wrong costs much, not infinitely much."""
    y_true = np.array([[[1, 1], [0, 1]]], np.float32)
    value, gradient = value_and_gradient(
        losses.masked_bce, y_true, np.array([[0.0, 1.0]], np.float32)
    )
    assert 10 < value < 20 and np.all(np.isfinite(gradient))


# ---- what must not matter ------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [*COORDINATE_LOSSES, losses.masked_bce])
def test_order_of_people_does_not_matter(loss):
    y_true, y_pred = judgements() if loss is losses.masked_bce else people()
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    order = np.random.default_rng(1).permutation(len(y_pred))
    again, gradient_again = value_and_gradient(loss, y_true[order], y_pred[order])
    assert again == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(gradient_again, gradient[order], rtol=1e-5)


@pytest.mark.parametrize("loss", [*COORDINATE_LOSSES, losses.masked_bce])
def test_half_precision_predictions_give_a_float32_loss(loss):
    y_true, y_pred = judgements() if loss is losses.masked_bce else people()
    value = loss(tf.constant(y_true), tf.cast(y_pred, tf.bfloat16))
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(float(loss(tf.constant(y_true), y_pred)), rel=2e-2)


def test_works_in_compile_and_fit():
    """The losses as Keras calls them: the mask rides in y_true, and only the labelled joint is
    learned."""
    import keras

    keras.utils.set_random_seed(0)
    joint = keras.Input((1,))
    out = keras.layers.Reshape((2, 2))(keras.layers.Dense(4)(joint))
    model = keras.Model(joint, out)
    model.compile(keras.optimizers.SGD(0.2), loss=losses.masked_l2)
    before = model.get_weights()
    y = np.tile(np.array([[0.25, -0.25, 1], [np.nan, np.nan, 0]], np.float32), (8, 1, 1))
    history = model.fit(np.ones((8, 1), np.float32), y, epochs=30, verbose=0).history["loss"]
    np.testing.assert_allclose(
        model.predict_on_batch(np.ones((1, 1)))[0, 0], [0.25, -0.25], atol=1e-3
    )
    assert history[-1] < 1e-4 < history[0]
    np.testing.assert_array_equal(model.get_weights()[0][:, 2:], before[0][:, 2:])
