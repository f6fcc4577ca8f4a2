"""CMU Panoptic: people in 3D, seen by many calibrated cameras; each view of each person is a sample (chapter 02).

Layout (https://github.com/CMU-Perceptual-Computing-Lab/panoptic-toolbox):
    SEQ/calibration_SEQ.json, SEQ/hdPose3d_stage1_coco19/body3DScene_%08d.json, SEQ/hdImgs/00_NN/00_NN_%08d.jpg
Centimetres, world y points down; pixels count from the centre of the first pixel, nothing is shifted.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.geometry import Camera, inside, project, to_camera
from posekit.images import read_image
from posekit.skeleton import COCO17, PANOPTIC19, convert, convert_flags
from posekit.sources import PersonSample, excluded_photos, read_json

CONFIDENCE = 0.1
"""A joint counts as found when its confidence is above this, the data set's usual threshold."""

_HD_PANEL = 0
_POSES = "hdPose3d_stage1_coco19"


def read_calibration(path: str | Path) -> dict[str, Camera]:
    """The cameras of a calibration file, by name ("00_03" is panel 0, node 3), in the file's order.

    Args:
        path: `calibration_SEQ.json`.

    Returns:
        name -> Camera; 31 of them (panel 0) are the HD cameras.

    Raises:
        DataError: when the file is no calibration, or a camera in it is not complete.
    """
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("cameras"), list):
        raise DataError(path, "no list 'cameras': not a Panoptic calibration", "fetch it again")
    cameras = {}
    for position, entry in enumerate(data["cameras"]):
        where = f"{path}, camera {entry.get('name', position) if isinstance(entry, dict) else position}"
        try:
            camera = Camera(
                name=str(entry["name"]),
                K=np.asarray(entry["K"], np.float64).reshape(3, 3),
                distCoef=np.asarray(entry["distCoef"], np.float64).reshape(5),
                R=np.asarray(entry["R"], np.float64).reshape(3, 3),
                t=np.asarray(entry["t"], np.float64).reshape(3),
                resolution=(int(entry["resolution"][0]), int(entry["resolution"][1])),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                where,
                f"cannot be read: {type(error).__name__} {error}",
                "it needs name, resolution (2), K (3x3), distCoef (5), R (3x3), t (3)",
            ) from None
        if not all(np.all(np.isfinite(a)) for a in (camera.K, camera.distCoef, camera.R, camera.t)):
            raise DataError(where, "K, distCoef, R or t holds NaN or infinity", "fetch the calibration again")
        cameras[camera.name] = camera
    return cameras


def read_poses(path: str | Path) -> list[tuple[int, np.ndarray]]:
    """The people of one frame.

    Args:
        path: `body3DScene_%08d.json`.

    Returns:
        list of (body id, (19, 4) float64: x, y, z in cm and the confidence; a missing joint is 0, 0, 0, -1).

    Raises:
        DataError: when the file is no pose file, or a body in it is not 19 x 4 finite numbers.
    """
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("bodies"), list):
        raise DataError(path, "no list 'bodies': not a Panoptic pose file", "fetch it again")
    bodies = []
    for position, body in enumerate(data["bodies"]):
        where = f"{path}, body {body.get('id', position) if isinstance(body, dict) else position}"
        try:
            identity, joints = int(body["id"]), np.asarray(body["joints19"], np.float64).reshape(len(PANOPTIC19), 4)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                where,
                f"cannot be read: {type(error).__name__} {error}",
                f"it needs id and joints19 with {len(PANOPTIC19)} x (x, y, z, confidence)",
            ) from None
        if not np.all(np.isfinite(joints)):
            raise DataError(where, "joints19 hold NaN or infinity", "mend or remove the body")
        bodies.append((identity, joints))
    return bodies


