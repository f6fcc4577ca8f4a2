"""Pre-activation ResNets (He et al. 2016, "Identity Mappings in Deep Residual Networks"), as plain functions (chapter 04).

Each function takes a Keras tensor and returns one; every activation has a name, so `model.get_layer(name).output` shows it.
"""

import keras
from keras import layers

STAGES = {"resnet18v2": (2, 2, 2, 2), "resnet34v2": (3, 4, 6, 3)}
"""Residual units a stage (He et al. 2015, table 1)."""


def conv(x, filters: int, kernel: int, stride: int = 1, *, name: str):
    """Convolution without bias, padded by kernel // 2 on every side.

    The padding is explicit because Keras' `padding="same"` at stride 2 pads only the right and the bottom on even sizes.

    Args:
        x: (B, H, W, C).

    Returns:
        (B, ceil(H / stride), ceil(W / stride), filters).
    """
    padding = "same"
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    return layers.Conv2D(
        filters, kernel, stride, padding=padding, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)


def norm_relu(x, *, name: str):
    """Batch norm, then ReLU: the "pre-activation".

    Momentum 0.9, not Keras' 0.99: with a few hundred steps the running statistics would otherwise still be those of the
    random initial weights, and validation would explode while training looks well (chapter 08).
    """
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def preact_unit(x, filters: int, stride: int = 1, *, name: str):
    """One residual unit y = h(x) + F(x), F = BN-ReLU-conv-BN-ReLU-conv (He et al. 2016, fig. 4e).

    The shortcut h is the identity wherever the shapes allow; else a 1x1 convolution of the pre-activated input.

    Args:
        x: (B, H, W, C).

    Returns:
        (B, H / stride, W / stride, filters).
    """
    out = norm_relu(x, name=f"{name}_preact1")
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = conv(out, filters, 1, stride, name=f"{name}_conv_proj")
    out = conv(out, filters, 3, stride, name=f"{name}_conv1")
    out = norm_relu(out, name=f"{name}_preact2")
    out = conv(out, filters, 3, name=f"{name}_conv2")
    return layers.Add(name=f"{name}_out")([shortcut, out])


def resnet_v2(image, units: tuple[int, ...], width: int):
    """The whole backbone: stem, four stages of residual units, last norm.

    Args:
        image: (B, S, S, 3), roughly zero mean and unit range.
        units: residual units of each stage.
        width: channels of the first stage; each further stage doubles them (64 in the paper).

    Returns:
        (B, S / 32, S / 32, 8 * width) features.
    """
    x = conv(image, width, 7, 2, name="stem_conv")
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for s, count in enumerate(units):
        for u in range(count):
            stride = 2 if s > 0 and u == 0 else 1
            x = preact_unit(x, width * 2**s, stride, name=f"stage{s + 1}_unit{u + 1}")
    return norm_relu(x, name="post")


def resnet18v2(image, width: int = 64):
    """Pre-activation ResNet-18 of adjustable width: (B, S, S, 3) -> (B, S / 32, S / 32, 8 * width)."""
    return resnet_v2(image, STAGES["resnet18v2"], width)


__all__ = ["STAGES", "conv", "keras", "norm_relu", "preact_unit", "resnet18v2", "resnet_v2"]
