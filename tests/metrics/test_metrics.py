"""posekit.metrics: every score worked by hand on a figure of a few numbers, and what must not
change it (chapter 09)."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posekit import geometry, metrics
from posekit.skeleton import COCO17

K = len(COCO17)
LIMB_ENDS = [
    (name, COCO17.index(a), COCO17.index(b))
    for name, sides in metrics.LIMBS.items()
    for a, b in sides
]
ARM = COCO17.index("left_shoulder"), COCO17.index("left_elbow")
TORSO = COCO17.index("left_shoulder"), COCO17.index("right_hip")


def one_person(**joints: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A person of whom only the named joints are labelled: (1, 17, 2) and (1, 17); the rest is
    NaN."""
    true = np.full((1, K, 2), np.nan)
    labelled = np.zeros((1, K), bool)
    for name, xy in joints.items():
        true[0, COCO17.index(name)] = xy
        labelled[0, COCO17.index(name)] = True
    return true, labelled


def moved(true: np.ndarray, **by: tuple[float, float]) -> np.ndarray:
    """A prediction: the truth with the named joints displaced (and 0, 0 where the truth is
    unknown)."""
    pred = np.nan_to_num(true)
    for name, xy in by.items():
        pred[0, COCO17.index(name)] += xy
    return pred


def crowd(
    seed: int = 0, n: int = 40, error: float = 0.3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n random people of unit size with errors about the size of the thresholds; a fifth of the
    joints is unlabelled."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, K, 2))
    return true + rng.normal(0, error, (n, K, 2)), true, rng.random((n, K)) > 0.2


def similarity(rng: np.random.Generator) -> np.ndarray:
    """A random turn, uniform scale, shift, and perhaps a mirror."""
    crop = geometry.crop_affine(
        rng.normal(0, 50, 2), rng.uniform(5, 400), 224, rng.uniform(-180, 180)
    )
    return geometry.compose(crop, np.diag([1.0, rng.choice([-1, 1]), 1])[:2])


def all_scores(pred, true, labelled) -> np.ndarray:
    pcp = metrics.pcp(pred, true, labelled)
    pck = metrics.pck(pred, true, labelled)
    return np.array(
        [*pcp.values(), pck["value"], *pck["per_joint"], pck["people"], pck["filtered"]]
    )


# ---- strict PCP ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shoulder", "elbow", "strict", "relaxed"),
    [
        ((0, 0), (0, 0), True, True),
        ((3, 4), (0, 5), True, True),  # both ends exactly half a limb away: 5 of 10
        ((3, 4), (0, 5.001), False, False),
        (
            (0, 0),
            (0, 6),
            False,
            True,
        ),  # one end 6 away, the other right: the mean of the two is only 3
        ((0, 9), (1, 0), False, True),
        ((0, 9), (2, 0), False, False),
    ],
)
def test_strict_pcp_by_hand_and_where_relaxed_pcp_differs(shoulder, elbow, strict, relaxed):
    """An upper arm of length 10: strict wants each end within 5, relaxed wants the mean of the two
    distances within 5."""
    true, labelled = one_person(left_shoulder=(100, 50), left_elbow=(100, 60))
    pred = moved(true, left_shoulder=shoulder, left_elbow=elbow)
    score = metrics.pcp(pred, true, labelled)
    assert score["upper_arm"] == score["mean"] == float(strict)
    assert (np.linalg.norm(pred - true, axis=-1)[0, ARM].mean() <= 0.5 * 10) == relaxed


def test_the_unit_is_the_true_limb_not_the_predicted_one():
    """A predicted arm twice as long as the true one must not widen its own circle."""
    true, labelled = one_person(left_shoulder=(0, 0), left_elbow=(0, 10))
    pred = moved(true, left_elbow=(0, 8))
    assert 8 <= 0.5 * 18, "half the predicted length would have let it through"
    assert metrics.pcp(pred, true, labelled)["upper_arm"] == 0


