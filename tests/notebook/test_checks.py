"""Checks of the exercises: solutions pass, and each wrong answer gets its hint in one line.

The sections at the end hold the solutions, and functions that chapters define, against posekit.
"""

import ast
import contextlib
import csv
import importlib
import inspect
import io
import itertools
import json
import linecache
import math
import runpy
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import nbformat
import numpy as np
import pytest
import tiny_data
from hypothesis import given, settings
from hypothesis import strategies as st

from posekit import cameras, geometry, inputs, losses, metrics, minidome, models, records
from posekit.datasets import coco, lsp
from posekit.images import decode_image
from posekit.inference import cascade, predictor
from posekit.live import one_euro, tracking
from posekit.minidome.dome import make_cameras
from posekit.models import densenet, heads, resnet
from posekit.notebook import checks
from posekit.notebook.checks import (
    CheckFailed,
    call,
    ch02,
    ch04,
    ch05,
    ch07,
    ch11,
    ch14,
    expect,
    expect_array,
    expect_close,
    expect_flag,
    expect_parts,
    expect_written,
    judge,
    near,
    passed,
)
from posekit.records import tfrecord
from posekit.skeleton import COCO17

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / "posekit/notebook/checks").glob("ch*.py"))
MIN_HINTS = {"ch01": 7, "ch02": 19, "ch03": 11, "ch04": 6, "ch05": 4, "ch06": 6, "ch07": 7}
MIN_HINTS |= {
    "ch08": 5,
    "ch09": 14,
    "ch10": 10,
    "ch11": 8,
    "ch12": 10,
    "ch13": 8,
    "ch14": 7,
    "ch15": 8,
}
DEFINITIONS = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
K = len(COCO17)
CAMERAS = list(make_cameras((1920, 1080), seed=7).values())
number = st.floats(-500, 1500, allow_nan=False)
length = st.floats(1, 900, allow_nan=False)


def notebook(name: str) -> Path:
    """The one notebook of `chapters/` whose path begins like this."""
    (path,) = (ROOT / "chapters").glob(f"{name}*.ipynb")
    return path


def definitions(name: str, *only: str) -> dict:
    """What a notebook imports and defines, and its cells with solutions; the rest is not run.

    Args:
        name: the beginning of the notebook's path below `chapters/`.
        only: run no other cells than those that begin with the definition of one of these.
    """
    names = {"__name__": "notebook", "COCO17": COCO17}
    path = notebook(name)
    for i, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type != "code" or not cell.source.startswith(
            tuple(f"def {f}(" for f in only) or ""
        ):
            continue
        tree = ast.parse(cell.source)
        if "### BEGIN SOLUTION" not in cell.source:
            tree.body = [node for node in tree.body if isinstance(node, DEFINITIONS)]
        filename = f"<{path.stem}, cell {i}>"
        lines = cell.source.splitlines(keepends=True)
        linecache.cache[filename] = (len(cell.source), None, lines, filename)
        exec(compile(tree, filename, "exec"), names)
    return names


def wrong_answers(chapter: str) -> list[tuple]:
    return runpy.run_path(str(ROOT / "tests" / "wrong_answers" / f"{chapter}.py"))["WRONG"]


def checks_of(chapter: str) -> dict[str, Callable]:
    module = importlib.import_module(f"posekit.notebook.checks.{chapter}")
    return {
        name: f
        for name, f in vars(module).items()
        if name.startswith("check_") and f.__module__ == module.__name__
    }


SOLVED = {chapter: definitions(f"exercises/ex{chapter[2:]}") for chapter in CHAPTERS}
WRONG = {chapter: wrong_answers(chapter) for chapter in CHAPTERS}
EXERCISES = [
    pytest.param(chapter, check, id=f"{chapter}-{name.removeprefix('check_')}")
    for chapter in CHAPTERS
    for name, check in checks_of(chapter).items()
]
every_exercise = pytest.mark.parametrize(("chapter", "check"), EXERCISES)


def answers(chapter: str, check: Callable) -> list[Callable]:
    """The solutions that a check takes, in its order."""
    return [SOLVED[chapter][name] for name in inspect.signature(check).parameters]


def hints(chapter: str, check: Callable, wrong: object) -> list[str]:
    """What a check says when one of the functions that it takes is replaced."""
    told = []
    for i in range(len(answers(chapter, check))):
        given = answers(chapter, check)
        given[i] = wrong
        with pytest.raises(CheckFailed) as caught:
            check(*given)
        told.append(str(caught.value))
        assert len(told[-1].splitlines()) == 1, told[-1]
    return told


# ---- every chapter: solutions and wrong answers --------------------------------------------------


@every_exercise
def test_the_solution_passes(chapter, check, capsys):
    check(*answers(chapter, check))
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        pytest.param(*case, id=f"{chapter}-{case[0].__name__}-{i}")
        for chapter in CHAPTERS
        for i, case in enumerate(WRONG[chapter])
    ],
)
def test_a_wrong_answer_gets_its_own_hint(check, answer, hint):
    with pytest.raises(CheckFailed) as caught:
        check(answer)
    assert hint in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_check_knows_several_mistakes(chapter):
    pieces: dict[str, set] = {}
    for check, _, piece in WRONG[chapter]:
        assert len(piece) >= 4, "too short a piece to tell one hint from another"
        pieces.setdefault(check.__name__, set()).add(piece)
    assert set(pieces) == set(checks_of(chapter))
    assert all(len(some) >= MIN_HINTS[chapter] for some in pieces.values())


# ---- every chapter: answers that are empty, stop, never end, or are of another kind --------------


@every_exercise
def test_an_empty_answer_is_told_so(chapter, check):
    def stub(*given):
        raise NotImplementedError

    for empty in (None, ..., lambda *given: None, stub):
        assert all("no value yet" in hint for hint in hints(chapter, check, empty))


@every_exercise
def test_an_answer_that_raises_names_its_line(chapter, check):
    def answer(*given):
        joints = {"nose": 0}
        return joints["left_wrist"]

    line = inspect.getsourcelines(answer)[1] + 2
    for hint in hints(chapter, check, answer):
        assert "stops with KeyError: 'left_wrist'" in hint
        assert f'(line {line}, `return joints["left_wrist"]`)' in hint


@every_exercise
@pytest.mark.parametrize("main_thread", [True, False])
def test_an_endless_answer_is_stopped_and_names_its_line(chapter, check, main_thread, monkeypatch):
    monkeypatch.setattr(checks, "TIME_LIMIT_S", 0.2)
    if not main_thread:
        monkeypatch.setattr(checks.threading, "main_thread", lambda: None)

    def answer(*given):
        at = 0
        while True:  # never ends
            at = at * 1

    # The other functions of a check are replaced too: a limit this short would stop them.
    with pytest.raises(CheckFailed) as caught:
        check(*[answer] * len(answers(chapter, check)))
    hint = str(caught.value)
    assert "did not end within 0.2 seconds (line " in hint
    assert "`while True: # never ends`" in hint or "`at = at * 1`" in hint
    assert len(hint.splitlines()) == 1


