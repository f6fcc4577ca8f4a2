"""Checks of the exercises of chapter 14, deployment.

A mistake is recognised by comparing the answer with what each typical wrong formula gives.
"""

from collections.abc import Callable

import numpy as np

from posekit.notebook.checks import (
    call,
    exercise,
    expect,
    expect_array,
    expect_parts,
    expect_type,
    judge,
    near,
    passed,
)

# ---- exercise 1: a norm before a dense layer -----------------------------------------------------


@exercise
def check_fold_before(fold_before: Callable) -> None:
    """`fold_before(kernel, bias, gamma, beta, mean, variance, epsilon)`: kernel and bias of one
    dense layer for norm and dense."""
    # square first, so that the wrong axis is not stopped by its shape
    for seed, size, out, epsilon in ((1101, 5, 5, 0.1), (1105, 4, 3, 0.5)):
        _expect_folded(fold_before, seed, size, out, epsilon)
    passed("one layer gives the same outputs as batch norm and dense layer")


def _expect_folded(fold_before: Callable, seed: int, size: int, out: int, epsilon: float) -> None:
    expression = "fold_before(kernel, bias, gamma, beta, mean, variance, epsilon)"
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(size, out))
    bias = rng.normal(size=out)
    gamma = rng.uniform(0.5, 2, size)
    beta = rng.normal(size=size)
    mean = rng.normal(size=size)
    variance = rng.uniform(0.2, 3, size)  # epsilon is large: to forget it shows
    given = (kernel, bias, gamma, beta, mean, variance, epsilon)
    new, shift = expect_parts(
        call(fold_before, expression, *given), expression, ("the kernel", "the bias")
    )
    new = expect_array(new, "the kernel", (size, out))
    shift = expect_array(shift, "the bias", (out,))
    a = gamma / np.sqrt(variance + epsilon)
    b = beta - a * mean
    mistakes = {
        "Your kernel is scaled along its *outputs*, as in the chapter. This norm comes before "
        "the layer: its channels are the kernel's inputs.": kernel * np.resize(a, out),
        "Your kernel has not changed. The norm multiplies, so the kernel must.": kernel,
        "Your scale forgets epsilon; it stands under the root, next to the variance.": kernel
        * (gamma / np.sqrt(variance))[:, None],
        "Your scale adds epsilon to the standard deviation. It belongs under the root, next to "
        "the variance.": kernel * (gamma / (np.sqrt(variance) + epsilon))[:, None],
        "Your scale divides by the variance. Its square root is what the norm divides by.": kernel
        * (gamma / (variance + epsilon))[:, None],
        "Your scale forgets gamma.": kernel / np.sqrt(variance + epsilon)[:, None],
    }
    judge(
        new,
        a[:, None] * kernel,
        mistakes,
        "Your kernel is not the one whose rows are scaled as the norm scales its channels.",
        tolerance=1e-5,
    )
    mistakes = {
        "Your bias is the layer's own. What the norm adds to each of its channels must come "
        "through the kernel, too.": bias,
        "Your bias is the norm's shift, plus the layer's, as it is. But that shift is added "
        "*before* the kernel: send it through.": bias + np.resize(b, out),
        "Your bias lacks the layer's own.": b @ kernel,
        "Your shift goes through the *new* kernel, which has been scaled already: the scale "
        "counts twice.": bias + b @ (a[:, None] * kernel),
        "Your shift forgets the mean: what is added is beta minus the scaled mean.": bias
        + beta @ kernel,
        "You add the scaled mean. The norm subtracts it.": bias + (beta + a * mean) @ kernel,
        "You subtract the mean unscaled. It is multiplied like everything else.": bias
        + (beta - mean) @ kernel,
        "Your shift goes through the transposed kernel.": bias + np.resize(kernel, (out, size)) @ b,
    }
    judge(
        shift,
        bias + b @ kernel,
        mistakes,
        "Your kernel is right, your bias is not. For an x of zeros, what is the output of norm "
        "and layer?",
        tolerance=1e-5,
    )


# ---- exercise 2: eight bits ----------------------------------------------------------------------


