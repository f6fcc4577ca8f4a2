"""MediaPipe Pose and a model of this book on the same validation photos (model card).

MediaPipe needs an environment of its own, in which it only writes its landmarks. Called by
`benchmarks/peers.sh photos`:

    photos FOLDER   write records of the validation people, and per person the photo that MediaPipe
                    is to see: FOLDER/photos/SET/NUMBER.png and FOLDER/photos.json
    benchmarks/peers/mediapipe_pose.py photos FOLDER      -> FOLDER/landmarks.json
    score FOLDER    score both on the same people by the same functions; print JSON, and with
                    --record write book/runs/peers
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from experiments import common, released_data, scorecard
from posekit import datasets, geometry, metrics, records
from posekit.errors import DataError
from posekit.images import read_image
from posekit.inference import evaluation, predictor
from posekit.inference.evaluation import EvalResults
from posekit.live import DEFAULT_MODEL, tracking
from posekit.notebook import runs

LANDMARKS = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Index in MediaPipe's 33 landmarks of each joint of COCO-17. Sides are the person's own in both.

Source: ai.google.dev/edge/mediapipe, "Pose landmark detection guide", pose landmarker model.
"""
METRICS = {
    "webcam": "pck_shoulder",
    "stills": "pck_shoulder",
    "web_upper": "pck_shoulder",
    "lsp": "pcp",
    "coco": "pck",
    "background": None,
}
"""Name in `released_data.VALIDATION` -> accuracy that is computed; None: only whether a person is
found."""
FLIP_TEST = ("lsp", "coco")
"""Sets on which this book's model is evaluated with the flip test, as in the model card."""
TIMED = "webcam"
"""The set on which both are timed."""
ABOUT = (
    "MediaPipe Pose and a model of this book on the same validation photos: accuracy, share of the "
    "photos in which a person is found, time per photo"
)
NOTES = {
    "labels": "the joints of webcam and web_upper were labelled by MediaPipe Pose (full and heavy, "
    "the photo and its mirror image, averaged), and joints on which these disagreed were left out: "
    "there MediaPipe is compared with itself, and its figures are no accuracy. stills were marked "
    "by eye, lsp and coco by people of those projects",
    "images": "webcam, stills, web_upper, lsp and background: the full photo; coco: the padded "
    "square around the annotated box, since MediaPipe expects one person per photo",
    "missed": "where MediaPipe finds no person, all joints count as missed",
    "found": "MediaPipe: it returns landmarks; the model: the demo's tracker would begin a track",
    "flip": f"MediaPipe: none; the model: flip test on {' and '.join(FLIP_TEST)} only",
    "processor_ms": f"median processor time of all threads per photo of {TIMED}, from array to "
    "joints; MediaPipe runs a detector and a network on each photo, the model its network alone",
    "intervals": "95 % bootstrap over the groups of scorecard.photo_groups",
}


# ---- what MediaPipe sees ------------------------------------------------------------------------


