"""The camera in JupyterLab: from the browser to the kernel and back, drawn over the very frame that was scored (chapter 12).

Messages, JSON beside a JPEG; each carries the `session` of one run of the camera, so that what is late from an earlier run is dropped:

    browser                                          kernel
    start                                    ──►     loading, then ready
    frame: id, seconds; a JPEG               ──►     pose: id, keypoints, score, lost, milliseconds; or late: id; or error: text
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

from posekit import live, viz
from posekit.images import decode_image
from posekit.inference import predictor
from posekit.skeleton import COCO17

STYLE = """
.posekit-webcam { max-width: 640px; color: var(--jp-ui-font-color1, CanvasText); font-size: var(--jp-ui-font-size1, 13px); }
.posekit-webcam canvas { display: block; width: 100%; height: auto; border-radius: 8px; background: #1a1a1a; }
.posekit-webcam:is([data-state="off"], [data-state^="failed"]) canvas { opacity: 0.5; }
.posekit-webcam p { margin: 6px 0 0; line-height: 1.4; min-height: 1.4em; }
.posekit-webcam[data-state^="failed"] p[role="status"] { font-weight: 600; border-left: 4px solid #d55e00; padding-left: 8px; }
.posekit-webcam-figures { color: var(--jp-ui-font-color2, GrayText); font-variant-numeric: tabular-nums; }
"""


class CameraWidget(anywidget.AnyWidget):
    """The picture, and the browser's half of the work; `widget.js` draws it.

    `running`, `recording`, `action` (the start button's word), `camera` (a device's id, empty for any) and `cameras` ([label, id] each) go
    both ways; the rest tells the browser how to work: `side` of the frames that are sent, pixels, and `patience`, seconds without an answer
    after which the camera is switched off.
    """

    _esm = Path(__file__).parent / "widget.js"
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
    patience = traitlets.Float(15.0).tag(sync=True)
    limbs = traitlets.List().tag(sync=True)
    colours = traitlets.List().tag(sync=True)


class Webcam(ipywidgets.VBox):
    """Your pose, live: the browser's camera, followed by a `Tracker` in the kernel, wherever the kernel runs.

    The camera starts when its button is pressed, and at no other time. Frames go to the kernel as JPEG, and nowhere else; nothing is kept.

    Args:
        model: a name from `posekit.inference.predictor.list_models()`, or what else `Tracker` takes; None: `live.DEFAULT_MODEL`.
        max_in_flight: how many frames may be on their way at once, 1 or more. Two wait for the network less, and each is a little older.
        on_frame: called with each frame (H, W, 3) uint8 RGB, before drawing, and its `Pose`; for games and counters.
        side: longer side of the frames that are sent, pixels.
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
        self._lock, self._slots = threading.Lock(), threading.BoundedSemaphore(max_in_flight)
        self._tracker: live.Tracker | None = None
        self._model: object = None
        self._session = ""
        limbs = [[a, b, _limb_colour(a, b)] for a, b in COCO17.limb_indices]
        self.camera_widget = CameraWidget(
            max_in_flight=max_in_flight, side=side, limbs=limbs, colours=viz.joint_colours()
        )
        self.camera_widget.on_msg(self._receive)
        super().__init__([self.camera_widget, *self._controls()])

    def __repr__(self) -> str:
        return f"Webcam(model={self.model!r}, max_in_flight={self.camera_widget.max_in_flight})"

    @property
    def model(self) -> str:
        """Name of the model that scores the frames."""
        return (
            self._given
            if isinstance(self._given, str)
            else str(getattr(self._given, "name", "your own"))
        )

    def stop(self) -> None:
        """Switch the camera off."""
        self.camera_widget.running = False

    # ---- controls ----------------------------------------------------------------------------------------------------------

    def _controls(self) -> list[ipywidgets.Widget]:
        """Two rows that wrap. What can be linked in the browser is: it works beside a busy kernel, and without one."""
        screen, wide = self.camera_widget, {"width": "auto"}
        start = ipywidgets.ToggleButton(
            description="Start", icon="video-camera", layout=wide, button_style="primary"
        )
        record = ipywidgets.ToggleButton(description="Record", icon="circle", layout=wide)
        snapshot = ipywidgets.Button(description="Snapshot", icon="camera", layout=wide)
        mirror = ipywidgets.Checkbox(True, description="Mirror", indent=False, layout=wide)
        threshold = ipywidgets.FloatSlider(
            predictor.DRAW_THRESHOLD, min=0, max=1, step=0.05, description="Confidence"
        )
        camera = ipywidgets.Dropdown(options=[("any", "")], description="Camera")
        known = predictor.list_models()
        names = {self.model: self._given, **{name: name for name in known}}
        model = ipywidgets.Dropdown(options=list(names), value=self.model, description="Model")
        self._links = [
            ipywidgets.jslink((start, "value"), (screen, "running")),
            ipywidgets.jsdlink((screen, "action"), (start, "description")),
            ipywidgets.jslink((record, "value"), (screen, "recording")),
            ipywidgets.jslink((mirror, "value"), (screen, "mirror")),
            ipywidgets.jslink((threshold, "value"), (screen, "threshold")),
        ]

        def found(change: dict) -> None:
            labels = [label for label, _ in change["new"]]
            numbered = [
                f"{one} ({k})" if labels.count(one) > 1 else one for k, one in enumerate(labels, 1)
            ]
            devices = [device for _, device in change["new"]]
            options = [("any", ""), *zip(numbered, devices, strict=True)]
            if [*camera.options] != options:
                chosen = camera.value if camera.value in devices else ""
                camera.unobserve(
                    pick, "value"
                )  # new options choose the first for a moment: no reason to start anew
                with camera.hold_sync():
                    camera.options = options
                    camera.value = chosen
                camera.observe(pick, "value")
                pick({"new": chosen})

        def pick(change: dict) -> None:
            screen.camera = change["new"] or ""

        def choose(change: dict) -> None:
            self._given = names[change["new"]]
            session, self._model = self._session, None
            if session:
                self._start(session)

        screen.observe(found, "cameras")
        camera.observe(pick, "value")
        model.observe(choose, "value")
        snapshot.on_click(lambda _: screen.send({"kind": "snapshot"}))
        rows = ipywidgets.Layout(flex_flow="row wrap", max_width="640px")
        return [
            ipywidgets.Box([start, snapshot, record, mirror], layout=rows),
            ipywidgets.Box([camera, model, threshold], layout=rows),
        ]

    # ---- messages, from whichever thread the kernel likes --------------------------------------------------------------------

    def _receive(self, _: object, content: dict, buffers: list) -> None:
        """Answer a message. Whatever happens a frame gets its answer, or the browser would wait for ever."""
        kind, session = content.get("kind"), content.get("session", "")
        if kind == "start":
            self._start(session)
        elif kind == "frame":
            self._frame(session, content, buffers)
        elif kind == "stop":
            with self._lock:
                if session == self._session:
                    self._session = ""

    def _start(self, session: str) -> None:
        self._say(session, "loading")
        with self._lock:
            try:
                if self._model is None:
                    self._model = live.Tracker(self._given).model
                self._session, self._tracker = session, live.Tracker(self._model)
                self._slots = threading.BoundedSemaphore(self.camera_widget.max_in_flight)
            except Exception as error:
                self._session = ""
                return self._fault(session, error)
        self._say(session, "ready")

    def _frame(self, session: str, content: dict, buffers: list) -> None:
        slots = self._slots
        if not slots.acquire(blocking=False):
            return self._say(session, "late", id=content.get("id"))
        try:
            with self._lock:
                if session == self._session:
                    self._say(session, "pose", id=content["id"], **self._scored(content, buffers))
        except Exception as error:
            self._fault(session, error)
        finally:
            slots.release()

    def _scored(self, content: dict, buffers: list) -> dict:
        begin = time.perf_counter()
        frame = decode_image(bytes(buffers[0]), f"frame {content.get('id')}")
        pose = self._tracker.step(frame, float(content["seconds"]))
        if self.on_frame:
            self.on_frame(frame, pose)
        kernel = 1000 * (time.perf_counter() - begin)
        return {
            "keypoints": None if pose.keypoints is None else np.round(pose.keypoints, 2).tolist(),
            "score": np.round(pose.score, 3).tolist(),
            "lost": bool(pose.lost),
            "milliseconds": {**pose.milliseconds, "kernel": kernel},
        }

    def _say(self, session: str, kind: str, **content: object) -> None:
        self.camera_widget.send({"kind": kind, "session": session, **content})

    def _fault(self, session: str, error: Exception) -> None:
        self._say(session, "error", text=f"{type(error).__name__}: {error}"[:300])


def _limb_colour(a: int, b: int) -> str:
    """As `viz.draw_pose` colours it: grey where a limb joins the two sides."""
    sides = {viz.joint_colours()[k] for k in (a, b)} - {viz.MIDDLE}
    return sides.pop() if len(sides) == 1 else viz.MIDDLE
