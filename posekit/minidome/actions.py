"""Actions of MiniDome's people, as still poses and as motion (chapter 02).

A style gives the mean and the spread of some joint angles; what it does not name scatters a little
around zero. Legs and torso each have a style; a *gesture* gives both arms theirs at once, since the
two arms usually act together: they swing, fold, hold a phone, wave while the other hangs. A
minority moves its arms apart. `pose.within_range` keeps every pose natural.
"""

import numpy as np

from posekit.minidome.pose import ANGLES, get, put, within_range

FPS = 29.97
"""Frames per second, as the real HD cameras."""

# Each style: angle -> (mean, standard deviation). Side angles are drawn for each side by itself.
LEGS = {
    "stand": {"hip_flex": (3, 5), "hip_out": (5, 4), "hip_turn": (8, 8), "knee": (6, 5)},
    "ease": {
        "hip_flex": (8, 9),
        "hip_out": (7, 5),
        "hip_turn": (10, 10),
        "knee": (16, 14),
        "pelvis_roll": (0, 5),
    },
    "wide": {"hip_flex": (6, 7), "hip_out": (22, 7), "hip_turn": (14, 8), "knee": (12, 10)},
    "walk": {"hip_out": (2, 2), "hip_turn": (3, 4)},
    "run": {"hip_out": (2, 2), "hip_turn": (2, 4), "pelvis_pitch": (8, 3)},
    "sit": {
        "hip_flex": (86, 8),
        "hip_out": (9, 7),
        "hip_turn": (3, 8),
        "knee": (86, 14),
        "pelvis_pitch": (-4, 5),
    },
    "crouch": {
        "hip_flex": (85, 18),
        "hip_out": (14, 8),
        "knee": (108, 18),
        "pelvis_pitch": (14, 8),
    },
    "lunge": {"hip_out": (5, 4)},
    "balance": {"hip_out": (7, 7), "knee": (8, 6)},
    "kneel": {"hip_out": (7, 5)},
}
TRUNKS = {
    "upright": {
        "spine_flex": (5, 6),
        "spine_side": (0, 4),
        "spine_twist": (0, 8),
        "pelvis_pitch": (2, 3),
    },
    "lean": {
        "spine_flex": (16, 10),
        "spine_side": (0, 10),
        "spine_twist": (0, 16),
        "pelvis_pitch": (8, 7),
    },
    "bend": {
        "spine_flex": (48, 14),
        "spine_side": (0, 8),
        "spine_twist": (0, 14),
        "pelvis_pitch": (28, 11),
    },
    "arch": {
        "spine_flex": (-9, 5),
        "spine_side": (0, 8),
        "spine_twist": (0, 10),
        "pelvis_pitch": (-4, 4),
    },
    "turn": {
        "spine_flex": (8, 8),
        "spine_side": (0, 10),
        "spine_twist": (0, 30),
        "pelvis_pitch": (3, 4),
    },
}
ARMS = {
    "hang": {"arm_raise": (11, 6), "arm_plane": (70, 40), "arm_turn": (22, 18), "elbow": (16, 12)},
    "gesture": {
        "arm_raise": (35, 15),
        "arm_plane": (35, 35),
        "arm_turn": (15, 30),
        "elbow": (75, 28),
    },
    "reach": {"arm_raise": (85, 22), "arm_plane": (25, 28), "arm_turn": (5, 25), "elbow": (18, 16)},
    "side": {"arm_raise": (82, 22), "arm_plane": (88, 15), "arm_turn": (0, 35), "elbow": (22, 22)},
    "overhead": {
        "arm_raise": (156, 13),
        "arm_plane": (60, 35),
        "arm_turn": (0, 25),
        "elbow": (28, 26),
    },
    "hips": {"arm_raise": (40, 6), "arm_plane": (95, 12), "arm_turn": (58, 10), "elbow": (95, 12)},
    "folded": {"arm_raise": (36, 7), "arm_plane": (10, 12), "arm_turn": (66, 9), "elbow": (98, 10)},
    "phone": {
        "arm_raise": (46, 12),
        "arm_plane": (25, 18),
        "arm_turn": (22, 15),
        "elbow": (132, 9),
    },
    "carry": {"arm_raise": (22, 9), "arm_plane": (15, 15), "arm_turn": (12, 12), "elbow": (85, 15)},
    "wave": {
        "arm_raise": (82, 16),
        "arm_plane": (80, 14),
        "arm_turn": (-70, 18),
        "elbow": (85, 25),
    },
    "behind": {
        "arm_raise": (26, 8),
        "arm_plane": (148, 12),
        "arm_turn": (60, 12),
        "elbow": (60, 18),
    },
    "on_head": {
        "arm_raise": (115, 10),
        "arm_plane": (80, 12),
        "arm_turn": (-35, 12),
        "elbow": (128, 10),
    },
    "swing": {"arm_turn": (18, 10), "elbow": (20, 10)},
    "lap": {"arm_raise": (26, 8), "arm_plane": (15, 15), "arm_turn": (30, 12), "elbow": (58, 14)},
    "table": {"arm_raise": (34, 8), "arm_plane": (22, 14), "arm_turn": (24, 12), "elbow": (68, 14)},
    "clasp": {"arm_raise": (20, 6), "arm_plane": (25, 12), "arm_turn": (48, 8), "elbow": (66, 12)},
    "show": {
        "arm_raise": (32, 14),
        "arm_plane": (55, 32),
        "arm_turn": (-22, 26),
        "elbow": (126, 14),
    },
    "before": {
        "arm_raise": (68, 18),
        "arm_plane": (62, 22),
        "arm_turn": (58, 20),
        "elbow": (112, 18),
    },
    "chest": {
        "arm_raise": (24, 8),
        "arm_plane": (22, 16),
        "arm_turn": (52, 10),
        "elbow": (118, 12),
    },
    "free": {"arm_raise": (75, 45), "arm_plane": (55, 50), "arm_turn": (0, 45), "elbow": (60, 40)},
}
_OTHER = {
    "neck_flex": (3, 9),
    "neck_side": (0, 6),
    "neck_twist": (0, 18),
    "forearm_turn": (0, 28),
    "wrist": (4, 14),
}
_OTHER |= {"ankle": (0, 4)}

