"""Batches: the centre crop to the pixel, pictures and joints that move together, masks, and what a seed fixes."""

import dataclasses

import numpy as np
import pytest
import tiny_data
from hypothesis import given, settings
from hypothesis import strategies as st

from posekit import geometry, pipeline, records
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.pipeline import Augmentation, crop_person
from posekit.skeleton import COCO17
from posekit.sources import coco

K = len(COCO17)
TWIN = list(COCO17.flip_indices)
STILL = Augmentation.only()
STRONG = Augmentation(flip=0.5, rotation=45, scale=0.35, shift=0.15, colour=0)
COLOURS = np.array([(r, g, b) for r in (0, 127, 255) for g in (0, 127, 255) for b in (0, 127, 255)][-K:], float)
"""One colour a joint, so that a picture tells which joint was drawn where."""


def dotted(points: np.ndarray, size: int = 336) -> np.ndarray:
    """A black picture with a soft dot at each joint, in the joint's own colour."""
    y, x = np.mgrid[:size, :size]
    image = np.zeros((size, size, 3))
    for (px, py), colour in zip(points, COLOURS, strict=True):
        image += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 3.0**2))[..., None] * colour
    return np.round(np.clip(image, 0, 255)).astype(np.uint8)


def joints(seed: int, low: float = 20, high: float = 316) -> np.ndarray:
    return tiny_data.spread(np.random.default_rng(seed), K, (low, low), (high, high))


def cut(image, points, visible=None, known=None, **options):
    visible = np.full(K, 2) if visible is None else visible
    known = np.ones(K, bool) if known is None else known
    return crop_person(image, points, visible, known, box_px=options.pop("box_px", 224), **options)


def noise(seed: int = 0, size: int = 336) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


# ---- one person -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("box_px", "stored"), [(224, 336), (224, 224), (96, 144), (64, 112)])
def test_the_centre_crop_is_a_slice(box_px, stored):
    image, edge = noise(1, stored), (stored - box_px) // 2
    points = joints(1) * stored / 336
    crop, keypoints, visibility = cut(image, points, box_px=box_px, input_size=box_px)
    assert np.array_equal(crop, image[edge : edge + box_px, edge : edge + box_px])
    inside = np.all((points >= edge - 0.5) & (points < edge + box_px - 0.5), axis=1)
    assert np.array_equal(keypoints[:, 2], inside) and np.array_equal(visibility[:, 0], inside)
    decoded = geometry.decode_keypoints(keypoints[:, :2], (box_px, box_px)) + edge
    assert np.abs(decoded - points)[inside].max() <= 1e-4 and inside.any()


def test_augmentation_by_nothing_is_the_centre_crop():
    image, points = noise(2), joints(2)
    plain, still = cut(image, points), cut(image, points, augment=STILL, rng=np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(plain, still, strict=True))


def test_a_flip_mirrors_the_picture_and_swaps_the_names():
    image, points = noise(3), joints(3, 60, 276)
    visible, known = np.arange(K) % 3, np.arange(K) % 2 == 0
    always = Augmentation.only(flip=1)
    plain, plain_keypoints, plain_visibility = cut(image, points, visible, known)
    crop, keypoints, visibility = cut(image, points, visible, known, augment=always, rng=np.random.default_rng(0))
    assert np.array_equal(crop, plain[:, ::-1])
    np.testing.assert_allclose(keypoints, plain_keypoints[TWIN] * (-1, 1, 1), atol=1e-6)
    assert np.array_equal(visibility, plain_visibility[TWIN])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), input_size=st.sampled_from([224, 192, 128]))
def test_each_dot_stays_under_its_joint(seed, input_size):
    """Flip, rotation, scale and shift: the target of the left wrist lies on the dot that shows a left wrist now."""
    points = joints(seed)
    flipped = seed % 2 == 1
    augment = dataclasses.replace(STRONG, flip=float(flipped))
    crop, keypoints, _ = cut(
        dotted(points), points, input_size=input_size, augment=augment, rng=np.random.default_rng(seed)
    )
    y, x = np.mgrid[:input_size, :input_size]
    unit, looked = input_size / 224, 0
    for joint in np.flatnonzero(keypoints[:, 2]):
        px, py = geometry.decode_keypoints(keypoints[joint, :2], (input_size, input_size))
        if min(px, py, input_size - px, input_size - py) < 12 * unit:
            continue  # a part of the dot is cut off
        near = np.where(np.hypot(x - px, y - py) < 10 * unit, crop.sum(axis=2, dtype=float), 0)
        assert near.sum() > 0
        centre = np.array([(x * near).sum(), (y * near).sum()]) / near.sum()
        assert np.abs(centre - (px, py)).max() < 0.15
        shown = crop[round(py), round(px)].astype(float)
        drawn = COLOURS[TWIN[joint] if flipped else joint]
        assert np.abs(shown / shown.max() - drawn / drawn.max()).max() < 0.06
        looked += 1
    assert looked >= 1


