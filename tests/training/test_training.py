"""Training: the schedule's shape, repeatable runs, what a run holds, the collapse warning, bad
input."""

import csv
import itertools
import json
import math
import shutil
import time

import experiments
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_data
from experiments import stage_one

from posekit import cli, inputs, losses, models, records, training
from posekit.datasets import coco, lsp
from posekit.errors import DataError
from posekit.inference import evaluation, predictor
from posekit.notebook import runs


@pytest.fixture(scope="module")
def record_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    annotations, _ = tiny_data.coco(folder / "coco", photos=6, people=2)
    samples = coco.read(annotations, folder / "coco" / "train2017")
    records.write_records(
        samples,
        folder / "records",
        "coco",
        "train",
        settings=records.CropSettings(box_px=64),
        shards=2,
        workers=1,
        progress=False,
    )
    return folder / "records"


def tiny(**changes) -> training.Recipe:
    given = {
        "base_channels": 4,
        "input_size": 64,
        "epochs": 3,
        "batch_size": 4,
        "dtype": "float32",
        "seed": 5,
    }
    return training.Recipe(**{**given, **changes})


@pytest.fixture(scope="module")
def run(record_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return out, training.train([record_folder], record_folder, tiny(), out, verbose=False)


# ---- the schedule --------------------------------------------------------------------------------


def test_schedule_climbs_then_falls_as_half_a_cosine():
    schedule = training.WarmupCosine(0.1, warmup=0.2, steps=100)
    assert schedule.rate(0) == 0 and schedule.rate(0.1) == pytest.approx(0.05)
    assert schedule.rate(0.2) == pytest.approx(0.1) and schedule.rate(0.6) == pytest.approx(0.05)
    assert schedule.rate(1) == pytest.approx(0)
    falling = [schedule.rate(p) for p in np.linspace(0.2, 1, 50)]
    assert all(a > b for a, b in itertools.pairwise(falling))
    assert schedule.rate(0.4) == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 0.25)))


def test_schedule_by_the_clock_is_over_when_the_time_is(monkeypatch):
    schedule = training.WarmupCosine(0.1, warmup=0.1, deadline=(100.0, 160.0))
    for now, progress in ((100, 0), (130, 0.5), (160, 1), (500, 1)):
        monkeypatch.setattr(time, "monotonic", lambda now=now: now)
        assert schedule.progress() == progress


def test_a_recipe_wants_one_length():
    for lengths in ({}, {"epochs": 1, "minutes": 1.0}):
        with pytest.raises(ValueError, match="either epochs or minutes"):
            training.Recipe(**lengths)


# ---- a run ---------------------------------------------------------------------------------------


def test_a_run_holds_model_record_and_log(run, record_folder):
    out, record = run
    assert sorted(p.name for p in out.iterdir()) == ["log.csv", "model.keras", "record.json"]
    assert json.loads((out / "record.json").read_text()) == json.loads(json.dumps(record))
    assert record["images"] == 3 * 3 * 4 and record["recipe"]["seed"] == 5
    assert record["data"]["records"]["digest"] == records.read_manifest(record_folder)["digest"]
    rows = list(csv.DictReader((out / "log.csv").open()))
    assert [int(r["epoch"]) for r in rows] == [1, 2, 3]
    assert all(float(r["loss"]) > 0 and float(r["val_pck@0.2"]) >= 0 for r in rows)
    assert (
        evaluation.jsonable(evaluation.evaluate(predictor.load(out), record_folder))
        == record["val"]
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(run, record_folder, tmp_path):
    weights = predictor.load(run[0]).model.get_weights()
    training.train([record_folder], record_folder, tiny(), tmp_path / "again", verbose=False)
    for a, b in zip(weights, predictor.load(tmp_path / "again").model.get_weights()):
        np.testing.assert_array_equal(a, b)
    training.train([record_folder], record_folder, tiny(seed=6), tmp_path / "other", verbose=False)
    assert any(
        np.abs(a - b).max() > 1e-3
        for a, b in zip(weights, predictor.load(tmp_path / "other").model.get_weights())
    )


def test_minutes_end_the_run(record_folder, tmp_path):
    recipe = tiny(epochs=None, minutes=0.1)
    record = training.train([record_folder], record_folder, recipe, tmp_path / "run", verbose=False)
    assert record["seconds"] >= 6 and record["images"] > 0


@pytest.mark.parametrize(
    ("backbone", "accelerators", "dtype"),
    [
        ("resnet18v2", [], "mixed_bfloat16"),
        ("efficientnet_lite0", [], "float32"),
        ("efficientnet_lite0", ["a GPU"], "mixed_bfloat16"),
    ],
)
def test_the_dtype_chosen_is_the_faster_one(
    monkeypatch, record_folder, backbone, accelerators, dtype
):
    monkeypatch.setattr(training.run, "bfloat16_pays", lambda: True)
    monkeypatch.setattr(training.run.hardware, "accelerators", lambda: accelerators)
    recipe = training.Recipe(backbone=backbone, epochs=1, input_pipeline="tfdata", devices=1)
    assert training.run._resolve(recipe, [record_folder]).dtype == dtype


def test_training_in_bfloat16_gives_a_float32_model(record_folder, tmp_path):
    training.train(
        [record_folder],
        record_folder,
        tiny(dtype="mixed_bfloat16", epochs=1),
        tmp_path / "run",
        verbose=False,
    )
    model = predictor.load(tmp_path / "run").model
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_starting_from_a_run_starts_from_its_weights(run, record_folder, tmp_path):
    recipe = tiny(epochs=1, learning_rate=1e-12, weight_decay=0.0)
    training.train(
        [record_folder], record_folder, recipe, tmp_path / "on", start_from=run[0], verbose=False
    )
    before = predictor.load(run[0]).model
    after = predictor.load(tmp_path / "on").model
    for a, b in zip(before.trainable_variables, after.trainable_variables):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)
    with pytest.raises(DataError, match="do not fit"):
        training.train(
            [record_folder],
            record_folder,
            tiny(base_channels=8),
            tmp_path / "no",
            start_from=run[0],
            verbose=False,
        )
    assert not list(tmp_path.glob("*no*"))


