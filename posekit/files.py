"""Atomic writing of files and folders, and the cache folder."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from posekit.errors import DataError

_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def cache_root() -> Path:
    """Return the folder for generated data and fetched models.

    It is $POSEKIT_CACHE; else `_data/` of the book's checkout that contains the working folder;
    else `~/.cache/posekit`.
    """
    if os.environ.get("POSEKIT_CACHE"):
        return Path(os.environ["POSEKIT_CACHE"]).expanduser().absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file():
            return folder / "_data"
    return Path.home() / ".cache" / "posekit"


def temporary_path(path: Path) -> Path:
    """Return the hidden path next to `path` that `atomic_file` and `atomic_folder` write to."""
    return path.with_name(f".{path.stem}.part{path.suffix}")


@contextlib.contextmanager
def atomic_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path for a file that appears under its name when the block succeeds.

    Args:
        path: of the file; an older file of that name is replaced. The temporary path has the same
            suffix, from which libraries infer the format.
        durable: wait until the data are on the disk, so that the file survives a power cut.
    """
    part = temporary_path(path)
    try:
        yield part
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that appears under its name when the block succeeds.

    When the block fails the folder is removed, and so are parents that were created for it.

    Args:
        path: of the folder; it must not exist, or be empty.
    """
    created = [parent for parent in path.parents if not parent.exists()]
    part = temporary_path(path)
    try:
        shutil.rmtree(part, ignore_errors=True)  # left by a killed process
        part.mkdir(parents=True)
        yield part
        if path.is_dir():
            path.rmdir()
        part.rename(path)
        created = []
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for parent in created:
            with contextlib.suppress(OSError):
                parent.rmdir()


def atomic_write(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file so that a reader never sees a part of it, see `atomic_file`.

    Parent folders are created.

    Raises:
        DataError: when the disk is full.
        OSError: when the file cannot be written otherwise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, durable=durable) as part, full_disk(path, len(data)):
        part.write_bytes(data)


@contextlib.contextmanager
def full_disk(path: Path, needed: int) -> Iterator[None]:
    """Turn the system's "no space left" into a DataError that says how much was needed.

    So are a quota and a limit on the size of files.

    Args:
        path: what is written, for the message.
        needed: bytes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        problem = f"the disk is full ({error.strerror}); {needed:,} bytes were needed"
        raise DataError(
            path, problem, "free some space and run it again: finished files are kept"
        ) from None
