"""Wrong answers to the exercises of chapter 09, each with a piece of its hint."""

import numpy as np

from posekit.notebook.checks import ch09


def length(vectors):
    return np.linalg.norm(vectors, axis=-1)


# ---- exercise 1 ----------------------------------------------------------------------------------


def diagonal(heads):
    return 0.6 * length(heads[:, 2:])


def pckh(
    pred,
    true,
    labelled,
    heads,
    threshold=0.5,
    *,
    unit=diagonal,
    judged=lambda labelled, known: labelled & known[:, None],
    share=lambda hit, counts: hit[counts].mean(),
):
    """The right answer, with one handle for each mistake."""
    known = np.isfinite(heads).all(axis=1)
    hit = length(pred - true) <= threshold * unit(heads)[:, None]
    return share(hit, judged(labelled, known)), int((~known).sum())


def pckh_with(**mistake):
    return lambda pred, true, labelled, heads, threshold=0.5: pckh(
        pred, true, labelled, heads, threshold, **mistake
    )


def mean_of_people(hit, counts):
    return np.mean([h[c].mean() for h, c in zip(hit, counts) if c.any()])


def mean_of_joints(hit, counts):
    return np.mean([h[c].mean() for h, c in zip(hit.T, counts.T)])


def one_head(heads):
    return np.full(len(heads), np.nanmean(diagonal(heads)))


def those_who_stayed(pred, true, labelled, heads, threshold=0.5):
    value, skipped = pckh(pred, true, labelled, heads, threshold)
    return value, len(true) - skipped


def always_a_half(pred, true, labelled, heads, threshold=0.5):
    return pckh(pred, true, labelled, heads, 0.5)


def zeroes_in_place(pred, true, labelled, heads, threshold=0.5):
    answer = pckh(pred, true, labelled, heads, threshold)
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


def inverse(affine):
    return np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2]


def back_with(**mistake):
    return lambda u, affine, *sizes: back(u, inverse(affine), *sizes, **mistake)


def forwards(u, affine, crop_px, stored_px):
    return back(u, affine, crop_px, stored_px)


def shift_last(u, affine, crop_px, stored_px):
    return back(u, inverse(affine), crop_px, stored_px, shift=False) - affine[:, 2]


def shift_added(u, affine, crop_px, stored_px):
    stored = stored_pixels(u, affine, crop_px, stored_px) + affine[:, 2]
    return stored @ inverse(affine)[:, :2].T


def number_by_number(u, affine, crop_px, stored_px):
    stored = stored_pixels(u, affine, crop_px, stored_px) - affine[:, 2]
    return stored @ (1 / affine[:, :2]).T


def stored_pixels(u, affine, crop_px, stored_px):
    return (u + 0.5) * crop_px - 0.5 + (stored_px - crop_px) / 2


# ---- exercise 3 ----------------------------------------------------------------------------------


def falling(scores):
    return np.argsort(-scores, kind="stable")


def ap(
    photos,
    threshold,
    *,
    order=lambda scores, oks: falling(scores),
    again=False,
    free_only=True,
    enough=lambda oks, threshold: oks >= threshold,
    sort=lambda scores, best: falling(scores),
    recall_of=lambda photos: sum(oks.shape[1] for _, oks in photos),
    mean=lambda precision, recall, positive: np.mean(
        [max(precision[recall >= r], default=0) for r in np.linspace(0, 1, 101)]
    ),
):
    """The right answer, with one handle for each mistake."""
    rows = []
    for scores, oks in photos:
        taken = set()
        for d in order(scores, oks):
            people = range(oks.shape[1])
            if free_only and not again:
                people = [p for p in people if p not in taken]
            best = max(people, key=lambda p: oks[d, p], default=None)
            hit = best is not None and enough(oks[d, best], threshold)
            if hit and not again and best in taken:
                hit = False
            if hit:
                taken.add(best)
            rows.append((scores[d], oks[d].max(initial=0), hit))
    scores, best, positive = np.array(rows).T
    positive = positive[sort(scores, best)]
    precision = np.cumsum(positive) / np.arange(1, len(positive) + 1)
    return mean(precision, np.cumsum(positive) / recall_of(photos), positive)


