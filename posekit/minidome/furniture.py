"""The MiniDome's furniture: seats, tables, shelves, sofas, lamps, plants, as cones and boxes
(chapter 02)."""

import numpy as np

from posekit.minidome import solids
from posekit.minidome.dome import ROOM
from posekit.minidome.palette import CLOTH, FURNITURE, pick
from posekit.minidome.solids import Solids, boxes, material, round_cones

ALONG_WALLS = {"shelf": 24, "sofa": 20, "cabinet": 20, "lamp": 14, "plant": 22}
ANYWHERE = {"crate": 20, "table": 26, "plant": 22, "lamp": 12, "post": 5, "ball": 12}
IN_THE_WAY = 0.12
"""Fraction of the free-standing objects that are placed between a person and a camera."""


def _choose(shares: dict[str, float], rng: np.random.Generator) -> str:
    weights = np.array(list(shares.values()), float)
    return list(shares)[rng.choice(len(weights), p=weights / weights.sum())]


def seat(spot: np.ndarray, back: np.ndarray, height: float, rng: np.random.Generator) -> Solids:
    """Return a block, a stool or a chair below a person's pelvis.

    Args:
        spot: (3,) on the floor, cm.
        back: (3,) level vector to the person's back.
        height: of the seat, cm.
        rng: source of random numbers.
    """
    centre = spot + 3 * back
    yaw = np.rad2deg(np.arctan2(-back[0], -back[2]))
    style = rng.choice(["block", "stool", "chair", "chair"])
    paint = pick(FURNITURE, rng)
    if style == "block":
        return boxes(centre - [0, height / 2, 0], [20, height / 2, 17], yaw, material(paint))
    c = np.cos(np.deg2rad(yaw))
    s = np.sin(np.deg2rad(yaw))
    corner = lambda x, z: centre + np.array([c * x + s * z, 0, -s * x + c * z])  # noqa: E731
    feet = np.array([corner(x, z) for x in (-16, 16) for z in (-14, 14)])
    top = boxes(centre - [0, height - 2, 0], [19, 2, 18], yaw, material(paint))
    legs = round_cones(
        feet - [0, height - 4, 0], feet - [0, 1.8, 0], 1.8, 1.4, material(paint * 0.6)
    )
    if style == "stool":
        return solids.merge([top, legs])
    rest = corner(0, -19.5) - [0, height + 24, 0]
    posts = np.array([corner(x, -19.5) for x in (-15, 15)]) - [0, height, 0]
    slab = boxes(rest, [18, 11, 1.5], yaw, material(paint))
    return solids.merge(
        [top, legs, slab, round_cones(posts, posts - [0, 20, 0], 1.6, 1.6, material(paint * 0.6))]
    )


