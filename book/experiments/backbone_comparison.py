"""Four backbones of equal multiply-adds with one head (chapter 05), and one backbone whose features
are flattened or averaged (chapter 04): the same data, three seeds."""

import itertools
from pathlib import Path

import keras
import numpy as np
from keras import ops

from experiments import common
from posekit import inputs, minidome, models
from posekit.inference import predictor
from posekit.models.densenet import feature_reuse

NETWORKS = {"plain18": 16, "resnet18": 16, "resnet18v2": 16, "densenet43": 24}
"""Backbone -> base channels at which it takes about 44 million multiply-adds on 128 x 128
pixels."""
SEEDS = (0, 1, 2)
EPOCHS = {"minidome": 12, "lsp": 6}
POOLING_HEADS = {
    "linear": SEEDS,
    "pooled_linear": SEEDS,
    "regression": SEEDS[:1],
    "pooled": SEEDS[:1],
}
"""Heads that flatten or average the features, without and with a hidden layer -> seeds."""


def feature_cuts(
    model: keras.Model, images: np.ndarray, target: np.ndarray
) -> dict[str, list[list[float]]]:
    """Measure how the error grows when a layer of a DenseNet loses one of its sources.

    The source's channels are replaced by their means over people and positions, so that only their
    information about *this* image is missing. One connection at a time; the network is restored.

    Args:
        model: with a `posekit.models.densenet` backbone.
        images: (N, S, S, 3) crops.
        target: (N, 17, 3) normalised joints, and their weights.

    Returns:
        Block name -> rows as in `feature_reuse`: the relative growth of the joints' mean distance
        to the target.
    """

    def error() -> float:
        predicted = model.predict(images, batch_size=64, verbose=0)["keypoints"]
        distance = np.linalg.norm(predicted - target[..., :2], axis=-1)
        return float(distance[target[..., 2] > 0].mean())

    baseline = error()
    growth = model.get_layer("block1_layer1_conv2").filters
    names = {layer.name for layer in model.layers}
    means = _channel_means(model, images)
    cuts = {block: [[] for _ in rows] for block, rows in feature_reuse(model).items()}
    for block, rows in cuts.items():
        for i, row in enumerate(rows):
            name = f"{block}_layer{i + 1}_preact1"
            if f"{name}_bn" not in names:
                name = block.replace("block", "transition")
            norm = model.get_layer(f"{name}_bn")
            mean = means[f"{name}_relu"]
            gamma, beta, *statistics = norm.get_weights()
            channels = np.arange(len(mean))
            for part in np.split(channels, channels[len(mean) - growth * i :: growth]):
                # gamma 0 and beta the mean: the ReLU returns the same for every image.
                cut = np.isin(channels, part)
                norm.set_weights([np.where(cut, 0, gamma), np.where(cut, mean, beta), *statistics])
                row.append(round(error() / baseline - 1, 4))
            norm.set_weights([gamma, beta, *statistics])
    return cuts


def _channel_means(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean of each channel behind each ReLU over images and positions."""
    relus = {
        layer.name: layer.output
        for layer in model.layers
        if layer.name.endswith("_relu") and layer.output.ndim == 4
    }
    pooled = keras.Model(model.input, {name: ops.mean(out, (1, 2)) for name, out in relus.items()})
    outputs = pooled.predict(images, batch_size=64, verbose=0)
    return {name: np.float32(values).mean(axis=0) for name, values in outputs.items()}


def _crops(val: Path, people: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Return crops and targets of the first people of a record folder."""
    batches = inputs.make_batches(val, 32, input_size=128).take(people // 32)
    images, joints = zip(
        *((x, y["keypoints"]) for x, y in batches.as_numpy_iterator()), strict=True
    )
    return np.concatenate(images), np.concatenate(joints)


def compare_backbones(folder: Path) -> dict[str, Path]:
    """Train plain, residual, pre-activation and dense nets on MiniDome and on LSP, three seeds
    each."""
    lsp, lspet = common.photos("lsp", "lspet")
    data = {
        "minidome": (
            [common.minidome_records(folder, 1500, 1)],
            common.minidome_records(folder, 150, 2),
        ),
        "lsp": (
            [
                common.people_records(folder, "lspet", lspet, "train", "joints"),
                common.people_records(folder, "lsp", lsp, "train", "joints"),
            ],
            common.people_records(folder, "lsp", lsp, "val", "joints"),
        ),
    }
    runs = {}
    for where, seed, (backbone, width) in itertools.product(data, SEEDS, NETWORKS.items()):
        people, val = data[where]
        name = f"{where}-{backbone}-{seed}"
        recipe = {
            "backbone": backbone,
            "base_channels": width,
            "input_size": 128,
            "input_downsample": 1,
            "epochs": EPOCHS[where],
            "seed": seed,
        }
        runs[name] = common.train(folder, name, people, val, **recipe)
        model = predictor.load(runs[name]).model
        facts = {
            "multiply_adds": sum(models.multiply_adds(model).values()),
            "activation_bytes": models.activation_bytes(model),
        }
        if backbone.startswith("densenet"):
            keras.utils.set_random_seed(seed)
            start = models.build(
                backbone, head="votes", base_channels=width, input_size=128, input_downsample=1
            )
            facts |= {
                "feature_reuse": feature_reuse(model),
                "feature_reuse_change": feature_reuse(model, start),
            }
            facts["feature_cuts"] = feature_cuts(model, *_crops(val))
        common.note(runs[name], **facts)
    return runs


def compare_pooling(folder: Path) -> dict[str, Path]:
    """Train a ResNet-18 on the embedded MiniDome with flattened and with averaged features: three
    seeds with a linear head, one seed with a hidden layer."""
    data = minidome.dataset()
    recipe = {
        "backbone": "resnet18",
        "base_channels": NETWORKS["resnet18"],
        "input_size": 128,
        "input_downsample": 1,
        "epochs": 25,
    }
    runs = {}
    for head, seed in ((h, s) for h, seeds in POOLING_HEADS.items() for s in seeds):
        name = f"{head}-{seed}"
        runs[name] = common.train(
            folder, name, [data.train_records], data.val_records, head=head, seed=seed, **recipe
        )
    return runs
