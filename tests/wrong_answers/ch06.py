"""Wrong answers to the exercises of chapter 06, each with a piece of its hint."""

import numpy as np
from keras import ops

from posekit.notebook.checks import ch06
from posekit.skeleton import COCO17

# ---- exercise 1 ----------------------------------------------------------------------------------


def l2(
    y_true,
    y_pred,
    *,
    power=ops.square,
    over=ops.sum,
    whole="weights",
    weighted=True,
    replace=True,
    floor=1.0,
):
    """The right answer, with one option per mistake."""
    weight = y_true[..., 2] if weighted else ops.ones_like(y_true[..., 2])
    target = y_true[..., :2]
    if replace:
        target = ops.where(weight[..., None] > 0, target, y_pred)
    total = ops.sum(weight * over(power(y_pred - target), axis=-1))
    if whole == "sum":
        return total
    if whole == "entries":
        return total / float(np.prod(weight.shape))
    return total / ops.maximum(ops.sum(weight), floor)


def l2_with(**mistake):
    return lambda y_true, y_pred: l2(y_true, y_pred, **mistake)


def l2_of_everything(y_true, y_pred):
    return ops.mean(ops.sum(ops.square(y_true[..., :2] - y_pred), axis=-1))


def l2_rooted(y_true, y_pred):
    return l2(y_true, y_pred, over=lambda x, axis: ops.sqrt(ops.sum(x, axis=axis) + 1e-12))


def l2_in_numpy(y_true, y_pred):
    y_true, y_pred = np.asarray(y_true), y_pred.numpy()
    error = np.where(y_true[..., 2:] > 0, y_true[..., :2] - y_pred, 0)
    return (error**2).sum() / max(y_true[..., 2].sum(), 1)


def l2_error_replaced(y_true, y_pred):
    weight = y_true[..., 2]
    squared = ops.sum(ops.square(y_pred - y_true[..., :2]), axis=-1)
    return ops.sum(ops.where(weight > 0, squared, 0.0)) / ops.maximum(ops.sum(weight), 1.0)


# ---- exercise 2 ----------------------------------------------------------------------------------


def targets(
    points,
    visible,
    known,
    size,
    *,
    least=1,
    crop=True,
    half=0.5,
    pixels=False,
    zero=True,
    edge=-0.5,
    seen=None,
):
    """The right answer, with one option per mistake."""
    on_crop = np.all((points >= edge) & (points < size + edge), axis=-1)
    inside = (visible >= least) & (on_crop if crop else True)
    u = points if pixels else (points + half) / size - 0.5
    u = np.where(inside[:, None], u, 0) if zero else u
    weight = known if seen is None else seen(inside, visible)
    return np.column_stack([u, inside]), np.column_stack([inside, weight]).astype(float)


def targets_with(**mistake):
    return lambda points, visible, known, size: targets(points, visible, known, size, **mistake)


def targets_trained_outside(points, visible, known, size):
    keypoints, seen = targets(points, visible, known, size)
    keypoints[:, 2] = visible >= 1
    return keypoints, seen


def targets_with_junk(points, visible, known, size):
    keypoints, seen = targets(points, visible, known, size)
    off = keypoints[:, 2] == 0
    keypoints[off, :2] = np.nan_to_num(points[off]) / size
    return keypoints, seen


def targets_in_place(points, visible, known, size):
    points[~known] = 0
    return targets(points, visible, known, size)


# ---- exercise 3 ----------------------------------------------------------------------------------

TWIN = list(COCO17.flip_indices)


def flip(
    predict,
    images,
    *,
    mirror=lambda x: x[:, :, ::-1],
    back=lambda p: p * (-1, 1),
    swap=lambda x: x[:, TWIN],
    first=lambda x: x,
    both=lambda a, b: (a + b) / 2,
    seen_swap=None,
    seen_both=None,
):
    """The right answer, with one option per mistake."""
    (points, seen), (other, other_seen) = predict(images), predict(mirror(images))
    swapped = (seen_swap or swap)(other_seen)
    return both(first(points), swap(back(other))), (seen_both or both)(seen, swapped)


def flip_with(**mistake):
    return lambda predict, images: flip(predict, images, **mistake)


def flip_in_place(predict, images):
    points, seen = predict(images)
    images[:] = images[:, :, ::-1].copy()
    other, other_seen = predict(images)
    return (points + (other * (-1, 1))[:, TWIN]) / 2, (seen + other_seen[:, TWIN]) / 2


def as_it_is(x):
    return x


# ---- found by changing the solutions piece by piece ----------------------------------------------


def masked_l2_by_people(y_true, y_pred):
    """Divides by the number of people where that is more than the number of joints."""
    weight = y_true[..., 2]
    target = ops.where(weight[..., None] > 0, y_true[..., :2], y_pred)
    squared = ops.sum(ops.square(y_pred - target), axis=-1)
    return ops.sum(squared) / ops.maximum(ops.sum(weight), float(len(y_true)))


