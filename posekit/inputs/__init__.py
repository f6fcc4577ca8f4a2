"""From TFRecord shards to training batches with tf.data: read, cache, shuffle, batch, parse, decode, one warp (chapter 03).

Scale, rotation, shift, mirror and the choice of a half body are one affine map, so that each picture is resampled exactly
once, from the stored context crop to the network's input. Validation passes `augment=None` and gets the plain centre crop.
"""

import atexit
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from posekit import geometry, records
from posekit.errors import DataError
from posekit.hardware import cores
from posekit.images import aligned, decode_image, simulate_cheap_camera
from posekit.skeleton import COCO17, COCO19

K = len(COCO17)
UPPER_BODY, LOWER_BODY = (
    np.arange(K) < COCO17.index("left_hip"),
    np.arange(K) >= COCO17.index("left_hip"),
)

SHUFFLE_BUFFER = 4096
"""Records held for shuffling when the set is not in memory. They lie in the order of a hash, so a few are enough."""


# ---- how pictures are varied ---------------------------------------------------------------------------------------------


class AugmentParams(NamedTuple):
    """What is done to one picture; the default is the plain centre crop.

    Args:
        flip: mirror it, and swap left and right labels.
        rotation: degrees, positive counter-clockwise as seen.
        zoom: > 1 enlarges the person.
        shift: (2,) displacement in shares of the crop.
        half: "upper" or "lower": cut around that half of the body, or the other, or neither, as the labels allow.
        colour: (3, 4) float64 map of RGB to RGB: new = colour[:, :3] @ rgb + colour[:, 3], or None.
        hole: (x0, y0, x1, y1) in shares of the crop, a rectangle to be filled with noise, or None.
        camera: let `images.simulate_cheap_camera` take the picture.
    """

    flip: bool = False
    rotation: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    half: str | None = None
    colour: np.ndarray | None = None
    hole: tuple[float, float, float, float] | None = None
    camera: bool = False


@dataclass(frozen=True)
class Augmentation:
    """How far training pictures are varied. Every value 0 gives the plain centre crop.

    Args:
        flip: probability of mirroring (left and right labels are swapped with it).
        rotation: degrees, the largest turn to either side, uniform.
        scale: largest zoom as a share: 0.25 draws a factor from 1 / 1.25 ... 1.25, log-uniform.
        shift: largest displacement along each axis in shares of the crop, uniform.
        colour: strength of brightness, contrast and colour-cast changes, 0 ... 1.
        half_body: probability of a crop around the upper or the lower body only, where enough joints are labelled. The
            joints of the other half that leave the crop become exact examples of "not here" (MMPose's RandomHalfBody).
        erase: probability of a rectangle of noise, 2 ... 20 % of the crop. A joint under it keeps its label: where a hidden
            joint is has to be learnt (Zhong et al., "Random Erasing Data Augmentation", AAAI 2020).
        camera: probability of a cheap camera in a dim room (`images.simulate_cheap_camera`).
    """

    flip: float = 0.5
    rotation: float = 20.0
    scale: float = 0.2
    shift: float = 0.06
    colour: float = 0.2
    half_body: float = 0.0
    erase: float = 0.0
    camera: float = 0.0

    @classmethod
    def only(cls, **given: float) -> "Augmentation":
        """The given kinds of variation and no other: `Augmentation.only(rotation=30)`."""
        return cls(**{**{field.name: 0.0 for field in fields(cls)}, **given})

    def draw(self, rng: np.random.Generator) -> AugmentParams:
        """The random choices for one picture. Switching one kind off, but for the camera, does not change what the others draw."""
        flip, turn, zoom, right, down, contrast, light, *cast = rng.uniform(-1, 1, 10).tolist()
        half, upper, erase, area, aspect, x, y = rng.random(7).tolist()
        return AugmentParams(
            flip=(flip + 1) / 2 < self.flip,
            rotation=turn * self.rotation,
            zoom=(1 + self.scale) ** zoom,
            shift=(right * self.shift, down * self.shift),
            half=None if half >= self.half_body else "upper" if upper < 0.7 else "lower",
            colour=color_matrix(self.colour, contrast, light, cast) if self.colour > 0 else None,
            hole=rectangle(0.02 * 10**area, 3.3 ** (2 * aspect - 1), x, y)
            if erase < self.erase
            else None,
            camera=bool(self.camera) and rng.random() < self.camera,
        )


