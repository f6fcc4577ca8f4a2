"""Heads: from a feature map to joints and their visibility, and, where the loss wants it, to how sure they are (chapters 06 and 09)."""

from functools import partial

import keras
import numpy as np
from keras import layers, ops

from posekit.models import resnet

OFFSET_REACH = 0.3
"""How far a vote of size 1 reaches, in shares of the crop: keeps the outputs of the convolution near 1."""
MIN_SIGMA = 1e-3
"""No σ below this share of the crop: an error of exactly 0 must not be worth infinitely much."""


def _sigma(features, num_joints: int):
    """(B, C) -> σ (B, K, 2), shares of the crop's side; 0.12 at the start of a training."""
    start = keras.initializers.Constant(-2.0)
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
    """(h * w, 2) middles of a feature map's cells, normalised crop coordinates, x before y."""
    x, y = np.meshgrid((np.arange(w) + 0.5) / w - 0.5, (np.arange(h) + 0.5) / h - 0.5)
    return np.stack([x, y], axis=-1).reshape(h * w, 2).astype(np.float32)


def deeppose_head(
    features,
    num_joints: int = 17,
    *,
    hidden: tuple[int, ...] = (512,),
    batch_norm: bool = True,
    predict_sigma: bool = False,
) -> dict:
    """The regression head: all positions of the feature map, hidden layers with batch norm, two outputs.

    The feature map is flattened, not averaged, as in DeepPose (2014): averaging would throw away *where* a feature was
    seen, which is what is asked for. The output layers start small (Gaussian, 0.01, as in AlexNet), so that training
    starts from the centre of the crop and not from random poses.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        hidden: units of the hidden layers; (4096, 4096) in DeepPose.
        batch_norm: True: batch norm in the hidden layers; False: dropout of one half, as in AlexNet.
        predict_sigma: also say how sure each coordinate is.

    Returns:
        `keypoints` (B, K, 2), normalised crop coordinates, unbounded (-0.5 ... 0.5 is the crop), float32;
        `visibility` (B, K), the probability that the joint lies inside the crop, float32;
        with `predict_sigma` also `sigma` (B, K, 2), the σ of the keypoints in shares of the crop's side, float32.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)
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
    """A head that learns faster from little data: every cell of the feature map votes on where each joint lies.

    A cell gives, for each joint, an offset from its own place and a weight; the joint is the weighted mean of the votes.
    All cells share the same 1x1 convolution, so that what is learnt at one place holds at all of them, and the loss is
    taken on coordinates as before.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        predict_sigma: also say how sure each coordinate is.

    Returns:
        As `deeppose_head`.

    Source:
        The weighted mean is the soft-argmax of Sun et al., "Integral Human Pose Regression", ECCV 2018; the offsets are
        those of Papandreou et al., CVPR 2017.
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
    """Integral regression: a heat map for each joint, whose centre of mass is the joint (soft-argmax).

    Deconvolutions first bring the small feature map back to a finer grid; without them the heat maps would have a few
    cells. A centre of mass lies inside the crop: this head cannot place a joint beyond it.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        predict_sigma: also say how sure each coordinate is.
        deconvolutions: how many, each doubling the side.
        channels: of the deconvolutions; 256, and three of them, in the paper.

    Returns:
        As `deeppose_head`.

    Source:
        Sun et al., "Integral Human Pose Regression", ECCV 2018, equation 1; the deconvolutions: Xiao et al., "Simple
        baselines for human pose estimation and tracking", ECCV 2018.
    """
    x, small = features, keras.initializers.RandomNormal(stddev=0.01)
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


HEADS = {
    "regression": deeppose_head,
    "deeppose2014": partial(deeppose_head, hidden=(4096, 4096)),
    "deeppose2014_dropout": partial(deeppose_head, hidden=(4096, 4096), batch_norm=False),
    "votes": offset_voting_head,
    "integral": integral_head,
}
"""Name -> function of (features, num_joints, predict_sigma=...) that gives the outputs."""
