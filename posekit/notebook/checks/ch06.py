"""Checks of the exercises of chapter 06, DeepPose stage one."""

from collections.abc import Callable

import numpy as np

from posekit import geometry
from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_close,
    expect_parts,
    judge,
    passed,
)
from posekit.skeleton import COCO17

K = len(COCO17)


# ---- exercise 1: the loss of the paper, masked ---------------------------------------------------


def _value_and_gradient(
    loss: Callable, y_true: np.ndarray, y_pred: np.ndarray
) -> tuple[float, np.ndarray | None]:
    import tensorflow as tf

    y_pred = tf.Variable(y_pred)
    with tf.GradientTape() as tape:
        value = call(loss, "masked_l2(y_true, y_pred)", tf.constant(y_true), y_pred)
        number = expect_array(value, "masked_l2(y_true, y_pred)", finite=False)
        value = value if tf.is_tensor(value) else tf.constant(number)  # without a gradient
    gradient = tape.gradient(value, y_pred)
    expect(
        number.shape == (),
        f"The loss should be one number for the whole batch, but it has shape {number.shape}.",
    )
    return float(value), None if gradient is None else gradient.numpy()


@exercise
def check_masked_l2(masked_l2: Callable) -> None:
    """`masked_l2(y_true, y_pred)`: the mean squared distance over the joints with weight; the
    others change nothing."""
    rng = np.random.default_rng(601)
    y_true = rng.uniform(-0.5, 0.5, (6, K, 3)).astype(np.float32)
    y_true[..., 2] = rng.random((6, K)) > 0.4
    y_pred = rng.normal(0, 0.3, (6, K, 2)).astype(np.float32)
    weight = y_true[..., 2]
    squared = ((y_true[..., :2] - y_pred) ** 2).sum(axis=-1)
    truth = float((weight * squared).sum() / weight.sum())
    value, gradient = _value_and_gradient(masked_l2, y_true, y_pred)

    masked = (
        "You divide by the number of *all* entries, the masked ones too. Then the loss shrinks "
        "where labels are rare: divide by the sum of the weights."
    )
    every_joint = (
        "Your loss counts every joint, with or without a label. The weight is the third number of "
        "`y_true`."
    )
    l1 = np.abs(y_true[..., :2] - y_pred).sum(axis=-1)
    mistakes = [
        (masked, (weight * squared).mean()),
        (masked, (weight * squared).mean() / 2),
        (every_joint, squared.mean()),
        (every_joint, squared.mean() / 2),
        (
            "You return the sum. It grows with the batch, so the learning rate would depend "
            "on the batch size: take the mean.",
            (weight * squared).sum(),
        ),
        (
            "You average the distances. The loss of the paper averages their squares: no root.",
            (weight * np.sqrt(squared)).sum() / weight.sum(),
        ),
        (
            "That is masked L1, the loss of the chapter. Here we want the squares.",
            (weight * l1).sum() / weight.sum(),
        ),
        (
            "Your loss is half of what it should be: the squared distance of a joint is dx² + "
            "dy², a sum over the last axis, not a mean.",
            truth / 2,
        ),
    ]
    judge(
        value,
        truth,
        mistakes,
        f"On our test batch the loss should be {truth:.4f}, but yours is {value:.4f}.",
        tolerance=1e-4,
    )
    expect(
        gradient is not None,
        "The value is right, but there is no gradient. Compute with `keras.ops` only: NumPy "
        "operations are not recorded.",
    )
    expect_close(
        gradient,
        2 * weight[..., None] * (y_pred - y_true[..., :2]) / weight.sum(),
        "the gradient of your loss",
        "The value is right, but the gradient is not that of the mean squared distance.",
        1e-4,
    )

    poisoned = np.where(weight[..., None] > 0, y_true, np.float32([np.nan, np.nan, 0]))
    again, gradient_again = _value_and_gradient(masked_l2, poisoned, y_pred)
    expect(
        np.isfinite(again),
        "With NaN in a masked target your loss is NaN. Multiplying by a weight of 0 does not "
        "help, because 0 · NaN is NaN: replace the masked target before you compute with it "
        "(`ops.where`).",
    )
    expect(
        gradient_again is not None
        and np.all(np.isfinite(gradient_again))
        and np.array_equal(gradient_again, gradient)
        and again == value,
        "With NaN in a masked target the loss is right, but its gradient is not. Replace the "
        "*target*, not the finished error: the gradient of `ops.where` goes through both of its "
        "branches.",
    )
    single = np.where(np.arange(6 * K).reshape(6, K) == np.argmax(weight), 1, 0)
    alone = np.concatenate([y_true[..., :2], single[..., None]], axis=-1).astype(np.float32)
    value, _ = _value_and_gradient(masked_l2, alone, y_pred)
    truth = float((single * squared).sum())
    judge(
        value,
        truth,
        (),
        f"With a single labelled joint in the batch the loss is its squared distance, {truth:.4f}; "
        f"yours is {value:.4f}. The smallest divisor is 1.",
        tolerance=1e-4,
    )
    unlabelled, gradient_unlabelled = _value_and_gradient(
        masked_l2, y_true * np.float32([1, 1, 0]), y_pred
    )
    expect(
        np.isfinite(unlabelled)
        and (gradient_unlabelled is None or np.all(np.isfinite(gradient_unlabelled))),
        "When no joint of the batch is labelled, your loss is 0 / 0. One such batch makes every "
        "weight of the network NaN.",
    )
    expect(
        unlabelled == 0,
        f"When no joint of the batch is labelled the loss should be 0, but it is {unlabelled:.4g}.",
    )
    passed("masked L2: right value, right gradient, and masked joints change neither")


