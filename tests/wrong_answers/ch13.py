"""Wrong answers to the exercises of chapter 13, and a piece of the hint that each must get."""

import numpy as np

from posekit.inference import cascade
from posekit.notebook.checks import ch13
from posekit.skeleton import COCO17

LS, RS, LH, RH = (
    COCO17.index(n) for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)
SWAP = list(COCO17.flip_indices)


# ---- exercise 1 ----------------------------------------------------------------------------------


def sigmas(
    predicted,
    true,
    labelled,
    share,
    *,
    reach=lambda way: np.abs(way).max(axis=-1),
    sizes=lambda predicted, true: cascade.torso_diameter(predicted)[:, None],
    factor=2,
    all_joints=False,
    pooled=False,
    quantile=np.quantile,
):
    """The right answer, with one handle for each mistake."""
    values = factor * reach(true - predicted) / sizes(predicted, true)
    counted = np.ones_like(labelled) if all_joints else labelled
    if pooled:
        return np.full(17, np.quantile(values[counted], share))
    return np.array([quantile(values[counted[:, k], k], share) for k in range(17)])


def sigmas_with(**mistake):
    return lambda *given: sigmas(*given, **mistake)


def sigmas_in_place(predicted, true, labelled, share):
    true -= predicted
    return sigmas(0 * predicted, true, labelled, share, sizes=lambda p, t: 1)


def by_deviations(values, share):
    return 2 * values.std()


# ---- exercise 2 ----------------------------------------------------------------------------------


def back(
    uv,
    joint,
    side,
    angle,
    mirrored,
    fraction,
    *,
    sign=(-1, 1),
    always=False,
    add=1,
    stretch=1.0,
    start=0.0,
    turn=1.0,
    degrees=np.deg2rad,
    mirror_last=False,
    whole=False,
):
    flip = np.array(sign) if mirrored or always else np.ones(2)
    u, v = uv if mirror_last else uv * flip
    c, s = np.cos(turn * degrees(angle)), np.sin(turn * degrees(angle))
    way = np.array([c * u - s * v, s * u + c * v]) * (flip if mirror_last else 1)
    return joint + add * (1 if whole else fraction) * side * stretch * way - start * side


def back_with(**mistake):
    return lambda *given: back(*given, **mistake)


def whole_joint_mirrored(uv, joint, side, angle, mirrored, fraction):
    """Mirror the sum, joint included."""
    sign = [-1, 1] if mirrored else [1, 1]
    return back(uv, joint, side, angle, False, fraction) * sign


def step_alone(uv, joint, side, angle, mirrored, fraction):
    return back(uv, 0 * joint, side, angle, mirrored, fraction)


def in_sub_images(uv, joint, side, angle, mirrored, fraction):
    return back(uv, joint, 1, angle, mirrored, fraction)


def fraction_of_all(uv, joint, side, angle, mirrored, fraction):
    return fraction * back(uv, joint, side, angle, mirrored, 1.0)


def joint_rotated(uv, joint, side, angle, mirrored, fraction):
    sign = [-1, 1] if mirrored else [1, 1]
    spot = joint + fraction * side * uv * sign
    return back(spot, np.zeros(2), 1, angle, False, 1)


def adds_in_place(uv, joint, side, angle, mirrored, fraction):
    joint += back(uv, 0 * joint, side, angle, mirrored, fraction)
    return joint


# ---- exercise 3 ----------------------------------------------------------------------------------


def invented(
    pose,
    mean,
    covariance,
    swapped,
    rng,
    *,
    sign=-1,
    root=np.linalg.cholesky,
    turn="kij,kj->ki",
    centre=1.0,
    size=None,
    z=None,
    other=None,
    places=None,
    exact=False,
):
    diameter = cascade.torso_diameter(pose) if size is None else size
    drawn = rng.normal(size=(17, 2)) if z is None else z(rng)
    chosen = rng.random(17) < swapped if other is None else other(rng, swapped)
    meant = np.where(chosen[:, None], pose[SWAP], pose) if places is None else places(pose, swapped)
    delta = centre * mean + np.einsum(turn, root(covariance), drawn)
    if exact:
        delta = np.where(chosen[:, None], 0, delta)
    return meant + sign * diameter * delta


def invent_with(**mistake):
    return lambda *given: invented(*given, **mistake)


def variances_only(covariance):
    return np.sqrt(covariance * np.eye(2))


def one_for_all(rng):
    return np.tile(rng.normal(size=2), (17, 1))


def one_for_both(pose, mean, covariance, swapped, rng):
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return pose - cascade.torso_diameter(pose) * (mean + spread * rng.normal(size=(17, 1)))


def in_between(pose, swapped):
    return pose + swapped[:, None] * (pose[SWAP] - pose)


def in_place(pose, mean, covariance, swapped, rng):
    pose -= invented(0 * pose, mean, covariance, swapped, rng, size=1.0)
    return pose


