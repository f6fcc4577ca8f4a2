"""EfficientNet-Lite0: a small backbone of inverted residual blocks, and its feature pyramid.

stem ─► stage1 ─► … ─► stage5 ─► stage6 ─► stage7      a stage: blocks; the first may stride
 /2      /2             /16       /32       /32        stride of the feature map
block:  x ─► 1x1 expand ─► depthwise k x k ─► 1x1 project ─► + x, where the shapes are equal
"""

from typing import NamedTuple

import keras
from keras import layers

STEM = 32
"""Channels of the stem."""
EPSILON = 1e-3
"""Epsilon of batch norm."""


class Stage(NamedTuple):
    """One stage of identical blocks.

    Args:
        kernel: kernel size of the depthwise convolutions.
        stride: stride of the first block; the others have 1.
        expand: expansion ratio of the channels.
        channels: output channels.
        blocks: number of blocks.
    """

    kernel: int
    stride: int
    expand: int
    channels: int
    blocks: int


LITE0 = (
    Stage(3, 1, 1, 16, 1),
    Stage(3, 2, 6, 24, 2),
    Stage(5, 2, 6, 40, 2),
    Stage(3, 2, 6, 80, 3),
    Stage(5, 1, 6, 112, 3),
    Stage(5, 2, 6, 192, 4),
    Stage(3, 1, 6, 320, 1),
)
"""EfficientNet-B0's stages, without squeeze-and-excite and with ReLU6 for Swish.

Source: Tan & Le, "EfficientNet", ICML 2019, table 1; the Lite variants: tensorflow/tpu,
    models/official/efficientnet/lite.
"""


def norm(x, *, name: str, relu: bool = True):
    """Apply batch norm and, unless `relu` is False, ReLU6."""
    x = layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu else x


def conv(x, channels: int, kernel: int = 1, stride: int = 1, *, name: str, relu: bool = True):
    """Apply a convolution without bias, batch norm and ReLU6; "same" padding, as the weights were
    trained.

    Args:
        x: (B, H, W, C).

    Returns:
        (B, ceil(H / stride), ceil(W / stride), channels).
    """
    x = layers.Conv2D(
        channels,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return norm(x, name=name, relu=relu)


def depthwise(x, kernel: int, stride: int = 1, *, name: str):
    """Apply a depthwise convolution, batch norm and ReLU6.

    Each output sums over kernel x kernel inputs, which Keras counts as the fan-out of a depthwise
    kernel: "he_normal" would start it too small by the square root of the number of channels.
    """
    start = keras.initializers.VarianceScaling(2.0, mode="fan_out")
    x = layers.DepthwiseConv2D(
        kernel,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=start,
        name=f"{name}_conv",
    )(x)
    return norm(x, name=name)


def inverted_residual(x, stage: Stage, stride: int, *, name: str):
    """Apply one block: expand, depthwise convolution, linear projection, shortcut.

    Args:
        x: (B, H, W, C).
        stage: kernel, expansion and channels.
        stride: stride of the depthwise convolution.
        name: prefix of the layer names; the activations are NAME_expand_relu, NAME_depthwise_relu,
            NAME_project_bn and, with a shortcut, NAME_add.

    Returns:
        (B, H / stride, W / stride, stage.channels).

    Source:
        Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, figure
            3.
    """
    out = x
    if stage.expand > 1:
        out = conv(out, stage.expand * x.shape[-1], name=f"{name}_expand")
    out = depthwise(out, stage.kernel, stride, name=f"{name}_depthwise")
    out = conv(out, stage.channels, name=f"{name}_project", relu=False)
    if stride == 1 and x.shape[-1] == stage.channels:
        out = layers.Add(name=f"{name}_add")([x, out])
    return out


def pyramid(image, stages: tuple[Stage, ...] = LITE0) -> dict[int, object]:
    """Compute the last feature map of each stride.

    Args:
        image: (B, S, S, 3) in -1 ... 1, S a multiple of 32.
        stages: stages of the network.

    Returns:
        Stride -> (B, S / stride, S / stride, C): {2: C 16, 4: 24, 8: 40, 16: 112, 32: 320} for
        Lite0.
    """
    x = conv(image, STEM, 3, 2, name="stem")
    stride = 2
    levels = {}
    for s, stage in enumerate(stages, start=1):
        stride *= stage.stride
        for b in range(stage.blocks):
            x = inverted_residual(
                x, stage, stage.stride if b == 0 else 1, name=f"stage{s}_block{b + 1}"
            )
        levels[stride] = x
    return levels


def lite0(image, base_channels: int = STEM):
    """Compute the features at stride 32, as other backbones do: (B, S, S, 3) -> (B, S / 32, S / 32,
    320).

    The width is fixed by the ImageNet weights; `base_channels` is ignored.
    """
    return pyramid(image)[32]


def frozen_layers(layer_names: list[str], stages: int) -> list[str]:
    """Select the layers of the stem and of the first stages by name.

    Args:
        layer_names: layer names of a network of this module.
        stages: number of stages; 0 selects nothing, not even the stem.
    """
    prefixes = ("stem_", *(f"stage{s}_" for s in range(1, stages + 1)))
    return [name for name in layer_names if stages > 0 and name.startswith(prefixes)]
