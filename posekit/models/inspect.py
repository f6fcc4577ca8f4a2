"""Inspect a network: activations by name, multiply-adds, memory of training (chapters 04, 05)."""

import fnmatch
import math

import keras

from posekit.errors import DataError


def activations(model: keras.Model, pattern: str) -> keras.Model:
    """Return a model of the same input whose outputs are the activations that match a pattern.

    Args:
        model: any functional model; the layers of this package have descriptive names.
        pattern: of names, with `*` and `?`: `"stage*_unit*_out"`.

    Returns:
        A model that shares the weights; its output is a dict name -> activation, in the order of
        computation.

    Raises:
        DataError: if no layer's name matches; it names some layers.

    Example:
        >>> models.activations(model, "stage?_unit1_out")(image)["stage2_unit1_out"].shape
    """
    fitting = [layer for layer in model.layers if fnmatch.fnmatch(layer.name, pattern)]
    if not fitting:
        some = ", ".join(layer.name for layer in model.layers[:: max(1, len(model.layers) // 8)])
        raise DataError(
            f"pattern {pattern!r}",
            f"no layer of {model.name} has such a name",
            f"some that it has: {some}",
        )
    return keras.Model(
        model.input,
        {layer.name: layer.output for layer in fitting},
        name=f"{model.name}_activations",
    )


def multiply_adds(model: keras.Model) -> dict[str, int]:
    """Count the multiply-adds per image of convolutions and dense layers; papers say FLOPs.

    Args:
        model: a functional model with a fixed input size.

    Returns:
        Layer name -> count, in the order of computation. Batch norms, activations and pooling
        are not counted, as in the papers.
    """
    counts = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            counts[layer.name] = math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2DTranspose):
            # Each input position is multiplied with the whole kernel.
            counts[layer.name] = math.prod(layer.kernel.shape) * math.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            counts[layer.name] = math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
    return counts


def activation_bytes(model: keras.Model, bytes_per_number: int = 4) -> int:
    """Memory of all layers' outputs for one image, which training keeps for the backward pass.

    Args:
        model: a functional model with a fixed input size.
        bytes_per_number: 4 for float32, 2 for bfloat16.

    Returns:
        Bytes, if nothing is recomputed. An upper bound: a framework may fuse a ReLU into its batch
        norm, and does not keep what no gradient needs.
    """
    views = (keras.layers.InputLayer, keras.layers.Flatten, keras.layers.Reshape)
    outputs = (layer.output for layer in model.layers if not isinstance(layer, views))
    sizes = (
        math.prod(x.shape[1:])
        for out in outputs
        for x in (out if isinstance(out, list | tuple) else [out])
    )
    return bytes_per_number * sum(sizes)
