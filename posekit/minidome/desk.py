"""MiniDome's desk mode: people as their webcam sees them, at a desk, near, in the light of a screen
(chapter 02)."""

import numpy as np

from posekit.cameras import Camera
from posekit.minidome import furniture, solids
from posekit.minidome.actions import ARMS, FPS
from posekit.minidome.body import sample_body
from posekit.minidome.dome import SEAT
from posekit.minidome.motion import at_moments, moments, turned_as
from posekit.minidome.palette import CLOTH, FURNITURE, pick
from posekit.minidome.pose import (
    ANGLES,
    FRAME,
    FRAMES,
    forward_kinematics,
    put,
    put_joints,
    stand,
    turn_joints,
    vector,
    within_range,
)
from posekit.minidome.scene import (
    PLAIN,
    Person,
    Scene,
    SceneConfig,
    is_empty_scene,
    occupied_space,
    self_collision,
)
from posekit.minidome.solids import Solids, boxes, material, round_cones

DESK_ARMS = {
    "type": {"arm_raise": (30, 6), "arm_plane": (16, 10), "arm_turn": (26, 8), "elbow": (76, 9)},
    "rest": {"arm_raise": (26, 6), "arm_plane": (20, 10), "arm_turn": (40, 8), "elbow": (74, 10)},
    "chin": {"arm_raise": (50, 7), "arm_plane": (8, 8), "arm_turn": (34, 8), "elbow": (137, 5)},
    "mug": {"arm_raise": (40, 7), "arm_plane": (12, 8), "arm_turn": (30, 8), "elbow": (118, 10)},
    "talk": {"arm_raise": (38, 12), "arm_plane": (34, 16), "arm_turn": (4, 22), "elbow": (104, 16)},
    "greet": {
        "arm_raise": (66, 14),
        "arm_plane": (70, 14),
        "arm_turn": (-52, 14),
        "elbow": (118, 12),
    },
}
"""Styles of an arm at a desk, as `actions.ARMS`."""

GESTURES = {
    ("type", "type"): 26,
    ("rest", "rest"): 14,
    ("lap", "lap"): 14,
    ("chin", "rest"): 9,
    ("mug", "rest"): 8,
    ("talk", "talk"): 9,
    ("talk", "rest"): 8,
    ("greet", "rest"): 5,
    ("folded", "folded"): 4,
    ("phone", "rest"): 3,
}
_UPRIGHT = np.diag([1.0, 40.0, 1.0])[None]  # balls flattened to discs: what stands on them is a mug
DESK_TOP = 71.0
"""Height of the desk, cm."""


def sample_scene(
    seed: int,
    number: int,
    frames: int,
    cameras: dict[str, Camera],
    views: int,
    config: SceneConfig = PLAIN,
) -> Scene:
    """Sample a scene as `scene.sample_scene`, at a desk; one in eight shows a second person."""
    rng = np.random.default_rng([seed, 0xDE5C, number])
    chosen = sorted(rng.choice(sorted(cameras), views, replace=False).tolist())
    people = []
    stuff = []
    if not is_empty_scene(seed, number, config):
        for place_number in range(1 + (rng.random() < 0.125)):
            person, holds = _draw_sitter(frames, place_number, config, rng)
            people.append(person)
            stuff += holds
    if not config.bare:
        stuff += _desk(rng)
        eyes = [cameras[name].position for name in chosen]
        stuff += furniture.place_furniture(*occupied_space(people), eyes, rng, wall=2)
    return lit_by_a_screen(people, solids.merge(stuff), chosen, rng)


def lit_by_a_screen(
    people: list[Person], stuff: Solids, chosen: list[str], rng: np.random.Generator
) -> Scene:
    """The scene with a lamp or a window on one side, and more or less of the screen's cold glow
    from the front."""
    glow = rng.uniform(0.1, 1)
    side = rng.uniform(-1, 1)
    light = np.array([1.2 * side, -rng.uniform(0.5, 1.2), 0.4 + glow])
    bright = rng.uniform(0.45, 1.1)
    warm = rng.normal(0, 0.06) - 0.06 * glow
    tint = np.array([1 + warm, 1, 1 - warm]) * bright
    ambient = rng.uniform(0.35, 0.65)
    return Scene(
        people,
        stuff,
        chosen,
        light / np.linalg.norm(light),
        ambient,
        tint,
        int(rng.integers(2**31)),
        float(np.clip(1.6 / bright - 0.6, 0.8, 3)),
    )


