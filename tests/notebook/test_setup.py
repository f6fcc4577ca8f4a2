"""A notebook's first call: the same numbers each time, nothing on stderr, records from where the
reader says."""

import os
import subprocess
import sys

import pytest

from posekit import hardware, notebook
from posekit.errors import DataError


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )


def test_start_is_quiet_and_repeatable():
    code = (
        "from posekit import notebook\nmachine = notebook.setup(seed=3)\nimport random, numpy, "
        "keras\nprint(random.random(), numpy.random.rand(), float(keras.random.normal(())), "
        "machine.device in ('CPU', 'GPU'), machine.cores >= 1)"
    )
    environment = {"TF_CPP_MIN_LOG_LEVEL": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    first = run(code, **environment)
    second = run(code, **environment)
    assert first.stderr == ""
    assert first.stdout == second.stdout and first.stdout.endswith("True True\n")


def test_descriptor_2_is_silent_and_comes_back(capfd):
    os.write(2, b"before ")
    with pytest.raises(ZeroDivisionError), hardware.quiet_stderr():
        os.write(2, b"never seen ")
        raise ZeroDivisionError
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_the_reader_can_bring_records(tmp_path, monkeypatch):
    machine = notebook.Runtime(device="CPU", cores=2, live_seconds=1)
    monkeypatch.setenv("POSEKIT_RECORDS_TRAIN", str(tmp_path))
    with pytest.raises(DataError, match="POSEKIT_RECORDS_TRAIN.*manifest.json"):
        _ = machine.train_records
    (tmp_path / "manifest.json").write_text("{}")
    assert machine.train_records == tmp_path


def test_live_seconds_can_be_set(monkeypatch):
    out = run(
        "from posekit import notebook; print(notebook.setup().live_seconds)",
        POSEKIT_LIVE_SECONDS="7.5",
    ).stdout
    assert out == "7.5\n"
    monkeypatch.setenv("POSEKIT_LIVE_SECONDS", "1 min")
    with pytest.raises(DataError, match=r"POSEKIT_LIVE_SECONDS: is '1 min'"):
        notebook.setup()
