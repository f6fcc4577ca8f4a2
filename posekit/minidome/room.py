"""The MiniDome's room: floor, walls and ceiling as one painted sheet that every camera looks up (chapter 02).

The room is a box, so what a camera's pixel sees of it never changes: its place on the sheet is worked out once a camera.
A scene then only paints a new sheet, with the shadows that people and things throw on the floor.
"""

import numpy as np

from posekit.geometry import Camera
from posekit.minidome.body import draw_colour
from posekit.minidome.scene import ROOM, Scene
from posekit.minidome.solids import Solids

WALL_SCALE, FLOOR_SCALE = 0.6, 0.8
"""Pixels of the sheet per cm of wall and of floor."""

_WIDTH, _HEIGHT, _DEPTH = 2 * ROOM[0], ROOM[1], 2 * ROOM[2]
WALL_ROWS = int(_HEIGHT * WALL_SCALE)
AROUND = int(2 * (_WIDTH + _DEPTH) * WALL_SCALE)
FLOOR_ROWS, FLOOR_COLS = int(_DEPTH * FLOOR_SCALE), int(_WIDTH * FLOOR_SCALE)
_PAD = 4  # rows between walls and floor, so that sampling never mixes them
SHEET = (WALL_ROWS + _PAD + FLOOR_ROWS + _PAD, max(AROUND, 2 * FLOOR_COLS + _PAD), 3)


def look_up(camera: Camera, rays: np.ndarray) -> np.ndarray:
    """Where on the sheet each ray of a camera ends: rays (H, W, 3) in camera coordinates -> (H, W, 2) float32, x then y."""
    d = np.einsum("pi,ij->pj", rays.reshape(-1, 3), camera.R)  # not BLAS: the same bytes on any number of threads
    o = camera.position
    low, high = np.array([-ROOM[0], -ROOM[1], -ROOM[2]]), np.array([ROOM[0], 0.0, ROOM[2]])
    with np.errstate(divide="ignore"):
        t = np.where(d == 0, np.inf, np.where(d > 0, high - o, low - o) / d)
    side = np.argmin(t, axis=1)
    p = o + d * t[np.arange(len(t)), side, None]
    x, y, z = p.T
    out = np.empty((len(d), 2))
    east, south = (side == 0) & (d[:, 0] > 0), (side == 2) & (d[:, 2] > 0)
    west, north = (side == 0) & ~east, (side == 2) & ~south
    around = np.select(
        [south, east, north, west],
        [x + ROOM[0], _WIDTH + ROOM[2] - z, _WIDTH + _DEPTH + ROOM[0] - x, 2 * _WIDTH + _DEPTH + z + ROOM[2]],
    )
    out[:, 0], out[:, 1] = around * WALL_SCALE, (y + _HEIGHT) * WALL_SCALE
    np.clip(out[:, 1], 0, WALL_ROWS - 1, out=out[:, 1])
    flat = side == 1
    out[flat, 0] = (x[flat] + ROOM[0]) * FLOOR_SCALE
    ceiling = flat & (d[:, 1] < 0)
    out[ceiling, 0] += FLOOR_COLS + _PAD
    out[flat, 1] = WALL_ROWS + _PAD + (z[flat] + ROOM[2]) * FLOOR_SCALE
    return out.reshape(*rays.shape[:2], 2).astype(np.float32)


def paint(scene: Scene, shapes: Solids) -> np.ndarray:
    """The sheet of one frame, uint8 RGB: surfaces drawn by the scene's room seed, shadows by its light and shapes."""
    import cv2

    rng = np.random.default_rng(scene.room_seed)
    sheet = np.zeros(SHEET, np.uint8)
    walls, floor = sheet[:WALL_ROWS], sheet[WALL_ROWS + _PAD : WALL_ROWS + _PAD + FLOOR_ROWS, :FLOOR_COLS]
    ceiling = _bytes(draw_colour(rng, muted=True) * 0.3 + 0.6).tolist()
    cv2.rectangle(sheet, (0, WALL_ROWS), (2 * FLOOR_COLS + 2 * _PAD, SHEET[0]), ceiling, -1)
    _paint_walls(walls, scene, rng)
    _paint_floor(floor, scene, rng)
    _shade_floor(floor, scene, shapes)
    sheet[WALL_ROWS : WALL_ROWS + _PAD] = sheet[WALL_ROWS - 1]
    return sheet


def _bytes(colour: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(colour) * 255, 0, 255).astype(np.uint8)