def place_furniture(
    body: Solids,
    targets: list[np.ndarray],
    eyes: list[np.ndarray],
    rng: np.random.Generator,
    wall: int | None = None,
) -> list[Solids]:
    """Furniture along the walls and about the stage, none of it inside a person, a camera or each
    other.

    Args:
        body: the solids of all people, world coordinates.
        targets: (3,) position of each person.
        eyes: (3,) positions of the active cameras.
        rng: source of random numbers.
        wall: only along this one (0 +z, 1 +x, 2 -z, 3 -x), and nothing about the stage.
    """
    points = np.concatenate([body.a, body.b])
    radii = np.concatenate([body.ra, body.rb])
    out = []
    spots = []
    kinds = [_choose(ALONG_WALLS, rng) for _ in range(rng.integers(2, 6))]
    walls = len(kinds)
    if wall is None:
        kinds += [_choose(ANYWHERE, rng) for _ in range(rng.choice(4, p=[0.2, 0.35, 0.3, 0.15]))]
    for i, kind in enumerate(kinds):
        thing, radius, height = make(kind, rng)
        for _ in range(8):
            yaw = rng.uniform(0, 360)
            if i < walls:
                spot, yaw = _by_a_wall(radius, rng, wall)
            elif rng.random() < IN_THE_WAY and targets:
                target = targets[rng.integers(len(targets))]
                eye = eyes[rng.integers(len(eyes))]
                way = (eye - target) * [1, 0, 1]
                spot = (
                    target + way / np.linalg.norm(way) * rng.uniform(38, 100) + rng.normal(0, 18, 3)
                )
            else:
                bearing = rng.uniform(0, 2 * np.pi)
                r = rng.uniform(130, 380)
                spot = np.array([r * np.cos(bearing), 0, r * np.sin(bearing)])
            spot[1] = 0
            near = points[:, 1] < 1e9 if height > 60 else points[:, 1] > -height - 12
            gap = np.linalg.norm(points[:, [0, 2]] - spot[[0, 2]], axis=1) - radii - radius
            apart = all(np.hypot(*(spot - other)[[0, 2]]) > radius + r + 3 for other, r in spots)
            to_eyes = min(np.hypot(*(spot - eye)[[0, 2]]) - radius for eye in eyes)
            if (
                gap[near].min(initial=1e9) > 1
                and apart
                and to_eyes > 55
                and _inside(spot, 0.7 * radius)
            ):
                out.append(turned(thing, yaw, spot))
                spots.append((spot, radius))
                break
    return out


def _inside(spot: np.ndarray, radius: float) -> bool:
    return abs(spot[0]) + radius < ROOM[0] and abs(spot[2]) + radius < ROOM[2]


def _by_a_wall(
    radius: float, rng: np.random.Generator, wall: int | None
) -> tuple[np.ndarray, float]:
    """Return a position in front of a wall, and the yaw that turns an object's back to it."""
    along = rng.uniform(-0.75, 0.75)
    wall = int(rng.integers(4)) if wall is None else wall
    x, z = (
        (along * ROOM[0], ROOM[2] - 0.75 * radius)
        if wall % 2 == 0
        else (ROOM[0] - 0.75 * radius, along * ROOM[2])
    )
    sign = 1 if wall < 2 else -1
    return np.array([sign * x, 0.0, sign * z]), (180.0, 270.0, 0.0, 90.0)[wall]


def turned(thing: Solids, yaw: float, by: np.ndarray) -> Solids:
    """A thing turned about the vertical (degrees: its front, +z, then looks to heading `yaw`) and
    moved."""
    c = np.cos(np.deg2rad(yaw))
    s = np.sin(np.deg2rad(yaw))
    return solids.to_view(thing, np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), by)


def make(kind: str, rng: np.random.Generator) -> tuple[Solids, float, float]:
    """A piece of furniture at the origin, its front to +z, its radius seen from above and its
    height, cm."""
    return _MAKERS[kind](pick(FURNITURE, rng), rng)


def _crate(paint, rng):
    half = rng.uniform((14, 14, 12), (30, 34, 24))
    slats = {"second": paint * 0.8, "period": half[1] / 2} if rng.random() < 0.5 else {}
    return (
        boxes([0, -half[1], 0], half, 0, material(paint, **slats)),
        float(np.hypot(*half[[0, 2]])),
        2 * half[1],
    )


def _post(paint, rng):
    r = rng.uniform(2.5, 6)
    h = rng.uniform(150, 230)
    foot = round_cones(
        [0, -2.5, 0],
        [0, -2.4, 0],
        3.2 * r,
        3.2 * r,
        material(paint * 0.7),
        np.diag([1, (3.2 * r / 2.5) ** 2, 1])[None],
    )
    return (
        solids.merge([round_cones([0, -2, 0], [0, -h, 0], r, r, material(paint, shine=0.2)), foot]),
        r * 3.2,
        h,
    )