@pytest.mark.parametrize("head", ["regression", "votes"])
def test_sixteen_people_are_learnt_by_heart(record_folder, head):
    """The first test of any training: without variation, a few people must be learnt to a few
    pixels."""
    keras.utils.set_random_seed(0)
    model = models.build(head=head, base_channels=8, input_size=64, input_downsample=1)
    losses_ = {"keypoints": losses.masked_l1, "visibility": losses.masked_bce}
    model.compile(keras.optimizers.Adam(3e-3), losses_)
    batches = inputs.make_batches(record_folder, 12, input_size=64)
    history = model.fit(batches.repeat(), steps_per_epoch=60, epochs=3, verbose=0).history[
        "keypoints_loss"
    ]
    assert history[-1] < 0.1 and history[-1] < 0.5 * history[0]


def test_the_mean_pose_is_the_mean_of_what_is_inside(record_folder):
    pose, share = training.mean_targets([record_folder])
    parts = list(inputs.make_batches(record_folder, 64, input_size=64).as_numpy_iterator())
    target = np.concatenate([y["keypoints"] for _, y in parts])
    known = np.concatenate([y["visibility"] for _, y in parts])
    weight = target[..., 2:]
    np.testing.assert_allclose(pose, (target[..., :2] * weight).sum(0) / weight.sum(0), atol=1e-5)
    np.testing.assert_allclose(
        share, (known[..., 0] * known[..., 1]).sum(0) / known[..., 1].sum(0), atol=1e-6
    )


def test_unknown_joints_do_not_count_for_the_mean_visibility(tmp_path):
    tiny_data.lsp(tmp_path / "lsp", range(1, 9))
    people = list(lsp.read(tmp_path / "lsp", "train"))
    for i, person in enumerate(people):  # a wrist: labelled and known in every other person only
        if i % 2:
            person.keypoints_visible[9] = 0
            person.joint_known[9] = False
    settings = records.CropSettings(box_source="joints", box_px=64)
    records.write_records(people, tmp_path / "out", "lsp", "train", settings, progress=False)
    pose, share = training.mean_targets([tmp_path / "out"])
    eyes = [1, 2, 3, 4]  # LSP labels no eyes and no ears
    np.testing.assert_array_equal(share[eyes], 0.5)
    np.testing.assert_array_equal(pose[eyes], 0)
    assert share[9] == 1, "the people in whom it is not known are no evidence"
    assert (share[5:] == 1).all(), "the box was put around all labelled joints"


def test_a_collapse_is_called_out_while_it_happens(record_folder, tmp_path, capsys):
    model = models.build(base_channels=4, input_size=64)
    for name in ("head_keypoints",):
        model.get_layer(name).kernel.assign(np.zeros(model.get_layer(name).kernel.shape))
    model.compile(keras.optimizers.SGD(0.0))
    model.stop_training = False
    watch = training.ValidationLogger(
        inputs.make_batches(record_folder, 12, input_size=64), tmp_path / "log.csv", 12
    )
    watch.set_model(model)
    watch.on_epoch_end(5, {"loss": 1.0})
    assert "mean pose" in capsys.readouterr().out
    assert watch.rows[0]["val_collapse_ratio"] < 1e-6


