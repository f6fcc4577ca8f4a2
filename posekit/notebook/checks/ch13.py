"""Checks of the exercises of chapter 13, the cascade.

A mistake is recognised by comparing the answer with what each typical wrong formula gives.
"""

import time
from collections.abc import Callable

import numpy as np

from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    judge,
    near,
    passed,
)
from posekit.skeleton import COCO17

_LS, _RS, _LH, _RH = (
    COCO17.index(n) for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)
_K = len(COCO17)
_SWAP = list(COCO17.flip_indices)
_KINDS = 9
_MOST_S = 20  # of computing time, for all calls of a function that draws


def _diameter(pose: np.ndarray) -> np.ndarray:
    """Torso diameter of poses (..., 17, 2)."""
    diagonals = pose[..., [_LS, _RS], :] - pose[..., [_RH, _LH], :]
    return np.linalg.norm(diagonals, axis=-1).mean(axis=-1)


# ---- exercise 1: how large must a sub-image be ---------------------------------------------------


def _quantiles(values: np.ndarray, labelled: np.ndarray, share: float) -> np.ndarray:
    return np.array([np.quantile(values[labelled[:, k], k], share) for k in range(_K)])


@exercise
def check_sigma_needed(sigma_needed: Callable) -> None:
    """`sigma_needed(predicted, true, labelled, share)`: the sigma per joint that keeps a
    fraction of the labelled joints inside."""
    expression = "sigma_needed(predicted, true, labelled, share)"
    rng = np.random.default_rng(1001)
    for people, share in ((60, 0.9), (41, 0.75)):
        true = rng.uniform(50, 400, (people, _K, 2))
        true[:, [_LS, _RS, _LH, _RH]] *= rng.uniform(0.4, 1.2, (people, 1, 1))
        off = rng.normal(size=(people, _K, 2)) * rng.uniform(5, 40, (_K, 1)) * [1.0, 1.6]
        predicted = true + off * rng.uniform(0.5, 2, (people, 1, 1))
        labelled = rng.random((people, _K)) < 0.7
        true[~labelled] = 0
        answer = call(sigma_needed, expression, predicted, true, labelled, share)
        answer = expect_array(answer, expression, (_K,))
        _judge_sigmas(answer, predicted, true, labelled, share)
    passed("the right size of sub-image for each joint")


def _judge_sigmas(
    answer: np.ndarray,
    predicted: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    share: float,
) -> None:
    way = true - predicted
    sizes = _diameter(predicted)[:, None]
    square = 2 * np.abs(way).max(axis=-1)
    both_sides = 2 * np.linalg.norm(way, axis=-1)
    everything = np.ones_like(labelled)
    right = _quantiles(square / sizes, labelled, share)
    mistakes = (
        (
            "Your sub-images are half as wide as they should be: sigma is the *whole* side, and "
            "the joint may be off to either side of the centre.",
            right / 2,
        ),
        (
            "You measure the distance to the joint. A sub-image is a square, not a disc: a joint "
            "is outside as soon as *one* coordinate is.",
            _quantiles(both_sides / sizes, labelled, share),
        ),
        (
            "You measure the smaller of the two coordinates. A joint is outside as soon as *one* "
            "of them is.",
            _quantiles(2 * np.abs(way).min(axis=-1) / sizes, labelled, share),
        ),
        (
            "You look at x only, but a sub-image has an upper and a lower edge, too.",
            _quantiles(2 * np.abs(way[..., 0]) / sizes, labelled, share),
        ),
        (
            "Your errors have a sign: to the left of the centre there is an edge, too.",
            _quantiles(2 * way.max(axis=-1) / sizes, labelled, share),
        ),
        (
            "Your sides are in pixels. Divide each person's errors by that person's diameter.",
            _quantiles(square, labelled, share),
        ),
        (
            "You divide by the diameters of the *true* poses. In use only the predicted one is "
            "available, and the sub-image is cut with it.",
            _quantiles(square / np.maximum(_diameter(true), 1e-9)[:, None], labelled, share),
        ),
        (
            "You divide all errors by one mean diameter. Each person has one of their own.",
            _quantiles(square / sizes.mean(), labelled, share),
        ),
        (
            "You count unlabelled joints. Their coordinates are arbitrary.",
            _quantiles(square / sizes, everything, share),
        ),
        (
            "You return one sigma for all joints. A wrist needs a larger one than a nose.",
            np.full(_K, np.quantile((square / sizes)[labelled], share)),
        ),
        (
            f"With your sigma a fraction of {share:g} of the joints is *outside*, not inside.",
            _quantiles(square / sizes, labelled, 1 - share),
        ),
        (
            "Your sigma keeps *all* labelled joints inside. That is more than was asked for, and "
            "a single outlier sets it.",
            _quantiles(square / sizes, labelled, 1.0),
        ),
        (
            "You return a typical error, the median. How large is the error that the given "
            "fraction of joints stays below?",
            _quantiles(square / sizes, labelled, 0.5),
        ),
    )
    with_share = {
        k: np.mean((square / sizes)[labelled[:, k], k] <= answer[k] + 1e-9) for k in range(_K)
    }
    worst = max(with_share, key=lambda k: abs(with_share[k] - share))
    judge(
        answer,
        right,
        mistakes,
        f"With your sigma, {with_share[worst]:.0%} of the labelled joints '{COCO17.joints[worst]}' "
        f"are inside; {share:.0%} should be. (Use `np.quantile` with its defaults.)",
    )


