"""Joint angles, and repetitions of an exercise counted with hysteresis (chapter 15)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from posekit.inference.predictor import DRAW_THRESHOLD
from posekit.skeleton import COCO17

__all__ = ["EXERCISES", "Exercise", "RepCount", "angle", "count", "exercise_angle"]


class Exercise(NamedTuple):
    """An exercise, described by the angle at a joint.

    Args:
        corners: three joint names each. The angle is measured at the middle joint and averaged
            over the corners whose joints are visible.
        rest_angle: degrees at which a repetition may begin.
        target_angle: degrees at which it is complete; above `rest_angle` if the angle opens
            (arms), below if it closes (knees).
    """

    corners: tuple[tuple[str, str, str], ...]
    rest_angle: float
    target_angle: float


EXERCISES = {
    "arm raises": Exercise(
        (
            ("left_hip", "left_shoulder", "left_elbow"),
            ("right_hip", "right_shoulder", "right_elbow"),
        ),
        45.0,
        110.0,
    ),
    "squats": Exercise(
        (("left_hip", "left_knee", "left_ankle"), ("right_hip", "right_knee", "right_ankle")),
        158.0,
        138.0,
    ),
}
"""The exercises that the page can count, by name."""


@dataclass(frozen=True)
class RepCount:
    """State of the counter.

    Args:
        done: complete repetitions.
        ready: the rest angle was reached since the last repetition.
    """

    done: int = 0
    ready: bool = False


def angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """Return the angle at `b` between `a` and `c`, 0 ... 180 degrees; points of shape (2,)."""
    to_a = np.asarray(a, np.float64) - b
    to_c = np.asarray(c, np.float64) - b
    cross = to_a[0] * to_c[1] - to_a[1] * to_c[0]
    return float(np.rad2deg(np.abs(np.arctan2(cross, to_a @ to_c))))


def exercise_angle(
    keypoints: np.ndarray,
    score: np.ndarray,
    exercise: Exercise,
    threshold: float = DRAW_THRESHOLD,
) -> float | None:
    """Return the angle of an exercise in a pose.

    Args:
        keypoints: (17, 2) pixels.
        score: (17,) 0 ... 1.
        exercise: one of `EXERCISES`.
        threshold: score that all three joints of a corner must reach.

    Returns:
        Degrees, the mean over the corners that are visible; None if none is.
    """
    corners = [[COCO17.index(joint) for joint in corner] for corner in exercise.corners]
    angles = [
        angle(*keypoints[corner])
        for corner in corners
        if np.min(np.asarray(score)[corner]) >= threshold
    ]
    return float(np.mean(angles)) if angles else None


def count(before: RepCount, degrees: float | None, exercise: Exercise) -> RepCount:
    """Return the counter after one more angle.

    Between `rest_angle` and `target_angle` nothing changes, so jitter at either is not counted
    twice.

    Args:
        before: the counter so far.
        degrees: from `exercise_angle`; None changes nothing.
        exercise: the same as for `exercise_angle`.
    """
    if degrees is None:
        return before
    sign = 1 if exercise.target_angle > exercise.rest_angle else -1
    if sign * (degrees - exercise.rest_angle) <= 0:
        return RepCount(before.done, True)
    if before.ready and sign * (degrees - exercise.target_angle) >= 0:
        return RepCount(before.done + 1, False)
    return before