def _table(paint, rng):
    half = rng.uniform((35, 1.5, 24), (55, 2.5, 34))
    top = rng.uniform(55, 78)
    feet = np.array([[x * (half[0] - 4), 0, z * (half[2] - 4)] for x in (-1, 1) for z in (-1, 1)])
    parts = [boxes([0, -top, 0], half, 0, material(paint))]
    parts.append(
        round_cones(feet - [0, 2.0, 0], feet - [0, top - 2, 0], 1.6, 2.2, material(paint * 0.65))
    )
    for _ in range(rng.integers(0, 4)):  # a book, a box, a vase on it
        x, z = rng.uniform(-0.7, 0.7, 2) * half[[0, 2]]
        size = rng.uniform((4, 1.5, 4), (11, 6, 9))
        parts.append(
            boxes(
                [x, -top - half[1] - size[1], z],
                size,
                rng.uniform(0, 90),
                material(pick(CLOTH, rng)),
            )
        )
    return solids.merge(parts), float(np.hypot(*half[[0, 2]])), top + 14


def _shelf(paint, rng):
    w = rng.uniform(38, 62)
    h = rng.uniform(130, 210)
    d = 15.0
    n = int(rng.integers(4, 6))
    step = h / n
    frame = [
        ([-w, -h / 2, 0], [1.5, h / 2, d]),
        ([w, -h / 2, 0], [1.5, h / 2, d]),
        ([0, -h / 2, -d], [w, h / 2, 1]),
    ]
    frame += [([0, -step * k - 1.2, 0], [w, 1.2, d]) for k in range(n + 1)]
    parts = [boxes(*zip(*frame), 0, material(paint))]
    for k in range(n):
        x = -w + 3
        while x < w - 14:
            wide = rng.uniform(18, 44)
            tall = rng.uniform(0.5, 0.85) * step
            wide = min(wide, (w - 3 - x))
            books = material(pick(CLOTH, rng), second=pick(CLOTH, rng), across=rng.uniform(3, 7))
            size = [wide / 2, tall / 2, 0.7 * d]
            parts.append(boxes([x + wide / 2, -step * k - 2.4 - tall / 2, -1], size, 0, books))
            x += wide + (rng.uniform(4, 24) if rng.random() < 0.45 else 0.6)
    return solids.merge(parts), float(np.hypot(w, d)) * 0.9, h


def _sofa(paint, rng):
    w = rng.uniform(60, 88)
    cloth = material(pick(CLOTH, rng))
    soft = material(cloth[:3] * 0.9)
    parts = [boxes([[0, -20, 4], [0, -44, -26]], [[w, 16, 34], [w, 34, 9]], 0, cloth)]
    parts.append(boxes([[-w - 6, -28, 2], [w + 6, -28, 2]], [8, 26, 36], 0, soft))
    for x in (-0.5, 0.5):
        parts.append(boxes([x * w, -39, 6], [0.47 * w, 5, 29], 0, soft))
    for x in rng.uniform(-0.8, 0.8, rng.integers(1, 4)) * w:
        pillow = material(pick(CLOTH, rng))
        parts.append(
            round_cones([x, -58, -11], [x, -57, -11], 17, 17, pillow, np.diag([1, 1, 5.0])[None])
        )
    return solids.merge(parts), w * 0.95, 80.0


