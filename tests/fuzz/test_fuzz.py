"""Damaged files and messages are read or refused; what `make fuzz` found stays fixed."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import fuzz
import numpy as np
import pytest
import tiny_data

from posekit import inputs, records
from posekit.datasets import coco, matlab
from posekit.datasets.download import archives
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.live import server, widget
from posekit.models import torch_checkpoint
from posekit.records import reader
from posekit.training import weights_file

FUZZ = Path(__file__).with_name("fuzz.py")
QUICK = (
    *("coco", "results", "calibration", "poses", "mat", "mpii", "csv", "tfrecord", "example"),
    *("manifest", "downloads", "image", "archive", "widget", "server", "onnx", "npz", "torch"),
)


def run_fuzz(*options: str) -> dict[str, int]:
    """Run the command; return the number of inputs per parser."""
    command = [sys.executable, str(FUZZ), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (line.split() for line in done.stdout.splitlines()[1:])
    return {row[0]: int(row[1].replace(",", "")) for row in rows}


@pytest.mark.skipif(sys.platform == "win32", reason="limits time and memory as Unix does")
def test_damaged_inputs_are_read_or_refused():
    counts = run_fuzz("--seconds", "9", "--parser", *QUICK)
    assert set(counts) == set(QUICK)
    assert min(counts.values()) >= 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits time and memory as Unix does")
def test_damaged_keras_models_are_read_or_refused():
    assert run_fuzz("--inputs", "100", "--parser", "keras") == {"keras": 100}


def test_a_message_shows_no_control_characters():
    text = str(DataError("a\0b", "holds \x1b[2J and \ud800", "fix\nit"))
    assert text == "a\\x00b: holds \\x1b[2J and \\ud800 (fix it)"


@pytest.mark.parametrize("size", [[120], {"a": 1}, "\0", "1e999"])
def test_an_image_s_size_that_is_no_number_is_refused(tmp_path, size):
    path, data = tiny_data.coco(tmp_path, photos=1, people=1)
    data["images"][0]["height"] = size
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="width or height"):
        list(coco.read(path, tmp_path / "train2017"))


SHARD = {"file": "a.tfrecord-00000-of-00001", "bytes": 1, "people": 1, "sha256": "0"}


@pytest.mark.parametrize(
    "change",
    [
        {"shards": 3},
        {"shards": [2]},
        {"shards": [SHARD | {"file": 257}]},
        {"shards": [SHARD | {"file": "../../etc/passwd"}]},
        {"shards": [SHARD | {"file": "é" * 300}]},
        {"shards": [SHARD | {"bytes": "1"}]},
        {"box_px": [224]},
        {"stored_px": None},
        {"people": -1},
    ],
)
def test_a_manifest_of_another_form_is_refused(tmp_path, change):
    manifest = {"schema_version": reader.SCHEMA_VERSION, "box_px": 6, "stored_px": 8, "people": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"shards": [SHARD]} | change))
    for read in (records.shard_paths, records.check, lambda folder: inputs.stored_sizes([folder])):
        with pytest.raises(DataError, match=r"manifest\.json"):
            read(tmp_path)


def zip_with_a_wrong_offset() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a/b.txt", "hello")
    return file.getvalue()[3:]


def zip_with_an_empty_name() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("x", "hello")
    content = bytearray(file.getvalue())
    at = content.index(b"PK\1\2")
    content[at + 28 : at + 30] = b"\0\0"  # length of the name, which becomes a part of the extra
    content[at + 30 : at + 32] = b"\1\0"
    return bytes(content)


def tar_with_a_long_name() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("a" * 300), io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize(
    "make", [zip_with_a_wrong_offset, zip_with_an_empty_name, tar_with_a_long_name]
)
def test_a_damaged_archive_is_refused_and_leaves_nothing(tmp_path, make):
    path = tmp_path / "archive"
    path.write_bytes(make())
    with pytest.raises(DataError):
        archives.extract(path, tmp_path / "out", progress=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive"]


def matlab_file(path: Path, value: object, kind: int | None = None, **options: object) -> Path:
    """Write a variable `joints`, with `kind` as the data type of its (only) array of doubles."""
    import scipy.io

    written = io.BytesIO()
    scipy.io.savemat(written, {"other": np.ones(2), "joints": value}, **options)
    content = written.getvalue()
    if kind is not None:
        at = content.index(b"joints") + 8  # the name is padded to eight bytes
        assert content[at : at + 4] == (9).to_bytes(4, "little")
        content = content[:at] + kind.to_bytes(4, "little") + content[at + 4 :]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 14, 15, 19, 20, 0x8009])
def test_a_data_type_that_crashes_scipy_is_refused(tmp_path, kind):
    path = matlab_file(tmp_path / "joints.mat", np.ones((3, 14, 2)), kind)
    with pytest.raises(DataError, match="joints.mat: cannot be read as a MATLAB file"):
        matlab.load(path, "joints")


@pytest.mark.parametrize("value", ["text", {"a": 1}, np.array([[1, "b"]], object)])
def test_a_variable_of_matlab_that_is_no_array_of_numbers_is_refused(tmp_path, value):
    with pytest.raises(DataError, match="'joints' is no array of numbers"):
        matlab.load(matlab_file(tmp_path / "joints.mat", value), "joints")


@pytest.mark.parametrize(
    "options", [{}, {"do_compression": True}, {"format": "4"}], ids=["5", "compressed", "4"]
)
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64", "complex128"])
def test_arrays_of_matlab_are_read_as_scipy_reads_them(tmp_path, options, dtype):
    value = np.arange(12).reshape(3, 4).astype(dtype)
    path = matlab_file(tmp_path / "joints.mat", value, **options)
    np.testing.assert_array_equal(matlab.load(path, "joints"), value)
    assert matlab.load(path, "absent") is None


@pytest.mark.parametrize("member", ["a", "a.npy"])
def test_weights_with_a_member_that_is_no_array_are_refused(tmp_path, member):
    path = tmp_path / "weights.npz"
    np.savez(path, facts=np.array("{}"))
    header = b"\x93NUMPY\x01\x00\x36\x00{'descr': '<f4', 'shape': (("
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(member, b"hello" if member == "a" else header + b" " * 40)
    with pytest.raises(DataError, match="cannot be read as a weights file"):
        weights_file.read(path)


def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02X\xff\xff\xff\x7fa.")  # a text of 2 GB
    with pytest.raises(DataError, match="not a state dict"):
        torch_checkpoint.read_state_dict(path)
    with pytest.raises(EOFError):
        content = (2**62).to_bytes(8, "little") + bytes(8)
        torch_checkpoint._read_storage(io.BytesIO(content), np.dtype(np.float32))


def test_a_keras_model_with_an_error_of_hdf5_is_refused(tmp_path, monkeypatch):
    import keras

    def damaged(*_, **__):
        raise RuntimeError("bad symbol table node signature")  # as h5py does

    facts = {"mean_pose": [[0, 0]] * 17, "mean_visibility": [0.5] * 17}
    (tmp_path / "record.json").write_text(json.dumps(facts))
    (tmp_path / "model.keras").write_bytes(b"PK")
    monkeypatch.setattr(keras.saving, "load_model", damaged)
    with pytest.raises(DataError, match="bad symbol table"):
        predictor.load(tmp_path)


# ---- messages ------------------------------------------------------------------------------------


def test_the_widget_ignores_messages_that_are_none_and_answers_odd_frames():
    webcam = widget.Webcam(object())
    sent = []
    webcam.camera_widget.send = sent.append
    for content in (3, None, [], {"kind": "start", "session": float("inf")}):
        webcam._receive(None, content, [])
    assert sent == []
    webcam._receive(None, {"kind": "frame", "session": "s", "id": float("nan")}, [b""])
    assert [answer["kind"] for answer in sent] == ["error"]


def ask(request: str) -> bytes:
    """Return the answer of the page's server to the bytes of a request."""
    with server.server() as one:
        wire = fuzz.Wire(request.encode())
        one.RequestHandlerClass(wire, ("127.0.0.1", 1), one)
    return bytes(wire.answer)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /tracker.js HTTP/1.1\r\nHost: localhost:80\r\n\r\n", b"200"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://127.0.0.1:8\r\n\r\n", b"200"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://elsewhere.test\r\n\r\n", b"403"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", b"403"),
        ("GET / HTTP/1.1\r\nHost: elsewhere.test\r\n\r\n", b"403"),
        ("GET / HTTP/1.1\r\n\r\n", b"403"),
        ("GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        ("GET /../server.py HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        ("GET /%2e%2e/server.py HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        ("GET /..%5cserver.py HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        ("GET //etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhello", b"501"),
        ("PUT /tracker.js HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
        ("DELETE /tracker.js HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
        (f"GET /{'a' * 70_000} HTTP/1.1\r\nHost: localhost\r\n\r\n", b"414"),
        (f"GET / HTTP/1.1\r\nHost: localhost\r\nA: {'a' * 70_000}\r\n\r\n", b"431"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n" + "A: a\r\n" * 200 + "\r\n", b"431"),
    ],
)
def test_the_page_s_server_answers_this_computer_s_page_only(request_, status):
    assert ask(request_).split(b" ", 2)[1] == status
