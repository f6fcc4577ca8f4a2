"""The writer: order by hash, shard by shard into a hidden folder, moved when whole; what was interrupted can be finished (chapter 03)."""

import hashlib
import json
import os
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
from posekit.records.encoding import CHUNK, Skipped, encode_in_pool, read_spooled
from posekit.records.reader import MANIFEST, read_manifest
from posekit.records.schema import SCHEMA_VERSION, CropSettings, reason_unusable
from posekit.records.tfrecord import frame_record
from posekit.skeleton import COCO17

_PARTIAL, _CONFIG, _SPOOL = ".partial", "plan.json", "samples.spool"
_DEFAULT_SETTINGS = CropSettings()


@dataclass(frozen=True)
class WriterConfig:
    """What a set of records will be: the same config gives the same bytes, on any number of workers, at one go or in several.

    Args:
        name, split: as in `NAME-SPLIT.tfrecord-…`.
        settings: how people are cut out.
        shards: number of files.
        seed: of the order.
    """

    name: str
    split: str
    settings: CropSettings = _DEFAULT_SETTINGS
    shards: int = 8
    seed: int = 0

    def key(self, person_id: str) -> bytes:
        """(32,) bytes: people are written in the order of these."""
        return hashlib.sha256(f"{self.seed}/{person_id}".encode()).digest()

    def files(self, people: int) -> list[tuple[str, int, int]]:
        """(file name, first person, last person + 1) of each shard; at most one shard a person."""
        n = min(self.shards, people)
        bounds = [people * i // n for i in range(n + 1)]
        return [
            (f"{self.name}-{self.split}.tfrecord-{i:05d}-of-{n:05d}", start, stop)
            for i, (start, stop) in enumerate(pairwise(bounds))
        ]

    def arguments(self) -> dict:
        """What decides the bytes besides the samples and their photos."""
        head = {"name": self.name, "split": self.split, **self.settings.as_manifest()}
        return {**head, "shards": self.shards, "seed": self.seed}

    def manifest(
        self, shards: list[dict], samples: str, filtered: dict, skipped: list[dict]
    ) -> dict:
        """The manifest of the whole set; `shards` as `write_shard` returns them, `samples` as `digest_of` gives it."""
        return {
            "schema_version": SCHEMA_VERSION,
            "posekit_version": posekit.__version__,
            "dataset": self.name,
            "split": self.split,
            "people": sum(shard["people"] for shard in shards),
            "skeleton": COCO17.name,
            **self.settings.as_manifest(),
            "stored_px": self.settings.stored_px,
            "seed": self.seed,
            "filtered": dict(sorted(filtered.items())),
            "skipped": skipped,
            "samples": samples,
            "digest": hashlib.sha256(
                "".join(shard["sha256"] for shard in shards).encode()
            ).hexdigest(),
            "arguments": self.arguments(),
            "shards": shards,
        }


@dataclass(frozen=True)
class ShardJob:
    """Shards that are to be written, and all that it takes: who sees these paths can do it, in this process or far away.

    Args:
        folder: where the shards go.
        files: (file name, first person, last person + 1) of each.
        order: places in the spool of everybody in the set, in order.
        spool: the samples.
        settings: how people are cut out.
        skip_errors: list whom it cannot write, instead of stopping there.
    """

    folder: Path
    files: list[tuple[str, int, int]]
    order: list[int]
    spool: Path
    settings: CropSettings
    skip_errors: bool


def digest_of(sample: PersonAnnotation) -> bytes:
    """(32,) bytes over all that is known of a person but the photo's pixels and the folder that it lies in."""
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

    The bytes depend on the samples, their photos, the settings, `shards` and `seed`; not on the order of the samples nor on
    `workers`, nor on how often the run was interrupted. Memory stays constant: the samples are spooled to disk, photos are read
    one at a time. Everything is written into `OUT/.partial` and moved when it is whole; when anything goes wrong nothing stays. Only a
    process that is killed, or the machine with it, leaves `.partial` behind: for `resume`, or to be replaced by the next run.

    Args:
        samples: the people; may be a generator.
        out: a new folder, or one without records: a folder holds one set.
        dataset: name of the data set, as in `DATASET-SPLIT.tfrecord-…`.
        split: `"train"`, `"val"` or `"test"`.
        settings: how each person is cut out of the photo.
        shards: number of files, >= 1; there is at most one per person.
        seed: of the order.
        workers: number of processes, >= 1; 1 encodes in this process.
        resume: keep the whole shards of an interrupted run with the same samples and arguments, and write the others; begin anew where
            there is none; change nothing where the set is whole. When this run stops early it leaves its whole shards too.
        skip_errors: leave people out whose photo cannot be used, and list them in the manifest, instead of stopping at the first.
        filtered: what the reader of `samples` left out so far and goes on counting; people who have no box are added.
        skipped: whom the reader of `samples` had to skip so far and goes on adding, see `sources.read`.
        progress: show a bar on stderr.
        executor: writes the shards instead of processes on this machine, and returns what `write_shard` does, by file name; see
            `posekit.records.beam`.

    Returns:
        The manifest.

    Raises:
        DataError: when the folder cannot be used, there is nobody to write, two people have one id, a sample or its
            photo cannot be used, or what is to be resumed was begun with other arguments or another source.
    """
    config = WriterConfig(dataset, split, settings, shards, seed)
    for argument, value in (("shards", shards), ("workers", workers)):
        if value < 1:
            raise DataError(argument, f"is {value}", "expected a whole number >= 1")
    filtered, out = Counter() if filtered is None else filtered, Path(out)
    with _written_aside(out, resume) as partial:
        spool = partial / _SPOOL
        order, samples_digest = _spool(samples, spool, config, filtered)
        if not order:
            reasons = (
                ", ".join(f"{n} {reason}" for reason, n in filtered.items())
                or "the source is empty"
            )
            raise DataError(
                out,
                f"nobody to write for split {split!r} of {dataset}: {reasons}",
                "check source and split",
            )
        begun = {**config.arguments(), "people": len(order), "samples": samples_digest}
        if resume and (out / MANIFEST).is_file():
            whole = read_manifest(out)
            people = whole["people"] + len(whole.get("skipped", ())) - len(skipped or ())
            _same_run(
                {**whole["arguments"], "people": people, "samples": whole.get("samples")},
                begun,
                out,
            )
            return whole
        if (partial / _CONFIG).is_file():
            _same_run(read_json(partial / _CONFIG), begun, out)
        else:
            _write_json(partial / _CONFIG, begun)
        files = config.files(len(order))
        written = {file: entry for file, *_ in files if (entry := _finished(partial / file))}
        job = ShardJob(
            partial,
            [file for file in files if file[0] not in written],
            order,
            spool,
            config.settings,
            skip_errors,
        )
        written |= executor(job) if executor else _write_here(job, workers, progress)
        entries = [written[file] for file, *_ in files]
        unwritten = [person for entry in entries for person in entry.pop("skipped")]
        skipped = [*(skipped or ()), *unwritten]
        if len(unwritten) == len(order):
            raise DataError(
                out,
                f"nobody is left: all {len(order)} were skipped",
                f"the first: {skipped[0]['problem']}",
            )
        manifest = config.manifest(entries, samples_digest, filtered, skipped)
        _write_json(partial / MANIFEST, manifest)
        for entry in entries:
            (partial / entry["file"]).replace(out / entry["file"])
        (partial / MANIFEST).replace(out / MANIFEST)
    return manifest


@contextmanager
def _written_aside(out: Path, resume: bool) -> Iterator[Path]:
    """A hidden folder in `out` to write into; when the block fails, it goes, and so does all that was created for it.

    With `resume` it stays with its whole shards, and is found again.
    """
    partial, created = out / _PARTIAL, []
    try:
        names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
        whole = MANIFEST in names
        if whole and not resume:
            raise DataError(
                out, "already holds records", "give a new folder, or remove this one first"
            )
        shards = [name for name in names if ".tfrecord-" in name]
        if shards and not whole and not (partial / MANIFEST).is_file():
            raise DataError(
                out,
                f"holds shards without a manifest ({shards[0]} …)",
                "give a new folder, or remove them",
            )
        try:
            for folder in reversed(
                [folder for folder in (out, *out.parents) if not folder.exists()]
            ):
                folder.mkdir()
                created.append(folder)
            if not whole:
                for name in shards:  # killed between the first and the last of the moves
                    (out / name).replace(partial / name)
            if not resume:
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(exist_ok=True)
            yield partial
            shutil.rmtree(partial)
        except BaseException:
            if not whole:
                for path in out.glob(
                    "*.tfrecord-*"
                ):  # back from where the set would have been whole
                    path.replace(partial / path.name)
            if whole or not resume or not any(partial.glob("*.tfrecord-*.json")):
                shutil.rmtree(partial, ignore_errors=True)
            else:
                for path in (*partial.glob("*unfinished"), partial / _SPOOL, partial / MANIFEST):
                    path.unlink(missing_ok=True)
            raise
    except BaseException as error:
        with suppress(OSError):
            for folder in reversed(created):
                folder.rmdir()
        if isinstance(error, OSError):
            problem = f"cannot be written: {error.strerror or error}"
            raise DataError(
                out, problem, "check the path, its permissions and the free space"
            ) from None
        raise


def _same_run(begun: object, now: dict, out: Path) -> None:
    """A DataError that names what differs between the run to be resumed and this one."""
    begun = begun if isinstance(begun, dict) else {}
    differ = [key for key in now if begun.get(key) != now[key]]
    if not differ:
        return
    if set(differ) <= {"people", "samples"}:
        problem = f"was begun with other people ({begun.get('people')} of them, here {now['people']}), or their labels changed"
    else:
        problem = "was begun with " + ", ".join(
            f"{key} {begun.get(key)!r} (here {now[key]!r})"
            for key in differ
            if key not in ("people", "samples")
        )
    raise DataError(
        out, problem, "give the same source and arguments, or leave out --resume and begin anew"
    )


def _spool(
    samples: Iterable[PersonAnnotation], spool: Path, config: WriterConfig, filtered: Counter
) -> tuple[list[int], str]:
    """Put the samples into one file; their places in it in the order in which they are to be written, and a digest over them."""
    places = []
    with spool.open("wb") as file:
        for sample in samples:
            if reason := reason_unusable(sample, config.settings.box_source):
                filtered[reason] += 1
                continue
            places.append((config.key(sample.person_id), file.tell(), digest_of(sample)))
            pickle.dump(sample, file, pickle.HIGHEST_PROTOCOL)
    places.sort()
    for (key, place, _), (next_key, *_) in pairwise(places):
        if key == next_key:
            sample = read_spooled(spool, place)
            raise DataError(
                sample.image,
                f"two people with the id {sample.person_id!r}",
                "every person needs an id of their own",
            )
    return [place for _, place, _ in places], hashlib.sha256(
        b"".join(digest for *_, digest in places)
    ).hexdigest()


def _write_here(job: ShardJob, workers: int, progress: bool) -> dict[str, dict]:
    """Write shards one after another, on `workers` processes of this machine; their entries by file name."""
    places = [place for _, start, stop in job.files for place in job.order[start:stop]]
    workers = min(workers, -(-len(places) // CHUNK)) or 1
    with (
        encode_in_pool(job.spool, job.settings, workers, job.skip_errors) as encode,
        _bar(len(job.order), progress) as bar,
    ):
        bar.update(len(job.order) - len(places))
        payloads = encode(places)
        return {
            file: write_shard(job.folder / file, islice(payloads, stop - start), bar.update)
            for file, start, stop in job.files
        }


def write_shard(
    path: Path, payloads: Iterable[bytes | Skipped], each: Callable[[], object] = lambda: None
) -> dict:
    """One shard file, whole or not at all.

    Args:
        path: where; it is written beside and renamed, and `PATH.json` says that it is whole.
        payloads: records, and people to be skipped.
        each: called after each of them.

    Returns:
        Its entry in the manifest, and `skipped`, which belongs beside it.
    """
    digest, people, size, skipped = hashlib.sha256(), 0, 0, []
    aside = path.with_name("unfinished")
    with aside.open("wb") as file:
        for payload in payloads:
            if isinstance(payload, Skipped):
                skipped.append({"person_id": payload.person_id, "problem": payload.problem})
            else:
                framed = frame_record(payload)
                file.write(framed)
                digest.update(framed)
                people, size = people + 1, size + len(framed)
            each()
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
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
    """The entry of a shard that an interrupted run finished, its bytes verified; None if there is none."""
    try:
        entry = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return entry if digest == entry["sha256"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write_json(path: Path, content: dict) -> None:
    aside = path.with_name(f"{path.name}.unfinished")
    with aside.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _bar(total: int, progress: bool):
    from tqdm import tqdm

    return tqdm(total=total, desc="people", unit="", disable=not progress, file=sys.stderr)