@every_exercise
def test_an_answer_with_other_parameters_names_its_line(chapter, check):
    def none():
        return 0

    def many(a, b, c, d, e, f, g, h, i):
        return 0

    for answer in (none, many):
        for hint in hints(chapter, check, answer):
            assert f"has the parameters {inspect.signature(answer)} (line " in hint
            assert f"`def {answer.__name__}(" in hint


@every_exercise
@pytest.mark.parametrize(
    "value",
    ["text", {}, {"x": 1}, (), [], [[1], [1, 2]], 3, 2.5, True, print, object(), np.zeros(0)],
    ids=lambda value: repr(value).split(" at ")[0],
)
def test_an_answer_of_another_type_gets_a_hint(chapter, check, value):
    def answer(*given):
        return value

    hints(chapter, check, answer)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_an_answer_that_is_no_number_names_its_line(chapter):
    def answer(*given):
        return "left_wrist"

    strings_or_nothing = {ch14.check_choose, ch11.check_test_crop}
    for check in set(checks_of(chapter).values()) - strings_or_nothing:
        assert '`return "left_wrist"`)' in hints(chapter, check, answer)[0]


@every_exercise
def test_a_right_answer_in_lists_and_tuples_passes_or_gets_a_hint(chapter, check):
    def loosened(value):
        if isinstance(value, np.ndarray):
            return value.tolist()
        return tuple(map(loosened, value)) if isinstance(value, tuple | list) else value

    def loose(function):
        return lambda *given: loosened(function(*given))

    try:
        check(*map(loose, answers(chapter, check)))
    except CheckFailed as error:
        assert len(str(error).splitlines()) == 1


# ---- every chapter: right answers that go wrong at one of the calls ------------------------------


