"""Chapter 07's exercises: the solutions in the notebook pass, agree with posekit everywhere, and mistakes get their own hint."""

from pathlib import Path

import nbformat
import numpy as np
import pytest

from posekit import geometry, metrics
from posekit.notebook.checks import CheckFailed, ch07
from posekit.skeleton import COCO17
from tests.wrong_answers import ch07 as wrong

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex07_evaluation.ipynb"
K = len(COCO17)


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "COCO17": COCO17}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (ch07.check_pck, "pck"),
        (ch07.check_to_photo, "to_photo"),
        (ch07.check_collapse, "collapse"),
        (ch07.check_difference, "difference"),
    ],
)
def test_solution_passes_and_an_empty_answer_is_told_so(check, name, capsys):
    check(SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    with pytest.raises(CheckFailed, match="no value yet"):
        check(None)


@pytest.mark.parametrize(("check", "answer", "piece"), wrong.WRONG)
def test_each_mistake_gets_its_own_hint(check, answer, piece):
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    assert piece in str(caught.value)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in wrong.WRONG:
        hints.setdefault(check.__name__, set()).add(piece)
    assert len(hints) == 4 and all(len(pieces) >= 6 for pieces in hints.values())


def crowd(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 30, (30, K, 2))
    return true + rng.normal(0, 10, (30, K, 2)), true, rng.random((30, K)) > 0.2


@pytest.mark.parametrize("seed", range(5))
def test_the_solutions_are_posekits_metrics(seed):
    pred, true, labelled = crowd(seed)
    for threshold in (0.1, 0.5):
        score = metrics.pck(pred, true, labelled, threshold)
        assert SOLVED["pck"](pred, true, labelled, threshold) == (score["value"], score["filtered"])


@pytest.mark.parametrize("seed", range(5))
def test_the_way_back_and_the_ratio_are_posekits(seed):
    rng = np.random.default_rng(seed)
    u, true, labelled = crowd(seed)
    u, true, boxes = u / 100, true / 100, rng.uniform(50, 300, (30, 4))
    photo = []
    for box, poses in zip(boxes, zip(u, true)):
        stored_to_photo = geometry.invert(
            geometry.crop_affine(geometry.bbox_center(box), 1.5 * geometry.square_side(box), 336)
        )
        photo.append([SOLVED["to_photo"](pose, stored_to_photo, 224, 336) for pose in poses])
        affine = geometry.crop_affine(geometry.bbox_center(box), geometry.square_side(box), 224)
        back = geometry.encode_keypoints(geometry.apply_affine(affine, photo[-1][0]), (224, 224))
        np.testing.assert_allclose(back, poses[0], atol=1e-6)
    pred, truth = np.stack(photo).swapaxes(0, 1)
    assert SOLVED["collapse"](pred, truth, labelled, boxes) == pytest.approx(
        metrics.collapse_ratio(u, true, labelled), rel=1e-3
    )


def test_the_solution_is_posekits_paired_interval():
    pred, true, labelled = crowd(7)
    worse = pred + np.random.default_rng(8).normal(0, 3, pred.shape)
    (a, counted), (b, _) = (metrics.pck_hits(answers, true, labelled) for answers in (pred, worse))
    rng = np.random.default_rng(0)
    draws = np.stack([rng.integers(0, len(a), len(a)) for _ in range(2000)])
    theirs = metrics.paired_bootstrap(a, b, counted, seed=0)
    assert np.allclose(
        SOLVED["difference"](a, b, counted, draws), [theirs["low"], theirs["high"]], atol=1e-12
    )
