"""The backbone of DeepPose: AlexNet, as published and with batch norm (chapter 06).

    conv 96 11x11/4 - pool - conv 256 5x5 - pool - conv 384 3x3 - conv 384 3x3 - conv 256 3x3 - pool

Source: Toshev & Szegedy, "DeepPose", CVPR 2014; Krizhevsky et al., NIPS 2012.
"""

from keras import layers, ops

from posekit.models.resnet import norm_relu


def local_response_norm(
    x, *, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
):
    """Normalise each value by its neighbouring channels at the same position: x / (k + α Σ x²)^β.

    Args:
        x: (B, H, W, C).
        size: n, number of channels in the sum, centred.
        k, alpha, beta: AlexNet's constants. PyTorch and Caffe divide α by n; the paper does not.

    Returns:
        (B, H, W, C).

    Source:
        Krizhevsky et al., NIPS 2012, section 3.3.
    """
    half = size // 2
    channels = x.shape[-1]
    square = ops.pad(x * x, [(0, 0), (0, 0), (0, 0), (half, half)])
    energy = sum(square[..., i : i + channels] for i in range(size))
    return x / (k + alpha * energy) ** beta


def deeppose_cnn(image, base_channels: int = 64, *, batch_norm: bool = True):
    """The convolutions of DeepPose; the two fully connected layers belong to the head.

    Args:
        image: (B, S, S, 3).
        base_channels: 64 gives the paper's 96, 256, 384, 384, 256 channels; others scale them.
        batch_norm: batch norm after each convolution; False: as published, with biases, and local
            response norm after the first two.

    Returns:
        (B, S / 32, S / 32, 4 * base_channels) features: 7x7x256 at 224 pixels.
    """

    def layer(x, filters: int, kernel: int, stride: int, i: int, lrn: bool):
        name = f"conv{i}"
        filters = max(1, round(filters * base_channels / 64))
        x = layers.Conv2D(
            filters,
            kernel,
            stride,
            "same",
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            name=name,
        )(x)
        if batch_norm:
            return norm_relu(x, name=name)
        x = layers.Activation("relu", name=f"{name}_relu")(x)
        return local_response_norm(x) if lrn else x

    def pool(x, i: int):
        return layers.MaxPooling2D(3, 2, "same", name=f"pool{i}")(x)

    x = pool(layer(image, 96, 11, 4, 1, lrn=True), 1)
    x = pool(layer(x, 256, 5, 1, 2, lrn=True), 2)
    x = layer(x, 384, 3, 1, 3, lrn=False)
    x = layer(x, 384, 3, 1, 4, lrn=False)
    return pool(layer(x, 256, 3, 1, 5, lrn=False), 3)
