"""MiniDome bodies: proportions, build and joints (chapter 02); `clothes` adds the surface.

A `Body` is a person's surface as round cones in the local frames of the body parts; `solids_at`
poses it.
"""

from dataclasses import dataclass

import numpy as np

from posekit.minidome import clothes, solids
from posekit.minidome.clothes import BodyShape
from posekit.minidome.pose import FRAME, Bones, world_points
from posekit.minidome.solids import Solids
from posekit.skeleton import PANOPTIC19


@dataclass(frozen=True)
class Body:
    """Bones and surface of one person; P parts.

    Args:
        bones: lengths, cm.
        frame_a, frame_b: (P,) frames in which a part's two ends are fixed.
        local_a, local_b: (P, 3) the ends in those frames, cm.
        ra, rb: (P,) radii, cm.
        stretch: (P, 3) a part's semi-axes relative to its radius along `frame_a`'s x, y, z.
        looks: (P, 15), see `solids.look`.
        joint_frame, joint_local: (19,) and (19, 3), the joints in Panoptic's order.
        joint_margin: (19,) cm, thickness of the person's own surface in front of a joint, which
            does not occlude it.
    """

    bones: Bones
    frame_a: np.ndarray
    frame_b: np.ndarray
    local_a: np.ndarray
    local_b: np.ndarray
    ra: np.ndarray
    rb: np.ndarray
    stretch: np.ndarray
    materials: np.ndarray
    joint_frame: np.ndarray
    joint_local: np.ndarray
    joint_margin: np.ndarray

    def joints(self, axes: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Frames of `pose.place` -> (B, 19, 3) joints in world cm, Panoptic's order."""
        return world_points(axes, origins, self.joint_frame, self.joint_local)

    def solids_at(self, axes: np.ndarray, origins: np.ndarray, owner: int) -> Solids:
        """One pose's frames (17, 3, 3), (17, 3) -> the person as round cones in the world."""
        a = world_points(axes[None], origins[None], self.frame_a, self.local_a)[0]
        b = world_points(axes[None], origins[None], self.frame_b, self.local_b)[0]
        turn = axes[self.frame_a]
        metric = (turn / self.stretch[:, None, :] ** 2) @ np.swapaxes(turn, 1, 2)
        return solids.round_cones(
            a, b, self.ra, self.rb, self.materials, metric, owner, turn[:, :, 0]
        )


def sample_body(rng: np.random.Generator) -> Body:
    """Sample a person: build, proportions, colours, clothes."""
    child = rng.random() < 0.08
    curve = float(np.clip(rng.normal(0, 0.6), -1, 1)) * (0.3 if child else 1)
    height = rng.uniform(115, 148) if child else rng.normal(172 - 6 * curve, 7.5)
    build = BodyShape(
        float(np.clip(height, 112, 200)), float(np.exp(rng.normal(0.02, 0.11))), curve
    )
    return make_body(sample_bones(build, rng), build, rng)


def sample_bones(build: BodyShape, rng: np.random.Generator) -> Bones:
    """Lengths as fractions of the height (Drillis & Contini 1966, Winter's table), each with a
    scatter of 3 %."""
    h = build.height

    def scatter() -> float:
        return float(np.clip(rng.normal(1, 0.03), 0.92, 1.08))

    large_head = np.interp(h, (110, 160), (1.22, 1.0))
    return Bones(
        waist=0.125 * h * scatter(),
        chest=0.160 * h * scatter(),
        shoulders=0.106 * h * (1 - 0.06 * build.curve) * scatter(),
        neck=0.052 * h * scatter(),
        head=0.130 * h * large_head * scatter(),
        upper_arm=0.177 * h * scatter(),
        forearm=0.146 * h * scatter(),
        hand=0.100 * h * scatter(),
        hips=0.050 * h * (1 + 0.08 * build.curve) * scatter(),
        thigh=0.243 * h * scatter(),
        shin=0.244 * h * scatter(),
        ankle=0.042 * h,
        foot=0.150 * h * scatter(),
    )


def make_body(bones: Bones, build: BodyShape, rng: np.random.Generator) -> Body:
    """Build the surface, hair and clothes around given bones."""
    return Body(bones, *clothes.dress(bones, build, rng), *_joints(bones, build))


def _joints(bones: Bones, build: BodyShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s = bones.head / 22.5
    h = build.height / 175
    u = build.height / 175 * build.weight**0.7
    up = 9.2 * s
    table = {
        "neck": ("neck", (0, -0.4 * bones.neck, 0), 11.5 * h),
        "nose": ("head", (0, up - 2.4 * s, 10.6 * s), 1.9 * s),
        "body_center": ("pelvis", (0, 0, 0), 14 * h * build.weight),
    }
    for side, sign in (("left_", 1.0), ("right_", -1.0)):
        table |= {
            side + "eye": ("head", (sign * 3.1 * s, up + 0.4 * s, 8.0 * s), 3.2 * s),
            side + "ear": ("head", (sign * 8.9 * s, up - 0.8 * s, -0.6 * s), 3.4 * s),
            side + "shoulder": (side + "upper_arm", (0, 0, 0), 10.0 * u),
            side + "elbow": (side + "forearm", (0, 0, 0), 9.5 * u),
            side + "wrist": (side + "hand", (0, 0, 0), 7.0 * u),
            side + "hip": (side + "thigh", (0, 0, 0), 20.0 * u),
            side + "knee": (side + "shin", (0, 0, 0), 13.0 * u),
            side + "ankle": (side + "foot", (0, 0, 0), 9.5 * u),
        }
    rows = [table[name] for name in PANOPTIC19.joints]
    return (
        np.array([FRAME[r[0]] for r in rows]),
        np.array([r[1] for r in rows], np.float64),
        np.array([r[2] for r in rows]),
    )
