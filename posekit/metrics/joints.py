"""Metrics of joints and limbs: PCP, PDJ, PCK, PCKh (chapter 09) and collapse ratio (chapter 10)."""

import numpy as np

from posekit.body_size import torso_length
from posekit.skeleton import COCO17

__all__ = [
    "LIMBS",
    "collapse_ratio",
    "mean_pixel_error",
    "pck",
    "pck_hits",
    "pckh",
    "pcp",
    "pcp_hits",
    "pdj",
]

LIMBS = {
    "upper_arm": (("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")),
    "lower_arm": (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist")),
    "upper_leg": (("left_hip", "left_knee"), ("right_hip", "right_knee")),
    "lower_leg": (("left_knee", "left_ankle"), ("right_knee", "right_ankle")),
}
"""The limbs of DeepPose's tables; left and right are pooled."""

_ENDS = [(COCO17.index(a), COCO17.index(b)) for sides in LIMBS.values() for a, b in sides]


def _share(hits: np.ndarray, scored: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Fraction of the scored entries that are hits; NaN if there is none."""
    with np.errstate(invalid="ignore"):
        return np.divide((hits & scored).sum(axis), scored.sum(axis), dtype=np.float64)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distance over the last axis, in float64."""
    # An unlabelled joint may hold anything, infinity too.
    with np.errstate(invalid="ignore", over="ignore"):
        return np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64), axis=-1)


