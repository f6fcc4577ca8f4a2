"""The exercises' checks: each typical wrong answer gets a hint of its own, an empty one too, and hints are shown alone."""

import importlib
import inspect
import runpy
from pathlib import Path

import numpy as np
import pytest

from posekit.notebook.checks import (
    CheckFailed,
    expect,
    expect_array,
    expect_close,
    expect_written,
    passed,
)

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "posekit" / "notebook" / "checks").glob("ch*.py"))


def wrong_answers(chapter: str) -> list[tuple]:
    return runpy.run_path(str(ROOT / "tests" / "wrong_answers" / f"{chapter}.py"))["WRONG"]


def checks_of(chapter: str) -> dict:
    module = importlib.import_module(f"posekit.notebook.checks.{chapter}")
    return {
        name: f
        for name, f in vars(module).items()
        if name.startswith("check_") and f.__module__ == module.__name__
    }


CASES = [
    pytest.param(*case, id=f"{chapter}-{case[0].__name__}-{i}")
    for chapter in MODULES
    for i, case in enumerate(wrong_answers(chapter))
]


@pytest.mark.parametrize(("check", "answer", "hint"), CASES)
def test_a_wrong_answer_gets_its_own_hint(check, answer, hint):
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    assert hint in str(caught.value)


@pytest.mark.parametrize("chapter", MODULES)
def test_every_check_knows_a_typical_mistake(chapter):
    hints: dict[str, set] = {}
    for check, _, hint in wrong_answers(chapter):
        assert len(hint) >= 4, "too short a piece to tell one hint from another"
        hints.setdefault(check.__name__, set()).add(hint)
    assert set(hints) == set(checks_of(chapter))


@pytest.mark.parametrize("chapter", MODULES)
def test_an_empty_answer_is_told_so(chapter):
    for name, check in checks_of(chapter).items():
        places = len(inspect.signature(check).parameters)
        for empty in (None, lambda *args, **options: None):
            with pytest.raises(CheckFailed):
                check(*([empty] * places))
                pytest.fail(f"{name} passes an empty answer")


# ---- the helpers ------------------------------------------------------------------------------------------------------


def test_a_hint_is_shown_without_a_traceback():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    shown = []
    shell._showtraceback = lambda kind, value, lines: shown.append((kind, lines))
    shell.run_cell("from posekit.notebook.checks import expect\nexpect(False, 'look at the hips')")
    assert shown == [(CheckFailed, ["✗ Not yet: look at the hips"])]


def test_helpers_say_what_was_seen(capsys):
    passed("twelve limbs")
    assert capsys.readouterr().out == "✓ twelve limbs\n"
    expect(True, "never shown")
    for empty in (None, ...):
        with pytest.raises(CheckFailed, match="`boxes` has no value yet"):
            expect_written(empty, "boxes")
    with pytest.raises(CheckFailed, match=r"should have shape \(any, 2\), but it has \(3, 3\)"):
        expect_array(np.zeros((3, 3)), "points", (None, 2))
    with pytest.raises(CheckFailed, match="should be numbers"):
        expect_array("left", "points")
    with pytest.raises(CheckFailed, match="NaN"):
        expect_array([1.0, np.nan], "points")
    assert expect_array([[1, 2]], "points", (None, 2)).dtype == np.float64


def test_closeness_is_relative_above_one():
    expect_close([1000.0005], [1000], "x", "no", tolerance=1e-6)
    with pytest.raises(CheckFailed, match="half a pixel"):
        expect_close([1000.5], [1000], "x", "half a pixel off", tolerance=1e-6)
    with pytest.raises(CheckFailed, match="half a pixel"):
        expect_close([1e-5], [0], "x", "half a pixel off", tolerance=1e-6)
    with pytest.raises(CheckFailed, match="shape"):
        expect_close([1, 2], [1], "x", "no")
