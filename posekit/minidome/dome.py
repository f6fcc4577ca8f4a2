"""The dome: 31 calibrated HD cameras around a stage, laid out and written as CMU Panoptic's are
(chapter 02)."""

import numpy as np

from posekit.cameras import Camera

HD = (1920, 1080)
"""Resolution of the real cameras, pixels; `K` is scaled from it."""

RINGS = ((120, 7, 275), (153, 5, 275), (198, 5, 268), (240, 5, 256), (313, 4, 212), (340, 5, 186))
"""(height, number, radius) of the rings of cameras, cm: those of the sequence 160906_band1,
rounded."""

AIM = np.array([0.0, -92.0, 0.0])
"""Point at which the cameras look, about the middle of a standing person, cm (y points down)."""

ROOM = np.array([480.0, 380.0, 430.0])
"""Half width, height and half depth of the room, cm; floor at y = 0, ceiling at y = -380."""

CAMERAS = sum(number for _, number, _ in RINGS)


def make_cameras(size: tuple[int, int], seed: int) -> dict[str, Camera]:
    """31 cameras, `"00_00"` ... `"00_30"`, in an order that mixes the rings.

    Positions, aim, roll, focal length (1390-1650 px at HD) and distortion scatter with the seed
    within what the real calibration shows. Its strongest pincushion term (k3 < 0) is left out:
    beyond 60 degrees off the axis such a lens model folds back into the image.

    Args:
        size: (w, h) of the images. They show the HD frame scaled, cut at the sides where the shape
            differs.
        seed: of the sequence.

    Returns:
        Camera by name.
    """
    rng = np.random.default_rng([seed, 0xD03E])
    spots = []
    for height, number, radius in RINGS:
        start = rng.uniform(0, 2 * np.pi)
        for k in range(number):
            angle = start + 2 * np.pi * (k + rng.uniform(-0.15, 0.15)) / number
            r = radius + rng.normal(0, 4)
            spots.append([r * np.cos(angle), -height + rng.normal(0, 3), r * np.sin(angle)])
    cameras = {}
    for node, k in enumerate(rng.permutation(len(spots))):
        name = f"00_{node:02d}"
        cameras[name] = _camera(name, np.array(spots[k]), size, rng)
    return cameras


SEAT = np.array([0.0, 0.0, 150.0 - ROOM[2]])
"""Position of people in desk mode: in front of the room's -z wall, facing +z."""


def make_webcams(size: tuple[int, int], seed: int) -> dict[str, Camera]:
    """31 webcams, `"00_00"` ... `"00_30"`, each on a monitor of its own in front of `SEAT`.

    They stand 40-110 cm in front of the sitter, as high as a laptop's or a monitor's upper edge,
    see 55-84 degrees of width, aim roughly at the face, and distort mildly (barrel).

    Args:
        size: (w, h) of the images.
        seed: of the sequence.
    """
    rng = np.random.default_rng([seed, 0xDE5C])
    cameras = {}
    for node in range(CAMERAS):
        away = rng.uniform(48, 118)
        height = rng.uniform(92, 138)
        position = SEAT + [rng.normal(0, 9), -height, 12 + away]
        target = SEAT + [rng.normal(0, 7), -rng.normal(114, 7), 10]
        name = f"00_{node:02d}"
        cameras[name] = _webcam(name, position, target, (55, 84), size, rng)
    return cameras


def make_phones(size: tuple[int, int], seed: int) -> dict[str, Camera]:
    """Return 31 phone cameras, `"00_00"` ... `"00_30"`, facing a person who stands at `SEAT`.

    They are held or leant 60-280 cm away at 95-170 cm of height, near ones rather than far ones,
    see 50-80 degrees along the longer side and aim at the chest, give or take; from afar rather at
    the belt.

    Args:
        size: (w, h) of the images; a phone held upright is higher than wide.
        seed: of the sequence.
    """
    rng = np.random.default_rng([seed, 0xF0])
    cameras = {}
    for node in range(CAMERAS):
        away = np.exp(rng.uniform(*np.log([60, 280])))
        position = SEAT + [rng.normal(0, 0.12 * away), -rng.uniform(95, 170), away]
        height = np.interp(away, (60, 280), (140, 105)) + rng.normal(0, 10)
        target = SEAT + [rng.normal(0, 0.05 * away), -height, 0]
        name = f"00_{node:02d}"
        cameras[name] = _webcam(name, position, target, (50, 80), size, rng)
    return cameras


