"""The status page: a run of a notebook is read from pytest's report, and shown."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import status
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """Of a real run of a notebook in which one of three cells differs."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "chapters").mkdir()
    cells = [
        new_code_cell(
            source, execution_count=1, outputs=[new_output("stream", name="stdout", text=text)]
        )
        for source, text in (
            ("import time; time.sleep(1.1); print(1)", "1\n"),
            ("print(2)", "2\n"),
            ("print(3)", "4\n"),
        )
    ]
    nbformat.write(new_notebook(cells=cells), folder / "chapters" / "01_name.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q"]
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist"]
    subprocess.run(
        [
            *command,
            *plugins,
            "--junit-xml=report.xml",
            "--rootdir=.",
            "-c",
            "/dev/null",
            "chapters",
        ],
        cwd=folder,
        check=False,
        capture_output=True,
    )
    return folder / "report.xml"


def test_cells_failures_and_times_come_from_the_report(report):
    notebooks = status.read_report(report)
    entry = notebooks["chapters/01_name"]
    assert set(notebooks) == {"chapters/01_name"}
    assert (entry["cells"], entry["failed"]) == (3, 1)
    assert 1.1 <= entry["seconds"] < 60


def test_a_report_without_notebooks_is_refused(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text("<testsuites><testsuite/></testsuites>")
    with pytest.raises(ValueError, match="no test case"):
        status.read_report(path)


def test_the_table_shows_each_notebook_and_package():
    record = {
        "date": "2026-01-02",
        "commit": "abc",
        "hardware": "a processor, 2 cores",
        "system": "Linux x86_64",
        "python": "3.12.1",
        "packages": {"keras": "3.15.1"},
        "notebooks": {
            "chapters/01_name": {"cells": 3, "failed": 1, "seconds": 61.2},
            "chapters/exercises/ex01_name": {"cells": 2, "failed": 0, "seconds": 5.0},
        },
    }
    text = status.table(record)
    assert "| [01_name](../chapters/01_name.ipynb) | 3 | 61 | 1 cells differ |" in text
    assert "| 2 | 5 | as printed |" in text and "| keras | 3.15.1 |" in text
    assert "5 code cells in 2 notebooks took 1 minutes; 1 differed" in text


def test_the_record_names_all_notebooks_and_the_pinned_packages():
    assert {"tensorflow", "keras", "numpy", "jupyterlab"} <= set(status.versions())
    if not status.STATUS.is_file():
        pytest.skip("no run is recorded yet: make status")
    record = json.loads(status.STATUS.read_text(encoding="utf-8"))
    names = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for path in (ROOT / "chapters").rglob("*_*.ipynb")
        if "." not in path.parts[-2]
    }
    assert set(record["notebooks"]) == names
