"""Throughput and memory of writing records from photos.

The claims, with two processes: 0.8 of a bare loop; as much memory for 10,000 people as for 1,000.

MiniDome's people are repeated under new ids; photos are 1920 x 1080, as in CMU Panoptic, and
640 x 360. Compared are:

posekit     `records.write_records`, two workers: everything from the start of the processes to the
            checksums and the manifest.
bound       Read, decode, one warp, encode, nothing else: `cv2.imdecode`, `cv2.warpAffine`,
            `cv2.imencode` in two running processes, with affines computed beforehand; nothing is
            stored. It is the least that any writer must do.
tensorflow  The loop of a tutorial in one process: `tf.io.decode_jpeg`, `tf.image.crop_and_resize`,
            `tf.io.encode_jpeg`, `tf.io.TFRecordWriter`.
one_worker  `records.write_records` without further processes.

They take turns; rates are medians, ratios medians of the ratios of each turn. Processor time per
crop is reported, too, since it does not depend on what else the machine does. Memory is the
high-water mark of the writing process and of its workers, added (Linux).
"""

import argparse
import ctypes
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from posekit import datasets, geometry, records
from posekit.records import schema

CLAIMS = {"ratio_to_bound": 0.8, "memory_ratio": [0.9, 1.1]}
SETTINGS = schema.CropSettings()
WORKERS = 2
SEED = 0
MEMORY_PEOPLE = (1_000, 10_000)
SIZES = {"hd": (1920, 1080), "small": (640, 360)}


def people_of(sequence: Path, n: int) -> Iterator[datasets.PersonAnnotation]:
    """`n` people: those of a sequence, again and again under new ids. Only one sequence's are in
    memory."""
    everyone = [p for p in datasets.read("minidome", sequence, "train") if p.bbox is not None]
    for i in range(n):
        lap, at = divmod(i, len(everyone))
        yield replace(everyone[at], person_id=f"{everyone[at].person_id}/{lap}")


# ---- the bound -----------------------------------------------------------------------------------


def bare_loop(pipe) -> None:
    """In a process of its own: jobs in, processor seconds out, once for each message."""
    import cv2

    cv2.setNumThreads(1)
    keep_memory()
    size = (SETTINGS.stored_px, SETTINGS.stored_px)
    quality = [cv2.IMWRITE_JPEG_QUALITY, schema.JPEG_QUALITY]
    while jobs := pipe.recv():
        begin = time.process_time()
        for path, affine in jobs:
            photo = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            cv2.imencode(".jpg", cv2.warpAffine(photo, affine, size), quality)
        pipe.send(time.process_time() - begin)


def keep_memory() -> None:
    """Let glibc keep the memory of a freed photo, which it would give back to the system and fetch
    again page by page."""
    with suppress(AttributeError, OSError, TypeError):  # no mallopt outside Linux
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, megabytes in ((-3, 32), (-1, 128)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            mallopt(parameter, megabytes << 20)


class Bound:
    """Two processes that wait for their turn."""

    def __init__(self, people: list):
        self.jobs = [(p.image, _affine(p)) for p in people]
        context = multiprocessing.get_context("spawn")
        self.pipes = []
        for _ in range(WORKERS):
            mine, theirs = context.Pipe()
            context.Process(target=bare_loop, args=(theirs,), daemon=True).start()
            self.pipes.append(mine)

    def __call__(self, n: int) -> tuple[float, float]:
        """Seconds, and processor seconds, for `n` people."""
        jobs = [self.jobs[i % len(self.jobs)] for i in range(n)]
        begin = time.perf_counter()
        for i, pipe in enumerate(self.pipes):
            pipe.send(jobs[i::WORKERS])
        cpu = sum(pipe.recv() for pipe in self.pipes)
        return time.perf_counter() - begin, cpu

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)


def _affine(person: datasets.PersonAnnotation) -> np.ndarray:
    """Return the affine from photo to stored image, as in `schema.encode_person`."""
    side = geometry.square_side(person.bbox, SETTINGS.padding) * SETTINGS.context
    return geometry.crop_affine(geometry.bbox_center(person.bbox), side, SETTINGS.stored_px)


# ---- the writers, each in a process of its own ---------------------------------------------------