GESTURES = {
    "hang": ("hang", "hang", 20),
    "talk": ("gesture", "gesture", 8),
    "explain": ("gesture", "hang", 6),
    "work": ("table", "table", 10),
    "clasp": ("clasp", "clasp", 6),
    "hips": ("hips", "hips", 7),
    "one_hip": ("hips", "hang", 4),
    "folded": ("folded", "folded", 6),
    "reach_up": ("overhead", "overhead", 6),
    "take_down": ("overhead", "hang", 4),
    "hold_out": ("reach", "reach", 4),
    "point": ("reach", "hang", 5),
    "wide": ("side", "side", 4),
    "wave": ("wave", "hang", 7),
    "phone": ("phone", "hang", 6),
    "text": ("carry", "table", 4),
    "carry": ("carry", "carry", 5),
    "behind": ("behind", "behind", 2),
    "on_head": ("on_head", "on_head", 1),
    "think": ("phone", "folded", 2),
}
"""Each gesture: the styles of the two arms (which side does which is drawn), and its share."""

APART = 0.13
"""Fraction of people whose two arms are drawn independently."""

_LEG_SHARES = {
    "stand": 28,
    "ease": 26,
    "wide": 6,
    "walk": 17,
    "run": 4,
    "sit": 12,
    "crouch": 2,
    "lunge": 2,
}
_LEG_SHARES |= {"balance": 2, "kneel": 1}
_TRUNK_SHARES = {"upright": 64, "lean": 17, "bend": 6, "arch": 3, "turn": 10}
_ARM_SHARES = {
    "hang": 14,
    "gesture": 16,
    "reach": 14,
    "side": 10,
    "overhead": 12,
    "hips": 6,
    "phone": 5,
    "carry": 6,
}
_ARM_SHARES |= {"wave": 6, "on_head": 3, "free": 8}


