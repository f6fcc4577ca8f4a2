"""Throughput of training batches from records, compared with other input pipelines.

The claims, on two cores: 0.85 of a bare loop, 3 x tf.data over photos, 1 x a PyTorch DataLoader.

All give 224 x 224 crops of the same MiniDome people with every kind of augmentation. They take
turns; rates are medians, ratios medians of the ratios of each turn. Compared are:

posekit     `inputs.make_batches` over records.
bound       Decode and one warp, nothing else: `cv2.imdecode` and `cv2.warpAffine` over the same
            JPEGs in two threads, the least that any pipeline must do.
tf_photos   tf.data over the original photos (640 x 360): labels and affines computed per batch,
            only the window around the person decoded, warped by ImageProjectiveTransformV3,
            colour and erasing per batch. `tf_photos_hd`: the same over photos of 1920 x 1080, as in
            CMU Panoptic.
torch       `torch.utils.data.DataLoader` with two workers over the same JPEGs in memory, and
            `inputs.crop_person`. Null without PyTorch.

A turn begins when all other pipelines are idle, and is timed once its own buffers are empty, so
that no pipeline profits from batches prepared earlier. Processor time per image is reported, too,
since it depends less on what else the machine does, and so is the fraction of each step.
`hand_over` is the rest: TensorFlow around our function, and two threads that compete.
"""

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np

from posekit import datasets, geometry, images, inputs, minidome, records
from posekit.hardware import cores
from posekit.inputs.augment import UPPER_BODY
from posekit.skeleton import COCO17

AUGMENT = inputs.Augmentation(half_body=0.3, erase=0.3)
SIZE = 224
SEED = 0
DRAINED = 8
CLAIMS = {"ratio_to_bound": 0.85, "ratio_to_tf_photos": 3.0, "ratio_to_torch": 1.0}


def rest(longest: float = 30.0) -> None:
    """Wait until no thread of this process fills buffers any more."""
    end = time.monotonic() + longest
    while time.monotonic() < end:
        busy = time.process_time()
        time.sleep(0.05)
        if time.process_time() - busy < 0.003:
            return
    raise SystemExit("error: another pipeline is still working outside its turn")


class Turn:
    """A pipeline that takes turns: `advance(n)` makes n batches; counts times and images."""

    def __init__(self, advance, batch: int):
        self.advance = advance
        self.batch = batch

    def __call__(self, batches: int) -> tuple[float, float]:
        """Return (images per second, processor microseconds per image)."""
        rest()
        self.advance(DRAINED)
        wall = time.perf_counter()
        cpu = time.process_time()
        self.advance(batches)
        wall = time.perf_counter() - wall
        cpu = time.process_time() - cpu
        return batches * self.batch / wall, 1e6 * cpu / (batches * self.batch)


def taking(dataset):
    """`advance` of a tf.data.Dataset that goes on for ever: taken in the graph, as Keras does."""
    import tensorflow as tf

    iterator = iter(dataset)

    @tf.function
    def advance(batches: tf.Tensor) -> None:
        for _ in tf.range(batches):
            iterator.get_next()

    return lambda batches: advance(tf.constant(batches))


# ---- the bound -----------------------------------------------------------------------------------


def bare_loop(people: list, manifest: dict, batch: int):
    """Decode and warp, in two threads; the maps are drawn beforehand."""
    rng = np.random.default_rng(SEED)
    jobs = []
    for p in people:
        affine = inputs.input_affine(
            p.keypoints, p.keypoints_visible, p.width, manifest["box_px"], SIZE, AUGMENT.draw(rng)
        )
        jobs.append((np.frombuffer(p.encoded, np.uint8), affine))

    def work(first: int, n: int) -> None:
        for i in range(first, first + n):
            jpeg, affine = jobs[i % len(jobs)]
            cv2.warpAffine(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), affine, (SIZE, SIZE))

    pool = ThreadPoolExecutor(2)

    def advance(batches: int) -> None:
        half = batches * batch // 2
        list(pool.map(work, (0, half), (half, batches * batch - half)))

    return advance


# ---- tf.data over photos -------------------------------------------------------------------------


