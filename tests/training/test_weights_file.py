"""Weights as a small file: what float16 keeps, and what is refused."""

import keras
import numpy as np
import pytest

from posekit import models, training
from posekit.errors import DataError
from posekit.training import weights_file


def network(**options) -> keras.Model:
    return models.build(
        "efficientnet_lite0", head="pyramid_votes", input_size=64, input_downsample=1, **options
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = network(predict_sigma=True, num_joints=19)
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    size = weights_file.save(path, model, model.get_weights(), images=5)
    return model, path, size


def test_saved_weights_are_loaded_up_to_the_rounding_of_kernels(saved):
    model, path, size = saved
    other = network(predict_sigma=True, num_joints=19)
    training.freeze(other, 3)
    facts = weights_file.load(path, other)
    assert facts == {"images": 5}
    assert size == path.stat().st_size <= 8e6
    for mine, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        tolerance = 2**-11 if mine.ndim > 1 else 0
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=6e-8 if tolerance else 0)


def test_names_are_unique(saved):
    model, *_ = saved
    assert len(set(weights_file.weight_names(model))) == len(model.weights)


@pytest.mark.parametrize("options", [{"num_joints": 17, "predict_sigma": True}, {"num_joints": 19}])
def test_another_network_is_refused(saved, options):
    with pytest.raises(DataError, match="do not fit this network"):
        weights_file.load(saved[1], network(**options))


def test_values_that_float16_cannot_hold_are_refused(saved, tmp_path):
    model, *_ = saved
    weights = model.get_weights()
    weights[0] = weights[0] + 1e6
    with pytest.raises(DataError, match="stem_conv/kernel"):
        weights_file.save(tmp_path / "w.npz", model, weights)
    assert not (tmp_path / "w.npz").exists()


def test_a_damaged_file_is_named(saved, tmp_path):
    (tmp_path / "w.npz").write_bytes(saved[1].read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        weights_file.read(tmp_path / "w.npz")
