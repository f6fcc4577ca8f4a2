"""Load an array from a MATLAB file with SciPy, whose reader crashes on some damaged files.

SciPy looks up the data type of an array in a table, without a check of its number: a damaged number
is a segmentation fault (scipy/scipy pull request 25349). `load` checks it first. The format is that
of "MAT-File Format", MathWorks, chapter 1, "Level 5 MAT-Files".
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np

from posekit.errors import DataError

__all__ = ["load"]

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBER_TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}
"""miINT8 to miUINT32, miSINGLE, miDOUBLE, miINT64 and miUINT64."""
_NUMBER_CLASSES = range(6, 16)
"""mxDOUBLE to mxUINT64: no text, cells, structs or sparse arrays."""
_LARGEST = 1 << 28
"""Bytes that a compressed array may take; the larger of our data sets needs 3.4 million."""


def load(path: Path, name: str) -> np.ndarray | None:
    """Load an array of numbers.

    Args:
        path: file of level 4 or 5.
        name: of the variable.

    Returns:
        The array, with its shape in MATLAB; None if there is no such variable.

    Raises:
        DataError: if the file is damaged or not MATLAB's, or the variable holds no numbers.
    """
    import scipy.io

    try:
        _check(path.read_bytes(), name)
        return scipy.io.loadmat(path, variable_names=[name]).get(name)
    except Exception as error:  # scipy raises half a dozen kinds for files that are not MATLAB's
        problem = f"cannot be read as a MATLAB file: {type(error).__name__} {error}"
        raise DataError(path, problem, "fetch it again") from None


def _check(content: bytes, name: str) -> None:
    """Raise ValueError if a variable of that name has a data type that SciPy must not see."""
    if 0 in content[:4]:
        return  # level 4, whose types SciPy checks
    order = "<" if content[126:128] == b"IM" else ">"
    file = io.BytesIO(content[_HEADER_BYTES:])
    while tag := file.read(8):
        kind, size = struct.unpack(f"{order}II", tag)
        variable = io.BytesIO(file.read(size))
        if kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(variable.read(), _LARGEST)
            variable = io.BytesIO(unpacked)
            (kind,) = struct.unpack(f"{order}I4x", variable.read(8))
        if kind == _MATRIX:
            _check_variable(variable, name, order)


def _check_variable(stream: io.BytesIO, name: str, order: str) -> None:
    """Check a variable: flags, dimensions, name, real and perhaps imaginary part."""
    (flags,) = struct.unpack(f"{order}8xI4x", stream.read(16))
    _element(stream, order)
    if _element(stream, order)[1] != name.encode():
        return
    if flags & 0xFF not in _NUMBER_CLASSES:
        raise ValueError(f"{name!r} is no array of numbers")
    for _ in range(2 if flags >> 11 & 1 else 1):
        kind, _ = _element(stream, order)
        if kind not in _NUMBER_TYPES:
            raise ValueError(f"{name!r} has the unknown data type {kind}")


def _element(stream: io.BytesIO, order: str) -> tuple[int, bytes]:
    """Read an element: its data type and its bytes, up to four of which may stand in the tag."""
    tag = stream.read(8)
    kind, size = struct.unpack(f"{order}II", tag)
    if kind >> 16:
        return kind & 0xFFFF, tag[4 : 4 + (kind >> 16)]
    data = stream.read(size)
    stream.read(-size % 8)
    return kind, data