def _webcam(
    name: str,
    position: np.ndarray,
    target: np.ndarray,
    wide: tuple[int, int],
    size: tuple[int, int],
    rng,
) -> Camera:
    """A cheap camera at `position` that looks at `target` and sees so many degrees (from, to) along
    its longer side."""
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    roll = np.deg2rad(rng.normal(0, 1.5))
    y = np.cross(z, x / np.linalg.norm(x))
    R = np.stack([np.cos(roll) * x + np.sin(roll) * y, np.cos(roll) * y - np.sin(roll) * x, z])
    focal = max(size) / 2 / np.tan(np.deg2rad(rng.uniform(*wide)) / 2)
    middle = np.array(size) / 2 - 0.5 + rng.normal(0, 0.005, 2) * max(size)
    K = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    distortion = np.array([rng.uniform(-0.12, 0), rng.uniform(0, 0.03), *rng.normal(0, 3e-4, 2), 0])
    return Camera(name, K, distortion, R, -R @ position, size)


def _camera(
    name: str, position: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> Camera:
    z = AIM + rng.normal(0, (10, 7, 10)) - position
    z /= np.linalg.norm(z)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    y = np.cross(z, x)
    roll = np.deg2rad(rng.normal(0, 2))
    R = np.stack([np.cos(roll) * x + np.sin(roll) * y, np.cos(roll) * y - np.sin(roll) * x, z])
    focal = rng.choice([1396.0, 1500.0, 1640.0], p=[0.7, 0.12, 0.18]) + rng.normal(0, 8)
    center = np.array([945.0, 558.0]) + rng.normal(0, 8, 2)
    scale = max(size[0] / HD[0], size[1] / HD[1])
    offset = (center + 0.5 - np.array(HD) / 2) * scale + np.array(size) / 2 - 0.5
    K = np.array([[focal * scale, 0, offset[0]], [0, (focal - 3.5) * scale, offset[1]], [0, 0, 1]])
    wide = (1650 - focal) / 255
    distortion = np.array(
        [
            -0.225 - 0.06 * wide + rng.normal(0, 0.004),
            0.205 - 0.02 * wide + rng.normal(0, 0.006),
            rng.normal(0, 2e-4),
            rng.normal(4e-4, 4e-4),
            abs(rng.normal(0, 0.015)),
        ]
    )
    return Camera(name, K, distortion, R, -R @ position, size)


def calibration_json(cameras: dict[str, Camera], sequence: str) -> dict:
    """Return the content of CMU Panoptic's `calibration_<seq>.json`; every number comes back to the
    last bit."""
    return {
        "calibDataSource": sequence,
        "cameras": [
            {
                "name": c.name,
                "type": "hd",
                "resolution": list(c.resolution),
                "panel": 0,
                "node": int(c.name[3:]),
                "K": c.K.tolist(),
                "distCoef": c.distCoef.tolist(),
                "R": c.R.tolist(),
                "t": [[v] for v in c.t.tolist()],
            }
            for c in cameras.values()
        ],
    }


def undistort(xy: np.ndarray, coefficients: np.ndarray, iterations: int = 8) -> np.ndarray:
    """The inverse of `cameras.distort` by Newton's method: (..., 2) -> (..., 2) float64, good to
    1e-12."""
    k1, k2, p1, p2, k3 = coefficients
    target = np.moveaxis(np.asarray(xy, np.float64), -1, 0)
    x, y = target.copy()
    for _ in range(iterations):
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        slope = k1 + r2 * (2 * k2 + r2 * 3 * k3)
        ex = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) - target[0]
        ey = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y - target[1]
        xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        xy_ = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        determinant = xx * yy - xy_ * xy_
        x = x - (yy * ex - xy_ * ey) / determinant
        y = y - (xx * ey - xy_ * ex) / determinant
    return np.stack([x, y], axis=-1)
