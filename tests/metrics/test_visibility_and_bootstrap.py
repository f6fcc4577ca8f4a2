"""Curves, PCKh and pixels; probabilities; bootstrap intervals: against hand calculations, SciPy and
known distributions (chapter 10)."""

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from posekit import metrics
from posekit.skeleton import COCO17

K = len(COCO17)


def people(seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, K, 2))
    return true + rng.normal(0, 0.3, true.shape), true, rng.random((n, K)) > 0.2


# ---- curves and other lengths --------------------------------------------------------------------


def test_pdj_is_pck_at_every_threshold_and_its_area_is_that_of_the_curve():
    pred, true, labelled = people()
    curve = metrics.pdj(pred, true, labelled)
    assert (
        curve["thresholds"][0] == 0
        and curve["thresholds"][-1] == 0.5
        and len(curve["thresholds"]) == 51
    )
    for i in (0, 7, 20, 50):
        one = metrics.pck(pred, true, labelled, curve["thresholds"][i])
        assert curve["value"][i] == one["value"]
        np.testing.assert_array_equal(curve["per_joint"][i], one["per_joint"])
    by_hand = ((curve["value"][1:] + curve["value"][:-1]) / 2).mean()
    assert curve["auc"] == pytest.approx(by_hand)
    assert (np.diff(curve["value"]) >= 0).all()
    assert curve["filtered"] == metrics.pck(pred, true, labelled)["filtered"] > 0


def test_the_area_under_a_perfect_curve_is_one():
    _, true, labelled = people()
    assert metrics.pdj(true, true, labelled)["auc"] == 1.0


def test_a_single_threshold_has_no_area():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = metrics.pdj(*people(), [0.2])
    assert curve["value"][0] == metrics.pck(*people(), 0.2)["value"]
    assert np.isnan(curve["auc"]) and np.isnan(curve["auc_per_joint"]).all()


def test_pckh_by_hand():
    """Heads of 20 and 40 px: half of it is 10 and 20 px. Errors of 12 px: no for the first, yes for
    the second."""
    true = np.zeros((3, K, 2))
    labelled = np.zeros((3, K), bool)
    labelled[:, 9] = True
    pred = true + (12, 0)
    score = metrics.pckh(pred, true, labelled, np.array([20.0, 40.0, np.nan]))
    assert score["value"] == 0.5
    assert (score["people"], score["filtered"]) == (2, 1)
    assert (
        metrics.pckh(pred, true, labelled, np.array([20.0, 40.0, np.nan]), threshold=0.6)["value"]
        == 1.0
    )


def test_a_length_for_each_person_works_for_any_skeleton():
    true = np.zeros((4, 14, 2))
    assert (
        metrics.pck(true + (1, 0), true, np.ones((4, 14), bool), 0.2, np.array([4.0, 6, 6, 6]))[
            "value"
        ]
        == 0.75
    )


def test_mean_pixel_error_by_hand():
    true = np.full((2, K, 2), np.nan)
    true[:, :2] = 0
    pred = np.nan_to_num(true)
    pred[0, 0] = (3, 4)
    pred[1, 0] = (0, 1)
    pred[0, 1] = (6, 8)
    labelled = np.zeros((2, K), bool)
    labelled[:, 0] = labelled[0, 1] = True
    score = metrics.mean_pixel_error(pred, true, labelled)
    assert score["value"] == pytest.approx((5 + 1 + 10) / 3)
    np.testing.assert_allclose(score["per_joint"][:2], [3, 10])
    assert np.isnan(score["per_joint"][2:]).all()


def test_relaxed_pcp_is_never_below_strict_and_is_named():
    pred, true, labelled = people()
    strict = metrics.pcp(pred, true, labelled)
    relaxed = metrics.pcp(pred, true, labelled, relaxed=True)
    assert all(relaxed[k] >= strict[k] for k in strict) and relaxed["mean"] > strict["mean"]


@pytest.mark.parametrize(
    ("shoulder", "elbow", "relaxed"),
    [((0, 0), (0, 6), 1.0), ((0, 9), (1, 0), 1.0), ((0, 9), (2, 0), 0.0), ((5, 0), (0, 5), 1.0)],
)
def test_relaxed_pcp_by_hand(shoulder, elbow, relaxed):
    """An upper arm of 10 px: the mean of its ends' errors must be within 5."""
    true = np.zeros((1, K, 2))
    labelled = np.zeros((1, K), bool)
    a = COCO17.index("left_shoulder")
    b = COCO17.index("left_elbow")
    true[0, b] = (0, 10)
    labelled[0, [a, b]] = True
    pred = true.copy()
    pred[0, a] += shoulder
    pred[0, b] += elbow
    assert metrics.pcp(pred, true, labelled, relaxed=True)["upper_arm"] == relaxed


