"""Input pipeline without TensorFlow: images are stored and cropped on the accelerator (chapter 06).

Records, random choices, affines and targets are those of `inputs.make_batches`. What differs is the
resampling: the network's first layer does it with `keras.ops`, on TensorFlow, JAX or PyTorch, with
or without a GPU. A batch is then a few numbers per person instead of an image, and a thread
prefetches batches. `python -m posekit train` uses this pipeline where there is a GPU, or no
TensorFlow.
"""

import importlib.util
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from posekit import geometry, hardware, inputs, records
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.inputs.tfdata import as_folders
from posekit.skeleton import NUM_KEYPOINTS

__all__ = [
    "MAX_DEVICE_BYTES",
    "CropLayer",
    "PersonArrays",
    "iterate_center_crops",
    "make_batches",
    "prefetch",
    "read_people",
    "resolve_input",
    "warp",
]

MAX_DEVICE_BYTES = 8 << 30
"""Largest size of all images for which `--input auto` puts them into an accelerator's memory."""

# ---- all people in arrays ------------------------------------------------------------------------


@dataclass(frozen=True)
class PersonArrays:
    """All people of some record folders, decoded.

    Args:
        images: (N, P, P, 3) uint8 RGB, stored images.
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


def read_people(directories: Sequence[str | Path], num_joints: int = NUM_KEYPOINTS) -> PersonArrays:
    """Read record folders with the verifying reader, and decode every image once.

    Args:
        directories: record folders of one size; 10,000 people of 336 pixels take 3.4 GB.
        num_joints: K, 17 or 19, see `inputs.make_batches`.

    Raises:
        DataError: as `inputs.make_batches`, and for damaged records.
    """
    box_px, stored_px, people = inputs.stored_sizes(directories)
    images = np.empty((sum(people), stored_px, stored_px, 3), np.uint8)
    labels = []
    for directory in directories:
        for person in records.read_records(directory):
            where = f"{directory}, person {person.person_id} of image {person.source_id}"
            images[len(labels)] = decode_image(person.encoded, where)
            labels.append(person.labels(num_joints))
    return PersonArrays(images, *(np.stack(column) for column in zip(*labels, strict=True)), box_px)


def iterate_center_crops(
    directories: Sequence[str | Path] | str | Path, batch_size: int = 64, *, input_size: int = 224
) -> Iterator[tuple[np.ndarray, dict]]:
    """Iterate over the plain centre crops of record folders in order, without TensorFlow.

    The batches equal those of `inputs.make_batches` without augmentation bit for bit.

    Args:
        directories: record folders.
        batch_size: people per batch; the last batch may be smaller.
        input_size: side of the crops in pixels, S.

    Yields:
        (images (B, S, S, 3) uint8, {"keypoints": (B, 17, 3), "visibility": (B, 17, 2)} float32),
        numpy arrays.
    """
    directories = as_folders(directories)
    box_px, *_ = inputs.stored_sizes(directories)
    crops = (
        inputs.crop_person(
            decode_image(
                person.encoded,
                f"{directory}, person {person.person_id} of image {person.source_id}",
            ),
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
        images, keypoint_targets, visibility_targets = (
            np.stack(column) for column in zip(*batch, strict=True)
        )
        yield images, {"keypoints": keypoint_targets, "visibility": visibility_targets}


def resolve_input(
    wanted: str, directories: Sequence[str | Path], augment: inputs.Augmentation | None = None
) -> str:
    """Resolve the input pipeline of a training run: "tfdata" or "device" (this module).

    Args:
        wanted: one of them, or "auto": "device" where TensorFlow is not installed, and where there
            is an accelerator and all images take at most `MAX_DEVICE_BYTES`.
        directories: the record folders.
        augment: strength of the augmentation; `camera` and `far` are not available on the device.

    Raises:
        DataError: when the augmentation needs "tfdata", and "device" is wanted or the only one
            available.
    """
    has_tensorflow = importlib.util.find_spec("tensorflow") is not None
    needs_opencv = bool(augment and (augment.camera or augment.far))
    if wanted == "auto" and not has_tensorflow:
        wanted = "device"
    if wanted == "device" and needs_opencv:
        _refuse_opencv(augment)
    if wanted != "auto":
        return wanted
    _, stored_px, people = inputs.stored_sizes(directories)
    fits = sum(people) * stored_px * stored_px * 3 <= MAX_DEVICE_BYTES
    return "device" if not needs_opencv and fits and hardware.accelerators() else "tfdata"


def _refuse_opencv(augment: inputs.Augmentation) -> None:
    """Refuse the augmentation that is done with OpenCV."""
    kind = "camera" if augment.camera else "far"
    raise DataError(
        kind,
        f"is {getattr(augment, kind)}",
        "this augmentation needs OpenCV: use --input tfdata (with TensorFlow)",
    )


# ---- on the device -------------------------------------------------------------------------------


def warp(images: Any, persons: Any, affines: Any, size: int) -> Any:
    """Crop images that are already on the device; black beyond their edges.

    Sampling is bilinear. At half size and below it would skip pixels (aliasing), so a crop is then
    taken from its image halved as often as in `geometry.warp`. The image in all sizes is a mip map.
    Its blocks of pixels begin at the image's corner, those of `geometry.warp` near the crop's, so
    fine detail may differ a little.

    Args:
        images: (N, P, P, 3), uint8 or float.
        persons: (B,) int, index of the image of each crop.
        affines: (B, 2, 3) float32, crop -> stored pixels (the inverse of `inputs.input_affine`).
        size: S.

    Returns:
        (B, S, S, 3) float32 in 0 ... 255.

    Source:
        Williams, "Pyramidal Parametrics", SIGGRAPH 1983.
    """
    affines = ops.convert_to_tensor(affines, "float32")
    # pixels of this batch only: indices into those of all images would not fit into 32 bits
    levels = _mip_map(ops.take(images, persons, axis=0))
    sides = np.array([level.shape[1] for level in levels], np.int32)
    flat = [ops.reshape(level, (-1, level.shape[1] ** 2, 3)) for level in levels]
    pixels = ops.reshape(ops.concatenate(flat, axis=1), (-1, 3))

    area = ops.abs(affines[:, 0, 0] * affines[:, 1, 1] - affines[:, 0, 1] * affines[:, 1, 0])
    halvings = ops.clip(ops.floor(ops.log2(area) / 2 + 1e-4), 0, len(levels) - 1)
    halvings = ops.cast(halvings, "int32")[:, None]
    blocks = (2.0 ** np.arange(len(levels))).astype(np.float32)
    starts = np.cumsum([0, *sides**2], dtype=np.int32)
    side = ops.take(ops.convert_to_tensor(sides), halvings)  # (B, 1)
    block = ops.take(ops.convert_to_tensor(blocks), halvings)[..., None]
    start = ops.take(ops.convert_to_tensor(starts), halvings)
    start = start + starts[-1] * ops.arange(ops.shape(start)[0], dtype="int32")[:, None]

    grid = np.mgrid[:size, :size].reshape(2, -1).astype(np.float32)  # y and x of the crop's pixels
    # Not a matmul: GPUs may round its factors to 11 bits (TF32).
    stored = affines[..., :1] * grid[1] + affines[..., 1:2] * grid[0] + affines[..., 2:]
    positions = (stored - (block - 1) / 2) / block  # (B, 2, S * S), in pixels of the halved image
    corner = ops.floor(positions)
    right = positions[:, 0] - corner[:, 0]
    down = positions[:, 1] - corner[:, 1]
    column = ops.cast(corner[:, 0], "int32")
    row = ops.cast(corner[:, 1], "int32")
    crop = 0.0
    for x, across in ((column, 1 - right), (column + 1, right)):
        for y, along in ((row, 1 - down), (row + 1, down)):
            inside = ops.cast((x >= 0) & (x < side) & (y >= 0) & (y < side), "float32")
            index = start + ops.clip(y, 0, side - 1) * side + ops.clip(x, 0, side - 1)
            colour = ops.cast(ops.take(pixels, index, axis=0), "float32")
            crop = crop + (inside * across * along)[..., None] * colour
    return ops.reshape(crop, (-1, size, size, 3))


def _mip_map(images: Any) -> list:
    """Return images (B, P, P, 3), and halved again and again down to one pixel.

    A pixel is the mean of four of the level before; black is added where that has an odd side.
    """
    levels = [images]
    while levels[-1].shape[1] > 1:
        odd = levels[-1].shape[1] % 2
        level = ops.pad(levels[-1], ((0, 0), (0, odd), (0, odd), (0, 0))) if odd else levels[-1]
        four = (level[:, y::2, x::2] for y in range(2) for x in range(2))
        mean = sum(ops.cast(pixels, "float32") for pixels in four) / 4
        whole = keras.backend.is_int_dtype(images.dtype)
        levels.append(ops.cast(ops.round(mean) if whole else mean, images.dtype))
    return levels


class CropLayer(layers.Layer):
    """First layer of a network that trains on the device: crops the stored images.

    Args:
        images: (N, P, P, 3) uint8; kept as a non-trainable weight, on the device of the network.
        input_size: S.
        seed: of the noise in erased rectangles.

    Call:
        A dict of `person` (B,) int32, `affine` (B, 2, 3) float32 (crop -> stored pixels), `colour`
        (B, 3, 4) float32 and, optionally, `erase_box` (B, 4) float32 (as in `AugmentParams`;
        0, 0, 0, 0 erases nothing) -> (B, S, S, 3) float32 in 0 ... 255.
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
        """Return (batch, S, S, 3)."""
        return (None, self.input_size, self.input_size, 3)

    def call(self, batch: dict) -> Any:
        """Crop the images; see the class."""
        images = ops.convert_to_tensor(self.images)
        crop = warp(images, batch["person"], batch["affine"], self.input_size)
        colour = batch["colour"]
        crop = ops.einsum("bhwc,bdc->bhwd", crop, colour[..., :3]) + colour[:, None, None, :, 3]
        crop = ops.clip(crop, 0, 255)
        if "erase_box" not in batch:
            return crop
        left, top, right, bottom = (
            ops.round(batch["erase_box"][:, k] * self.input_size)[:, None, None] for k in range(4)
        )
        index = ops.arange(self.input_size, dtype="float32")
        row = index[None, :, None]
        column = index[None, None, :]
        erased = ((column >= left) & (column < right) & (row >= top) & (row < bottom))[..., None]
        noise = keras.random.uniform(ops.shape(crop), 0, 255, seed=self.noise)
        return ops.where(erased, noise, crop)


