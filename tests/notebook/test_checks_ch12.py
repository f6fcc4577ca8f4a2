"""Chapter 12's exercises and the chapter's own functions: the solutions pass, and agree with posekit."""

import ast
from pathlib import Path

import nbformat
import numpy as np
import pytest

from posekit.geometry import PADDING
from posekit.live import one_euro, tracking
from posekit.notebook.checks import CheckFailed, ch12
from posekit.skeleton import COCO17
from tests.wrong_answers import ch12 as wrong

CHAPTERS = Path(__file__).parents[2] / "chapters"


def functions(notebook: str, names: dict, solutions: bool = False) -> dict:
    """The functions and classes that a notebook's cells define (or its solution cells only), run with nothing else."""
    for cell in nbformat.read(CHAPTERS / notebook, as_version=4).cells:
        if cell.cell_type != "code" or (
            solutions and "### BEGIN SOLUTION" not in cell.source and "def share" not in cell.source
        ):
            continue
        body = [
            node
            for node in ast.parse(cell.source).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        exec(compile(ast.Module(body, []), notebook, "exec"), names)
    return names


SOLVED = functions(
    "exercises/ex12_webcam.ipynb", {"np": np, "COCO17": COCO17, "PADDING": PADDING}, solutions=True
)
CHECKS = {
    "next_square": ch12.check_next_square,
    "OneEuroFilter": ch12.check_one_euro,
    "is_there": ch12.check_is_there,
    "count_raises": ch12.check_count_raises,
}


@pytest.mark.parametrize("name", CHECKS)
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    CHECKS[name](SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    with pytest.raises(CheckFailed, match="no value yet"):
        CHECKS[name](None)


def test_each_check_knows_several_mistakes():
    hints = {}
    for check, _, piece in wrong.WRONG:
        hints.setdefault(check.__name__, set()).add(piece)
    assert len(hints) == 4 and all(len(pieces) >= 8 for pieces in hints.values())


def test_the_chapters_filter_is_posekits():
    chapter, rng = functions("12_webcam.ipynb", {"np": np}), np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.1, 50))
    values = rng.normal(size=(50, 17, 2)).cumsum(axis=0)
    state, how = None, one_euro.OneEuroParams(0.7, 2.0, 1.0)
    mine = chapter["one_euro"](values, times, 0.7, 2.0, torso_length=50.0)
    for k in range(50):
        state = one_euro.smooth(state, values[k], times[k], how, 50.0)
        np.testing.assert_allclose(mine[k], state.value, atol=1e-9)


def test_the_chapters_lost_and_found_is_the_exercises_and_the_trackers():
    chapter, rng = functions("12_webcam.ipynb", {"np": np}), np.random.default_rng(1)
    presence, times = rng.uniform(0, 1, 200), np.cumsum(rng.uniform(0.02, 0.2, 200))
    mine = chapter["lost_and_found"](presence, times)
    np.testing.assert_array_equal(mine, SOLVED["is_there"](presence, times, 0.5, 0.3, 0.4))
    settings, joints = tracking.Settings(0.5, 0.3, 0.4), rng.uniform(10, 90, (17, 2))
    state = tracking.State()
    for value, now, there in zip(presence, times, mine, strict=True):
        for _ in range(
            2 if state.mode == "searching" else 1
        ):  # found in the whole frame, and looked at again
            state = tracking.update(
                state, joints, np.full(17, value), value, now, 100, 100, settings
            )
        assert (state.mode == "tracking") == there
