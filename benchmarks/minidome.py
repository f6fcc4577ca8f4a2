"""Time from nothing to TFRecords of MiniDome frames. The claim: 1,500 frames in 150 s on
two cores.

Each frame is a new scene, rendered by two cameras at 640 x 360, as `make_minidome.py` does by
default.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from posekit import minidome
from posekit.datasets import coco
from posekit.records import write_records


def main() -> int:
    """Make, write, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object (else a line)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sequence = Path(scratch) / "dome"
        begin = time.perf_counter()
        minidome.make_sequence(
            sequence, frames=args.frames, seed=0, workers=args.workers, progress=False
        )
        made = time.perf_counter()
        people = coco.read(*coco.find_minidome(sequence), dataset="minidome")
        manifest = write_records(
            people,
            Path(scratch) / "records",
            "minidome",
            "train",
            workers=args.workers,
            progress=False,
        )
        written = time.perf_counter()
    seconds = written - begin
    result = {
        "frames": args.frames,
        "people": manifest["people"],
        "seconds": round(seconds, 1),
        "seconds_render": round(made - begin, 1),
        "seconds_records": round(written - made, 1),
        "people_per_second": round(manifest["people"] / seconds, 1),
        "workers": args.workers,
        "cores": os.cpu_count(),
        "claim_seconds_for_1500_frames": 150,
        "seconds_for_1500_frames": round(seconds * 1500 / args.frames, 1),
    }
    print(json.dumps(result) if args.json else ", ".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