def ap_with(**mistake):
    return lambda photos, threshold: ap(photos, threshold, **mistake)


def mean_of_photos(photos, threshold):
    values = [
        ap([photo], threshold) if len(photo[0]) else 0 for photo in photos if photo[1].shape[1]
    ]
    return np.mean(values)


def only_photos_with_people(photos, threshold):
    return ap([photo for photo in photos if photo[1].shape[1]], threshold)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def ap_beyond(photos, threshold):
    """Asks for a recall above each level, so that the last one is never reached."""
    rows, people = [], 0
    for scores, oks in photos:
        people += oks.shape[1]
        free = list(range(oks.shape[1]))
        for d in np.argsort(-scores):
            best = max(free, key=lambda person: oks[d, person], default=None)
            hit = best is not None and oks[d, best] >= threshold
            free = [person for person in free if not hit or person != best]
            rows.append((-scores[d], hit))
    hits = np.array([hit for _, hit in sorted(rows, key=lambda row: row[0])])
    precision, recall = np.cumsum(hits) / np.arange(1, len(hits) + 1), np.cumsum(hits) / people
    return np.mean([max(precision[recall > r], default=0) for r in np.linspace(0, 1, 101)])


WRONG = [
    (ch09.check_pckh, pckh_with(judged=lambda labelled, known: labelled), "comparison with NaN"),
    (ch09.check_pckh, pckh_with(unit=lambda h: length(h[:, 2:])), "the whole diagonal"),
    (ch09.check_pckh, pckh_with(unit=lambda h: h[:, 3]), "the height of the head box"),
    (ch09.check_pckh, pckh_with(unit=lambda h: h[:, 2]), "the width of the head box"),
    (ch09.check_pckh, pckh_with(unit=lambda h: 0.6 * h[:, 2:].max(axis=1)), "the longer side"),
    (ch09.check_pckh, pckh_with(unit=lambda h: 0.6 * length(h[:, 2:] - h[:, :2])), "lower right"),
    (ch09.check_pckh, pckh_with(unit=one_head), "with one head"),
    (ch09.check_pckh, pckh_with(unit=lambda h: np.ones(len(h))), "do not divide by anything"),
    (
        ch09.check_pckh,
        pckh_with(judged=lambda labelled, known: np.broadcast_to(known[:, None], labelled.shape)),
        "joints that are not labelled",
    ),
    (
        ch09.check_pckh,
        pckh_with(judged=lambda labelled, known: np.ones_like(labelled)),
        "with a head or not",
    ),
    (ch09.check_pckh, pckh_with(share=mean_of_people), "each person's fraction first"),
    (ch09.check_pckh, pckh_with(share=mean_of_joints), "each joint's fraction first"),
    (ch09.check_pckh, pckh_with(share=lambda hit, on: 1 - hit[on].mean()), "count the misses"),
    (ch09.check_pckh, always_a_half, "does not change with `threshold`"),
    (ch09.check_pckh, pckh_with(share=lambda hit, on: 100 * hit[on].mean()), "between 0 and 1"),
    (ch09.check_pckh, pckh_with(share=lambda hit, on: 0.5), "Check in turn"),
    (ch09.check_pckh, those_who_stayed, "counted the people who are scored"),
    (ch09.check_pckh, zeroes_in_place, "changed the `true`"),
    (ch09.check_pckh, lambda *given: pckh(*given)[0], "return two things"),
    (ch09.check_pckh, lambda *given: None, "has no value yet"),
    (ch09.check_to_photo, back_with(margin=0), "forgot the margin"),
    (ch09.check_to_photo, back_with(margin=1), "on both sides"),
    (ch09.check_to_photo, back_with(margin=-0.5), "instead of adding"),
    (
        ch09.check_to_photo,
        back_with(over=lambda crop_px, stored_px: stored_px),
        "over the stored image",
    ),
    (ch09.check_to_photo, back_with(half=0), "Half a pixel is missing"),
    (ch09.check_to_photo, back_with(centre=0), "started at the crop's corner"),
    (ch09.check_to_photo, back_with(shift=False), "before you invert"),
    (ch09.check_to_photo, back_with(turn=False), "transposed"),
    (ch09.check_to_photo, forwards, "forwards: `photo_to_stored`"),
    (ch09.check_to_photo, shift_last, "backwards it comes first"),
    (ch09.check_to_photo, shift_added, "backwards it is subtracted"),
    (ch09.check_to_photo, number_by_number, "one by one"),
    (ch09.check_to_photo, stored_pixels, "the last step"),
    (
        ch09.check_to_photo,
        lambda u, affine, crop_px, stored_px: (u + 0.5) * crop_px - 0.5,
        "two steps are missing",
    ),
    (ch09.check_to_photo, back_with(half=0, width=-1), "the size of the crop minus 1"),
    (ch09.check_to_photo, back_with(half=7), "Go step by step"),
    (ch09.check_to_photo, lambda *given: None, "has no value yet"),
    (ch09.check_average_precision, mean_of_photos, "the AP of each photo"),
    (
        ch09.check_average_precision,
        ap_with(order=lambda scores, oks: range(len(scores))),
        "in the order given",
    ),
    (
        ch09.check_average_precision,
        ap_with(order=lambda scores, oks: np.argsort(scores)),
        "the *least* confident detection",
    ),
    (
        ch09.check_average_precision,
        ap_with(order=lambda scores, oks: np.argsort(-oks.max(axis=1, initial=0))),
        "with the largest OKS",
    ),
    (
        ch09.check_average_precision,
        ap_with(sort=lambda scores, best: np.arange(len(scores))),
        "one after the other",
    ),
    (
        ch09.check_average_precision,
        ap_with(sort=lambda scores, best: np.argsort(scores)),
        "starts with the least confident",
    ),
    (
        ch09.check_average_precision,
        ap_with(sort=lambda scores, best: np.argsort(-best)),
        "is sorted by OKS",
    ),
    (ch09.check_average_precision, ap_with(again=True), "several times"),
    (ch09.check_average_precision, ap_with(free_only=False), "who are *left*"),
    (
        ch09.check_average_precision,
        ap_with(enough=lambda oks, threshold: oks > threshold),
        "at least, not more than",
    ),
    (
        ch09.check_average_precision,
        ap_with(recall_of=lambda photos: sum(o.shape[1] for s, o in photos if len(s))),
        "missing from your recall",
    ),
    (ch09.check_average_precision, only_photos_with_people, "leave out photos without people"),
    (
        ch09.check_average_precision,
        ap_with(
            mean=lambda precision, recall, positive: np.mean(
                [
                    precision[recall >= r][0] if (recall >= r).any() else 0
                    for r in np.linspace(0, 1, 101)
                ]
            )
        ),
        "is first reached",
    ),
    (
        ch09.check_average_precision,
        ap_with(
            mean=lambda precision, recall, positive: np.mean(
                [
                    precision[recall >= r].max()
                    for r in np.linspace(0, 1, 101)
                    if (recall >= r).any()
                ]
            )
        ),
        "recalls that are reached",
    ),
    (
        ch09.check_average_precision,
        ap_with(mean=lambda precision, recall, positive: (precision * positive).sum() / 17),
        "at each true positive",
    ),
    (ch09.check_average_precision, lambda photos, threshold: 0.5, "Check in turn"),
    (ch09.check_average_precision, ap_with(mean=lambda *given: 40.0), "between 0 and 1"),
    (ch09.check_average_precision, lambda *given: None, "has no value yet"),
    (ch09.check_average_precision, ap_beyond, "recall of exactly 1"),
]
