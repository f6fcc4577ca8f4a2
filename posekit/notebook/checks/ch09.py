"""Checks of the exercises of chapter 09, evaluation.

A mistake is recognised by comparing the answer with what each typical wrong formula gives.
"""

from collections.abc import Callable

import numpy as np

from posekit import geometry, metrics
from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_parts,
    judge,
    near,
    passed,
)
from posekit.skeleton import COCO17

K = len(COCO17)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


# ---- exercise 1: PCKh ----------------------------------------------------------------------------


def _crowd(
    rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """People of different sizes with errors about as large as the threshold; some joints are not
    labelled, and some heads not annotated."""
    size = rng.uniform(20, 200, (n, 1, 1))
    true = size * rng.normal(0, 0.5, (n, K, 2)) + rng.uniform(0, 500, (n, 1, 2))
    pred = true + size * rng.normal(0, 0.12, (n, K, 2))
    labelled = rng.random((n, K)) > 0.15
    heads = np.concatenate(
        [true[:, 0] - size[:, 0] * 0.2, size[:, 0] * rng.uniform(0.25, 0.55, (n, 2))], axis=1
    )
    heads[rng.random(n) < 0.25] = np.nan
    return pred, true, labelled, heads


def _pckh_mistakes(pred, true, labelled, heads, threshold: float) -> dict[str, float]:
    sides = heads[:, 2:]
    known = np.isfinite(sides).all(axis=1)
    judged = labelled & known[:, None]
    diagonal = _length(sides)

    def share(unit: np.ndarray, counts: np.ndarray = judged) -> float:
        return float((_length(pred - true) <= threshold * unit[:, None])[counts].mean())

    hit = _length(pred - true) <= threshold * 0.6 * diagonal[:, None]
    people = [hit[n][labelled[n]].mean() for n in np.flatnonzero(known)]
    joints = [hit[judged[:, k], k].mean() for k in range(K)]
    return {
        "You count the joints of people without an annotated head as wrong: a comparison with NaN "
        "is False. Skip these people.": share(0.6 * diagonal, labelled),
        "Your unit is the whole diagonal of the head box. MPII uses 0.6 times that.": share(
            diagonal
        ),
        "Your unit is the height of the head box. PCKh uses 0.6 times its diagonal.": share(
            sides[:, 1]
        ),
        "Your unit is the width of the head box. PCKh uses 0.6 times its diagonal.": share(
            sides[:, 0]
        ),
        "You took 0.6 times the longer side of the box, not of its diagonal.": share(
            0.6 * sides.max(axis=1)
        ),
        "The last two numbers of a box are its width and height. You took them for its lower right "
        "corner.": share(0.6 * _length(sides - heads[:, :2])),
        "You measure all people with one head size, the mean over all people. Use each person's "
        "own.": share(np.full(len(true), 0.6 * diagonal[known].mean())),
        "You do not divide by anything: your circle has `threshold` pixels for all people.": share(
            np.ones(len(true))
        ),
        "You count joints that are not labelled. Their coordinates mean nothing.": share(
            0.6 * diagonal, np.broadcast_to(known[:, None], labelled.shape)
        ),
        "You count every joint of all people, labelled or not, with a head or not.": share(
            0.6 * diagonal, np.ones_like(labelled)
        ),
        "You took each person's fraction first and then the mean over people. That gives the "
        "joints of a person with few labels more weight. Pool the joints of all people.": float(
            np.mean(people)
        ),
        "You took each joint's fraction first and then the mean over joints. Pool them all: each "
        "labelled joint counts once.": float(np.mean(joints)),
        "Your score grows as the prediction gets worse: you count the misses.": 1
        - share(0.6 * diagonal),
    }


@exercise
def check_pckh(pckh: Callable) -> None:
    """`pckh(pred, true, labelled, heads, threshold)`: the fraction of correct joints, and how many
    people are skipped."""
    expression = "pckh(pred, true, labelled, heads, threshold)"
    rng = np.random.default_rng(708)
    for threshold in (0.5, 0.5, 0.35):
        crowd = _crowd(rng, 60)
        answer = call(pckh, expression, *crowd, threshold)
        answer = expect_parts(
            answer, expression, ("the fraction of correct joints", "how many people are skipped")
        )
        value, skipped = (float(expect_array(a, "the answer of `pckh`", ())) for a in answer)
        head = 0.6 * _length(crowd[3][:, 2:])
        truth = metrics.pckh(*crowd[:3], head, threshold)
        if not near(value, truth["value"], 1e-9):
            expect(0 <= value <= 1, f"A fraction lies between 0 and 1; yours is {value:.3f}.")
        mistakes = _pckh_mistakes(*crowd, threshold)
        fixed = "Your score does not change with `threshold`: 0.5 is only its default."
        mistakes[fixed] = metrics.pckh(*crowd[:3], head, 0.5)["value"]
        judge(
            value,
            truth["value"],
            mistakes,
            f"On 60 people the score at threshold {threshold} is {truth['value']:.4f}; yours is "
            f"{value:.4f}. Check in turn: the distance, the unit, which people count, which "
            "joints of them count.",
            tolerance=1e-9,
        )
        expect(
            skipped == truth["filtered"],
            f"The score is right, but {truth['filtered']} people have no annotated head and you "
            f"skipped {skipped:g}."
            + (" You counted the people who are scored." if skipped == truth["people"] else ""),
        )
    passed("PCKh in the unit of MPII, and the people without a head are counted")


# ---- exercise 2: back to the photo ---------------------------------------------------------------


@exercise
def check_to_photo(to_photo: Callable) -> None:
    """`to_photo(normalised, photo_to_stored, crop_px, stored_px)`: normalised coordinates -> pixels
    of the photo."""
    expression = "to_photo(normalised, photo_to_stored, crop_px, stored_px)"
    rng = np.random.default_rng(709)
    for crop_px, stored_px in ((224, 300), (224, 336), (448, 672), (224, 224), (100, 130)):
        u = rng.uniform(-0.6, 0.6, (K, 2))
        affine = geometry.invert(
            geometry.crop_affine(rng.uniform(100, 900, 2), rng.uniform(50, 700), stored_px, 0)
        )
        affine[:, :2] = affine[:, :2] @ [
            [1, 0.1],
            [-0.1, 1],
        ]  # slightly rotated, so that a transposed matrix shows
        given = geometry.invert(affine)
        answer = call(to_photo, expression, u, given, crop_px, stored_px)
        answer = expect_array(answer, "the joints in the photo", (K, 2))
        crop = (u + 0.5) * crop_px - 0.5
        margin = (stored_px - crop_px) / 2
        linear = affine[:, :2]
        offset = affine[:, 2]
        truth = (crop + margin) @ linear.T + offset
        wrong = {
            "You forgot the margin: the crop is the middle of the stored image, so its pixel 0 "
            "is not the stored image's pixel 0.": crop @ linear.T + offset,
            "The margin lies on both sides: half of the difference between the two sizes is on "
            "the left.": ((crop + 2 * margin) @ linear.T + offset),
            "You subtracted the margin instead of adding it: a joint at the crop's left edge "
            "lies further right in the stored image.": (crop - margin) @ linear.T + offset,
            "You stretched the normalised coordinates over the stored image. They belong to the "
            "crop: its edges are -0.5 and 0.5.": ((u + 0.5) * stored_px - 0.5) @ linear.T + offset,
            "Half a pixel is missing: -0.5 is the crop's left *edge*, which is half a pixel left "
            "of the centre of pixel 0.": (crop + 0.5 + margin) @ linear.T + offset,
            "You started at the crop's corner, but (0, 0) in normalised coordinates is its "
            "centre.": (u * crop_px - 0.5 + margin) @ linear.T + offset,
            "You inverted the 2x2 part of the map only. Its last column is the shift: subtract "
            "it before you invert.": (crop + margin) @ linear.T,
            "You subtracted the shift after inverting the 2x2 part. Forwards the shift comes "
            "last, so backwards it comes first.": (crop + margin) @ linear.T - given[:, 2],
            "You added the shift. Forwards it is added, so backwards it is subtracted.": (
                crop + margin + given[:, 2]
            )
            @ linear.T,
            "You divided by the four numbers of the matrix one by one. The inverse of a matrix is "
            "something else: `np.linalg.inv` or `np.linalg.solve`.": (crop + margin - given[:, 2])
            @ (1 / given[:, :2]).T,
            "Your matrix is transposed: for points in rows it is `points @ A[:, :2].T`.": (
                (crop + margin) @ linear + offset
            ),
            "You applied the map forwards: `photo_to_stored` maps the photo to the stored image, "
            "and you need its inverse.": geometry.apply_affine(given, crop + margin),
            "These are still pixels of the stored image: the last step, to the photo, is "
            "missing.": crop + margin,
            "These are still pixels of the crop: two steps are missing.": crop,
            "You multiplied by the size of the crop minus 1: a crop of W pixels is W wide, from "
            "-0.5 to W - 0.5.": (((u + 0.5) * (crop_px - 1) + margin) @ linear.T + offset),
        }
        judge(
            answer,
            truth,
            wrong,
            f"Your joints are up to {np.abs(answer - truth).max():.1f} px away from their "
            "positions. Go step by step: normalised to crop pixels, crop to stored image, stored "
            "image to photo; try the point (0, 0) first.",
            tolerance=1e-3 / max(1.0, np.abs(truth).max()),  # a thousandth of a pixel
        )
    passed("three steps back, exact to a thousandth of a pixel")


# ---- exercise 3: AP over several photos ----------------------------------------------------------


def _photos(rng: np.random.Generator, people: list[int], threshold: float) -> list[tuple]:
    """Scores and OKS of photos with so many people: unsorted detections, some twice, some false,
    two people that lie close together; a photo without a person, and one without a detection."""
    photos = []
    for n in people:
        count = int(rng.integers(n, 2 * n + 2))
        oks = rng.uniform(0, 0.4, (count, n))
        for row in oks:
            if n and rng.random() < 0.85:
                near_by = rng.permutation(n)[:2]
                row[near_by[0]] = rng.uniform(0.45, 0.98)
                row[near_by[1:]] = rng.uniform(0.3, 0.75, len(near_by[1:]))
        photos.append((rng.permutation(np.linspace(0.05, 0.95, 97))[:count], oks))
    scores, oks = photos[0]
    oks[scores.argmax()] = 0
    oks[scores.argmax(), 0] = threshold  # exactly at the threshold: a true positive
    empty = rng.uniform(0.5, 0.99, 2), np.zeros((2, 0))
    missed = np.zeros(0), np.zeros((0, 2))
    return [*photos[:2], empty, *photos[2:], missed]


def _ap(
    photos: list,
    threshold: float,
    *,
    order=lambda scores, oks: np.argsort(-scores, kind="stable"),
    again=False,
    second=True,
    at=np.greater_equal,
    sort=lambda scores, best: np.argsort(-scores, kind="stable"),
    people=None,
    area="interpolated",
) -> float:
    """AP with a choice of each step."""
    scores, positive, best_oks, total = [], [], [], 0
    for score, oks in photos:
        total += oks.shape[1]
        taken: set = set()
        for d in order(score, oks):
            free = [p for p in range(oks.shape[1]) if again or not second or p not in taken]
            best = max(free, key=lambda p: oks[d, p], default=None)
            hit = best is not None and bool(at(oks[d, best], threshold))
            hit = hit and (again or best not in taken)
            if hit:
                taken.add(best)
            scores.append(score[d])
            positive.append(hit)
            best_oks.append(oks[d].max(initial=0))
    positive = np.array(positive)[sort(np.array(scores), np.array(best_oks))]
    total = total if people is None else people
    precision = np.cumsum(positive) / np.arange(1, len(positive) + 1)
    recall = np.cumsum(positive) / total
    levels = np.linspace(0, 1, 101)
    reached = [precision[recall >= r] for r in levels]
    if area == "interpolated":
        return float(np.mean([max(p, default=0) for p in reached]))
    if area == "first":
        return float(np.mean([p[0] if len(p) else 0 for p in reached]))
    if area == "reached":
        return float(np.mean([p.max() for p in reached if len(p)]))
    return float((precision * positive).sum() / total)


def _ap_mistakes(photos: list, threshold: float) -> dict[str, float]:
    with_people = [photo for photo in photos if photo[1].shape[1]]
    detected = [photo for photo in photos if len(photo[0])]
    crowd = photos, threshold
    return {
        "You computed the AP of each photo and took the mean. Match within each photo, but put the "
        "detections of *all* photos into one list for the curve.": float(
            np.mean([_ap([p], threshold) if len(p[0]) else 0.0 for p in with_people])
        ),
        "Within a photo you match in the order given. The most confident detection chooses "
        "first.": _ap(*crowd, order=lambda scores, oks: range(len(scores))),
        "Within a photo you start with the *least* confident detection.": _ap(
            *crowd, order=lambda scores, oks: np.argsort(scores)
        ),
        "Within a photo you start with the largest OKS. In an application the OKS is not known: "
        "the score decides.": _ap(
            *crowd, order=lambda scores, oks: np.argsort(-oks.max(axis=1, initial=0))
        ),
        "Your curve runs through the photos one after the other. Sort the detections of all photos "
        "by score first.": _ap(*crowd, sort=lambda scores, best: np.arange(len(scores))),
        "Your curve starts with the least confident detection.": _ap(
            *crowd, sort=lambda scores, best: np.argsort(scores)
        ),
        "Your curve is sorted by OKS. In an application the OKS is not known: the score "
        "decides.": _ap(*crowd, sort=lambda scores, best: np.argsort(-best)),
        "You match a person several times. The first match takes the person, and the next "
        "detection of the same person is a false positive.": _ap(*crowd, again=True),
        "You count a detection whose best person is taken as a false positive at once. It may "
        "still match the best of those who are *left*.": _ap(*crowd, second=False),
        "An OKS of exactly the threshold is enough: compare with at least, not more than.": _ap(
            *crowd, at=np.greater
        ),
        "You count the people of photos with detections only. People whom nothing detects are "
        "missing from your recall.": _ap(*crowd, people=sum(p[1].shape[1] for p in detected)),
        "You leave out photos without people. Every detection in them is a false positive.": _ap(
            with_people, threshold
        ),
        "You take the precision where each recall is first reached. COCO takes the best precision "
        "at this recall *or a higher one*.": _ap(*crowd, area="first"),
        "You take the mean over the recalls that are reached. Where the recall is never reached, "
        "the precision is 0.": _ap(*crowd, area="reached"),
        "You add up the precision at each true positive. COCO takes the mean, at 101 recalls from "
        "0 to 1, of the best precision at this recall or a higher one.": _ap(*crowd, area="steps"),
    }


@exercise
def check_average_precision(average_precision: Callable) -> None:
    """`average_precision(photos, threshold)`: COCO's AP at one OKS threshold."""
    expression = "average_precision(photos, threshold)"
    rng = np.random.default_rng(714)
    # with so many people no recall but 1 lies on one of the 101 levels
    for people, threshold in (([3, 4, 2, 4, 2], 0.5), ([2, 5, 3, 1, 4], 0.5), ([4, 3, 2, 6], 0.6)):
        photos = _photos(rng, people, threshold)
        given = [(scores.copy(), oks.copy()) for scores, oks in photos]
        answer = call(average_precision, expression, given, threshold)
        value = float(expect_array(answer, expression, ()))
        truth = _ap(photos, threshold)
        if not near(value, truth, 1e-9):
            expect(0 <= value <= 1, f"AP lies between 0 and 1; yours is {value:.3f}.")
        judge(
            value,
            truth,
            _ap_mistakes(photos, threshold),
            f"For {len(photos)} photos the AP at OKS {threshold} is {truth:.4f}; yours is "
            f"{value:.4f}. Check in turn: the matching within a photo, the order of the curve, the "
            "number of people, the mean over 101 recalls.",
            tolerance=1e-9,
        )
    perfect = [(np.array([0.9, 0.8]), np.eye(2))]
    value = float(expect_array(call(average_precision, expression, perfect, 0.5), expression, ()))
    expect(
        near(value, 1.0, 1e-9),
        f"Two people, both detected, nothing else: AP is 1, and yours is {value:.4f}. A recall of "
        "exactly 1 is reached, too.",
    )
    passed("average precision over several photos, as COCO counts it")
