"""Checks of the exercises of chapter 10, diagnosis.

A mistake is recognised by comparing the answer with what each typical wrong formula gives.
"""

from collections.abc import Callable

import numpy as np

from posekit.notebook.checks import call, exercise, expect, expect_array, judge, near, passed
from posekit.skeleton import COCO17

K = len(COCO17)
OTHER_SIDE = list(COCO17.flip_indices)


# ---- exercise 1: an oracle of left and right -----------------------------------------------------


def _exchanged(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 people, half of them predicted with left and right exchanged; predictions and truth where
    nothing is labelled mean nothing."""
    true = rng.normal(0, 60, (40, K, 2)) + rng.uniform(0, 800, (40, 1, 2))
    pred = true + rng.normal(0, 25, true.shape)
    pred[::2] = pred[::2][:, OTHER_SIDE]
    pairs = pred[:, OTHER_SIDE]
    some = rng.random((40, K)) < 0.25  # single joints exchanged, which exchanges no whole person
    pred = np.where((some | some[:, OTHER_SIDE])[..., None], pairs, pred)
    labelled = rng.random((40, K)) < 0.6
    labelled[:, :2] = True
    true = np.where(labelled[..., None], true, 0.0)
    return pred, true, labelled


def _sides(pred, true, labelled, *, middle=np.mean, everyone=False, worse=False) -> np.ndarray:
    """Each person as predicted or with left and right exchanged, by the smaller error."""
    out = pred.copy()
    for n in range(len(pred)):
        on = np.ones(K, bool) if everyone else labelled[n]
        error = [
            middle(np.linalg.norm(answer - true[n], axis=1)[on])
            for answer in (pred[n], pred[n][OTHER_SIDE])
        ]
        if (error[1] < error[0]) != worse:
            out[n] = pred[n][OTHER_SIDE]
    return out


def _sides_mistakes(pred, true, labelled) -> dict[str, np.ndarray]:
    other = pred[:, OTHER_SIDE]
    errors = [np.linalg.norm(answer - true, axis=2) for answer in (pred, other)]
    joint_by_joint = np.where((errors[1] < errors[0])[..., None], other, pred)
    right = _sides(pred, true, labelled)
    exchanged = np.any(right != pred, axis=(1, 2))
    mirrored = np.where(exchanged[:, None, None], pred * [-1, 1], pred)
    return {
        "You return the predictions as they are.": pred,
        "You exchanged left and right for everyone. For some people the prediction had them "
        "right.": other,
        "You decided joint by joint. This oracle exchanges all joints of a person, or none.": (
            joint_by_joint
        ),
        "You decided joint by joint, among the labelled ones. This oracle exchanges all joints of "
        "a person, or none.": np.where(labelled[..., None], joint_by_joint, pred),
        "Joints that are not labelled count in your decision. Their true coordinates mean "
        "nothing.": _sides(pred, true, labelled, everyone=True),
        "You kept the version with the *larger* error.": _sides(pred, true, labelled, worse=True),
        "You mirrored the coordinates. The joints stay where they are, only the names left and "
        "right are exchanged.": mirrored,
        "You return the truth. The oracle may use it to choose, but the answer is one of two "
        "predictions.": true,
        "You moved the labelled joints to their true positions. The oracle may use the truth to "
        "choose, but the answer is one of two predictions.": np.where(
            labelled[..., None], true, pred
        ),
        "You exchange only the joints that are labelled. This oracle exchanges all joints of a "
        "person, or none.": np.where((labelled & exchanged[:, None])[..., None], other, pred),
        "You compared the largest error of each version. Compare the mean.": _sides(
            pred, true, labelled, middle=np.max
        ),
    }


@exercise
def check_best_sides(best_sides: Callable) -> None:
    """`best_sides(pred, true, labelled)`: each person as predicted or with left and right
    exchanged."""
    expression = "best_sides(pred, true, labelled)"
    rng = np.random.default_rng(1001)
    for _ in range(2):
        crowd = _exchanged(rng)
        answer = expect_array(call(best_sides, expression, *crowd), expression, (40, K, 2))
        truth = _sides(*crowd)
        off = np.any(np.abs(answer - truth) > 1e-6, axis=(1, 2)).sum()
        judge(
            answer,
            truth,
            _sides_mistakes(*crowd),
            f"{off} of 40 people are wrong. For each person: two versions of the prediction, the "
            "mean error of each over the labelled joints, the better one.",
            tolerance=1e-9,
        )
    passed("left and right exchanged where that is better, and nothing else changed")


# ---- exercise 2: calibration with equally filled bins --------------------------------------------


def _probabilities(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """360 unsorted probabilities, most of them near 1, and what happened."""
    p = rng.beta(1.2, 0.6, 360)
    return p, rng.random(360) < p + 0.2 * np.sin(2 * np.pi * p)


def _gaps(p, happened, bins: int, *, order=np.argsort) -> tuple[np.ndarray, ...]:
    parts = np.array_split(order(p), bins)
    said = np.array([p[part].mean() for part in parts])
    came = np.array([happened[part].mean() for part in parts])
    return said, came


def _ece_mistakes(p, happened, bins: int) -> dict[str, float]:
    said, came = _gaps(p, happened, bins)
    place = np.minimum((p * bins).astype(int), bins - 1)
    wide = [(place == b).mean() * abs(p[place == b].mean() - happened[place == b].mean())
            for b in np.unique(place)]  # fmt: skip
    plain_said, plain_came = _gaps(p, happened, bins, order=lambda p: np.arange(len(p)))
    sorted_p = np.array([part.mean() for part in np.array_split(np.sort(p), bins)])
    centres = (np.arange(bins) + 0.5) / bins
    edges = np.array([(q[0] + q[-1]) / 2 for q in np.array_split(np.sort(p), bins)])
    return {
        "Your bins have equal *width*, as in the chapter. Here each holds equally many "
        "predictions.": float(sum(wide)),
        "Gaps above and below cancel in your mean. Take the absolute value of each gap.": float(
            np.mean(came - said)
        ),
        "Gaps above and below cancel in your mean, and it has the other sign. Take the absolute "
        "value of each gap.": float(np.mean(said - came)),
        "You took the largest gap (the *maximum* calibration error). Take their mean.": float(
            np.abs(said - came).max()
        ),
        "You took the mean of the squared gaps.": float(np.mean((said - came) ** 2)),
        "You took the root of the mean squared gap. Take the mean of the gaps themselves.": float(
            np.sqrt(np.mean((said - came) ** 2))
        ),
        "Your sum of the gaps is not divided by the number of bins.": float(
            np.abs(said - came).sum()
        ),
        "You did not sort by probability before you cut into bins.": float(
            np.abs(plain_said - plain_came).mean()
        ),
        "You sorted the probabilities, but not the outcomes along with them. Each prediction must "
        "keep its outcome.": float(np.abs(sorted_p - plain_came).mean()),
        "You compare with the centres of bins of equal width. Compare with the mean probability "
        "in the bin.": float(np.abs(centres - came).mean()),
        "You compare with the midpoint of the smallest and the largest probability of a bin. "
        "Compare with their mean.": float(np.abs(edges - came).mean()),
    }


@exercise
def check_equal_count_ece(equal_count_ece: Callable) -> None:
    """`equal_count_ece(p, happened, bins)`: calibration error with bins of equally many
    predictions."""
    expression = "equal_count_ece(p, happened, bins)"
    rng = np.random.default_rng(1002)
    for bins in (10, 6):
        p, happened = _probabilities(rng)
        answer = call(equal_count_ece, expression, p, happened, bins)
        value = float(expect_array(answer, expression, ()))
        said, came = _gaps(p, happened, bins)
        truth = float(np.abs(said - came).mean())
        mistakes = _ece_mistakes(p, happened, bins)
        if bins != 10:
            ten = _gaps(p, happened, 10)
            mistakes["Your number of bins is always 10. It is the third argument."] = float(
                np.abs(ten[0] - ten[1]).mean()
            )
        judge(
            value,
            truth,
            mistakes,
            f"For these {len(p)} predictions in {bins} bins the error is {truth:.4f}; yours is "
            f"{value:.4f}. Sort by probability, split into equally filled bins, compare mean "
            "probability and fraction in each.",
            tolerance=1e-9,
        )
    passed("equally filled bins, and each prediction kept its outcome")


# ---- exercise 3: is A better than B? -------------------------------------------------------------


def _two_models(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """50 people of 20 scenes, some scenes easy and some hard for both models, and 400 draws of
    scenes. Where a joint does not count, `correct` means nothing."""
    scene = np.append(np.arange(20), rng.integers(0, 20, 30))
    ease = rng.beta(1.5, 1.2, (20, 1))[scene]
    luck = rng.random((50, K))
    correct_b = luck < ease
    correct_a = np.where(rng.random((50, K)) < 0.8, luck, rng.random((50, K))) < ease + 0.05
    counted = rng.random((50, K)) < rng.uniform(0.3, 1, (50, 1))
    return correct_a, correct_b, counted, scene, rng.integers(0, 20, (400, 20))


def _per_scene(joints: np.ndarray, scene: np.ndarray) -> np.ndarray:
    """(N, K) bool -> number of joints in each scene."""
    return np.bincount(scene, joints.sum(axis=1))


def _shares(correct, counted, scene, draws) -> np.ndarray:
    """PCK of each draw."""
    hits, counts = (_per_scene(joints, scene) for joints in (correct & counted, counted))
    return hits[draws].sum(axis=1) / counts[draws].sum(axis=1)


def _middle(values: np.ndarray, low: float = 2.5, high: float = 97.5) -> np.ndarray:
    return np.percentile(values, [low, high])


def _difference_mistakes(correct_a, correct_b, counted, scene, draws) -> dict[str, np.ndarray]:
    a, b = (_shares(correct, counted, scene, draws) for correct in (correct_a, correct_b))
    gain = a - b
    every = np.ones_like(counted)
    sums = [_per_scene(c & counted, scene) for c in (correct_a, correct_b)]
    counts = _per_scene(counted, scene)
    by_scene = [(total / counts)[draws].mean(axis=1) for total in sums]
    own = [(c & counted).sum(axis=1) / counted.sum(axis=1) for c in (correct_a, correct_b)]
    people = [np.bincount(scene, f) / np.bincount(scene) for f in own]
    by_person = [f[draws].mean(axis=1) for f in people]
    once = [np.unique(row) for row in draws]
    single = [[total[rows].sum() / counts[rows].sum() for rows in once] for total in sums]
    rows = [(c & counted).sum(axis=1)[draws].sum(axis=1) for c in (correct_a, correct_b)]
    drawn = (draws[:, :, None] == scene[None, None]).any(axis=1)
    some = [((c & counted).sum(axis=1) * drawn).sum(axis=1) for c in (correct_a, correct_b)]
    return {
        "Your difference has the wrong sign: it is A's PCK minus B's.": _middle(-gain),
        "You used the numbers in `draws` for *people*. They are numbers of scenes: all people of a "
        "scene come together.": _middle(
            (rows[0] - rows[1]) / counted.sum(axis=1)[draws].sum(axis=1)
        ),
        "You made one interval for A and one for B, and subtracted their ends. That ignores "
        "what pairs them: take the difference *within each draw*, and the interval of the "
        "differences.": np.subtract(_middle(a), _middle(b)[::-1]),
        "You subtracted the ends of two intervals, low from low and high from high. Take the "
        "difference within each draw first.": np.subtract(_middle(a), _middle(b)),
        "You took each scene's PCK first, and then the mean over scenes. PCK pools the joints: add "
        "up what is correct and what counts over the scenes drawn, then divide.": _middle(
            by_scene[0] - by_scene[1]
        ),
        "You took each person's PCK first. PCK pools the joints: add up what is correct and what "
        "counts over the scenes drawn, then divide.": _middle(by_person[0] - by_person[1]),
        "You include joints that do not count. What `correct` holds there means nothing.": _middle(
            _shares(correct_a, every, scene, draws) - _shares(correct_b, every, scene, draws)
        ),
        "You divide by all joints. Only those that count belong in the denominator.": _middle(
            _shares(correct_a & counted, every, scene, draws)
            - _shares(correct_b & counted, every, scene, draws)
        ),
        "A scene that was drawn twice counts twice; you count each scene once.": _middle(
            np.subtract(*single)
        ),
        "A scene that was drawn twice counts twice; you take each of its people once.": _middle(
            (some[0] - some[1]) / (counted.sum(axis=1) * drawn).sum(axis=1)
        ),
        "`np.percentile` takes per cent: 2.5 and 97.5, not 0.025 and 0.975.": _middle(
            gain, 0.025, 0.975
        ),
        "You cut off 5 % on *each* side, and 90 % are left. Cut off half as much on each "
        "side.": _middle(gain, 5, 95),
        "That is the interval of A's own PCK. Where is B?": _middle(a),
        "That is the interval of B's own PCK. Where is A?": _middle(b),
        "That is an interval for the *mean* of the draws. It shrinks the more often you draw. How "
        "far do the draws themselves reach?": gain.mean()
        + np.array([-1.96, 1.96]) * gain.std() / np.sqrt(len(draws)),
        "You took 1.96 standard deviations on either side of the mean, as if the differences "
        "were normally distributed. Take the middle 95 % of the draws themselves.": gain.mean()
        + np.array([-1.96, 1.96]) * gain.std(),
    }


@exercise
def check_difference(difference: Callable) -> None:
    """`difference(correct_a, correct_b, counted, scene, draws)`: the paired bootstrap interval of
    PCK(A) - PCK(B) over scenes."""
    expression = "difference(correct_a, correct_b, counted, scene, draws)"
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
                "`draws`: those scenes, their joints pooled, A's PCK minus B's.",
                tolerance=1e-9,
            )
    passed("the interval of a difference, scene by scene")