def _draw_sitter(
    frames: int, index: int, config: SceneConfig, rng: np.random.Generator
) -> tuple[Person, list[Solids]]:
    """Sample a person in front of the screen, with chair and held objects; person 1 (`index`) sits
    half behind the first."""
    body = sample_body(rng)
    clip = None
    if config.clips:
        clip = config.clips[rng.integers(len(config.clips))]
        clip = at_moments(clip, moments(clip, frames, config.step, rng))
    spot = SEAT[[0, 2]] + [rng.normal(0, 8), rng.normal(0, 6)]
    if index:
        spot = spot + [rng.choice([-1, 1]) * rng.uniform(48, 62), -rng.uniform(25, 45)]
    heading = np.full(frames, rng.normal(0, 10) - 0.35 * (spot[0] - SEAT[0]) * (index == 1))
    heading = heading + 5 * np.sin(
        2 * np.pi * np.arange(frames) / FPS / rng.uniform(4, 9) + rng.uniform(0, 6)
    )
    best = None
    least = np.inf
    for _ in range(14):
        left, right = list(GESTURES)[
            rng.choice(len(GESTURES), p=np.array(list(GESTURES.values())) / 100)
        ]
        if rng.random() < 0.5:
            left, right = right, left
        action = {"legs": "sit", "trunk": "desk", "left_arm": left, "right_arm": right}
        angles = _angles(action, frames, rng)
        axes, origins = forward_kinematics(body.bones, angles, heading, np.tile(spot, (frames, 1)))
        if (
            clip is not None
        ):  # arms, torso and head as performed, turned to the screen; the legs stay seated
            axes = turn_joints(angles)
            performed = turned_as(clip)
            front = np.arctan2(performed[:, 2, 0, 2], performed[:, 2, 2, 2])
            c = np.cos(front)
            s = np.sin(front)
            o = np.zeros(frames)
            turn = np.array([[c, o, -s], [o, o + 1, o], [s, o, c]]).transpose(2, 0, 1)
            upper = [
                i
                for i, name in enumerate(FRAMES)
                if not name.endswith(("pelvis", "thigh", "shin", "foot"))
            ]
            axes[:, upper] = turn[:, None] @ performed[:, upper]
            joints = put_joints(body.bones, axes, [np.zeros((frames, 1))] * 2)
            axes, origins = stand(body.bones, axes, joints, heading, np.tile(spot, (frames, 1)))
        person = Person(body, action, angles, heading, axes, origins)
        collision = self_collision(person) if clip is None else 0
        if collision < least:
            best = person
            least = collision
        if least <= 0:
            break
    pelvis = best.origins[:, FRAME["pelvis"]]
    back = -best.axes[0, FRAME["pelvis"], :, 2] * [1, 0, 1]
    height = max(-pelvis[:, 1].max() - 7.5 * body.bones.thigh / 42, 12)
    chair = furniture.seat(
        pelvis.mean(axis=0) * [1, 0, 1], back / np.linalg.norm(back), height, rng
    )
    return best, [chair, *_mug(best, rng)]


