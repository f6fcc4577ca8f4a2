"""Kinematics of a MiniDome person: joint angles, their natural ranges, and the frames of the 17
body parts (chapter 02).

Angles are degrees. A frame's axes are the body's own: x to its left, y up, z forward; standing
straight with the arms down all angles are 0. The world is CMU Panoptic's: centimetres, y down,
floor at y = 0; heading 0 faces the world's +z.
"""

from dataclasses import dataclass

import numpy as np

_TRUNK = {
    "pelvis_pitch": (-15, 50),  # forward positive, as for the spine and the neck
    "pelvis_roll": (-12, 12),
    "spine_flex": (-18, 75),
    "spine_side": (-28, 28),
    "spine_twist": (-40, 40),
    "neck_flex": (-35, 40),
    "neck_side": (-25, 25),
    "neck_twist": (-65, 65),
}
_SIDE = {
    "arm_raise": (0, 175),  # angle of the upper arm from hanging down
    "arm_plane": (
        -35,
        165,
    ),  # the way it is raised: 0 forward, 90 sideways, 180 backward, < 0 across the body
    "arm_turn": (-90, 85),  # about its own axis: > 0 turns the bent forearm inward
    "elbow": (0, 145),
    "forearm_turn": (-70, 70),
    "wrist": (-50, 60),
    "hip_flex": (-20, 120),
    "hip_out": (-15, 45),
    "hip_turn": (-30, 40),
    "knee": (0, 145),
    "ankle": (-30, 20),  # against the foot that lies level
}
RANGES: dict[str, tuple[float, float]] = {
    **_TRUNK,
    **{f"left_{k}": v for k, v in _SIDE.items()},
    **{f"right_{k}": v for k, v in _SIDE.items()},
}
"""Natural range of each of the 30 joint angles, degrees."""

ANGLES = tuple(RANGES)
_INDEX = {name: i for i, name in enumerate(ANGLES)}
_LOW, _HIGH = np.array(list(RANGES.values()), np.float64).T

FRAMES = (
    *("pelvis", "waist", "chest", "neck", "head"),
    *(
        f"{side}_{part}"
        for side in ("left", "right")
        for part in ("upper_arm", "forearm", "hand", "thigh", "shin", "foot")
    ),
)
FRAME = {name: i for i, name in enumerate(FRAMES)}


@dataclass(frozen=True)
class Bones:
    """Lengths between the joints of one person, cm; they never change while the person moves."""

    waist: float
    chest: float
    shoulders: float
    neck: float
    head: float
    upper_arm: float
    forearm: float
    hand: float
    hips: float
    thigh: float
    shin: float
    ankle: float
    foot: float


def vector(**angles: float) -> np.ndarray:
    """Angles by name -> (30,) degrees; what is not named is 0."""
    out = np.zeros(len(ANGLES))
    for name, value in angles.items():
        out[_INDEX[name]] = value
    return out


def get(angles: np.ndarray, name: str) -> np.ndarray:
    """One named angle of (..., 30)."""
    return angles[..., _INDEX[name]]


def put(angles: np.ndarray, name: str, value) -> None:
    """Set one named angle of (..., 30) in place."""
    angles[..., _INDEX[name]] = value


def within_range(angles: np.ndarray) -> np.ndarray:
    """Angles brought into the natural ranges, a new array. An arm behind the body goes no higher
    than about 50 degrees, one across it needs to be raised, and an arm raised above the head cannot
    be turned far inward."""
    out = np.clip(angles, _LOW, _HIGH)
    for side in ("left_", "right_"):
        raised = get(out, side + "arm_raise")
        plane = get(out, side + "arm_plane")
        raised = np.minimum(raised, np.interp(plane, (-35, 0, 100, 165), (125, 175, 175, 50)))
        put(out, side + "arm_raise", raised)
        put(out, side + "arm_plane", np.maximum(plane, np.interp(raised, (0, 45), (0, -35))))
        put(
            out,
            side + "arm_turn",
            np.minimum(get(out, side + "arm_turn"), np.interp(raised, (90, 175), (85, 35))),
        )
    return out


# ---- rotations, batched --------------------------------------------------------------------------


def _turn(axis: int, degrees: np.ndarray) -> np.ndarray:
    """(...,) degrees about x, y or z (0, 1, 2) -> (..., 3, 3)."""
    angle = np.deg2rad(degrees)
    c = np.cos(angle)
    s = np.sin(angle)
    i = (axis + 1) % 3
    j = (axis + 2) % 3
    out = np.zeros((*np.shape(angle), 3, 3))
    out[..., axis, axis] = 1
    out[..., i, i] = out[..., j, j] = c
    out[..., i, j] = -s
    out[..., j, i] = s
    return out


