"""From TFRecord shards to training batches with tf.data: read, parse, decode, cache, shuffle, batch, one warp (chapter 03).

Scale, rotation, shift and mirror are one affine map, so that each picture is resampled exactly once, straight from the
stored context crop to the network's input. Validation passes `augment=None` and gets the plain centre crop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit import geometry, records
from posekit.errors import DataError
from posekit.skeleton import COCO17

K = len(COCO17)


@dataclass(frozen=True)
class Augmentation:
    """How far training pictures are varied. Every value 0 gives the plain centre crop.

    Args:
        flip: probability of mirroring (left and right labels are swapped with it).
        rotation: degrees, the largest turn to either side, uniform.
        scale: largest zoom as a share: 0.25 draws a factor from 1 / 1.25 ... 1.25, log-uniform.
        shift: largest displacement along each axis in shares of the crop, uniform.
        colour: strength of brightness, contrast and colour-cast changes, 0 ... 1.
    """

    flip: float = 0.5
    rotation: float = 20.0
    scale: float = 0.2
    shift: float = 0.06
    colour: float = 0.2

    def draw(self, rng: np.random.Generator) -> dict:
        """One random choice of everything but the colour: the arguments of `geometry.crop_affine`, and the zoom."""
        return {
            "flip": bool(rng.random() < self.flip),
            "rotation": float(rng.uniform(-1, 1) * self.rotation),
            "zoom": float((1 + self.scale) ** rng.uniform(-1, 1)),
            "shift": tuple(rng.uniform(-1, 1, 2) * self.shift),
        }

    def colour_table(self, rng: np.random.Generator) -> np.ndarray:
        """A random tone curve for each channel, (256, 3) uint8: contrast, brightness and colour cast in one look-up."""
        contrast = 1 + self.colour * rng.uniform(-1, 1)
        brightness = 255 * self.colour * rng.uniform(-0.5, 0.5)
        cast = 1 + 0.4 * self.colour * rng.uniform(-1, 1, 3)
        tone = (np.arange(256)[:, None] - 127.5) * contrast + 127.5 + brightness
        return np.clip(tone * cast, 0, 255).astype(np.uint8)


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
        joint_known: (17,) bool, see `PersonSample`.
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
    import cv2

    stored = image.shape[0]
    center, side, keypoints_visible = np.full(2, (stored - 1) / 2), float(box_px), np.asarray(keypoints_visible)
    order = slice(None)
    if augment is None:
        affine = geometry.crop_affine(center, side, input_size)
    else:
        choice = augment.draw(rng)
        zoom = choice.pop("zoom")
        affine = geometry.crop_affine(center, side / zoom, input_size, **choice)
        if choice["flip"]:
            order = list(COCO17.flip_indices)
    crop = geometry.warp(image, affine, (input_size, input_size))
    if augment is not None and augment.colour > 0:
        crop = cv2.LUT(crop, augment.colour_table(rng)[None])

    points = geometry.apply_affine(affine, keypoints)
    shown = geometry.inside(points, (input_size, input_size)) & geometry.inside(keypoints, (stored, stored))
    points, inside = points[order], (shown & (keypoints_visible >= 1))[order]
    known = np.asarray(joint_known, bool)[order]
    normalised = np.where(inside[:, None], geometry.encode_keypoints(points, (input_size, input_size)), 0)
    keypoint_target = np.concatenate([normalised, inside[:, None]], axis=1).astype(np.float32)
    visibility_target = np.stack([inside, known], axis=1).astype(np.float32)
    return crop, keypoint_target, visibility_target


def parse(serialized):
    """One tf.train.Example -> (image (S, S, 3) uint8, keypoints (17, 2), visible (17,), known (17,)), in TensorFlow's graph."""
    import tensorflow as tf

    features = tf.io.parse_single_example(
        serialized,
        {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "person/keypoints": tf.io.FixedLenFeature([K, 2], tf.float32),
            "person/keypoints_visible": tf.io.FixedLenFeature([K], tf.int64),
            "person/joint_known": tf.io.FixedLenFeature([K], tf.int64),
        },
    )
    image = tf.io.decode_jpeg(features["image/encoded"], channels=3)
    return image, features["person/keypoints"], features["person/keypoints_visible"], features["person/joint_known"]


