"""benchmarks/pipeline.py: those it compares do the same work, and its JSON is whole."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_data

from posekit import geometry, inputs, records
from posekit.datasets import coco

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "pipeline.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("pipeline_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    annotations, _ = tiny_data.coco(root / "coco", photos=8, people=2, seed=3)
    samples = list(coco.read(annotations, root / "coco" / "train2017"))
    records.write_records(samples, root / "records", "tiny", "train", shards=2, progress=False)
    return samples, root / "records"


def taken(dataset, batches: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    got = [
        (x.numpy(), y["keypoints"].numpy(), y["visibility"].numpy())
        for x, y in dataset.take(batches)
    ]
    return tuple(np.concatenate(column) for column in zip(*got, strict=True))


def test_tensorflow_cuts_the_same_crops_from_photos(benchmark, people, monkeypatch):
    samples, folder = people
    monkeypatch.setattr(benchmark, "AUGMENT", inputs.Augmentation.only())
    theirs = taken(benchmark.photo_batches(samples, 4), 4)
    ours = taken(inputs.make_batches(folder, 16), 1)
    for picture, place, seen in zip(*theirs, strict=True):
        i = np.abs(ours[1] - place).max(axis=(1, 2)).argmin()
        np.testing.assert_allclose(ours[1][i], place, atol=1e-4)
        assert np.array_equal(ours[2][i], seen)
        assert (
            np.abs(ours[0][i].astype(float) - picture).mean() < 4
        )  # the records are JPEGs of the photos' JPEGs
    assert len({place.tobytes() for place in theirs[1]}) == 16


def test_tensorflow_varies_as_far_as_posekit(benchmark, people, monkeypatch):
    """Each kind alone: where the joints come to lie spreads as in posekit's batches, and each dot
    stays under its joint."""
    samples, folder = people
    for kind in (
        {"flip": 1.0},
        {"rotation": 40},
        {"scale": 0.5},
        {"shift": 0.2},
        {"half_body": 1.0},
    ):
        augment = inputs.Augmentation.only(**kind)
        monkeypatch.setattr(benchmark, "AUGMENT", augment)
        theirs = taken(benchmark.photo_batches(samples, 16), 16)
        ours = taken(inputs.make_batches(folder, 16, augment=augment, repeat=True), 16)
        for x in (0, 1):
            spread = [np.std(points[..., x][points[..., 2] > 0]) for _, points, _ in (ours, theirs)]
            assert spread[0] == pytest.approx(spread[1], rel=0.1), kind
        assert ours[1][..., 2].mean() == pytest.approx(theirs[1][..., 2].mean(), abs=0.06), kind
        assert dots_found(theirs) > 0.9 and dots_found(ours) > 0.9, kind


def dots_found(batch) -> float:
    """The share of joints with a local bright or dark spot: the photos show one at each."""
    found = []
    for picture, place, _ in zip(*batch, strict=True):
        grey = picture.astype(float).mean(axis=2)
        for u, v, weight in place:
            x, y = geometry.decode_keypoints(np.array([u, v]), (224, 224))
            if weight and min(x, y, 223 - x, 223 - y) > 12:
                around = grey[int(y) - 12 : int(y) + 13, int(x) - 12 : int(x) + 13]
                found.append(abs(grey[round(y), round(x)] - np.median(around)) > 12)
    return float(np.mean(found))


@pytest.mark.slow
def test_it_prints_one_whole_json_object():
    command = [
        sys.executable,
        str(SCRIPT),
        "--json",
        "--repetitions",
        "2",
        "--batches",
        "2",
        "--batch-size",
        "16",
    ]
    done = subprocess.run([*command, "--hd-frames", "1"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    rates = found["images_per_second"]
    assert {"bound", "posekit", "tf_photos", "tf_photos_hd", "torch"} == set(rates)
    assert all(rate > 0 for name, rate in rates.items() if name != "torch")
    has_torch = importlib.util.find_spec("torch") is not None
    assert (rates["torch"] is not None) == (found["ratio_to_torch"] is not None) == has_torch
    assert has_torch or "not installed" in found["torch"]
    assert found["bound"] == rates["bound"] and 0 < found["ratio_to_bound"] < 3
    parts = ["read", "parse", "decode", "vary", "warp", "colour", "erase", "targets", "hand_over"]
    assert list(found["steps_cpu_us_per_image"]) == parts
    assert sum(found["steps_cpu_us_per_image"].values()) == pytest.approx(
        found["cpu_us_per_image"]["posekit"], abs=1
    )