# ---- exercise 2: the training targets ------------------------------------------------------------


@exercise
def check_training_targets(training_targets: Callable) -> None:
    """`training_targets(points, visible, known, size)` -> keypoint targets (17, 3) and in-crop
    targets (17, 2), by the table of the chapter."""
    expression = "training_targets(points, visible, known, size)"
    parts = ("the keypoint targets (17, 3)", "the in-crop targets (17, 2)")
    size = 224
    rng = np.random.default_rng(602)
    points = rng.uniform(20, 200, (K, 2))
    visible = np.full(K, 2)
    known = np.ones(K, bool)
    name = COCO17.index
    visible[[name("left_wrist"), name("left_elbow")]] = 1  # occluded
    points[[name("left_ankle"), name("right_ankle")]] = [
        [80.0, 250.0],
        [300.0, 400.0],
    ]  # labelled, cut off by the crop
    visible[name("left_ankle")] = 1
    points[name("right_knee")], visible[name("right_knee")] = (
        [-40.0, 210.0],
        0,
    )  # known to be outside the camera's frame
    lost = [name("left_ear"), name("nose")]
    points[lost], visible[lost], known[lost] = np.nan, 0, False  # unlabelled
    points[name("left_eye")] = [-0.4, 100.2]  # on the first pixel column, left of its centre

    answer = call(training_targets, expression, points, visible, known, size)
    answer = expect_parts(answer, expression, parts)
    keypoints = expect_array(answer[0], parts[0], finite=False)
    expect_array(np.nan_to_num(keypoints), "the keypoint targets", (K, 3))
    seen = expect_array(answer[1], "the in-crop targets", (K, 2))

    inside = (visible >= 1) & geometry.inside(points, (size, size))
    occluded = name("left_wrist")
    outside = [name("left_ankle"), name("right_ankle")]
    expect(
        seen[occluded, 0] == 1 and keypoints[occluded, 2] == 1,
        "The left wrist is occluded (v = 1), but it lies inside the crop. So its in-crop "
        "target is 1, and its position is trained.",
    )
    expect(
        np.all(seen[outside, 0] == 0),
        "The ankles are labelled, but the crop cuts them off: their in-crop target is 0. The "
        "label alone is not enough.",
    )
    expect(
        np.all(seen[outside, 1] == 1),
        "The ankles are known to lie outside the crop. These are the negatives that random crops "
        "give for free: their in-crop target needs the weight 1.",
    )
    expect(
        np.all(keypoints[outside, 2] == 0),
        "The ankles lie outside the crop, but their coordinates have weight 1. Coordinates "
        "are trained only inside.",
    )
    knee = name("right_knee")
    expect(
        seen[knee, 0] == 0 and seen[knee, 1] == 1,
        "The right knee has v = 0, but its position is known (outside the camera's frame): target "
        "0 with weight 1.",
    )
    expect(
        np.all(seen[lost, 1] == 0) and np.all(keypoints[lost, 2] == 0),
        "The nose and the left ear are not labelled, so nothing is known about them: weight 0 in "
        "both outputs.",
    )
    expect(
        np.all(np.isfinite(keypoints)),
        "There is NaN among your keypoint targets. The weight is 0 there, but the coordinates "
        "should be 0 as well.",
    )
    eye = name("left_eye")
    expect(
        seen[eye, 0] == 1 and keypoints[eye, 2] == 1,
        f"The left eye is at x = {points[eye, 0]}. That is on the first pixel column, whose area "
        "runs from -0.5 to 0.5, so it is inside.",
    )
    wanted = np.where(inside[:, None], geometry.encode_keypoints(points, (size, size)), 0)
    expect(
        not np.allclose(keypoints[inside, :2], (points / size - 0.5)[inside], atol=1e-6),
        "All coordinates are half a pixel off. Pixel centres are at integers, so the crop's left "
        "edge is at x = -0.5: u = (x + 0.5) / size - 0.5.",
    )
    expect(
        not np.allclose(keypoints[inside, :2], points[inside]),
        "Your coordinates are still in pixels: the network needs fractions of the crop, from -0.5 "
        "to 0.5.",
    )
    expect_close(
        keypoints[inside, :2],
        wanted[inside],
        "the coordinates of joints inside",
        "The coordinates are wrong.",
        1e-5,
    )
    expect(
        not np.any(keypoints[~inside, :2]),
        "Where the coordinates have weight 0, put 0 for them, too.",
    )
    expect_close(
        keypoints[:, 2],
        inside,
        "the weight of the coordinates",
        "The weight is 1 for joints that are labelled and inside.",
    )
    expect_close(
        seen[:, 0],
        inside,
        "the in-crop target",
        "The target is 1 for joints that are labelled and inside the crop.",
    )
    expect_close(
        seen[:, 1],
        known,
        "the weight of the in-crop target",
        "The weight is 1 where it is known whether the joint is inside.",
    )
    for seed, size in ((605, 96), (606, 160)):
        rng = np.random.default_rng(seed)
        points = rng.uniform(-0.4 * size, 1.4 * size, (K, 2))
        points[:4] = [[-0.5, 9], [size - 0.5, 9], [9, -0.5], [9, size - 0.5]]
        points[4:8] = [[-0.6, 9], [size - 0.6, 9], [9, -0.7], [9, size - 0.4]]
        visible = np.append([2, 1, 2, 1, 1, 2, 1, 2], rng.integers(0, 3, K - 8))
        known = (visible > 0) | (rng.random(K) < 0.5)
        answer = call(training_targets, expression, points, visible, known, size)
        answer = expect_parts(answer, expression, parts)
        inside = (visible >= 1) & geometry.inside(points, (size, size))
        got = expect_array(answer[0], "the keypoint targets", (K, 3))
        wrong = np.flatnonzero((got[:, 2] > 0.5) != inside)
        expect(
            not len(wrong),
            f"A joint at {points[wrong[:1]].round(2).tolist()}, labelled with v = "
            f"{visible[wrong[:1]].tolist()}, is on the wrong side in your answer. A crop of {size} "
            f"pixels reaches from -0.5, which belongs to it, to {size - 0.5}, which does not.",
        )
        expect_close(
            got[inside, :2],
            geometry.encode_keypoints(points, (size, size))[inside],
            "the coordinates of joints inside",
            f"With a crop of {size} pixels the coordinates are wrong: divide by `size`.",
            1e-5,
        )
        expect_close(
            answer[1],
            np.column_stack([inside, known]),
            "the in-crop targets",
            f"For another person, in a crop of {size} pixels, the in-crop targets are wrong: 1 "
            "where the joint is labelled and inside, and the weight 1 where that is known.",
        )
    passed("targets for every line of the table")


