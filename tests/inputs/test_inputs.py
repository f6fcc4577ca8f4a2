"""Batches: the centre crop to the pixel, pictures and joints that move together, masks, and what a
seed fixes."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_data
from hypothesis import given, settings
from hypothesis import strategies as st

from posekit import geometry, inputs, records
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.inputs import Augmentation, crop_person, tfdata
from posekit.skeleton import COCO17

K = len(COCO17)
ROOT = Path(__file__).parents[2]
TWIN = list(COCO17.flip_indices)
STILL = Augmentation.only()
STRONG = Augmentation(flip=0.5, rotation=45, scale=0.35, shift=0.15, colour=0)
COLOURS = np.array(
    [(r, g, b) for r in (0, 127, 255) for g in (0, 127, 255) for b in (0, 127, 255)][-K:], float
)
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


# ---- one person ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("box_px", "stored"), [(224, 336), (224, 224), (96, 144), (64, 112)])
def test_the_centre_crop_is_a_slice(box_px, stored):
    image = noise(1, stored)
    edge = (stored - box_px) // 2
    points = joints(1) * stored / 336
    crop, keypoints, visibility = cut(image, points, box_px=box_px, input_size=box_px)
    assert np.array_equal(crop, image[edge : edge + box_px, edge : edge + box_px])
    inside = np.all((points >= edge - 0.5) & (points < edge + box_px - 0.5), axis=1)
    assert np.array_equal(keypoints[:, 2], inside) and np.array_equal(visibility[:, 0], inside)
    decoded = geometry.decode_keypoints(keypoints[:, :2], (box_px, box_px)) + edge
    assert np.abs(decoded - points)[inside].max() <= 1e-4 and inside.any()


def test_augmentation_by_nothing_is_the_centre_crop():
    image = noise(2)
    points = joints(2)
    plain = cut(image, points)
    still = cut(image, points, augment=STILL, rng=np.random.default_rng(0))
    assert all(np.array_equal(a, b) for a, b in zip(plain, still, strict=True))


def test_a_flip_mirrors_the_picture_and_swaps_the_names():
    image = noise(3)
    points = joints(3, 60, 276)
    visible = np.arange(K) % 3
    known = np.arange(K) % 2 == 0
    always = Augmentation.only(flip=1)
    plain, plain_keypoints, plain_visibility = cut(image, points, visible, known)
    crop, keypoints, visibility = cut(
        image, points, visible, known, augment=always, rng=np.random.default_rng(0)
    )
    assert np.array_equal(crop, plain[:, ::-1])
    np.testing.assert_allclose(keypoints, plain_keypoints[TWIN] * (-1, 1, 1), atol=1e-6)
    assert np.array_equal(visibility, plain_visibility[TWIN])


KINDS = {
    "flip": Augmentation.only(flip=1),
    "rotation": Augmentation.only(rotation=60),
    "scale": Augmentation.only(scale=0.5),
    "shift": Augmentation.only(shift=0.2),
    "half_body": Augmentation.only(half_body=1),
    "all that moves": dataclasses.replace(STRONG, half_body=0.5),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), input_size=st.sampled_from([224, 192, 128]))
def test_each_dot_stays_under_its_joint(kind, seed, input_size):
    """Each kind of variation alone, and all: the target of the left wrist lies on the dot that
    shows a left wrist now."""
    points = joints(seed)
    augment = KINDS[kind]
    flipped = augment.draw(np.random.default_rng(seed)).flip
    crop, keypoints, _ = cut(
        dotted(points),
        points,
        input_size=input_size,
        augment=augment,
        rng=np.random.default_rng(seed),
    )
    y, x = np.mgrid[:input_size, :input_size]
    seen = np.flatnonzero(keypoints[:, 2])
    shown = geometry.decode_keypoints(keypoints[seen, :2], (input_size, input_size))
    drawn = points[[TWIN[k] for k in seen] if flipped else seen]
    unit = (
        np.linalg.norm(shown - shown.mean(0)) / np.linalg.norm(drawn - drawn.mean(0))
        if len(seen) > 1
        else 1.0
    )
    looked = 0
    for joint, (px, py) in zip(seen, shown, strict=True):
        if min(px, py, input_size - px, input_size - py) < 12 * unit:
            continue  # a part of the dot is cut off
        near = np.where(np.hypot(x - px, y - py) < 10 * unit, crop.sum(axis=2, dtype=float), 0)
        assert near.sum() > 0
        centre = np.array([(x * near).sum(), (y * near).sum()]) / near.sum()
        assert np.abs(centre - (px, py)).max() < 0.15 * max(1, unit)
        colour = crop[round(py), round(px)].astype(float)
        wanted = COLOURS[TWIN[joint] if flipped else joint]
        assert np.abs(colour / colour.max() - wanted / wanted.max()).max() < 0.06
        looked += 1
    assert looked >= 1 or kind == "all that moves"


def test_a_half_body_is_in_the_crop_and_the_rest_is_known_to_be_out():
    rng = np.random.default_rng(8)
    always = Augmentation.only(half_body=1)
    points = np.concatenate(
        [rng.uniform((110, 30), (220, 130), (11, 2)), rng.uniform((120, 180), (210, 310), (6, 2))]
    )
    halves = {"upper": range(11), "lower": range(11, 17)}
    for half, members in halves.items():
        seed = next(s for s in range(50) if always.draw(np.random.default_rng(s)).half_body == half)
        crop, keypoints, visibility = cut(
            noise(8), points, augment=always, rng=np.random.default_rng(seed)
        )
        chosen = points[list(members)]
        low = chosen.min(0)
        high = chosen.max(0)
        reach = np.abs(points - (low + high) / 2).max(1) * 2 < 1.5 * (high - low).max()
        assert (
            np.array_equal(keypoints[:, 2], reach)
            and reach[list(members)].all()
            and not reach.all()
        )
        assert np.array_equal(visibility[:, 0], reach) and np.all(visibility[:, 1] == 1)
        side = (
            1.5 * (high - low).max()
        )  # the joints keep their distances, in shares of the new square
        assert np.allclose(
            np.diff(keypoints[list(members), :2], axis=0), np.diff(chosen, axis=0) / side, atol=1e-5
        )


def test_a_half_body_wants_joints_to_stand_on():
    points = joints(9)
    always = Augmentation.only(half_body=1)
    plain = cut(noise(9), points)
    few = np.where(np.arange(K) < 8, 2, 0)
    for visible, changes in (
        (np.full(K, 2), True),
        (few, False),
        (np.where(np.arange(K) < 9, 2, 0), True),
    ):
        crop, *_ = cut(noise(9), points, visible, augment=always, rng=np.random.default_rng(1))
        assert np.array_equal(crop, plain[0]) != changes
    beyond = points.copy()
    beyond[8:] = (-50, 400)  # labelled, but in no pixel of the stored picture
    crop, *_ = cut(noise(9), beyond, augment=always, rng=np.random.default_rng(1))
    assert np.array_equal(crop, plain[0])
    no_legs = np.where(np.arange(K) < 11, 2, 0)  # whichever half is drawn, it is the upper one
    crops = [
        cut(noise(9), points, no_legs, augment=always, rng=np.random.default_rng(s))[0]
        for s in range(12)
    ]
    assert len({c.tobytes() for c in crops}) == 1
    close = (
        np.full((K, 2), 168.0) + np.arange(K)[:, None] / 100
    )  # a magnifying glass has its limits: three times
    _, keypoints, _ = cut(noise(9), close, augment=always, rng=np.random.default_rng(1))
    assert np.allclose(np.diff(keypoints[:, 0]), 0.01 / (224 / 3), atol=1e-6)


def test_erasing_hides_pixels_and_no_joint():
    points = joints(10)
    image = np.full((336, 336, 3), 200, np.uint8)
    erased = dataclasses.replace(STRONG, erase=1.0)
    areas = []
    hidden = 0
    for seed in range(60):
        plain = cut(image, points, augment=STRONG, rng=np.random.default_rng(seed))
        crop, keypoints, visibility = cut(
            image, points, augment=erased, rng=np.random.default_rng(seed)
        )
        assert np.array_equal(keypoints, plain[1]) and np.array_equal(visibility, plain[2])
        changed = np.any(crop != plain[0], axis=2)
        rows = np.flatnonzero(changed.any(1))
        columns = np.flatnonzero(changed.any(0))
        hole = np.zeros_like(changed)
        hole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        assert (
            changed[hole].mean() > 0.97
        )  # a rectangle, and full: noise equals the picture at one pixel in 256^3
        filled = crop[hole]
        assert abs(filled.mean() - 127.5) < 6 and filled.std() > 70
        areas.append(hole.mean())
        inside = keypoints[keypoints[:, 2] > 0, :2]
        at = np.clip(np.rint(geometry.decode_keypoints(inside, (224, 224))).astype(int), 0, 223)
        hidden += hole[at[:, 1], at[:, 0]].sum()
    assert 0.015 < min(areas) < 0.04 and 0.12 < max(areas) < 0.21 and hidden > 20


@given(seed=st.integers(0, 10_000))
def test_kinds_are_drawn_independently(seed):
    """Switching one kind on or off leaves the others as they were: they can be compared one by
    one."""
    everything = Augmentation(0.5, 30, 0.3, 0.1, 0.3, 0.5, 0.5, 0.5)
    whole = everything.draw(np.random.default_rng(seed))
    touches = {
        "flip": {"flip"},
        "rotation": {"rotation"},
        "scale": {"zoom"},
        "shift": {"shift"},
        "colour": {"colour"},
    }
    for kind, fields in {
        **touches,
        "half_body": {"half_body"},
        "erase": {"erase_box"},
        "camera": {"degrade"},
    }.items():
        without = dataclasses.replace(everything, **{kind: 0.0}).draw(np.random.default_rng(seed))
        for name in inputs.AugmentParams._fields:
            if name not in fields:
                assert np.array_equal(getattr(whole, name), getattr(without, name)), (kind, name)
    alone = Augmentation.only(rotation=30).draw(np.random.default_rng(seed))
    assert alone == inputs.AugmentParams(rotation=whole.rotation)


def test_masks_say_what_is_inside_outside_and_unknown():
    points = np.full((K, 2), 168.0)
    visible = np.full(K, 2)
    known = np.ones(K, bool)
    cases = {  # joint: stored pixel, flag, known -> keypoint weight, visibility target and weight
        "nose": ((168, 168), 2, True, 1, 1, 1),
        "left_eye": ((168, 168), 1, True, 1, 1, 1),  # occluded, and yet it is there
        "right_eye": ((55.6, 168), 2, True, 1, 1, 1),  # in the outer half of the crop's first pixel
        "left_ear": ((55.4, 168), 2, True, 0, 0, 1),  # just outside the crop
        "right_ear": ((300, 20), 1, True, 0, 0, 1),
        "left_wrist": (
            (168, 168),
            0,
            True,
            0,
            0,
            1,
        ),  # known to be outside the photo; its numbers mean nothing
        "right_wrist": ((0, 0), 0, False, 0, 0, 0),
        "left_knee": ((168, 168), 0, False, 0, 0, 0),
        "right_knee": ((168, -400), 2, True, 0, 0, 1),
    }
    for joint, (at, flag, is_known, *_) in cases.items():
        k = COCO17.index(joint)
        points[k] = at
        visible[k] = flag
        known[k] = is_known
    _, keypoints, visibility = cut(noise(4), points, visible, known)
    for joint, (*_, weight, target, target_weight) in cases.items():
        k = COCO17.index(joint)
        assert (keypoints[k, 2], *visibility[k]) == (weight, target, target_weight), joint
        assert weight or np.all(keypoints[k] == 0), joint
    assert keypoints.dtype == visibility.dtype == np.float32


def test_a_joint_beyond_the_stored_picture_is_not_in_the_crop():
    """Zooming out of a stored picture without context shows black there: nothing to learn a place
    from."""
    points = np.full((K, 2), 100.0)
    points[0] = (-3, 100)
    points[1] = (-0.4, 100)
    smaller = Augmentation.only(scale=0.5)
    seeds = [s for s in range(50) if smaller.draw(np.random.default_rng(s)).zoom < 0.9]
    image = np.full((224, 224, 3), 200, np.uint8)
    for seed in seeds[:5]:
        crop, keypoints, visibility = cut(
            image, points, augment=smaller, rng=np.random.default_rng(seed)
        )
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
    x0, y0, x1, y1 = choice.erase_box
    assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 and 0.0199 <= (x1 - x0) * (y1 - y0) <= 0.2001


def test_draws_use_their_range():
    often = dataclasses.replace(STRONG, half_body=0.3, erase=0.6)
    draws = [often.draw(np.random.default_rng(s)) for s in range(2000)]
    assert 0.45 < np.mean([d.flip for d in draws]) < 0.55
    assert 0.25 < np.mean([d.half_body is not None for d in draws]) < 0.35
    assert 0.65 < np.mean([d.half_body == "upper" for d in draws if d.half_body]) < 0.75
    assert 0.55 < np.mean([d.erase_box is not None for d in draws]) < 0.65
    holes = np.array([d.erase_box for d in draws if d.erase_box])
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
        assert np.array_equal(keypoints, plain) and np.array_equal(
            crop, np.repeat(crop[:1], 256, axis=0)
        )
        assert np.all(np.diff(crop[0].astype(int), axis=0) >= 0)  # brighter stays brighter
        changed += not np.array_equal(crop, ramp)
        colour = only.draw(np.random.default_rng(seed)).colour
        expected = np.clip(np.rint(ramp[0] @ colour[:, :3].T + colour[:, 3]), 0, 255)
        assert np.array_equal(crop[0], expected)
    assert changed == 10


# ---- batches -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Records of ten people."""
    root = tmp_path_factory.mktemp("people")
    annotations, _ = tiny_data.coco(root / "coco", photos=5, people=2, seed=3)
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


