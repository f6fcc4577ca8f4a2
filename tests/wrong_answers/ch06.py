"""Typical wrong answers to the exercises of chapter 06, each with a piece of the hint that it must get."""

import numpy as np
from keras import ops

from posekit.checks import ch06

# ---- exercise 1 -------------------------------------------------------------------------------------------------------


def l2(y_true, y_pred, *, power=ops.square, over=ops.sum, whole="weights", weighted=True, replace=True, floor=1.0):
    """The right answer, with one handle for each mistake."""
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


# ---- exercise 2 -------------------------------------------------------------------------------------------------------


def targets(
    points, visible, known, size, *, least=1, crop=True, half=0.5, pixels=False, zero=True, edge=-0.5, seen=None
):
    """The right answer, with one handle for each mistake."""
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


# ---- exercise 3 -------------------------------------------------------------------------------------------------------


def head(grid, channels, hidden, joints, *, sides=2, bias=0, norm=4, outputs=3, output_bias=1):
    """The right answer, with one handle for each mistake."""
    return (grid**sides * channels + bias + norm) * hidden + (hidden + output_bias) * outputs * joints


def head_with(**mistake):
    return lambda grid, channels, hidden, joints: head(grid, channels, hidden, joints, **mistake)


def in_a_row(grid, channels, hidden, joints):
    return head(grid, channels, hidden, joints, outputs=2) + (2 * joints + 1) * joints


# ---- exercise 4 -------------------------------------------------------------------------------------------------------


def ratio(pred, true, labelled, boxes, *, corner=True, side=True, masked=True, top="pred", power=1, joints="each"):
    """The right answer, with one handle for each mistake."""
    if corner:
        pred, true = pred - boxes[:, None, :2], true - boxes[:, None, :2]
    if side:
        pred, true = pred / boxes[:, None, 2:], true / boxes[:, None, 2:]
    if top == "true":
        pred, true = np.where(labelled[..., None], pred, 0), np.where(labelled[..., None], true, 0)
        pred, true = true, pred
    if joints == "pooled":
        return pred[labelled].var(axis=0).sum() / true[labelled].var(axis=0).sum()
    parts = []
    for k in range(17):
        on = labelled[:, k] if masked else slice(None)
        parts.append((pred[on, k].var(axis=0).sum() / true[on, k].var(axis=0).sum()) ** power)
    return np.mean(parts)


def ratio_with(**mistake):
    return lambda pred, true, labelled, boxes: ratio(pred, true, labelled, boxes, **mistake)


def ratio_in_place(pred, true, labelled, boxes):
    pred -= boxes[:, None, :2]
    return ratio(pred, true - boxes[:, None, :2], labelled, boxes, corner=False)


def ratio_of_sums(pred, true, labelled, boxes):
    pred, true = (pred - boxes[:, None, :2]) / boxes[:, None, 2:], (true - boxes[:, None, :2]) / boxes[:, None, 2:]
    both = [[x[labelled[:, k], k].var(axis=0).sum() for k in range(17)] for x in (pred, true)]
    return np.sum(both[0]) / np.sum(both[1])


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
    (ch06.check_masked_l2, lambda y_true, y_pred: ops.square(y_pred - y_true[..., :2]), "one number"),
    (ch06.check_training_targets, targets_with(least=2), "occluded (v = 1)"),
    (ch06.check_training_targets, targets_with(crop=False), "the crop cuts them off"),
    (ch06.check_training_targets, targets_with(seen=lambda inside, visible: inside), "negatives"),
    (ch06.check_training_targets, targets_with(seen=lambda inside, visible: visible >= 1), "right knee"),
    (ch06.check_training_targets, targets_with(seen=lambda inside, visible: np.ones(17)), "pretend to know"),
    (ch06.check_training_targets, targets_trained_outside, "trained only inside"),
    (ch06.check_training_targets, targets_with(zero=False), "There is NaN"),
    (ch06.check_training_targets, targets_with(edge=0), "first pixel column"),
    (ch06.check_training_targets, targets_with(half=0), "half a pixel off"),
    (ch06.check_training_targets, targets_with(pixels=True), "still in pixels"),
    (ch06.check_training_targets, targets_with_junk, "put 0"),
    (ch06.check_training_targets, targets_in_place, "work on a copy"),
    (ch06.check_training_targets, lambda *person: targets(*person)[0], "two arrays"),
    (ch06.check_head_parameters, head_with(bias=1), "has no bias"),
    (ch06.check_head_parameters, head_with(norm=0), "left out the batch norm"),
    (ch06.check_head_parameters, head_with(norm=0, bias=1), "left out the batch norm"),
    (ch06.check_head_parameters, head_with(norm=2), "stores two more"),
    (ch06.check_head_parameters, head_with(output_bias=0), "each of their units has a bias"),
    (ch06.check_head_parameters, head_with(sides=0), "averaged to one position"),
    (ch06.check_head_parameters, head_with(sides=1), "two sides"),
    (ch06.check_head_parameters, head_with(outputs=2), "left out the visibility"),
    (ch06.check_head_parameters, head_with(outputs=1), "three numbers a joint"),
    (ch06.check_head_parameters, in_a_row, "side by side"),
    (ch06.check_head_parameters, lambda grid, channels, hidden, joints: 1.0, "the head stores"),
    (ch06.check_collapse_ratio, ratio_with(corner=False, side=False), "in photo pixels"),
    (ch06.check_collapse_ratio, ratio_with(corner=False), "did not subtract"),
    (ch06.check_collapse_ratio, ratio_with(masked=False), "nobody labelled"),
    (ch06.check_collapse_ratio, ratio_with(top="true"), "upside down"),
    (ch06.check_collapse_ratio, ratio_with(power=0.5), "standard deviations"),
    (ch06.check_collapse_ratio, ratio_with(joints="pooled"), "one variance over all joints"),
    (ch06.check_collapse_ratio, ratio_in_place, "work on a copy"),
    (ch06.check_collapse_ratio, ratio_of_sums, "should be"),
]
