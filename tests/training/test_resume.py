"""A run that is killed goes on as if nothing had been: the same curve, the same weights; and what
it refuses."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tiny_data

from posekit import cli, records, training
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.inference import predictor

ROOT = Path(__file__).parents[2]

CHILD = """
import json, sys, time
from posekit import inputs, training
from posekit.training import ValidationLogger

score = ValidationLogger.score
# slow enough to be killed in its midst
ValidationLogger.score = lambda self: (time.sleep(0.4), score(self))[1]
folder, out, recipe = sys.argv[1:]
recipe = json.loads(recipe)
recipe["augment"] = inputs.Augmentation(**recipe["augment"])
training.train([folder], folder, training.Recipe(**recipe), out, checkpoint_seconds=0)
"""


@pytest.fixture(scope="module")
def record_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    annotations, _ = tiny_data.coco(folder / "coco", photos=6, people=2)
    samples = coco.read(annotations, folder / "coco" / "train2017")
    records.write_records(
        samples,
        folder / "records",
        "coco",
        "train",
        settings=records.CropSettings(box_px=64),
        shards=2,
        workers=1,
        progress=False,
    )
    return folder / "records"


def tiny(**changes) -> training.Recipe:
    given = {
        "base_channels": 4,
        "input_size": 64,
        "epochs": 5,
        "batch_size": 4,
        "dtype": "float32",
        "seed": 5,
    }
    return training.Recipe(**{**given, **changes})


def kill_after(epochs: int, folder: Path, recipe: training.Recipe, out: Path) -> None:
    """Train in a process of its own, and kill -9 it in the midst of an epoch, after so many whole
    ones."""
    arguments = [sys.executable, "-c", CHILD, str(folder), str(out), json.dumps(asdict(recipe))]
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        for line in child.stdout:
            if line.startswith(
                f"epoch {epochs + 1:3d}"
            ):  # the epoch before has its checkpoint by now
                child.kill()
        assert child.wait() == -signal.SIGKILL
    assert not out.exists() and (out.with_name(f".{out.name}.partial") / "checkpoint.npz").exists()


def curve(run: Path) -> list[dict]:
    with (run / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def same_run(a: Path, b: Path) -> None:
    assert curve(a) == curve(b)
    for mine, other in zip(
        *(predictor.load(run).model.get_weights() for run in (a, b)), strict=True
    ):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        pytest.param(
            {
                "loss": "rle",
                "optimizer": "sgd",
                "ema_momentum": 0.9,
                "clip_norm": 1.0,
                "head": "deeppose2014_dropout",
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"loss": "laplace", "ema_momentum": 0.99, "dtype": "mixed_bfloat16"},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["defaults", "rle, sgd, average, clip, dropout", "laplace, average, bfloat16"],
)
@pytest.mark.fault("kill-training")
def test_a_killed_run_goes_on_bit_for_bit(record_folder, tmp_path, recipe):
    recipe = tiny(**recipe)
    training.train([record_folder], record_folder, recipe, tmp_path / "whole", verbose=False)
    kill_after(2, record_folder, recipe, tmp_path / "killed")
    training.train([record_folder], record_folder, recipe, tmp_path / "killed", verbose=False)
    same_run(tmp_path / "whole", tmp_path / "killed")
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [
        "log.csv",
        "model.keras",
        "record.json",
    ]
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def interrupted(record_folder, tmp_path_factory):
    """A run that stopped after three of five epochs, in this process; its folder to be."""
    out = tmp_path_factory.mktemp("interrupted") / "run"
    stop_after(3, record_folder, tiny(), out)
    return out


class Stopped(Exception):
    pass


def stop_after(epochs: int, folder: Path, recipe: training.Recipe, out: Path, **options) -> None:
    """Train, and raise when so many checkpoints are written."""
    with pytest.MonkeyPatch.context() as patch:
        save = training.Checkpoint.save

        def then_stop(self, done):
            save(self, done)
            if done == epochs:
                raise Stopped

        patch.setattr(training.Checkpoint, "save", then_stop)
        with pytest.raises(Stopped):
            training.train(
                [folder], folder, recipe, out, verbose=False, checkpoint_seconds=0, **options
            )


def copied(interrupted: Path, tmp_path: Path) -> Path:
    shutil.copytree(interrupted.with_name(".run.partial"), tmp_path / ".run.partial")
    return tmp_path / "run"


def test_an_interrupted_run_is_not_lost_by_beginning_again(
    interrupted, record_folder, tmp_path, capsys
):
    out = copied(interrupted, tmp_path)
    before = (tmp_path / ".run.partial" / "checkpoint.npz").read_bytes()
    arguments = [
        "train",
        "--records",
        record_folder,
        "--val",
        record_folder,
        "--backbone",
        "resnet18v2",
        "--out",
        out,
    ]
    assert cli.main([*map(str, arguments), "--epochs", "5"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert (tmp_path / ".run.partial" / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("changes", [{"seed": 6}, {"epochs": 6}, {"loss": "l2"}])
def test_another_recipe_does_not_go_on(interrupted, record_folder, tmp_path, changes):
    out = copied(interrupted, tmp_path)
    with pytest.raises(DataError, match="another recipe"):
        training.train([record_folder], record_folder, tiny(**changes), out, verbose=False)
    assert (tmp_path / ".run.partial" / "checkpoint.npz").exists()


def test_a_damaged_checkpoint_is_named(interrupted, record_folder, tmp_path):
    out = copied(interrupted, tmp_path)
    path = tmp_path / ".run.partial" / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        training.train([record_folder], record_folder, tiny(), out, verbose=False)


def test_a_checkpoint_half_written_is_no_checkpoint(interrupted, record_folder, tmp_path, capsys):
    """Killed while it writes: the older one is whole, and is the one that counts."""
    out = copied(interrupted, tmp_path)
    (tmp_path / ".run.partial" / ".checkpoint.part.npz").write_bytes(b"half")
    training.train([record_folder], record_folder, tiny(), out)
    assert "resuming after epoch 3" in capsys.readouterr().out
    assert [row["epoch"] for row in curve(out)] == ["1", "2", "3", "4", "5"]
    assert not (out / ".checkpoint.part.npz").exists()


def test_minutes_count_the_time_already_spent(record_folder, tmp_path):
    recipe = tiny(epochs=None, minutes=0.2)
    stop_after(1, record_folder, recipe, tmp_path / "run")
    path = tmp_path / ".run.partial" / "checkpoint.npz"
    arrays = dict(np.load(path))
    state = json.loads(str(arrays["state"]))
    arrays["state"] = np.array(json.dumps({**state, "seconds": 11.0}))
    np.savez(path, **arrays)
    begin = time.monotonic()
    record = training.train([record_folder], record_folder, recipe, tmp_path / "run", verbose=False)
    assert (
        12 <= record["seconds"] < 11 + time.monotonic() - begin
        and record["images"] > state["steps"] * 4
    )
    rows = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert float(rows[1]["seconds"]) > 11


BOTH = """
import sys
from posekit import training

folder, whole, broken = sys.argv[1:]
recipe = training.Recipe(
    base_channels=4, input_size=64, epochs=4, batch_size=4, dtype="float32", loss="rle",
    ema_momentum=0.9, clip_norm=1.0,
)
training.train([folder], folder, recipe, whole, verbose=False)
save = training.Checkpoint.save


def then_stop(self, done):
    save(self, done)
    if done == 2:
        raise KeyboardInterrupt


training.Checkpoint.save = then_stop
try:
    training.train([folder], folder, recipe, broken, verbose=False, checkpoint_seconds=0)
except KeyboardInterrupt:
    training.Checkpoint.save = save
    training.train([folder], folder, recipe, broken, verbose=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_runs_go_on_bit_for_bit_on_each_backend(backend, record_folder, tmp_path):
    pytest.importorskip(backend)
    whole = tmp_path / "whole"
    broken = tmp_path / "broken"
    done = subprocess.run(
        [sys.executable, "-c", BOTH, str(record_folder), str(whole), str(broken)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "",
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((broken / "record.json").read_text())["backend"] == backend
    same_run(whole, broken)
