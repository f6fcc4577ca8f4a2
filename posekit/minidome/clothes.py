"""Body surface, face, hair and clothes as round cones in the frames of the body parts (chapter 02).

Nothing here has a left and a right of its own, so only geometry tells the sides apart.
"""

from dataclasses import dataclass

import numpy as np

from posekit.minidome.palette import CLOTH, HAIR, SHOES, SKIN, TROUSERS, pick, rgb
from posekit.minidome.pose import FRAME, Bones
from posekit.minidome.solids import material

SIDES = (("left_", 1.0), ("right_", -1.0))
HAIRCUTS = {
    "bald": 4,
    "short": 30,
    "crop": 12,
    "parted": 14,
    "long": 15,
    "bob": 9,
    "bun": 7,
    "tail": 9,
}
HATS = {"none": 84, "cap": 9, "beanie": 5, "brim": 2}


@dataclass(frozen=True)
class BodyShape:
    """Parameters of a person's body shape.

    Args:
        height: cm.
        weight: width of the body relative to the average.
        curve: -1 broad shoulders and narrow hips ... 1 the other way round, with a bust.
    """

    height: float
    weight: float
    curve: float

    @property
    def h(self) -> float:
        """Size against an adult of 175 cm."""
        return self.height / 175

    @property
    def u(self) -> float:
        """Thickness of limbs against the average adult's."""
        return self.h * self.weight**0.7


@dataclass(frozen=True)
class Outfit:
    """Clothes of a person; `sleeve` and `leg` say where cloth ends: 1 at the elbow or knee, 2 at
    the wrist or ankle.

    Args:
        skin, top, bottom, shoes: rows of `solids.look`.
        plain: `top` without its pattern.
        sleeve, leg: 0-2.
        skirt: how far down the thigh it reaches, 0 for none, over 1 beyond the knee.
        hem: how far down the thigh the top reaches (a coat), 0 for a shirt.
        loose: cm between limb and cloth.
    """

    skin: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    shoes: np.ndarray
    plain: np.ndarray
    sleeve: float
    leg: float
    skirt: float
    hem: float
    loose: float

    @property
    def cloth(self) -> np.ndarray:
        """`top` without its logo."""
        return self.plain if self.top[13] else self.top


def draw_outfit(build: BodyShape, rng: np.random.Generator) -> Outfit:
    """Clothes for a person: colours, patterns, lengths."""
    skin = material(rgb(SKIN[rng.integers(len(SKIN))]) * rng.uniform(0.96, 1.04), shine=0.2)
    colour = pick(CLOTH, rng)
    second = pick(CLOTH, rng)
    pattern = rng.choice(
        ["plain", "stripes", "columns", "checks", "logo"], p=[0.5, 0.17, 0.05, 0.12, 0.16]
    )
    size = rng.uniform(3, 9)
    dyed = {
        "plain": {},
        "stripes": {"period": size},
        "columns": {"across": size},
        "checks": {"period": size, "across": size},
        "logo": {"logo": rng.uniform(3, 6.5) * build.h, "logo_at": 9 * build.h},
    }[pattern]
    top = material(colour, second=second, **dyed)
    bottom = material(pick(TROUSERS, rng))
    sleeve = float(rng.choice([0.0, 0.55, 1.2, 1.94], p=[0.1, 0.4, 0.06, 0.44]))
    leg = float(rng.choice([0.35, 0.72, 1.3, 1.93], p=[0.05, 0.15, 0.05, 0.75]))
    skirt = 0.0
    hem = 0.0
    if build.curve > 0 and rng.random() < 0.4:
        skirt = rng.uniform(0.45, 1.15)
        leg = 0.3
        if rng.random() < 0.5:  # a dress: skirt and top are of one cloth
            bottom = material(
                colour, second=second, **{k: v for k, v in dyed.items() if "logo" not in k}
            )
    elif sleeve > 1.5 and rng.random() < 0.3:
        hem = rng.uniform(0.2, 0.95)
    return Outfit(
        *(skin, top, bottom, material(pick(SHOES, rng), shine=0.25), material(colour)),
        *(sleeve, leg, skirt, hem, rng.uniform(0.2, 1.2) * build.h),
    )


