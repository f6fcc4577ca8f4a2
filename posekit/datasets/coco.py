"""COCO person keypoints, and every data set that is written in its JSON layout, MiniDome's among them (chapter 02).

Format: https://cocodataset.org/#format-data. Coordinates count from the centre of the first pixel, (0, 0); nothing is
shifted, and photos are taken as they are stored, whatever their EXIF says. v: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from posekit.datasets import PersonAnnotation, excluded_photos, read_json, skip_errors
from posekit.errors import DataError
from posekit.skeleton import COCO17

K = len(COCO17)

MIN_SIDE = 16.0
"""People smaller than this many pixels are left out: enlarged more than ten times, they are a smear."""

_FARTHEST = 1e6
"""Pixels: no photo reaches so far."""

_SIDES = {"l": "left", "r": "right"}
_NAMES = ", ".join(COCO17.joints[:6]) + " …"


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
    candidates = (
        [official]
        if official.is_file()
        else sorted(root.glob(f"annotations/person_keypoints_{split}*.json"))
    )
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
    raise DataError(
        annotation_file,
        f"no folder of photos: neither {root / named} nor {root / 'images'}",
        "add it",
    )


def find_minidome(sequence_dir: str | Path) -> tuple[Path, Path]:
    """The annotation file of a MiniDome sequence and the folder that its file names start from: the sequence itself.

    Raises:
        DataError: when there is none, or more than one.
    """
    root = Path(sequence_dir)
    candidates = sorted(root.glob("annotations/person_keypoints_*.json"))
    if not candidates:
        raise DataError(
            root,
            "no annotations/person_keypoints_*.json: not a MiniDome sequence",
            "make one: make_minidome.py",
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
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
    min_joints: int = 1,
    min_side: float = MIN_SIDE,
    as_displayed: bool = False,
) -> Iterator[PersonAnnotation]:
    """People of a COCO keypoint file, all of each photo, in the file's order.

    Left out, and counted: crowds (`iscrowd`), people without a labelled joint or with too few of them, people too small to be
    recognised, and with `split="train"` the photos that an `exclude.txt` beside the annotations names. A joint with v = 0 is taken as
    known to be out of the photo: COCO does not tell that from "not labelled" in people who have other joints labelled.

    Where the category of a person names its `keypoints`, joints go by these names, in whatever order; names that COCO-17 does not
    have are ignored, and COCO's joints that are not named are not known. A box that is missing, or 0 wide and 0 high as some tools
    write it, is None. An `area` that the file says is not COCO's own (`area_source`) counts as unknown.

    Args:
        annotation_file: the JSON.
        images_dir: folder that the JSON's file names start from.
        dataset: what the samples are called.
        split: `"train"` applies `exclude.txt`.
        filtered: gets the number of people left out, by reason.
        skipped: see `sources.read`.
        min_joints: people with fewer labelled joints are left out.
        min_side: people whose box's longer side is shorter, in pixels, are left out.
        as_displayed: see `PersonAnnotation`.

    Yields:
        PersonAnnotation; `person_id` is "photo/annotation id".

    Raises:
        DataError: when the file is no COCO keypoint JSON, or one of its entries cannot be used.
    """
    annotation_file, images_dir = Path(annotation_file), Path(images_dir)
    filtered = Counter() if filtered is None else filtered
    data = read_json(annotation_file)
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(
                annotation_file,
                f"no list {key!r}: not a COCO annotation file",
                "give the keypoint JSON",
            )
    excluded = excluded_photos(annotation_file.parent, split)
    photos, orders, known_ids = (
        photos_of(data["images"], annotation_file),
        _orders(data, annotation_file),
        set(),
    )

    for position, annotation in enumerate(data["annotations"]):
        with skip_errors(f"annotation {position + 1} of {annotation_file.name}", skipped):
            try:
                identity, (photo, size) = annotation["id"], photos[annotation["image_id"]]
                where = f"{annotation_file}, annotation {identity} ({photo})"
                crowd, values = annotation.get("iscrowd", 0), annotation["keypoints"]
                bbox, order = annotation.get("bbox"), orders.get(annotation.get("category_id"))
                area = (
                    annotation.get("area", 0)
                    if annotation.get("area_source", "coco") == "coco"
                    else 0
                )
                duplicate = identity in known_ids
                known_ids.add(identity)
            except (KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    annotation_file,
                    f"annotation number {position + 1} cannot be read: {type(error).__name__} {error}",
                    "it needs id, image_id of a listed image, and keypoints",
                ) from None
            if duplicate:
                raise DataError(
                    where,
                    f"a second annotation with id {identity!r}",
                    "give each annotation its own id",
                )
            if crowd:
                filtered["crowd"] += 1
                continue
            joints, joint_known = _joints(values, order, where)
            labelled, bbox = joints[:, 2] > 0, box_of(bbox, where)
            reason = None
            if not labelled.any():
                reason = "no labelled joint"
            elif PurePosixPath(photo).name in excluded:
                reason = "exclude.txt"
            elif labelled.sum() < min_joints:
                reason = f"fewer than {min_joints} labelled joints"
            elif bbox is not None and max(bbox[2:]) < min_side:
                reason = f"smaller than {min_side:g} px"
            if reason:
                filtered[reason] += 1
                continue
            source_id = str(PurePosixPath(photo).with_suffix(""))
            try:
                yield PersonAnnotation(
                    image=images_dir / photo,
                    source_id=source_id,
                    person_id=f"{source_id}/{identity}",
                    keypoints=np.where(labelled[:, None], joints[:, :2], 0),
                    keypoints_visible=joints[:, 2],
                    joint_known=joint_known,
                    bbox=bbox,
                    area=float(area),
                    dataset=dataset,
                    photo_size=size,
                    as_displayed=as_displayed,
                )
            except DataError as error:
                raise DataError(where, error.problem, error.hint) from None
            except (TypeError, ValueError, OverflowError):
                raise DataError(where, f"area {area!r} is not a number", "fix it") from None


def joint_of(name: object) -> str | None:
    """COCO-17's name of a joint as people and tools write it ("Left Shoulder", "shoulder-left", "lShoulder"); None: not one of these."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(name).strip())
    words = [_SIDES.get(word, word) for word in re.split(r"[\s_.\-]+", words.lower()) if word]
    for joint in ("_".join(words), "_".join(words[-1:] + words[:-1])):
        if joint in COCO17.joints:
            return joint
    return None


