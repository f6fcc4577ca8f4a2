"""Chapter 06's exercises: the solutions in the notebook pass, agree with posekit everywhere, and mistakes get their own hint."""

import runpy
from pathlib import Path

import keras
import nbformat
import numpy as np
import pytest

from posekit import inputs, losses, metrics, models
from posekit.inference import predictor
from posekit.notebook.checks import CheckFailed, ch06
from posekit.skeleton import COCO17

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex06_deeppose.ipynb"
WRONG = runpy.run_path(str(Path(__file__).parents[1] / "wrong_answers/ch06.py"))["WRONG"]
EXERCISES = {
    "masked_l2": ch06.check_masked_l2,
    "training_targets": ch06.check_training_targets,
    "flip_test": ch06.check_flip_test,
    "collapse_ratio": ch06.check_collapse_ratio,
}


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "ops": keras.ops, "COCO17": COCO17}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()


@pytest.mark.parametrize("name", EXERCISES)
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    EXERCISES[name](SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    for empty in (None, lambda *args: None):
        with pytest.raises(CheckFailed, match="no value yet"):
            EXERCISES[name](empty)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in WRONG:
        hints.setdefault(check, set()).add(piece)
    assert set(hints) == set(EXERCISES.values()) and all(
        len(pieces) >= 6 for pieces in hints.values()
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_posekits(seed):
    rng = np.random.default_rng(seed)
    y_true, y_pred = (
        rng.normal(size=(4, 17, 3)).astype("float32"),
        rng.normal(size=(4, 17, 2)).astype("float32"),
    )
    y_true[..., 2] = rng.random((4, 17)) > 0.5
    np.testing.assert_allclose(
        SOLVED["masked_l2"](y_true, y_pred), losses.masked_l2(y_true, y_pred), rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_targets_are_the_pipelines(seed):
    """A stored picture as large as the box: crop pixels are stored pixels, so that the two must agree to the last bit."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(16, 64))
    points = rng.uniform(-0.3 * size, 1.3 * size, (17, 2))
    visible, known = rng.integers(0, 3, 17), rng.random(17) > 0.3
    image = np.zeros((size, size, 3), np.uint8)
    _, keypoints, seen = inputs.crop_person(
        image, points, visible, known, box_px=size, input_size=size
    )
    mine = SOLVED["training_targets"](points, visible, known, size)
    np.testing.assert_allclose(mine[0], keypoints, atol=1e-6)
    np.testing.assert_array_equal(mine[1], seen)


@pytest.mark.parametrize("seed", range(3))
def test_the_flip_test_is_the_predictors(seed):
    model = models.build(base_channels=4, input_size=32, input_downsample=1)
    loaded = predictor.Predictor(model, {})
    images = np.random.default_rng(seed).integers(0, 256, (3, 32, 32, 3)).astype("uint8")

    def ask(pictures):
        out = loaded.predict_crops(pictures)
        return out["keypoints"], out["visibility"]

    theirs = loaded.predict_crops(images, flip=True)
    points, seen = SOLVED["flip_test"](ask, images)
    np.testing.assert_allclose(points, theirs["keypoints"], atol=1e-6)
    np.testing.assert_allclose(seen, theirs["visibility"], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_ratio_is_posekits_in_crop_coordinates(seed):
    pred, labelled, boxes = ch06._population(seed)
    true, *_ = ch06._population(seed + 100)
    photo = (ch06._photo(x, boxes) for x in (pred, true))
    mine = SOLVED["collapse_ratio"](*photo, labelled, boxes)
    assert mine == pytest.approx(metrics.collapse_ratio(pred, true, labelled), rel=1e-9)
