"""Processor cores, accelerators, and loading Keras without TensorFlow's log lines."""

import contextlib
import os
from collections.abc import Iterator

from posekit.errors import DataError

BACKENDS = ("tensorflow", "jax", "torch")
"""Keras backends that posekit is tested with."""


__all__ = ["accelerators", "cores", "load_keras", "quiet_stderr"]


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device.

    TensorFlow's C++ code writes there, past `sys.stderr`: its first operation prints a line with
    the time in it, which no log level silences and no notebook should keep.
    """
    try:
        saved = os.dup(2)
    except OSError:  # no descriptor 2: pythonw, some services
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def load_keras() -> None:
    """Import Keras and start its backend, without the lines that TensorFlow writes to stderr.

    Raises:
        DataError: when the environment variable KERAS_BACKEND names no backend of posekit.
    """
    backend = os.environ.get("KERAS_BACKEND")
    if backend and backend not in BACKENDS:
        problem = f"is {backend!r}, which is not a backend that posekit runs on"
        raise DataError("KERAS_BACKEND", problem, f"set it to {' or '.join(BACKENDS)}, or unset it")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(1))


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def accelerators() -> list[str]:
    """Return the names of the GPUs or TPUs that Keras' backend uses; empty if it uses none."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return [str(device) for device in jax.devices() if device.platform != "cpu"]
    if keras.backend.backend() == "torch":
        import torch

        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    import tensorflow as tf

    return [device.name for device in tf.config.list_physical_devices("GPU")]
