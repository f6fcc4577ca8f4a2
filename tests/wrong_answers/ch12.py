"""Wrong answers that the checks of chapter 12 must catch, each with a piece of its hint."""

import math

import numpy as np
from keras import ops

from posekit.notebook.checks import ch12

LOG2 = math.log(2)

# ---- exercise 1 ----------------------------------------------------------------------------------


def laplace(
    y_true,
    y_pred,
    a,
    *,
    cost=lambda e, a: ops.sum(ops.abs(e), axis=-1) * ops.exp(-a) + 2 * a + 2 * LOG2,
    mean=lambda cost, w: ops.sum(w * cost) / ops.maximum(ops.sum(w), 1.0),
    guard=True,
):
    """The right answer, with one handle for each mistake."""
    weight, target = y_true[..., 2], y_true[..., :2]
    if guard:
        target = ops.where(weight[..., None] > 0, target, y_pred)
    return mean(cost(y_pred - target, a), weight)


def laplace_with(**mistake):
    return lambda *given: laplace(*given, **mistake)


def size(e):
    return ops.sum(ops.abs(e), axis=-1)


def multiplied_away(y_true, y_pred, a):
    weight = y_true[..., 2]
    cost = size(y_pred - y_true[..., :2]) * ops.exp(-a) + 2 * a + 2 * LOG2
    return ops.sum(weight * cost) / ops.maximum(ops.sum(weight), 1.0)


def in_numpy(y_true, y_pred, a):
    t, p, a = (np.asarray(v) for v in (y_true, y_pred, a))
    cost = np.abs(p - t[..., :2]).sum(-1) * np.exp(-a) + 2 * a + 2 * LOG2
    return ops.convert_to_tensor((t[..., 2] * cost).sum() / t[..., 2].sum())


def half_stopped(y_true, y_pred, a):
    return laplace(y_true, y_pred, a) * 0.5 + ops.stop_gradient(laplace(y_true, y_pred, a)) * 0.5


# ---- exercise 2 ----------------------------------------------------------------------------------


def coupling(
    x,
    net,
    stays,
    back,
    *,
    sees=lambda x, stays: x * stays,
    mask=lambda stays: stays,
    forth=lambda x, s, t: x * np.exp(s) + t,
    undo=lambda x, s, t: (x - t) * np.exp(-s),
    det=lambda s, moves: (moves * s).sum(axis=1),
    kept=1,
    back_sign=-1,
):
    """The right answer, with one handle for each mistake."""
    stays = mask(stays)
    moves = 1 - stays
    s, t = net(sees(x, stays))
    out = kept * x * stays + moves * (undo if back else forth)(x, s, t)
    return out, (back_sign if back else 1) * det(s, moves)


def coupling_with(**mistake):
    return lambda *given: coupling(*given, **mistake)


def everything_moves(x, net, stays, back):
    s, t = net(x * stays)
    return x * np.exp(s) + t, ((1 - stays) * s).sum(axis=1)


def in_place(x, net, stays, back):
    out, log_det = coupling(x, net, stays, back)
    x[:] = out
    return x, log_det


# ---- exercise 3 ----------------------------------------------------------------------------------


def sigma_factor(error, scale, weight, density, *, best=None, on=lambda weight: weight > 0):
    """The right answer, with one handle for each mistake."""
    z = (np.abs(error) / scale)[on(weight)]
    if best:
        return best(z, density)
    return z.mean() if density == "laplace" else np.sqrt((z**2).mean())


def repair_with(**mistake):
    return lambda *given: sigma_factor(*given, **mistake)


def of_means(error, scale, weight, density):
    return np.abs(error[weight > 0]).mean() / scale[weight > 0].mean()


def of_mean_squares(error, scale, weight, density):
    if density == "laplace":
        return sigma_factor(error, scale, weight, density)
    return np.sqrt((error[weight > 0] ** 2).mean() / (scale[weight > 0] ** 2).mean())