def test_masks_say_what_is_inside_outside_and_unknown():
    points = np.full((K, 2), 168.0)
    visible, known = np.full(K, 2), np.ones(K, bool)
    cases = {  # joint: stored pixel, flag, known -> keypoint weight, visibility target and weight
        "nose": ((168, 168), 2, True, 1, 1, 1),
        "left_eye": ((168, 168), 1, True, 1, 1, 1),  # occluded, and yet it is there
        "right_eye": ((55.6, 168), 2, True, 1, 1, 1),  # in the outer half of the crop's first pixel
        "left_ear": ((55.4, 168), 2, True, 0, 0, 1),  # just outside the crop
        "right_ear": ((300, 20), 1, True, 0, 0, 1),
        "left_wrist": ((168, 168), 0, True, 0, 0, 1),  # known to be outside the photo; its numbers mean nothing
        "right_wrist": ((0, 0), 0, False, 0, 0, 0),
        "left_knee": ((168, 168), 0, False, 0, 0, 0),
        "right_knee": ((168, -400), 2, True, 0, 0, 1),
    }
    for joint, (at, flag, is_known, *_) in cases.items():
        k = COCO17.index(joint)
        points[k], visible[k], known[k] = at, flag, is_known
    _, keypoints, visibility = cut(noise(4), points, visible, known)
    for joint, (*_, weight, target, target_weight) in cases.items():
        k = COCO17.index(joint)
        assert (keypoints[k, 2], *visibility[k]) == (weight, target, target_weight), joint
        assert weight or np.all(keypoints[k] == 0), joint
    assert keypoints.dtype == visibility.dtype == np.float32


def test_a_joint_beyond_the_stored_picture_is_not_in_the_crop():
    """Zooming out of a stored picture without context shows black there: nothing to learn a place from."""
    points = np.full((K, 2), 100.0)
    points[0] = (-3, 100)
    points[1] = (-0.4, 100)
    smaller = Augmentation.only(scale=0.5)
    seeds = [s for s in range(50) if smaller.draw(np.random.default_rng(s)).zoom < 0.9]
    image = np.full((224, 224, 3), 200, np.uint8)
    for seed in seeds[:5]:
        crop, keypoints, visibility = cut(image, points, augment=smaller, rng=np.random.default_rng(seed))
        assert np.all(crop[:, 0] == 0) and np.all(crop[112, 112] == 200)
        assert keypoints[0, 2] == 0 and tuple(visibility[0]) == (0, 1)
        assert keypoints[1, 2] == 1 and tuple(visibility[1]) == (1, 1)


def test_inputs_are_not_changed():
    given_ = noise(5), joints(5), np.arange(K) % 3, np.arange(K) % 2 == 0
    before = [a.copy() for a in given_]
    for augment in (None, Augmentation(flip=1), STRONG):
        cut(*given_, augment=augment, rng=np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(before, given_, strict=True))


@given(seed=st.integers(0, 10_000))
def test_draws_keep_their_bounds(seed):
    choice = dataclasses.replace(STRONG, erase=1.0).draw(np.random.default_rng(seed))
    assert abs(choice.rotation) <= 45 and 1 / 1.35 <= choice.zoom <= 1.35
    assert np.abs(choice.shift).max() <= 0.15 and isinstance(choice.flip, bool)
    x0, y0, x1, y1 = choice.hole
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 and 0.0199 <= (x1 - x0) * (y1 - y0) <= 0.2001


def test_draws_use_their_range():
    often = dataclasses.replace(STRONG, half_body=0.3, erase=0.6)
    draws = [often.draw(np.random.default_rng(s)) for s in range(2000)]
    assert 0.45 < np.mean([d.flip for d in draws]) < 0.55
    assert 0.25 < np.mean([d.half is not None for d in draws]) < 0.35
    assert 0.65 < np.mean([d.half == "upper" for d in draws if d.half]) < 0.75
    assert 0.55 < np.mean([d.hole is not None for d in draws]) < 0.65
    holes = np.array([d.hole for d in draws if d.hole])
    areas = (holes[:, 2] - holes[:, 0]) * (holes[:, 3] - holes[:, 1])
    assert areas.min() < 0.025 and areas.max() > 0.19
    for values, end in (
        ([d.rotation for d in draws], 45),
        ([np.log(d.zoom) for d in draws], np.log(1.35)),
        ([d.shift[0] for d in draws], 0.15),
        ([d.shift[1] for d in draws], 0.15),
        (np.log(areas) - np.log(0.02 * 10**0.5), np.log(10) / 2),
    ):
        values = np.array(values) / end
        assert abs(values.mean()) < 0.06 and values.min() < -0.98 and values.max() > 0.98
        assert abs(values.std() - 1 / np.sqrt(3)) < 0.03  # uniform


