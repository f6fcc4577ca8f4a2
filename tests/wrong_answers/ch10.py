"""Wrong answers to the exercises of chapter 10, and a piece of the hint that each must get."""

import numpy as np

from posekit.notebook.checks import ch10
from posekit.skeleton import COCO17

LS, RS, LH, RH = (
    COCO17.index(n) for n in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
)


# ---- exercise 1 ----------------------------------------------------------------------------------


def distance(pose, i, j):
    return np.linalg.norm(pose[i] - pose[j])


def look(
    pose,
    k,
    sigma,
    *,
    pairs=((LS, RH), (RS, LH)),
    centre=lambda pose, k, side: pose[k],
    combine=np.mean,
    factor=1.0,
):
    """The right answer, with one handle for each mistake."""
    side = factor * sigma * combine([distance(pose, i, j) for i, j in pairs])
    return (*centre(pose, k, side), side)


def look_with(**mistake):
    return lambda pose, k, sigma: look(pose, k, sigma, **mistake)


def moves_the_pose(pose, k, sigma):
    pose -= 1
    return look(pose + 1, k, sigma)


# ---- exercise 2 ----------------------------------------------------------------------------------


def back(uv, joint, side, mirrored, *, sign=(-1, 1), always=False, add=1, stretch=1.0, start=0.0):
    way = side * stretch * uv * (np.array(sign) if mirrored or always else 1)
    return joint + add * way - start * side


def back_with(**mistake):
    return lambda uv, joint, side, mirrored: back(uv, joint, side, mirrored, **mistake)


def whole_joint_mirrored(uv, joint, side, mirrored):
    return back(uv, joint, side, mirrored) * ([-1, 1] if mirrored else 1)


def adds_in_place(uv, joint, side, mirrored):
    joint += side * uv * ([-1, 1] if mirrored else [1, 1])
    return joint


# ---- exercise 3 ----------------------------------------------------------------------------------


def invented(
    pose,
    mean,
    covariance,
    rng,
    *,
    sign=-1,
    root=np.linalg.cholesky,
    turn="kij,kj->ki",
    centre=1.0,
    size=None,
    z=None,
):
    diameter = (distance(pose, LS, RH) + distance(pose, RS, LH)) / 2 if size is None else size
    drawn = rng.normal(size=(17, 2)) if z is None else z(rng)
    return pose + sign * diameter * (centre * mean + np.einsum(turn, root(covariance), drawn))


def invent_with(**mistake):
    return lambda pose, mean, covariance, rng: invented(pose, mean, covariance, rng, **mistake)


def variances_only(covariance):
    return np.sqrt(covariance * np.eye(2))


def one_for_all(rng):
    return np.tile(rng.normal(size=2), (17, 1))


def one_for_both(pose, mean, covariance, rng):
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    size = (distance(pose, LS, RH) + distance(pose, RS, LH)) / 2
    return pose - size * (mean + spread * rng.normal(size=(17, 1)))


def in_place(pose, mean, covariance, rng):
    pose -= invented(0 * pose, mean, covariance, rng, size=1.0)
    return pose


# ---- exercise 4 ----------------------------------------------------------------------------------


def cost(
    shared,
    stages,
    trunk,
    head,
    *,
    way=None,
    trunks=None,
    heads=None,
    looks=17,
    outputs=None,
    looked=None,
    one_stage=False,
):
    if way is not None and shared != way:
        return cost(shared, stages, trunk, head)
    if shared:
        kinds = 9 if heads is None else heads
        parameters = (trunks or 1) * trunk[0] + kinds * head[0]
        work = (
            looks * trunk[1]
            + (looks if looked is None else looked) * (9 if outputs is None else outputs) * head[1]
        )
    else:
        parameters = (trunks or 17) * trunk[0] + (17 if heads is None else heads) * head[0]
        work = looks * (trunk[1] + head[1])
    return np.array([parameters, work]) * (1 if one_stage else stages)


def cost_with(**mistake):
    return lambda *given: cost(*given, **mistake)


