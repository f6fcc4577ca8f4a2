"""Batches without TensorFlow: all pictures lie in the accelerator's memory, and the device cuts its crops itself (chapter 06).

The way is that of `pipeline`: the same records, the same random choices, the same affine maps and targets. What differs is who
resamples: a layer before the network, in `keras.ops`, so that it runs on TensorFlow, JAX and PyTorch, on a GPU or on none. A batch
that travels is then a few numbers a person instead of a picture, and a thread has the next ones ready. `python -m posekit train`
takes this way where there is a GPU, or no TensorFlow.
"""

import importlib.util
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from posekit import geometry, hardware, inputs, records
from posekit.errors import DataError
from posekit.images import decode_image

AT_MOST = 8 << 30
"""Bytes of pictures that are put into an accelerator's memory without being asked to."""

# ---- everybody in one array ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class People:
    """All people of some record folders, decoded.

    Args:
        images: (N, P, P, 3) uint8 stored pictures, RGB.
        keypoints: (N, K, 2) float32 stored pixels.
        keypoints_visible: (N, K) in {0, 1, 2}.
        joint_known: (N, K) bool.
        box_px: side of the padded box in stored pixels.
    """

    images: np.ndarray
    keypoints: np.ndarray
    keypoints_visible: np.ndarray
    joint_known: np.ndarray
    box_px: int

    def __len__(self) -> int:
        return len(self.keypoints)


def read_people(directories: Sequence[str | Path], joints: int = inputs.K) -> People:
    """Read record folders with the plain reader, verified, and decode every picture once.

    Args:
        directories: record folders of one size; 10,000 people of 336 pixels take 3.4 GB.
        joints: K, 17 or 19, see `inputs.make_batches`.

    Raises:
        DataError: as `inputs.make_batches`, and for damaged records.
    """
    box_px, stored, sizes = inputs.stored_sizes(directories)
    images = np.empty((sum(sizes), stored, stored, 3), np.uint8)
    found = []
    for directory in directories:
        for person in records.read_records(directory):
            images[len(found)] = decode_image(person.encoded, person.person_id)
            found.append(person.labels(joints))
    return People(images, *(np.stack(column) for column in zip(*found, strict=True)), box_px)


def iterate_center_crops(
    directories: Sequence[str | Path] | str | Path, batch_size: int = 64, *, input_size: int = 224
) -> Iterator[tuple[np.ndarray, dict]]:
    """What `inputs.make_batches` gives without variation, to the bit, through the plain reader: one pass, in the records' order.

    Yields:
        (images (B, S, S, 3) uint8, {"keypoints": (B, 17, 3), "visibility": (B, 17, 2)} float32), numpy arrays.
    """
    directories = [directories] if isinstance(directories, str | Path) else list(directories)
    box_px, *_ = inputs.stored_sizes(directories)
    crops = (
        inputs.crop_person(
            decode_image(person.encoded, person.person_id),
            person.keypoints,
            person.keypoints_visible,
            person.joint_known,
            box_px=box_px,
            input_size=input_size,
        )
        for directory in directories
        for person in records.read_records(directory)
    )
    while batch := list(itertools.islice(crops, batch_size)):
        images, places, seen = (np.stack(column) for column in zip(*batch, strict=True))
        yield images, {"keypoints": places, "visibility": seen}


def chosen(
    wanted: str, directories: Sequence[str | Path], augment: inputs.Augmentation | None = None
) -> str:
    """Which way pictures take to a training: "tfdata" (`pipeline`) or "device" (this room).

    Args:
        wanted: one of them, or "auto": "device" where TensorFlow is not installed, and where there is an accelerator and the
            pictures take less than `AT_MOST`.
        directories: the record folders.
        augment: how the crops are varied; a poor camera is not drawn on the device.

    Raises:
        DataError: when only the device is left, or wanted, and the variation is not drawn there.
    """
    no_tensorflow = importlib.util.find_spec("tensorflow") is None
    if augment and augment.camera and (wanted == "device" or (wanted == "auto" and no_tensorflow)):
        raise DataError(
            "camera",
            f"is {augment.camera}",
            "a poor camera needs OpenCV: use --input tfdata (with TensorFlow)",
        )
    if wanted != "auto":
        return wanted
    if no_tensorflow:
        return "device"
    if augment and augment.camera:
        return "tfdata"
    _, stored, people = inputs.stored_sizes(directories)
    return (
        "device"
        if hardware.accelerators() and sum(people) * stored * stored * 3 <= AT_MOST
        else "tfdata"
    )


# ---- on the device ---------------------------------------------------------------------------------------------------------


def warp(images: object, persons: object, affines: object, size: int) -> object:
    """Bilinear crops of pictures that are already on the device; black beyond their edges, as `geometry.warp`.

    Args:
        images: (N, P, P, 3), uint8 or float.
        persons: (B,) int, which picture each crop comes from.
        affines: (B, 2, 3) float32, crop pixels -> stored pixels (the inverse of `inputs.input_affine`).
        size: S.

    Returns:
        (B, S, S, 3) float32 in 0 ... 255.
    """
    side = images.shape[1]
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    grid = np.stack([x.ravel(), y.ravel(), np.ones(size * size, np.float32)])  # (3, S * S)
    places = ops.matmul(affines, ops.convert_to_tensor(grid))  # (B, 2, S * S)
    corner = ops.floor(places)
    right, down = places[:, 0] - corner[:, 0], places[:, 1] - corner[:, 1]
    column, row = (ops.cast(corner[:, axis], "int32") for axis in (0, 1))
    pixels = ops.reshape(
        ops.take(images, persons, axis=0), (-1, 3)
    )  # of these alone: an index to all would not fit into 32 bits
    start = np.int32(side * side) * ops.arange(ops.shape(places)[0], dtype="int32")[:, None]
    crop = 0.0
    for x, across in ((column, 1 - right), (column + 1, right)):
        for y, along in ((row, 1 - down), (row + 1, down)):
            inside = ops.cast((x >= 0) & (x < side) & (y >= 0) & (y < side), "float32")
            at = start + ops.clip(y, 0, side - 1) * side + ops.clip(x, 0, side - 1)
            crop = crop + (inside * across * along)[..., None] * ops.cast(
                ops.take(pixels, at, axis=0), "float32"
            )
    return ops.reshape(crop, (-1, size, size, 3))


