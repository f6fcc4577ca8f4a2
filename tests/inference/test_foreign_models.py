"""Model files of other programs are named, in one line that says what to give instead."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from posekit import cli
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.live import server


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name in names:
            opened.writestr(name, b"x")
    return file.getvalue()


def safetensors() -> bytes:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(4)


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


FOREIGN = {
    "a.pt": (archive("archive/data.pkl", "archive/data/0"), "a PyTorch model"),
    "renamed": (archive("archive/data.pkl", "archive/data/0"), "a PyTorch model"),
    "old.pth": (pickle.dumps({"state_dict": {}}, 2), "a PyTorch checkpoint"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "a Keras model or weights in HDF5"),
    "a.tflite": (b"\x1c\0\0\0TFL3" + bytes(90), "a TensorFlow Lite model"),
    "a.pb": (b"\x08\x01\x12\x04abcd" * 9, "a TensorFlow graph"),
    "a.safetensors": (safetensors(), "in safetensors"),
    "model.bin": (safetensors(), "in safetensors"),
    "a.bin": (os.urandom(400), "is "),
    "noise": (b"\xf3" + os.urandom(400), "its content is not known"),
    "empty.pt": (b"", "is empty"),
    "page.pt": (b"<!DOCTYPE html><html>404</html>", "is a web page"),
    "lfs.pt": (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
    "other.keras": (archive("config.json", "model.weights.h5"), "without posekit's record.json"),
    "w.npz": (archive("a.npy"), "weights alone"),
    "a.npy": (npy(), "a NumPy array"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file_is_named(tmp_path, capsys, name):
    content, words = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    for load in (predictor.load, server.model_file):
        with pytest.raises(DataError) as error:
            load(str(tmp_path / name))
        told = str(error.value)
        assert words in told and "posekit export" in told and "stage1" in told
        assert told.startswith(str(tmp_path / name))
    image = tmp_path / "photo.png"
    import cv2

    cv2.imwrite(str(image), np.zeros((9, 9, 3), np.uint8))
    assert cli.main(["predict", "--model", str(tmp_path / name), str(image)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["a.pt", "a.h5", "a.tflite", "page.pt", "empty.pt", "noise"])
def test_a_foreign_file_called_onnx_is_named(tmp_path, name):
    content, words = FOREIGN[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        predictor.load(path)
    told = str(error.value)
    assert (words in told or name == "noise") and "posekit export" in told
    assert "\n" not in told and "model.onnx" in told


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("saved_model.pb", "a TensorFlow SavedModel"),
        ("model.safetensors", "a model of Hugging Face"),
        ("model.json", "a TensorFlow.js model"),
        ("photo.jpg", "holds no record.json"),
    ],
)
def test_a_foreign_folder_is_named(tmp_path, inside, words):
    (tmp_path / inside).write_bytes(b"x")
    with pytest.raises(DataError, match=words):
        predictor.load(tmp_path)


def test_a_missing_file_is_no_foreign_one(tmp_path):
    with pytest.raises(DataError, match=r"gone\.onnx: there is no such file"):
        predictor.load(tmp_path / "gone.onnx")
    with pytest.raises(DataError, match=r"gone\.pt: no such model"):
        predictor.load(tmp_path / "gone.pt")


def test_the_model_file_of_a_run_stands_for_the_run(tmp_path):
    (tmp_path / "record.json").write_text("{}")
    (tmp_path / "model.keras").write_bytes(b"x")
    assert predictor.locate(tmp_path / "model.keras") == tmp_path / "model.keras"
    assert predictor.locate(Path(tmp_path)) == tmp_path / "model.keras"
