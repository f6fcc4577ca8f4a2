"""Checks of the exercises: one module per chapter (`posekit.notebook.checks.ch01` ...).

A check prints one line that starts with a tick, or raises `CheckFailed` with a hint for the
mistake. It runs the reader's function through `call`, so that an exception, an endless loop or a
wrong number of arguments gives the same kind of hint in every chapter: one line that names the
reader's own line. CONTRIBUTING.md says how to write a check.
"""

import copy
import dis
import functools
import inspect
import itertools
import linecache
import re
import signal
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import CodeType, FrameType

import numpy as np

from posekit.notebook import solved

__all__ = [
    "TIME_LIMIT_S",
    "CheckFailed",
    "call",
    "exercise",
    "expect",
    "expect_array",
    "expect_close",
    "expect_flag",
    "expect_parts",
    "expect_type",
    "expect_whole",
    "expect_written",
    "judge",
    "near",
    "passed",
    "unchanged",
]

TIME_LIMIT_S = 10.0
"""Seconds after which one call of the reader's function is stopped."""

_PATIENCE = 6
"""Times the limit, for a call that has hardly computed: it sleeps, or the machine is busy."""

_MAX_ITEMS = 100_000  # of a generator's output; more is never asked for
_PACKAGE = Path(__file__).resolve().parents[2]
_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve())
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_NUMBERS = {2: "two", 3: "three", 4: "four"}

_last_called: Callable | None = None
"""The function whose output is being checked; its `return` is named when the output has a wrong
type."""


