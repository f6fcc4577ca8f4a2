"""Measure the speed of tracking a pose in videos.

The claim: on two cores at least 60 frames per second, 95 % of them within 20 ms. A frame is
measured from decoded to drawn: crop, network, tracker, filter, drawing. The clips are those in
POSEKIT_DATA, or the page's clip. `benchmarks/peers.sh` measures MediaPipe Pose on the same clips,
in an environment of its own:

    benchmarks/peers.sh clips peers.json && python benchmarks/live.py --peers peers.json --record
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from posekit import live
from posekit.live.server import WEB

WANTED_FPS = 60
WANTED_P95 = 20


def clips() -> list[Path]:
    """Paths of the clips."""
    folder = os.environ.get("POSEKIT_DATA")
    found = (
        [
            p
            for sub in ("clips", "pose_clips")
            for p in sorted(Path(folder, sub).glob("*.m[kp][v4]"))
        ]
        if folder
        else []
    )
    return found or [WEB / "clip.mjpeg"]


def write_record(result: dict) -> None:
    """book/runs/live."""
    from posekit.notebook import runs

    about = "milliseconds per frame of the live loop on clips, next to MediaPipe Pose"
    command = "python benchmarks/live.py --peers peers.json --record"
    loops = {"posekit": result["clips"]}
    loops |= {name: peer["clips"] for name, peer in result.get("peers", {}).items()}
    rows = [
        [f"{name}, {clip}", row["frames"], row["p50_ms"], row["p95_ms"]]
        for name, clips in loops.items()
        for clip, row in clips.items()
    ]
    runs.write("live", about, command, result, ["run", "frames", "p50_ms", "p95_ms"], rows)


def main() -> int:
    """Measure, print, and return the exit code: 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=live.DEFAULT_MODEL, help="(default: %(default)s)")
    parser.add_argument(
        "--peers", type=Path, help="output of benchmarks/peers.sh clips, to be printed too"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object (else lines)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/live")
    args = parser.parse_args()
    rows = {}
    begin = os.getloadavg()[0]
    for clip in clips():
        took = []
        summary = live.run(clip, args.model, on_time=took.append)
        took = took[1:]  # the first frame allocates
        p50, p95 = (round(float(v), 2) for v in np.percentile(took, (50, 95)))
        rows[clip.stem] = {**asdict(summary), "p50_ms": p50, "p95_ms": p95, "took": took}
    every = np.concatenate([row.pop("took") for row in rows.values()])
    p50, p95 = (round(float(v), 2) for v in np.percentile(every, (50, 95)))
    fps = round(1000 / float(every.mean()), 1)
    holds = fps >= WANTED_FPS and p95 <= WANTED_P95
    result = {
        "model": args.model,
        "cores": os.cpu_count(),
        "load_before": round(begin, 1),
        "frames": len(every),
    }
    result |= {"p50_ms": p50, "p95_ms": p95, "fps": fps, "holds": holds, "clips": rows}
    if args.peers:
        result["peers"] = json.loads(args.peers.read_text(encoding="utf-8"))
    if args.record:
        write_record(result)
    print(
        json.dumps(result)
        if args.json
        else "\n".join(f"{name:12s} {value}" for name, value in result.items())
    )
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
