"""Read CMU Panoptic: 3D poses and calibrated cameras, projected into each view (chapter 02).

Layout (https://github.com/CMU-Perceptual-Computing-Lab/panoptic-toolbox):
    SEQ/calibration_SEQ.json
    SEQ/hdPose3d_stage1_coco19/body3DScene_%08d.json
    SEQ/hdImgs/00_NN/00_NN_%08d.jpg
Sequences of 2014 and 2015 may have `hdPose3d_stage1` instead, with 15 joints: no eyes and ears.
Centimetres, world y points down; pixels count from the centre of the first pixel, nothing is
shifted.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from posekit.cameras import Camera, in_view, project, to_camera
from posekit.datasets import PersonAnnotation, excluded_images, read_json, skip_errors
from posekit.errors import DataError
from posekit.images import read_image
from posekit.skeleton import COCO17, PANOPTIC15, PANOPTIC19, convert, convert_flags

__all__ = ["CONFIDENCE", "VERSIONS", "hidden", "read", "read_calibration", "read_poses"]

VERSIONS = (0.0, 0.7)
"""First and last version of pose files that are read; those of the data set say 0.7."""

CONFIDENCE = 0.1
"""A joint counts as found when its confidence is above this, the data set's usual threshold."""

_HD_PANEL = 0
_POSES = ("hdPose3d_stage1_coco19", "hdPose3d_stage1")
_KEYS = {"joints19": PANOPTIC19, "joints15": PANOPTIC15}

VOLUMES = (
    ("left_shoulder", "left_hip", 11.0),
    ("right_shoulder", "right_hip", 11.0),
    ("neck", "body_center", 13.0),
    ("left_shoulder", "left_elbow", 5.0),
    ("right_shoulder", "right_elbow", 5.0),
    ("left_elbow", "left_wrist", 4.0),
    ("right_elbow", "right_wrist", 4.0),
    ("left_hip", "left_knee", 8.0),
    ("right_hip", "right_knee", 8.0),
    ("left_knee", "left_ankle", 5.5),
    ("right_knee", "right_ankle", 5.5),
)
"""A body as thick lines between joints: ends and radius in cm. A rough model for occlusion."""

HEAD_RADIUS = 9.0
"""The head is a ball about the middle between the ears, in cm."""

MARGIN = 5.0
"""Distance in cm by which a part of another body must lie in front of a joint to cover it."""
OWN_MARGIN = 8.0
"""The same for the person's own body."""
FACE_MARGIN = 2.0
"""The same for the person's own head and face."""

_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def read_calibration(path: str | Path) -> dict[str, Camera]:
    """Read the cameras of a calibration file by name ("00_03": panel 0, node 3), in its order.

    Args:
        path: `calibration_SEQ.json`.

    Returns:
        name -> Camera; 31 of them (panel 0) are the HD cameras.

    Raises:
        DataError: when the file is not a calibration, or a camera in it is not complete.
    """
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("cameras"), list):
        raise DataError(path, "no list 'cameras': not a Panoptic calibration", "fetch it again")
    cameras = {}
    for position, entry in enumerate(data["cameras"]):
        where = (
            f"{path}, camera {entry.get('name', position) if isinstance(entry, dict) else position}"
        )
        try:
            camera = Camera(
                name=str(entry["name"]),
                K=np.asarray(entry["K"], np.float64).reshape(3, 3),
                distCoef=np.asarray(entry["distCoef"], np.float64).reshape(5),
                R=np.asarray(entry["R"], np.float64).reshape(3, 3),
                t=np.asarray(entry["t"], np.float64).reshape(3),
                resolution=(int(entry["resolution"][0]), int(entry["resolution"][1])),
            )
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise DataError(
                where,
                f"cannot be read: {type(error).__name__} {error}",
                "it needs name, resolution (2), K (3x3), distCoef (5), R (3x3), t (3)",
            ) from None
        if not all(np.all(np.isfinite(a)) for a in (camera.K, camera.distCoef, camera.R, camera.t)):
            raise DataError(
                where, "K, distCoef, R or t holds NaN or infinity", "fetch the calibration again"
            )
        cameras[camera.name] = camera
    return cameras