# ---- exercise 2: the way back --------------------------------------------------------------------


def _back(uv: np.ndarray, angle: float, mirrored: bool, *, mirror_last: bool = False) -> np.ndarray:
    """Vector from the centre of a sub-image to `uv`, rotated as in the image, in sides."""
    sign = np.array([-1.0, 1.0]) if mirrored else np.ones(2)
    u, v = uv if mirror_last else uv * sign
    c = np.cos(angle)
    s = np.sin(angle)
    way = np.array([c * u - s * v, s * u + c * v])
    return way * sign if mirror_last else way


@exercise
def check_put_back(put_back: Callable) -> None:
    """`put_back(uv, joint, side, angle, mirrored, fraction)`: the corrected joint in pixels of the
    image."""
    expression = "put_back(uv, joint, side, angle, mirrored, fraction)"
    rng = np.random.default_rng(1002)
    for angle, mirrored, fraction in (
        (0.0, False, 1.0),
        (0.0, True, 1.0),
        (0.0, False, 0.4),
        (35.0, False, 1.0),
        (-70.0, True, 0.3),
    ):
        uv = rng.uniform(0.05, 0.45, 2)
        joint = rng.uniform(100, 300, 2)
        side = float(rng.uniform(60, 120))
        answer = call(put_back, expression, uv, joint, side, angle, mirrored, fraction)
        answer = expect_array(answer, expression, (2,))
        _judge_way_back(answer, uv, joint, side, angle, mirrored, fraction)
    passed("partial corrections, mapped back from rotated and mirrored sub-images")


def _judge_way_back(
    answer: np.ndarray,
    uv: np.ndarray,
    joint: np.ndarray,
    side: float,
    angle: float,
    mirrored: bool,
    fraction: float,
) -> None:
    turn = np.deg2rad(angle)
    way = _back(uv, turn, mirrored)
    step = fraction * side * way
    right = joint + step
    sign = np.array([-1.0, 1.0]) if mirrored else np.ones(2)
    plain = angle == 0
    seen = f"With angle={angle:g}, mirrored={mirrored}, fraction={fraction:g}: "
    mistakes = [
        ("you return the step alone. Add it to the joint of the previous stage.", step),
        (
            "you add fractions of the sub-image to pixels. How long is 1 in pixels?",
            joint + fraction * way,
        ),
        (
            "you multiply by half the side: -0.5 ... 0.5 spans the *whole* side.",
            joint + step / 2,
        ),
        (
            "you count from the corner of the sub-image. (0, 0) is its middle, which is where the "
            "joint was.",
            right - side / 2,
        ),
        ("you apply the whole correction; only a fraction was asked for.", joint + side * way),
        (
            "you take the fraction of the joint as well. It belongs to the correction only.",
            fraction * (joint + side * way),
        ),
    ]
    if mirrored:
        mistakes += [
            (
                "you change the sign of both coordinates. A mirror exchanges left and right, not "
                "up and down.",
                joint - fraction * side * _back(uv, turn, mirrored=False),
            ),
            (
                "you change the sign of the second coordinate. Left and right are the first.",
                joint + fraction * side * _back(uv * [1, -1], turn, mirrored=False),
            ),
            (
                "you ignore the mirror: in the mirrored sub-image, more to the right means more "
                "to the left in the image.",
                joint + fraction * side * _back(uv, turn, mirrored=False),
            ),
            (
                "you mirror the joint in the *image*: the joint is where it was, only the step "
                "changes its direction.",
                (joint + fraction * side * _back(uv, turn, mirrored=False)) * [-1, 1],
            ),
        ]
    else:
        mistakes += [
            (
                "you subtract the step. It leads *from* the joint to the truth.",
                joint - step,
            ),
            (
                "you mirror although nothing was mirrored.",
                joint + fraction * side * _back(uv, turn, mirrored=True),
            ),
        ]
    if not plain:
        mistakes += [
            ("you ignore the rotation.", joint + fraction * side * uv * sign),
            (
                "you rotate back before you undo the mirror. The mirror came last, so it is "
                "undone first.",
                joint + fraction * side * _back(uv, turn, mirrored, mirror_last=True),
            ),
            (
                "you rotate once more instead of back. The content was rotated counter-clockwise, "
                "so mapping back rotates clockwise (as seen; y points down).",
                joint + fraction * side * _back(uv, -turn, mirrored),
            ),
            (
                "`np.cos` and `np.sin` take radians, and the angle is in degrees.",
                joint + fraction * side * _back(uv, angle, mirrored),
            ),
            (
                "you rotate the joint about the image's corner, too. It is the centre of the "
                "sub-image, and stays.",
                _back(joint + fraction * side * uv * sign, turn, mirrored=False),
            ),
        ]
    judge(
        answer,
        right,
        [(seen + hint, wrong) for hint, wrong in mistakes],
        seen + f"expected {right.round(1)}, your answer is {answer.round(1)}.",
    )


