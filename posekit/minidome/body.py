"""Who stands in the MiniDome: proportions, build, skin, hair and clothes, and the flesh around the bones (chapter 02).

A `Figure` is a person's flesh as round cones in the frames of its body parts, made once; `flesh` puts it where a pose
says. Clothes, skin and hair have no left and right of their own, so only geometry tells the sides apart.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from posekit.minidome import solids
from posekit.minidome.pose import FRAME, Bones, world_points
from posekit.minidome.solids import Solids, look
from posekit.skeleton import PANOPTIC19

SKIN = ("#f6dcc4", "#f1c9a5", "#e6b48c", "#d39c71", "#bd8257", "#a06a42", "#845233", "#683f28", "#4e2f20", "#3a2318")
HAIR = ("#17120f", "#2a1c14", "#3f2a1a", "#5a3b22", "#7a5230", "#a67b44", "#cfae72", "#8a3c1f", "#8d8d8d", "#d8d6d0")


@dataclass(frozen=True)
class Figure:
    """One person's bones and flesh; P parts.

    Args:
        bones: lengths, cm.
        frame_a, frame_b: (P,) frames in which a part's two ends are fixed.
        local_a, local_b: (P, 3) the ends in those frames, cm.
        ra, rb: (P,) radii, cm.
        stretch: (P, 3) a part's semi-axes relative to its radius along `frame_a`'s x, y, z.
        looks: (P, 12), see `solids.look`.
        joint_frame, joint_local: (19,) and (19, 3), the joints in Panoptic's order.
        joint_margin: (19,) cm of the person's own flesh in front of a joint that do not hide it.
    """

    bones: Bones
    frame_a: np.ndarray
    frame_b: np.ndarray
    local_a: np.ndarray
    local_b: np.ndarray
    ra: np.ndarray
    rb: np.ndarray
    stretch: np.ndarray
    looks: np.ndarray
    joint_frame: np.ndarray
    joint_local: np.ndarray
    joint_margin: np.ndarray

    def joints(self, axes: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """Frames of `pose.place` -> (B, 19, 3) joints in world cm, Panoptic's order."""
        return world_points(axes, origins, self.joint_frame, self.joint_local)

    def flesh(self, axes: np.ndarray, origins: np.ndarray, owner: int) -> Solids:
        """One pose's frames (17, 3, 3), (17, 3) -> the person as round cones in the world."""
        a = world_points(axes[None], origins[None], self.frame_a, self.local_a)[0]
        b = world_points(axes[None], origins[None], self.frame_b, self.local_b)[0]
        turn = axes[self.frame_a]
        metric = (turn / self.stretch[:, None, :] ** 2) @ np.swapaxes(turn, 1, 2)
        return solids.cones(a, b, self.ra, self.rb, self.looks, metric, owner)


@dataclass(frozen=True)
class Build:
    """What makes people differ in shape.

    Args:
        height: cm.
        weight: width of the flesh, 1 is average.
        curve: -1 broad shoulders and narrow hips ... 1 the other way round, with a bust.
    """

    height: float
    weight: float
    curve: float


def draw_figure(rng: np.random.Generator) -> Figure:
    """A new person: build, proportions, colours, clothes."""
    child = rng.random() < 0.08
    curve = float(np.clip(rng.normal(0, 0.6), -1, 1)) * (0.3 if child else 1)
    height = rng.uniform(115, 148) if child else rng.normal(172 - 6 * curve, 7.5)
    build = Build(float(np.clip(height, 112, 200)), float(np.exp(rng.normal(0.02, 0.11))), curve)
    return make_figure(draw_bones(build, rng), build, rng)


def draw_bones(build: Build, rng: np.random.Generator) -> Bones:
    """Lengths as shares of the height (Drillis & Contini 1966, Winter's table), each with a scatter of 3 %."""
    h, scatter = build.height, lambda: float(np.clip(rng.normal(1, 0.03), 0.92, 1.08))
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