class _Parts:
    """Collects a figure's parts."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []

    def add(
        self,
        frame: str,
        a,
        ra: float,
        style,
        b=None,
        rb: float | None = None,
        stretch=(1, 1, 1),
        to: str = "",
    ) -> None:
        b = a if b is None else b
        rb = ra if rb is None else rb
        self.rows.append((FRAME[frame], FRAME[to or frame], a, b, ra, rb, stretch, style))

    def arrays(self) -> tuple:
        fa, fb, a, b, ra, rb, stretch, style = zip(*self.rows)
        as_floats = [np.array(v, np.float64) for v in (a, b, ra, rb, stretch, style)]
        return np.array(fa), np.array(fb), *as_floats


def dress(bones: Bones, build: BodyShape, rng: np.random.Generator) -> tuple:
    """A person's parts as the arrays of `body.Figure`, from `frame_a` to `looks`."""
    parts = _Parts()
    wear = draw_outfit(build, rng)
    _torso(parts, bones, build, wear)
    _head(parts, bones, wear, rng)
    for side, sign in SIDES:
        _arm(parts, side, sign, bones, build, wear)
        _leg(parts, side, bones, build, wear)
    return parts.arrays()


def _torso(parts: _Parts, bones: Bones, build: BodyShape, wear: Outfit) -> None:
    h = build.h
    wide = build.weight
    curve = build.curve
    chest = bones.shoulders * 0.86 * wide**0.5
    waist = (14.4 - 1.2 * curve) * h * wide**1.2
    hips = (bones.hips + 8.2 * h * wide) * (1 + 0.03 * curve)
    # One cone over the ribs, one over the belly, both flattened alike: no seam where they meet.
    parts.add(
        "chest",
        (0, 0.68 * bones.chest, 0.2),
        chest,
        wear.top,
        (0, 0.0 * bones.chest, 0.3),
        waist * 1.03,
        (1, 0.6, 0.67),
    )
    parts.add(
        "chest",
        (0, 0.12 * bones.chest, 0.3),
        waist * 1.01,
        wear.cloth,
        (0, 0.12 * bones.waist, 0),
        hips * 0.985,
        (1, 0.6, 0.67),
        to="pelvis",
    )
    parts.add(
        "pelvis",
        (0, 0.05 * bones.waist, -0.2),
        hips * 0.99,
        wear.bottom,
        (0, -2.4 * h, -0.4),
        hips * 0.95,
        (1, 0.55, 0.68),
    )
    for sign in (1.0, -1.0):
        parts.add("pelvis", (sign * 5.6 * h, -3.2 * h, -2.6 * h), 7.7 * h * wide, wear.bottom)
        upper = "left_upper_arm" if sign > 0 else "right_upper_arm"
        cloth = wear.cloth if wear.sleeve > 0 else wear.plain
        parts.add(
            "neck",
            (sign * 2.6 * h, -0.1 * bones.neck, -1.0),
            4.0 * h,
            cloth,
            (-sign * 0.6, -0.6, 0),
            5.1 * h * wide**0.4,
            to=upper,
        )
    if curve > 0.1:
        bust = (5.6 + 1.5 * curve) * h * wide**0.5
        parts.add(
            "chest",
            (0, 0.74 * bones.chest, 1.5 * h),
            bust * 0.8,
            wear.cloth,
            (0, 0.42 * bones.chest, (4.6 + 1.2 * curve) * h),
            bust,
            (1.85, 1, 0.95),
        )
        parts.add(
            "chest",
            (0, 0.42 * bones.chest, (4.5 + 1.2 * curve) * h),
            bust * 0.98,
            wear.cloth,
            (0, 0.06 * bones.chest, 2.0 * h),
            bust * 0.8,
            (1.85, 1, 0.95),
        )
    parts.add(
        "neck",
        (0, -1.8, -0.6),
        5.7 * h * wide**0.3,
        wear.skin,
        (0, bones.neck + 2, 0.3),
        5.0 * h * wide**0.3,
    )
    collar = wear.plain[:3] * 0.82
    parts.add(
        "neck",
        (0, -0.9 * h, -0.6),
        7.2 * h * wide**0.3,
        material(collar),
        stretch=(1.05, 0.34, 1.0),
    )
    for reach, cloth, flare in ((wear.skirt, wear.bottom, 1.5), (wear.hem, wear.cloth, 1.0)):
        if reach:
            _skirt(parts, bones, hips, reach, cloth, flare * h)


