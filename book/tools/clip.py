"""Render the clip of the page and of chapter 15: a MiniDome person who raises arms and squats.

    python book/tools/clip.py                 # writes posekit/live/web/clip.mjpeg and clip.json

An `.mjpeg` file is a sequence of JPEGs, 25 per second: OpenCV reads it, the page can split it, and
Chromium takes it for a camera. `clip.json` holds the true keypoints. The tests render other clips
with `render`.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np

from posekit.cameras import Camera
from posekit.images import encode_jpeg
from posekit.minidome import room, solids
from posekit.minidome.annotate import annotate
from posekit.minidome.body import sample_body
from posekit.minidome.pose import forward_kinematics, vector
from posekit.minidome.render import draw, ray_grid
from posekit.minidome.scene import Person, Scene

WEB = Path(__file__).resolve().parents[2] / "posekit" / "live" / "web"
FPS = 25
SIZE = (320, 240)
STAND = vector(
    left_arm_raise=10,
    right_arm_raise=10,
    left_arm_plane=80,
    right_arm_plane=80,
    left_elbow=12,
    right_elbow=12,
    left_hip_out=7,
    right_hip_out=7,
    left_knee=4,
    right_knee=4,
)
RAISED = STAND + vector(left_arm_raise=140, right_arm_raise=140)
SQUAT = STAND + vector(
    left_hip_flex=92,
    right_hip_flex=92,
    left_knee=104,
    right_knee=104,
    pelvis_pitch=22,
    left_hip_out=9,
    right_hip_out=9,
    left_arm_raise=70,
    right_arm_raise=70,
    left_arm_plane=-65,
    right_arm_plane=-65,
)


@functools.lru_cache(maxsize=4)
def webcam(size: tuple[int, int] = SIZE, away: float = 310.0) -> Camera:
    """A webcam without distortion, at the height of a table, `away` cm in front of the person."""
    position = np.array([0.0, -105.0, away])
    target = np.array([0.0, -94.0, 0.0])
    z = (target - position) / np.linalg.norm(target - position)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    focal = 0.92 * size[0]
    K = np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])
    return Camera("00_00", K, np.zeros(5), R, -R @ position, size)


def render(
    angles: np.ndarray,
    spot: np.ndarray | None = None,
    there: np.ndarray | None = None,
    *,
    heading: float = 0.0,
    seed: int = 7,
    walls: int = 13,
    camera: Camera | None = None,
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Render frames of one person in a room, with the true keypoints.

    Args:
        angles: (T, 30) degrees.
        spot: (T, 2) x and z of the pelvis, cm; None for the middle.
        there: (T,) bool; False leaves the room empty.
        heading: degrees, 0 faces the camera.
        seed: of the person.
        walls: of the room.
        camera: None for `webcam()`.

    Returns:
        T frames: (H, W, 3) uint8 RGB and (17, 3) float64 x, y, COCO flag; None for the keypoints of
        an empty room.
    """
    frames = len(angles)
    rng = np.random.default_rng(seed)
    camera = camera or webcam()
    spot = np.zeros((frames, 2)) if spot is None else spot
    there = np.ones(frames, bool) if there is None else there
    figure = sample_body(rng)
    axes, origins = forward_kinematics(figure.bones, angles, np.full(frames, heading), spot)
    person = Person(figure, {"legs": "demo"}, angles, np.full(frames, heading), axes, origins)
    light = np.array([0.35, -0.85, 0.4])
    tint = np.array([1.03, 1.0, 0.97])
    grid = ray_grid(camera)
    out = []
    for t in range(frames):
        people = [person] if there[t] else []
        scene = Scene(
            people,
            solids.no_solids(),
            [camera.name],
            light / np.linalg.norm(light),
            0.6,
            tint,
            walls,
            0.1,
        )
        shapes = solids.merge([p.solids_at(t, 0) for p in people] + [scene.furniture])
        image, solid_index = draw(
            scene, shapes, room.paint(scene, shapes), grid, [seed, 0xC11B], None
        )
        seen = annotate(scene, t, shapes, solid_index, camera)
        out.append((image, np.reshape(seen[0]["keypoints"], (17, 3)) if seen else None))
    return out


def between(keys: list[tuple[float, np.ndarray]], seconds: np.ndarray) -> np.ndarray:
    """Interpolate key poses smoothly: angles (T, 30) at the times (T,)."""
    times = np.array([time for time, _ in keys])
    poses = np.stack([pose for _, pose in keys])
    k = np.clip(np.searchsorted(times, seconds, side="right") - 1, 0, len(keys) - 2)
    share = np.clip((seconds - times[k]) / (times[k + 1] - times[k]), 0, 1)
    return poses[k] + (share * share * (3 - 2 * share))[:, None] * (poses[k + 1] - poses[k])


def exercise() -> list[tuple[float, np.ndarray]]:
    """Key poses of three arm raises and two squats, in 6.4 seconds."""
    keys = [(0.0, STAND), (0.4, STAND)]
    now = 0.4
    for pose, times, half in ((RAISED, 3, 0.5), (SQUAT, 2, 0.7)):
        for _ in range(times):
            keys += [(now + half, pose), (now + 2 * half, STAND)]
            now += 2 * half
    return [*keys, (6.4, STAND)]


def main() -> int:
    """Write clip.mjpeg and clip.json, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=WEB, help="folder (default: %(default)s)")
    parser.add_argument(
        "--quality", type=int, default=60, help="of the JPEGs (default: %(default)s)"
    )
    args = parser.parse_args()
    keys = exercise()
    made = render(between(keys, np.arange(round(keys[-1][0] * FPS)) / FPS), heading=30)
    data = b"".join(encode_jpeg(image, args.quality) for image, _ in made)
    (args.out / "clip.mjpeg").write_bytes(data)
    truth = [np.round(keypoints, 1).tolist() for _, keypoints in made]
    (args.out / "clip.json").write_text(
        json.dumps({"fps": FPS, "size": SIZE, "keypoints": truth}), encoding="utf-8"
    )
    print(f"{len(made)} frames, {len(data):,} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
