"""TFRecord files and tf.train.Example messages in plain Python, byte for byte (chapter 03).

A TFRecord file is a sequence of records, each: length (8 bytes), its masked CRC-32C (4), payload,
its masked CRC-32C (4), all little-endian (tensorflow.org/tutorials/load_data/tfrecord). A payload
here is a tf.train.Example (tensorflow/core/example/example.proto): a map from names to lists of
bytes, of float32 or of int64, as protocol buffers.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import google_crc32c
import numpy as np

from posekit.errors import DataError

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")

# ---- framing -------------------------------------------------------------------------------------


def masked_crc(data: bytes) -> int:
    """Compute the masked CRC-32C of data: rotated right by 15 bits, plus a constant.

    With the mask, the CRC remains a good check of data that contain CRCs themselves.
    """
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(payload: bytes) -> bytes:
    """Frame a payload as in a TFRecord file: length, its checksum, the payload, its checksum."""
    length = struct.pack("<Q", len(payload))
    return length + _CRC.pack(masked_crc(length)) + payload + _CRC.pack(masked_crc(payload))


def scan(shard: str | Path) -> Iterator[tuple[int, bytes | DataError]]:
    """Scan a TFRecord file record by record, damaged ones included.

    Args:
        shard: the file.

    Yields:
        (offset, payload), or (offset, DataError) for a damaged record. After a damaged payload the
        next record follows; a damaged length ends the file.

    Raises:
        DataError: when the file cannot be read.
    """
    try:
        with Path(shard).open("rb") as file:
            size = file.seek(0, 2)
            offset = 0
            file.seek(0)
            while header := file.read(_HEADER.size):
                payload, end = _read_record(file, header, offset, size)
                if isinstance(payload, str):
                    where = f"{shard}, record at byte {offset}"
                    yield offset, DataError(where, payload, "write the records again")
                else:
                    yield offset, payload
                if end is None:
                    return
                offset = end
    except OSError as error:
        raise DataError(
            shard, f"cannot be read: {error.strerror or error}", "check the path"
        ) from None


def _read_record(
    file: IO[bytes], header: bytes, offset: int, size: int
) -> tuple[bytes | str, int | None]:
    """Read the record behind its header.

    Returns:
        the payload, or a sentence about the damage; the offset of the next record, None if unknown.
    """
    if len(header) < _HEADER.size:
        return "the file ends inside a record's header", None
    length, check = _HEADER.unpack(header)
    if masked_crc(header[:8]) != check:
        return (
            "damaged: the checksum of the length does not match; later records cannot be found",
            None,
        )
    end = offset + _HEADER.size + length + _CRC.size
    if end > size:
        return f"the file ends inside a record of {length} bytes", None
    payload = file.read(length)
    if masked_crc(payload) != _CRC.unpack(file.read(_CRC.size))[0]:
        return "damaged: the checksum of the payload does not match", end
    return payload, end


def read_payloads(shard: str | Path) -> Iterator[bytes]:
    """Yield the payloads of a TFRecord file, each verified.

    Args:
        shard: the file.

    Yields:
        payload bytes.

    Raises:
        DataError: naming the file and the offset of the record whose length or checksum is wrong,
            or that ends early.
    """
    for _, payload in scan(shard):
        if isinstance(payload, DataError):
            raise payload
        yield payload


# ---- protocol buffers: the four shapes that an Example needs -------------------------------------

_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5


def varint(number: int) -> bytes:
    """Encode an integer in groups of 7 bits, lowest first; the top bit means that more follow.

    Negative numbers are encoded as 64-bit two's complement.
    """
    if 0 <= number < 0x80:
        return bytes((number,))
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited field: key (number and wire type), length, content."""
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number without an end")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def _fields(data: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """Yield (field number, wire type, content) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number = key >> 3
        wire = key & 7
        if wire == _VARINT:
            content, at = _read_varint(data, at)
        else:
            if wire == _BYTES:
                size, at = _read_varint(data, at)
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
            else:
                raise ValueError(f"unknown wire type {wire}")
            if at + size > len(data):
                raise ValueError("a field that ends early")
            content = data[at : at + size]
            at += size
        yield number, wire, content


