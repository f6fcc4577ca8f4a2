"""A trained model at work: load it by name, ask it for a pose (chapters 07, 11, 12).

A model is a training run of Keras, or what `posekit.inference.export` made of one; a `Predictor` answers alike over both. Here stands what an answer
is: `complete_outputs` completes what a network gives to the four outputs of every model, and `posekit.inference.export` builds the same function into
the file.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np

from posekit import geometry
from posekit.errors import DataError
from posekit.files import cache_root
from posekit.skeleton import COCO17

DRAW_THRESHOLD = 0.3
"""Score from which a joint is drawn, by the command line, in Python and on the page."""


@dataclass(frozen=True)
class Prediction:
    """The pose of one person.

    Args:
        keypoints: (17, 2) float32 photo pixels; also for joints believed outside the crop.
        visibility: (17,) probability that the joint lies inside the crop.
        score: (17,) confidence 0 ... 1 in the joint, see `joint_score`.
        presence: probability that anybody is in the crop, see `complete_outputs`.
        bbox: (4,) the box that was used (x, y, w, h), photo pixels.
    """

    keypoints: np.ndarray
    visibility: np.ndarray
    score: np.ndarray
    presence: float
    bbox: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A model together with what its training recorded.

    Args:
        model: from RGB crops (B, S, S, 3) to {"keypoints", "visibility", ...}: a Keras model (`posekit.models.build`), or an `OnnxModel`.
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
            `keypoints` (N, 17, 2) normalised crop coordinates; `visibility`, `score` (N, 17) and `presence` (N,) as in `Prediction`; of
            a Keras model trained with a learned σ also `scale` (N, 17, 2), shares of the crop's side.
        """
        images = np.asarray(images, np.float32)
        out = self._ask(images)
        if not flip:
            return out
        back = self._ask(np.ascontiguousarray(images[:, :, ::-1]))
        back = {
            name: v if name == "presence" else v[:, list(COCO17.flip_indices)]
            for name, v in back.items()
        }
        back["keypoints"] = back["keypoints"] * np.array([-1, 1], np.float32)
        return {name: (value + back[name]) / 2 for name, value in out.items()}

    def _ask(self, images: np.ndarray) -> dict[str, np.ndarray]:
        out = {
            name: np.asarray(v, np.float32)
            for name, v in self.model.predict_on_batch(images).items()
        }
        return complete_outputs(out, self.record.get("calibration"))

    def predict(
        self, image: np.ndarray, bbox: np.ndarray | None = None, flip: bool = False
    ) -> Prediction:
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
        bbox = (
            geometry.bbox_of_image(width, height) if bbox is None else np.asarray(bbox, np.float32)
        )
        size = self.input_size
        affine = geometry.crop_affine(geometry.bbox_center(bbox), geometry.square_side(bbox), size)
        out = self.predict_crops(geometry.warp(image, affine, (size, size))[None], flip)
        crop = geometry.decode_keypoints(out["keypoints"][0], (size, size))
        keypoints = geometry.apply_affine(geometry.invert(affine), crop).astype(np.float32)
        return Prediction(
            keypoints, out["visibility"][0], out["score"][0], float(out["presence"][0]), bbox
        )


# ---- what an answer is ----------------------------------------------------------------------------------------------------


def complete_outputs(out: dict, calibration: dict | None = None, xp: ModuleType = np) -> dict:
    """What a network gives, completed to what every model answers; what is there already stays.

    Args:
        out: arrays: `keypoints` (N, 17, 2), `visibility` (N, 17), perhaps `scale` (N, 17, 2), `score` (N, 17), `presence` (N, 1).
        calibration: see `joint_score`.
        xp: who computes: numpy, or keras.ops on symbols, when the formulas are built into a graph.

    Returns:
        `out` with `score` (N, 17) of `joint_score` and `presence` (N,), the probability that anybody is in the crop: of a network
        that was not trained to say so, the visibility of the likeliest joint.
    """
    score = out["score"] if "score" in out else joint_score(out, calibration, xp)
    presence = out["presence"] if "presence" in out else xp.max(out["visibility"], axis=-1)
    return {**out, "score": score, "presence": xp.reshape(presence, (-1,))}


def joint_score(out: dict, calibration: dict | None = None, xp: ModuleType = np):
    """How sure a model is of each joint, 0 ... 1.

    Calibrated, it is the share of OKS that such a joint had on people held out: a logistic function of the logarithm of σ and of the
    visibility's logit. Without, it is the visibility, times 1 - σ where the model gives a σ (`losses.confidence`).

    Args:
        out: `visibility` (N, 17) and perhaps `scale` (N, 17, 2).
        calibration: the record's `bias`, `log_scale` and `visibility`: the three numbers of the logistic function, fitted after training.
        xp: see `complete_outputs`.

    Returns:
        (N, 17).

    Source:
        Platt, "Probabilistic outputs for support vector machines", 1999, section 2.
    """
    visibility = out["visibility"]
    scale = xp.mean(out["scale"], axis=-1) if "scale" in out else None
    if calibration is None:
        return visibility if scale is None else visibility * xp.clip(1 - scale, 0, 1)
    sure = xp.clip(visibility, 1e-6, 1 - 1e-6)
    evidence = calibration["bias"] + calibration["visibility"] * (xp.log(sure) - xp.log(1 - sure))
    if scale is not None:
        evidence = evidence + calibration["log_scale"] * xp.log(scale)
    return 1 / (1 + xp.exp(-evidence))


# ---- where models come from -----------------------------------------------------------------------------------------------