def targets_within(low, high):
    def training_targets(points, visible, known, size):
        inside = (visible >= 1) & np.all((points > low) & (points < size + high), axis=1)
        uv = np.where(inside[:, None], (points + 0.5) / size - 0.5, 0)
        return np.column_stack([uv, inside]), np.column_stack([inside, known]).astype(float)

    return training_targets


WRONG = [
    (ch06.check_masked_l2, l2_with(whole="entries", replace=False), "*all* entries"),
    (ch06.check_masked_l2, l2_with(whole="entries"), "*all* entries"),
    (ch06.check_masked_l2, l2_of_everything, "with or without a label"),
    (ch06.check_masked_l2, l2_with(whole="sum"), "return the sum"),
    (ch06.check_masked_l2, l2_rooted, "no root"),
    (ch06.check_masked_l2, l2_with(power=ops.abs), "masked L1"),
    (ch06.check_masked_l2, l2_with(over=ops.mean), "half of what"),
    (ch06.check_masked_l2, l2_in_numpy, "no gradient"),
    (ch06.check_masked_l2, l2_with(replace=False), "0 · NaN is NaN"),
    (ch06.check_masked_l2, l2_error_replaced, "both of its branches"),
    (ch06.check_masked_l2, l2_with(floor=0.0), "0 / 0"),
    (
        ch06.check_masked_l2,
        lambda y_true, y_pred: ops.square(y_pred - y_true[..., :2]),
        "one number",
    ),
    (ch06.check_training_targets, targets_with(least=2), "occluded (v = 1)"),
    (ch06.check_training_targets, targets_with(crop=False), "the crop cuts them off"),
    (ch06.check_training_targets, targets_with(seen=lambda inside, visible: inside), "negatives"),
    (
        ch06.check_training_targets,
        targets_with(seen=lambda inside, visible: visible >= 1),
        "right knee",
    ),
    (
        ch06.check_training_targets,
        targets_with(seen=lambda inside, visible: np.ones(17)),
        "nothing is known about them",
    ),
    (ch06.check_training_targets, targets_trained_outside, "trained only inside"),
    (ch06.check_training_targets, targets_with(zero=False), "There is NaN"),
    (ch06.check_training_targets, targets_with(edge=0), "first pixel column"),
    (ch06.check_training_targets, targets_with(half=0), "half a pixel off"),
    (ch06.check_training_targets, targets_with(pixels=True), "still in pixels"),
    (ch06.check_training_targets, targets_with_junk, "put 0"),
    (ch06.check_training_targets, targets_in_place, "work on a copy"),
    (ch06.check_training_targets, lambda *person: targets(*person)[0], "two arrays"),
    (
        ch06.check_flip_test,
        flip_with(swap=as_it_is, seen_swap=lambda x: x[:, TWIN]),
        "left wrist with the right",
    ),
    (ch06.check_flip_test, flip_with(swap=as_it_is), "left wrist with the right"),
    (ch06.check_flip_test, flip_with(mirror=lambda x: x[:, ::-1]), "on their heads"),
    (ch06.check_flip_test, flip_with(mirror=lambda x: x[..., ::-1]), "red for blue"),
    (ch06.check_flip_test, flip_with(mirror=as_it_is), "never shown"),
    (ch06.check_flip_test, lambda predict, images: predict(images), "never shown"),
    (ch06.check_flip_test, flip_with(back=as_it_is), "is at -u"),
    (ch06.check_flip_test, flip_with(back=as_it_is, swap=as_it_is), "is at -u"),
    (ch06.check_flip_test, flip_with(back=lambda p: p * (1, -1)), "upside down"),
    (
        ch06.check_flip_test,
        flip_with(back=lambda p: np.stack([1 - p[..., 0], p[..., 1]], -1)),
        "by 1 - u",
    ),
    (ch06.check_flip_test, flip_with(both=lambda a, b: a), "does not enter"),
    (ch06.check_flip_test, flip_with(both=lambda a, b: b), "second prediction alone"),
    (ch06.check_flip_test, flip_with(both=lambda a, b: a + b), "twice as far"),
    (
        ch06.check_flip_test,
        flip_with(first=lambda x: x[:, TWIN], swap=as_it_is),
        "in the first prediction",
    ),
    (ch06.check_flip_test, flip_with(seen_swap=as_it_is), "its columns"),
    (ch06.check_flip_test, flip_with(seen_both=lambda a, b: a), "one of the two predictions"),
    (ch06.check_flip_test, flip_with(seen_both=lambda a, b: a + b), "no probability"),
    (ch06.check_flip_test, flip_with(seen_both=np.maximum), "mean of both predictions"),
    (ch06.check_flip_test, lambda predict, images: flip(predict, images)[0], "two arrays"),
    (ch06.check_flip_test, flip_in_place, "work on a copy"),
    (ch06.check_masked_l2, masked_l2_by_people, "With a single labelled joint"),
    (ch06.check_training_targets, targets_within(-1, -0.5), "on the wrong side in your answer"),
    (ch06.check_training_targets, targets_within(-0.51, 0), "on the wrong side in your answer"),
]
