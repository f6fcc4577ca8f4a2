"""ResNet, pre-activation ResNet and DenseNet against keras.applications, weight for weight; and the
papers' tables (chapters 04, 05)."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.applications import resnet as theirs_resnet

from posekit import models
from posekit.errors import DataError
from posekit.models import deeppose_cnn, densenet, pretrained, resnet

EPSILON = 1.001e-5
QUICK_TO_COMPILE = {"XLA_FLAGS": "--xla_backend_optimization_level=1"}
"""For JAX, which compiles longer here than it computes."""


def shaken(model: keras.Model, seed: int = 0) -> keras.Model:
    """Weights that are not the initial ones: a fresh norm (0, 1, 0, 1) and a bias of 0 would hide
    mistakes."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [w + rng.uniform(0.05, 0.3, w.shape) if w.ndim == 1 else w for w in model.get_weights()]
    )
    return model


def pictures(size: int, n: int = 2, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, size, size, 3)).astype(np.float32)


def relative_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert theirs.std() > 0 and np.isfinite(theirs).all()
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


# ---- whole networks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet50", 96), ("resnet101", 64), ("densenet121", 64), ("densenet169", 64)],
)
def test_with_the_same_weights_outputs_equal_keras_applications(name, size):
    _, depth, class_name = pretrained.SOURCES[name]
    theirs = getattr(keras.applications, class_name)(
        include_top=False, weights=None, input_shape=(size, size, 3)
    )
    shaken(theirs)
    image = keras.Input((size, size, 3))
    if name.startswith("resnet"):
        options = {"bottleneck": True, "use_bias": True, "stride_in": "conv1", "epsilon": EPSILON}
        features = resnet.resnet_v1(image, resnet.UNITS[depth], **options)
    else:
        features = densenet.densenet(image, densenet.LAYERS[depth], epsilon=EPSILON)
    ours = keras.Model(image, features)
    pairs = pretrained.copy_weights(theirs, ours)
    for a, b in pairs:
        assert theirs.get_layer(a).count_params() == ours.get_layer(b).count_params(), (a, b)
    assert len(pairs) == sum(bool(layer.weights) for layer in theirs.layers)
    assert ours.count_params() == theirs.count_params()
    x = pictures(size)
    assert relative_error(ours.predict_on_batch(x), theirs.predict_on_batch(x)) <= 1e-5


def resnet50v2_of_keras(image):
    """keras.applications' ResNet50V2 from our pieces: it strides in the last unit of a stage, takes
    every second pixel there as shortcut, and has biases in stem, projections and last
    convolutions."""
    x = resnet.stem_pool(resnet.stem(image, 64, use_bias=True))
    for s, count in enumerate((3, 4, 6, 3)):
        for u in range(count):
            name = f"stage{s + 1}_unit{u + 1}"
            filters = 64 * 2**s
            stride = 2 if u == count - 1 and s < 3 else 1
            out = resnet.norm_relu(x, name=f"{name}_preact1", epsilon=EPSILON)
            shortcut = x
            if u == 0:
                shortcut = resnet.conv(out, 4 * filters, 1, name=f"{name}_conv_proj", use_bias=True)
            elif stride > 1:
                shortcut = layers.MaxPooling2D(1, stride)(x)
            out = resnet.norm_relu(
                resnet.conv(out, filters, 1, name=f"{name}_conv1"),
                name=f"{name}_preact2",
                epsilon=EPSILON,
            )
            out = resnet.norm_relu(
                resnet.conv(out, filters, 3, stride, name=f"{name}_conv2"),
                name=f"{name}_preact3",
                epsilon=EPSILON,
            )
            x = layers.Add()(
                [shortcut, resnet.conv(out, 4 * filters, 1, name=f"{name}_conv3", use_bias=True)]
            )
    return resnet.norm_relu(x, name="post", epsilon=EPSILON)


