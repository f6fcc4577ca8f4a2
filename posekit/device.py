"""Batches without TensorFlow: all pictures lie in the accelerator's memory, and the device cuts its crops itself (chapter 06).

The way is that of `pipeline`: the same records, the same random choices, the same affine maps and targets. What differs is who
resamples: a layer of the network, in `keras.ops`, so that it runs on TensorFlow, JAX and PyTorch, on a GPU or on none. A batch that
travels is then a few numbers a person instead of a picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from posekit import geometry, pipeline, records
from posekit.images import decode_image

# ---- everybody in one array ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class People:
    """All people of some record folders, decoded.

    Args:
        images: (N, P, P, 3) uint8 stored pictures, RGB.
        keypoints: (N, 17, 2) float32 stored pixels.
        keypoints_visible: (N, 17) in {0, 1, 2}.
        joint_known: (N, 17) bool.
        box_px: side of the padded box in stored pixels.
    """

    images: np.ndarray
    keypoints: np.ndarray
    keypoints_visible: np.ndarray
    joint_known: np.ndarray
    box_px: int

    def __len__(self) -> int:
        return len(self.images)


def read_people(directories: Sequence[str | Path]) -> People:
    """Read record folders with the plain reader, verified, and decode every picture once.

    Args:
        directories: record folders of one size; 10,000 people of 336 pixels take 3.4 GB.

    Raises:
        DataError: as `pipeline.make_batches`, and for damaged records.
    """
    box_px, stored, sizes = pipeline.stored_sizes(directories)
    images = np.empty((sum(sizes), stored, stored, 3), np.uint8)
    found = []
    for directory in directories:
        for person in records.read_records(directory):
            images[len(found)] = decode_image(person.encoded, person.person_id)
            found.append((person.keypoints, person.keypoints_visible, person.joint_known))
    return People(images, *(np.stack(column) for column in zip(*found, strict=True)), box_px)


# ---- on the device ---------------------------------------------------------------------------------------------------------


def warp(images: object, persons: object, affines: object, size: int) -> object:
    """Bilinear crops of pictures that are already on the device; black beyond their edges, as `geometry.warp`.

    Args:
        images: (N, P, P, 3), uint8 or float.
        persons: (B,) int, which picture each crop comes from.
        affines: (B, 2, 3) float32, crop pixels -> stored pixels (the inverse of `pipeline.crop_map`).
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
    pixels = ops.reshape(images, (-1, 3))
    start = ops.cast(persons, "int32")[:, None] * (side * side)
    crop = 0.0
    for x, across in ((column, 1 - right), (column + 1, right)):
        for y, along in ((row, 1 - down), (row + 1, down)):
            inside = ops.cast((x >= 0) & (x < side) & (y >= 0) & (y < side), "float32")
            at = start + ops.clip(y, 0, side - 1) * side + ops.clip(x, 0, side - 1)
            crop = crop + (inside * across * along)[..., None] * ops.cast(ops.take(pixels, at, axis=0), "float32")
    return ops.reshape(crop, (-1, size, size, 3))


class Crops(layers.Layer):
    """The first layer of a network that trains on the device: who and how go in, pictures come out.

    Args:
        images: (N, P, P, 3) uint8; kept as a weight that is not trained, so that they lie where the network lies.
        input_size: S.

    Call:
        a dict of `person` (B,) int32, `affine` (B, 2, 3) float32 (crop -> stored pixels), `colour` (B, 3, 4) float32 and `hole`
        (B, 4) float32 (`pipeline.Variation`; an empty hole is 0, 0, 0, 0) -> (B, S, S, 3) float32 in 0 ... 255.
    """

    def __init__(self, images: np.ndarray, input_size: int, **options):
        super().__init__(trainable=False, dtype="float32", **options)
        self.input_size = input_size
        self.images = self.add_weight(name="images", shape=images.shape, dtype="uint8", trainable=False)
        self.images.assign(images)
        self.noise = keras.random.SeedGenerator(0)

    def compute_output_shape(self, input_shape: dict) -> tuple:
        """(batch, S, S, 3), whatever comes in."""
        return (None, self.input_size, self.input_size, 3)

    def call(self, how: dict) -> object:
        """See the class."""
        crop = warp(ops.convert_to_tensor(self.images), how["person"], how["affine"], self.input_size)
        colour = how["colour"]
        crop = ops.einsum("bhwc,bdc->bhwd", crop, colour[..., :3]) + colour[:, None, None, :, 3]
        crop = ops.clip(crop, 0, 255)
        left, top, right, bottom = (ops.round(how["hole"][:, k] * self.input_size)[:, None, None] for k in range(4))
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
    augment: pipeline.Augmentation | None = None,
    shuffle: bool = False,
    repeat: bool = False,
    seed: int = 0,
) -> Iterator[tuple[dict, dict]]:
    """Batches for a network that begins with `Crops`. Arguments as in `pipeline.make_batches`.

    Yields:
        ({"person", "affine", "colour", "hole"}, {"keypoints" (B, 17, 3), "visibility" (B, 17, 2)}), numpy arrays. A repeated set is
        cut into whole batches.
    """
    stored, step, epoch = people.images.shape[1], 0, 0
    plain = np.eye(3, 4)
    left = np.arange(0)
    while len(left) or epoch == 0 or repeat:
        while len(left) < batch_size and (epoch == 0 or repeat):
            order = np.random.default_rng((seed, epoch)).permutation(len(people)) if shuffle else np.arange(len(people))
            left, epoch = np.concatenate([left, order]), epoch + 1
        chosen, left = left[:batch_size], left[batch_size:]
        rng = np.random.default_rng((seed, step))
        varied = [augment.draw(rng) if augment else pipeline.Variation() for _ in chosen]
        points, visible, known = (
            column[chosen] for column in (people.keypoints, people.keypoints_visible, people.joint_known)
        )
        affines = np.stack(
            [
                pipeline.crop_map(points[i], visible[i], stored, people.box_px, input_size, variation)
                for i, variation in enumerate(varied)
            ]
        )
        how = {
            "person": chosen.astype(np.int32),
            "affine": np.stack([geometry.invert(affine) for affine in affines]).astype(np.float32),
            "colour": np.stack([plain if v.colour is None else v.colour for v in varied]).astype(np.float32),
            "hole": np.array([v.hole or (0, 0, 0, 0) for v in varied], np.float32),
        }
        flips = np.array([variation.flip for variation in varied])
        places, seen = pipeline.targets(affines, points, visible, known, flips, stored, input_size)
        yield how, {"keypoints": places, "visibility": seen}
        step += 1


def on_device(model: keras.Model, images: np.ndarray, input_size: int) -> keras.Model:
    """The same network, with `Crops` before it: trains on what `make_batches` of this room gives; the weights are shared.

    Args:
        model: from (B, S, S, 3) pictures.
        images: (N, P, P, 3) uint8.
        input_size: S.
    """
    shapes = {"person": (), "affine": (2, 3), "colour": (3, 4), "hole": (4,)}
    how = {
        name: keras.Input(shape, name=name, dtype="int32" if name == "person" else "float32")
        for name, shape in shapes.items()
    }
    return keras.Model(how, model(Crops(images, input_size, name="crops")(how)), name=f"{model.name}_on_device")
