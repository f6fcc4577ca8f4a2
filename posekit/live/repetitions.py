"""Angles from joints, and exercises counted with hysteresis: a game on top of the tracker (chapter 12)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from posekit.skeleton import COCO17


class Exercise(NamedTuple):
    """What to count.

    Args:
        corners: three joints each; the angle is measured at the middle one, and averaged over the corners that are seen.
        start: degrees at which a repetition may begin.
        goal: degrees at which it is done; above `start` where the angle opens (arms), below where it closes (knees).
    """

    corners: tuple[tuple[str, str, str], ...]
    start: float
    goal: float


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


@dataclass(frozen=True)
class Count:
    """How far somebody is.

    Args:
        done: whole repetitions.
        ready: back at the start, so that the goal counts again.
    """

    done: int = 0
    ready: bool = False


def angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """The angle at `b` between the ways to `a` and to `c`, 0 ... 180 degrees; (2,) each."""
    to_a, to_c = np.asarray(a, np.float64) - b, np.asarray(c, np.float64) - b
    cross = to_a[0] * to_c[1] - to_a[1] * to_c[0]
    return float(np.rad2deg(np.abs(np.arctan2(cross, to_a @ to_c))))


def measure(
    keypoints: np.ndarray, score: np.ndarray, exercise: Exercise, least: float = 0.3
) -> float | None:
    """The exercise's angle in a pose.

    Args:
        keypoints: (17, 2) pixels.
        score: (17,) 0 ... 1.
        exercise: one of `EXERCISES`.
        least: score that all three joints of a corner must have.

    Returns:
        Degrees, the mean of the corners that are seen; None where none is.
    """
    corners = [[COCO17.index(joint) for joint in corner] for corner in exercise.corners]
    seen = [
        angle(*keypoints[corner])
        for corner in corners
        if np.min(np.asarray(score)[corner]) >= least
    ]
    return float(np.mean(seen)) if seen else None


def count(before: Count, degrees: float | None, exercise: Exercise) -> Count:
    """Take in one angle; between `start` and `goal` nothing changes, so jitter at either cannot count twice."""
    if degrees is None:
        return before
    sign = 1 if exercise.goal > exercise.start else -1
    if sign * (degrees - exercise.start) <= 0:
        return Count(before.done, True)
    if before.ready and sign * (degrees - exercise.goal) >= 0:
        return Count(before.done + 1, False)
    return before