def _affine(x: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float, int]:
    low = min(low, 0.0)
    high = max(high, 0.0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    return np.clip(np.round(x / scale) + zero, 0, 255), scale, zero


@exercise
def check_quantise(quantise: Callable) -> None:
    """`quantise(x, low, high)`: integers 0 ... 255, scale and zero point."""
    expression = "quantise(x, low, high)"
    rng = np.random.default_rng(1102)
    for case, low, high in (
        ("signed", -1.0, 3.0),
        ("positive", 0.5, 6.5),
        ("negative", -4.0, -1.0),
    ):
        x = np.append(rng.uniform(low, high, 40), [low, high, 0.0])
        wide = np.append(x, [low - 2, high + 2])
        q, scale, zero = expect_parts(
            call(quantise, expression, wide, low, high),
            expression,
            ("q", "the scale", "the zero point"),
        )
        scale = expect_array(scale, "the scale")
        zero = expect_array(zero, "the zero point")
        expect(
            np.size(scale) == 1 and np.size(zero) == 1,
            "Scale and zero point are one number each, for the whole tensor.",
        )
        scale = float(np.squeeze(scale))
        zero = float(np.squeeze(zero))
        q_raw = np.asarray(q)
        q = expect_array(q, "q", wide.shape)
        truth, s, z = _affine(wide, low, high)
        if case == "signed":
            expect(
                not near(scale, (high - low) / 256),
                "Your scale divides the range by 256. From 0 to 255 there are 255 steps.",
            )
            expect(
                not near(scale, 255 / (high - low)),
                "Your scale is inverted: how much is one step *worth*?",
            )
            expect(
                not near(scale, max(-low, high) / 127),
                "Your scale is that of symmetric weights. Activations use all of low to high.",
            )
            expect(
                not near(scale, (wide.max() - wide.min()) / 255),
                "Your scale comes from x itself. The range was fixed by calibration, before x was "
                "seen.",
            )
        else:
            expect(
                not near(scale, (high - low) / 255),
                f"With a range of {low} to {high} your grid does not contain 0, which must be "
                "exact: padding and ReLU make zeros. Widen the range until it does.",
            )
        expect(
            near(scale, s),
            f"With a range of {low} to {high} the scale should be {s:.5f}; yours is {scale:.5f}.",
        )
        expect(
            zero == round(zero),
            "The zero point is an integer: it is the value of q that stands for 0.",
        )
        expect(
            not (case == "signed" and zero == 0),
            "Your zero point is 0: then no value below 0 can be represented. Where on 0 to 255 "
            "does 0 lie?",
        )
        expect(zero != -z or z == 0, "Your zero point has the wrong sign.")
        expect(
            zero == z,
            f"With a range of {low} to {high} the zero point should be {z}; yours is {zero:g}.",
        )
        expect(
            q.min() >= 0 and q.max() <= 255,
            "Some of your q lie outside 0 to 255. Values beyond the calibrated range must be "
            "clipped.",
        )
        expect(np.all(q == np.round(q)), "Your q are not whole numbers.")
        expect(
            q_raw.dtype == np.uint8
            or not (q_raw.dtype.kind in "iu" and np.abs(q - truth).max() > 100),
            "Some of your values overflowed: clip before you convert to 8 bits.",
        )
        expect(
            (np.abs(q - truth)[:-2].max() <= 1 and np.abs(q - truth)[-2:].max() < 1)
            or np.abs(q - truth).max() <= 1,
            "Some of your values overflowed: 8 bits start again at 0 after 255. Clip before you "
            "convert.",
        )
        down = np.clip(np.floor(wide / s) + z, 0, 255)
        expect(
            not (np.array_equal(q, down) and not np.array_equal(down, truth)),
            "You round down. Round to the *nearest*: half the error.",
        )
        expect(
            near(q, truth), "Scale and zero point are right, but some q are not the nearest step."
        )
        expect(
            q_raw.dtype == np.uint8,
            f"Your q are {q_raw.dtype}; in 8 bits (np.uint8) they take a quarter of the memory.",
        )
    passed("256 values, zero among them, and clipped outside the range")


# ---- exercise 3: the border ----------------------------------------------------------------------


@exercise
def check_to_contract(to_contract: Callable) -> None:
    """`to_contract(image, order, low, high)`: (1, 224, 224, 3) float32, RGB, 0 ... 255."""
    expression = "to_contract(image, order, low, high)"
    rng = np.random.default_rng(1103)
    truth = rng.integers(0, 256, (224, 224, 3)).astype(np.float32)
    for order, low, high in (
        ("RGB", 0, 255),
        ("BGR", 0, 255),
        ("RGB", 0.0, 1.0),
        ("BGR", -1.0, 1.0),
    ):
        seen = truth if order == "RGB" else truth[..., ::-1]
        image = (low + seen / 255 * (high - low)).astype(np.uint8 if high == 255 else np.float32)
        answer = call(to_contract, expression, image, order, low, high)
        expect_array(answer, expression)
        raw = np.asarray(answer)
        expect(
            raw.shape != (224, 224, 3), "The batch is missing: the graph wants (1, 224, 224, 3)."
        )
        expect(
            raw.shape != (1, 3, 224, 224), "Your channels stand first. This contract has them last."
        )
        got = expect_array(answer, expression, (1, 224, 224, 3))[0]
        said = f"For an image in {order}, {low} to {high}"
        mistakes = {
            f"{said} red and blue are swapped.": truth[..., ::-1],
            f"{said} the values still run from {low} to {high}; the contract has 0 to 255.": low
            + truth / 255 * (high - low),
            f"{said} red and blue are swapped, and the values still run from {low} to {high}.": low
            + truth[..., ::-1] / 255 * (high - low),
            f"{said} your answer runs from 0 to 1; the contract has 0 to 255.": truth / 255,
            f"{said} your answer runs from -1 to 1. That rescaling is inside the graph "
            "already.": truth / 127.5 - 1,
            f"{said} you rotated the image, too: rows or columns are reversed. Only the "
            "last axis has colours.": truth[::-1],
            f"{said} the columns are mirrored. Only the last axis has colours.": truth[:, ::-1],
            f"{said} your values are off by the offset: subtract `low` before you stretch.": truth
            + (255 * low / (high - low) if low else 1e9),
        }
        judge(
            got,
            truth,
            mistakes,
            f"{said} your image is not the given one: your values differ by up to "
            f"{np.abs(got - truth).max():.3g}. White is 255, and no step may round down.",
            tolerance=1e-4,
        )
        expect(
            raw.dtype == np.float32,
            f"Your answer is {raw.dtype}; the graph takes float32 and nothing else.",
        )
    passed("every input becomes RGB, 0 to 255, float32")


# ---- exercise 4: choosing ------------------------------------------------------------------------


@exercise
def check_choose(choose: Callable) -> None:
    """`choose(candidates, milliseconds, megabytes)`: the name of the best model that keeps both
    limits, or "none"."""
    expression = "choose(candidates, milliseconds, megabytes)"
    rng = np.random.default_rng(1104)

    def model(name: str, pcp: float, megabytes: float, *times: float) -> dict:
        return {
            "name": name,
            "pcp": pcp,
            "megabytes": megabytes,
            "ms": rng.permutation(np.repeat(times, 20 // len(times))),
        }

    steady = model("steady", 0.60, 2.0, 15.0)
    quick = model("quick", 0.50, 1.0, 4.0)
    large = model("large", 0.70, 9.0, 12.0)
    jumpy = {
        "name": "jumpy",
        "pcp": 0.65,
        "megabytes": 2.0,
        "ms": np.array([10.0] * 17 + [60.0] * 3),
    }
    slips = {
        "name": "slips",
        "pcp": 0.66,
        "megabytes": 2.0,
        "ms": np.array([10.0] * 46 + [30.0] * 4),
    }
    brisk = model("brisk", 0.55, 1.0, 9.0)
    once = {"name": "once", "pcp": 0.62, "megabytes": 2.0, "ms": np.array([12.0] * 199 + [90.0])}
    slow = model("slow", 0.80, 2.0, 40.0)
    for candidates, limit, size, right, hints in (
        (
            [quick, steady, large],
            20,
            5,
            "steady",
            {
                "large": "You chose a model of 9 MB where 5 were allowed.",
                "quick": "You chose the fastest. Both are fast enough: then accuracy decides.",
            },
        ),
        (
            [jumpy, steady, quick],
            20,
            5,
            "steady",
            {
                "jumpy": "You chose a model that takes 60 ms every seventh time. "
                "Its mean or median looks fine, but a viewer sees it stutter: ask for the "
                "95th percentile.",
                "quick": "You chose the fastest, or the smallest. Accuracy decides among "
                "those that keep both limits.",
            },
        ),
        (
            [once, steady, quick],
            20,
            5,
            "once",
            {
                "steady": "You rejected a model for a single slow call in two hundred. Not "
                "the maximum: the 95th percentile.",
                "quick": "Accuracy decides among those that keep both limits.",
            },
        ),
        (
            [slips, steady, quick],
            20,
            5,
            "steady",
            {
                "slips": "You chose a model that takes 30 ms in 8 % of its calls, where 20 were "
                "allowed in all but 5 %: ask for the 95th percentile.",
                "quick": "Accuracy decides among those that keep both limits.",
            },
        ),
        (
            [quick, {**steady, "name": "heavy", "megabytes": 4.0}],
            20,
            3,
            "quick",
            {"heavy": "You chose a model of 4 MB where 3 were allowed."},
        ),
        (
            [steady, brisk, quick],
            9,
            5,
            "brisk",
            {
                "steady": "You chose a model that takes 15 ms where 9 were allowed.",
                "quick": "A model that takes exactly the allowed time is allowed.",
            },
        ),
        (
            [slow, large],
            20,
            5,
            "none",
            {
                "slow": "You chose a model that takes 40 ms where 20 were allowed.",
                "large": "You chose a model of 9 MB where 5 were allowed.",
            },
        ),
        (
            [quick, {**quick, "name": "lighter", "megabytes": 0.5}],
            20,
            1,
            "lighter",
            {"quick": "Two are equally accurate: take the smaller one."},
        ),
        (
            [{**quick, "name": "edge", "megabytes": 1.0}],
            20,
            1.0,
            "edge",
            {"none": "A model of exactly the allowed size is allowed."},
        ),
    ):
        answer = call(choose, expression, [dict(c) for c in candidates], limit, size)
        expect_type(answer, expression, "the name of a model", str)
        expect(answer == right or answer not in hints, hints.get(answer, ""))
        expect(
            answer == right,
            f"Among {', '.join(c['name'] for c in candidates)}, with {limit} ms and {size} MB, "
            f"the answer is not {answer!r}.",
        )
    passed(
        "the most accurate of those that are small enough and fast enough in nineteen calls of "
        "twenty"
    )