def _rgb(code: str) -> np.ndarray:
    return np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def draw_colour(rng: np.random.Generator, muted: bool = False) -> np.ndarray:
    """A colour for cloth or paint, RGB 0-1: mostly of middling saturation, at times grey, black or white."""
    if rng.random() < (0.4 if muted else 0.25):
        return np.full(3, rng.uniform(0.08, 0.95)) * rng.uniform(0.94, 1.0, 3)
    saturation = rng.uniform(0.1, 0.45) if muted else rng.uniform(0.25, 0.9)
    return np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.2, 0.95)))


class _Parts:
    """Collects a figure's parts."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def add(
        self, frame: str, a, ra: float, style, b=None, rb: float | None = None, stretch=(1, 1, 1), to: str = ""
    ) -> None:
        b, rb = a if b is None else b, ra if rb is None else rb
        self.rows.append((FRAME[frame], FRAME[to or frame], a, b, ra, rb, stretch, style))

    def arrays(self) -> tuple:
        fa, fb, a, b, ra, rb, stretch, style = zip(*self.rows)
        as_floats = [np.array(v, np.float64) for v in (a, b, ra, rb, stretch, style)]
        return np.array(fa), np.array(fb), *as_floats


def make_figure(bones: Bones, build: Build, rng: np.random.Generator) -> Figure:
    """Flesh, hair and clothes around given bones."""
    parts = _Parts()
    skin = look(_rgb(SKIN[rng.integers(len(SKIN))]) * rng.uniform(0.95, 1.05), shine=0.25)
    shirt_colour, trouser_colour = draw_colour(rng), draw_colour(rng, muted=True)
    stripes = {}
    if rng.random() < 0.3 and build.curve < 0.15:
        stripes = {"stripe": draw_colour(rng), "period": rng.uniform(3, 12)}
    shirt, trousers = look(shirt_colour, **stripes), look(trouser_colour)
    sleeve = rng.choice([0.0, 0.55, 1.0, 1.93], p=[0.12, 0.4, 0.08, 0.4])  # where it ends: 1 the elbow, 2 the wrist
    leg = rng.choice([0.55, 1.0, 1.95], p=[0.14, 0.1, 0.76])
    shoes = look(draw_colour(rng, muted=True) * 0.8, shine=0.2)

    def covered(cloth, end: float, part: int):
        """The look of the upper (0) or lower (1) half of a limb whose sleeve ends at `end`."""
        row = cloth.copy()
        row[3:6], row[9] = skin[:3], end - part
        return row if end > part else skin

    _torso(parts, bones, build, shirt, trousers, skin)
    _head(parts, bones, skin, rng)
    u = build.height / 175 * build.weight**0.7
    for side, sign in (("left_", 1.0), ("right_", -1.0)):
        _arm(parts, side, sign, bones, u, covered(shirt, sleeve, 0), covered(shirt, sleeve, 1), skin)
        _leg(parts, side, bones, u, build, covered(trousers, leg, 0), covered(trousers, leg, 1), shoes)
    return Figure(bones, *parts.arrays(), *_joints(bones, build))


def _torso(parts: _Parts, bones: Bones, build: Build, shirt, trousers, skin) -> None:
    h, wide = build.height / 175, build.weight
    flat, plain = (1, 0.62, 0.66), shirt.copy()
    plain[10] = 0
    chest = bones.shoulders * 0.83 * wide**0.5
    waist = (14.2 - 1.4 * build.curve) * h * wide**1.3
    hips = (bones.hips + 8.2 * h * wide) * (1 + 0.03 * build.curve)
    parts.add("chest", (0, 0.05 * bones.chest, 0), waist * 1.04, shirt, (0, 0.66 * bones.chest, 0.2), chest, flat)
    parts.add("chest", (0, 0, 0), waist * 1.02, shirt, (0, 0.3 * bones.waist, 0), waist, (1, 0.62, 0.7), to="waist")
    parts.add("waist", (0, 0.1, 0), waist, shirt, (0, 0.25 * bones.waist, 0), hips * 0.97, (1, 0.6, 0.7), to="pelvis")
    parts.add(
        "pelvis", (0, 0.02 * bones.waist, -0.3), hips, trousers, (0, -2.0 * h, -0.3), hips * 0.94, (1, 0.52, 0.66)
    )
    for sign in (1.0, -1.0):
        parts.add("pelvis", (sign * 6.4 * h, -3.2 * h, -4.2 * h), 7.3 * h * wide, trousers)
        side = "left_upper_arm" if sign > 0 else "right_upper_arm"
        parts.add(
            "neck", (sign * 3.2 * h, -0.05 * bones.neck, -0.8), 3.3 * h, plain, (0, 0, 0), 4.6 * h * wide**0.4, to=side
        )
        if build.curve > 0.15:
            bust = (4.4 + 2.0 * build.curve) * h * wide**0.7
            low, high = (sign * 6.4 * h, 0.46 * bones.chest, 5.6 * h), (sign * 6.0 * h, 0.8 * bones.chest, 4.0 * h)
            parts.add("chest", low, bust, plain, high, bust * 0.5)
    parts.add("neck", (0, -1.5, -0.6), 5.6 * h * wide**0.3, skin, (0, bones.neck + 2, 0.3), 5.0 * h * wide**0.3)


def _head(parts: _Parts, bones: Bones, skin, rng: np.random.Generator) -> None:
    s = bones.head / 22.5
    dark = look(np.array([0.06, 0.045, 0.04]), shine=0.6)
    lips = look(skin[:3] * np.array([0.82, 0.55, 0.55]))
    hair_colour = _rgb(HAIR[rng.integers(len(HAIR))])
    hair = look(hair_colour, shine=0.2)
    brow = look(hair_colour * 0.7 + skin[:3] * 0.1)
    up = 9.2 * s  # height of the middle of the skull above the head's joint
    parts.add("head", (0, up + 1.2 * s, -0.6 * s), 9.4 * s, skin, stretch=(0.80, 1.0, 1.0))
    parts.add("head", (0, up - 0.5 * s, 1.2 * s), 7.6 * s, skin, (0, up - 7.6 * s, 3.4 * s), 4.5 * s, (0.88, 1, 1))
    parts.add("head", (0, up + 0.6 * s, 8.4 * s), 0.9 * s, skin, (0, up - 2.4 * s, 9.8 * s), 1.45 * s)
    parts.add(
        "head",
        (-1.7 * s, up - 5.3 * s, 7.75 * s),
        0.62 * s,
        lips,
        (1.7 * s, up - 5.3 * s, 7.75 * s),
        0.62 * s,
        (1, 0.8, 1),
    )
    for sign in (1.0, -1.0):
        parts.add("head", (sign * 3.1 * s, up + 0.4 * s, 7.55 * s), 1.15 * s, dark, stretch=(1, 0.75, 0.8))
        brow_a, brow_b = (sign * 1.7 * s, up + 2.3 * s, 8.15 * s), (sign * 4.3 * s, up + 2.1 * s, 7.2 * s)
        parts.add("head", brow_a, 0.5 * s, brow, brow_b, 0.38 * s)
        parts.add("head", (sign * 7.5 * s, up - 0.8 * s, -0.6 * s), 2.9 * s, skin, stretch=(0.4, 1, 0.62))
    style = rng.choice(
        ["bald", "short", "crop", "long", "bun", "tail", "bob"], p=[0.06, 0.34, 0.16, 0.18, 0.08, 0.1, 0.08]
    )
    if style == "bald":
        return
    thick = 0.35 * s if style == "crop" else 0.9 * s
    parts.add("head", (0, up + 2.3 * s, -1.9 * s), 9.2 * s + thick, hair, stretch=(0.83, 0.95, 0.97))
    parts.add("head", (0, up - 3.0 * s, -4.4 * s), 6.0 * s + thick, hair)
    if style in ("long", "bob"):
        low = up - (19 if style == "long" else 8) * s
        parts.add("head", (0, up + 0.5 * s, -3.6 * s), 8.0 * s, hair, (0, low, -5.4 * s), 6.2 * s, (1, 1, 0.62))
        for sign in (1.0, -1.0):
            parts.add(
                "head",
                (sign * 6.2 * s, up + 4 * s, -1.5 * s),
                2.6 * s,
                hair,
                (sign * 6.6 * s, low + 6 * s, -2.6 * s),
                2.2 * s,
            )
    if style == "bun":
        parts.add("head", (0, up + 7.0 * s, -8.6 * s), 3.8 * s, hair)
    if style == "tail":
        parts.add("head", (0, up + 2.5 * s, -10 * s), 2.8 * s, hair, (0, up - 13 * s, -13 * s), 1.6 * s)


def _arm(parts: _Parts, side: str, sign: float, bones: Bones, u: float, upper, fore, skin) -> None:
    parts.add(side + "upper_arm", (0, -0.3 * u, 0), 5.4 * u, upper, (0, -bones.upper_arm, 0), 4.1 * u)
    parts.add(side + "forearm", (0, 0, 0), 4.2 * u, fore, (0, -bones.forearm, 0), 2.75 * u, (1, 1, 0.92))
    k = bones.hand / 17.5
    parts.add(side + "hand", (0, -1.5 * k, 0), 2.9 * k, skin, (0, -7.5 * k, 0.4 * k), 4.0 * k, (0.5, 1, 1))
    parts.add(
        side + "hand",
        (0, -9.0 * k, 0.6 * k),
        3.3 * k,
        skin,
        (-sign * 1.6 * k, -15.0 * k, 0.9 * k),
        2.3 * k,
        (0.42, 1, 1),
    )
    parts.add(side + "hand", (0, -3.0 * k, 2.4 * k), 1.4 * k, skin, (-sign * 1.2 * k, -8.0 * k, 5.2 * k), 1.0 * k)


def _leg(parts: _Parts, side: str, bones: Bones, u: float, build: Build, upper, lower, shoes) -> None:
    thick = u * (1 + 0.05 * build.curve)
    parts.add(side + "thigh", (0, -1.0, 0), 8.9 * thick, upper, (0, -bones.thigh, 0.2), 5.5 * u)
    parts.add(side + "shin", (0, 0, 0), 5.5 * u, lower, (0, -bones.shin, 0), 3.5 * u)
    calf = lower.copy()
    calf[3:6], calf[9] = (lower[3:6], 0.0) if lower[9] < 0.3 else (lower[:3], 2.0)
    parts.add(side + "shin", (0, -0.2 * bones.shin, -1.6 * u), 5.0 * u, calf, (0, -0.5 * bones.shin, -1.2 * u), 4.0 * u)
    k = bones.foot / 26.0
    low = -bones.ankle
    parts.add(
        side + "foot",
        (0, low + 3.6 * k, -3.0 * k),
        3.7 * k,
        shoes,
        (0, low + 2.5 * k, 14.5 * k),
        3.3 * k,
        (1.1, 0.75, 1.3),
    )
    parts.add(side + "foot", (0, -0.5, 0), 4.0 * k, shoes, (0, low + 3.8 * k, 6.0 * k), 3.6 * k)


def _joints(bones: Bones, build: Build) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s, h, u = bones.head / 22.5, build.height / 175, build.height / 175 * build.weight**0.7
    up = 9.2 * s
    table = {
        "neck": ("neck", (0, -0.4 * bones.neck, 0), 11.5 * h),
        "nose": ("head", (0, up - 2.4 * s, 10.6 * s), 1.9 * s),
        "body_center": ("pelvis", (0, 0, 0), 14 * h * build.weight),
    }
    for side, sign in (("left_", 1.0), ("right_", -1.0)):
        table |= {
            side + "eye": ("head", (sign * 3.1 * s, up + 0.4 * s, 8.0 * s), 1.7 * s),
            side + "ear": ("head", (sign * 8.3 * s, up - 0.8 * s, -0.6 * s), 2.4 * s),
            side + "shoulder": (side + "upper_arm", (0, 0, 0), 10.0 * u),
            side + "elbow": (side + "forearm", (0, 0, 0), 9.5 * u),
            side + "wrist": (side + "hand", (0, 0, 0), 6.5 * u),
            side + "hip": (side + "thigh", (0, 0, 0), 18.5 * u),
            side + "knee": (side + "shin", (0, 0, 0), 10.5 * u),
            side + "ankle": (side + "foot", (0, 0, 0), 8.0 * u),
        }
    rows = [table[name] for name in PANOPTIC19.joints]
    return (
        np.array([FRAME[r[0]] for r in rows]),
        np.array([r[1] for r in rows], np.float64),
        np.array([r[2] for r in rows]),
    )