# ---- tf.train.Example ----------------------------------------------------------------------------

_BYTES_LIST = 1
_FLOAT_LIST = 2
_INT64_LIST = 3


def encode_example(features: Mapping[str, object]) -> bytes:
    """Encode features as a tf.train.Example; equal features give equal bytes.

    Args:
        features: name -> bytes, str, a list of these; or a number, list or array of integers or
            booleans (stored as int64) or of floats (stored as float32). Arrays are flattened: an
            Example knows no shapes.

    Returns:
        the message; to TensorFlow equal to its own, and to the byte where no name is the beginning
        of another (protobuf's Python library sorts such pairs the other way round).

    Raises:
        ValueError: for values that are none of these, and for integers beyond 64 bits.
    """
    entries = []
    for name, value in sorted((name.encode(), value) for name, value in features.items()):
        entries.append(_field(1, _field(1, name) + _field(2, _encode_feature(name, value))))
    return _field(1, b"".join(entries))


def _encode_feature(name: bytes, value: object) -> bytes:
    if isinstance(value, bytes | str):
        value = [value]
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(item, bytes | str) for item in value)
    ):
        items = (item.encode() if isinstance(item, str) else item for item in value)
        return _field(_BYTES_LIST, b"".join(_field(1, item) for item in items))
    try:
        array = np.asarray(value).reshape(-1)
        if array.dtype.kind == "f":
            content = array.astype("<f4").tobytes()
            kind = _FLOAT_LIST
        elif array.dtype.kind in "biu" and not (
            array.dtype.kind == "u" and np.any(array > np.iinfo(np.int64).max)
        ):
            items = array.tolist()
            small = not items or (min(items) >= 0 and max(items) < 0x80)  # one byte each
            content = bytes(items) if small else b"".join(map(varint, items))
            kind = _INT64_LIST
        else:
            raise ValueError(f"dtype {array.dtype}")
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"feature {name.decode()!r} is not bytes, int64 or float: {error}"
        ) from None
    return _field(kind, _field(1, content) if content else b"")


def parse_example(data: bytes) -> dict[str, list[bytes] | np.ndarray]:
    """Parse the features of a serialized tf.train.Example.

    Args:
        data: a record's payload, written by TensorFlow, `encode_example` or another library.

    Returns:
        name -> list of bytes, float32 array (n,) or int64 array (n,).

    Raises:
        ValueError: when the bytes are no Example.
    """
    features = {}
    for content in _messages(data, 1):
        for entry in _messages(content, 1):
            name = b""
            feature = b""
            for number, wire, part in _fields(entry):
                if wire == _BYTES and number == 1:
                    name = part
                elif wire == _BYTES and number == 2:
                    feature += part
            features[name.decode()] = _parse_feature(feature)
    return features


def _messages(data: bytes, wanted: int) -> Iterator[bytes]:
    return (
        content for number, wire, content in _fields(data) if number == wanted and wire == _BYTES
    )


def _parse_feature(data: bytes) -> list[bytes] | np.ndarray:
    kind = _BYTES_LIST
    content = b""
    for number, wire, part in _fields(data):
        if wire == _BYTES and number in (_BYTES_LIST, _FLOAT_LIST, _INT64_LIST):
            # the same kind again is one list in two parts, another kind replaces the one before
            content = content + part if number == kind else part
            kind = number
    if kind == _BYTES_LIST:
        return list(_messages(content, 1))
    if kind == _FLOAT_LIST:
        raw = b"".join(
            part
            for number, wire, part in _fields(content)
            if number == 1 and wire in (_BYTES, _FIXED32)
        )
        return np.frombuffer(raw, "<f4").astype(np.float32)
    integers = []
    for number, wire, part in _fields(content):
        if number != 1 or wire not in (_BYTES, _VARINT):
            continue
        packed = part if wire == _BYTES else varint(part)
        at = 0
        while at < len(packed):
            value, at = _read_varint(packed, at)
            integers.append(value - (1 << 64) if value >> 63 else value)
    return np.array(integers, np.int64)
