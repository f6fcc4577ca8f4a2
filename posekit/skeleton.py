"""Joint names, limbs and left/right pairs of the data sets' skeletons (chapter 01).

Joint sides are the *person's own*: `left_wrist` is the wrist of the left arm, wherever it appears
in the image.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Skeleton:
    """A fixed, ordered set of K joints.

    Args:
        name: short name, e.g. `"COCO17"`.
        joints: K joint names; sided joints start with `left_` or `right_`.
        limbs: pairs of joint names to draw as bones.
        sigmas: per-joint constants of OKS (dimensionless), where the data set defines them.
    """

    name: str
    joints: tuple[str, ...]
    limbs: tuple[tuple[str, str], ...]
    sigmas: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Return the index of a joint.

        Raises:
            KeyError: with the known names, when there is no such joint.
        """
        try:
            return self.joints.index(joint)
        except ValueError:
            raise KeyError(
                f"{self.name} has no joint {joint!r}; it has {', '.join(self.joints)}"
            ) from None

    @cached_property
    def flip_indices(self) -> tuple[int, ...]:
        """Index of each joint's mirror twin: `keypoints[flip_indices]` swaps left and right."""
        swap = {"left_": "right_", "right_": "left_"}
        names = [
            next((swap[p] + j[len(p) :] for p in swap if j.startswith(p)), j) for j in self.joints
        ]
        return tuple(self.joints.index(n) for n in names)

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        """Limbs as pairs of joint indices."""
        return tuple((self.index(a), self.index(b)) for a, b in self.limbs)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FACE = (
    ("nose", "left_eye"),
    ("nose", "right_eye"),
    ("left_eye", "left_ear"),
    ("right_eye", "right_ear"),
)
_BODY = (
    ("left_shoulder", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("left_hip", "right_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
)

#: The 17 joints of COCO keypoints, in COCO's order; sigmas from cocoapi's `cocoeval.py`.
COCO17 = Skeleton(
    name="COCO17",
    joints=_names(
        "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow "
        "right_elbow left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle "
        "right_ankle"
    ),
    limbs=_FACE + _BODY,
    sigmas=tuple(
        s / 10
        for s in (
            0.26,
            0.25,
            0.25,
            0.35,
            0.35,
            0.79,
            0.79,
            0.72,
            0.72,
            0.62,
            0.62,
            1.07,
            1.07,
            0.87,
            0.87,
            0.89,
            0.89,
        )
    ),
)

#: Number of keypoints that every model of this project predicts.
NUM_KEYPOINTS = len(COCO17)

#: The 19 joints of CMU Panoptic's `hdPose3d_stage1_coco19`, in its order.
PANOPTIC19 = Skeleton(
    name="PANOPTIC19",
    joints=_names(
        "neck nose body_center left_shoulder left_elbow left_wrist left_hip left_knee left_ankle "
        "right_shoulder right_elbow right_wrist right_hip right_knee right_ankle left_eye left_ear "
        "right_eye right_ear"
    ),
    limbs=(("neck", "nose"), ("neck", "body_center"), *_FACE, *_BODY),
)

#: The 14 joints of Leeds Sports Pose (LSP, LSP Extended), in the order of `joints.mat`.
LSP14 = Skeleton(
    name="LSP14",
    joints=_names(
        "right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow "
        "right_shoulder left_shoulder left_elbow left_wrist neck head_top"
    ),
    limbs=(("neck", "head_top"), *_BODY),
)


#: COCO's 17 and the two that sports data sets label besides: a network may learn all 19, and only
#: the 17 leave it.
COCO19 = Skeleton(
    name="COCO19",
    joints=(*COCO17.joints, "neck", "head_top"),
    limbs=(("neck", "head_top"), *COCO17.limbs),
)

#: The 16 joints of MPII Human Pose, in the order of its published JSON conversion.
MPII16 = Skeleton(
    name="MPII16",
    joints=_names(
        "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck "
        "head_top right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist"
    ),
    limbs=(("pelvis", "thorax"), ("thorax", "upper_neck"), ("upper_neck", "head_top"), *_BODY),
)

#: The 15 joints of CMU Panoptic's older `hdPose3d_stage1`: as the first of the 19, without eyes and
#: ears.
PANOPTIC15 = Skeleton(
    name="PANOPTIC15",
    joints=PANOPTIC19.joints[:15],
    limbs=(("neck", "nose"), ("neck", "body_center"), *_BODY),
)


def convert(values: np.ndarray, source: Skeleton, target: Skeleton, fill: float = 0) -> np.ndarray:
    """Reorder per-joint values from one skeleton to another by joint name.

    Args:
        values: (..., K_source, D), joints on the second to last axis (`convert_flags` takes (...,
            K_source)).
        source: skeleton of `values`.
        target: skeleton of the result.
        fill: value of joints that `source` does not have; mark them as unknown separately.

    Returns:
        A new array (..., K_target, D) of the same dtype.

    Raises:
        ValueError: when the joint axis does not have `len(source)` entries.
    """
    values = np.asarray(values)
    if values.ndim < 2 or values.shape[-2] != len(source):
        raise ValueError(f"expected (..., {len(source)}, D) for {source.name}, got {values.shape}")
    out = np.full((*values.shape[:-2], len(target), values.shape[-1]), fill, dtype=values.dtype)
    for k, joint in enumerate(target.joints):
        if joint in source.joints:
            out[..., k, :] = values[..., source.index(joint), :]
    return out


def convert_flags(
    flags: np.ndarray, source: Skeleton, target: Skeleton, fill: float = 0
) -> np.ndarray:
    """Convert one value per joint, see `convert`: (..., K_source) -> (..., K_target)."""
    return convert(np.asarray(flags)[..., None], source, target, fill)[..., 0]
