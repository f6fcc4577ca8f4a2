"""Write one split of a data set as TFRecord shards, or verify them.

    build_tfrecords.py DATASET SRC OUT
    build_tfrecords.py check DIR

Chapter 03 explains the records; the work is done by `posekit.datasets` and `posekit.records`.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

try:
    from posekit import datasets, records
    from posekit.errors import DataError
    from posekit.records import beam
except (ImportError, SyntaxError) as error:
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f"error: {error}; this is Python {version}: posekit needs 3.11 to 3.13 and its packages "
        f"(make setup, then: .venv/bin/python {sys.argv[0]} ...)\n"
    )
    sys.exit(2)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 for bad input or damaged records."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["check"]:
        return check(argv[1:])
    options, pipeline = _parse(argv)
    started = time.monotonic()
    filtered: Counter = Counter()
    skipped: list[dict] | None = [] if options.skip_bad else None
    notes: list[str] = []
    try:
        manifest = records.write_records(
            datasets.read(options.dataset, options.src, options.split, filtered, skipped, notes),
            options.out,
            options.dataset,
            options.split,
            settings=records.CropSettings(
                box_source=options.box, context=options.context, box_px=options.box_px
            ),
            shards=options.shards,
            workers=options.workers,
            seed=options.seed,
            resume=options.resume,
            skip_errors=options.skip_bad,
            filtered=filtered,
            skipped=skipped,
            executor=beam.executor(pipeline, options.workers) if options.runner == "beam" else None,
        )
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = options.resume and (options.out / ".partial").is_dir()
        print(
            "stopped: " + ("continue with --resume" if kept else "nothing was kept"),
            file=sys.stderr,
        )
        return 130
    seconds = time.monotonic() - started
    size = sum(shard["bytes"] for shard in manifest["shards"])
    print(
        f"{manifest['people']} people in {len(manifest['shards'])} shards, {size / 1e6:.1f} MB, "
        f"{seconds:.1f} s ({manifest['people'] / seconds:.0f} people/s): {options.out}"
    )
    if manifest["filtered"]:
        print(
            "left out: "
            + ", ".join(f"{count} {reason}" for reason, count in manifest["filtered"].items())
        )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for person in manifest["skipped"]:
        print(f"skipped: {person['person_id']} ({person['problem']})", file=sys.stderr)
    if manifest["skipped"]:
        print(f"skipped: {len(manifest['skipped'])}, whose annotation or image cannot be used")
    return 0


def check(argv: list[str]) -> int:
    """Verify every record (`build_tfrecords.py check DIR`); 0, or 2 with a line per damage."""
    parser = argparse.ArgumentParser(
        prog="build_tfrecords.py check", description="Verify every byte of a record folder."
    )
    parser.add_argument("dir", metavar="DIR", type=Path)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object: people, shards, bytes, damage"
    )
    options = parser.parse_args(argv)
    try:
        result = records.check(options.dir)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for damage in result["damage"]:
        print(f"error: {damage}", file=sys.stderr)
    if options.json:
        print(json.dumps(result))
    elif not result["damage"]:
        print(
            f"{result['people']} people in {result['shards']} shards, "
            f"{result['bytes'] / 1e6:.1f} MB: no damage"
        )
    if result["damage"]:
        print(
            f"error: {len(result['damage'])} damaged: copy or build the records again",
            file=sys.stderr,
        )
        return 2
    return 0


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse our options, and split off the Beam pipeline's options after `--`."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [options] DATASET SRC OUT [-- PIPELINE_OPTION ...]",
        description="Write one split of a data set as TFRecord shards.",
        epilog="`build_tfrecords.py check DIR` verifies records that are there (check --help).",
    )
    parser.add_argument("dataset", choices=datasets.DATASETS)
    parser.add_argument("src", metavar="SRC", type=Path, help="the data set's folder")
    parser.add_argument("out", metavar="OUT", type=Path, help="a new folder for the records")
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="train", help="default: train"
    )
    parser.add_argument(
        "--box",
        choices=records.BOX_SOURCES,
        default="annotation",
        help="what to crop: the annotated box where there is one, else the joints' (default); the "
        "joints' box; the full image. Padded by 1.25",
    )
    parser.add_argument(
        "--context", type=float, default=1.5, help="stored side in padded boxes (default: 1.5)"
    )
    parser.add_argument(
        "--box-px", type=int, default=224, help="side of the padded box in pixels (default: 224)"
    )
    parser.add_argument(
        "--shards", metavar="N", type=int, default=8, help="number of files (default: 8)"
    )
    cores = min(os.cpu_count() or 1, 16)
    parser.add_argument(
        "--workers", metavar="W", type=int, default=cores, help=f"processes (default: {cores})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order (default: 0)")
    parser.add_argument(
        "--resume", action="store_true", help="finish an interrupted run; the bytes are the same"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out people that cannot be written, and list them",
    )
    parser.add_argument(
        "--runner",
        choices=("local", "beam"),
        default="local",
        help="local: processes on this machine (default). beam: an Apache Beam pipeline, here or "
        "on the cluster that its options after `--` name, such as `-- --runner=FlinkRunner`; the "
        "records are the same (pip install -e '.[beam]')",
    )
    ours = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_args(argv[:ours])
    if options.runner != "beam" and argv[ours:]:
        parser.error("options after `--` are for --runner beam")
    return options, argv[ours + 1 :]


if __name__ == "__main__":
    # clean up on SIGTERM as on Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