def centred(error, scale, weight, density):
    z = (error / scale)[weight > 0]
    return np.abs(z).mean() if density == "laplace" else z.std()


def cancelling(error, scale, weight, density):
    return (error / scale)[weight > 0].mean()


def by_joint(error, scale, weight, density):
    return (weight[..., None] * np.abs(error) / scale).sum() / weight.sum()


def divides_in_place(error, scale, weight, density):
    error /= scale
    return sigma_factor(error, np.ones_like(scale), weight, density)


# ---- exercise 4 ----------------------------------------------------------------------------------


def middles(n):
    return (np.arange(n) + 0.5) / n - 0.5


def soft(
    scores,
    *,
    places=middles,
    axes=(1, 2),
    exp=lambda s: np.exp(s - s.max(axis=(1, 2), keepdims=True)),
    normal=True,
    order=(0, 1),
    spread=lambda square, mean: np.sqrt(np.maximum(square - mean**2, 0)),
    shift=0.0,
):
    """The right answer, with one handle for each mistake."""
    weights = exp(scores)
    if normal:
        weights = weights / weights.sum(axis=axes, keepdims=True)
    grid = np.stack(np.meshgrid(places(scores.shape[2]), places(scores.shape[1])), axis=-1)[
        ..., list(order)
    ]
    mean = np.einsum("bhwk,hwd->bkd", weights, grid)
    return mean + shift, spread(np.einsum("bhwk,hwd->bkd", weights, grid**2), mean)


def soft_with(**mistake):
    return lambda scores: soft(scores, **mistake)