# ---- exercise 4 ----------------------------------------------------------------------------------


def cost(
    shared,
    stages,
    backbone,
    head,
    *,
    way=None,
    backbones=None,
    heads=None,
    looks=17,
    outputs=None,
    looked=None,
    one_stage=False,
):
    if way is not None and shared != way:
        return cost(shared, stages, backbone, head)
    if shared:
        kinds = 9 if heads is None else heads
        parameters = (backbones or 1) * backbone[0] + kinds * head[0]
        work = (
            looks * backbone[1]
            + (looks if looked is None else looked) * (9 if outputs is None else outputs) * head[1]
        )
    else:
        parameters = (backbones or 17) * backbone[0] + (17 if heads is None else heads) * head[0]
        work = looks * (backbone[1] + head[1])
    return np.array([parameters, work]) * (1 if one_stage else stages)


def cost_with(**mistake):
    return lambda *given: cost(*given, **mistake)


# ---- found by changing the solutions piece by piece ----------------------------------------------


def cost_of_one_stage(*, parameters, work):
    """Multiplies only one of the two numbers by the number of stages."""

    def refiners_cost(shared, stages, backbone, head):
        backbones, heads = (1, 9) if shared else (17, 1)
        return (
            backbones * (backbone[0] + heads * head[0]) * (stages if parameters else 1),
            17 * (backbone[1] + heads * head[1]) * (stages if work else 1),
        )

    return refiners_cost