class CheckFailed(AssertionError):
    """An answer that is not right yet.

    A notebook shows the message alone, without a traceback.

    Args:
        hint: one or two sentences to the reader: what was seen, and where to look.
    """

    def __init__(self, hint: str):
        super().__init__(" ".join(hint.splitlines()))  # it may quote a message of several lines

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints in place of the traceback."""
        return [f"✗ Not yet: {self}"]


class _TimeUpError(BaseException):
    """The time limit of a call is over. No Exception, so that `except Exception` does not catch
    it."""


def exercise(check: Callable[..., None]) -> Callable[..., None]:
    """Decorate the check of an exercise: note in the reader's progress that it passed, and turn an
    answer that the check cannot read into a hint.

    Args:
        check: a function of the reader's functions that raises `CheckFailed` or returns None.

    Returns:
        The same function; what it raises is a `CheckFailed`.
    """

    @functools.wraps(check)
    def wrapper(*answers: object) -> None:
        try:
            check(*answers)
        except CheckFailed:
            raise
        except Exception as error:
            names = " and ".join(f"`{name}`" for name in inspect.signature(check).parameters)
            raise CheckFailed(
                f"{UNREADABLE} {names}: {type(error).__name__}{_said(error)}. Does it return what "
                "the task asks for?"
            ) from error
        solved.record(check.__module__.rpartition(".")[2], check.__name__)

    return wrapper


UNREADABLE = "This check cannot read the answer of"
"""The hint begins like this where a check met an answer that it was not written for."""


# ---- what a check says ---------------------------------------------------------------------------


def passed(what: str) -> None:
    """Print that an answer is right, and what was right about it."""
    print(f"✓ {what}")


def expect(condition: object, hint: str) -> None:
    """Raise `CheckFailed(hint)` unless `condition` holds."""
    if not condition:
        raise CheckFailed(hint)


def near(answer: object, truth: object, tolerance: float = 1e-6) -> bool:
    """Whether an answer has the shape and the values of the truth.

    Args:
        answer: array, tensor, list or number.
        truth: array or number to compare with.
        tolerance: largest difference allowed, relative to the truth's largest value if above 1.

    Returns:
        True when shapes agree and no value differs by more; False for NaN and for what is no
        number.
    """
    try:
        answer = np.asarray(answer, np.float64)
    except Exception:  # whatever a foreign tensor raises when it is made an array
        return False
    truth = np.asarray(truth, np.float64)
    if answer.shape != truth.shape:
        return False
    scale = max(1.0, float(np.abs(truth).max(initial=0)))
    return bool(np.abs(answer - truth).max(initial=0) <= tolerance * scale)


def judge(
    answer: object,
    truth: object,
    mistakes: Mapping[str, object] | Iterable[tuple[str, object]],
    otherwise: str,
    tolerance: float = 1e-6,
) -> None:
    """Compare an answer with the truth, and with what each typical mistake gives.

    Args:
        answer: the reader's result.
        truth: the right result.
        mistakes: the hint of each mistake with the result that this mistake gives; the first that
            is near the answer is told. A mistake that happens to give the truth is passed over.
        otherwise: the hint when no mistake is recognised.
        tolerance: as in `near`.

    Raises:
        CheckFailed: unless the answer is near the truth.
    """
    if near(answer, truth, tolerance):
        return
    pairs = mistakes.items() if isinstance(mistakes, Mapping) else mistakes
    for hint, wrong in pairs:
        if near(answer, wrong, tolerance) and not near(wrong, truth, tolerance):
            raise CheckFailed(hint)
    raise CheckFailed(otherwise)


def expect_written(answer: object, name: str) -> None:
    """Refuse an answer that is still the exercise's empty place (`None` or `...`).

    Args:
        answer: the reader's function, or what it returned.
        name: what to call it in the hint.

    Raises:
        CheckFailed: if nothing is there yet.
    """
    if answer is None or answer is ...:
        raise CheckFailed(
            f"`{name}` has no value yet{_returned_at()}: write your answer, run its cell, then run "
            "this one again."
        )


def expect_array(
    answer: object,
    name: str,
    shape: tuple[int | None, ...] | None = None,
    *,
    finite: bool = True,
) -> np.ndarray:
    """Convert an answer to a float64 array of the wanted shape.

    Args:
        answer: what the reader computed: an array, a tensor, a list, a tuple or a number.
        name: what to call it in the hint.
        shape: the wanted shape; None in it stands for any length, None for any shape.
        finite: refuse NaN and infinity.

    Returns:
        The numbers, float64.

    Raises:
        CheckFailed: with a hint on the type, the shape or the NaN.
    """
    expect_written(answer, name)
    try:
        array = np.asarray(answer)
        if array.dtype.kind in "USc":  # "3" is no number, and 1j has no place on an axis
            raise TypeError
        array = array.astype(np.float64)
    except Exception:  # whatever a foreign tensor raises when it is made an array
        parts = " of unequal parts" if isinstance(answer, list | tuple) else ""
        raise CheckFailed(
            f"`{name}` should be numbers, but it is {_kind(answer)}{parts}{_returned_at()}."
        ) from None
    if shape is not None:
        fits = array.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=True)
        )
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        wanted += "," if len(shape) == 1 else ""
        expect(
            fits,
            f"`{name}` should have shape ({wanted}), but it has {array.shape}{_returned_at()}.",
        )
    expect(
        not finite or np.all(np.isfinite(array)),
        f"`{name}` holds NaN or infinity: look for a division by zero.",
    )
    return array


def expect_close(
    answer: object, truth: object, name: str, hint: str, tolerance: float = 1e-6
) -> None:
    """Compare numbers with the truth, to an absolute and relative tolerance.

    Args:
        answer: what the reader computed.
        truth: what is right; its shape is wanted too.
        name: what to call the answer in a hint.
        hint: what to say when the numbers differ.
        tolerance: as in `near`.

    Raises:
        CheckFailed: with `hint`, or with a hint on the type or the shape.
    """
    truth = np.asarray(truth, np.float64)
    expect(near(expect_array(answer, name, truth.shape), truth, tolerance), hint)


def expect_parts(answer: object, name: str, parts: Sequence[str]) -> tuple:
    """Split what a function returned into its parts.

    Args:
        answer: what the reader's function returned.
        name: what to call it in the hint.
        parts: what to call each part in the hint.

    Returns:
        The parts; none of them is empty.

    Raises:
        CheckFailed: if it is no tuple or list of as many parts, or if a part is None.
    """
    wanted = f"{', '.join(parts[:-1])} and {parts[-1]}"
    if not isinstance(answer, tuple | list) or len(answer) != len(parts):
        length = f" of {len(answer)}" if isinstance(answer, tuple | list) else ""
        raise CheckFailed(
            f"`{name}` should return {_NUMBERS[len(parts)]} things: {wanted}. It returned "
            f"{_kind(answer)}{length}{_returned_at()}."
        )
    for part, called in zip(answer, parts, strict=True):
        expect_written(part, called)
    return tuple(answer)


def expect_type(answer: object, name: str, wanted: str, types: type | tuple[type, ...]) -> None:
    """Refuse an answer of another type.

    Args:
        answer: what the reader's function returned.
        name: what to call it in the hint.
        wanted: what to call the right type in the hint.
        types: the types that pass.

    Raises:
        CheckFailed: if it is of another type.
    """
    if not isinstance(answer, types):
        raise CheckFailed(f"`{name}` should be {wanted}, not {_kind(answer)}{_returned_at()}.")


def expect_flag(answer: object, name: str) -> bool:
    """Convert an answer to Python's bool; refuse what is neither True nor False.

    Args:
        answer: what the reader's function returned.
        name: what to call it in the hint.

    Raises:
        CheckFailed: if it is of another type.
    """
    expect_type(answer, name, "True or False", (bool, np.bool_))
    return bool(answer)


def expect_whole(answer: object, name: str) -> int:
    """Convert an answer to Python's int; refuse what is no single whole number.

    Args:
        answer: what the reader's function returned; 3 and 3.0 pass.
        name: what to call it in the hint.

    Raises:
        CheckFailed: for another type or shape, and for a fraction.
    """
    value = float(expect_array(answer, name, ()))
    expect(
        value == round(value),
        f"`{name}` should be a whole number, but it is {value:g}{_returned_at()}.",
    )
    return int(value)


def _kind(value: object) -> str:
    name = type(value).__name__
    if name == "ndarray":
        return "an array"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


# ---- running the reader's function ---------------------------------------------------------------


def call(
    function: Callable,
    expression: str,
    *given: object,
    allow: tuple[type[Exception], ...] = (),
    hint: str = "",
    returns: bool = True,
) -> object:
    """Run the reader's function under a time limit; whatever stops it becomes a hint.

    Args:
        function: what the reader wrote.
        expression: the call as the hint shows it, with the parameters' names:
            `pck(pred, true, labelled, threshold)`.
        given: the arguments. Arrays, lists and dictionaries among them must come back unchanged.
        allow: exceptions that the caller handles itself.
        hint: added to the hint when the function raises, where the exercise knows the likely cause.
        returns: False for a function that returns nothing.

    Returns:
        What the function returned; a generator as a list.

    Raises:
        CheckFailed: if the function is not written, is not callable, takes other arguments, raises,
            runs longer than `TIME_LIMIT_S`, changes its arguments or returns nothing.
    """
    global _last_called
    name = expression.partition("(")[0]
    _last_called = None
    expect_written(function, name)
    expect(callable(function), f"`{name}` should be a function, not {_kind(function)}.")
    _expect_parameters(function, name, expression, given)
    before = [_copy(value) for value in given]
    try:
        with _time_limit(TIME_LIMIT_S):
            answer = function(*given)
            if isinstance(answer, Iterator):
                answer = list(itertools.islice(answer, _MAX_ITEMS))
    except CheckFailed as error:  # raised by what the check handed in, say a network
        raise CheckFailed(f"{error}{_raised_at(error)}") from None
    except _TimeUpError as error:
        raise CheckFailed(
            f"`{expression}` did not end within {TIME_LIMIT_S:g} seconds{_raised_at(error)}. "
            "If this is a loop: what changes in it so that it ends?"
        ) from None
    except NotImplementedError as error:  # nbgrader's own place holder
        raise CheckFailed(
            f"`{name}` has no value yet{_raised_at(error)}: write your answer in place of the "
            "NotImplementedError."
        ) from None
    except allow:
        _last_called = function
        raise
    except (Exception, SystemExit) as error:
        raise CheckFailed(_what_stopped(error, expression, hint)) from None
    _last_called = function
    if returns:
        expect_written(answer, expression)
    unchanged(expression, given, before)
    return answer


def unchanged(expression: str, given: Sequence, before: Sequence) -> None:
    """Refuse a function that changed its arguments.

    Args:
        expression: the call, whose parameters name the arguments in the hint.
        given: the arguments after the call.
        before: copies of them, made before it.

    Raises:
        CheckFailed: naming the argument that has changed.
    """
    names = [part.strip() for part in expression.partition("(")[2].rstrip(")").split(",")]
    for i, (now, then) in enumerate(zip(given, before, strict=True)):
        name = f"`{names[i]}`" if i < len(names) else "argument"
        expect(
            _same(now, then),
            f"Your function changed the {name} that it was given. The caller still needs it: work "
            "on a copy, and return that.",
        )


def _copy(value: object) -> object:
    return copy.deepcopy(value) if isinstance(value, np.ndarray | list | tuple | dict) else value


def _same(now: object, then: object) -> bool:
    if isinstance(then, np.ndarray):
        return np.array_equal(now, then, equal_nan=then.dtype.kind in "fc")
    if isinstance(then, list | tuple):
        return len(now) == len(then) and all(map(_same, now, then))
    if isinstance(then, dict):
        return now.keys() == then.keys() and all(_same(now[key], then[key]) for key in then)
    return now is then or not isinstance(then, int | float | str) or now == then


def _expect_parameters(function: Callable, name: str, expression: str, given: tuple) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C: it tells no signature
        return
    try:
        signature.bind(*given)
    except TypeError:
        place = _place(*_first_line(function))
        raise CheckFailed(
            f"Your `{name}` has the parameters {signature}{place}, but it is called as "
            f"`{expression}`: keep the parameters of the task."
        ) from None


_CAUSES = (
    (
        ValueError,
        "truth value",
        "`and`, `or`, `not` and `if` want one True or False. For arrays use `&`, `|` and `~`, each "
        "side in parentheses, or reduce them by `.all()` or `.any()`.",
    ),
    (
        TypeError,
        "ufunc 'bitwise_|unsupported operand type.* for [&|]",
        "`&` and `|` bind more tightly than `<` and `==`: put each comparison in parentheses.",
    ),
    (
        IndexError,
        "too many indices",
        "A tuple as an index holds one number per axis. To pick rows, use a list: "
        "`points[list(order)]`.",
    ),
    (
        IndexError,
        "arrays used as indices must be of integer|only integers, slices",
        "An index must be a whole number: convert it by `int(...)` or `.astype(int)`.",
    ),
    (
        TypeError,
        "indices must be integers|only (integer|length-1|0-dimensional)",
        "A list takes one whole number as its index, and a scalar one value. Make it an array "
        "first: `np.asarray(...)`.",
    ),
    (
        ValueError,
        "could not be broadcast|Incompatible shapes|same shape",
        "Print the shapes of both sides.",
    ),
    (TypeError, "NoneType", "Something in this line is None."),
    (
        AttributeError,
        "'(list|tuple)' object",
        "This is a list or a tuple, not an array: `np.asarray(...)` makes it one.",
    ),
    (NameError, "", "Is it spelt right, and has the cell that defines it been run?"),
    (RecursionError, "", "The function calls itself without end."),
)
"""Exceptions that students meet most often: type, a pattern in the message, the hint."""


def _what_stopped(error: BaseException, expression: str, hint: str) -> str:
    if not hint:
        hint = next(
            (
                known
                for kind, pattern, known in _CAUSES
                if isinstance(error, kind) and re.search(pattern, str(error))
            ),
            "",
        )
    told = f"`{expression}` stops with {type(error).__name__}{_said(error)}{_raised_at(error)}."
    return f"{told} {hint}".rstrip()


def _said(error: BaseException) -> str:
    """`: ` and the first line of an exception's message, or nothing where it has none."""
    said = next(iter(str(error).strip().splitlines()), "").rstrip(".:")[:160]
    return f": {said}" if said else ""


