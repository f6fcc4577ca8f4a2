"""Wrong answers to the exercises of chapter 10, each with a piece of its hint."""

import numpy as np

from posekit.notebook.checks import ch10
from posekit.skeleton import COCO17

OTHER = list(COCO17.flip_indices)


# ---- exercise 1 ----------------------------------------------------------------------------------


def sides(pred, true, labelled, *, middle=np.mean, every=False, turn=None, better=np.less):
    """The right answer, with one handle for each mistake."""
    out = pred.copy()
    for n, person in enumerate(pred):
        other = person[OTHER]
        on = slice(None) if every else labelled[n]
        now, then = (middle(np.linalg.norm(p - true[n], axis=1)[on]) for p in (person, other))
        if better(then, now):
            out[n] = other if turn is None else turn(person)
    return out


def sides_with(**mistake):
    return lambda *given: sides(*given, **mistake)


def joint_by_joint(pred, true, labelled, *, all_joints=True):
    other = pred[:, OTHER]
    closer = np.linalg.norm(other - true, axis=2) < np.linalg.norm(pred - true, axis=2)
    return np.where((closer & (labelled | all_joints))[..., None], other, pred)


def turns_in_place(pred, true, labelled):
    pred[:] = sides(pred, true, labelled)
    return pred


# ---- exercise 2 ----------------------------------------------------------------------------------


def gaps(p, happened, bins, *, order=np.argsort, said=np.mean):
    parts = np.array_split(order(p), bins)
    return np.array([said(p[part]) - happened[part].mean() for part in parts])


def ece_with(total=lambda gaps: np.abs(gaps).mean(), bins=None, **mistake):
    return lambda p, happened, n: total(gaps(p, happened, bins or n, **mistake))


def equal_width(p, happened, bins):
    place = np.minimum((p * bins).astype(int), bins - 1)
    return sum(
        (place == b).mean() * abs(p[place == b].mean() - happened[place == b].mean())
        for b in np.unique(place)
    )


def sorts_p_only(p, happened, bins):
    parts = zip(np.array_split(np.sort(p), bins), np.array_split(happened, bins), strict=True)
    return np.mean([abs(a.mean() - b.mean()) for a, b in parts])


def centres(p, happened, bins):
    parts = np.array_split(happened[np.argsort(p)], bins)
    return np.mean([abs((i + 0.5) / bins - part.mean()) for i, part in enumerate(parts)])


def sorts_in_place(p, happened, bins):
    value = ece_with()(p, happened, bins)
    p.sort()
    return value


# ---- exercise 3 ----------------------------------------------------------------------------------


def per_scene(values, scene):
    return np.array([values[scene == s].sum() for s in range(scene.max() + 1)])


def shares(correct, counted, scene, draws):
    hits, counts = (per_scene(joints.sum(axis=1), scene) for joints in (correct & counted, counted))
    return hits[draws].sum(axis=1) / counts[draws].sum(axis=1)


def difference_with(
    counts=lambda counted: counted, masks=True, ends=(2.5, 97.5), share=shares, interval=None
):
    """The right answer, with one handle for each mistake."""

    def answer(correct_a, correct_b, counted, scene, draws):
        if masks:
            correct_a, correct_b = correct_a & counted, correct_b & counted
        a, b = (share(c, counts(counted), scene, draws) for c in (correct_a, correct_b))
        return np.percentile(a - b, ends) if interval is None else interval(a, b)

    return answer


def people_not_scenes(correct, counted, scene, draws):
    hits, counts = ((joints).sum(axis=1) for joints in (correct & counted, counted))
    return hits[draws].sum(axis=1) / counts[draws].sum(axis=1)


def mean_of_scenes(correct, counted, scene, draws):
    hits, counts = (per_scene(joints.sum(axis=1), scene) for joints in (correct & counted, counted))
    return (hits / counts)[draws].mean(axis=1)


def mean_of_people(correct, counted, scene, draws):
    own = (correct & counted).sum(axis=1) / counted.sum(axis=1)
    by_scene = np.array([own[scene == s].mean() for s in range(scene.max() + 1)])
    return by_scene[draws].mean(axis=1)


def scenes_once(correct, counted, scene, draws):
    return np.array([shares(correct, counted, scene, np.unique(row)[None])[0] for row in draws])


def middle(values):
    return np.percentile(values, [2.5, 97.5])


def bell(values, shrink=1):
    return values.mean() + np.array([-1.96, 1.96]) * values.std() / shrink


def masks_in_place(correct_a, correct_b, counted, scene, draws):
    correct_a &= counted
    return difference_with()(correct_a, correct_b, counted, scene, draws)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def exchanges_labelled_joints(pred, true, labelled):
    right = sides(pred, true, labelled)
    return np.where(labelled[..., None], right, pred)


