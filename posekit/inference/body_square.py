"""The square around a predicted body, in which the network looks next (chapter 15)."""

from typing import NamedTuple

import numpy as np

from posekit.geometry import PADDING
from posekit.skeleton import COCO17

__all__ = ["CROP_JOINT_THRESHOLD", "Crop", "square_around"]

CROP_JOINT_THRESHOLD = 0.15
"""Score (0 ... 1) from which a joint counts for the square. It is lower than the drawing threshold:
a square taken without the uncertain arms shrinks to the face and never sees them again."""
MIN_CROP_SHARE = 1 / 8
"""Least side of a crop, as a fraction of the frame's longer side."""
BODY_MARGIN = 0.35
"""Margin for hair, hands and feet beyond the joints, in torso lengths."""
UNSEEN_LEGS_MARGIN = 0.8
"""Further margin at the bottom when no ankle counts, in torso lengths."""
ANKLES = (COCO17.index("left_ankle"), COCO17.index("right_ankle"))


class Crop(NamedTuple):
    """A square part of the frame.

    Args:
        center: (2,) x and y in pixels, pixel centres at integers.
        side: in pixels.
    """

    center: np.ndarray
    side: float


def square_around(
    keypoints: np.ndarray, counted: np.ndarray, torso_length: float, width: int, height: int
) -> Crop:
    """Return the square around a body, as training crops it: a padded box from hair to feet.

    Args:
        keypoints: (17, 2) frame pixels.
        counted: (17,) bool, joints that count, at least one. If no ankle counts, the box reaches
            further down, because the last crop may have cut the legs off.
        torso_length: in pixels.
        width, height: of the frame, pixels; the box is clipped to it before padding.
    """
    low = keypoints[counted].min(axis=0) - BODY_MARGIN * torso_length
    high = keypoints[counted].max(axis=0) + BODY_MARGIN * torso_length
    if not counted[list(ANKLES)].any():
        high[1] += UNSEEN_LEGS_MARGIN * torso_length
    edges = np.array([width, height]) - 0.5
    low = np.clip(low, -0.5, edges)
    high = np.clip(high, -0.5, edges)
    frame_side = max(width, height)
    side = max(PADDING * (high - low).max(), MIN_CROP_SHARE * frame_side)
    return Crop((low + high) / 2, float(min(side, PADDING * frame_side)))
