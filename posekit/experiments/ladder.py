"""The loss ladder: one network, one set of people, one budget, and what each loss makes of them, three seeds each (chapter 09)."""

import itertools
from pathlib import Path

import numpy as np

from posekit import evaluation, losses, metrics, models, pipeline, predict
from posekit.experiments import work

RUNGS = {
    "l2": {"loss": "l2", "head": "regression"},
    "l1": {"loss": "l1", "head": "regression"},
    "gaussian": {"loss": "gaussian", "head": "regression"},
    "laplace": {"loss": "laplace", "head": "regression"},
    "rle": {"loss": "rle", "head": "regression"},
    "votes": {"loss": "l1", "head": "votes"},
    "integral": {"loss": "l1", "head": "integral", "width": 15},
}
"""Name -> loss and head: the published order with DeepPose's head, then two heads that keep the picture's places."""
SEEDS = (0, 1, 2)
COMMON = {"backbone": "resnet18v2", "width": 16, "input_size": 128, "pool": 1, "epochs": 8}


def confidence_and_oks(run: Path, directory: Path) -> float:
    """Spearman's rank correlation over people of the confidence that σ gives and the OKS that the pose has.

    Source: Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021, section 4.4, which takes Pearson's.
    """
    from scipy.stats import spearmanr

    predictor = predict.load(run)
    answers = evaluation.predict_records(predictor, directory)
    oks = metrics.oks(answers.keypoints, answers.true, answers.labelled, answers.area)
    confident = []
    for images, _ in pipeline.make_batches(directory, 64, input_size=predictor.input_size).as_numpy_iterator():
        scale = predictor.predict_crops(images, flip=True)["scale"]
        confident.append(losses.confidence(scale))
    confident = np.nanmean(np.where(answers.inside, np.concatenate(confident), np.nan), axis=1)
    known = np.isfinite(oks) & np.isfinite(confident)
    return round(float(spearmanr(confident[known], oks[known]).statistic), 4)


def ladder(folder: Path) -> dict[str, Path]:
    """L2, L1, Gaussian, Laplace, RLE with DeepPose's head; votes and integral regression beside them."""
    people, val = [work.minidome_records(folder, 1500, 1)], work.minidome_records(folder, 150, 2)
    runs = {}
    for seed, (rung, recipe) in itertools.product(SEEDS, RUNGS.items()):
        name = f"{rung}-{seed}"
        runs[name] = work.train(folder, name, people, val, **{**COMMON, **recipe, "seed": seed})
        facts = {"rung": rung, "multiply_adds": sum(models.multiply_adds(predict.load(runs[name]).model).values())}
        if recipe["loss"] in losses.WITH_SCALE:
            facts["confidence_oks"] = confidence_and_oks(runs[name], val)
        work.note(runs[name], **facts)
    return runs
