"""Read COCO person keypoints, and every data set in COCO's JSON layout (chapter 02).

Format: https://cocodataset.org/#format-data. Coordinates count from the centre of the first pixel,
(0, 0); nothing is shifted, and images are taken as they are stored, whatever their EXIF says.
v: 0 not labelled, 1 labelled but occluded, 2 labelled and visible.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from posekit.datasets import (
    PersonAnnotation,
    add_notes,
    coco_json,
    excluded_images,
    read_json,
    skip_errors,
    source_ids,
)
from posekit.datasets.foreign_formats import refuse_content, refuse_folder
from posekit.datasets.image_files import ImageFinder, folder_named
from posekit.errors import DataError
from posekit.files import local_path

__all__ = ["MIN_SIDE", "annotation_files", "find", "find_minidome", "images_folder", "read"]

MIN_SIDE = 16.0
"""Pixels: smaller people are left out, since enlarged more than ten times they are a blur."""

_SPLIT_WORDS = {
    "train": frozenset({"train", "training"}),
    "val": frozenset({"val", "valid", "validation", "dev"}),
    "test": frozenset({"test", "testing"}),
}
_PREFIX = "person_keypoints_"
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic"}
)


# ---- which files ---------------------------------------------------------------------------------


def find(root: str | Path, split: str) -> tuple[Path, Path]:
    """Find the annotation file and the image folder of one split.

    Looks for the official layout (`annotations/person_keypoints_{split}2017.json` next to
    `{split}2017/`), then for any `annotations/person_keypoints_{split}*.json`, then for a single
    `person_keypoints*.json` next to `images/`, which the split then only names; last for the
    layouts of annotation tools, see `annotation_files`.

    Args:
        root: the data set's folder.
        split: `"train"`, `"val"` or `"test"`.

    Returns:
        (annotation file, image folder).

    Raises:
        DataError: when there is none, or more than one to choose from.
    """
    root = Path(root)
    official = root / "annotations" / f"{_PREFIX}{split}2017.json"
    candidates = (
        [official]
        if official.is_file()
        else sorted(root.glob(f"annotations/{_PREFIX}{split}*.json"))
    )
    candidates = candidates or sorted(root.glob("person_keypoints*.json"))
    if not candidates:
        splits = (split, None)
        candidates = [path for path in annotation_files(root, split) if _split_of(path) in splits]
    if not candidates:
        if not annotation_files(root, None):
            refuse_folder(root)
        raise DataError(
            root,
            f"no COCO keypoint annotations for split {split!r}: neither "
            f"annotations/{_PREFIX}{split}*.json nor person_keypoints*.json",
            "give the folder that holds annotations/, and a split that it has",
        )
    annotation_file = _only(candidates, root)
    return annotation_file, images_folder(root, annotation_file)


def find_minidome(sequence_dir: str | Path) -> tuple[Path, Path]:
    """Find the annotation file of a MiniDome sequence and the folder of its file names: itself.

    Raises:
        DataError: when there is none, or more than one.
    """
    root = Path(sequence_dir)
    candidates = sorted(root.glob(f"annotations/{_PREFIX}*.json"))
    if not candidates:
        problem = "no annotations/person_keypoints_*.json: not a MiniDome sequence"
        raise DataError(root, problem, "make one: make_minidome.py")
    return _only(candidates, root), root


def annotation_files(root: Path, split: str | None) -> list[Path]:
    """Find JSON files where annotation tools put them.

    CVAT and Datumaro: `annotations/*.json`; Label Studio and others: `*.json`; COCO Annotator:
    `.exports/*.json`; Roboflow: `{train,valid,test}/_annotations.coco.json`. Where several are
    there, those called `person_keypoints_*` are kept, then those that the split names, then those
    that are COCO's.

    Args:
        root: the data set's folder.
        split: `"train"`, `"val"`, `"test"` or None.

    Returns:
        The files that fit, sorted.
    """
    patterns = ("*.json", "annotations/*.json", ".exports/*.json", "*/_annotations*.json")
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    files = sorted(path for path in found if not path.name.startswith("._"))
    if len(files) > 1:
        files = [path for path in files if path.name.startswith(_PREFIX)] or files
    if len(files) > 1:
        files = [path for path in files if split and _split_of(path) == split] or files
    if len(files) > 1:
        files = [path for path in files if _is_coco(path)] or files
    return files


def images_folder(root: Path, annotation_file: Path) -> Path:
    """Find the folder that an annotation file's image names start from.

    Raises:
        DataError: when there is no image folder.
    """
    named = annotation_file.stem.removeprefix(_PREFIX)
    images = folder_named(root, "images")
    for folder in (
        folder_named(root, named),
        folder_named(images, named) if images else None,
        images,
    ):
        if folder:
            return folder
    if annotation_file.parent.name not in ("annotations", ".exports"):
        return annotation_file.parent
    if folder := _unnamed_images_folder(root):
        return folder
    problem = f"no folder of images: neither {root / named} nor {root / 'images'}"
    raise DataError(annotation_file, problem, "add it")


def _unnamed_images_folder(root: Path) -> Path | None:
    """The folder itself where images lie in it, or its one subfolder with images of no split."""
    if _has_images(root):
        return root
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and _has_images(path)]
    folders = [path for path in folders if _split_of(path / "image") is None]
    return folders[0] if len(folders) == 1 else root if folders else None


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())


def _split_of(path: Path) -> str | None:
    """The split that a file's name, or the name of its folder, tells."""
    for name in (path.stem, path.parent.name):
        words = set(re.split(r"[^a-z]+", name.lower()))
        for split, spellings in _SPLIT_WORDS.items():
            if words & spellings:
                return split
    return None


