"""Several devices, each with its share of every batch: data parallel training on JAX (chapter 06; on real ones: book, setup)."""

import contextlib
from collections.abc import Iterator

import keras

from posekit import hardware
from posekit.errors import DataError


def devices_for(wanted: int, batch_size: int) -> int:
    """How many devices a run takes.

    Args:
        wanted: so many; 0: all accelerators where Keras computes with JAX (at most as many as share a batch evenly), else one.
        batch_size: people a step, all devices together.

    Raises:
        DataError: when there are fewer, they cannot share a batch evenly, or the backend cannot do it.
    """
    jax = keras.backend.backend() == "jax"
    if not wanted:
        there = len(hardware.accelerators()) if jax else 1
        return max((n for n in range(1, there + 1) if batch_size % n == 0), default=1)
    if wanted > 1 and not jax:
        raise DataError(
            "devices", f"{wanted} of them need JAX", "set KERAS_BACKEND=jax, or take one"
        )
    if wanted > 1 and wanted > (there := len(keras.distribution.list_devices())):
        raise DataError("devices", f"{wanted} asked for, {there} there", "take fewer")
    if batch_size % wanted:
        raise DataError(
            "devices",
            f"{wanted} cannot share {batch_size} people evenly",
            "choose another batch size",
        )
    return wanted


@contextlib.contextmanager
def data_parallel(count: int) -> Iterator[None]:
    """What is built and trained in here lies on so many devices: the weights on each of them, of a batch a share on each.

    The step is one program over all of them, so that losses, gradients and the statistics of batch norm are those of the whole batch:
    more devices change the time, not the training.
    """
    if count == 1:
        yield
        return
    devices = keras.distribution.list_devices()[:count]
    with keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False).scope():
        yield


@contextlib.contextmanager
def replicated() -> Iterator[None]:
    """In here batches are not shared out: of any size, each device computes all of it."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)