def _skirt(parts: _Parts, bones: Bones, hips: float, reach: float, cloth, flare: float) -> None:
    """Cloth from the hips along both thighs, wide enough to close between them while the legs are
    together."""
    end, flat = (
        min(reach, 0.97),
        (1, 0.14, 0.92),
    )  # flattened along the leg, so that the hem is an edge
    for side, sign in SIDES:
        inward = -sign * 0.3 * bones.hips
        low = 0.58 * hips + 3.0 * flare * end
        parts.add(
            side + "thigh",
            (inward, -1.0, -0.5),
            0.72 * hips,
            cloth,
            (inward, -end * bones.thigh, 0),
            low,
            flat,
        )
        if reach > 1:
            parts.add(
                side + "thigh",
                (inward, -0.9 * bones.thigh, 0),
                low,
                cloth,
                (inward, -(reach - 1) * bones.shin, 0),
                low * 1.03,
                flat,
                to=side + "shin",
            )
    parts.add(
        "pelvis",
        (0, 0.12 * bones.waist, 0),
        hips * 1.02,
        cloth,
        (0, -5.5, -0.3),
        hips * 1.04,
        (1, 0.55, 0.76),
    )


def _head(parts: _Parts, bones: Bones, wear: Outfit, rng: np.random.Generator) -> None:
    s = bones.head / 22.5
    skin = wear.skin
    up = 9.2 * s  # height of the middle of the skull above the head's joint
    hair_colour = rgb(HAIR[rng.integers(len(HAIR))])
    hair = material(hair_colour, shine=0.25)
    brow = material(hair_colour * 0.7 + skin[:3] * 0.1)
    parts.add("head", (0, up + 1.2 * s, -0.6 * s), 9.4 * s, skin, stretch=(0.80, 1.0, 1.0))
    parts.add(
        "head",
        (0, up - 0.5 * s, 1.2 * s),
        7.6 * s,
        skin,
        (0, up - 7.6 * s, 3.4 * s),
        4.5 * s,
        (0.88, 1, 1),
    )
    parts.add(
        "head", (0, up + 0.6 * s, 8.4 * s), 0.9 * s, skin, (0, up - 2.4 * s, 9.8 * s), 1.45 * s
    )
    smile = rng.uniform(-0.1, 0.5) * s
    red = material(skin[:3] * np.array([0.8, 0.5, 0.5]))
    for sign in (1.0, -1.0):
        parts.add(
            "head",
            (0, up - 5.5 * s, 8.1 * s),
            0.6 * s,
            red,
            (sign * 2.3 * s, up - 5.5 * s + smile, 7.3 * s),
            0.4 * s,
        )
    iris = material(
        rgb(str(rng.choice(["#3a2416", "#20140c", "#5b3a1e", "#3f5f6b", "#4d6a48"]))), shine=0.8
    )
    white = material(0.72 + 0.2 * skin[:3])
    glasses = rng.random() < 0.16
    frame = material(np.full(3, rng.uniform(0.05, 0.3)), shine=0.4)
    for sign in (1.0, -1.0):
        parts.add(
            "head", (sign * 3.1 * s, up + 0.4 * s, 7.3 * s), 1.35 * s, white, stretch=(1, 0.55, 0.8)
        )
        parts.add(
            "head", (sign * 3.05 * s, up + 0.4 * s, 8.1 * s), 0.72 * s, iris, stretch=(1, 1.1, 0.62)
        )
        brow_a = (sign * 1.7 * s, up + 2.4 * s, 8.15 * s)
        brow_b = (sign * 4.5 * s, up + 2.3 * s, 7.1 * s)
        parts.add("head", brow_a, 0.5 * s, brow, brow_b, 0.38 * s)
        parts.add(
            "head", (sign * 8.1 * s, up - 0.8 * s, -0.6 * s), 2.9 * s, skin, stretch=(0.4, 1, 0.62)
        )
        if glasses:
            rim = [
                (sign * (3.1 + x) * s, up + (0.3 + y) * s, (9.0 - 0.14 * max(0, x) ** 2) * s)
                for x, y in ((-2.0, 1.2), (2.1, 1.2), (1.9, -1.3), (-1.7, -1.3))
            ]
            for a, b in zip(rim, rim[1:] + rim[:1]):
                parts.add("head", a, 0.3 * s, frame, b, 0.3 * s)
            parts.add("head", rim[1], 0.3 * s, frame, (sign * 7.9 * s, up + 0.9 * s, 0), 0.3 * s)
    if rng.random() < 0.16 and wear.skirt == 0:  # a beard
        parts.add(
            "head",
            (0, up - 3.8 * s, 1.6 * s),
            6.3 * s,
            brow,
            (0, up - 8.2 * s, 3.9 * s),
            4.5 * s,
            (0.9, 1, 0.92),
        )
    _hair(parts, s, up, hair, rng)


