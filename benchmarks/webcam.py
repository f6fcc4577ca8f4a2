"""Measure frames per second and times of the camera widget in JupyterLab.

JupyterLab runs in a Chromium whose camera shows a rendered clip, with one frame in flight and with
two; after a few seconds each, the widget's line of numbers is read. The claim: the model and the
drawing are never the bottleneck, encoding and the wire are.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book" / "tools"))
from browser import find_chromium
from live_lab import ALLOWED, ARGUMENTS, CAMERA, Lab, jupyter, make_clip, notebook

from posekit import live

FIGURES = re.compile(
    r"(\d+) frames per second · encode (\d+) \+ wire (\d+) \+ model (\d+) \+ draw (\d+) ms"
)
PARTS = ("fps", "encode_ms", "wire_ms", "model_ms", "draw_ms")


def measure(lab: Lab, most: int, seconds: float) -> dict[str, float]:
    """Return mean numbers over some seconds with at most `most` frames in flight."""
    lab.execute(f"webcam.camera_widget.max_in_flight = {most}")
    lab.press("Start")
    lab.wait_state("on", 120)
    lab.page.wait_for_timeout(3000)
    rows = []
    for _ in range(int(seconds)):
        lab.page.wait_for_timeout(1000)
        if found := FIGURES.search(lab.root.inner_text()):
            rows.append([float(v) for v in found.groups()])
    lab.press("Stop")
    lab.wait_state("off")
    return {
        name: round(sum(column) / len(rows), 1)
        for name, column in zip(PARTS, zip(*rows), strict=True)
    }


def main() -> int:
    """Measure, print; 1 when the claim does not hold, 2 without Chromium."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=live.DEFAULT_MODEL)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", action="store_true", help="print one JSON object (else lines)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/webcam")
    args = parser.parse_args()
    if (path := find_chromium()) is None:
        print("error: no Chromium found: install it, or name it in CHROMIUM", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        film = Path(scratch) / "camera.y4m"
        make_clip(film)
        notebook(
            folder / "live.ipynb",
            [f"from posekit import live\nwebcam = live.Webcam({args.model!r})\nwebcam"],
        )
        with jupyter(folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=path,
                args=[*ARGUMENTS, *CAMERA, *ALLOWED, f"--use-file-for-fake-video-capture={film}"],
            )
            lab = Lab(browser, address, "live.ipynb")
            load = os.getloadavg()[0]
            lab.run_cell(0)
            rows = {most: measure(lab, most, args.seconds) for most in (1, 2)}
            browser.close()
    holds = all(
        row["model_ms"] + row["draw_ms"] <= row["encode_ms"] + row["wire_ms"]
        for row in rows.values()
    )
    result = {
        "model": args.model,
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "holds": holds,
        "in_flight": rows,
    }
    if args.record:
        from posekit.notebook import runs

        about = "frames per second of the camera widget in JupyterLab, and the time of each part"
        command = "python benchmarks/webcam.py --record"
        log = [[f"{most} in flight", *row.values()] for most, row in rows.items()]
        runs.write("webcam", about, command, result, ["run", *PARTS], log)
    print(
        json.dumps(result)
        if args.json
        else "\n".join(f"{name:12s} {value}" for name, value in result.items())
    )
    return 0 if holds else 1


if __name__ == "__main__":
    raise SystemExit(main())