def in_view(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Which world points the camera's picture shows: in front of it, within the lens's range, inside the frame.

    The distortion polynomial only describes the lens up to the radius where it stops growing; farther out it folds back
    and would put people who stand beside the camera into the middle of its picture.

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
    """The distance from the axis (on the plane z = 1) up to which a lens's radial distortion keeps growing; may be inf."""
    k1, k2, _, _, k3 = np.asarray(distCoef, np.float64)
    # d/dr of r (1 + k1 r^2 + k2 r^4 + k3 r^6) = 0, as a polynomial in 1 / r^2: its largest positive root is where it folds
    roots = np.roots([1, 3 * k1, 5 * k2, 7 * k3])
    folds = roots.real[(abs(roots.imag) < 1e-9) & (roots.real > 1e-9)]
    return float(1 / np.sqrt(folds.max())) if len(folds) else np.inf


def read(
    sequence_dir: str | Path,
    cameras: str | list[str] | None = None,
    *,
    dataset: str = "panoptic",
    split: str | None = None,
    left_out: Counter | None = None,
) -> Iterator[PersonSample]:
    """Every person of every frame in every camera, as 2D samples: the 3D joints, projected with the lens's distortion.

    A joint is v = 2 inside the frame (who stands before whom is not known here); v = 0 and known when it is found in 3D but
    lies outside the frame or behind the camera; v = 0 and not known when it was not found. People of whom no joint is in
    the frame are left out and counted. There is no annotated box.

    Args:
        sequence_dir: the sequence's folder.
        cameras: None for those whose photos are on disk, frame by frame; `"hd"` for all 31 HD cameras, or a list of names:
            these are projected whether or not a photo is there.
        dataset: what the samples are called.
        split: `"train"` applies an `exclude.txt` of photo names beside the calibration.
        left_out: gets the number of people left out, by reason.

    Yields:
        PersonSample, frame by frame; `person_id` is "sequence/camera_frame/body id".

    Raises:
        DataError: when calibration, poses or photos are missing, cannot be read, or do not fit together.
    """
    root = Path(sequence_dir)
    left_out = Counter() if left_out is None else left_out
    calibration_file = _calibration_file(root)
    calibration = read_calibration(calibration_file)
    poses = {_frame(path): path for path in sorted((root / _POSES).glob("body3DScene_*.json"))}
    if not poses:
        raise DataError(root / _POSES, "no body3DScene_*.json", f"extract {_POSES}.tar of this sequence there")
    views = _photos(root) if cameras is None else _wanted(cameras, calibration, poses)
    if not views:
        raise DataError(root / "hdImgs", "no photos 00_NN/00_NN_%08d.jpg", "extract the HD frames there")
    excluded = excluded_photos(root, split)
    checked = set()

    for frame, path in poses.items():
        if frame not in views:
            continue
        bodies = read_poses(path)
        for name in views[frame]:
            camera = calibration.get(name)
            if camera is None:
                raise DataError(
                    calibration_file, f"no camera {name!r}, but photos of it", "fetch the calibration again"
                )
            photo = root / "hdImgs" / name / f"{name}_{frame:08d}.jpg"
            if cameras is None and name not in checked:
                _check_size(photo, camera)
                checked.add(name)
            if photo.name in excluded:
                left_out["exclude.txt"] += len(bodies)
                continue
            for identity, joints in bodies:
                source_id = f"{root.resolve().name}/{name}_{frame:08d}"
                sample = _sample(joints, camera, photo, source_id, f"{source_id}/{identity}", dataset)
                if sample is None:
                    left_out["no joint in the frame"] += 1
                else:
                    yield sample


def _sample(
    joints: np.ndarray, camera: Camera, photo: Path, source_id: str, person_id: str, dataset: str
) -> PersonSample | None:
    """One body (19, 4) in one camera; None when no joint of it is in the frame."""
    found = joints[:, 3] > CONFIDENCE
    seen = found & in_view(joints[:, :3], camera)
    pixels = np.where(seen[:, None], project(joints[:, :3], camera), 0)
    visible = convert_flags(np.where(seen, 2, 0), PANOPTIC19, COCO17)
    if not visible.any():
        return None
    return PersonSample(
        image=photo,
        source_id=source_id,
        person_id=person_id,
        keypoints=convert(pixels, PANOPTIC19, COCO17),
        keypoints_visible=visible,
        joint_known=convert_flags(found, PANOPTIC19, COCO17),
        bbox=None,
        area=0.0,
        dataset=dataset,
    )


def _calibration_file(root: Path) -> Path:
    named = root / f"calibration_{root.resolve().name}.json"
    candidates = [named] if named.is_file() else sorted(root.glob("calibration_*.json"))
    if len(candidates) != 1:
        found = ", ".join(path.name for path in candidates) or "none"
        raise DataError(root, f"expected one calibration_SEQ.json, found {found}", "give a Panoptic sequence's folder")
    return candidates[0]


def _frame(path: Path) -> int:
    """The frame number at the end of a file name."""
    match = re.search(r"_(\d+)$", path.stem)
    if match is None:
        raise DataError(path, "no frame number at the end of the name", "name it as the data set does, …_%08d")
    return int(match[1])


def _photos(root: Path) -> dict[int, list[str]]:
    """frame -> names of the cameras that have a photo of it on disk."""
    views = defaultdict(list)
    for folder in sorted((root / "hdImgs").glob("*_*")):
        for photo in sorted(folder.glob(f"{folder.name}_*.jpg")):
            views[_frame(photo)].append(folder.name)
    return views


def _wanted(cameras: str | list[str], calibration: dict[str, Camera], frames: dict) -> dict[int, list[str]]:
    """frame -> the cameras asked for, whether or not there are photos."""
    if cameras == "hd":
        names = [name for name in calibration if name.startswith(f"{_HD_PANEL:02d}_")]
    else:
        names = list(cameras)
        unknown = [name for name in names if name not in calibration]
        if unknown:
            raise DataError("cameras", f"the calibration has no {', '.join(unknown)}", "names look like 00_03")
    return dict.fromkeys(frames, names)


def _check_size(photo: Path, camera: Camera) -> None:
    """A scaled photo does not fit its calibration: every joint would be misplaced, silently."""
    height, width = read_image(photo).shape[:2]
    if (width, height) != tuple(camera.resolution):
        raise DataError(
            photo,
            f"is {width}x{height}, but camera {camera.name} is calibrated for {'x'.join(map(str, camera.resolution))}",
            "extract the frames at full size",
        )
