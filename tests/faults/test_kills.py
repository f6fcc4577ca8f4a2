"""kill -9: of every writer at each step on the file system, of a training, a download and an export
at random moments. What is promised is compared byte for byte."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny_data
from faulty_server import Fault, FaultyServer

from posekit import records
from posekit.datasets import coco
from posekit.inference import predictor

ROOT = Path(__file__).resolve().parents[2]
POINTS = ROOT / "tests" / "helpers" / "crash_points.py"
SEED = 19


@pytest.mark.fault("kill-steps")
@pytest.mark.parametrize(
    "writer", ["records", "download", "archive", "results", "run_record", "atomic_folder"]
)
def test_a_writer_that_is_killed_at_any_step_leaves_nothing_partial(
    writer, tmp_path, record_property
):
    paths = f"{ROOT}:{ROOT / 'tests' / 'helpers'}"
    done = subprocess.run(
        [sys.executable, str(POINTS), writer, str(tmp_path), str(SEED)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    count = json.loads(done.stdout.splitlines()[-1])
    assert count["steps"] >= 4 and count["bytes"] == 8, count
    print(writer, count, "seed", SEED)
    record_property("tries", count["steps"] + count["bytes"])


# ---- random moments -------------------------------------------------------------------------


def kill_after(command: list, seconds: float, **options: object) -> bool:
    """Run a command and kill -9 it after some seconds; return whether it was still running."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen(list(map(str, command)), text=True, **quiet) as process:
        try:
            _, told = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            return True
    assert process.returncode == 0, told[-3000:]
    return False


def run(command: list, **options: object) -> float:
    """Run a command to its end; return the seconds that it took."""
    begin = time.monotonic()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return time.monotonic() - begin


FETCH = """
import sys
from pathlib import Path
from posekit.datasets import download

url, folder = sys.argv[1], Path(sys.argv[2])
with download.open_folder(folder) as manifest:
    print("begun", flush=True)
    download.fetch(url, folder / "file.bin", manifest, progress=False)
"""


