"""Five losses and two other heads on one backbone, data set and budget, three seeds (chapter 12).

All runs start from the backbone of the packaged model `minidome`, with a head of random weights.
From random weights throughout, DeepPose's head stays close to the mean pose within any budget that
allows 21 runs on two cores, and a run that has not learned the task says nothing about its loss.
(MMPose compares its losses in the same way, from an ImageNet backbone.) The backbone was trained
with offset voting and the Laplace loss, so that the two heads which keep the spatial layout,
`votes` most of all, start nearer to their goal than DeepPose's. The five losses may be compared
with each other, the heads only with that in mind.

What may differ between the variants follows one rule, `pilot`: each gets the learning rate of
`RATES` under which its own training loss falls furthest in a short run with a seed of its own. Each
loss needs its own, since the losses differ in the size and the noise of their gradients; MMPose's
configurations of one ResNet-50, too, train RLE at twice the rate of smooth L1. All else is equal:
network, data, order per seed, schedule, number of images, and the norm at which the gradient is
clipped. The visibility output is not trained (weight 0): with one weight for all, its share in the
gradient of the shared layers would depend on the unit of the keypoint loss.
"""

import csv
import itertools
import math
from pathlib import Path

from experiments import common
from posekit import losses, models, records, training
from posekit.inference import evaluation, predictor

VARIANTS = {
    "l2": {"loss": "l2", "head": "regression"},
    "l1": {"loss": "l1", "head": "regression"},
    "gaussian": {"loss": "gaussian", "head": "regression"},
    "laplace": {"loss": "laplace", "head": "regression"},
    "rle": {"loss": "rle", "head": "regression"},
    "votes": {"loss": "l1", "head": "votes"},
    "integral": {"loss": "l1", "head": "integral"},
}
"""Name -> loss and head: DeepPose's head in the published order of losses, then two heads that keep
the spatial layout."""
SEEDS = (0, 1, 2)
COMMON = {"clip_norm": 1.0, "visibility_weight": 0.0}
"""Fields of all recipes; the network's are the defaults, with which `BACKBONE` was trained."""
BACKBONE = "minidome"
"""Packaged model whose backbone every run starts from."""
FRAMES = 1500
"""Frames that are trained on, about 4,800 people; `BACKBONE` was trained on the same."""
VAL_FRAMES = 150
IMAGES = 9_600
"""Images that each run sees; the number of epochs follows. The runs take time in proportion."""
RATES = (3e-4, 1e-3, 3e-3)
"""Learning rates to choose from."""
PILOT_IMAGES = 9_600
"""Images that each run of the pilot sees."""
PILOT_SEED = 100


def epochs_of(images: int, folder: Path) -> int:
    """Return the number of epochs over a record folder that comes closest to a number of images."""
    batch = training.Recipe(epochs=1).batch_size
    steps = max(1, records.read_manifest(folder)["people"] // batch)
    return max(1, round(images / (steps * batch)))


def training_loss(run: Path) -> float:
    """Return the keypoint loss of a run's last epoch, on its training images."""
    with (run / "log.csv").open(newline="", encoding="utf-8") as file:
        return float(list(csv.DictReader(file))[-1]["keypoints_loss"] or "nan")


def best_rate(tried: dict[str, float]) -> float:
    """Return the learning rate with the lowest loss; one whose loss is not finite comes last."""
    return float(min(tried, key=lambda rate: (not math.isfinite(tried[rate]), tried[rate])))


def data(folder: Path) -> tuple[Path, Path]:
    """Return the record folders to train on and to score on."""
    people = common.minidome_records(folder, FRAMES, 1)
    return people, common.minidome_records(folder, VAL_FRAMES, 2)


def train_from_backbone(folder: Path, name: str, epochs_images: int, **options: object) -> Path:
    """Train a run from `BACKBONE`'s backbone, unless an earlier call has trained it."""
    people, val = data(folder)
    options = {**COMMON, **options, "epochs": epochs_of(epochs_images, people)}
    start = common.backbone_weights(folder, name, BACKBONE, training.Recipe(**options))
    return common.train(folder, name, [people], val, start_from=start, **options)


def pilot_runs() -> dict[str, dict]:
    """Name -> recipe of each run of the pilot: every variant at every learning rate."""
    return {
        f"pilot-{variant}-{rate:g}": {**recipe, "seed": PILOT_SEED, "learning_rate": rate}
        for (variant, recipe), rate in itertools.product(VARIANTS.items(), RATES)
    }


def pilot(folder: Path) -> dict[str, Path]:
    """Train each variant shortly at each learning rate; the rate of `losses` follows from it."""
    runs = {}
    for name, options in pilot_runs().items():
        runs[name] = train_from_backbone(folder, name, PILOT_IMAGES, **options)
        variant = name.split("-")[1]
        common.note(runs[name], variant=variant, training_loss=training_loss(runs[name]))
    return runs


def confidence_and_oks(run: Path, directory: Path) -> float:
    """Return `evaluation.confidence_oks` of a run on a record folder."""
    results = evaluation.predict_records(predictor.load(run), directory)
    return round(evaluation.scores(results)["confidence_oks"], 4)


def comparison_runs(folder: Path) -> dict[str, dict]:
    """Name -> recipe of each run of the comparison, at the learning rates that the pilot chose."""
    return {
        f"{variant}-{seed}": {
            **recipe,
            "seed": seed,
            "learning_rate": best_rate(tried_rates(folder, variant)),
        }
        for seed, (variant, recipe) in itertools.product(SEEDS, VARIANTS.items())
    }


def tried_rates(folder: Path, variant: str) -> dict[str, float]:
    """Return the training loss of a variant in the pilot at each learning rate."""
    return {f"{r:g}": training_loss(folder / f"pilot-{variant}-{r:g}") for r in RATES}


def compare_losses(folder: Path) -> dict[str, Path]:
    """Train L2, L1, Gaussian, Laplace and RLE with DeepPose's head, and two other heads with L1.

    The pilot runs first, unless it is there. Each run's record holds `pilot`, the training loss at
    each learning rate, and the scores of the mean pose and the collapse ratio, as every run's.
    """
    pilot(folder)
    _, val = data(folder)
    runs = {}
    for name, options in comparison_runs(folder).items():
        runs[name] = train_from_backbone(folder, name, IMAGES, **options)
        variant = name.split("-")[0]
        facts = {
            "variant": variant,
            "pilot": evaluation.jsonable(tried_rates(folder, variant)),
            "multiply_adds": sum(models.multiply_adds(predictor.load(runs[name]).model).values()),
        }
        if options["loss"] in losses.LOSSES_WITH_SIGMA:
            facts["confidence_oks"] = confidence_and_oks(runs[name], val)
        common.note(runs[name], **facts)
    return runs
