"""COCO's ten numbers, AP and AR of keypoints, computed by pycocotools; what is fed to it is checked first (chapter 07)."""

import contextlib
import io
from pathlib import Path

import numpy as np

from posekit.errors import DataError
from posekit.skeleton import COCO17

NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""In pycocotools' order. M and L: areas of 32² to 96² and above 96² photo pixels. COCO has no small people's keypoints."""

_ANNOTATION_KEYS = ("id", "image_id", "category_id", "keypoints", "bbox", "area")


def coco_scores(annotations: str | Path, results: str | Path | list[dict]) -> dict[str, float]:
    """AP and AR over OKS .50:.05:.95 of detections in COCO's results format.

    Args:
        annotations: person keypoint annotations, COCO JSON.
        results: results file, or its content: a list of {image_id, category_id, keypoints [x, y, v] × 17, score}. Photo pixels; the
            third number of a joint is ignored. At most 20 detections a photo count, those with the highest scores. Where every
            entry has a `bbox` (x, y, w, h), a detection's area is its box's, else that of the joints' box; other keys are ignored.

    Returns:
        The ten numbers of `NAMES`, 0 ... 1. NaN where there is no person to be found (pycocotools says −1); no detection at
        all gives 0.

    Raises:
        DataError: naming file and entry, for what is not COCO's format: missing keys, NaN, a wrong number of joints, unknown
            image or category ids, ids that occur twice.

    Source:
        cocodataset.org, "Keypoint evaluation"; Lin et al., ECCV 2014; pycocotools.
    """
    truth = checked_annotations(annotations)
    name = "results" if isinstance(results, list) else results
    found = checked_results(
        _json(results) if name is results else results, truth, name, annotations
    )
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        if found:
            detected = coco.loadRes(found)
        else:  # loadRes wants at least one
            detected = COCO()
            detected.dataset = {
                "images": truth["images"],
                "categories": truth["categories"],
                "annotations": [],
            }
            detected.createIndex()
        evaluation = COCOeval(coco, detected, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {
        k: float(v) if v > -1 else float("nan")
        for k, v in zip(NAMES, evaluation.stats, strict=True)
    }


def checked_annotations(path: str | Path) -> dict:
    """The content of an annotation file, with what pycocotools would stumble over named instead.

    Raises:
        DataError: see `coco_scores`.
    """
    data = _json(path)
    parts = {"images": ("id",), "categories": ("id",), "annotations": _ANNOTATION_KEYS}
    for part, keys in parts.items():
        if not isinstance(data, dict) or not isinstance(data.get(part), list):
            raise DataError(path, f"has no list {part!r}", "expected COCO's person_keypoints JSON")
        ids = set()
        for i, entry in enumerate(data[part]):
            where = f"{path}, {part}[{i}]"
            missing = [k for k in keys if k not in entry] if isinstance(entry, dict) else list(keys)
            if missing:
                raise DataError(
                    where, f"has no {missing[0]!r}", "expected COCO's person_keypoints JSON"
                )
            if not isinstance(entry["id"], int | str):
                raise DataError(where, f"has the id {entry['id']!r}", "expected a number")
            if entry["id"] in ids:
                raise DataError(
                    where,
                    f"the id {entry['id']} occurs twice",
                    "every entry needs an id of its own",
                )
            ids.add(entry["id"])
    images, categories = ({e["id"] for e in data[part]} for part in ("images", "categories"))
    for i, entry in enumerate(data["annotations"]):
        where = f"{path}, annotations[{i}] (id {entry['id']})"
        _known(where, entry, images, categories, path)
        _numbers(where, "keypoints", entry["keypoints"], 3 * len(COCO17))
        _numbers(where, "bbox", entry["bbox"], 4)
        _numbers(where, "area", [entry["area"]], 1)
    labelled = {
        "iscrowd": lambda e: 0,
        "num_keypoints": lambda e: sum(v > 0 for v in e["keypoints"][2::3]),
    }
    people = [{**{k: f(e) for k, f in labelled.items()}, **e} for e in data["annotations"]]
    return {**data, "annotations": people}


def checked_results(results: object, truth: dict, where: object, annotations: object) -> list[dict]:
    """Results as pycocotools takes them, copied without the keys it would stumble over; see `coco_scores` for what is refused."""
    if not isinstance(results, list):
        raise DataError(
            where, "is not a list", "expected a list of {image_id, category_id, keypoints, score}"
        )
    images, categories = ({e["id"] for e in truth[part]} for part in ("images", "categories"))
    keys, ids = ("image_id", "category_id", "keypoints", "score"), set()
    for i, entry in enumerate(results):
        place = f"{where}, entry {i}"
        for key in keys:
            if not isinstance(entry, dict) or key not in entry:
                raise DataError(
                    place, f"has no {key!r}", "expected {image_id, category_id, keypoints, score}"
                )
        _known(place, entry, images, categories, annotations)
        _numbers(place, "keypoints", entry["keypoints"], 3 * len(COCO17))
        _numbers(place, "score", [entry["score"]], 1)
        if entry.get("bbox") not in (None, []):
            _numbers(place, "bbox", entry["bbox"], 4)
        if "id" in entry:
            if not isinstance(entry["id"], int | str):
                raise DataError(place, f"has the id {entry['id']!r}", "expected a number, or none")
            if entry["id"] in ids:
                raise DataError(
                    place, f"the id {entry['id']} occurs twice", "give each its own id, or none"
                )
            ids.add(entry["id"])
    boxed = all(entry.get("bbox") for entry in results)
    return [{key: entry[key] for key in (*keys, *(["bbox"] if boxed else []))} for entry in results]


def _known(where: str, entry: dict, images: set, categories: set, annotations: object) -> None:
    for key, known in (("image_id", images), ("category_id", categories)):
        if not isinstance(entry[key], int | str) or entry[key] not in known:
            raise DataError(
                where, f"unknown {key} {entry[key]!r}", f"it must occur in {annotations}"
            )


def _numbers(where: str, name: str, values: object, count: int) -> None:
    if not isinstance(values, list) or len(values) != count:
        size = len(values) if isinstance(values, list) else type(values).__name__
        joints = f" (x, y, v of {count // 3} joints)" if name == "keypoints" else ""
        raise DataError(
            where,
            f"{name} has {size} numbers, expected {count}{joints}",
            "fix or remove the entry",
        )
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numbers or not np.all(np.isfinite(np.asarray(values, np.float64))):
        raise DataError(
            where, f"{name} holds NaN, infinity or no number", "fix or remove the entry"
        )


def _json(path: str | Path) -> object:
    from posekit.datasets import read_json

    return read_json(path)
