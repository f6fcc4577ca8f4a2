"""How good is a pose? PCP, PCK, visibility and the collapse detector, in plain numpy (chapter 07).

Every function takes predictions and truth of N people as arrays and changes neither. Where nothing can be scored the
result is NaN, never 0 and never a warning.
"""

import numpy as np

from posekit.skeleton import COCO17

LIMBS = {
    "upper_arm": (("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")),
    "lower_arm": (("left_elbow", "left_wrist"), ("right_elbow", "right_wrist")),
    "upper_leg": (("left_hip", "left_knee"), ("right_hip", "right_knee")),
    "lower_leg": (("left_knee", "left_ankle"), ("right_knee", "right_ankle")),
}
"""The limbs of DeepPose's tables; left and right are pooled."""


def _mean(hits: np.ndarray) -> float:
    return float(hits.mean()) if hits.size else float("nan")


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):  # an unlabelled joint may hold anything, infinity too
        return np.linalg.norm(np.asarray(a, np.float64) - np.asarray(b, np.float64), axis=-1)


def pcp(pred: np.ndarray, true: np.ndarray, labelled: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Strict PCP: the share of limbs found. A limb counts when *both* ends lie within `threshold` of its true length.

    Args:
        pred: (N, 17, 2) predicted joints.
        true: (N, 17, 2) true joints, in the same pixels.
        labelled: (N, 17) bool; a limb is scored where both its ends are labelled.
        threshold: share of the limb's true length.

    Returns:
        `upper_arm`, `lower_arm`, `upper_leg`, `lower_leg` and `mean`, the mean of those four (those that exist); shares
        0 ... 1, NaN where no limb is labelled.

    Source:
        Ferrari et al., CVPR 2008; strict reading (both ends, not their mean) as in DeepPose, CVPR 2014, section 4.1.
    """
    labelled, error = np.asarray(labelled, bool), _distance(pred, true)
    result = {}
    for name, sides in LIMBS.items():
        hits = []
        for a, b in ((COCO17.index(a), COCO17.index(b)) for a, b in sides):
            both = labelled[:, a] & labelled[:, b]
            reach = threshold * _distance(np.asarray(true)[both, a], np.asarray(true)[both, b])
            hits.append((error[both, a] <= reach) & (error[both, b] <= reach))
        result[name] = _mean(np.concatenate(hits))
    found = [v for v in result.values() if not np.isnan(v)]
    return {**result, "mean": float(np.mean(found)) if found else float("nan")}


def torso_length(true: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Distance left shoulder to right hip, (N,) pixels; NaN for people without both labelled."""
    a, b = COCO17.index("left_shoulder"), COCO17.index("right_hip")
    labelled = np.asarray(labelled, bool)
    length = _distance(np.asarray(true)[:, a], np.asarray(true)[:, b])
    return np.where(labelled[:, a] & labelled[:, b] & (length > 0), length, np.nan)


def pck(pred: np.ndarray, true: np.ndarray, labelled: np.ndarray, threshold: float = 0.2) -> dict:
    """PCK normalised by the torso: the share of joints within `threshold` times the torso's length.

    Args:
        pred: (N, 17, 2).
        true: (N, 17, 2), in the same pixels.
        labelled: (N, 17) bool; only labelled joints are scored.
        threshold: share of the torso's length (left shoulder to right hip).

    Returns:
        `value`: share over all scored joints; `per_joint`: (17,) shares, NaN where a joint is never labelled;
        `people`: people scored; `left_out`: people without a labelled torso.

    Source:
        Yang & Ramanan, TPAMI 2013; torso as in MODEC and FLIC (Sapp & Taskar, CVPR 2013).
    """
    labelled, torso = np.asarray(labelled, bool), torso_length(true, labelled)
    scored = ~np.isnan(torso)
    hit = _distance(pred, true)[scored] <= threshold * torso[scored, None]
    counts = labelled[scored]
    per_joint = np.array([_mean(hit[counts[:, k], k]) for k in range(hit.shape[1])])
    return {
        "value": _mean(hit[counts]),
        "per_joint": per_joint,
        "people": int(scored.sum()),
        "left_out": int((~scored).sum()),
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
    pred, true, labelled = np.asarray(pred, np.float64), np.asarray(true, np.float64), np.asarray(labelled, bool)
    ratios = []
    for k in range(labelled.shape[1]):
        on = labelled[:, k]
        variance = true[on, k].var(axis=0) if on.sum() > 1 else np.zeros(2)
        if variance.sum() > 0:
            ratios.append(pred[on, k].var(axis=0).sum() / variance.sum())
    return float(np.mean(ratios)) if ratios else float("nan")


def visibility_accuracy(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Share of joints whose side of 0.5 is right ("inside the crop or not"), over those whose truth is known.

    Args:
        probability: (N, 17) in 0 ... 1.
        target: (N, 17) 1 = inside the crop.
        weight: (N, 17) > 0 where the truth is known.

    Returns:
        0 ... 1, NaN when nothing is known. Beware: most joints are inside, so always answering "inside" scores high.
    """
    known = np.asarray(weight) > 0
    return _mean((np.asarray(probability)[known] > 0.5) == (np.asarray(target)[known] > 0.5))
