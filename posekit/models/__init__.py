"""DeepPose = backbone + head: a picture goes in, 17 joints and their visibility come out (chapters 04 to 06)."""

import keras
import numpy as np
from keras import layers, ops

from posekit.errors import DataError
from posekit.models import resnet

BACKBONES = {"resnet18v2": resnet.resnet18v2}
DEFAULT_WIDTH = 32


def deeppose_head(features, num_joints: int = 17, *, hidden: int = 512) -> dict:
    """The regression head: all positions of the feature map, one hidden layer with batch norm, two outputs.

    The feature map is flattened, not averaged, as in DeepPose (2014): averaging would throw away *where* a feature was
    seen, which is what is asked for. The output layers start small (Gaussian, 0.01, as in AlexNet), so that training
    starts from the centre of the crop and not from random poses.

    Args:
        features: (B, h, w, C).
        num_joints: K.
        hidden: units of the hidden layer.

    Returns:
        `keypoints` (B, K, 2), normalised crop coordinates, unbounded (-0.5 ... 0.5 is the crop), float32;
        `visibility` (B, K), the probability that the joint lies inside the crop, float32.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)
    x = layers.Flatten(name="head_flatten")(features)
    x = layers.Dense(hidden, use_bias=False, kernel_initializer="he_normal", name="head_hidden")(x)
    x = resnet.norm_relu(x, name="head_hidden")
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


HEADS = {"regression": deeppose_head, "votes": votes_head}
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
        head: `"regression"`, DeepPose's own, or `"votes"`.
        width: channels of the backbone's first stage.
        input_size: side of the input picture in pixels.
        num_joints: K.
        pool: the picture is first averaged over pool x pool pixels: at 2 the backbone sees 112x112 and costs a quarter.

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
    features = BACKBONES[backbone](x, width)
    return keras.Model(image, HEADS[head](features, num_joints), name=f"deeppose_{backbone}_w{width}")