def read_poses(path: str | Path) -> list[tuple[int, np.ndarray]]:
    """Read the 3D poses of one frame.

    Args:
        path: `body3DScene_%08d.json`.

    Returns:
        List of (body id, (19, 4) float64: x, y, z in cm and the confidence; a missing joint is 0,
        0, 0, -1). Bodies of the older kind, `joints15`, come in the same shape, their eyes and ears
        missing.

    Raises:
        DataError: when the file is not a pose file or one of another version, or a body in it is
            not 19 (15) x 4 finite numbers.
    """
    data = read_json(path)
    if not isinstance(data, dict) or not isinstance(data.get("bodies"), list):
        raise DataError(path, "no list 'bodies': not a Panoptic pose file", "fetch it again")
    version = data.get("version", VERSIONS[0])
    if (
        isinstance(version, bool)
        or not isinstance(version, int | float)
        or not VERSIONS[0] <= version <= VERSIONS[1]
    ):
        problem = f"is of version {version!r}; this reader knows {VERSIONS[0]} to {VERSIONS[1]}"
        raise DataError(
            path,
            problem,
            "its joints may have another order or unit: check the data set's page first",
        )
    bodies = []
    for position, body in enumerate(data["bodies"]):
        where = f"{path}, body {body.get('id', position) if isinstance(body, dict) else position}"
        try:
            identity = int(body["id"])
            key = next(key for key in _KEYS if key in body)
            joints = np.asarray(body[key], np.float64).reshape(len(_KEYS[key]), 4)
        except StopIteration:
            raise DataError(
                where, "has neither joints19 nor joints15", "fetch the poses again"
            ) from None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            problem = f"cannot be read: {type(error).__name__} {error}"
            raise DataError(
                where,
                problem,
                "it needs id and joints19 with 19 x (x, y, z, confidence), or joints15",
            ) from None
        if not np.all(np.isfinite(joints)):
            raise DataError(where, f"{key} hold NaN or infinity", "fix or remove the body")
        missing = np.tile([0.0, 0.0, 0.0, -1.0], (len(PANOPTIC19) - len(joints), 1))
        joints = np.concatenate([joints, missing])  # the 15 are the first of the 19
        bodies.append((identity, joints))
    return bodies