WRONG = [
    (ch13.check_sigma_needed, sigmas_with(factor=1), "half as wide"),
    (
        ch13.check_sigma_needed,
        sigmas_with(reach=lambda way: np.linalg.norm(way, axis=-1)),
        "not a disc",
    ),
    (
        ch13.check_sigma_needed,
        sigmas_with(reach=lambda way: np.abs(way).min(axis=-1)),
        "the smaller of the two",
    ),
    (ch13.check_sigma_needed, sigmas_with(reach=lambda way: np.abs(way[..., 0])), "x only"),
    (ch13.check_sigma_needed, sigmas_with(reach=lambda way: way.max(axis=-1)), "have a sign"),
    (ch13.check_sigma_needed, sigmas_with(sizes=lambda p, t: 1), "in pixels"),
    (
        ch13.check_sigma_needed,
        sigmas_with(sizes=lambda p, t: np.maximum(cascade.torso_diameter(t), 1e-9)[:, None]),
        "of the *true* poses",
    ),
    (
        ch13.check_sigma_needed,
        sigmas_with(sizes=lambda p, t: cascade.torso_diameter(p).mean()),
        "one mean diameter",
    ),
    (ch13.check_sigma_needed, sigmas_with(all_joints=True), "count unlabelled"),
    (ch13.check_sigma_needed, sigmas_with(pooled=True), "one sigma for all"),
    (
        ch13.check_sigma_needed,
        sigmas_with(quantile=lambda values, share: np.quantile(values, 1 - share)),
        "*outside*, not inside",
    ),
    (
        ch13.check_sigma_needed,
        sigmas_with(quantile=lambda values, share: values.max()),
        "keeps *all*",
    ),
    (
        ch13.check_sigma_needed,
        sigmas_with(quantile=lambda values, share: np.median(values)),
        "the median",
    ),
    (ch13.check_sigma_needed, sigmas_with(quantile=by_deviations), "are inside"),
    (ch13.check_sigma_needed, sigmas_in_place, "changed the `true`"),
    (ch13.check_sigma_needed, lambda *given: sigmas(*given)[:9], "should have shape (17,)"),
    (ch13.check_sigma_needed, lambda *given: None, "has no value yet"),
    (ch13.check_put_back, step_alone, "the step alone"),
    (ch13.check_put_back, back_with(add=-1), "subtract the step"),
    (ch13.check_put_back, in_sub_images, "fractions of the sub-image to pixels"),
    (ch13.check_put_back, back_with(stretch=0.5), "by half the side"),
    (ch13.check_put_back, back_with(start=0.5), "from the corner"),
    (ch13.check_put_back, back_with(sign=(-1, -1)), "sign of both"),
    (ch13.check_put_back, back_with(sign=(1, -1)), "the second coordinate"),
    (ch13.check_put_back, back_with(sign=(1, 1)), "ignore the mirror"),
    (ch13.check_put_back, back_with(always=True), "although nothing was mirrored"),
    (ch13.check_put_back, back_with(whole=True), "apply the whole correction"),
    (ch13.check_put_back, fraction_of_all, "of the joint as well"),
    (ch13.check_put_back, back_with(turn=0), "ignore the rotation"),
    (ch13.check_put_back, back_with(turn=-1), "instead of back"),
    (ch13.check_put_back, back_with(degrees=float), "take radians"),
    (ch13.check_put_back, back_with(mirror_last=True), "before you undo the mirror"),
    (ch13.check_put_back, joint_rotated, "image's corner"),
    (ch13.check_put_back, whole_joint_mirrored, "in the *image*"),
    (ch13.check_put_back, adds_in_place, "changed the `joint`"),
    (ch13.check_put_back, back_with(stretch=2.0), "your answer is"),
    (ch13.check_put_back, lambda *given: None, "has no value yet"),
    (ch13.check_invent, invent_with(sign=1), "point the wrong way"),
    (ch13.check_invent, invent_with(centre=0.0), "have no mean"),
    (ch13.check_invent, invent_with(root=lambda c: c), "by the covariance itself"),
    (ch13.check_invent, invent_with(turn="kji,kj->ki"), "the transposed root"),
    (ch13.check_invent, invent_with(root=variances_only), "are independent"),
    (ch13.check_invent, invent_with(size=1.0), "a fraction of a pixel"),
    (ch13.check_invent, invent_with(z=one_for_all), "the same error at once"),
    (ch13.check_invent, one_for_both, "one and the same random number"),
    (
        ch13.check_invent,
        invent_with(z=lambda rng: np.random.default_rng(0).normal(size=(17, 2))),
        "Every call returns",
    ),
    (
        ch13.check_invent,
        invent_with(z=lambda rng: np.random.normal(size=(17, 2))),  # noqa: NPY002
        "not from NumPy's global",
    ),
    (
        ch13.check_invent,
        invent_with(root=lambda c: 2 * np.linalg.cholesky(c)),
        "times the measured one",
    ),
    (ch13.check_invent, invent_with(centre=2.0), "On average your errors"),
    (ch13.check_invent, in_place, "changed the `pose`"),
    (
        ch13.check_invent,
        invent_with(other=lambda rng, swapped: rng.random(17) >= swapped),
        "location of the *swapped*",
    ),
    (ch13.check_invent, invent_with(other=lambda rng, swapped: swapped < 0), "What is `swapped`"),
    (ch13.check_invent, invent_with(other=lambda rng, swapped: swapped > 0), "always swap"),
    (
        ch13.check_invent,
        invent_with(
            other=lambda rng, swapped: (rng.random(17) < 1 - swapped) & (swapped.max() > 0)
        ),
        "one minus the probability",
    ),
    (
        ch13.check_invent,
        invent_with(other=lambda rng, swapped: rng.random() < swapped),
        "swapped at once",
    ),
    (
        ch13.check_invent,
        invent_with(other=lambda rng, swapped: rng.random(17) < swapped[SWAP]),
        "the counterpart's probability",
    ),
    (
        ch13.check_invent,
        invent_with(other=lambda rng, swapped: rng.random(17) < swapped / 2),
        "should be swapped in",
    ),
    (ch13.check_invent, invent_with(places=in_between), "neither near"),
    (ch13.check_invent, invent_with(exact=True), "exactly on their counterparts"),
    (ch13.check_invent, lambda *given: None, "has no value yet"),
    (ch13.check_refiners_cost, cost_with(one_stage=True), "parameters of one stage only"),
    (
        ch13.check_refiners_cost,
        cost_with(way=True, backbones=17, heads=17),
        "backbone's parameters seventeen times",
    ),
    (ch13.check_refiners_cost, cost_with(way=True, heads=17), "fewer *kinds*"),
    (ch13.check_refiners_cost, cost_with(way=True, heads=1), "an output for each kind"),
    (ch13.check_refiners_cost, cost_with(way=True, looks=1), "the work of one sub-image"),
    (ch13.check_refiners_cost, cost_with(way=True, looks=9), "still another image"),
    (ch13.check_refiners_cost, cost_with(way=True, looked=1), "works on all seventeen"),
    (ch13.check_refiners_cost, cost_with(way=True, outputs=1), "computes *all* its outputs"),
    (
        ch13.check_refiners_cost,
        cost_with(way=False, backbones=9, heads=9),
        "each of the seventeen joints",
    ),
    (ch13.check_refiners_cost, cost_with(way=False, backbones=1, heads=1), "How many are there"),
    (ch13.check_refiners_cost, cost_with(way=False, backbones=1), "nothing is shared"),
    (ch13.check_refiners_cost, cost_with(way=False, looks=289), "its own joint's sub-image only"),
    (ch13.check_refiners_cost, cost_with(way=False, looks=1), "A person has seventeen"),
    (ch13.check_refiners_cost, lambda *given: cost(*given)[::-1], "Parameters first"),
    (ch13.check_refiners_cost, cost_with(way=True, outputs=3), "Count sub-images for work"),
    (ch13.check_refiners_cost, lambda *given: None, "has no value yet"),
    (
        ch13.check_refiners_cost,
        cost_of_one_stage(parameters=True, work=False),
        "multiply-adds of one stage only",
    ),
    (
        ch13.check_refiners_cost,
        cost_of_one_stage(parameters=False, work=True),
        "parameters of one stage only",
    ),
]
