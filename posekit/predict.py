"""A trained model at work: load it by name, ask it for a pose (chapters 07, 11, 12)."""

import json
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from posekit import geometry
from posekit.errors import DataError
from posekit.skeleton import COCO17


@dataclass(frozen=True)
class Prediction:
    """The pose of one person.

    Args:
        keypoints: (17, 2) float32 photo pixels; also for joints believed outside the crop.
        visibility: (17,) probability that the joint lies inside the crop.
        score: (17,) confidence 0 ... 1 in the joint, see `joint_score`.
        bbox: (4,) the box that was used (x, y, w, h), photo pixels.
    """

    keypoints: np.ndarray
    visibility: np.ndarray
    score: np.ndarray
    bbox: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A Keras model together with what its training recorded.

    Args:
        model: from RGB crops (B, S, S, 3) to {"keypoints", "visibility"}, see `posekit.models.build`.
        record: the run's record.json; `record["mean_pose"]` is the training mean in normalised crop coordinates.
    """

    model: object
    record: dict

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return int(self.model.input_shape[1])

    def predict_crops(self, images: np.ndarray, flip: bool = False) -> dict[str, np.ndarray]:
        """Poses of crops that are already cut.

        Args:
            images: (N, S, S, 3) RGB, 0 ... 255.
            flip: average with the prediction on the mirrored crop, mirrored back with left and right swapped.

        Returns:
            `keypoints` (N, 17, 2) normalised crop coordinates, `visibility` (N, 17); of a model trained with a learned σ also `scale`
            (N, 17, 2), shares of the crop's side.
        """
        images = np.asarray(images, np.float32)
        out = {k: np.asarray(v, np.float32) for k, v in self.model.predict_on_batch(images).items()}
        if flip:
            mirrored = self.model.predict_on_batch(np.ascontiguousarray(images[:, :, ::-1]))
            order = list(COCO17.flip_indices)
            back = np.asarray(mirrored["keypoints"], np.float32)[:, order] * np.array([-1, 1], np.float32)
            out["keypoints"] = (out["keypoints"] + back) / 2
            for name in out.keys() - {"keypoints"}:
                out[name] = (out[name] + np.asarray(mirrored[name], np.float32)[:, order]) / 2
        return out

    def predict(self, image: np.ndarray, bbox: np.ndarray | None = None, flip: bool = False) -> Prediction:
        """The pose of one person in a photo.

        Args:
            image: (H, W, 3) uint8 RGB.
            bbox: (x, y, w, h) around the person in photo pixels; None for the full photo.
            flip: see `predict_crops`.

        Returns:
            The pose in photo pixels.

        Raises:
            ValueError: for an empty box.
        """
        height, width = image.shape[:2]
        bbox = geometry.bbox_of_image(width, height) if bbox is None else np.asarray(bbox, np.float32)
        size = self.input_size
        affine = geometry.crop_affine(geometry.bbox_center(bbox), geometry.square_side(bbox), size)
        out = self.predict_crops(geometry.warp(image, affine, (size, size))[None], flip)
        crop = geometry.decode_keypoints(out["keypoints"][0], (size, size))
        keypoints = geometry.apply_affine(geometry.invert(affine), crop).astype(np.float32)
        return Prediction(keypoints, out["visibility"][0], joint_score(out)[0], bbox)


def joint_score(out: dict[str, np.ndarray]) -> np.ndarray:
    """How sure a model is of each joint, 0 ... 1: its visibility, times `losses.confidence` where the model gives a σ.

    Args:
        out: of `Predictor.predict_crops`.

    Returns:
        (N, 17) float32.
    """
    if "scale" not in out:
        return out["visibility"]
    from posekit import losses

    return out["visibility"] * losses.confidence(out["scale"])


def load(name: str | Path) -> Predictor:
    """A model of the package by name, or a training run by its folder.

    Args:
        name: a folder that `posekit train` wrote (model.keras, record.json), or a name from `names()`.

    Raises:
        DataError: when there is no such model; names the known ones.
    """
    import keras

    folder = Path(name)
    if not (folder / "record.json").is_file():
        folder = Path(str(resources.files("posekit"))) / "weights" / str(name)
    if not (folder / "record.json").is_file():
        raise DataError(name, "no such model", f"give the folder of a training run, or one of: {', '.join(names())}")
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        for key in ("mean_pose", "mean_visibility"):
            if np.shape(record[key])[:1] != (len(COCO17),):
                raise ValueError(f"{key} in record.json is not {len(COCO17)} joints")
        model = keras.saving.load_model(folder / "model.keras", compile=False)
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        problem = f"the model cannot be read: {type(error).__name__} {next(iter(str(error).splitlines()), '')}"
        raise DataError(folder, problem, "train it again") from None
    return Predictor(model, record)


def names() -> list[str]:
    """Names of the models in the package, sorted."""
    weights = Path(str(resources.files("posekit"))) / "weights"
    return sorted(path.parent.name for path in weights.glob("*/record.json"))
