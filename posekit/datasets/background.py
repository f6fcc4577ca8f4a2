"""Pictures of nobody: what a network must see to learn that a camera may look at an empty room (model card, chapter 12).

    FOLDER/images/…             pictures without people (or in the folder itself): the whole picture
    FOLDER/annotations/*.json   COCO's keypoint JSON: in each photo the largest square beside all people; an empty one is taken whole

Each is a sample of which everything is known: no joint is there. So all of its visibility counts, and none of its coordinates.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from posekit import geometry
from posekit.datasets import PersonAnnotation, coco, excluded_photos, read_json, skip_errors
from posekit.errors import DataError
from posekit.images import read_image
from posekit.skeleton import COCO17

K = len(COCO17)
PICTURES = (".jpg", ".jpeg", ".png")
REACH = geometry.PADDING * 1.5
"""Side of the stored context crop in sides of the box: none of it may show anybody."""
SMALLEST = 150.0
"""Pixels: a smaller square beside people, enlarged, is a blur, by which a network would know it."""
MARGIN = 8.0
"""Pixels around an annotated box that are left free: boxes are drawn tightly."""


def read(
    root: str | Path,
    split: str | None = None,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """Nobody, in many pictures.

    Args:
        root: the folder, of pictures or of a COCO data set.
        split: of plain pictures every sixth is for `"val"` and the others for `"train"`, None: all. Of COCO it picks the annotation
            file, and `"train"` applies `exclude.txt`.
        filtered: gets the number of photos that people fill, or might fill, by reason.
        skipped: see `sources.read`.

    Yields:
        PersonAnnotation with every joint known and none labelled; `person_id` is the picture's name.

    Raises:
        DataError: when there is no picture, one cannot be read, or the file is no COCO keypoint JSON.
    """
    root, filtered = Path(root), Counter() if filtered is None else filtered
    if any(root.glob("annotations/*.json")) or any(root.glob("person_keypoints*.json")):
        return _beside(root, split, filtered, skipped)
    folder = root / "images" if (root / "images").is_dir() else root
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise DataError(folder, "no picture there", f"expected {', '.join(PICTURES)}")
    kept = [
        path
        for i, path in enumerate(found)
        if split not in ("train", "val") or (i % 6 == 5) == (split == "val")
    ]
    return _whole(kept, skipped)


def _whole(paths: list[Path], skipped: list[dict] | None) -> Iterator[PersonAnnotation]:
    for path in paths:
        with skip_errors(path.name, skipped):
            yield _sample(path, geometry.bbox_of_image(*read_image(path).shape[1::-1]))


def _sample(path: Path, bbox: np.ndarray) -> PersonAnnotation:
    nowhere = np.zeros((K, 2))
    return PersonAnnotation(
        image=path,
        source_id=path.name,
        person_id=path.name,
        keypoints=nowhere,
        keypoints_visible=np.zeros(K),
        joint_known=np.ones(K, bool),
        bbox=bbox,
        area=0.0,
        dataset="background",
    )


def _beside(
    root: Path, split: str | None, filtered: Counter, skipped: list[dict] | None
) -> Iterator[PersonAnnotation]:
    """Of each photo of a COCO data set, or of a MiniDome sequence, what people leave free."""
    minidome = (root / "hdImgs").is_dir()
    file, folder = coco.find_minidome(root) if minidome else coco.find(root, split or "train")
    data, excluded, boxes = read_json(file), excluded_photos(file.parent, split), {}
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(
                file, f"no list {key!r}: not a COCO annotation file", "give the keypoint JSON"
            )
    for position, annotation in enumerate(data["annotations"]):
        where = f"{file}, annotation number {position + 1}"
        if not isinstance(annotation, dict) or "image_id" not in annotation:
            raise DataError(where, "without image_id", "name the photo that it belongs to")
        boxes.setdefault(annotation["image_id"], []).append(
            coco.box_of(annotation.get("bbox"), where)
        )
    for identity, (name, size) in coco.photos_of(data["images"], file).items():
        people = boxes.get(identity)
        with skip_errors(name, skipped):
            if size is None:
                raise DataError(f"{file}, {name}", "without width and height", "add them")
            if PurePosixPath(name).name in excluded:
                filtered["exclude.txt"] += 1
            elif not people:
                yield _sample(folder / name, geometry.bbox_of_image(*size))
            elif minidome:
                filtered["people in it"] += 1  # its rooms look alike, and the empty ones are enough
            elif any(box is None for box in people):
                filtered["a person without a box"] += 1
            elif (square := largest_free(*size, np.array(people))) is None:
                filtered["people leave no square free"] += 1
            else:
                yield _sample(folder / name, square)


def largest_free(width: int, height: int, boxes: np.ndarray) -> np.ndarray | None:
    """A box whose context crop lies in the photo and touches nobody.

    Args:
        width, height: of the photo, pixels.
        boxes: (N, 4) x, y, w, h of all people in it, crowds too.

    Returns:
        (4,) x, y, w, h, the largest of those left or right of, above or below all people, or None where it is too small.
    """
    left, top = boxes[:, :2].min(axis=0) - MARGIN
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0) + MARGIN
    strips = (
        (0, 0, left, height),
        (right, 0, width, height),
        (0, 0, width, top),
        (0, bottom, width, height),
    )
    x0, y0, x1, y1 = max(strips, key=lambda s: min(s[2] - s[0], s[3] - s[1]))
    side = min(x1 - x0, y1 - y0)
    if side < SMALLEST:
        return None
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    return np.array([*(centre - side / REACH / 2), side / REACH, side / REACH])