# ---- exercise 3: simulated errors with a tail ----------------------------------------------------


@exercise
def check_invent(invent: Callable) -> None:
    """`invent(pose, mean, covariance, swapped, rng)`: a prediction that the previous stage might
    have made."""
    expression = "invent(pose, mean, covariance, swapped, rng)"
    setup = np.random.default_rng(1003)
    pose = setup.uniform(50, 400, (_K, 2))
    mean = setup.uniform(0.05, 0.1, (_K, 2))
    root = np.tile([[0.3, 0.0], [0.15, 0.1]], (_K, 1, 1)) * setup.uniform(0.8, 1.2, (_K, 1, 1))
    covariance = root @ np.swapaxes(root, 1, 2)
    never = np.zeros(_K)
    given = (pose, mean, covariance, never)
    one, again = (
        expect_array(
            call(invent, expression, *given, np.random.default_rng(0)), expression, (_K, 2)
        )
        for _ in range(2)
    )
    expect(
        near(one, again),
        "The same `rng` should give the same errors: draw from `rng`, not from NumPy's global one.",
    )
    _expect_gaussian(_many(invent, expression, *given), pose, mean, root)
    _expect_swaps(invent, expression, setup)
    passed("simulated errors with the required distribution, including the tail")


def _many(invent: Callable, expression: str, *given: np.ndarray, calls: int = 1500) -> np.ndarray:
    rng = np.random.default_rng(7)
    start = time.process_time()
    many = []
    for _ in range(calls):
        many.append(call(invent, expression, *given, rng))
        expect(
            time.process_time() - start < _MOST_S,
            f"{len(many)} calls of your function took {_MOST_S} seconds, and this check needs "
            f"{calls}. Compute all joints at once, without a loop.",
        )
    return expect_array(many, f"{calls} calls of `invent`", (calls, _K, 2))


