"""Training in phases: a plateau of the rate, a file that ends a run, short epochs, frozen stages,
resumed runs; and the long run."""

import dataclasses
import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tiny_data
from experiments import long_run, released_data

from posekit import datasets, models, records, training
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.training import WarmupCosine, weights_file


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phases")
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
        "backbone": "efficientnet_lite0",
        "head": "pyramid_votes",
        "input_size": 64,
        "input_downsample": 1,
        "loss": "laplace",
        "num_joints": 19,
        "ema_momentum": 0.9,
        "epochs": 3,
        "batch_size": 4,
        "epoch_people": 8,
        "frozen_stages": 5,
        "dtype": "float32",
        "seed": 5,
    }
    return training.Recipe(**{**given, **changes})


# ---- the rate ------------------------------------------------------------------------------------


def test_the_rate_rises_stays_and_falls():
    schedule = WarmupCosine(2.0, warmup=0.1, steps=100, decay=0.4)
    assert [schedule.rate(p) for p in (0.05, 0.1, 0.6)] == pytest.approx([1, 2, 2])
    assert [schedule.rate(p) for p in (0.8, 1.0)] == pytest.approx([1, 0])


def test_without_decay_it_stays_and_with_all_of_it_it_is_the_cosine():
    assert WarmupCosine(2.0, warmup=0.1, steps=100, decay=0.0).rate(1.0) == 2
    one, two = (WarmupCosine(2.0, warmup=0.1, steps=100, decay=decay) for decay in (1.0, 0.9))
    shares = np.linspace(0, 1, 21)
    assert [one.rate(p) for p in shares] == [two.rate(p) for p in shares]
    assert one.rate(0.55) == pytest.approx(1)


def test_the_default_is_the_cosine_right_after_the_warm_up_bit_for_bit():
    schedule = WarmupCosine(3e-3, warmup=0.05, steps=100)
    for share in np.linspace(0.05, 1, 77):
        angle = math.pi * (share - 0.05) / (1 - 0.05)
        assert schedule.rate(share) == 3e-3 * 0.5 * (1 + math.cos(angle))


@pytest.mark.parametrize("changes", [{"decay": 1.5}, {"frozen_stages": -1}, {"epoch_people": -1}])
def test_numbers_out_of_range_are_refused(changes):
    with pytest.raises(DataError):
        tiny(**changes)


# ---- a run ---------------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stop_after(epochs: int, people, recipe, out) -> None:
    """Train, and raise right after the checkpoint of that many epochs, as if killed."""
    with pytest.MonkeyPatch.context() as patch:
        save = training.Checkpoint.save

        def saved(self, done):
            save(self, done)
            if done == epochs:
                raise Stopped

        patch.setattr(training.Checkpoint, "save", saved)
        with pytest.raises(Stopped):
            training.train([people], people, recipe, out, verbose=False, checkpoint_seconds=0)


def test_a_stopped_phase_is_resumed_bit_for_bit(people, tmp_path):
    training.train([people], people, tiny(), tmp_path / "whole", verbose=False)
    stop_after(1, people, tiny(), tmp_path / "stopped")
    record = training.train([people], people, tiny(), tmp_path / "stopped", verbose=False)
    assert record["images"] == 3 * 8
    runs = (tmp_path / "whole", tmp_path / "stopped")
    whole, stopped = (weights_file.read(run / predictor.WEIGHTS_FILE)[0] for run in runs)
    for name, weight in whole.items():
        np.testing.assert_array_equal(weight, stopped[name])


@pytest.mark.slow
def test_a_file_ends_the_run_after_its_epoch_and_the_next_phase_starts_from_it(people, tmp_path):
    first = tmp_path / "first"
    stop_after(1, people, tiny(epochs=50), first)
    (tmp_path / ".first.partial" / training.FINISH_FILE).touch()
    record = training.train([people], people, tiny(epochs=50), first, verbose=False)
    assert record["images"] == 2 * 8
    assert sorted(path.name for path in first.iterdir()) == [
        "log.csv",
        "model.keras",
        "record.json",
        predictor.WEIGHTS_FILE,
    ]

    network = training.build_network(tiny(), 19)
    weights_file.load(first / predictor.WEIGHTS_FILE, network)
    final = predictor.load(first).model
    for part, whole in zip(final.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(whole[..., : part.shape[-1]], part, rtol=2**-11, atol=6e-8)

    begun = []

    def keep(logger, logs=None):
        begun.extend(logger.model.get_weights())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.ValidationLogger, "on_train_begin", keep)
        training.train(
            [people],
            people,
            tiny(epochs=1),
            tmp_path / "next",
            start_from=first / predictor.WEIGHTS_FILE,
            verbose=False,
        )
    np.testing.assert_array_equal(begun[0], network.get_weights()[0])


def test_imagenet_weights_start_only_their_own_backbone(people, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "lite0_state", dict)
    recipe = training.Recipe(base_channels=4, input_size=64, epochs=1)
    with pytest.raises(DataError, match="is not built on EfficientNet-Lite0"):
        training.train(
            [people], people, recipe, tmp_path / "run", start_from="imagenet", verbose=False
        )
    assert not list(tmp_path.iterdir())


# ---- the long run --------------------------------------------------------------------------------


