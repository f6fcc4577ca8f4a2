"""Pose tracking between frames: the next crop, and whether a person is present (chapter 15).

All functions are pure: they take a state, a prediction and a time, and return a new state.

    searching ──(person in a search crop)──► confirming ──(again, in the close crop)──► tracking
        ▲                                        │                                         │
        └────────────(no person)─────────────────┘◄──(low score for `lost_after_s`)────────┘

`web/tracker.js` does the same in JavaScript; shared test vectors keep the two equal.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from posekit.body_size import estimated_torso_length
from posekit.inference.body_square import CROP_JOINT_THRESHOLD, Crop, square_around
from posekit.live.one_euro import FilterState, OneEuroParams, smooth

__all__ = [
    "Settings",
    "State",
    "full_frame",
    "next_crop",
    "person_score",
    "search_crop",
    "update",
]


@dataclass(frozen=True)
class Settings:
    """Thresholds of the tracker. The defaults suit the calibrated scores of the released models.

    Args:
        acquire_threshold: person score (0 ... 1) from which a track begins.
        keep_threshold: person score below which a track is in doubt; lower than
            `acquire_threshold`, or the track flickers.
        lost_after_s: seconds below `keep_threshold` after which the track is lost.
        crop_joint_threshold: score (0 ... 1) from which a joint counts for the next crop, see
            `CROP_JOINT_THRESHOLD`.
        filter: parameters of the filter of the keypoints.
    """

    acquire_threshold: float = 0.3
    keep_threshold: float = 0.2
    lost_after_s: float = 0.4
    crop_joint_threshold: float = CROP_JOINT_THRESHOLD
    filter: OneEuroParams = field(default_factory=OneEuroParams)


@dataclass(frozen=True)
class State:
    """State of the tracker after a frame.

    Args:
        mode: `"searching"`, `"confirming"` (found in a search crop, to be confirmed in a close
            crop) or `"tracking"`.
        crop: square around the body when last seen, frame pixels.
        velocity: (2,) of the crop's centre, pixels per second.
        torso_length: in pixels.
        seconds: time at which the body was last seen.
        low_since: time since which the person score is low; None while it is not.
        smoothed: state of the keypoints' filter.
        search_count: number of search crops without a person so far.
    """

    mode: str = "searching"
    crop: Crop | None = None
    velocity: np.ndarray | None = None
    torso_length: float = 1.0
    seconds: float = 0.0
    low_since: float | None = None
    smoothed: FilterState | None = None
    search_count: int = 0


PERSON_SCORE_JOINTS = 5
"""Joints whose mean score counts: a face and a shoulder, as much as a desk camera may see."""
VELOCITY_TIME_S = 0.2
"""Time constant of the velocity."""
SHRINK_TIME_S = 0.3
"""Time constant with which the crop gets smaller; it grows at once."""
MAX_EXTRAPOLATION_S = 0.2
"""Longest time for which a velocity is extrapolated."""
SEARCH_CROP_SHARE = 3 / 4
"""Side of the smaller search crops, as a fraction of the frame's shorter side."""


def full_frame(width: int, height: int) -> Crop:
    """Return the smallest square around a frame of `width` x `height` pixels."""
    return Crop(np.array([(width - 1) / 2, (height - 1) / 2]), float(max(width, height)))


def search_crop(search_count: int, width: int, height: int) -> Crop:
    """Return the crop in which to search for a person.

    Every fourth crop is the whole frame. The three between are smaller squares for people far
    away: at the beginning, in the middle and at the end of the frame's longer side.

    Args:
        search_count: number of search crops before this one.
        width, height: of the frame, pixels.
    """
    if search_count % 4 == 0:
        return full_frame(width, height)
    side = SEARCH_CROP_SHARE * min(width, height)
    position = side / 2 + (max(width, height) - side) * (search_count % 4 - 1) / 2 - 0.5
    center = (position, (height - 1) / 2) if width >= height else ((width - 1) / 2, position)
    return Crop(np.array(center), float(side))