class Foreign:
    """A tensor of another library, which refuses to become an array."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


def stops(kind: type[BaseException]) -> Callable:
    def spoil(value):
        raise kind("of its own\nin two lines")

    return spoil


def never_ends(value):
    while True:
        pass


def each(change: Callable) -> Callable:
    """Change every part of an answer that lets itself be changed."""

    def spoil(value):
        if isinstance(value, tuple | list):
            return type(value)(map(spoil, value))
        try:
            return change(np.asarray(value))
        except (TypeError, ValueError, IndexError):
            return value

    return spoil


STOPS = {
    kind.__name__: stops(kind)
    for kind in (ValueError, IndexError, KeyError, AssertionError, TypeError, StopIteration)
    + (np.linalg.LinAlgError, SystemExit, OverflowError)
}
SPOILS = {
    "nothing": lambda value: None,
    "not a number": each(lambda value: value * np.nan),
    "one axis more": each(lambda value: value[None]),
    "an axis less": each(lambda value: value[0]),
    "flat": each(np.ravel),
    "nothing in it": each(lambda value: value[:0]),
    "text": each(str),
    "complex": each(lambda value: value + 1j),
    "rounded down": each(lambda value: value.astype(int)),
    "objects": each(lambda value: value.astype(object)),
    "a tensor": each(keras.ops.convert_to_tensor),
    "a symbol": lambda value: keras.Input((3,)),
    "symbols": each(lambda value: keras.Input((3,))),
    "foreign": lambda value: Foreign(),
    "foreign parts": each(lambda value: Foreign()),
    "in a tuple": lambda value: (value,),
    "one part more": lambda value: (*value, 1) if isinstance(value, tuple) else [value, 1],
    "a type": type,
}
MAY_PASS = {
    ("check_test_crop", "nothing"),  # a test returns nothing, and raises where a crop is broken
    ("check_test_crop", "AssertionError"),
    ("check_read_varint", "ValueError"),  # what these two are asked to raise
    ("check_read_frames", "ValueError"),
}
FEW = ("nothing", "a symbol", "foreign parts", "one axis more", "ValueError", "IndexError")
SLOW_CHECKS = {"check_invent", "check_dense_layer", "check_shortcut_is_free"}


def spoiled(function: Callable, spoil: Callable, at: int, calls: list) -> Callable:
    """The right answer, but its call number `at` goes wrong."""

    def answer(*given):
        value = function(*given)
        calls.append(1)
        return spoil(value) if len(calls) - 1 == at else value

    return answer


def told(chapter: str, check: Callable, i: int, function: Callable) -> str:
    """What a check says when its answer number i is replaced; "" when it passes."""
    given = answers(chapter, check)
    given[i] = function
    try:
        check(*given)
    except CheckFailed as error:
        return str(error)
    return ""


def survives(chapter: str, check: Callable, everywhere: bool) -> None:
    for i, right in enumerate(answers(chapter, check)):
        calls: list = []
        assert not told(chapter, check, i, spoiled(right, lambda value: value, -1, calls))
        places = sorted({0, len(calls) // 2, len(calls) - 1})
        all_ways = {**SPOILS, **STOPS}
        for n, name in enumerate(all_ways if everywhere else FEW):
            spoil = all_ways[name]
            for at in places if everywhere else [places[n % len(places)]]:
                said = told(chapter, check, i, spoiled(right, spoil, at, []))
                where = f"{name} at call {at} of {len(calls)}: {said}"
                assert len(said.splitlines()) <= 1, where
                assert checks.UNREADABLE not in said, where
                if name in STOPS or name == "nothing":
                    assert said or (check.__name__, name) in MAY_PASS, where


@every_exercise
def test_an_answer_that_goes_wrong_at_a_later_call_gets_a_hint(chapter, check):
    if check.__name__ in SLOW_CHECKS:
        pytest.skip("many calls or networks: see the slow test")
    survives(chapter, check, everywhere=False)


@pytest.mark.slow
@every_exercise
def test_an_answer_that_goes_wrong_at_any_call_gets_a_hint(chapter, check):
    survives(chapter, check, everywhere=True)


@pytest.mark.slow
@every_exercise
def test_an_answer_that_never_ends_at_its_last_call_is_stopped(chapter, check, monkeypatch):
    if check.__name__ in SLOW_CHECKS:
        pytest.skip("its right calls take longer than the short limit of this test")
    for i, right in enumerate(answers(chapter, check)):
        calls: list = []
        told(chapter, check, i, spoiled(right, lambda value: value, -1, calls))
        monkeypatch.setattr(checks, "TIME_LIMIT_S", 1.0)
        said = told(chapter, check, i, spoiled(right, never_ends, len(calls) - 1, []))
        assert "did not end within 1 seconds (line " in said, said


def wrecked(function: Callable, k: int, done: list) -> Callable:
    """The right answer, which then changes its argument number k."""

    def answer(*given):
        value = function(*given)
        if k < len(given) and not done:
            done.append(wreck(given[k]))
        return value

    return answer


def wreck(value: object) -> bool:
    """Change a value in place; return whether that was possible."""
    if isinstance(value, np.ndarray) and value.size:
        value.flat[0] = value.flat[0] + 1 if value.dtype != bool else not value.flat[0]
        return bool(np.all(np.isfinite(value.flat[0])))
    if isinstance(value, list) and value:
        return any(map(wreck, value)) or not value.append(value[0])
    if isinstance(value, dict) and value:
        return value.pop(next(iter(value))) is not value
    return isinstance(value, tuple) and any(map(wreck, value))


@every_exercise
def test_a_right_answer_that_changes_an_argument_is_told_so(chapter, check):
    for i, right in enumerate(answers(chapter, check)):
        for k in range(len(inspect.signature(right).parameters)):
            done: list = []
            said = told(chapter, check, i, wrecked(right, k, done))
            if any(done):
                assert "Your function changed the `" in said, (k, said)


def test_a_bare_except_in_an_endless_loop_does_not_save_it(monkeypatch):
    monkeypatch.setattr(checks, "TIME_LIMIT_S", 0.2)

    def answer(x):
        while True:
            try:  # noqa: SIM105
                np.sort(np.ones(2000))
            except:  # noqa: E722 - as students write it
                pass

    with pytest.raises(CheckFailed, match="did not end within 0.2 seconds"):
        call(answer, "f(x)", 1)


def test_a_check_that_cannot_read_an_answer_says_so_in_one_line():
    @checks.exercise
    def check_sum(add):
        """A check of the kind that a chapter has."""
        a, b = add(1, 2)

    with pytest.raises(CheckFailed, match="cannot read the answer of `add`: TypeError") as caught:
        check_sum(lambda a, b: a + b)
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value.__cause__, TypeError)


# ---- the helpers ---------------------------------------------------------------------------------


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
    with pytest.raises(CheckFailed, match="a list of unequal parts"):
        expect_array([[1], [1, 2]], "points")
    with pytest.raises(CheckFailed, match="NaN"):
        expect_array([1.0, np.nan], "points")
    assert expect_array([[1, 2]], "points", (None, 2)).dtype == np.float64
    with pytest.raises(CheckFailed, match="two things: a and b. It returned a tuple of 3"):
        expect_parts((1, 2, 3), "f(x)", ("a", "b"))
    with pytest.raises(CheckFailed, match="`b` has no value yet"):
        expect_parts((1, None), "f(x)", ("a", "b"))
    assert expect_parts([1, 2], "f(x)", ("a", "b")) == (1, 2)
    assert expect_flag(np.bool_(True), "f(x)") is True
    with pytest.raises(CheckFailed, match="should be True or False, not an int"):
        expect_flag(1, "f(x)")


def test_closeness_is_relative_above_one():
    expect_close([1000.0005], [1000], "x", "no", tolerance=1e-6)
    with pytest.raises(CheckFailed, match="half a pixel"):
        expect_close([1000.5], [1000], "x", "half a pixel off", tolerance=1e-6)
    with pytest.raises(CheckFailed, match="half a pixel"):
        expect_close([1e-5], [0], "x", "half a pixel off", tolerance=1e-6)
    with pytest.raises(CheckFailed, match="shape"):
        expect_close([1, 2], [1], "x", "no")
    assert near([1.0], [1.0]) and near((), ())
    assert not near([[1.0]], [1.0]) and not near([np.nan], [np.nan]) and not near("a", 1)


def test_judge_tells_the_first_mistake_that_explains_the_answer():
    mistakes = {"you added": 5, "you doubled": 4, "that is right by accident": 6}
    judge(6, 6, mistakes, "otherwise")
    for answer, hint in ((4, "you doubled"), (5, "you added"), (7, "otherwise")):
        with pytest.raises(CheckFailed, match=hint):
            judge(answer, 6, mistakes.items(), "otherwise")


def test_a_call_gives_back_what_the_function_returns():
    assert call(lambda a, b: a + b, "f(a, b)", 1, 2) == 3
    assert call(lambda n: iter(range(n)), "f(n)", 3) == [0, 1, 2]
    assert call(lambda a: None, "f(a)", 1, returns=False) is None
    with pytest.raises(ZeroDivisionError):
        call(lambda a: a / 0, "f(a)", 1, allow=(ZeroDivisionError,))
    with pytest.raises(CheckFailed, match="`f` should be a function, not a float"):
        call(1.5, "f(a)", 1)
    with pytest.raises(KeyboardInterrupt):
        call(lambda a: interrupt(), "f(a)", 1)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("x >= 0 and x < 2", "For arrays use `&`, `|` and `~`"),
        ("2 if x > 0 else 1", "want one True or False"),
        ("x >= 0.5 & x < 2", "put each comparison in parentheses"),
        ("np.ones((3, 2))[COCO17.flip_indices]", "A tuple as an index"),
        ("x[x / 2]", "An index must be a whole number"),
        ("x[1.0]", "An index must be a whole number"),
        ("[1, 2][x]", "A list takes one whole number"),
        ("x.tolist()[0, 1]", "A list takes one whole number"),
        ("x + np.ones(5)", "Print the shapes of both sides"),
        ("None + x", "Something in this line is None"),
        ("[1, 2].sum()", "`np.asarray(...)` makes it one"),
        ("flipp(x)", "Is it spelt right"),
        ("f(x)", "calls itself without end"),
    ],
)
def test_what_students_often_write_gets_a_hint_with_its_line(line, hint):
    names = {"np": np, "COCO17": COCO17}
    source = f"def f(x):\n    return {line}\n"
    filename = f"<cell {line}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), names)
    with pytest.raises(CheckFailed) as caught:
        call(names["f"], "f(x)", np.arange(4))
    assert hint in str(caught.value)
    assert f"(line 2, `return {line}`)" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (np.zeros(3), lambda x: x.__setitem__(0, 1)),
        ([np.zeros(3)], lambda x: x[0].__setitem__(0, 1)),
        ([{"a": [1]}], lambda x: x[0]["a"].append(2)),
        ({"a": 1}, lambda x: x.update(b=2)),
        ([3, 1, 2], lambda x: x.sort()),
    ],
)
def test_a_changed_argument_is_named(value, change):
    def answer(first, second):
        change(second)
        return 1

    with pytest.raises(CheckFailed, match="changed the `second`"):
        call(answer, "f(first, second)", np.full(2, np.nan), value)


def test_a_generator_that_raises_or_never_ends_is_told_so(monkeypatch):
    def broken(n):
        yield 1
        raise KeyError(n)

    with pytest.raises(CheckFailed, match="stops with KeyError: 3 .line "):
        call(broken, "f(n)", 3)
    monkeypatch.setattr(checks, "TIME_LIMIT_S", 0.2)
    with pytest.raises(CheckFailed, match="did not end within 0.2 seconds .line "):
        call(lambda n: (0 for i in itertools.count() if i < 0), "f(n)", 3)


def test_a_function_of_a_library_is_told_without_a_line():
    with pytest.raises(CheckFailed) as caught:
        call(np.linalg.inv, "f(x)", np.zeros((2, 3)))
    assert "stops with LinAlgError" in str(caught.value) and "line" not in str(caught.value)


def test_the_time_limit_leaves_no_timer_behind_and_lets_an_outer_one_go_on(monkeypatch):
    import signal

    rung = []
    handler = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    try:
        call(lambda: 1, "f()")
        assert signal.setitimer(signal.ITIMER_REAL, 0) == (0.0, 0.0)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        call(lambda: 1, "f()")
        assert not rung
        end = time.monotonic() + 5
        while not rung and time.monotonic() < end:
            time.sleep(0.01)
        assert rung
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("windows", [True, False])
def test_a_loop_is_stopped_in_another_thread_and_without_an_interval_timer(windows, monkeypatch):
    monkeypatch.setattr(checks, "TIME_LIMIT_S", 0.2)
    if windows:
        monkeypatch.delattr(checks.signal, "setitimer")
    told = []

    def answer(x):
        while x == 1:
            with contextlib.suppress(Exception):
                time.sleep(0.001)
        return x

    def ask():
        try:
            call(answer, "f(x)", 1)
        except CheckFailed as error:
            told.append(str(error))

    if windows:
        ask()
    else:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(30)
    assert "did not end within 0.2 seconds (line " in told[0]
    assert call(lambda x: x, "f(x)", 2) == 2


# ---- wrong answers that need one more case, or more than one wrong piece -------------------------


@pytest.mark.parametrize(
    ("chapter", "check", "replace"),
    [
        ("ch01", "check_flip_person", ("width = image.shape[1]", "width = 40")),
        ("ch01", "check_count_joints", ("keypoints >= -0.5", "keypoints > -0.5")),
        ("ch01", "check_count_joints", ("keypoints < size - 0.5", "keypoints <= size - 0.5")),
        ("ch01", "check_count_joints", ("size - 0.5", "99.5")),
        ("ch02", "check_impossible_rows", ("sizes", "PHOTOS")),
        ("ch06", "check_training_targets", ("size", "224")),
        ("ch12", "check_soft_argmax", ("scores.shape[1:3]", "(6, 9)")),
    ],
)
def test_a_solution_for_one_size_only_does_not_pass(chapter, check, replace):
    check = checks_of(chapter)[check]
    functions = list(inspect.signature(check).parameters)
    cells = nbformat.read(notebook(f"exercises/ex{chapter[2:]}"), as_version=4).cells
    source = next(cell.source for cell in cells if f"def {functions[0]}(" in cell.source)
    head, begin, solution = source.partition("### BEGIN SOLUTION")
    assert replace[0] in solution
    names = dict(SOLVED[chapter], PHOTOS=ch02.PHOTOS)
    exec(head + begin + solution.replace(*replace), names)
    with pytest.raises(CheckFailed):
        check(*(names[function] for function in functions))


def test_an_image_divided_by_255_is_told_that_its_values_changed():
    def flip_person(image, *rest):
        flipped, *others = SOLVED["ch01"]["flip_person"](image, *rest)
        return flipped / 255, *others

    def mirror(image, *rest):
        flipped, *others = SOLVED["ch11"]["mirror"](image, *rest)
        return flipped / 255, *others

    assert (
        "have other values" in hints("ch01", checks_of("ch01")["check_flip_person"], flip_person)[0]
    )
    assert "have other values" in hints("ch11", ch11.check_mirror, mirror)[0]


def test_a_census_gets_the_integers_that_coco_stores():
    people = ch02._annotations()
    assert all(type(number) is int for person in people for number in person["keypoints"])


# ---- chapter 01: solutions against posekit -------------------------------------------------------


@settings(deadline=None)
@given(x=number, y=number, w=length, h=length, size=st.integers(8, 512), padding=st.floats(0.5, 3))
def test_crop_to_photo_undoes_posekits_crop(x, y, w, h, size, padding):
    box = np.array([x, y, w, h])
    forward = geometry.crop_affine(
        geometry.bbox_center(box), geometry.square_side(box, padding), size
    )
    there = geometry.apply_affine(forward, np.array([[x, y], [x + w, y + h]]))
    back = geometry.apply_affine(SOLVED["ch01"]["crop_to_photo"](box, size, padding), there)
    np.testing.assert_allclose(back, [[x, y], [x + w, y + h]], atol=1e-6)


@settings(deadline=None)
@given(
    points=st.lists(st.tuples(number, number), min_size=17, max_size=17), width=st.integers(1, 2000)
)
def test_flip_is_posekits_and_its_own_inverse(points, width):
    points = np.array(points)
    image = np.arange(width * 3, dtype=np.uint8).reshape(1, width, 3)
    flags = np.arange(17) % 3
    box = np.array([1.0, 2, 3, 4])
    once = SOLVED["ch01"]["flip_person"](image, points, flags, box)
    np.testing.assert_array_equal(
        once[1], geometry.flip_keypoints(points, width, COCO17.flip_indices)
    )
    for before, after in zip((image, points, flags, box), SOLVED["ch01"]["flip_person"](*once)):
        np.testing.assert_allclose(after, before, atol=1e-9)


@settings(deadline=None)
@given(
    points=st.lists(st.tuples(number, number), min_size=17, max_size=17), size=st.integers(1, 600)
)
def test_the_codec_and_the_count_are_posekits(points, size):
    points = np.array(points)
    codec = geometry.encode_keypoints, geometry.decode_keypoints
    assert SOLVED["ch01"]["codec_is_sound"](*codec, (size, 2 * size))
    flags = np.arange(17) % 3
    known = np.arange(17) % 2 == 0
    inside, weight = SOLVED["ch01"]["count_joints"](points, flags, known, size)
    np.testing.assert_array_equal(inside, geometry.inside(points, (size, size)) & (flags >= 1))
    np.testing.assert_array_equal(weight, known)


# ---- chapter 02: solutions against posekit -------------------------------------------------------


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(0, 30))
def test_projection_is_posekits_and_opencvs(seed, k):
    camera = CAMERAS[k]
    rng = np.random.default_rng(seed)
    points = rng.uniform(-400, 400, (30, 3))
    joints = np.column_stack([points, np.ones(len(points))])
    mine, visible, known = SOLVED["ch02"]["label_joints"](joints, camera)
    theirs = cameras.project(points, camera)
    assert known.all()
    np.testing.assert_array_equal(visible > 0, geometry.inside(theirs, camera.resolution))
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
    ahead = np.isfinite(theirs[:, 0])
    np.testing.assert_allclose(mine[ahead], theirs[ahead], rtol=1e-9)
    turn = cv2.Rodrigues(camera.R)[0]
    if ahead.any():
        cvs = cv2.projectPoints(
            np.ascontiguousarray(points[ahead]), turn, camera.t, camera.K, camera.distCoef
        )[0][:, 0]
        np.testing.assert_allclose(mine[ahead], cvs, rtol=1e-7, atol=1e-6)


def test_the_chapters_projection_is_posekits():
    names = definitions("02_")
    points = np.random.default_rng(3).uniform(-150, 150, (40, 3))
    for camera in CAMERAS:
        np.testing.assert_allclose(
            names["project"](points, camera), cameras.project(points, camera), rtol=1e-9
        )


def test_census_counts_as_posekits_reader_does():
    data = minidome.dataset()
    annotation_file, images = coco.find_minidome(data.val)
    content = coco.read_json(annotation_file)
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    counts, cut_off = SOLVED["ch02"]["census"](content["annotations"], sizes)
    flags = np.array(
        [
            person.keypoints_visible
            for person in coco.read(annotation_file, images, dataset="minidome")
        ]
    )
    np.testing.assert_array_equal(
        counts, np.stack([(flags == v).sum(axis=0) for v in (0, 1, 2)], axis=1)
    )
    assert 0 < cut_off < len(flags)


@pytest.mark.realdata
@pytest.mark.parametrize("dataset", ["lsp", "lspet"])
def test_leeds_are_read_as_posekit_does(realdata, dataset):
    from scipy.io import loadmat

    joints = loadmat(realdata / dataset / "joints.mat")["joints"].transpose(
        (2, 1, 0) if dataset == "lsp" else (2, 0, 1)
    )
    samples = (
        lsp.read(realdata / "lsp", None)
        if dataset == "lsp"
        else lsp.read_lspet(realdata / "lspet", None)
    )
    compared = 0
    by_name = {
        path.stem: i for i, path in enumerate(sorted((realdata / dataset / "images").glob("*.jpg")))
    }
    for sample in samples:
        keypoints, visible, known = SOLVED["ch02"]["read_leeds"](
            joints[by_name[sample.source_id]], dataset
        )
        np.testing.assert_array_equal(visible, sample.keypoints_visible)
        np.testing.assert_array_equal(known, sample.joint_known)
        np.testing.assert_allclose(keypoints[visible > 0], sample.keypoints[visible > 0], rtol=1e-6)
        compared += 1
    assert compared >= 1000


@settings(deadline=None)
@given(
    x=st.floats(-2000, 2000, allow_nan=False),
    y=st.floats(-2000, 2000, allow_nan=False),
    v=st.integers(0, 2),
    k=st.integers(0, 16),
)
def test_a_row_is_impossible_when_its_joint_lies_outside(x, y, v, k):
    text = f"image,person,joint,x,y,v\ngarden.jpg,1,{COCO17.joints[k]},{x},{y},{v}\n"
    found = SOLVED["ch02"]["impossible_rows"](list(csv.DictReader(io.StringIO(text))), ch02.PHOTOS)
    outside = not geometry.inside(np.array([x, y]), ch02.PHOTOS["garden.jpg"])
    assert found == ([0] if v > 0 and outside else [])


# ---- chapter 03: solutions against posekit -------------------------------------------------------


@settings(deadline=None)
@given(
    number=st.integers(-(2**63), 2**63 - 1),
    before=st.binary(max_size=5),
    after=st.binary(max_size=5),
)
def test_read_varint_undoes_posekits_varint(number, before, after):
    data = tfrecord.varint(number)
    assert SOLVED["ch03"]["read_varint"](before + data + after, len(before)) == (
        number,
        len(before) + len(data),
    )
    with pytest.raises(ValueError):
        SOLVED["ch03"]["read_varint"](before + data[:-1], len(before))


@settings(deadline=None)
@given(payloads=st.lists(st.binary(max_size=60), max_size=4), damage=st.data())
def test_read_frames_is_posekits_reader(payloads, damage):
    whole = b"".join(map(tfrecord.frame_record, payloads))
    assert SOLVED["ch03"]["read_frames"](whole) == payloads
    if payloads:
        at = damage.draw(st.integers(0, len(whole) - 1))
        bit = damage.draw(st.integers(0, 7))
        broken = bytearray(whole)
        broken[at] ^= 1 << bit
        starts = np.cumsum([0] + [len(p) + 16 for p in payloads])
        offset = starts[np.searchsorted(starts, at, side="right") - 1]
        with pytest.raises(ValueError, match=f"record at byte {offset}:"):
            SOLVED["ch03"]["read_frames"](bytes(broken))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    annotations, _ = tiny_data.coco(root / "coco", photos=3, people=2)
    samples = coco.read(annotations, root / "coco" / "train2017")
    records.write_records(
        samples,
        root / "records",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=64),
        progress=False,
    )
    return root / "records"


def test_flip_batch_does_what_the_pipelines_flip_does(folder):
    mirror = inputs.Augmentation(flip=1, rotation=0, scale=0, shift=0, colour=0)
    images, targets = next(iter(inputs.make_batches(folder, 6, input_size=64)))
    theirs, their_targets = next(
        iter(inputs.make_batches(folder, 6, input_size=64, augment=mirror))
    )
    ours = SOLVED["ch03"]["flip_batch"](
        images.numpy(),
        targets["keypoints"].numpy(),
        targets["visibility"].numpy(),
        np.ones(len(images), bool),
    )
    assert np.array_equal(ours[0], theirs)
    np.testing.assert_allclose(ours[1], their_targets["keypoints"], atol=1e-6)
    assert np.array_equal(ours[2], their_targets["visibility"])


def test_is_clean_judges_real_pipelines(folder):
    stored = list(records.read_records(folder))
    pictures = np.stack([decode_image(r.encoded, "stored") for r in stored])
    keypoints = np.stack([r.keypoints for r in stored])

    def judged(**options):
        return SOLVED["ch03"]["is_clean"](
            inputs.make_batches(folder, 4, input_size=64, **options), pictures, keypoints, 64
        )

    still = {"flip": 0, "rotation": 0, "scale": 0, "shift": 0, "colour": 0}
    assert judged() and judged(augment=inputs.Augmentation(**still))
    assert not judged(augment=inputs.Augmentation())
    assert not judged(augment=inputs.Augmentation(**{**still, "colour": 0.1}))
    assert not judged(shuffle=True)


# ---- chapter 04: solutions against posekit -------------------------------------------------------


@pytest.mark.parametrize(("filters", "stride"), [(4, 1), (8, 1), (4, 2), (8, 2)])
def test_the_solution_is_posekits_unit(filters, stride):
    def conv(x, filters, kernel, stride=1):
        return resnet.conv(x, filters, kernel, stride, name=f"mine_{next(counter)}")

    def norm_relu(x):
        return resnet.norm_relu(x, name=f"mine_{next(counter)}")

    counter = iter(range(100))
    x = keras.Input((8, 8, 16))
    mine = keras.Model(x, SOLVED["ch04"]["preact_bottleneck"](x, filters, stride, conv, norm_relu))
    theirs = keras.Model(x, resnet.preact_bottleneck_unit(x, filters, stride, name="unit"))
    assert sorted(tuple(w.shape) for w in mine.weights) == sorted(
        tuple(w.shape) for w in theirs.weights
    )
    rng = np.random.default_rng(0)
    values = {}
    for model in (mine, theirs):  # by shape: two kernels of one shape share their numbers
        model.set_weights(
            [
                values.setdefault(w.shape, rng.uniform(0.5, 1.5, w.shape))
                for w in model.get_weights()
            ]
        )
    pictures = rng.normal(size=(2, 8, 8, 16)).astype(np.float32)
    np.testing.assert_allclose(mine(pictures), theirs(pictures), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("channels", "filters", "stride"), [(16, 4, 1), (16, 8, 2), (8, 4, 1), (16, 4, 2)]
)
def test_the_solution_counts_posekits_unit(channels, filters, stride):
    x = keras.Input((8, 8, channels))
    unit = keras.Model(x, resnet.bottleneck_unit(x, filters, stride, name="unit"))
    assert SOLVED["ch04"]["unit_parameters"](channels, filters, stride) == sum(
        math.prod(w.shape) for w in unit.trainable_weights
    )


def test_a_specimen_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="choose one of"):
        ch04.specimen("broken")


def test_the_paths_add_up_to_the_gradient():
    slopes = np.random.default_rng(1).normal(size=9)
    for shortcut in (0.5, 1.0):
        assert SOLVED["ch04"]["paths"](shortcut, slopes).sum() == pytest.approx(
            np.prod(shortcut + slopes)
        )


# ---- chapter 05: solutions against posekit -------------------------------------------------------


def test_the_channels_are_those_of_a_built_densenet_121():
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, densenet.densenet(image, densenet.LAYERS[121], 32))
    built = [
        model.get_layer(f"block{b}_layer{n}_out").output.shape[-1]
        for b, n in enumerate(densenet.LAYERS[121], 1)
    ]
    assert (
        SOLVED["ch05"]["channels_after_blocks"](densenet.LAYERS[121], 32)
        == built
        == [256, 512, 1024, 1024]
    )


def test_the_forgetful_block_of_the_exercise_does_not_pass():
    def forgetful(x, count, k):
        for i in range(count):
            new = ch05.layer(x, k)
            x = (
                keras.layers.Concatenate()([new, x[..., -k:]])
                if i
                else keras.layers.Concatenate()([x, new])
            )
        return x

    with pytest.raises(ch05.CheckFailed):
        ch05.check_fixed_block(forgetful)


def test_the_work_rises_with_the_growth_rate_and_is_the_races():
    assert ch05.work(4) < ch05.work(5) < ch05.work(12)
    whole = models.build(
        "densenet43", head="votes", base_channels=24, input_size=128, input_downsample=1
    )
    assert (
        sum(models.multiply_adds(whole).values()) - ch05.work(12)
        == 4 * 4 * whole.get_layer("head_votes").kernel.shape[2] * 51
        + whole.get_layer("visibility").kernel.shape[0] * 17
    )


# ---- chapter 06: solutions against posekit -------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_posekits(seed):
    rng = np.random.default_rng(seed)
    y_true = rng.normal(size=(4, 17, 3)).astype("float32")
    y_pred = rng.normal(size=(4, 17, 2)).astype("float32")
    y_true[..., 2] = rng.random((4, 17)) > 0.5
    np.testing.assert_allclose(
        SOLVED["ch06"]["masked_l2"](y_true, y_pred), losses.masked_l2(y_true, y_pred), rtol=1e-6
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_targets_are_the_pipelines(seed):
    """With a stored image as large as the box, both must agree to the last bit."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(16, 64))
    points = rng.uniform(-0.3 * size, 1.3 * size, (17, 2))
    visible = rng.integers(0, 3, 17)
    known = rng.random(17) > 0.3
    image = np.zeros((size, size, 3), np.uint8)
    _, keypoints, seen = inputs.crop_person(
        image, points, visible, known, box_px=size, input_size=size
    )
    mine = SOLVED["ch06"]["training_targets"](points, visible, known, size)
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
    points, seen = SOLVED["ch06"]["flip_test"](ask, images)
    np.testing.assert_allclose(points, theirs["keypoints"], atol=1e-6)
    np.testing.assert_allclose(seen, theirs["visibility"], atol=1e-6)


