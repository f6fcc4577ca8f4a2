"""People as TFRecord shards: a writer that uses all cores in constant memory, and a verifying reader (chapter 03).

A record is one person, see `schema`. A folder of records is one set:
    NAME-SPLIT.tfrecord-00000-of-00008 …   the shards
    manifest.json                          counts, digests, arguments; it is put there last, so a folder with one is whole
"""

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pickle
import shutil
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import islice, pairwise
from pathlib import Path

import posekit
from posekit.errors import DataError
from posekit.geometry import PADDING
from posekit.schema import BOXES, SCHEMA_VERSION, CropSettings, PersonRecord, decode_person, encode_person, unusable
from posekit.skeleton import COCO17
from posekit.sources import PersonSample, read_json
from posekit.tfrecord import encode_example, frame, parse_example, read_payloads

__all__ = [
    "BOXES",
    "CropSettings",
    "PersonRecord",
    "decode_person",
    "encode_example",
    "encode_person",
    "parse_example",
    "read_manifest",
    "read_payloads",
    "read_records",
    "shard_paths",
    "write_records",
]

MANIFEST = "manifest.json"

_PARTIAL = ".partial"
_CHUNK = 16

# ---- writing ---------------------------------------------------------------------------------------------------------------


def write_records(
    samples: Iterable[PersonSample],
    out: str | Path,
    name: str,
    split: str,
    *,
    box: str = "annotation",
    context: float = 1.5,
    box_px: int = 224,
    padding: float = PADDING,
    shards: int = 8,
    workers: int = 1,
    seed: int = 0,
    left_out: Counter | None = None,
    progress: bool = True,
) -> dict:
    """Write people as TFRecord shards, in an order shuffled by a hash of `person_id`.

    The bytes depend on the samples, their photos, the settings, `shards` and `seed`; not on the order of the samples nor on
    `workers`. Memory stays constant: the samples are spooled to disk, photos are read one at a time. Everything is written
    into `OUT/.partial` and moved when it is whole; when anything goes wrong nothing stays.

    Args:
        samples: the people; may be a generator.
        out: a new folder, or one without records: a folder holds one set.
        name: data set name, as in `NAME-SPLIT.tfrecord-…`.
        split: `"train"`, `"val"` or `"test"`.
        box, context, box_px, padding: see `CropSettings`.
        shards: number of files; at most one a person.
        workers: processes; 1 works in this one.
        seed: of the order.
        left_out: what the reader of `samples` left out so far and goes on counting; people who have no box are added.
        progress: show a bar on stderr.

    Returns:
        The manifest.

    Raises:
        DataError: when the folder cannot be used, there is nobody to write, two people have one id, or a sample or its
            photo cannot be used.
    """
    settings = CropSettings(box, context, box_px, padding)
    for argument, value in (("shards", shards), ("workers", workers)):
        if value < 1:
            raise DataError(argument, f"is {value}", "expected a whole number >= 1")
    left_out = Counter() if left_out is None else left_out
    out = Path(out)
    with _written_aside(out) as partial:
        spool = partial / "samples.spool"
        order = _spool(samples, spool, settings, seed, left_out)
        if not order:
            reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.items()) or "the source is empty"
            raise DataError(out, f"nobody to write for split {split!r} of {name}: {reasons}", "check source and split")
        shards = min(shards, len(order))
        bounds = [len(order) * i // shards for i in range(shards + 1)]
        workers = min(workers, -(-len(order) // _CHUNK))
        written = []
        with _encoder(spool, settings, workers) as encode, _bar(len(order), progress) as bar:
            payloads = encode(order)
            for i, (start, stop) in enumerate(pairwise(bounds)):
                path = partial / f"{name}-{split}.tfrecord-{i:05d}-of-{shards:05d}"
                written.append(_write_shard(path, islice(payloads, stop - start), bar))
        spool.unlink()
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "posekit_version": posekit.__version__,
            "dataset": name,
            "split": split,
            "people": len(order),
            "skeleton": COCO17.name,
            **asdict(settings),
            "stored_px": settings.stored_px,
            "seed": seed,
            "left_out": dict(sorted(left_out.items())),
            "digest": hashlib.sha256("".join(shard["sha256"] for shard in written).encode()).hexdigest(),
            "arguments": {"name": name, "split": split, **asdict(settings), "shards": shards, "seed": seed},
            "shards": written,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        for shard in written:
            (partial / shard["file"]).rename(out / shard["file"])
        (partial / MANIFEST).rename(out / MANIFEST)
    return manifest


@contextmanager
def _written_aside(out: Path) -> Iterator[Path]:
    """A hidden folder in `out` to write into; when the block fails, it goes, and so does all that was created for it."""
    partial, created = out / _PARTIAL, []
    try:
        names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
        if taken := [name for name in names if name == MANIFEST or ".tfrecord-" in name]:
            raise DataError(out, f"already holds records ({taken[0]} …)", "give a new folder, or remove this one first")
        try:
            for folder in reversed([folder for folder in (out, *out.parents) if not folder.exists()]):
                folder.mkdir()
                created.append(folder)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            yield partial
            partial.rmdir()
        except BaseException:
            for path in (*out.glob("*.tfrecord-*"), out / MANIFEST):
                path.unlink(missing_ok=True)
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except BaseException as error:
        with suppress(OSError):
            for folder in reversed(created):
                folder.rmdir()
        if isinstance(error, OSError):
            problem = f"cannot be written: {error.strerror or error}"
            raise DataError(out, problem, "check the path, its permissions and the free space") from None
        raise


def _spool(
    samples: Iterable[PersonSample], spool: Path, settings: CropSettings, seed: int, left_out: Counter
) -> list[int]:
    """Put the samples into one file, and return their places in it in the order in which they are to be written."""
    places = []
    with spool.open("wb") as file:
        for sample in samples:
            if reason := unusable(sample, settings.box):
                left_out[reason] += 1
                continue
            places.append((hashlib.sha256(f"{seed}/{sample.person_id}".encode()).digest(), file.tell()))
            pickle.dump(sample, file, pickle.HIGHEST_PROTOCOL)
    places.sort()
    for (key, place), (next_key, _) in pairwise(places):
        if key == next_key:
            sample = _unspool(spool, place)
            raise DataError(
                sample.image, f"two people with the id {sample.person_id!r}", "every person needs an id of their own"
            )
    return [place for _, place in places]


def _unspool(spool: Path, place: int) -> PersonSample:
    with spool.open("rb") as file:
        file.seek(place)
        return pickle.load(file)


def _encode_chunk(spool: Path, places: list[int], settings: CropSettings) -> list[bytes]:
    return [encode_person(_unspool(spool, place), settings) for place in places]


@contextmanager
def _encoder(spool: Path, settings: CropSettings, workers: int):
    """A function: places -> payloads in that order, made by `workers` processes, few of them waiting in memory."""
    if workers == 1:
        yield lambda places: (encode_person(_unspool(spool, place), settings) for place in places)
        return
    # spawn: a forked child of a process that runs TensorFlow's threads may hang
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker)

    def encode(places: list[int]) -> Iterator[bytes]:
        waiting: deque[Future] = deque()
        for start in range(0, len(places), _CHUNK):
            waiting.append(pool.submit(_encode_chunk, spool, places[start : start + _CHUNK], settings))
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A killed parent cannot tell its workers to stop: they watch it."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _write_shard(path: Path, payloads: Iterator[bytes], bar) -> dict:
    """One shard file; returns its entry in the manifest."""
    digest, people, size = hashlib.sha256(), 0, 0
    with path.open("wb") as file:
        for payload in payloads:
            framed = frame(payload)
            file.write(framed)
            digest.update(framed)
            people, size = people + 1, size + len(framed)
            bar.update()
        file.flush()
        os.fsync(file.fileno())
    return {"file": path.name, "people": people, "bytes": size, "sha256": digest.hexdigest()}


def _bar(total: int, progress: bool):
    from tqdm import tqdm

    return tqdm(total=total, desc="people", unit="", disable=not progress, file=sys.stderr)


# ---- reading ---------------------------------------------------------------------------------------------------------------


def read_manifest(directory: str | Path) -> dict:
    """The manifest of a record folder.

    Raises:
        DataError: when there is none, it is broken, or of a schema that this posekit does not read.
    """
    path = Path(directory) / MANIFEST
    if not path.is_file():
        raise DataError(directory, f"no records: no {MANIFEST} there", "build them with build_tfrecords.py")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        version = manifest.get("schema_version") if isinstance(manifest, dict) else None
        raise DataError(path, f"schema version {version!r}, expected {SCHEMA_VERSION}", "build the records again")
    return manifest


def shard_paths(directory: str | Path) -> list[Path]:
    """The shards that the manifest lists, in order.

    Raises:
        DataError: when one of them is missing or does not have the size that the manifest says.
    """
    paths = []
    for shard in sorted(read_manifest(directory)["shards"], key=lambda shard: shard["file"]):
        path = Path(directory) / shard["file"]
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            problem = "is missing" if size is None else f"has {size} bytes, the manifest says {shard['bytes']}"
            raise DataError(path, problem, "copy or build the records again")
        paths.append(path)
    return paths


def read_records(directory: str | Path) -> Iterator[PersonRecord]:
    """The people of a record folder, shard by shard, each record verified.

    Raises:
        DataError: naming the shard, and the byte or the record, when something is missing or damaged.
    """
    for path in shard_paths(directory):
        for number, payload in enumerate(read_payloads(path)):
            yield decode_person(payload, f"{path}, record {number}")