def test_what_is_found_adds_up_to_the_scores():
    pred, true, labelled = people(3)
    found, counted = metrics.pck_hits(pred, true, labelled)
    assert found[counted].mean() == metrics.pck(pred, true, labelled)["value"]
    found, counted = metrics.pcp_hits(pred, true, labelled)
    kinds = [found[:, i : i + 2][counted[:, i : i + 2]].mean() for i in range(0, 8, 2)]
    assert np.mean(kinds) == pytest.approx(metrics.pcp(pred, true, labelled)["mean"])


# ---- probabilities -------------------------------------------------------------------------------


def answers(seed: int = 0, n: int = 300, ties: bool = True):
    rng = np.random.default_rng(seed)
    target = rng.random((n, K)) > 0.15
    probability = np.clip(rng.normal(0.4 + 0.3 * target, 0.2), 0, 1)
    return (np.round(probability, 2) if ties else probability), target, rng.random((n, K)) > 0.1


@pytest.mark.parametrize("ties", [True, False])
def test_auroc_is_the_mann_whitney_statistic(ties):
    probability, target, weight = answers(ties=ties)
    inside = probability[weight & target]
    outside = probability[weight & ~target]
    theirs = stats.mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
    assert metrics.auroc(probability, target, weight) == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), st.booleans()),
        min_size=1,
        max_size=20,
    )
)
def test_auroc_and_average_precision_equal_their_definitions(rows):
    probability = np.array([r[0] for r in rows])
    target = np.array([r[1] for r in rows])
    weight = np.ones(len(rows))
    pairs = [(a > b) + 0.5 * (a == b) for a in probability[target] for b in probability[~target]]
    auroc = metrics.auroc(probability, target, weight)
    assert np.isnan(auroc) if not pairs else auroc == pytest.approx(np.mean(pairs))
    ap = 0.0
    recall = 0.0
    for threshold in sorted(set(probability), reverse=True):
        called = probability >= threshold
        now = (called & target).sum() / max(target.sum(), 1)
        ap = ap + (now - recall) * (called & target).sum() / called.sum()
        recall = now
    ours = metrics.average_precision(probability, target, weight)
    assert np.isnan(ours) if not target.any() else ours == pytest.approx(ap)


def test_a_constant_answer_is_accurate_calibrated_and_useless():
    """The trap of the visibility output: most joints are inside, so saying so every time looks good
    by two of three scores."""
    _, target, weight = answers()
    constant = np.full(target.shape, target[weight].mean())
    assert metrics.visibility_accuracy(constant, target, weight) > 0.8
    assert metrics.expected_calibration_error(constant, target, weight) < 1e-12
    assert metrics.auroc(constant, target, weight) == 0.5


def test_the_reliability_diagram_by_hand():
    probability = np.array([0.0, 0.05, 0.1, 0.95, 1.0, 1.0, 0.5])
    target = np.array([0, 1, 0, 1, 1, 0, 1])
    weight = np.array([1, 1, 1, 1, 1, 1, 0])
    diagram = metrics.reliability(probability, target, weight)
    np.testing.assert_array_equal(diagram["count"], [2, 1, 0, 0, 0, 0, 0, 0, 0, 3])
    np.testing.assert_allclose(diagram["frequency"][[0, 1, 9]], [0.5, 0, 2 / 3])
    np.testing.assert_allclose(diagram["confidence"][[0, 1, 9]], [0.025, 0.1, 2.95 / 3])
    assert np.isnan(diagram["frequency"][2:9]).all()
    by_hand = (2 * 0.475 + 1 * 0.1 + 3 * (2.95 / 3 - 2 / 3)) / 6
    assert metrics.expected_calibration_error(probability, target, weight) == pytest.approx(by_hand)


def test_honest_probabilities_have_no_calibration_error_and_overconfident_ones_do():
    rng = np.random.default_rng(0)
    probability = rng.random(200_000)
    target = rng.random(200_000) < probability
    weight = np.ones(200_000)
    assert metrics.expected_calibration_error(probability, target, weight) < 0.01
    loud = np.where(probability > 0.5, 0.99, 0.01)
    assert metrics.expected_calibration_error(loud, target, weight) == pytest.approx(0.24, abs=0.01)


def test_nothing_known_gives_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for shape in ((0, K), (3, K)):
            empty = (np.zeros(shape), np.zeros(shape), np.zeros(shape))
            for score in (
                metrics.auroc,
                metrics.average_precision,
                metrics.expected_calibration_error,
            ):
                assert np.isnan(score(*empty))
            nobody = (np.zeros((*shape, 2)), np.zeros((*shape, 2)), np.zeros(shape, bool))
            assert np.isnan(metrics.pdj(*nobody)["auc"])
            assert np.isnan(metrics.mean_pixel_error(*nobody)["value"])
            found, counted = metrics.pck_hits(*nobody)
            assert np.isnan(metrics.bootstrap_ci(found, counted)).all()
            assert np.isnan(metrics.paired_bootstrap(found, found, counted)["difference"])