class Crops(layers.Layer):
    """The first layer of a network that trains on the device: who and how go in, pictures come out.

    Args:
        images: (N, P, P, 3) uint8; kept as a weight that is not trained, so that they lie where the network lies.
        input_size: S.
        seed: of the noise in holes.

    Call:
        a dict of `person` (B,) int32, `affine` (B, 2, 3) float32 (crop -> stored pixels), `colour` (B, 3, 4) float32 and, where there
        are any, `hole` (B, 4) float32 (`inputs.AugmentParams`; an empty one is 0, 0, 0, 0) -> (B, S, S, 3) float32 in 0 ... 255.
    """

    def __init__(self, images: np.ndarray, input_size: int, seed: int = 0, **options):
        super().__init__(trainable=False, dtype="float32", **options)
        self.input_size = input_size
        self.images = self.add_weight(
            name="images", shape=images.shape, dtype="uint8", trainable=False
        )
        self.images.assign(images)
        self.built = True
        self.noise = keras.random.SeedGenerator(seed)

    def compute_output_shape(self, input_shape: dict) -> tuple:
        """(batch, S, S, 3), whatever comes in."""
        return (None, self.input_size, self.input_size, 3)

    def call(self, how: dict) -> object:
        """See the class."""
        crop = warp(
            ops.convert_to_tensor(self.images), how["person"], how["affine"], self.input_size
        )
        colour = how["colour"]
        crop = ops.einsum("bhwc,bdc->bhwd", crop, colour[..., :3]) + colour[:, None, None, :, 3]
        crop = ops.clip(crop, 0, 255)
        if "hole" not in how:
            return crop
        left, top, right, bottom = (
            ops.round(how["hole"][:, k] * self.input_size)[:, None, None] for k in range(4)
        )
        at = ops.arange(self.input_size, dtype="float32")
        row, column = at[None, :, None], at[None, None, :]
        hole = ((column >= left) & (column < right) & (row >= top) & (row < bottom))[..., None]
        return ops.where(hole, keras.random.uniform(ops.shape(crop), 0, 255, seed=self.noise), crop)


# ---- what travels ----------------------------------------------------------------------------------------------------------


def make_batches(
    people: People,
    batch_size: int = 64,
    *,
    input_size: int = 224,
    augment: inputs.Augmentation | None = None,
    shuffle: bool = False,
    repeat: bool = False,
    seed: int = 0,
    start: int = 0,
) -> Iterator[tuple[dict, dict]]:
    """Batches for a network behind `Crops`. Arguments as in `inputs.make_batches`.

    Yields:
        ({"person", "affine", "colour"} and, with `augment.erase`, "hole"; {"keypoints" (B, 17, 3), "visibility" (B, 17, 2)}), numpy
        arrays. A repeated set is cut into whole batches.
    """
    if augment and augment.camera:
        raise DataError(
            "camera", f"is {augment.camera}", "a poor camera needs OpenCV: use --input tfdata"
        )
    stored, plain = people.images.shape[1], np.eye(3, 4)

    def order() -> Iterator[int]:
        for epoch in itertools.count() if repeat else range(1):
            everybody = np.arange(len(people))
            yield from (
                np.random.default_rng((seed, epoch)).permutation(everybody)
                if shuffle
                else everybody
            )

    turns = order()
    groups = iter(lambda: list(itertools.islice(turns, batch_size)), [])
    for step, who in itertools.islice(enumerate(groups), start, None):
        rng = np.random.default_rng((seed, step))
        varied = [augment.draw(rng) if augment else inputs.AugmentParams() for _ in who]
        points, visible, known = (
            column[who]
            for column in (people.keypoints, people.keypoints_visible, people.joint_known)
        )
        affines = np.stack(
            [
                inputs.input_affine(
                    points[i], visible[i], stored, people.box_px, input_size, variation
                )
                for i, variation in enumerate(varied)
            ]
        )
        how = {
            "person": np.array(who, np.int32),
            "affine": np.stack([geometry.invert(affine) for affine in affines]).astype(np.float32),
            "colour": np.stack([plain if v.colour is None else v.colour for v in varied]).astype(
                np.float32
            ),
        }
        if augment and augment.erase:
            how["hole"] = np.array([v.hole or (0, 0, 0, 0) for v in varied], np.float32)
        flips = np.array([variation.flip for variation in varied])
        places, seen = inputs.targets(affines, points, visible, known, flips, stored, input_size)
        yield how, {"keypoints": places, "visibility": seen}


def ahead(batches: Iterator, depth: int = 8) -> Iterator:
    """The same batches, so many of them made in advance by a thread of its own, while the device computes."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, batches, None) for _ in range(depth))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, batches, None))
            yield batch
