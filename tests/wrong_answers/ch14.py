"""Wrong answers to the exercises of chapter 14, and a piece of the hint that each must get."""

import numpy as np

from posekit.notebook.checks import ch14

# ---- exercise 1 ----------------------------------------------------------------------------------


def folded(kernel, bias, gamma, beta, mean, variance, epsilon, *, scale=None, new=None, shift=None):
    """The right answer, with one handle for each mistake."""
    a = gamma / np.sqrt(variance + epsilon) if scale is None else scale(gamma, variance, epsilon)
    b = beta - a * mean
    new = a[:, None] * kernel if new is None else new(kernel, a)
    return new, bias + b @ kernel if shift is None else shift(kernel, bias, a, b, beta, mean)


def fold_with(**mistake):
    return lambda *given: folded(*given, **mistake)


def folds_in_place(kernel, bias, *norm):
    new, shift = folded(kernel, bias, *norm)
    kernel[:] = new
    return kernel, shift


# ---- exercise 2 ----------------------------------------------------------------------------------


def quantised(
    x,
    low,
    high,
    *,
    steps=255,
    include=True,
    scale=None,
    zero=None,
    rounding=np.round,
    clip=True,
    kind=np.uint8,
):
    if include:
        low, high = min(low, 0.0), max(high, 0.0)
    s = (high - low) / steps if scale is None else scale(x, low, high)
    z = round(-low / s) if zero is None else zero(low, s)
    q = rounding(x / s) + z
    return (np.clip(q, 0, 255) if clip else q).astype(kind), s, z


def quantise_with(**mistake):
    return lambda x, low, high: quantised(x, low, high, **mistake)


def runs_over(x, low, high):
    _, s, z = quantised(x, low, high)
    return (np.round(x / s) + z).astype(np.int64).astype(np.uint8), s, z


# ---- exercise 3 ----------------------------------------------------------------------------------


def contract(
    picture,
    order,
    low,
    high,
    *,
    swap=True,
    stretch=True,
    then=lambda x: x,
    batch=True,
    kind=np.float32,
):
    x = picture.astype(np.float64)
    x = x[..., ::-1] if order == "BGR" and swap else x
    x = (x - low) / (high - low) * 255 if stretch else x
    x = then(x)
    return (x[None] if batch else x).astype(kind)


def contract_with(**mistake):
    return lambda *given: contract(*given, **mistake)


def without_offset(picture, order, low, high):
    return contract(picture + low, order, low, high)


def stretches_in_place(picture, order, low, high):
    answer = contract(picture, order, low, high)
    picture[:] = 0
    return answer


# ---- exercise 4 ----------------------------------------------------------------------------------


def chosen(
    candidates,
    milliseconds,
    megabytes,
    *,
    time=lambda ms: np.quantile(ms, 0.95),
    size=True,
    below=False,
    key=None,
):
    fit = [c for c in candidates if time(c["ms"]) <= milliseconds]
    fit = [c for c in fit if not size or c["megabytes"] < megabytes + (0 if below else 1e-9)]
    key = key or (lambda c: (c["pcp"], -c["megabytes"]))
    return max(fit, key=key)["name"] if fit else "none"


def choose_with(**mistake):
    return lambda *given: chosen(*given, **mistake)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def choose_by(quantile):
    def choose(candidates, milliseconds, megabytes):
        fit = [
            c
            for c in candidates
            if np.quantile(c["ms"], quantile) <= milliseconds and c["megabytes"] <= megabytes
        ]
        best = max(fit, key=lambda c: (c["pcp"], -c["megabytes"]), default={"name": "none"})
        return best["name"]

    return choose


def choose_below(candidates, milliseconds, megabytes):
    """Refuses a model that takes exactly the allowed time."""
    return choose_by(0.95)(
        [c for c in candidates if np.quantile(c["ms"], 0.95) < milliseconds], 1e9, megabytes
    )


def contract_to(white, kind=float):
    def to_contract(image, order, low, high):
        rgb = image if order == "RGB" else image[..., ::-1]
        values = (rgb.astype(np.float64) - low) / (high - low) * white
        return values.astype(kind)[None].astype(np.float32)

    return to_contract


