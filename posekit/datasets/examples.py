"""People that show what makes pose estimation hard (chapter 01)."""

from collections.abc import Sequence

import numpy as np

from posekit.datasets import PersonAnnotation
from posekit.skeleton import COCO17

__all__ = ["hard_examples"]

FACE = [COCO17.index(name) for name in ("nose", "left_eye", "right_eye")]
LEFT, RIGHT = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")


def hard_examples(people: Sequence[PersonAnnotation]) -> dict[str, PersonAnnotation]:
    """Pick, among the larger half of some people, the clearest example of four difficulties.

    Args:
        people: with boxes and areas.

    Returns:
        `"hidden"`, the person with the most occluded joints; `"cut off"`, the one with the most
        joints outside the image; `"overlapping"`, the one whose box other boxes cover most;
        `"from behind"`, the one with no visible face and the shoulders farthest apart, left on the
        left.
    """
    middle = np.median([p.area for p in people])
    large = [p for p in people if p.area > middle]
    return {
        "hidden": max(large, key=lambda p: np.sum(p.keypoints_visible == 1)),
        "cut off": max(large, key=lambda p: np.sum(p.keypoints_visible == 0)),
        "overlapping": max(large, key=lambda p: _covered(p, people)),
        "from behind": max(large, key=_turned_away),
    }


def _covered(person: PersonAnnotation, people: Sequence[PersonAnnotation]) -> float:
    """The largest fraction of a person's box that another person's box covers."""
    low, high = person.bbox[:2], person.bbox[:2] + person.bbox[2:]
    overlaps = [
        np.prod(np.clip(np.minimum(high, b[:2] + b[2:]) - np.maximum(low, b[:2]), 0, None))
        for other in people
        if other.image == person.image and other.person_id != person.person_id
        for b in [other.bbox]
    ]
    return max(overlaps, default=0) / np.prod(person.bbox[2:])


def _turned_away(person: PersonAnnotation) -> float:
    """Return by how many pixels the right shoulder is to the right of the left one; 0 if the face
    or a shoulder cannot be judged."""
    flags = person.keypoints_visible
    hidden_face, clear = np.all(flags[FACE] == 1), np.all(flags[[LEFT, RIGHT]] == 2)
    return (person.keypoints[RIGHT, 0] - person.keypoints[LEFT, 0]) * hidden_face * clear
