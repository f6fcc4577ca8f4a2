"""A pose in every frame of a camera or a clip, on any PC: `Tracker`, `run`, and the in-page demo in `web/` (chapter 12)."""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit import geometry
from posekit.live import tracking

DEFAULT_MODEL = "stage1-student"
"""The model that is used where none is named."""
DRAW_SCORE = 0.3
"""Score from which a joint is drawn."""


@dataclass(frozen=True)
class Pose:
    """What the tracker says of one frame.

    Args:
        keypoints: (17, 2) float32 frame pixels, filtered; None when nobody is there.
        score: (17,) confidence 0 ... 1 in each joint.
        visibility: (17,) probability that the joint lies inside the crop.
        presence: probability that somebody is in the crop.
        bbox: (4,) the square that the network saw (x, y, w, h), frame pixels.
        lost: nobody is there.
        milliseconds: what took how long: `crop`, `model`, `track`, `total`.
    """

    keypoints: np.ndarray | None
    score: np.ndarray
    visibility: np.ndarray
    presence: float
    bbox: np.ndarray
    lost: bool
    milliseconds: dict[str, float]


class Tracker:
    """One person's pose from frame to frame.

    Args:
        model: a `posekit.inference.predictor.Predictor`, or what `posekit.load` takes (an ONNX file for speed, here in one thread).
        settings: what it goes by.
    """

    def __init__(self, model=None, *, settings: tracking.Settings | None = None):
        if model is None or isinstance(model, str | Path):
            from posekit.inference import predictor

            model = predictor.load(
                model or DEFAULT_MODEL, threads=1
            )  # two wait for each other where a browser works
        self.model = model
        self.settings = settings or tracking.Settings()
        self.state = tracking.State()

    def reset(self) -> None:
        """Forget who was seen, as before the first frame."""
        self.state = tracking.State()

    def step(self, frame: np.ndarray, seconds: float) -> Pose:
        """The pose in the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            seconds: its time, any clock; later than the frame before.
        """
        begin, spent = time.perf_counter(), {"crop": 0.0, "model": 0.0, "track": 0.0}
        pose = self._look(frame, seconds, spent)
        if self.state.mode == "found":  # from afar: now from close
            pose = self._look(frame, seconds, spent)
        spent["total"] = 1000 * (time.perf_counter() - begin)
        return pose

    def _look(self, frame: np.ndarray, seconds: float, spent: dict[str, float]) -> Pose:
        (height, width), size, t0 = frame.shape[:2], self.model.input_size, time.perf_counter()
        center, side = tracking.next_crop(self.state, seconds, width, height)
        affine = geometry.crop_affine(center, side, size)
        crop = geometry.warp(frame, affine, (size, size))[None]
        t1 = time.perf_counter()
        out = self.model.predict_crops(crop)
        t2 = time.perf_counter()
        crop_pixels = geometry.decode_keypoints(out["keypoints"][0], (size, size))
        keypoints = geometry.apply_affine(geometry.invert(affine), crop_pixels)
        score, presence = out["score"][0], float(out["presence"][0])
        self.state = tracking.update(
            self.state, keypoints, score, presence, seconds, width, height, self.settings
        )
        lost = self.state.mode != "kept"
        joints = None if lost else self.state.smoothed.value.astype(np.float32)
        for name, took in (
            ("crop", t1 - t0),
            ("model", t2 - t1),
            ("track", time.perf_counter() - t2),
        ):
            spent[name] += 1000 * took
        bbox = np.array([*(center - side / 2 + 0.5), side, side], np.float32)
        return Pose(joints, score, out["visibility"][0], presence, bbox, lost, spent)


@dataclass(frozen=True)
class Summary:
    """How a run went: times from the decoded frame to the drawn skeleton, `fps` = frames a second of that work."""

    frames: int
    lost_frames: int
    p50_ms: float
    p95_ms: float
    fps: float


def run(
    source: str | Path | int,
    model: object = None,
    on_frame: Callable[[np.ndarray, Pose], None] | None = None,
    clock: Callable[[], float] | None = None,
    on_time: Callable[[float], None] | None = None,
) -> Summary:
    """Follow a person through a clip or in front of a camera, until it ends or Ctrl-C.

    Args:
        source: a video file, or a camera's number.
        model: see `Tracker`.
        on_frame: called with each drawn frame (H, W, 3) uint8 RGB and its pose; its time does not count.
        clock: gives seconds, for the times in the summary.
        on_time: called with each frame's milliseconds.

    Returns:
        How it went, up to the end or to Ctrl-C.

    Raises:
        DataError: when the source cannot be read.
    """
    from posekit import viz
    from posekit.live.video import frames

    clock, tracker, took, lost = clock or time.perf_counter, Tracker(model), [], 0
    with closing(frames(source)) as stream, suppress(KeyboardInterrupt):
        for frame, seconds in stream:
            begin = clock()
            pose = tracker.step(frame, seconds)
            drawn = (
                frame
                if pose.lost
                else viz.draw_on_image(frame, pose.keypoints, pose.score >= DRAW_SCORE)
            )
            took.append(1000 * (clock() - begin))
            lost += pose.lost
            if on_time:
                on_time(took[-1])
            if on_frame:
                on_frame(drawn, pose)
    if not took:
        return Summary(0, 0, 0.0, 0.0, 0.0)
    p50, p95 = np.percentile(took, (50, 95))
    return Summary(
        len(took),
        lost,
        round(float(p50), 2),
        round(float(p95), 2),
        round(1000 * len(took) / sum(took), 2),
    )


def __getattr__(name: str):
    if name == "Webcam":  # ipywidgets and anywidget, only where a notebook wants them
        from posekit.live.widget import Webcam

        return Webcam
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
