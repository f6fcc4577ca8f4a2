"""Wrong answers to the exercises of chapter 07, each with a piece of its hint."""

import numpy as np

from posekit.notebook.checks import ch07

# ---- exercise 1 ----------------------------------------------------------------------------------


def pairs(recipes, *, changes=(1,), keys=None, order=True, only=None, both=False, same=False):
    """The right answer, with one handle for each mistake."""
    found = set()
    names = sorted(recipes)
    for a in names:
        for b in names:
            if (a > b and not both) or (a == b and not same):
                continue
            of = (keys or (lambda x, y: {*x, *y}))(recipes[a], recipes[b])
            changed = sum(recipes[a].get(key) != recipes[b].get(key) for key in of)
            if changed in changes or (a == b and same):
                pair = (a, b) if order else (b, a)
                if only is None or only in pair:
                    found.add(pair)
    return found


def pairs_with(**mistake):
    return lambda recipes: pairs(recipes, **mistake)


def shared_settings(x, y):
    return set(x) & set(y)


def settings_of_the_first(x, y):
    return set(x)


# ---- exercise 2 ----------------------------------------------------------------------------------


def ratio(
    pred,
    true,
    labelled,
    boxes,
    *,
    corner=True,
    side=True,
    masked=True,
    top="pred",
    power=1,
    joints="each",
):
    """The right answer, with one handle for each mistake."""
    if corner:
        pred, true = pred - boxes[:, None, :2], true - boxes[:, None, :2]
    if side:
        pred, true = pred / boxes[:, None, 2:], true / boxes[:, None, 2:]
    if top == "true":
        pred, true = np.where(labelled[..., None], pred, 0), np.where(labelled[..., None], true, 0)
        pred, true = true, pred
    if joints == "pooled":
        return pred[labelled].var(axis=0).sum() / true[labelled].var(axis=0).sum()
    parts = []
    for k in range(17):
        on = labelled[:, k] if masked else slice(None)
        parts.append((pred[on, k].var(axis=0).sum() / true[on, k].var(axis=0).sum()) ** power)
    return np.mean(parts)


def ratio_with(**mistake):
    return lambda pred, true, labelled, boxes: ratio(pred, true, labelled, boxes, **mistake)


def ratio_in_place(pred, true, labelled, boxes):
    pred -= boxes[:, None, :2]
    return ratio(pred, true - boxes[:, None, :2], labelled, boxes, corner=False)


def ratio_of_sums(pred, true, labelled, boxes):
    pred, true = (
        (pred - boxes[:, None, :2]) / boxes[:, None, 2:],
        (true - boxes[:, None, :2]) / boxes[:, None, 2:],
    )
    both = [[x[labelled[:, k], k].var(axis=0).sum() for k in range(17)] for x in (pred, true)]
    return np.sum(both[0]) / np.sum(both[1])


# ---- exercise 3 ----------------------------------------------------------------------------------


def slip(
    pred,
    true,
    labelled,
    most,
    *,
    sign=1,
    flags=True,
    masked=True,
    best=np.argmin,
    low=None,
    nan=False,
    fixed=None,
):
    """The right answer, with one handle for each mistake."""
    most = fixed or most
    candidates = range(-most if low is None else low, most + 1)
    errors = []
    for n in candidates:
        rolled = np.roll(true, n, axis=0)
        on = np.roll(labelled, n, axis=0) if flags else labelled
        distance = np.abs(pred - rolled).sum(axis=-1)
        if nan:
            errors.append((distance * on).sum() / on.sum())
        else:
            errors.append(distance[on].mean() if masked else distance.mean())
    return sign * candidates[int(best(errors))]


def slip_with(**mistake):
    return lambda pred, true, labelled, most: slip(pred, true, labelled, most, **mistake)


def slip_in_place(pred, true, labelled, most):
    true[~labelled] = 0
    return slip(pred, true, labelled, most)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def slip_in_between(pred, true, labelled, most):
    """The mean of the shifts, weighted by how well they fit: no whole number."""
    shifts = np.arange(-most, most + 1)
    errors = []
    for n in shifts:
        on = np.roll(labelled, n, axis=0)
        off = np.abs(pred - np.roll(true, n, axis=0)).sum(axis=-1)
        errors.append(off[on].mean())
    return shifts[np.argmin(errors)] + 0.2


WRONG = [
    (ch07.check_fair_pairs, pairs_with(same=True), "with itself"),
    (ch07.check_fair_pairs, pairs_with(both=True), "both orders"),
    (ch07.check_fair_pairs, pairs_with(order=False), "alphabetical"),
    (ch07.check_fair_pairs, pairs_with(changes=(0, 1)), "nothing but the seed"),
    (ch07.check_fair_pairs, pairs_with(changes=(1, 2)), "backbone and head"),
    (ch07.check_fair_pairs, pairs_with(only="base"), "need not contain the base"),
    (ch07.check_fair_pairs, pairs_with(keys=shared_settings), "only one of two rows"),
    (ch07.check_fair_pairs, lambda recipes: sorted(pairs(recipes)), "a set of pairs"),
    (ch07.check_fair_pairs, lambda recipes: {"base"}, "tuple of two names"),
    (ch07.check_collapse_ratio, ratio_with(corner=False, side=False), "in photo pixels"),
    (ch07.check_collapse_ratio, ratio_with(corner=False), "did not subtract"),
    (ch07.check_collapse_ratio, ratio_with(masked=False), "unlabelled joints"),
    (ch07.check_collapse_ratio, ratio_with(top="true"), "upside down"),
    (ch07.check_collapse_ratio, ratio_with(power=0.5), "standard deviations"),
    (ch07.check_collapse_ratio, ratio_with(joints="pooled"), "one variance over all joints"),
    (ch07.check_collapse_ratio, ratio_in_place, "work on a copy"),
    (ch07.check_collapse_ratio, ratio_of_sums, "should be"),
    (ch07.check_label_slip, lambda pred, true, labelled, most: 0, "answer is 0"),
    (ch07.check_label_slip, slip_with(flags=False), "roll the flags along"),
    (ch07.check_label_slip, slip_with(sign=-1), "direction"),
    (ch07.check_label_slip, slip_with(best=np.argmax), "*smallest* error"),
    (ch07.check_label_slip, slip_with(low=0), "both ends included"),
    (ch07.check_label_slip, slip_with(nan=True), "may hold NaN"),
    (ch07.check_label_slip, slip_with(fixed=5), "use `most`"),
    (ch07.check_label_slip, slip_in_place, "work on a copy"),
    (ch07.check_label_slip, slip_in_between, "should be a whole number"),
]