# ---- exercise 3: the flip test -------------------------------------------------------------------


def _random_network(seed: int, side: int) -> Callable:
    """A network with random weights, whose outputs differ between images and their mirror
    images."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.002, (side * side * 3, K * 3))

    def predict(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        expect(
            np.shape(images)[1:] == (side, side, 3),
            f"The network was given images of shape {np.shape(images)[1:]}; mirrored images have "
            "the shape of the original ones.",
        )
        out = np.asarray(images, np.float64).reshape(len(images), -1) @ weights
        return np.tanh(out[:, : 2 * K]).reshape(-1, K, 2) / 2, 1 / (1 + np.exp(-out[:, 2 * K :]))

    return predict


_NOT_BACK = (
    "The second prediction is in the mirrored image. Mirror it back before you average: a joint "
    "at u is at -u."
)
_UPSIDE = (
    "You turned the second prediction upside down: a mirror changes the sign of u, the first "
    "number, not of v."
)
_FROM_EDGE = (
    "You mirrored by 1 - u. That is right from 0 to 1; our coordinates have their 0 in the middle "
    "of the crop."
)
_NAIVE = (
    "You averaged the left wrist with the right one. In the mirror a left hand is a right hand: "
    "use `TWIN`."
)
_FIRST_LOOK = (
    "You exchanged left and right in the first prediction, which was correct. Exchange them in "
    "the mirrored one."
)


@exercise
def check_flip_test(flip_test: Callable) -> None:
    """`flip_test(predict, images)`: the mean of the predictions for the images and for their mirror
    images, the latter mirrored back."""
    for seed, count, side in ((603, 5, 6), (604, 3, 4)):
        _expect_mean_of_both(flip_test, seed, count, side)
    passed("the flip test: two predictions, one answer, and left stays left")


def _expect_mean_of_both(flip_test: Callable, seed: int, count: int, side: int) -> None:
    expression = "flip_test(predict, images)"
    parts = ("the joints", "the in-crop probabilities")
    rng = np.random.default_rng(seed)
    predict = _random_network(seed, side)
    twin = list(COCO17.flip_indices)
    images = rng.integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    asked = []

    def recorded(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(np.array(given))
        return predict(given)

    answer = call(flip_test, expression, recorded, images)
    answer = expect_parts(answer, expression, parts)
    mirror = images[:, :, ::-1]
    shown = [
        any(np.array_equal(given, wanted) for given in asked)
        for wanted in (mirror, images[:, ::-1])
    ]
    expect(
        shown[0] or not shown[1],
        "You mirrored the height, so the network saw people on their heads. Images are (N, height, "
        "width, 3): mirror the width.",
    )
    expect(
        shown[0] or not any(np.array_equal(given, images[..., ::-1]) for given in asked),
        "You reversed the last axis: those are the colours, red for blue. Mirror the width.",
    )
    expect(shown[0], "The network was never shown the mirrored images.")
    points = expect_array(answer[0], "the joints of flip_test(predict, images)", (count, K, 2))
    seen = expect_array(
        answer[1], "the in-crop probabilities of flip_test(predict, images)", (count, K)
    )
    (plain, plain_seen) = predict(images)
    (other, other_seen) = predict(mirror)
    back = other * (-1, 1)

    swapped = back[:, twin]
    from_edge = np.stack([1 - other[..., 0], other[..., 1]], axis=-1)
    mistakes = (
        (
            plain,
            "Your joints are those of the plain images: the second prediction does not enter.",
        ),
        (
            swapped,
            "Your joints are the second prediction alone, mirrored back. Take the mean of both "
            "predictions.",
        ),
        (
            plain + swapped,
            "You added the two predictions: every joint is twice as far from the middle. Take "
            "their mean.",
        ),
        ((plain + other[:, twin]) / 2, _NOT_BACK),
        ((plain + other) / 2, _NOT_BACK),
        ((plain + other[:, twin] * (1, -1)) / 2, _UPSIDE),
        ((plain + other * (1, -1)) / 2, _UPSIDE),
        ((plain + from_edge[:, twin]) / 2, _FROM_EDGE),
        ((plain + from_edge) / 2, _FROM_EDGE),
        ((plain + back) / 2, _NAIVE),
        ((plain[:, twin] + back) / 2, _FIRST_LOOK),
        ((plain[:, twin] + swapped) / 2, _FIRST_LOOK),
    )
    judge(
        points,
        (plain + swapped) / 2,
        [(hint, wrong) for wrong, hint in mistakes],
        "The joints are not the mean of both predictions.",
    )
    right = "The joints are right, but the in-crop probability"
    mistakes = (
        (
            (plain_seen + other_seen) / 2,
            f"{right} is averaged between left and right: swap its columns, too.",
        ),
        (plain_seen, f"{right} comes from one of the two predictions: average both."),
        (other_seen[:, twin], f"{right} comes from one of the two predictions: average both."),
        (plain_seen + other_seen[:, twin], f"{right} is a sum, and no probability any more."),
    )
    judge(
        seen,
        (plain_seen + other_seen[:, twin]) / 2,
        [(hint, wrong) for wrong, hint in mistakes],
        "The in-crop probability is not the mean of both predictions.",
    )
