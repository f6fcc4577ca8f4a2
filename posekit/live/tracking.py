"""From frame to frame: where to look next, and whether anybody is there; pure functions of state, prediction and time (chapter 12).

    lost ──(sure in a search square)──► found ──(sure again, close up)──► kept ──(unsure for a while)──► lost
                                          └────────(not sure)──► lost

`web/tracker.js` is the same in JavaScript; shared test vectors hold the two equal.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from posekit.geometry import PADDING
from posekit.live.one_euro import OneEuro, Smoothed, smooth
from posekit.skeleton import COCO17


@dataclass(frozen=True)
class Settings:
    """What the tracker goes by. The defaults suit the calibrated scores of the released models.

    Args:
        found: belief (0 ... 1) from which somebody is there.
        kept: belief below which somebody who was there is in doubt; lower than `found`, or the track flickers.
        patience: seconds of doubt after which somebody is lost.
        joint: score (0 ... 1) from which a joint counts for the next crop; lower than what is drawn, or a crop without the doubtful arms
            closes in on the face and never sees them again.
        filter: of the joints' places.
    """

    found: float = 0.3
    kept: float = 0.2
    patience: float = 0.4
    joint: float = 0.15
    filter: OneEuro = field(default_factory=OneEuro)


class Crop(NamedTuple):
    """A square part of the frame: `center` (2,) in pixels (centres at integers), `side` in pixels."""

    center: np.ndarray
    side: float


@dataclass(frozen=True)
class State:
    """What the tracker knows after a frame.

    Args:
        mode: `"lost"`, `"found"` (to be confirmed by a close look) or `"kept"`.
        crop: the square around the body when last seen, frame pixels.
        velocity: (2,) of its centre, pixels a second.
        unit: length of the torso, pixels.
        seconds: when it was seen.
        doubt: since when belief is low; None while it is not.
        smoothed: the joints' filter.
        looks: how often it has looked for somebody in vain.
    """

    mode: str = "lost"
    crop: Crop | None = None
    velocity: np.ndarray | None = None
    unit: float = 1.0
    seconds: float = 0.0
    doubt: float | None = None
    smoothed: Smoothed | None = None
    looks: int = 0


_SURE_JOINTS = 5  # a face and a shoulder: as much as a camera on a desk may see
_SPEED_SECONDS = 0.2  # time constant of the velocity
_SHRINK_SECONDS = 0.3  # time constant with which the crop gets smaller; it grows at once
_AHEAD_SECONDS = 0.2  # no velocity is trusted for longer
_NEARER = 3 / 4  # of the frame's shorter side: where to look for who is far away
_LEAST = 1 / 8  # of the frame's longer side: who is smaller is a speck
_MARGIN, _BELOW = (
    0.35,
    0.8,
)  # torsos: hair, hands and feet beyond the joints; where legs were not seen

_TORSOS = tuple(
    (COCO17.index(a), COCO17.index(b), times)
    for a, b, times in (
        ("left_shoulder", "right_hip", 1.0),
        ("right_shoulder", "left_hip", 1.0),
        ("left_shoulder", "right_shoulder", 1.4),
        ("left_ear", "right_ear", 3.2),
    )
)
"""Pairs of joints, and how many times their distance a torso is long (shoulder to opposite hip), in an upright body."""
_ANKLES = [COCO17.index("left_ankle"), COCO17.index("right_ankle")]


def whole(width: int, height: int) -> Crop:
    """The smallest square around a frame of that many pixels."""
    return Crop(np.array([(width - 1) / 2, (height - 1) / 2]), float(max(width, height)))


def search(looks: int, width: int, height: int) -> Crop:
    """Where to look for somebody, for the `looks`-th time: the whole frame; then, for who is far away, nearer squares side by side along its
    longer side: at the beginning, in the middle, at the end; and again."""
    if looks % 4 == 0:
        return whole(width, height)
    side = _NEARER * min(width, height)
    along = side / 2 + (max(width, height) - side) * (looks % 4 - 1) / 2 - 0.5
    center = (along, (height - 1) / 2) if width >= height else ((width - 1) / 2, along)
    return Crop(np.array(center), float(side))


def next_crop(state: State, seconds: float, width: int, height: int) -> Crop:
    """Where to look.

    Args:
        state: after the last frame.
        seconds: time of the frame that is to be cut.
        width, height: of that frame, pixels.

    Returns:
        Around the body, moved on by its velocity; when lost, see `search`.
    """
    if state.mode == "lost":
        return search(state.looks, width, height)
    ahead = min(max(seconds - state.seconds, 0.0), _AHEAD_SECONDS)
    return Crop(state.crop.center + state.velocity * ahead, state.crop.side)


def belief(presence: float, score: np.ndarray) -> float:
    """How sure one may be that somebody is there, 0 ... 1: `presence`, or the mean of the five best joints if that is less."""
    return min(float(presence), float(np.sort(score)[-_SURE_JOINTS:].mean()))


def torso(keypoints: np.ndarray, counts: np.ndarray) -> float:
    """Length of the torso in pixels, shoulder to opposite hip: the longest that the joints that count speak for, at least 1.

    Args:
        keypoints: (17, 2) pixels.
        counts: (17,) bool.
    """
    spans = [
        t * np.linalg.norm(keypoints[a] - keypoints[b])
        for a, b, t in _TORSOS
        if counts[a] and counts[b]
    ]
    return (
        max(1.0, *spans)
        if spans
        else max(1.0, float(np.ptp(keypoints[counts], axis=0).max(initial=0)))
    )


def around(keypoints: np.ndarray, counts: np.ndarray, unit: float, width: int, height: int) -> Crop:
    """The square around a body, as training cuts it: a box from hair to feet, within the frame, padded.

    Args:
        keypoints: (17, 2) frame pixels.
        counts: (17,) bool, at least one true. Where no ankle counts, there is more room below: the crop may have cut them off.
        unit: length of the torso, pixels.
        width, height: of the frame, pixels.
    """
    low, high = (
        keypoints[counts].min(axis=0) - _MARGIN * unit,
        keypoints[counts].max(axis=0) + _MARGIN * unit,
    )
    if not counts[_ANKLES].any():
        high[1] += _BELOW * unit
    edges = np.array([width, height]) - 0.5
    low, high = np.clip(low, -0.5, edges), np.clip(high, -0.5, edges)
    longest = max(width, height)
    side = min(max(PADDING * (high - low).max(), _LEAST * longest), PADDING * longest)
    return Crop((low + high) / 2, float(side))


def update(
    state: State,
    keypoints: np.ndarray,
    score: np.ndarray,
    presence: float,
    seconds: float,
    width: int,
    height: int,
    settings: Settings = Settings(),
) -> State:
    """Take in what the network said about the crop of `next_crop`; a pure function.

    Args:
        state: before.
        keypoints: (17, 2) frame pixels, unfiltered.
        score: (17,) 0 ... 1.
        presence: 0 ... 1, that somebody is in the crop.
        seconds: time of the frame, any clock.
        width, height: of the frame, pixels.
        settings: thresholds.

    Returns:
        The state after. Its joints are `smoothed.value`, there in the mode `"kept"`.
    """
    keypoints, sure = np.asarray(keypoints, np.float64), belief(presence, score)
    counts = np.asarray(score) >= settings.joint
    if sure < (settings.kept if state.mode == "kept" else settings.found) or not counts.any():
        since = seconds if state.doubt is None else state.doubt
        if state.mode != "kept" or seconds - since >= settings.patience:
            return State(looks=0 if state.mode == "kept" else state.looks + 1)
        return replace(state, doubt=since)
    unit = torso(keypoints, counts)
    crop = around(keypoints, counts, unit, width, height)
    if state.mode == "lost":
        return State("found", crop, np.zeros(2), unit, seconds, looks=state.looks)
    passed = seconds - state.seconds
    velocity, side = state.velocity, crop.side
    if passed > 0 and state.mode == "kept":
        share = 1 - np.exp(-passed / _SPEED_SECONDS)
        velocity = velocity + share * ((crop.center - state.crop.center) / passed - velocity)
        least = state.crop.side * np.exp(-passed / _SHRINK_SECONDS)
        side, unit = max(side, least), max(unit, state.unit * np.exp(-passed / _SHRINK_SECONDS))
    joints = smooth(state.smoothed, keypoints, seconds, settings.filter, unit)
    return State(
        "kept", Crop(crop.center, float(side)), velocity, float(unit), seconds, None, joints
    )