def seen_square(bbox: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the padded square around a box, at the photo's resolution.

    Args:
        bbox: (4,) x, y, w, h, image pixels.

    Returns:
        The (2, 3) affine from image to crop pixels; the side of the crop in pixels.
    """
    side = geometry.square_side(bbox)
    size = max(1, round(side))
    return geometry.crop_affine(geometry.bbox_center(bbox), side, size), size


def write_photos(folder: Path) -> None:
    """Write validation records, and the photo or crop of each of their people as PNG.

    Args:
        folder: gets records/, photos/ and photos.json: set -> person -> `file` below photos/ and
            `to_image`, the (2, 3) affine from its pixels to those of the data set's photo.
    """
    import cv2

    val = released_data.validation_records(folder / "records")
    index = {}
    for key in METRICS:
        dataset, source, box = released_data.VALIDATION[key]
        boxes = {p.person_id: p.bbox for p in records.read_records(val[key])}
        (folder / "photos" / key).mkdir(parents=True)
        index[key] = {}
        for person in datasets.read(dataset, common.photos(source)[0], "val"):
            if person.person_id not in boxes:
                continue
            image = person.load_image()
            affine = np.eye(2, 3)
            if box == "annotation":
                affine, size = seen_square(boxes[person.person_id])
                image = geometry.warp(image, affine, (size, size))
            name = f"{key}/{len(index[key]):05d}.png"
            cv2.imwrite(str(folder / "photos" / name), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            to_image = geometry.invert(affine).tolist()
            index[key][person.person_id] = {"file": name, "to_image": to_image}
    (folder / "photos.json").write_text(json.dumps(index), encoding="utf-8")


# ---- from landmarks to the joints of this book --------------------------------------------------


def coco17(landmarks: list | None, size: tuple[int, int]) -> np.ndarray:
    """Map MediaPipe's landmarks to the joints of COCO-17.

    Args:
        landmarks: 33 of x, y, visibility; x and y in fractions of the photo's width and height.
            None if no person was found.
        size: width and height of the photo in pixels.

    Returns:
        (17, 2) pixels, centres at integers; infinite if no person was found: farther from every
        annotation than any threshold, so that each metric counts the joint as missed.
    """
    if landmarks is None:
        return np.full((len(LANDMARKS), 2), np.inf)
    shares = np.array(landmarks, np.float64)[list(LANDMARKS), :2]
    return shares * np.array(size) - 0.5


def with_landmarks(results: EvalResults, people: dict, photos: dict) -> EvalResults:
    """Replace a model's predictions by MediaPipe's.

    Args:
        results: of any model.
        people: person -> `file` and `to_image`, one set of photos.json.
        photos: file -> `size` and `landmarks`, of landmarks.json.

    Returns:
        The same people with MediaPipe's joints; `presence` is 1 where it found a person, else 0;
        scores, sigmas and crop coordinates are NaN.

    Raises:
        DataError: if a person's photo is missing.
    """
    keypoints = np.empty_like(results.keypoints)
    presence = np.empty_like(results.presence)
    for i, person in enumerate(results.person_id):
        try:
            to_image = np.array(people[person]["to_image"])
            photo = photos[people[person]["file"]]
        except KeyError:
            hint = "run benchmarks/peers.sh photos"
            raise DataError("landmarks.json", f"no photo of person {person}", hint) from None
        found = coco17(photo["landmarks"], photo["size"])
        presence[i] = photo["landmarks"] is not None
        keypoints[i] = geometry.apply_affine(to_image, found) if presence[i] else found
    unknown = {
        name: np.full_like(getattr(results, name), np.nan)
        for name in ("visibility", "score", "sigma", "crop_keypoints")
    }
    return replace(results, keypoints=keypoints, presence=presence, **unknown)


# ---- scores -------------------------------------------------------------------------------------


def found_by_demo(results: EvalResults) -> np.ndarray:
    """Return in which photos the demo's tracker would begin a track, (N,) bool."""
    threshold = tracking.Settings().acquire_threshold
    scores = zip(results.presence, results.score, strict=True)
    return np.array([tracking.person_score(p, score) >= threshold for p, score in scores])


def accuracy(results: EvalResults, metric: str | None) -> dict:
    """Compute the accuracy of one set.

    Args:
        results: predictions and annotations.
        metric: `"pck_shoulder"`, see there; `"pcp"`, strict, with PCK@0.2 per part; `"pck"`,
            PCK@0.2; or None.

    Returns:
        `by_part` (see `scorecard.pck_shoulder`), and for `pck` and `pcp` the mean; empty if there
        is no metric.
    """
    if metric is None:
        return {}
    if metric == "pck_shoulder":
        return {"by_part": scorecard.pck_shoulder(results)}
    truth = (results.keypoints, results.target, results.labelled)
    scores = {"pck@0.2": metrics.pck(*truth)["value"]}
    if metric == "pcp":
        limb_hits, scored = metrics.pcp_hits(*truth)
        interval = metrics.bootstrap_ci(limb_hits.reshape(-1, 4, 2), scored.reshape(-1, 4, 2))
        scores["pcp_interval"] = [round(v, 4) for v in interval]
        limbs = {name: round(value, 4) for name, value in metrics.pcp(*truth).items()}
        scores = {"pcp": limbs, **scores}
    scores["pck@0.2"] = round(scores["pck@0.2"], 4)
    return {**scores, "by_part": scorecard.pck_torso(results)}


def set_scores(results: EvalResults, found: np.ndarray, metric: str | None) -> dict:
    """Compute all figures of one set.

    Args:
        results, metric: see `accuracy`.
        found: (N,) bool, whether a person was found.

    Returns:
        `photos`; `found`: (share, low, high, number) as in `scorecard.by_part`; and `accuracy`.
    """
    low, high = metrics.bootstrap_ci(found, np.ones_like(found))
    share = [round(float(v), 4) for v in (found.mean(), low, high)]
    return {"photos": len(found), "found": (*share, len(found)), **accuracy(results, metric)}


def time_model(model: predictor.Predictor, files: list[Path]) -> list[float]:
    """Return the processor time of a model per full photo, in milliseconds."""
    took = []
    for file in files:
        image = read_image(file)
        begin = time.process_time()
        model.predict(image)
        took.append(1000 * (time.process_time() - begin))
    return took


def compare(folder: Path, name: str) -> dict:
    """Score MediaPipe and a model.

    Args:
        folder: of `write_photos`, with landmarks.json.
        name: of the model, see `predictor.load`.

    Returns:
        `notes`; `names` of both; `runs`: `mediapipe` and `model`, each set -> `set_scores`, and
        `processor_ms`, the median per photo of `TIMED`.
    """
    index = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    peer = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))
    model = predictor.load(name, threads=1)
    val = released_data.validation_records(folder / "records")
    scores = {"mediapipe": {}, "model": {}}
    for key, metric in METRICS.items():
        own = evaluation.predict_records(model, val[key], flip=key in FLIP_TEST)
        other = with_landmarks(own, index[key], peer["photos"])
        scores["model"][key] = set_scores(own, found_by_demo(own), metric)
        scores["mediapipe"][key] = set_scores(other, other.presence > 0, metric)
    files = [person["file"] for person in index[TIMED].values()]
    times = {
        "mediapipe": [peer["photos"][file]["processor_ms"] for file in files],
        "model": time_model(model, [folder / "photos" / file for file in files]),
    }
    for who, took in times.items():
        scores[who]["processor_ms"] = round(float(np.median(took[1:])), 2)
    return {
        "notes": NOTES,
        "names": {"mediapipe": peer["name"], "model": Path(name).name},
        "runs": scores,
    }


def rows(scores: dict) -> list[list]:
    """Return the rows of log.csv: run, share, low, high, number of joints or photos."""
    table = []
    for who, sets in scores.items():
        for key in METRICS:
            shares = {"found": sets[key]["found"], **sets[key].get("by_part", {})}
            table += [[f"{who}, {key}, {part}", *share] for part, share in shares.items()]
    return table


def main(arguments: list[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("photos", "score"))
    parser.add_argument("folder", type=Path, help="working folder, for photos and records")
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="a name, run or .onnx (default: %(default)s)"
    )
    parser.add_argument("--record", action="store_true", help="also write book/runs/peers")
    args = parser.parse_args(arguments)
    if args.action == "photos":
        write_photos(args.folder)
        return
    result = compare(args.folder, args.model)
    if args.record:
        command = f"benchmarks/peers.sh photos --model {Path(args.model).name} --record"
        header = ["run", "share", "low", "high", "n"]
        runs.write("peers", ABOUT, command, result, header, rows(result["runs"]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
