"""DenseNets as plain functions that read like Huang et al., CVPR 2017 (chapter 05).

    stem ─► block1 ─► transition1 ─► block2 ─► transition2 ─► block3 ─► transition3 ─► block4 ─►
    BN-ReLU

In a block the input of each layer is the concatenation of all outputs before it, and the layer
adds `growth_rate` channels; a transition keeps a fraction of the channels and halves
the resolution.
"""

import keras
import numpy as np
from keras import layers

from posekit.models.resnet import conv, norm_relu, stem, stem_pool

LAYERS = {43: (2, 5, 7, 5), 121: (6, 12, 24, 16), 169: (6, 12, 32, 32)}
"""Dense layers per block, by depth.

Source: Huang et al. 2017, table 1; 43 is ours, small enough to train on two cores (chapter 05).
"""


def dense_layer(
    x, growth_rate: int, *, bottleneck: int | None = 4, name: str, epsilon: float = 1e-5
):
    """BN-ReLU-conv1x1-BN-ReLU-conv3x3, concatenated to its input (equation 2).

    Args:
        x: (B, H, W, C): all outputs before in the block.
        growth_rate: k, channels that the layer adds.
        bottleneck: a 1x1 convolution first reduces to bottleneck * k channels ("DenseNet-B"); None:
            no 1x1 convolution.
        name: the activations are NAME_conv1 ... NAME_out.
        epsilon: of the batch norms; keras.applications has 1.001e-5.

    Returns:
        (B, H, W, C + growth_rate).
    """
    new = norm_relu(x, name=f"{name}_preact1", epsilon=epsilon)
    if bottleneck:
        new = conv(new, bottleneck * growth_rate, 1, name=f"{name}_conv1")
        new = norm_relu(new, name=f"{name}_preact2", epsilon=epsilon)
    new = conv(new, growth_rate, 3, name=f"{name}_conv2")
    return layers.Concatenate(name=f"{name}_out")([x, new])


def dense_block(
    x, count: int, growth_rate: int, *, bottleneck: int | None = 4, name: str, epsilon: float = 1e-5
):
    """Dense layers: (B, H, W, C) -> (B, H, W, C + count * growth_rate); see `dense_layer`."""
    for i in range(count):
        x = dense_layer(
            x, growth_rate, bottleneck=bottleneck, name=f"{name}_layer{i + 1}", epsilon=epsilon
        )
    return x


def transition(x, compression: float = 0.5, *, name: str, epsilon: float = 1e-5):
    """BN-ReLU-conv1x1, then 2x2 average pooling.

    Args:
        x: (B, H, W, C).
        compression: θ, see `densenet`.
        name: the activations are NAME_conv, NAME_out.
        epsilon: see `dense_layer`.

    Returns:
        (B, H / 2, W / 2, floor(compression * C)).
    """
    x = norm_relu(x, name=name, epsilon=epsilon)
    x = conv(x, int(x.shape[-1] * compression), 1, name=f"{name}_conv")
    return layers.AveragePooling2D(2, name=f"{name}_out")(x)


def densenet(
    image,
    blocks: tuple[int, ...] = LAYERS[121],
    growth_rate: int = 32,
    *,
    bottleneck: int | None = 4,
    compression: float = 0.5,
    epsilon: float = 1e-5,
):
    """A DenseNet backbone.

    Args:
        image: (B, S, S, 3), roughly zero mean and unit range.
        blocks: dense layers of each block.
        growth_rate: k; the stem has 2 k channels.
        bottleneck: see `dense_layer`.
        compression: θ, the fraction of the channels that a transition keeps, 0 ... 1; 1 keeps all.
        epsilon: see `dense_layer`.

    Returns:
        (B, S / 32, S / 32, C) features; C = 1024 for DenseNet-121, 1664 for DenseNet-169.
    """
    x = stem_pool(norm_relu(stem(image, 2 * growth_rate), name="stem", epsilon=epsilon))
    for b, count in enumerate(blocks):
        x = dense_block(
            x, count, growth_rate, bottleneck=bottleneck, name=f"block{b + 1}", epsilon=epsilon
        )
        if b + 1 < len(blocks):
            x = transition(x, compression, name=f"transition{b + 1}", epsilon=epsilon)
    return norm_relu(x, name="post", epsilon=epsilon)


def feature_reuse(
    model: keras.Model, start: keras.Model | None = None
) -> dict[str, list[list[float]]]:
    """Measure how strongly each layer of a DenseNet reads each layer before it.

    The measure is the mean absolute weight of the reader's first convolution over the channels of
    one source.

    Args:
        model: a network with a `densenet` backbone.
        start: the same network before training; then the mean absolute *change* of the weights is
            measured. After a short training the weights themselves still look like the initial
            ones.

    Returns:
        Block name -> one row per reader (the layers of the block, then the transition behind it).
        A row holds one value per source (the block's input, then its layers), divided by the
        largest value of the row.

    Source:
        Huang et al., CVPR 2017, figure 5, which takes the same mean over |w|.
    """
    names = {layer.name for layer in model.layers}
    reuse = {}
    for block in sorted({name.split("_")[0] for name in names if name.startswith("block")}):
        count = sum(name.startswith(f"{block}_") and name.endswith("_out") for name in names)
        readers = [f"{block}_layer{i + 1}_conv1" for i in range(count)]
        transition = f"transition{block.removeprefix('block')}_conv"
        if transition in names:
            readers.append(transition)
        growth_rate = model.get_layer(f"{block}_layer1_conv2").filters
        rows = []
        for reader in readers:
            kernel = model.get_layer(reader).get_weights()[0]
            if start is not None:
                kernel = kernel - start.get_layer(reader).get_weights()[0]
            size = np.abs(kernel).mean(axis=(0, 1, 3))
            input_channels = len(size) - growth_rate * len(rows)
            sources = np.split(size, np.arange(input_channels, len(size), growth_rate))
            means = np.array([part.mean() for part in sources])
            rows.append([round(float(v), 4) for v in means / means.max()])
        reuse[block] = rows
    return reuse