def next_crop(state: State, seconds: float, width: int, height: int) -> Crop:
    """Return the crop to predict in.

    Args:
        state: after the last frame.
        seconds: time of the frame to be cropped.
        width, height: of that frame, pixels.

    Returns:
        The square around the body, moved on by its velocity; `search_crop` when searching.
    """
    if state.mode == "searching":
        return search_crop(state.search_count, width, height)
    ahead = min(max(seconds - state.seconds, 0.0), MAX_EXTRAPOLATION_S)
    return Crop(state.crop.center + state.velocity * ahead, state.crop.side)


def person_score(presence: float, score: np.ndarray) -> float:
    """Return the score 0 ... 1 that a person is in the crop.

    Args:
        presence: 0 ... 1, the model's output.
        score: (17,) of the joints.

    Returns:
        `presence`, or the mean score of the five best joints if that is less.
    """
    best = np.sort(score)[-PERSON_SCORE_JOINTS:]
    return min(float(presence), float(best.mean()))


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
    """Return the state after a prediction in the crop of `next_crop`.

    Args:
        state: before.
        keypoints: (17, 2) frame pixels, unfiltered.
        score: (17,) 0 ... 1.
        presence: 0 ... 1, probability that a person is in the crop.
        seconds: time of the frame, any clock. If the clock has jumped back, the track continues
            on the new time.
        width, height: of the frame, pixels.
        settings: thresholds.

    Returns:
        The state after. In the mode `"tracking"` its keypoints are `smoothed.value`.
    """
    state = _moved_back(state, seconds)
    keypoints = np.asarray(keypoints, np.float64)
    counted = np.asarray(score) >= settings.crop_joint_threshold
    is_tracking = state.mode == "tracking"
    threshold = settings.keep_threshold if is_tracking else settings.acquire_threshold
    if person_score(presence, score) < threshold or not counted.any():
        if not is_tracking:
            return State(search_count=state.search_count + 1)
        low_since = seconds if state.low_since is None else state.low_since
        if seconds - low_since >= settings.lost_after_s:
            return State()
        return replace(state, low_since=low_since)
    torso_length = estimated_torso_length(keypoints, counted)
    crop = square_around(keypoints, counted, torso_length, width, height)
    if state.mode == "searching":
        return State(
            "confirming",
            crop,
            np.zeros(2),
            torso_length,
            seconds,
            search_count=state.search_count,
        )
    elapsed = seconds - state.seconds
    velocity = state.velocity
    side = crop.side
    if elapsed > 0 and is_tracking:
        weight = 1 - np.exp(-elapsed / VELOCITY_TIME_S)
        velocity = velocity + weight * ((crop.center - state.crop.center) / elapsed - velocity)
        shrink = np.exp(-elapsed / SHRINK_TIME_S)
        side = max(side, state.crop.side * shrink)
        torso_length = max(torso_length, state.torso_length * shrink)
    return State(
        "tracking",
        Crop(crop.center, float(side)),
        velocity,
        float(torso_length),
        seconds,
        smoothed=smooth(state.smoothed, keypoints, seconds, settings.filter, torso_length),
    )


def _moved_back(state: State, seconds: float) -> State:
    """Return the state with all its times moved back so far that none is later than `seconds`.

    Without this, a clock that jumps back would stop the filter until it reaches the old time.
    """
    if state.mode == "searching":
        return state
    last = state.seconds if state.low_since is None else max(state.seconds, state.low_since)
    shift = min(seconds - last, 0.0)
    if shift == 0:
        return state
    smoothed = state.smoothed
    return replace(
        state,
        seconds=state.seconds + shift,
        low_since=None if state.low_since is None else state.low_since + shift,
        smoothed=smoothed and replace(smoothed, seconds=smoothed.seconds + shift),
    )