def collect(dataset, batches: int | None = None) -> list[np.ndarray]:
    """Pictures, keypoint targets and visibility targets of a data set, batches put one after the
    other."""
    got = [
        (x.numpy(), y["keypoints"].numpy(), y["visibility"].numpy())
        for x, y in dataset.take(batches or -1)
    ]
    return [np.concatenate(column) for column in zip(*got, strict=True)]


def batches(folder, batch_size=4, **options):
    return inputs.make_batches(
        folder, batch_size, input_size=options.pop("input_size", 64), **options
    )


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
    first = collect(dataset)
    second = collect(dataset)
    other = collect(batches(folder, batch_size=7, seed=99))
    assert same(first, second) and same(first, other)
    stored = list(records.read_records(folder))
    assert len(stored) == len(first[0]) == 10
    for i, person in enumerate(stored):
        image = decode_image(person.encoded, person.person_id)
        expected = cut(
            image,
            person.keypoints,
            person.keypoints_visible,
            person.joint_known,
            box_px=64,
            input_size=64,
        )
        assert np.array_equal(first[0][i], image[16:80, 16:80])
        assert np.array_equal(first[1][i], expected[1]) and np.array_equal(first[2][i], expected[2])


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(folder):
    options = {"augment": Augmentation(), "shuffle": True}
    first = collect(batches(folder, seed=5, **options))
    assert same(first, collect(batches(folder, seed=5, **options)))
    other = collect(batches(folder, seed=6, **options))
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[1], other[1])
    for one_alone in ({"augment": Augmentation()}, {"shuffle": True}):
        assert not same(
            collect(batches(folder, seed=5, **one_alone)),
            collect(batches(folder, seed=6, **one_alone)),
        )