WRONG = [
    (
        ch10.check_second_look,
        look_with(centre=lambda pose, k, side: pose[k] - side / 2),
        "the box's corner",
    ),
    (
        ch10.check_second_look,
        look_with(centre=lambda pose, k, side: pose[[LS, RS, LH, RH]].mean(axis=0)),
        "centred on the torso",
    ),
    (ch10.check_second_look, look_with(centre=lambda pose, k, side: pose[k][::-1]), "y before x"),
    (
        ch10.check_second_look,
        look_with(centre=lambda pose, k, side: np.round(pose[k])),
        "rounded the centre",
    ),
    (ch10.check_second_look, look_with(centre=lambda pose, k, side: pose[0]), "was predicted"),
    (
        ch10.check_second_look,
        lambda pose, k, sigma: look(pose, k, 1 + 0 * sigma),
        "does not change with sigma",
    ),
    (ch10.check_second_look, look_with(factor=0.5), "the *whole* side"),
    (ch10.check_second_look, look_with(combine=np.sum), "add the two diagonals"),
    (ch10.check_second_look, look_with(pairs=((LS, RH),)), "only one of the two"),
    (ch10.check_second_look, look_with(pairs=((RS, LH),)), "only one of the two"),
    (ch10.check_second_look, look_with(combine=np.max), "the longer of the two"),
    (ch10.check_second_look, look_with(pairs=((LS, LH), (RS, RH))), "*below* it"),
    (ch10.check_second_look, look_with(pairs=((LS, RS), (LH, RH))), "across the shoulders"),
    (ch10.check_second_look, look_with(combine=lambda d: np.mean(np.square(d))), "no square root"),
    (ch10.check_second_look, look_with(combine=np.min), "the shorter of the two"),
    (ch10.check_second_look, look_with(factor=1.1), "the side should be"),
    (ch10.check_second_look, moves_the_pose, "changed the `pose`"),
    (ch10.check_second_look, lambda pose, k, sigma: pose[k], "should have shape (3,)"),
    (ch10.check_second_look, lambda pose, k, sigma: pose["nose"], "stops with"),
    (ch10.check_second_look, lambda *given: None, "has no value yet"),
    (
        ch10.check_put_back,
        lambda uv, joint, side, mirrored: back(uv, 0 * joint, side, mirrored),
        "the way alone",
    ),
    (ch10.check_put_back, back_with(add=-1), "take the way off"),
    (
        ch10.check_put_back,
        lambda uv, joint, side, mirrored: back(uv, joint, 1, mirrored),
        "shares of the sub-image to pixels",
    ),
    (ch10.check_put_back, back_with(stretch=0.5), "by half the side"),
    (ch10.check_put_back, back_with(start=0.5), "from the corner"),
    (ch10.check_put_back, back_with(sign=(-1, -1)), "turn round both"),
    (ch10.check_put_back, back_with(sign=(1, -1)), "the second coordinate"),
    (ch10.check_put_back, back_with(sign=(1, 1)), "ignore the mirror"),
    (ch10.check_put_back, back_with(always=True), "where nothing was mirrored"),
    (ch10.check_put_back, whole_joint_mirrored, "in the *image*"),
    (ch10.check_put_back, adds_in_place, "changed the `joint`"),
    (ch10.check_put_back, back_with(stretch=2.0), "your answer is"),
    (ch10.check_put_back, lambda *given: None, "has no value yet"),
    (ch10.check_invent, invent_with(sign=1), "point the wrong way"),
    (ch10.check_invent, invent_with(centre=0.0), "have no mean"),
    (ch10.check_invent, invent_with(root=lambda c: c), "by the covariance itself"),
    (ch10.check_invent, invent_with(turn="kji,kj->ki"), "the transposed root"),
    (ch10.check_invent, invent_with(root=variances_only), "do not hang together"),
    (ch10.check_invent, invent_with(size=1.0), "a fraction of a pixel"),
    (ch10.check_invent, invent_with(z=one_for_all), "the same mistake at once"),
    (ch10.check_invent, one_for_both, "one and the same random number"),
    (
        ch10.check_invent,
        invent_with(z=lambda rng: np.random.default_rng(0).normal(size=(17, 2))),
        "Every call invents",
    ),
    (
        ch10.check_invent,
        invent_with(z=lambda rng: np.random.normal(size=(17, 2))),  # noqa: NPY002
        "not from NumPy's global",
    ),
    (
        ch10.check_invent,
        invent_with(root=lambda c: 2 * np.linalg.cholesky(c)),
        "times the measured one",
    ),
    (ch10.check_invent, invent_with(centre=2.0), "On average your mistakes"),
    (ch10.check_invent, in_place, "changed the `pose`"),
    (ch10.check_invent, lambda *given: None, "has no value yet"),
    (ch10.check_refiners_cost, cost_with(one_stage=True), "one stage for two"),
    (
        ch10.check_refiners_cost,
        cost_with(way=True, trunks=17, heads=17),
        "trunk's parameters seventeen times",
    ),
    (ch10.check_refiners_cost, cost_with(way=True, heads=17), "fewer *kinds*"),
    (ch10.check_refiners_cost, cost_with(way=True, heads=1), "an output for each kind"),
    (ch10.check_refiners_cost, cost_with(way=True, looks=1), "the work of one sub-image"),
    (ch10.check_refiners_cost, cost_with(way=True, looks=9), "still another image"),
    (ch10.check_refiners_cost, cost_with(way=True, looked=1), "works on all seventeen"),
    (ch10.check_refiners_cost, cost_with(way=True, outputs=1), "computes *all* its outputs"),
    (
        ch10.check_refiners_cost,
        cost_with(way=False, trunks=9, heads=9),
        "each of the seventeen joints",
    ),
    (ch10.check_refiners_cost, cost_with(way=False, trunks=1, heads=1), "How many are there"),
    (ch10.check_refiners_cost, cost_with(way=False, trunks=1), "nothing is shared"),
    (ch10.check_refiners_cost, cost_with(way=False, looks=289), "its own joint's sub-image only"),
    (ch10.check_refiners_cost, cost_with(way=False, looks=1), "A person has seventeen"),
    (ch10.check_refiners_cost, lambda *given: cost(*given)[::-1], "Parameters first"),
    (ch10.check_refiners_cost, cost_with(way=True, outputs=3), "Count sub-images for work"),
    (ch10.check_refiners_cost, lambda *given: None, "has no value yet"),
]