def test_weight_decay_shrinks_kernels_and_nothing_else():
    """With zero gradients AdamW does nothing but decay: by learning rate x decay."""
    model = models.build(base_channels=4, input_size=64)
    before = [v.numpy() for v in model.trainable_variables]
    optimizer = training.adamw(model, 0.1, 0.5)
    optimizer.apply(
        [keras.ops.zeros_like(v) for v in model.trainable_variables], model.trainable_variables
    )
    kernels = [len(v.shape) >= 2 for v in model.trainable_variables]
    assert 0 < sum(kernels) < len(kernels)
    for variable, was, is_kernel in zip(model.trainable_variables, before, kernels, strict=True):
        np.testing.assert_allclose(
            variable.numpy(), was * (0.95 if is_kernel else 1), rtol=1e-5, err_msg=variable.path
        )
        assert is_kernel == (variable.name == "kernel"), variable.path


def test_a_recorded_command_names_no_folder_of_the_machine(tmp_path):
    data = tmp_path / "some data"
    out = tmp_path / "run"
    argv = [
        str(tmp_path / "posekit/__main__.py"),
        "train",
        "--records",
        str(data),
        f"--out={out}",
        "--val",
        "val/r",
    ]
    assert (
        training.command(argv)
        == "python -m posekit train --records 'some data' --out=run --val val/r"
    )
    assert training.command(["pytest", str(tmp_path)]) == "posekit.training.train"


# ---- bad input -----------------------------------------------------------------------------------


