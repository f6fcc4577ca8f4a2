"""The page on reliability: its counts come from the tests of faults, all of them."""

import json
import subprocess
import sys
from pathlib import Path

import faults
import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_every_fault_has_its_tests_and_every_test_its_row():
    assert set(faults.marked().values()) == set(faults.FAULTS)


def test_the_record_counts_the_tests_that_are_there_and_all_survived():
    record = json.loads(faults.RECORD.read_text(encoding="utf-8"))
    counted = {test: name for name, tests in record["faults"].items() for test in tests}
    not_run = {test: faults.marked().get(test) for test in record["not_run"]}
    assert counted | not_run == faults.marked(), "run make faults again"
    for tests in record["faults"].values():
        for test, entry in tests.items():
            assert entry["tries"] == entry["survived"] > 0 and not entry["skipped"], test


TESTS = """
import pytest

@pytest.mark.fault("home")
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a(k):
    assert k != 3

@pytest.mark.fault("cycles")
def test_b(record_property):
    record_property("tries", 1000)

@pytest.mark.fault("cycles")
def test_c():
    pytest.skip("not here")

def test_of_no_fault():
    pass
"""


def test_counts_come_from_the_report(tmp_path):
    (tmp_path / "test_x.py").write_text(TESTS)
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, "--junit-xml=report.xml", "--rootdir=.", "-c", "/dev/null", "test_x.py"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    found = faults.read_reports([tmp_path / "report.xml"])
    assert found == {
        "home": {"test_x.py::test_a": {"tries": 3, "survived": 2, "skipped": 0}},
        "cycles": {
            "test_x.py::test_b": {"tries": 1000, "survived": 1000, "skipped": 0},
            "test_x.py::test_c": {"tries": 0, "survived": 0, "skipped": 1},
        },
    }
    text = faults.table(
        {
            "date": "2026-01-02",
            "hardware": "a",
            "system": "b",
            "python": "3",
            "faults": found,
            "not_run": [],
        }
    )
    assert "1,003 tries in 3 tests, 1,002 survived" in text and "| 3 | 2 |" in text


def test_a_report_without_faults_is_refused(tmp_path):
    path = tmp_path / "report.xml"
    path.write_text("<testsuites><testsuite/></testsuites>")
    with pytest.raises(ValueError, match="no test of a fault"):
        faults.read_reports([path])
