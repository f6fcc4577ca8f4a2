"""The embedded data set: two MiniDome sequences and their records, generated once and cached
(chapters 01, 03)."""

import contextlib
import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from posekit.errors import DataError
from posekit.files import atomic_folder, cache_root

TRAIN = {"frames": 400, "seed": 1}
VAL = {"frames": 80, "seed": 2}

GENERATOR_VERSION = 3
"""Part of the data folder's name: raise it when the generator's output changes (a test compares a
golden digest)."""


@dataclass(frozen=True)
class Dataset:
    """Folders of the embedded data set.

    Args:
        train, val: the sequences, in CMU Panoptic's layout with COCO annotations.
        train_records, val_records: their TFRecords.
    """

    train: Path
    val: Path
    train_records: Path
    val_records: Path


def dataset(progress: bool = True) -> Dataset:
    """Return the embedded data set; the first call generates it (about a minute on two cores).

    Concurrent calls are safe: one process generates, the others wait.

    Args:
        progress: show progress bars while it is made.

    Returns:
        Where it is.

    Raises:
        DataError: when the folder cannot be written, or in a script without the guard that worker
            processes need.
    """
    root = cache_root()
    home = root / f"minidome-v{GENERATOR_VERSION}"
    if not home.is_dir():
        if getattr(
            multiprocessing.current_process(), "_inheriting", False
        ):  # a worker still starting, as CPython asks it
            # It would wait for ever on the lock that its parent holds.
            hint = 'put the script\'s own code below `if __name__ == "__main__":`'
            raise DataError(
                "minidome.dataset()",
                "called again by a worker process while the data set is made",
                hint,
            )
        try:
            root.mkdir(parents=True, exist_ok=True)
            # Not the lock of `atomic_folder`, at which a second process is refused: here it waits.
            lock = root / f".{home.name}.make.lock"
            with _build_lock(lock):
                if not home.is_dir():
                    _make(home, progress)
            with contextlib.suppress(OSError):  # a waiting process finds the data set made
                lock.unlink()
        except OSError as error:
            hint = "set POSEKIT_CACHE to a writable folder"
            raise DataError(
                root, f"cannot keep the data set here: {error.strerror or error}", hint
            ) from error
    return Dataset(home / "train", home / "val", home / "train-records", home / "val-records")


@contextlib.contextmanager
def _build_lock(path: Path) -> Iterator[None]:
    """Hold a lock file; the operating system releases it when the process ends, however it ends."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print("waiting for another process that makes the MiniDome data set …", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(home: Path, progress: bool) -> None:
    from posekit.datasets import coco
    from posekit.minidome.sequence import make_sequence
    from posekit.records import write_records

    with atomic_folder(home) as partial:
        for name, arguments in (("train", TRAIN), ("val", VAL)):
            sequence = partial / name
            records = partial / f"{name}-records"
            make_sequence(sequence, **arguments, progress=progress)
            annotations = sequence / "annotations" / f"person_keypoints_{name}.json"
            samples = coco.read(annotations, sequence, dataset="minidome")
            shards = 8 if name == "train" else 2
            write_records(
                samples, records, "minidome", name, shards=shards, workers=2, progress=progress
            )
