"""Wrong answers to the exercises of chapter 09, each with a piece of its hint."""

import numpy as np

from posekit.notebook.checks import ch09
from posekit.skeleton import COCO17

LEFT_SHOULDER, RIGHT_SHOULDER = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")
LEFT_HIP, RIGHT_HIP = COCO17.index("left_hip"), COCO17.index("right_hip")


def length(vectors):
    return np.linalg.norm(vectors, axis=-1)


# ---- exercise 1 ----------------------------------------------------------------------------------


def pck(
    pred,
    true,
    labelled,
    threshold=0.2,
    *,
    ends=(LEFT_SHOULDER, RIGHT_HIP),
    unit=None,
    judged=None,
    share=None,
    of="true",
):
    """The right answer, with one handle for each mistake."""
    source = true if of == "true" else pred
    torso = length(source[:, ends[0]] - source[:, ends[1]])
    scored = labelled[:, LEFT_SHOULDER] & labelled[:, RIGHT_HIP]
    torso = torso if unit is None else unit(torso, true, labelled, scored)
    hit = length(pred - true) <= threshold * torso[:, None]
    counts = labelled & scored[:, None] if judged is None else judged(labelled, scored)
    return hit[counts].mean() if share is None else share(hit, counts), int((~scored).sum())


def pck_with(**mistake):
    return lambda pred, true, labelled, threshold=0.2: pck(
        pred, true, labelled, threshold, **mistake
    )


def extent(torso, true, labelled, scored):
    return np.array(
        [np.ptp(t[on], axis=0).max() if on.any() else 0 for t, on in zip(true, labelled)]
    )


def misses_for_people_without_a_torso(pred, true, labelled, threshold=0.2):
    scored = labelled[:, LEFT_SHOULDER] & labelled[:, RIGHT_HIP]
    torso = np.where(scored, length(true[:, LEFT_SHOULDER] - true[:, RIGHT_HIP]), 0)
    return (length(pred - true) <= threshold * torso[:, None])[labelled].mean(), int(
        (~scored).sum()
    )


def mean_of_people(hit, counts):
    return np.mean([h[c].mean() for h, c in zip(hit, counts) if c.any()])


def mean_of_joints(hit, counts):
    return np.mean([h[c].mean() for h, c in zip(hit.T, counts.T)])


def those_who_stayed(pred, true, labelled, threshold=0.2):
    value, filtered = pck(pred, true, labelled, threshold)
    return value, len(true) - filtered


def always_a_fifth(pred, true, labelled, threshold=0.2):
    return pck(pred, true, labelled, 0.2)


def forgets_the_labels_in_place(pred, true, labelled, threshold=0.2):
    answer = pck(pred, true, labelled, threshold)
    true[~labelled] = 0
    return answer


# ---- exercise 2 ----------------------------------------------------------------------------------


def back(
    u,
    affine,
    crop_px,
    stored_px,
    *,
    half=0.5,
    margin=0.5,
    width=0,
    centre=0.5,
    over=None,
    turn=True,
    shift=True,
):
    size = over(crop_px, stored_px) if over else crop_px
    points = (u + centre) * (size + width) - half + (0 if over else margin * (stored_px - crop_px))
    return points @ (affine[:, :2].T if turn else affine[:, :2]) + (affine[:, 2] if shift else 0)


def back_with(**mistake):
    return lambda *given: back(*given, **mistake)


def the_wrong_way(u, affine, crop_px, stored_px):
    inverse = np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]
    return back(u, inverse, crop_px, stored_px)


def stored_pixels(u, affine, crop_px, stored_px):
    return (u + 0.5) * crop_px - 0.5 + (stored_px - crop_px) / 2


# ---- exercise 3 ----------------------------------------------------------------------------------


def longer(boxes):
    return boxes[:, 2:].max(axis=1)[:, None, None]