def _pick(shares: dict[str, float], rng: np.random.Generator) -> str:
    weights = np.array(list(shares.values()), np.float64)
    return list(shares)[rng.choice(len(weights), p=weights / weights.sum())]


def sample_action(rng: np.random.Generator) -> dict[str, str]:
    """Sample a style for the legs, the torso and each arm.

    Returns:
        `{"legs": ..., "trunk": ..., "left_arm": ..., "right_arm": ...}`.
    """
    legs = _pick(_LEG_SHARES, rng)
    trunk = _pick(_TRUNK_SHARES, rng)
    left, right, _ = GESTURES[_pick({name: share for name, (_, _, share) in GESTURES.items()}, rng)]
    if rng.random() < 0.5:
        left, right = right, left
    if rng.random() < APART:
        left = _pick(_ARM_SHARES, rng)
        right = _pick(_ARM_SHARES, rng)
    elif legs in ("walk", "run"):
        if rng.random() < 0.75 or legs == "run":
            left = right = "swing"
    elif legs == "sit" and rng.random() < 0.55:
        left = right = "lap"
    if legs in ("walk", "run", "sit") and trunk in ("bend", "arch"):
        trunk = "lean"
    return {"legs": legs, "trunk": trunk, "left_arm": left, "right_arm": right}


