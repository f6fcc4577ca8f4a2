"""Measures of a person's size in pixels, each named by its definition.

Metrics, cascade, tracker and label cleaning need different ones: a metric must not depend on the
prediction, a crop needs a size for every pose, and the unit of label cleaning must not change when
left and right are swapped.

| function | definition | used by |
|---|---|---|
| `torso_length` | left shoulder to right hip | PCK, PDJ (chapter 09) |
| `torso_diameter` | mean of both torso diagonals | cascade (chapter 13) |
| `longest_torso_diagonal` | the longer labelled torso diagonal | label cleaning (model card) |
| `estimated_torso_length` | the largest of several estimates | tracker (chapter 15) |
"""

import numpy as np

from posekit.skeleton import COCO17

__all__ = [
    "TORSO_DIAGONALS",
    "TORSO_ESTIMATES",
    "estimated_torso_length",
    "longest_torso_diagonal",
    "torso_diameter",
    "torso_length",
]

TORSO_DIAGONALS = tuple(
    (COCO17.index(shoulder), COCO17.index(hip))
    for shoulder, hip in (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
)
"""Index pairs (shoulder, opposite hip)."""

TORSO_ESTIMATES = tuple(
    (COCO17.index(a), COCO17.index(b), factor)
    for a, b, factor in (
        ("left_shoulder", "right_hip", 1.0),
        ("right_shoulder", "left_hip", 1.0),
        ("left_shoulder", "right_shoulder", 1.4),
        ("left_ear", "right_ear", 3.2),
    )
)
"""Joint pairs, and the factor from their distance to the torso length of an upright body."""


def torso_length(target: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Distance from left shoulder to right hip, the unit of PCK and PDJ.

    Args:
        target: (N, 17, 2) annotated joints, pixels.
        labelled: (N, 17) bool.

    Returns:
        (N,) float64 pixels; NaN unless both joints are labelled and apart.

    Source:
        Sapp & Taskar, "MODEC", CVPR 2013.
    """
    shoulder, hip = TORSO_DIAGONALS[0]
    labelled = np.asarray(labelled, bool)
    target = np.asarray(target, np.float64)
    # An unlabelled joint may hold anything, infinity too.
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(target[:, shoulder] - target[:, hip], axis=-1)
        known = labelled[:, shoulder] & labelled[:, hip] & (length > 0)
    return np.where(known, length, np.nan)


def torso_diameter(pose: np.ndarray) -> np.ndarray:
    """Mean of both distances from a shoulder to the opposite hip, the unit of the cascade.

    Args:
        pose: (..., 17, 2) pixels.

    Returns:
        (...) pixels.

    Source:
        Toshev & Szegedy, "DeepPose", CVPR 2014, section 3.2: the distance between opposing
        shoulder and hip.
    """
    first, second = (
        np.linalg.norm(pose[..., shoulder, :] - pose[..., hip, :], axis=-1)
        for shoulder, hip in TORSO_DIAGONALS
    )
    return (first + second) / 2


def longest_torso_diagonal(target: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """The longer of the labelled torso diagonals: swapping left and right arms changes it little.

    Args:
        target: (N, 17, 2) annotated joints, pixels.
        labelled: (N, 17) bool.

    Returns:
        (N,) pixels; 0 if no diagonal is labelled.
    """
    lengths = []
    for shoulder, hip in TORSO_DIAGONALS:
        both = labelled[:, shoulder] & labelled[:, hip]
        distance = np.linalg.norm(target[:, shoulder] - target[:, hip], axis=-1)
        lengths.append(np.where(both, distance, 0))
    return np.max(lengths, axis=0)


def estimated_torso_length(keypoints: np.ndarray, counted: np.ndarray) -> float:
    """Estimate the distance from a shoulder to the opposite hip from the joints that count.

    It is the longest of several estimates, so it does not shrink when a body turns sideways or when
    only the head is visible. `live/web/tracker.js` computes the same.

    Args:
        keypoints: (17, 2) pixels.
        counted: (17,) bool, joints that count.

    Returns:
        Pixels, at least 1. Without any of the `TORSO_ESTIMATES`, the longer side of the box
        around the joints.
    """
    lengths = [
        factor * np.linalg.norm(keypoints[a] - keypoints[b])
        for a, b, factor in TORSO_ESTIMATES
        if counted[a] and counted[b]
    ]
    if not lengths:
        lengths = [np.ptp(keypoints[counted], axis=0).max(initial=0)]
    return max(1.0, float(max(lengths)))