def ratio(
    pred,
    true,
    labelled,
    boxes,
    *,
    move=True,
    size=longer,
    spread=np.var,
    labels=True,
    pool=False,
    turned=False,
    axis=0,
):
    """The right answer, with one handle for each mistake."""
    center = (boxes[:, :2] + boxes[:, 2:] / 2)[:, None] if move else 0
    pred, true = ((points - center) / size(boxes) for points in (pred, true))
    if axis == 1:
        pred, true, labelled = (np.swapaxes(a, 0, 1) for a in (pred, true, labelled))
    on = labelled if labels else np.ones_like(labelled)
    parts = [
        [spread(p[on[:, k], k], axis=0).sum() for p in ((true, pred) if turned else (pred, true))]
        for k in range(on.shape[1])
    ]
    above, below = np.array(parts).T
    return float(above.sum() / below.sum() if pool else np.mean(above / below))


def ratio_with(**mistake):
    return lambda *given: ratio(*given, **mistake)


def one(boxes):
    return 1


# ---- exercise 4 ----------------------------------------------------------------------------------


def shares(found, counted, draws):
    return (found & counted).sum(axis=1)[draws].sum(axis=1) / counted.sum(axis=1)[draws].sum(axis=1)


def difference_with(
    counts=lambda counted: counted, masks=True, ends=(2.5, 97.5), share=shares, interval=None
):
    """The right answer, with one handle for each mistake."""

    def answer(found_a, found_b, counted, draws):
        if masks:
            found_a, found_b = found_a & counted, found_b & counted
        a, b = (share(found, counts(counted), draws) for found in (found_a, found_b))
        return np.percentile(a - b, ends) if interval is None else interval(a, b)

    return answer


def mean_of_shares(found, counted, draws):
    return ((found & counted).sum(axis=1) / counted.sum(axis=1))[draws].mean(axis=1)


def everybody_once(found, counted, draws):
    drawn = [np.unique(row) for row in draws]
    return np.array([(found & counted)[rows].sum() / counted[rows].sum() for rows in drawn])


def middle(values):
    return np.percentile(values, [2.5, 97.5])


def bell(values, shrink=1):
    return values.mean() + np.array([-1.96, 1.96]) * values.std() / shrink


def unmasks_in_place(found_a, found_b, counted, draws):
    found_a &= counted
    return difference_with()(found_a, found_b, counted, draws)


