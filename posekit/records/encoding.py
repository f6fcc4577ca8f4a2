"""Samples into payloads on all cores, in order, few of them in memory (chapter 03)."""

import ctypes
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from posekit.datasets import PersonAnnotation
from posekit.errors import DataError
from posekit.records.schema import CropSettings, encode_person

CHUNK = 16
"""People that a worker takes at a time."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@dataclass(frozen=True)
class Skipped:
    """A person who could not be written, and why: takes the payload's place where bad ones are skipped."""

    person_id: str
    problem: str


def read_spooled(spool: Path, place: int) -> PersonAnnotation:
    """The sample at a place of the spool, which `writing` filled."""
    with spool.open("rb") as file:
        file.seek(place)
        return pickle.load(file)


def encode_at(
    spool: Path, place: int, settings: CropSettings, skip_errors: bool
) -> bytes | Skipped:
    """The payload of the person at a place of the spool; with `skip_errors`, what is wrong with one who cannot be written."""
    sample = read_spooled(spool, place)
    try:
        return encode_person(sample, settings)
    except DataError as error:
        if not skip_errors:
            raise
        return Skipped(sample.person_id, f"{sample.image.name}: {error.problem}")


def _encode_chunk(
    spool: Path, places: list[int], settings: CropSettings, skip_errors: bool
) -> list[bytes | Skipped]:
    return [encode_at(spool, place, settings, skip_errors) for place in places]


@contextmanager
def encode_in_pool(spool: Path, settings: CropSettings, workers: int, skip_errors: bool):
    """A function: places -> payloads (or `Skipped`) in that order, made by `workers` processes, few of them waiting in memory."""
    if workers == 1:
        yield lambda places: (encode_at(spool, place, settings, skip_errors) for place in places)
        return
    # spawn: a forked child of a process that runs TensorFlow's threads may hang
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)

    def encode(places: list[int]) -> Iterator[bytes | Skipped]:
        waiting: deque[Future] = deque()
        for start in range(0, len(places), CHUNK):
            waiting.append(
                pool.submit(
                    _encode_chunk, spool, places[start : start + CHUNK], settings, skip_errors
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
    """A killed parent cannot tell its workers to stop: they watch it."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def keep_memory() -> None:
    """A freed photo stays with this process: glibc gives it back to the system, and the next one pays with thousands of page faults."""
    with suppress(
        AttributeError, OSError, TypeError
    ):  # other systems than Linux have no mallopt, and no need of it
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, megabytes in ((_M_MMAP_THRESHOLD, 32), (_M_TRIM_THRESHOLD, 128)):
            mallopt(parameter, megabytes << 20)
