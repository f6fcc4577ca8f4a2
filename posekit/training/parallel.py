"""Data parallel training on JAX: several devices share each batch (chapter 06, and setup)."""

import contextlib
from collections.abc import Iterator

import keras

from posekit import hardware
from posekit.errors import DataError

__all__ = ["data_parallel", "devices_for", "replicated"]


def devices_for(wanted: int, batch_size: int) -> int:
    """Return the number of devices of a run.

    Args:
        wanted: number of devices; 0: all accelerators if the backend is JAX (at most as many as
            share a batch evenly), else one.
        batch_size: people per step, all devices together.

    Raises:
        DataError: if there are fewer, they cannot share a batch evenly, or the backend is not JAX.
    """
    jax = keras.backend.backend() == "jax"
    if not wanted:
        available = len(hardware.accelerators()) if jax else 1
        return max((n for n in range(1, available + 1) if batch_size % n == 0), default=1)
    if wanted > 1 and not jax:
        raise DataError(
            "devices", f"{wanted} of them need JAX", "set KERAS_BACKEND=jax, or take one"
        )
    if wanted > 1 and wanted > (available := len(keras.distribution.list_devices())):
        raise DataError("devices", f"{wanted} asked for, {available} available", "take fewer")
    if batch_size % wanted:
        raise DataError(
            "devices",
            f"{wanted} cannot share {batch_size} people evenly",
            "choose another batch size",
        )
    return wanted


@contextlib.contextmanager
def data_parallel(count: int) -> Iterator[None]:
    """Build and train within this context on several devices, with the weights on each.

    The step is one program over all of them, so that losses, gradients and batch statistics are
    those of the whole batch: more devices change the time, not the training.

    Args:
        count: number of devices; 1 changes nothing.
    """
    if count == 1:
        yield
        return
    devices = keras.distribution.list_devices()[:count]
    with keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope():
        yield


@contextlib.contextmanager
def replicated() -> Iterator[None]:
    """Do not share batches within this context: every device computes all of them, any size."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
