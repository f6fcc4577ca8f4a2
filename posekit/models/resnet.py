"""ResNets as plain functions: v1 and pre-activation v2 (He et al. 2016; chapter 04).

Each function takes a Keras tensor and returns one; every activation has a name, so that
`models.activations` can return it. A stage is a sequence of units; the first unit of stages 2 to 4
strides.

    stem ─► stage1 ─► stage2 ─► stage3 ─► stage4
    v1 unit:  x ─► conv-BN-ReLU-conv-BN ─► + ─► ReLU    the shortcut joins before the last ReLU
    v2 unit:  x ─► BN-ReLU-conv-BN-ReLU-conv ─► +       nothing follows the addition
"""

from keras import layers

UNITS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    66: (6, 8, 12, 6),
    98: (9, 12, 18, 9),
    101: (3, 4, 23, 3),
}
"""Residual units per stage, by the number of layers with weights.

Source: He et al., "Deep Residual Learning", 2016, table 1; 10, 66 and 98 are ours (chapter 04).
"""
BOTTLENECKS = (50, 101)
"""Depths whose units are bottlenecks; the others have basic units."""

# ---- layers -------------------------------------------------------------------------------------


def conv(x, filters: int, kernel: int, stride: int = 1, *, name: str, use_bias: bool = False):
    """Convolution, by default without bias, padded by kernel // 2 on every side.

    The padding is explicit because Keras' `padding="same"` at stride 2 pads only the right and the
    bottom on even sizes.

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
        filters,
        kernel,
        stride,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def norm(x, *, name: str, epsilon: float = 1e-5, gamma: str = "ones"):
    """Batch norm over batch and positions, with a scale and an offset per channel.

    Momentum 0.9, not Keras' 0.99: after a few hundred steps the running statistics would otherwise
    still be those of the random initial weights, and the validation loss would be huge while the
    training loss is small (chapter 11).
    """
    return layers.BatchNormalization(
        momentum=0.9, epsilon=epsilon, gamma_initializer=gamma, name=f"{name}_bn"
    )(x)


def norm_relu(x, *, name: str, epsilon: float = 1e-5):
    """Batch norm, then ReLU: the "pre-activation"."""
    return layers.Activation("relu", name=f"{name}_relu")(norm(x, name=name, epsilon=epsilon))


def stem(image, base_channels: int, *, use_bias: bool = False):
    """7x7 convolution at stride 2: (B, S, S, 3) -> (B, S / 2, S / 2, base_channels)."""
    return conv(image, base_channels, 7, 2, name="stem_conv", use_bias=use_bias)


def stem_pool(x):
    """3x3 max pooling at stride 2, padded by one on every side."""
    return layers.MaxPooling2D(3, 2, name="stem_pool")(
        layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    )


# ---- v1: "Deep Residual Learning for Image Recognition" ----------------------------------


def basic_unit(x, filters: int, stride: int = 1, *, name: str, shortcut: bool = True, **_):
    """Two 3x3 convolutions and a shortcut: y = ReLU(h(x) + F(x)) (He et al. 2016, fig. 5 left).

    Args:
        x: (B, H, W, C).
        filters: channels out.
        stride: of the first convolution, and of the projection.
        name: the activations are NAME_conv1 ... NAME_out.
        shortcut: False: a plain network of the same depth, for the comparison of chapter 04.

    Returns:
        (B, H / stride, W / stride, filters).
    """
    out = norm_relu(conv(x, filters, 3, stride, name=f"{name}_conv1"), name=f"{name}_conv1")
    out = norm(conv(out, filters, 3, name=f"{name}_conv2"), name=f"{name}_conv2")
    if shortcut:
        out = layers.Add(name=f"{name}_add")([_project(x, filters, stride, name=name), out])
    return layers.Activation("relu", name=f"{name}_out")(out)


def bottleneck_unit(
    x,
    filters: int,
    stride: int = 1,
    *,
    name: str,
    shortcut: bool = True,
    stride_in: str = "conv2",
    use_bias: bool = False,
    epsilon: float = 1e-5,
):
    """Bottleneck: 1x1, 3x3, 1x1 to four times the channels, and a shortcut (He 2016, fig. 5 right).

    Args:
        x: (B, H, W, C).
        filters: channels of the 3x3 convolution; 4 * filters go out.
        stride: where the unit strides.
        name: the activations are NAME_conv1 ... NAME_out.
        shortcut: see `basic_unit`.
        stride_in: `"conv2"`, the 3x3 (usual since "ResNet v1.5"), or `"conv1"`, the first 1x1, as
            in the paper and in keras.applications.
        use_bias: biases before the batch norms, which subtract them again; keras.applications has
            them.
        epsilon: of the batch norms; keras.applications has 1.001e-5.

    Returns:
        (B, H / stride, W / stride, 4 * filters).
    """
    first, second = (stride, 1) if stride_in == "conv1" else (1, stride)
    out = conv(x, filters, 1, first, name=f"{name}_conv1", use_bias=use_bias)
    out = norm_relu(out, name=f"{name}_conv1", epsilon=epsilon)
    out = conv(out, filters, 3, second, name=f"{name}_conv2", use_bias=use_bias)
    out = norm_relu(out, name=f"{name}_conv2", epsilon=epsilon)
    out = conv(out, 4 * filters, 1, name=f"{name}_conv3", use_bias=use_bias)
    out = norm(out, name=f"{name}_conv3", epsilon=epsilon)
    if shortcut:
        way = _project(x, 4 * filters, stride, name=name, use_bias=use_bias, epsilon=epsilon)
        out = layers.Add(name=f"{name}_add")([way, out])
    return layers.Activation("relu", name=f"{name}_out")(out)


def _project(
    x, filters: int, stride: int, *, name: str, use_bias: bool = False, epsilon: float = 1e-5
):
    """Shortcut h: the identity if shapes agree, else a 1x1 conv with batch norm (option B)."""
    if stride == 1 and x.shape[-1] == filters:
        return x
    x = conv(x, filters, 1, stride, name=f"{name}_conv_proj", use_bias=use_bias)
    return norm(x, name=f"{name}_conv_proj", epsilon=epsilon)


def resnet_v1(
    image,
    units: tuple[int, ...],
    base_channels: int = 64,
    *,
    bottleneck: bool = False,
    shortcut: bool = True,
    stride_in: str = "conv2",
    use_bias: bool = False,
    epsilon: float = 1e-5,
):
    """A ResNet backbone: stem, four stages of residual units.

    Args:
        image: (B, S, S, 3), roughly zero mean and unit range.
        units: residual units of each stage.
        base_channels: channels of the first stage's 3x3 convolutions, 64 in the paper; each further
            stage doubles them.
        bottleneck: see `bottleneck_unit`; four times the channels come out.
        shortcut, stride_in, use_bias, epsilon: see `bottleneck_unit`.

    Returns:
        (B, S / 32, S / 32, 8 * base_channels) features, 32 * base_channels with bottlenecks.
    """
    unit = bottleneck_unit if bottleneck else basic_unit
    options = {
        "shortcut": shortcut,
        "stride_in": stride_in,
        "use_bias": use_bias,
        "epsilon": epsilon,
    }
    x = norm_relu(stem(image, base_channels, use_bias=use_bias), name="stem", epsilon=epsilon)
    x = stem_pool(x)
    for s, count in enumerate(units):
        for u in range(count):
            stride = 2 if s > 0 and u == 0 else 1
            x = unit(x, base_channels * 2**s, stride, name=f"stage{s + 1}_unit{u + 1}", **options)
    return x


# ---- v2: "Identity Mappings in Deep Residual Networks" --------------------------------


def preact_unit(x, filters: int, stride: int = 1, *, name: str):
    """One residual unit y = h(x) + F(x), F = BN-ReLU-conv-BN-ReLU-conv (He et al. 2016, fig. 4e).

    The shortcut h is the identity if the shapes agree, else a 1x1 convolution of the pre-activated
    input.

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


