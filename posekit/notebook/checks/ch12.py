"""Checks of the exercises of chapter 12, the loss ladder.

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
    judge,
    near,
    passed,
)
from posekit.skeleton import COCO17

K = len(COCO17)
_TOLERANCE = 1e-4  # losses are computed in float32


# ---- exercise 1: Laplace's likelihood with one log σ per joint -----------------------------------


_LAPLACE = "laplace_log(y_true, y_pred, log_sigma)"


def _loss_and_gradients(
    loss: Callable, y_true: np.ndarray, *outputs: np.ndarray
) -> tuple[float, list]:
    import tensorflow as tf

    variables = [tf.Variable(output) for output in outputs]
    with tf.GradientTape() as tape:
        value = call(loss, _LAPLACE, tf.constant(y_true), *variables)
        number = expect_array(value, _LAPLACE, finite=False)
        value = value if tf.is_tensor(value) else tf.constant(number)  # without a gradient
    expect(
        number.shape == (),
        f"The loss should be one number for the whole batch, but it has shape {number.shape}.",
    )
    return float(value), [None if g is None else g.numpy() for g in tape.gradient(value, variables)]


@exercise
def check_laplace_log(laplace_log: Callable) -> None:
    """`laplace_log(y_true, y_pred, log_sigma)`: masked negative log-likelihood, one log σ per joint
    for x and y."""
    rng = np.random.default_rng(901)
    y_true = rng.uniform(-0.5, 0.5, (6, K, 3)).astype(np.float32)
    y_true[..., 2] = rng.random((6, K)) > 0.4
    y_pred = rng.normal(0, 0.3, (6, K, 2)).astype(np.float32)
    a = rng.uniform(-3, -0.5, (6, K)).astype(np.float32)
    weight = y_true[..., 2]
    error = y_pred - y_true[..., :2]
    size = np.abs(error).sum(axis=-1)
    log2 = np.log(2)
    square = (error**2).sum(axis=-1)
    distance = np.linalg.norm(error, axis=-1)

    def mean(cost: np.ndarray) -> float:
        return float((weight * cost).sum() / weight.sum())

    right = size * np.exp(-a) + 2 * a + 2 * log2
    value, (by_place, by_scale) = _loss_and_gradients(laplace_log, y_true, y_pred, a)
    mistakes = [
        (
            "You divide by the number of *all* entries, the masked ones too. Divide by the sum of "
            "the weights.",
            (weight * right).mean(),
        ),
        (
            "Your loss counts every joint, with or without a label. The weight is the third "
            "number of `y_true`.",
            right.mean(),
        ),
        (
            "You return the sum. It grows with the batch: take the mean over what counts.",
            (weight * right).sum(),
        ),
        (
            "The log σ is missing. As it is, an infinite σ costs nothing: the network will predict "
            "it, and learn nothing.",
            mean(size * np.exp(-a)),
        ),
        (
            "You count log σ once per joint. The joint has two coordinates, each with a density "
            "of its own and the same σ: their logarithms add up.",
            mean(size * np.exp(-a) + a + 2 * log2),
        ),
        (
            "You count log σ and log 2 once per joint. The joint has two coordinates, each with a "
            "density of its own: their logarithms add up.",
            mean(size * np.exp(-a) + a + log2),
        ),
        (
            "Only a constant is missing: the density is 1/(2σ) · exp(−|e|/σ), and its 2 leaves a "
            "log 2 for each coordinate. The gradient is right, but only a whole likelihood can "
            "be compared with another one's.",
            mean(size * np.exp(-a) + 2 * a),
        ),
        (
            "Only a constant is missing: each of the *two* coordinates leaves a log 2.",
            mean(size * np.exp(-a) + 2 * a + log2),
        ),
        (
            "You multiply the error by σ. A large σ must make errors cheap: divide by σ (multiply "
            "by exp(−a)).",
            mean(size * np.exp(a) + 2 * a + 2 * log2),
        ),
        (
            "The sign of log σ is wrong: you reward a large σ instead of penalising it.",
            mean(size * np.exp(-a) - 2 * a + 2 * log2),
        ),
        (
            "You take `log_sigma` for σ. It is its logarithm, and may well be negative.",
            mean(size / a + 2 * np.log(np.abs(a)) + 2 * log2),
        ),
        (
            "That is the Gaussian likelihood. Laplace's has |e|/σ in place of e²/2σ².",
            mean(0.5 * square * np.exp(-2 * a) + 2 * a + np.log(2 * np.pi)),
        ),
        (
            "You take the distance of the joint, √(dx² + dy²). Here each coordinate has a density "
            "of its own: |dx| + |dy|.",
            mean(distance * np.exp(-a) + 2 * a + 2 * log2),
        ),
        (
            "Half of what it should be: the likelihoods of x and y are multiplied, so their "
            "logarithms are *added*, not averaged.",
            mean(right / 2),
        ),
    ]
    judge(
        value,
        mean(right),
        mistakes,
        f"On our test batch the loss should be {mean(right):.4f}, but yours is {value:.4f}. For "
        "each coordinate: |e|/σ + log σ + log 2.",
        _TOLERANCE,
    )
    expect(
        by_place is not None and by_scale is not None,
        "The value is right, but no gradient comes through. Compute with `keras.ops` all the way: "
        "NumPy leaves the graph.",
    )
    per = weight / weight.sum()
    expect(
        near(by_scale, per * (2 - size * np.exp(-a)), 1e-3)
        and near(by_place, (per * np.exp(-a))[..., None] * np.sign(error), 1e-3),
        "The value is right, but its gradient is not that of the likelihood. Is something cut off "
        "(`stop_gradient`, a clip)?",
    )
    poisoned = np.where(weight[..., None] > 0, y_true, np.float32([np.nan, np.nan, 0]))
    again, gradients = _loss_and_gradients(laplace_log, poisoned, y_pred, a)
    expect(
        np.isfinite(again) and all(g is not None and np.all(np.isfinite(g)) for g in gradients),
        "With NaN in a masked target your loss or its gradient is NaN, for 0 · NaN is NaN: "
        "replace the *target* before you compute with it (`ops.where`).",
    )
    single = np.where(np.arange(6 * K).reshape(6, K) == np.argmax(weight), 1, 0)
    alone = np.concatenate([y_true[..., :2], single[..., None]], axis=-1).astype(np.float32)
    value, _ = _loss_and_gradients(laplace_log, alone, y_pred, a)
    expect(
        near(value, (single * right).sum(), _TOLERANCE),
        f"With a single labelled joint in the batch the loss is its cost, "
        f"{(single * right).sum():.4f}; yours is {value:.4f}. The smallest divisor is 1.",
    )
    unlabelled, gradients = _loss_and_gradients(
        laplace_log, y_true * np.float32([1, 1, 0]), y_pred, a
    )
    expect(
        np.isfinite(unlabelled) and all(g is None or np.all(np.isfinite(g)) for g in gradients),
        "When no joint of the batch is labelled, your loss is 0 / 0. One such batch, and every "
        "weight of the network is NaN.",
    )
    passed("Laplace's likelihood: right value, right gradients, and masked joints change neither")


# ---- exercise 2: a coupling with a mask ----------------------------------------------------------


def _net(seed: int, width: int) -> Callable:
    """A random function (N, D) -> log-scale (N, D), shift (N, D)."""
    rng = np.random.default_rng(seed)
    inner = rng.normal(0, 1, (width, 16))
    out = rng.normal(0, 0.5, (2, 16, width))

    def net(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.tanh(expect_array(x, "what you hand to `net`", (None, width)) @ inner)
        return np.tanh(hidden @ out[0]), hidden @ out[1] + 0.3

    return net


@exercise
def check_coupling(coupling: Callable) -> None:
    """`coupling(x, net, stays, back)` -> points and log-determinants; the masked coordinates stay
    and determine the others."""
    rng = np.random.default_rng(902)
    for width, stays in ((2, [1, 0]), (2, [0, 1]), (5, [1, 0, 1, 0, 0])):
        stays = np.array(stays, float)
        moves = 1 - stays
        net = _net(width, width)
        z = rng.normal(size=(40, width))
        s, t = net(z * stays)
        x = z * stays + moves * (z * np.exp(s) + t)
        truth = (moves * s).sum(axis=1)
        case = f"with `stays = {stays.astype(int).tolist()}`"
        got, log_det = _both(coupling, z, net, stays, False)
        blind = net(z)
        wild = net(z * moves)
        judge(
            got,
            x,
            [
                (
                    f"Every coordinate moves, {case}. Those with a 1 stay as they are.",
                    z * np.exp(s) + t,
                ),
                (
                    "Your `net` sees all of `x`. Then the inverse would need what it does not have "
                    "yet: pass it only what stays.",
                    z * stays + moves * (z * np.exp(blind[0]) + blind[1]),
                ),
                (
                    f"The roles are swapped, {case}: a 1 means that this coordinate *stays*.",
                    z * moves + stays * (z * np.exp(wild[0]) + wild[1]),
                ),
                (
                    "Your `net` sees the coordinates that move. It must see those that stay: they "
                    "are the same on both sides.",
                    z * stays + moves * (z * np.exp(wild[0]) + wild[1]),
                ),
                (
                    "You multiply by the log-scale itself. It may be negative or 0, and could "
                    "not be undone: multiply by its exponential.",
                    z * stays + moves * (z * s + t),
                ),
                (
                    "You shift before you scale. Here it is the other way round: x · exp(s) + t.",
                    z * stays + moves * (z + t) * np.exp(s),
                ),
                (
                    f"Where are the coordinates that stay, {case}? You return 0 for them.",
                    moves * (z * np.exp(s) + t),
                ),
            ],
            f"The points are not right, {case}. Forward: x · exp(s) + t where nothing stays.",
            _TOLERANCE,
        )
        _determinants(log_det, truth, s, stays, "forward")
        home, log_det = _both(coupling, x, net, stays, True)
        expect(
            not near(home, x * stays + moves * (x * np.exp(s) + t), _TOLERANCE),
            "`back=True` makes no difference: you compute the forward map both times.",
        )
        expect(
            not near(home, x * stays + moves * (x * np.exp(-s) - t), _TOLERANCE),
            "Your inverse undoes the steps in the order in which they were done. Undo the last one "
            "first: subtract t, then scale.",
        )
        expect(
            not near(home, x * stays + moves * (x - t) * np.exp(s), _TOLERANCE),
            "In the inverse you scale by exp(s) once more: the exponent needs a minus sign.",
        )
        expect(
            near(home, z, _TOLERANCE),
            "Forward and inverse do not return the points. The coordinates that stay are the same "
            "on both sides: compute s and t from them as before, and undo the arithmetic.",
        )
        expect(
            not near(log_det, truth, _TOLERANCE),
            "The log-determinant of the inverse is that of the forward map. Scaling by 3 and by "
            "1/3 cancel: it needs a minus sign.",
        )
        _determinants(log_det, -truth, -s, stays, "inverse")
    plain = expect_parts(
        call(coupling, "coupling(x, net, stays)", z, net, stays),
        "coupling(x, net, stays)",
        ("the points", "log_det"),
    )
    expect(
        near(plain[0], x, _TOLERANCE),
        "Without a fourth argument `back` should be False: the forward map.",
    )
    passed("an invertible coupling, in two and in five dimensions, with the right determinants")


def _both(coupling: Callable, x: np.ndarray, net: Callable, stays: np.ndarray, back: bool) -> tuple:
    expression = "coupling(x, net, stays, back)"
    out = call(coupling, expression, x, net, stays, back)
    points, log_det = expect_parts(out, expression, ("the points", "log_det"))
    return expect_array(points, "the points", x.shape), expect_array(log_det, "log_det")


def _determinants(
    log_det: np.ndarray, truth: np.ndarray, s: np.ndarray, stays: np.ndarray, way: str
) -> None:
    moves = 1 - stays
    where = f"of the {way} map"
    expect(
        not near(log_det, s.sum(axis=1), _TOLERANCE),
        f"Your log-determinant ({where}) also counts coordinates that stay. They are scaled by 1, "
        "whose logarithm is 0.",
    )
    expect(
        not near(log_det, truth.sum(), _TOLERANCE) and not near(log_det, truth.mean(), _TOLERANCE),
        f"Your log-determinant ({where}) is one number for all points. Each point has its own: "
        "sum over coordinates only.",
    )
    expect(
        not near(log_det, moves * s, _TOLERANCE),
        f"Your log-determinant ({where}) has one number for each coordinate. The determinant of a "
        "triangle is the product of its diagonal, so the logarithms add up.",
    )
    expect(
        not near(log_det, (moves * np.exp(s)).sum(axis=1), _TOLERANCE)
        and not near(log_det, np.exp(truth), _TOLERANCE),
        f"You return the determinant or the scales themselves ({where}); their logarithm is "
        "expected.",
    )
    expect(
        not near(log_det, -truth, _TOLERANCE),
        f"The sign of your log-determinant ({where}) is wrong.",
    )
    log_det = expect_array(log_det, "log_det", truth.shape)
    expect(
        near(log_det, truth, _TOLERANCE),
        f"Your log-determinant ({where}) is not the sum of the log-scales of what moves.",
    )


# ---- exercise 3: the factor that recalibrates σ --------------------------------------------------


@exercise
def check_sigma_factor(sigma_factor: Callable) -> None:
    """`sigma_factor(error, sigma, weight, density)`: the factor for all σ that makes the errors
    most probable."""
    expression = "sigma_factor(error, sigma, weight, density)"
    rng = np.random.default_rng(903)
    for density, other in (("laplace", "gaussian"), ("gaussian", "laplace")):
        sigma = rng.uniform(0.01, 0.3, (60, K, 2))
        error = 1.7 * sigma * rng.standard_t(4, sigma.shape)
        weight = (rng.random((60, K)) > 0.3).astype(float)
        error[weight == 0] = 9.0  # arbitrary
        answer = call(sigma_factor, expression, error, sigma, weight, density)
        value = float(expect_array(answer, "the factor", ()))
        on = weight > 0
        ratio = np.abs(error[on]) / sigma[on]
        best = {"laplace": ratio.mean(), "gaussian": np.sqrt((ratio**2).mean())}
        every = np.abs(error) / sigma
        say = f"For density {density!r}: "
        mistakes = [
            (
                f"{say}that is the other density's factor. Laplace's best width is a mean of "
                "sizes, the Gaussian's a root of a mean of squares.",
                best[other],
            ),
            (f"{say}you count joints whose weight is 0.", every.mean()),
            (f"{say}you count joints whose weight is 0.", np.sqrt((every**2).mean())),
            (
                f"{say}that is the reciprocal. Errors larger than predicted need a *larger* σ.",
                1 / best[density],
            ),
            (
                f"{say}you divide the mean error by the mean σ. Then the uncertain joints "
                "decide alone. Divide each error by its *own* σ first.",
                np.abs(error[on]).mean() / sigma[on].mean(),
            ),
            (
                f"{say}you divide the mean square by the mean variance. Then the uncertain joints "
                "decide alone. Divide each error by its *own* σ first.",
                np.sqrt((error[on] ** 2).mean() / (sigma[on] ** 2).mean()),
            ),
            (f"{say}that is the factor for the *variance*. σ is its root.", (ratio**2).mean()),
            (
                f"{say}that is the median of |e|/σ. Set the derivative to zero: you get a mean.",
                np.median(ratio),
            ),
            (
                f"{say}you subtract the mean of e/σ. The density is centred at 0, wherever the "
                "errors are.",
                (error[on] / sigma[on]).std(),
            ),
            (
                f"{say}you forgot the absolute value: errors to the left and to the right cancel.",
                (error[on] / sigma[on]).mean(),
            ),
            (
                f"{say}twice too large: each weight counts for *two* coordinates, x and y.",
                (every * weight[..., None]).sum() / weight.sum(),
            ),
        ]
        judge(
            value,
            best[density],
            mistakes,
            f"{say}the factor should be {best[density]:.4f}, but yours is {value:.4f}. Write the "
            "mean of −log p with c·σ in place of σ, differentiate by c, set to zero.",
            _TOLERANCE,
        )
    passed("the factor that recalibrates σ, for both noise models")


# ---- exercise 4: soft-argmax and the spread of its map -------------------------------------------


def _mean_and_spread(
    weights: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(B, H, W, K) weights and the positions of columns and rows -> mean (B, K, 2), spread (B, K,
    2)."""
    places = np.stack(np.meshgrid(x, y), axis=-1)
    mean = np.einsum("bhwk,hwd->bkd", weights, places)
    square = np.einsum("bhwk,hwd->bkd", weights, places**2)
    return mean, np.sqrt(np.maximum(square - mean**2, 0))


