"""A real file system of a few kilobytes, to be filled, or one that can only be read."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "300k", *, read_only: bool = False) -> Iterator[Path]:
    """Mount a file system in memory; skip the test where that is not allowed.

    Args:
        folder: where; made if needed.
        size: as `mount` takes it.
        read_only: refuse all writing.
    """
    folder.mkdir(exist_ok=True)
    options = f"size={size}{',ro' if read_only else ''}"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        refused = subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        refused = True
    if refused:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def grow(folder: Path, size: str) -> None:
    """Give the file system of `small_disk` another size, as if space had been freed."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
