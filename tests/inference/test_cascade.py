"""Stages two and three of the cascade: sub-images, simulated errors, refiners that learn."""

from unittest import mock

import keras
import numpy as np
import pytest
import tiny_data

from posekit import geometry, records
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.inference import cascade
from posekit.skeleton import COCO17
from posekit.training.refiner import train_refiner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cascade")
    annotations, _ = tiny_data.coco(root / "coco", photos=8, people=2, seed=3)
    samples = coco.read(annotations, root / "coco" / "train2017")
    records.write_records(
        samples,
        root / "records",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=96),
        shards=2,
        progress=False,
    )
    return root / "records"


def a_pose(seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(20, 80, (17, 2))


def test_diameter_follows_the_person():
    pose = a_pose()
    assert cascade.torso_diameter(pose * 3 + 7) == pytest.approx(3 * cascade.torso_diameter(pose))
    assert cascade.torso_diameter(
        geometry.flip_keypoints(pose, 100, COCO17.flip_indices)
    ) == pytest.approx(cascade.torso_diameter(pose))


def test_errors_are_drawn_as_they_were_measured():
    rng = np.random.default_rng(0)
    true = rng.uniform(0, 100, (4000, 17, 2))
    true[:] = true[0]  # one person, so that the diameter stays
    size = cascade.torso_diameter(true[0])
    root = np.array([[0.1, 0.0], [0.04, 0.05]])
    shift = np.linspace(-0.05, 0.05, 17)[:, None] * [1, -1]
    relative = shift + rng.normal(size=(4000, 17, 2)) @ root.T
    # in diameters of the prediction, whose corners move with the errors: keep them still
    corners = [
        COCO17.index(n) for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    ]
    relative[:, corners] = 0
    labelled = np.ones((4000, 17), bool)
    labelled[:, COCO17.index("left_ear")] = False
    found = cascade.Displacements.fit(true - relative * size, true, labelled)
    free = [k for k in range(17) if k not in corners and COCO17.joints[k] != "left_ear"]
    np.testing.assert_allclose(found.mean[free], shift[free], atol=0.006)
    np.testing.assert_allclose(
        found.covariance[free], np.broadcast_to(root @ root.T, (len(free), 2, 2)), atol=1e-3
    )
    drawn = np.stack([found.draw(rng) for _ in range(4000)])
    np.testing.assert_allclose(drawn[:, free].mean(axis=0), found.mean[free], atol=0.006)
    np.testing.assert_allclose(np.cov(drawn[:, free[0]].T), found.covariance[free[0]], atol=1e-3)


def test_too_few_joints_are_no_distribution():
    with pytest.raises(ValueError, match="fewer than three"):
        cascade.Displacements.fit(
            np.zeros((1, 17, 2)), np.zeros((1, 17, 2)), np.zeros((1, 17), bool)
        )


def test_a_right_joint_is_looked_at_in_the_mirror():
    image = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
    pose = a_pose(3)
    crops, maps = cascade.crop_sub_images(image, pose, 32)
    mirrored, _ = cascade.crop_sub_images(
        np.ascontiguousarray(image[:, ::-1]),
        geometry.flip_keypoints(pose, 100, COCO17.flip_indices),
        32,
    )
    left = COCO17.index("left_wrist")
    right = COCO17.index("right_wrist")
    np.testing.assert_allclose(crops[right].astype(int), mirrored[left].astype(int), atol=2)
    centre = geometry.apply_affine(maps, pose[:, None])[:, 0]
    np.testing.assert_allclose(centre, 15.5, atol=1e-9)


def test_simulated_people_are_consistent(folder):
    person = next(iter(records.read_records(folder)))
    errors = cascade.Displacements(
        np.zeros((17, 2)), np.broadcast_to(np.eye(2) * 1e-12, (17, 2, 2))
    )
    crops, target = cascade.simulate_person(person, errors, 32, np.random.default_rng(0))
    labelled = target[:, 2] > 0
    assert crops.shape == (17, 32, 32, 3) and labelled.any()
    np.testing.assert_allclose(
        target[labelled, :2], 0, atol=1e-3
    )  # no error drawn: the joint is in the middle
    wide = cascade.Displacements(
        np.full((17, 2), 0.25), np.broadcast_to(np.eye(2) * 1e-12, (17, 2, 2))
    )
    for seed in range(6):
        _, moved = cascade.simulate_person(person, wide, 32, np.random.default_rng(seed))
        here = moved[:, 2] > 0
        # the truth lies a quarter of a diameter from what was seen, and the sub-image is one
        # diameter wide
        np.testing.assert_allclose(np.abs(moved[here, :2]), 0.25 / cascade.SIGMA, atol=1e-3)


def test_a_mirrored_person_gives_each_joint_the_sub_image_of_its_twin(folder):
    person = next(iter(records.read_records(folder)))
    errors = cascade.Displacements(np.zeros((17, 2)), np.broadcast_to(np.eye(2) * 0.01, (17, 2, 2)))

    def simulated(mirror):
        rng = mock.Mock(normal=np.random.default_rng(3).normal, random=lambda: 1.0 - mirror)
        return cascade.simulate_person(person, errors, 32, rng)

    crops, target = simulated(mirror=True)
    plain_crops, plain = simulated(mirror=False)
    assert plain[1:, 2].sum() >= 8 and plain[0, 2] == 1
    # right joints are mirrored as it is: in the mirror a left wrist is a right one, mirrored twice
    twins = list(COCO17.flip_indices)[1:]
    np.testing.assert_allclose(target[1:], plain[twins], atol=1e-6)
    np.testing.assert_array_equal(crops[1:], plain_crops[twins])
    # the nose has no twin: its sub-image is mirrored
    np.testing.assert_allclose(target[0], plain[0] * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(
        crops[0].astype(int), plain_crops[0, :, ::-1].astype(int), atol=4, rtol=0
    )


def test_the_side_of_a_sub_image_is_drawn_as_it_was_measured(folder):
    rng = np.random.default_rng(0)
    true = np.stack([a_pose(1)] * 500)
    factor = np.exp(rng.normal(0.1, 0.2, 500))
    found = cascade.Displacements.fit(true * factor[:, None, None], true, np.ones((500, 17), bool))
    assert found.log_scale == (
        pytest.approx(np.log(factor).mean()),
        pytest.approx(np.log(factor).std()),
    )
    person = next(iter(records.read_records(folder)))
    still = {"mean": np.full((17, 2), 0.2), "covariance": np.zeros((17, 2, 2))}
    for log_factor in (-0.3, 0.3):  # displacement and side grow alike: the target stays
        errors = cascade.Displacements(**still, log_scale=(log_factor, 0.0))
        _, target = cascade.simulate_person(person, errors, 32, np.random.default_rng(0))
        here = target[:, 2] > 0
        assert here.any()
        np.testing.assert_allclose(np.abs(target[here, :2]), 0.2 / cascade.SIGMA, atol=1e-3)


def test_batches_repeat_for_their_seed(folder):
    errors = cascade.Displacements(np.zeros((17, 2)), np.broadcast_to(np.eye(2) * 0.01, (17, 2, 2)))
    once, again, other = (
        cascade.make_batches([folder], errors, 16, 3, seed=seed) for seed in (1, 1, 2)
    )
    for _ in range(7):
        a = next(once)
        b = next(again)
        c = next(other)
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
        assert not np.array_equal(a[0], c[0])


def wake(model: keras.Model) -> None:
    """Another last convolution than the one at 0 that a training starts from."""
    nets = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    for i, net in enumerate(nets):
        last = net.get_layer("head_votes")
        rng = np.random.default_rng(i)
        last.set_weights([rng.normal(0, 0.1, w.shape) for w in last.get_weights()])


@pytest.mark.parametrize("way", [cascade.SHARED, cascade.SEPARATE])
def test_an_untrained_refiner_moves_no_joint(way):
    model = cascade.refiner(way, 32, base_channels=2)
    rng = np.random.default_rng(4)
    np.testing.assert_allclose(
        model(rng.uniform(0, 255, (1, 17, 32, 32, 3)).astype(np.float32)), 0, atol=1e-6
    )
    image = rng.integers(0, 256, (90, 90, 3), np.uint8)
    pose = a_pose(5)
    stage = cascade.Cascade(None, (model,))
    np.testing.assert_allclose(stage.refine(2, [image], pose[None])[0], pose, atol=1e-4)


def test_a_kept_refiner_answers_as_before(tmp_path, monkeypatch):
    built = {"size": 32, "base_channels": 2, "units": (1, 1, 1)}
    model = cascade.refiner(cascade.SHARED, **built)
    wake(model)
    folder = tmp_path / "weights" / "cascade"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cascade.resources, "files", lambda package: tmp_path)
    with pytest.raises(DataError, match="holds no refiners"):
        cascade.load()
    cascade.save(model, np.full(17, 0.5), folder / "stage2.npz", **built)
    monkeypatch.setattr(cascade.predictor, "load", lambda name: None)
    whole = cascade.load()
    again = whole.refiners[0]
    np.testing.assert_array_equal(whole.step_sizes[0], 0.5)
    x = np.random.default_rng(0).uniform(0, 255, (1, 17, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(again(x), model(x), atol=2e-3)


@pytest.mark.parametrize("way", [cascade.SHARED, cascade.SEPARATE])
def test_each_joint_gets_its_own_answer(way):
    keras.utils.set_random_seed(0)
    model = cascade.refiner(way, 32, base_channels=2)
    wake(model)
    x = np.random.default_rng(0).uniform(0, 255, (2, 17, 32, 32, 3)).astype(np.float32)
    out = np.asarray(model(x))
    assert out.shape == (2, 17, 2)
    changed = x.copy()
    changed[:, 5] = 0
    other = np.asarray(model(changed))
    rest = [k for k in range(17) if k != 5]
    np.testing.assert_array_equal(other[:, rest], out[:, rest])
    assert not np.allclose(other[:, 5], out[:, 5])


def test_the_shared_refiner_has_a_seventeenth_of_the_trunk_and_the_same_work():
    shared = cascade.refiner(cascade.SHARED, 32, base_channels=4)
    separate = cascade.refiner(cascade.SEPARATE, 32, base_channels=4)
    assert separate.count_params() > 14 * shared.count_params()
    assert cascade.multiply_adds(shared) == pytest.approx(cascade.multiply_adds(separate), rel=0.02)


def test_the_fitted_step_size_grows_with_the_refiners_accuracy():
    rng = np.random.default_rng(0)
    true = np.stack([a_pose(k) for k in range(400)])
    size = cascade.torso_diameter(true)[:, None, None]
    for first, second, share in ((0.2, 0.02, 1.0), (0.02, 0.2, 0.0), (0.1, 0.1, 0.5)):
        before, after = (true + size * rng.normal(0, off, true.shape) for off in (first, second))
        found = cascade.fit_step_size(before, after, true, np.ones(true.shape[:2], bool))
        np.testing.assert_allclose(found, share, atol=0.11)
        np.testing.assert_array_equal(found[5], found[6])
        labelled = np.ones(true.shape[:2], bool)
        labelled[0, 5:] = False  # of somebody without a torso nobody can say how far off they are
        blind = np.where(labelled[..., None], true, 0)
        np.testing.assert_allclose(
            cascade.fit_step_size(before, after, blind, labelled), found, atol=0.051
        )
    stage = cascade.Cascade(
        None, (cascade.refiner(cascade.SHARED, 32, base_channels=2),), (np.zeros(17),)
    )
    wake(stage.refiners[0])
    image = rng.integers(0, 256, (90, 90, 3), np.uint8)
    np.testing.assert_array_equal(stage.refine(2, [image], true[:1]), true[:1])


def test_a_refiner_learns_to_put_a_displacement_right(folder):
    keras.utils.set_random_seed(0)
    errors = cascade.Displacements(np.zeros((17, 2)), np.broadcast_to(np.eye(2) * 0.03, (17, 2, 2)))
    model = cascade.refiner(cascade.SHARED, 32, base_channels=8)
    losses = train_refiner(model, cascade.make_batches([folder], errors, 32, 8), 240)
    assert losses[-1] < 0.75 * losses[0]
    people = list(records.read_records(folder))
    rng = np.random.default_rng(9)
    before = []
    after = []
    stage = cascade.Cascade(None, (model,))
    for person in people:
        labelled = person.labelled & geometry.inside(person.keypoints, (person.width,) * 2)
        whole = cascade.torso_diameter(person.keypoints.astype(np.float64))
        seen = person.keypoints + rng.normal(0, 0.17, (17, 2)) * whole
        refined = stage.refine(2, [decode_image(person.encoded, "test")], seen[None])[0]
        for found, kept in ((seen, before), (refined, after)):
            kept.append(np.linalg.norm(found - person.keypoints, axis=-1)[labelled] / whole)
    assert np.concatenate(after).mean() < 0.8 * np.concatenate(before).mean()