def color_matrix(
    strength: float, contrast: float, light: float, cast: Sequence[float]
) -> np.ndarray:
    """Contrast, brightness and colour cast, chained into one affine map of RGB.

    Args:
        strength: 0 (changes nothing) ... 1.
        contrast, light, cast: -1 ... 1, how far; cast (3,) for each channel.

    Returns:
        (3, 4) float64, see `AugmentParams.colour`.
    """
    gain = 1 + strength * contrast
    lift = 127.5 * (1 - gain) + 127.5 * strength * light
    red, green, blue = (1 + 0.4 * strength * c for c in cast)
    rows = [
        [gain * red, 0, 0, lift * red],
        [0, gain * green, 0, lift * green],
        [0, 0, gain * blue, lift * blue],
    ]
    return np.array(rows)


def rectangle(area: float, aspect: float, x: float, y: float) -> tuple[float, float, float, float]:
    """The rectangle (x0, y0, x1, y1) inside the unit square of an area (0 ... 1) and aspect w / h, at a place x, y in 0 ... 1."""
    w, h = min(1.0, (area * aspect) ** 0.5), min(1.0, (area / aspect) ** 0.5)
    return x * (1 - w), y * (1 - h), x * (1 - w) + w, y * (1 - h) + h


def half_body(
    keypoints: np.ndarray, usable: np.ndarray, half: str
) -> tuple[np.ndarray, float] | None:
    """The square around one half of a body.

    Args:
        keypoints: (17, 2) pixels.
        usable: (17,) bool, labelled and in the picture.
        half: "upper" (head, arms) or "lower" (hips, legs); the other is taken where it has fewer than 3 usable joints.

    Returns:
        (centre (2,), side) of 1.5 times the joints' span; None where fewer than 9 are usable (as MMPose's RandomHalfBody).
    """
    if np.count_nonzero(usable) < 9:
        return None
    upper, lower = usable & UPPER_BODY, usable & LOWER_BODY
    for chosen in (upper, lower) if half == "upper" else (lower, upper):
        if np.count_nonzero(chosen) >= 3:
            low, high = keypoints[chosen].min(axis=0), keypoints[chosen].max(axis=0)
            return (low + high) / 2, 1.5 * float((high - low).max())
    return None


# ---- one person ------------------------------------------------------------------------------------------------------------


def input_affine(
    keypoints: np.ndarray,
    visible: np.ndarray,
    stored_px: int,
    box_px: int,
    input_size: int,
    variation: AugmentParams,
) -> np.ndarray:
    """The one affine map from stored pixels to the network's input, (2, 3) float64. Arguments as in `crop_person`."""
    center, side = ((stored_px - 1) / 2,) * 2, float(box_px)
    if variation.half:
        usable = (np.asarray(visible) >= 1) & geometry.inside(keypoints, (stored_px, stored_px))
        if found := half_body(np.asarray(keypoints, np.float64)[:K], usable[:K], variation.half):
            center, side = (
                found[0],
                max(found[1], box_px / 3),
            )  # not closer: the stored pixels would show
    return geometry.crop_affine(
        center,
        side / variation.zoom,
        input_size,
        variation.rotation,
        variation.flip,
        variation.shift,
    )


def render_crop(
    image: np.ndarray,
    affine: np.ndarray,
    variation: AugmentParams,
    rng: np.random.Generator | None,
    out: np.ndarray,
) -> None:
    """Warp a stored picture, recolour it, put noise into its hole, take it with a poor camera: into `out` (S, S, 3) uint8."""
    import cv2

    size = out.shape[:2]
    if variation.colour is None:
        geometry.warp(image, affine, size, out)
    else:
        cv2.transform(geometry.warp(image, affine, size), variation.colour, out)
    if variation.hole is not None:
        x0, y0, x1, y1 = (round(v * len(out)) for v in variation.hole)
        out[y0:y1, x0:x1] = rng.integers(0, 256, (y1 - y0, x1 - x0, 3), np.uint8)
    if variation.camera:
        out[:] = simulate_cheap_camera(out, rng)


