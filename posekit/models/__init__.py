"""DeepPose = backbone + head: a picture goes in, 17 joints and their visibility come out (chapters 04 to 06)."""

from functools import partial

import keras
import numpy as np
from keras import layers, ops

from posekit.errors import DataError
from posekit.models import deeppose_cnn, densenet, resnet
from posekit.models.inspect import activation_bytes, activations, multiply_adds
from posekit.models.pretrained import imagenet


def _densenet(image, width: int, *, depth: int):
    """Width 64 is the paper's growth rate of 32 with its 64 channels after the stem."""
    return densenet.densenet(image, densenet.LAYERS[depth], max(1, width // 2))


BACKBONES = {
    **{f"resnet{depth}": partial(resnet.resnet, depth=depth, version=1) for depth in resnet.UNITS},
    **{f"resnet{depth}v2": partial(resnet.resnet, depth=depth, version=2) for depth in resnet.UNITS},
    **{
        f"plain{depth}": partial(resnet.resnet_v1, units=units, shortcut=False)
        for depth, units in resnet.UNITS.items()
        if depth not in resnet.BOTTLENECKS
    },
    **{f"densenet{depth}": partial(_densenet, depth=depth) for depth in densenet.LAYERS},
    "deeppose_cnn": deeppose_cnn.deeppose_cnn,
    "deeppose_cnn_lrn": partial(deeppose_cnn.deeppose_cnn, batch_norm=False),
}
"""Name -> function of (image tensor, width=...) that gives the features, (B, S / 32, S / 32, C)."""

DEFAULT_WIDTH = 32


def deeppose_head(features, num_joints: int = 17, *, hidden: tuple[int, ...] = (512,), batch_norm: bool = True) -> dict:
    """The regression head: all positions of the feature map, hidden layers with batch norm, two outputs.

    The feature map is flattened, not averaged, as in DeepPose (2014): averaging would throw away *where* a feature was
    seen, which is what is asked for. The output layers start small (Gaussian, 0.01, as in AlexNet), so that training
    starts from the centre of the crop and not from random poses.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        hidden: units of the hidden layers; (4096, 4096) in DeepPose.
        batch_norm: True: batch norm in the hidden layers; False: dropout of one half, as in AlexNet.

    Returns:
        `keypoints` (B, K, 2), normalised crop coordinates, unbounded (-0.5 ... 0.5 is the crop), float32;
        `visibility` (B, K), the probability that the joint lies inside the crop, float32.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)
    x = layers.Flatten(name="head_flatten")(features)
    for i, units in enumerate(hidden):
        name = "head_hidden" if len(hidden) == 1 else f"head_hidden{i + 1}"
        x = layers.Dense(units, use_bias=not batch_norm, kernel_initializer="he_normal", name=name)(x)
        if batch_norm:
            x = resnet.norm_relu(x, name=name)
        else:
            x = layers.Dropout(0.5, name=f"{name}_dropout")(layers.Activation("relu", name=f"{name}_relu")(x))
    keypoints = layers.Dense(num_joints * 2, kernel_initializer=small, dtype="float32", name="head_keypoints")(x)
    visibility = layers.Dense(
        num_joints, activation="sigmoid", kernel_initializer=small, dtype="float32", name="visibility"
    )(x)
    return {
        "keypoints": layers.Reshape((num_joints, 2), dtype="float32", name="keypoints")(keypoints),
        "visibility": visibility,
    }


def votes_head(features, num_joints: int = 17) -> dict:
    """A head that learns faster from little data: every cell of the feature map votes on where each joint lies.

    A cell gives, for each joint, an offset from its own place and a weight; the joint is the weighted mean of the votes.
    All cells share the same 1x1 convolution, so that what is learnt at one place holds at all of them, and the loss is
    taken on coordinates as before.

    Args:
        features: (B, h, w, C).
        num_joints: K.

    Returns:
        As `deeppose_head`.

    Source:
        The weighted mean is the soft-argmax of Sun et al., "Integral Human Pose Regression", ECCV 2018; the offsets are
        those of Papandreou et al., CVPR 2017.
    """
    h, w = features.shape[1:3]
    x, y = np.meshgrid((np.arange(w) + 0.5) / w - 0.5, (np.arange(h) + 0.5) / h - 0.5)
    cells = np.stack([x, y], axis=-1).reshape(1, h * w, 1, 2).astype(np.float32)
    small = keras.initializers.RandomNormal(stddev=0.01)
    votes = layers.Conv2D(num_joints * 3, 1, kernel_initializer=small, dtype="float32", name="head_votes")(features)
    votes = layers.Reshape((h * w, num_joints, 3), dtype="float32", name="head_cells")(votes)
    weight = layers.Softmax(axis=1, dtype="float32", name="head_weights")(votes[..., :1])
    keypoints = ops.sum(weight * (VOTE_REACH * votes[..., 1:] + cells), axis=1)
    mean = layers.GlobalAveragePooling2D(name="head_mean")(features)
    visibility = layers.Dense(num_joints, activation="sigmoid", dtype="float32", name="visibility")(mean)
    return {
        "keypoints": layers.Activation("linear", dtype="float32", name="keypoints")(keypoints),
        "visibility": visibility,
    }


HEADS = {
    "regression": deeppose_head,
    "deeppose2014": partial(deeppose_head, hidden=(4096, 4096)),
    "deeppose2014_dropout": partial(deeppose_head, hidden=(4096, 4096), batch_norm=False),
    "votes": votes_head,
}
"""Name -> function of (features, num_joints) that gives the outputs."""
VOTE_REACH = 0.3
"""How far a vote of size 1 reaches, in shares of the crop: keeps the outputs of the convolution near 1."""


def build(
    backbone: str = "resnet18v2",
    *,
    head: str = "regression",
    width: int = DEFAULT_WIDTH,
    input_size: int = 224,
    num_joints: int = 17,
    pool: int = 2,
) -> keras.Model:
    """DeepPose stage one: RGB crop -> joints and visibility.

    Args:
        backbone: a name in `BACKBONES`.
        head: a name in `HEADS`: `"regression"`, DeepPose's with one hidden layer, `"deeppose2014"` with its two of 4096, or
            `"votes"`.
        width: channels of the backbone's first stage.
        input_size: side of the input picture in pixels.
        num_joints: K.
        pool: the picture is first averaged over pool x pool pixels: at 2 the backbone sees 112x112 and costs a quarter; at 1 it
            sees all, as in the papers.

    Returns:
        A model from `image` (B, S, S, 3) float32 RGB in 0 ... 255 to
        {"keypoints": (B, K, 2), "visibility": (B, K)}; see `deeppose_head`.

    Raises:
        DataError: for an unknown backbone or head.
    """
    for kind, name, known in (("backbone", backbone, BACKBONES), ("head", head, HEADS)):
        if name not in known:
            raise DataError(f"{kind} {name!r}", "unknown", f"choose one of {', '.join(sorted(known))}")
    image = keras.Input((input_size, input_size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    if pool > 1:
        x = layers.AveragePooling2D(pool, name="pool")(x)
    features = BACKBONES[backbone](x, width=width)
    return keras.Model(image, HEADS[head](features, num_joints), name=f"deeppose_{backbone}_w{width}")


__all__ = [
    "BACKBONES",
    "DEFAULT_WIDTH",
    "HEADS",
    "activation_bytes",
    "activations",
    "build",
    "deeppose_head",
    "imagenet",
    "multiply_adds",
    "votes_head",
]