def v2_name(theirs: str) -> str:
    """Their layer's name in ours: `conv2_block1_preact_bn`, `_1_bn`, `_2_bn` are the three
    pre-activations."""
    if theirs in (known := {"conv1_conv": "stem_conv", "post_bn": "post_bn"}):
        return known[theirs]
    stage, unit, part = theirs.removeprefix("conv").split("_", 2)
    kinds = {
        "preact_bn": "preact1_bn",
        "1_bn": "preact2_bn",
        "2_bn": "preact3_bn",
        "0_conv": "conv_proj",
    }
    kinds |= {f"{i}_conv": f"conv{i}" for i in (1, 2, 3)}
    return f"stage{int(stage) - 1}_unit{unit.removeprefix('block')}_{kinds[part]}"


def test_resnet50v2_of_keras_applications_from_our_pieces():
    theirs = shaken(
        keras.applications.ResNet50V2(include_top=False, weights=None, input_shape=(96, 96, 3))
    )
    image = keras.Input((96, 96, 3))
    ours = keras.Model(image, resnet50v2_of_keras(image))
    copied = [layer for layer in theirs.layers if layer.weights]
    for layer in copied:
        ours.get_layer(v2_name(layer.name)).set_weights(layer.get_weights())
    assert sum(bool(layer.weights) for layer in ours.layers) == len(copied)
    x = pictures(96)
    assert relative_error(ours.predict_on_batch(x), theirs.predict_on_batch(x)) <= 1e-5


@pytest.mark.parametrize(("channels", "stride"), [(256, 1), (64, 1), (128, 2)])
def test_the_preactivation_bottleneck_unit_by_unit(channels, stride):
    """Identity, projection, and a projection that strides; their projection's and last biases are
    set to 0, which ours leaves out."""
    x = keras.Input((16, 16, channels))
    project = channels != 256 or stride > 1
    theirs = shaken(
        keras.Model(
            x,
            theirs_resnet.residual_block_v2(
                x, 64, stride=stride, conv_shortcut=project, name="conv2_block1"
            ),
        )
    )
    ours = keras.Model(x, resnet.preact_bottleneck_unit(x, 64, stride, name="stage1_unit1"))
    for layer in (layer for layer in theirs.layers if layer.weights):
        kernel, *bias = layer.get_weights()
        if isinstance(layer, layers.Conv2D) and bias:
            layer.set_weights([kernel, 0 * bias[0]])
            ours.get_layer(v2_name(layer.name)).set_weights([kernel])
        else:
            ours.get_layer(v2_name(layer.name)).set_weights(layer.get_weights())
    batch = np.random.default_rng(0).normal(size=(2, 16, 16, channels)).astype(np.float32)
    assert relative_error(ours.predict_on_batch(batch), theirs.predict_on_batch(batch)) <= 1e-5


def test_imagenet_weights_without_a_network_or_with_a_wrong_file_say_so(tmp_path):
    broken = tmp_path / "x.weights.h5"
    broken.write_bytes(b"no weights")
    with pytest.raises(DataError, match=r"DenseNet121: the weights cannot be read"):
        models.imagenet("densenet121", 64, weights=str(broken))
    with pytest.raises(DataError, match=r"resnet18v2.*no ImageNet weights.*densenet169"):
        models.imagenet("resnet18v2")


def test_imagenet_weights_come_with_their_colours(tmp_path):
    """The weights of a file, as a download would give them; colours as keras.applications prepares
    them."""
    for name, prepare in (
        ("resnet50", keras.applications.resnet.preprocess_input),
        ("densenet121", keras.applications.densenet.preprocess_input),
    ):
        theirs = shaken(
            getattr(keras.applications, pretrained.SOURCES[name][2])(
                include_top=False, weights=None, input_shape=(64, 64, 3)
            )
        )
        theirs.save_weights(tmp_path / f"{name}.weights.h5")
        ours = models.imagenet(name, 64, weights=str(tmp_path / f"{name}.weights.h5"))
        photo = np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
        want = theirs.predict_on_batch(prepare(photo.copy()))
        assert relative_error(ours.predict_on_batch(photo), want) <= 1e-5