# ---- batches -------------------------------------------------------------------------------------


def make_batches(
    people: PersonArrays,
    batch_size: int = 64,
    *,
    input_size: int = 224,
    augment: inputs.Augmentation | None = None,
    shuffle: bool = False,
    repeat: bool = False,
    seed: int = 0,
    start: int = 0,
) -> Iterator[tuple[dict, dict]]:
    """Make batches for a network behind a `CropLayer`. Arguments as in `inputs.make_batches`.

    Yields:
        ({"person", "affine", "colour"} and, with `augment.erase`, "erase_box", see `CropLayer`;
        {"keypoints": (B, K, 3), "visibility": (B, K, 2)} float32), numpy arrays. A repeated set is
        cut into full batches, across epochs.
    """
    if augment and (augment.camera or augment.far):
        _refuse_opencv(augment)
    order = _person_order(len(people), shuffle, repeat, seed)
    chunks = iter(lambda: list(itertools.islice(order, batch_size)), [])
    for step, persons in itertools.islice(enumerate(chunks), start, None):
        yield _batch(people, persons, input_size, augment, np.random.default_rng((seed, step)))


def _person_order(count: int, shuffle: bool, repeat: bool, seed: int) -> Iterator[int]:
    """Yield indices of people, epoch after epoch."""
    for epoch in itertools.count() if repeat else range(1):
        order = np.arange(count)
        if shuffle:
            order = np.random.default_rng((seed, epoch)).permutation(order)
        yield from order


