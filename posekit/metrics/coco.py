"""COCO's ten numbers, AP and AR of keypoints, computed by pycocotools (chapter 09).

The input is parsed and checked before pycocotools gets it: pycocotools reads an id of 0 as "no
match", and crashes on most deviations from COCO's format.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit import geometry
from posekit.datasets import add_notes, coco_json, read_json
from posekit.datasets.coco_json import CocoCategory, CocoFile, CocoPerson, canonical_id, numbers_of
from posekit.errors import DataError
from posekit.skeleton import COCO17

__all__ = ["NAMES", "checked_annotations", "checked_results", "coco_scores"]

NAMES = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
"""In pycocotools' order. M and L: areas of 32² to 96² and above 96² image pixels. COCO has no
keypoints of small people."""

NO_BOX = "without a labelled joint or a box"
OTHER_RESULT = "results of another category"
"""Reasons for which annotations and results are not scored."""

_KEYS = ("image_id", "category_id", "keypoints", "score")
_FORMAT = "expected {image_id, category_id, keypoints, score}"


def coco_scores(
    annotations: str | Path,
    results: str | Path | list[dict],
    filtered: Counter | None = None,
    notes: list[str] | None = None,
) -> dict[str, float]:
    """Compute AP and AR over OKS .50:.05:.95 of detections in COCO's results format.

    Args:
        annotations: person keypoint annotations, COCO JSON. Categories and joint names are
            understood as in `coco_json.parse`; joints that the file does not name, and those that
            are not COCO-17's, are not scored.
        results: results file, or its content: a list of {image_id, category_id, keypoints, score}.
            `keypoints` are x, y and a third number that is ignored, image pixels, per joint in the
            order of the annotations' category (or of COCO-17, where that has not 17 joints). At
            most 20 detections per image count, those with the highest scores. Where every entry
            has a `bbox` (x, y, w, h), a detection's area is its box's, else that of the joints'
            box; other keys are ignored.
        filtered: gets the number of annotations and results that are not scored, by reason.
        notes: see `posekit.datasets.read`.

    Returns:
        The ten numbers of `NAMES`, 0 ... 1. NaN where there is no person to be found (pycocotools
        says -1); no detection at all gives 0.

    Raises:
        DataError: naming file and entry, for what is not COCO's format: missing keys, NaN, a wrong
            number of joints, unknown image or category ids, ids that occur twice.

    Source:
        cocodataset.org, "Keypoint evaluation"; Lin et al., ECCV 2014; pycocotools.
    """
    filtered = Counter() if filtered is None else filtered
    file, people = checked_annotations(annotations, filtered, notes)
    where = "results" if isinstance(results, list) else results
    content = results if isinstance(results, list) else read_json(results)
    found = checked_results(content, file, where, filtered)
    images = _renumbered(file.images)
    categories = _renumbered(file.categories)
    truth = [
        {
            "id": number,
            "image_id": images[person.image.key],
            "category_id": categories[person.category.key],
            "keypoints": np.column_stack([person.keypoints, person.visible]).ravel().tolist(),
            "num_keypoints": int(person.labelled.sum()),
            "bbox": bbox.tolist(),
            "area": person.area if person.area is not None else float(bbox[2] * bbox[3]),
            "iscrowd": int(person.crowd),
        }
        for number, (person, bbox) in enumerate(people, 1)
    ]
    detections = [
        {
            "id": number,
            "image_id": images[detection.image],
            "category_id": categories[detection.category.key],
            "keypoints": detection.keypoints.ravel().tolist(),
            "bbox": detection.bbox.tolist(),
            "area": float(detection.bbox[2] * detection.bbox[3]),
            "score": detection.score,
        }
        for number, detection in enumerate(found, 1)
    ]
    stats = _pycocotools_stats(truth, detections, len(images), len(categories))
    return {
        name: float(value) if value > -1 else float("nan")
        for name, value in zip(NAMES, stats, strict=True)
    }


def _renumbered(keys: Iterable[Hashable]) -> dict[Hashable, int]:
    """Canonical ids -> 1, 2, ... in their order, by which pycocotools breaks ties of score."""
    ordered = sorted(keys, key=lambda key: (isinstance(key, str), key))
    return {key: number for number, key in enumerate(ordered, 1)}


def _pycocotools_stats(
    truth: list[dict], detections: list[dict], images: int, categories: int
) -> np.ndarray:
    """Run pycocotools on annotations and detections whose ids count from 1; its ten numbers."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def indexed(annotations: list[dict]) -> COCO:
        coco = COCO()
        coco.dataset = {
            "images": [{"id": number} for number in range(1, images + 1)],
            "categories": [{"id": number} for number in range(1, categories + 1)],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(indexed(truth), indexed(detections), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def checked_annotations(
    path: str | Path, filtered: Counter | None = None, notes: list[str] | None = None
) -> tuple[CocoFile, list[tuple[CocoPerson, np.ndarray]]]:
    """Read the people of an annotation file that detections are scored against.

    Args:
        path: person keypoint annotations, COCO JSON.
        filtered: gets the number of annotations left out, by reason.
        notes: see `posekit.datasets.read`.

    Returns:
        The file, and its people, each with its box (4,) float64 x, y, w, h: the annotated one, or
        that of the joints. Crowds and people without a labelled joint are among them: detections
        of them are ignored.

    Raises:
        DataError: naming the annotation, when it cannot be used or a person has no area.
    """
    filtered = Counter() if filtered is None else filtered
    file = coco_json.parse(path)
    add_notes(file.notes, file.path, notes)
    people = []
    for person in file.people(filtered):
        scored = person.labelled.any() and not person.crowd
        if scored and not person.area:
            problem = "has no area" if person.area is None else "has an area of 0"
            hint = "OKS is measured by it: add the person's area in pixels, as COCO defines it"
            raise DataError(person.where, problem, hint)
        if person.bbox is not None:
            people.append((person, person.bbox))
        elif person.labelled.any():
            bbox = geometry.bbox_from_keypoints(person.keypoints, person.labelled)
            people.append((person, bbox.astype(np.float64)))
        else:
            filtered[NO_BOX] += 1
    return file, people


@dataclass(frozen=True)
class Detection:
    """One entry of a results file.

    Args:
        image: canonical id of the image.
        category: its category.
        keypoints: (17, 3) x, y and a third number, in the order of COCO-17.
        bbox: (4,) x, y, w, h of the detection, or of its joints.
        score: its score.
    """

    image: Hashable
    category: CocoCategory
    keypoints: np.ndarray
    bbox: np.ndarray
    score: float


def checked_results(
    results: object, file: CocoFile, where: object, filtered: Counter | None = None
) -> list[Detection]:
    """Check COCO results; see `coco_scores` for what is refused.

    Args:
        results: content of a results file.
        file: the annotations that they are scored against.
        where: what to name in errors: the results file.
        filtered: gets the number of results of categories that are not people.

    Returns:
        The detections of people.
    """
    if not isinstance(results, list):
        raise DataError(where, "is not a list", f"{_FORMAT} of each detection")
    boxed = all(isinstance(entry, dict) and entry.get("bbox") for entry in results)
    detections = []
    ids: set = set()
    for i, entry in enumerate(results):
        place = f"{where}, entry {i}"
        for key in _KEYS:
            if not isinstance(entry, dict) or key not in entry:
                raise DataError(place, f"has no {key!r}", _FORMAT)
        image = _known_id(place, entry, "image_id", set(file.images), file)
        if "id" in entry:
            identity = canonical_id(entry["id"], "id", place)
            if identity in ids:
                problem = f"the id {entry['id']} occurs twice"
                raise DataError(place, problem, "give each its own id, or none")
            ids.add(identity)
        category = _category(place, entry, file)
        if category is None:
            if filtered is not None:
                filtered[OTHER_RESULT] += 1
            continue
        keypoints = _keypoints(place, entry["keypoints"], category)
        score = float(_numbers(place, "score", [entry["score"]], 1)[0])
        bbox = _joints_box(keypoints, category)
        if entry.get("bbox") not in (None, []):
            given = _numbers(place, "bbox", entry["bbox"], 4)
            bbox = given if boxed else bbox
        detections.append(Detection(image, category, keypoints, bbox, score))
    return detections


def _known_id(where: str, entry: dict, key: str, known: set, file: CocoFile) -> Hashable:
    try:
        identity = canonical_id(entry[key], key, where)
    except DataError:
        identity = None
    if identity not in known:
        problem = f"unknown {key} {entry[key]!r}"
        raise DataError(where, problem, f"it must occur in {file.path}")
    return identity


def _category(where: str, entry: dict, file: CocoFile) -> CocoCategory | None:
    """The category of a result; None where it is not one of people."""
    if None in file.categories:  # the annotations have no categories
        return file.categories[None]
    known = set(file.categories) | file.other_categories
    return file.categories.get(_known_id(where, entry, "category_id", known, file))


def _keypoints(where: str, values: object, category: CocoCategory) -> np.ndarray:
    """(17, 3) in the order of COCO-17, from the category's order, or COCO-17's by their number."""
    count = len(category.joints)
    if isinstance(values, list) and len(values) == 3 * len(COCO17) != 3 * count:
        return _numbers(where, "keypoints", values, 3 * len(COCO17)).reshape(-1, 3)
    return category.to_coco17(_numbers(where, "keypoints", values, 3 * count).reshape(-1, 3))


def _joints_box(keypoints: np.ndarray, category: CocoCategory) -> np.ndarray:
    """(4,) x, y, w, h of the joints that the annotations have, without the + 1 of pixels."""
    named = [COCO17.index(joint) for joint in category.joints if joint]
    low = keypoints[named, :2].min(axis=0)
    return np.concatenate([low, keypoints[named, :2].max(axis=0) - low])


def _numbers(where: str, name: str, values: object, count: int) -> np.ndarray:
    if not isinstance(values, list) or len(values) != count:
        size = len(values) if isinstance(values, list) else type(values).__name__
        joints = f" (x, y, v of {count // 3} joints)" if name == "keypoints" else ""
        problem = f"{name} has {size} numbers, expected {count}{joints}"
        raise DataError(where, problem, "fix or remove the entry")
    numbers = numbers_of(values)
    if numbers is None or numbers.shape != (count,) or not np.all(np.isfinite(numbers)):
        problem = f"{name} holds NaN, infinity or no number"
        raise DataError(where, problem, "fix or remove the entry")
    return numbers