@pytest.mark.fault("kill-download")
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_download_killed_at_random_is_resumed_to_the_same_bytes(kills, tmp_path, record_property):
    data = random.Random(SEED).randbytes(1_200_000 * kills)  # at about 1 MB per second
    rng = random.Random(SEED)
    print("seed", SEED)
    path = "/file.bin"
    command = [sys.executable, "-c", FETCH, "URL", tmp_path]
    done = 0
    with FaultyServer({path: data}) as server:
        command[3] = f"{server.url}{path}"
        server.always[path] = Fault(trickle=0.001)
        for _ in range(kills):
            with subprocess.Popen(
                list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout.readline() == "begun\n"
                time.sleep(rng.uniform(0, 1.0))
                process.kill()
            if process.returncode == 0:
                break
            done += 1
            assert not (tmp_path / "file.bin").exists()
        server.always.clear()
        run(command, cwd=ROOT)
        sent = sum(server.sent(path)[-1:])
    assert done == kills, "the server was too fast"
    assert (tmp_path / "file.bin").read_bytes() == data
    left = {file.name for file in tmp_path.iterdir()} - {".downloads.lock"}
    assert left == {"file.bin", "downloads.json"}
    assert 0 < sent < len(data), "the last part only"
    record_property("tries", done)


@pytest.fixture(scope="module")
def record_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    annotations, _ = tiny_data.coco(folder / "coco", photos=6, people=2)
    people = coco.read(annotations, folder / "coco" / "train2017")
    settings = records.CropSettings(box_px=64)
    records.write_records(
        people, folder / "records", "coco", "train", settings, shards=2, progress=False
    )
    return folder / "records"


def train_command(records_folder: Path, out: Path, epochs: int = 12) -> list:
    data = ["--records", records_folder, "--val", records_folder, "--out", out]
    network = ["--backbone", "resnet10v2", "--width", 4, "--input-size", 64, "--batch-size", 4]
    length = ["--epochs", epochs, "--checkpoint", 0, "--resume"]
    return [sys.executable, "-m", "posekit", "train", *data, *network, *length]


def log_without_times(run_folder: Path) -> list[list[str]]:
    rows = [line.split(",") for line in (run_folder / "log.csv").read_text().splitlines()]
    return [row[:1] + row[2:] for row in rows]


@pytest.mark.slow
@pytest.mark.fault("kill-training")
def test_a_training_killed_at_random_ends_with_the_same_weights(
    record_folder, tmp_path, record_property
):
    whole = tmp_path / "whole"
    seconds = run(train_command(record_folder, whole), cwd=ROOT)
    rng = random.Random(SEED)
    print("seed", SEED, "whole run", round(seconds, 1), "s")
    want = predictor.load(whole).model.get_weights()
    out = tmp_path / "killed"
    kills = 0

    def same_as_whole() -> None:
        assert log_without_times(out) == log_without_times(whole)
        for a, b in zip(predictor.load(out).model.get_weights(), want, strict=True):
            np.testing.assert_array_equal(a, b)

    for _ in range(8):
        moment = rng.uniform(0.3, 1.0) * seconds
        if kill_after(train_command(record_folder, out), moment, cwd=ROOT):
            kills += 1
            assert not out.exists() or (out / "record.json").exists()
        if out.exists():  # it was faster than the whole run
            same_as_whole()
            shutil.rmtree(out)
            seconds *= 0.6
    run(train_command(record_folder, out), cwd=ROOT)
    same_as_whole()
    assert kills >= 3
    record_property("tries", kills)


STEPS = """
import sys
sys.path.insert(0, sys.argv[2])
import crash_points
from pathlib import Path
from posekit import cli

crash_points.before_step(int(sys.argv[1]), Path(sys.argv[3]))
sys.exit(cli.main(sys.argv[4:]))
"""


@pytest.mark.slow
@pytest.mark.fault("kill-training")
def test_a_training_killed_at_steps_on_the_file_system_ends_with_the_same_weights(
    record_folder, tmp_path, record_property
):
    """The short moments that a random time does not meet: between two files of a checkpoint or of
    the finished run."""
    whole = tmp_path / "whole"
    run(train_command(record_folder, whole, epochs=2), cwd=ROOT)
    want = predictor.load(whole).model.get_weights()
    helpers = ROOT / "tests" / "helpers"
    steps = list(range(26))
    random.Random(SEED).shuffle(steps)
    kills = 0
    for step in steps[:8]:
        place = tmp_path / f"step{step}"
        place.mkdir()
        arguments = train_command(record_folder, place / "run", epochs=2)[3:]
        watched = [sys.executable, "-c", STEPS, step, helpers, place, *arguments]
        done = subprocess.run(list(map(str, watched)), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
        kills += done.returncode != 0
        if not (place / "run").exists():
            run(train_command(record_folder, place / "run", epochs=2), cwd=ROOT)
        assert log_without_times(place / "run") == log_without_times(whole)
        for a, b in zip(predictor.load(place / "run").model.get_weights(), want, strict=True):
            np.testing.assert_array_equal(a, b)
        print("step", step, done.returncode, sorted(p.name for p in place.iterdir()))
    assert kills >= 4
    record_property("tries", kills)


def answers(file: Path) -> list[np.ndarray]:
    """Return the outputs of an exported model for one image."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    return session.run(None, {"image": image})


@pytest.mark.slow
@pytest.mark.fault("kill-export")
def test_an_export_killed_at_random_leaves_no_partial_file_and_then_succeeds(
    tmp_path, record_property
):
    """The bytes of two exports differ, killed or not, by the order of nodes; the outputs do not."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    options = {"cwd": ROOT, "env": {**os.environ, "TMPDIR": str(scratch)}}
    command = [sys.executable, "-m", "posekit", "export", "--model", "minidome"]
    out = tmp_path / "out"
    out.mkdir()
    seconds = run([*command, tmp_path / "whole.onnx"], **options)
    wanted = answers(tmp_path / "whole.onnx")
    rng = random.Random(SEED)
    print("seed", SEED, "whole run", round(seconds, 1), "s")
    kills = 0
    for _ in range(6):
        kills += kill_after([*command, out / "m.onnx"], rng.uniform(0.2, 1.0) * seconds, **options)
        if (out / "m.onnx").exists():
            np.testing.assert_allclose(answers(out / "m.onnx")[0], wanted[0], atol=1e-5)
            (out / "m.onnx").unlink()
    run([*command, out / "m.onnx"], **options)
    for a, b in zip(answers(out / "m.onnx"), wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert [file.name for file in out.iterdir()] == ["m.onnx"]
    assert kills >= 3
    record_property("tries", kills)
