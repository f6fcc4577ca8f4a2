"""Map joint names as annotation tools and people write them to COCO-17 (chapter 02)."""

import re
import unicodedata

__all__ = ["joint_of"]

_SIDES = {
    "left": ("left", "l", "lft", "lt"),
    "right": ("right", "r", "rgt", "rt"),
}
_PARTS = {
    "eye": ("eye",),
    "ear": ("ear",),
    "shoulder": ("shoulder", "should", "shldr", "sho", "shd"),
    "elbow": ("elbow", "elb", "elbw"),
    "wrist": ("wrist", "wri", "wrs", "wst"),
    "hip": ("hip",),
    "knee": ("knee", "kne", "kn"),
    "ankle": ("ankle", "ank", "ancle", "ankl"),
}
_NOSE = ("nose", "nos", "nosetip", "tipofnose")

#: Words around a joint's name that say nothing: `kp_05_left_knee`, `Left Knee joint`.
_PREFIX = re.compile(r"^(?:person|human|body|keypoints?|kpt?s?|joints?|points?|pt|\d)+")
_SUFFIX = re.compile(r"(?:joints?|keypoints?|kpt?|points?|pt|center|centre)$")


def _spellings() -> dict[str, str]:
    """Every accepted spelling, in lower case without separators -> the joint of COCO-17."""
    found = dict.fromkeys(_NOSE, "nose")
    for side, sides in _SIDES.items():
        for part, parts in _PARTS.items():
            for a in sides:
                for b in parts:
                    found[a + b] = f"{side}_{part}"
                    found[b + a] = f"{side}_{part}"
    return found


_JOINTS = _spellings()


def joint_of(name: object) -> str | None:
    """Find the joint of COCO-17 that a name means.

    Case, separators and the order of side and part do not matter: `left_shoulder`, `Left Shoulder`,
    `left-shoulder`, `shoulder (left)`, `ShoulderLeft`, `LShoulder`, `lshoulder`, `l_sho`,
    `LEFT_SHOULDER` (MediaPipe), `RShoulder` (OpenPose), `leftShoulder` (tfjs-models).

    Args:
        name: as it stands in an annotation file.

    Returns:
        One of `COCO17.joints`, or None for any other joint (`neck`, `MidHip`, ...).
    """
    text = unicodedata.normalize("NFKC", str(name)).casefold()
    letters = re.sub(r"[\W_]+", "", text)
    for spelling in (letters, _PREFIX.sub("", letters), _SUFFIX.sub("", _PREFIX.sub("", letters))):
        if spelling in _JOINTS:
            return _JOINTS[spelling]
    return None
