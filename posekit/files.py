"""Write files so that a reader never sees half of one."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from posekit.errors import DataError

_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


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


def atomic_write(path: Path, data: bytes) -> None:
    """Write a small file so that it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        with full_disk(path, len(data)):
            aside.write_bytes(data)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk(path: Path, needed: int) -> Iterator[None]:
    """Turn the system's "no space left" (or quota, or largest file) into a DataError that says how much was needed."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        problem = f"the disk is full ({error.strerror}); {needed:,} bytes were needed"
        raise DataError(
            path, problem, "make room and run it again: what is there is kept"
        ) from None
