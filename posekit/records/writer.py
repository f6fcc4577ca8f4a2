"""Writer of record folders: shuffled by a hash, atomic and resumable (chapter 03)."""

import hashlib
import json
import pickle
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

import posekit
from posekit.datasets import PersonAnnotation, read_json
from posekit.errors import DataError
from posekit.files import atomic_file, atomic_write, local_path, lock_output
from posekit.records.encoding import CHUNK, Skipped, encode_in_pool, read_spooled
from posekit.records.reader import MANIFEST, read_manifest
from posekit.records.schema import SCHEMA_VERSION, CropSettings, reason_unusable
from posekit.records.tfrecord import frame_record
from posekit.skeleton import COCO17

_STAGING = ".partial"
_CONFIG = "plan.json"
_SPOOL = "samples.spool"
_DEFAULT_SETTINGS = CropSettings()


@dataclass(frozen=True)
class WriterConfig:
    """Settings that, with the samples and their photos, determine the bytes of a record folder.

    The same config gives the same bytes, on any number of workers, in one run or in several.

    Args:
        dataset: name of the data set, as in `DATASET-SPLIT.tfrecord-…`.
        split: as in `DATASET-SPLIT.tfrecord-…`.
        settings: how each person is cropped from the photo.
        shards: number of files.
        seed: of the order.
    """

    dataset: str
    split: str
    settings: CropSettings = _DEFAULT_SETTINGS
    shards: int = 8
    seed: int = 0

    def sort_key(self, person_id: str) -> bytes:
        """Return the hash of a person, (32,) bytes: people are written in the order of these."""
        return hashlib.sha256(f"{self.seed}/{person_id}".encode()).digest()

    def files(self, people: int) -> list[tuple[str, int, int]]:
        """Return (file name, first person, last person + 1) of each shard.

        There is at most one shard per person.
        """
        count = min(self.shards, people)
        bounds = [people * i // count for i in range(count + 1)]
        return [
            (f"{self.dataset}-{self.split}.tfrecord-{i:05d}-of-{count:05d}", start, stop)
            for i, (start, stop) in enumerate(pairwise(bounds))
        ]

    def arguments(self) -> dict:
        """Return the config as a manifest states it."""
        return {
            "name": self.dataset,
            "split": self.split,
            **self.settings.as_manifest(),
            "shards": self.shards,
            "seed": self.seed,
        }

    def manifest(
        self, shards: list[dict], samples: str, filtered: dict, skipped: list[dict]
    ) -> dict:
        """Return the manifest of the set.

        Args:
            shards: entries, as `write_shard` returns them.
            samples: SHA-256 over `digest_of` of all samples.
            filtered: reason -> number of annotations that were left out.
            skipped: `person_id` and `problem` of people who could not be written.
        """
        digests = "".join(shard["sha256"] for shard in shards)
        return {
            "schema_version": SCHEMA_VERSION,
            "posekit_version": posekit.__version__,
            "dataset": self.dataset,
            "split": self.split,
            "people": sum(shard["people"] for shard in shards),
            "skeleton": COCO17.name,
            **self.settings.as_manifest(),
            "stored_px": self.settings.stored_px,
            "seed": self.seed,
            "filtered": dict(sorted(filtered.items())),
            "skipped": skipped,
            "samples": samples,
            "digest": hashlib.sha256(digests.encode()).hexdigest(),
            "arguments": self.arguments(),
            "shards": shards,
        }


@dataclass(frozen=True)
class ShardJob:
    """Shards to write, with everything needed for it: any process that sees the paths can do it.

    Args:
        folder: where the shards go.
        files: (file name, first person, last person + 1) of each.
        order: byte offsets in the spool of all people of the set, in order.
        spool: file of the samples.
        settings: how each person is cropped from the photo.
        skip_errors: list people who cannot be written, instead of stopping at the first.
    """

    folder: Path
    files: list[tuple[str, int, int]]
    order: list[int]
    spool: Path
    settings: CropSettings
    skip_errors: bool


def digest_of(sample: PersonAnnotation) -> bytes:
    """Hash all data of a person except the photo's pixels and folder, (32,) bytes."""
    digest = hashlib.sha256()
    for text in (
        sample.person_id,
        sample.source_id,
        sample.dataset,
        sample.image.name,
        repr(float(sample.area)),
        repr(sample.as_displayed),
    ):
        digest.update(text.encode() + b"\0")
    for array in (sample.keypoints, sample.keypoints_visible, sample.joint_known, sample.bbox):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    if sample.extra_keypoints is not None:
        digest.update(sample.extra_keypoints.tobytes())
    return digest.digest()


def write_records(
    samples: Iterable[PersonAnnotation],
    out: str | Path,
    dataset: str,
    split: str,
    settings: CropSettings = _DEFAULT_SETTINGS,
    *,
    shards: int = 8,
    seed: int = 0,
    workers: int = 1,
    resume: bool = False,
    skip_errors: bool = False,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
    progress: bool = True,
    executor: Callable[[ShardJob], dict[str, dict]] | None = None,
) -> dict:
    """Write people as TFRecord shards, in an order shuffled by a hash of `person_id`.

    The bytes depend on the samples, their photos, the settings, `shards` and `seed`; not on the
    order of the samples, on `workers` or on interruptions. Memory stays constant: samples are
    spooled to disk, and photos are read one at a time. All files are written into `OUT/.partial`
    and moved when the set is complete; after an error nothing is left. Only a process that is
    killed leaves `.partial` behind, for `resume` or to be replaced by the next run.

    Args:
        samples: the people; may be a generator.
        out: a new folder, or one without records: a folder holds one set.
        dataset: name of the data set, as in `DATASET-SPLIT.tfrecord-…`.
        split: `"train"`, `"val"` or `"test"`.
        settings: how each person is cropped from the photo.
        shards: number of files, >= 1; there is at most one per person.
        seed: of the order.
        workers: number of processes, >= 1; 1 encodes in this process.
        resume: keep finished shards of an interrupted run with the same samples and arguments, and
            write the others. Without such a run everything is written; a complete set is left as it
            is. When this run stops early it leaves its finished shards, too.
        skip_errors: leave out people whose photo cannot be used, and list them in the manifest,
            instead of stopping at the first.
        filtered: counts what the reader of `samples` leaves out, while it reads; people without a
            usable box are added.
        skipped: lists people whom the reader of `samples` skips, see `datasets.read`.
        progress: show a progress bar on stderr.
        executor: writes the shards instead of processes on this machine and returns the entries of
            `write_shard` by file name, see `posekit.records.beam`.

    Returns:
        The manifest.

    Raises:
        DataError: when the folder cannot be used, another process is writing it, there are no
            people to write, two people have the same id, a sample or its photo cannot be used, or
            the run to be resumed had other arguments or samples.
    """
    for argument, value in (("shards", shards), ("workers", workers)):
        if value < 1:
            raise DataError(argument, f"is {value}", "expected a whole number >= 1")
    out = local_path(out)
    config = WriterConfig(dataset, split, settings, shards, seed)
    filtered = Counter() if filtered is None else filtered
    with _staging_folder(out, resume) as staging:
        order, digest = _spool(samples, staging / _SPOOL, config, filtered)
        if not order:
            reasons = ", ".join(f"{n} {reason}" for reason, n in filtered.items())
            raise DataError(
                out,
                f"no people to write for split {split!r} of {dataset}: "
                f"{reasons or 'the source is empty'}",
                "check source and split",
            )
        begun = {**config.arguments(), "people": len(order), "samples": digest}
        if resume and (out / MANIFEST).is_file():
            return _complete_set(out, begun, skipped)
        if (staging / _CONFIG).is_file():
            _require_same_run(read_json(staging / _CONFIG), begun, out)
        else:
            _write_json(staging / _CONFIG, begun)
        files = config.files(len(order))
        written = {file: entry for file, *_ in files if (entry := _finished(staging / file))}
        missing = [file for file in files if file[0] not in written]
        job = ShardJob(staging, missing, order, staging / _SPOOL, settings, skip_errors)
        written |= executor(job) if executor else _write_here(job, workers, progress)
        entries = [written[file] for file, *_ in files]
        unwritten = [person for entry in entries for person in entry.pop("skipped")]
        if len(unwritten) == len(order):
            raise DataError(
                out,
                f"no people are left: all {len(order)} were skipped",
                f"the first: {unwritten[0]['problem']}",
            )
        manifest = config.manifest(entries, digest, filtered, [*(skipped or ()), *unwritten])
        _write_json(staging / MANIFEST, manifest)
        for entry in entries:
            (staging / entry["file"]).replace(out / entry["file"])
        (staging / MANIFEST).replace(out / MANIFEST)
    return manifest


def _complete_set(out: Path, begun: dict, skipped: list[dict] | None) -> dict:
    """Return the manifest of a set that is complete already, after a check that it is the same."""
    manifest = read_manifest(out)
    people = manifest["people"] + len(manifest.get("skipped", ())) - len(skipped or ())
    had = {**manifest["arguments"], "people": people, "samples": manifest.get("samples")}
    _require_same_run(had, begun, out)
    return manifest


# ---- the folder ----------------------------------------------------------------------------------


@contextmanager
def _staging_folder(out: Path, resume: bool) -> Iterator[Path]:
    """Yield a hidden folder in `out`; when the block fails, it and all created folders are removed.

    With `resume` it stays with its finished shards, and is used again.
    """
    try:
        with lock_output(out):
            complete = _is_complete(out, resume)
            is_new = not out.exists()
            try:
                out.mkdir(exist_ok=True)
                yield _prepare_staging(out, complete, resume)
                shutil.rmtree(out / _STAGING)
            except BaseException:
                _roll_back(out, complete, resume)
                if is_new:
                    with suppress(OSError):
                        out.rmdir()
                raise
    except OSError as error:
        raise DataError(
            out,
            f"cannot be written: {error.strerror or error}",
            "check the path, its permissions and the free space",
        ) from None


def _is_complete(out: Path, resume: bool) -> bool:
    """Return whether `out` holds a complete set; raise DataError if it must not be written to."""
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    complete = MANIFEST in names
    if complete and not resume:
        raise DataError(out, "already holds records", "give a new folder, or remove this one first")
    shards = [name for name in names if ".tfrecord-" in name]
    if shards and not complete and not (out / _STAGING / MANIFEST).is_file():
        raise DataError(
            out,
            f"holds shards without a manifest ({shards[0]} …)",
            "give a new folder, or remove them",
        )
    return complete


def _prepare_staging(out: Path, complete: bool, resume: bool) -> Path:
    """Create or clean the staging folder."""
    staging = out / _STAGING
    if not complete:
        for path in out.glob("*.tfrecord-*"):  # of a run killed between the first and the last move
            path.replace(staging / path.name)
    if not resume:
        shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(exist_ok=True)
    return staging


def _roll_back(out: Path, complete: bool, resume: bool) -> None:
    """Undo the move of shards, and remove what cannot be resumed."""
    staging = out / _STAGING
    if not complete:
        for path in out.glob("*.tfrecord-*"):
            path.replace(staging / path.name)
    if complete or not resume or not any(staging.glob("*.tfrecord-*.json")):
        shutil.rmtree(staging, ignore_errors=True)
    else:
        for name in (_SPOOL, MANIFEST):
            (staging / name).unlink(missing_ok=True)


def _require_same_run(begun: object, now: dict, out: Path) -> None:
    """Raise a DataError that names what differs between the run to be resumed and this one."""
    begun = begun if isinstance(begun, dict) else {}
    differ = [key for key in now if begun.get(key) != now[key]]
    if not differ:
        return
    arguments = [key for key in differ if key not in ("people", "samples")]
    if arguments:
        changes = (f"{key} {begun.get(key)!r} (here {now[key]!r})" for key in arguments)
        problem = "was begun with " + ", ".join(changes)
    else:
        problem = (
            f"was begun with other people ({begun.get('people')} of them, here {now['people']}), "
            "or their labels changed"
        )
    raise DataError(
        out, problem, "give the same source and arguments, or leave out --resume and start again"
    )


# ---- samples and shards --------------------------------------------------------------------------


def _spool(
    samples: Iterable[PersonAnnotation], spool: Path, config: WriterConfig, filtered: Counter
) -> tuple[list[int], str]:
    """Write the samples into one file.

    Returns:
        their offsets in it, in the order in which people are to be written; a digest over them.
    """
    people = []
    with spool.open("wb") as file:
        for sample in samples:
            if reason := reason_unusable(sample, config.settings.box_source):
                filtered[reason] += 1
                continue
            people.append((config.sort_key(sample.person_id), file.tell(), digest_of(sample)))
            pickle.dump(sample, file, pickle.HIGHEST_PROTOCOL)
    people.sort()
    for (key, offset, _), (next_key, *_) in pairwise(people):
        if key == next_key:
            sample = read_spooled(spool, offset)
            raise DataError(
                sample.image,
                f"two people with the id {sample.person_id!r}",
                "give each person an id of their own",
            )
    digest = hashlib.sha256(b"".join(digest for *_, digest in people)).hexdigest()
    return [offset for _, offset, _ in people], digest


def _write_here(job: ShardJob, workers: int, progress: bool) -> dict[str, dict]:
    """Write shards on `workers` processes of this machine; return entries by file name."""
    offsets = [offset for _, start, stop in job.files for offset in job.order[start:stop]]
    workers = min(workers, -(-len(offsets) // CHUNK)) or 1
    with (
        encode_in_pool(job.spool, job.settings, workers, job.skip_errors) as encode,
        _progress_bar(len(job.order), progress) as bar,
    ):
        bar.update(len(job.order) - len(offsets))
        payloads = encode(offsets)
        return {
            file: write_shard(job.folder / file, islice(payloads, stop - start), bar.update)
            for file, start, stop in job.files
        }


def write_shard(
    path: Path,
    payloads: Iterable[bytes | Skipped],
    on_person: Callable[[], object] = lambda: None,
) -> dict:
    """Write one shard file, complete or not at all.

    Args:
        path: of the shard; `PATH.json`, written last, says that it is complete.
        payloads: records, and people to be skipped.
        on_person: called after each of them.

    Returns:
        Its entry in the manifest, with `skipped`, which belongs next to it.
    """
    digest = hashlib.sha256()
    people = 0
    size = 0
    skipped = []
    with atomic_file(path, durable=True) as part, part.open("wb") as file:
        for payload in payloads:
            if isinstance(payload, Skipped):
                skipped.append({"person_id": payload.person_id, "problem": payload.problem})
            else:
                framed = frame_record(payload)
                file.write(framed)
                digest.update(framed)
                people += 1
                size += len(framed)
            on_person()
    entry = {
        "file": path.name,
        "people": people,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "skipped": skipped,
    }
    _write_json(path.with_name(f"{path.name}.json"), entry)
    return entry


def _finished(path: Path) -> dict | None:
    """Return the entry of a shard that an interrupted run finished, its bytes verified; or None."""
    try:
        entry = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return entry if digest == entry["sha256"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write_json(path: Path, content: dict) -> None:
    atomic_write(path, (json.dumps(content, indent=1) + "\n").encode(), durable=True)


def _progress_bar(total: int, progress: bool):
    from tqdm import tqdm

    return tqdm(total=total, desc="people", unit="", disable=not progress, file=sys.stderr)
