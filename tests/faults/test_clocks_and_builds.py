"""A clock that jumps back during a training, and two builds of the book in one checkout."""

import email.utils
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_data
from faulty_server import Fault, FaultyServer
from test_files import hold

from posekit import records
from posekit.datasets import coco, download

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "book" / "tools" / "build.py"

TRAIN = """
import sys, time
from posekit import training

jump, folder, out = float(sys.argv[1]), sys.argv[2], sys.argv[3]
real = {name: getattr(time, name) for name in ("time", "time_ns")}
begin = time.monotonic()

def jumped(name, unit):
    def now():
        return real[name]() + int(jump * unit) * (time.monotonic() - begin > 3)
    return now

time.time = jumped("time", 1)
time.time_ns = jumped("time_ns", 10**9)
recipe = training.Recipe(
    backbone="resnet10v2", base_channels=2, input_size=32, minutes=0.15, batch_size=4,
    dtype="float32",
)
record = training.train([folder], folder, recipe, out, verbose=False, tensorboard=out + "-curves")
print(record["seconds"], time.time() - real["time"]() < -1 or jump > 0)
"""


@pytest.mark.slow
@pytest.mark.fault("clock")
@pytest.mark.parametrize("jump", [-3600, -(10**9), 3600])
def test_the_time_budget_of_a_training_does_not_depend_on_the_clock_of_the_day(jump, tmp_path):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=4, people=2)
    people = coco.read(annotations, tmp_path / "coco" / "train2017")
    settings = records.CropSettings(box_px=64)
    folder = tmp_path / "records"
    records.write_records(people, folder, "coco", "train", settings, shards=1, progress=False)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(jump), str(folder), str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, jumped = done.stdout.split()
    assert jumped == "True" and 9 <= float(seconds) < 120
    assert len(list((tmp_path / "run-curves").iterdir())) == 1


@pytest.mark.fault("clock")
@pytest.mark.parametrize("jump", [-3600, -10])
def test_a_download_does_not_wait_for_a_clock_that_has_jumped_back(jump, tmp_path, monkeypatch):
    """A server asks by a date to come back in a second; by a wrong clock that is an hour."""
    then = email.utils.formatdate(time.time() + 1, usegmt=True)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    with (
        FaultyServer({"/file.bin": b"data"}) as busy,
        FaultyServer({"/file.bin": b"data"}) as mirror,
    ):
        busy.faults["/file.bin"] = [Fault(status=503, headers={"Retry-After": then})]
        urls = [f"{each.url}/file.bin" for each in (busy, mirror)]
        begin = time.monotonic()
        with download.open_folder(tmp_path) as manifest:
            download.fetch(urls, tmp_path / "file.bin", manifest, progress=False)
    assert time.monotonic() - begin < 5


# ---- builds ---------------------------------------------------------------------------------


@pytest.mark.fault("builds")
def test_a_second_build_is_refused_at_once_and_changes_nothing(tmp_path):
    html = tmp_path / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("of the first")
    for options in ([], ["--for-class"], ["--links"]):
        with hold(html) as first:
            command = [sys.executable, str(BUILD), "--out", str(tmp_path), *options]
            second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            first.stdin.close()
        assert second.returncode == 2 and second.stderr.count("\n") == 1
        assert "html: another process is writing it" in second.stderr
        files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
        assert files == ["index.html"] or sorted(files) == [".html.lock", "index.html"]


@pytest.mark.slow
@pytest.mark.fault("builds")
def test_a_second_build_during_a_real_one(tmp_path):
    command = [sys.executable, str(BUILD), "--out", str(tmp_path)]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        while not (tmp_path / "_build" / ".doctrees").exists():
            assert first.poll() is None
            time.sleep(0.2)
        refused = 0
        while first.poll() is None and refused < 3:
            second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            refused += second.returncode == 2 and "another process" in second.stderr
            time.sleep(3)
        code = first.wait()
    assert code == 0, (tmp_path / "log").read_text()[-2000:]
    assert refused == 3
    assert (tmp_path / "_build" / "html" / "index.html").is_file()


@pytest.mark.fault("builds")
def test_a_killed_build_holds_no_lock(tmp_path):
    html = tmp_path / "_build" / "html"
    with hold(html) as first:
        first.kill()
    code = (
        "import sys; from posekit import files\nwith files.lock_output(sys.argv[1]): print('free')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(html)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "free\n", done.stderr
