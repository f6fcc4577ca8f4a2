"""Atomic writing of files and folders, locks on outputs, local paths, and the cache folder."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from posekit.errors import DataError

_NO_SPACE = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
"""Start of an address. A single letter is a drive of Windows; `Path` makes one slash of two."""
_COPY = {
    "gs": "gcloud storage cp",
    "s3": "aws s3 cp",
    "s3a": "aws s3 cp",
    "s3n": "aws s3 cp",
    "az": "azcopy copy",
    "abfs": "azcopy copy",
    "abfss": "azcopy copy",
    "wasbs": "azcopy copy",
    "hdfs": "hdfs dfs -cp",
    "http": "curl -LO",
    "https": "curl -LO",
    "ftp": "curl -O",
    "sftp": "scp",
    "ssh": "scp",
    "scp": "scp",
}
"""Scheme of an address -> program that copies from there, and often to there."""
_STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp")
_LONGEST_NAME = 255
"""Bytes in a file's name on common file systems."""
_LONGEST_SUFFIX = 32
"""Bytes in a suffix that may name a format; what follows the dot of "see Fig. 3 ..." does not."""


def is_address(path: str | Path) -> bool:
    """Return whether a text is an address, such as `gs://bucket/x`, and no path."""
    return _ADDRESS.match(str(path)) is not None


def local_path(path: str | Path) -> Path:
    """Return a path on this computer; `~` is the home folder.

    Args:
        path: as given by the user.

    Raises:
        DataError: for an address such as `gs://bucket/x` or `https://host/x`. Without this check it
            would name a folder `gs:` in the working folder. Also for `~` without a home folder.
    """
    match = _ADDRESS.match(str(path))
    if match is None:
        text = str(path)
        is_in_home = re.match(r"~[/\\]|~$", text)
        return _home() / text[1:].lstrip("/\\") if is_in_home else Path(path)
    scheme = match[1].lower()
    address = str(path)
    if "://" not in address:  # a Path has one slash
        address = f"{match[1]}://{address[match.end() :]}"
    if scheme == "file":
        hint = "leave out file://"
    elif scheme in _STREAMS:
        hint = "a stream goes with `posekit webcam --source`"
    else:
        copy = f" with `{_COPY[scheme]}`" if scheme in _COPY else ""
        hint = f"copy the data{copy}, and give a path"
    raise DataError(address, "is an address; expected a path on this computer", hint)


def cache_root() -> Path:
    """Return the folder for generated data and fetched models.

    It is $POSEKIT_CACHE; else `_data/` of the book's checkout that contains the working folder;
    else `~/.cache/posekit`.

    Raises:
        DataError: if POSEKIT_CACHE is an address, or is needed because there is no home folder.
    """
    if os.environ.get("POSEKIT_CACHE"):
        return local_path(os.environ["POSEKIT_CACHE"]).absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file():
            return folder / "_data"
    return _home() / ".cache" / "posekit"


def _home() -> Path:
    """Return the home folder; raise DataError for a user without one, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        hint = "set HOME or POSEKIT_CACHE to a folder that can be written to"
        raise DataError("HOME", "is not set, and this user has no home folder", hint) from None


def hidden_path(path: Path, role: str, *, suffix: str = "") -> Path:
    """Return a hidden path next to `path`: `.NAME.ROLE`, for a lock, a temporary file or the like.

    A name that would be too long for the file system is replaced by a hash of it.

    Args:
        path: its name becomes NAME, without `suffix`.
        role: what the file is for, a short word.
        suffix: the end of `path`'s name that the hidden name shall have, too.
    """
    name = f".{path.name.removesuffix(suffix)}.{role}{suffix}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.{role}{suffix}"
    return path.with_name(name)


def temporary_path(path: Path) -> Path:
    """Return the hidden path next to `path` that `atomic_file` and `atomic_folder` write to."""
    is_format = len(os.fsencode(path.suffix)) <= _LONGEST_SUFFIX
    return hidden_path(path, "part", suffix=path.suffix if is_format else "")


@contextlib.contextmanager
def lock_output(path: str | Path) -> Iterator[None]:
    """Hold a lock on a file or folder that is to be written, for this process alone.

    The operating system releases the lock when the process ends, however it ends. The lock is an
    empty hidden file next to `path`, or inside a folder whose parent cannot be written to.

    Args:
        path: of the output; it need not exist. Parent folders are created, and removed again if
            nothing is in them in the end.

    Raises:
        DataError: when another process holds the lock.
        OSError: when the lock cannot be made there.
    """
    from filelock import FileLock, Timeout

    where = local_path(path)
    path = where.resolve()
    if not path.name:
        raise DataError(where, "is the root of the file system", "give another folder")
    created = [parent for parent in path.parents if not parent.exists()]
    there = next(parent for parent in path.parents if parent not in created)
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    file = _lock_path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise DataError(
                where,
                "another process is writing it",
                "wait until that one has ended, or give another name",
            ) from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows removes it when it is released
                file.unlink(missing_ok=True)
            lock.release()
    finally:
        for parent in created:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _lock_path(path: Path) -> Path:
    lock = hidden_path(path, "lock")
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK) and path.is_dir():
        return path / lock.name
    return lock


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

    Raises:
        DataError: when another process is writing the folder, see `lock_output`.
    """
    path = local_path(path)
    part = temporary_path(path)
    with lock_output(path):
        try:
            shutil.rmtree(part, ignore_errors=True)  # left by a killed process
            part.mkdir(parents=True)
            yield part
            if path.is_dir():
                path.rmdir()
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def atomic_write(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file so that a reader never sees a part of it, see `atomic_file`.

    Parent folders are created.

    Raises:
        DataError: when the disk is full, or `path` is an address.
        OSError: when the file cannot be written otherwise.
    """
    path = local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, durable=durable) as part, full_disk(path, len(data)):
        part.write_bytes(data)


@contextlib.contextmanager
def full_disk(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn the system's "no space left" into a DataError that says how much was needed.

    So are a quota and a limit on the size of files.

    Args:
        path: what is written, for the message.
        needed: bytes; None if they are not known.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        problem = f"the disk is full ({error.strerror})"
        if needed is not None:
            problem += f"; {needed:,} bytes were needed"
        raise DataError(
            path, problem, "free some space and run it again: finished files are kept"
        ) from None
