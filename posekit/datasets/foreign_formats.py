"""Recognise annotation formats that posekit does not read, and say how to convert them.

The formats are those of labelme, VIA, YOLO, Label Studio, CVAT, OpenPose and others; what is read
is COCO keypoint JSON and `keypoints.csv`, see `posekit.datasets.custom`.
"""

import re
from collections.abc import Callable
from pathlib import Path

from posekit.errors import DataError

__all__ = ["hint_for_content", "refuse_content", "refuse_folder"]

_TABLE = (
    "write its joints into keypoints.csv, one line per joint: image,person,joint,x,y,v (chapter 02)"
)
_COMPRESSED = {
    b"\x1f\x8b": ("gzip-compressed", "unpack it: gunzip -c FILE > NEW.json"),
    b"PK\x03\x04": ("a ZIP archive", "unpack it: unzip"),
    b"BZh": ("bzip2-compressed", "unpack it: bunzip2 -c FILE > NEW.json"),
    b"\xfd7zXZ": ("xz-compressed", "unpack it: unxz -c FILE > NEW.json"),
}


def hint_for_content(head: bytes) -> tuple[str, str] | None:
    """Tell from a file's first bytes why it cannot be JSON.

    Args:
        head: the first bytes, 64 are enough.

    Returns:
        (problem, hint), or None where the bytes may be JSON.
    """
    for magic, (kind, way) in _COMPRESSED.items():
        if head.startswith(magic):
            return f"is {kind}", way
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself", "fetch it: git lfs pull"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page, not JSON", "download the file itself"
    if text.startswith(b"<"):
        return (
            "is XML (CVAT's own format, or Pascal VOC), not JSON",
            "export it again as COCO Keypoints 1.0",
        )
    return None


def _first(data: object) -> dict:
    """The first entry of a list of dicts, or of the values of a dict; {} where there is none."""
    values = data if isinstance(data, list) else data.values() if isinstance(data, dict) else ()
    return next((value for value in values if isinstance(value, dict)), {})


def _is_labelme(data: object) -> bool:
    return isinstance(data, dict) and "shapes" in data and {"imagePath", "flags"} & set(data)


def _is_via(data: object) -> bool:
    if not isinstance(data, dict):
        return False
    project = any(key.startswith("_via_") for key in data) or {"metadata", "view"} <= set(data)
    return project or {"filename", "regions"} <= set(_first(data))


def _is_label_studio(data: object) -> bool:
    """Tasks with `annotations[].result`, or JSON-MIN, whose points carry `keypointlabels`."""
    task = _first(data) if isinstance(data, list) else {}
    if "data" in task and {"annotations", "predictions", "completions"} & set(task):
        return True
    return {"annotator", "annotation_id", "lead_time"} & set(task) != set()


def _is_cvat(data: object) -> bool:
    job = _first(data) if isinstance(data, list) else {}
    return {"tags", "shapes", "tracks"} <= set(job)


def _is_results(data: object) -> bool:
    return isinstance(data, list) and {"image_id", "keypoints", "score"} <= set(_first(data))


#: name, test, how to convert it.
_FORMATS: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    (
        "labelme's own JSON (X-AnyLabeling writes it too)",
        _is_labelme,
        f"export COCO keypoints where the tool can (X-AnyLabeling: Export > COCO Keypoints), "
        f"or {_TABLE}",
    ),
    ("VIA's own JSON", _is_via, f"it has no COCO export of skeletons: {_TABLE}"),
    (
        "Label Studio's own JSON",
        _is_label_studio,
        "export it again and choose COCO, or run `label-studio-converter export -f COCO`",
    ),
    ("CVAT's own JSON", _is_cvat, "export it again as COCO Keypoints 1.0"),
    (
        "OpenPose's output",
        lambda data: isinstance(data, dict) and isinstance(data.get("people"), list),
        _TABLE,
    ),
    (
        "Datumaro's own JSON",
        lambda data: isinstance(data, dict) and {"categories", "items"} <= set(data),
        "convert it: datum convert -f coco_person_keypoints",
    ),
    (
        "Supervisely's own JSON",
        lambda data: isinstance(data, dict) and {"objects", "size"} <= set(data),
        "export it again as COCO keypoints",
    ),
    (
        "Darwin JSON (V7)",
        lambda data: isinstance(data, dict) and "annotations" in data and "item" in data,
        "export it again as COCO",
    ),
    (
        "a COCO results file: detections without images",
        _is_results,
        "give the annotations that they are scored against",
    ),
    (
        "MPII's JSON",
        lambda data: isinstance(data, list) and {"joints", "joints_vis"} <= set(_first(data)),
        "read it as the data set mpii",
    ),
)


def format_of(data: object) -> tuple[str, str] | None:
    """(name, how to convert it) of a known format that is not COCO's, or None."""
    return next(((name, way) for name, test, way in _FORMATS if test(data)), None)


def refuse_content(path: str | Path, data: object) -> None:
    """Raise a `DataError` when a file's JSON is that of a known tool's own format."""
    if found := format_of(data):
        raise DataError(path, f"is {found[0]}, not COCO keypoint JSON", found[1])


def refuse_folder(root: Path) -> None:
    """Raise a `DataError` when a folder holds annotations, but only in formats that are not read.

    Args:
        root: a folder in which neither COCO JSON nor `keypoints.csv` was found.
    """
    from posekit.datasets import read_json

    for path in sorted([*root.glob("*.json.gz"), *root.glob("*.zip"), *root.glob("*/*.json.gz")]):
        raise DataError(path, "is packed", f"unpack it in {root}")
    for path in sorted([*root.glob("images/**/*.json"), *root.glob("labels/**/*.json")])[:1]:
        refuse_content(path, read_json(path))
    for path in sorted(root.glob("*.csv")):
        if "region_count" in path.read_text(encoding="utf-8", errors="replace").split("\n", 1)[0]:
            raise DataError(path, "is VIA's own CSV, not keypoints.csv", _TABLE)
    for path in sorted([*root.glob("*.xml"), *root.glob("annotations/*.xml")]):
        problem, hint = hint_for_content(b"<")
        raise DataError(path, problem, hint)
    for path in sorted(root.rglob("*.txt")):
        if _is_yolo(path):
            way = (
                "a line is: class, box, then x y v per joint, scaled by the image's width and "
                f"height; Roboflow exports COCO instead; else {_TABLE}"
            )
            raise DataError(path, "is a YOLO label file, not COCO keypoint JSON", way)


def _is_yolo(path: Path) -> bool:
    """Return whether the first line is a class number and at least four numbers from 0 to 1."""
    with path.open(encoding="utf-8", errors="replace") as file:
        words = file.readline().split()
    if len(words) < 5 or not re.fullmatch(r"\d+", words[0]):
        return False
    return all(re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", word) for word in words)
