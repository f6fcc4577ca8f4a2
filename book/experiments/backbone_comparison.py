"""A fair race: four networks, one head, the same data and as many pictures, equal multiply-adds, three seeds (chapter 05)."""

import itertools
from pathlib import Path

import keras
import numpy as np
from keras import ops

from experiments import common
from posekit import inputs, models
from posekit.inference import predictor
from posekit.models.densenet import feature_reuse

NETWORKS = {"plain18": 16, "resnet18": 16, "resnet18v2": 16, "densenet43": 24}
"""Backbone -> width at which it does about 44 million multiply-adds on 128 x 128 pixels."""
SEEDS = (0, 1, 2)
EPOCHS = {"minidome": 12, "lsp": 6}


def feature_cuts(
    model: keras.Model, images: np.ndarray, target: np.ndarray
) -> dict[str, list[list[float]]]:
    """What happens when a layer of a DenseNet may no longer listen to one of those before it.

    What the reader hears of one source is replaced by its mean over people and places, so that nothing is missing but what the source
    says about *this* picture. One connection at a time; the network is as before afterwards.

    Args:
        model: with a `posekit.models.densenet` backbone.
        images: (N, S, S, 3) crops.
        target: (N, 17, 3) true joints, normalised, and whether each counts.

    Returns:
        Block name -> rows as of `feature_reuse`: by which share the mean distance of the joints from the truth grows.
    """

    def error() -> float:
        found = model.predict(images, batch_size=64, verbose=0)["keypoints"]
        return float(np.linalg.norm(found - target[..., :2], axis=-1)[target[..., 2] > 0].mean())

    whole, growth = error(), model.get_layer("block1_layer1_conv2").filters
    cuts = {block: [[] for _ in rows] for block, rows in feature_reuse(model).items()}
    heard = {
        layer.name: layer.output
        for layer in model.layers
        if layer.name.endswith("_relu") and layer.output.ndim == 4
    }
    means = keras.Model(model.input, {name: ops.mean(out, (1, 2)) for name, out in heard.items()})
    means = {
        k: np.float32(v).mean(0) for k, v in means.predict(images, batch_size=64, verbose=0).items()
    }
    for block, rows in cuts.items():
        for i, row in enumerate(rows):
            name = f"{block}_layer{i + 1}_preact1"
            if f"{name}_bn" not in {layer.name for layer in model.layers}:
                name = block.replace("block", "transition")
            norm, mean = model.get_layer(f"{name}_bn"), means[f"{name}_relu"]
            gamma, beta, *statistics = norm.get_weights()
            for part in np.split(
                np.arange(len(mean)), np.arange(len(mean) - growth * i, len(mean), growth)
            ):
                told = np.isin(
                    np.arange(len(mean)), part
                )  # gamma 0, beta the mean: the ReLU says the same of every picture
                norm.set_weights(
                    [np.where(told, 0, gamma), np.where(told, mean, beta), *statistics]
                )
                row.append(round(error() / whole - 1, 4))
            norm.set_weights([gamma, beta, *statistics])
    return cuts


def _crops(val: Path, people: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """The first people of a record folder: crops and their joints."""
    batches = inputs.make_batches(val, 32, input_size=128).take(people // 32)
    images, joints = zip(
        *((x, y["keypoints"]) for x, y in batches.as_numpy_iterator()), strict=True
    )
    return np.concatenate(images), np.concatenate(joints)


def compare_backbones(folder: Path) -> dict[str, Path]:
    """Plain, residual, pre-activation and dense nets on MiniDome and on LSP, three seeds each."""
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