def test_pcp_pools_left_and_right_and_takes_the_mean_over_the_four_kinds_of_limb():
    """Arms: 2 limbs labelled, 1 found; one lower leg, found: mean of 1/2 and 1, not of three limbs
    (2/3)."""
    true, labelled = one_person(
        left_shoulder=(0, 0),
        left_elbow=(0, 10),
        right_shoulder=(20, 0),
        right_elbow=(20, 10),
        left_knee=(5, 40),
        left_ankle=(5, 60),
    )
    score = metrics.pcp(moved(true, right_elbow=(7, 0)), true, labelled)
    assert score["upper_arm"] == 0.5
    assert score["lower_leg"] == 1.0
    assert np.isnan(score["lower_arm"])
    assert np.isnan(score["upper_leg"])
    assert score["mean"] == 0.75


def test_a_limb_with_one_end_unlabelled_is_not_scored():
    true, labelled = one_person(left_shoulder=(0, 0))
    assert np.isnan(metrics.pcp(moved(true), true, labelled)["upper_arm"])


@pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_pcp_equals_a_loop_over_people_and_limbs(seed, threshold):
    pred, true, labelled = crowd(seed, error=0.6)
    found = {name: [] for name in metrics.LIMBS}
    for p, t, on in zip(pred, true, labelled):
        for name, a, b in LIMB_ENDS:
            if on[a] and on[b]:
                reach = threshold * np.hypot(*(t[a] - t[b]))
                found[name].append(
                    np.hypot(*(p[a] - t[a])) <= reach and np.hypot(*(p[b] - t[b])) <= reach
                )
    score = metrics.pcp(pred, true, labelled, threshold)
    for name, hits in found.items():
        assert score[name] == pytest.approx(np.mean(hits))
    assert score["mean"] == pytest.approx(np.mean([np.mean(hits) for hits in found.values()]))
    assert 0 < score["mean"] < 1, "the case decides nothing"


def test_pcp_scores_the_limbs_of_the_papers_tables():
    assert {
        name: [tuple(j.split("_", 1)[1] for j in limb) for limb in sides]
        for name, sides in metrics.LIMBS.items()
    } == {
        "upper_arm": [("shoulder", "elbow")] * 2,
        "lower_arm": [("elbow", "wrist")] * 2,
        "upper_leg": [("hip", "knee")] * 2,
        "lower_leg": [("knee", "ankle")] * 2,
    }
    for sides in metrics.LIMBS.values():
        assert [{j.split("_")[0] for j in limb} for limb in sides] == [{"left"}, {"right"}]


# ---- PCK -----------------------------------------------------------------------------------------


def test_pck_by_hand():
    """Torso (30, 40): 50 long, so the circle has radius 10. Errors 10 (in), 10.01 (out), 0, 0 -> 3
    of 4."""
    true, labelled = one_person(
        left_shoulder=(100, 100), right_hip=(130, 140), nose=(90, 60), left_wrist=(150, 150)
    )
    pred = moved(true, nose=(6, 8), left_wrist=(0, 10.01))
    score = metrics.pck(pred, true, labelled)
    assert score["value"] == 0.75
    assert (score["people"], score["filtered"]) == (1, 0)
    assert score["per_joint"][COCO17.index("nose")] == 1
    assert score["per_joint"][COCO17.index("left_wrist")] == 0
    assert np.isnan(score["per_joint"][COCO17.index("right_wrist")])


def test_the_same_error_counts_differently_on_a_larger_torso():
    """12 pixels: outside the circle of a torso of 50, inside that of a torso of 100."""
    true, labelled = one_person(left_shoulder=(0, 0), right_hip=(30, 40), nose=(0, -30))
    pred = moved(true, nose=(12, 0))
    assert metrics.pck(pred, true, labelled)["value"] == pytest.approx(2 / 3)
    near = true.copy()
    near[0, TORSO[1]] = 60, 80
    pred[0, TORSO[1]] = 60, 80
    assert metrics.pck(pred, near, labelled)["value"] == 1


def test_the_torso_runs_from_the_left_shoulder_to_the_right_hip():
    true, labelled = one_person(
        left_shoulder=(0, 0), right_shoulder=(-40, 0), left_hip=(0, 90), right_hip=(-30, 40)
    )
    assert metrics.torso_length(true, labelled) == pytest.approx(50)


