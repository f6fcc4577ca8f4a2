"""Recognise model files of other programs, and say what posekit loads instead (chapter 14)."""

import zipfile
from pathlib import Path

from posekit.datasets.foreign_formats import hint_for_content

__all__ = ["describe", "describe_folder"]

_SUFFIXES = {
    ".pb": "a TensorFlow graph (.pb)",
    ".tflite": "a TensorFlow Lite model",
    ".h5": "a Keras model or weights in HDF5",
    ".hdf5": "a Keras model or weights in HDF5",
    ".pt": "a PyTorch model or checkpoint",
    ".pth": "a PyTorch model or checkpoint",
    ".ckpt": "a checkpoint of another program",
    ".pkl": "a pickled Python object",
    ".pickle": "a pickled Python object",
    ".safetensors": "a file of weights in safetensors",
    ".bin": "a file of weights of another program",
    ".gguf": "a file of weights in GGUF",
    ".mlmodel": "a Core ML model",
    ".mlpackage": "a Core ML model",
    ".engine": "a TensorRT engine",
    ".trt": "a TensorRT engine",
    ".caffemodel": "a Caffe model",
    ".task": "a MediaPipe model",
    ".msgpack": "a file of weights of Flax",
}
_FOLDERS = {
    "saved_model.pb": "a TensorFlow SavedModel",
    "model.json": "a TensorFlow.js model",
    "model.safetensors": "a model of Hugging Face",
    "pytorch_model.bin": "a model of Hugging Face",
    "checkpoint": "a TensorFlow checkpoint",
}
_HEAD = 64


def describe(path: Path) -> str:
    """Return what a model file is that posekit cannot load: "is a PyTorch model or checkpoint".

    The content decides, and the suffix where the content has no signature.

    Args:
        path: an existing file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"PK\x03\x04"):
        return f"is {_archive(path)}"
    if found := hint_for_content(head):
        return found[0].removesuffix(", not JSON")
    kind = _by_signature(head, size) or _SUFFIXES.get(path.suffix.lower())
    return f"is {kind}" if kind else "is no model file: its content is not known"


def _by_signature(head: bytes, size: int) -> str | None:
    """Tell a file's kind from its first bytes, or None."""
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "a Keras model or weights in HDF5"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if head.startswith(b"GGUF"):
        return "a file of weights in GGUF"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8:
        return "a file of weights in safetensors"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a PyTorch checkpoint or another pickled Python object"
    if head.startswith(b"\x93NUMPY"):
        return "a NumPy array"
    return None


def _archive(path: Path) -> str:
    """Tell the kinds of model apart that are ZIP archives."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "a damaged ZIP archive"
    if any(name.endswith("data.pkl") or "/code/" in name for name in names):
        return "a PyTorch model or checkpoint"
    if "model.weights.h5" in names:
        return "a Keras model without posekit's record.json next to it"
    if names and all(name.endswith(".npy") for name in names):
        return "a file of weights alone (.npz), from which a training can start"
    return "a ZIP archive"


def describe_folder(folder: Path) -> str:
    """Return what a folder without posekit's record.json is, or an empty string."""
    for name, kind in _FOLDERS.items():
        if (folder / name).is_file():
            return f"is {kind}"
    return ""
