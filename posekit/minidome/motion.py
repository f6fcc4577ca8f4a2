"""Motion capture for MiniDome: read clips from npz files and retarget them to a body's bones
(chapter 02).

An npz holds, for all frames of all clips, `joints` (F, 17, 3) relative to the pelvis with y up, in
the order of `JOINTS` (`joint_names` may name another), `head_forward` and `head_up` (F, 3), `root`
(F, 3) and `clip` (F,); `fps` is 15 if left out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.minidome.actions import FPS
from posekit.minidome.pose import FRAME, Bones, level_foot, put_joints, stand

JOINTS = ("pelvis", "chest", "neck", "head", "head_top")
JOINTS += tuple(
    f"{side}_{part}"
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in "lr"
)
_J = {name: i for i, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class Clip:
    """One performance of F frames; y is up, the unit of length does not matter.

    Args:
        name: for messages.
        fps: frames per second.
        joints: (F, 17, 3) in the order of `JOINTS`, relative to the pelvis.
        root: (F, 3) where the pelvis is.
        forward, up: (F, 3) unit vectors, where the head looks and where its top is.
    """

    name: str
    fps: float
    joints: np.ndarray
    root: np.ndarray
    forward: np.ndarray
    up: np.ndarray


def read_motion(path: str | Path) -> list[Clip]:
    """Read the clips of an `.npz` motion file.

    Raises:
        DataError: if it cannot be read, is not an npz file, or holds degenerate or non-finite
            joints.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise DataError(
            path,
            "is not a motion file",
            "expected .npz with joints (F, 17, 3); to convert BVH see posekit/minidome/README.md",
        )
    try:
        clips = _read_npz(path)
    except OSError as error:
        raise DataError(
            path, f"cannot read it: {error.strerror or error}", "check the path"
        ) from None
    for clip in clips:
        arrays = (clip.joints, clip.root, clip.forward, clip.up)
        if (
            not len(clip.joints)
            or not all(np.isfinite(a).all() for a in arrays)
            or not clip.fps > 0
        ):
            raise DataError(f"{path}, clip {clip.name}", "holds no finite frames")
        bones = [
            ("l_hip", "l_knee"),
            ("r_hip", "r_knee"),
            ("l_shoulder", "l_elbow"),
            ("r_shoulder", "r_elbow"),
        ]
        bones += [
            ("pelvis", "chest"),
            ("chest", "neck"),
            ("l_hip", "r_hip"),
            ("l_shoulder", "r_shoulder"),
        ]
        for a, b in bones:
            if (np.linalg.norm(clip.joints[:, _J[a]] - clip.joints[:, _J[b]], axis=1) < 1e-6).any():
                raise DataError(
                    f"{path}, clip {clip.name}",
                    f"{a} and {b} are in one place: there is no direction",
                )
    return clips


