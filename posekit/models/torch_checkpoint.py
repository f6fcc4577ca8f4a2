"""Read PyTorch's legacy `.pth` files without PyTorch, with an unpickler that builds only arrays.

The file is a sequence of pickles (magic number, protocol version, system information, state dict,
storage keys) followed
by the storages, each with its length. A tensor in the state dict is a view of a storage: offset,
    size and strides. The
strides need not be contiguous: weights converted from TensorFlow are often stored transposed.

Format: torch/serialization.py, `_legacy_save`.
"""

import io
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from posekit.errors import DataError

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
STORAGES = {"FloatStorage": np.float32, "DoubleStorage": np.float64, "LongStorage": np.int64}
"""Storage classes that a file may name."""


class _Storage(NamedTuple):
    """A storage key; its data follow later in the file."""

    key: str
    dtype: type


class _View(NamedTuple):
    """A tensor as a view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def _view(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> _View:
    """Stand in for `torch._utils._rebuild_tensor_v2`."""
    return _View(storage, offset, tuple(size), tuple(stride))


class _Unpickler(pickle.Unpickler):
    """Build dicts, tensor views and plain values; refuse any other class or function."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"names {module}.{name}, which is not a part of a state dict")

    def persistent_load(self, identity):
        kind, dtype, key, *_ = identity
        if kind != "storage" or dtype not in STORAGES.values():
            raise pickle.UnpicklingError(f"holds a {kind!r} where a storage is expected")
        return _Storage(str(key), dtype)


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a legacy `.pth` file.

    Args:
        path: file with little-endian float or int64 storages.

    Returns:
        Name -> array in C order, in the file's order and layout (a convolution's kernel is (out,
        in, height, width)).

    Raises:
        DataError: if the file cannot be read, has another format, or names a class that no state
            dict needs.
    """
    try:
        # In memory, since a file that claims a text of 4 GB would be given a buffer of that size.
        with io.BytesIO(Path(path).read_bytes()) as file:
            magic, version, _, state, keys = (_Unpickler(file).load() for _ in range(5))
            if magic != MAGIC or version != VERSION:
                raise ValueError(f"magic number {magic!r}, version {version!r}")
            dtypes = {view.storage.key: np.dtype(view.storage.dtype) for view in state.values()}
            storages = {key: _read_storage(file, dtypes[key]) for key in keys}
        return {name: _array(view, storages) for name, view in state.items()}
    except (
        OSError,
        EOFError,
        pickle.UnpicklingError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        problem = f"not a state dict in PyTorch's legacy format: {error}"
        raise DataError(path, problem, "download it again") from None


def _read_storage(file, dtype: np.dtype) -> np.ndarray:
    """Read the next storage: its length as int64, then the data."""
    (length,) = np.frombuffer(file.read(8), "<i8")
    data = file.read(min(max(int(length), 0) * dtype.itemsize, sys.maxsize))
    numbers = np.frombuffer(data, dtype.newbyteorder("<"))
    if len(numbers) != length:
        raise EOFError(f"ends after {len(numbers)} of the {length} numbers of a storage")
    return numbers.astype(dtype)


def _array(view: _View, storages: dict[str, np.ndarray]) -> np.ndarray:
    """Copy a view into an array; its bounds are checked first, since `as_strided` does not."""
    numbers = storages[view.storage.key]
    last = view.offset + sum((n - 1) * step for n, step in zip(view.size, view.stride, strict=True))
    if min((view.offset, *view.stride)) < 0 or (0 not in view.size and last >= len(numbers)):
        raise ValueError(
            f"a tensor of size {view.size} reaches beyond its storage of {len(numbers)} numbers"
        )
    strides = [step * numbers.itemsize for step in view.stride]
    return np.lib.stride_tricks.as_strided(numbers[view.offset :], view.size, strides).copy()
