"""Checks of the exercises of chapter 07, the investigation."""

from collections.abc import Callable

import numpy as np

from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_type,
    expect_whole,
    passed,
)
from posekit.skeleton import COCO17

K = len(COCO17)


# ---- exercise 1: rows that may be compared -------------------------------------------------------

RECIPES = {
    "base": {"backbone": "resnet", "head": "votes", "loss": "l1"},
    "l2": {"backbone": "resnet", "head": "votes", "loss": "l2"},
    "new network": {"backbone": "alexnet", "head": "dense", "loss": "l1"},
    "new head": {"backbone": "resnet", "head": "dense", "loss": "l1"},
    "again": {"backbone": "resnet", "head": "votes", "loss": "l1"},
    "clipped": {"backbone": "resnet", "head": "votes", "loss": "l1", "clip": 1.0},
}
"""Six rows of an ablation study; some pairs differ in more than one setting."""


def _fair(recipes: dict[str, dict]) -> set[tuple[str, str]]:
    names = sorted(recipes)
    pairs = set()
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            keys = {*recipes[a], *recipes[b]}
            changed = sum(recipes[a].get(key) != recipes[b].get(key) for key in keys)
            if changed == 1:
                pairs.add((a, b))
    return pairs


@exercise
def check_fair_pairs(fair_pairs: Callable) -> None:
    """`fair_pairs(recipes)`: the set of pairs of rows that differ in one setting."""
    expression = "fair_pairs(recipes)"

    def ask(recipes: dict) -> set[tuple[str, str]]:
        given = {name: dict(settings) for name, settings in recipes.items()}
        answer = call(fair_pairs, expression, given)
        expect_type(answer, expression, "a set of pairs of names", (set, frozenset))
        pairs = set()
        for pair in answer:
            expect(
                isinstance(pair, tuple) and len(pair) == 2 and all(n in recipes for n in pair),
                f"{pair!r} in your answer is not a tuple of two names of rows.",
            )
            pairs.add(pair)
        return pairs

    answer = ask(RECIPES)
    expect(
        not any(a == b for a, b in answer),
        "You compare a row with itself.",
    )
    expect(
        not any((b, a) in answer for a, b in answer),
        "You list a pair twice, in both orders. List it once, with the names in alphabetical "
        "order.",
    )
    expect(
        all(a < b for a, b in answer),
        "Put the two names of a pair in alphabetical order, so that a pair has one form only.",
    )
    expect(
        ("again", "base") not in answer,
        "'again' and 'base' have the same settings: they differ in nothing but the seed. They show "
        "how much scores vary by chance, and not what a change does.",
    )
    expect(
        ("base", "new network") not in answer,
        "'base' and 'new network' differ in backbone and head. You cannot tell which of the two "
        "changes made the difference.",
    )
    expect(
        ("base", "clipped") in answer,
        "The pair 'base' and 'clipped' is missing. A setting that only one of two rows has is a "
        "difference, too: go through the settings of both.",
    )
    expect(
        ("clipped", "l2") not in answer,
        "'clipped' and 'l2' differ in two settings: the loss, and the clipping that only one has.",
    )
    expect(
        ("new head", "new network") in answer,
        "The pair 'new head' and 'new network' is missing: they differ in the backbone alone. A "
        "fair pair need not contain the base row.",
    )
    expect(
        answer == _fair(RECIPES),
        f"{len(_fair(RECIPES))} pairs of the six rows differ in one setting, but you found "
        f"{len(answer)}.",
    )
    rng = np.random.default_rng(701)
    for _ in range(20):
        recipes = {
            f"row {i}": {key: int(rng.integers(0, 2)) for key in "abc" if rng.random() > 0.2}
            for i in range(5)
        }
        expect(
            ask(recipes) == _fair(recipes),
            f"For {recipes} your answer is not right. A missing setting differs from every value.",
        )
    passed("the pairs that differ in exactly one setting, and no others")


# ---- exercise 2: the collapse ratio --------------------------------------------------------------