def preact_bottleneck_unit(x, filters: int, stride: int = 1, *, name: str):
    """Bottleneck of v2: BN-ReLU before each of 1x1, 3x3 (strided), 1x1 to four times the channels.

    Args:
        x: (B, H, W, C).

    Returns:
        (B, H / stride, W / stride, 4 * filters).
    """
    out = norm_relu(x, name=f"{name}_preact1")
    shortcut = x
    if stride > 1 or x.shape[-1] != 4 * filters:
        shortcut = conv(out, 4 * filters, 1, stride, name=f"{name}_conv_proj")
    out = conv(out, filters, 1, name=f"{name}_conv1")
    out = norm_relu(out, name=f"{name}_preact2")
    out = conv(out, filters, 3, stride, name=f"{name}_conv2")
    out = norm_relu(out, name=f"{name}_preact3")
    out = conv(out, 4 * filters, 1, name=f"{name}_conv3")
    return layers.Add(name=f"{name}_out")([shortcut, out])


def resnet_v2(image, units: tuple[int, ...], base_channels: int = 64, *, bottleneck: bool = False):
    """A ResNet backbone: stem, four stages of residual units, final batch norm.

    Args:
        image: (B, S, S, 3), roughly zero mean and unit range.
        units: residual units of each stage.
        base_channels: channels of the first stage's 3x3 convolutions, 64 in the paper; each further
            stage doubles them.
        bottleneck: see `preact_bottleneck_unit`; four times the channels come out.

    Returns:
        (B, S / 32, S / 32, 8 * base_channels) features, 32 * base_channels with bottlenecks.
    """
    unit = preact_bottleneck_unit if bottleneck else preact_unit
    x = stem_pool(stem(image, base_channels))
    for s, count in enumerate(units):
        for u in range(count):
            stride = 2 if s > 0 and u == 0 else 1
            x = unit(x, base_channels * 2**s, stride, name=f"stage{s + 1}_unit{u + 1}")
    return norm_relu(x, name="post")


# ---- by depth -----------------------------------------------------------------------------------


def resnet(image, depth: int = 18, base_channels: int = 64, *, version: int = 2):
    """A ResNet by its depth, with basic units or, at 50 and 101 layers, bottlenecks.

    Args:
        image: (B, S, S, 3).
        depth: a key of `UNITS`: the number of layers with weights.
        base_channels: see `resnet_v1`.
        version: 1, or 2 for pre-activation.

    Returns:
        (B, S / 32, S / 32, 8 * base_channels) features, 32 * base_channels with bottlenecks.
    """
    build = {1: resnet_v1, 2: resnet_v2}[version]
    return build(image, UNITS[depth], base_channels, bottleneck=depth in BOTTLENECKS)
