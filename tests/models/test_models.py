"""posekit.models: what goes in and out, how large it is, and the three traps (padding, shortcut,
number type)."""

import keras
import numpy as np
import pytest
from keras import layers

from posekit import models
from posekit.errors import DataError
from posekit.models import resnet


@pytest.fixture(scope="module")
def small():
    """A DeepPose small enough to run in a test: width 4, input 64, the backbone sees 32."""
    keras.utils.set_random_seed(0)
    return models.build(base_channels=4, input_size=64)


def pictures(n: int = 3, size: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3)).astype(np.float32)


def shake(model: keras.Model, seed: int = 1) -> None:
    """Give every weight a value that is not its initial one: a fresh norm (0, 1, 0, 1) would hide
    mistakes."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            w + rng.uniform(0.1, 0.5, w.shape) if w.ndim == 1 else w + rng.normal(0, 0.02, w.shape)
            for w in model.get_weights()
        ]
    )


def expected_parameters(
    width: int, side: int, units=(2, 2, 2, 2), hidden: int = 512, joints: int = 17
) -> int:
    """Counted by hand from the paper's figure: no bias before a norm, four numbers a channel in a
    norm."""
    norm = 4
    total = 7 * 7 * 3 * width
    channels = width
    for stage, count in enumerate(units):
        filters = width * 2**stage
        for unit in range(count):
            total += (
                norm * channels + 9 * channels * filters + norm * filters + 9 * filters * filters
            )
            total += channels * filters if (unit == 0 and stage > 0) else 0
            channels = filters
    flat = channels * side * side
    head = (flat + norm) * hidden + (hidden + 1) * 2 * joints + (hidden + 1) * joints
    return total + norm * channels + head


# ---- the model -----------------------------------------------------------------------------------


def test_outputs(small):
    out = small.predict_on_batch(pictures())
    assert set(out) == {"keypoints", "visibility"}
    assert out["keypoints"].shape == (3, 17, 2) and out["visibility"].shape == (3, 17)
    assert out["keypoints"].dtype == out["visibility"].dtype == np.float32
    assert np.all((out["visibility"] > 0) & (out["visibility"] < 1))
    assert np.all(np.isfinite(out["keypoints"])) and out["keypoints"].std() > 0


def test_training_starts_at_the_centre_of_the_crop():
    """Small output weights behind a norm: the first answers of a training scatter little around the
    centre."""
    keras.utils.set_random_seed(0)
    out = np.asarray(
        models.build(base_channels=4, input_size=64)(pictures(32), training=True)["keypoints"]
    )
    assert np.abs(out.mean()) < 0.05 and out.std() < 0.25


def test_coordinates_are_unbounded(small):
    """A joint outside the crop has coordinates beyond ±0.5: nothing may squash them."""
    model = keras.models.clone_model(small)
    model.get_layer("head_keypoints").bias.assign(np.linspace(-3, 3, 34))
    model.get_layer("head_keypoints").kernel.assign(np.zeros((512, 34)))
    out = model.predict_on_batch(pictures())["keypoints"]
    np.testing.assert_allclose(
        out, np.broadcast_to(np.linspace(-3, 3, 34).reshape(17, 2), out.shape), atol=1e-6
    )


def test_input_is_rgb_0_to_255(small):
    assert small.input_shape == (None, 64, 64, 3) and small.inputs[0].name == "image"
    rescaled = keras.Model(small.input, small.get_layer("rescale").output)
    values = rescaled.predict_on_batch(
        np.stack([np.zeros((64, 64, 3)), np.full((64, 64, 3), 255.0)])
    )
    np.testing.assert_allclose([values.min(), values.max()], [-1, 1], atol=1e-6)


@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize(
    ("input_size", "pool", "side"), [(64, 2, 1), (64, 1, 2), (96, 2, 2), (160, 2, 3)]
)
def test_parameter_count(width, input_size, pool, side):
    model = models.build(base_channels=width, input_size=input_size, input_downsample=pool)
    assert model.count_params() == expected_parameters(width, side)


def test_default_has_the_published_size_of_a_resnet18():
    """At width 64 the backbone is ResNet-18 v2: 11.18 M parameters without the classifier."""
    image = keras.Input((224, 224, 3))
    backbone = keras.Model(image, resnet.resnet(image, 18, 64))
    assert backbone.output_shape == (None, 7, 7, 512)
    by_hand = expected_parameters(64, 7) - ((7 * 7 * 512 + 4) * 512 + 513 * 34 + 513 * 17)
    assert backbone.count_params() == by_hand
    assert 11.1e6 < by_hand < 11.3e6


def test_width_scales_every_stage():
    image = keras.Input((64, 64, 3))
    for width in (4, 6, 16):
        model = keras.Model(image, resnet.resnet(image, 18, width))
        filters = [model.get_layer(f"stage{s}_unit2_out").output.shape[-1] for s in (1, 2, 3, 4)]
        assert filters == [width, 2 * width, 4 * width, 8 * width]
        assert model.output_shape == (None, 2, 2, 8 * width)


def test_number_of_joints():
    out = models.build(base_channels=4, input_size=64, num_joints=5).output
    assert {k: v.shape for k, v in out.items()} == {
        "keypoints": (None, 5, 2),
        "visibility": (None, 5),
    }


def test_unknown_backbone_names_the_known():
    with pytest.raises(DataError, match="resnet18v2") as caught:
        models.build("resnet99")
    assert "resnet99" in str(caught.value)


def test_same_seed_same_weights_other_seed_others():
    weights = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        weights.append(
            models.build(base_channels=4, input_size=64).get_layer("head_hidden").kernel.numpy()
        )
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.abs(weights[0] - weights[2]).max() > 0


def test_every_joint_gets_gradient_in_every_layer(small):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        out = small(pictures(), training=True)
        loss = tf.reduce_sum(out["keypoints"] ** 2) + tf.reduce_sum(out["visibility"] ** 2)
    for variable, gradient in zip(
        small.trainable_variables, tape.gradient(loss, small.trainable_variables)
    ):
        assert gradient is not None and np.abs(gradient.numpy()).max() > 0, variable.path


def test_saved_and_loaded_gives_the_same(tmp_path, small):
    model = keras.models.clone_model(small)
    shake(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    before = model.predict_on_batch(pictures())
    after = again.predict_on_batch(pictures())
    for name in ("keypoints", "visibility"):
        np.testing.assert_array_equal(before[name], after[name])
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(
            before["keypoints"], small.predict_on_batch(pictures())["keypoints"]
        )


def test_bfloat16_inside_float32_outside(small):
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = models.build(base_channels=4, input_size=64)
    finally:
        keras.config.set_dtype_policy(policy)
    assert model.get_layer("stage3_unit1_conv1").compute_dtype == "bfloat16"
    model.set_weights(small.get_weights())
    out = model.predict_on_batch(pictures())
    full = small.predict_on_batch(pictures())
    assert out["keypoints"].dtype == out["visibility"].dtype == np.float32
    np.testing.assert_allclose(
        out["keypoints"], full["keypoints"], atol=0.05 * np.abs(full["keypoints"]).max()
    )
    assert all(w.dtype == "float32" for w in model.weights)


def test_flattening_keeps_where_averaging_forgets():
    """Move a feature to another place: the flattened head answers otherwise, an averaging head
    could not."""
    features = np.zeros((2, 4, 4, 8), np.float32)
    features[0, 0, 0] = 1
    features[1, 3, 2] = 1
    tensor = keras.Input((4, 4, 8))
    keras.utils.set_random_seed(0)
    head = keras.Model(tensor, models.deeppose_head(tensor))
    averaged = keras.Model(tensor, layers.Dense(34)(layers.GlobalAveragePooling2D()(tensor)))
    here, there = head.predict_on_batch(features)["keypoints"]
    assert np.abs(here - there).max() > 0.01
    here, there = averaged.predict_on_batch(features)
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_the_pooled_head_reads_the_mean_of_each_channel():
    """Equal means, wherever they come from, give equal answers; the flattened one tells them
    apart."""
    tensor = keras.Input((4, 4, 6))
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 16, 6)).astype(np.float32)
    both = np.concatenate([features, rng.permutation(features, axis=1)]).reshape(2, 4, 4, 6)
    moved = {}
    for name, units in (("linear", 16 * 6), ("pooled_linear", 6)):
        head = keras.Model(tensor, models.HEADS[name](tensor))
        assert head.count_params() == (units + 1) * 17 * 3
        one, other = head.predict_on_batch(both)["keypoints"]
        moved[name] = np.abs(one - other).max()
    assert moved["pooled_linear"] < 1e-6 < 1e-3 < moved["linear"]


# ---- the voting head -----------------------------------------------------------------------------


def voting(side: int = 3, channels: int = 6, joints: int = 17) -> keras.Model:
    features = keras.Input((side, side, channels))
    model = keras.Model(features, models.offset_voting_head(features, joints))
    shake(model)
    return model


def test_votes_are_the_formula():
    """Each cell: a softmax weight and an offset from its centre for each joint; the joint is the
    weighted mean."""
    model = voting()
    x = np.random.default_rng(5).normal(size=(2, 3, 3, 6)).astype(np.float32)
    kernel, bias = (w.numpy().astype(np.float64) for w in model.get_layer("head_votes").weights)
    answers = (x @ kernel[0, 0] + bias).reshape(2, 3, 3, 17, 3)
    wanted = np.zeros((2, 17, 2))
    for n in range(2):
        for k in range(17):
            weight = np.exp(answers[n, :, :, k, 0])
            weight /= weight.sum()
            for row in range(3):
                for column in range(3):
                    centre = np.array([(column + 0.5) / 3 - 0.5, (row + 0.5) / 3 - 0.5])
                    vote = centre + models.OFFSET_REACH * answers[n, row, column, k, 1:]
                    wanted[n, k] += weight[row, column] * vote
    np.testing.assert_allclose(model.predict_on_batch(x)["keypoints"], wanted, atol=1e-5)


def test_votes_know_where():
    """One cell convinced of a joint with no offset puts it into its own middle, x before y."""
    model = voting(side=4, channels=1, joints=1)
    model.get_layer("head_votes").set_weights(
        [np.array([50.0, 0, 0]).reshape(1, 1, 1, 3), np.zeros(3)]
    )
    features = np.zeros((1, 4, 4, 1), np.float32)
    features[0, 0, 3] = 1  # upper right
    np.testing.assert_allclose(
        model.predict_on_batch(features)["keypoints"][0, 0], [0.375, -0.375], atol=1e-5
    )


@pytest.mark.parametrize("size", [96, 128])
def test_voting_model_has_the_same_outputs(size, tmp_path):
    keras.utils.set_random_seed(0)
    model = models.build(head="votes", base_channels=4, input_size=size)
    out = model.predict_on_batch(pictures(size=size))
    assert {k: v.shape for k, v in out.items()} == {"keypoints": (3, 17, 2), "visibility": (3, 17)}
    assert np.all((out["visibility"] > 0) & (out["visibility"] < 1)) and np.all(
        np.isfinite(out["keypoints"])
    )
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False).predict_on_batch(
        pictures(size=size)
    )
    np.testing.assert_array_equal(again["keypoints"], out["keypoints"])


def test_voting_head_is_small():
    """A 1x1 convolution to three numbers a joint, and one dense layer for the visibility."""
    assert voting(channels=6).count_params() == (6 + 1) * 3 * 17 + (6 + 1) * 17


# ---- integral regression, and how sure -----------------------------------------------------------


def test_integral_head_is_the_centre_of_mass_of_its_heat_map():
    features = keras.Input((2, 3, 5))
    model = keras.Model(features, models.integral_head(features, 4))
    shake(model)
    x = np.random.default_rng(6).normal(size=(2, 2, 3, 5)).astype(np.float32)
    maps = (
        keras.Model(features, model.get_layer("head_maps").output)
        .predict_on_batch(x)
        .astype(np.float64)
    )
    assert maps.shape == (2, 8, 12, 4)
    heat = np.exp(maps) / np.exp(maps).sum(axis=(1, 2), keepdims=True)
    across = (np.arange(12) + 0.5) / 12 - 0.5
    down = (np.arange(8) + 0.5) / 8 - 0.5
    wanted = np.stack(
        [(heat.sum(axis=1) * across[:, None]).sum(1), (heat.sum(axis=2) * down[:, None]).sum(1)],
        axis=-1,
    )
    np.testing.assert_allclose(model.predict_on_batch(x)["keypoints"], wanted, atol=1e-5)


def test_multiply_adds_of_a_deconvolution():
    """Each input cell meets the whole kernel: 6 cells x 4 x 4 x 5 x 64, then 24 x 4 x 4 x 64 x
    64."""
    features = keras.Input((2, 3, 5))
    counts = models.multiply_adds(keras.Model(features, models.integral_head(features, 4)))
    assert counts["head_deconv1"] == 6 * 16 * 5 * 64 and counts["head_deconv2"] == 24 * 16 * 64 * 64
    assert counts["head_maps"] == 96 * 64 * 4


@pytest.mark.parametrize("head", ["regression", "deeppose2014_dropout", "votes", "integral"])
def test_scale_is_an_output_where_asked(head, tmp_path):
    keras.utils.set_random_seed(0)
    model = models.build(
        head=head, base_channels=4, input_size=64, input_downsample=1, predict_sigma=True
    )
    out = model.predict_on_batch(pictures())
    assert set(out) == {"keypoints", "visibility", "sigma"} and out["sigma"].shape == (3, 17, 2)
    np.testing.assert_allclose(out["sigma"], 1e-3 + 1 / (1 + np.exp(2)), rtol=1e-5)
    assert out["sigma"].dtype == np.float32
    model.get_layer("head_sigma").bias.assign(np.full(34, -100.0))
    assert (
        model.predict_on_batch(pictures())["sigma"].min() >= 0.99e-3
    )  # never 0: its logarithm stands in the loss
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False).predict_on_batch(
        pictures()
    )
    np.testing.assert_array_equal(again["sigma"], model.predict_on_batch(pictures())["sigma"])
    assert set(models.build(head=head, base_channels=4, input_size=64).output) == {
        "keypoints",
        "visibility",
    }


def test_unknown_head_names_the_known():
    with pytest.raises(DataError, match="votes"):
        models.build(head="hydra")


# ---- the residual unit ---------------------------------------------------------------------------


def unit_model(channels: int, filters: int, stride: int, side: int = 8) -> keras.Model:
    x = keras.Input((side, side, channels))
    return keras.Model(x, resnet.preact_unit(x, filters, stride, name="unit"))


def test_shortcut_is_the_identity_where_shapes_allow():
    """With the last convolution at zero, F(x) = 0 and the unit must return its input, bit for bit,
    negatives too."""
    model = unit_model(6, 6, 1)
    assert not any("proj" in layer.name for layer in model.layers)
    model.get_layer("unit_conv2").kernel.assign(np.zeros((3, 3, 6, 6)))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype(np.float32)
    assert x.min() < 0
    np.testing.assert_array_equal(model.predict_on_batch(x), x)


@pytest.mark.parametrize(("filters", "stride"), [(6, 2), (12, 1), (12, 2)])
def test_shortcut_projects_where_they_do_not(filters, stride):
    model = unit_model(6, filters, stride)
    assert model.output_shape == (None, 8 // stride, 8 // stride, filters)
    assert model.get_layer("unit_conv_proj").kernel.shape == (1, 1, 6, filters)


@pytest.mark.parametrize(("channels", "filters", "stride"), [(4, 4, 1), (4, 8, 2), (4, 4, 2)])
def test_unit_is_the_formula(channels, filters, stride):
    """BN, ReLU, 3x3 (stride), BN, ReLU, 3x3, plus the shortcut: worked in numpy with shaken
    weights."""
    model = unit_model(channels, filters, stride)
    shake(model)
    x = np.random.default_rng(2).normal(size=(2, 8, 8, channels)).astype(np.float32)

    def norm_relu(values, name):
        bn = model.get_layer(name)
        gamma, beta, mean, variance = (w.numpy().astype(np.float64) for w in bn.weights)
        return np.maximum((values - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)

    pre = norm_relu(x, "unit_preact1_bn")
    out = convolve(pre, model.get_layer("unit_conv1").kernel.numpy(), stride)
    out = convolve(
        norm_relu(out, "unit_preact2_bn"), model.get_layer("unit_conv2").kernel.numpy(), 1
    )
    identity = stride == 1 and channels == filters
    shortcut = (
        x if identity else convolve(pre, model.get_layer("unit_conv_proj").kernel.numpy(), stride)
    )
    np.testing.assert_allclose(model.predict_on_batch(x), shortcut + out, rtol=1e-4, atol=1e-4)


def test_norm_has_a_short_memory():
    """Momentum 0.9 in every norm: Keras' 0.99 needs hundreds of steps to forget the random initial
    statistics."""
    norms = [
        layer
        for layer in models.build(base_channels=4, input_size=64).layers
        if "_bn" in layer.name
    ]
    assert len(norms) == 18 and {layer.momentum for layer in norms} == {0.9}


# ---- padding -------------------------------------------------------------------------------------


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Convolution by its definition, k // 2 zeros on *every* side: (B, H, W, C), (k, k, C, F) ->
    (B, H', W', F)."""
    k = kernel.shape[0]
    x = np.pad(x.astype(np.float64), ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    rows = range(0, x.shape[1] - k + 1, stride)
    patches = [[np.tensordot(x[:, i : i + k, j : j + k], kernel, 3) for j in rows] for i in rows]
    return np.stack([np.stack(row, axis=1) for row in patches], axis=1)


@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (7, 2), (1, 1), (1, 2)])
def test_padding_is_symmetric(side, kernel, stride):
    image = keras.Input((side, side, 3))
    model = keras.Model(image, resnet.conv(image, 5, kernel, stride, name="c"))
    x = np.random.default_rng(3).normal(size=(2, side, side, 3)).astype(np.float32)
    out = model.predict_on_batch(x)
    assert out.shape == (2, -(-side // stride), -(-side // stride), 5)
    np.testing.assert_allclose(
        out, convolve(x, model.get_layer("c").kernel.numpy(), stride), atol=1e-5
    )


@pytest.mark.parametrize("kernel", [3, 7])
def test_keras_same_pads_otherwise_on_even_sizes(kernel):
    """The trap: "same" at stride 2 pads one pixel less on the left and top, so its output is ours
    half a stride off."""
    image = keras.Input((16, 16, 3))
    ours = keras.Model(image, resnet.conv(image, 5, kernel, 2, name="c"))
    same = keras.Model(image, layers.Conv2D(5, kernel, 2, padding="same", use_bias=False)(image))
    same.set_weights(ours.get_weights())
    x = np.random.default_rng(4).normal(size=(2, 16, 16, 3)).astype(np.float32)
    a = ours.predict_on_batch(x)
    b = same.predict_on_batch(x)
    assert a.shape == b.shape and np.abs(a - b).max() > 0.3 * a.std()
    shifted = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
    inner = ours.predict_on_batch(shifted)
    np.testing.assert_allclose(inner[:, 2:-2, 2:-2], b[:, 2:-2, 2:-2], atol=1e-5)


def test_stem_pool_pads_symmetrically():
    """A bright pixel in the first column reaches the first cell of the pool only: "same" would
    shift the grid."""
    image = keras.Input((64, 64, 3))
    backbone = keras.Model(image, resnet.resnet(image, 18, 4))
    pool = keras.Model(
        backbone.get_layer("stem_pool_pad").input, backbone.get_layer("stem_pool").output
    )
    x = np.zeros((1, 32, 32, 4), np.float32)
    x[0, 2, 0] = 1
    assert sorted(map(tuple, np.argwhere(pool.predict_on_batch(x)[0, ..., 0] > 0))) == [(1, 0)]
