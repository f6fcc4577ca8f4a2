"""What the exercises call to check themselves: one module a chapter (`posekit.notebook.checks.ch01` ...), used in every chapter.

A check prints one line that starts with a tick, or raises `CheckFailed` with a hint that speaks to the mistake.
CONTRIBUTING.md says how to write one.
"""

import numpy as np


class CheckFailed(AssertionError):
    """An answer that is not right yet. Its message is the hint; a notebook shows that alone, without a traceback.

    Args:
        hint: one or two sentences to the reader: what was seen, and where to look.
    """

    def _render_traceback_(self) -> list[str]:
        """IPython asks this for what it prints in place of the traceback."""
        return [f"✗ Not yet: {self}"]


def passed(what: str) -> None:
    """Print that an answer is right, and what was right about it."""
    print(f"✓ {what}")


def expect(condition: object, hint: str) -> None:
    """Raise `CheckFailed(hint)` unless `condition` holds."""
    if not condition:
        raise CheckFailed(hint)


def expect_written(answer: object, name: str) -> None:
    """Refuse an answer that is still the exercise's empty place (`None` or `...`)."""
    if answer is None or answer is ...:
        raise CheckFailed(
            f"`{name}` has no value yet: write your answer, run its cell, then run this one again."
        )


def expect_array(
    answer: object, name: str, shape: tuple[int | None, ...] | None = None
) -> np.ndarray:
    """The answer as a float64 array, of the shape that is wanted and finite throughout.

    Args:
        answer: what the reader computed: an array, a tensor, a list or a number.
        name: what to call it in the hint.
        shape: the wanted shape; None in it stands for any length, None for any shape.

    Raises:
        CheckFailed: with a hint on the kind, the shape or the NaN.
    """
    expect_written(answer, name)
    try:
        array = np.asarray(answer, np.float64)
    except (TypeError, ValueError):
        raise CheckFailed(
            f"`{name}` should be numbers, but it is a {type(answer).__name__}."
        ) from None
    if shape is not None:
        fits = array.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape)
        )
        wanted = (
            "("
            + ", ".join("any" if n is None else str(n) for n in shape)
            + ("," if len(shape) == 1 else "")
            + ")"
        )
        expect(fits, f"`{name}` should have shape {wanted}, but it has {array.shape}.")
    expect(
        np.all(np.isfinite(array)), f"`{name}` holds NaN or infinity: look for a division by zero."
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
        tolerance: the largest difference that passes, relative to the truth's largest value if that is above 1.

    Raises:
        CheckFailed: with `hint`, or with a hint on the shape.
    """
    truth = np.asarray(truth, np.float64)
    array = expect_array(answer, name, truth.shape)
    scale = max(1.0, float(np.abs(truth).max(initial=0)))
    expect(np.abs(array - truth).max(initial=0) <= tolerance * scale, hint)
