"""Score a model on records, with this book's metrics, and predict for COCO annotations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from posekit import geometry, inputs, metrics, records
from posekit.datasets import load_annotated_image
from posekit.datasets.image_files import ImageFinder
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.inference import predictor
from posekit.inference.predictor import Predictor
from posekit.inputs import AugmentParams

__all__ = [
    "EvalResults",
    "coco_results",
    "confidence_oks",
    "evaluate",
    "jsonable",
    "predict_records",
    "scores",
]


@dataclass(frozen=True)
class EvalResults:
    """Predictions of a model for the people of a record folder, with their annotations.

    One row per person, in the order of the records.

    Args:
        keypoints: (N, 17, 2) predicted joints, pixels of the original images.
        visibility: (N, 17) predicted probability that the joint lies inside the crop.
        sigma: (N, 17, 2) predicted standard deviation of x and y, fractions of the crop's side; NaN
            if the model gives none.
        score: (N, 17) score of each joint in 0 ... 1, see `predictor.joint_score`.
        presence: (N,) predicted probability that a person is in the crop.
        target: (N, 17, 2) annotated joints, image pixels, valid where `labelled`.
        keypoints_visible: (N, 17) uint8, COCO's v of the annotation: 0 not labelled, 1 occluded, 2
            visible.
        in_crop: (N, 17) bool, the joint is labelled and lies inside the crop; the target of
            `visibility`.
        in_crop_known: (N, 17) bool, whether it is known that the joint lies inside or outside.
        crop_keypoints: (N, 17, 2) predicted joints, normalised crop coordinates.
        crop_target: (N, 17, 2) annotated joints, normalised crop coordinates, valid where
            `in_crop`.
        crop_to_image: (N, 2, 3) affine transform from crop pixels to image pixels.
        bbox: (N, 4) the box that was cropped, image pixels.
        area: (N,) the person's area in image pixels squared, NaN if it is not known.
        source_id: (N,) the images' names: people with the same one are in the same image.
        person_id: (N,) names of the people.
        dataset: (N,) names of the data sets.
        input_size: side of the crop in pixels.
    """

    keypoints: np.ndarray
    visibility: np.ndarray
    sigma: np.ndarray
    score: np.ndarray
    presence: np.ndarray
    target: np.ndarray
    keypoints_visible: np.ndarray
    in_crop: np.ndarray
    in_crop_known: np.ndarray
    crop_keypoints: np.ndarray
    crop_target: np.ndarray
    crop_to_image: np.ndarray
    bbox: np.ndarray
    area: np.ndarray
    source_id: np.ndarray
    person_id: np.ndarray
    dataset: np.ndarray
    input_size: int

    @property
    def labelled(self) -> np.ndarray:
        """(N, 17) bool: joints with an annotated position (v >= 1), inside the crop or not."""
        return self.keypoints_visible >= 1

    def with_predictions(self, crop_keypoints: np.ndarray, visibility: np.ndarray) -> "EvalResults":
        """The same people with other predictions, such as the mean pose.

        Args:
            crop_keypoints: (N, 17, 2) or (17, 2) normalised crop coordinates.
            visibility: (N, 17) or (17,) probabilities.

        Returns:
            A copy; `score` and `presence` follow from `visibility`, `sigma` is NaN.
        """
        crop_keypoints = np.broadcast_to(
            np.asarray(crop_keypoints, np.float32), self.crop_keypoints.shape
        )
        visibility = np.broadcast_to(np.asarray(visibility, np.float32), self.visibility.shape)
        out = predictor.complete_outputs({"keypoints": crop_keypoints, "visibility": visibility})
        points = geometry.decode_keypoints(crop_keypoints, (self.input_size, self.input_size))
        return replace(
            self,
            keypoints=geometry.apply_affine(self.crop_to_image, points),
            visibility=visibility,
            sigma=np.full_like(self.sigma, np.nan),
            score=out["score"],
            presence=out["presence"],
            crop_keypoints=crop_keypoints,
        )


def predict_records(
    model: Predictor,
    directory: str | Path,
    *,
    flip: bool = True,
    jitter: float = 0.0,
    seed: int = 0,
    batch_size: int = 64,
    corrupt: Callable[[np.ndarray], np.ndarray] | None = None,
) -> EvalResults:
    """Run a model on every person of a record folder.

    Args:
        model: the model.
        directory: a record folder.
        flip: flip test, see `Predictor.predict_crops`.
        jitter: error of the box: its centre moves by this fraction of its side (standard deviation,
            each axis) and its side is scaled by exp(jitter * normal). 0: the annotated box. Pixels
            exist only within the stored context.
        seed: of the jitter.
        batch_size: people at a time.
        corrupt: function of each crop, (S, S, 3) uint8 RGB, applied before the model, such as less
            light.

    Returns:
        Predictions and annotations in the pixels of the original images.

    Raises:
        DataError: if the folder or a record in it is damaged, or it holds no person.
    """
    rng = np.random.default_rng(seed)
    box_px = records.read_manifest(directory)["box_px"]
    size = model.input_size
    annotations = []
    outputs = []
    crops = []
    for person in records.read_records(directory):
        image = decode_image(person.encoded, f"{directory}, person {person.person_id}")
        right, down, zoom = (jitter * rng.normal(size=3)).tolist()
        params = AugmentParams(zoom=float(np.exp(zoom)), shift=(right, down))
        affine = inputs.input_affine(
            person.keypoints, person.keypoints_visible, person.width, box_px, size, params
        )
        crop = np.empty((size, size, 3), np.uint8)
        inputs.render_crop(image, affine, params, None, crop)
        crops.append(corrupt(crop) if corrupt else crop)
        annotations.append(_annotation(person, affine, size))
        if len(crops) == batch_size:
            outputs.append(model.predict_crops(np.stack(crops), flip))
            crops.clear()
    if crops:
        outputs.append(model.predict_crops(np.stack(crops), flip))
    if not annotations:
        raise DataError(directory, "the records hold no person to score", "build them again")
    truth = {key: np.stack([row[key] for row in annotations]) for key in annotations[0]}
    out = {key: np.concatenate([o[key] for o in outputs]) for key in outputs[0]}
    out.setdefault("sigma", np.full_like(out["keypoints"], np.nan))
    points = geometry.decode_keypoints(out["keypoints"], (size, size))
    return EvalResults(
        keypoints=geometry.apply_affine(truth["crop_to_image"], points),
        crop_keypoints=out.pop("keypoints"),
        input_size=size,
        **out,
        **truth,
    )


def _annotation(person: records.PersonRecord, affine: np.ndarray, size: int) -> dict:
    """Return the annotated fields of `EvalResults` for one person."""
    keypoints, visibility = inputs.encode_targets(
        affine,
        person.keypoints,
        person.keypoints_visible,
        person.joint_known,
        False,
        person.width,
        size,
    )
    return {
        "target": geometry.apply_affine(person.crop_to_image, person.keypoints),
        "keypoints_visible": person.keypoints_visible,
        "in_crop": keypoints[:, 2] > 0,
        "in_crop_known": visibility[:, 1] > 0,
        "crop_target": keypoints[:, :2],
        "crop_to_image": geometry.compose(person.crop_to_image, geometry.invert(affine)),
        "bbox": person.bbox,
        "area": person.area or np.nan,
        "source_id": person.source_id,
        "person_id": person.person_id,
        "dataset": person.dataset,
    }


def evaluate(
    model: Predictor,
    directory: str | Path,
    *,
    flip: bool = True,
    jitter: float = 0.0,
    batch_size: int = 64,
) -> dict:
    """Score a model on records, in the pixels of the original images.

    Args:
        model, directory, flip, jitter, batch_size: see `predict_records`.

    Returns:
        `n`, `flip`, `box`, `jitter`; the result of `scores`; and `mean_pose`: the scores of always
        predicting the training mean.

    Raises:
        DataError: see `predict_records`.
    """
    results = predict_records(model, directory, flip=flip, jitter=jitter, batch_size=batch_size)
    constant = results.with_predictions(model.record["mean_pose"], model.record["mean_visibility"])
    box = records.read_manifest(directory)["box"]
    head = {"n": len(results.keypoints), "flip": flip, "box": box, "jitter": jitter}
    return {**head, **scores(results), "mean_pose": scores(constant)}


def scores(results: EvalResults) -> dict:
    """Compute all headline metrics of this book, with confidence intervals.

    Args:
        results: of `predict_records`.

    Returns:
        `pcp` {`upper_arm`, `lower_arm`, `upper_leg`, `lower_leg`, `mean`}, strict; `pck@0.2`
        (torso); `oks`, the mean over people with a known area; `confidence_oks`, see there;
        `visibility_accuracy`, `visibility_auroc`, `visibility_ece`; `collapse_ratio`; `intervals`:
        [low, high] of 95 % for `pcp`, `pck@0.2` and `oks`, by a bootstrap over people. NaN where
        nothing can be scored.
    """
    r = results
    limb_hits, limbs_scored = metrics.pcp_hits(r.keypoints, r.target, r.labelled)
    joint_hits, joints_scored = metrics.pck_hits(r.keypoints, r.target, r.labelled)
    oks = metrics.oks(r.keypoints, r.target, r.labelled, r.area)
    has_oks = ~np.isnan(oks)
    visibility = (r.visibility, r.in_crop, r.in_crop_known)
    by_kind = (limb_hits.reshape(-1, 4, 2), limbs_scored.reshape(-1, 4, 2))
    return {
        "pcp": metrics.pcp(r.keypoints, r.target, r.labelled),
        "pck@0.2": metrics.pck(r.keypoints, r.target, r.labelled)["value"],
        "oks": float(oks[has_oks].mean()) if has_oks.any() else float("nan"),
        "confidence_oks": confidence_oks(r.sigma, oks, r.in_crop),
        "visibility_accuracy": metrics.visibility_accuracy(*visibility),
        "visibility_auroc": metrics.auroc(*visibility),
        "visibility_ece": metrics.expected_calibration_error(*visibility),
        "collapse_ratio": metrics.collapse_ratio(r.crop_keypoints, r.crop_target, r.in_crop),
        "intervals": {
            "pcp": list(metrics.bootstrap_ci(*by_kind)),
            "pck@0.2": list(metrics.bootstrap_ci(joint_hits, joints_scored)),
            "oks": list(metrics.bootstrap_ci(oks, has_oks)),
        },
    }


def confidence_oks(sigma: np.ndarray, oks: np.ndarray, in_crop: np.ndarray) -> float:
    """Spearman's rank correlation, over people, of 1 - σ with OKS.

    It says whether σ tells good poses from bad ones.

    Args:
        sigma: (N, 17, 2), see `EvalResults`; a person's 1 - σ is the mean over the joints inside
            the crop.
        oks: (N,), NaN where it is not known.
        in_crop: (N, 17) bool.

    Returns:
        -1 ... 1; NaN without σ, with fewer than three people, or if all values are equal.

    Source:
        Li et al., "Human pose regression with residual log-likelihood estimation", ICCV 2021,
        section 4.4, which takes Pearson's.
    """
    from scipy.stats import rankdata

    score = predictor.sigma_score(sigma)
    mean = np.where(in_crop, score, 0).sum(axis=1) / np.maximum(in_crop.sum(axis=1), 1)
    scored = np.isfinite(mean) & np.isfinite(oks) & in_crop.any(axis=1)
    ranks = [rankdata(values[scored]) for values in (mean, oks)]
    if scored.sum() < 3 or any(np.ptp(values) == 0 for values in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def jsonable(value: object) -> object:
    """Replace NaN, which JSON lacks, by None, at any depth of dicts and lists."""
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [jsonable(v) for v in value]
    return None if isinstance(value, float) and value != value else value


def _annotated_squares(people: list, finder: ImageFinder) -> Iterator[tuple]:
    """Yield image, centre and side of the square around each annotated box; read images once."""
    image = None
    current = None
    for person, bbox in people:
        if person.image is not current:
            current = person.image
            path = finder.find(current)
            image = load_annotated_image(path, current.size, False, str(path))
        yield image, geometry.bbox_center(bbox), geometry.square_side(bbox)


def coco_results(
    model: Predictor,
    annotations: str | Path,
    images: str | Path,
    *,
    flip: bool = True,
    batch_size: int = 64,
) -> list[dict]:
    """Predict each person of a COCO annotation file inside the annotated box.

    A detector's boxes would be a little off and miss some people: AP with annotated boxes is higher
    than with detected ones, so state the boxes next to the number.

    Args:
        model: the model.
        annotations: person keypoint annotations, COCO JSON; crowds are not predicted.
        images: folder that the annotations' file names start from.
        flip: flip test, see `Predictor.predict_crops`.
        batch_size: people per batch.

    Returns:
        COCO results: {image_id, category_id, keypoints [x, y, score] per joint in image pixels, in
        the order of the annotations' category; score: the mean over the joints}, in the order of
        the annotations.

    Raises:
        DataError: when the file is not COCO's, or an image is missing, cannot be read, or has
            another size than the annotations say.

    Source:
        cocodataset.org, "Results format".
    """
    _, people = metrics.coco.checked_annotations(annotations, notes=[])
    people = [(person, bbox) for person, bbox in people if not person.crowd]
    squares = _annotated_squares(people, ImageFinder(Path(images)))
    results = []
    for start in range(0, len(people), batch_size):
        chunk = people[start : start + batch_size]
        poses = model.predict_squares(islice(squares, len(chunk)), flip)
        for (person, _), pose in zip(chunk, poses, strict=True):
            joints = np.column_stack([pose.keypoints, pose.score]).astype(np.float64)
            joints = person.category.from_coco17(np.round(joints, 3))
            results.append(
                {
                    "image_id": person.image.id,
                    "category_id": 1 if person.category.id is None else person.category.id,
                    "keypoints": joints.ravel().tolist(),
                    "score": round(float(pose.score.mean()), 5),
                }
            )
    return results