def test_colour_changes_tones_and_not_places():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, axis=0).repeat(3, axis=2)
    only = Augmentation.only(colour=0.4)
    points = joints(6) * 256 / 336
    changed = 0
    for seed in range(10):
        crop, keypoints, _ = cut(
            ramp, points, box_px=256, input_size=256, augment=only, rng=np.random.default_rng(seed)
        )
        _, plain, _ = cut(ramp, points, box_px=256, input_size=256)
        assert np.array_equal(keypoints, plain) and np.array_equal(crop, np.repeat(crop[:1], 256, axis=0))
        assert np.all(np.diff(crop[0].astype(int), axis=0) >= 0)  # brighter stays brighter
        changed += not np.array_equal(crop, ramp)
    assert changed == 10


# ---- batches --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of ten people."""
    root = tmp_path_factory.mktemp("people")
    annotations, _ = tiny_data.coco(root / "coco", photos=5, people=2, seed=3)
    samples = coco.read(annotations, root / "coco" / "train2017")
    records.write_records(samples, root / "records", "tiny", "train", box_px=64, shards=3, progress=False)
    return root / "records"


def collect(dataset, batches: int | None = None) -> list[np.ndarray]:
    """Pictures, keypoint targets and visibility targets of a data set, batches put one after the other."""
    got = [(x.numpy(), y["keypoints"].numpy(), y["visibility"].numpy()) for x, y in dataset.take(batches or -1)]
    return [np.concatenate(column) for column in zip(*got, strict=True)]


def batches(folder, batch_size=4, **options):
    return pipeline.make_batches(folder, batch_size, input_size=options.pop("input_size", 64), **options)


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def people(batch: list[np.ndarray]) -> list[bytes]:
    """Who is in it, in any order: the targets of unaugmented people tell them apart."""
    return sorted(row.tobytes() for row in batch[1])


def test_batches_have_the_shapes_and_types_that_a_model_wants(folder):
    import tensorflow as tf

    dataset = batches(folder)
    images, targets = dataset.element_spec
    assert images == tf.TensorSpec((None, 64, 64, 3), tf.uint8)
    assert targets == {
        "keypoints": tf.TensorSpec((None, K, 3), tf.float32),
        "visibility": tf.TensorSpec((None, K, 2), tf.float32),
    }
    assert [len(x) for x, _ in dataset] == [4, 4, 2]
    pictures = collect(dataset)[0]
    assert pictures.min() < 10 and pictures.max() > 150


def test_validation_is_the_centre_crop_of_each_record_in_order_and_the_same_on_every_pass(folder):
    dataset = batches(folder)
    first, second, other = collect(dataset), collect(dataset), collect(batches(folder, batch_size=7, seed=99))
    assert same(first, second) and same(first, other)
    stored = list(records.read_records(folder))
    assert len(stored) == len(first[0]) == 10
    for i, person in enumerate(stored):
        image = decode_image(person.encoded, person.person_id)
        expected = cut(image, person.keypoints, person.keypoints_visible, person.joint_known, box_px=64, input_size=64)
        assert np.array_equal(first[0][i], image[16:80, 16:80])
        assert np.array_equal(first[1][i], expected[1]) and np.array_equal(first[2][i], expected[2])


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(folder):
    options = {"augment": Augmentation(), "shuffle": True}
    first = collect(batches(folder, seed=5, **options))
    assert same(first, collect(batches(folder, seed=5, **options)))
    other = collect(batches(folder, seed=6, **options))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[1], other[1])
    for one_alone in ({"augment": Augmentation()}, {"shuffle": True}):
        assert not same(collect(batches(folder, seed=5, **one_alone)), collect(batches(folder, seed=6, **one_alone)))


def test_each_person_of_a_batch_is_varied_for_itself(folder):
    mirror = Augmentation.only(flip=0.5)
    plain = collect(batches(folder))[0]
    varied = collect(batches(folder, batch_size=10, augment=mirror, seed=2))[0]
    flipped = [not np.array_equal(a, b) for a, b in zip(plain, varied, strict=True)]
    assert 0 < sum(flipped) < 10
    assert all(np.array_equal(b, a[:, ::-1] if f else a) for a, b, f in zip(plain, varied, flipped, strict=True))