def photos_of(
    entries: list, annotation_file: Path
) -> dict[object, tuple[str, tuple[int, int] | None]]:
    """id -> (file name, size or None) of each image."""
    photos = {}
    for position, image in enumerate(entries):
        where = f"{annotation_file}, image number {position + 1}"
        try:
            identity, name = image["id"], str(image["file_name"])
            size = (
                (int(image["width"]), int(image["height"]))
                if "width" in image and "height" in image
                else None
            )
            duplicate = identity in photos
            photos[identity] = name, size
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            problem = (
                f"an image without {error}"
                if isinstance(error, KeyError)
                else f"cannot be read: {error}"
            )
            raise DataError(
                where, problem, "it needs id and file_name; width and height are whole numbers"
            ) from None
        if duplicate:
            raise DataError(
                where, f"a second image with id {identity!r}", "give each image its own id"
            )
        if not PurePosixPath(name).name or "\0" in name:
            raise DataError(where, f"file_name is {name!r}", "name the photo's file")
    return photos


def _orders(data: dict, annotation_file: Path) -> dict[object, list[str | None]]:
    """category id -> the joint of COCO-17 that each of its `keypoints` is, or None."""
    orders = {}
    categories = data.get("categories")
    for category in categories if isinstance(categories, list) else []:
        names = category.get("keypoints") if isinstance(category, dict) else None
        if not isinstance(names, list) or not names:
            continue
        where = f"{annotation_file}, category {category.get('name')!r}"
        order = [joint_of(name) for name in names]
        named = [joint for joint in order if joint]
        if not named:
            given = ", ".join(map(str, names[:5]))
            raise DataError(
                where,
                f"none of its keypoints ({given} …) is a joint of COCO",
                f"rename them: {_NAMES}",
            )
        if len(set(named)) < len(named):
            twice = next(joint for joint in named if named.count(joint) > 1)
            raise DataError(where, f"two of its keypoints are the {twice}", "name each joint once")
        try:
            orders[category.get("id")] = order
        except TypeError:
            raise DataError(
                where, f"its id is {category.get('id')!r}", "give it a number"
            ) from None
    return orders


def _joints(
    values: object, order: list[str | None] | None, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """The flat list of 3 numbers a joint as (17, 3) float64, and which joints are known (17,); a DataError when it is not that."""
    hint = "fix or remove the annotation"
    order = list(COCO17.joints) if order is None else order
    try:
        joints = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(where, "keypoints hold something that is not a number", hint) from None
    if joints.shape != (3 * len(order),):
        raise DataError(
            where, f"keypoints hold {joints.size} numbers, expected {3 * len(order)}", hint
        )
    joints = joints.reshape(-1, 3)
    if not np.all(np.abs(joints) < _FARTHEST):  # nor NaN
        raise DataError(where, "keypoints hold NaN, infinity or numbers beyond any photo", hint)
    if not np.all(np.isin(joints[:, 2], (0, 1, 2))):
        raise DataError(
            where, f"v is {sorted(set(joints[:, 2].tolist()))}, expected 0, 1 or 2", hint
        )
    out, known = np.zeros((K, 3)), np.zeros(K, bool)
    for joint, row in zip(order, joints, strict=True):
        if joint:
            out[COCO17.index(joint)], known[COCO17.index(joint)] = row, True
    return out, known


def box_of(values: object, where: str) -> np.ndarray | None:
    """The bbox as (4,) float64, or None where there is none."""
    hint = "it is x, y, width and height in pixels; fix or remove it"
    if values is None or (isinstance(values, list) and not values):
        return None
    try:
        bbox = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(where, f"bbox {values!r} is not made of numbers", hint) from None
    if bbox.shape != (4,):
        raise DataError(where, f"bbox has shape {bbox.shape}, expected 4 numbers", hint)
    if not np.all(np.abs(bbox) < _FARTHEST):
        raise DataError(where, "bbox holds NaN, infinity or numbers beyond any photo", hint)
    return None if np.all(bbox[2:] == 0) else bbox
