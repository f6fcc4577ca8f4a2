"""The weights that a training starts from: a trained model, a weights file, or ImageNet."""

from pathlib import Path

import keras
import numpy as np

from posekit import losses, models
from posekit.errors import DataError
from posekit.files import local_path
from posekit.inference import predictor
from posekit.inference.predictor import WEIGHTS_FILE
from posekit.skeleton import COCO17
from posekit.training import weights_file

__all__ = ["IMAGENET", "architecture", "first_joints", "load_network", "load_weights"]

IMAGENET = "imagenet"
"""Value of `start_from` for the ImageNet weights of EfficientNet-Lite0."""
ARCHITECTURE = (
    "backbone",
    "head",
    "base_channels",
    "input_size",
    "input_downsample",
    "num_joints",
    "loss",
)
"""Fields of a recipe that decide the network and its input."""


def architecture(start_from: str | Path) -> dict:
    """Return the fields of `ARCHITECTURE` with which the weights to start from were trained.

    Args:
        start_from: as in `training.train`; of "imagenet" only the backbone is known.

    Raises:
        DataError: if there is no such model, or it cannot be read.
    """
    if start_from == IMAGENET:
        return {"backbone": "efficientnet_lite0", "input_downsample": 1}
    path = _weights_file(start_from)
    if path is None:
        recipe = predictor.load(start_from).record["recipe"]
    else:
        recipe = weights_file.read(path)[1].get("recipe")
        if recipe is None:
            raise DataError(path, "holds no recipe", "give a run, or a model of the package")
    return {field: recipe[field] for field in ARCHITECTURE if field in recipe}


def load_network(start_from: str | Path, num_joints: int = len(COCO17)) -> keras.Model:
    """Build the network of a trained model, with its weights, to be trained further.

    Args:
        start_from: a run, a packaged model with weights.npz, or a weights file.
        num_joints: 17; or 19, with neck and head top, if the model predicts them.

    Returns:
        A model from (B, S, S, 3) RGB crops, 0 ... 255, to the outputs of `models.build`.

    Raises:
        DataError: see `load_weights`.
    """
    shape = architecture(start_from)
    network = models.build(
        shape["backbone"],
        head=shape["head"],
        base_channels=shape["base_channels"],
        input_size=shape["input_size"],
        num_joints=num_joints,
        input_downsample=shape["input_downsample"],
        predict_sigma=shape["loss"] in losses.LOSSES_WITH_SIGMA,
    )
    load_weights(network, start_from)
    return network


def load_weights(network: keras.Model, start_from: str | Path) -> None:
    """Copy trained weights into a network.

    Joints that the trained model lacks keep their random weights, as does the head with ImageNet's;
    of a trained model with more joints the first are taken.

    Args:
        network: its weights are changed.
        start_from: as in `training.train`.

    Raises:
        DataError: if there is no such model, or it is of another architecture.
    """
    if start_from == IMAGENET:
        models.copy_lite0(models.lite0_state(), network)
        return
    path = _weights_file(start_from)
    try:
        if path is None:
            source = predictor.load(start_from).model.get_weights()
            _copy_first_joints(source, network)
        else:
            arrays, _ = weights_file.read(path)
            names = weights_file.weight_names(network)
            if set(arrays) != set(names):
                raise ValueError(f"{len(set(arrays) ^ set(names))} weights differ by name")
            _copy_first_joints([arrays[name] for name in names], network)
    except ValueError as error:
        raise DataError(
            start_from,
            f"its weights do not fit this network: {error}",
            "use the same --backbone, --head, --loss and --width",
        ) from None


def first_joints(larger: list[np.ndarray], smaller: list[np.ndarray]) -> list[np.ndarray]:
    """Cut the weights of a network to those of the same network with fewer joints.

    In every layer whose shape depends on the joints they are the last axis.

    Args:
        larger: weights of the network with more joints, as of `get_weights`.
        smaller: of the other, for their shapes.

    Returns:
        Views into `larger` of the shapes of `smaller`.
    """
    return [weight[..., : part.shape[-1]] for weight, part in zip(larger, smaller, strict=True)]


def _copy_first_joints(source: list[np.ndarray], network: keras.Model) -> None:
    """Copy weights of the same architecture, of as many joints as both have.

    Raises:
        ValueError: if the architectures differ.
    """
    weights = [np.array(weight) for weight in network.get_weights()]
    if len(source) != len(weights):
        raise ValueError(f"it has {len(source)} of {len(weights)} weights")
    head = [i for i, (a, b) in enumerate(zip(source, weights, strict=True)) if a.shape != b.shape]
    ratios = {source[i].shape[-1] / weights[i].shape[-1] for i in head}
    if len(ratios) > 1 or any(source[i].shape[:-1] != weights[i].shape[:-1] for i in head):
        first = head[0]
        raise ValueError(f"a weight has shape {source[first].shape}, not {weights[first].shape}")
    for part, weight in zip(weights, source, strict=True):
        joints = min(part.shape[-1], weight.shape[-1])
        part[..., :joints] = weight[..., :joints]
    network.set_weights(weights)


def _weights_file(start_from: str | Path) -> Path | None:
    """Return the weights file of a run or a model of the package, or None if it has none."""
    if Path(start_from).suffix == ".npz":
        return local_path(start_from)
    folder = predictor.locate(start_from).parent
    path = folder / WEIGHTS_FILE
    return path if path.is_file() else None