def _population(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses of n people in crop coordinates (n, 17, 2), labels (n, 17), boxes (n, 3): x, y, side of
    the square."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-0.3, 0.3, (K, 2))
    poses = middle + rng.normal(0, 1, (n, K, 2)) * rng.uniform(0.02, 0.12, (K, 1))
    labelled = rng.random((n, K)) > 0.3
    boxes = np.concatenate([rng.uniform(0, 1500, (n, 2)), rng.uniform(120, 500, (n, 1))], axis=1)
    return poses, labelled, boxes


def _photo(normalised: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    return boxes[:, None, :2] + (normalised + 0.5) * boxes[:, None, 2:]


@exercise
def check_collapse_ratio(collapse_ratio: Callable) -> None:
    """`collapse_ratio(pred, true, labelled, boxes)`: photo pixels in, the variance ratio in crop
    coordinates out."""
    expression = "collapse_ratio(pred, true, labelled, boxes)"
    poses, labelled, boxes = _population(603)
    rng = np.random.default_rng(604)
    mean = np.broadcast_to(poses.mean(axis=0), poses.shape)
    timid = (
        mean + rng.uniform(0.3, 0.9, (K, 1)) * (poses - mean) + rng.normal(0, 0.002, poses.shape)
    )
    junk = np.where(labelled[..., None], poses, 9.0)  # unlabelled joints hold arbitrary numbers

    def ask(pred: np.ndarray) -> float:
        given = (_photo(pred, boxes), _photo(junk, boxes), labelled, boxes)
        return float(expect_array(call(collapse_ratio, expression, *given), expression, ()))

    def ratio(
        pred: np.ndarray, true: np.ndarray, labels: np.ndarray = labelled, power: float = 1
    ) -> float:
        parts = []
        for k in range(K):
            on = labels[:, k]
            parts.append((pred[on, k].var(axis=0).sum() / true[on, k].var(axis=0).sum()) ** power)
        return float(np.mean(parts))

    truth = ratio(timid, poses)
    value = ask(timid)

    def equals(number: float) -> bool:
        return abs(value - number) < 1e-5 * number

    sides = boxes[:, None, 2:]
    expect(
        not equals(ratio(_photo(timid, boxes), _photo(poses, boxes))),
        "You measured in photo pixels. People stand in different places, so even a constant pose "
        "varies there: first go to the coordinates of each person's box.",
    )
    expect(
        not equals(ratio(_photo(timid, boxes) / sides, _photo(poses, boxes) / sides)),
        "You divided by the box's side, but did not subtract the box's corner. The position of the "
        "person is still in your numbers.",
    )
    everyone = np.ones_like(labelled)
    in_photo = ratio(_photo(timid, boxes), _photo(junk, boxes), everyone)
    expect(
        not equals(ratio(timid, junk, everyone)) and not equals(in_photo),
        "You counted unlabelled joints, whose coordinates mean nothing. Use `labelled`, joint by "
        "joint.",
    )
    expect(
        not equals(ratio(poses, timid)),
        "Your ratio is upside down: the variance of the prediction is the numerator, so that a "
        "collapse gives 0.",
    )
    expect(
        not equals(ratio(timid, poses, power=0.5)),
        "You took the ratio of standard deviations. Take the ratio of variances, their squares.",
    )
    pooled = timid[labelled].var(axis=0).sum() / poses[labelled].var(axis=0).sum()
    flat = timid[labelled].var() / poses[labelled].var()
    expect(
        not equals(pooled) and not equals(flat),
        "You took one variance over all joints together. A nose and an ankle are far apart in "
        "*every* pose, so even the mean pose varies that way. Take it joint by joint, over the "
        "people, and average the ratios.",
    )
    constant = ask(mean)
    expect(
        constant < 0.01,
        "For the mean pose, the same in every box, the ratio should be 0, but yours is "
        f"{constant:.3f}.",
    )
    expect(
        equals(truth),
        f"For predictions that vary less than the truth the ratio should be {truth:.3f}, but yours "
        f"is {value:.3f}.",
    )
    expect(abs(ask(poses) - 1) < 1e-6, "For the truth itself the ratio should be exactly 1.")
    others, seen, squares = _population(605, 35)
    pred = others * 0.8 + np.random.default_rng(606).normal(0, 0.01, others.shape)
    given = (_photo(pred, squares), _photo(others, squares), seen, squares)
    value = float(expect_array(call(collapse_ratio, expression, *given), expression, ()))
    right = ratio(pred, others, seen)
    expect(
        abs(value - right) < 1e-5,
        f"For 35 other people the ratio should be {right:.3f}, but yours is {value:.3f}: use the "
        "arguments, and not numbers of your own.",
    )
    passed("the mean pose shows 0 and the truth shows 1, wherever the people stand")


# ---- exercise 3: by how many people the labels are shifted ---------------------------------------


def _slipped(seed: int, slip: int, n: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, labels of the person `slip` positions further on, and their flags."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-0.3, 0.3, (K, 2))
    poses = middle + rng.normal(0, 1, (n, K, 2)) * rng.uniform(0.03, 0.12, (K, 1))
    pred = middle + 0.6 * (poses - middle) + rng.normal(0, 0.03, poses.shape)
    labelled = rng.random((n, K)) > 0.3
    given = np.where(labelled[..., None], poses, rng.choice([-9.0, 9.0], (n, 1, 1)))
    return pred, np.roll(given, -slip, axis=0), np.roll(labelled, -slip, axis=0)


@exercise
def check_label_slip(label_slip: Callable) -> None:
    """`label_slip(pred, true, labelled, most)`: by how many people the labels are shifted against
    the images."""
    expression = "label_slip(pred, true, labelled, most)"

    def ask(seed: int, slip: int, most: int = 5, blank: bool = False) -> int:
        pred, true, labelled = _slipped(seed, slip)
        if blank:
            true = np.where(labelled[..., None], true, np.nan)
        return expect_whole(call(label_slip, expression, pred, true, labelled, most), expression)

    value = ask(702, 2)
    expect(
        value != 0,
        "The labels are shifted by two people, but your answer is 0. Compare the predictions with "
        "the labels rolled by each candidate, roll the flags along, and take the best.",
    )
    expect(
        value != -2,
        "The direction is the wrong one. With a shift of 2, `true[0]` belongs to person 2, so that "
        "`np.roll(true, 2, axis=0)` puts it in order.",
    )
    expect(
        value == 2,
        f"The labels are shifted by 2, but your answer is {value}. Take the candidate with the "
        "*smallest* error, over labelled joints only.",
    )
    for seed, slip in ((703, 0), (704, -1), (705, 5), (706, -5)):
        value = ask(seed, slip)
        expect(
            value == slip,
            f"The labels are shifted by {slip}, but your answer is {value}. Try every shift from "
            "-most to most, both ends included.",
        )
    value = ask(707, 3, blank=True)
    expect(
        value == 3,
        "Where a joint is unlabelled, `true` may hold NaN, and then your answer is wrong. Select "
        "the labelled joints with `labelled`, do not multiply by it.",
    )
    value = ask(708, 8, most=10)
    expect(value == 8, "With `most=10` your answer is wrong: use `most`, not a number of your own.")
    passed("the shift is found in both directions, whatever unlabelled joints hold")
