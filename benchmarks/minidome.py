"""Time from nothing to TFRecords of MiniDome frames. The claim: 1,500 frames in 150 s on
two cores. One worker is timed, too.

Each frame is a new scene, rendered by two cameras at 640 x 360, as `make_minidome.py` does by
default.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from posekit import minidome
from posekit.datasets import coco
from posekit.records import write_records


def time_once(frames: int, workers: int) -> dict[str, float]:
    """Render and write once; returns people and seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        sequence = Path(scratch) / "dome"
        begin = time.perf_counter()
        minidome.make_sequence(sequence, frames=frames, seed=0, workers=workers, progress=False)
        made = time.perf_counter()
        people = coco.read(*coco.find_minidome(sequence), dataset="minidome")
        manifest = write_records(
            people, Path(scratch) / "records", "minidome", "train", workers=workers, progress=False
        )
        written = time.perf_counter()
    return {"people": manifest["people"], "render": made - begin, "records": written - made}


def main() -> int:
    """Make, write, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object (else a line)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/render")
    args = parser.parse_args()
    turns = {workers: [] for workers in dict.fromkeys((args.workers, 1))}
    for _ in range(args.repeats):
        for workers, rows in turns.items():
            rows.append(time_once(args.frames, workers))

    def median(workers: int, *keys: str) -> float:
        return statistics.median(sum(row[key] for key in keys) for row in turns[workers])

    seconds = median(args.workers, "render", "records")
    people = turns[args.workers][0]["people"]
    result = {
        "frames": args.frames,
        "people": people,
        "seconds": round(seconds, 1),
        "seconds_render": round(median(args.workers, "render"), 1),
        "seconds_records": round(median(args.workers, "records"), 1),
        "people_per_second": round(people / seconds, 1),
        "workers": args.workers,
        "cores": os.cpu_count(),
        "repeats": args.repeats,
        "times_as_fast_as_one_worker": {
            part: round(median(1, part) / median(args.workers, part), 2)
            for part in ("render", "records")
        },
        "claim_seconds_for_1500_frames": 150,
        "seconds_for_1500_frames": round(seconds * 1500 / args.frames, 1),
    }
    if args.record:
        from posekit.notebook import runs

        log = [
            [f"{workers} workers", turn, row["people"], row["render"], row["records"]]
            for workers, rows in turns.items()
            for turn, row in enumerate(rows)
        ]
        header = ["run", "turn", "people", "seconds_render", "seconds_records"]
        about = "seconds to render MiniDome's frames and to write their records, by workers"
        runs.write("render", about, "python benchmarks/minidome.py --record", result, header, log)
    print(json.dumps(result) if args.json else ", ".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
