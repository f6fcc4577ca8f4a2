"""Calibrated cameras: pinhole projection with lens distortion (chapter 02).

An OpenCV camera as CMU Panoptic stores it: x = K · distort(R · X + t), lengths in centimetres.
"""

from dataclasses import dataclass

import numpy as np

from posekit.geometry import inside


@dataclass(frozen=True)
class Camera:
    """A calibrated pinhole camera with OpenCV's five distortion coefficients, as in CMU Panoptic's
    calibration files.

    Args:
        name: e.g. `"00_03"` (panel_node).
        K: (3, 3) intrinsics, pixels.
        distCoef: (5,) k1 k2 p1 p2 k3.
        R: (3, 3) world -> camera rotation.
        t: (3,) world -> camera translation, cm.
        resolution: (w, h) pixels.
    """

    name: str
    K: np.ndarray
    distCoef: np.ndarray
    R: np.ndarray
    t: np.ndarray
    resolution: tuple[int, int]

    @property
    def position(self) -> np.ndarray:
        """Position of the camera in the world, (3,) cm."""
        return -self.R.T @ self.t


def distort(xy: np.ndarray, distCoef: np.ndarray) -> np.ndarray:
    """Distort points on the plane z = 1 by OpenCV's model of a lens (Brown-Conrady).

    Args:
        xy: (..., 2).
        distCoef: (5,) k1 k2 p1 p2 k3.

    Returns:
        (..., 2) float64.
    """
    k1, k2, p1, p2, k3 = np.asarray(distCoef, np.float64)
    x, y = np.moveaxis(np.asarray(xy, np.float64), -1, 0)
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def to_camera(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Transform world points to camera coordinates.

    Args:
        points: (..., 3) cm.
        camera: the camera.

    Returns:
        (..., 3) float64 cm; z is the depth, positive in front of the camera.
    """
    return np.asarray(points, np.float64) @ camera.R.T + camera.t


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Project world points to pixels: x = K . distort((R X + t) / z).

    Args:
        points: (..., 3) cm.
        camera: the camera.

    Returns:
        (..., 2) float64 pixels; NaN for a point that is not in front of the camera. Equal to
        `cv2.projectPoints` (the Panoptic toolbox's own `projectPoints` is up to 0.36 px off: it
        distorts y with the already distorted x).
    """
    xyz = to_camera(points, camera)
    z = np.where(xyz[..., 2:] > 1e-6, xyz[..., 2:], np.nan)
    xy = distort(xyz[..., :2] / z, camera.distCoef)
    return xy @ camera.K[:2, :2].T + camera.K[:2, 2]


def in_view(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Return which world points are in view: in front of the camera, in its lens's range and frame.

    The distortion polynomial only describes the lens up to the radius where it stops growing;
    farther out it folds back, and would project people next to the camera into the middle of its
    image.

    Args:
        points: (..., 3) cm.
        camera: the camera.

    Returns:
        (...) bool.
    """
    xyz = to_camera(points, camera)
    depth = xyz[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = np.linalg.norm(xyz[..., :2] / depth[..., None], axis=-1)
    within_frame = inside(project(points, camera), camera.resolution)
    return (depth > 1e-6) & (radius < lens_range(camera.distCoef)) & within_frame


def lens_range(distCoef: np.ndarray) -> float:
    """Return the radius on the plane z = 1 up to which radial distortion grows; may be inf.

    Args:
        distCoef: (5,) k1 k2 p1 p2 k3.
    """
    k1, k2, _, _, k3 = np.asarray(distCoef, np.float64)
    # d/dr of r (1 + k1 r^2 + k2 r^4 + k3 r^6) = 0, as a polynomial in 1 / r^2: its largest positive
    # root is where it folds
    roots = np.roots([1, 3 * k1, 5 * k2, 7 * k3])
    folds = roots.real[(abs(roots.imag) < 1e-9) & (roots.real > 1e-9)]
    return float(1 / np.sqrt(folds.max())) if len(folds) else np.inf