# ---- the papers' tables --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "millions", "gmac"),
    [
        ("resnet18", 11.18, 1.81),
        ("resnet34", 21.28, 3.66),
        ("resnet50", 23.56, 4.09),
        ("resnet101", 42.60, 7.80),
        ("densenet121", 7.04, 2.83),
        ("densenet169", 12.64, 3.36),
    ],
)
def test_parameters_and_multiply_adds_are_those_of_the_papers(backbone, millions, gmac):
    """Without the classifier; ResNets with the stride in the 3x3. Parameters counted with the
    norms' running statistics."""
    image = keras.Input((224, 224, 3))
    model = keras.Model(image, models.BACKBONES[backbone](image, base_channels=64))
    assert model.count_params() / 1e6 == pytest.approx(millions, rel=0.005)
    assert sum(models.multiply_adds(model).values()) / 1e9 == pytest.approx(gmac, rel=0.01)


def test_deeppose_2014_with_batch_norm_has_72_1_million_parameters():
    model = models.build("deeppose_cnn", head="deeppose2014", base_channels=64, input_downsample=1)
    assert model.get_layer("pool3").output.shape == (None, 7, 7, 256)
    trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert trainable == pytest.approx(72.1e6, rel=0.001)


def test_growth_bottleneck_and_compression():
    image = keras.Input((64, 64, 3))
    model = keras.Model(
        image, densenet.densenet(image, (2, 3), growth_rate=12, bottleneck=None, compression=1.0)
    )
    assert model.get_layer("transition1_out").output.shape[-1] == 24 + 2 * 12
    assert model.output.shape == (None, 8, 8, 24 + 5 * 12)
    assert not any(
        "conv1" in layer.name for layer in model.layers if layer.name.startswith("block")
    )
    halved = keras.Model(image, densenet.densenet(image, (2, 3), growth_rate=12, compression=0.5))
    assert halved.get_layer("transition1_out").output.shape[-1] == 24
    assert halved.get_layer("block1_layer1_conv1").filters == 48


def test_a_plain_network_is_the_residual_one_without_its_shortcuts():
    image = keras.Input((64, 64, 3))
    plain = keras.Model(image, resnet.resnet_v1(image, (2, 2, 2, 2), 8, shortcut=False))
    residual = keras.Model(image, resnet.resnet_v1(image, (2, 2, 2, 2), 8))
    extra = {layer.name for layer in residual.layers} - {layer.name for layer in plain.layers}
    assert all("add" in name or "conv_proj" in name for name in extra) and extra
    assert (
        not {layer.name for layer in plain.layers}
        - {layer.name for layer in residual.layers}
        - {image.name, "input_layer"}
    )


def test_local_response_norm_by_its_formula():
    x = np.random.default_rng(0).normal(0, 20, (2, 3, 3, 7)).astype(np.float32)
    ours = keras.ops.convert_to_numpy(
        deeppose_cnn.local_response_norm(keras.ops.convert_to_tensor(x))
    )
    want = np.zeros_like(x)
    for c in range(7):
        low = max(0, c - 2)
        high = min(6, c + 2)
        want[..., c] = x[..., c] / (2 + 1e-4 * (x[..., low : high + 1] ** 2).sum(-1)) ** 0.75
    np.testing.assert_allclose(ours, want, rtol=1e-5)


# ---- looking in ----------------------------------------------------------------------------------


def test_activations_by_name():
    model = models.build("resnet18v2", base_channels=4, input_size=64)
    looked = models.activations(model, "stage?_unit2_out")(np.zeros((1, 64, 64, 3), np.float32))
    assert list(looked) == [f"stage{i}_unit2_out" for i in range(1, 5)]
    assert [x.shape[-1] for x in looked.values()] == [4, 8, 16, 32]
    with pytest.raises(DataError, match=r"no layer of .* has such a name"):
        models.activations(model, "stage9*")