def photo_batches(people: list, batch: int):
    """The same crops by tf.data from the original photos, in TensorFlow's operations alone."""
    import tensorflow as tf

    twin = tf.constant(COCO17.flip_indices)
    upper = tf.constant(UPPER_BODY)
    auto = tf.data.AUTOTUNE
    half = (SIZE - 1) / 2

    def span(points, mask):
        """Centre (B, 2) and largest extent (B,) of the masked points."""
        low = tf.reduce_min(tf.where(mask[..., None], points, 1e9), axis=1)
        high = tf.reduce_max(tf.where(mask[..., None], points, -1e9), axis=1)
        return (low + high) / 2, tf.reduce_max(high - low, axis=1)

    def plan(path, points, visible, known, box):
        """A batch of labels -> the map from crop to photo, colours, holes and targets."""
        n = tf.shape(path)[0]
        draw = lambda *shape: tf.random.uniform((n, *shape), -1.0, 1.0)  # noqa: E731
        center = box[:, :2] + box[:, 2:] / 2 - 0.5
        side = tf.reduce_max(box[:, 2:], axis=1) * geometry.PADDING
        usable = visible >= 1
        above = usable & upper
        below = usable & ~upper
        counts = [tf.math.count_nonzero(m, axis=1) for m in (usable, above, below)]
        first = tf.where(draw() < 0.4, counts[1] >= 3, counts[2] < 3)
        chosen = tf.where(first[:, None], above, below)
        halved = (draw() < 2 * AUGMENT.half_body - 1) & (counts[0] >= 9)
        middle, extent = span(points, chosen)
        center = tf.where(halved[:, None], middle, center)
        side = tf.where(halved, tf.maximum(1.5 * extent, side / 3), side)
        side = side / tf.pow(1 + AUGMENT.scale, draw())
        flip = draw() < 2 * AUGMENT.flip - 1
        turn = draw() * (AUGMENT.rotation * math.pi / 180)
        shift = draw(2) * AUGMENT.shift * SIZE
        scale = SIZE / side
        mirror = tf.where(flip, -1.0, 1.0)
        c = scale * tf.cos(turn)
        s = scale * tf.sin(turn)
        linear = tf.stack([tf.stack([mirror * c, mirror * s], 1), tf.stack([-s, c], 1)], 1)
        moved = tf.einsum("bij,bkj->bki", linear, points - center[:, None])
        moved += half + (shift * tf.stack([mirror, tf.ones_like(mirror)], 1))[:, None]
        inside = tf.reduce_all((moved >= -0.5) & (moved < SIZE - 0.5), axis=2) & usable
        place = tf.where(inside[..., None], (moved + 0.5) / SIZE - 0.5, 0.0)
        place = tf.concat([place, tf.cast(inside, tf.float32)[..., None]], 2)
        seen = tf.cast(tf.stack([inside, known], 2), tf.float32)
        place = tf.where(flip[:, None, None], tf.gather(place, twin, axis=1), place)
        seen = tf.where(flip[:, None, None], tf.gather(seen, twin, axis=1), seen)
        back = tf.linalg.inv(linear)
        offset = center - tf.einsum(
            "bij,bj->bi", back, half + shift * tf.stack([mirror, tf.ones_like(mirror)], 1)
        )
        gain = 1 + AUGMENT.colour * draw(1)
        cast = 1 + 0.4 * AUGMENT.colour * draw(3)
        lift = 127.5 * (1 - gain) + 127.5 * AUGMENT.colour * draw(1)
        area = 0.02 * tf.pow(10.0, draw(1) / 2 + 0.5)
        aspect = tf.pow(3.3, draw(1))
        extent = tf.minimum(1.0, tf.concat([tf.sqrt(area * aspect), tf.sqrt(area / aspect)], 1))
        corner = (draw(2) / 2 + 0.5) * (1 - extent)
        erased = tf.cast(draw(1) < 2 * AUGMENT.erase - 1, tf.float32)
        hole = SIZE * tf.concat([corner, corner + extent * erased], 1)
        return (
            path,
            tf.concat([back, offset[..., None]], 2),
            gain * cast,
            lift * cast,
            hole,
            place,
            seen,
        )

    def warp(path, back, *rest):
        jpeg = tf.io.read_file(path)
        shape = tf.cast(tf.io.extract_jpeg_shape(jpeg), tf.float32)
        corners = tf.constant([[0.0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]]) - 0.5
        reach = corners @ tf.transpose(back[:, :2]) + back[:, 2]
        low = tf.clip_by_value(tf.floor(tf.reduce_min(reach, 0)), 0.0, shape[1::-1] - 1)
        high = tf.clip_by_value(tf.math.ceil(tf.reduce_max(reach, 0)) + 1, low + 1, shape[1::-1])
        window = tf.cast([low[1], low[0], high[1] - low[1], high[0] - low[0]], tf.int32)
        photo = tf.image.decode_and_crop_jpeg(jpeg, window, channels=3)
        local = tf.concat([back[:, :2], (back[:, 2] - low)[:, None]], 1)
        crop = tf.raw_ops.ImageProjectiveTransformV3(
            images=photo[None],
            transforms=tf.concat([tf.reshape(local, [1, 6]), tf.zeros([1, 2])], 1),
            output_shape=[SIZE, SIZE],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )[0]
        return tf.ensure_shape(crop, (SIZE, SIZE, 3)), *rest

    def finish(crops, gain, lift, hole, place, seen):
        pixels = tf.cast(crops, tf.float32) * gain[:, None, None] + lift[:, None, None]
        pixels = tf.cast(tf.clip_by_value(pixels, 0.0, 255.0), tf.uint8)
        at = tf.range(SIZE, dtype=tf.float32)
        across = (at >= hole[:, 0, None]) & (at < hole[:, 2, None])
        down = (at >= hole[:, 1, None]) & (at < hole[:, 3, None])
        noise = tf.cast(tf.random.uniform(tf.shape(crops), 0, 256, tf.int32), tf.uint8)
        pixels = tf.where((down[:, :, None] & across[:, None])[..., None], noise, pixels)
        return pixels, {"keypoints": place, "visibility": seen}

    columns = (
        np.array([str(p.image) for p in people]),
        np.array([np.where(p.labelled[:, None], p.keypoints, 0) for p in people], np.float32),
        np.array([p.keypoints_visible for p in people], np.int32),
        np.array([p.joint_known for p in people], bool),
        np.array([p.bbox for p in people], np.float32),
    )
    dataset = tf.data.Dataset.from_tensor_slices(columns).shuffle(len(people), seed=SEED).repeat()
    dataset = dataset.batch(batch).map(plan, auto).unbatch().map(warp, auto).batch(batch)
    return dataset.map(finish, auto).prefetch(
        2
    )  # AUTOTUNE would go on filling a buffer without end, in others' turns


