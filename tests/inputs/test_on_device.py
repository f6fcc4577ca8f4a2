"""Crops on the device equal those of tf.data, on every backend, also without TensorFlow."""

import csv
import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tiny_data

from posekit import geometry, hardware, inputs, models, records, training
from posekit.datasets import coco, lsp
from posekit.errors import DataError
from posekit.inference import evaluation, predictor
from posekit.inputs import on_device

ROOT = Path(__file__).parents[2]
VARIED = inputs.Augmentation(rotation=40, scale=0.3, shift=0.1, colour=0.4, half_body=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("device")
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


@pytest.fixture(scope="module")
def people(folder) -> on_device.PersonArrays:
    return on_device.read_people([folder])


def by_opencv(people: on_device.PersonArrays, how: dict, size: int) -> np.ndarray:
    """The same crops through `inputs.render_crop`."""
    from posekit import geometry

    out = np.empty((len(how["person"]), size, size, 3), np.uint8)
    for i, who in enumerate(how["person"]):
        variation = inputs.AugmentParams(colour=how["colour"][i].astype(np.float64))
        inputs.render_crop(
            people.images[who], geometry.invert(how["affine"][i]), variation, None, out[i]
        )
    return out


def test_everybody_is_read_in_the_records_order(folder, people):
    there = list(records.read_records(folder))
    assert len(people) == len(there) == 12
    np.testing.assert_array_equal(people.keypoints, [person.keypoints for person in there])
    assert people.images.dtype == np.uint8 and people.images.shape == (12, 96, 96, 3)


def test_folders_of_different_sizes_are_refused(folder, tmp_path):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=1, people=1)
    samples = coco.read(annotations, tmp_path / "coco" / "train2017")
    records.write_records(
        samples,
        tmp_path / "other",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=32),
        shards=1,
        progress=False,
    )
    with pytest.raises(DataError, match="different sizes"):
        on_device.read_people([folder, tmp_path / "other"])


@pytest.mark.parametrize("augment", [None, VARIED])
def test_crops_are_those_of_opencv(people, augment):
    how, _ = next(on_device.make_batches(people, 12, input_size=48, augment=augment, seed=5))
    got = np.asarray(on_device.CropLayer(people.images, 48)(how))
    want = by_opencv(people, how, 48).astype(np.float32)
    off = np.abs(got - want)
    assert off.mean() <= 0.6 and np.quantile(off, 0.999) <= 4, (
        "OpenCV rounds places to 1/32 pixel, and levels to whole ones"
    )


def test_an_identity_map_gives_the_stored_pixels(people):
    eye = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (3, 2, 3))
    got = np.asarray(on_device.warp(people.images, np.array([4, 0, 7], np.int32), eye, 96))
    np.testing.assert_array_equal(got, people.images[[4, 0, 7]])


@pytest.mark.parametrize(("side", "shrink"), [(192, 2), (192, 4), (200, 8)])
def test_a_crop_that_is_reduced_is_averaged(side, shrink):
    """Bilinear sampling alone shows rings that are not there."""
    x, y = np.meshgrid(*2 * [np.arange(side) - (side - 1) / 2])
    rings = 127.5 + 127.5 * np.cos(np.pi * (x**2 + y**2) / side)  # down to one pixel at the edges
    plate = np.repeat(rings.round()[..., None], 3, axis=2).astype(np.uint8)
    size = side // shrink
    whole = geometry.crop_affine(np.full(2, (side - 1) / 2), side, size)
    back = geometry.invert(whole)[None].astype(np.float32)
    got = np.asarray(on_device.warp(plate[None], np.zeros(1, np.int32), back, size))[0]
    assert np.abs(got - geometry.warp(plate, whole, (size, size))).max() <= 2, "both round thrice"
    area = cv2.resize(plate, (size, size), interpolation=cv2.INTER_AREA)
    assert np.abs(got - area.astype(np.float32)).max() <= 1


@pytest.mark.parametrize("phase", range(8))
def test_fine_lines_become_grey(phase):
    lines = np.zeros((1, 192, 192, 3), np.uint8)
    lines[:, phase::8] = 240
    back = geometry.invert(geometry.crop_affine((95.5, 95.5), 192, 24))[None].astype(np.float32)
    small = np.asarray(on_device.warp(lines, np.zeros(1, np.int32), back, 24))
    assert np.abs(small - 240 / 8).max() <= 1


def test_beyond_the_picture_it_is_black(people):
    away = np.array([[[1, 0, 1000], [0, 1, 0]]], np.float32)
    assert not np.any(np.asarray(on_device.warp(people.images, np.array([0], np.int32), away, 8)))


