"""Live pose estimation from a camera or a video: `Tracker`, `run`, `Webcam` (chapter 15).

The page in `web/` does the same in a browser.
"""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from posekit.inference.predictor import DRAW_THRESHOLD
from posekit.live import tracking

__all__ = ["DEFAULT_MODEL", "Pose", "Summary", "Tracker", "Webcam", "run"]

DEFAULT_MODEL = "stage1"
"""Name of the model that is used if none is given."""


@dataclass(frozen=True)
class Pose:
    """Output of the tracker for one frame.

    Args:
        keypoints: (17, 2) float32 frame pixels, filtered; None when no person is tracked.
        score: (17,) score 0 ... 1 per joint.
        visibility: (17,) probability that the joint lies inside the crop.
        presence: probability that a person is in the crop.
        bbox: (4,) the square that the network saw (x, y, w, h), frame pixels.
        lost: no person is tracked.
        milliseconds: time taken by `crop`, `model`, `track`, and their `total`.
        seconds: time of the frame, as given to `Tracker.step`.
    """

    keypoints: np.ndarray | None
    score: np.ndarray
    visibility: np.ndarray
    presence: float
    bbox: np.ndarray
    lost: bool
    milliseconds: dict[str, float]
    seconds: float = 0.0


class Tracker:
    """Tracker of one person's pose from frame to frame.

    Args:
        model: a `posekit.inference.predictor.Predictor`, or a name or path for `posekit.load`; None
            takes `DEFAULT_MODEL`. An ONNX file is fastest; it runs in one thread here.
        settings: thresholds, see `posekit.live.tracking.Settings`.
    """

    def __init__(self, model=None, *, settings: tracking.Settings | None = None):
        if model is None or isinstance(model, str | Path):
            from posekit.inference import predictor

            # One thread: two would wait for each other while a browser uses the other core.
            model = predictor.load(model or DEFAULT_MODEL, threads=1)
        self.model = model
        self.settings = settings or tracking.Settings()
        self.state = tracking.State()
        self._frame_shape: tuple[int, ...] | None = None

    def reset(self) -> None:
        """Return to the state before the first frame."""
        self.state = tracking.State()

    def step(self, frame: np.ndarray, seconds: float) -> Pose:
        """Return the pose in the next frame.

        Args:
            frame: (H, W, 3) uint8 RGB.
            seconds: time of the frame, any clock; later than that of the frame before.

        A frame of another size than the last begins a new search: the state is in pixels.
        """
        if frame.shape != self._frame_shape:
            self.reset()
            self._frame_shape = frame.shape
        begin = time.perf_counter()
        spent = {"crop": 0.0, "model": 0.0, "track": 0.0}
        pose = self._predict(frame, seconds, spent)
        if self.state.mode == "confirming":  # the same frame again, in a close crop
            pose = self._predict(frame, seconds, spent)
        spent["total"] = 1000 * (time.perf_counter() - begin)
        return pose

    def _predict(self, frame: np.ndarray, seconds: float, spent: dict[str, float]) -> Pose:
        """Predict once, in the tracker's next crop, and update the state; add times to `spent`."""
        height, width = frame.shape[:2]
        center, side = tracking.next_crop(self.state, seconds, width, height)
        found = self.model.predict_square(frame, center, side)
        predicted = time.perf_counter()
        self.state = tracking.update(
            self.state,
            found.keypoints,
            found.score,
            found.presence,
            seconds,
            width,
            height,
            self.settings,
        )
        lost = self.state.mode != "tracking"
        filtered = None if lost else self.state.smoothed.value.astype(np.float32)
        spent["crop"] += found.milliseconds["crop"]
        spent["model"] += found.milliseconds["model"]
        spent["track"] += 1000 * (time.perf_counter() - predicted)
        return Pose(
            filtered,
            found.score,
            found.visibility,
            found.presence,
            found.bbox,
            lost,
            spent,
            seconds,
        )


@dataclass(frozen=True)
class Summary:
    """Statistics of a run, from the decoded frame to the drawn skeleton.

    Args:
        frames: number of frames.
        lost_frames: number of frames without a tracked person.
        p50_ms, p95_ms: median and 95th percentile of the time per frame, milliseconds.
        fps: frames per second of that work.
    """

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
    """Track a person in a video or in front of a camera, until it ends or Ctrl-C is pressed.

    Args:
        source: a video file, a camera's number, or an address; see `posekit.live.video.frames`.
        model: see `Tracker`.
        on_frame: called with each drawn frame (H, W, 3) uint8 RGB and its pose. The time it takes
            is not measured.
        clock: gives seconds, for the times in the summary; None for `time.perf_counter`.
        on_time: called with each frame's milliseconds.

    Returns:
        Statistics of all frames so far.

    Raises:
        DataError: if the source cannot be read.
    """
    from posekit import viz
    from posekit.live.video import frames

    clock = clock or time.perf_counter
    tracker = Tracker(model)
    milliseconds = []
    lost_frames = 0
    with closing(frames(source)) as stream, suppress(KeyboardInterrupt):
        for frame, seconds in stream:
            begin = clock()
            pose = tracker.step(frame, seconds)
            drawn = frame
            if not pose.lost:
                drawn = viz.draw_on_image(frame, pose.keypoints, pose.score >= DRAW_THRESHOLD)
            milliseconds.append(1000 * (clock() - begin))
            lost_frames += pose.lost
            if on_time:
                on_time(milliseconds[-1])
            if on_frame:
                on_frame(drawn, pose)
    if not milliseconds:
        return Summary(0, 0, 0.0, 0.0, 0.0)
    p50, p95 = np.percentile(milliseconds, (50, 95))
    return Summary(
        frames=len(milliseconds),
        lost_frames=lost_frames,
        p50_ms=round(float(p50), 2),
        p95_ms=round(float(p95), 2),
        fps=round(1000 * len(milliseconds) / sum(milliseconds), 2),
    )


def __getattr__(name: str):
    if name == "Webcam":  # imports ipywidgets and anywidget only in a notebook
        from posekit.live.widget import Webcam

        return Webcam
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
