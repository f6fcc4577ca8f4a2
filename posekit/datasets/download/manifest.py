"""The record of what was downloaded into a folder, and the lock on that folder."""

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from posekit.errors import DataError
from posekit.files import atomic_write, local_path

__all__ = ["Manifest", "check_space", "open_folder"]


class Manifest:
    """The `downloads.json` of a folder: per file url, bytes, sha256 and date. Thread-safe.

    A file without a published checksum is trusted when it is downloaded first; from then on the
    recorded checksum must match.

    Args:
        folder: the folder.
        every: seconds between two writes to disk, so that 60,000 small files do not write it 60,000
            times.

    Raises:
        DataError: when the file cannot be read.
    """

    def __init__(self, folder: str | Path, every: float = 0.0):
        self.folder = Path(folder)
        self._every = every
        self._saved = time.monotonic()
        self._lock = threading.Lock()
        self.path = self.folder / "downloads.json"
        self._files = {}
        if self.path.exists():
            try:
                self._files = json.loads(self.path.read_bytes())["files"]
                assert all(isinstance(entry, dict) for entry in self._files.values())
            except (
                ValueError,
                KeyError,
                TypeError,
                AttributeError,
                AssertionError,
                OSError,
            ) as error:
                hint = "delete it: complete files are then kept and recorded again"
                raise DataError(
                    self.path, f"cannot be read: {type(error).__name__} {error}", hint
                ) from None

    def get(self, path: Path) -> dict:
        """The record of a file; {} if there is none."""
        return self._files.get(self._name(path), {})

    def add(self, path: Path, **entry: object) -> None:
        """Add fields to the record of a file."""
        with self._lock:
            self._files.setdefault(self._name(path), {}).update(entry)
            if time.monotonic() - self._saved >= self._every:
                self._save()

    def save(self) -> None:
        """Write the manifest to disk now."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        text = json.dumps({"version": 1, "files": dict(sorted(self._files.items()))}, indent=1)
        atomic_write(self.path, text.encode())
        self._saved = time.monotonic()

    def _name(self, path: Path) -> str:
        return Path(path).relative_to(self.folder).as_posix()


@contextlib.contextmanager
def open_folder(folder: str | Path, every: float = 0.0) -> Iterator[Manifest]:
    """Create and lock a folder for one downloading process; yield its manifest, saved at the end.

    Raises:
        DataError: when another process is downloading into it, or it cannot be written.
    """
    folder = local_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".downloads.lock", timeout=0):
            manifest = Manifest(folder, every)
            try:
                yield manifest
            finally:
                manifest.save()
    except Timeout:
        raise DataError(
            folder, "another process is downloading into it", "wait for it, or take another folder"
        ) from None
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise DataError(error.filename or folder, problem, "take another folder") from None


def check_space(path: Path, needed: int) -> None:
    """Raise `DataError` when the disk of `path` has less than `needed` bytes free."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise DataError(
            path,
            f"{needed:,} bytes are needed, the disk has {free:,} free",
            "free some space and run it again",
        )