# ---- PyTorch -------------------------------------------------------------------------------------


def serve_torch(directory: str, batch: int) -> None:
    """In a process of its own (workers must not inherit TensorFlow's threads): a number of batches
    in, images per second out."""
    import torch

    people = list(records.read_records(directory))
    box_px = records.read_manifest(directory)["box_px"]

    class Crops(torch.utils.data.Dataset):
        def __len__(self):
            return len(people)

        def __getitem__(self, i: int):
            p = people[i]
            picture = images.decode_image(p.encoded, p.person_id)
            labels = p.keypoints, p.keypoints_visible, p.joint_known
            return inputs.crop_person(
                picture,
                *labels,
                box_px=box_px,
                input_size=SIZE,
                augment=AUGMENT,
                rng=np.random.default_rng(),
            )

    sampler = torch.utils.data.RandomSampler(Crops(), replacement=True, num_samples=1 << 40)
    loader = torch.utils.data.DataLoader(
        Crops(),
        batch,
        sampler=sampler,
        num_workers=2,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )
    iterator = iter(loader)

    def advance(batches: int) -> None:
        for _ in range(batches):
            next(iterator)

    turn = Turn(advance, batch)
    for line in sys.stdin:
        print(turn(int(line))[0], flush=True)


class TorchTurn:
    """Takes its turn in the other process."""

    def __init__(self, directory: Path, batch: int):
        command = [
            sys.executable,
            __file__,
            "--serve-torch",
            str(directory),
            "--batch-size",
            str(batch),
        ]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, batches: int) -> tuple[float, float]:
        rest()
        self.process.stdin.write(f"{batches}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()), math.nan

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)


