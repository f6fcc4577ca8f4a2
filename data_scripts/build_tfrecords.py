"""Write one split of a data set as TFRecord shards: `build_tfrecords.py {minidome,panoptic,coco,lsp,lspet} SRC OUT`.

What it writes, and how it is read, is told in chapter 03; the work is done by `posekit.sources` and `posekit.records`.
"""

import argparse
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from posekit import records, sources
from posekit.errors import DataError


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 for bad input."""
    options = _parser().parse_args(argv)
    started, left_out = time.monotonic(), Counter()
    try:
        manifest = records.write_records(
            sources.read(options.dataset, options.src, options.split, left_out),
            options.out,
            options.dataset,
            options.split,
            box=options.box,
            context=options.context,
            box_px=options.box_px,
            shards=options.shards,
            workers=options.workers,
            seed=options.seed,
            left_out=left_out,
        )
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: nothing was kept", file=sys.stderr)
        return 130
    seconds, size = time.monotonic() - started, sum(shard["bytes"] for shard in manifest["shards"])
    print(
        f"{manifest['people']} people in {len(manifest['shards'])} shards, {size / 1e6:.1f} MB, "
        f"{seconds:.1f} s ({manifest['people'] / seconds:.0f} people/s): {options.out}"
    )
    if manifest["left_out"]:
        print("left out: " + ", ".join(f"{count} {reason}" for reason, count in manifest["left_out"].items()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=sources.DATASETS)
    parser.add_argument("src", metavar="SRC", type=Path, help="the data set's folder")
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder for the records")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train", help="default: train")
    parser.add_argument(
        "--box",
        choices=records.BOXES,
        default="annotation",
        help="what to cut out: the annotated box where there is one, else the joints' (default); the joints' box; "
        "the full photo. Padded by 1.25",
    )
    parser.add_argument("--context", type=float, default=1.5, help="stored side in padded boxes (default: 1.5)")
    parser.add_argument("--box-px", type=int, default=224, help="side of the padded box in pixels (default: 224)")
    parser.add_argument("--shards", metavar="N", type=int, default=8, help="number of files (default: 8)")
    cores = min(os.cpu_count() or 1, 16)
    parser.add_argument("--workers", metavar="W", type=int, default=cores, help=f"processes (default: {cores})")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default: 0)")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up when told to end, as on Ctrl-C
    sys.exit(main())
