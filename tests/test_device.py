"""Crops that the device cuts are those of the pipeline, on every backend, also where TensorFlow is not installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_data

from posekit import device, pipeline, records
from posekit.errors import DataError
from posekit.sources import coco

ROOT = Path(__file__).parents[1]
VARIED = pipeline.Augmentation(rotation=40, scale=0.3, shift=0.1, colour=0.4, half_body=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("device")
    annotations, _ = tiny_data.coco(root / "coco", photos=6, people=2, seed=3)
    samples = coco.read(annotations, root / "coco" / "train2017")
    records.write_records(samples, root / "records", "tiny", "train", box_px=64, shards=3, progress=False)
    return root / "records"


@pytest.fixture(scope="module")
def people(folder) -> device.People:
    return device.read_people([folder])


def by_opencv(people: device.People, how: dict, size: int) -> np.ndarray:
    """The same crops through `pipeline.draw_crop`."""
    from posekit import geometry

    out = np.empty((len(how["person"]), size, size, 3), np.uint8)
    for i, who in enumerate(how["person"]):
        variation = pipeline.Variation(colour=how["colour"][i].astype(np.float64))
        pipeline.draw_crop(people.images[who], geometry.invert(how["affine"][i]), variation, None, out[i])
    return out


def test_everybody_is_read_in_the_records_order(folder, people):
    there = list(records.read_records(folder))
    assert len(people) == len(there) == 12
    np.testing.assert_array_equal(people.keypoints, [person.keypoints for person in there])
    assert people.images.dtype == np.uint8 and people.images.shape == (12, 96, 96, 3)


def test_folders_of_different_sizes_are_refused(folder, tmp_path):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=1, people=1)
    samples = coco.read(annotations, tmp_path / "coco" / "train2017")
    records.write_records(samples, tmp_path / "other", "tiny", "train", box_px=32, shards=1, progress=False)
    with pytest.raises(DataError, match="different sizes"):
        device.read_people([folder, tmp_path / "other"])


@pytest.mark.parametrize("augment", [None, VARIED])
def test_crops_are_those_of_opencv(people, augment):
    how, _ = next(device.make_batches(people, 12, input_size=48, augment=augment, seed=5))
    got = np.asarray(device.Crops(people.images, 48)(how))
    want = by_opencv(people, how, 48).astype(np.float32)
    off = np.abs(got - want)
    assert off.mean() <= 0.6 and np.quantile(off, 0.999) <= 4, (
        "OpenCV rounds places to 1/32 pixel, and levels to whole ones"
    )


def test_an_identity_map_gives_the_stored_pixels(people):
    eye = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (3, 2, 3))
    got = np.asarray(device.warp(people.images, np.array([4, 0, 7], np.int32), eye, 96))
    np.testing.assert_array_equal(got, people.images[[4, 0, 7]])


def test_beyond_the_picture_it_is_black(people):
    away = np.array([[[1, 0, 1000], [0, 1, 0]]], np.float32)
    assert not np.any(np.asarray(device.warp(people.images, np.array([0], np.int32), away, 8)))


def test_targets_are_those_of_the_pipeline(folder, people):
    ours = list(device.make_batches(people, 5, input_size=48))
    theirs = list(pipeline.make_batches(folder, 5, input_size=48).as_numpy_iterator())
    assert [len(how["person"]) for how, _ in ours] == [5, 5, 2]
    for (_, mine), (_, other) in zip(ours, theirs, strict=True):
        for name in ("keypoints", "visibility"):
            np.testing.assert_allclose(mine[name], other[name], atol=1e-6)


def test_seeds_and_epochs(people):
    def who(seed, count=6):
        batches = device.make_batches(people, 4, input_size=48, augment=VARIED, shuffle=True, repeat=True, seed=seed)
        return [next(batches)[0] for _ in range(count)]

    first, again, other = who(1), who(1), who(2)
    for a, b in zip(first, again, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    order = np.concatenate([how["person"] for how in first])
    assert sorted(order[:12]) == sorted(order[12:]) == list(range(12)) and order[:12].tolist() != order[12:].tolist()
    assert order.tolist() != np.concatenate([how["person"] for how in other]).tolist()


def test_a_hole_is_noise_and_leaves_the_rest(people):
    how, _ = next(device.make_batches(people, 2, input_size=48))
    layer = device.Crops(people.images, 48)
    before = np.asarray(layer(how))
    how["hole"] = np.array([[0.25, 0.5, 0.75, 1.0], [0, 0, 0, 0]], np.float32)
    after = np.asarray(layer(how))
    inside = np.zeros((48, 48), bool)
    inside[24:48, 12:36] = True
    np.testing.assert_array_equal(after[0][~inside], before[0][~inside])
    np.testing.assert_array_equal(after[1], before[1])
    assert after[0][inside].std() > 50


WITHOUT_TENSORFLOW = """
import json, sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec                            # as where TensorFlow is not installed
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] == "tensorflow" else find(name, *rest)

import keras
import numpy as np
from posekit import device, losses, models, pipeline

people = device.read_people([sys.argv[1]])
keras.utils.set_random_seed(1)
net = models.build(width=4, input_size=64)
model = device.on_device(net, people.images, 64)
model.compile(keras.optimizers.Adam(1e-3), {"keypoints": losses.masked_l1, "visibility": losses.masked_bce})
how, _ = next(device.make_batches(people, 12, input_size=64, augment=pipeline.Augmentation(), seed=5))
crops = keras.ops.convert_to_numpy(model.get_layer("crops")(how))
batches = device.make_batches(people, 4, input_size=64, augment=pipeline.Augmentation(erase=0.3), shuffle=True, repeat=True, seed=3)
history = model.fit(batches, steps_per_epoch=9, epochs=6, verbose=0).history["loss"]
pictures = model.get_layer("crops").images
same = bool(np.array_equal(keras.ops.convert_to_numpy(pictures), people.images))
assert "tensorflow" not in sys.modules
print(json.dumps({"backend": keras.backend.backend(), "crops": float(crops.mean()), "history": history, "same": same}))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_trains_where_tensorflow_is_not_installed(backend, folder, people):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: `make backends`")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    how, _ = next(device.make_batches(people, 12, input_size=64, augment=pipeline.Augmentation(), seed=5))
    assert found["backend"] == backend and found["same"]
    assert found["crops"] == pytest.approx(float(np.asarray(device.Crops(people.images, 64)(how)).mean()), rel=1e-5)
    assert found["history"][-1] < 0.8 * found["history"][0]
