"""DeepPose models: a backbone and a head (chapters 04 to 06).

To add a backbone, write a function of (image, base_channels=...) and enter it in `BACKBONES`; to
add a head, a function of (features, num_joints, predict_sigma=...) in `heads.HEADS`.
"""

from functools import partial

import keras
from keras import layers

from posekit.errors import DataError
from posekit.models import deeppose_cnn, densenet, efficientnet, resnet
from posekit.models.heads import (
    HEADS,
    OFFSET_REACH,
    PYRAMID_HEADS,
    deeppose_head,
    integral_head,
    offset_voting_head,
    pyramid_voting_head,
)
from posekit.models.inspect import activation_bytes, activations, multiply_adds
from posekit.models.pretrained import copy_lite0, imagenet, lite0_state


def _densenet(image, base_channels: int, *, depth: int):
    """DenseNet with the stem's channels given: 64 is the paper's, with a growth rate of 32."""
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
    "efficientnet_lite0": efficientnet.lite0,
}
"""Name -> function of (image, base_channels=...) that returns features (B, S / 32, S / 32, C)."""

PYRAMIDS = {"efficientnet_lite0": efficientnet.pyramid}
"""Name -> function of the image that returns stride -> (B, S / stride, S / stride, C)."""

DEPTHWISE = ("efficientnet_lite0",)
"""Names of the backbones that are built of depthwise convolutions."""

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
    """Build DeepPose stage one, from an RGB crop to joints and visibility.

    Args:
        backbone: a name in `BACKBONES`.
        head: a name in `HEADS`: `"regression"`, DeepPose's with one hidden layer; `"deeppose2014"`,
            DeepPose's with two hidden layers of 4096; `"linear"`, without a hidden layer;
            `"pooled"` and `"pooled_linear"`, the same on averaged features, the latter as in
            MMPose; `"votes"`; `"integral"`. Or a name in `PYRAMID_HEADS` for a backbone in
            `PYRAMIDS`.
        base_channels: channels of the backbone's first stage.
        input_size: S, side of the input image in pixels.
        num_joints: K.
        input_downsample: n: the image is first averaged over n x n pixels. At 2 the backbone sees
            112x112 of 224x224 pixels and costs a quarter; at 1 it sees all, as in the papers.
        predict_sigma: add the output "sigma", which the losses in
            `posekit.losses.LOSSES_WITH_SIGMA` need.

    Returns:
        A model from `image` (B, S, S, 3) float32 RGB in 0 ... 255 to {"keypoints": (B, K, 2),
        "visibility": (B, K)}, with `predict_sigma` also "sigma": (B, K, 2); see `deeppose_head`.

    Raises:
        DataError: for an unknown backbone or head, a head that does not fit the backbone, and an
            input size that does not fit a feature pyramid.
    """
    for kind, name, known in (
        ("backbone", backbone, BACKBONES),
        ("head", head, HEADS | PYRAMID_HEADS),
    ):
        if name not in known:
            hint = f"choose one of {', '.join(sorted(known))}"
            raise DataError(f"{kind} {name!r}", "unknown", hint)
    image = keras.Input((input_size, input_size, 3), name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    if input_downsample > 1:
        x = layers.AveragePooling2D(input_downsample, name="input_downsample")(x)
    if head in PYRAMID_HEADS:
        if backbone not in PYRAMIDS:
            raise DataError(
                f"head {head!r}",
                f"needs a feature pyramid, which backbone {backbone!r} does not have",
                f"use one of {', '.join(PYRAMIDS)}, or another head",
            )
        if input_size % (32 * input_downsample):
            raise DataError(
                "input_size",
                f"is {input_size}",
                f"a feature pyramid needs a multiple of {32 * input_downsample}",
            )
        levels = PYRAMIDS[backbone](x)
        outputs = PYRAMID_HEADS[head](levels, num_joints, predict_sigma=predict_sigma)
    else:
        features = BACKBONES[backbone](x, base_channels=base_channels)
        outputs = HEADS[head](features, num_joints, predict_sigma=predict_sigma)
    return keras.Model(image, outputs, name=f"deeppose_{backbone}_w{base_channels}")


__all__ = [
    "BACKBONES",
    "DEFAULT_BASE_CHANNELS",
    "HEADS",
    "OFFSET_REACH",
    "PYRAMIDS",
    "PYRAMID_HEADS",
    "activation_bytes",
    "activations",
    "build",
    "copy_lite0",
    "deeppose_head",
    "imagenet",
    "integral_head",
    "lite0_state",
    "multiply_adds",
    "offset_voting_head",
    "pyramid_voting_head",
]