def read(
    sequence_dir: str | Path,
    cameras: str | list[str] | None = None,
    *,
    dataset: str = "panoptic",
    split: str | None = None,
    confidence: float = CONFIDENCE,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """Read each person in each frame and camera: 3D joints, projected with the lens's distortion.

    A joint is v = 2 inside the frame, v = 1 where a body seems to stand in front of it (`hidden`: a
    guess, the data set has no such label, and furniture is not known); v = 0 and known when it is
    found in 3D but lies outside the frame or behind the camera; v = 0 and not known when it was not
    found. People without a joint in the frame are left out and counted. There is no annotated box,
    and the area is 0, not known.

    Args:
        sequence_dir: the sequence's folder.
        cameras: None for those whose images are on disk, frame by frame; `"hd"` for all 31 HD
            cameras, or a list of names: these are projected whether or not an image exists.
        dataset: name of the data set, as in `PersonAnnotation`.
        split: `"train"` applies an `exclude.txt` of image names next to the calibration.
        confidence: a joint counts as found above this.
        filtered: gets the number of people left out, by reason.
        skipped: see `posekit.datasets.read`; a pose file that cannot be used costs its whole frame.

    Yields:
        PersonAnnotation, frame by frame; `person_id` is "sequence/camera_frame/body id".

    Raises:
        DataError: when calibration, poses or images are missing, cannot be read, or do not fit
            together.
    """
    root = Path(sequence_dir)
    filtered = Counter() if filtered is None else filtered
    calibration_file = _calibration_file(root)
    calibration = read_calibration(calibration_file)
    folders = [root / name for name in _POSES]
    files = next((f for folder in folders if (f := sorted(folder.glob("body3DScene_*.json")))), [])
    poses = {_frame(path): path for path in files}
    if not poses:
        raise DataError(
            folders[0],
            "no body3DScene_*.json",
            f"extract {_POSES[0]}.tar (or {_POSES[1]}.tar) there",
        )
    views = _images(root) if cameras is None else _wanted(cameras, calibration, poses)
    if not views:
        raise DataError(
            root / "hdImgs", "no images 00_NN/00_NN_%08d.jpg", "extract the HD frames there"
        )
    excluded = excluded_images(root, split)
    checked = set()

    for frame, path in poses.items():
        if frame not in views:
            continue
        with skip_errors(path.name, skipped):
            bodies = read_poses(path)
            if len({identity for identity, _ in bodies}) < len(bodies):
                raise DataError(path, "two bodies have one id", "fetch the poses again")
            for name in views[frame]:
                camera = calibration.get(name)
                if camera is None:
                    raise DataError(
                        calibration_file,
                        f"no camera {name!r}, but images of it",
                        "fetch the calibration again",
                    )
                image = root / "hdImgs" / name / f"{name}_{frame:08d}.jpg"
                size = None
                if cameras is None:
                    size = (int(camera.resolution[0]), int(camera.resolution[1]))
                    if name not in checked:
                        _check_size(image, camera)
                        checked.add(name)
                if image.name in excluded:
                    filtered["exclude.txt"] += len(bodies)
                    continue
                everyone = (
                    np.stack([joints for _, joints in bodies])
                    if bodies
                    else np.zeros((0, len(PANOPTIC19), 4))
                )
                covered = hidden(everyone, camera, confidence)
                for (identity, joints), under in zip(bodies, covered, strict=True):
                    source_id = f"{root.resolve().name}/{name}_{frame:08d}"
                    person_id = f"{source_id}/{identity}"
                    sample = _sample(
                        joints,
                        under,
                        camera,
                        confidence,
                        image,
                        source_id,
                        person_id,
                        dataset,
                        size,
                    )
                    if sample is None:
                        filtered["no joint in the frame"] += 1
                    else:
                        yield sample


def hidden(bodies: np.ndarray, camera: Camera, confidence: float = CONFIDENCE) -> np.ndarray:
    """Estimate which joints are covered by other bodies or the person's own, by depth.

    Bodies are thick lines between their joints (`VOLUMES`). A joint is taken as covered when the
    line of sight from the camera to it passes through one that is nearer to the camera; of the
    person's own body only through parts that the joint does not belong to, and well in front of it.

    Args:
        bodies: (B, 19, 4) cm and confidence.
        camera: the camera.
        confidence: joints at or below it are not found, and build no volume.

    Returns:
        (B, 19) bool.
    """
    B, K = bodies.shape[:2]
    covered = np.zeros((B, K), bool)
    if not B:
        return covered
    points = to_camera(bodies[..., :3], camera)
    found = bodies[..., 3] > confidence
    ears = [PANOPTIC19.index(joint) for joint in ("left_ear", "right_ear")]
    ends = np.concatenate(
        [points, points[:, ears].mean(axis=1, keepdims=True)], axis=1
    )  # the head's middle is end K
    there = np.concatenate([found, found[:, ears].all(axis=1, keepdims=True)], axis=1)
    a, b = (np.array([*(PANOPTIC19.index(volume[i]) for volume in VOLUMES), K]) for i in (0, 1))
    radius = np.array([*(volume[2] for volume in VOLUMES), HEAD_RADIUS])
    solid = there[:, a] & there[:, b]  # (B, V)
    own = (np.arange(K)[:, None] == a) | (
        np.arange(K)[:, None] == b
    )  # (K, V): the joint belongs to the part
    face = np.isin(np.arange(K), [PANOPTIC19.index(joint) for joint in _FACE])
    for person in range(B):
        for other in range(B):
            distance, along = _segment_distance(
                np.zeros(3), points[person][:, None], ends[other][a][None], ends[other][b][None]
            )  # (K, V)
            depth = np.linalg.norm(points[person], axis=-1)[:, None]
            margin = np.where(face, FACE_MARGIN, OWN_MARGIN)[:, None] if person == other else MARGIN
            before = (distance < radius) & ((1 - along) * depth > margin) & solid[other]
            covered[person] |= (before & ~own if person == other else before).any(axis=1)
    return covered & found


def _sample(
    joints: np.ndarray,
    under: np.ndarray,
    camera: Camera,
    confidence: float,
    image: Path,
    source_id: str,
    person_id: str,
    dataset: str,
    size: tuple[int, int] | None,
) -> PersonAnnotation | None:
    """One body (19, 4) in one camera; None when no joint of it is in the frame."""
    found = joints[:, 3] > confidence
    seen = found & in_view(joints[:, :3], camera)
    pixels = np.where(seen[:, None], project(joints[:, :3], camera), 0)
    visible = convert_flags(np.where(seen, np.where(under, 1, 2), 0), PANOPTIC19, COCO17)
    if not visible.any():
        return None
    return PersonAnnotation(
        image=image,
        source_id=source_id,
        person_id=person_id,
        keypoints=convert(pixels, PANOPTIC19, COCO17),
        keypoints_visible=visible,
        joint_known=convert_flags(found, PANOPTIC19, COCO17),
        bbox=None,
        area=0.0,
        dataset=dataset,
        image_size=size,
    )


def _calibration_file(root: Path) -> Path:
    named = root / f"calibration_{root.resolve().name}.json"
    candidates = [named] if named.is_file() else sorted(root.glob("calibration_*.json"))
    if len(candidates) != 1:
        found = ", ".join(path.name for path in candidates) or "none"
        raise DataError(
            root,
            f"expected one calibration_SEQ.json, found {found}",
            "give a Panoptic sequence's folder",
        )
    return candidates[0]


def _frame(path: Path) -> int:
    """The frame number at the end of a file name."""
    match = re.search(r"_(\d+)$", path.stem)
    if match is None:
        raise DataError(
            path, "no frame number at the end of the name", "name it as the data set does, ..._%08d"
        )
    return int(match[1])


def _images(root: Path) -> dict[int, list[str]]:
    """frame -> names of the cameras that have an image of it on disk."""
    views = defaultdict(list)
    for folder in sorted((root / "hdImgs").glob("*_*")):
        for image in sorted(folder.glob(f"{folder.name}_*.jpg")):
            views[_frame(image)].append(folder.name)
    return views


def _wanted(
    cameras: str | list[str], calibration: dict[str, Camera], frames: dict
) -> dict[int, list[str]]:
    """frame -> the cameras asked for, whether or not there are images."""
    if cameras == "hd":
        names = [name for name in calibration if name.startswith(f"{_HD_PANEL:02d}_")]
    else:
        names = list(cameras)
        unknown = [name for name in names if name not in calibration]
        if unknown:
            raise DataError(
                "cameras", f"the calibration has no {', '.join(unknown)}", "names look like 00_03"
            )
    return dict.fromkeys(frames, names)


def _check_size(image: Path, camera: Camera) -> None:
    """Refuse a scaled image, in which every joint would be misplaced silently."""
    height, width = read_image(image).shape[:2]
    wanted = "x".join(map(str, camera.resolution))
    if (width, height) != tuple(camera.resolution):
        raise DataError(
            image,
            f"is {width}x{height}, but camera {camera.name} is calibrated for {wanted}",
            "extract the frames at full size",
        )


def _segment_distance(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance between the segments a-b and c-d, and the nearest position on a-b.

    Args:
        a, b, c, d: (..., 3) ends; they broadcast.

    Returns:
        distance (...), and nearest position (...) on a-b: 0 at a, 1 at b.

    Source:
        Ericson, "Real-Time Collision Detection", 2005, section 5.1.9.
    """
    a, b, c, d = (np.asarray(point, np.float64) for point in (a, b, c, d))
    u = b - a
    v = d - c
    w = a - c
    uu = np.maximum((u * u).sum(-1), 1e-12)
    vv = np.maximum((v * v).sum(-1), 1e-12)
    uv = (u * v).sum(-1)
    uw = (u * w).sum(-1)
    vw = (v * w).sum(-1)
    denominator = uu * vv - uv * uv
    s = np.clip(
        np.where(
            denominator > 1e-12 * uu * vv, (uv * vw - uw * vv) / np.maximum(denominator, 1e-12), 0
        ),
        0,
        1,
    )
    t = np.clip((uv * s + vw) / vv, 0, 1)
    s = np.clip((uv * t - uw) / uu, 0, 1)
    apart = w + s[..., None] * u - t[..., None] * v
    return np.linalg.norm(apart, axis=-1), s
