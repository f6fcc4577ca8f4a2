"""Camera widget for JupyterLab: frames go from the browser to the kernel, poses back (chapter 15).

Messages are JSON, frames with a JPEG as buffer. Each carries the `session` of one run of the
camera, so that late messages of an earlier run are ignored:

    browser                                          kernel
    start                                    ──►     loading, then ready
    frame: id, seconds; a JPEG               ──►     pose: id, keypoints, score, lost, milliseconds;
                                                     or late: id; or error: text
    stop                                     ──►
                                             ◄──     snapshot
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import anywidget
import ipywidgets
import numpy as np
import traitlets

from posekit import live
from posekit.images import decode_image
from posekit.inference import predictor
from posekit.live.bundle import bundle

__all__ = ["CameraWidget", "Webcam"]

STYLE = """
.posekit-webcam {
  max-width: 640px;
  color: var(--jp-ui-font-color1, CanvasText);
  font-size: var(--jp-ui-font-size1, 13px);
}
.posekit-webcam canvas {
  display: block; width: 100%; height: auto; border-radius: 8px; background: #1a1a1a;
}
.posekit-webcam:is([data-state="off"], [data-state^="failed"]) canvas { opacity: 0.5; }
.posekit-webcam p { margin: 6px 0 0; line-height: 1.4; min-height: 1.4em; }
.posekit-webcam[data-state^="failed"] p[role="status"] {
  font-weight: 600; border-left: 4px solid #d55e00; padding-left: 8px;
}
.posekit-webcam-figures {
  color: var(--jp-ui-font-color2, GrayText); font-variant-numeric: tabular-nums;
}
"""
_MAX_ERROR_LENGTH = 300


class CameraWidget(anywidget.AnyWidget):
    """The canvas with the camera's frame and the skeleton; `widget.js` is its browser side.

    Traits that both sides set: `running`, `recording`, `action` (label of the start button),
    `camera` (a device's id, empty for any) and `cameras` ([label, id] each). Traits that the kernel
    sets: `mirror`, `threshold` (score from which a joint is drawn), `max_in_flight`, `side` (longer
    side of the frames that are sent, pixels) and `kernel_timeout_s` (seconds without an answer
    after which the camera is switched off).
    """

    _esm = bundle(Path(__file__).parent / "widget.js")
    _css = STYLE
    running = traitlets.Bool(False).tag(sync=True)
    recording = traitlets.Bool(False).tag(sync=True)
    action = traitlets.Unicode("Start").tag(sync=True)
    camera = traitlets.Unicode("").tag(sync=True)
    cameras = traitlets.List().tag(sync=True)
    mirror = traitlets.Bool(True).tag(sync=True)
    threshold = traitlets.Float(predictor.DRAW_THRESHOLD).tag(sync=True)
    max_in_flight = traitlets.Int(1).tag(sync=True)
    side = traitlets.Int(320).tag(sync=True)
    kernel_timeout_s = traitlets.Float(15.0).tag(sync=True)


class Webcam(ipywidgets.VBox):
    """Live pose of the browser's camera, predicted by a `Tracker` in the kernel.

    The camera starts only when its button is pressed. Frames are sent to the kernel as JPEG, and
    nowhere else; none is kept. The kernel may run on another machine.

    Args:
        model: a name from `posekit.inference.predictor.list_models()`, or what else `Tracker`
            takes; None for `live.DEFAULT_MODEL`.
        max_in_flight: number of frames that may be on their way at once, 1 or more. With two,
            less time is lost on a slow network, but each frame is a little older when shown.
        on_frame: called with each frame (H, W, 3) uint8 RGB, without skeleton, and its `Pose`.
        side: longer side of the frames that are sent, pixels.

    Raises:
        ValueError: if `max_in_flight` is less than 1.
    """

    def __init__(
        self,
        model: object = None,
        *,
        max_in_flight: int = 1,
        on_frame: Callable[[np.ndarray, live.Pose], None] | None = None,
        side: int = 320,
    ):
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight is {max_in_flight}, expected 1 or more")
        self.on_frame = on_frame
        self._given = live.DEFAULT_MODEL if model is None else model
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(max_in_flight)
        self._tracker: live.Tracker | None = None
        self._model: object = None
        self._session = ""
        self.camera_widget = CameraWidget(max_in_flight=max_in_flight, side=side)
        self.camera_widget.on_msg(self._receive)
        super().__init__([self.camera_widget, *self._controls()])

    def __repr__(self) -> str:
        return f"Webcam(model={self.model!r}, max_in_flight={self.camera_widget.max_in_flight})"

    @property
    def model(self) -> str:
        """Name of the model that predicts the poses."""
        if isinstance(self._given, str):
            return self._given
        return str(getattr(self._given, "name", "your own"))

    def stop(self) -> None:
        """Switch the camera off."""
        self.camera_widget.running = False

    # ---- controls --------------------------------------------------------------------------------

    def _controls(self) -> list[ipywidgets.Widget]:
        """Two rows of controls that wrap.

        Where possible a control is linked in the browser, so that it also works while the kernel
        is busy or gone.
        """
        widget = self.camera_widget
        auto = {"width": "auto"}
        start = ipywidgets.ToggleButton(
            description="Start", icon="video-camera", layout=auto, button_style="primary"
        )
        record = ipywidgets.ToggleButton(description="Record", icon="circle", layout=auto)
        snapshot = ipywidgets.Button(description="Snapshot", icon="camera", layout=auto)
        mirror = ipywidgets.Checkbox(True, description="Mirror", indent=False, layout=auto)
        threshold = ipywidgets.FloatSlider(
            predictor.DRAW_THRESHOLD, min=0, max=1, step=0.05, description="Min. score"
        )
        self._links = [
            ipywidgets.jslink((start, "value"), (widget, "running")),
            ipywidgets.jsdlink((widget, "action"), (start, "description")),
            ipywidgets.jslink((record, "value"), (widget, "recording")),
            ipywidgets.jslink((mirror, "value"), (widget, "mirror")),
            ipywidgets.jslink((threshold, "value"), (widget, "threshold")),
        ]
        snapshot.on_click(lambda _: widget.send({"kind": "snapshot"}))
        rows = ipywidgets.Layout(flex_flow="row wrap", max_width="640px")
        choices = [self._camera_choice(), self._model_choice(), threshold]
        return [
            ipywidgets.Box([start, snapshot, record, mirror], layout=rows),
            ipywidgets.Box(choices, layout=rows),
        ]

    def _camera_choice(self) -> ipywidgets.Dropdown:
        """Dropdown of the cameras that the browser has found."""
        widget = self.camera_widget
        choice = ipywidgets.Dropdown(options=[("any", "")], description="Camera")

        def select(change: dict) -> None:
            widget.camera = change["new"] or ""

        def update_options(change: dict) -> None:
            labels = [label for label, _ in change["new"]]
            numbered = [
                f"{label} ({k})" if labels.count(label) > 1 else label
                for k, label in enumerate(labels, 1)
            ]
            devices = [device for _, device in change["new"]]
            options = [("any", ""), *zip(numbered, devices, strict=True)]
            if [*choice.options] == options:
                return
            chosen = choice.value if choice.value in devices else ""
            # New options select the first for a moment, which must not restart the camera.
            choice.unobserve(select, "value")
            with choice.hold_sync():
                choice.options = options
                choice.value = chosen
            choice.observe(select, "value")
            select({"new": chosen})

        widget.observe(update_options, "cameras")
        choice.observe(select, "value")
        return choice

    def _model_choice(self) -> ipywidgets.Dropdown:
        """Dropdown of the given model and of the package's."""
        models = {self.model: self._given} | {name: name for name in predictor.list_models()}
        choice = ipywidgets.Dropdown(options=list(models), value=self.model, description="Model")

        def select(change: dict) -> None:
            self._given = models[change["new"]]
            self._model = None
            if self._session:
                self._start(self._session)

        choice.observe(select, "value")
        return choice

    # ---- messages, from any thread of the kernel -------------------------------------------------

    def _receive(self, _: object, content: dict, buffers: list) -> None:
        """Answer a message. Every frame is answered, because the browser waits for it."""
        if not isinstance(content, dict):
            return
        kind = content.get("kind")
        session = content.get("session", "")
        if not isinstance(session, str):
            return
        if kind == "start":
            self._start(session)
        elif kind == "frame":
            self._frame(session, content, buffers)
        elif kind == "stop":
            with self._lock:
                if session == self._session:
                    self._session = ""

    def _start(self, session: str) -> None:
        self._send(session, "loading")
        with self._lock:
            try:
                if self._model is None:
                    self._model = live.Tracker(self._given).model
                self._session = session
                self._tracker = live.Tracker(self._model)
                self._slots = threading.BoundedSemaphore(self.camera_widget.max_in_flight)
            except Exception as error:
                self._session = ""
                self._send_error(session, error)
                return
        self._send(session, "ready")

    def _frame(self, session: str, content: dict, buffers: list) -> None:
        slots = self._slots
        if not slots.acquire(blocking=False):
            self._send(session, "late", id=content.get("id"))
            return
        try:
            if not isinstance(content["id"], int):
                raise ValueError(f"a frame's id is {content['id']!r}, not a whole number")
            with self._lock:
                if session == self._session:
                    pose = self._predict(content, buffers)
                    self._send(session, "pose", id=content["id"], **pose)
        except Exception as error:
            self._send_error(session, error)
        finally:
            slots.release()

    def _predict(self, content: dict, buffers: list) -> dict:
        """Content of the message `pose` for a frame."""
        begin = time.perf_counter()
        frame = decode_image(bytes(buffers[0]), f"frame {content.get('id')}")
        pose = self._tracker.step(frame, float(content["seconds"]))
        if self.on_frame:
            self.on_frame(frame, pose)
        keypoints = None if pose.keypoints is None else np.round(pose.keypoints, 2).tolist()
        kernel = 1000 * (time.perf_counter() - begin)
        return {
            "keypoints": keypoints,
            "score": np.round(pose.score, 3).tolist(),
            "lost": bool(pose.lost),
            "milliseconds": {**pose.milliseconds, "kernel": kernel},
        }

    def _send(self, session: str, kind: str, **content: object) -> None:
        self.camera_widget.send({"kind": kind, "session": session, **content})

    def _send_error(self, session: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"[:_MAX_ERROR_LENGTH]
        self._send(session, "error", text=text)