WRONG = [
    (
        ch09.check_pck,
        pck_with(ends=(RIGHT_SHOULDER, LEFT_HIP)),
        "the right shoulder and the left hip",
    ),
    (ch09.check_pck, pck_with(ends=(LEFT_SHOULDER, LEFT_HIP)), "stayed on the left side"),
    (ch09.check_pck, pck_with(ends=(RIGHT_SHOULDER, RIGHT_HIP)), "stayed on the right side"),
    (ch09.check_pck, pck_with(ends=(LEFT_SHOULDER, RIGHT_SHOULDER)), "the two shoulders"),
    (ch09.check_pck, pck_with(of="pred"), "*predicted* torso"),
    (
        ch09.check_pck,
        pck_with(unit=lambda t, true, labelled, on: np.full(len(t), t[on].mean())),
        "one torso",
    ),
    (ch09.check_pck, pck_with(unit=extent), "extent of the person's joints"),
    (ch09.check_pck, pck_with(unit=lambda t, *_: np.ones_like(t)), "do not divide by anything"),
    (
        ch09.check_pck,
        pck_with(judged=lambda labelled, scored: np.broadcast_to(scored[:, None], labelled.shape)),
        "joints that are not labelled",
    ),
    (
        ch09.check_pck,
        pck_with(judged=lambda labelled, scored: np.ones_like(labelled)),
        "labelled or not",
    ),
    (ch09.check_pck, pck_with(judged=lambda labelled, scored: labelled), "Leave them out"),
    (ch09.check_pck, misses_for_people_without_a_torso, "neither hit nor miss"),
    (ch09.check_pck, pck_with(share=mean_of_people), "each person's share first"),
    (ch09.check_pck, pck_with(share=mean_of_joints), "each joint's share first"),
    (
        ch09.check_pck,
        pck_with(share=lambda hit, counts: 1 - hit[counts].mean()),
        "count the misses",
    ),
    (ch09.check_pck, always_a_fifth, "does not change with `threshold`"),
    (
        ch09.check_pck,
        pck_with(share=lambda hit, counts: 100 * hit[counts].mean()),
        "between 0 and 1",
    ),
    (ch09.check_pck, pck_with(share=lambda hit, counts: 0.5), "Check in turn"),
    (ch09.check_pck, those_who_stayed, "counted those who stayed"),
    (ch09.check_pck, forgets_the_labels_in_place, "changed the `true`"),
    (ch09.check_pck, lambda *given: pck(*given)[0], "return two things"),
    (ch09.check_pck, lambda *given: None, "has no value yet"),
    (ch09.check_to_photo, back_with(margin=0), "forgot the margin"),
    (ch09.check_to_photo, back_with(margin=1), "on both sides"),
    (ch09.check_to_photo, back_with(margin=-0.5), "away instead of adding"),
    (
        ch09.check_to_photo,
        back_with(over=lambda crop_px, stored_px: stored_px),
        "over the stored image",
    ),
    (ch09.check_to_photo, back_with(half=0), "Half a pixel is missing"),
    (ch09.check_to_photo, back_with(centre=0), "started at the crop's corner"),
    (ch09.check_to_photo, back_with(shift=False), "last column, the shift"),
    (ch09.check_to_photo, back_with(turn=False), "transposed"),
    (ch09.check_to_photo, the_wrong_way, "the wrong way"),
    (ch09.check_to_photo, stored_pixels, "the last step"),
    (
        ch09.check_to_photo,
        lambda u, affine, crop_px, stored_px: (u + 0.5) * crop_px - 0.5,
        "two steps are missing",
    ),
    (ch09.check_to_photo, back_with(half=0, width=-1), "the size of the crop minus 1"),
    (ch09.check_to_photo, back_with(half=7), "Go step by step"),
    (ch09.check_to_photo, lambda *given: None, "has no value yet"),
    (ch09.check_collapse, ratio_with(move=False, size=one), "a constant pose varies"),
    (ch09.check_collapse, ratio_with(size=one), "did not divide by the boxes' size"),
    (
        ch09.check_collapse,
        ratio_with(size=lambda boxes: boxes[:, None, 2:]),
        "nothing is stretched",
    ),
    (ch09.check_collapse, ratio_with(spread=np.std), "standard deviations"),
    (ch09.check_collapse, ratio_with(labels=False), "not labelled along"),
    (ch09.check_collapse, ratio_with(pool=True), "joint by joint"),
    (ch09.check_collapse, ratio_with(axis=1), "joints of one person"),
    (ch09.check_collapse, ratio_with(turned=True), "turned the ratio round"),
    (ch09.check_collapse, lambda *given: 0.5, "over *people*"),
    (ch09.check_collapse, lambda *given: None, "has no value yet"),
    (
        ch09.check_difference,
        difference_with(interval=lambda a, b: middle(b - a)),
        "turned the difference round",
    ),
    (
        ch09.check_difference,
        difference_with(interval=lambda a, b: middle(a) - middle(b)[::-1]),
        "what pairs them",
    ),
    (
        ch09.check_difference,
        difference_with(interval=lambda a, b: middle(a) - middle(b)),
        "low from low",
    ),
    (ch09.check_difference, difference_with(share=mean_of_shares), "each person's share first"),
    (
        ch09.check_difference,
        difference_with(masks=False, counts=np.ones_like),
        "joints that do not count",
    ),
    (ch09.check_difference, difference_with(counts=np.ones_like), "divide by all joints"),
    (ch09.check_difference, difference_with(share=everybody_once), "drawn twice"),
    (ch09.check_difference, difference_with(ends=(0.025, 0.975)), "wants per cent"),
    (ch09.check_difference, difference_with(ends=(5, 95)), "on *each* side"),
    (ch09.check_difference, difference_with(ends=(97.5, 2.5)), "low end comes first"),
    (ch09.check_difference, difference_with(interval=lambda a, b: middle(a)), "Where is B?"),
    (ch09.check_difference, difference_with(interval=lambda a, b: middle(b)), "Where is A?"),
    (
        ch09.check_difference,
        difference_with(interval=lambda a, b: bell(a - b, len(a) ** 0.5)),
        "shrinks the more often",
    ),
    (ch09.check_difference, difference_with(interval=lambda a, b: bell(a - b)), "a bell curve"),
    (
        ch09.check_difference,
        difference_with(interval=lambda a, b: np.zeros(2)),
        "For each row of `draws`",
    ),
    (ch09.check_difference, unmasks_in_place, "changed the `found_a`"),
    (ch09.check_difference, lambda *given: None, "has no value yet"),
]
