"""Time of the metrics, and of OKS next to pycocotools.

The claim: OKS and PCK of 100,000 people in half a second on one core, both together.

OKS of a data set is computed in two ways. `metrics.oks` compares each prediction with its own
person, all at once. For COCO's matching every prediction of an image is compared with every person
of it: `metrics.oks_matrix` and pycocotools' `COCOeval.computeOks` do this for the same images in
turns, and must agree. All times are processor time on one core; growth compares with a tenth of the
people.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from posekit import metrics
from posekit.skeleton import COCO17

CLAIM_SECONDS = 0.5
PER_IMAGE = 3
"""People in an image, and predictions."""
K = len(COCO17)


def make_people(n: int) -> dict[str, np.ndarray]:
    """People and predictions at random: `pred`, `target` (n, K, 2), `labelled`, `area`, `bbox`."""
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 640, (n, K, 2))
    labelled = rng.random((n, K)) > 0.2
    labelled[:, 0] = True
    return {
        "pred": target + rng.normal(0, 10, target.shape),
        "target": target,
        "labelled": labelled,
        "area": rng.uniform(32**2, 200**2, n),
        "bbox": np.concatenate([target.min(1), np.ptp(target, 1)], -1),
    }


def timed(function: Callable, *args) -> float:
    """Processor seconds of this process: what one core needs, whatever else the machine does."""
    begin = time.process_time()
    function(*args)
    return time.process_time() - begin


def matrices(people: dict[str, np.ndarray]) -> list[np.ndarray]:
    """OKS of every prediction with every person, image by image, by posekit."""
    keys = ("pred", "target", "labelled", "area", "bbox")
    images = zip(*(people[key].reshape(-1, PER_IMAGE, *people[key].shape[1:]) for key in keys))
    return [metrics.oks_matrix(*image) for image in images]


def coco_evaluation(people: dict[str, np.ndarray]):
    """`COCOeval` of the same people, with its matrices of OKS not yet computed."""
    from contextlib import redirect_stdout
    from io import StringIO

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    n = len(people["area"])
    images = [i // PER_IMAGE + 1 for i in range(n)]

    def triples(keypoints: np.ndarray, flags: np.ndarray) -> list[list[float]]:
        return np.concatenate([keypoints, flags[..., None]], -1).reshape(n, -1).tolist()

    true = triples(people["target"], 2 * people["labelled"])
    found = triples(people["pred"], np.ones((n, K)))
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": image} for image in sorted(set(images))],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": images[i],
                    "category_id": 1,
                    "keypoints": true[i],
                    "num_keypoints": int(people["labelled"][i].sum()),
                    "area": float(people["area"][i]),
                    "bbox": people["bbox"][i].tolist(),
                    "iscrowd": 0,
                }
                for i in range(n)
            ],
        }
        truth.createIndex()
        results = [
            {"image_id": images[i], "category_id": 1, "keypoints": found[i], "score": 1 - i / n}
            for i in range(n)
        ]
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation._prepare()
    return evaluation


def pycocotools_matrices(evaluation) -> list[np.ndarray]:
    """OKS of every prediction with every person, image by image, by pycocotools."""
    return [evaluation.computeOks(image, 1) for image in evaluation.params.imgIds]


def measure(n: int, repeats: int) -> tuple[dict, list[list]]:
    """All turns. Returns what `--json` prints, and the rows of log.csv."""
    people = {size: make_people(size) for size in (n // 10, n)}
    in_images = make_people(n // 10 // PER_IMAGE * PER_IMAGE)
    evaluation = coco_evaluation(in_images)
    for ours, theirs in zip(matrices(in_images), pycocotools_matrices(evaluation), strict=True):
        if not np.allclose(ours, theirs, atol=1e-9):
            raise SystemExit("error: pycocotools and posekit.metrics.oks_matrix disagree")
    rows = []
    for turn in range(repeats):
        for size, given in people.items():
            pred, target, labelled, area = list(given.values())[:4]
            seconds = timed(metrics.oks, pred, target, labelled, area)
            rows.append(["oks", turn, size, seconds])
            rows.append(["pck", turn, size, timed(metrics.pck, pred, target, labelled)])
        pairs = len(in_images["area"])
        rows.append(["oks_matrix", turn, pairs, timed(matrices, in_images)])
        rows.append(["computeOks", turn, pairs, timed(pycocotools_matrices, evaluation)])

    def per_turn(run: str, size: int) -> np.ndarray:
        return np.array([row[3] for row in rows if row[0] == run and row[2] == size])

    def spread(values: np.ndarray) -> dict[str, float]:
        low, median, high = (round(float(v), 3) for v in np.percentile(values, (25, 50, 75)))
        return {"median": median, "low": low, "high": high}

    def us_per_person(run: str, size: int) -> float:
        return round(1e6 * float(np.median(per_turn(run, size))) / size, 1)

    both = per_turn("oks", n) + per_turn("pck", n)
    result = {
        "people": n,
        "seconds_oks": round(statistics.median(per_turn("oks", n)), 4),
        "seconds_pck": round(statistics.median(per_turn("pck", n)), 4),
        "seconds": round(statistics.median(both), 4),
        "claim_seconds_for_100000_people": CLAIM_SECONDS,
        "seconds_for_100000_people": round(statistics.median(both) * 100_000 / n, 4),
        "growth_with_10_times_the_people": {
            run: spread(per_turn(run, n) / per_turn(run, n // 10)) for run in ("oks", "pck")
        },
        "pycocotools": {
            "people": pairs,
            "people_per_image": PER_IMAGE,
            "us_per_person_posekit": us_per_person("oks_matrix", pairs),
            "us_per_person": us_per_person("computeOks", pairs),
            "ratio": spread(per_turn("computeOks", pairs) / per_turn("oks_matrix", pairs)),
        },
    }
    return result, rows


def main() -> int:
    """Measure, print, and return the exit code: 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object (else a line)")
    parser.add_argument("--record", action="store_true", help="also write book/runs/metrics")
    args = parser.parse_args()
    result, rows = measure(args.people, args.repeats)
    if args.record:
        from posekit.notebook import runs

        about = "processor time of OKS and PCK, and of OKS next to pycocotools"
        command = "python benchmarks/metrics.py --record"
        runs.write("metrics", about, command, result, ["run", "turn", "people", "seconds"], rows)
    print(json.dumps(result) if args.json else ", ".join(f"{k} {v}" for k, v in result.items()))
    return 0 if result["seconds_for_100000_people"] <= CLAIM_SECONDS else 1


if __name__ == "__main__":
    raise SystemExit(main())
