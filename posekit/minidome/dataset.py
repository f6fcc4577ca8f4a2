"""The chapters' own data set: two MiniDome sequences and their records, made once and kept (chapters 01, 03)."""

import contextlib
import hashlib
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from posekit.errors import DataError

TRAIN = {"frames": 400, "seed": 1}
VAL = {"frames": 80, "seed": 2}

_WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class Dataset:
    """Where the embedded data set is.

    Args:
        train, val: the sequences, in CMU Panoptic's layout with COCO annotations.
        train_records, val_records: their TFRecords.
    """

    train: Path
    val: Path
    train_records: Path
    val_records: Path


def cache_root() -> Path:
    """Where made data is kept: $POSEKIT_CACHE; else `_data/` of the book's checkout that the working folder lies in;
    else `~/.cache/posekit`."""
    if os.environ.get("POSEKIT_CACHE"):
        return Path(os.environ["POSEKIT_CACHE"]).expanduser().absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file():
            return folder / "_data"
    return Path.home() / ".cache" / "posekit"


def fingerprint() -> str:
    """Twelve hex digits over everything the data set depends on: another generator gets another folder."""
    package = Path(__file__).parent
    sources = sorted(package.glob("*.py")) + sorted((package.parent / "sources").glob("*.py"))
    sources += sorted((package.parent / "records").glob("*.py"))
    names = ("geometry", "images", "schema", "skeleton", "tfrecord")
    sources += [package.parent / f"{name}.py" for name in names]
    digest = hashlib.sha256(repr((TRAIN, VAL)).encode())
    for path in sources:
        if path.is_file():
            digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:12]


def dataset(progress: bool = True) -> Dataset:
    """The embedded data set; made at the first call (about a minute on two cores), found at every other.

    Any number of notebooks may call this at once: one makes it, the others wait.

    Args:
        progress: show progress bars while it is made.

    Returns:
        Where it is.

    Raises:
        DataError: when the folder cannot be written, or in a script without the guard that worker processes need.
    """
    root = cache_root()
    home = root / f"minidome-{fingerprint()}"
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
            lock = root / f".{home.name}.lock"
            with _lock(lock):
                if not home.is_dir():
                    _make(home, progress)
            with contextlib.suppress(OSError):  # whoever still waits on it finds the data set made
                lock.unlink()
        except OSError as error:
            hint = "set POSEKIT_CACHE to a writable folder"
            raise DataError(
                root, f"cannot keep the data set here: {error.strerror or error}", hint
            ) from error
    return Dataset(home / "train", home / "val", home / "train-records", home / "val-records")


def _make(home: Path, progress: bool) -> None:
    from posekit.datasets import coco
    from posekit.minidome.sequence import make_sequence
    from posekit.records import write_records

    partial = home.with_name(f".{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        for name, arguments in (("train", TRAIN), ("val", VAL)):
            sequence, records = partial / name, partial / f"{name}-records"
            make_sequence(sequence, **arguments, progress=progress)
            annotations = sequence / "annotations" / f"person_keypoints_{name}.json"
            samples = coco.read(annotations, sequence, dataset="minidome")
            shards = 8 if name == "train" else 2
            write_records(
                samples, records, "minidome", name, shards=shards, workers=2, progress=progress
            )
        partial.rename(home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for old in home.parent.glob("minidome-" + "[0-9a-f]" * 12):
        with contextlib.suppress(OSError):
            if old != home and time.time() - old.stat().st_mtime > _WEEK:
                shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a file lock; the system frees it when the process ends, however it ends."""
    with path.open("a+b") as file:
        said = False
        while not _try_lock(file):
            if not said:
                print(
                    "waiting for another process that makes the MiniDome data set …",
                    file=sys.stderr,
                )
                said = True
            time.sleep(0.5)
        yield


def _try_lock(file) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except PermissionError:
        if os.name == "nt":  # how Windows says that somebody else has it
            return False
        raise
    return True
