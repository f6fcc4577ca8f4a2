#!/usr/bin/env bash
# MediaPipe Pose (full) on the clips of benchmarks/live.py, from decoded frame to drawn skeleton: benchmarks/peers.sh [OUT.json]
# It wants an older protobuf and numpy than this project, so it gets .venv-peers (0.6 GB, a minute the first time). Its model lies in its wheel.
set -euo pipefail
out="${1:--}"
[ "$out" = - ] || out="$(realpath "$out")"
cd "$(dirname "$0")/.."

if [ ! -x .venv-peers/bin/python ]; then
    "${PYTHON:-python3}" -m venv .venv-peers
    .venv-peers/bin/pip install --disable-pip-version-check --quiet mediapipe==0.10.14 "numpy<2" >&2
fi

GLOG_minloglevel=3 TF_CPP_MIN_LOG_LEVEL=3 .venv-peers/bin/python - "$out" 2>/dev/null <<'PYTHON'
import json
import os
import sys
import time
from pathlib import Path

import cv2
import mediapipe
import numpy as np

folder = os.environ.get("POSEKIT_DATA")
clips = [p for sub in ("clips", "pose_clips") for p in sorted(Path(folder, sub).glob("*.m[kp][v4]"))] if folder else []
rows, every = {}, []
for clip in clips or [Path("posekit/live/web/clip.mjpeg")]:
    capture, took, lost = cv2.VideoCapture(str(clip)), [], 0
    with mediapipe.solutions.pose.Pose(model_complexity=1) as pose:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            begin = time.perf_counter()
            seen = pose.process(frame).pose_landmarks
            drawn = frame.copy()
            if seen:
                mediapipe.solutions.drawing_utils.draw_landmarks(drawn, seen, mediapipe.solutions.pose.POSE_CONNECTIONS)
            took.append(1000 * (time.perf_counter() - begin))
            lost += seen is None
    p50, p95 = np.percentile(took, (50, 95))
    rows[clip.stem] = {"frames": len(took), "lost_frames": lost, "p50_ms": round(p50, 2), "p95_ms": round(p95, 2),
                       "fps": round(1000 / np.mean(took), 2)}
    every += took[1:]
p50, p95 = np.percentile(every, (50, 95))
text = json.dumps({"mediapipe 0.10.14, Pose full": {"frames": len(every), "p50_ms": round(p50, 2), "p95_ms": round(p95, 2),
                                                    "fps": round(1000 / np.mean(every), 1), "clips": rows}})
print(text) if sys.argv[1] == "-" else Path(sys.argv[1]).write_text(text + "\n")
PYTHON
