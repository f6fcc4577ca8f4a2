"""Time from starting Python to the first use of posekit.

Each program runs in a process of its own, in turns: an empty program, imports of NumPy and Keras,
`import posekit`, its command line, and a first prediction with the packaged model, next to
what that model's engine needs by itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

PREDICT = """
import numpy, posekit
posekit.load("stage1").predict(numpy.zeros((240, 320, 3), "uint8"))
"""
PROGRAMS = {
    "python": ["-c", ""],
    "numpy": ["-c", "import numpy"],
    "keras": ["-c", "import keras"],
    "posekit": ["-c", "import posekit"],
    "help": ["-m", "posekit", "--help"],
    "onnxruntime": ["-c", "import numpy, cv2, onnxruntime"],
    "first_prediction": ["-c", PREDICT],
}


def seconds(arguments: list[str]) -> float:
    """Seconds from start to end of a Python process."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object (else lines)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/startup")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    for arguments in PROGRAMS.values():
        seconds(arguments)  # fills the disk cache
    log = [
        [name, turn, round(seconds(arguments), 3)]
        for turn in range(args.repeats)
        for name, arguments in PROGRAMS.items()
    ]
    took = {name: [row[2] for row in log if row[0] == name] for name in PROGRAMS}
    result = {
        "load_before": round(load, 1),
        "repeats": args.repeats,
        "programs": {
            name: {
                "seconds": round(statistics.median(values), 3),
                "fastest": min(values),
                "slowest": max(values),
            }
            for name, values in took.items()
        },
    }
    if args.record:
        from posekit.notebook import runs

        about = "seconds from the start of Python to the end of a small program"
        command = "python benchmarks/startup.py --record"
        runs.write("startup", about, command, result, ["run", "turn", "seconds"], log)
    print(
        json.dumps(result)
        if args.json
        else "\n".join(f"{name:18s} {row}" for name, row in result["programs"].items())
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