def _hair(parts: _Parts, s: float, up: float, hair, rng: np.random.Generator) -> None:
    names = list(HAIRCUTS)
    shares = np.array(list(HAIRCUTS.values()), float)
    style = names[rng.choice(len(names), p=shares / shares.sum())]
    hat = list(HATS)[rng.choice(len(HATS), p=np.array(list(HATS.values())) / 100)]
    if hat != "none":
        cloth = material(pick(CLOTH, rng))
        crown = (0, up + 4.3 * s, -1.6 * s)
        parts.add(
            "head",
            crown,
            (10.6 if hat == "beanie" else 10.2) * s,
            cloth,
            stretch=(0.84, 0.86, 0.98),
        )
        if hat == "cap":
            parts.add(
                "head",
                (0, up + 5.0 * s, 6.0 * s),
                6.4 * s,
                cloth,
                (0, up + 4.4 * s, 11.0 * s),
                5.2 * s,
                (1, 0.12, 0.8),
            )
        if hat == "brim":
            parts.add("head", (0, up + 5.2 * s, -1.0 * s), 15.5 * s, cloth, stretch=(0.92, 0.07, 1))
        style = style if style in ("long", "tail", "bob") else "crop"
    if style == "bald":
        return
    thick = 0.35 * s if style == "crop" else 0.9 * s
    if hat == "none":
        parts.add(
            "head", (0, up + 2.5 * s, -1.9 * s), 9.2 * s + thick, hair, stretch=(0.83, 0.95, 0.97)
        )
    parts.add("head", (0, up - 3.0 * s, -4.4 * s), 6.0 * s + thick, hair)
    if style == "parted" or (
        style in ("long", "bob", "short") and rng.random() < 0.5 and hat == "none"
    ):
        part = rng.choice([-1.0, 1.0])  # hair combed from a parting over the forehead
        parts.add(
            "head",
            (part * 2.5 * s, up + 8.4 * s, 4.6 * s),
            3.0 * s,
            hair,
            (-part * 5.6 * s, up + 4.6 * s, 4.6 * s),
            2.6 * s,
        )
        parts.add(
            "head",
            (part * 2.5 * s, up + 8.4 * s, 4.6 * s),
            2.8 * s,
            hair,
            (part * 6.0 * s, up + 4.2 * s, 3.2 * s),
            2.3 * s,
        )
    if style in ("long", "bob"):
        low = up - (19 if style == "long" else 8) * s
        parts.add(
            "head",
            (0, up + 0.5 * s, -3.6 * s),
            8.0 * s,
            hair,
            (0, low, -5.4 * s),
            6.2 * s,
            (1, 1, 0.62),
        )
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
        parts.add(
            "head", (0, up + 2.5 * s, -10 * s), 2.8 * s, hair, (0, up - 13 * s, -13 * s), 1.6 * s
        )