def _expect_gaussian(
    many: np.ndarray, pose: np.ndarray, mean: np.ndarray, root: np.ndarray
) -> None:
    """Check mean and covariance where no joint is swapped."""
    covariance = root @ np.swapaxes(root, 1, 2)
    size = float(_diameter(pose))
    expect(
        np.ptp(many, axis=0).max() > 0,
        "Every call returns the same errors. Take the random numbers from the `rng` that is "
        "passed in, at each call.",
    )
    counterpart = np.abs(np.median(many, axis=0) - pose[_SWAP]).max(axis=-1)
    own = np.abs(np.median(many, axis=0) - pose).max(axis=-1)
    expect(
        not np.median(counterpart[1:]) < np.median(own[1:]),
        "With all probabilities 0 your joints lie at their counterparts: that is the location of "
        "the *swapped* ones.",
    )
    off = pose - many
    expect(
        np.abs(off).max() > 0.02 * size,
        "Your errors are a fraction of a pixel: mean and covariance are in diameters, and the "
        "pose is in pixels.",
    )
    delta = off / size  # should be distributed as was measured
    middle = delta.mean(axis=0)
    spread = np.array([np.cov(delta[:, k].T) for k in range(_K)])
    loose = 0.03
    expect(
        np.abs(np.corrcoef(delta[:, 3, 0], delta[:, 8, 0])[0, 1]) < 0.5,
        "All joints make the same error at once: one draw for all of them. Draw two numbers per "
        "joint.",
    )
    for hint, value in (
        (
            "Your errors point the wrong way. d leads from the prediction to the truth, so the "
            "prediction is the truth *minus* d.",
            -mean,
        ),
        (
            "Your errors have no mean: the previous stage is off to one side, and so should be its "
            "simulation.",
            0 * mean,
        ),
    ):
        expect(np.abs(middle - value).max() > loose, hint)
    ratio = float(np.median(spread[:, 0, 0] / covariance[:, 0, 0]))
    flat = np.median(np.abs(spread[:, 0, 1] / covariance[:, 0, 1]))
    squared = covariance @ covariance
    crossed = np.swapaxes(root, 1, 2) @ root
    for hint, value in (
        (
            "You multiply by the covariance itself. It is a square: a round draw has to be "
            "multiplied by its root (`np.linalg.cholesky`).",
            squared,
        ),
        (
            "You multiply the draws by the transposed root: the ellipses have the right size and "
            "the wrong orientation. Which index is summed over?",
            crossed,
        ),
    ):
        expect(np.abs(spread - value).max() > 0.2 * covariance.max(), hint)
    axes = np.allclose(spread[:, [0, 1], [0, 1]], covariance[:, [0, 1], [0, 1]], rtol=0.3)
    expect(
        not (axes and flat < 0.3),
        "x and y of your errors are independent: you use the variances only. The ellipses of the "
        "chapter are rotated.",
    )
    sure = np.abs(np.array([np.corrcoef(delta[:, k].T)[0, 1] for k in range(_K)]))
    expect(
        sure.min() < 0.999, "x and y of a joint come from one and the same random number. Draw two."
    )
    expect(
        np.allclose(spread, covariance, rtol=0.3, atol=0.004),
        f"The variance of your errors is {ratio:.2f} times the measured one.",
    )
    expect(
        np.abs(middle - mean).max() < loose,
        f"On average your errors are {middle[9].round(2)} diameters at the left wrist; "
        f"{mean[9].round(2)} was measured.",
    )


