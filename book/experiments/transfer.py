"""Transfer learning (chapter 08): the same people and the same time, from different weights."""

from pathlib import Path

from experiments import common
from posekit import training
from posekit.inference import evaluation, predictor

MINUTES = 6.0
"""Time of each training. At equal time a small network sees more images than a large one, and a
network with frozen stages more than one without."""
EFFICIENTNET = {
    "backbone": "efficientnet_lite0",
    "head": "pyramid_votes",
    "loss": "laplace",
    "input_size": 160,
    "input_downsample": 1,
}
"""The released model's network, of all starts but MiniDome's."""
SCRATCH_RATE = 3e-3
"""Peak of the learning rate from random weights, the default of `training.Recipe`."""
FINE_TUNING_RATE = 5e-4
"""Peak of the learning rate from trained weights, as of `posekit train --start-from`."""
BACKBONE_STAGES = 7
"""All stages of EfficientNet-Lite0: only the head is trained."""
VARIANTS = {
    "random": {"start_from": None, "learning_rate": SCRATCH_RATE},
    "imagenet-frozen": {"start_from": training.IMAGENET, "frozen_stages": BACKBONE_STAGES},
    "imagenet": {"start_from": training.IMAGENET},
    "minidome": {"start_from": "minidome", **training.architecture("minidome")},
    "stage1": {"start_from": "stage1"},
}
"""Name of a run -> where its weights come from, and the fields of its recipe that differ."""
REPEATED = ("imagenet", "stage1")
"""Variants that are trained with all of `SEEDS`; the others once."""
SEEDS = (0, 1, 2)


def make_recipe(variant: str, seed: int) -> tuple[str | None, training.Recipe]:
    """Return the weights to start from and the recipe of a run.

    Args:
        variant: a name in `VARIANTS`.
        seed: of the recipe.
    """
    settings = {
        **EFFICIENTNET,
        "learning_rate": FINE_TUNING_RATE,
        "ema_momentum": 0.99,
        "minutes": MINUTES,
        "seed": seed,
        **VARIANTS[variant],
    }
    return settings.pop("start_from"), training.Recipe(**settings)


def compare_starts(folder: Path) -> dict[str, Path]:
    """Train on the 900 people of LSP's first part for `MINUTES` from each start, and score on the
    next hundred.

    The record of the first run from the released model also has the scores of that model `before`
    any fine-tuning.
    """
    (lsp,) = common.photos("lsp")
    people = [common.people_records(folder, "lsp", lsp, "train", "joints")]
    val = common.people_records(folder, "lsp", lsp, "val", "joints")
    runs = {}
    for variant in VARIANTS:
        for seed in SEEDS if variant in REPEATED else SEEDS[:1]:
            name = f"{variant}-{seed}"
            start_from, recipe = make_recipe(variant, seed)
            runs[name] = common.train(
                folder, name, people, val, start_from=start_from, **vars(recipe)
            )
    before = evaluation.evaluate(predictor.load("stage1"), val)
    common.note(runs[f"stage1-{SEEDS[0]}"], before=evaluation.jsonable(before))
    return runs
