"""Read background samples: images, or squares in them, without people (model card, chapter 15).

    FOLDER/images/...           images without people (or in the folder itself): the whole image
    FOLDER/annotations/*.json   COCO keypoint JSON: in each image the largest square next to all
                                people; an image without people is taken whole

They are the negatives that teach a network to say that no person is there. Each is a sample of
which everything is known: all joints are outside. So all of its visibility counts, and none of its
coordinates.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from posekit import geometry
from posekit.datasets import PersonAnnotation, coco, coco_json, excluded_images, skip_errors
from posekit.datasets.image_files import ImageFinder
from posekit.errors import DataError
from posekit.images import read_image
from posekit.skeleton import COCO17

__all__ = ["CONTEXT", "largest_free", "read"]

K = len(COCO17)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic")
CONTEXT = geometry.PADDING * 1.5
"""Side of the stored context crop in sides of the box: no part of it may show a person."""
MIN_SQUARE = 150.0
"""Pixels: a smaller square, enlarged, is so blurred that a network could tell it by the blur."""
MARGIN = 8.0
"""Pixels around an annotated box that are left free: boxes are drawn tightly."""


def read(
    root: str | Path,
    split: str | None = None,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
) -> Iterator[PersonAnnotation]:
    """Yield background samples (no person).

    Args:
        root: the folder, of images or of a COCO data set.
        split: of plain images every sixth is for `"val"` and the others for `"train"`, None: all.
            Of COCO it picks the annotation file, and `"train"` applies `exclude.txt`.
        filtered: gets the number of images that people fill, or might fill, by reason.
        skipped: see `posekit.datasets.read`.

    Yields:
        PersonAnnotation with every joint known and none labelled; `person_id` is the image's name.

    Raises:
        DataError: when there is no image, one cannot be read, or the file is not COCO keypoint
            JSON.
    """
    root = Path(root)
    filtered = Counter() if filtered is None else filtered
    if any(root.glob("annotations/*.json")) or any(root.glob("person_keypoints*.json")):
        return _next_to_people(root, split, filtered, skipped)
    folder = root / "images" if (root / "images").is_dir() else root
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(folder, "no image there", f"expected {', '.join(SUFFIXES)}")
    kept = [
        path
        for i, path in enumerate(found)
        if split not in ("train", "val") or (i % 6 == 5) == (split == "val")
    ]
    return _whole_images(kept, skipped)


def _whole_images(paths: list[Path], skipped: list[dict] | None) -> Iterator[PersonAnnotation]:
    for path in paths:
        with skip_errors(path.name, skipped):
            yield _sample(path, geometry.bbox_of_image(*read_image(path).shape[1::-1]))


def _sample(path: Path, bbox: np.ndarray, name: str | None = None) -> PersonAnnotation:
    """Return the sample of an image; `name` is its id, None for the file's name."""
    return PersonAnnotation(
        image=path,
        source_id=name or path.name,
        person_id=name or path.name,
        keypoints=np.zeros((K, 2)),
        keypoints_visible=np.zeros(K),
        joint_known=np.ones(K, bool),
        bbox=bbox,
        area=0.0,
        dataset="background",
    )


def _next_to_people(
    root: Path, split: str | None, filtered: Counter, skipped: list[dict] | None
) -> Iterator[PersonAnnotation]:
    """Yield what people leave free of each image of a COCO data set, or of a MiniDome sequence."""
    minidome = (root / "hdImgs").is_dir()
    path, folder = coco.find_minidome(root) if minidome else coco.find(root, split or "train")
    file = coco_json.parse(path)
    excluded = excluded_images(path.parent, split)
    boxes = file.boxes()
    finder = ImageFinder(folder)
    uses = Counter(PurePosixPath(image.file_name or "").name for image in file.images.values())
    for identity, image in file.images.items():
        people = boxes.get(identity)
        with skip_errors(image.file_name or image.where, skipped):
            name = PurePosixPath(image.name).name
            if image.size is None:
                raise DataError(f"{path}, {image.name}", "without width and height", "add them")
            if name in excluded:
                filtered["exclude.txt"] += 1
            elif not people:
                box = geometry.bbox_of_image(*image.size)
                yield _sample(finder.find(image), box, image.name if uses[name] > 1 else None)
            elif minidome:
                # its rooms look alike, and the empty ones are enough
                filtered["people in it"] += 1
            elif any(box is None for box in people):
                filtered["a person without a box"] += 1
            elif (square := largest_free(*image.size, np.array(people))) is None:
                filtered["people leave no square free"] += 1
            else:
                yield _sample(finder.find(image), square, image.name if uses[name] > 1 else None)


def largest_free(width: int, height: int, boxes: np.ndarray) -> np.ndarray | None:
    """Find a box whose context crop lies in the image and touches no person.

    Args:
        width, height: of the image, pixels.
        boxes: (N, 4) x, y, w, h of all people in it, crowds too.

    Returns:
        (4,) x, y, w, h, the largest of those left or right of, above or below all people, or None
        where it is too small.
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
    if side < MIN_SQUARE:
        return None
    center = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    return np.array([*(center - side / CONTEXT / 2), side / CONTEXT, side / CONTEXT])