def test_each_person_of_a_batch_is_varied_for_itself(folder):
    mirror = Augmentation.only(flip=0.5)
    plain = collect(batches(folder))[0]
    varied = collect(batches(folder, batch_size=10, augment=mirror, seed=2))[0]
    flipped = [not np.array_equal(a, b) for a, b in zip(plain, varied, strict=True)]
    assert 0 < sum(flipped) < 10
    assert all(
        np.array_equal(b, a[:, ::-1] if f else a)
        for a, b, f in zip(plain, varied, flipped, strict=True)
    )


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
        dataset = batches(
            folder, batch_size=2, augment=Augmentation(), shuffle=True, repeat=True, seed=8
        )
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
    kept = batches(tmp_path / "copy")
    anew = batches(tmp_path / "copy", cache_bytes=0)
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


def test_everyone_sees_the_same_pixels(folder):
    """Training, evaluation, and TensorFlow's decoder when asked for the accurate transform; its
    default differs."""
    import tensorflow as tf

    fast = 0
    for person, picture in zip(
        records.read_records(folder), collect(batches(folder))[0], strict=True
    ):
        ours = decode_image(person.encoded, person.person_id)
        theirs = tf.io.decode_jpeg(
            person.encoded, channels=3, dct_method="INTEGER_ACCURATE"
        ).numpy()
        assert np.array_equal(ours, theirs) and np.array_equal(ours[16:80, 16:80], picture)
        fast += not np.array_equal(ours, tf.io.decode_jpeg(person.encoded, channels=3).numpy())
    assert fast > 0