def _angles(action: dict, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T, 30) joint angles in degrees of a seated person who looks at the screen and moves
    slightly."""
    legs = {"hip_flex": 84, "hip_out": 10, "hip_turn": 4, "knee": 84}
    lean = rng.normal(6, 8)
    middle = vector(
        spine_flex=lean,
        spine_side=rng.normal(0, 6),
        spine_twist=rng.normal(0, 7),
        pelvis_pitch=rng.normal(-2, 4),
        neck_flex=rng.normal(4, 8) - 0.5 * lean,
        neck_side=rng.normal(0, 6),
        neck_twist=rng.normal(0, 13),
        **{f"{side}_{part}": value for side in ("left", "right") for part, value in legs.items()},
    )
    merge = rng.standard_normal(4)
    for side in ("left", "right"):
        style = {**ARMS, **DESK_ARMS}[action[f"{side}_arm"]]
        alike = 0.8 if action["left_arm"] == action["right_arm"] else 0
        for (part, (mean, spread)), shared in zip(style.items(), merge):
            draw = alike * shared + np.sqrt(1 - alike**2) * rng.standard_normal()
            put(middle, f"{side}_{part}", mean + spread * draw)
        put(middle, f"{side}_forearm_turn", rng.normal(0, 25))
        put(middle, f"{side}_wrist", rng.normal(5, 10))
    time = np.arange(frames)[:, None] / FPS
    sway = rng.normal(0, 2.5, len(middle))
    phase = rng.uniform(0, 6.3, len(middle))
    moving = np.array([not name.endswith(("hip_flex", "knee", "hip_out")) for name in ANGLES])
    if "greet" in (action["left_arm"], action["right_arm"]):
        side = "left" if action["left_arm"] == "greet" else "right"
        wave = np.zeros(len(middle))
        put(wave, f"{side}_arm_turn", 18.0)
        middle = middle + wave * np.sin(2 * np.pi * 1.2 * time + phase[0])
    return within_range(middle + moving * sway * np.sin(2 * np.pi * time / 3.5 + phase))


def _mug(person: Person, rng: np.random.Generator) -> list[Solids]:
    """Return the mug in a hand that holds one (single frames only); like furniture, it occludes
    joints."""
    sides = [side for side in ("left", "right") if person.action[f"{side}_arm"] == "mug"]
    if not sides or len(person.axes) > 1:
        return []
    hand = FRAME[f"{sides[0]}_hand"]
    sign = 1 if sides[0] == "left" else -1
    palm = person.origins[0, hand] + person.axes[0, hand] @ np.array([-sign * 5.5, -8.5, 2.0])
    return [
        round_cones(
            palm - [0, 4, 0],
            palm + [0, 4.5, 0],
            4.4,
            3.9,
            material(pick(CLOTH, rng), shine=0.5),
            _UPRIGHT,
        )
    ]


def _desk(rng: np.random.Generator) -> list[Solids]:
    """Return the desk in front of the seat, and the objects on it."""
    paint = pick(FURNITURE, rng)
    depth = rng.uniform(26, 34)
    front = 26 + depth + rng.uniform(0, 8)
    out = [
        boxes(
            SEAT + [0, -DESK_TOP + 1.5, front],
            [rng.uniform(60, 85), 1.5, depth],
            0,
            material(paint),
        )
    ]
    if rng.random() < 0.7:
        grey = material(np.full(3, rng.uniform(0.1, 0.85)), second=np.full(3, 0.4), across=1.9)
        out.append(
            boxes(
                SEAT + [rng.normal(0, 4), -DESK_TOP - 0.8, front - depth + 14],
                [21, 0.8, 7],
                0,
                grey,
            )
        )
    for _ in range(rng.integers(0, 4)):
        x = rng.choice([-1, 1]) * rng.uniform(28, 55)
        z = front + rng.uniform(-0.6, 0.6) * depth
        if rng.random() < 0.5:
            size = rng.uniform((5, 1, 7), (10, 5, 11))
            out.append(
                boxes(
                    SEAT + [x, -DESK_TOP - size[1], z],
                    size,
                    rng.uniform(-30, 30),
                    material(pick(CLOTH, rng)),
                )
            )
        else:
            cup = material(pick(CLOTH, rng), shine=0.5)
            out.append(
                round_cones(
                    SEAT + [x, -DESK_TOP - 1, z],
                    SEAT + [x, -DESK_TOP - 9, z],
                    3.8,
                    4.3,
                    cup,
                    _UPRIGHT,
                )
            )
    return out
