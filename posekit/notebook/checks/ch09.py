"""Checks of the exercises of chapter 09, evaluation.

A mistake is recognised by comparing the answer with what each typical wrong formula gives.
"""

from collections.abc import Callable

import numpy as np

from posekit import geometry, metrics
from posekit.notebook.checks import (
    call,
    expect,
    expect_array,
    expect_parts,
    judge,
    near,
    passed,
)
from posekit.skeleton import COCO17

K = len(COCO17)
LEFT_SHOULDER = COCO17.index("left_shoulder")
RIGHT_SHOULDER = COCO17.index("right_shoulder")
LEFT_HIP = COCO17.index("left_hip")
RIGHT_HIP = COCO17.index("right_hip")


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1)


# ---- exercise 1: PCK -----------------------------------------------------------------------------


def _crowd(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People of different sizes with errors about as large as the threshold; some joints and torsos
    unlabelled."""
    size = rng.uniform(20, 200, (n, 1, 1))
    true = size * rng.normal(0, 0.5, (n, K, 2)) + rng.uniform(0, 500, (n, 1, 2))
    pred = true + size * rng.normal(0, 0.15, (n, K, 2))
    labelled = rng.random((n, K)) > 0.15
    return pred, true, labelled


def _pck(
    pred, true, labelled, threshold, *, ends=(LEFT_SHOULDER, RIGHT_HIP), unit=None, judged=None
) -> float:
    """PCK with a choice of normaliser and of the joints that count."""
    torso = _length(true[:, ends[0]] - true[:, ends[1]]) if unit is None else unit
    judged = (
        labelled & (labelled[:, [LEFT_SHOULDER]] & labelled[:, [RIGHT_HIP]])
        if judged is None
        else judged
    )
    return float((_length(pred - true) <= threshold * torso[:, None])[judged].mean())


def _pck_mistakes(
    pred: np.ndarray, true: np.ndarray, labelled: np.ndarray, threshold: float
) -> dict[str, float]:
    crowd = pred, true, labelled, threshold
    scored = labelled[:, LEFT_SHOULDER] & labelled[:, RIGHT_HIP]
    torso = _length(true[:, LEFT_SHOULDER] - true[:, RIGHT_HIP])
    hit = _length(pred - true) <= threshold * torso[:, None]
    shares = [hit[n][labelled[n]].mean() for n in np.flatnonzero(scored)]
    joints = [hit[scored & labelled[:, k], k].mean() for k in range(K)]
    span = np.stack(
        [np.ptp(t[on], axis=0).max() if on.any() else 0 for t, on in zip(true, labelled)]
    )
    everyone = np.broadcast_to(scored[:, None], labelled.shape)
    diagonal = "The torso runs across the body, from the *left* shoulder to the *right* hip. "
    return {
        diagonal + "You took the right shoulder and the left hip.": _pck(
            *crowd, ends=(RIGHT_SHOULDER, LEFT_HIP)
        ),
        diagonal + "You stayed on the left side.": _pck(*crowd, ends=(LEFT_SHOULDER, LEFT_HIP)),
        diagonal + "You stayed on the right side.": _pck(*crowd, ends=(RIGHT_SHOULDER, RIGHT_HIP)),
        diagonal + "You took the two shoulders.": _pck(
            *crowd, ends=(LEFT_SHOULDER, RIGHT_SHOULDER)
        ),
        "You measure with the *predicted* torso: a model that draws large people would be "
        "judged more kindly. The unit comes from the truth.": _pck(
            *crowd, unit=_length(pred[:, LEFT_SHOULDER] - pred[:, RIGHT_HIP])
        ),
        "You measure all people with one torso, the mean over all people. Each person has a "
        "unit of their own, or those near the camera are judged too hard.": _pck(
            *crowd, unit=np.full(len(true), torso[scored].mean())
        ),
        "You measure with the extent of the person's joints. That is another PCK (Yang and "
        "Ramanan's); here the unit is the torso.": _pck(*crowd, unit=span),
        "You do not divide by anything: your circle has `threshold` pixels for all people.": _pck(
            *crowd, unit=np.ones(len(true))
        ),
        "You count joints that are not labelled: what stands there is no truth.": _pck(
            *crowd, judged=everyone
        ),
        "You count every joint of all people, labelled or not.": _pck(
            *crowd, judged=np.ones_like(labelled)
        ),
        "You score people whose torso is not labelled, with a unit made from numbers that mean "
        "nothing. Leave them out, and count them.": _pck(*crowd, judged=labelled),
        "Joints of people without a torso count as misses for you. They are left out: neither "
        "hit nor miss.": float((hit & scored[:, None])[labelled].mean()),
        "You took each person's share first and then the mean over people. Then a joint of a "
        "person with few labels weighs more. Pool the joints of all people.": float(
            np.mean(shares)
        ),
        "You took each joint's share first and then the mean over joints. Pool them all: each "
        "labelled joint counts once.": float(np.mean(joints)),
        "Your score grows as the prediction gets worse: you count the misses.": 1 - _pck(*crowd),
    }


def check_pck(pck: Callable) -> None:
    """`pck(pred, true, labelled, threshold)`: the share of joints found, and the people left
    out."""
    expression = "pck(pred, true, labelled, threshold)"
    rng = np.random.default_rng(708)
    for threshold in (0.2, 0.2, 0.1):
        crowd = _crowd(rng, 60)
        answer = call(pck, expression, *crowd, threshold)
        answer = expect_parts(
            answer, expression, ("the share of joints found", "how many people were left out")
        )
        value, filtered = (float(expect_array(a, "the answer of `pck`", ())) for a in answer)
        truth = metrics.pck(*crowd, threshold)
        if not near(value, truth["value"], 1e-9):
            expect(0 <= value <= 1, f"A share lies between 0 and 1; yours is {value:.3f}.")
        mistakes = _pck_mistakes(*crowd, threshold)
        fixed = "Your score does not change with `threshold`: 0.2 is only its default."
        mistakes[fixed] = metrics.pck(*crowd, 0.2)["value"]
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
            filtered == truth["filtered"],
            f"The score is right, but {truth['filtered']} people have no labelled torso and you "
            f"left out {filtered:g}."
            + (" You counted those who stayed." if filtered == truth["people"] else ""),
        )
    passed("PCK with the torso as its unit, and the people without one are counted")


# ---- exercise 2: back to the photo ---------------------------------------------------------------


def check_to_photo(to_photo: Callable) -> None:
    """`to_photo(normalised, crop_to_image, crop_px, stored_px)`: normalised coordinates -> pixels
    of the photo."""
    expression = "to_photo(normalised, crop_to_image, crop_px, stored_px)"
    rng = np.random.default_rng(709)
    for crop_px, stored_px in ((224, 300), (224, 336), (448, 672), (224, 224), (100, 130)):
        u = rng.uniform(-0.6, 0.6, (K, 2))
        affine = geometry.invert(
            geometry.crop_affine(rng.uniform(100, 900, 2), rng.uniform(50, 700), stored_px, 0)
        )
        affine[:, :2] = affine[:, :2] @ [
            [1, 0.1],
            [-0.1, 1],
        ]  # a little turned, so that a transposed matrix shows
        answer = call(to_photo, expression, u, affine, crop_px, stored_px)
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
            "You took the margin away instead of adding it: a joint at the crop's left edge "
            "lies further right in the stored image.": (crop - margin) @ linear.T + offset,
            "You stretched the normalised coordinates over the stored image. The network saw "
            "the crop: its edges are -0.5 and 0.5.": ((u + 0.5) * stored_px - 0.5) @ linear.T
            + offset,
            "Half a pixel is missing: -0.5 is the crop's left *edge*, and that is half a pixel "
            "left of the centre of pixel 0.": (crop + 0.5 + margin) @ linear.T + offset,
            "You started at the crop's corner, but (0, 0) in normalised coordinates is its "
            "centre.": (u * crop_px - 0.5 + margin) @ linear.T + offset,
            "You used the 2x2 part of the map only: add its last column, the shift.": (
                crop + margin
            )
            @ linear.T,
            "Your matrix is transposed: for points in rows it is `points @ A[:, :2].T`.": (
                (crop + margin) @ linear + offset
            ),
            "You went through the map the wrong way: `crop_to_image` leads from the stored "
            "image to the photo already.": (
                geometry.apply_affine(geometry.invert(affine), crop + margin)
            ),
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
            f"Your joints are up to {np.abs(answer - truth).max():.1f} px away from where they "
            "belong. Go step by step: normalised to crop pixels, crop to stored image, stored "
            "image to photo; try the point (0, 0) first.",
            tolerance=1e-3 / max(1.0, np.abs(truth).max()),  # a thousandth of a pixel
        )
    passed("three steps back, exact to a thousandth of a pixel")


# ---- exercise 3: spot the collapse ---------------------------------------------------------------


def _groups(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """80 people in different places of large photos: photo joints of a mediocre model and the
    truth, labels, boxes."""
    boxes = np.concatenate([rng.uniform(0, 1500, (80, 2)), rng.uniform(60, 400, (80, 2))], axis=1)
    side = 1.25 * boxes[:, 2:].max(axis=1)[:, None, None]
    center = (boxes[:, :2] + boxes[:, 2:] / 2 - 0.5)[:, None]
    mean = rng.uniform(-0.4, 0.4, (K, 2))
    change = rng.normal(0, 0.1, (80, K, 2))
    labelled = rng.random((80, K)) > 0.2
    true = np.where(labelled[..., None], center + side * (mean + change), 0)
    return center + side * (mean + rng.uniform(0.3, 0.9) * change), true, labelled, boxes


def _ratio(pred, true, labelled, *, spread=np.var, pool=False, everyone=False) -> float:
    parts = []
    for k in range(pred.shape[1]):
        on = slice(None) if everyone else labelled[:, k]
        parts.append((spread(pred[on, k], axis=0).sum(), spread(true[on, k], axis=0).sum()))
    parts = np.array(parts)
    return float(
        parts[:, 0].sum() / parts[:, 1].sum() if pool else (parts[:, 0] / parts[:, 1]).mean()
    )


def check_collapse(collapse: Callable) -> None:
    """`collapse(pred, true, labelled, boxes)`: the collapse ratio of predictions that come in photo
    pixels."""
    expression = "collapse(pred, true, labelled, boxes)"
    rng = np.random.default_rng(710)
    for _ in range(3):
        crowd = _groups(rng)
        answer = call(collapse, expression, *crowd)
        answer = float(expect_array(answer, expression, ()))
        pred, true, labelled, boxes = crowd
        center = (boxes[:, :2] + boxes[:, 2:] / 2)[:, None]
        side = boxes[:, 2:].max(axis=1)[:, None, None]
        crop = (pred - center) / side, (true - center) / side, labelled
        truth = _ratio(*crop)
        xy = np.mean([_ratio(crop[0][..., [i]], crop[1][..., [i]], labelled) for i in (0, 1)])
        wide = boxes[:, None, 2:]
        wrong = {
            "You took the variance in photo pixels. People stand in different places and at "
            "different distances, so there even a constant pose varies: bring the joints into "
            "their crop first.": _ratio(pred, true, labelled),
            "You moved the joints into their boxes, but did not divide by the boxes' size: "
            "people near the camera count more than those far away.": _ratio(
                pred - center, true - center, labelled
            ),
            "You divided x by the box's width and y by its height. The crop is square, its side "
            "in the box's *longer* side: nothing is stretched.": _ratio(
                (pred - center) / wide, (true - center) / wide, labelled
            ),
            "You divided the spreads (standard deviations), not the variances.": _ratio(
                *crop, spread=np.std
            ),
            "You took joints that are not labelled along: their coordinates are 0, and mean "
            "nothing.": _ratio(*crop, everyone=True),
            "You added up all joints before you divided. Then ankles and wrists, which vary "
            "most, decide alone: divide joint by joint, then take the mean.": _ratio(
                *crop, pool=True
            ),
            "Your variance runs over the joints of one person: that says how large the person "
            "is. Does the *same* joint vary from person to person?": _ratio(
                *(np.swapaxes(a, 0, 1) for a in crop)
            ),
            "You turned the ratio round: it is the prediction's variance divided by the "
            "truth's.": _ratio(crop[1], crop[0], labelled),
        }
        if not near(answer, xy):  # the mean of the ratios of x and of y is right as well
            judge(
                answer,
                truth,
                wrong,
                f"Here the ratio is {truth:.4f}; yours is {answer:.4f}. The variance runs over "
                "*people*, joint by joint, in the coordinates of each person's own crop.",
            )
    passed("seen: in its crop, a constant pose has nowhere to hide")


# ---- exercise 4: is A better than B? -------------------------------------------------------------


def _two_models(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """50 people, some easy and some hard for both models; what was found where nothing counts means
    nothing; 400 draws."""
    ease = rng.beta(1.5, 1.2, (50, 1))
    luck = rng.random((50, K))
    found_b = luck < ease
    found_a = np.where(rng.random((50, K)) < 0.8, luck, rng.random((50, K))) < ease + 0.05
    counted = rng.random((50, K)) < rng.uniform(0.3, 1, (50, 1))
    return found_a, found_b, counted, rng.integers(0, 50, (400, 50))


def _shares(found: np.ndarray, counted: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The share of joints found in each draw."""
    return (found & counted).sum(axis=1)[draws].sum(axis=1) / counted.sum(axis=1)[draws].sum(axis=1)


def _middle(values: np.ndarray, low: float = 2.5, high: float = 97.5) -> np.ndarray:
    return np.percentile(values, [low, high])


def _difference_mistakes(found_a, found_b, counted, draws) -> dict[str, np.ndarray]:
    a, b = (_shares(found, counted, draws) for found in (found_a, found_b))
    gain = a - b
    every = np.ones_like(counted)
    mean_share = [
        ((f & counted).sum(axis=1) / counted.sum(axis=1))[draws].mean(axis=1)
        for f in (found_a, found_b)
    ]
    once = [np.unique(row) for row in draws]
    single = [
        [(f & counted)[rows].sum() / counted[rows].sum() for rows in once]
        for f in (found_a, found_b)
    ]
    joints = np.random.default_rng(0).integers(0, counted.sum(), (400, counted.sum()))
    apart = (found_a[counted].astype(float) - found_b[counted])[joints].mean(axis=1)
    return {
        "You turned the difference round: it is A's share minus B's.": _middle(-gain),
        "You made one interval for A and one for B, and subtracted their ends. That throws away "
        "what pairs them: take the difference *within each draw*, and the interval of the "
        "differences.": np.subtract(_middle(a), _middle(b)[::-1]),
        "You subtracted the ends of two intervals, low from low and high from high. Take the "
        "difference within each draw first.": np.subtract(_middle(a), _middle(b)),
        "You took each person's share first, and then the mean over people. PCK pools the "
        "joints: add up what was found and what counts over the people drawn, then "
        "divide.": _middle(mean_share[0] - mean_share[1]),
        "You count joints that do not count: what `found` says of them means nothing.": _middle(
            _shares(found_a, every, draws) - _shares(found_b, every, draws)
        ),
        "You divide by all joints. Only those that count belong below the fraction's bar.": _middle(
            _shares(found_a & counted, every, draws) - _shares(found_b & counted, every, draws)
        ),
        "A person who was drawn twice counts twice; you count each person once.": _middle(
            np.subtract(*single)
        ),
        "`np.percentile` wants per cent: 2.5 and 97.5, not 0.025 and 0.975.": _middle(
            gain, 0.025, 0.975
        ),
        "You cut off 5 % on *each* side, and 90 % are left. Half of it belongs on "
        "either side.": _middle(gain, 5, 95),
        "That is the interval of A's own share. Where is B?": _middle(a),
        "That is the interval of B's own share. Where is A?": _middle(b),
        "That is where the *mean* of the draws lies: it shrinks the more often you draw. How "
        "far do the draws themselves reach?": gain.mean()
        + np.array([-1.96, 1.96]) * gain.std() / np.sqrt(len(draws)),
        "You went to 1.96 standard deviations on either side of the mean, as if the differences "
        "were a bell curve. Ask the draws: the middle 95 % of them.": gain.mean()
        + np.array([-1.96, 1.96]) * gain.std(),
        "You drew joints, not people.": _middle(apart),
    }


def check_difference(difference: Callable) -> None:
    """`difference(found_a, found_b, counted, draws)`: the paired bootstrap interval of PCK(A) -
    PCK(B)."""
    expression = "difference(found_a, found_b, counted, draws)"
    rng = np.random.default_rng(711)
    for _ in range(3):
        crowd = _two_models(rng)
        answer = expect_array(call(difference, expression, *crowd), "the interval", (2,))
        truth = _middle(_shares(crowd[0], *crowd[2:]) - _shares(crowd[1], *crowd[2:]))
        if not near(answer, truth, 1e-9):
            expect(not near(answer[::-1], truth, 1e-9), "The low end comes first.")
            judge(
                answer,
                truth,
                _difference_mistakes(*crowd),
                f"For these two models the interval reaches from {truth[0]:.4f} to "
                f"{truth[1]:.4f}; yours from {answer[0]:.4f} to {answer[1]:.4f}. For each row of "
                "`draws`: those people, their joints pooled, A's share minus B's.",
                tolerance=1e-9,
            )
    passed("the interval of a difference, person for person")
