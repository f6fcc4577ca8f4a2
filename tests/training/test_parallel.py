"""Four devices train as one does: the same curve, and batch norm over the whole batch. The devices
are simulated on the processor."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_data

from posekit import records
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.training import parallel

ROOT = Path(__file__).parents[2]

CHILD = """
import sys

import keras
import numpy as np
from posekit import cli, models, training
from posekit.training import parallel

training.bfloat16_pays = lambda: False
folder, way, *runs = sys.argv[1:]
options = f"--backbone resnet18v2 --head regression --width 4 --input-size 64 --epochs 3 "
options += f"--batch-size 8 --seed 5 --input {way} --optimizer sgd --learning-rate 0.003"
for devices, run in zip((1, 4), runs):
    more = ["--out", run, "--devices", str(devices), "--average", "0.9"]
    assert cli.main(["train", "--records", folder, "--val", folder, *options.split(), *more]) == 0
    assert keras.distribution.distribution() is None

images = np.random.default_rng(0).normal(3, 2, (8, 4, 4, 2)).astype(np.float32)
images[:2] += 10                                       # the devices' shares differ
moved = []
for devices in (1, 4):
    with parallel.data_parallel(devices):
        norm = keras.layers.BatchNormalization(momentum=0)
        model = keras.Sequential([keras.Input((4, 4, 2)), norm, keras.layers.Flatten()])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.train_on_batch(images, np.zeros((8, 32)))
        weights = model.layers[0].moving_variance
        assert len(weights.value.sharding.device_set) == devices
        moved.append([np.asarray(w) for w in model.layers[0].non_trainable_variables[:2]])
np.testing.assert_allclose(moved[1][0], images.mean((0, 1, 2)), rtol=1e-5)
np.testing.assert_allclose(moved[1][1], images.var((0, 1, 2)), rtol=1e-4)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("parallel")
    annotations, _ = tiny_data.coco(root / "coco", photos=9, people=2, seed=3)
    samples = coco.read(annotations, root / "coco" / "train2017")
    records.write_records(
        samples,
        root / "records",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=64),
        shards=3,
        workers=1,
        progress=False,
    )
    return root / "records"


def curve(run: Path) -> list[dict]:
    with (run / "log.csv").open() as file:
        return [
            {k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["device", "tfdata"])
def test_four_devices_train_as_one(folder, tmp_path, way):
    """18 people: neither the eight of a batch nor the rest that is scored fill four devices by
    chance alone."""
    pytest.importorskip("jax")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            CHILD,
            str(folder),
            way,
            str(tmp_path / "one"),
            str(tmp_path / "four"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, four = (predictor.load(tmp_path / name) for name in ("one", "four"))
    assert (one.record["recipe"]["devices"], four.record["recipe"]["devices"]) == (1, 4)
    for a, b in zip(curve(tmp_path / "one"), curve(tmp_path / "four"), strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
    for a, b in zip(one.model.get_weights(), four.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_how_many_devices(monkeypatch):
    assert parallel.devices_for(0, 32) == parallel.devices_for(1, 32) == 1
    with pytest.raises(DataError, match="JAX"):
        parallel.devices_for(2, 32)
    monkeypatch.setattr(parallel.keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(parallel.hardware, "accelerators", lambda: ["a", "b", "c"])
    assert [parallel.devices_for(0, n) for n in (32, 9, 1)] == [2, 3, 1]
    monkeypatch.setattr(parallel.keras.distribution, "list_devices", lambda: ["a", "b", "c"])
    assert parallel.devices_for(3, 9) == 3
    for wanted, words in ((4, "3 available"), (3, "evenly")):
        with pytest.raises(DataError, match=words):
            parallel.devices_for(wanted, 8)