def make_batches(
    directories: Sequence[str | Path] | str | Path,
    batch_size: int = 64,
    *,
    input_size: int = 224,
    augment: Augmentation | None = None,
    shuffle: bool = False,
    repeat: bool = False,
    seed: int = 0,
    cache_bytes: int = 6 << 30,
):
    """Batches for `model.fit` from one or more record folders.

    The decoded pictures stay in memory where they fit into `cache_bytes`; else the shards are read and decoded anew each
    epoch. The same `seed` gives the same batches, whatever the number of cores (the order also depends on TensorFlow's
    global seed, `keras.utils.set_random_seed`; the variation does not).

    Args:
        directories: record folders (each with its manifest.json); several are mixed in proportion to their size.
        batch_size: people a batch; the last batch of an unrepeated set may be smaller.
        input_size: side of the network's input in pixels.
        augment: variation for training; None for validation.
        shuffle: a new order each epoch, over the whole set.
        repeat: go on for ever (training), or stop after one pass.
        seed: of order and variation.
        cache_bytes: how much memory the decoded pictures may take.

    Returns:
        tf.data.Dataset of (images (B, S, S, 3) float32 in 0 ... 255,
        {"keypoints": (B, 17, 3), "visibility": (B, 17, 2)}); see `crop_person` for the targets.

    Raises:
        DataError: when there is no folder, one holds no records, or they hold pictures of different sizes.
    """
    import tensorflow as tf

    directories = [directories] if isinstance(directories, str | Path) else list(directories)
    if not directories:
        raise DataError("records", "no folder of records was given", "name at least one")
    manifests = [records.read_manifest(d) for d in directories]
    shards = [str(path) for d in directories for path in records.shard_paths(d)]
    box_px = {m["box_px"] for m in manifests}
    stored = {m["stored_px"] for m in manifests}
    if len(box_px) > 1 or len(stored) > 1:
        raise DataError(
            ", ".join(map(str, directories)),
            f"folders of different sizes: box_px {sorted(box_px)}, stored {sorted(stored)}",
            "build them with the same --box-px and --context",
        )
    people = sum(m["people"] for m in manifests)
    box_px, stored = box_px.pop(), stored.pop()

    dataset = tf.data.TFRecordDataset(shards, buffer_size=1 << 20)
    if people * stored * stored * 3 <= cache_bytes:
        dataset = dataset.map(parse, tf.data.AUTOTUNE).cache()
        if shuffle:
            dataset = dataset.shuffle(people, seed=seed)
        dataset = dataset.repeat() if repeat else dataset
    else:
        if shuffle:
            dataset = dataset.shuffle(people, seed=seed)
        dataset = (dataset.repeat() if repeat else dataset).map(parse, tf.data.AUTOTUNE)

    def crop_batch(step, images, keypoints, visible, known):
        crops = [
            crop_person(
                *person,
                box_px=box_px,
                input_size=input_size,
                augment=augment,
                rng=np.random.default_rng((seed, int(step), i)) if augment else None,
            )
            for i, person in enumerate(zip(images, keypoints, visible, known, strict=True))
        ]
        return tuple(np.stack(column) for column in zip(*crops, strict=True))

    def to_model(step, batch):
        types = (tf.uint8, tf.float32, tf.float32)
        images, keypoints, visibility = tf.numpy_function(crop_batch, (step, *batch), types, stateful=False)
        images.set_shape((None, input_size, input_size, 3))
        keypoints.set_shape((None, K, 3))
        visibility.set_shape((None, K, 2))
        return tf.cast(images, tf.float32), {"keypoints": keypoints, "visibility": visibility}

    return dataset.batch(batch_size).enumerate().map(to_model, tf.data.AUTOTUNE).prefetch(2)