# ---- where the time goes -------------------------------------------------------------------------


def steps(people: list, directory: Path, manifest: dict, batch: int) -> dict[str, float]:
    """Processor microseconds per image of each step of the pipeline, in one thread; the best of
    five passes."""
    import tensorflow as tf

    n = len(people)
    stored = manifest["stored_px"]
    box_px = manifest["box_px"]
    rng = np.random.default_rng(SEED)
    jpegs = [p.encoded for p in people]
    out = np.empty((batch, SIZE, SIZE, 3), np.uint8)
    shards = [str(path) for path in records.shard_paths(directory)]
    serialized = list(tf.data.TFRecordDataset(shards).batch(batch))
    varied = [AUGMENT.draw(rng) for _ in people]
    maps = [
        inputs.input_affine(p.keypoints, p.keypoints_visible, stored, box_px, SIZE, v)
        for p, v in zip(people, varied, strict=True)
    ]
    labels = [
        np.stack([getattr(p, k) for p in people])
        for k in ("keypoints", "keypoints_visible", "joint_known")
    ]
    flips = np.array([v.flip for v in varied])

    def read() -> None:
        for _ in tf.data.TFRecordDataset(shards).batch(batch):
            pass

    def parse() -> None:
        for part in serialized:
            inputs.parse_records(part)

    def vary() -> None:
        for i in range(0, n, batch):
            j = slice(i, i + batch)
            drawn = [AUGMENT.draw(rng) for _ in people[j]]
            inputs.input_affines(labels[0][j], labels[1][j], stored, box_px, SIZE, drawn)

    def decode() -> None:
        for jpeg in jpegs:
            images.decode_image(jpeg, "")

    def warp() -> None:
        for i, jpeg in enumerate(jpegs):
            geometry.warp(images.decode_image(jpeg, ""), maps[i], (SIZE, SIZE))

    def colour() -> None:
        for i, jpeg in enumerate(jpegs):
            variation = varied[i]._replace(erase_box=None)
            inputs.render_crop(
                images.decode_image(jpeg, ""), maps[i], variation, rng, out[i % batch]
            )

    def erase() -> None:
        for i, jpeg in enumerate(jpegs):
            inputs.render_crop(
                images.decode_image(jpeg, ""), maps[i], varied[i], rng, out[i % batch]
            )

    def targets() -> None:
        for i in range(0, n, batch):
            j = slice(i, i + batch)
            inputs.encode_targets(
                np.stack(maps[j]), *(column[j] for column in labels), flips[j], stored, SIZE
            )

    cv2.setNumThreads(
        1
    )  # else OpenCV's own second thread waits for work by spinning, which is processor time too
    taken = {f: [] for f in (read, parse, vary, targets, decode, warp, colour, erase)}
    for _ in range(5):
        for function in taken:
            begin = time.process_time()
            function()
            taken[function].append(1e6 * (time.process_time() - begin) / n)
    took = {f.__name__: min(times) for f, times in taken.items()}
    # Done one after the other on each image, while it is in the cache: the cost that each adds.
    chain = ["decode", "warp", "colour", "erase"]
    took |= dict(zip(chain, np.diff([0.0, *(took[name] for name in chain)]).tolist(), strict=True))
    return {
        name: took[name]
        for name in ("read", "parse", "decode", "vary", "warp", "colour", "erase", "targets")
    }


# ---- the run -------------------------------------------------------------------------------------


def photos(root: Path, split: str) -> list:
    return [p for p in datasets.read("minidome", root, split) if p.bbox is not None]


