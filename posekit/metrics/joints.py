"""Scores of joints and limbs: PCP, PDJ, PCK, PCKh, pixels, and the detector of the mean-pose collapse (chapter 07)."""

import numpy as np

from posekit.skeleton import COCO17

LIMBS = {
    "upper_arm": (("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")),
    "lower_arm": (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist")),
    "upper_leg": (("left_hip", "left_knee"), ("right_hip", "right_knee")),
    "lower_leg": (("left_knee", "left_ankle"), ("right_knee", "right_ankle")),
}
"""The limbs of DeepPose's tables; left and right are pooled."""

_ENDS = [(COCO17.index(a), COCO17.index(b)) for sides in LIMBS.values() for a, b in sides]


def _share(hits: np.ndarray, counted: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Share of the counted that are hits; NaN where nothing is counted."""
    with np.errstate(invalid="ignore"):
        return np.divide((hits & counted).sum(axis), counted.sum(axis), dtype=np.float64)


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(
        invalid="ignore", over="ignore"
    ):  # an unlabelled joint may hold anything, infinity too
        return np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64), axis=-1)


def pcp_hits(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.5,
    relaxed: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Which limbs PCP counts as found, person by person: what `pcp` averages and a bootstrap resamples.

    Args:
        pred, true, labelled, threshold, relaxed: see `pcp`.

    Returns:
        `found` (N, 8) bool and `counted` (N, 8) bool, whether both ends of the limb are labelled. Columns in the order of
        `LIMBS`, left before right.
    """
    labelled, error = np.asarray(labelled, bool), _distance(pred, true)
    a, b = np.array(_ENDS).T
    reach = threshold * _distance(np.asarray(true)[:, a], np.asarray(true)[:, b])
    with np.errstate(invalid="ignore"):
        found = (
            (error[:, a] + error[:, b]) / 2 <= reach
            if relaxed
            else np.maximum(error[:, a], error[:, b]) <= reach
        )
    return found, labelled[:, a] & labelled[:, b]


def pcp(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.5,
    relaxed: bool = False,
) -> dict[str, float]:
    """Strict PCP: the share of limbs found. A limb counts when *both* ends lie within `threshold` of its true length.

    Args:
        pred: (N, 17, 2) predicted joints.
        true: (N, 17, 2) true joints, in the same pixels.
        labelled: (N, 17) bool; a limb is scored where both its ends are labelled.
        threshold: share of the limb's true length.
        relaxed: count a limb when the *mean* of its two ends' errors is within the threshold, as some published tables do:
            higher, and not comparable. Off everywhere in this book but where the two are compared.

    Returns:
        `upper_arm`, `lower_arm`, `upper_leg`, `lower_leg` and `mean`, the mean of those four (those that exist); shares
        0 ... 1, NaN where no limb is labelled.

    Source:
        Ferrari et al., CVPR 2008; strict reading (both ends, not their mean) as in DeepPose, CVPR 2014, section 4.1; on the two
        readings: Pishchulin et al., CVPR 2012.
    """
    found, counted = pcp_hits(pred, true, labelled, threshold, relaxed)
    pairs = {name: slice(2 * i, 2 * i + 2) for i, name in enumerate(LIMBS)}
    result = {name: float(_share(found[:, at], counted[:, at])) for name, at in pairs.items()}
    scored = [v for v in result.values() if not np.isnan(v)]
    return {**result, "mean": float(np.mean(scored)) if scored else float("nan")}


def torso_length(true: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Distance left shoulder to right hip, (N,) pixels; NaN for people without both labelled."""
    a, b = COCO17.index("left_shoulder"), COCO17.index("right_hip")
    labelled = np.asarray(labelled, bool)
    length = _distance(np.asarray(true)[:, a], np.asarray(true)[:, b])
    with np.errstate(invalid="ignore"):
        return np.where(labelled[:, a] & labelled[:, b] & (length > 0), length, np.nan)


def pck_hits(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.2,
    length: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Which joints PCK counts as found, person by person: what `pck` averages and a bootstrap resamples.

    Args:
        pred, true, labelled, threshold, length: see `pck`.

    Returns:
        `found` (N, K) bool and `counted` (N, K) bool: labelled, of a person with a length.
    """
    length = torso_length(true, labelled) if length is None else np.asarray(length, np.float64)
    with np.errstate(invalid="ignore"):
        found = _distance(pred, true) <= threshold * length[:, None]
        return found, np.asarray(labelled, bool) & (length > 0)[:, None]


def pck(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    threshold: float = 0.2,
    length: np.ndarray | None = None,
) -> dict:
    """PCK: the share of joints within `threshold` times a length of the person, by default the torso's.

    Args:
        pred: (N, K, 2).
        true: (N, K, 2), in the same pixels.
        labelled: (N, K) bool; only labelled joints are scored.
        threshold: share of the length.
        length: (N,) what is normalised by, in the same pixels; NaN for people to be left out. None: `torso_length`, which
            wants the COCO-17 skeleton.

    Returns:
        `value`: share over all scored joints; `per_joint`: (K,) shares, NaN where a joint is never labelled;
        `people`: people scored; `filtered`: people without a length (without a labelled torso).

    Source:
        Yang & Ramanan, TPAMI 2013; torso as in MODEC and FLIC (Sapp & Taskar, CVPR 2013).
    """
    length = torso_length(true, labelled) if length is None else np.asarray(length, np.float64)
    found, counted = pck_hits(pred, true, labelled, threshold, length)
    with np.errstate(invalid="ignore"):
        people = int((length > 0).sum())
    return {
        "value": float(_share(found, counted)),
        "per_joint": _share(found, counted, axis=0),
        "people": people,
        "filtered": len(length) - people,
    }


def pckh(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    head: np.ndarray,
    threshold: float = 0.5,
) -> dict:
    """PCKh: PCK normalised by the size of the head.

    Args:
        pred, true, labelled: see `pck`.
        head: (N,) head size in pixels, NaN where it is not known. On MPII 0.6 times the diagonal of the annotated head box.
            The COCO-17 skeleton has no head size: of LSP take neck to head top, and say so beside the figure.
        threshold: share of the head size.

    Returns:
        As `pck`.

    Source:
        Andriluka et al., CVPR 2014, section 4.
    """
    return pck(pred, true, labelled, threshold, head)


def pdj(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    thresholds: np.ndarray | None = None,
    length: np.ndarray | None = None,
) -> dict:
    """PDJ: the whole curve of detected joints over the threshold, and the area under it.

    Args:
        pred, true, labelled, length: see `pck`.
        thresholds: (T,) ascending shares of the length; None for 0, 0.01, ... 0.5, DeepPose's range.

    Returns:
        `thresholds` (T,); `value` (T,); `per_joint` (T, K); `auc` and `auc_per_joint` (K,): area under the curve over the
        range of the thresholds, so that 1 is perfect, NaN where that is a single one; `people`, `filtered`.

    Source:
        Sapp & Taskar, CVPR 2013 (MODEC); DeepPose, CVPR 2014, section 4.1: normalised by the diameter of the torso.
    """
    thresholds = (
        np.linspace(0, 0.5, 51) if thresholds is None else np.asarray(thresholds, np.float64)
    )
    scores = [pck(pred, true, labelled, t, length) for t in thresholds]
    value, per_joint = (
        np.array([s["value"] for s in scores]),
        np.array([s["per_joint"] for s in scores]),
    )
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


def mean_pixel_error(pred: np.ndarray, true: np.ndarray, labelled: np.ndarray) -> dict:
    """Mean distance of prediction and truth, in whatever pixels they are given in: say which.

    Args:
        pred, true, labelled: see `pck`.

    Returns:
        `value`: mean over all labelled joints; `per_joint`: (K,); NaN where nothing is labelled. A person who fills the photo
        weighs more than one in the distance: that is why every other score is divided by a length.
    """
    labelled = np.asarray(labelled, bool)
    error = np.where(labelled, _distance(pred, true), 0)
    with np.errstate(invalid="ignore"):
        return {
            "value": float(np.divide(error.sum(), labelled.sum())),
            "per_joint": np.divide(error.sum(0), labelled.sum(0)),
        }


def collapse_ratio(pred: np.ndarray, true: np.ndarray, labelled: np.ndarray) -> float:
    """How much of the poses' variety the model reproduces: the mean-pose collapse shows as a value near 0.

    Mean over joints of var(prediction) / var(truth), each the variance of a point in the plane (that of x plus that of y)
    over the people in whom the joint is labelled. Take it in *normalised crop coordinates*: in photo pixels even a
    constant predictor varies, because people stand in different places.

    Args:
        pred: (N, 17, 2) normalised crop coordinates.
        true: (N, 17, 2).
        labelled: (N, 17) bool.

    Returns:
        The ratio; 1 means as varied as the truth. NaN when no joint is labelled in at least two people.
    """
    pred, true, labelled = (
        np.asarray(pred, np.float64),
        np.asarray(true, np.float64),
        np.asarray(labelled, bool),
    )
    ratios = []
    for k in range(labelled.shape[1]):
        on = labelled[:, k]
        variance = true[on, k].var(axis=0) if on.sum() > 1 else np.zeros(2)
        if variance.sum() > 0:
            ratios.append(pred[on, k].var(axis=0).sum() / variance.sum())
    return float(np.mean(ratios)) if ratios else float("nan")