# ---- the reader's own line -----------------------------------------------------------------------


@functools.cache
def _is_own(filename: str) -> bool:
    """Whether a file is the reader's: neither posekit's nor Python's nor an installed package's."""
    if filename.startswith(("<frozen", "<__array_function__")):
        return False
    path = Path(filename).resolve() if not filename.startswith("<") else Path(filename)
    if path.is_relative_to(_PACKAGE):
        return False
    return not any(path.is_relative_to(library) for library in _LIBRARIES)


def _place(filename: str, line: int) -> str:
    """` (line 5, `x = y`)`, or nothing where the file is not the reader's."""
    if not line or not _is_own(filename):
        return ""
    text = " ".join(linecache.getline(filename, line).split())
    if len(text) > 90:
        text = f"{text[:88]} …"
    return f" (line {line}, `{text}`)" if text else f" (line {line})"


def _raised_at(error: BaseException) -> str:
    own = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _is_own(frame.f_code.co_filename)
    ]
    return _place(*own[-1]) if own else ""


def _code(function: Callable) -> CodeType | None:
    function = inspect.unwrap(function)
    if inspect.isclass(function):
        function = function.__init__
    elif not hasattr(function, "__code__"):
        function = type(function).__call__
    return getattr(function, "__code__", None)


def _first_line(function: Callable) -> tuple[str, int]:
    code = _code(function)
    if code is not None:
        return code.co_filename, code.co_firstlineno
    try:  # a class without code of its own
        return inspect.getsourcefile(function) or "", inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return "", 0


