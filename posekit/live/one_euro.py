"""The One-Euro filter: strong smoothing at rest, little lag in motion (chapter 15)."""

from dataclasses import dataclass

import numpy as np

__all__ = ["FilterState", "OneEuroParams", "smooth"]


@dataclass(frozen=True)
class OneEuroParams:
    """Parameters of the filter.

    Args:
        min_cutoff: Hz, > 0; cutoff frequency at rest. Lower values remove more jitter.
        beta: Hz per torso length per second, >= 0; how much speed raises the cutoff. Higher
            values lag less.
        speed_cutoff: Hz, > 0; cutoff of the low-pass filter of the speed.
    """

    min_cutoff: float = 1.0
    beta: float = 8.0
    speed_cutoff: float = 1.0


@dataclass(frozen=True)
class FilterState:
    """State of the filter after a value.

    Args:
        value: (...) filtered, in the caller's unit.
        speed: (...) filtered, units per second.
        seconds: time of the value.
    """

    value: np.ndarray
    speed: np.ndarray
    seconds: float


def _weight(cutoff: np.ndarray | float, elapsed: float) -> np.ndarray | float:
    """Weight of a new value in a low-pass filter: 1 / (1 + tau / dt), tau = 1 / (2 pi cutoff)."""
    step = 2 * np.pi * cutoff * elapsed
    return step / (step + 1)


def smooth(
    state: FilterState | None,
    value: np.ndarray,
    seconds: float,
    params: OneEuroParams = OneEuroParams(),
    torso_length: float = 1.0,
) -> FilterState:
    """Filter one value; a pure function.

    Args:
        state: as returned for the last value; None for the first.
        value: (...) any unit, e.g. (17, 2) pixels.
        seconds: time of the value, any clock. If it is not later than the last, the value is
            ignored.
        params: of the filter.
        torso_length: in the unit of `value`, > 0. Speed is measured in torso lengths per second,
            so that `beta` means the same at every resolution and distance from the camera.

    Returns:
        The state after, with the filtered value.

    Source:
        Casiez, Roussel, Vogel, "1 Euro Filter", CHI 2012, algorithm 1 and equations 5 to 8.
    """
    value = np.asarray(value, np.float64)
    if state is None:
        return FilterState(value, np.zeros_like(value), seconds)
    elapsed = seconds - state.seconds
    if elapsed <= 0:
        return state
    weight = _weight(params.speed_cutoff, elapsed)
    speed = weight * (value - state.value) / elapsed + (1 - weight) * state.speed
    cutoff = params.min_cutoff + params.beta * np.abs(speed) / torso_length
    weight = _weight(cutoff, elapsed)
    return FilterState(weight * value + (1 - weight) * state.value, speed, seconds)