def pcp_hits(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.5,
    relaxed: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Hits of PCP per person and limb, which `pcp` averages and a bootstrap resamples.

    Args:
        pred, target, labelled, threshold, relaxed: see `pcp`.

    Returns:
        `hits` (N, 8) bool and `scored` (N, 8) bool, whether both ends of the limb are labelled.
        Columns in the order of `LIMBS`, left before right.
    """
    labelled = np.asarray(labelled, bool)
    error = _distance(pred, target)
    a, b = np.array(_ENDS).T
    reach = threshold * _distance(np.asarray(target)[:, a], np.asarray(target)[:, b])
    with np.errstate(invalid="ignore"):
        if relaxed:
            hits = (error[:, a] + error[:, b]) / 2 <= reach
        else:
            hits = np.maximum(error[:, a], error[:, b]) <= reach
    return hits, labelled[:, a] & labelled[:, b]


def pcp(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.5,
    relaxed: bool = False,
) -> dict[str, float]:
    """Strict PCP, the percentage of correct parts.

    A limb is correct when *both* ends lie within `threshold` of its annotated length.

    Args:
        pred: (N, 17, 2) predicted joints.
        target: (N, 17, 2) annotated joints, in the same pixels.
        labelled: (N, 17) bool; a limb is scored where both its ends are labelled.
        threshold: fraction of the limb's annotated length.
        relaxed: a limb is correct when the *mean* of its two ends' errors is within the threshold,
            as in some published tables: higher, and not comparable. Off everywhere in this book,
            except where the two are compared.

    Returns:
        `upper_arm`, `lower_arm`, `upper_leg`, `lower_leg` and `mean`, the mean of those four (those
        that exist); shares 0 ... 1, NaN where no limb is labelled.

    Source:
        Ferrari et al., CVPR 2008; strict reading (both ends, not their mean) as in DeepPose, CVPR
        2014, section 4.1; on the two readings: Pishchulin et al., CVPR 2012.
    """
    hits, scored = pcp_hits(pred, target, labelled, threshold, relaxed)
    pairs = {name: slice(2 * i, 2 * i + 2) for i, name in enumerate(LIMBS)}
    result = {name: float(_share(hits[:, at], scored[:, at])) for name, at in pairs.items()}
    known = [v for v in result.values() if not np.isnan(v)]
    return {**result, "mean": float(np.mean(known)) if known else float("nan")}


def pck_hits(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.2,
    length: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Hits of PCK per person and joint, which `pck` averages and a bootstrap resamples.

    Args:
        pred, target, labelled, threshold, length: see `pck`.

    Returns:
        `hits` (N, K) bool and `scored` (N, K) bool: labelled, of a person with a length.
    """
    length = torso_length(target, labelled) if length is None else np.asarray(length, np.float64)
    with np.errstate(invalid="ignore"):
        hits = _distance(pred, target) <= threshold * length[:, None]
        return hits, np.asarray(labelled, bool) & (length > 0)[:, None]


def pck(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.2,
    length: np.ndarray | None = None,
) -> dict:
    """PCK, the percentage of correct keypoints: within `threshold` times a length of the person.

    Args:
        pred: (N, K, 2) predicted joints.
        target: (N, K, 2) annotated joints, in the same pixels.
        labelled: (N, K) bool; only labelled joints are scored.
        threshold: fraction of the length.
        length: (N,) unit of the error, in the same pixels; NaN for people to leave out. None:
            `torso_length`, which needs the COCO-17 skeleton.

    Returns:
        `value`: share over all scored joints; `per_joint`: (K,) shares, NaN where a joint is never
        labelled; `people`: people scored; `filtered`: people without a length (without a labelled
        torso).

    Source:
        Yang & Ramanan, TPAMI 2013; torso as in MODEC and FLIC (Sapp & Taskar, CVPR 2013).
    """
    length = torso_length(target, labelled) if length is None else np.asarray(length, np.float64)
    hits, scored = pck_hits(pred, target, labelled, threshold, length)
    with np.errstate(invalid="ignore"):
        people = int((length > 0).sum())
    return {
        "value": float(_share(hits, scored)),
        "per_joint": _share(hits, scored, axis=0),
        "people": people,
        "filtered": len(length) - people,
    }


def pckh(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    head: np.ndarray,
    threshold: float = 0.5,
) -> dict:
    """PCKh: PCK normalised by the size of the head.

    Args:
        pred, target, labelled: see `pck`.
        head: (N,) head size in pixels, NaN where it is not known. On MPII 0.6 times the diagonal of
            the annotated head box. The COCO-17 skeleton has no head size: on LSP take the distance
            from neck to head top, and state it next to the number.
        threshold: fraction of the head size.

    Returns:
        As `pck`.

    Source:
        Andriluka et al., CVPR 2014, section 4.
    """
    return pck(pred, target, labelled, threshold, head)


def pdj(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    thresholds: np.ndarray | None = None,
    length: np.ndarray | None = None,
) -> dict:
    """PDJ, the percentage of detected joints, as a curve over the threshold, and its area.

    Args:
        pred, target, labelled, length: see `pck`.
        thresholds: (T,) ascending fractions of the length; None for 0, 0.01, ... 0.5, DeepPose's
            range.

    Returns:
        `thresholds` (T,); `value` (T,); `per_joint` (T, K); `auc` and `auc_per_joint` (K,): area
        under the curve over the range of the thresholds, so that 1 is perfect, NaN for a single
        threshold; `people`, `filtered`.

    Source:
        Sapp & Taskar, CVPR 2013 (MODEC); DeepPose, CVPR 2014, section 4.1: normalised by the
        diameter of the torso.
    """
    if thresholds is None:
        thresholds = np.linspace(0, 0.5, 51)
    else:
        thresholds = np.asarray(thresholds, np.float64)
    scores = [pck(pred, target, labelled, t, length) for t in thresholds]
    value = np.array([s["value"] for s in scores])
    per_joint = np.array([s["per_joint"] for s in scores])
    span = thresholds[-1] - thresholds[0] or np.nan
    return {
        "thresholds": thresholds,
        "value": value,
        "per_joint": per_joint,
        "auc": float(np.trapezoid(value, thresholds) / span),
        "auc_per_joint": np.trapezoid(per_joint, thresholds, axis=0) / span,
        "people": scores[0]["people"],
        "filtered": scores[0]["filtered"],
    }


def mean_pixel_error(pred: np.ndarray, target: np.ndarray, labelled: np.ndarray) -> dict:
    """Mean distance of predicted and annotated joints, in the pixels of the arguments.

    Args:
        pred, target, labelled: see `pck`.

    Returns:
        `value`: mean over all labelled joints; `per_joint`: (K,); NaN where nothing is labelled. A
        person who fills the image weighs more than one far away: that is why every other metric is
        divided by a length.
    """
    labelled = np.asarray(labelled, bool)
    error = np.where(labelled, _distance(pred, target), 0)
    with np.errstate(invalid="ignore"):
        return {
            "value": float(np.divide(error.sum(), labelled.sum())),
            "per_joint": np.divide(error.sum(0), labelled.sum(0)),
        }


def collapse_ratio(pred: np.ndarray, target: np.ndarray, labelled: np.ndarray) -> float:
    """Variance of the predicted poses relative to the annotated ones; near 0 after a collapse.

    Mean over joints of var(prediction) / var(target), each the variance of a point in the plane
    (that of x plus that of y) over the people in whom the joint is labelled. Take it in *normalised
    crop coordinates*: in image pixels even a constant predictor varies, because people stand in
    different places.

    Args:
        pred: (N, 17, 2) normalised crop coordinates.
        target: (N, 17, 2) normalised crop coordinates.
        labelled: (N, 17) bool.

    Returns:
        The ratio; 1 means as varied as the annotations. NaN when no joint is labelled in at least
        two people.
    """
    pred = np.asarray(pred, np.float64)
    target = np.asarray(target, np.float64)
    labelled = np.asarray(labelled, bool)
    ratios = []
    for k in range(labelled.shape[1]):
        on = labelled[:, k]
        variance = target[on, k].var(axis=0) if on.sum() > 1 else np.zeros(2)
        if variance.sum() > 0:
            ratios.append(pred[on, k].var(axis=0).sum() / variance.sum())
    return float(np.mean(ratios)) if ratios else float("nan")