WRONG = [
    (ch10.check_best_sides, lambda pred, true, labelled: pred.copy(), "as they are"),
    (ch10.check_best_sides, lambda pred, true, labelled: pred[:, OTHER], "for everyone"),
    (ch10.check_best_sides, joint_by_joint, "joint by joint. This"),
    (
        ch10.check_best_sides,
        lambda *given: joint_by_joint(*given, all_joints=False),
        "among the labelled ones",
    ),
    (ch10.check_best_sides, sides_with(every=True), "Joints that are not labelled count"),
    (ch10.check_best_sides, sides_with(better=np.greater), "the *larger* error"),
    (ch10.check_best_sides, sides_with(turn=lambda p: p * [-1, 1]), "mirrored the coordinates"),
    (ch10.check_best_sides, lambda pred, true, labelled: true.copy(), "return the truth"),
    (
        ch10.check_best_sides,
        lambda pred, true, labelled: np.where(labelled[..., None], true, pred),
        "to their true positions",
    ),
    (ch10.check_best_sides, sides_with(middle=np.max), "the largest error"),
    (ch10.check_best_sides, lambda pred, true, labelled: pred + 1, "of 40 people"),
    (ch10.check_best_sides, turns_in_place, "changed the `pred`"),
    (ch10.check_best_sides, lambda *given: None, "has no value yet"),
    (ch10.check_equal_count_ece, equal_width, "equal *width*"),
    (ch10.check_equal_count_ece, ece_with(lambda g: -g.mean()), "cancel in your mean. Take"),
    (ch10.check_equal_count_ece, ece_with(lambda g: g.mean()), "the other sign"),
    (ch10.check_equal_count_ece, ece_with(lambda g: np.abs(g).max()), "the largest gap"),
    (ch10.check_equal_count_ece, ece_with(lambda g: (g**2).mean()), "squared gaps"),
    (ch10.check_equal_count_ece, ece_with(lambda g: (g**2).mean() ** 0.5), "the root"),
    (ch10.check_equal_count_ece, ece_with(lambda g: np.abs(g).sum()), "not divided"),
    (ch10.check_equal_count_ece, ece_with(order=lambda p: np.arange(len(p))), "did not sort"),
    (ch10.check_equal_count_ece, sorts_p_only, "keep its outcome"),
    (ch10.check_equal_count_ece, centres, "the centres of bins"),
    (
        ch10.check_equal_count_ece,
        ece_with(said=lambda p: (p.min() + p.max()) / 2),
        "the smallest and the largest",
    ),
    (ch10.check_equal_count_ece, ece_with(bins=10), "is always 10"),
    (ch10.check_equal_count_ece, lambda p, happened, bins: 0.123, "Sort by probability"),
    (ch10.check_equal_count_ece, sorts_in_place, "changed the `p`"),
    (ch10.check_equal_count_ece, lambda *given: None, "has no value yet"),
    (
        ch10.check_difference,
        difference_with(interval=lambda a, b: middle(b - a)),
        "has the wrong sign",
    ),
    (ch10.check_difference, difference_with(share=people_not_scenes), "for *people*"),
    (
        ch10.check_difference,
        difference_with(interval=lambda a, b: middle(a) - middle(b)[::-1]),
        "what pairs them",
    ),
    (
        ch10.check_difference,
        difference_with(interval=lambda a, b: middle(a) - middle(b)),
        "low from low",
    ),
    (ch10.check_difference, difference_with(share=mean_of_scenes), "each scene's PCK first"),
    (ch10.check_difference, difference_with(share=mean_of_people), "each person's PCK first"),
    (
        ch10.check_difference,
        difference_with(masks=False, counts=np.ones_like),
        "include joints that do not count",
    ),
    (ch10.check_difference, difference_with(counts=np.ones_like), "divide by all joints"),
    (ch10.check_difference, difference_with(share=scenes_once), "each scene once"),
    (ch10.check_difference, difference_with(ends=(0.025, 0.975)), "takes per cent"),
    (ch10.check_difference, difference_with(ends=(5, 95)), "on *each* side"),
    (ch10.check_difference, difference_with(ends=(97.5, 2.5)), "low end comes first"),
    (ch10.check_difference, difference_with(interval=lambda a, b: middle(a)), "Where is B?"),
    (ch10.check_difference, difference_with(interval=lambda a, b: middle(b)), "Where is A?"),
    (
        ch10.check_difference,
        difference_with(interval=lambda a, b: bell(a - b, len(a) ** 0.5)),
        "shrinks the more often",
    ),
    (
        ch10.check_difference,
        difference_with(interval=lambda a, b: bell(a - b)),
        "normally distributed",
    ),
    (
        ch10.check_difference,
        difference_with(interval=lambda a, b: np.zeros(2)),
        "For each row of `draws`",
    ),
    (ch10.check_difference, masks_in_place, "changed the `correct_a`"),
    (ch10.check_difference, lambda *given: None, "has no value yet"),
    (ch10.check_best_sides, exchanges_labelled_joints, "only the joints that are labelled"),
]
