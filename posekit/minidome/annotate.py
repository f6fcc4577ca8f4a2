"""Exact labels of a MiniDome image: keypoints and their visibility (chapter 02)."""

import numpy as np

from posekit.cameras import Camera, project, to_camera
from posekit.geometry import inside
from posekit.minidome import solids
from posekit.minidome.render import NEAR
from posekit.minidome.scene import Person, Scene
from posekit.minidome.solids import Solids
from posekit.skeleton import COCO17, PANOPTIC19, convert

LEAST_SEEN = 2e-4
"""People who cover a smaller fraction of the image (46 pixels at 640x360) are not annotated."""

DIGITS = 6
"""Number of decimals of the cm and pixels that are written."""


def joint_flags(
    joints: np.ndarray, margins: np.ndarray, shapes: Solids, camera: Camera
) -> np.ndarray:
    """COCO's visibility of joints, by casting the ray from the camera to each.

    A joint inside the image is visible (2) if the first surface on its ray lies at most
    `joint_margin` in front of it (the person's own skin and clothes), else occluded (1), by the
    person, another person or furniture. Outside the frame or behind the camera it is 0.

    Args:
        joints: (J, 3) world cm.
        margins: (J,) cm.
        shapes: everything in the room.
        camera: the camera.

    Returns:
        (J,) uint8.
    """
    in_frame = inside(project(joints, camera), camera.resolution) & (
        to_camera(joints, camera)[:, 2] > NEAR
    )
    distance = np.linalg.norm(joints - camera.position, axis=1)
    seen = solids.first_hits(shapes, camera.position, joints) * distance >= distance - margins
    return np.where(in_frame, np.where(seen, 2, 1), 0).astype(np.uint8)


def facing(person: Person, frame: int, camera: Camera) -> float:
    """Angle in degrees between a person's heading and the direction to the camera, seen from above:
    over 90 is from behind."""
    turned = np.deg2rad(person.heading[frame])
    way = (camera.position - person.origins[frame, 0])[[0, 2]]
    cosine = (way @ [np.sin(turned), np.cos(turned)]) / np.linalg.norm(way)
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


def annotate(
    scene: Scene, frame: int, shapes: Solids, solid_index: np.ndarray, camera: Camera
) -> list[dict]:
    """Return the COCO annotations of one image, without ids.

    People with no joint inside the image, or of whom fewer pixels than `LEAST_SEEN` are visible,
        are left out: no human
    could label them. `area` counts the pixels in which the person is seen; `bbox` holds these and
    the labelled joints,
    clipped to the frame. Beyond COCO: `body_id` (the id in the 3D pose files) and `facing_deg`, see
        `facing`.

    Args:
        scene, frame: the scene and the index of its frame.
        shapes: everything in the room.
        ident: (H, W) number of the shape that each pixel sees, -1 for none.
        camera: the camera.
    """
    height, width = solid_index.shape
    owners = np.append(shapes.owners, -1)[solid_index]
    out = []
    for body_id, person in enumerate(scene.people):
        joints = np.round(person.joints()[frame], DIGITS)
        keypoints = convert(project(joints, camera), PANOPTIC19, COCO17)
        flags = joint_flags(joints, person.body.joint_margin, shapes, camera)
        flags = convert(flags[:, None], PANOPTIC19, COCO17)[:, 0]
        labelled = flags > 0
        mask = owners == body_id
        area = int(np.count_nonzero(mask))
        if not labelled.any() or area < LEAST_SEEN * width * height:
            continue
        cols = np.flatnonzero(mask.any(axis=0))
        rows = np.flatnonzero(mask.any(axis=1))
        low = np.minimum([cols[0], rows[0]], keypoints[labelled].min(axis=0))
        high = np.maximum([cols[-1], rows[-1]], keypoints[labelled].max(axis=0)) + 1
        low = np.clip(low, 0, None)
        high = np.minimum(high, [width, height])
        points = np.where(labelled[:, None], keypoints, 0)
        out.append(
            {
                "category_id": 1,
                "iscrowd": 0,
                "keypoints": [
                    v
                    for (x, y), f in zip(points.tolist(), flags.tolist())
                    for v in (*_short(x, y), f)
                ],
                "num_keypoints": int(labelled.sum()),
                "bbox": _short(*low.tolist(), *(high - low).tolist()),
                "area": area,
                "body_id": body_id,
                "facing_deg": round(facing(person, frame, camera), 3),
            }
        )
    return out


def _short(*values: float) -> list[float]:
    return [round(v, DIGITS) for v in values]


def bodies_json(scene: Scene, frame: int, number: int, fps: float) -> dict:
    """Return the content of CMU Panoptic's `body3DScene_%08d.json`."""
    bodies = []
    for body_id, person in enumerate(scene.people):
        rows = np.round(person.joints()[frame], DIGITS).tolist()
        bodies.append({"id": body_id, "joints19": [v for row in rows for v in (*row, 1.0)]})
    return {
        "version": 0.7,
        "univTime": round(1000 * number / fps, 3),
        "fpsType": "hd_29_97",
        "bodies": bodies,
    }


CATEGORIES = [
    {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO17.joints),
        "skeleton": [[a + 1, b + 1] for a, b in COCO17.limb_indices],
    }
]
"""COCO's `categories`."""
