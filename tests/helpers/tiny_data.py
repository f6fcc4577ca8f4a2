"""Tiny data sets in the layouts that the readers know, with photos that show a dot on each
joint."""

import json
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from posekit import cameras
from posekit.images import encode_jpeg
from posekit.skeleton import COCO17

K = len(COCO17)


def dots(width: int, height: int, points: np.ndarray) -> np.ndarray:
    """A black photo with a soft white dot at each point, (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    image = np.zeros((height, width))
    for px, py in points:
        image = np.maximum(image, np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.0**2)))
    return np.repeat(np.round(255 * image).astype(np.uint8)[..., None], 3, axis=2)


def write_photo(path: Path, points: np.ndarray = (), width: int = 160, height: int = 120) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(dots(width, height, points), 100))


def spread(rng: np.random.Generator, n: int = K, low=(20, 20), high=(140, 100)) -> np.ndarray:
    """(n, 2) points, far enough apart that their dots can be told from each other: one in each cell
    of a grid."""
    columns = 6
    rows = -(-n // 6)
    cells = rng.permutation(columns * rows)[:n]
    cell = (np.asarray(high, float) - low) / (columns, rows)
    return (
        low
        + (np.stack([cells % columns, cells // columns], axis=1) + rng.uniform(0.3, 0.7, (n, 2)))
        * cell
    )


def coco(
    root: Path, photos: int = 3, people: int = 2, split: str = "train", seed: int = 0
) -> tuple[Path, dict]:
    """The official layout. Returns the annotation file and its content."""
    rng = np.random.default_rng(seed)
    data = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    for i in range(1, photos + 1):
        name = f"{i:012d}.jpg"
        data["images"].append({"id": i, "file_name": name, "width": 160, "height": 120})
        everyone = [spread(rng) for _ in range(people)]
        write_photo(root / f"{split}2017" / name, np.concatenate(everyone) if everyone else ())
        for points in everyone:
            low = points.min(axis=0) - 3
            high = points.max(axis=0) + 3
            flags = rng.integers(1, 3, K)
            data["annotations"].append(
                {
                    "id": len(data["annotations"]) + 1,
                    "image_id": i,
                    "category_id": 1,
                    "iscrowd": 0,
                    "num_keypoints": K,
                    "bbox": [*low.tolist(), *(high - low).tolist()],
                    "area": float(np.prod(high - low) / 2),
                    "keypoints": np.concatenate([points, flags[:, None]], axis=1).ravel().tolist(),
                }
            )
    path = root / "annotations" / f"person_keypoints_{split}2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path, data


def lsp(root: Path, numbers=range(1, 5), extended: bool = False, seed: int = 0) -> np.ndarray:
    """`joints.mat` and `images/`. Returns joints (N, 14, 3) as they stand in the file, counted from
    1."""
    rng = np.random.default_rng(seed)
    joints = np.zeros((len(numbers), 14, 3))
    for i, number in enumerate(numbers):
        joints[i, :, :2] = spread(rng, 14) + 1
        joints[i, :, 2] = rng.integers(0, 2, 14)
        joints[i, :2, 2] = 0, 1
        write_photo(
            root / "images" / (f"im{number:05d}.jpg" if extended else f"im{number:04d}.jpg"),
            joints[i, :, :2] - 1,
        )
    save_joints(root, joints.transpose(1, 2, 0) if extended else joints.transpose(2, 1, 0))
    return joints


def save_joints(root: Path, joints: np.ndarray, name: str = "joints") -> None:
    root.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / "joints.mat", {name: joints})


def look_at(position, target=(0.0, -100.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """R (3, 3) and t (3,) of a camera that stands at `position` and looks at `target`; the world's
    y points down."""
    position = np.asarray(position, float)
    forward = np.asarray(target, float) - position
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return R, -R @ position


def camera_entry(
    name: str,
    position,
    resolution=(160, 120),
    focal=140.0,
    distCoef=(-0.28, 0.18, 1e-4, -2e-4, -0.05),
):
    """One camera as it stands in a Panoptic calibration file."""
    R, t = look_at(position)
    w, h = resolution
    return {
        "name": name,
        "type": "hd",
        "resolution": [w, h],
        "panel": int(name[:2]),
        "node": int(name[3:]),
        "K": [[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]],
        "distCoef": list(distCoef),
        "R": R.tolist(),
        "t": t[:, None].tolist(),
    }


def panoptic(root: Path, frames: int = 2, bodies: int = 2, seed: int = 0) -> dict:
    """A sequence with two HD cameras and one VGA camera, photos of all frames in the HD ones.
    Returns frame -> (B, 19, 4)."""
    rng = np.random.default_rng(seed)
    cameras = [
        camera_entry("00_00", (0, -150, -300)),
        camera_entry("00_07", (280, -180, 100)),
        camera_entry("01_01", (0, -120, 300)),
    ]
    root.mkdir(parents=True, exist_ok=True)
    (root / f"calibration_{root.name}.json").write_text(
        json.dumps({"calibDataSource": "made", "cameras": cameras})
    )
    poses = {}
    for frame in range(frames):
        joints = np.concatenate(
            [
                rng.uniform((-60, -170, -60), (60, -20, 60), (bodies, 19, 3)),
                rng.uniform(0.2, 0.9, (bodies, 19, 1)),
            ],
            axis=2,
        )
        poses[frame] = joints
        write_poses(root, frame, joints)
        for name in ("00_00", "00_07"):
            write_photo(root / "hdImgs" / name / f"{name}_{frame:08d}.jpg")
    return poses


def write_poses(root: Path, frame: int, joints: np.ndarray) -> Path:
    path = root / "hdPose3d_stage1_coco19" / f"body3DScene_{frame:08d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    bodies = [{"id": i, "joints19": body.ravel().tolist()} for i, body in enumerate(joints)]
    path.write_text(
        json.dumps({"version": 0.7, "univTime": 0.0, "fpsType": "hd_29_97", "bodies": bodies})
    )
    return path


def opencv_projection(points: np.ndarray, camera: cameras.Camera) -> np.ndarray:
    rotation, _ = cv2.Rodrigues(np.ascontiguousarray(camera.R))
    pixels, _ = cv2.projectPoints(
        np.ascontiguousarray(points),
        rotation,
        np.ascontiguousarray(camera.t),
        camera.K,
        np.ascontiguousarray(camera.distCoef),
    )
    return pixels.reshape(-1, 2)


def mpii_entry(root: Path, name: str = "015601864.jpg", seed: int = 0) -> dict:
    """One person of MPII's JSON conversion, counted from 1, and the photo with a dot on each
    joint."""
    points = spread(np.random.default_rng(seed), 16)
    write_photo(root / "images" / name, points)
    return {
        "image": name,
        "joints": (points + 1).tolist(),
        "joints_vis": [1] * 16,
        "center": [80.0, 60.0],
        "scale": 0.5,
    }