@pytest.mark.parametrize("missing", ["left_shoulder", "right_hip"])
def test_people_without_a_torso_are_left_out_and_counted(missing):
    true, labelled = one_person(left_shoulder=(0, 0), right_hip=(30, 40), nose=(0, -30))
    true = np.repeat(true, 3, axis=0)
    labelled = np.repeat(labelled, 3, axis=0)
    labelled[0, COCO17.index(missing)] = False
    pred = np.nan_to_num(true)
    pred[0] += 500  # the person without a torso is all wrong, and must not be seen
    score = metrics.pck(pred, true, labelled)
    assert (score["value"], score["people"], score["filtered"]) == (1, 2, 1)


def test_a_torso_of_no_length_is_no_torso():
    true, labelled = one_person(left_shoulder=(5, 5), right_hip=(5, 5), nose=(0, 0))
    score = metrics.pck(moved(true), true, labelled)
    assert np.isnan(score["value"])
    assert (score["people"], score["filtered"]) == (0, 1)


def test_pck_is_the_share_of_joints_not_the_mean_of_people():
    """One person with 3 labelled joints, all right; one with 17, all wrong: 3 of 20."""
    true = np.random.default_rng(0).normal(size=(2, K, 2))
    labelled = np.ones((2, K), bool)
    labelled[0] = False
    labelled[0, [*TORSO, 0]] = True
    pred = true + np.array([0, 1e3])[:, None, None]
    assert metrics.pck(pred, true, labelled)["value"] == pytest.approx(3 / 20)


@pytest.mark.parametrize("threshold", [0.05, 0.2, 0.5])
def test_pck_equals_a_loop_over_people_and_joints(threshold):
    pred, true, labelled = crowd(4)
    hits = [[] for _ in range(K)]
    filtered = 0
    for p, t, on in zip(pred, true, labelled):
        if not (on[TORSO[0]] and on[TORSO[1]]):
            filtered += 1
            continue
        reach = threshold * np.hypot(*(t[TORSO[0]] - t[TORSO[1]]))
        for k in np.flatnonzero(on):
            hits[k].append(np.hypot(*(p[k] - t[k])) <= reach)
    score = metrics.pck(pred, true, labelled, threshold)
    assert score["value"] == pytest.approx(np.mean(np.concatenate(hits)))
    np.testing.assert_allclose(score["per_joint"], [np.mean(h) for h in hits])
    assert score["filtered"] == filtered > 0
    assert 0 < score["value"] < 1, "the case decides nothing"


def test_a_wider_threshold_never_lowers_a_score():
    pred, true, labelled = crowd(2)
    thresholds = np.linspace(0, 2, 40)
    for score in (
        [metrics.pck(pred, true, labelled, t)["value"] for t in thresholds],
        [metrics.pcp(pred, true, labelled, t)["mean"] for t in thresholds],
    ):
        assert np.all(np.diff(score) >= 0)
        assert score[0] == 0 and score[-1] > 0.9


# ---- both ----------------------------------------------------------------------------------------