def test_beyond_the_cache_a_buffer_bounds_what_is_held(folder, monkeypatch):
    """With a buffer of 3, nobody comes more than 3 places before their turn; with all in memory,
    from anywhere."""
    one_shard = folder.parent / "one-shard"
    annotations, _ = tiny_data.coco(folder.parent / "many", photos=12, people=2, seed=4)
    samples = coco.read(annotations, folder.parent / "many" / "train2017")
    records.write_records(
        samples,
        one_shard,
        "tiny",
        "train",
        settings=records.CropSettings(box_px=64),
        shards=1,
        progress=False,
    )
    place = {row.tobytes(): i for i, row in enumerate(collect(batches(one_shard))[1])}
    monkeypatch.setattr(tfdata, "SHUFFLE_BUFFER", 3)
    ahead = {}
    for cache_bytes in (0, 6 << 30):
        rows = [
            collect(batches(one_shard, shuffle=True, seed=s, cache_bytes=cache_bytes))[1]
            for s in range(8)
        ]
        ahead[cache_bytes] = max(
            place[row.tobytes()] - i for order in rows for i, row in enumerate(order)
        )
    assert 0 < ahead[0] <= 2 and ahead[6 << 30] > 8


@pytest.mark.parametrize("cache_bytes", [0, 6 << 30], ids=["read anew", "from memory"])
def test_a_large_and_a_small_folder_are_mixed_throughout(
    folder, tmp_path, monkeypatch, cache_bytes
):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=25, people=2, seed=12)
    samples = coco.read(annotations, tmp_path / "coco" / "train2017")
    records.write_records(
        samples,
        tmp_path / "large",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=64),
        progress=False,
    )
    monkeypatch.setattr(tfdata, "SHUFFLE_BUFFER", 4)
    small = set(people(collect(batches(folder))))
    mixed = collect(
        batches([tmp_path / "large", folder], shuffle=True, cache_bytes=cache_bytes, seed=3)
    )[1]
    places = [i for i, row in enumerate(mixed) if row.tobytes() in small]
    assert len(mixed) == 60 and len(places) == 10
    assert places[0] < 20 and places[-1] >= 40 and sum(20 <= p < 40 for p in places) >= 1


