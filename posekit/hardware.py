"""Processor cores, accelerators, and loading Keras without TensorFlow's log lines."""

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path

from posekit.errors import DataError

BACKENDS = ("tensorflow", "jax", "torch")
"""Keras backends that posekit is tested with."""


__all__ = ["accelerators", "check_backend", "cores", "load_keras", "quiet_stderr"]


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


def backend_setting() -> tuple[str, str]:
    """Return where Keras' backend is set, and its name, without importing Keras.

    It is set by the environment variable KERAS_BACKEND, or by keras.json in $KERAS_HOME or
    `~/.keras`; else it is TensorFlow.
    """
    if backend := os.environ.get("KERAS_BACKEND"):
        return "KERAS_BACKEND", backend
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")  # noqa: PTH111
    path = Path(home) / "keras.json"
    try:
        backend = json.loads(path.read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, LookupError, TypeError):  # Keras takes its defaults then, too
        return "KERAS_BACKEND", BACKENDS[0]
    return f"{path}, backend", str(backend)


def check_backend() -> None:
    """Refuse a Keras backend that posekit does not run on, or that is not installed.

    Raises:
        DataError: naming where it is set, and what to do.
    """
    where, backend = backend_setting()
    change = "unset it" if where == "KERAS_BACKEND" else "set KERAS_BACKEND=tensorflow"
    if backend not in BACKENDS:
        problem = f"is {backend!r}, which is not a backend that posekit runs on"
        raise DataError(where, problem, f"set it to {' or '.join(BACKENDS)}, or {change}")
    if backend != BACKENDS[0] and importlib.util.find_spec(backend) is None:
        problem = f"is {backend!r}, which is not installed"
        raise DataError(where, problem, f"pip install {backend}, or {change}")


def load_keras() -> None:
    """Import Keras and start its backend, without the lines that TensorFlow writes to stderr.

    Raises:
        DataError: when the backend is none of posekit's, is not installed, or does not start.
        ImportError: when Keras or TensorFlow is not installed.
    """
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import keras

        try:
            keras.ops.convert_to_numpy(keras.ops.ones(1))
        except ImportError:
            raise
        except Exception as error:  # of the backend: no such device, two versions that differ, …
            problem = f"the backend {keras.backend.backend()} does not start: {error}"
            raise DataError("Keras", problem, "see `posekit doctor`") from None


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
