"""`make faults`: write `book/faults.json`, the counts that the page on reliability shows.

    python book/tools/faults.py REPORT.xml ...

The inputs are reports of runs of the tests marked `fault`, in JUnit's format; the counts are those
of the tests, and nothing is counted by hand. The page `book/reliability.md` shows the record by the
directive of `sphinx_status.py`.
"""

import argparse
import ast
import datetime
import json
import os
import platform
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from posekit.training.record import provenance

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "book" / "faults.json"


class Fault(NamedTuple):
    """A row of the table.

    Args:
        done: what the tests do.
        lost: what is lost then.
    """

    done: str
    lost: str


FAULTS = {
    "kill-steps": Fault(
        "kill −9 of a writer before each of its steps on the file system, and at random bytes of a "
        "file: records, download, unpacking, results, the record of a run, a folder such as "
        "MiniDome's",
        "nothing that was finished; an empty hidden lock file may stay",
    ),
    "kill-records": Fault(
        "kill −9 of `build_tfrecords.py` and its workers at random moments, then `--resume`",
        "the shards in progress; the bytes at the end are the same",
    ),
    "kill-download": Fault(
        "kill −9 of a download at random moments",
        "at most 64 KiB per kill; the bytes at the end are the same",
    ),
    "kill-training": Fault(
        "kill −9 of a training in an epoch, at random moments, and at steps on the file system, "
        "then `--resume`",
        "the epochs since the last checkpoint; curve and weights at the end are the same, bit for "
        "bit, on a CPU",
    ),
    "kill-export": Fault(
        "kill −9 of `posekit export` at random moments",
        "the export in progress, which starts again; a scratch folder in the system's folder for "
        "temporary files stays",
    ),
    "disk-records": Fault("a full disk while records are written", "the shards in progress"),
    "disk-training": Fault(
        "a full disk before a checkpoint, the log, TensorBoard's curves, the model or its record",
        "the epochs since the last checkpoint; the weights at the end are the same",
    ),
    "disk-download": Fault(
        "a full disk during a download, and while an archive is unpacked",
        "nothing: the part is kept, and the unpacking starts again",
    ),
    "disk-export": Fault(
        "a full disk while a model is exported, and in the folder for temporary files",
        "the export in progress",
    ),
    "disk-files": Fault(
        "a full disk under a file of results, a drawing, or the printed output",
        "the new file; an older one stays",
    ),
    "disk-video": Fault(
        "a full disk under the video of the live loop, in four formats",
        "the new video; an older one stays",
    ),
    "disk-run-record": Fault(
        "a full disk under the record of an experiment", "the new record; the older one stays"
    ),
    "home": Fault(
        "a home folder that is missing, read-only, full, or a file; a user without one",
        "what would be kept there: the progress in the exercises, and the data set if no other "
        "folder is named",
    ),
    "names": Fault(
        "paths with other scripts, spaces, quotes, a line break, dots, and names of 255 bytes, at "
        "every writer",
        "nothing; names of more than 255 bytes are refused",
    ),
    "clock": Fault(
        "a clock that jumps by up to 32 years, back or forth: in a training's time budget, in a "
        "download, in the times of the frames",
        "the smoothing of one frame",
    ),
    "camera": Fault(
        "a camera that vanishes, freezes, or changes the size of its frames",
        "nothing of the frames before; a drawn video keeps its first size",
    ),
    "kernel": Fault(
        "kill −9 of the kernel while the widget shows the camera", "the kernel; the camera goes off"
    ),
    "cycles": Fault(
        "starts and stops of the live loop over a clip and over a camera, of the page's server, "
        "and of the kernel's side of the widget",
        "nothing: threads, open files and memory do not grow",
    ),
    "builds": Fault(
        "two builds of the book into one folder", "nothing: the second is refused at once"
    ),
}
"""Name in `pytest.mark.fault` -> its row."""


def marked() -> dict[str, str]:
    """Return test -> name of its fault, read from the sources of the tests."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for mark in getattr(node, "decorator_list", []):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.fault":
                    name = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                    found[name] = mark.args[0].value
    return found


def read_reports(reports: list[Path]) -> dict[str, dict[str, dict[str, int]]]:
    """Return the counts of each fault.

    Args:
        reports: XML files that `pytest -m fault --junit-xml` writes.

    Returns:
        Name of the fault -> test, as `tests/x/test_y.py::test_z` -> `tries`, `survived` and
        `skipped`. A test without a count of its own is one try.

    Raises:
        ValueError: if no report holds a test of a fault.
    """
    found: dict[str, dict[str, dict[str, int]]] = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            given = {p.get("name"): p.get("value") for p in case.iter("property")}
            if "fault" not in given:
                continue
            file = case.get("classname", "").replace(".", "/") + ".py"
            test = f"{file}::{case.get('name', '').split('[')[0]}"
            entry = found.setdefault(given["fault"], {}).setdefault(
                test, {"tries": 0, "survived": 0, "skipped": 0}
            )
            tries = int(given.get("tries", 1))
            failed = any(case.find(kind) is not None for kind in ("failure", "error"))
            skipped = case.find("skipped") is not None
            entry["skipped"] += skipped
            entry["tries"] += 0 if skipped else tries
            entry["survived"] += 0 if skipped or failed else tries
    if not found:
        raise ValueError("no test of a fault; was it written by pytest -m fault?")
    return {name: dict(sorted(found[name].items())) for name in FAULTS if name in found}


def table(record: dict) -> str:
    """Return the record as Markdown.

    Args:
        record: contents of faults.json.
    """
    entries = [entry for tests in record["faults"].values() for entry in tests.values()]
    tries, survived = (sum(entry[key] for entry in entries) for key in ("tries", "survived"))
    lines = [
        f"Run on {record['date']} on {record['hardware']} ({record['system']}, Python "
        f"{record['python']}): {tries:,} tries in {len(entries)} tests, {survived:,} survived.",
        "",
        "| what was done | tried | survived | lost | shown by |",
        "|---|---|---|---|---|",
    ]
    for name, tests in record["faults"].items():
        fault = FAULTS[name]
        tried, passed = (sum(e[key] for e in tests.values()) for key in ("tries", "survived"))
        files = dict.fromkeys(test.split("::")[0] for test in tests)
        where = ", ".join(f"`{file}`" for file in files)
        lines.append(f"| {fault.done} | {tried:,} | {passed:,} | {fault.lost} | {where} |")
    if record["not_run"]:
        names = ", ".join(f"`{test.split('::')[1]}`" for test in record["not_run"])
        lines += ["", f"Not run for this record, and so not counted: {names}."]
    return "\n".join(lines)


def main() -> int:
    """Write the record; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "reports", nargs="+", type=Path, help="written by pytest -m fault --junit-xml"
    )
    args = parser.parse_args()
    try:
        faults = read_reports(args.reports)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    origin = provenance()
    record = {
        "date": datetime.date.today().isoformat(),
        "hardware": origin["hardware"],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "faults": faults,
        "not_run": sorted(marked().keys() - {test for tests in faults.values() for test in tests}),
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{os.path.relpath(RECORD)}: {len(faults)} faults")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
