"""Frozen stages of an EfficientNet: what a step changes, and what it does not."""

import keras
import numpy as np
import pytest

from posekit import models, training
from posekit.errors import DataError
from posekit.models import efficientnet
from posekit.training import PoseTrainer, make_optimizer


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return models.build(
        "efficientnet_lite0",
        head="pyramid_votes",
        input_size=64,
        input_downsample=1,
        predict_sigma=True,
    )


@pytest.mark.parametrize("stages", [0, 3, 5])
def test_frozen_stages_do_not_change_in_a_step_and_the_others_do(stages):
    model = network()
    training.freeze(model, stages)
    before = {layer.name: layer.get_weights() for layer in model.layers if layer.weights}
    trainer = PoseTrainer(model, "laplace", 0.2)
    trainer.compile(make_optimizer(trainer, "adamw", 1e-2, 0.05))
    images = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    points = np.random.default_rng(2).uniform(-0.5, 0.5, (2, 17, 2))
    keypoints = np.concatenate([points, np.ones((2, 17, 1))], axis=-1)
    trainer.train_on_batch(images, {"keypoints": keypoints, "visibility": np.ones((2, 17, 2))})

    changed = {
        layer.name
        for layer in model.layers
        if layer.weights
        and any(
            (a != b).any() for a, b in zip(layer.get_weights(), before[layer.name], strict=True)
        )
    }
    frozen = set(efficientnet.frozen_layers(list(before), stages))
    assert not changed & frozen, "their norms keep their statistics, too"
    assert set(before) - changed == frozen


def test_only_an_efficientnet_can_be_frozen():
    with pytest.raises(DataError, match="no such stage"):
        training.freeze(models.build(base_channels=4, input_size=64), 2)
    with pytest.raises(DataError, match="no such stage"):
        training.freeze(network(), 8)