def _clouds(shape: tuple[int, int], grain: int, rng: np.random.Generator) -> np.ndarray:
    """Soft random field, about -1 ... 1, float32."""
    import cv2

    small = rng.standard_normal((max(2, shape[0] // grain), max(2, shape[1] // grain))).astype(np.float32)
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _tinted(shade: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(H, W) brightness about 1 times one colour -> (H, W, 3) uint8, through a table for speed."""
    import cv2

    index = cv2.convertScaleAbs(shade, alpha=170.0)
    return cv2.merge([cv2.LUT(index, _bytes(np.arange(256) / 170 * c)) for c in colour])


def _paint_walls(walls: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    import cv2

    base, other = draw_colour(rng, muted=True), draw_colour(rng, muted=True)
    ends = (np.cumsum([0, _WIDTH, _DEPTH, _WIDTH, _DEPTH]) * WALL_SCALE).astype(int)
    facing = np.array([[0, 0, -1], [-1, 0, 0], [0, 0, 1], [1, 0, 0]])
    style = rng.choice(["plain", "stripes", "panel", "clouds"], p=[0.35, 0.2, 0.25, 0.2])
    rows = len(walls)
    for k in range(4):
        part = walls[:, ends[k] : ends[k + 1]]
        bright = scene.ambient + (1 - scene.ambient) * (0.45 + 0.5 * max(0.0, float(facing[k] @ scene.light)))
        shade = np.empty(part.shape[:2], np.float32)
        shade[:] = np.linspace(1.06, 0.86, rows, dtype=np.float32)[:, None]  # a little darker towards the floor
        if style == "clouds":
            shade += 0.12 * _clouds(shade.shape, 20, rng)
        part[:] = _tinted(shade, base * bright * scene.tint)
        if style == "stripes":
            period = int(rng.integers(14, 60))
            on = (np.arange(part.shape[1]) % period) < period // 2
            part[:, on] = _tinted(shade[:, on], (0.7 * base + 0.3 * other) * bright * scene.tint)
        if style == "panel":
            part[int(0.62 * rows) :] = _bytes(other * bright * scene.tint * 0.9)
        for _ in range(rng.integers(0, 5)):  # pictures, windows, doors
            w, h = (int(v) for v in rng.integers((20, 20), (90, 100)))
            x, y = int(rng.integers(0, part.shape[1] - w)), int(rng.integers(8, rows - h))
            area = np.ascontiguousarray(part[y : y + h, x : x + w])
            area[:] = _bytes(draw_colour(rng) * bright)
            if rng.random() < 0.6:
                edge = _bytes(draw_colour(rng, muted=True) * bright).tolist()
                cv2.rectangle(area, (0, 0), (w - 1, h - 1), edge, int(rng.integers(2, 6)))
            part[y : y + h, x : x + w] = area
    walls[:, ends[-1] :] = walls[:, ends[-1] - 1 : ends[-1]]
    skirting = int(8 * WALL_SCALE)
    walls[-skirting:] = (walls[-skirting:] * 0.6).astype(np.uint8)


def _paint_floor(floor: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    import cv2

    bright = scene.ambient + (1 - scene.ambient) * float(-scene.light[1])
    base, other = draw_colour(rng, muted=True), draw_colour(rng, muted=True)
    style = rng.choice(["plain", "planks", "tiles", "carpet", "checks"], p=[0.2, 0.25, 0.2, 0.2, 0.15])
    rows, cols = floor.shape[:2]
    y, x = np.arange(rows), np.arange(cols)
    shade = np.ones((rows, cols), np.float32)
    if style == "planks":
        wide = int(rng.integers(10, 22))
        tones = rng.uniform(0.82, 1.1, 997).astype(np.float32)
        for k in range(-(-rows // wide)):
            shade[k * wide : (k + 1) * wide] = tones[(k * 7 + (x + k * 61) // 130) % 997]
        shade[y % wide == 0] *= 0.75
    elif style == "tiles":
        wide = int(rng.integers(20, 50))
        shade[y % wide < 2] *= 0.8
        shade[:, x % wide < 2] *= 0.8
    shade += 0.05 * _clouds((rows, cols), 6 if style == "carpet" else 40, rng)
    light = bright * scene.tint
    painted = _tinted(shade, base * light)
    if style == "checks":
        wide = int(rng.integers(25, 60))
        cells = ((y[:, None] // wide + x[None, :] // wide) % 2).astype(np.uint8)
        cv2.copyTo(_tinted(shade, (0.75 * base + 0.25 * other) * light), cells, painted)
    if rng.random() < 0.35:  # a rug
        rug = np.zeros((rows, cols), np.uint8)
        centre = (int(cols / 2 + rng.normal(0, 50)), int(rows / 2 + rng.normal(0, 50)))
        cv2.ellipse(rug, centre, (int(rng.integers(60, 140)), int(rng.integers(60, 140))), 0, 0, 360, 1, -1)
        cv2.copyTo(_tinted(shade, other * light), rug, painted)
    floor[:] = painted


def _shade_floor(floor: np.ndarray, scene: Scene, shapes: Solids) -> None:
    """Shadows: each shape slid along the light onto the floor, drawn as a stroke, blurred together."""
    import cv2

    shadow = np.zeros(floor.shape[:2], np.uint8)
    slide = scene.light / scene.light[1]
    place = lambda p: ((p - p[:, 1:2] * slide)[:, [0, 2]] + ROOM[[0, 2]]) * FLOOR_SCALE  # noqa: E731
    a, b = place(shapes.a), place(shapes.b)
    size = np.sqrt(1 / np.maximum(np.linalg.eigvalsh(shapes.metric)[:, 1], 1e-9)) if len(a) else np.zeros(0)
    for p, q, r in zip(a, b, np.maximum(shapes.ra, shapes.rb) * size):
        p, q = (tuple(int(v) for v in np.clip(point, -4000, 4000)) for point in (p, q))
        cv2.line(shadow, p, q, 255, max(1, round(1.9 * r * FLOOR_SCALE)))
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for centre, half, axes in zip(shapes.box_centre, shapes.box_half, shapes.box_axes):
        hull = cv2.convexHull(np.clip(place(centre + (corners * half) @ axes), -4000, 4000).astype(np.int32))
        cv2.fillConvexPoly(shadow, hull, 255)
    soft = cv2.GaussianBlur(shadow, (0, 0), 3.5)
    strength = 0.62 * (1 - scene.ambient)
    table = (255 * (1 - strength * np.arange(256) / 255)).astype(np.uint8)
    dark = cv2.LUT(soft, table)
    floor[:] = cv2.multiply(floor, cv2.merge([dark, dark, dark]), scale=1 / 255)