def arguments(record_folder, out, **changes):
    given = {
        "--records": record_folder,
        "--val": record_folder,
        "--backbone": "resnet18v2",
        "--epochs": 1,
        "--out": out,
    }
    return ["train", *[str(part) for pair in {**given, **changes}.items() for part in pair]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--backbone": "vgg"}, "vgg"),
        ({"--records": "nowhere"}, "nowhere"),
        ({"--epochs": 0}, "above 0"),
        ({"--width": "x"}, "--width"),
        ({"--start-from": "missing"}, "no such model"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(record_folder, tmp_path, capsys, changes, words):
    try:
        code = cli.main(arguments(record_folder, tmp_path / "run", **changes))
    except SystemExit as left:
        code = left.code
    assert code == 2 and words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_is_named_before_training(record_folder, tmp_path, capsys):
    damaged = tmp_path / "damaged"
    shutil.copytree(record_folder, damaged)
    shard = records.shard_paths(damaged)[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert cli.main(arguments(record_folder, tmp_path / "run", **{"--records": damaged})) == 2
    assert shard.name in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_an_existing_run_is_not_overwritten(run, record_folder, capsys):
    before = (run[0] / "record.json").read_bytes()
    assert cli.main(arguments(record_folder, run[0])) == 2
    assert "exists already" in capsys.readouterr().err
    assert (run[0] / "record.json").read_bytes() == before


def test_an_unwritable_place_is_named(record_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(arguments(record_folder, tmp_path / "file" / "run")) == 2
    assert "cannot write" in capsys.readouterr().err


# ---- experiments ---------------------------------------------------------------------------------


def test_an_experiment_is_recorded_and_read_back(record_folder, tmp_path, monkeypatch):
    def two(folder):
        for name in ("a", "b"):
            training.train(
                [record_folder], record_folder, tiny(epochs=2), folder / name, verbose=False
            )
        return {name: folder / name for name in ("a", "b")}

    monkeypatch.setitem(
        experiments.EXPERIMENTS, "two", experiments.Experiment("twice the same", two)
    )
    (tmp_path / "book" / "runs").mkdir(parents=True)
    (tmp_path / "_config.yml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert experiments.run("two") == tmp_path / "book" / "runs" / "two"
    back = runs.read("two")
    assert back.record["command"] == "python -m posekit experiment two" and set(
        back.record["runs"]
    ) == {"a", "b"}
    assert back.log["a"]["epoch"].tolist() == [1, 2]
    np.testing.assert_array_equal(back.log["a"]["loss"], back.log["b"]["loss"])
    with pytest.raises(DataError, match="python -m posekit experiment other"):
        runs.read("other")
    with pytest.raises(DataError, match="choose one of"):
        experiments.run("other")


def test_labels_off_by_one_pair_each_picture_with_the_next_ones_labels():
    images, targets = stage_one.off_by_one(
        np.arange(3), {"keypoints": np.arange(3), "visibility": np.arange(3)}
    )
    assert images.tolist() == [0, 1, 2]
    assert {k: np.asarray(v).tolist() for k, v in targets.items()} == {
        "keypoints": [2, 0, 1],
        "visibility": [2, 0, 1],
    }


# ---- losses, averages, curves --------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["smooth_l1", "laplace", "rle"])
def test_each_loss_trains_and_leaves_a_plain_network(record_folder, tmp_path, loss):
    recipe = tiny(
        loss=loss,
        ema_momentum=0.9,
        clip_norm=1.0,
        optimizer="sgd" if loss == "smooth_l1" else "adamw",
    )
    training.train([record_folder], record_folder, recipe, tmp_path / "run", verbose=False)
    loaded = predictor.load(tmp_path / "run")
    with_sigma = loss in losses.LOSSES_WITH_SIGMA
    assert set(loaded.model.output) == {"keypoints", "visibility"} | (
        {"sigma"} if with_sigma else set()
    )
    assert (
        loaded.record["recipe"]["loss"] == loss
        and loaded.record["parameters"] == loaded.model.count_params()
    )
    log = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    for row in log:
        total = float(row["keypoints_loss"]) + recipe.visibility_weight * float(
            row["visibility_loss"]
        )
        assert float(row["loss"]) == pytest.approx(total, rel=1e-4)
    assert float(log[-1]["keypoints_loss"]) < float(log[0]["keypoints_loss"])


def test_the_trainee_is_compile_with_two_losses():
    """The loss beside the network is the loss that chapter 06 gives to `compile`: same steps, same
    weights."""
    rng = np.random.default_rng(0)
    weights = []
    images = rng.uniform(0, 255, (4, 64, 64, 3)).astype(np.float32)
    places = rng.uniform(-0.5, 0.5, (4, 17, 3)).astype(np.float32)
    seen = np.ones((4, 17, 2), np.float32)
    for beside in (True, False):
        keras.utils.set_random_seed(0)
        network = models.build(base_channels=4, input_size=64)
        model = training.PoseTrainer(network, "l1", 0.1) if beside else network
        both = {"keypoints": losses.masked_l1, "visibility": losses.masked_bce}
        weighed = {"loss": both, "loss_weights": {"keypoints": 1.0, "visibility": 0.1}}
        model.compile(keras.optimizers.SGD(0.01), **({} if beside else weighed))
        for _ in range(2):
            model.train_on_batch(images, {"keypoints": places, "visibility": seen})
        weights.append(network.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_average_is_the_formula_and_lends_itself_out():
    network = keras.Sequential(
        [keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    )
    average = training.WeightEMA(network, 0.8, every=2)
    rng = np.random.default_rng(0)
    wanted = network.get_weights()
    average.set_model(network)
    for step in range(1, 61):
        own = [rng.normal(size=w.shape).astype(np.float32) for w in wanted]
        network.set_weights(own)
        average.on_train_batch_end(step)
        if step % 2 == 0:
            stays = min(0.8, (1 + step) / (10 + step)) ** 2
            wanted = [stays * a + (1 - stays) * b for a, b in zip(wanted, own, strict=True)]
    with average.in_place():
        for a, b in zip(network.get_weights(), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for a, b in zip(network.get_weights(), own, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", training.network.OPTIMIZERS)
def test_clipping_shortens_the_gradient_of_all_variables_together(name):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    moves = []
    for size in (1.0, 100.0):
        optimizer = training.make_optimizer(model, name, 0.1, 0.0, clip_norm=0.5)
        before = model.get_weights()
        optimizer.apply(
            [size * keras.ops.ones_like(v) for v in model.trainable_variables],
            model.trainable_variables,
        )
        moves.append([a - b for a, b in zip(model.get_weights(), before, strict=True)])
        model.set_weights(before)
    for a, b in zip(*moves, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)
    if name == "sgd":  # Nesterov's first step: (1 + momentum) x rate x gradient
        assert np.sqrt(sum((m**2).sum() for m in moves[0])) == pytest.approx(
            1.9 * 0.1 * 0.5, rel=1e-4
        )


def test_curves_for_tensorboard_are_read_by_tensorflow(record_folder, tmp_path):

    training.train(
        [record_folder],
        record_folder,
        tiny(),
        tmp_path / "run",
        verbose=False,
        tensorboard=tmp_path / "curves",
    )
    (path,) = (tmp_path / "curves").iterdir()
    opened, *events = tf.compat.v1.train.summary_iterator(str(path))
    assert opened.file_version == "brain.Event:2" and [event.step for event in events] == [1, 2, 3]
    log = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    for event, row in zip(events, log, strict=True):
        values = {value.tag: value.simple_value for value in event.summary.value}
        assert values["loss"] == pytest.approx(float(row["loss"]), rel=1e-5)
        assert (
            values["val_pck@0.2"] == pytest.approx(float(row["val_pck@0.2"]), rel=1e-5)
            and "val_gain" in values
        )


def test_the_line_of_an_epoch_says_how_far_and_how_much_better_than_the_mean_pose(
    record_folder, tmp_path, capsys
):
    training.train([record_folder], record_folder, tiny(), tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch   1  33%") and lines[2].startswith("epoch   3 100%")
    assert all("gain" in line and "collapse_ratio" in line for line in lines[:3])


@pytest.mark.parametrize("wrong", [{"loss": "l3"}, {"optimizer": "lion"}, {"ema_momentum": 1.0}])
def test_a_recipe_refuses_what_it_does_not_know(wrong):
    with pytest.raises(DataError, match=next(iter(wrong))):
        tiny(**wrong)


def test_the_command_line_reaches_the_recipe(record_folder, tmp_path):
    given = {
        "--loss": "gaussian",
        "--optimizer": "sgd",
        "--clip": 1,
        "--average": 0.9,
        "--half-body": 0.3,
        "--erase": 0.2,
    }
    given |= {
        "--width": 4,
        "--input-size": 64,
        "--learning-rate": 0.01,
        "--tensorboard": tmp_path / "curves",
    }
    assert cli.main([*arguments(record_folder, tmp_path / "run", **given), "--resume"]) == 0
    recipe = predictor.load(tmp_path / "run").record["recipe"]
    assert (
        recipe["loss"] == "gaussian"
        and recipe["optimizer"] == "sgd"
        and recipe["ema_momentum"] == 0.9
    )
    assert (
        recipe["clip_norm"] == 1
        and recipe["augment"]["half_body"] == 0.3
        and recipe["augment"]["erase"] == 0.2
    )


def test_curves_do_not_go_into_the_run(record_folder, tmp_path):
    with pytest.raises(DataError, match="choose another folder"):
        training.train(
            [record_folder],
            record_folder,
            tiny(),
            tmp_path / "run",
            tensorboard=tmp_path / "run" / "curves",
        )
    assert not list(tmp_path.glob("*run*"))


def test_a_run_that_cannot_be_moved_into_place_is_not_lost(record_folder, tmp_path, monkeypatch):
    """Somebody makes the folder while the training runs: the trained run stays beside it, and the
    message says where."""
    whole = evaluation.evaluate

    def meanwhile(*args, **options):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / "mine.txt").touch()
        return whole(*args, **options)

    monkeypatch.setattr(evaluation, "evaluate", meanwhile)
    with pytest.raises(DataError, match="the run is complete: rename"):
        training.train([record_folder], record_folder, tiny(), tmp_path / "run", verbose=False)
    assert (tmp_path / ".run.partial" / "model.keras").is_file() and (
        tmp_path / ".run.partial" / "record.json"
    ).is_file()


@pytest.mark.parametrize(
    "numbers", [{"epochs": 0}, {"epochs": -1}, {"minutes": 0}, {"epochs": 1, "batch_size": 0}]
)
def test_nothing_is_not_a_number_of_anything(numbers):
    with pytest.raises(DataError, match="expected more than 0"):
        training.Recipe(**numbers)


def test_packing_that_is_interrupted_leaves_the_model(record_folder, tmp_path, monkeypatch):
    training.train([record_folder], record_folder, tiny(), tmp_path / "run", verbose=False)
    before = (tmp_path / "run" / "model.keras").read_bytes()

    def broken(*args, **options):
        raise OSError("the disk is full")

    monkeypatch.setattr(training.record.zipfile.ZipFile, "writestr", broken)
    with pytest.raises(OSError, match="full"):
        training.pack(tmp_path / "run")
    assert (tmp_path / "run" / "model.keras").read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "log.csv",
        "model.keras",
        "record.json",
    ]


def test_the_error_of_an_image_comes_out_of_tensorflow_as_it_was():
    from posekit.training import run

    wrapped = (
        "{{function_node __wrapped__IteratorGetNext}} DataError: r/x.tfrecord, record 2: "
        "the JPEG is truncated (build the records again)\nTraceback (most recent call last):"
    )
    with pytest.raises(DataError) as error, run._data_errors():
        raise RuntimeError(wrapped)
    assert str(error.value) == (
        "r/x.tfrecord, record 2: the JPEG is truncated (build the records again)"
    )
    with pytest.raises(RuntimeError, match="another"), run._data_errors():
        raise RuntimeError("another error")
