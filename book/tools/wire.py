"""Messages between the judge and the process that runs a student's code (see `judge.py`).

What goes to the student's process is pickled, because it comes from this book. What comes back is
not trusted: it is read by an unpickler that makes numbers, texts, arrays and containers of them,
and nothing else, so that reading an answer cannot run code.
"""

import io
import pickle
import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

MAX_BYTES = 1 << 29
"""Size of the largest message."""

_ARRAY, _OBJECT = "\0array", "\0object"
_HARMLESS = {
    ("builtins", name)
    for name in ("complex", "range", "slice", "set", "frozenset", "bytearray", "Ellipsis")
}


class Remote:
    """An object that stays in the other process.

    Args:
        number: what the other process calls it.
        about: what is known of it: its type's name, whether it can be called, its signature.
    """

    def __init__(self, number: int, about: dict):
        self.number = number
        self.about = about


def send(stream: BinaryIO, payload: bytes) -> None:
    """Write one message."""
    stream.write(struct.pack("<Q", len(payload)) + payload)
    stream.flush()


def receive(stream: BinaryIO) -> bytes:
    """Read one message.

    Raises:
        EOFError: when the other side has ended, or sends more than `MAX_BYTES`.
    """
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (length,) = struct.unpack("<Q", head)
    if length > MAX_BYTES:
        raise EOFError
    payload = stream.read(length)
    if len(payload) < length:
        raise EOFError
    return payload


# ---- untrusted: numbers, texts, arrays, containers -----------------------------------------------


def plain(value: object, hold: Callable[[object], Remote]) -> object:
    """Turn a value into what `read_plain` can read.

    Args:
        value: anything.
        hold: keeps an object that cannot be sent, and returns its description.

    Returns:
        Constants, and lists, tuples, sets and dictionaries of them.
    """
    if value is None or value is ... or type(value) in (bool, int, float, complex, str, bytes):
        return value
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufcSU":
        value = np.asarray(value)
        return (_ARRAY, value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, list | tuple):
        parts = [plain(part, hold) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, set | frozenset):
        return {plain(part, hold) for part in value}
    if isinstance(value, dict):
        return {plain(key, hold): plain(part, hold) for key, part in value.items()}
    if isinstance(value, range | slice | bytearray):
        return value
    if type(value).__module__.partition(".")[0] in ("tensorflow", "jaxlib", "torch"):
        return plain(np.asarray(value), hold)
    remote = hold(value)
    return (_OBJECT, remote.number, remote.about)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def read_plain(payload: bytes) -> object:
    """Read a message from the student's process.

    Raises:
        pickle.UnpicklingError: if it holds anything that is not plain.
    """
    return _Plain(io.BytesIO(payload)).load()


def restore(value: object, remote: Callable[[Remote], object]) -> object:
    """The opposite of `plain`.

    Args:
        value: as `plain` returns it.
        remote: makes what stands for an object of the other process.
    """
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        if value[0] == _ARRAY:
            array = np.frombuffer(value[3], np.dtype(value[1])).reshape(value[2]).copy()
            return array if array.ndim else array[()]
        if value[0] == _OBJECT:
            return remote(Remote(value[1], value[2]))
    if isinstance(value, list | tuple):
        parts = [restore(part, remote) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, set):
        return {restore(part, remote) for part in value}
    if isinstance(value, dict):
        return {restore(key, remote): restore(part, remote) for key, part in value.items()}
    return value


# ---- trusted: anything, with some objects left behind --------------------------------------------


def dump(value: object, stand_in: Callable[[object], tuple | None]) -> bytes:
    """Pickle a value for the student's process.

    Args:
        value: anything.
        stand_in: returns what to send in place of an object, or None to send the object itself.
    """

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> tuple | None:
            return stand_in(obj)

    stream = io.BytesIO()
    Pickler(stream, protocol=5).dump(value)
    return stream.getvalue()


def load(payload: bytes, make: Callable[[tuple], object]) -> object:
    """Read what `dump` wrote; `make` turns a stand-in into an object."""

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, pid: tuple) -> object:
            return make(pid)

    return Unpickler(io.BytesIO(payload)).load()