def test_the_seed_holds_whatever_else_draws_numbers_in_the_process(folder):
    import tensorflow as tf

    options = {"augment": Augmentation(), "shuffle": True, "seed": 5}
    first = collect(batches(folder, **options))
    tf.random.uniform((3,))
    np.random.random(3)  # noqa: NPY002
    collect(batches(folder, shuffle=True, seed=5))
    assert same(first, collect(batches(folder, **options)))


def test_the_number_of_threads_does_not_show(folder):
    import tensorflow as tf

    def with_threads(n):
        options = tf.data.Options()
        options.threading.private_threadpool_size = n
        dataset = batches(folder, batch_size=2, augment=Augmentation(), shuffle=True, repeat=True, seed=8)
        return collect(dataset.with_options(options), 15)

    assert same(with_threads(1), with_threads(4))


@pytest.mark.parametrize("cache_bytes", [0, 6 << 30], ids=["read anew", "from memory"])
def test_each_epoch_shows_everyone_in_a_new_order_and_varied_anew(folder, cache_bytes):
    options = {"batch_size": 5, "shuffle": True, "repeat": True, "cache_bytes": cache_bytes}
    everyone = people(collect(batches(folder)))
    plain = collect(batches(folder, **options), 6)
    epochs = [[column[i : i + 10] for column in plain] for i in (0, 10, 20)]
    assert all(people(epoch) == everyone for epoch in epochs)
    assert len({epoch[1].tobytes() for epoch in epochs}) == 3
    varied = collect(batches(folder, augment=Augmentation(), **options), 6)
    assert len({picture.tobytes() for picture in varied[0]}) == 30


def test_the_second_epoch_needs_no_files(folder, tmp_path):
    import shutil

    import tensorflow as tf

    shutil.copytree(folder, tmp_path / "copy")
    kept, anew = batches(tmp_path / "copy"), batches(tmp_path / "copy", cache_bytes=0)
    first = collect(kept)
    for shard in records.shard_paths(tmp_path / "copy"):
        shard.unlink()
    assert same(first, collect(kept))
    with pytest.raises(tf.errors.NotFoundError):
        collect(anew)


def test_without_a_cache_the_same_people_come(folder):
    assert same(collect(batches(folder)), collect(batches(folder, cache_bytes=0)))
    shuffled = collect(batches(folder, cache_bytes=0, shuffle=True))
    assert people(shuffled) == people(collect(batches(folder)))
    assert not same(shuffled, collect(batches(folder)))
    options = {"augment": Augmentation(), "shuffle": True, "seed": 4, "cache_bytes": 0}
    assert same(collect(batches(folder, **options)), collect(batches(folder, **options)))


def test_two_folders_are_one_set_and_shuffle_mixes_them(folder, tmp_path):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=4, people=2, seed=11)
    samples = coco.read(annotations, tmp_path / "coco" / "train2017")
    records.write_records(samples, tmp_path / "more", "tiny", "train", box_px=64, progress=False)
    one, other = collect(batches(folder)), collect(batches(tmp_path / "more"))
    both = collect(batches([folder, tmp_path / "more"]))
    assert people(both) == sorted(people(one) + people(other)) and len(both[0]) == 18
    mixed = collect(batches([folder, tmp_path / "more"], shuffle=True, seed=1))
    assert people(mixed) == people(both)
    from_first = [row.tobytes() in set(people(one)) for row in mixed[1]]
    assert 0 < sum(from_first[:9]) < 9


def test_folders_of_different_sizes_are_refused(folder, tmp_path):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=1)
    others = {"wider": {"box_px": 64, "context": 1.25}, "tight": {"box_px": 96, "context": 1}}  # tight: 96 stored, too
    for name, options in others.items():
        samples = coco.read(annotations, tmp_path / "coco" / "train2017")
        records.write_records(samples, tmp_path / name, "tiny", "train", progress=False, **options)
        with pytest.raises(DataError) as caught:
            batches([folder, tmp_path / name])
        message = str(caught.value)
        assert "different sizes" in message and str(tmp_path / name) in message and "--box-px" in message


def test_folders_that_hold_no_records_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="no records"):
        batches(tmp_path)
    with pytest.raises(DataError, match="no folder of records"):
        batches([])


def test_a_larger_input_is_the_same_crop_enlarged(folder):
    small, large = collect(batches(folder)), collect(batches(folder, input_size=128))
    assert large[0].shape == (10, 128, 128, 3)
    np.testing.assert_allclose(small[1], large[1], atol=1e-6)
    shrunk = large[0].reshape(10, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small[0].astype(float)).mean() < 2