def _swing(raised: np.ndarray, plane: np.ndarray, side: float) -> np.ndarray:
    """The shortest turn that brings an arm hanging down to `raised` degrees in the vertical plane
    `plane`."""
    angle = np.deg2rad(raised)
    azimuth = np.deg2rad(plane)
    axis = np.stack([-np.cos(azimuth), np.zeros_like(azimuth), side * np.sin(azimuth)], axis=-1)
    c = np.cos(angle)[..., None, None]
    s = np.sin(angle)[..., None, None]
    cross = np.zeros((*axis.shape[:-1], 3, 3))
    cross[..., 0, 1] = -axis[..., 2]
    cross[..., 0, 2] = axis[..., 1]
    cross[..., 1, 2] = -axis[..., 0]
    cross -= np.swapaxes(cross, -1, -2)
    return c * np.eye(3) + s * cross + (1 - c) * axis[..., :, None] * axis[..., None, :]


def _down(frame: np.ndarray, length: float) -> np.ndarray:
    return -length * frame[..., :, 1]


# ---- forward kinematics --------------------------------------------------------------------------


def forward_kinematics(
    bones: Bones, angles: np.ndarray, heading: np.ndarray, spot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """From joint angles to the frames of the body parts in the world.

    Args:
        bones: the person's lengths.
        angles: (B, 30) degrees.
        heading: (B,) degrees; 0 faces +z, 90 faces +x.
        spot: (B, 2) x and z of the pelvis, cm. Its height follows: the lowest of feet, knees and
            hands is on the floor.

    Returns:
        axes (B, 17, 3, 3), whose columns are the frames' x (left), y (up) and z (forward) in the
        world, and origins (B, 17, 3) in cm: where the part begins (thigh: hip, shin: knee, foot:
        ankle, ...).
    """
    axes = turn_joints(angles)
    shrug = [
        np.clip(get(angles, side + "arm_raise") - 60, 0, None)[:, None] / 115
        for side in ("left_", "right_")
    ]
    return stand(bones, axes, put_joints(bones, axes, shrug), heading, spot)


def turn_joints(angles: np.ndarray) -> np.ndarray:
    """(B, 30) degrees -> (B, 17, 3, 3), the parts' axes as columns (left, up, forward) in the
    body's own directions."""
    g = lambda name: get(angles, name)  # noqa: E731
    axes = np.zeros((len(angles), 17, 3, 3))
    pelvis = _turn(0, g("pelvis_pitch")) @ _turn(2, g("pelvis_roll"))
    half = (
        _turn(0, g("spine_flex") / 2)
        @ _turn(2, g("spine_side") / 2)
        @ _turn(1, g("spine_twist") / 2)
    )
    waist = pelvis @ half
    chest = waist @ half
    neck_half = (
        _turn(0, g("neck_flex") / 2) @ _turn(2, g("neck_side") / 2) @ _turn(1, g("neck_twist") / 2)
    )
    neck = chest @ neck_half
    for name, frame in zip(FRAMES, (pelvis, waist, chest, neck, neck @ neck_half)):
        axes[:, FRAME[name]] = frame
    for side, sign in (("left_", 1.0), ("right_", -1.0)):
        upper = (
            chest
            @ _swing(g(side + "arm_raise"), g(side + "arm_plane"), sign)
            @ _turn(1, -sign * g(side + "arm_turn"))
        )
        fore = upper @ _turn(0, -g(side + "elbow")) @ _turn(1, -sign * g(side + "forearm_turn"))
        thigh = pelvis @ _turn(0, -g(side + "hip_flex")) @ _turn(2, sign * g(side + "hip_out"))
        thigh = thigh @ _turn(1, sign * g(side + "hip_turn"))
        shin = thigh @ _turn(0, g(side + "knee"))
        axes[:, FRAME[side + "upper_arm"]] = upper
        axes[:, FRAME[side + "forearm"]] = fore
        axes[:, FRAME[side + "hand"]] = fore @ _turn(2, -sign * g(side + "wrist"))
        axes[:, FRAME[side + "thigh"]] = thigh
        axes[:, FRAME[side + "shin"]] = shin
        axes[:, FRAME[side + "foot"]] = level_foot(shin, g(side + "ankle"))
    return axes


def level_foot(shin: np.ndarray, ankle) -> np.ndarray:
    """The foot's axes (B, 3, 3) below a shin: level as far as the ankle allows, then turned by
    `ankle` degrees."""
    level = np.rad2deg(
        np.arctan2(-shin[:, 1, 2], shin[:, 1, 1])
    )  # the turn that lays the foot level
    return shin @ _turn(0, -np.clip(level + ankle, -50, 28))


def put_joints(bones: Bones, axes: np.ndarray, shrug: list[np.ndarray]) -> np.ndarray:
    """Axes of the parts and how far (B, 1), 0-1, the shoulders are lifted -> (B, 17, 3) origins, cm
    from the pelvis."""
    part = lambda name: axes[:, FRAME[name]]  # noqa: E731
    origins = np.zeros((len(axes), 17, 3))
    at_waist = 0.45 * bones.waist * part("pelvis")[..., 1]
    at_chest = at_waist + 0.55 * bones.waist * part("waist")[..., 1]
    at_neck = at_chest + bones.chest * part("chest")[..., 1]
    at_head = at_neck + bones.neck * part("neck")[..., 1]
    for name, origin in zip(FRAMES[1:], (at_waist, at_chest, at_neck, at_head)):
        origins[:, FRAME[name]] = origin
    for side, sign, lift in (("left_", 1.0, shrug[0]), ("right_", -1.0, shrug[1])):
        shoulder = (
            at_neck
            + sign * bones.shoulders * (1 - 0.09 * lift) * part("chest")[..., 0]
            + (0.35 * lift - 0.42) * bones.neck * part("chest")[..., 1]
        )
        elbow = shoulder + _down(part(side + "upper_arm"), bones.upper_arm)
        hip = sign * bones.hips * part("pelvis")[..., 0]
        knee = hip + _down(part(side + "thigh"), bones.thigh)
        origins[:, FRAME[side + "upper_arm"]] = shoulder
        origins[:, FRAME[side + "forearm"]] = elbow
        origins[:, FRAME[side + "hand"]] = elbow + _down(part(side + "forearm"), bones.forearm)
        origins[:, FRAME[side + "thigh"]] = hip
        origins[:, FRAME[side + "shin"]] = knee
        origins[:, FRAME[side + "foot"]] = knee + _down(part(side + "shin"), bones.shin)
    return origins


def stand(
    bones: Bones, axes: np.ndarray, origins: np.ndarray, heading: np.ndarray, spot: np.ndarray
):
    """From the body's own directions to the world, the lowest point on the floor; see `place`."""
    lowest = _lowest(bones, axes, origins)
    turned = np.deg2rad(heading)
    c = np.cos(turned)
    s = np.sin(turned)
    # The body's (left, up, forward) to the world: half a turn about z puts y down and keeps left
    # left; then the heading.
    world = np.zeros((len(axes), 3, 3))
    world[:, 0, 0] = -c
    world[:, 0, 2] = s
    world[:, 1, 1] = -1
    world[:, 2, 0] = s
    world[:, 2, 2] = c
    origins[..., 1] -= lowest[:, None]
    origins = np.einsum("bij,bkj->bki", world, origins)
    origins[..., 0] += np.asarray(spot)[:, None, 0]
    origins[..., 2] += np.asarray(spot)[:, None, 1]
    return world[:, None] @ axes, origins


def _lowest(bones: Bones, axes: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """(B,) height of the lowest point that can stand on the floor: heels, toes, knees, hands, the
    seat."""
    sole = np.array([[0, -bones.ankle, -0.25 * bones.foot], [0, -bones.ankle, 0.72 * bones.foot]])
    heights = [origins[:, FRAME["pelvis"], 1] - 10]
    for side in ("left_", "right_"):
        foot = FRAME[side + "foot"]
        points = origins[:, foot, None] + np.einsum("bij,pj->bpi", axes[:, foot], sole)
        heights += [points[:, 0, 1], points[:, 1, 1], origins[:, FRAME[side + "shin"], 1] - 5.5]
        heights.append(origins[:, FRAME[side + "hand"], 1] - 4)
    return np.min(heights, axis=0)


def world_points(
    axes: np.ndarray, origins: np.ndarray, frames: np.ndarray, local: np.ndarray
) -> np.ndarray:
    """Points given in the parts' frames -> world: `frames` (P,) frame numbers, `local` (P, 3) cm ->
    (B, P, 3)."""
    return origins[:, frames] + np.einsum("bpij,pj->bpi", axes[:, frames], local)