class OnnxModel:
    """A file of `posekit.inference.export` in ONNX Runtime, with what a `Predictor` uses of a Keras model. Needs neither Keras nor TensorFlow.

    Args:
        path: the file.
        threads: how many compute together; None: as many as there are cores.

    Raises:
        DataError: when the file is missing or damaged, or was not written by `posekit.inference.export`.
    """

    def __init__(self, path: str | Path, threads: int | None = None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads or 0, 4
        try:
            self.session = onnxruntime.InferenceSession(
                Path(path).read_bytes(), options, providers=["CPUExecutionProvider"]
            )
            self.record = json.loads(self.session.get_modelmeta().custom_metadata_map["record"])
        except KeyError:
            raise DataError(
                path,
                "is no model of this book: its metadata hold no record",
                "export one: python -m posekit export",
            ) from None
        except Exception as error:  # ONNX Runtime raises classes of its own, without a common one
            problem = f"the model cannot be read: {type(error).__name__} {next(iter(str(error).splitlines()), '')}"
            raise DataError(path, problem, "export it again: python -m posekit export") from None
        self.input_shape = tuple(self.session.get_inputs()[0].shape)
        self.outputs = [output.name for output in self.session.get_outputs()]

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """(N, 224, 224, 3) float32 RGB, 0 ... 255, to the four outputs. The graph takes one picture at a time."""
        if not len(images):
            return {
                out.name: np.empty((0, *out.shape[1:]), np.float32)
                for out in self.session.get_outputs()
            }
        answers = [self.session.run(self.outputs, {"image": image[None]}) for image in images]
        return {
            name: np.concatenate(values)
            for name, values in zip(self.outputs, zip(*answers), strict=True)
        }

    def get_weights(self):
        """Refuses: what was exported has no weights that could be trained further."""
        raise DataError(
            "an exported model",
            "cannot be trained further",
            "start from the run that it was made of",
        )


def load(name: str | Path, threads: int | None = None) -> Predictor:
    """A model of the package by name, a training run by its folder, or an exported model by its file.

    Args:
        name: a name from `list_models()`; a folder that `posekit train` wrote (model.keras, record.json); or an .onnx file.
        threads: for an exported model, see `OnnxModel`; a Keras model takes what its backend gives it.

    Raises:
        DataError: when there is no such model; names the known ones. When it is damaged, or has to be fetched and cannot be.
    """
    file = locate(name)
    if file.suffix == ".onnx":
        model = OnnxModel(file, threads)
        return Predictor(model, model.record)
    folder = file.parent
    import keras

    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        for key in ("mean_pose", "mean_visibility"):
            if np.shape(record[key])[:1] != (len(COCO17),):
                raise ValueError(f"{key} in record.json is not {len(COCO17)} joints")
        model = keras.saving.load_model(file, compile=False)
    except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        problem = f"the model cannot be read: {type(error).__name__} {next(iter(str(error).splitlines()), '')}"
        raise DataError(folder, problem, "train it again") from None
    return Predictor(model, record)


def locate(name: str | Path) -> Path:
    """The file of a model: an .onnx file, or the model.keras of a training run; of a model of the package after it was verified.

    A run stays a run when its export lies beside it: model.onnx is taken where there is no model.keras.

    Args, raises: see `load`.
    """
    folder = Path(name)
    if folder.suffix == ".onnx":
        return folder
    if not (folder / "record.json").is_file():
        if str(name) not in list_models():
            known = f"give the folder of a training run, an .onnx file, or one of: {', '.join(list_models())}"
            raise DataError(name, "no such model", known)
        return _packaged(str(name))
    trained, exported = folder / "model.keras", folder / "model.onnx"
    return exported if exported.is_file() and not trained.is_file() else trained


def weights_folder() -> Path:
    """The package's folder of models: NAME/{model.keras or model.onnx, record.json}, and manifest.json, which lists all their files."""
    return Path(str(resources.files("posekit"))) / "weights"


def list_models() -> list[str]:
    """Names of the models in the package, and of those that it knows where to fetch; sorted."""
    return sorted(
        {file.split("/")[0] for file in _listed() if file.split("/")[1].startswith("model.")}
    )


def _listed() -> dict[str, dict]:
    """The package's manifest: "NAME/FILE" -> sha256, bytes; and url where the file is not in the package but is to be fetched."""
    path = weights_folder() / "manifest.json"
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            path, f"cannot be read: {error}", "install posekit again, or git checkout it"
        ) from None


def _packaged(name: str) -> Path:
    """The file of a model of the package, verified like all that belongs to it."""
    folder = weights_folder() / name
    files = {
        file.split("/")[1]: want for file, want in _listed().items() if file.startswith(f"{name}/")
    }
    if any("url" in want for want in files.values()):
        from posekit.datasets import download

        folder = cache_root() / "models" / name
        with download.open_folder(folder) as fetched:
            for file, want in files.items():
                download.fetch(
                    want["url"],
                    folder / file,
                    fetched,
                    size=want["bytes"],
                    sha256=want["sha256"],
                    progress=True,
                )
    for file, want in files.items():
        try:
            data = (folder / file).read_bytes()
        except OSError as error:
            raise DataError(
                folder / file, f"cannot be read: {error.strerror}", "install posekit again"
            ) from None
        if hashlib.sha256(data).hexdigest() != want["sha256"]:
            problem = f"is damaged: its SHA-256 is not that of manifest.json ({len(data):,} bytes of {want['bytes']:,})"
            raise DataError(folder / file, problem, "install posekit again, or git checkout it")
    return next(folder / file for file in files if file.startswith("model."))