def _expect_swaps(invent: Callable, expression: str, setup: np.random.Generator) -> None:
    """Check how often, and how, joints are swapped: small errors, counterparts far apart."""
    pose = np.column_stack([np.arange(_K) % 4, np.arange(_K) // 4]) * 300.0
    pose += setup.uniform(0, 40, pose.shape)
    mean = np.zeros((_K, 2))
    covariance = np.tile(1e-4 * np.eye(2), (_K, 1, 1))
    swapped = setup.uniform(0.15, 0.35, _K)
    swapped[9] = 0.0  # the left wrist never, the right one as the others
    many = _many(invent, expression, pose, mean, covariance, swapped, calls=800)
    to_own = np.linalg.norm(many - pose, axis=-1)
    to_other = np.linalg.norm(many - pose[_SWAP], axis=-1)
    pairs = np.array([k for k in range(_K) if _SWAP[k] != k])
    limit = 0.2 * float(_diameter(pose))
    other = (to_other < to_own)[:, pairs]
    expect(
        np.minimum(to_own, to_other).max() < limit,
        "With swaps, some of your joints lie neither near their own location nor near "
        "their counterpart's. A joint is predicted at one or the other, with a small error.",
    )
    often = other.mean(axis=0)
    wanted = swapped[pairs]
    expect(often.max() > 0, "No joint is ever predicted at its counterpart. What is `swapped` for?")
    expect(
        not np.allclose(often, (wanted > 0), atol=0.02),
        "You always swap where the probability is above 0. It is a probability: draw.",
    )
    expect(
        not np.allclose(often, 1 - wanted, atol=0.06),
        "You swap with one minus the probability: the usual case is the joint itself.",
    )
    expect(
        not np.allclose(often, swapped[_SWAP][pairs], atol=0.06),
        "You use the counterpart's probability. `swapped[k]` belongs to the prediction of joint k.",
    )
    together = np.corrcoef(other[:, wanted > 0].T)
    expect(
        not np.median(together[np.triu_indices(len(together), 1)]) > 0.4,
        "All joints of a person are swapped at once. Draw for each joint by itself.",
    )
    expect(
        np.allclose(often, wanted, atol=0.06),
        f"The right wrist should be swapped in {swapped[10]:.0%} of the calls, the left one never; "
        f"yours are swapped in {often[list(pairs).index(10)]:.0%} and "
        f"{often[list(pairs).index(9)]:.0%}.",
    )
    spread = to_other[:, pairs][other].std() if other.any() else 0.0
    expect(
        spread > 0.1 * 0.01 * float(_diameter(pose)),
        "Your swapped joints lie exactly on their counterparts. They are off by a draw from the "
        "Gaussian like the others.",
    )


# ---- exercise 4: what the two ways cost ----------------------------------------------------------


@exercise
def check_refiners_cost(refiners_cost: Callable) -> None:
    """`refiners_cost(shared, stages, backbone, head)`: parameters, and multiply-adds per person, of
    all refining stages."""
    for shared, stages, backbone, head in (
        (False, 1, (1009, 100_003), (53, 2003)),
        (True, 1, (1009, 100_003), (53, 2003)),
        (False, 2, (5003, 400_009), (101, 3001)),
        (True, 3, (5003, 400_009), (101, 3001)),
    ):
        case = f"refiners_cost(shared={shared}, stages={stages}, backbone, head)"
        answer = expect_array(call(refiners_cost, case, shared, stages, backbone, head), case, (2,))
        (tp, tw) = backbone
        (hp, hw) = head
        each = _K * (tw + hw)
        right = (tp + _KINDS * hp, _K * (tw + _KINDS * hw)) if shared else (_K * (tp + hp), each)
        right = stages * np.array(right, np.float64)
        parameters, work = answer / stages
        for index, name in enumerate(("parameters", "multiply-adds")):
            expect(
                stages == 1
                or near(answer, right)
                or not near(answer[index], right[index] / stages),
                f"You count the {name} of one stage only. Every stage has refiners of its own, and "
                "all of them work on every person.",
            )
        if shared:
            expect(
                not near(parameters, _K * (tp + hp)),
                "Shared: you count the backbone's parameters seventeen times. It exists "
                "once, which is the point of sharing.",
            )
            expect(
                not near(parameters, tp + _K * hp),
                "Shared: seventeen outputs? Right joints are mirrored, so that there are fewer "
                "*kinds* of joints.",
            )
            expect(
                not near(parameters, tp + hp),
                "Shared: one network, but its last convolution has an output for each kind of "
                "joint.",
            )
            expect(
                not (near(work, tw + _KINDS * hw) or near(work, tw + hw)),
                "Shared: you count the work of one sub-image. The weights exist once, but "
                "seventeen sub-images go through them.",
            )
            expect(
                not (near(work, _KINDS * (tw + hw)) or near(work, _KINDS * (tw + _KINDS * hw))),
                "Shared: nine kinds of joints, but seventeen sub-images: a mirrored one is still "
                "another image.",
            )
            expect(
                not near(work, _K * tw + _KINDS * hw),
                "Shared: the last convolution, too, works on all seventeen sub-images.",
            )
            expect(
                not near(work, each),
                "Shared: the last convolution computes *all* its outputs for every sub-image; the "
                "required one is selected afterwards.",
            )
        else:
            expect(
                not near(parameters, _KINDS * (tp + hp)),
                "Separate: there is a network for each of the seventeen joints.",
            )
            expect(
                not near(parameters, tp + hp), "Separate: that is one network. How many are there?"
            )
            expect(
                not near(parameters, tp + _K * hp),
                "Separate: nothing is shared, not even the backbone.",
            )
            expect(
                not near(work, _K * _K * (tw + hw)),
                "Separate: each network processes its own joint's sub-image only, not at all "
                "seventeen.",
            )
            expect(
                not near(work, tw + hw),
                "Separate: that is the work on one sub-image. A person has seventeen.",
            )
        expect(not near(answer, right[::-1]), "Parameters first, then multiply-adds.")
        names = ("parameters", "multiply-adds")
        for name, got, want in zip(names, answer, right, strict=True):
            expect(
                near(got, want),
                f"{case}: {want:,.0f} {name} expected, yours are {got:,.0f}. Count sub-images for "
                "work, weights for parameters.",
            )
    passed("sharing saves parameters, not arithmetic")
