"""Weights alone in a small `.npz` file with float16 kernels, to commit and to start from.

The optimizer's state is left out: a run that starts from such a file warms up again. Rounding
changes an entry of a kernel by at most one part in 2,048; biases and batch norms, few in number and
wide in range, stay float32.
"""

import io
import json
from pathlib import Path

import keras
import numpy as np

from posekit.errors import DataError
from posekit.files import atomic_write, local_path
from posekit.inference import foreign_models

__all__ = ["load", "read", "save", "weight_names"]


def weight_names(network: keras.Model) -> list[str]:
    """Name the weights of a network, in the order of `get_weights`: layer/variable."""
    return [f"{layer.name}/{weight.name}" for layer in network.layers for weight in layer.weights]


def save(path: str | Path, network: keras.Model, weights: list[np.ndarray], **facts: object) -> int:
    """Write the weights of a network.

    Args:
        path: the `.npz` file; it appears complete or not at all.
        network: gives the names of the weights.
        weights: in the order of `get_weights`: the network's own, or averaged ones.
        facts: what the file says about itself, in JSON's types.

    Returns:
        The file's size in bytes.

    Raises:
        DataError: if a value is not finite, or a kernel's is too large for float16.
    """
    arrays = {}
    for name, weight in zip(weight_names(network), weights, strict=True):
        array = np.asarray(weight, np.float32)
        if array.ndim > 1:
            with np.errstate(over="ignore"):
                array = array.astype(np.float16)
        if not np.isfinite(array).all():
            problem = f"{name} holds values that are not finite, or above float16's 65,504"
            raise DataError(path, problem, "train again with a lower learning rate")
        arrays[name] = array
    file = io.BytesIO()
    np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)
    atomic_write(Path(path), file.getvalue())
    return len(file.getvalue())


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read a file of `save`.

    Returns:
        Name -> float32 array of each weight; the facts.

    Raises:
        DataError: if it cannot be read.
    """
    path = local_path(path)
    try:
        with np.load(path) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a NumPy array")
            arrays = dict(file)
        facts = json.loads(str(arrays.pop("facts")))
        # NumPy returns a member that is no array as bytes
        arrays = {name: np.asarray(array).astype(np.float32) for name, array in arrays.items()}
    except Exception as error:  # NumPy, zipfile and zlib raise a dozen kinds for damaged files
        found = foreign_models.describe(path) if path.is_file() else "there is no such file"
        if any(words in found for words in (".npz", "ZIP archive", "is not known")):
            found = f"cannot be read as a weights file: {_line(error)}"
        hint = "give the weights.npz of a training run"
        raise DataError(path, found, hint) from None
    return arrays, facts


def _line(error: Exception) -> str:
    """Return an error in one line; NumPy takes unknown content for a pickle."""
    if "pickle" in str(error):
        return "its content is not known"
    return " ".join(str(error).split()) or type(error).__name__


def load(path: str | Path, network: keras.Model) -> dict:
    """Load the weights of a file into a network of the same architecture.

    Args:
        path: a file of `save`.
        network: its weights are changed.

    Returns:
        The facts of the file.

    Raises:
        DataError: if the file cannot be read, or holds the weights of another architecture.
    """
    arrays, facts = read(path)
    names = weight_names(network)
    try:
        differing = set(arrays) ^ set(names)
        if differing:
            raise ValueError(f"{len(differing)} weights differ by name")
        network.set_weights([arrays[name] for name in names])
    except ValueError as error:
        problem = f"its weights do not fit this network: {error}"
        hint = "use the backbone, head and number of joints that it was written with"
        raise DataError(path, problem, hint) from None
    return facts