def _arm(
    parts: _Parts, side: str, sign: float, bones: Bones, build: BodyShape, wear: Outfit
) -> None:
    u = build.u
    skin = wear.skin
    sizes = (5.2, 4.0, 4.05, 2.7)  # shoulder, elbow, elbow, wrist
    _limb(
        parts,
        side,
        ("upper_arm", "forearm"),
        (bones.upper_arm, bones.forearm),
        sizes,
        u,
        wear,
        wear.sleeve,
        wear.cloth,
    )
    k = bones.hand / 17.5
    parts.add(
        side + "hand",
        (0, -1.2 * k, 0),
        2.7 * k,
        skin,
        (0, -7.0 * k, 0.2 * k),
        4.1 * k,
        (0.42, 1, 1),
    )
    for finger, (z, length) in enumerate(((-2.7, 5.2), (-0.9, 6.6), (0.9, 7.0), (2.6, 6.2))):
        curl = -sign * (1.3 + 0.25 * (3 - finger)) * k
        parts.add(
            side + "hand",
            (0, -9.6 * k, z * k),
            1.12 * k,
            skin,
            (curl, -(9.8 + length) * k, 1.1 * z * k),
            0.85 * k,
        )
    parts.add(
        side + "hand",
        (0, -3.2 * k, 2.8 * k),
        1.5 * k,
        skin,
        (-sign * 1.6 * k, -8.6 * k, 5.8 * k),
        1.0 * k,
    )


def _limb(parts, side, names, lengths, sizes, u, wear: Outfit, end: float, cloth) -> None:
    """An arm or a leg: skin where nothing covers it, over it cloth down to `end`, its last hem open
    and a little wide."""
    for part in (0, 1):
        a = sizes[2 * part] * u
        b = sizes[2 * part + 1] * u
        frame = side + names[part]
        length = lengths[part]
        share = min(max(end - part, 0), 1)
        if share == 0:
            parts.add(frame, (0, 0, 0), a, wear.skin, (0, -length, 0), b)
            continue
        loose = wear.loose if share == 1 else 0.25 * wear.loose
        style = cloth.copy()
        if share < 1:
            style[3:6] = wear.skin[:3]
            style[9] = share
            # The hem: flattened along the limb, so that it ends in an edge and not in a ball.
            upper, lower = (
                r + (b - a) * share + wear.loose
                for r, share in ((a - wear.loose / 2, 0.4 * share), (a, share))
            )
            parts.add(
                frame,
                (0, -0.4 * share * length, 0),
                upper,
                cloth,
                (0, -share * length, 0),
                lower,
                (1, 0.2, 1),
            )
        parts.add(frame, (0, 0, 0), a + 0.5 * loose, style, (0, -length, 0), b + loose)


def _leg(parts: _Parts, side: str, bones: Bones, build: BodyShape, wear: Outfit) -> None:
    u = build.u
    thick = 1 + 0.05 * build.curve
    sizes = (8.9 * thick, 5.5, 5.4, 3.5)
    _limb(
        parts,
        side,
        ("thigh", "shin"),
        (bones.thigh, bones.shin),
        sizes,
        u,
        wear,
        wear.leg,
        wear.bottom,
    )
    calf = wear.bottom if wear.leg > 1.6 else wear.skin
    parts.add(
        side + "shin",
        (0, -0.2 * bones.shin, -1.6 * u),
        5.0 * u,
        calf,
        (0, -0.5 * bones.shin, -1.2 * u),
        4.0 * u,
    )
    k = bones.foot / 26.0
    low = -bones.ankle
    sole = material(wear.shoes[:3] * 0.5 + (0.4 if wear.shoes[:3].mean() > 0.4 else 0.05))
    parts.add(
        side + "foot",
        (0, low + 3.8 * k, -3.0 * k),
        3.6 * k,
        wear.shoes,
        (0, low + 2.9 * k, 14.5 * k),
        3.2 * k,
        (1.1, 0.75, 1.3),
    )
    parts.add(
        side + "foot",
        (0, low + 1.4 * k, -3.0 * k),
        3.9 * k,
        sole,
        (0, low + 1.2 * k, 14.8 * k),
        3.6 * k,
        (1.08, 0.3, 1.25),
    )
    parts.add(
        side + "foot", (0, -0.5, 0), 4.0 * k, wear.shoes, (0, low + 3.8 * k, 6.0 * k), 3.4 * k
    )
