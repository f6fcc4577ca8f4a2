"""The backend of Keras is checked before Keras is imported."""

import importlib.util
import json
import subprocess
import sys

import pytest

from posekit import hardware
from posekit.errors import DataError


@pytest.fixture(autouse=True)
def no_setting(monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


def test_tensorflow_is_the_default(tmp_path):
    hardware.check_backend()
    for content in ("", "not JSON", "[]", json.dumps({"floatx": "float16"})):
        (tmp_path / "keras.json").write_text(content)
        assert hardware.backend_setting()[1] == "tensorflow"


@pytest.mark.parametrize("backend", ["theano", "garbage", "Jax", "openvino", "numpy"])
def test_an_unknown_backend_is_named_with_where_it_is_set(monkeypatch, tmp_path, backend):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": backend}))
    with pytest.raises(DataError, match=rf"keras\.json, backend: is '{backend}'") as error:
        hardware.check_backend()
    assert "set KERAS_BACKEND=tensorflow" in str(error.value)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(DataError, match=f"^KERAS_BACKEND: is '{backend}'") as error:
        hardware.check_backend()
    assert "tensorflow or jax or torch, or unset it" in str(error.value)


def test_the_environment_goes_before_the_file(monkeypatch, tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "theano"}))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    hardware.check_backend()


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_backend_that_is_not_installed_is_named(monkeypatch, backend):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=f"is '{backend}', which is not installed") as error:
        hardware.check_backend()
    assert f"pip install {backend}, or unset it" in str(error.value)


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--records", "r", "--val", "r", "--epochs", "1", "--out", "x"],
        ["export", "--model", "m", "x.onnx"],
        ["experiment", "minidome"],
    ],
)
def test_commands_say_so_in_one_line_before_keras_is_loaded(monkeypatch, capsys, tmp_path, command):
    from posekit import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "garbage")
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: KERAS_BACKEND: is 'garbage'") and told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_python_without_packages_gets_one_line(monkeypatch):
    """`-S` leaves out site-packages, as a Python outside the environment has none of ours."""
    root = str(__import__("pathlib").Path(hardware.__file__).parents[1])
    commands = [
        ["-m", "posekit", "predict", "--model", "stage1", "x.jpg"],
        ["-m", "posekit.minidome"],
        *(
            [f"data_scripts/{name}.py", "--help"]
            for name in ("build_tfrecords", "download_coco", "download_panoptic", "make_minidome")
        ),
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-S", *command],
            cwd=root,
            env={"PATH": "/usr/bin", "PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 2, command
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
        assert "make setup" in done.stderr or "pip install" in done.stderr
