"""EfficientNet-Lite0 with a feature pyramid and offset voting at stride 16."""

import keras
import numpy as np
import pytest

from posekit import models, training
from posekit.errors import DataError
from posekit.inference import export, predictor
from posekit.models import efficientnet


def network(size: int = 64, joints: int = 17, **options) -> keras.Model:
    keras.utils.set_random_seed(0)
    given = {"head": "pyramid_votes", "input_downsample": 1, "predict_sigma": True, **options}
    return models.build("efficientnet_lite0", input_size=size, num_joints=joints, **given)


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return network()


def images(n: int = 2, size: int = 64) -> np.ndarray:
    return np.random.default_rng(1).uniform(0, 255, (n, size, size, 3)).astype(np.float32)


def test_feature_maps_have_the_papers_strides_and_channels():
    levels = efficientnet.pyramid(keras.Input((224, 224, 3)))
    assert {stride: x.shape[1:] for stride, x in levels.items()} == {
        2: (112, 112, 16),
        4: (56, 56, 24),
        8: (28, 28, 40),
        16: (14, 14, 112),
        32: (7, 7, 320),
    }


def test_the_backbone_has_the_parameters_of_lite0():
    """4.65 million with the 1x1 convolution to 1280 channels, its norm and the classes, which are
    left out here."""
    image = keras.Input((64, 64, 3))
    top = 320 * 1280 + 4 * 1280 + 1280 * 1000 + 1000
    moving = sum(
        w.shape[0] for w in keras.Model(image, efficientnet.lite0(image)).non_trainable_weights
    )
    parameters = (
        keras.Model(image, efficientnet.lite0(image)).count_params() - moving + top - 2 * 1280
    )
    assert parameters / 1e6 == pytest.approx(4.65, abs=0.01)


@pytest.mark.parametrize(("size", "gmac"), [(160, 0.191), (192, 0.276)])
def test_it_costs_less_than_its_budget(size, gmac):
    model = network(size)
    cost = sum(models.multiply_adds(model).values()) / 1e9
    assert cost == pytest.approx(gmac, abs=0.001)
    assert cost <= 0.35
    assert model.count_params() / 1e6 == pytest.approx(3.1, abs=0.02)


@pytest.mark.parametrize("sigma", [True, False])
def test_outputs_are_those_of_the_other_heads(sigma):
    out = network(joints=19, predict_sigma=sigma).predict_on_batch(images())
    shapes = {name: value.shape for name, value in out.items()}
    wanted = {"keypoints": (2, 19, 2), "visibility": (2, 19)} | (
        {"sigma": (2, 19, 2)} if sigma else {}
    )
    assert shapes == wanted
    assert np.all((out["visibility"] > 0) & (out["visibility"] < 1))
    if sigma:
        assert np.median(out["sigma"]) == pytest.approx(0.12, abs=0.02), "before training"


def test_activations_keep_their_size_before_training():
    """An untrained batch norm changes nothing in inference mode: the initial weights must not
    shrink them."""
    image = keras.Input((64, 64, 3))
    features = keras.Model(image, efficientnet.lite0(image)).predict_on_batch(images() / 127.5 - 1)
    assert 0.05 < features.std() < 20


def test_a_joint_is_the_weighted_mean_of_the_votes(small):
    inner = keras.Model(
        small.input, {name: small.get_layer(name).output for name in ("head_cells", "head_weights")}
    )
    image = images()
    votes, weight = (inner.predict_on_batch(image)[name] for name in ("head_cells", "head_weights"))
    x, y = np.meshgrid((np.arange(4) + 0.5) / 4 - 0.5, (np.arange(4) + 0.5) / 4 - 0.5)
    cells = np.stack([x, y], axis=-1).reshape(16, 1, 2)
    wanted = (weight * (models.OFFSET_REACH * votes[..., 1:] + cells)).sum(axis=1)
    assert weight.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert small.predict_on_batch(image)["keypoints"] == pytest.approx(wanted, abs=1e-5)


def test_neck_and_head_top_can_be_cut_off(small):
    larger = network(joints=19)
    smaller = network(joints=17)
    smaller.set_weights(training.first_joints(larger.get_weights(), smaller.get_weights()))
    whole, part = larger.predict_on_batch(images()), smaller.predict_on_batch(images())
    for name, value in part.items():
        assert value == pytest.approx(whole[name][:, :17], abs=1e-5)


def test_it_needs_a_backbone_with_levels_and_a_size_that_they_divide():
    with pytest.raises(DataError, match="feature pyramid"):
        models.build("resnet18v2", head="pyramid_votes")
    with pytest.raises(DataError, match="a multiple of 32"):
        network(208)


def test_an_exported_file_gives_keras_outputs(small):
    """With float32 weights; `export` itself checks float16 weights, which are rounded."""
    model = predictor.Predictor(small, {})
    outputs = small.predict_on_batch(images(8))["keypoints"]
    assert np.ptp(outputs, axis=0).max() > 1e-4, "the outputs depend on the image"
    errors = export.output_errors(model, export.to_onnx(model, float16=False))
    assert max(errors.values()) < 1e-4, errors
