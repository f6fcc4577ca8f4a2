"""The MiniDome's room: floor, walls and ceiling as one painted sheet that every camera looks up
(chapter 02).

The room is a box, so what a camera's pixel sees of it never changes: its position on the sheet is
computed once per camera. A scene then only paints a new sheet, with the shadows that people and
things throw on the floor.
"""

import numpy as np

from posekit.cameras import Camera
from posekit.minidome.dome import ROOM
from posekit.minidome.palette import CLOTH, FLOOR, FURNITURE, WALL, pick
from posekit.minidome.scene import Scene
from posekit.minidome.solids import Solids

WALL_SCALE = 0.6
FLOOR_SCALE = 0.8
"""Pixels of the sheet per cm of wall and of floor."""

_WIDTH = 2 * ROOM[0]
_HEIGHT = ROOM[1]
_DEPTH = 2 * ROOM[2]
WALL_ROWS = int(_HEIGHT * WALL_SCALE)
AROUND = int(2 * (_WIDTH + _DEPTH) * WALL_SCALE)
FLOOR_ROWS = int(_DEPTH * FLOOR_SCALE)
FLOOR_COLS = int(_WIDTH * FLOOR_SCALE)
_PAD = 4  # rows between walls and floor, so that sampling never mixes them
SHEET = (WALL_ROWS + _PAD + FLOOR_ROWS + _PAD, max(AROUND, 2 * FLOOR_COLS + _PAD), 3)


def look_up(camera: Camera, rays: np.ndarray) -> np.ndarray:
    """Compute where on the sheet each ray of a camera ends.

    Rays (H, W, 3) in camera coordinates -> (H, W, 2) float32, x then y.
    """
    d = np.einsum(
        "pi,ij->pj", rays.reshape(-1, 3), camera.R
    )  # not BLAS: the same bytes on any number of threads
    o = camera.position
    low = np.array([-ROOM[0], -ROOM[1], -ROOM[2]])
    high = np.array([ROOM[0], 0.0, ROOM[2]])
    with np.errstate(divide="ignore"):
        t = np.where(d == 0, np.inf, np.where(d > 0, high - o, low - o) / d)
    side = np.argmin(t, axis=1)
    p = o + d * t[np.arange(len(t)), side, None]
    x, y, z = p.T
    out = np.empty((len(d), 2))
    east = (side == 0) & (d[:, 0] > 0)
    south = (side == 2) & (d[:, 2] > 0)
    west = (side == 0) & ~east
    north = (side == 2) & ~south
    around = np.select(
        [south, east, north, west],
        [
            x + ROOM[0],
            _WIDTH + ROOM[2] - z,
            _WIDTH + _DEPTH + ROOM[0] - x,
            2 * _WIDTH + _DEPTH + z + ROOM[2],
        ],
    )
    out[:, 0] = around * WALL_SCALE
    out[:, 1] = (y + _HEIGHT) * WALL_SCALE
    np.clip(out[:, 1], 0, WALL_ROWS - 1, out=out[:, 1])
    flat = side == 1
    out[flat, 0] = (x[flat] + ROOM[0]) * FLOOR_SCALE
    ceiling = flat & (d[:, 1] < 0)
    out[ceiling, 0] += FLOOR_COLS + _PAD
    out[flat, 1] = WALL_ROWS + _PAD + (z[flat] + ROOM[2]) * FLOOR_SCALE
    return out.reshape(*rays.shape[:2], 2).astype(np.float32)


def paint(scene: Scene, shapes: Solids) -> np.ndarray:
    """The sheet of one frame, uint8 RGB: surfaces drawn by the scene's room seed, shadows by its
    light and shapes."""
    import cv2

    rng = np.random.default_rng(scene.room_seed)
    sheet = np.zeros(SHEET, np.uint8)
    walls = sheet[:WALL_ROWS]
    floor = sheet[WALL_ROWS + _PAD : WALL_ROWS + _PAD + FLOOR_ROWS, :FLOOR_COLS]
    ceiling = _bytes(pick(WALL, rng) * 0.3 + 0.62).tolist()
    cv2.rectangle(sheet, (0, WALL_ROWS), (2 * FLOOR_COLS + 2 * _PAD, SHEET[0]), ceiling, -1)
    _paint_walls(walls, scene, rng)
    _paint_floor(floor, scene, rng)
    _shade_floor(floor, scene, shapes)
    sheet[WALL_ROWS : WALL_ROWS + _PAD] = sheet[WALL_ROWS - 1]
    return sheet


