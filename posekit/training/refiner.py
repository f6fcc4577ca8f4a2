"""The training of a cascade's refiners (chapter 13)."""

from collections.abc import Iterator

import keras
import numpy as np

from posekit import losses
from posekit.training.callbacks import WarmupCosine
from posekit.training.network import adamw

__all__ = ["train_refiner"]


def train_refiner(
    model: keras.Model,
    batches: Iterator[tuple[np.ndarray, np.ndarray]],
    steps: int,
    *,
    learning_rate: float = 5e-3,
) -> list[float]:
    """Train a refiner with AdamW, warm-up and cosine decay.

    Args:
        model: a model of `inference.cascade.refiner`; trained in place.
        batches: batches of `inference.cascade.make_batches`.
        steps: number of steps.
        learning_rate: the peak.

    Returns:
        The mean loss of each twentieth of the steps.
    """
    schedule = WarmupCosine(learning_rate, warmup=0.05, steps=steps)
    model.compile(adamw(model, learning_rate, 0.05), loss=losses.masked_l1)
    steps_per_epoch = max(1, steps // 20)
    history = model.fit(
        batches,
        steps_per_epoch=steps_per_epoch,
        epochs=-(-steps // steps_per_epoch),
        callbacks=[schedule],
        shuffle=False,
        verbose=0,
    )
    return [round(float(value), 5) for value in history.history["loss"]]
