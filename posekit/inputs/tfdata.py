"""Training batches with tf.data: read, parse, cache, shuffle, batch, decode, one warp (chapter 03).

Validation passes `augment=None` and gets the plain centre crop.
"""

import atexit
import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from posekit import records
from posekit.errors import DataError
from posekit.hardware import cores
from posekit.images import aligned, decode_image
from posekit.inputs.augment import Augmentation, AugmentParams
from posekit.inputs.targets import encode_targets, input_affines, render_crop
from posekit.skeleton import NUM_KEYPOINTS

if TYPE_CHECKING:
    import tensorflow as tf

SHUFFLE_BUFFER = 4096
"""Records in the shuffle buffer where the set is not in memory.

They already lie in the order of a hash, so that a small buffer is enough."""


class _ExitGuard(contextlib.ContextDecorator):
    """Wait at exit for TensorFlow's threads to leave our Python function.

    A thread that enters Python while the interpreter shuts down aborts the process. At exit no
    batches are taken any more: the prefetch buffers fill up, and then the threads rest.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.inside = 0
        self.visits = 0

    def __enter__(self):
        with self.lock:
            self.inside += 1
            self.visits += 1

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1

    def wait(self, rest: float = 0.1, longest: float = 10.0) -> None:
        """Return when no thread has entered for `rest` seconds, or after `longest` seconds."""
        since = time.monotonic()
        end = since + longest
        visits = 0
        while self.visits and (now := time.monotonic()) < min(end, since + rest):
            if self.inside or self.visits != visits:
                since = now
                visits = self.visits
            time.sleep(0.005)


_exit_guard = _ExitGuard()
atexit.register(_exit_guard.wait)


def as_folders(directories: Sequence[str | Path] | str | Path) -> list[str | Path]:
    """Return one record folder, or a sequence of them, as a list."""
    return [directories] if isinstance(directories, str | Path) else list(directories)


def stored_sizes(directories: Sequence[str | Path]) -> tuple[int, int, list[int]]:
    """Read the image sizes and the numbers of people of record folders from their manifests.

    Args:
        directories: record folders.

    Returns:
        box_px, stored_px, and the number of people in each folder.

    Raises:
        DataError: when there is no folder, one holds no records, or their sizes differ.
    """
    if not directories:
        raise DataError("records", "no record folder was given", "name at least one")
    manifests = [records.read_manifest(directory) for directory in directories]
    for directory, manifest in zip(directories, manifests, strict=True):
        if "stored_px" not in manifest:
            raise DataError(directory, "its manifest has no stored_px", "build the records again")
    box_px = {manifest["box_px"] for manifest in manifests}
    stored_px = {manifest["stored_px"] for manifest in manifests}
    if len(box_px) > 1 or len(stored_px) > 1:
        raise DataError(
            ", ".join(map(str, directories)),
            f"folders of different sizes: box_px {sorted(box_px)}, stored {sorted(stored_px)}",
            "build them with the same --box-px and --context",
        )
    return box_px.pop(), stored_px.pop(), [manifest["people"] for manifest in manifests]


def record_dataset(
    directories: Sequence[str | Path],
    people: Sequence[int],
    *,
    shuffle: bool,
    seed: int,
    cache_bytes: int,
) -> "tf.data.Dataset":
    """Read the people of record folders, one pass.

    Without `shuffle` people come in the records' order, folder after folder. With it shards are
    read in a random order, several in parallel, folders in proportion to their size, and a buffer
    mixes the people; where the records are kept in memory it holds all of them.

    Args:
        directories: record folders.
        people: number of people in each.
        shuffle: a new order for each pass.
        seed: of the order.
        cache_bytes: the records are kept in memory where they take no more than this.

    Returns:
        dataset of single people, as `parse_records` returns them.
    """
    import tensorflow as tf

    folders = [[str(path) for path in records.shard_paths(folder)] for folder in directories]
    shards = [path for paths in folders for path in paths]
    if shuffle:
        streams = [
            tf.data.Dataset.from_tensor_slices(paths)
            .shuffle(len(paths), seed=seed)
            .interleave(
                tf.data.TFRecordDataset, cycle_length=4, block_length=8, num_parallel_calls=2
            )
            for paths in folders
        ]
        choice = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(people)), people))
        choice = tf.data.Dataset.from_tensor_slices(choice)
        dataset = tf.data.Dataset.choose_from_datasets(streams, choice)
    else:
        dataset = tf.data.TFRecordDataset(shards, buffer_size=1 << 20)
    dataset = dataset.batch(64).map(parse_records, 2).unbatch()
    buffer = SHUFFLE_BUFFER
    if sum(Path(path).stat().st_size for path in shards) <= cache_bytes:
        dataset = dataset.cache()
        buffer = sum(people)
    return dataset.shuffle(buffer, seed=seed) if shuffle else dataset


def parse_records(serialized: "tf.Tensor") -> tuple:
    """Parse serialized records in TensorFlow's graph.

    Args:
        serialized: (B,) strings.

    Returns:
        JPEGs (B,), keypoints (B, 19, 2) float32, keypoints_visible (B, 19) int64, joint_known (B,
        19) int64; the last two joints are neck and head top, with v = 0 where a record does not
        hold them.
    """
    import tensorflow as tf

    features = tf.io.parse_example(
        serialized,
        {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "person/keypoints": tf.io.FixedLenFeature([NUM_KEYPOINTS, 2], tf.float32),
            "person/keypoints_visible": tf.io.FixedLenFeature([NUM_KEYPOINTS], tf.int64),
            "person/joint_known": tf.io.FixedLenFeature([NUM_KEYPOINTS], tf.int64),
            "person/extra": tf.io.FixedLenFeature([2, 3], tf.float32, np.zeros((2, 3))),
        },
    )
    extra = features["person/extra"]
    extra_visible = tf.cast(extra[..., 2], tf.int64)
    return (
        features["image/encoded"],
        tf.concat([features["person/keypoints"], extra[..., :2]], axis=1),
        tf.concat([features["person/keypoints_visible"], extra_visible], axis=1),
        tf.concat([features["person/joint_known"], tf.minimum(extra_visible, 1)], axis=1),
    )


def _decode(jpeg: bytes, directories: Sequence[str | Path]) -> np.ndarray:
    """Decode the image of a record; name shard, record and person of one that cannot be decoded."""
    try:
        return decode_image(jpeg, "record")
    except DataError as error:
        where = records.find_image(directories, jpeg) or "record"
        raise DataError(where, error.problem, "build the records again") from None


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
    num_joints: int = NUM_KEYPOINTS,
) -> "tf.data.Dataset":
    """Make batches for `model.fit` from record folders, on any Keras backend.

    JPEGs stay in memory where they fit into `cache_bytes`; otherwise the shards are read again in
    each epoch. Images are decoded and warped each time they are used, with OpenCV, as in the
    evaluation. The same `seed` gives the same batches on any number of cores (the order also
    depends on TensorFlow's global seed, `keras.utils.set_random_seed`; the augmentation does not).

    Args:
        directories: record folders (each with its manifest.json); several are mixed in proportion
            to their size.
        batch_size: people per batch; the last batch of an unrepeated set may be smaller.
        input_size: side of the network's input in pixels, S.
        augment: strength of the augmentation for training; None for validation.
        shuffle: a new order in each epoch, over the whole set where it is in memory, else within a
            buffer.
        repeat: repeat without end (training), or stop after one pass.
        seed: of order and augmentation.
        cache_bytes: limit on the memory for JPEGs.
        start: skip this many batches at the beginning, without decoding them: to resume a run.
        num_joints: K, 17; or 19: with neck and head top, weight 0 where records do not hold them.

    Returns:
        tf.data.Dataset of (images (B, S, S, 3) uint8, {"keypoints": (B, K, 3), "visibility": (B, K,
        2)} float32), see `targets.encode_targets`.

    Raises:
        DataError: when there is no folder, one holds no records, or their image sizes differ. While
            batches are taken, TensorFlow wraps the error of an image that cannot be decoded; its
            message names shard, record and person.
    """
    import tensorflow as tf

    directories = as_folders(directories)
    box_px, stored_px, people = stored_sizes(directories)

    @_exit_guard
    def crop_batch(step, encoded, *labels):
        keypoints, visible, known = (column[:, :num_joints] for column in labels)
        rng = np.random.default_rng((seed, int(step)))
        images = aligned((len(encoded), input_size, input_size, 3))
        params = [augment.draw(rng) if augment else AugmentParams() for _ in encoded]
        affines = input_affines(keypoints, visible, stored_px, box_px, input_size, params)
        without_person = known[:, :NUM_KEYPOINTS].all(axis=1) & (visible == 0).all(axis=1)
        backgrounds = np.flatnonzero(without_person)
        for i, jpeg in enumerate(encoded):
            background = None
            if params[i].far and len(backgrounds):
                background = _decode(encoded[rng.choice(backgrounds)], directories)
            image = _decode(jpeg, directories)
            render_crop(image, affines[i], params[i], rng, images[i], background)
        flips = np.array([p.flip for p in params])
        return images, *encode_targets(
            affines, keypoints, visible, known, flips, stored_px, input_size
        )

    def to_batch(step, columns):
        types = (tf.uint8, tf.float32, tf.float32)
        images, keypoint_targets, visibility_targets = tf.numpy_function(
            crop_batch, (step, *columns), types, stateful=False
        )
        images.set_shape((None, input_size, input_size, 3))
        keypoint_targets.set_shape((None, num_joints, 3))
        visibility_targets.set_shape((None, num_joints, 2))
        return images, {"keypoints": keypoint_targets, "visibility": visibility_targets}

    dataset = record_dataset(
        directories, people, shuffle=shuffle, seed=seed, cache_bytes=cache_bytes
    )
    if repeat:
        dataset = dataset.repeat()
    dataset = dataset.batch(batch_size).enumerate().skip(start)
    return dataset.map(to_batch, cores()).prefetch(2)