def test_targets_are_those_of_the_pipeline(folder, people):
    ours = list(on_device.make_batches(people, 5, input_size=48))
    theirs = list(inputs.make_batches(folder, 5, input_size=48).as_numpy_iterator())
    assert [len(how["person"]) for how, _ in ours] == [5, 5, 2]
    for (_, mine), (_, other) in zip(ours, theirs, strict=True):
        for name in ("keypoints", "visibility"):
            np.testing.assert_allclose(mine[name], other[name], atol=1e-6)


def test_seeds_and_epochs(people):
    def who(seed, count=6):
        batches = on_device.make_batches(
            people, 4, input_size=48, augment=VARIED, shuffle=True, repeat=True, seed=seed
        )
        return [next(batches)[0] for _ in range(count)]

    first = who(1)
    again = who(1)
    other = who(2)
    for a, b in zip(first, again, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
    order = np.concatenate([how["person"] for how in first])
    assert (
        sorted(order[:12]) == sorted(order[12:]) == list(range(12))
        and order[:12].tolist() != order[12:].tolist()
    )
    assert order.tolist() != np.concatenate([how["person"] for how in other]).tolist()


def test_a_hole_is_noise_and_leaves_the_rest(people):
    how, _ = next(on_device.make_batches(people, 2, input_size=48))
    layer = on_device.CropLayer(people.images, 48)
    before = np.asarray(layer(how))
    how["erase_box"] = np.array([[0.25, 0.5, 0.75, 1.0], [0, 0, 0, 0]], np.float32)
    after = np.asarray(layer(how))
    inside = np.zeros((48, 48), bool)
    inside[24:48, 12:36] = True
    np.testing.assert_array_equal(after[0][~inside], before[0][~inside])
    np.testing.assert_array_equal(after[1], before[1])
    assert after[0][inside].std() > 50


def test_no_holes_travel_where_none_are_wanted(people):
    for erase, wanted in ((0.0, False), (0.5, True)):
        how, _ = next(
            on_device.make_batches(
                people, 4, input_size=48, augment=inputs.Augmentation(erase=erase)
            )
        )
        assert ("erase_box" in how) == wanted


def test_a_run_that_goes_on_gets_the_batches_that_it_has_not_had(people):
    def make(start):
        return on_device.make_batches(
            people, 5, augment=VARIED, shuffle=True, repeat=True, seed=4, start=start
        )

    whole = itertools.islice(make(0), 3, 7)
    rest = itertools.islice(make(3), 4)
    for (how, targets), (again, same) in zip(whole, rest, strict=True):
        for name in how:
            np.testing.assert_array_equal(how[name], again[name])
        np.testing.assert_array_equal(targets["keypoints"], same["keypoints"])


def test_ahead_keeps_the_order_and_says_what_went_wrong():
    assert list(on_device.prefetch(iter(range(20)), depth=3)) == list(range(20))
    assert list(on_device.prefetch(iter(range(2)), depth=8)) == [0, 1]

    def broken():
        yield 1
        raise DataError("shard", "is damaged", "fix it")

    with pytest.raises(DataError, match="damaged"):
        list(on_device.prefetch(broken()))


def test_centre_crops_are_the_pipelines_to_the_bit(folder):
    theirs = list(inputs.make_batches(folder, 5, input_size=48).as_numpy_iterator())
    for (images, targets), (other, wanted) in zip(
        on_device.iterate_center_crops(folder, 5, input_size=48), theirs, strict=True
    ):
        np.testing.assert_array_equal(images, other)
        for name in wanted:
            np.testing.assert_array_equal(targets[name], wanted[name])


def test_a_poor_camera_is_refused_on_the_device(people):
    with pytest.raises(DataError, match="--input tfdata"):
        next(on_device.make_batches(people, 4, augment=inputs.Augmentation(camera=0.5)))


def test_which_way_is_chosen(folder, monkeypatch):
    def chosen(wanted="auto"):
        return on_device.resolve_input(wanted, [folder])

    assert chosen("device") == "device" and chosen("tfdata") == "tfdata"
    monkeypatch.setattr(hardware, "accelerators", lambda: [])
    assert chosen() == "tfdata"
    monkeypatch.setattr(hardware, "accelerators", lambda: ["gpu:0"])
    assert chosen() == "device"
    monkeypatch.setattr(on_device, "MAX_DEVICE_BYTES", 12 * 96 * 96 * 3 - 1)
    assert chosen() == "tfdata"
    poor = inputs.Augmentation(camera=0.5)
    monkeypatch.setattr(on_device, "MAX_DEVICE_BYTES", 1e12)
    assert on_device.resolve_input("auto", [folder], poor) == "tfdata"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert chosen() == "device"
    for wanted in ("auto", "device"):
        with pytest.raises(DataError, match="--input tfdata"):
            on_device.resolve_input(wanted, [folder], poor)


# ---- neck and head top ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sporty(tmp_path_factory) -> Path:
    """Records like LSP's: 14 joints, with neck and head top; one neck is not labelled."""
    root = tmp_path_factory.mktemp("sporty")
    tiny_data.lsp(root / "lspet", range(1, 7), extended=True)
    records.write_records(
        lsp.read_lspet(root / "lspet"),
        root / "records",
        "lspet",
        "train",
        settings=records.CropSettings(box_px=64),
        progress=False,
    )
    return root / "records"


def test_neck_and_head_top_are_written_and_read_back(tmp_path, folder):
    """They equal joints.mat minus MATLAB's 1; unlabelled ones are 0; COCO has none."""
    joints = tiny_data.lsp(tmp_path / "lsp", range(1, 5))
    samples = {sample.person_id: sample for sample in lsp.read(tmp_path / "lsp", "train")}
    for i, sample in enumerate(samples.values()):
        np.testing.assert_allclose(sample.extra_keypoints[:, :2], joints[i, 12:, :2] - 1, rtol=1e-6)
        np.testing.assert_array_equal(sample.extra_keypoints[:, 2], 2 - joints[i, 12:, 2])
    records.write_records(
        samples.values(),
        tmp_path / "records",
        "lsp",
        "train",
        settings=records.CropSettings(box_px=64),
        progress=False,
    )
    for person in records.read_records(tmp_path / "records"):
        back = geometry.apply_affine(person.crop_to_image, person.extra_keypoints[:, :2])
        np.testing.assert_allclose(
            back, samples[person.person_id].extra_keypoints[:, :2], atol=1e-3
        )
    assert not any(person.extra_keypoints.any() for person in records.read_records(folder))


def test_nineteen_joints_travel_on_both_ways(sporty, folder):
    there = list(records.read_records(sporty))
    assert any((person.extra_keypoints[:, 2] > 0).all() for person in there)
    for way in (sporty, folder):  # COCO's people have no neck: weight 0
        people = on_device.read_people([way], 19)
        theirs = inputs.make_batches(way, 12, input_size=48, augment=VARIED, seed=5, num_joints=19)
        (_, mine), (_, other) = (
            next(on_device.make_batches(people, 12, input_size=48, augment=VARIED, seed=5)),
            next(iter(theirs.as_numpy_iterator())),
        )
        for name, width in (("keypoints", 3), ("visibility", 2)):
            assert mine[name].shape[1:] == (19, width)
            np.testing.assert_allclose(mine[name], other[name], atol=1e-6)
        assert (
            bool(mine["keypoints"][:, 17:, 2].any())
            == bool(mine["visibility"][:, 17:, 1].any())
            == (way == sporty)
        )


def test_the_first_seventeen_are_what_they_were(sporty):
    for augment in (None, VARIED):
        many, few = (
            next(
                iter(
                    inputs.make_batches(
                        sporty, 6, input_size=48, augment=augment, num_joints=k
                    ).as_numpy_iterator()
                )
            )
            for k in (19, 17)
        )
        np.testing.assert_array_equal(many[0], few[0])
        for name in ("keypoints", "visibility"):
            np.testing.assert_array_equal(many[1][name][:, :17], few[1][name])


@pytest.mark.parametrize("head", models.HEADS)
def test_seventeen_leave_a_network_of_nineteen(head):
    """The same answers for the 17, whatever the head."""
    keras.utils.set_random_seed(0)
    many, few = (
        models.build(
            head=head,
            base_channels=4,
            input_size=64,
            input_downsample=1,
            num_joints=k,
            predict_sigma=True,
        )
        for k in (19, 17)
    )
    few.set_weights(training.first_joints(many.get_weights(), few.get_weights()))
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    whole, kept = (model.predict_on_batch(images) for model in (many, few))
    for name in kept:
        assert whole[name].shape[1] == 19
        np.testing.assert_allclose(whole[name][:, :17], kept[name], atol=1e-6)


@pytest.mark.slow
def test_a_run_of_nineteen_joints_is_one_of_seventeen(sporty, tmp_path):
    """It starts from a run of 17, and leaves 17; in between it has learnt the other two."""
    training.train([sporty], sporty, tiny(epochs=1), tmp_path / "start", verbose=False)
    for way in ("device", "tfdata"):
        out = tmp_path / way
        rate = 1e-12
        recipe = tiny(
            num_joints=19,
            input_pipeline=way,
            epochs=1,
            ema_momentum=0.5,
            learning_rate=rate,
            weight_decay=0.0,
        )
        training.train([sporty], sporty, recipe, out, start_from=tmp_path / "start", verbose=False)
        start = predictor.load(tmp_path / "start")
        run = predictor.load(out)
        assert (
            run.model.output["keypoints"].shape[1:] == (17, 2)
            and run.record["recipe"]["num_joints"] == 19
        )
        for a, b in zip(
            start.model.trainable_variables, run.model.trainable_variables, strict=True
        ):
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)
    with pytest.raises(DataError, match="17 or 19"):
        tiny(num_joints=18)


