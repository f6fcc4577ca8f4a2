"""Load a trained model by name and predict poses with it (chapters 09, 14, 15).

A model is a training run of Keras, or a file that `posekit.inference.export` made of one; a
`Predictor` gives the same outputs for both. `complete_outputs` defines them: it adds `score` and
`presence` if the network does not predict them. `posekit.inference.export` builds that function
into its files.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from posekit import geometry, hardware
from posekit.body_size import estimated_torso_length
from posekit.errors import DataError
from posekit.files import cache_root, local_path
from posekit.images import read_image
from posekit.inference import foreign_models
from posekit.inference.body_square import CROP_JOINT_THRESHOLD, square_around
from posekit.skeleton import COCO17

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DRAW_THRESHOLD",
    "SIGNATURE",
    "WEIGHTS_FILE",
    "OnnxModel",
    "Prediction",
    "Predictor",
    "check_box",
    "complete_outputs",
    "joint_score",
    "list_models",
    "load",
    "locate",
    "rgb_array",
    "weights_folder",
]

DRAW_THRESHOLD = 0.36
"""Score from which a joint is drawn, by the command line, in Python and on the page. Chosen on
validation photos, see "Scores and hidden joints" in the model card."""
WEIGHTS_FILE = "weights.npz"
"""Name of the file of a run, or of a model of the package, that holds the weights from which a
training can start, in the form of `posekit.training.weights_file`."""
SIGNATURE = {
    "image": (1, 224, 224, 3),
    "keypoints": (1, len(COCO17), 2),
    "visibility": (1, len(COCO17)),
    "score": (1, len(COCO17)),
    "presence": (1,),
}
"""Input `image` and outputs of an exported model -> shape; all float32."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """The pose of one person.

    Args:
        keypoints: (17, 2) image pixels; also of joints predicted outside the crop.
        visibility: (17,) probability that the joint lies inside the crop.
        score: (17,) score 0 ... 1 of the joint, see `joint_score`.
        presence: probability that a person is in the crop, see `complete_outputs`.
        bbox: (4,) the box in which the network looked (x, y, w, h), image pixels.
        sigma: (17, 2) predicted standard deviation of x and y, image pixels; None if the model
            predicts none, as no exported model does.
        milliseconds: time taken by `crop` and `model`, of both looks if there were two; of a batch,
            each square's share.
    """

    keypoints: np.ndarray
    visibility: np.ndarray
    score: np.ndarray
    presence: float
    bbox: np.ndarray
    sigma: np.ndarray | None
    milliseconds: dict[str, float]

    def __repr__(self) -> str:
        box = ", ".join(f"{value:.4g}" for value in self.bbox)
        drawn = int((self.score >= DRAW_THRESHOLD).sum())
        return (
            f"Prediction(presence={self.presence:.3f}, bbox=[{box}], "
            f"{drawn} of {len(self.score)} joints with score >= {DRAW_THRESHOLD})"
        )


@dataclass(frozen=True, repr=False)
class Predictor:
    """A model together with the record of its training.

    Args:
        model: a Keras model (`posekit.models.build`) or an `OnnxModel`; from RGB crops
            (B, S, S, 3) to {"keypoints", "visibility", ...}.
        record: the run's record.json; `record["mean_pose"]` is the training mean in normalised crop
            coordinates.
        name: name or path that the model was loaded from.
    """

    model: object
    record: dict
    name: str = ""

    def __repr__(self) -> str:
        kind = "ONNX" if isinstance(self.model, OnnxModel) else "Keras"
        return f"Predictor({self.name or 'unnamed'!r}, {kind}, input {self.input_size} px)"

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return int(self.model.input_shape[1])

    def predict_crops(self, images: np.ndarray, flip: bool = False) -> dict[str, np.ndarray]:
        """Predict the poses in crops.

        Args:
            images: (N, S, S, 3) RGB, 0 ... 255.
            flip: flip test: average with the prediction on the mirrored crop, mirrored back with
                left and right swapped.

        Returns:
            `keypoints` (N, 17, 2) normalised crop coordinates; `visibility`, `score` (N, 17) and
            `presence` (N,) as in `Prediction`; of a Keras model that predicts σ also `sigma`
            (N, 17, 2), fractions of the crop's side.
        """
        images = np.asarray(images, np.float32)
        out = self._forward(images)
        if not flip:
            return out
        back = self._forward(np.ascontiguousarray(images[:, :, ::-1]))
        back = {
            name: v if name == "presence" else v[:, list(COCO17.flip_indices)]
            for name, v in back.items()
        }
        back["keypoints"] = back["keypoints"] * np.array([-1, 1], np.float32)
        return {name: (value + back[name]) / 2 for name, value in out.items()}

    def _forward(self, images: np.ndarray) -> dict[str, np.ndarray]:
        out = {
            name: np.asarray(v, np.float32)
            for name, v in self.model.predict_on_batch(images).items()
        }
        return complete_outputs(out, self.record.get("calibration"))

    def predict(
        self,
        image: "str | Path | np.ndarray | Image",
        bbox: np.ndarray | None = None,
        flip: bool = False,
    ) -> Prediction:
        """Predict the pose of one person in an image.

        Args:
            image: see `rgb_array`.
            bbox: (x, y, w, h) around the person in image pixels; the network sees the padded square
                around it. None: the person is searched in the full image, and if the square around
                the pose found there is smaller, the network looks again, in that square, as it does
                in the next frame of a video (chapter 15).
            flip: see `predict_crops`.

        Returns:
            The pose in image pixels. Its `bbox` is the given one, or the box in which the network
            looked last.

        Raises:
            DataError: when the image cannot be used (see `rgb_array`), or the box is empty or lies
                outside the image.
        """
        where = image if isinstance(image, str | Path) else "image"
        image = rgb_array(image)
        height, width = image.shape[:2]
        if bbox is None:
            pose = self._search(image, flip)
        else:
            bbox = check_box(bbox, width, height, where)
            pose = self._predict_box(image, bbox, flip)
        return replace(pose, keypoints=pose.keypoints.astype(np.float32))

    def _predict_box(self, image: np.ndarray, bbox: np.ndarray, flip: bool) -> Prediction:
        """Predict in the padded square around a box."""
        center, side = geometry.bbox_center(bbox), geometry.square_side(bbox)
        return replace(self.predict_square(image, center, side, flip), bbox=bbox)

    def _search(self, image: np.ndarray, flip: bool) -> Prediction:
        """Predict in the full image, and again in the square around that pose if it is smaller."""
        height, width = image.shape[:2]
        pose = self._predict_box(image, geometry.bbox_of_image(width, height), flip)
        counted = pose.score >= CROP_JOINT_THRESHOLD
        if not counted.any():
            return pose
        torso_length = estimated_torso_length(pose.keypoints, counted)
        center, side = square_around(pose.keypoints, counted, torso_length, width, height)
        if side >= max(width, height):
            return pose
        closer = self.predict_square(image, center, side, flip)
        both = {
            name: pose.milliseconds[name] + closer.milliseconds[name]
            for name in closer.milliseconds
        }
        return replace(closer, milliseconds=both)

    def predict_square(
        self,
        image: "str | Path | np.ndarray | Image",
        center: np.ndarray,
        side: float,
        flip: bool = False,
    ) -> Prediction:
        """Predict the pose inside a square of an image.

        Args:
            image: see `rgb_array`.
            center: (2,) centre of the square, image pixels.
            side: its side, image pixels. Parts outside the image are black.
            flip: see `predict_crops`.

        Returns:
            The pose in image pixels; `bbox` is the square.

        Raises:
            DataError: when the image cannot be used, or the square is empty or not finite.
        """
        return self.predict_squares([(image, center, side)], flip)[0]

    def predict_squares(
        self,
        squares: Iterable[tuple["str | Path | np.ndarray | Image", np.ndarray, float]],
        flip: bool = False,
    ) -> list[Prediction]:
        """Predict the poses inside squares of images, in one batch.

        Args:
            squares: (image, center, side) as in `predict_square`; taken one by one, so that only
                the crops are in memory at the same time.
            flip: see `predict_crops`.

        Returns:
            One pose per square, in their order.

        Raises:
            DataError: see `predict_square`.
        """
        size = self.input_size
        crops = []
        placed = []
        crop_seconds = 0.0
        for image, center, side in squares:
            image = rgb_array(image)
            center = np.asarray(center, np.float64)
            if center.shape != (2,) or not np.isfinite(center).all() or not 0 < side < np.inf:
                problem = f"the square with centre {center.tolist()} and side {side} is not usable"
                raise DataError("square", problem, "give (x, y) and a side above 0, in pixels")
            start = time.perf_counter()
            affine = geometry.crop_affine(center, side, size)
            crops.append(geometry.warp(image, affine, (size, size)))
            crop_seconds += time.perf_counter() - start
            placed.append((geometry.invert(affine), center, side))
        if not crops:
            return []
        start = time.perf_counter()
        out = self.predict_crops(np.stack(crops), flip)
        milliseconds = {
            "crop": 1000 * crop_seconds / len(crops),
            "model": 1000 * (time.perf_counter() - start) / len(crops),
        }
        in_crop = geometry.decode_keypoints(out["keypoints"], (size, size))
        return [
            Prediction(
                keypoints=geometry.apply_affine(to_image, in_crop[i]),
                visibility=out["visibility"][i],
                score=out["score"][i],
                presence=float(out["presence"][i]),
                bbox=np.array([*(center - side / 2 + 0.5), side, side], np.float32),
                sigma=out["sigma"][i] * side if "sigma" in out else None,
                milliseconds=milliseconds,
            )
            for i, (to_image, center, side) in enumerate(placed)
        ]


# ---- input --------------------------------------------------------------------------------------


def rgb_array(image: "str | Path | np.ndarray | Image") -> np.ndarray:
    """Return an image as an array, or refuse it.

    Args:
        image: a file's path, read as viewers show it (EXIF orientation applied, grey and
            palettes converted); or a (H, W, 3) uint8 RGB array; or a PIL image of mode RGB, also
            rotated by its EXIF orientation.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        DataError: when the file cannot be read, or the image is of another type, dtype or number of
            channels.
    """
    if isinstance(image, str | Path):
        return read_image(image, as_displayed=True)
    if hasattr(image, "getexif") and hasattr(image, "mode"):
        return _array_of_pil_image(image)
    if not isinstance(image, np.ndarray):
        raise DataError(
            "image",
            f"is a {type(image).__name__}",
            "give a path, a uint8 RGB array (H, W, 3), or a PIL image",
        )
    if image.dtype != np.uint8:
        raise DataError("image", *_wrong_dtype(image))
    if image.ndim != 3 or image.shape[2] != 3:
        raise DataError("image", *_wrong_shape(image.shape))
    if not image.size:
        raise DataError("image", f"of shape {image.shape} is empty", "give at least one pixel")
    return image


def _array_of_pil_image(image: "Image") -> np.ndarray:
    from PIL import ImageOps

    if image.mode != "RGB":
        raise DataError(
            "image",
            f"is a PIL image of mode {image.mode}, expected RGB",
            'convert it: image.convert("RGB")',
        )
    return np.asarray(ImageOps.exif_transpose(image))


def _wrong_dtype(image: np.ndarray) -> tuple[str, str]:
    """Return problem and hint for an array that is not uint8."""
    problem = f"has dtype {image.dtype}, expected uint8 with values 0 ... 255"
    if image.dtype == np.uint16:
        return problem, "convert it: (image // 257).astype(np.uint8)"
    if np.issubdtype(image.dtype, np.floating) and image.size:
        low = np.nanmin(image)
        high = np.nanmax(image)
        problem += f"; its values go from {low:.3g} to {high:.3g}"
        if high <= 1:
            return problem, "convert it: (image * 255).round().astype(np.uint8)"
    if image.dtype == bool:
        return problem, "convert it: image.astype(np.uint8) * 255"
    return problem, "convert it: image.clip(0, 255).astype(np.uint8)"


def _wrong_shape(shape: tuple[int, ...]) -> tuple[str, str]:
    """Return problem and hint for an array that is not (H, W, 3)."""
    problem = f"has shape {shape}, expected (height, width, 3), RGB"
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        return f"is grey: {problem}", "convert it: cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)"
    if len(shape) == 3 and shape[2] == 4:
        return f"has four channels: {problem}", "leave out the last one: image[..., :3]"
    if len(shape) == 3 and shape[0] == 3:
        return problem, "put the channels last: image.transpose(1, 2, 0)"
    if len(shape) == 4:
        return problem, "give one image at a time"
    return problem, "give one RGB image"


def check_box(bbox: np.ndarray, width: int, height: int, where: object = "image") -> np.ndarray:
    """Return a box as an array, or refuse it.

    Args:
        bbox: (x, y, w, h) in the image's pixels.
        width, height: of the image.
        where: the image's file, for the error.

    Returns:
        (4,) float32.

    Raises:
        DataError: when it is not four finite numbers with w, h > 0, or has no pixel of the image.
    """
    hint = "give X, Y, W, H in the image's pixels, with W and H above 0"
    try:
        box = np.asarray(bbox, np.float32)
    except (TypeError, ValueError):
        raise DataError(where, f"the box {bbox!r} is not four numbers", hint) from None
    shown = np.round(box, 2).tolist()
    if box.shape != (4,) or not np.isfinite(box).all():
        raise DataError(where, f"the box {shown} is not four finite numbers", hint)
    x, y, w, h = box
    if w <= 0 or h <= 0:
        raise DataError(where, f"the box {shown} is empty", hint)
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        problem = f"the box {shown} lies outside the image ({width}x{height})"
        raise DataError(where, problem, hint)
    return box


# ---- outputs ------------------------------------------------------------------------------------


def complete_outputs(out: dict, calibration: dict | None = None, xp: ModuleType = np) -> dict:
    """Add `score` and `presence` to a network's outputs if it does not predict them.

    Args:
        out: arrays: `keypoints` (N, 17, 2), `visibility` (N, 17), and optionally `sigma`
            (N, 17, 2), `score` (N, 17), `presence` (N, 1).
        calibration: see `joint_score`.
        xp: numpy; or keras.ops, to build the formulas into a graph.

    Returns:
        `out` with `score` (N, 17), see `joint_score`, and `presence` (N,), the probability that a
        person is in the crop: without an output for it, the largest visibility of all joints.
    """
    score = out["score"] if "score" in out else joint_score(out, calibration, xp)
    presence = out["presence"] if "presence" in out else xp.max(out["visibility"], axis=-1)
    return {**out, "score": score, "presence": xp.reshape(presence, (-1,))}


def sigma_score(sigma: np.ndarray, xp: ModuleType = np) -> np.ndarray:
    """Return the score of each joint from σ alone: 1 - σ, the mean over x and y.

    Args:
        sigma: (..., K, 2), fractions of the crop's side.
        xp: see `complete_outputs`.

    Returns:
        (..., K) in 0 ... 1.

    Source:
        Li et al., "Human pose regression with residual log-likelihood estimation", ICCV 2021 (the
        authors' code).
    """
    return xp.clip(1 - xp.mean(sigma, axis=-1), 0, 1)


def joint_score(out: dict, calibration: dict | None = None, xp: ModuleType = np):
    """Return the score of each joint, 0 ... 1.

    With calibration it is the expected OKS of the joint, fitted on held-out people: a logistic
    function of log σ and the logit of the visibility. Without, it is the visibility, times 1 - σ if
    the model predicts σ (`sigma_score`).

    Args:
        out: `visibility` (N, 17) and optionally `sigma` (N, 17, 2).
        calibration: coefficients of the logistic function, `bias`, `log_sigma` and `visibility`,
            from the training's record.
        xp: see `complete_outputs`.

    Returns:
        (N, 17).

    Source:
        Platt, "Probabilistic outputs for support vector machines", 1999, section 2.
    """
    visibility = out["visibility"]
    if calibration is None:
        return visibility * sigma_score(out["sigma"], xp) if "sigma" in out else visibility
    visible = xp.clip(visibility, 1e-6, 1 - 1e-6)  # 0 and 1 have no logit
    logit = xp.log(visible) - xp.log(1 - visible)
    evidence = calibration["bias"] + calibration["visibility"] * logit
    if "sigma" in out:
        evidence = evidence + calibration["log_sigma"] * xp.log(xp.mean(out["sigma"], axis=-1))
    return 1 / (1 + xp.exp(-evidence))


# ---- loading ------------------------------------------------------------------------------------


class OnnxModel:
    """An exported model in ONNX Runtime, with the methods of a Keras model that `Predictor` uses.

    Needs neither Keras nor TensorFlow.

    Args:
        path: a file of `posekit.inference.export`.
        threads: number of threads; None: as many as there are cores.

    Raises:
        DataError: when the file is missing or damaged, or was not written by
            `posekit.inference.export`.
    """

    def __init__(self, path: str | Path, threads: int | None = None):
        import onnxruntime

        path = local_path(path)
        if not path.is_file():
            problem = "is a folder" if path.is_dir() else "there is no such file"
            raise DataError(path, problem, "check the path, or export it: python -m posekit export")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 4
        try:
            self.session = onnxruntime.InferenceSession(
                Path(path).read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime raises classes of its own, without a common one
            found = foreign_models.describe(path)
            problem = _unreadable(error)
            if "is not known" not in found:
                problem = f"is no ONNX file: it {found}"
            raise DataError(path, problem, "export it again: python -m posekit export") from None
        self._check_signature(path)
        try:
            self.record = json.loads(self.session.get_modelmeta().custom_metadata_map["record"])
        except (KeyError, ValueError):
            raise DataError(
                path,
                "is no model of this book: its metadata hold no training record",
                "export one: python -m posekit export",
            ) from None
        self.input_shape = tuple(self.session.get_inputs()[0].shape)
        self.outputs = [output.name for output in self.session.get_outputs()]

    def __repr__(self) -> str:
        return f"OnnxModel(input {self.input_shape}, outputs {', '.join(self.outputs)})"

    def _check_signature(self, path: str | Path) -> None:
        """Refuse a file whose inputs and outputs are not those of `SIGNATURE`."""
        found = {}
        for tensor in (*self.session.get_inputs(), *self.session.get_outputs()):
            found[tensor.name] = (tensor.type, tuple(tensor.shape))
        expected = {name: ("tensor(float)", shape) for name, shape in SIGNATURE.items()}
        if found == expected and len(self.session.get_inputs()) == 1:
            return
        inputs = {tensor.name: found[tensor.name] for tensor in self.session.get_inputs()}
        outputs = {tensor.name: found[tensor.name] for tensor in self.session.get_outputs()}
        wanted_input = {"image": expected.pop("image")}
        raise DataError(
            path,
            f"has another signature: expected {_signature(wanted_input, expected)}, "
            f"found {_signature(inputs, outputs)}",
            "export a training run: python -m posekit export --model RUN OUT.onnx",
        )

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the four outputs for (N, 224, 224, 3) float32 RGB crops, 0 ... 255.

        The graph takes one image at a time.
        """
        if not len(images):
            return {
                out.name: np.empty((0, *out.shape[1:]), np.float32)
                for out in self.session.get_outputs()
            }
        results = [self.session.run(self.outputs, {"image": image[None]}) for image in images]
        return {
            name: np.concatenate(values)
            for name, values in zip(self.outputs, zip(*results), strict=True)
        }

    def get_weights(self):
        """Refuse: an exported model cannot be trained further."""
        raise DataError(
            "an exported model",
            "cannot be trained further",
            "start from the run that it was made of",
        )


def _signature(inputs: dict, outputs: dict) -> str:
    """Return inputs and outputs (name -> type, shape) as text."""
    texts = []
    for tensors in (inputs, outputs):
        parts = []
        for name, (kind, shape) in tensors.items():
            dtype = "" if kind == "tensor(float)" else f" {kind}"
            parts.append(f"{name}{dtype} ({', '.join(map(str, shape))})")
        texts.append(", ".join(parts))
    return " -> ".join(texts)


def _unreadable(error: Exception) -> str:
    """Return one line on a model file that a library could not read."""
    first_line = next(iter(str(error).splitlines()), "")
    return f"the model cannot be read: {type(error).__name__} {first_line}"


def load(name: str | Path, threads: int | None = None) -> Predictor:
    """Load a model of the package by name, a training run by its folder, or an ONNX file.

    Args:
        name: a name from `list_models()`; a folder that `posekit train` wrote (model.keras,
            record.json), or the model.keras in it; or an .onnx file of `posekit export`.
        threads: number of threads of an exported model, see `OnnxModel`; ignored for Keras models.

    Raises:
        DataError: when there is no such model (names the known ones), when it is damaged or of
            another program, when it is a Keras model and Keras is not installed or its backend is
            not one of posekit's, or when it cannot be fetched.
    """
    file = locate(name)
    if file.suffix == ".onnx":
        model = OnnxModel(file, threads)
        return Predictor(model, model.record, str(name))
    folder = file.parent
    try:
        hardware.load_keras()
        import keras
    except ImportError as error:
        package = (error.name or "keras").split(".")[0]
        raise DataError(
            name,
            f"is a Keras model, and {package} is not installed",
            'in the book\'s folder run: pip install ".[train]"; or load an exported model (.onnx)',
        ) from None
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        for key in ("mean_pose", "mean_visibility"):
            if np.shape(record[key])[:1] != (len(COCO17),):
                raise ValueError(f"{key} in record.json is not {len(COCO17)} joints")
        model = keras.saving.load_model(file, compile=False)
    except Exception as error:  # Keras, h5py and zipfile raise a dozen kinds for damaged files
        raise DataError(folder, _unreadable(error), "train it again") from None
    return Predictor(model, record, str(name))


def locate(name: str | Path) -> Path:
    """Return the file of a model: an .onnx file, or the model.keras of a training run.

    A model of the package is verified first. Of a folder with both, model.keras is taken.

    Args, raises: see `load`.
    """
    folder = local_path(name)
    if folder.suffix == ".onnx" and not folder.is_dir():
        return folder
    if folder.name == "model.keras" and (folder.parent / "record.json").is_file():
        folder = folder.parent
    if not (folder / "record.json").is_file():
        if str(name) not in list_models():
            known = ", ".join(list_models())
            hint = (
                "give the folder of a training run, an .onnx file of `posekit export`, or one of: "
                f"{known}"
            )
            problem = "no such model"
            if folder.is_file():
                problem = foreign_models.describe(folder)
            elif folder.is_dir():
                problem = foreign_models.describe_folder(folder) or "holds no record.json"
            raise DataError(name, problem, hint)
        return _packaged(str(name))
    trained, exported = folder / "model.keras", folder / "model.onnx"
    return exported if exported.is_file() and not trained.is_file() else trained


def weights_folder() -> Path:
    """Return the package's folder of models.

    It holds NAME/{model.keras or model.onnx, record.json}, for some models also NAME/weights.npz,
    and manifest.json, a list of all files.
    """
    return Path(str(resources.files("posekit"))) / "weights"


def list_models() -> list[str]:
    """Return the names of the package's models, with those that are fetched when first used."""
    return sorted(
        {file.split("/")[0] for file in _listed() if file.split("/")[1].startswith("model.")}
    )


def _listed() -> dict[str, dict]:
    """Return the package's manifest: "NAME/FILE" -> sha256, bytes, and url of files to fetch."""
    path = weights_folder() / "manifest.json"
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            path, f"cannot be read: {error}", "install posekit again, or git checkout it"
        ) from None


def _packaged(name: str) -> Path:
    """Return the file of a model of the package, after all its files have been verified."""
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
            problem = (
                "is damaged: its SHA-256 is not that of manifest.json "
                f"({len(data):,} bytes of {want['bytes']:,})"
            )
            raise DataError(folder / file, problem, "install posekit again, or git checkout it")
    return next(folder / file for file in files if file.startswith("model."))