def _cabinet(paint, rng):
    w = rng.uniform(35, 70)
    h = rng.uniform(38, 55)
    parts = [
        boxes([0, -h, 0], [w, h - 4, 20], 0, material(paint)),
        boxes([0, -3, 0], [w - 4, 3, 17], 0, material(paint * 0.5)),
    ]
    for x in (-0.5, 0.5):
        parts.append(boxes([x * w, -h, 20.5], [0.46 * w, h - 9, 0.6], 0, material(paint * 0.9)))
        parts.append(
            round_cones(
                [x * 0.2 * w, -h - 4, 22],
                [x * 0.2 * w, -h + 4, 22],
                0.9,
                0.9,
                material(np.full(3, 0.2), shine=0.5),
            )
        )
    kind = rng.choice(["screen", "vase", "books", "none"])
    if kind == "screen":
        parts.append(
            boxes(
                [0, -2 * h - 24, -6],
                [0.8 * w, 22, 1.5],
                0,
                material(np.array([0.05, 0.06, 0.08]), shine=0.4),
            )
        )
    if kind == "vase":
        x = rng.uniform(-0.6, 0.6) * w
        parts.append(
            round_cones(
                [x, -2 * h - 5, 0], [x, -2 * h - 18, 0], 7, 4, material(pick(CLOTH, rng), shine=0.4)
            )
        )
    if kind == "books":
        parts.append(
            boxes(
                [rng.uniform(-0.5, 0.5) * w, -2 * h - 6, 0],
                [16, 11, 9],
                0,
                material(pick(CLOTH, rng), second=pick(CLOTH, rng), across=4),
            )
        )
    return solids.merge(parts), w, 2 * h + 20


def _lamp(paint, rng):
    h = rng.uniform(135, 175)
    foot = round_cones(
        [0, -2, 0], [0, -2, 0], 15, 15, material(paint * 0.6), np.diag([1, 50.0, 1])[None]
    )
    shade = material(np.array([1.0, 0.93, 0.78]) * rng.uniform(0.95, 1.1))
    parts = [foot, round_cones([0, -2, 0], [0, -h, 0], 1.3, 1.3, material(paint * 0.5, shine=0.4))]
    return (
        solids.merge([*parts, round_cones([0, -h + 12, 0], [0, -h - 14, 0], 19, 12, shade)]),
        20.0,
        h + 26,
    )


def _ball(paint, rng):
    r = rng.uniform(9, 28)
    skin = material(
        pick(CLOTH, rng),
        second=pick(CLOTH, rng),
        across=r * 0.9 if rng.random() < 0.5 else 0,
        shine=0.3,
    )
    return round_cones([0, -r, 0], [0, -r, 0], r, r, skin), r, 2 * r


def _plant(paint, rng):
    pot = rng.uniform(11, 17)
    h = rng.uniform(45, 120)
    n = int(rng.integers(9, 16))
    turn = rng.uniform(0, 2 * np.pi) + np.arange(n) * 2.4
    lift = rng.uniform(0.3, 1, n)
    green = np.array([0.2, rng.uniform(0.38, 0.55), 0.2])
    base = np.tile([0.0, -1.8 * pot, 0.0], (n, 1))
    reach = pot * 2.2 * (1.25 - lift)
    tips = np.stack([np.cos(turn) * reach, -1.8 * pot - h * lift, np.sin(turn) * reach], axis=1)
    greens = [material(green * k, shine=0.15) for k in rng.uniform(0.75, 1.3, n)]
    middle = (base + tips) / 2 - [0, 4, 0]
    leaves = round_cones(
        middle,
        tips,
        rng.uniform(4, 8, n),
        rng.uniform(1.0, 2.5, n),
        greens,
        np.linalg.inv(_flat(tips - middle, turn)),
    )
    stems = round_cones(base, middle, 1.0, 0.8, material(green * 0.7))
    vase = round_cones([0, -0.75 * pot, 0], [0, -1.4 * pot, 0], 0.75 * pot, pot, material(paint))
    return solids.merge([vase, stems, leaves]), 2.0 * pot, 1.8 * pot + h


def _flat(way: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Covariances of leaves: thin across the plane of their direction and the level."""
    way = way / np.linalg.norm(way, axis=1, keepdims=True)
    level = np.stack([-np.sin(turn), np.zeros_like(turn), np.cos(turn)], axis=1)
    thin = np.cross(way, level)
    return np.eye(3) - 0.9 * thin[:, :, None] * thin[:, None, :]


_MAKERS = {
    "crate": _crate,
    "post": _post,
    "table": _table,
    "shelf": _shelf,
    "sofa": _sofa,
    "cabinet": _cabinet,
    "lamp": _lamp,
    "plant": _plant,
    "ball": _ball,
}
