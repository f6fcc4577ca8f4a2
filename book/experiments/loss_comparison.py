"""One network, one data set, one budget: five losses and two other heads, three seeds (chapter
12)."""

import itertools
from pathlib import Path

from experiments import common
from posekit import losses, models
from posekit.inference import evaluation, predictor

VARIANTS = {
    "l2": {"loss": "l2", "head": "regression"},
    "l1": {"loss": "l1", "head": "regression"},
    "gaussian": {"loss": "gaussian", "head": "regression"},
    "laplace": {"loss": "laplace", "head": "regression"},
    "rle": {"loss": "rle", "head": "regression"},
    "votes": {"loss": "l1", "head": "votes"},
    "integral": {"loss": "l1", "head": "integral", "base_channels": 15},
}
"""Name -> loss and head: DeepPose's head in the published order of losses, then two heads that keep
the spatial layout."""
SEEDS = (0, 1, 2)
COMMON = {
    "backbone": "resnet18v2",
    "base_channels": 16,
    "input_size": 128,
    "input_downsample": 1,
    "epochs": 6,
}


def confidence_and_oks(run: Path, directory: Path) -> float:
    """Return `evaluation.confidence_oks` of a run on a record folder."""
    results = evaluation.predict_records(predictor.load(run), directory)
    return round(evaluation.scores(results)["confidence_oks"], 4)


def compare_losses(folder: Path) -> dict[str, Path]:
    """Train L2, L1, Gaussian, Laplace and RLE with DeepPose's head, and two other heads with L1."""
    people = [common.minidome_records(folder, 1500, 1)]
    val = common.minidome_records(folder, 150, 2)
    runs = {}
    for seed, (variant, recipe) in itertools.product(SEEDS, VARIANTS.items()):
        name = f"{variant}-{seed}"
        runs[name] = common.train(folder, name, people, val, **{**COMMON, **recipe, "seed": seed})
        facts = {
            "variant": variant,
            "multiply_adds": sum(models.multiply_adds(predictor.load(runs[name]).model).values()),
        }
        if recipe["loss"] in losses.LOSSES_WITH_SIGMA:
            facts["confidence_oks"] = confidence_and_oks(runs[name], val)
        common.note(runs[name], **facts)
    return runs
