"""Every notebook's first call: quiet, seeded, and fitted to the machine it runs on (book: setup; all chapters)."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from posekit.errors import DataError


@dataclass(frozen=True)
class Profile:
    """What this machine has, and which data the chapters use on it.

    Args:
        device: `"GPU"` or `"CPU"`: where the backend puts its work.
        cores: processor cores that this process may use.
        live_seconds: how long a chapter may train a model while the reader waits; `POSEKIT_LIVE_SECONDS` sets another.
    """

    device: str
    cores: int
    live_seconds: float

    @cached_property
    def train_records(self) -> Path:
        """Folder of training records: `POSEKIT_RECORDS_TRAIN` where it is set, else MiniDome's, made on first use."""
        return _records("POSEKIT_RECORDS_TRAIN") or _minidome().train_records

    @cached_property
    def val_records(self) -> Path:
        """Folder of validation records: `POSEKIT_RECORDS_VAL` where it is set, else MiniDome's, made on first use."""
        return _records("POSEKIT_RECORDS_VAL") or _minidome().val_records


def _records(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if not (Path(value) / "manifest.json").is_file():
        raise DataError(
            value,
            f"{variable} points to it, but it holds no manifest.json",
            "write records with data_scripts/build_tfrecords.py, give their full path, or unset the variable",
        )
    return Path(value)


def _minidome():
    from posekit import minidome

    return minidome.dataset()


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere for a while: TensorFlow's C++ code writes there, past `sys.stderr`.

    Its first operation prints a line with the time in it, which no log level silences and no notebook should keep.
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


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def accelerators() -> list[str]:
    """Names of the GPUs (or TPUs) that Keras' backend can use; empty where it computes on the processor."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return [str(device) for device in jax.devices() if device.platform != "cpu"]
    if keras.backend.backend() == "torch":
        import torch

        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    import tensorflow as tf

    return [device.name for device in tf.config.list_physical_devices("GPU")]


def start(seed: int = 0) -> Profile:
    """Begin a chapter: quiet the libraries, fix the seeds of Python, NumPy and the backend, set the figure style.

    Args:
        seed: of everything that draws random numbers without a generator of its own.

    Returns:
        The profile of this machine.

    Raises:
        DataError: when `POSEKIT_LIVE_SECONDS` is no number.
    """
    seconds = os.environ.get("POSEKIT_LIVE_SECONDS", "45")
    try:
        live_seconds = float(seconds)
    except ValueError:
        raise DataError(
            "POSEKIT_LIVE_SECONDS", f"is {seconds!r}", "set it to a number of seconds, such as 45"
        ) from None
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet_stderr():
        import keras

        with contextlib.suppress(ImportError):  # JAX or PyTorch does without it
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            for gpu in tf.config.list_physical_devices("GPU"):
                with contextlib.suppress(RuntimeError):  # already in use: the choice was made before us
                    tf.config.experimental.set_memory_growth(gpu, True)
            tf.reduce_sum(tf.ones(1)).numpy()
        keras.utils.set_random_seed(seed)
        keras.ops.convert_to_numpy(keras.ops.ones(1))

    from posekit import viz

    viz.style()
    return Profile(
        device="GPU" if accelerators() else "CPU",
        cores=cores(),
        live_seconds=live_seconds,
    )