@exercise
def check_soft_argmax(soft_argmax: Callable) -> None:
    """`soft_argmax(scores)` -> centre of mass (B, K, 2) and spread (B, K, 2) of each map,
    normalised crop coordinates."""
    for seed, h, w in ((904, 6, 9), (905, 7, 4)):
        _expect_means(soft_argmax, seed, h, w)
    sharp = np.zeros((1, 6, 9, 1))
    sharp[0, 2, 3, 0] = 2000.0
    with np.errstate(all="ignore"):
        answer = expect_parts(call(soft_argmax, _SOFT_ARGMAX, sharp), _SOFT_ARGMAX, _MAPS)
    expect(
        all(np.all(np.isfinite(expect_array(part, _SOFT_ARGMAX, finite=False))) for part in answer),
        "With a score of 2000 your answer is NaN: exp(2000) is infinite. Subtract the largest "
        "score of each map first; the weights stay the same. (And a variance that rounding made "
        "−0.0000001 has no root.)",
    )
    two = np.concatenate([sharp, np.zeros((1, 6, 9, 1))], axis=-1)
    with np.errstate(all="ignore"):
        answer = expect_parts(call(soft_argmax, _SOFT_ARGMAX, two), _SOFT_ARGMAX, _MAPS)
    mean = expect_array(answer[0], "the means", (1, 2, 2), finite=False)
    expect(
        np.all(np.isfinite(mean)) and near(mean[0, 1], (0, 0), _TOLERANCE),
        "Next to a map with a score of 2000, a map of zeros has no mean in your answer; it is 0, "
        "0. Subtract from each map *its own* largest score.",
    )
    passed("soft-argmax and the spread of its map: a σ at no extra cost")


