"""Heads: from features to keypoints, visibility and, for some losses, σ (chapters 06 and 12)."""

from functools import partial

import keras
import numpy as np
from keras import layers, ops

from posekit.models import efficientnet, resnet

OFFSET_REACH = 0.3
"""Offset of a vote of size 1, as a fraction of the crop: keeps the convolution's outputs near 1."""
MIN_SIGMA = 1e-3
"""Least σ, as a fraction of the crop: it keeps the likelihood of an error of exactly 0 finite."""


_SIGMA_LOGIT = -2.0
"""Initial logit of sigma: 0.12 of the side of the crop."""


def _sigma(features, num_joints: int):
    """Predict σ (B, K, 2), fractions of the crop's side, from (B, C); 0.12 before training."""
    start = keras.initializers.Constant(_SIGMA_LOGIT)
    x = layers.Dense(
        num_joints * 2,
        kernel_initializer="zeros",
        bias_initializer=start,
        dtype="float32",
        name="head_sigma",
    )(features)
    x = layers.Reshape((num_joints, 2), dtype="float32", name="head_sigma_pairs")(x)
    return layers.Rescaling(1.0, offset=MIN_SIGMA, dtype="float32", name="sigma")(ops.sigmoid(x))


def _cells(h: int, w: int) -> np.ndarray:
    """Centres (h * w, 2) of a feature map's cells, normalised crop coordinates, x before y."""
    x, y = np.meshgrid((np.arange(w) + 0.5) / w - 0.5, (np.arange(h) + 0.5) / h - 0.5)
    return np.stack([x, y], axis=-1).reshape(h * w, 2).astype(np.float32)


