"""Weights learnt on ImageNet, from keras.applications into our own functions (chapters 04 and 05)."""

import re

import keras
from keras import layers, ops

from posekit.errors import DataError
from posekit.models import densenet, resnet

_KERAS = {"use_bias": True, "stride_in": "conv1", "epsilon": 1.001e-5}
"""Where keras.applications' ResNets differ from the usual: biases before norms, the stride in the first 1x1, its own epsilon."""

_CAFFE_MEAN = (103.939, 116.779, 123.68)  # BGR
_TORCH_MEAN, _TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _resnet(image, depth: int):
    x = image[..., ::-1] - ops.convert_to_tensor(_CAFFE_MEAN)
    return resnet.resnet_v1(x, resnet.UNITS[depth], bottleneck=True, **_KERAS)


def _densenet(image, depth: int):
    x = (image / 255 - ops.convert_to_tensor(_TORCH_MEAN)) / ops.convert_to_tensor(_TORCH_STD)
    return densenet.densenet(x, densenet.LAYERS[depth], epsilon=_KERAS["epsilon"])


SOURCES = {
    "resnet50": (_resnet, 50, "ResNet50"),
    "resnet101": (_resnet, 101, "ResNet101"),
    "densenet121": (_densenet, 121, "DenseNet121"),
    "densenet169": (_densenet, 169, "DenseNet169"),
}


def imagenet(backbone: str, input_size: int = 224, weights: str | None = "imagenet") -> keras.Model:
    """A backbone with the weights that keras.applications offers.

    Args:
        backbone: a name in `SOURCES`.
        input_size: side of the picture in pixels.
        weights: `"imagenet"`, downloaded once by Keras (30 to 170 MB); or the path of a weights file of the keras.applications model
            without its top; or None for random ones.

    Returns:
        A model from `image` (B, S, S, 3) RGB in 0 ... 255 to features (B, S / 32, S / 32, C); the colours are shifted and scaled inside as
        those weights were trained (ResNet: BGR minus its mean; DenseNet: RGB by mean and deviation).

    Raises:
        DataError: for an unknown name, or when the weights cannot be fetched or read.
    """
    if backbone not in SOURCES:
        raise DataError(
            f"backbone {backbone!r}",
            "has no ImageNet weights",
            f"choose one of {', '.join(SOURCES)}",
        )
    function, depth, theirs = SOURCES[backbone]
    try:
        shape = (input_size, input_size, 3)
        source = getattr(keras.applications, theirs)(
            include_top=False, weights=weights, input_shape=shape
        )
    except Exception as error:
        problem = f"the weights cannot be had: {next(iter(str(error).splitlines()), type(error).__name__)}"
        hint = "they are downloaded once: try again with a network, or train from random weights (weights=None)"
        raise DataError(f"keras.applications.{theirs}", problem, hint) from None
    image = keras.Input((input_size, input_size, 3), name="image")
    x = layers.Activation("linear", name="as_float", dtype="float32")(image)
    model = keras.Model(image, function(x, depth), name=backbone)
    copy_weights(source, model)
    return model


def copy_weights(source: keras.Model, target: keras.Model) -> list[tuple[str, str]]:
    """Copy a keras.applications ResNet or DenseNet into ours, layer by layer, by name.

    Args:
        source: of keras.applications, without its top.
        target: of `resnet_v1` with bottlenecks, or of `densenet`.

    Returns:
        (their name, our name) of each layer copied: all that have weights, on both sides.

    Raises:
        ValueError: when a layer has no counterpart, or another shape.
    """
    mine = {layer.name: layer for layer in target.layers if layer.weights}
    pairs, dense = [], source.name.startswith("densenet")
    for layer in (layer for layer in source.layers if layer.weights):
        name = our_name(layer.name, dense)
        if name not in mine:
            raise ValueError(
                f"{layer.name} of {source.name} would be {name}, which {target.name} has not"
            )
        mine.pop(name).set_weights(layer.get_weights())
        pairs.append((layer.name, name))
    if mine:
        raise ValueError(f"{target.name} has layers that {source.name} has not: {', '.join(mine)}")
    return pairs


def our_name(theirs: str, dense: bool) -> str:
    """The name that a layer of keras.applications has here.

    ResNet's `conv3_block1_0_bn` is `stage2_unit1_conv_proj_bn`; DenseNet's `conv3_block1_0_bn` is `block2_layer1_preact1_bn`.
    """
    if match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", theirs):
        stage, unit, part, kind = int(match[1]) - 1, match[2], int(match[3]), match[4]
        if dense:
            return f"block{stage}_layer{unit}_" + (
                f"conv{part}" if kind == "conv" else f"preact{part + 1}_bn"
            )
        conv = "conv_proj" if part == 0 else f"conv{part}"
        return f"stage{stage}_unit{unit}_{conv}" + ("_bn" if kind == "bn" else "")
    if match := re.fullmatch(r"pool(\d)_(conv|bn)", theirs):
        return f"transition{int(match[1]) - 1}_{match[2]}"
    return {"conv1_conv": "stem_conv", "conv1_bn": "stem_bn", "bn": "post_bn"}.get(theirs, theirs)