_SOFT_ARGMAX = "soft_argmax(scores)"
_MAPS = ("the means", "the spreads")


def _expect_means(soft_argmax: Callable, seed: int, h: int, w: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (3, h, w, 4))
    answer = expect_parts(call(soft_argmax, _SOFT_ARGMAX, scores), _SOFT_ARGMAX, _MAPS)
    mean = expect_array(answer[0], "the means", (3, 4, 2))
    spread = expect_array(answer[1], "the spreads", finite=False)
    exp = np.exp(scores)
    weights = exp / exp.sum(axis=(1, 2), keepdims=True)
    x = (np.arange(w) + 0.5) / w - 0.5
    y = (np.arange(h) + 0.5) / h - 0.5
    right, width = _mean_and_spread(weights, x, y)
    best = scores.reshape(3, h * w, 4).argmax(axis=1)
    mistakes = [
        (
            "x and y are swapped: x runs along the columns (the third axis of `scores`), and "
            "comes first.",
            right[..., ::-1],
        ),
        (
            "You take the cells' corners: everything lies half a cell too far to the left and up. "
            "Their *centres* are expected.",
            _mean_and_spread(weights, np.arange(w) / w - 0.5, np.arange(h) / h - 0.5)[0],
        ),
        (
            "Your first and last cell lie on the edge of the crop. A cell's middle is half a cell "
            "inside: (i + 0.5) / n − 0.5.",
            _mean_and_spread(weights, np.linspace(-0.5, 0.5, w), np.linspace(-0.5, 0.5, h))[0],
        ),
        (
            "Your answers run from 0 to 1. Normalised coordinates have 0 in the *middle* of the "
            "crop.",
            right + 0.5,
        ),
        (
            "You answer in cells. Fractions of the crop are expected, from −0.5 to 0.5.",
            _mean_and_spread(weights, np.arange(w), np.arange(h))[0],
        ),
        (
            "You pick the best cell: that is argmax, with no gradient and no finer than a cell. "
            "Take the weighted mean of all.",
            np.stack([x[best % w], y[best // w]], axis=-1),
        ),
        (
            "Your weights add up to one over the *joints*. Each joint has a map of its own: "
            "normalise over its cells.",
            _mean_and_spread(exp / exp.sum(axis=-1, keepdims=True), x, y)[0],
        ),
        (
            "You normalise over everything, people and joints included. Each map's weights should "
            "add up to one.",
            _mean_and_spread(exp / exp.sum(), x, y)[0],
        ),
        (
            "Your softmax runs over each row by itself. It must run over all cells of a map at "
            "once.",
            _mean_and_spread(exp / exp.sum(axis=2, keepdims=True), x, y)[0],
        ),
        (
            "Your softmax runs over each column by itself. It must run over all cells of a map at "
            "once.",
            _mean_and_spread(exp / exp.sum(axis=1, keepdims=True), x, y)[0],
        ),
        (
            "Your weights do not add up to one: divide by their sum over the cells.",
            _mean_and_spread(exp, x, y)[0],
        ),
        (
            "You weight with the scores themselves. They may be negative: take their exponentials.",
            _mean_and_spread(scores / scores.sum(axis=(1, 2), keepdims=True), x, y)[0],
        ),
    ]
    judge(
        mean,
        right,
        mistakes,
        "The means are not right. Softmax over all cells of a map, then Σ weight · middle of the "
        "cell.",
        _TOLERANCE,
    )
    expect(
        not near(spread, width**2, _TOLERANCE),
        "Your spread is the variance. Its root is expected: a σ has the unit of a position, not of "
        "an area.",
    )
    expect(
        not near(spread, np.sqrt(width**2 + right**2), _TOLERANCE),
        "You take the spread around the middle of the *crop*: subtract the mean's square before "
        "the root.",
    )
    spread = expect_array(spread, "the spreads", (3, 4, 2))
    expect(
        near(spread, width, _TOLERANCE),
        "The means are right, the spreads are not: the root of Σ weight · (position − mean)².",
    )