def hard(scores):
    b, h, w, k = scores.shape
    best = scores.reshape(b, h * w, k).argmax(axis=1)
    mean = np.stack([middles(w)[best % w], middles(h)[best // w]], axis=-1)
    return mean, np.zeros_like(mean)


def shifts_in_place(scores):
    scores -= scores.max(axis=(1, 2), keepdims=True)
    return soft(scores)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def soft_argmax_one_largest(scores):
    """Subtracts the largest score of all maps from each of them."""
    weights = np.exp(scores - scores.max())
    weights = weights / weights.sum(axis=(1, 2), keepdims=True)
    h, w = scores.shape[1:3]
    cells = np.stack(
        np.meshgrid((np.arange(w) + 0.5) / w - 0.5, (np.arange(h) + 0.5) / h - 0.5), axis=-1
    )
    mean = np.einsum("bhwk,hwd->bkd", weights, cells)
    off = cells[None, :, :, None] - mean[:, None, None]
    return mean, np.sqrt(np.einsum("bhwk,bhwkd->bkd", weights, off**2))


WRONG = [
    (
        ch12.check_laplace_log,
        laplace_with(mean=lambda c, w: ops.mean(w * c)),
        "divide by the number of *all*",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(mean=lambda c, w: ops.mean(c), guard=False),
        "counts every joint",
    ),
    (ch12.check_laplace_log, laplace_with(mean=lambda c, w: ops.sum(w * c)), "You return the sum"),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) * ops.exp(-a)),
        "infinite σ costs nothing",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) * ops.exp(-a) + a + 2 * LOG2),
        "count log σ once per joint",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) * ops.exp(-a) + a + LOG2),
        "log σ and log 2 once",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) * ops.exp(-a) + 2 * a),
        "leaves a log 2 for each",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) * ops.exp(-a) + 2 * a + LOG2),
        "of the *two*",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) * ops.exp(a) + 2 * a + 2 * LOG2),
        "must make errors cheap",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) * ops.exp(-a) - 2 * a + 2 * LOG2),
        "reward a large σ",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: size(e) / a + 2 * ops.log(ops.abs(a)) + 2 * LOG2),
        "take `log_sigma` for σ",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(
            cost=lambda e, a: (
                0.5 * ops.sum(e**2, axis=-1) * ops.exp(-2 * a) + 2 * a + math.log(2 * math.pi)
            )
        ),
        "the Gaussian likelihood",
    ),
    (
        ch12.check_laplace_log,
        laplace_with(cost=lambda e, a: ops.norm(e, axis=-1) * ops.exp(-a) + 2 * a + 2 * LOG2),
        "the distance of the joint",
    ),
    (ch12.check_laplace_log, lambda *given: laplace(*given) / 2, "*added*, not averaged"),
    (ch12.check_laplace_log, lambda *given: laplace(*given) + 0.3, "For each coordinate"),
    (
        ch12.check_laplace_log,
        laplace_with(mean=lambda c, w: w * c),
        "one number for the whole batch",
    ),
    (ch12.check_laplace_log, in_numpy, "NumPy leaves the graph"),
    (ch12.check_laplace_log, half_stopped, "not that of the likelihood"),
    (ch12.check_laplace_log, multiplied_away, "replace the *target*"),
    (ch12.check_laplace_log, laplace_with(mean=lambda c, w: ops.sum(w * c) / ops.sum(w)), "0 / 0"),
    (ch12.check_laplace_log, lambda y_true, y_pred: 0, "stops with TypeError"),
    (ch12.check_laplace_log, lambda *given: None, "has no value yet"),
    (ch12.check_coupling, everything_moves, "Every coordinate moves"),
    (ch12.check_coupling, coupling_with(sees=lambda x, stays: x), "sees all of `x`"),
    (ch12.check_coupling, coupling_with(mask=lambda stays: 1 - stays), "The roles are swapped"),
    (
        ch12.check_coupling,
        coupling_with(sees=lambda x, stays: x * (1 - stays)),
        "the same on both sides",
    ),
    (
        ch12.check_coupling,
        coupling_with(forth=lambda x, s, t: x * s + t),
        "multiply by its exponential",
    ),
    (
        ch12.check_coupling,
        coupling_with(forth=lambda x, s, t: (x + t) * np.exp(s)),
        "shift before you scale",
    ),
    (ch12.check_coupling, coupling_with(kept=0), "Where are the coordinates that stay"),
    (ch12.check_coupling, coupling_with(forth=lambda x, s, t: x), "The points are not right"),
    (
        ch12.check_coupling,
        lambda x, net, stays, back: coupling(x, net, stays, False),
        "the forward map both times",
    ),
    (
        ch12.check_coupling,
        coupling_with(undo=lambda x, s, t: x * np.exp(-s) - t),
        "Undo the last one",
    ),
    (
        ch12.check_coupling,
        coupling_with(undo=lambda x, s, t: (x - t) * np.exp(s)),
        "scale by exp(s) once more",
    ),
    (ch12.check_coupling, coupling_with(undo=lambda x, s, t: x - t), "do not return the points"),
    (ch12.check_coupling, coupling_with(back_sign=1), "cancel: it"),
    (
        ch12.check_coupling,
        coupling_with(det=lambda s, moves: s.sum(axis=1)),
        "counts coordinates that stay",
    ),
    (
        ch12.check_coupling,
        coupling_with(det=lambda s, moves: (moves * s).sum()),
        "Each point has its own",
    ),
    (ch12.check_coupling, coupling_with(det=lambda s, moves: moves * s), "product of"),
    (
        ch12.check_coupling,
        coupling_with(det=lambda s, moves: np.exp((moves * s).sum(axis=1))),
        "their logarithm is expected",
    ),
    (
        ch12.check_coupling,
        coupling_with(det=lambda s, moves: -(moves * s).sum(axis=1)),
        "The sign of your log-determinant",
    ),
    (
        ch12.check_coupling,
        coupling_with(det=lambda s, moves: (moves * s**2).sum(axis=1)),
        "of what moves",
    ),
    (ch12.check_coupling, in_place, "changed the `x`"),
    (ch12.check_coupling, lambda *given: coupling(*given)[0], "should return two things"),
    (ch12.check_coupling, lambda *given: None, "has no value yet"),
    (
        ch12.check_sigma_factor,
        repair_with(best=lambda z, density: np.sqrt((z**2).mean())),
        "the other density's",
    ),
    (ch12.check_sigma_factor, repair_with(best=lambda z, density: z.mean()), "the other density's"),
    (ch12.check_sigma_factor, repair_with(on=lambda weight: weight >= 0), "whose weight is 0"),
    (ch12.check_sigma_factor, lambda *given: 1 / sigma_factor(*given), "the reciprocal"),
    (ch12.check_sigma_factor, of_means, "the mean error by the mean σ"),
    (ch12.check_sigma_factor, of_mean_squares, "by the mean variance"),
    (
        ch12.check_sigma_factor,
        repair_with(best=lambda z, density: z.mean() if density == "laplace" else (z**2).mean()),
        "for the *variance*",
    ),
    (ch12.check_sigma_factor, repair_with(best=lambda z, density: np.median(z)), "the median of"),
    (ch12.check_sigma_factor, centred, "subtract the mean of e/σ"),
    (ch12.check_sigma_factor, cancelling, "forgot the absolute value"),
    (ch12.check_sigma_factor, by_joint, "counts for *two* coordinates"),
    (ch12.check_sigma_factor, lambda *given: 1.0, "differentiate by c"),
    (ch12.check_sigma_factor, divides_in_place, "changed the `error`"),
    (ch12.check_sigma_factor, lambda *given: None, "has no value yet"),
    (ch12.check_soft_argmax, soft_with(order=(1, 0)), "x and y are swapped"),
    (
        ch12.check_soft_argmax,
        soft_with(places=lambda n: np.arange(n) / n - 0.5),
        "the cells' corners",
    ),
    (
        ch12.check_soft_argmax,
        soft_with(places=lambda n: np.linspace(-0.5, 0.5, n)),
        "on the edge of the crop",
    ),
    (ch12.check_soft_argmax, soft_with(shift=0.5), "run from 0 to 1"),
    (ch12.check_soft_argmax, soft_with(places=np.arange), "You answer in cells"),
    (ch12.check_soft_argmax, hard, "You pick the best cell"),
    (ch12.check_soft_argmax, soft_with(exp=np.exp, axes=-1), "over the *joints*"),
    (
        ch12.check_soft_argmax,
        soft_with(exp=np.exp, axes=(0, 1, 2, 3)),
        "people and joints included",
    ),
    (ch12.check_soft_argmax, soft_with(exp=np.exp, axes=2), "over each row"),
    (ch12.check_soft_argmax, soft_with(exp=np.exp, axes=1), "over each column"),
    (ch12.check_soft_argmax, soft_with(exp=np.exp, normal=False), "do not add up to one"),
    (ch12.check_soft_argmax, soft_with(exp=lambda s: s), "They may be negative"),
    (ch12.check_soft_argmax, soft_with(shift=0.1), "The means are not right"),
    (
        ch12.check_soft_argmax,
        soft_with(spread=lambda square, mean: square - mean**2),
        "is the variance",
    ),
    (
        ch12.check_soft_argmax,
        soft_with(spread=lambda square, mean: np.sqrt(square)),
        "around the middle of the *crop*",
    ),
    (
        ch12.check_soft_argmax,
        soft_with(spread=lambda square, mean: 0 * mean),
        "the spreads are not",
    ),
    (ch12.check_soft_argmax, soft_with(exp=np.exp), "exp(2000) is infinite"),
    (ch12.check_soft_argmax, lambda scores: soft(scores)[0], "Return two arrays"),
    (ch12.check_soft_argmax, shifts_in_place, "changed the `scores`"),
    (ch12.check_soft_argmax, lambda scores: None, "has no value yet"),
    (ch12.check_soft_argmax, soft_argmax_one_largest, "*its own* largest score"),
]
