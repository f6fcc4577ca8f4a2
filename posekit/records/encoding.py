"""Encode people as record payloads on all cores, in order and in constant memory (chapter 03)."""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from posekit.datasets import PersonAnnotation
from posekit.errors import DataError
from posekit.records.schema import CropSettings, encode_person

CHUNK = 16
"""Number of people that a worker encodes at a time."""

_M_TRIM_THRESHOLD = -1  # constants of malloc.h
_M_MMAP_THRESHOLD = -3


@dataclass(frozen=True)
class Skipped:
    """A person who could not be encoded, and why; stands in the place of the payload."""

    person_id: str
    problem: str


def read_spooled(spool: Path, offset: int) -> PersonAnnotation:
    """Read the sample at a byte offset of the spool that `writer` filled."""
    with spool.open("rb") as file:
        file.seek(offset)
        return pickle.load(file)


def encode_at(
    spool: Path, offset: int, settings: CropSettings, skip_errors: bool
) -> bytes | Skipped:
    """Encode the person at a byte offset of the spool.

    Returns:
        the payload; with `skip_errors`, `Skipped` for a person who cannot be encoded.

    Raises:
        DataError: without `skip_errors`, when the person cannot be encoded.
    """
    sample = read_spooled(spool, offset)
    try:
        return encode_person(sample, settings)
    except DataError as error:
        if not skip_errors:
            raise
        return Skipped(sample.person_id, f"{sample.image.name}: {error.problem}")


def _encode_chunk(
    spool: Path, offsets: list[int], settings: CropSettings, skip_errors: bool
) -> list[bytes | Skipped]:
    return [encode_at(spool, offset, settings, skip_errors) for offset in offsets]


@contextmanager
def encode_in_pool(
    spool: Path, settings: CropSettings, workers: int, skip_errors: bool
) -> Iterator[Callable[[list[int]], Iterator[bytes | Skipped]]]:
    """Yield a function that encodes people by a process pool: offsets -> payloads or `Skipped`.

    Args:
        spool: file of the samples.
        settings: how each person is cropped from the photo.
        workers: number of processes; 1 encodes in this process. At most 2 chunks per worker wait in
            memory.
        skip_errors: see `encode_at`.

    Raises:
        DataError: for a person who cannot be encoded, and when a worker was killed.
    """
    if workers == 1:
        yield lambda offsets: (
            encode_at(spool, offset, settings, skip_errors) for offset in offsets
        )
        return
    # spawn: a forked child of a process that runs TensorFlow's threads may hang
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)

    def encode(offsets: list[int]) -> Iterator[bytes | Skipped]:
        waiting: deque[Future] = deque()
        for start in range(0, len(offsets), CHUNK):
            waiting.append(
                pool.submit(
                    _encode_chunk, spool, offsets[start : start + CHUNK], settings, skip_errors
                )
            )
            if len(waiting) > 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()

    try:
        yield encode
    except BrokenProcessPool:
        raise DataError(
            "workers", "a worker process was killed", "perhaps memory ran out: use fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    import cv2

    cv2.setNumThreads(1)
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End with the parent process: a killed parent cannot tell its workers to stop."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def keep_memory() -> None:
    """Keep the memory of freed photos in this process.

    By default glibc gives it back to the system, and the next photo costs thousands of page faults.
    """
    # systems other than Linux have no mallopt, and do not need it
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, megabytes in ((_M_MMAP_THRESHOLD, 32), (_M_TRIM_THRESHOLD, 128)):
            mallopt(parameter, megabytes << 20)
