"""The same batches train the same network on TensorFlow, JAX and PyTorch; a backend that is not
installed is skipped."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_data

from posekit import records
from posekit.datasets import coco

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, sys
import keras
import numpy as np
from posekit import losses, models, inputs

folder, weights = sys.argv[1:]
keras.utils.set_random_seed(1)
model = models.build(base_channels=4, input_size=64)
if keras.backend.backend() == "tensorflow":
    model.save_weights(weights)
model.load_weights(weights)
losses_ = {"keypoints": losses.masked_l1, "visibility": losses.masked_bce}
model.compile(keras.optimizers.Adam(1e-3), losses_)
validation = inputs.make_batches(folder, 4, input_size=64)
# not the parts of the loss: Keras miscounts them on TensorFlow
before = model.evaluate(validation, return_dict=True, verbose=0)["loss"]
training = inputs.make_batches(folder, 4, input_size=64, shuffle=True, repeat=True,
                                 augment=inputs.Augmentation(half_body=0.3, erase=0.3), seed=3)
taken = [x for x, _ in training.take(9)]
digest = int(sum(int(x.numpy().sum()) * (i + 1) for i, x in enumerate(taken)))
history = model.fit(training, steps_per_epoch=9, epochs=8, shuffle=False, verbose=0).history
result = {"backend": keras.backend.backend(), "before": before, "pixels": digest}
print(json.dumps(result | {"history": history["loss"]}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of twelve people."""
    root = tmp_path_factory.mktemp("backends")
    annotations, _ = tiny_data.coco(root / "coco", photos=6, people=2, seed=3)
    samples = coco.read(annotations, root / "coco" / "train2017")
    records.write_records(
        samples,
        root / "records",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=64),
        shards=3,
        progress=False,
    )
    return root / "records"


def run(backend: str, folder: Path) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(folder.parent / "start.weights.h5")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def with_tensorflow(folder):
    return run("tensorflow", folder)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_same_batches_train_on_each_backend(backend, folder, with_tensorflow):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (pip install {backend})")
    found = with_tensorflow if backend == "tensorflow" else run(backend, folder)
    assert found["backend"] == backend and found["pixels"] == with_tensorflow["pixels"]
    assert found["before"] == pytest.approx(with_tensorflow["before"], rel=1e-4)
    assert found["history"][-1] < 0.8 * found["history"][0]