def test_the_number_of_cores_does_not_show(folder, monkeypatch):
    found = {}
    for n in (1, 5):
        monkeypatch.setattr(tfdata, "cores", lambda n=n: n)
        options = {
            "augment": Augmentation(half_body=0.5, erase=0.5),
            "shuffle": True,
            "repeat": True,
            "seed": 8,
        }
        found[n] = collect(batches(folder, batch_size=2, cache_bytes=0, **options), 15)
    assert same(found[1], found[5])


def test_a_script_may_end_in_the_middle_of_an_endless_set(folder):
    """Threads that still work in Python when it ends would abort the process with code 134."""
    code = (
        "import sys; from posekit import inputs; batches = iter(inputs.make_batches(sys.argv[1], "
        "4, augment=inputs.Augmentation(), shuffle=True, repeat=True)); [next(batches) for _ in "
        "range(6)]; print('done')"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0 and done.stdout == "done\n", done.stderr


def test_two_folders_are_one_set_and_shuffle_mixes_them(folder, tmp_path):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=4, people=2, seed=11)
    samples = coco.read(annotations, tmp_path / "coco" / "train2017")
    records.write_records(
        samples,
        tmp_path / "more",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=64),
        progress=False,
    )
    one = collect(batches(folder))
    other = collect(batches(tmp_path / "more"))
    both = collect(batches([folder, tmp_path / "more"]))
    assert people(both) == sorted(people(one) + people(other)) and len(both[0]) == 18
    mixed = collect(batches([folder, tmp_path / "more"], shuffle=True, seed=1))
    assert people(mixed) == people(both)
    from_first = [row.tobytes() in set(people(one)) for row in mixed[1]]
    assert 0 < sum(from_first[:9]) < 9


def test_folders_of_different_sizes_are_refused(folder, tmp_path):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=1)
    others = {
        "wider": {"box_px": 64, "context": 1.25},
        "tight": {"box_px": 96, "context": 1},
    }  # tight: 96 stored, too
    for name, options in others.items():
        samples = coco.read(annotations, tmp_path / "coco" / "train2017")
        settings = records.CropSettings(**options)
        records.write_records(samples, tmp_path / name, "tiny", "train", settings, progress=False)
        with pytest.raises(DataError) as caught:
            batches([folder, tmp_path / name])
        message = str(caught.value)
        assert (
            "different sizes" in message
            and str(tmp_path / name) in message
            and "--box-px" in message
        )


def test_folders_that_hold_no_records_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="no records"):
        batches(tmp_path)
    with pytest.raises(DataError, match="no record folder was given"):
        batches([])


def test_a_larger_input_is_the_same_crop_enlarged(folder):
    small = collect(batches(folder))
    large = collect(batches(folder, input_size=128))
    assert large[0].shape == (10, 128, 128, 3)
    np.testing.assert_allclose(small[1], large[1], atol=1e-6)
    shrunk = large[0].reshape(10, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small[0].astype(float)).mean() < 2
