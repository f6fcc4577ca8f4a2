"""Checks of the exercises of chapter 10, the cascade.

A mistake is recognised by comparing the answer with what each typical wrong formula gives.
"""

from collections.abc import Callable

import numpy as np

from posekit.notebook.checks import (
    call,
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
_KINDS = 9


# ---- exercise 1: where to look -------------------------------------------------------------------


def _diagonals(pose: np.ndarray) -> tuple[float, float]:
    return float(np.linalg.norm(pose[_LS] - pose[_RH])), float(
        np.linalg.norm(pose[_RS] - pose[_LH])
    )


def check_second_look(second_look: Callable) -> None:
    """`second_look(pose, k, sigma)`: centre and side of the sub-image around a joint."""
    expression = "second_look(pose, k, sigma)"
    rng = np.random.default_rng(1001)
    used = []
    for k, sigma in ((9, 1.0), (0, 2.0), (16, 0.5)):
        pose = rng.uniform(50, 400, (_K, 2))
        if (_diagonals(pose)[0] > _diagonals(pose)[1]) != (
            k == 9
        ):  # once the one is longer, twice the other
            pose[[_LS, _RS, _LH, _RH]] = pose[[_RS, _LS, _RH, _LH]]
        answer = expect_array(call(second_look, expression, pose, k, sigma), expression, (3,))
        a, b = _diagonals(pose)
        diameter = (a + b) / 2
        sides = (
            float(np.linalg.norm(pose[_LS] - pose[_LH])),
            float(np.linalg.norm(pose[_RS] - pose[_RH])),
        )
        widths = (
            float(np.linalg.norm(pose[_LS] - pose[_RS])),
            float(np.linalg.norm(pose[_LH] - pose[_RH])),
        )
        centre = answer[:2]
        side = float(answer[2])
        torso = pose[[_LS, _RS, _LH, _RH]].mean(axis=0)
        expect(
            not near(centre, pose[k] - sigma * diameter / 2),
            "Your first two numbers are the box's corner: half a side left of the joint and above "
            "it. Asked is its centre.",
        )
        expect(
            not near(centre, torso),
            "Your sub-image is centred on the torso. Every joint gets one of its own, with the "
            "joint in the middle.",
        )
        expect(not near(centre, pose[k][::-1]), "Your centre has y before x.")
        expect(
            not near(centre, np.round(pose[k])) or near(pose[k], np.round(pose[k])),
            "You rounded the centre to whole pixels. The affine map does not need that, and half "
            "a pixel here is half a pixel of error later.",
        )
        expect(
            near(centre, pose[k]),
            f"With k = {k} the centre should be where joint {k} was predicted.",
        )
        wrong = {
            "Your side does not change with sigma.": diameter,
            "Your side is half as long as it should be: sigma times the diameter is the *whole* "
            "side, not the way from centre to edge.": sigma * diameter / 2,
            "Your side is twice too long: you add the two diagonals. Their *mean* is the "
            "diameter.": sigma * (a + b),
            "You measure from a shoulder to the hip *below* it. Opposing corners: left shoulder "
            "to right hip, and right to left.": sigma * sum(sides) / 2,
            "You measure across the shoulders and the hips. Seen from the side a person has no "
            "such width: take the diagonals.": sigma * sum(widths) / 2,
            "Your distance has no square root.": sigma * (a**2 + b**2) / 2,
        }
        right = sigma * diameter
        for hint, value in wrong.items():
            expect(not near(side, value) or near(value, right), hint)
        used.append((near(side, sigma * a), near(side, sigma * b)))
        if any(used[-1]):
            continue
        expect(
            near(side, right),
            f"With sigma = {sigma} the side should be {right:.1f} pixels; yours is {side:.1f}.",
        )
    expect(
        not any(np.all(used, axis=0)),
        "You use only one of the two diagonals. If that shoulder or hip is mispredicted, all "
        "sub-images suffer: take the mean of both.",
    )
    expect(
        used[0] != (True, False),
        "You take the longer of the two diagonals; the diameter is their mean.",
    )
    expect(
        used[0] != (False, True),
        "You take the shorter of the two diagonals; the diameter is their mean.",
    )
    passed("the box of a second look: the joint in the middle, the side in diameters")


# ---- exercise 2: the way back --------------------------------------------------------------------


def check_put_back(put_back: Callable) -> None:
    """`put_back(uv, joint, side, mirrored)`: the corrected joint in pixels of the image."""
    expression = "put_back(uv, joint, side, mirrored)"
    rng = np.random.default_rng(1002)
    for mirrored in (False, True):
        uv = rng.uniform(0.05, 0.45, 2)
        joint = rng.uniform(100, 300, 2)
        side = float(rng.uniform(60, 120))
        answer = call(put_back, expression, uv, joint, side, mirrored)
        answer = expect_array(answer, expression, (2,))
        sign = np.array([-1.0 if mirrored else 1.0, 1.0])
        right = joint + side * sign * uv
        step = side * sign * uv
        seen = f"With mirrored={mirrored}: "
        off = "you take the way off the joint. It leads *from* the joint to the truth."
        expect(mirrored or not near(answer, joint - step), seen + off)
        mistakes = (
            ("you give back the way alone. Add it to the joint that the stage before saw.", step),
            (
                "you add shares of the sub-image to pixels. How long is 1 in pixels?",
                joint + sign * uv,
            ),
            (
                "you stretch by half the side: -0.5 ... 0.5 spans the *whole* side.",
                joint + step / 2,
            ),
            (
                "you count from the corner of the sub-image. (0, 0) is its middle, which is where "
                "the joint was.",
                right - side / 2,
            ),
            (
                "you turn round both coordinates. A mirror exchanges left and right, not up and "
                "down.",
                joint - side * uv,
            ),
            (
                "you turn the second coordinate round. Left and right are the first.",
                joint + side * uv * [1, -1],
            ),
            (
                "you ignore the mirror: in the mirrored sub-image, more to the right means more "
                "to the left in the image.",
                joint + side * uv,
            ),
            ("you mirror where nothing was mirrored.", joint + side * uv * [-1, 1]),
            (
                "you mirror the joint in the *image*: the joint is where it was, only the way to "
                "the truth turns round.",
                right * [-1, 1],
            ),
        )
        judge(
            answer,
            right,
            [(seen + hint, wrong) for hint, wrong in mistakes],
            seen + f"expected {right.round(1)}, your answer is {answer.round(1)}.",
        )
    passed("corrections find their way back, from mirrored sub-images too")


# ---- exercise 3: invented mistakes ---------------------------------------------------------------


def check_invent(invent: Callable) -> None:
    """`invent(pose, mean, covariance, rng)`: where the stage before might have seen the joints."""
    expression = "invent(pose, mean, covariance, rng)"
    setup = np.random.default_rng(1003)
    pose = setup.uniform(50, 400, (_K, 2))
    size = sum(_diagonals(pose)) / 2
    mean = setup.uniform(0.05, 0.1, (_K, 2))
    root = np.tile([[0.3, 0.0], [0.15, 0.1]], (_K, 1, 1)) * setup.uniform(0.8, 1.2, (_K, 1, 1))
    covariance = root @ np.swapaxes(root, 1, 2)
    one, again = (
        expect_array(
            call(invent, expression, pose, mean, covariance, np.random.default_rng(0)),
            expression,
            (_K, 2),
        )
        for _ in range(2)
    )
    expect(
        near(one, again),
        "The same `rng` should give the same mistakes: draw from `rng`, not from NumPy's global "
        "one.",
    )
    rng = np.random.default_rng(7)
    many = [call(invent, expression, pose, mean, covariance, rng) for _ in range(1500)]
    many = expect_array(many, "1500 calls of `invent`", (1500, _K, 2))
    expect(
        np.ptp(many, axis=0).max() > 0,
        "Every call invents the same mistakes. Take the random numbers from the `rng` that is "
        "handed in, at each call.",
    )
    off = pose - many
    expect(
        np.abs(off).max() > 0.02 * size,
        "Your mistakes are a fraction of a pixel: mean and covariance are in diameters, and the "
        "pose is in pixels.",
    )
    delta = off / size  # what should be distributed as was measured
    middle = delta.mean(axis=0)
    spread = np.array([np.cov(delta[:, k].T) for k in range(_K)])
    loose = 0.03
    expect(
        np.abs(np.corrcoef(delta[:, 3, 0], delta[:, 8, 0])[0, 1]) < 0.5,
        "All joints make the same mistake at once: one draw for all of them. Draw two numbers for "
        "each joint.",
    )
    for hint, value in (
        (
            "Your mistakes point the wrong way. δ leads from the prediction to the truth, so the "
            "prediction is the truth *minus* δ.",
            -mean,
        ),
        (
            "Your mistakes have no mean: the stage before is off to one side, and so should be "
            "its imitation.",
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
            "You multiply by the covariance itself. It is a square: what a round draw is sent "
            "through is its root (`np.linalg.cholesky`).",
            squared,
        ),
        (
            "You send the draws through the transposed root: the ellipses have the right size and "
            "lie the wrong way. Which index is summed over?",
            crossed,
        ),
    ):
        expect(np.abs(spread - value).max() > 0.2 * covariance.max(), hint)
    axes = np.allclose(spread[:, [0, 1], [0, 1]], covariance[:, [0, 1], [0, 1]], rtol=0.3)
    expect(
        not (axes and flat < 0.3),
        "x and y of your mistakes do not hang together: you use the variances only. The ellipses "
        "of the chapter are tilted.",
    )
    sure = np.abs(np.array([np.corrcoef(delta[:, k].T)[0, 1] for k in range(_K)]))
    expect(
        sure.min() < 0.999, "x and y of a joint come from one and the same random number. Draw two."
    )
    expect(
        np.allclose(spread, covariance, rtol=0.3, atol=0.004),
        f"The variance of your mistakes is {ratio:.2f} times the measured one.",
    )
    expect(
        np.abs(middle - mean).max() < loose,
        f"On average your mistakes are {middle[9].round(2)} diameters at the left wrist; "
        f"{mean[9].round(2)} was measured.",
    )
    passed("invented mistakes that are distributed as the measured ones")


# ---- exercise 4: what the two ways cost ----------------------------------------------------------


def check_refiners_cost(refiners_cost: Callable) -> None:
    """`refiners_cost(shared, stages, trunk, head)`: parameters, and multiply-adds per person, of
    all refining stages."""
    for shared, stages in ((False, 1), (True, 1), (False, 2), (True, 2)):
        trunk = (1009, 100_003)
        head = (53, 2003)
        case = f"refiners_cost(shared={shared}, stages={stages}, trunk, head)"
        answer = expect_array(call(refiners_cost, case, shared, stages, trunk, head), case, (2,))
        (tp, tw) = trunk
        (hp, hw) = head
        each = _K * (tw + hw)
        right = (tp + _KINDS * hp, _K * (tw + _KINDS * hw)) if shared else (_K * (tp + hp), each)
        right = stages * np.array(right, np.float64)
        parameters, work = answer / stages
        expect(
            stages == 1 or not near(answer, right / stages),
            "Every stage has refiners of its own, with weights of their own: you count one stage "
            "for two.",
        )
        if shared:
            expect(
                not near(parameters, _K * (tp + hp)),
                "Shared: you count the trunk's parameters seventeen times. It exists once; that "
                "is the point of it.",
            )
            expect(
                not near(parameters, tp + _K * hp),
                "Shared: seventeen outputs? Right joints come mirrored, so that there are fewer "
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
                "one that is asked for is picked afterwards.",
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
                "Separate: nothing is shared, the trunk neither.",
            )
            expect(
                not near(work, _K * _K * (tw + hw)),
                "Separate: each network looks at its own joint's sub-image only, not at all "
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
    passed("sharing saves parameters; the work stays")