WRONG = [
    (ch14.check_fold_before, fold_with(new=lambda k, a: k * a), "along its *outputs*"),
    (ch14.check_fold_before, fold_with(new=lambda k, a: k), "has not changed"),
    (ch14.check_fold_before, fold_with(scale=lambda g, v, e: g / np.sqrt(v)), "forgets epsilon"),
    (
        ch14.check_fold_before,
        fold_with(scale=lambda g, v, e: g / (np.sqrt(v) + e)),
        "to the standard deviation",
    ),
    (
        ch14.check_fold_before,
        fold_with(scale=lambda g, v, e: g / (v + e)),
        "divides by the variance",
    ),
    (ch14.check_fold_before, fold_with(scale=lambda g, v, e: 1 / np.sqrt(v + e)), "forgets gamma"),
    (ch14.check_fold_before, fold_with(new=lambda k, a: k / a[:, None]), "whose rows are scaled"),
    (ch14.check_fold_before, fold_with(shift=lambda k, bias, *_: bias), "is the layer's own"),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, *_: bias + b),
        "send it through",
    ),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, *_: b @ k),
        "lacks the layer's own",
    ),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, *_: bias + b @ (a[:, None] * k)),
        "counts twice",
    ),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, beta, m: bias + beta @ k),
        "forgets the mean",
    ),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, beta, m: bias + (beta + a * m) @ k),
        "subtracts it",
    ),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, beta, m: bias + (beta - m) @ k),
        "unscaled",
    ),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, *_: bias + k @ b),
        "transposed kernel",
    ),
    (
        ch14.check_fold_before,
        fold_with(shift=lambda k, bias, a, b, *_: bias - b @ k),
        "an x of zeros",
    ),
    (ch14.check_fold_before, folds_in_place, "changed the `kernel`"),
    (ch14.check_fold_before, lambda kernel, *_: kernel, "should return two things"),
    (ch14.check_fold_before, lambda *_: np.zeros(3) @ np.zeros(2), "stops with"),
    (ch14.check_quantise, quantise_with(steps=256), "there are 255 steps"),
    (
        ch14.check_quantise,
        quantise_with(scale=lambda x, low, high: 255 / (high - low)),
        "is inverted",
    ),
    (
        ch14.check_quantise,
        quantise_with(scale=lambda x, low, high: max(-low, high) / 127),
        "symmetric weights",
    ),
    (
        ch14.check_quantise,
        quantise_with(scale=lambda x, low, high: np.ptp(x) / 255),
        "comes from x itself",
    ),
    (ch14.check_quantise, quantise_with(include=False), "does not contain 0"),
    (ch14.check_quantise, quantise_with(zero=lambda low, s: -low / s), "is an integer"),
    (ch14.check_quantise, quantise_with(zero=lambda low, s: 0), "Where on 0 to 255"),
    (ch14.check_quantise, quantise_with(zero=lambda low, s: round(low / s)), "wrong sign"),
    (ch14.check_quantise, quantise_with(zero=lambda low, s: 128), "the zero point should be"),
    (ch14.check_quantise, quantise_with(clip=False, kind=np.int64), "must be clipped"),
    (
        ch14.check_quantise,
        quantise_with(rounding=lambda x: x, kind=np.float64),
        "not whole numbers",
    ),
    (ch14.check_quantise, runs_over, "overflowed"),
    (ch14.check_quantise, quantise_with(rounding=np.floor), "You round down"),
    (ch14.check_quantise, quantise_with(kind=np.float32), "a quarter of the memory"),
    (
        ch14.check_quantise,
        quantise_with(scale=lambda x, low, high: (high - low) / 200),
        "the scale should be",
    ),
    (
        ch14.check_quantise,
        lambda x, low, high: quantised(x, low, high)[0],
        "should return three things",
    ),
    (ch14.check_to_contract, contract_with(batch=False), "The batch is missing"),
    (
        ch14.check_to_contract,
        contract_with(then=lambda x: x.transpose(2, 0, 1)),
        "channels stand first",
    ),
    (ch14.check_to_contract, contract_with(swap=False), "red and blue are swapped."),
    (
        ch14.check_to_contract,
        contract_with(then=lambda x: x[..., ::-1]),
        "red and blue are swapped.",
    ),
    (ch14.check_to_contract, contract_with(stretch=False), "values still run from"),
    (ch14.check_to_contract, contract_with(then=lambda x: x / 255), "your answer runs from 0 to 1"),
    (
        ch14.check_to_contract,
        contract_with(then=lambda x: x / 127.5 - 1),
        "inside the graph already",
    ),
    (ch14.check_to_contract, contract_with(then=lambda x: x[::-1]), "rows or columns are reversed"),
    (ch14.check_to_contract, contract_with(then=lambda x: x[:, ::-1]), "columns are mirrored"),
    (ch14.check_to_contract, without_offset, "subtract `low`"),
    (ch14.check_to_contract, contract_with(kind=np.float64), "float32 and nothing else"),
    (ch14.check_to_contract, contract_with(then=lambda x: 255 - x), "not the given one"),
    (ch14.check_to_contract, stretches_in_place, "changed the `image`"),
    (ch14.check_choose, choose_with(size=False), "of 9 MB where 5"),
    (ch14.check_choose, choose_with(key=lambda c: -np.median(c["ms"])), "You chose the fastest"),
    (ch14.check_choose, choose_with(time=np.median), "sees it stutter"),
    (ch14.check_choose, choose_with(time=np.mean), "sees it stutter"),
    (ch14.check_choose, choose_with(time=np.max), "single slow call"),
    (ch14.check_choose, choose_with(time=lambda ms: 0), "sees it stutter"),
    (ch14.check_choose, choose_with(key=lambda c: c["pcp"]), "take the smaller one"),
    (ch14.check_choose, choose_with(below=True), "exactly the allowed size"),
    (ch14.check_choose, lambda *given: 0, "should return a name"),
    (ch14.check_choose, lambda *given: "none", "the answer is not"),
    (ch14.check_choose, choose_by(0.9), "30 ms in 8 %"),
    (ch14.check_choose, choose_below, "exactly the allowed time"),
    (ch14.check_to_contract, contract_to(256), "White is 255"),
    (ch14.check_to_contract, contract_to(255, np.uint8), "no step may round down"),
]