def _batch(
    people: PersonArrays,
    persons: list[int],
    input_size: int,
    augment: inputs.Augmentation | None,
    rng: np.random.Generator,
) -> tuple[dict, dict]:
    """Make the batch of these people, see `make_batches`."""
    stored_px = people.images.shape[1]
    keypoints = people.keypoints[persons]
    visible = people.keypoints_visible[persons]
    known = people.joint_known[persons]
    params = [augment.draw(rng) if augment else inputs.AugmentParams() for _ in persons]
    affines = inputs.input_affines(keypoints, visible, stored_px, people.box_px, input_size, params)
    identity = np.eye(3, 4)
    colours = [identity if p.colour is None else p.colour for p in params]
    batch = {
        "person": np.array(persons, np.int32),
        "affine": geometry.invert(affines).astype(np.float32),
        "colour": np.stack(colours).astype(np.float32),
    }
    if augment and augment.erase:
        batch["erase_box"] = np.array([p.erase_box or (0, 0, 0, 0) for p in params], np.float32)
    flips = np.array([p.flip for p in params])
    keypoint_targets, visibility_targets = inputs.encode_targets(
        affines, keypoints, visible, known, flips, stored_px, input_size
    )
    return batch, {"keypoints": keypoint_targets, "visibility": visibility_targets}


def prefetch(batches: Iterator, depth: int = 8) -> Iterator:
    """Yield the same batches, made `depth` in advance by a thread while the device computes."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(next, batches, None) for _ in range(depth))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(thread.submit(next, batches, None))
            yield batch
