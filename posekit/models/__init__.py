"""DeepPose = backbone + head: a picture goes in, 17 joints and their visibility come out (chapters 04 to 06)."""

from functools import partial

import keras
from keras import layers

from posekit.errors import DataError
from posekit.models import deeppose_cnn, densenet, resnet
from posekit.models.heads import (
    HEADS,
    OFFSET_REACH,
    deeppose_head,
    integral_head,
    offset_voting_head,
)
from posekit.models.inspect import activation_bytes, activations, multiply_adds
from posekit.models.pretrained import imagenet


def _densenet(image, base_channels: int, *, depth: int):
    """Width 64 is the paper's growth rate of 32 with its 64 channels after the stem."""
    return densenet.densenet(image, densenet.LAYERS[depth], max(1, base_channels // 2))


BACKBONES = {
    **{f"resnet{depth}": partial(resnet.resnet, depth=depth, version=1) for depth in resnet.UNITS},
    **{
        f"resnet{depth}v2": partial(resnet.resnet, depth=depth, version=2) for depth in resnet.UNITS
    },
    **{
        f"plain{depth}": partial(resnet.resnet_v1, units=units, shortcut=False)
        for depth, units in resnet.UNITS.items()
        if depth not in resnet.BOTTLENECKS
    },
    **{f"densenet{depth}": partial(_densenet, depth=depth) for depth in densenet.LAYERS},
    "deeppose_cnn": deeppose_cnn.deeppose_cnn,
    "deeppose_cnn_lrn": partial(deeppose_cnn.deeppose_cnn, batch_norm=False),
}
"""Name -> function of (image tensor, base_channels=...) that gives the features, (B, S / 32, S / 32, C)."""

DEFAULT_BASE_CHANNELS = 32


def build(
    backbone: str = "resnet18v2",
    *,
    head: str = "regression",
    base_channels: int = DEFAULT_BASE_CHANNELS,
    input_size: int = 224,
    num_joints: int = 17,
    input_downsample: int = 2,
    predict_sigma: bool = False,
) -> keras.Model:
    """DeepPose stage one: RGB crop -> joints and visibility.

    Args:
        backbone: a name in `BACKBONES`.
        head: a name in `HEADS`: `"regression"`, DeepPose's with one hidden layer, `"deeppose2014"` with its two of 4096, `"votes"`,
            or `"integral"`.
        base_channels: channels of the backbone's first stage.
        input_size: side of the input picture in pixels.
        num_joints: K.
        input_downsample: the picture is first averaged over input_downsample x input_downsample pixels: at 2 the backbone sees 112x112 and costs a quarter; at 1 it
            sees all, as in the papers.
        predict_sigma: also say how sure each coordinate is, which the losses with a learned σ need (`posekit.losses.LOSSES_WITH_SIGMA`).

    Returns:
        A model from `image` (B, S, S, 3) float32 RGB in 0 ... 255 to
        {"keypoints": (B, K, 2), "visibility": (B, K)}, with `predict_sigma` also "sigma": (B, K, 2); see `deeppose_head`.

    Raises:
        DataError: for an unknown backbone or head.
    """
    for kind, name, known in (("backbone", backbone, BACKBONES), ("head", head, HEADS)):
        if name not in known:
            raise DataError(
                f"{kind} {name!r}", "unknown", f"choose one of {', '.join(sorted(known))}"
            )
    image = keras.Input((input_size, input_size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    if input_downsample > 1:
        x = layers.AveragePooling2D(input_downsample, name="input_downsample")(x)
    features = BACKBONES[backbone](x, base_channels=base_channels)
    return keras.Model(
        image,
        HEADS[head](features, num_joints, predict_sigma=predict_sigma),
        name=f"deeppose_{backbone}_w{base_channels}",
    )


__all__ = [
    "BACKBONES",
    "DEFAULT_BASE_CHANNELS",
    "HEADS",
    "OFFSET_REACH",
    "activation_bytes",
    "activations",
    "build",
    "deeppose_head",
    "imagenet",
    "integral_head",
    "multiply_adds",
    "offset_voting_head",
]
