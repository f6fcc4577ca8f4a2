"""A model put to COCO's question: detections of all people of an annotation file, in COCO's results format (chapter 07)."""

from pathlib import Path

import numpy as np

from posekit import geometry, metrics
from posekit.errors import DataError
from posekit.images import read_image
from posekit.predict import Predictor


def coco_results(
    predictor: Predictor,
    annotations: str | Path,
    images: str | Path,
    *,
    flip: bool = True,
    batch_size: int = 64,
) -> list[dict]:
    """Predict everybody in a COCO annotation file, each in the annotated box.

    A detector's boxes would be a little off and miss some people: AP with annotated boxes is higher than with detected ones, so name
    the boxes beside the figure.

    Args:
        predictor: the model.
        annotations: person keypoint annotations, COCO JSON; crowds are not predicted.
        images: folder that the annotations' file names start from.
        flip: flip test, see `Predictor.predict_crops`.
        batch_size: people at a time.

    Returns:
        COCO results: {image_id, category_id, keypoints [x, y, score] × 17 in photo pixels, score: the mean over the joints}, in the
        order of the annotations.

    Raises:
        DataError: when the file is not COCO's, or a photo is missing or cannot be read.

    Source:
        cocodataset.org, "Results format".
    """
    truth = metrics.coco.checked_annotations(annotations)
    names = {image["id"]: image.get("file_name") for image in truth["images"]}
    people = [a for a in truth["annotations"] if not a["iscrowd"] and a["bbox"][2] > 0 and a["bbox"][3] > 0]
    size, results, photo, current = predictor.input_size, [], None, None
    for start in range(0, len(people), batch_size):
        chunk = people[start : start + batch_size]
        crops, back = [], []
        for person in chunk:
            if person["image_id"] != current:
                name = names[person["image_id"]]
                if not isinstance(name, str):
                    raise DataError(annotations, f"image {person['image_id']} has no file_name", "mend the file")
                photo, current = read_image(Path(images) / name), person["image_id"]
            bbox = np.asarray(person["bbox"], np.float64)
            affine = geometry.crop_affine(geometry.bbox_center(bbox), geometry.square_side(bbox), size)
            crops.append(geometry.warp(photo, affine, (size, size)))
            back.append(geometry.invert(affine))
        out = predictor.predict_crops(np.stack(crops), flip)
        found = geometry.apply_affine(np.stack(back), geometry.decode_keypoints(out["keypoints"], (size, size)))
        for person, joints, score in zip(chunk, found, out["visibility"], strict=True):
            results.append(
                {
                    "image_id": person["image_id"],
                    "category_id": person["category_id"],
                    "keypoints": np.round(np.column_stack([joints, score]), 3).ravel().tolist(),
                    "score": round(float(score.mean()), 5),
                }
            )
    return results
