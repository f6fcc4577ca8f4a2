"""A rotatable 3D figure of cameras and people (chapter 02).

It works in JupyterLab and in the built page without a kernel or a network: its script
    (`scene3d.js`) and the scene are
part of the cell's output. Where scripts do not run, a static image of the initial view is shown.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from posekit import viz
from posekit.cameras import Camera
from posekit.images import encode_jpeg
from posekit.skeleton import COCO17, Skeleton

YAW = 0.5
PITCH = 0.42
"""Initial rotation of the view, radians."""
FAR = 1500.0
MIDDLE = -140.0
"""Distance of the viewpoint, and height (y, down) of the point it looks at, cm."""
BOX = (-430, -290, 860, 560)
"""x, y, width and height of the view, in cm at the centre."""
TILE = (160, 90)
COLUMNS = 8

_FLOOR = 240
_GRID = 60


def project_view(points: np.ndarray, yaw: float = YAW, pitch: float = PITCH) -> np.ndarray:
    """Project world points into the figure.

    Args:
        points: (..., 3) cm, y down.
        yaw: turn about the vertical axis, radians.
        pitch: elevation of the viewpoint, radians; 0 is from the side.

    Returns:
        (..., 3): x and y in the figure, and the depth.
    """
    x, y, z = np.moveaxis(np.asarray(points, np.float64) - (0, MIDDLE, 0), -1, 0)
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, depth = y * np.cos(pitch) - z * np.sin(pitch), z * np.cos(pitch) + y * np.sin(pitch)
    scale = FAR / (FAR + depth)
    return np.stack([x * scale, y * scale, depth], axis=-1)


def frustum(camera: Camera, depth: float = 34.0) -> np.ndarray:
    """Return a camera as five points, (5, 3) cm: its position and the corners of its image plane at
    `depth` cm."""
    w, h = camera.resolution
    corners = np.array(
        [[-0.5, -0.5, 1], [w - 0.5, -0.5, 1], [w - 0.5, h - 0.5, 1], [-0.5, h - 0.5, 1]]
    )
    rays = corners @ np.linalg.inv(camera.K).T @ camera.R
    return np.concatenate([camera.position[None], camera.position + depth * rays])


def _scene(cameras: Mapping[str, Camera], poses: Sequence[np.ndarray], skeleton: Skeleton) -> dict:
    ticks = range(-_FLOOR, _FLOOR + 1, _GRID)
    floor = [[(k, 0, -_FLOOR), (k, 0, _FLOOR)] for k in ticks] + [
        [(-_FLOOR, 0, k), (_FLOOR, 0, k)] for k in ticks
    ]
    lines = [{"points": points, "colour": "#D0D0D0", "width": 1, "floor": True} for points in floor]
    colours = viz.joint_colours(skeleton)
    for pose in poses:
        for a, b in skeleton.limb_indices:
            if not np.all(np.isfinite(pose[[a, b]])):
                continue
            colour = colours[a] if colours[a] == colours[b] else viz.MIDDLE
            lines.append(
                {"points": np.round(pose[[a, b]], 1).tolist(), "colour": colour, "width": 4}
            )
    return {
        "box": BOX,
        "yaw": YAW,
        "pitch": PITCH,
        "far": FAR,
        "middle": MIDDLE,
        "tile": TILE,
        "columns": COLUMNS,
        "lines": lines,
        "cameras": [
            {
                "name": name,
                "points": np.round(frustum(camera), 1).tolist(),
                "words": _words(name, camera),
            }
            for name, camera in cameras.items()
        ],
    }


def _words(name: str, camera: Camera) -> str:
    x, y, z = camera.position
    w, h = camera.resolution
    angle = 2 * np.degrees(np.arctan(w / 2 / camera.K[0, 0]))
    place = f"{np.hypot(x, z) / 100:.1f} m from the middle, {-y / 100:.1f} m high"
    return f"Camera {name}: {place}, {angle:.0f}° wide."


def _still(scene: dict):
    """Draw the initial view as a Matplotlib figure."""
    import matplotlib.pyplot as plt

    x, y, width, height = BOX
    fig, ax = plt.subplots(figsize=(6.4, 6.4 * height / width))
    things = [
        (line["points"], line["colour"], line["width"], line.get("floor"))
        for line in scene["lines"]
    ]
    for camera in scene["cameras"]:
        apex, *corners = camera["points"]
        things += [
            ([*corners, corners[0]], None, 1.4, False),
            *(([apex, c], None, 1.4, False) for c in corners),
        ]
    seen = [(project_view(np.array(points, float)), *rest) for points, *rest in things]
    for points, colour, line, _ in sorted(
        seen, key=lambda thing: (not thing[3], -thing[0][:, 2].mean())
    ):
        alpha = 1 if colour else np.clip(0.75 - points[:, 2].mean() / 700, 0.35, 1)
        ax.plot(
            *points[:, :2].T,
            color=colour or "#444444",
            linewidth=0.75 * line,
            solid_capstyle="round",
            alpha=alpha,
        )
    ax.set(xlim=(x, x + width), ylim=(y + height, y), aspect="equal")
    ax.set_axis_off()
    return fig


def _sheet(views: Mapping[str, np.ndarray], names: Sequence[str]) -> str:
    """Tile the camera images into one JPEG and return it as a data URL."""
    import cv2

    w, h = TILE
    sheet = np.full((-(-len(names) // COLUMNS) * h, COLUMNS * w, 3), 238, np.uint8)
    for k, name in enumerate(names):
        if name in views:
            top = k // COLUMNS * h
            left = k % COLUMNS * w
            sheet[top : top + h, left : left + w] = cv2.resize(
                views[name], TILE, interpolation=cv2.INTER_AREA
            )
    for quality in range(90, 30, -5):
        data = encode_jpeg(sheet, quality)
        if len(data) <= viz.MAX_PNG_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


class ScriptedFigure:
    """A figure drawn by a script in JupyterLab and in the built page, without a kernel or a
    network.

    A subclass sets its name in the page, the script file in this folder, and the CSS of its frame.
    The script is a function of an id, by which it finds its frame, and of the scene; figures of the
    same scene share the id.

    Args:
        scene: data for the script; JSON-serialisable.
        still: the static figure shown where scripts do not run.
        alt: alternative text.
    """

    name = script = style = ""

    def __init__(self, scene: dict, still: viz.Figure, alt: str):
        self.scene = scene
        self.still = still
        self.alt = alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        scene = json.dumps(self.scene, separators=(",", ":")).replace("<", "\\u003c")
        same = json.dumps({key: value for key, value in self.scene.items() if key != "sheet"})
        identity = hashlib.sha256(same.encode()).hexdigest()[:8]
        script = (Path(__file__).parent / self.script).read_text(encoding="utf-8").rstrip()
        frame = (
            f'<div class="posekit-{self.name}" data-{self.name}="{identity}" '
            f'style="{self.style}">{self.still.html()}</div>'
        )
        code = f'<script>{script}("{identity}", {scene});</script>'
        return {"text/html": f"{frame}\n{code}", "text/plain": self.alt}


class Scene3D(ScriptedFigure):
    """A rendered 3D scene; `show` creates one."""

    name = "scene3d"
    script = "scene3d.js"
    style = (
        "display: flex; flex-wrap: wrap; gap: 12px; background: #fff; border-radius: 8px; "
        "padding: 8px; box-sizing: border-box"
    )


def show(
    cameras: Mapping[str, Camera],
    poses: Sequence[np.ndarray],
    alt: str,
    views: Mapping[str, np.ndarray] | None = None,
    skeleton: Skeleton = COCO17,
) -> None:
    """Show cameras and people in a rotatable 3D figure.

    Args:
        cameras: by name.
        poses: one per person, (K, 3) cm, y down; NaN for unknown joints.
        alt: alternative text of the figure.
        views: images of the cameras by name, (H, W, 3) uint8; the selected one is shown next to the
            scene.
        skeleton: skeleton of the poses.

    Raises:
        ValueError: if `alt` is too short or a pose has another number of joints.
    """
    from IPython.display import display

    alt = " ".join(str(alt).split())
    if any(np.shape(pose) != (len(skeleton), 3) for pose in poses):
        raise ValueError(f"{skeleton.name} wants poses of shape ({len(skeleton)}, 3)")
    scene = _scene(cameras, poses, skeleton) | {"alt": alt}
    if views:
        scene["sheet"] = _sheet(views, list(cameras))
    display(Scene3D(scene, viz.figure(_still(scene), alt), alt))