def write_with_posekit(sequence: Path, n: int, out: Path, workers: int) -> int:
    """Returns the bytes of the shards."""
    manifest = records.write_records(
        people_of(sequence, n), out, "minidome", "train", workers=workers, seed=SEED, progress=False
    )
    return sum(shard["bytes"] for shard in manifest["shards"])


def write_with_tensorflow(sequence: Path, n: int, out: Path) -> int:
    """Write the same images and labels as tutorials do; return the size of the file in bytes."""
    import tensorflow as tf

    size = SETTINGS.stored_px
    out.mkdir()
    with tf.io.TFRecordWriter(str(out / "train.tfrecord")) as writer:
        for p in people_of(sequence, n):
            photo = tf.io.decode_jpeg(tf.io.read_file(str(p.image)), channels=3)
            affine = _affine(p)
            low, high = geometry.apply_affine(
                geometry.invert(affine), [(0, 0), (size - 1, size - 1)]
            )
            height, width = photo.shape[:2]
            box = np.array([[low[1], low[0], high[1], high[0]]]) / [
                height - 1,
                width - 1,
                height - 1,
                width - 1,
            ]
            crop = tf.image.crop_and_resize(photo[None], box.astype(np.float32), [0], [size, size])[
                0
            ]
            encoded = tf.io.encode_jpeg(
                tf.cast(crop, tf.uint8), quality=schema.JPEG_QUALITY
            ).numpy()
            keypoints = geometry.apply_affine(affine, p.keypoints).ravel()
            feature = {
                "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
                "person/keypoints": tf.train.Feature(
                    float_list=tf.train.FloatList(value=keypoints)
                ),
                "person/keypoints_visible": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=p.keypoints_visible.tolist())
                ),
            }
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
            )
    return (out / "train.tfrecord").stat().st_size


class Memory(threading.Thread):
    """Watches the high-water marks of this process and its workers, in MB; `peak` is their sum."""

    def __init__(self):
        super().__init__(daemon=True)
        self.marks: dict[int, float] = {}
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.02):
            self.look()

    def look(self) -> None:
        for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
            try:
                status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            except OSError:
                continue  # it just ended, or this is no Linux
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self.marks[pid] = int(line.split()[1]) / 1024

    def peak(self) -> float | None:
        self.stopped.set()
        self.join()
        self.look()
        return sum(self.marks.values()) or None


def serve(who: str, sequence: Path, n: int, out: Path) -> None:
    """One turn of a writer: prints seconds, processor seconds, bytes and peak memory as JSON."""
    if who == "tensorflow":
        write_with_tensorflow(sequence, 1, out.with_name("warm-up"))  # its start is not counted
        write = lambda: write_with_tensorflow(sequence, n, out)  # noqa: E731
    else:
        write = lambda: write_with_posekit(sequence, n, out, WORKERS if who == "posekit" else 1)  # noqa: E731
    memory = Memory()
    memory.start()
    before = os.times()
    begin = time.perf_counter()
    size = write()
    seconds = time.perf_counter() - begin
    after = os.times()
    cpu = sum(after[:4]) - sum(before[:4])  # with that of the workers, who have ended
    print(json.dumps({"seconds": seconds, "cpu": cpu, "bytes": size, "peak_mb": memory.peak()}))


def turn_of(who: str, sequence: Path, n: int, scratch: Path, number: Iterator[int]) -> dict:
    """`serve` in a fresh process; what it wrote is thrown away."""
    out = scratch / f"{who}-{next(number)}"
    command = [
        sys.executable,
        __file__,
        "--serve",
        who,
        str(sequence),
        str(n),
        str(out / "records"),
    ]
    out.mkdir()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{who}: {done.stderr[-2000:]}")
    for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return json.loads(done.stdout)


# ---- the run -------------------------------------------------------------------------------------