def test_a_perfect_prediction_scores_one():
    _, true, labelled = crowd()
    score = metrics.pck(true, true, labelled)
    assert set(metrics.pcp(true, true, labelled).values()) == {1.0}
    assert score["value"] == 1
    assert np.all(score["per_joint"] == 1)
    assert metrics.collapse_ratio(true, true, labelled) == pytest.approx(1)
    assert metrics.visibility_accuracy(labelled, labelled, np.ones_like(labelled)) == 1


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e300, 0.0])
def test_unlabelled_joints_change_nothing(poison):
    """Whatever stands in an unlabelled joint, in truth or prediction: no score moves, and no
    warning is raised."""
    pred, true, labelled = crowd(1)
    target = true[..., 0] > 0
    weight = labelled.astype(float)
    probability = np.abs(np.sin(pred[..., 0]))
    want = all_scores(pred, true, labelled)
    ratio = metrics.collapse_ratio(pred, true, labelled)
    accuracy = metrics.visibility_accuracy(probability, target, weight)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for where in (lambda a: np.where(labelled[..., None], a, poison),):
            for p, t in ((where(pred), true), (pred, where(true)), (where(pred), where(true))):
                np.testing.assert_array_equal(all_scores(p, t, labelled), want)
                assert metrics.collapse_ratio(p, t, labelled) == ratio
        masked = np.where(labelled, target, poison)
        assert metrics.visibility_accuracy(probability, masked, weight) == accuracy
        assert (
            metrics.visibility_accuracy(np.where(labelled, probability, poison), target, weight)
            == accuracy
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scores_are_invariant_under_similarity_transforms(seed):
    """Turn, uniform scale, shift, mirror: every length grows by the same factor. So PCP and PCK in
    the pixels of an aspect-true crop are those in photo pixels."""
    rng = np.random.default_rng(seed)
    pred, true, labelled = crowd(seed, n=12)
    affine = similarity(rng)
    np.testing.assert_array_equal(
        all_scores(
            geometry.apply_affine(affine, pred), geometry.apply_affine(affine, true), labelled
        ),
        all_scores(pred, true, labelled),
    )


def test_each_person_may_have_a_crop_of_its_own():
    pred, true, labelled = crowd(3)
    maps = np.stack([similarity(np.random.default_rng(i)) for i in range(len(true))])
    np.testing.assert_array_equal(
        all_scores(geometry.apply_affine(maps, pred), geometry.apply_affine(maps, true), labelled),
        all_scores(pred, true, labelled),
    )


def test_a_stretched_crop_scores_differently():
    """A 100 x 200 box squeezed into a square: across, every length doubles; a limb and its error
    need not lie alike."""
    true, labelled = one_person(
        left_shoulder=(0, 0),
        right_hip=(0, 50),
        left_elbow=(0, 20),
        left_hip=(20, 50),
        left_knee=(40, 50),
    )
    pred = moved(true, left_elbow=(8, 0), left_knee=(0, 12))
    stretch = np.array([[2.0, 0, 0], [0, 1, 0]])
    crop = [geometry.apply_affine(stretch, points) for points in (pred, true)]
    # upper arm, upright, 20 long: error across 8 of 10; stretched, 16 of 10: lost
    assert metrics.pcp(pred, true, labelled)["upper_arm"] == 1
    assert metrics.pcp(*crop, labelled)["upper_arm"] == 0
    # thigh, lying, 20 long: error downwards 12 of 10: lost; stretched, 12 of 20: found
    assert metrics.pcp(pred, true, labelled)["upper_leg"] == 0
    assert metrics.pcp(*crop, labelled)["upper_leg"] == 1
    # torso upright, 50 long, radius 10: the elbow's 8 becomes 16
    assert metrics.pck(pred, true, labelled)["per_joint"][ARM[1]] == 1
    assert metrics.pck(*crop, labelled)["per_joint"][ARM[1]] == 0


def test_no_function_changes_its_callers_arrays():
    arrays = [np.array(a) for a in crowd(5)]
    arrays.append(np.abs(np.sin(arrays[0][..., 0])))
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.setflags(write=False)
    pred, true, labelled, probability = arrays
    all_scores(pred, true, labelled)
    metrics.torso_length(true, labelled)
    metrics.collapse_ratio(pred, true, labelled)
    metrics.visibility_accuracy(probability, labelled, labelled)
    for a, b in zip(arrays, before):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [0, 3], ids=["nobody", "nobody labelled"])
