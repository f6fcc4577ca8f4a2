"""`make status`: write `book/status.json`, the versions and run times that the status page shows.

    python book/tools/status.py _build/chapters.xml

The input is the report of a run of the chapters with nbval, in JUnit's format: one test case per
cell. The page `book/status.md` shows the record by the directive of `sphinx_status.py`.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from posekit.training.record import provenance

ROOT = Path(__file__).resolve().parents[2]
STATUS = ROOT / "book" / "status.json"
EXTRAS = ("train", "book")


def read_report(report: Path) -> dict[str, dict]:
    """Return cells, failures and time of each notebook.

    Args:
        report: the XML file that `pytest --nbval --junit-xml` writes.

    Returns:
        Path of the notebook, as pytest names it -> `cells`, `failed` and `seconds`.

    Raises:
        ValueError: if the report holds no notebook.
    """
    notebooks: dict[str, dict] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname", "").removesuffix(".ipynb").replace(".", "/")
        entry = notebooks.setdefault(name, {"cells": 0, "failed": 0, "seconds": 0.0})
        entry["cells"] += 1
        entry["failed"] += any(case.find(kind) is not None for kind in ("failure", "error"))
        entry["seconds"] += float(case.get("time", 0))
    if not notebooks:
        raise ValueError(f"{report}: no test case; was it written by pytest --nbval?")
    for entry in notebooks.values():
        entry["seconds"] = round(entry["seconds"], 1)
    return dict(sorted(notebooks.items()))


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that pyproject.toml names for the chapters."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needs = [*project["dependencies"], *(text for name in EXTRAS for text in extras[name])]
    found = {}
    for need in map(Requirement, needs):
        if need.marker is None or need.marker.evaluate():
            found[need.name] = metadata.version(need.name)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def table(record: dict) -> str:
    """Return the record as Markdown.

    Args:
        record: contents of status.json.
    """
    failed = sum(entry["failed"] for entry in record["notebooks"].values())
    cells = sum(entry["cells"] for entry in record["notebooks"].values())
    seconds = sum(entry["seconds"] for entry in record["notebooks"].values())
    lines = [
        f"Run on {record['date']}, commit {record['commit']}, on {record['hardware']} "
        f"({record['system']}), one notebook after the other. {cells} code cells in "
        f"{len(record['notebooks'])} notebooks took {seconds / 60:.0f} minutes; {failed} "
        "differed from the printed outputs.",
        "",
        "| notebook | code cells | seconds | result |",
        "|---|---|---|---|",
    ]
    for name, entry in record["notebooks"].items():
        result = f"{entry['failed']} cells differ" if entry["failed"] else "as printed"
        title = Path(name).name
        link = f"[{title}](../{name}.ipynb)"
        lines.append(f"| {link} | {entry['cells']} | {entry['seconds']:.0f} | {result} |")
    lines += ["", "| package | version |", "|---|---|", f"| Python | {record['python']} |"]
    lines += [f"| {name} | {version} |" for name, version in record["packages"].items()]
    return "\n".join(lines)


def main() -> int:
    """Write the record; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="written by pytest --nbval --junit-xml")
    args = parser.parse_args()
    try:
        notebooks = read_report(args.report)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    origin = provenance()
    record = {
        "date": datetime.date.today().isoformat(),
        "commit": origin["commit"],
        "hardware": origin["hardware"],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": versions(),
        "notebooks": notebooks,
    }
    STATUS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"{os.path.relpath(STATUS)}: {len(notebooks)} notebooks")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