def shadows(scene: Scene, shapes: Solids) -> np.ndarray:
    """A white sheet with the shadows on the floor alone, for `render.draw` in front of a photo."""
    sheet = np.full(SHEET, 255, np.uint8)
    _shade_floor(
        sheet[WALL_ROWS + _PAD : WALL_ROWS + _PAD + FLOOR_ROWS, :FLOOR_COLS], scene, shapes
    )
    return sheet


def _bytes(colour: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(colour) * 255, 0, 255).astype(np.uint8)


def _clouds(shape: tuple[int, int], grain: int, rng: np.random.Generator) -> np.ndarray:
    """Soft random field, about -1 ... 1, float32."""
    import cv2

    small = rng.standard_normal((max(2, shape[0] // grain), max(2, shape[1] // grain))).astype(
        np.float32
    )
    return cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _tinted(shade: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(H, W) brightness about 1 times one colour -> (H, W, 3) uint8, through a table for speed."""
    import cv2

    index = cv2.convertScaleAbs(shade, alpha=170.0)
    return cv2.merge([cv2.LUT(index, _bytes(np.arange(256) / 170 * c)) for c in colour])


def _paint_walls(walls: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    base = pick(WALL, rng)
    other = pick(WALL, rng)
    ends = (np.cumsum([0, _WIDTH, _DEPTH, _WIDTH, _DEPTH]) * WALL_SCALE).astype(int)
    facing = np.array([[0, 0, -1], [-1, 0, 0], [0, 0, 1], [1, 0, 0]])
    style = rng.choice(["plain", "stripes", "panel", "clouds"], p=[0.45, 0.15, 0.25, 0.15])
    rows = len(walls)
    for k in range(4):
        part = walls[:, ends[k] : ends[k + 1]]
        bright = scene.ambient + (1 - scene.ambient) * (
            0.5 + 0.5 * max(0.0, float(facing[k] @ scene.light))
        )
        light = bright * scene.tint
        shade = np.empty(part.shape[:2], np.float32)
        shade[:] = np.linspace(1.06, 0.86, rows, dtype=np.float32)[
            :, None
        ]  # a little darker towards the floor
        corner = np.minimum(np.arange(part.shape[1]), np.arange(part.shape[1])[::-1]) / (
            60 * WALL_SCALE
        )
        shade *= (0.84 + 0.16 * np.minimum(corner, 1)).astype(np.float32)  # and in the corners
        if style == "clouds":
            shade += 0.035 * _clouds(shade.shape, 20, rng)
        part[:] = _tinted(shade, base * light)
        if style == "stripes":
            period = int(rng.integers(14, 60))
            on = (np.arange(part.shape[1]) % period) < period // 2
            part[:, on] = _tinted(shade[:, on], (0.8 * base + 0.2 * other) * light)
        if style == "panel":
            low = int(rng.uniform(0.6, 0.72) * rows)
            part[low:] = _tinted(shade[low:], other * light * 0.95)
            part[low : low + 3] = _bytes(other * light * 0.7)
        x = int(rng.integers(10, 50))
        while x < part.shape[1] - 60:  # framed prints, windows, doors, next to each other
            kind = rng.choice(["picture", "window", "door", "gap"], p=[0.42, 0.2, 0.1, 0.28])
            x += _HANG[kind](part, x, light, rng) + int(rng.integers(12, 70))
    walls[:, ends[-1] :] = walls[:, ends[-1] - 1 : ends[-1]]
    skirting = int(8 * WALL_SCALE)
    walls[-skirting:] = np.clip(walls[-skirting:] * 0.3 + 150 * scene.ambient, 0, 255).astype(
        np.uint8
    )
    walls[-skirting : 1 - skirting] = (walls[-skirting : 1 - skirting] * 0.7).astype(np.uint8)


def _framed(
    part, x: int, y: int, w: int, h: int, frame: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Hang a frame of w x h pixels with its thin shadow; a view of what it holds."""
    x1 = min(x + w, part.shape[1])
    y1 = min(y + h, len(part))
    part[y1 : y1 + 2, x + 2 : x1 + 2] = (part[y1 : y1 + 2, x + 2 : x1 + 2] * 0.75).astype(np.uint8)
    part[y:y1, x:x1] = _bytes(frame)
    part[y + 3 : y1 - 3, x + 3 : x1 - 3] = _bytes(inside)
    return part[y + 3 : y1 - 3, x + 3 : x1 - 3]


def _picture(part, x: int, light, rng: np.random.Generator) -> int:
    import cv2

    w, h = (int(v) for v in rng.integers((24, 24), (62, 62)))
    y = int(len(part) * 0.48 - h / 2 + rng.normal(0, 8))
    frame = pick(FURNITURE, rng) * rng.choice([0.4, 1.0])
    inside = _framed(part, x, y, w, h, frame * light, pick(CLOTH, rng) * light)
    canvas = np.ascontiguousarray(inside)
    for _ in range(rng.integers(2, 6)):  # shapes as on a poster
        centre = tuple(int(v) for v in rng.uniform(0, canvas.shape[1::-1]))
        size = tuple(int(v) for v in rng.integers(4, max(6, w // 2), 2))
        colour = _bytes(pick(CLOTH, rng) * light).tolist()
        if rng.random() < 0.5:
            cv2.ellipse(
                canvas, centre, size, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA
            )
        else:
            cv2.rectangle(canvas, centre, (centre[0] + size[0], centre[1] + size[1]), colour, -1)
    inside[:] = canvas
    return w


def _window(part, x: int, light, rng: np.random.Generator) -> int:
    w, h = (int(v) for v in rng.integers((50, 60), (100, 100)))
    y = int(len(part) * 0.5 - h / 2)
    sky = np.array([0.75, 0.87, 1.0]) * rng.uniform(0.85, 1.05)
    inside = _framed(part, x, y, w, h, np.full(3, 0.93) * light, sky)
    rows = np.linspace(0, 1, len(inside))[:, None, None]
    inside[:] = _bytes(sky * (1 - 0.25 * rows) + 0.2 * rows)
    ground = int(len(inside) * rng.uniform(0.6, 0.85))
    hills = ground + (4 * np.sin(np.arange(inside.shape[1]) / rng.uniform(6, 14))).astype(int)
    inside[np.arange(len(inside))[:, None] > hills] = _bytes(
        np.array([0.45, 0.6, 0.38]) * rng.uniform(0.7, 1.1)
    )
    middle = inside.shape[1] // 2
    inside[:, middle - 1 : middle + 1] = inside[len(inside) // 2 : len(inside) // 2 + 2] = _bytes(
        np.full(3, 0.9) * light
    )
    if rng.random() < 0.5:  # curtains
        cloth = pick(CLOTH, rng) * light
        wide = w // 4
        folds = (0.85 + 0.15 * np.sin(np.arange(wide) * 1.1))[None, :, None]
        for left in (x - wide // 2, x + w - wide // 2):
            left = min(max(left, 0), part.shape[1] - wide)
            part[y - 5 : y + h + 45, left : left + wide] = _bytes(cloth * folds)
    return w


def _door(part, x: int, light, rng: np.random.Generator) -> int:
    w = int(88 * WALL_SCALE)
    h = int(205 * WALL_SCALE)
    paint = pick(FURNITURE, rng) * light
    inside = _framed(part, x, len(part) - h, w, h + 4, paint * 0.75, paint)
    for top, bottom in ((0.06, 0.45), (0.52, 0.94)):
        r0 = int(top * len(inside))
        r1 = int(bottom * len(inside))
        inside[r0:r1, 6:-6] = _bytes(paint * 0.88)
    inside[len(inside) // 2 : len(inside) // 2 + 4, -7:-3] = 60
    return w


def _gap(part, x: int, light, rng: np.random.Generator) -> int:
    return int(rng.integers(20, 60))


_HANG = {"picture": _picture, "window": _window, "door": _door, "gap": _gap}


def _paint_floor(floor: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    import cv2

    bright = scene.ambient + (1 - scene.ambient) * float(-scene.light[1])
    base = pick(FLOOR, rng)
    other = pick(FLOOR, rng)
    style = rng.choice(
        ["plain", "planks", "tiles", "carpet", "checks"], p=[0.15, 0.4, 0.17, 0.18, 0.1]
    )
    rows, cols = floor.shape[:2]
    y = np.arange(rows)
    x = np.arange(cols)
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
    if rng.random() < 0.45:
        _lay_rug(painted, shade, light, rng)
    floor[:] = painted


def _lay_rug(
    painted: np.ndarray, shade: np.ndarray, light: np.ndarray, rng: np.random.Generator
) -> None:
    """A round or a square rug with a border."""
    import cv2

    rows, cols = shade.shape
    centre = int(cols / 2 + rng.normal(0, 50)), int(rows / 2 + rng.normal(0, 50))
    size = rng.integers(60, 150, 2)
    turn = float(rng.uniform(0, 90))
    square = rng.random() < 0.6
    for k, colour in zip((1.0, 0.9, 0.8), (pick(CLOTH, rng), pick(CLOTH, rng), pick(CLOTH, rng))):
        mask = np.zeros((rows, cols), np.uint8)
        half = tuple(int(v) for v in size - (1 - k) * 80)
        if square:
            corners = cv2.boxPoints((centre, (2 * half[0], 2 * half[1]), turn))
            cv2.fillConvexPoly(mask, corners.astype(np.int32), 1)
        else:
            cv2.ellipse(mask, centre, half, 0, 0, 360, 1, -1)
        cv2.copyTo(_tinted(shade, colour * light * 0.95), mask, painted)
        if k == 0.9 and rng.random() < 0.5:
            break


def _shade_floor(floor: np.ndarray, scene: Scene, shapes: Solids) -> None:
    """Shadows: each shape slid along the light onto the floor, drawn as a stroke, blurred
    together."""
    import cv2

    shadow = np.zeros(floor.shape[:2], np.uint8)
    slide = scene.light / scene.light[1]
    forward_kinematics = lambda p: ((p - p[:, 1:2] * slide)[:, [0, 2]] + ROOM[[0, 2]]) * FLOOR_SCALE  # noqa: E731
    a = forward_kinematics(shapes.a)
    b = forward_kinematics(shapes.b)
    size = (
        np.sqrt(1 / np.maximum(np.linalg.eigvalsh(shapes.metric)[:, 1], 1e-9))
        if len(a)
        else np.zeros(0)
    )
    for p, q, r in zip(a, b, np.maximum(shapes.ra, shapes.rb) * size):
        p, q = (tuple(int(v) for v in np.clip(point, -4000, 4000)) for point in (p, q))
        cv2.line(shadow, p, q, 255, max(1, round(1.9 * r * FLOOR_SCALE)))
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for centre, half, axes in zip(shapes.box_centre, shapes.box_half, shapes.box_axes):
        hull = cv2.convexHull(
            np.clip(forward_kinematics(centre + (corners * half) @ axes), -4000, 4000).astype(
                np.int32
            )
        )
        cv2.fillConvexPoly(shadow, hull, 255)
    soft = cv2.GaussianBlur(shadow, (0, 0), 3.5)
    # Where something touches the floor little light gets in, whatever the lamp: small, dark and
    # sharp.
    touch = np.zeros_like(shadow)
    down = lambda p: (p[:, [0, 2]] + ROOM[[0, 2]]) * FLOOR_SCALE  # noqa: E731
    low = np.maximum(shapes.a[:, 1], shapes.b[:, 1]) > -14
    for p, q, r in zip(
        down(shapes.a[low]), down(shapes.b[low]), np.maximum(shapes.ra, shapes.rb)[low]
    ):
        p, q = (tuple(int(v) for v in np.clip(point, -4000, 4000)) for point in (p, q))
        cv2.line(touch, p, q, 255, max(1, round(2 * min(r, 18) * FLOOR_SCALE)))
    for centre, half, axes in zip(shapes.box_centre, shapes.box_half, shapes.box_axes):
        if centre[1] + half[1] > -14:
            hull = cv2.convexHull(
                np.clip(down(centre + (corners * half) @ axes), -4000, 4000).astype(np.int32)
            )
            cv2.fillConvexPoly(touch, hull, 255)
    touch = cv2.addWeighted(cv2.blur(touch, (7, 7)), 0.5, cv2.blur(touch, (25, 25)), 0.5, 0)
    table = (255 * (1 - 0.72 * (1 - scene.ambient) * np.arange(256) / 255)).astype(np.uint8)
    dark = cv2.multiply(
        cv2.LUT(soft, table), 255 - cv2.convertScaleAbs(touch, alpha=0.45), scale=1 / 255
    )
    floor[:] = cv2.multiply(floor, cv2.merge([dark, dark, dark]), scale=1 / 255)