def _returned_at() -> str:
    """The place of the `return` of the function last called; of its head if it has several."""
    code = _code(_last_called) if _last_called is not None else None
    if code is None:
        return ""
    lines = {
        instruction.positions.lineno
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("RETURN_VALUE", "RETURN_CONST") and instruction.positions
    } - {None}
    return _place(code.co_filename, lines.pop() if len(lines) == 1 else code.co_firstlineno)


# ---- the time limit ------------------------------------------------------------------------------


def _time_limit(seconds: float) -> AbstractContextManager:
    """Raise `_TimeUpError` in the code inside when the time is over.

    Only the main thread receives signals, and Windows has no interval timer: there, trace instead.
    """
    if hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread():
        return _limit_by_signal(seconds)
    return _limit_by_tracing(seconds)


def _clock(seconds: float) -> Callable[[], bool]:
    """A function that tells whether the time is over."""
    start = time.monotonic()
    computed = time.process_time()

    def over() -> bool:
        passed_s = time.monotonic() - start
        busy = time.process_time() - computed > seconds / 2
        return passed_s > (seconds if busy else _PATIENCE * seconds)

    return over


@contextmanager
def _limit_by_signal(seconds: float) -> Iterator[None]:
    raised = False
    over = _clock(seconds)

    def stop(_: int, frame: FrameType | None) -> None:
        nonlocal raised
        # a module that is half imported would be broken afterwards
        if not over() or _is_importing(frame):
            return
        if not raised or _in_own_code(frame):
            raised = True
            raise _TimeUpError

    handler = signal.signal(signal.SIGALRM, stop)
    started = time.monotonic()
    # again and again after that: a bare `except:` in the loop catches the first ones
    rest, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if rest:  # an outer timer goes on
            rest = max(rest - (time.monotonic() - started), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, rest, interval)


def _running(frame: FrameType | None) -> Iterator[str]:
    """The files of the functions that run inside of `call`, the innermost first."""
    while frame is not None and frame.f_code is not call.__code__:
        yield frame.f_code.co_filename
        frame = frame.f_back


def _is_importing(frame: FrameType | None) -> bool:
    return any(name.startswith("<frozen importlib") for name in _running(frame))


def _in_own_code(frame: FrameType | None) -> bool:
    return any(map(_is_own, _running(frame)))


@contextmanager
def _limit_by_tracing(seconds: float) -> Iterator[None]:
    over = _clock(seconds)

    def trace(frame: FrameType, event: str, argument: object) -> Callable | None:
        if not _is_own(frame.f_code.co_filename):
            return None
        if over():
            raise _TimeUpError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
