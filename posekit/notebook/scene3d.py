"""A figure in three dimensions that the reader can turn: the cameras of a dome, and the people in it (chapter 02).

It works in JupyterLab and in the built page, without a kernel and without the network: its script (`scene3d.js`) and its
scene lie in the cell's output. Where scripts do not run, a still picture of the same view is seen.
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

YAW, PITCH = 0.5, 0.42
"""How the scene is turned to begin with, radians."""
FAR, MIDDLE = 1500.0, -140.0
"""Distance of the eye, and height (y, down) of the point it looks at, cm."""
BOX = (-430, -290, 860, 560)
"""x, y, width and height of what is seen, in cm at the middle."""
TILE, COLUMNS = (160, 90), 8

_FLOOR, _GRID = 240, 60


def look(points: np.ndarray, yaw: float = YAW, pitch: float = PITCH) -> np.ndarray:
    """Where world points are seen in the figure.

    Args:
        points: (..., 3) cm, y down.
        yaw: turn about the vertical axis, radians.
        pitch: how far from above, radians; 0 is from the side.

    Returns:
        (..., 3): x and y in the figure, and the depth.
    """
    x, y, z = np.moveaxis(np.asarray(points, np.float64) - (0, MIDDLE, 0), -1, 0)
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, depth = y * np.cos(pitch) - z * np.sin(pitch), z * np.cos(pitch) + y * np.sin(pitch)
    scale = FAR / (FAR + depth)
    return np.stack([x * scale, y * scale, depth], axis=-1)


def frustum(camera: Camera, depth: float = 34.0) -> np.ndarray:
    """A camera as five points, (5, 3) cm: where it stands, and the corners of its picture `depth` cm ahead of it."""
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
    return f"Camera {name}: {np.hypot(x, z) / 100:.1f} m from the middle, {-y / 100:.1f} m high, {angle:.0f}° wide."


def _still(scene: dict):
    """The scene as it is seen at first, as a Matplotlib figure."""
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
    seen = [(look(np.array(points, float)), *rest) for points, *rest in things]
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
    """The cameras' pictures side by side in one JPEG, as a data address."""
    import cv2

    w, h = TILE
    sheet = np.full((-(-len(names) // COLUMNS) * h, COLUMNS * w, 3), 238, np.uint8)
    for k, name in enumerate(names):
        if name in views:
            top, left = k // COLUMNS * h, k % COLUMNS * w
            sheet[top : top + h, left : left + w] = cv2.resize(
                views[name], TILE, interpolation=cv2.INTER_AREA
            )
    for quality in range(90, 30, -5):
        data = encode_jpeg(sheet, quality)
        if len(data) <= viz.MAX_PNG_BYTES:
            break
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


class ScriptedFigure:
    """A picture that a script brings to life in JupyterLab and in the built page, without a kernel and without the network.

    A subclass says what it is called in the page, which file of this folder is its script, and how its frame looks. The script is
    one function of an identity, by which it finds its frame, and of the scene; two figures of the same scene have the same.

    Args:
        scene: what the script draws; anything that JSON can hold.
        still: the picture for where scripts do not run.
        alt: its description.
    """

    name = script = style = ""

    def __init__(self, scene: dict, still: viz.Figure, alt: str):
        self.scene, self.still, self.alt = scene, still, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        bundle = self.still._repr_mimebundle_()
        scene = json.dumps(self.scene, separators=(",", ":")).replace("<", "\\u003c")
        same = json.dumps({key: value for key, value in self.scene.items() if key != "sheet"})
        identity = hashlib.sha256(same.encode()).hexdigest()[:8]
        script = (Path(__file__).parent / self.script).read_text(encoding="utf-8").rstrip()
        bundle["text/html"] = (
            f'<div class="posekit-{self.name}" data-{self.name}="{identity}" style="{self.style}">{bundle["text/html"]}</div>\n'
            f'<script>{script}("{identity}", {scene});</script>'
        )
        return bundle


class Turntable(ScriptedFigure):
    """A rendered scene, as notebooks and pages show it; `show` makes one."""

    name, script = "turntable", "scene3d.js"
    style = "display: flex; flex-wrap: wrap; gap: 12px; background: #fff; border-radius: 8px; padding: 8px; box-sizing: border-box"


def show(
    cameras: Mapping[str, Camera],
    poses: Sequence[np.ndarray],
    alt: str,
    views: Mapping[str, np.ndarray] | None = None,
    skeleton: Skeleton = COCO17,
) -> None:
    """Show cameras and people in three dimensions, to be turned by the reader.

    Args:
        cameras: by name.
        poses: of each person (K, 3) cm, y down; NaN for a joint that is not known.
        alt: says what the figure shows, for readers who do not see it.
        views: the cameras' pictures by name, (H, W, 3) uint8; the chosen camera's is shown beside.
        skeleton: of the poses.

    Raises:
        ValueError: when `alt` says next to nothing, or a pose is not the skeleton's.
    """
    from IPython.display import display

    alt = " ".join(str(alt).split())
    if any(np.shape(pose) != (len(skeleton), 3) for pose in poses):
        raise ValueError(f"{skeleton.name} wants poses of shape ({len(skeleton)}, 3)")
    scene = _scene(cameras, poses, skeleton) | {"alt": alt}
    if views:
        scene["sheet"] = _sheet(views, list(cameras))
    display(Turntable(scene, viz.figure(_still(scene), alt), alt))
