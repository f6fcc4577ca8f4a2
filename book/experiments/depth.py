"""Depth: gradients through many blocks, and plain nets that get worse as they grow (chapter 04)."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from experiments import common
from posekit import inputs, losses, models, training
from posekit.inference import predictor
from posekit.models import resnet

BLOCKS = (2, 5, 10, 20, 35, 50, 75, 100)
"""Depths of the stacks whose gradients are measured."""
SEEDS = 5
SIDE = 16
WIDTH = 16
BATCH = 16
DEPTHS = (10, 18, 34, 66, 98)
"""Layers with weights of the networks that are trained alike."""


def halved_unit(x: object, filters: int, *, name: str):
    """A pre-activation unit whose shortcut halves its input: y = x / 2 + F(x).

    Source:
        He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, equation 6.
    """
    out = resnet.conv(resnet.norm_relu(x, name=f"{name}_preact1"), filters, 3, name=f"{name}_conv1")
    out = resnet.conv(
        resnet.norm_relu(out, name=f"{name}_preact2"), filters, 3, name=f"{name}_conv2"
    )
    return layers.Add(name=f"{name}_out")([layers.Rescaling(0.5, name=f"{name}_half")(x), out])


def plain_unit(x: object, filters: int, *, name: str):
    """Two convolutions with batch norm and ReLU, and no shortcut."""
    return resnet.basic_unit(x, filters, name=name, shortcut=False)


UNITS = {
    "plain": plain_unit,
    "v1": resnet.basic_unit,
    "v2": resnet.preact_unit,
    "v2_half": halved_unit,
}
"""Variant -> unit, for a stack in which each shortcut is the identity (or half of it)."""


def stack(unit: Callable, blocks: int, *, width: int = WIDTH, side: int = SIDE) -> keras.Model:
    """Build a model of `blocks` units of one shape behind a first convolution.

    Args:
        unit: a function (x, filters, name=...) -> tensor of the shape of x.
        blocks: how many.
        width: channels.
        side: height and width of the image in pixels; no layer has a stride.

    Returns:
        A model from (B, side, side, 3) to (B, side, side, width); the inputs and outputs of the
        units are named block0_out ... block{blocks}_out.
    """
    image = keras.Input((side, side, 3))
    x = resnet.norm_relu(resnet.conv(image, width, 3, name="first"), name="first")
    x = layers.Identity(name="block0_out")(x)
    for i in range(blocks):
        x = unit(x, width, name=f"block{i + 1}")
    return keras.Model(image, x)


def gradient_norms(model: keras.Model, seed: int, *, batch: int = BATCH) -> np.ndarray:
    """Measure the gradient at each block's output relative to the last, with batch norm in
    training.

    Args:
        model: made by `stack`.
        seed: of the images and of the loss, a random weighting of the last activations.
        batch: number of images.

    Returns:
        (blocks + 1,): ||dL/dx_l|| / ||dL/dx_L|| for l = 0 ... L.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    images = rng.normal(size=(batch, *model.input.shape[1:])).astype(np.float32)
    names = [
        f"block{i}_out" for i in range(sum(layer.name.endswith("_out") for layer in model.layers))
    ]
    inside = models.activations(model, "block*_out")
    with tf.GradientTape() as tape:
        out = inside(images, training=True)
        last = out[names[-1]]
        loss = ops.sum(last * rng.normal(size=last.shape).astype(np.float32))
    norms = [np.linalg.norm(g) for g in tape.gradient(loss, [out[name] for name in names])]
    return np.array(norms) / norms[-1]


def gradients(folder: Path) -> dict[str, Path]:
    """Measure gradients at initialisation through stacks of 2 to 100 units of each kind, five
    seeds."""
    runs = {}
    for variant, unit in UNITS.items():
        rows = []
        for blocks in BLOCKS:
            norms = []
            for seed in range(SEEDS):
                keras.utils.set_random_seed(seed)
                norms.append(gradient_norms(stack(unit, blocks), seed))
            log = np.log(norms)
            columns = (np.exp(log.mean(axis=0)), np.exp(log.min(axis=0)), np.exp(log.max(axis=0)))
            rows += [(blocks, i, *(f"{c[i]:.5g}" for c in columns)) for i in range(blocks + 1)]
            print(
                f"{variant}: {blocks} blocks, gradient at the input {columns[0][0]:.3g} times "
                "that at the output",
                flush=True,
            )
        facts = {
            "unit": unit.__doc__.split("\n")[0],
            "seeds": SEEDS,
            "width": WIDTH,
            "side": SIDE,
            "batch": BATCH,
        }
        runs[variant] = folder / variant
        runs[variant].mkdir(exist_ok=True)
        (runs[variant] / "record.json").write_text(
            json.dumps({**facts, **training.provenance()}), encoding="utf-8"
        )
        with (runs[variant] / "log.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("depth", "block", "norm", "low", "high"), *rows])
    return runs


def kernel_gradients(model: keras.Model, images: np.ndarray, targets: dict) -> list[list]:
    """Return [layer, gradient norm of the keypoint loss for its kernel] of each convolution, in
    order."""
    import tensorflow as tf

    kernels = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    with tf.GradientTape() as tape:
        loss = losses.masked_l1(targets["keypoints"], model(images, training=True)["keypoints"])
    found = tape.gradient(loss, [layer.kernel.value for layer in kernels])
    return [
        [layer.name, float(f"{np.linalg.norm(g):.4g}")]
        for layer, g in zip(kernels, found, strict=True)
    ]


def train_loss(model: keras.Model, people: list[Path], size: int) -> float:
    """Return the keypoint loss on the training people without augmentation, in inference mode."""
    batches = inputs.make_batches(people, 64, input_size=size).take(32).as_numpy_iterator()
    values = [
        float(losses.masked_l1(y["keypoints"], model.predict_on_batch(x)["keypoints"]))
        for x, y in batches
    ]
    return round(float(np.mean(values)), 5)


def degradation(folder: Path) -> dict[str, Path]:
    """Train plain, residual and pre-activation nets of 10 to 98 layers alike, on 64-pixel crops."""
    people = [common.minidome_records(folder, 1500, 1)]
    val = common.minidome_records(folder, 150, 2)
    recipe = {
        "base_channels": 16,
        "input_size": 64,
        "input_downsample": 1,
        "batch_size": 64,
        "epochs": 10,
        "dtype": "float32",
    }
    batch = next(inputs.make_batches(people[0], 64, input_size=64).take(1).as_numpy_iterator())
    runs = {}
    for layers_deep in DEPTHS:
        for net, backbone in (
            ("plain", "plain{}"),
            ("resnet", "resnet{}"),
            ("resnetv2", "resnet{}v2"),
        ):
            name = backbone.format(layers_deep)
            runs[name] = common.train(folder, name, people, val, backbone=name, **recipe)
            trained = predictor.load(runs[name]).model
            keras.utils.set_random_seed(0)
            fresh = models.build(
                name, head="votes", base_channels=16, input_size=64, input_downsample=1
            )
            common.note(
                runs[name],
                net=net,
                depth=layers_deep,
                train_loss=train_loss(trained, people, 64),
                gradient_norms={
                    "start": kernel_gradients(fresh, *batch),
                    "end": kernel_gradients(trained, *batch),
                },
            )
    return runs
