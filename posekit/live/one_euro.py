"""The One-Euro filter: smooth when slow, quick when fast, for all joints at once (chapter 12)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OneEuro:
    """How much to smooth.

    Args:
        min_cutoff: Hz, > 0; how much of a resting joint's jitter passes. Lower is calmer.
        beta: Hz for each body length a second, >= 0; how far speed opens the filter. Higher lags less.
        speed_cutoff: Hz, > 0; of the low pass on the speed itself.
    """

    min_cutoff: float = 1.0
    beta: float = 8.0
    speed_cutoff: float = 1.0


@dataclass(frozen=True)
class Smoothed:
    """What the filter keeps between two values.

    Args:
        value: (...) filtered, in the caller's unit.
        speed: (...) filtered, units a second.
        seconds: time of the value.
    """

    value: np.ndarray
    speed: np.ndarray
    seconds: float


def _share(cutoff: np.ndarray | float, seconds: float) -> np.ndarray | float:
    """How much of a new value a low pass takes: 1 / (1 + tau / dt), tau = 1 / (2 pi cutoff)."""
    step = 2 * np.pi * cutoff * seconds
    return step / (step + 1)


def smooth(
    last: Smoothed | None,
    value: np.ndarray,
    seconds: float,
    how: OneEuro = OneEuro(),
    unit: float = 1.0,
) -> Smoothed:
    """Take in one value; a pure function.

    Args:
        last: what the call before returned; None to begin.
        value: (...) any unit, e.g. (17, 2) pixels.
        seconds: time of the value, any clock; one that is not later than the last changes nothing.
        how: the filter's parameters.
        unit: length of the body in the unit of `value`, > 0. Speed counts in bodies a second, so that `beta` means the same in
            every resolution and at every distance from the camera.

    Returns:
        The filtered value, with what the next call needs.

    Source:
        Casiez, Roussel, Vogel, "1 Euro Filter", CHI 2012, algorithm 1 and equations 5 to 8.
    """
    value = np.asarray(value, np.float64)
    if last is None:
        return Smoothed(value, np.zeros_like(value), seconds)
    passed = seconds - last.seconds
    if passed <= 0:
        return last
    share = _share(how.speed_cutoff, passed)
    speed = share * (value - last.value) / passed + (1 - share) * last.speed
    share = _share(how.min_cutoff + how.beta * np.abs(speed) / unit, passed)
    return Smoothed(share * value + (1 - share) * last.value, speed, seconds)