# ---- chapter 07: solutions against posekit -------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_ratio_is_posekits_in_crop_coordinates(seed):
    pred, labelled, boxes = ch07._population(seed)
    true, *_ = ch07._population(seed + 100)
    photo = (ch07._photo(x, boxes) for x in (pred, true))
    mine = SOLVED["ch07"]["collapse_ratio"](*photo, labelled, boxes)
    assert mine == pytest.approx(metrics.collapse_ratio(pred, true, labelled), rel=1e-9)


# ---- chapter 09: solutions against posekit -------------------------------------------------------


def crowd(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 30, (30, K, 2))
    return true + rng.normal(0, 10, (30, K, 2)), true, rng.random((30, K)) > 0.2


@pytest.mark.parametrize("seed", range(5))
def test_the_solution_is_posekits_pckh(seed):
    pred, true, labelled = crowd(seed)
    heads = np.random.default_rng(seed).uniform(5, 40, (30, 4))
    heads[::4] = np.nan
    for threshold in (0.3, 0.5):
        score = metrics.pckh(pred, true, labelled, 0.6 * np.hypot(*heads[:, 2:].T), threshold)
        assert SOLVED["ch09"]["pckh"](pred, true, labelled, heads, threshold) == (
            score["value"],
            score["filtered"],
        )