def test_activation_memory_by_hand():
    x = keras.Input((8, 8, 3))
    model = keras.Model(
        x, layers.Flatten()(layers.Activation("relu")(layers.Conv2D(4, 3, padding="same")(x)))
    )
    assert models.activation_bytes(model) == 2 * 8 * 8 * 4 * 4
    assert models.activation_bytes(model, 2) == 8 * 8 * 4 * 4


# ---- saved, cloned, other number types, other backends -------------------------------------------

SMALL = [
    ("resnet18", 4),
    ("resnet50", 4),
    ("resnet50v2", 4),
    ("densenet121", 4),
    ("deeppose_cnn", 4),
    ("deeppose_cnn_lrn", 4),
]


def small(backbone: str, width: int) -> keras.Model:
    keras.utils.set_random_seed(0)
    return shaken(models.build(backbone, base_channels=width, input_size=64, input_downsample=1))


@pytest.mark.parametrize(("backbone", "width"), SMALL)
def test_saved_loaded_and_cloned_models_give_the_same_bits(backbone, width, tmp_path):
    model = small(backbone, width)
    x = pictures(64) * 50 + 128
    want = model.predict_on_batch(x)
    model.save(tmp_path / "m.keras")
    cloned = keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())
    for other in (keras.saving.load_model(tmp_path / "m.keras"), cloned):
        got = other.predict_on_batch(x)
        for name in want:
            np.testing.assert_array_equal(got[name], want[name])


@pytest.mark.parametrize(
    ("backbone", "width"), [("resnet50v2", 4), ("densenet121", 4), ("deeppose_cnn_lrn", 4)]
)
def test_xla_agrees_and_bfloat16_stays_near(backbone, width):
    import tensorflow as tf

    model = small(backbone, width)
    x = pictures(64) * 50 + 128
    want = model.predict_on_batch(x)["keypoints"]
    compiled = tf.function(lambda batch: model(batch, training=False), jit_compile=True)
    assert relative_error(compiled(x)["keypoints"].numpy(), want) <= 1e-4
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        mixed = models.build(backbone, base_channels=width, input_size=64, input_downsample=1)
    finally:
        keras.config.set_dtype_policy(policy)
    mixed.set_weights(model.get_weights())
    got = mixed.predict_on_batch(x)["keypoints"]
    assert got.dtype == np.float32 and relative_error(got, want) <= 0.1


OTHER_BACKEND = """
import sys
from pathlib import Path

import keras
import numpy as np
from posekit import models

for path in sorted(Path(sys.argv[1]).glob("*.npz")):
    model = models.build(path.stem, base_channels=4, input_size=64, input_downsample=1)
    data = np.load(path)
    model.set_weights([data[f"w{i}"] for i in range(len(data.files) - 1)])
    out = model(data["x"], training=False)["keypoints"]
    np.save(path.with_suffix(".npy"), keras.ops.convert_to_numpy(out))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_agree(backend, tmp_path):
    pytest.importorskip(backend, reason=f"{backend} is not installed: `make backends`")
    x = pictures(64) * 50 + 128
    expected = {}
    for backbone in ("resnet50", "resnet18v2", "densenet121", "deeppose_cnn_lrn"):
        model = small(backbone, 4)
        np.savez(
            tmp_path / f"{backbone}.npz",
            x=x,
            **{f"w{i}": w for i, w in enumerate(model.get_weights())},
        )
        expected[backbone] = model.predict_on_batch(x)["keypoints"]
    done = subprocess.run(
        [sys.executable, "-c", OTHER_BACKEND, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": backend, **QUICK_TO_COMPILE},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for backbone, want in expected.items():
        assert relative_error(np.load(tmp_path / f"{backbone}.npy"), want) <= 1e-4, backbone
