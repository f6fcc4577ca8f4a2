"""Run MediaPipe Pose (full) on clips or photos; called by benchmarks/peers.sh in .venv-peers.

    clips OUT.json    time from decoded frame to drawn skeleton on the clips of benchmarks/live.py
    photos FOLDER     FOLDER/photos/**.png -> FOLDER/landmarks.json, one photo at a time

It knows nothing of this book's joints and scores: `book/experiments/peers.py` maps and scores the
landmarks.
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import mediapipe
import numpy as np

POSE = mediapipe.solutions.pose
DRAWING = mediapipe.solutions.drawing_utils
NAME = f"mediapipe {version('mediapipe')}, Pose full"
FULL = 1
"""Pose's `model_complexity` of the network called "full"."""


def clips() -> list[Path]:
    """Paths of the clips, as in benchmarks/live.py."""
    folder = os.environ.get("POSEKIT_DATA")
    found = []
    for sub in ("clips", "pose_clips") if folder else ():
        found += sorted(Path(folder, sub).glob("*.m[kp][v4]"))
    return found or [Path("posekit/live/web/clip.mjpeg")]


def time_clip(clip: Path) -> tuple[list[float], int]:
    """Track the person in a clip.

    Returns:
        Milliseconds per frame, from decoded frame to drawn skeleton; the number of frames without a
        person.
    """
    capture = cv2.VideoCapture(str(clip))
    took = []
    lost = 0
    with POSE.Pose(model_complexity=FULL) as pose:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            begin = time.perf_counter()
            seen = pose.process(frame).pose_landmarks
            drawn = frame.copy()
            if seen:
                DRAWING.draw_landmarks(drawn, seen, POSE.POSE_CONNECTIONS)
            took.append(1000 * (time.perf_counter() - begin))
            lost += seen is None
    capture.release()
    return took, lost


def time_clips() -> dict:
    """Time all clips.

    Returns:
        Name and version -> frames, p50 and p95 in milliseconds, frames per second, and the same per
        clip.
    """
    rows = {}
    every = []
    for clip in clips():
        took, lost = time_clip(clip)
        p50, p95 = np.percentile(took, (50, 95))
        rows[clip.stem] = {
            "frames": len(took),
            "lost_frames": lost,
            "p50_ms": round(p50, 2),
            "p95_ms": round(p95, 2),
            "fps": round(1000 / np.mean(took), 2),
        }
        every += took[1:]  # the first frame allocates
    p50, p95 = np.percentile(every, (50, 95))
    total = {
        "frames": len(every),
        "p50_ms": round(p50, 2),
        "p95_ms": round(p95, 2),
        "fps": round(1000 / np.mean(every), 1),
    }
    return {NAME: {**total, "clips": rows}}


def photo_landmarks(folder: Path) -> dict:
    """Find the person in each photo, in static image mode: a detector, then the landmarks.

    Args:
        folder: of PNG files, at any depth.

    Returns:
        `name`; `photos`: path below the folder -> `size` (width, height); `landmarks`, 33 of x, y,
        visibility as MediaPipe gives them (x and y in fractions of width and height), or None if it
        finds no person; `processor_ms`, the processor time of all threads.
    """
    photos = {}
    with POSE.Pose(static_image_mode=True, model_complexity=FULL) as pose:
        for path in sorted(folder.rglob("*.png")):
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            begin = time.process_time()
            seen = pose.process(image).pose_landmarks
            took = 1000 * (time.process_time() - begin)
            photos[path.relative_to(folder).as_posix()] = {
                "size": image.shape[1::-1],
                "landmarks": seen and [[p.x, p.y, p.visibility] for p in seen.landmark],
                "processor_ms": took,
            }
    return {"name": NAME, "photos": photos}


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("clips", "photos"))
    parser.add_argument("path", help="OUT.json, or - to print; the folder that holds photos/")
    args = parser.parse_args()
    if args.action == "photos":
        folder = Path(args.path)
        found = photo_landmarks(folder / "photos")
        (folder / "landmarks.json").write_text(json.dumps(found), encoding="utf-8")
        return
    text = json.dumps(time_clips())
    if args.path == "-":
        print(text)
    else:
        Path(args.path).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