def _read_npz(path: Path) -> list[Clip]:
    try:
        with np.load(path, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
    except (ValueError, EOFError, KeyError) as error:
        raise DataError(path, f"is no npz file: {error}") from None
    except Exception as error:
        if isinstance(error, OSError):
            raise
        raise DataError(path, f"is no npz file: {error}") from None
    missing = [name for name in ("joints", "head_forward", "head_up") if name not in data]
    if missing:
        raise DataError(
            path,
            f"has no array {missing[0]!r}",
            f"expected {', '.join(JOINTS)} as joints (F, 17, 3)",
        )
    frames = len(data["joints"]) if data["joints"].ndim else 0
    shapes = {
        "joints": (frames, 17, 3),
        "head_forward": (frames, 3),
        "head_up": (frames, 3),
        "root": (frames, 3),
    }
    data.setdefault("root", np.zeros((frames, 3)))
    clip_of = data.get("clip", np.zeros(frames, int))
    for name, shape in (*shapes.items(), ("clip", (frames,))):
        array = clip_of if name == "clip" else data[name]
        if array.shape != shape or array.dtype.kind not in "fiu":
            raise DataError(path, f"{name!r} has shape {array.shape}, expected {shape}")
    order = list(range(17))
    if "joint_names" in data:
        names = [str(n) for n in data["joint_names"].reshape(-1)]
        if sorted(names) != sorted(JOINTS):
            raise DataError(
                path, f"joint_names are {', '.join(names)[:120]}", f"expected {', '.join(JOINTS)}"
            )
        order = [names.index(name) for name in JOINTS]
    fps = float(np.asarray(data.get("fps", 15.0)).reshape(-1)[0])
    arrays = [data[name].astype(np.float64) for name in shapes]
    cuts = np.flatnonzero(np.diff(clip_of)) + 1
    pieces = [np.split(a, cuts) for a in arrays]
    return [
        Clip(str(clip_of[start]), fps, joints[:, order], root, forward, up)
        for start, joints, forward, up, root in zip([0, *cuts.tolist()] if frames else [], *pieces)
    ]


# ---- onto a person's bones -----------------------------------------------------------------------


def moments(clip: Clip, frames: int, step: int, rng: np.random.Generator) -> np.ndarray:
    """(T,) moments of a clip in its frames, from a random start on; at its ends the motion turns
    back."""
    span = (frames - 1) * step * clip.fps / FPS
    last = len(clip.joints) - 1
    start = rng.uniform(0, max(last - span, 0)) if last > span else rng.uniform(0, last)
    time = start + np.arange(frames) * step * clip.fps / FPS
    return np.zeros(frames) if last == 0 else last - np.abs((time % (2 * last)) - last)


def at_moments(clip: Clip, time: np.ndarray) -> Clip:
    """A clip between its frames: (T,) moments -> T frames, lengths as they come out (only
    directions count)."""
    low = np.minimum(time.astype(int), max(len(clip.joints) - 2, 0))
    high = np.minimum(low + 1, len(clip.joints) - 1)
    share = time - low

    def mixed(values: np.ndarray) -> np.ndarray:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return values[low] * (1 - weight) + values[high] * weight

    return Clip(
        clip.name, clip.fps, *(mixed(v) for v in (clip.joints, clip.root, clip.forward, clip.up))
    )


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def _across(v: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return v - np.sum(v * axis, axis=-1, keepdims=True) * axis


def _axes(up: np.ndarray, forward: np.ndarray) -> np.ndarray:
    """Axes (T, 3, 3) whose y is exactly `up` and whose z is as near to `forward` as that allows."""
    y = _unit(up)
    x = np.cross(y, forward)
    x = _unit(
        np.where(
            np.linalg.norm(x, axis=-1, keepdims=True) > 1e-6,
            x,
            np.cross(y, forward[..., [1, 2, 0]] + 0.1),
        )
    )
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def turned_as(clip: Clip) -> np.ndarray:
    """The axes (T, 17, 3, 3) of `pose.place` in the clip's own directions (x, y up, z): each bone
    points as the clip's.

    Elbows and knees give their limbs the turn about their own axis; where a limb is straight, the
    torso does.
    """
    p = lambda name: clip.joints[:, _J[name]]  # noqa: E731
    out = np.zeros((len(clip.joints), 17, 3, 3))
    put = lambda name, axes: out.__setitem__((slice(None), FRAME[name]), axes)  # noqa: E731
    pelvis = _axes(
        p("chest") - p("pelvis"), np.cross(p("l_hip") - p("r_hip"), p("chest") - p("pelvis"))
    )
    chest = _axes(
        p("neck") - p("chest"), np.cross(p("l_shoulder") - p("r_shoulder"), p("neck") - p("chest"))
    )
    put("pelvis", pelvis)
    put("chest", chest)
    put("waist", _axes(pelvis[..., 1] + chest[..., 1], pelvis[..., 2] + chest[..., 2]))
    head = _axes(clip.up, clip.forward)
    to_head = p("head") - p("neck")
    flat = np.linalg.norm(to_head, axis=-1, keepdims=True) < 1e-6
    put("neck", _axes(np.where(flat, chest[..., 1], to_head), chest[..., 2] + head[..., 2]))
    put("head", head)
    for side, short in (("left_", "l_"), ("right_", "r_")):
        bones = (("upper_arm", "forearm", "shoulder", "elbow", "wrist", 1, chest),)
        bones += (("thigh", "shin", "hip", "knee", "ankle", -1, pelvis),)
        for upper, lower, a, b, c, way, trunk in bones:
            bone = _unit(p(short + a) - p(short + b))
            rest = p(short + b) - p(short + c)
            rest = np.where(np.linalg.norm(rest, axis=-1, keepdims=True) > 1e-6, _unit(rest), bone)
            forward = -way * _across(rest, bone) + 0.12 * _across(trunk[..., 2], bone)
            axes = _axes(bone, forward)
            put(side + upper, axes)
            put(side + lower, _axes(rest, np.cross(axes[..., 0], rest)))
        put(side + "hand", out[:, FRAME[side + "forearm"]])
        put(side + "foot", level_foot(out[:, FRAME[side + "shin"]], np.zeros(len(out))))
    return out


def retarget(
    clip: Clip, bones: Bones, reach: float = 250.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A clip on a person's own bones: the clip's directions, the person's lengths.

    The pelvis travels as the clip's, measured in legs; the lowest point is on the floor, but in
    jumps.

    Args:
        clip: T frames.
        bones: the person's.
        reach: the longest way across the room that is kept, cm; more is scaled down.

    Returns:
        axes and origins as from `pose.place`, the middle of the way at the room's middle, and
        heading (T,) degrees.
    """
    axes = turned_as(clip)
    legs = np.linalg.norm(
        np.diff(clip.joints[:, [_J["l_hip"], _J["l_knee"], _J["l_ankle"]]], axis=1), axis=-1
    ).sum(axis=1)
    scale = (bones.thigh + bones.shin) / max(float(np.median(legs)), 1e-6)
    way = clip.root[:, [0, 2]] * [-scale, scale]
    way = way - (way.max(axis=0) + way.min(axis=0)) / 2
    way *= min(1.0, reach / max(np.ptp(way, axis=0).max(), 1e-6))
    heading = np.rad2deg(np.arctan2(-axes[:, 0, 0, 2], axes[:, 0, 2, 2]))
    shrug = [np.zeros((len(axes), 1))] * 2
    axes, origins = stand(bones, axes, put_joints(bones, axes, shrug), np.zeros(len(axes)), way)
    lowest = (clip.root[:, 1] + clip.joints[..., 1].min(axis=1)) * scale
    jump = (
        np.maximum(lowest - lowest.min() - 6, 0)
        if np.ptp(clip.root[:, 1]) > 0
        else np.zeros(len(axes))
    )
    origins[..., 1] -= np.minimum(jump, 90)[:, None]
    return axes, origins, heading