def test_nothing_to_score_gives_nan_without_a_warning(n):
    empty = np.zeros((n, K, 2))
    nothing = np.zeros((n, K), bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pck = metrics.pck(empty, empty, nothing)
        values = [
            *metrics.pcp(empty, empty, nothing).values(),
            pck["value"],
            *pck["per_joint"],
            *metrics.torso_length(empty, nothing),
            metrics.collapse_ratio(empty, empty, nothing),
            metrics.visibility_accuracy(nothing, nothing, nothing),
        ]
    assert len(values) == 5 + 1 + K + n + 2
    assert np.all(np.isnan(values))
    assert (pck["people"], pck["filtered"]) == (0, n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lists_and_single_precision_will_do(dtype):
    pred, true, labelled = (a.astype(dtype) for a in crowd(6))
    np.testing.assert_array_equal(
        all_scores(pred.tolist(), true.tolist(), labelled.tolist()),
        all_scores(pred, true, labelled),
    )


# ---- the collapse detector -----------------------------------------------------------------------


def people_in_photos(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Poses in normalised crop coordinates (n, 17, 2), and the affine from there to photos 1920 x
    1080 (n, 2, 3)."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(-0.4, 0.4, (1, K, 2)) + rng.normal(0, 0.1, (n, K, 2))
    side = rng.uniform(100, 400, n)
    center = rng.uniform((200, 200), (1720, 880), (n, 2))
    linear = side[:, None, None] * np.eye(2)
    return true, np.concatenate([linear, center[..., None]], axis=-1), np.ones((n, K), bool)


def test_the_collapse_ratio_of_the_mean_pose_is_0_and_of_the_truth_1():
    true, _, labelled = people_in_photos()
    mean = np.broadcast_to(true.mean(axis=0), true.shape)
    assert metrics.collapse_ratio(mean, true, labelled) < 0.01
    assert metrics.collapse_ratio(true, true, labelled) == pytest.approx(1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1.5])
def test_a_prediction_drawn_towards_the_mean_shows_its_share_squared(share):
    true, _, labelled = people_in_photos(1)
    mean = true.mean(axis=0)
    assert metrics.collapse_ratio(mean + share * (true - mean), true, labelled) == pytest.approx(
        share**2
    )


def test_in_photo_coordinates_a_constant_predictor_looks_alive():
    """Why the ratio is taken in crop coordinates: people stand in different places, so a constant,
    mapped back to the photos, varies nearly as much as the truth."""
    true, to_photo, labelled = people_in_photos(2)
    constant = np.broadcast_to(true.mean(axis=0), true.shape)
    in_crop = metrics.collapse_ratio(constant, true, labelled)
    in_photo = metrics.collapse_ratio(
        geometry.apply_affine(to_photo, constant), geometry.apply_affine(to_photo, true), labelled
    )
    assert in_crop < 0.01
    assert in_photo > 0.9


def test_the_collapse_ratio_by_hand():
    """Two joints, two people. Nose: truth ±2 across, prediction ±1: 1/4. Left eye: truth ±1 down,
    prediction ±1: 1."""
    true = np.zeros((2, K, 2))
    pred = np.zeros((2, K, 2))
    labelled = np.zeros((2, K), bool)
    labelled[:, :2] = True
    true[:, 0, 0] = (-2, 2)
    pred[:, 0, 0] = (-1, 1)
    true[:, 1, 1] = (7, 9)
    pred[:, 1, 1] = (-1, 1)
    assert metrics.collapse_ratio(pred, true, labelled) == pytest.approx((1 / 4 + 1) / 2)


def test_joints_labelled_once_or_never_moving_have_no_ratio():
    true = np.random.default_rng(0).normal(size=(4, K, 2))
    labelled = np.zeros((4, K), bool)
    labelled[0, 0] = True
    assert np.isnan(metrics.collapse_ratio(true, true, labelled))
    labelled[:, 1] = True
    true[:, 1] = 3.0
    assert np.isnan(metrics.collapse_ratio(true, true, labelled))


# ---- visibility ----------------------------------------------------------------------------------


def test_visibility_accuracy_by_hand():
    """Four joints are known; 0.9 for 1, 0.2 for 0 and 0.51 for 1 are right, 0.5 for 1 is not; two
    more are unknown."""
    probability = np.array([[0.9, 0.2, 0.51, 0.5, 0.1, 0.9]])
    target = np.array([[1, 0, 1, 1, 1, 0]])
    weight = np.array([[1, 1, 1, 1, 0, 0]])
    assert metrics.visibility_accuracy(probability, target, weight) == 0.75


def test_always_answering_inside_scores_the_share_of_joints_inside():
    rng = np.random.default_rng(0)
    target = rng.random((50, K)) < 0.9
    weight = rng.random((50, K)) < 0.8
    score = metrics.visibility_accuracy(np.ones((50, K)), target, weight)
    assert score == pytest.approx(target[weight].mean())
    assert score > 0.85
