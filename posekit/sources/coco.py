"""COCO person keypoints, and every data set that is written in its JSON layout, MiniDome's among them (chapter 02).

Format: https://cocodataset.org/#format-data. Coordinates count from the centre of the first pixel, (0, 0); nothing is
shifted. v: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from posekit.errors import DataError
from posekit.skeleton import COCO17
from posekit.sources import PersonSample, excluded_photos, read_json

K = len(COCO17)


def find(root: str | Path, split: str) -> tuple[Path, Path]:
    """The annotation file and the photo folder of one split.

    Looks for the official layout (`annotations/person_keypoints_{split}2017.json` beside `{split}2017/`), then for any
    `annotations/person_keypoints_{split}*.json`, then for a single `person_keypoints*.json` beside `images/`, which the
    split then only names.

    Args:
        root: the data set's folder.
        split: `"train"`, `"val"` or `"test"`.

    Returns:
        (annotation file, photo folder).

    Raises:
        DataError: when there is none, or more than one to choose from.
    """
    root = Path(root)
    official = root / "annotations" / f"person_keypoints_{split}2017.json"
    candidates = [official] if official.is_file() else sorted(root.glob(f"annotations/person_keypoints_{split}*.json"))
    candidates = candidates or sorted(root.glob("person_keypoints*.json"))
    if not candidates:
        raise DataError(
            root,
            f"no COCO keypoint annotations for split {split!r}: neither annotations/person_keypoints_{split}*.json "
            "nor person_keypoints*.json",
            "give the folder that holds annotations/, and a split that it has",
        )
    annotation_file = _only(candidates, root)
    named = annotation_file.stem.removeprefix("person_keypoints_")
    for images_dir in (root / named, root / "images" / named, root / "images"):
        if images_dir.is_dir():
            return annotation_file, images_dir
    raise DataError(annotation_file, f"no folder of photos: neither {root / named} nor {root / 'images'}", "add it")


def find_minidome(sequence_dir: str | Path) -> tuple[Path, Path]:
    """The annotation file of a MiniDome sequence and the folder that its file names start from: the sequence itself.

    Raises:
        DataError: when there is none, or more than one.
    """
    root = Path(sequence_dir)
    candidates = sorted(root.glob("annotations/person_keypoints_*.json"))
    if not candidates:
        raise DataError(
            root, "no annotations/person_keypoints_*.json: not a MiniDome sequence", "make one: make_minidome.py"
        )
    return _only(candidates, root), root


def _only(candidates: list[Path], root: Path) -> Path:
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        raise DataError(root, f"several annotation files fit: {names}", "leave one of them there")
    return candidates[0]


def read(
    annotation_file: str | Path,
    images_dir: str | Path,
    dataset: str = "coco",
    *,
    split: str | None = None,
    left_out: Counter | None = None,
) -> Iterator[PersonSample]:
    """People of a COCO keypoint file, all of each photo, in the file's order.

    Left out, and counted: crowds (`iscrowd`), people without a labelled joint, and with `split="train"` the photos that
    an `exclude.txt` beside the annotations names. A joint with v = 0 is taken as known to be out of the photo: COCO does
    not tell that from "not labelled" in people who have other joints labelled.

    Args:
        annotation_file: the JSON.
        images_dir: folder that the JSON's file names start from.
        dataset: what the samples are called.
        split: `"train"` applies `exclude.txt`.
        left_out: gets the number of people left out, by reason.

    Yields:
        PersonSample; `person_id` is "photo/annotation id".

    Raises:
        DataError: when the file is no COCO keypoint JSON, or one of its entries cannot be used.
    """
    annotation_file, images_dir = Path(annotation_file), Path(images_dir)
    left_out = Counter() if left_out is None else left_out
    data = read_json(annotation_file)
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(annotation_file, f"no list {key!r}: not a COCO annotation file", "give the keypoint JSON")
    excluded = excluded_photos(annotation_file.parent, split)
    try:
        photos = {image["id"]: str(image["file_name"]) for image in data["images"]}
    except (KeyError, TypeError) as error:
        raise DataError(annotation_file, f"an image without {error}", "mend the file") from None

    for position, annotation in enumerate(data["annotations"]):
        try:
            identity, photo = annotation["id"], photos[annotation["image_id"]]
            where = f"{annotation_file}, annotation {identity} ({photo})"
            crowd, values = annotation.get("iscrowd", 0), annotation["keypoints"]
            bbox, area = annotation.get("bbox"), annotation.get("area", 0)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                annotation_file,
                f"annotation number {position + 1} cannot be read: {type(error).__name__} {error}",
                "it needs id, image_id of a listed image, and keypoints",
            ) from None
        if crowd:
            left_out["crowd"] += 1
            continue
        joints = _joints(values, where)
        labelled = joints[:, 2] > 0
        if not labelled.any():
            left_out["no labelled joint"] += 1
        elif PurePosixPath(photo).name in excluded:
            left_out["exclude.txt"] += 1
        else:
            source_id = str(PurePosixPath(photo).with_suffix(""))
            try:
                yield PersonSample(
                    image=images_dir / photo,
                    source_id=source_id,
                    person_id=f"{source_id}/{identity}",
                    keypoints=np.where(labelled[:, None], joints[:, :2], 0),
                    keypoints_visible=joints[:, 2],
                    joint_known=np.ones(K, bool),
                    bbox=None if bbox is None else np.asarray(bbox, np.float64),
                    area=float(area),
                    dataset=dataset,
                )
            except DataError as error:
                raise DataError(where, error.problem, error.mend) from None
            except (TypeError, ValueError):
                raise DataError(where, f"bbox {bbox!r} or area {area!r} is not made of numbers", "mend it") from None


def _joints(values: object, where: str) -> np.ndarray:
    """The flat list of 51 numbers as (17, 3) float64; a DataError when it is not that."""
    mend = "mend or remove the annotation"
    try:
        joints = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise DataError(where, "keypoints hold something that is not a number", mend) from None
    if joints.shape != (3 * K,):
        raise DataError(where, f"keypoints hold {joints.size} numbers, expected {3 * K}", mend)
    joints = joints.reshape(K, 3)
    if not np.all(np.isfinite(joints)):
        raise DataError(where, "keypoints hold NaN or infinity", mend)
    if not np.all(np.isin(joints[:, 2], (0, 1, 2))):
        raise DataError(where, f"v is {sorted(set(joints[:, 2].tolist()))}, expected 0, 1 or 2", mend)
    return joints