# ---- the bootstrap -------------------------------------------------------------------------------


def test_the_interval_of_a_share_is_the_binomial_one():
    """Independent people with one joint each: the normal interval of a share is the truth to
    compare with."""
    found = np.arange(400)[:, None] < 280
    low, high = metrics.bootstrap_ci(found, np.ones_like(found))
    half = 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.006)


def test_joints_of_one_person_are_not_independent():
    """Seventeen joints that stand and fall together are one observation: the interval must not
    shrink by the root of 17."""
    one = np.arange(100)[:, None] < 60
    low, high = metrics.bootstrap_ci(one, np.ones_like(one))
    together = np.repeat(one, K, axis=1)
    np.testing.assert_allclose(metrics.bootstrap_ci(together, np.ones_like(together)), (low, high))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        skill = rng.beta(7, 3, 80)
        found = rng.random((80, K)) < skill[:, None]
        low, high = metrics.bootstrap_ci(found, np.ones_like(found), resamples=400, seed=trial)
        inside += low <= 0.7 <= high
    assert 0.89 <= inside / 200 <= 0.99


def test_groups_are_averaged_as_pcp_averages_its_limbs():
    pred, true, labelled = people(4, n=200)
    found, counted = metrics.pcp_hits(pred, true, labelled)
    low, high = metrics.bootstrap_ci(found.reshape(-1, 4, 2), counted.reshape(-1, 4, 2))
    assert low < metrics.pcp(pred, true, labelled)["mean"] < high
    assert high - low < 0.15


def test_a_mean_of_numbers_has_an_interval_too():
    values = np.linspace(0, 1, 500)
    low, high = metrics.bootstrap_ci(values, np.ones(500))
    half = 1.96 * values.std() / np.sqrt(500)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)


def test_two_overlapping_models_can_differ_for_sure():
    """Hard people are hard for both: paired, a small steady gain shows; unpaired, the intervals
    overlap."""
    rng = np.random.default_rng(2)
    skill = rng.beta(2, 2, 150)[:, None]
    luck = rng.random((150, K))
    a = luck < skill + 0.04
    b = luck < skill
    counted = np.ones_like(a)
    assert metrics.bootstrap_ci(a, counted)[0] < metrics.bootstrap_ci(b, counted)[1], "they overlap"
    paired = metrics.paired_bootstrap(a, b, counted)
    assert paired["low"] > 0 and paired["share_above"] > 0.99
    assert paired["difference"] == pytest.approx(a.mean() - b.mean())
    same = metrics.paired_bootstrap(a, a, counted)
    assert same["low"] == same["high"] == same["difference"] == 0 and same["share_above"] == 0.5


def test_intervals_repeat_with_their_seed_and_change_nothing():
    pred, true, labelled = people()
    found, counted = metrics.pck_hits(pred, true, labelled)
    before = found.copy(), counted.copy()
    assert metrics.bootstrap_ci(found, counted, seed=1) == metrics.bootstrap_ci(
        found, counted, seed=1
    )
    assert metrics.bootstrap_ci(found, counted, seed=1) != metrics.bootstrap_ci(
        found, counted, seed=2
    )
    np.testing.assert_array_equal(found, before[0])
    np.testing.assert_array_equal(counted, before[1])


def test_intervals_equal_those_of_all_draws_at_once_and_need_no_memory():
    rng = np.random.default_rng(1)
    n = 2000
    a = rng.random((n, 1))
    b = rng.random((n, 1)) > 0.4
    counted = np.ones((n, 1), bool)
    draws = np.random.default_rng(0)
    weights = np.stack([np.bincount(draws.integers(0, n, n), minlength=n) for _ in range(2000)])
    tracemalloc.start()
    low, high = metrics.bootstrap_ci(a, counted)
    paired = metrics.paired_bootstrap(a, b, counted)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(
        (low, high), np.quantile(weights @ a / n, [0.025, 0.975]), rtol=1e-12
    )
    ends = np.quantile(weights @ a / n - weights @ b / n, [0.025, 0.975])
    np.testing.assert_allclose((paired["low"], paired["high"]), ends, rtol=1e-12)
    assert peak < 4 << 20


def test_one_person_gives_an_interval_of_no_width():
    found = np.ones((1, K), bool)
    assert metrics.bootstrap_ci(found, found) == (1.0, 1.0)