def draw_keys(action: dict[str, str], count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` still poses of an action, (count, 30) degrees, in their natural ranges; legs that
    stand stay as they are."""
    style = {**_OTHER, **TRUNKS[action["trunk"]]}
    for name, value in LEGS[action["legs"]].items():
        mean, spread = style.get(name, (0, 0))
        style[name] = (
            (mean + value[0], np.hypot(spread, value[1])) if name.startswith("pelvis") else value
        )
    out = np.zeros((count, len(ANGLES)))
    merge = action["left_arm"] == action["right_arm"]
    common = {
        part: rng.standard_normal(count) for part in ("arm_raise", "arm_plane", "arm_turn", "elbow")
    }
    for i, name in enumerate(ANGLES):
        side, _, part = name.partition("_")
        own = {**style, **ARMS[action[f"{side}_arm"]]} if side in ("left", "right") else style
        part = part if side in ("left", "right") else name
        if part in own:
            mean, spread = own[part]
            draws = rng.standard_normal(count)
            if merge and part in common:  # both arms do much the same
                draws = 0.9 * common[part] + 0.44 * draws
            out[:, i] = mean + spread * draws
            if side in ("left", "right") and part.startswith(("hip", "knee", "ankle")):
                out[:, i] = mean + spread * (draws[0] + 0.15 * (draws - draws[0]))
    _uneven_legs(action["legs"], out, rng)
    stoop = np.clip(get(out, "pelvis_pitch") + get(out, "spine_flex") - 20, 0, None)
    for side in ("left_", "right_"):
        if action[f"{side}arm"] in ("hang", "carry"):  # arms hang down, not along a bent torso
            put(out, side + "arm_raise", get(out, side + "arm_raise") + stoop)
            put(
                out,
                side + "arm_plane",
                get(out, side + "arm_plane") * np.interp(stoop, (0, 30), (1, 0.25)),
            )
        # legs keep their direction when the pelvis tips forward
        put(
            out,
            side + "hip_flex",
            get(out, side + "hip_flex") + np.clip(get(out, "pelvis_pitch"), 0, None),
        )
    return within_range(out)


def _uneven_legs(legs: str, out: np.ndarray, rng: np.random.Generator) -> None:
    """Styles in which one leg does what the other does not."""
    front, back = ("left_", "right_") if rng.random() < 0.5 else ("right_", "left_")
    scatter = lambda spread: rng.normal(0, spread)  # noqa: E731
    if legs == "lunge":
        deep = rng.uniform(0.4, 1)
        put(out, front + "hip_flex", 75 * deep + scatter(6))
        put(out, front + "knee", 80 * deep + scatter(6))
        put(out, back + "hip_flex", -14 + scatter(5))
        put(out, back + "knee", 32 * deep + scatter(6))
    if legs == "balance":
        kick = rng.random() < 0.4
        put(out, front + "hip_flex", (65 if kick else 60) + scatter(18))
        put(out, front + "knee", (12 if kick else 85) + scatter(14))
    if legs == "kneel":
        put(out, front + "hip_flex", 88 + scatter(6))
        put(out, front + "knee", 92 + scatter(6))
        put(out, back + "hip_flex", 2 + scatter(5))
        put(out, back + "knee", 95 + scatter(6))
        put(out, back + "ankle", -25)


def _gait(
    angles: np.ndarray, phase: np.ndarray, run: bool, swing_left: bool, swing_right: bool
) -> None:
    """Write a walking or running cycle over (T, 30) angles in place; `phase` (T,) radians, 2 pi
    per stride."""
    stride, lift, arm = (36, 66, 40) if run else (24, 52, 24)
    for side, p in (("left_", phase), ("right_", phase + np.pi)):
        put(
            angles,
            side + "hip_flex",
            stride * np.sin(p) + (14 if run else 5) + np.clip(get(angles, "pelvis_pitch"), 0, None),
        )
        forward = np.clip(np.cos(p + 0.35), 0, None)  # the leg that swings
        put(angles, side + "knee", (16 if run else 7) + lift * forward**1.5)
        put(angles, side + "ankle", -14 * np.clip(np.sin(p + np.pi + 0.9), 0, None) ** 2)
    for side, p, on in (("left_", phase + np.pi, swing_left), ("right_", phase, swing_right)):
        if on:
            reach = arm * np.sin(p) + 6
            put(angles, side + "arm_raise", np.hypot(reach, 8))
            put(angles, side + "arm_plane", np.rad2deg(np.arctan2(8, reach)))
            put(
                angles,
                side + "elbow",
                (80 if run else 16) + (10 if run else 14) * np.clip(np.sin(p), -0.5, 1),
            )


def move(action: dict[str, str], frames: int, speed: float, rng: np.random.Generator) -> np.ndarray:
    """One person's joint angles over time.

    Args:
        action: from `draw_action`.
        frames: T.
        speed: walking speed in strides per second (for the walking and running styles).
        rng: source of random numbers.

    Returns:
        (T, 30) degrees, smooth in time, in their natural ranges.
    """
    pace = rng.uniform(24, 42)  # frames from one key pose to the next
    keys = draw_keys(action, int(np.ceil((frames - 1) / pace)) + 2 if frames > 1 else 1, rng)
    start = rng.uniform(0, 0.999)
    phase = rng.uniform(0, 2 * np.pi)
    if frames == 1:
        angles = keys.copy()
    else:
        time = start + np.arange(frames) / pace
        index = np.minimum(time.astype(int), len(keys) - 2)
        share = np.clip(time - index, 0, 1)[:, None]
        ease = share**3 * (
            share * (6 * share - 15) + 10
        )  # smootherstep: speed and acceleration vanish at the keys
        angles = keys[index] * (1 - ease) + keys[index + 1] * ease
    if action["legs"] in ("walk", "run"):
        cycle = phase + 2 * np.pi * speed * np.arange(frames) / FPS
        _gait(
            angles,
            cycle,
            action["legs"] == "run",
            action["left_arm"] == "swing",
            action["right_arm"] == "swing",
        )
    return within_range(angles)