def deeppose_head(
    features,
    num_joints: int = 17,
    *,
    hidden: tuple[int, ...] = (512,),
    batch_norm: bool = True,
    pool: bool = False,
    predict_sigma: bool = False,
) -> dict:
    """DeepPose's regression head: flatten, hidden layers with batch norm, linear outputs.

    The feature map is flattened, as in DeepPose (2014), or averaged, as in MMPose's DeepPose;
    chapter 04 compares the two. The output layers start small (Gaussian, 0.01, as in AlexNet), so
    that training starts from the centre of the crop and not from random poses.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        hidden: units of each hidden layer; (4096, 4096) in DeepPose.
        batch_norm: batch norm in the hidden layers; False: dropout of one half, as in AlexNet.
        pool: average the feature map over its positions instead of flattening it.
        predict_sigma: add the output `sigma`.

    Returns:
        `keypoints` (B, K, 2), normalised crop coordinates, unbounded (-0.5 ... 0.5 is the crop);
        `visibility` (B, K), the probability that the joint lies inside the crop; with
        `predict_sigma` also `sigma` (B, K, 2), the standard deviation of the keypoints' errors,
        fractions of the crop's side. All float32.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)
    if pool:
        x = layers.GlobalAveragePooling2D(name="head_mean")(features)
    else:
        x = layers.Flatten(name="head_flatten")(features)
    for i, units in enumerate(hidden):
        name = "head_hidden" if len(hidden) == 1 else f"head_hidden{i + 1}"
        x = layers.Dense(units, use_bias=not batch_norm, kernel_initializer="he_normal", name=name)(
            x
        )
        if batch_norm:
            x = resnet.norm_relu(x, name=name)
        else:
            x = layers.Dropout(0.5, name=f"{name}_dropout")(
                layers.Activation("relu", name=f"{name}_relu")(x)
            )
    keypoints = layers.Dense(
        num_joints * 2, kernel_initializer=small, dtype="float32", name="head_keypoints"
    )(x)
    outputs = {
        "keypoints": layers.Reshape((num_joints, 2), dtype="float32", name="keypoints")(keypoints),
        "visibility": layers.Dense(
            num_joints,
            activation="sigmoid",
            kernel_initializer=small,
            dtype="float32",
            name="visibility",
        )(x),
    }
    return outputs | ({"sigma": _sigma(x, num_joints)} if predict_sigma else {})


def offset_voting_head(features, num_joints: int = 17, *, predict_sigma: bool = False) -> dict:
    """Offset voting head: the weighted mean of every cell's vote for each joint.

    A cell predicts, per joint, an offset from its own centre and a weight. All cells share a 1x1
    convolution, so that what is learned at one position holds at all of them; it learns faster from
    little data. The loss is on coordinates, as before.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        predict_sigma: add the output `sigma`.

    Returns:
        As `deeppose_head`.

    Source:
        The weighted mean is the soft-argmax of Sun et al., "Integral Human Pose Regression", ECCV
        2018; the offsets are those of Papandreou et al., CVPR 2017.
    """
    h, w = features.shape[1:3]
    small = keras.initializers.RandomNormal(stddev=0.01)
    cells = _cells(h, w)[None, :, None]
    votes = layers.Conv2D(
        num_joints * 3, 1, kernel_initializer=small, dtype="float32", name="head_votes"
    )(features)
    votes = layers.Reshape((h * w, num_joints, 3), dtype="float32", name="head_cells")(votes)
    weight = layers.Softmax(axis=1, dtype="float32", name="head_weights")(votes[..., :1])
    keypoints = ops.sum(weight * (OFFSET_REACH * votes[..., 1:] + cells), axis=1)
    mean = layers.GlobalAveragePooling2D(name="head_mean")(features)
    visibility = layers.Dense(num_joints, activation="sigmoid", dtype="float32", name="visibility")(
        mean
    )
    outputs = {
        "keypoints": layers.Activation("linear", dtype="float32", name="keypoints")(keypoints),
        "visibility": visibility,
    }
    return outputs | ({"sigma": _sigma(mean, num_joints)} if predict_sigma else {})


def integral_head(
    features,
    num_joints: int = 17,
    *,
    predict_sigma: bool = False,
    deconvolutions: int = 2,
    channels: int = 64,
) -> dict:
    """Integral regression: the expectation of a heat map per joint (soft-argmax).

    Deconvolutions first upsample the feature map; without them the heat maps would have a few
    cells. An expectation lies inside the crop: this head cannot place a joint outside.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        predict_sigma: add the output `sigma`.
        deconvolutions: number of deconvolutions, each doubles the side.
        channels: of the deconvolutions; 256, and three of them, in the paper.

    Returns:
        As `deeppose_head`.

    Source:
        Sun et al., "Integral Human Pose Regression", ECCV 2018, equation 1; the deconvolutions:
        Xiao et al., "Simple baselines for human pose estimation and tracking", ECCV 2018.
    """
    x = features
    small = keras.initializers.RandomNormal(stddev=0.01)
    for i in range(deconvolutions):
        name = f"head_deconv{i + 1}"
        x = layers.Conv2DTranspose(channels, 4, 2, padding="same", use_bias=False, name=name)(x)
        x = resnet.norm_relu(x, name=name)
    h, w = x.shape[1:3]
    maps = layers.Conv2D(
        num_joints, 1, kernel_initializer=small, dtype="float32", name="head_maps"
    )(x)
    maps = layers.Reshape((h * w, num_joints), dtype="float32", name="head_cells")(maps)
    heat = layers.Softmax(axis=1, dtype="float32", name="head_heat")(maps)
    keypoints = ops.einsum("bik,ic->bkc", heat, ops.convert_to_tensor(_cells(h, w)))
    mean = layers.GlobalAveragePooling2D(name="head_mean")(features)
    outputs = {
        "keypoints": layers.Activation("linear", dtype="float32", name="keypoints")(keypoints),
        "visibility": layers.Dense(
            num_joints, activation="sigmoid", dtype="float32", name="visibility"
        )(mean),
    }
    return outputs | ({"sigma": _sigma(mean, num_joints)} if predict_sigma else {})


PYRAMID_CHANNELS = 128
"""Channels of the feature pyramid."""


def pyramid_features(levels: dict[int, object], channels: int = PYRAMID_CHANNELS):
    """Build a two-level feature pyramid: strides 32 and 16, merged at stride 16.

    1x1 convolutions project both levels to `channels`; the coarser map is upsampled and added; a
    depthwise 5x5 and a 1x1 convolution follow.

    Args:
        levels: stride -> (B, h, w, C), with 16 and 32.
        channels: output channels.

    Returns:
        (B, h, w, channels) at stride 16.

    Source:
        Lin et al., "Feature pyramid networks for object detection", CVPR 2017, section 3, with one
        level.
    """
    conv = partial(efficientnet.conv, channels=channels)
    deep = conv(levels[32], name="head_deep", relu=False)
    fine = conv(levels[16], name="head_fine", relu=False)
    x = layers.Add(name="head_add")([layers.UpSampling2D(2, name="head_up")(deep), fine])
    x = layers.ReLU(max_value=6.0, name="head_add_relu")(x)
    return conv(efficientnet.depthwise(x, 5, name="head_depthwise"), name="head_mix")


def pyramid_voting_head(
    levels: dict[int, object], num_joints: int = 17, *, predict_sigma: bool = False
) -> dict:
    """Apply offset voting to a feature pyramid at stride 16, with local evidence for visibility and
    sigma.

    `offset_voting_head` predicts visibility and sigma from globally pooled features. Here every
    cell adds evidence for both, weighted per joint by the voting weights. No gradient flows from
    them into the weights, which the coordinates train.

    Args:
        levels: stride -> (B, h, w, C), with 16 and 32, see `pyramid_features`.
        num_joints: K.
        predict_sigma: also predict sigma per coordinate.

    Returns:
        As `deeppose_head`.

    Source:
        See `offset_voting_head`.
    """
    features = pyramid_features(levels)
    h, w = features.shape[1:3]
    cells = _cells(h, w)[None, :, None]
    votes = layers.Conv2D(
        num_joints * 3, 1, kernel_initializer=_small(), dtype="float32", name="head_votes"
    )(features)
    votes = layers.Reshape((h * w, num_joints, 3), dtype="float32", name="head_cells")(votes)
    weight = layers.Softmax(axis=1, dtype="float32", name="head_weights")(votes[..., :1])
    keypoints = ops.sum(weight * (OFFSET_REACH * votes[..., 1:] + cells), axis=1)

    numbers = 3 if predict_sigma else 1  # visibility; σ along x and y
    local = layers.Conv2D(
        num_joints * numbers, 1, kernel_initializer=_small(), dtype="float32", name="head_evidence"
    )(features)
    local = layers.Reshape(
        (h * w, num_joints, numbers), dtype="float32", name="head_evidence_cells"
    )(local)
    mean = layers.GlobalAveragePooling2D(name="head_mean")(features)
    whole = layers.Dense(
        num_joints * numbers, kernel_initializer=_small(), dtype="float32", name="head_whole"
    )(mean)
    whole = layers.Reshape((num_joints, numbers), dtype="float32", name="head_whole_joints")(whole)
    evidence = whole + ops.sum(ops.stop_gradient(weight) * local, axis=1)
    outputs = {
        "keypoints": layers.Activation("linear", dtype="float32", name="keypoints")(keypoints),
        "visibility": layers.Activation("sigmoid", dtype="float32", name="visibility")(
            evidence[..., 0]
        ),
    }
    if predict_sigma:
        spread = ops.sigmoid(evidence[..., 1:] + _SIGMA_LOGIT)
        outputs["sigma"] = layers.Rescaling(1.0, offset=MIN_SIGMA, dtype="float32", name="sigma")(
            spread
        )
    return outputs


def _small():
    return keras.initializers.RandomNormal(stddev=0.01)


HEADS = {
    "regression": deeppose_head,
    "linear": partial(deeppose_head, hidden=()),
    "pooled": partial(deeppose_head, pool=True),
    "pooled_linear": partial(deeppose_head, hidden=(), pool=True),
    "deeppose2014": partial(deeppose_head, hidden=(4096, 4096)),
    "deeppose2014_dropout": partial(deeppose_head, hidden=(4096, 4096), batch_norm=False),
    "votes": offset_voting_head,
    "integral": integral_head,
}
"""Name -> function of (features, num_joints, predict_sigma=...) that returns the outputs."""
PYRAMID_HEADS = {"pyramid_votes": pyramid_voting_head}
"""The same for heads on the feature pyramid of a backbone in `models.PYRAMIDS`."""
