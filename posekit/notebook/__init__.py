"""The first call of every notebook: silence the libraries, fix the seeds, describe the machine; and
the reader's progress through the exercises (book: setup; all chapters)."""

import contextlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from posekit import hardware
from posekit.errors import DataError


@dataclass(frozen=True)
class Runtime:
    """Hardware of this machine, and the data that the chapters use.

    Args:
        device: `"GPU"` or `"CPU"`: where the backend puts its work.
        cores: processor cores that this process may use.
        live_seconds: how long a chapter may train a model while the reader waits;
            `POSEKIT_LIVE_SECONDS` sets another.
    """

    device: str
    cores: int
    live_seconds: float

    @cached_property
    def train_records(self) -> Path:
        """Folder of training records: `POSEKIT_RECORDS_TRAIN` where it is set, else MiniDome's,
        made on first use."""
        return _records("POSEKIT_RECORDS_TRAIN") or _minidome().train_records

    @cached_property
    def val_records(self) -> Path:
        """Folder of validation records: `POSEKIT_RECORDS_VAL` where it is set, else MiniDome's,
        made on first use."""
        return _records("POSEKIT_RECORDS_VAL") or _minidome().val_records


def _records(variable: str) -> Path | None:
    value = os.environ.get(variable)
    if not value:
        return None
    if not (Path(value) / "manifest.json").is_file():
        raise DataError(
            value,
            f"{variable} points to it, but it holds no manifest.json",
            "write records with data_scripts/build_tfrecords.py, give their full path, or unset "
            "the variable",
        )
    return Path(value)


def _minidome():
    from posekit import minidome

    return minidome.dataset()


def setup(seed: int = 0) -> Runtime:
    """Begin a chapter: silence the libraries, fix the seeds of Python, NumPy and the backend, set
    the figure style.

    Args:
        seed: of everything that draws random numbers without a generator of its own.

    Returns:
        The runtime of this machine.

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
    with hardware.quiet_stderr():
        import keras

        with contextlib.suppress(ImportError):  # JAX or PyTorch does without it
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            for gpu in tf.config.list_physical_devices("GPU"):
                with contextlib.suppress(
                    RuntimeError
                ):  # already in use: the choice was made before us
                    tf.config.experimental.set_memory_growth(gpu, True)
            tf.reduce_sum(tf.ones(1)).numpy()
        keras.utils.set_random_seed(seed)
        keras.ops.convert_to_numpy(keras.ops.ones(1))

    from posekit import viz

    viz.style()
    return Runtime(
        device="GPU" if hardware.accelerators() else "CPU",
        cores=hardware.cores(),
        live_seconds=live_seconds,
    )


def progress() -> None:
    """Show which exercises are solved and which are open: a sentence, and a table with a row per
    chapter.

    An exercise is solved when its check has passed once in a notebook of this reader. It stays so.
    """
    from posekit import viz
    from posekit.notebook import solved

    done, total, rows = solved.overview()
    path = solved.state_file()
    where = f"kept in {path}" if path else "not kept, because POSEKIT_PROGRESS is off"
    print(f"{done} of {total} exercises solved ({where}).")
    viz.show_table(rows)