def test_phases_are_recipes_and_only_the_last_one_decays():
    recipes = [long_run.make_recipe(phase) for phase in long_run.PHASES]
    assert [recipe.decay > 0 for recipe in recipes] == [False] * (len(recipes) - 1) + [True]
    assert all(recipe.input_size <= released_data.BOX_PX for recipe in recipes)
    frozen = [recipe.frozen_stages for recipe in recipes[:-1]]
    assert frozen == sorted(frozen, reverse=True)


@pytest.mark.realdata
def test_no_photo_of_the_validation_is_trained_on(realdata):
    def photos(dataset: str, folder: str, split: str) -> set[str]:
        people = datasets.read(dataset, realdata / folder, split)
        return {person.source_id.split(".")[0] for person in people}

    parts = {
        (part.dataset, part.folder) for part in released_data.PEOPLE + released_data.BACKGROUND
    }
    trained = {folder: set() for _, folder in parts}
    for dataset, folder in parts:
        trained[folder] |= photos(dataset, folder, "train")
    for dataset, folder, _ in released_data.VALIDATION.values():
        assert not trained.get(folder, set()) & photos(dataset, folder, "val")
    for folder in ("coco_gray", "coco_extra"):
        assert not trained[folder] & photos("coco", "coco", "val")
    assert trained["lsp"] <= {f"im{number:04d}" for number in range(1, 901)}
    excluded = (realdata / "lsp" / "exclude.txt").read_text().split()
    assert not trained["lsp"] & {Path(line).stem for line in excluded}


def person(photo: str, number: int, width: float, height: float) -> datasets.PersonAnnotation:
    return datasets.PersonAnnotation(
        image=Path(f"{photo}.jpg"),
        source_id=photo,
        person_id=f"{photo}/{number}",
        keypoints=np.zeros((17, 2)),
        keypoints_visible=np.full(17, 2),
        joint_known=np.ones(17, bool),
        bbox=np.array([0, 0, width, height]),
        area=0.0,
        dataset="coco",
    )


def test_a_dominant_person_is_much_larger_than_all_others():
    people = [
        person("alone", 1, 10, 10),
        person("two", 1, 10, 10),
        person("crowd", 1, 10, 10),
        person("two", 2, 40, 20),
        person("crowd", 2, 20, 19),
    ]
    kept = [p.person_id for p in released_data.dominant_people(people)]
    assert kept == ["alone/1", "two/2"]


def test_the_newest_weights_are_read_from_a_checkpoint_and_exported(people, tmp_path, monkeypatch):
    recipe = tiny()
    monkeypatch.setattr(long_run, "make_recipe", lambda phase: recipe)
    monkeypatch.setattr(long_run, "_mix_shares", lambda folder, phase: {"people": 1.0})
    stop_after(2, people, recipe, tmp_path / "head")
    phase, file = long_run.newest_weights(tmp_path)
    assert (phase, file.name) == ("head", "checkpoint.npz")
    network = long_run.load_averaged(phase, file)
    with np.load(file) as arrays:
        np.testing.assert_array_equal(network.get_weights()[5], arrays["ema5"])
    assert long_run.images_seen(tmp_path) == {"head": 2 * 8}
    assert long_run.export(tmp_path) <= 8e6
    facts = json.loads((tmp_path / "weights_f16.json").read_text())
    assert facts["images"] == {"head": 16}
    other = keras.models.clone_model(network)
    assert weights_file.load(tmp_path / "weights_f16.npz", other)["phase"] == "head"
    pose = long_run.make_predictor(phase, network).predict(np.zeros((64, 64, 3), np.uint8))
    assert pose.keypoints.shape == (17, 2)


def test_without_a_checkpoint_it_says_so(tmp_path):
    with pytest.raises(DataError, match="no checkpoint yet"):
        long_run.newest_weights(tmp_path)


def test_open_licences_are_read_from_the_table_of_sources(tmp_path):
    (tmp_path / "sources.csv").write_text(
        "part,file,licence\ntrain,train/one.jpg,MIT\ntrain,two.jpg,none stated\n"
    )
    people = [person("one", 1, 9, 9), person("two", 1, 9, 9), person("three", 1, 9, 9)]
    people = [dataclasses.replace(p, source_id=f"{p.source_id}.jpg") for p in people]
    kept = released_data.OpenLicence(tmp_path)(people)
    assert [p.person_id for p in kept] == ["one/1"]
    with pytest.raises(DataError, match="lists no licences"):
        released_data.OpenLicence(tmp_path / "none")


def test_the_weights_of_a_run_are_trained_further_by_name_and_with_fewer_joints(people, tmp_path):
    """`--start-from` takes weights.npz of 19 joints; a network of 17 gets the first of them."""
    run = tmp_path / "run"
    training.train([people], people, tiny(epochs=1), run, verbose=False)
    assert training.architecture(run)["head"] == "pyramid_votes"
    learned = weights_file.read(run / predictor.WEIGHTS_FILE)[0]
    for joints in (17, 19):
        network = training.load_network(run, joints)
        bias = network.get_layer("head_votes").bias.numpy()
        np.testing.assert_array_equal(bias, learned["head_votes/bias"][: 3 * joints])
    network = training.load_network(run)
    crops = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
    ours = network.predict_on_batch(crops)["keypoints"]
    saved = predictor.load(run).predict_crops(crops)["keypoints"]
    np.testing.assert_allclose(ours, saved, atol=2e-3)  # kernels as float16
    with pytest.raises(DataError, match="do not fit"):
        training.load_weights(models.build("resnet10v2", base_channels=4, input_size=64), run)
