"""Masked losses: a joint that nobody labelled must change neither the loss nor the gradient (chapter 06).

The mask travels inside `y_true` as its last channel, so that `model.compile(loss=...)` needs nothing special. Keras' own
`sample_weight` would divide by the number of *all* entries, masked ones too: the loss would shrink where labels are rare.
"""

from keras import ops


def masked_mean(values, weight):
    """Weighted mean over every entry that counts: sum(weight * values) / max(sum(weight), 1).

    Args:
        values: any shape; entries with weight 0 may hold anything finite.
        weight: same shape, >= 0.

    Returns:
        A scalar; 0, with gradient 0, when nothing counts.
    """
    weight = ops.cast(weight, values.dtype)
    return ops.sum(weight * values) / ops.maximum(ops.sum(weight), 1.0)


def _split_keypoints(y_true, y_pred):
    """(B, K, 3) and (B, K, 2) -> error (B, K, 2) in float32, weight (B, K).

    A masked target is replaced, not multiplied away: NaN * 0 is NaN.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    weight = y_true[..., 2]
    target = ops.where(weight[..., None] > 0, y_true[..., :2], y_pred)
    return y_pred - target, weight


def masked_l1(y_true, y_pred):
    """Mean absolute error |dx| + |dy| over labelled joints.

    Args:
        y_true: (B, K, 3): u, v in normalised crop coordinates and the weight.
        y_pred: (B, K, 2).

    Returns:
        A scalar, float32, in shares of the crop's side.
    """
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(ops.abs(error), axis=-1), weight)


def masked_l2(y_true, y_pred):
    """Mean squared distance dx^2 + dy^2 over labelled joints: the loss of DeepPose (section 3.1). Shapes as in `masked_l1`."""
    error, weight = _split_keypoints(y_true, y_pred)
    return masked_mean(ops.sum(ops.square(error), axis=-1), weight)


def masked_bce(y_true, y_pred):
    """Binary cross-entropy of the visibility output over joints whose truth is known.

    Args:
        y_true: (B, K, 2): target (1 = inside the crop) and weight.
        y_pred: (B, K) probabilities.

    Returns:
        A scalar, float32, in nats.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    weight = y_true[..., 1]
    target = ops.where(weight > 0, y_true[..., 0], 0.0)
    p = ops.clip(y_pred, 1e-6, 1 - 1e-6)
    return masked_mean(-(target * ops.log(p) + (1 - target) * ops.log(1 - p)), weight)