def targets(
    affine: np.ndarray,
    keypoints: np.ndarray,
    visible: np.ndarray,
    known: np.ndarray,
    flip: bool | np.ndarray,
    stored_px: int,
    input_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What the network is to answer for a crop, for one person or many.

    Args:
        affine: (..., 2, 3) from stored pixels to the crop's.
        keypoints: (..., K, 2) stored pixels, K = 17 or 19.
        visible, known: (..., K), see `PersonAnnotation`.
        flip: (...) is the crop mirrored? Then joints change their names with their twins.
        stored_px: side of the stored picture.
        input_size: side of the crop.

    Returns:
        keypoint targets (..., K, 3) float32 and visibility targets (..., K, 2) float32, see `crop_person`.
    """
    points, shape = geometry.apply_affine(affine, keypoints), (input_size, input_size)
    inside = geometry.inside(points, shape) & geometry.inside(keypoints, (stored_px, stored_px))
    inside &= np.asarray(visible) >= 1
    place = np.where(inside[..., None], geometry.encode_keypoints(points, shape), 0)
    place = np.concatenate([place, inside[..., None]], axis=-1).astype(np.float32)
    seen = np.stack([inside, np.asarray(known, bool)], axis=-1).astype(np.float32)
    mirrored, twin = (
        np.asarray(flip)[..., None, None],
        list(COCO19.flip_indices[: points.shape[-2]]),
    )
    return np.where(mirrored, place[..., twin, :], place), np.where(
        mirrored, seen[..., twin, :], seen
    )


def crop_person(
    image: np.ndarray,
    keypoints: np.ndarray,
    keypoints_visible: np.ndarray,
    joint_known: np.ndarray,
    *,
    box_px: int,
    input_size: int = 224,
    augment: Augmentation | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut the network's input from a stored context crop, and its targets with it.

    Args:
        image: (S, S, 3) uint8 stored picture; the padded box is its centre square of `box_px`.
        keypoints: (17, 2) pixels of the stored picture.
        keypoints_visible: (17,) in {0, 1, 2}.
        joint_known: (17,) bool, see `PersonAnnotation`.
        box_px: side of the padded box in stored pixels.
        input_size: side of the output.
        augment: how far to vary the picture; None for the centre crop.
        rng: where the random choices come from; needed with `augment`.

    Returns:
        image (input_size, input_size, 3) uint8;
        keypoint targets (17, 3) float32: normalised u, v and the weight (1: labelled and inside the crop);
        visibility targets (17, 2) float32: 1 if inside the crop, and the weight (1: that is known).
        Where a crop reaches beyond the stored picture it is black, and a joint out there counts as outside.
    """
    variation, stored = augment.draw(rng) if augment else AugmentParams(), len(image)
    affine = input_affine(keypoints, keypoints_visible, stored, box_px, input_size, variation)
    crop = np.empty((input_size, input_size, 3), np.uint8)
    render_crop(image, affine, variation, rng, crop)
    return crop, *targets(
        affine, keypoints, keypoints_visible, joint_known, variation.flip, stored, input_size
    )


# ---- batches -----------------------------------------------------------------------------------------------------------------


class _Guests(contextlib.ContextDecorator):
    """TensorFlow's threads inside our Python function. One that came while Python shuts down would abort the process, so
    that waits at exit until the pipeline's buffers are full, since nobody takes batches any more, and its threads rest."""

    inside = visits = 0
    lock = threading.Lock()

    def __enter__(self):
        with self.lock:
            self.inside, self.visits = self.inside + 1, self.visits + 1

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1

    def wait(self, rest: float = 0.1, longest: float = 10.0) -> None:
        end, since, seen = time.monotonic() + longest, time.monotonic(), 0
        while self.visits and (now := time.monotonic()) < min(end, since + rest):
            if self.inside or self.visits != seen:
                since, seen = now, self.visits
            time.sleep(0.005)


_guests = _Guests()
atexit.register(_guests.wait)


def stored_sizes(directories: list[str | Path]) -> tuple[int, int, list[int]]:
    """box_px, stored_px, and the number of people of each folder, from the manifests."""
    if not directories:
        raise DataError("records", "no folder of records was given", "name at least one")
    manifests = [records.read_manifest(d) for d in directories]
    box_px, stored = ({m[key] for m in manifests} for key in ("box_px", "stored_px"))
    if len(box_px) > 1 or len(stored) > 1:
        problem = f"folders of different sizes: box_px {sorted(box_px)}, stored {sorted(stored)}"
        raise DataError(
            ", ".join(map(str, directories)),
            problem,
            "build them with the same --box-px and --context",
        )
    return box_px.pop(), stored.pop(), [m["people"] for m in manifests]


def read_people(
    directories: list[str | Path], people: list[int], *, shuffle: bool, seed: int, cache_bytes: int
):
    """tf.data.Dataset of people as `parse` gives them, one pass: in their own order, folder after folder; or shuffled.

    Then shards come in random order, several side by side, folders in proportion to their size, and a buffer mixes them, which
    holds everybody where the records are kept in memory."""
    import tensorflow as tf

    shards = [[str(path) for path in records.shard_paths(d)] for d in directories]
    if shuffle:
        folders = [
            tf.data.Dataset.from_tensor_slices(paths)
            .shuffle(len(paths), seed=seed)
            .interleave(
                tf.data.TFRecordDataset, cycle_length=4, block_length=8, num_parallel_calls=2
            )
            for paths in shards
        ]
        turns = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(people)), people))
        dataset = tf.data.Dataset.choose_from_datasets(
            folders, tf.data.Dataset.from_tensor_slices(turns)
        )
    else:
        dataset = tf.data.TFRecordDataset(
            [path for paths in shards for path in paths], buffer_size=1 << 20
        )
    cached = sum(Path(path).stat().st_size for paths in shards for path in paths) <= cache_bytes
    dataset = dataset.batch(64).map(parse, 2).unbatch()
    dataset = dataset.cache() if cached else dataset
    return (
        dataset.shuffle(sum(people) if cached else SHUFFLE_BUFFER, seed=seed)
        if shuffle
        else dataset
    )


