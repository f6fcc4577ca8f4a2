"""Generate a MiniDome sequence: synthetic people in a dome of calibrated cameras, in CMU Panoptic's
layout and as COCO JSON."""

import argparse
import signal
import sys
from pathlib import Path

try:
    from posekit.errors import DataError
    from posekit.minidome.sequence import describe, make_sequence, shares
except (ImportError, SyntaxError) as error:
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f"error: {error}; this is Python {version}: posekit needs 3.11 to 3.13 and its packages "
        f"(make setup, then: .venv/bin/python {sys.argv[0]} ...)\n"
    )
    sys.exit(2)


def size(text: str) -> tuple[int, int]:
    """`"640x360"` -> (640, 360)."""
    w, x, h = text.lower().partition("x")
    if not (x and w.isdecimal() and h.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size; expected WIDTHxHEIGHT, such as 640x360"
        )
    return int(w), int(h)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="output folder; its name becomes the name of the sequence",
    )
    parser.add_argument("--frames", type=int, default=300, metavar="N", help="frames (default 300)")
    parser.add_argument(
        "--cameras",
        type=int,
        default=2,
        metavar="C",
        help="active cameras per frame, of 31 (default 2)",
    )
    parser.add_argument(
        "--size", type=size, default=(640, 360), metavar="WxH", help="image size (default 640x360)"
    )
    parser.add_argument(
        "--take",
        type=int,
        default=1,
        metavar="T",
        help="frames for which the same people move (default 1)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="the same seed gives the same bytes (default 0)",
    )
    parser.add_argument(
        "--mode",
        default="dome",
        help="dome (default), desk (people at their webcam) or phone (people gesturing at a phone)",
    )
    parser.add_argument(
        "--empty",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="fraction of scenes without people (default 0)",
    )
    parser.add_argument(
        "--motion",
        type=Path,
        metavar="FILE",
        help="motion capture to perform: npz of joints (posekit/minidome/README.md)",
    )
    parser.add_argument(
        "--step",
        type=int,
        default=1,
        metavar="K",
        help="with --motion: advance by K/29.97 s per frame (default 1)",
    )
    parser.add_argument(
        "--backgrounds", type=Path, metavar="DIR", help="photos used as backgrounds"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="W", help="processes (default 2)")
    parser.add_argument(
        "--shares", action="store_true", help="only print statistics of the sequence in OUT"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    given = arguments(argv)
    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if given.shares:
            print(describe(shares(given.out)))
            return 0
        names = (
            "frames",
            "cameras",
            "size",
            "take",
            "seed",
            "workers",
            "mode",
            "empty",
            "motion",
            "step",
            "backgrounds",
        )
        found = make_sequence(given.out, **{name: getattr(given, name) for name in names})
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return 130
    print(f"{given.out}\n{describe(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