# ---- a whole run ---------------------------------------------------------------------------------


def tiny(**changes) -> training.Recipe:
    given = {
        "base_channels": 4,
        "input_size": 64,
        "epochs": 2,
        "batch_size": 4,
        "dtype": "float32",
        "seed": 5,
    }
    return training.Recipe(**{**given, "input_pipeline": "device", **changes})


def curve(run: Path) -> list[dict]:
    with (run / "log.csv").open() as file:
        return [
            {k: float(v) for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)
        ]


def test_a_run_on_the_device_goes_on_bit_for_bit(folder, tmp_path, monkeypatch):
    recipe = tiny(augment=inputs.Augmentation(erase=0.5), ema_momentum=0.9)
    training.train([folder], folder, recipe, tmp_path / "whole", verbose=False)
    save = training.Checkpoint.save

    def then_stop(self, done):
        save(self, done)
        assert self.path.stat().st_size < 10 * self.trainer.network.count_params() * 4, (
            "the pictures are in it"
        )
        if done == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Checkpoint, "save", then_stop)
        with pytest.raises(KeyboardInterrupt):
            training.train(
                [folder], folder, recipe, tmp_path / "broken", verbose=False, checkpoint_seconds=0
            )
    training.train([folder], folder, recipe, tmp_path / "broken", verbose=False)
    assert curve(tmp_path / "whole") == curve(tmp_path / "broken")
    runs = [predictor.load(tmp_path / name) for name in ("whole", "broken")]
    for mine, other in zip(*(run.model.get_weights() for run in runs), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert runs[0].record["recipe"]["input_pipeline"] == "device"


@pytest.mark.parametrize("way", ["tfdata", "device"])
def test_batches_can_be_tampered_with_on_both_ways(folder, tmp_path, way):
    def unlabelled(images, targets):
        return images, {**targets, "keypoints": keras.ops.zeros_like(targets["keypoints"])}

    training.train(
        [folder],
        folder,
        tiny(input_pipeline=way, epochs=1),
        tmp_path / "run",
        batch_transform=unlabelled,
        verbose=False,
    )
    assert curve(tmp_path / "run")[0]["keypoints_loss"] == 0


WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec                            # as where TensorFlow is not installed
def find_spec(name, *rest):
    return None if name.split(".")[0] == "tensorflow" else find(name, *rest)
PathFinder.find_spec = find_spec

from posekit import cli, notebook, training

machine = notebook.setup()
training.bfloat16_pays = lambda: False
assert machine.device == "CPU"
records, start, run = sys.argv[1:]
options = "--backbone resnet18v2 --width 4 --input-size 64 --epochs 2 --batch-size 4 --seed 5"
options += f" --start-from {start} --learning-rate 3e-3"
code = cli.main(["train", "--records", records, "--val", records, "--out", run, *options.split()])
code = code or cli.main(["evaluate", "--model", run, "--records", records])
assert "tensorflow" not in sys.modules
sys.exit(code)
"""


@pytest.fixture(scope="module")
def started(folder, tmp_path_factory) -> tuple[Path, Path]:
    """A run, and another that went on from its weights, both by TensorFlow."""
    root = tmp_path_factory.mktemp("started")
    training.train([folder], folder, tiny(epochs=1), root / "start", verbose=False)
    training.train([folder], folder, tiny(), root / "run", start_from=root / "start", verbose=False)
    return root / "start", root / "run"


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_commands_do_without_tensorflow(backend, folder, started, tmp_path):
    """`train` and `evaluate` without TensorFlow: the same curve and scores as with it."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: `make backends`")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            WITHOUT_TENSORFLOW,
            str(folder),
            str(started[0]),
            str(tmp_path / "run"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "CUDA_VISIBLE_DEVICES": "",
            "XLA_FLAGS": "--xla_backend_optimization_level=1",  # JAX compiles longer than it trains
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = predictor.load(tmp_path / "run")
    assert run.record["backend"] == backend and run.record["recipe"]["input_pipeline"] == "device"
    for ours, theirs in zip(curve(tmp_path / "run"), curve(started[1]), strict=True):
        for name in ("loss", "keypoints_loss", "visibility_loss", "val_pck@0.2"):
            assert ours[name] == pytest.approx(theirs[name], rel=0.01, abs=0.01), name
    scores = evaluation.evaluate(run, folder)
    assert scores["pck@0.2"] == pytest.approx(run.record["val"]["pck@0.2"], abs=0.01)