def measure(repetitions: int, batches: int, batch: int, hd_frames: int) -> tuple[dict, list[list]]:
    """All turns. Returns what `--json` prints, and the rows of log.csv."""
    begin = time.perf_counter()
    load = os.getloadavg()
    np.ones(
        31 << 20, np.uint8
    )  # glibc keeps freed memory up to the largest block freed; before, each image's may go back
    data = minidome.dataset(progress=False)
    manifest = records.read_manifest(data.train_records)
    people = list(records.read_records(data.train_records))
    with tempfile.TemporaryDirectory() as scratch:
        hd = Path(scratch) / "hd"
        minidome.make_sequence(hd, frames=hd_frames, size=(1920, 1080), seed=SEED, progress=False)
        options = {"augment": AUGMENT, "shuffle": True, "repeat": True, "seed": SEED}
        turns = {
            "bound": Turn(bare_loop(people, manifest, batch), batch),
            "posekit": Turn(
                taking(inputs.make_batches(data.train_records, batch, **options)), batch
            ),
            "tf_photos": Turn(taking(photo_batches(photos(data.train, "train"), batch)), batch),
            "tf_photos_hd": Turn(taking(photo_batches(photos(hd, "train"), batch)), batch),
        }
        has_torch = importlib.util.find_spec("torch") is not None
        if has_torch:
            turns["torch"] = TorchTurn(data.train_records, batch)
        rows = []
        results = {name: [] for name in turns}
        for repetition in range(repetitions + 1):
            for name in list(turns) if repetition % 2 else reversed(list(turns)):
                rate, cpu = turns[name](batches)
                if repetition:  # the first warms up
                    results[name].append((rate, cpu))
                    rows.append(
                        [name, repetition, round(rate, 1), "" if math.isnan(cpu) else round(cpu, 1)]
                    )
        if has_torch:
            turns["torch"].end()
    rates = {name: [rate for rate, _ in got] for name, got in results.items()}
    cpu = {
        name: statistics.median(c for _, c in got)
        for name, got in results.items()
        if name != "torch"
    }

    def ratio(other: str) -> float | None:
        if other not in rates:
            return None
        return round(
            statistics.median(a / b for a, b in zip(rates["posekit"], rates[other], strict=True)), 3
        )

    took = steps(people, data.train_records, manifest, batch)
    took["hand_over"] = cpu["posekit"] - sum(took.values())
    result = {
        "people": len(people),
        "stored_px": manifest["stored_px"],
        "jpeg_bytes": round(statistics.mean(len(p.encoded) for p in people)),
        "input_size": SIZE,
        "batch_size": batch,
        "repetitions": repetitions,
        "images_per_repetition": batches * batch,
        "images_per_second": {
            **{name: round(statistics.median(got), 1) for name, got in rates.items()},
            **({} if has_torch else {"torch": None}),
        },
        "bound": round(statistics.median(rates["bound"]), 1),
        "ratio_to_bound": ratio("bound"),
        "ratio_to_tf_photos": ratio("tf_photos"),
        "ratio_to_tf_photos_hd": ratio("tf_photos_hd"),
        "ratio_to_torch": ratio("torch"),
        "claims": CLAIMS,
        "cpu_us_per_image": {name: round(value, 1) for name, value in cpu.items()},
        "cpu_ratio_to_bound": round(cpu["bound"] / cpu["posekit"], 3),
        "steps_cpu_us_per_image": {name: round(value, 1) for name, value in took.items()},
        "cores": cores(),
        "load_before": round(load[0], 2),
        "load_after": round(os.getloadavg()[0], 2),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    if not has_torch:
        result["torch"] = "not installed: pip install torch"
    return result, rows


def write_record(result: dict, rows: list[list]) -> Path:
    """book/runs/pipeline."""
    from posekit.notebook import runs

    about = (
        "training batches from records, a bare loop, tf.data over photos and a PyTorch DataLoader"
    )
    header = ["run", "repetition", "images_per_second", "cpu_us_per_image"]
    return runs.write(
        "pipeline", about, "python benchmarks/pipeline.py --record", result, header, rows
    )


def main() -> int:
    """Measure, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--batches", type=int, default=24, help="a turn")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--hd-frames", type=int, default=12, help="full HD photos to render, times two cameras"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object (else a line)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/pipeline")
    parser.add_argument("--serve-torch", metavar="RECORDS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve_torch:
        serve_torch(args.serve_torch, args.batch_size)
        return 0
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    result, rows = measure(args.repetitions, args.batches, args.batch_size, args.hd_frames)
    if args.record:
        write_record(result, rows)
    print(json.dumps(result) if args.json else ", ".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