def measure(
    repetitions: int, people: dict[str, int], frames: dict[str, int], say: Callable
) -> tuple[dict, list]:
    """All turns. Returns what `--json` prints, and the rows of log.csv."""
    from posekit import minidome  # here: worker processes import this file, too

    begin = time.perf_counter()
    load = os.getloadavg()
    number = count()
    rows = []
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for size, shape in SIZES.items():
            sequence = scratch / size
            n = people[size]
            say(f"rendering {frames[size]} frames of {shape[0]}x{shape[1]}")
            minidome.make_sequence(
                sequence, frames=frames[size], size=shape, seed=SEED, progress=False
            )
            everyone = list(people_of(sequence, n))
            bound = Bound(everyone)
            bound(min(n, 200))
            turns = {"bound": [], "posekit": [], "tensorflow": [], "one_worker": []}
            for repetition in range(repetitions):
                for who in list(turns) if repetition % 2 else reversed(list(turns)):
                    if who == "bound":
                        seconds, cpu = bound(n)
                        taken = {"seconds": seconds, "cpu": cpu, "bytes": None}
                        made = n
                    else:
                        made = n if who == "posekit" else max(1, n // 6)  # they are slow
                        taken = turn_of(who, sequence, made, scratch, number)
                    rate = made / taken["seconds"]
                    cpu = 1e3 * taken["cpu"] / made
                    turns[who].append((rate, cpu, taken["bytes"] and taken["bytes"] / made))
                    rows.append(
                        [f"{who}_{size}", repetition + 1, made, round(rate, 1), round(cpu, 3)]
                    )
                    say(f"{size} {who} {rate:.1f} crops/s, {cpu:.2f} ms of processor each")
            bound.end()
            results[size] = _figures(turns, shape, n, len({p.image for p in everyone}))
            if size == "small":
                memory = {}
                for n in MEMORY_PEOPLE:
                    memory[str(n)] = turn_of("posekit", sequence, n, scratch, number)["peak_mb"]
                    say(f"{n} people: {memory[str(n)]} MB")
    low, high = (memory[str(n)] for n in MEMORY_PEOPLE)
    return {
        **{f"{key}_{size}": value for size in SIZES for key, value in results[size].items()},
        "bound": results["hd"]["crops_per_second"]["bound"],
        "ratio_to_bound": results["hd"]["ratio_to_bound"],
        "peak_mb": {n: mb and round(mb, 1) for n, mb in memory.items()},
        "memory_ratio": low and round(high / low, 3),
        "claims": CLAIMS,
        "stored_px": SETTINGS.stored_px,
        "repetitions": repetitions,
        "workers": WORKERS,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "load_before": round(load[0], 2),
        "load_after": round(os.getloadavg()[0], 2),
        "seconds": round(time.perf_counter() - begin, 1),
    }, rows


def _figures(turns: dict[str, list], shape: tuple[int, int], n: int, photos: int) -> dict:
    """Medians of one size of photo."""

    def ratio(other: str, column: int) -> float:
        pairs = zip(turns["posekit"], turns[other], strict=True)
        return round(statistics.median(a[column] / b[column] for a, b in pairs), 3)

    return {
        "photo": "x".join(map(str, shape)),
        "photos": photos,
        "people_a_turn": n,
        "crops_per_second": {
            who: round(statistics.median(t[0] for t in got), 1) for who, got in turns.items()
        },
        "cpu_ms_per_crop": {
            who: round(statistics.median(t[1] for t in got), 3) for who, got in turns.items()
        },
        "bytes_per_crop": round(statistics.median(t[2] for t in turns["posekit"])),
        "ratio_to_bound": ratio("bound", 0),
        "ratio_to_tensorflow": ratio("tensorflow", 0),
        "ratio_to_one_worker": ratio("one_worker", 0),
        "cpu_ratio_to_bound": round(1 / ratio("bound", 1), 3),
    }


def write_record(result: dict, rows: list[list]) -> Path:
    """book/runs/build_records."""
    from posekit.notebook import runs

    about = (
        "photos into records, a bare loop and a loop of TensorFlow's, and the memory that it takes"
    )
    header = ["run", "repetition", "people", "crops_per_second", "cpu_ms_per_crop"]
    return runs.write(
        "build_records", about, "python benchmarks/build_records.py --record", result, header, rows
    )


def main() -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--people", type=int, default=10_000, help="a turn on small photos; 40 %% of it on full HD"
    )
    parser.add_argument(
        "--frames", type=int, default=120, help="small ones to render; a fifth of it in full HD"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object (else a line)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/build_records")
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        who, sequence, n, out = args.serve
        serve(who, Path(sequence), int(n), Path(out))
        return 0
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    people = {"hd": max(1, args.people * 2 // 5), "small": args.people}
    frames = {"hd": max(1, args.frames // 5), "small": args.frames}
    result, rows = measure(
        args.repetitions, people, frames, lambda text: print(text, file=sys.stderr)
    )
    if args.record:
        write_record(result, rows)
    print(json.dumps(result) if args.json else ", ".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