def _is_coco(path: Path) -> bool:
    try:
        data = read_json(path)
    except DataError:
        return False
    return isinstance(data, dict) and {"images", "annotations"} <= set(data)


def _only(candidates: list[Path], root: Path) -> Path:
    if len(candidates) > 1:
        refuse_content(candidates[0], read_json(candidates[0]))
        names = ", ".join(path.name for path in candidates)
        raise DataError(root, f"several annotation files fit: {names}", "leave one of them there")
    return candidates[0]


# ---- the people ----------------------------------------------------------------------------------


def read(
    annotation_file: str | Path,
    images_dir: str | Path,
    dataset: str = "coco",
    *,
    split: str | None = None,
    filtered: Counter | None = None,
    skipped: list[dict] | None = None,
    notes: list[str] | None = None,
    min_joints: int = 1,
    min_side: float = MIN_SIDE,
    as_displayed: bool = False,
) -> Iterator[PersonAnnotation]:
    """Read the people of a COCO keypoint file, in the file's order.

    Left out, and counted: crowds (`iscrowd`), other categories, annotations without keypoints,
    people without a labelled joint or with too few of them, people too small to be recognised,
    and with `split="train"` the images in an `exclude.txt` next to the annotations. A joint with
    v = 0 is taken as known to be outside the image: COCO does not tell that from "not labelled" in
    people who have other joints labelled.

    Labels that another model made may have a `state`, one letter per joint in the order of the
    keypoints: `l` labelled, `o` outside the image, `u` unsure. An unsure joint is not known: it
    counts neither for the coordinates nor for the visibility, whatever its v.

    Which joints and categories are understood: see `coco_json.parse`. Joints that the file does
    not name are not known. A box that is missing, or 0 wide and 0 high as some tools write it, is
    None. An `area` that the file says is not COCO's own (`area_source`) counts as unknown.

    Args:
        annotation_file: the JSON.
        images_dir: folder that the JSON's file names start from, see `ImageFinder`.
        dataset: name of the data set, as in `PersonAnnotation`.
        split: `"train"` applies `exclude.txt`.
        filtered: gets the number of annotations left out, by reason.
        skipped: see `posekit.datasets.read`.
        notes: see `posekit.datasets.read`.
        min_joints: people with fewer labelled joints are left out.
        min_side: people whose box's longer side is shorter, in pixels, are left out.
        as_displayed: see `PersonAnnotation`.

    Yields:
        PersonAnnotation; `person_id` is "image/annotation id".

    Raises:
        DataError: when the file is not COCO keypoint JSON, or one of its entries cannot be used.
    """
    filtered = Counter() if filtered is None else filtered
    file = coco_json.parse(annotation_file)
    add_notes(file.notes, file.path, notes)
    excluded = excluded_images(file.path.parent, split)
    finder = ImageFinder(local_path(images_dir))
    ids = source_ids(image.file_name for image in file.images.values() if image.file_name)
    for person in file.people(filtered, skipped):
        with skip_errors(f"annotation {person.id} of {file.path.name}", skipped):
            name = person.image.name
            source_id = ids[name]
            reason = None
            if person.crowd:
                reason = "crowd"
            elif not person.labelled.any():
                reason = "no labelled joint"
            elif PurePosixPath(name).name in excluded:
                reason = "exclude.txt"
            elif person.labelled.sum() < min_joints:
                reason = f"fewer than {min_joints} labelled joints"
            elif person.bbox is not None and max(person.bbox[2:]) < min_side:
                reason = f"smaller than {min_side:g} px"
            if reason:
                filtered[reason] += 1
                continue
            yield PersonAnnotation(
                image=finder.find(person.image),
                source_id=source_id,
                person_id=f"{source_id}/{person.id}",
                keypoints=person.keypoints,
                keypoints_visible=person.visible,
                joint_known=person.known,
                bbox=person.bbox,
                area=person.area if person.area and person.area_exact else 0.0,
                dataset=dataset,
                image_size=person.image.size,
                as_displayed=as_displayed,
            )
