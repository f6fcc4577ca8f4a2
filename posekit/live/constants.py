"""Constants of the page and of the widget, as one JSON file that Python writes.

    python -m posekit.live.constants          # writes posekit/live/web/core/constants.json

Limbs, colours, thresholds, the tracker's settings and the exercises are defined in Python. A test
fails while the file differs from `page_constants`.
"""

import json
from dataclasses import asdict
from pathlib import Path

from posekit import viz
from posekit.body_size import TORSO_ESTIMATES
from posekit.geometry import PADDING
from posekit.inference import body_square
from posekit.inference.predictor import DRAW_THRESHOLD
from posekit.live import repetitions, tracking
from posekit.skeleton import COCO17

__all__ = ["PATH", "page_constants", "to_json"]

PATH = Path(__file__).parent / "web" / "core" / "constants.json"
"""The file that page and widget read."""

_TRACKER_CONSTANTS = (
    "PERSON_SCORE_JOINTS",
    "VELOCITY_TIME_S",
    "SHRINK_TIME_S",
    "MAX_EXTRAPOLATION_S",
    "SEARCH_CROP_SHARE",
)
_SQUARE_CONSTANTS = ("MIN_CROP_SHARE", "BODY_MARGIN", "UNSEEN_LEGS_MARGIN", "ANKLES")


def page_constants() -> dict:
    """Return the constants of the JavaScript side; keys are the Python names in camel case.

    Returns:
        `drawThreshold`; `limbs`, [joint, joint, colour] each; `jointColours`; `tracker`, its
        settings and constants; `exercises` by name, with joint indices as corners.
    """
    tracker = {name: getattr(tracking, name) for name in _TRACKER_CONSTANTS}
    tracker |= {name: getattr(body_square, name) for name in _SQUARE_CONSTANTS}
    tracker["TORSO_ESTIMATES"] = TORSO_ESTIMATES
    tracker |= asdict(tracking.Settings())
    tracker["padding"] = PADDING
    exercises = {}
    for name, exercise in repetitions.EXERCISES.items():
        corners = [[COCO17.index(joint) for joint in corner] for corner in exercise.corners]
        exercises[name] = _camel_case(exercise._asdict() | {"corners": corners})
    limbs = zip(COCO17.limb_indices, viz.limb_colours(COCO17), strict=True)
    return {
        "drawThreshold": DRAW_THRESHOLD,
        "limbs": [[a, b, colour] for (a, b), colour in limbs],
        "jointColours": viz.joint_colours(COCO17),
        "tracker": _camel_case(tracker),
        "exercises": exercises,
    }


def _camel_case(values: dict) -> dict:
    """Turn the keys of a dictionary, and of those in it, into JavaScript's camel case."""
    out = {}
    for key, value in values.items():
        first, *rest = key.lower().split("_")
        name = first + "".join(word.capitalize() for word in rest)
        out[name] = _camel_case(value) if isinstance(value, dict) else value
    return out


def to_json(constants: dict) -> str:
    """Return the text of the file: one line per key."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in constants.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(to_json(page_constants()), encoding="utf-8")
    print(f"wrote {PATH}")