@pytest.mark.parametrize("seed", range(5))
def test_the_way_back_to_the_photo_is_posekits(seed):
    rng = np.random.default_rng(seed)
    box = rng.uniform(50, 300, 4)
    photo = box[:2] + box[2:] * rng.random((K, 2))
    center, side = geometry.bbox_center(box), geometry.square_side(box)
    to_crop = geometry.crop_affine(center, side, 224)
    u = geometry.encode_keypoints(geometry.apply_affine(to_crop, photo), (224, 224))
    to_stored = geometry.crop_affine(center, 1.5 * side, 336)
    np.testing.assert_allclose(SOLVED["ch09"]["to_photo"](u, to_stored, 224, 336), photo, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_average_precision_is_pycocotools(seed, tmp_path):
    rng = np.random.default_rng(seed)
    shape = rng.uniform(0, 150, (K, 2))
    area = 90.0**2
    truth, results, photos = [], [], []
    for image in range(1, 6):
        people = [shape + [300 * n, 0] for n in range(rng.integers(0, 4))]
        found = [p + rng.uniform(0, 14) for p in people for _ in range(rng.integers(0, 3))]
        found += [shape + [0, 900]] * int(rng.integers(0, 2))
        scores = rng.permutation(np.linspace(0.01, 0.99, 83))[: len(found)] + image / 1000

        def triplets(joints):
            return np.column_stack([joints, np.full(K, 2)]).ravel().tolist()

        common = {"image_id": image, "category_id": 1}
        box = {"area": area, "bbox": [0, 0, 90, 90]}
        truth += [{**common, **box, "keypoints": triplets(p)} for p in people]
        results += [{**common, "score": s, "keypoints": triplets(p)} for s, p in zip(scores, found)]
        n, one = len(people), np.ones((len(people), K), bool)
        oks = [
            metrics.oks(np.array([p] * n), np.array(people), one, np.full(n, area)) for p in found
        ]
        photos.append((scores, np.array(oks).reshape(len(found), n)))
    truth = [{"id": i, **person} for i, person in enumerate(truth, 1)]
    coco = {"images": [{"id": i} for i in range(1, 6)], "annotations": truth}
    coco["categories"] = [{"id": 1, "name": "person"}]
    file = tmp_path / "people.json"
    file.write_text(json.dumps(coco))
    theirs = metrics.coco_scores(file, results)
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        assert SOLVED["ch09"]["average_precision"](photos, threshold) == pytest.approx(theirs[name])


# ---- chapter 10: solutions against posekit -------------------------------------------------------


def test_with_its_sides_exchanged_a_prediction_is_turned_back():
    pred, true, labelled = crowd(3)
    other = pred[:, list(COCO17.flip_indices)]
    for answer in (pred, other):
        np.testing.assert_array_equal(SOLVED["ch10"]["best_sides"](answer, true, labelled), pred)


def test_bins_of_equal_size_and_of_equal_width_agree_on_even_probabilities():
    p = (np.random.default_rng(0).permutation(1000) + 0.5) / 1000
    happened = np.random.default_rng(1).random(1000) < p**2
    theirs = metrics.expected_calibration_error(p, happened, np.ones(1000, bool))
    assert SOLVED["ch10"]["equal_count_ece"](p, happened, 10) == pytest.approx(theirs)


def test_the_solution_is_posekits_paired_interval():
    pred, true, labelled = crowd(7)
    worse = pred + np.random.default_rng(8).normal(0, 3, pred.shape)
    (a, counted), (b, _) = (metrics.pck_hits(answers, true, labelled) for answers in (pred, worse))
    scene = np.repeat(np.arange(10), 3)
    sums = [
        np.stack([joints[scene == s].sum(axis=0) for s in range(10)])
        for joints in (a & counted, b & counted, counted)
    ]
    rng = np.random.default_rng(0)
    draws = np.stack([rng.integers(0, 10, 10) for _ in range(2000)])
    theirs = metrics.paired_bootstrap(*sums, seed=0)
    assert np.allclose(
        SOLVED["ch10"]["difference"](a, b, counted, scene, draws),
        [theirs["low"], theirs["high"]],
        atol=1e-12,
    )


# ---- chapter 11: solutions against posekit -------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_the_mirror_is_posekits(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(8, 90, 2)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    joints = rng.uniform(0, 90, (17, 2))
    flags = rng.integers(0, 3, 17)
    picture, moved, new = SOLVED["ch11"]["mirror"](image, joints, flags)
    np.testing.assert_array_equal(picture, cv2.flip(image, 1))
    np.testing.assert_allclose(moved, geometry.flip_keypoints(joints, width, COCO17.flip_indices))
    np.testing.assert_array_equal(new, flags[list(COCO17.flip_indices)])


@pytest.mark.parametrize("name", ch11.BROKEN_CROPS)
def test_each_broken_crop_is_broken_for_every_box_that_is_not_square(name):
    """The zoo is fair: no broken crop hides behind a lucky choice of boxes in the solution."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y, long = rng.uniform(100, 300, 3)
        box = (x, 1.7 * y, long, 0.4 * long)
        size = int(rng.integers(60, 200))
        with pytest.raises(AssertionError):
            assert np.allclose(
                ch11.BROKEN_CROPS[name](box, size),
                ch11.RIGHT_CROPS["posekit's own crop"](box, size),
            )


def test_the_broken_mirror_of_the_task_is_broken():
    """The task shows a mirror and says that it is wrong; so it must not pass."""
    cells = nbformat.read(notebook("exercises/ex11"), as_version=4).cells
    shown = (
        next(cell.source for cell in cells if "anonymised" in cell.source)
        .split("```python")[1]
        .split("```")[0]
    )
    names = {"COCO17": COCO17}
    exec(shown, names)
    with pytest.raises(CheckFailed):
        ch11.check_mirror(names["mirror"])


def test_the_hash_of_the_chapter_the_exercise_and_the_check_is_one():
    chapter = definitions("11_")
    for seed in range(5):
        picture = np.random.default_rng(seed).integers(0, 256, (40, 30)).astype(np.uint8)
        wanted = ch11.dhash(picture)
        np.testing.assert_array_equal(chapter["dhash"](picture), wanted)
        np.testing.assert_array_equal(SOLVED["ch11"]["dhash"](picture), wanted)


# ---- chapter 12: solutions against posekit -------------------------------------------------------


CHAPTER12 = definitions("12_")


def people(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_true = rng.uniform(-0.5, 0.5, (5, 17, 3)).astype(np.float32)
    y_true[..., 2] = rng.random((5, 17)) > 0.4
    y_true[y_true[..., 2] == 0, :2] = np.nan
    y_pred = rng.normal(0, 0.3, (5, 17, 2)).astype(np.float32)
    return y_true, y_pred, rng.uniform(0.01, 0.4, (5, 17, 2)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_the_chapters_losses_are_posekits(seed):
    y_true, y_pred, scale = people(seed)
    rle = losses.RLE()
    rng = np.random.default_rng(seed)
    rle.flow.set_weights([rng.normal(0, 0.2, w.shape) for w in rle.flow.get_weights()])
    pairs = [
        (CHAPTER12["l2"](y_true, y_pred), losses.masked_l2(y_true, y_pred)),
        (CHAPTER12["l1"](y_true, y_pred), losses.masked_l1(y_true, y_pred)),
        (CHAPTER12["smooth_l1"](y_true, y_pred, 0.1), losses.masked_smooth_l1(y_true, y_pred, 0.1)),
        (
            CHAPTER12["gaussian"](y_true, y_pred, scale),
            losses.masked_gaussian(y_true, y_pred, scale),
        ),
        (CHAPTER12["laplace"](y_true, y_pred, scale), losses.masked_laplace(y_true, y_pred, scale)),
        (CHAPTER12["rle"](y_true, y_pred, scale, rle.flow.nets), rle(y_true, y_pred, scale)),
    ]
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)


def test_the_chapters_sigma_head_is_posekits():
    features = keras.Input((8,))
    mine = keras.Model(features, CHAPTER12["sigma_head"](features, 5))
    theirs = keras.Model(features, heads._sigma(features, 5))
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    np.testing.assert_allclose(mine(x), theirs(x), rtol=1e-6)
    rng = np.random.default_rng(1)
    weights = [rng.normal(0, 1, w.shape) for w in theirs.get_weights()]
    mine.set_weights(weights)
    theirs.set_weights(weights)
    np.testing.assert_allclose(mine(x), theirs(x), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (6, 3)])
def test_the_chapters_soft_argmax_is_posekits_integral_head(shape):
    features = keras.Input((*shape, 8))
    outputs = heads.integral_head(features, 5, deconvolutions=0)
    model = keras.Model(features, outputs)
    maps = keras.Model(features, model.get_layer("head_maps").output)
    x = np.random.default_rng(0).normal(0, 40, (3, *shape, 8)).astype(np.float32)
    wanted = np.asarray(model(x)["keypoints"])
    scores = np.asarray(maps(x))
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(CHAPTER12["soft_argmax"](scores), wanted, atol=1e-5)
    np.testing.assert_allclose(SOLVED["ch12"]["soft_argmax"](scores)[0], wanted, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_exercises_laplace_is_posekits(seed):
    y_true, y_pred, scale = people(seed)
    both = np.repeat(scale[..., :1], 2, axis=-1)
    mine = SOLVED["ch12"]["laplace_log"](y_true, y_pred, np.log(scale[..., 0]))
    np.testing.assert_allclose(mine, losses.masked_laplace(y_true, y_pred, both), rtol=1e-5)


@pytest.mark.parametrize("keep", [0, 1])
def test_the_masked_coupling_is_the_chapters_in_the_plane(keep):
    net = CHAPTER12["little_network"](8)
    rng = np.random.default_rng(keep)
    net.set_weights([rng.normal(0, 0.5, w.shape) for w in net.get_weights()])
    stays = np.eye(2)[keep]
    x = rng.normal(size=(30, 2))

    def masked(given):
        out = np.asarray(net(given[:, keep : keep + 1]), np.float64)
        return np.tanh(out[:, :1]) * np.ones(2), out[:, 1:] * np.ones(2)

    for back in (False, True):
        wanted = CHAPTER12["coupling"](x.astype(np.float32), net, keep, back)
        for a, b in zip(SOLVED["ch12"]["coupling"](x, masked, stays, back), wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("density", ["laplace", "gaussian"])
def test_the_repaired_scale_is_the_likeliest(density):
    rng = np.random.default_rng(4)
    scale = rng.uniform(0.01, 0.2, (50, 17, 2))
    error = rng.normal(0, 2 * scale)
    weight = (rng.random((50, 17)) > 0.2).astype(float)
    nll = {"laplace": losses.laplace_nll, "gaussian": losses.gaussian_nll}[density]
    best = SOLVED["ch12"]["sigma_factor"](error, scale, weight, density)

    def cost(factor):
        one = nll(error.astype(np.float32), (factor * scale).astype(np.float32))
        return float(np.asarray(one)[weight > 0].mean())

    assert all(cost(best * factor) > cost(best) for factor in (0.9, 1.1))


# ---- chapter 13: solutions against posekit -------------------------------------------------------


def test_the_sigma_needed_keeps_that_share_inside_posekits_sub_images():
    rng = np.random.default_rng(0)
    predicted = rng.uniform(20, 80, (50, 17, 2))
    true = predicted + rng.normal(0, 10, predicted.shape)
    labelled = rng.random((50, 17)) < 0.8
    for share in (0.5, 0.9):
        sigma = SOLVED["ch13"]["sigma_needed"](predicted, true, labelled, share)
        for k in range(17):
            inside = []
            for pose, truth in zip(predicted[labelled[:, k]], true[labelled[:, k]], strict=True):
                side = sigma[k] * cascade.torso_diameter(pose)
                affine = cascade.sub_image_affines(pose, side, 32)[k]
                place = geometry.encode_keypoints(geometry.apply_affine(affine, truth), (32, 32))
                inside.append(np.abs(place[k]).max() <= 0.5 + 1e-9)
            assert abs(np.mean(inside) - share) < 1 / len(inside)


@pytest.mark.parametrize("angle", [0, 30, -100])
def test_the_way_back_is_posekits(angle):
    rng = np.random.default_rng(0)
    for flip in (False, True):
        joint = rng.uniform(20, 80, 2)
        place = rng.uniform(-0.4, 0.4, 2)
        affine = geometry.crop_affine(joint, 50, 32, rotation=angle, flip=flip)
        inside = geometry.decode_keypoints(place[None], (32, 32))
        there = geometry.apply_affine(geometry.invert(affine), inside)[0]
        put_back = SOLVED["ch13"]["put_back"]
        np.testing.assert_allclose(put_back(place, joint, 50, angle, flip, 1.0), there)
        half = joint + 0.5 * (there - joint)
        np.testing.assert_allclose(put_back(place, joint, 50, angle, flip, 0.5), half)


def test_invented_errors_are_those_that_posekit_draws():
    rng = np.random.default_rng(1)
    pose = rng.uniform(20, 80, (17, 2))
    mean = rng.normal(size=(17, 2))
    root = np.tril(rng.uniform(0.1, 0.5, (17, 2, 2)))
    errors = cascade.Displacements(mean, root @ np.swapaxes(root, 1, 2))
    drawn = errors.draw(np.random.default_rng(5)) * cascade.torso_diameter(pose)
    for probability, meant in ((0.0, pose), (1.0, pose[list(COCO17.flip_indices)])):
        swapped = np.full(17, probability)
        given = (pose, mean, errors.covariance, swapped, np.random.default_rng(5))
        np.testing.assert_allclose(SOLVED["ch13"]["invent"](*given), meant - drawn, atol=1e-4)


# ---- chapter 14: solutions against posekit -------------------------------------------------------


def test_a_folded_norm_says_what_kerass_layers_say():
    keras.utils.set_random_seed(0)
    norm = keras.layers.BatchNormalization(epsilon=0.02)
    dense = keras.layers.Dense(3)
    model = keras.Sequential([keras.Input((4,)), norm, dense])
    rng = np.random.default_rng(0)
    norm.set_weights([rng.uniform(0.5, 2, 4) for _ in norm.weights])
    x = rng.normal(size=(6, 4)).astype(np.float32)
    kernel, bias = SOLVED["ch14"]["fold_before"](
        *dense.get_weights(), *norm.get_weights(), norm.epsilon
    )
    np.testing.assert_allclose(x @ kernel + bias, np.asarray(model(x, training=False)), atol=1e-5)


def test_the_chapters_functions_are_right():
    """`fold` and `quantise_weights`, as the chapter defines them."""
    names = definitions("14_", "fold", "quantise_weights")
    names["np"] = np
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3, 4, 5)) * rng.uniform(0.1, 3, 5)
    gamma, beta, mean, variance = rng.uniform(0.5, 2, (4, 5))
    new, bias = names["fold"](kernel, gamma, beta, mean, variance, 1e-3)
    x = rng.normal(size=(3, 3, 4))
    want = gamma * (np.einsum("hwi,hwio->o", x, kernel) - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(np.einsum("hwi,hwio->o", x, new) + bias, want)
    for axis in (None, (0, 1, 2)):
        q, scale = names["quantise_weights"](kernel, axis)
        assert q.dtype == np.int8 and np.all(np.abs(q * scale - kernel) <= scale / 2 + 1e-9)


def test_eight_bits_are_those_of_onnx_runtime():
    """The very integers of the operator QuantizeLinear."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(2)
    x = rng.uniform(-3, 9, 200).astype(np.float32)
    q, scale, zero = SOLVED["ch14"]["quantise"](x, -2.0, 6.0)
    node = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"])
    given = [
        numpy_helper.from_array(np.float32(scale), "s"),
        numpy_helper.from_array(np.uint8(zero), "z"),
    ]
    ends = [
        helper.make_tensor_value_info(n, t, [200])
        for n, t in (("x", TensorProto.FLOAT), ("q", TensorProto.UINT8))
    ]
    graph = helper.make_graph([node], "q", ends[:1], ends[1:], given)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    theirs = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(q, theirs)


# ---- chapter 15: solutions against posekit -------------------------------------------------------


def test_the_chapters_filter_is_posekits():
    chapter = definitions("15_")
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.1, 50))
    values = rng.normal(size=(50, 17, 2)).cumsum(axis=0)
    state = None
    how = one_euro.OneEuroParams(0.7, 2.0, 1.0)
    mine = chapter["one_euro"](values, times, 0.7, 2.0, torso_length=50.0)
    for k in range(50):
        state = one_euro.smooth(state, values[k], times[k], how, 50.0)
        np.testing.assert_allclose(mine[k], state.value, atol=1e-9)


def test_the_chapters_lost_and_found_is_the_exercises_and_the_trackers():
    chapter = definitions("15_")
    rng = np.random.default_rng(1)
    presence = rng.uniform(0, 1, 200)
    times = np.cumsum(rng.uniform(0.02, 0.2, 200))
    mine = chapter["lost_and_found"](presence, times)
    followed = SOLVED["ch15"]["follow_one"](presence[:, None], times, 0.5, 0.3, 0.4)
    np.testing.assert_array_equal(mine, followed == 0)
    settings = tracking.Settings(0.5, 0.3, 0.4)
    joints = rng.uniform(10, 90, (17, 2))
    state = tracking.State()
    for value, now, there in zip(presence, times, mine, strict=True):
        for _ in range(
            2 if state.mode == "searching" else 1
        ):  # found in the whole frame, and looked at again
            state = tracking.update(
                state, joints, np.full(17, value), value, now, 100, 100, settings
            )
        assert (state.mode == "tracking") == there
