"""Curves for TensorBoard, written without TensorBoard: an event file is a TFRecord file."""

import struct
import time
from pathlib import Path

import keras

from posekit.records.tfrecord import frame_record, varint


def event(wall_time: float, step: int = 0, values: dict[str, float] | None = None) -> bytes:
    """Encode an event: values at a step; without values, the event that opens a file.

    Args:
        wall_time: seconds since 1970.
        step: x of the curves.
        values: y of each curve, by name.

    Source: tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto.
    """
    head = b"\x09" + struct.pack("<d", wall_time)
    if values is None:
        return head + _text(3, b"brain.Event:2")
    parts = [
        _text(1, _text(1, name.encode()) + b"\x15" + struct.pack("<f", v))
        for name, v in values.items()
    ]
    return head + b"\x10" + varint(step) + _text(5, b"".join(parts))


def _text(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


class TensorBoard(keras.callbacks.Callback):
    """Write each row of a `ValidationLogger` to an event file, for `tensorboard --logdir FOLDER`.

    Args:
        folder: made if needed. Each run adds a file, and TensorBoard joins them: a resumed run
            continues its curves.
        logger: its rows are written; it must come before this one in the list of callbacks.
    """

    def __init__(self, folder: str | Path, logger: keras.callbacks.Callback):
        super().__init__()
        self.logger = logger
        now = time.time()
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = Path(folder) / f"events.out.tfevents.{now:.6f}.posekit"
        self.path.write_bytes(frame_record(event(now)))

    def on_epoch_end(self, epoch, logs=None):
        row = self.logger.rows[-1]
        values = {name: value for name, value in row.items() if name not in ("epoch", "images")}
        with self.path.open("ab") as file:
            file.write(frame_record(event(time.time(), row["epoch"], values)))