def parse(serialized) -> tuple:
    """Serialized records (B,) -> JPEGs (B,), keypoints (B, 19, 2), visible (B, 19), known (B, 19), in TensorFlow's graph."""
    import tensorflow as tf

    wanted = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "person/keypoints": tf.io.FixedLenFeature([K, 2], tf.float32),
        "person/keypoints_visible": tf.io.FixedLenFeature([K], tf.int64),
        "person/joint_known": tf.io.FixedLenFeature([K], tf.int64),
        "person/extra": tf.io.FixedLenFeature([2, 3], tf.float32, np.zeros((2, 3))),
    }
    features = tf.io.parse_example(serialized, wanted)
    *columns, extra = (features[name] for name in wanted)
    seen = tf.cast(extra[..., 2], tf.int64)
    more = extra[..., :2], seen, tf.minimum(seen, 1)
    return columns[0], *(tf.concat(pair, axis=1) for pair in zip(columns[1:], more, strict=True))


def make_batches(
    directories: Sequence[str | Path] | str | Path,
    batch_size: int = 64,
    *,
    input_size: int = 224,
    augment: Augmentation | None = None,
    shuffle: bool = False,
    repeat: bool = False,
    seed: int = 0,
    cache_bytes: int = 2 << 30,
    start: int = 0,
    joints: int = K,
):
    """Batches for `model.fit` from one or more record folders, on any Keras backend.

    The JPEGs stay in memory where they fit into `cache_bytes`; else the shards are read anew each epoch. Each picture is decoded and
    warped anew every time: with OpenCV, as evaluation does. The same `seed` gives the same batches, whatever the number of cores
    (the order also depends on TensorFlow's global seed, `keras.utils.set_random_seed`; the variation does not).

    Args:
        directories: record folders (each with its manifest.json); several are mixed in proportion to their size.
        batch_size: people a batch; the last batch of an unrepeated set may be smaller.
        input_size: side of the network's input in pixels.
        augment: variation for training; None for validation.
        shuffle: a new order each epoch, over the whole set where it is in memory, else within a buffer.
        repeat: go on for ever (training), or stop after one pass.
        seed: of order and variation.
        cache_bytes: how much memory the JPEGs may take.
        start: leave out so many batches at the beginning, without decoding them: a run that goes on.
        joints: K, 17; or 19: neck and head top behind them, with weight 0 where records do not hold them.

    Returns:
        tf.data.Dataset of (images (B, S, S, 3) uint8, {"keypoints": (B, K, 3), "visibility": (B, K, 2)} float32), see `crop_person`.

    Raises:
        DataError: when there is no folder, one holds no records, or they hold pictures of different sizes.
    """
    import tensorflow as tf

    directories = [directories] if isinstance(directories, str | Path) else list(directories)
    box_px, stored_px, sizes = stored_sizes(directories)

    @_guests
    def cut_batch(step, encoded, *labels):
        keypoints, visible, known = (column[:, :joints] for column in labels)
        rng, images = (
            np.random.default_rng((seed, int(step))),
            aligned((len(encoded), input_size, input_size, 3)),
        )
        varied = [augment.draw(rng) if augment else AugmentParams() for _ in encoded]
        people = zip(keypoints, visible, varied, strict=True)
        affines = np.stack(
            [
                input_affine(k, v, stored_px, box_px, input_size, variation)
                for k, v, variation in people
            ]
        )
        flips = np.array([variation.flip for variation in varied])
        for i, jpeg in enumerate(encoded):
            render_crop(
                decode_image(jpeg, f"batch {step}, picture {i}"),
                affines[i],
                varied[i],
                rng,
                images[i],
            )
        return images, *targets(affines, keypoints, visible, known, flips, stored_px, input_size)

    def to_batch(step, columns):
        types = tf.uint8, tf.float32, tf.float32
        images, places, seen = tf.numpy_function(cut_batch, (step, *columns), types, stateful=False)
        for column, shape in (
            (images, (input_size, input_size, 3)),
            (places, (joints, 3)),
            (seen, (joints, 2)),
        ):
            column.set_shape((None, *shape))
        return images, {"keypoints": places, "visibility": seen}

    dataset = read_people(directories, sizes, shuffle=shuffle, seed=seed, cache_bytes=cache_bytes)
    dataset = (dataset.repeat() if repeat else dataset).batch(batch_size).enumerate().skip(start)
    return dataset.map(to_batch, cores()).prefetch(2)
