"""The kernel side of the camera widget: messages, errors, threads and the repr."""

import re
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from square_predictor import SquarePredictor

from posekit import live
from posekit.images import encode_jpeg
from posekit.live import widget

FRAME = np.zeros((90, 160, 3), np.uint8)
JPEG = [memoryview(encode_jpeg(FRAME))]


class Model(SquarePredictor):
    """A network that always finds a person in the middle; `go` makes it wait."""

    def __init__(self):
        self.calls = 0
        self.go = None

    def predict_crops(self, crops, flip=False):
        self.calls += 1
        if self.go:
            assert self.go.wait(10)
        spots = np.random.default_rng(0).uniform(-0.2, 0.2, (1, 17, 2)).astype(np.float32)
        sure = np.full((1, 17), 0.9, np.float32)
        return {
            "keypoints": spots,
            "visibility": sure,
            "score": sure,
            "presence": np.array([0.9], np.float32),
        }


@pytest.fixture
def webcam(monkeypatch):
    """A widget around a `Model`; `.said` holds what it sends."""
    model = Model()
    webcam = widget.Webcam(model)
    webcam.fake = model
    webcam.said = []
    monkeypatch.setattr(
        webcam.camera_widget, "send", lambda content, buffers=None: webcam.said.append(content)
    )
    return webcam


def frame(webcam, number=1, session="a", seconds=None, jpeg=JPEG):
    seconds = number / 30 if seconds is None else seconds
    webcam._receive(
        None, {"kind": "frame", "id": number, "session": session, "seconds": seconds}, jpeg
    )


def kinds(webcam) -> list[str]:
    return [message["kind"] for message in webcam.said]


def test_a_run_from_start_to_stop(webcam):
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    assert kinds(webcam) == ["loading", "ready"]
    for number in (1, 2, 3):
        frame(webcam, number)
    last = webcam.said[-1]
    assert (
        last["kind"] == "pose" and last["id"] == 3 and last["session"] == "a" and not last["lost"]
    )
    assert np.shape(last["keypoints"]) == (17, 2) and np.shape(last["score"]) == (17,)
    assert last["milliseconds"]["kernel"] >= last["milliseconds"]["model"] > 0
    webcam._receive(None, {"kind": "stop", "session": "a"}, [])
    count = len(webcam.said)
    frame(webcam, 4)
    assert len(webcam.said) == count, "what comes after the stop is dropped"


def test_the_pose_is_the_trackers(webcam):
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    tracker = live.Tracker(Model())
    for number in (1, 2, 3, 4):
        frame(webcam, number)
        pose = tracker.step(FRAME, number / 30)
    np.testing.assert_allclose(webcam.said[-1]["keypoints"], pose.keypoints, atol=0.006)


def test_never_more_frames_at_work_than_allowed(webcam):
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    webcam.fake.go = threading.Event()
    threads = [threading.Thread(target=frame, args=(webcam, n)) for n in (1, 2, 3)]
    threads[0].start()
    while not webcam.fake.calls:
        pass
    for thread in threads[1:]:
        thread.start()
        thread.join(5)
    assert kinds(webcam)[2:] == ["late", "late"] and webcam.fake.calls == 1
    webcam.fake.go.set()
    threads[0].join(5)
    assert kinds(webcam)[4:] == ["pose"]
    frame(webcam, 5)
    assert webcam.said[-1]["kind"] == "pose", "the slot is free again"


def test_two_may_wait_where_two_are_allowed_and_only_one_is_scored_at_a_time(webcam):
    webcam.camera_widget.max_in_flight = 2
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    webcam.fake.go = threading.Event()
    threads = [threading.Thread(target=frame, args=(webcam, n)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    while not webcam.fake.calls:
        pass
    assert webcam.fake.calls == 1
    webcam.fake.go.set()
    for thread in threads:
        thread.join(5)
    assert sorted(kinds(webcam)[2:]) == ["pose", "pose"]


@pytest.mark.parametrize("what", ["model", "on_frame", "jpeg", "no buffer", "no time"])
def test_a_fault_is_answered_and_frees_the_slot(webcam, what, monkeypatch):
    webcam._receive(None, {"kind": "start", "session": "a"}, [])

    def breaks(*_):
        raise ValueError("three wrists")

    if what == "model":
        monkeypatch.setattr(webcam._tracker, "step", breaks)
    if what == "on_frame":
        webcam.on_frame = breaks
    jpeg = {"jpeg": [b"\xff\xd8 no image"], "no buffer": []}.get(what, JPEG)
    frame(webcam, 1, jpeg=jpeg, seconds="now" if what == "no time" else 0.0)
    assert kinds(webcam)[2:] == ["error"] and webcam.said[-1]["session"] == "a"
    assert ("three wrists" in webcam.said[-1]["text"]) == (what in ("model", "on_frame"))
    assert webcam._slots.acquire(blocking=False), "the slot is free"


def test_a_model_that_cannot_be_loaded_is_said(monkeypatch):
    webcam = widget.Webcam("no-such-model")
    said = []
    monkeypatch.setattr(
        webcam.camera_widget, "send", lambda content, buffers=None: said.append(content)
    )
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    assert [m["kind"] for m in said] == ["loading", "error"] and "no-such-model" in said[-1]["text"]


def test_what_belongs_to_another_run_is_dropped(webcam):
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    webcam._receive(None, {"kind": "start", "session": "b"}, [])
    webcam.said.clear()
    frame(webcam, 1, session="a")
    assert webcam.said == [] and webcam.fake.calls == 0
    webcam._receive(None, {"kind": "stop", "session": "a"}, [])
    frame(webcam, 2, session="b")
    assert kinds(webcam) == ["pose"], "the stop of an earlier run does not end this one"


def test_a_pose_without_a_person_has_no_keypoints(webcam, monkeypatch):
    empty = SimpleNamespace(
        keypoints=None,
        score=np.zeros(17),
        lost=True,
        milliseconds={"total": 1.0, "model": 1.0, "crop": 0.0, "track": 0.0},
    )
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    monkeypatch.setattr(webcam._tracker, "step", lambda *_: empty)
    frame(webcam)
    assert webcam.said[-1]["keypoints"] is None and webcam.said[-1]["lost"] is True


def test_a_callback_gets_each_frame_and_pose(webcam):
    seen = []
    webcam.on_frame = lambda image, pose: seen.append((image.shape, pose.lost))
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    frame(webcam, 1)
    frame(webcam, 2)
    assert seen == [((90, 160, 3), False)] * 2


def test_another_model_is_loaded_when_it_is_chosen(webcam, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        widget.predictor, "load", lambda name, **options: loaded.append(name) or Model()
    )
    webcam._receive(None, {"kind": "start", "session": "a"}, [])
    choice = next(
        w for row in webcam.children[1:] for w in row.children if w.description == "Model"
    )
    choice.value = "minidome"
    assert loaded == ["minidome"] and kinds(webcam) == ["loading", "ready"] * 2
    frame(webcam)
    assert kinds(webcam)[-1] == "pose" and webcam.fake.calls == 0


def test_it_reads_the_same_every_time_and_starts_nothing():
    one = live.Webcam("minidome", max_in_flight=2)
    other = live.Webcam("minidome", max_in_flight=2)
    assert repr(one) == repr(other) == "Webcam(model='minidome', max_in_flight=2)"
    assert not one.camera_widget.running and one._tracker is None, (
        "no model is loaded before it is needed"
    )
    assert repr(live.Webcam()) == f"Webcam(model={live.DEFAULT_MODEL!r}, max_in_flight=1)"
    with pytest.raises(ValueError, match="max_in_flight is 0"):
        live.Webcam(max_in_flight=0)


def test_cameras_that_the_browser_finds_can_be_chosen():
    webcam = live.Webcam("minidome")
    choice = next(
        w for row in webcam.children[1:] for w in row.children if w.description == "Camera"
    )
    webcam.camera_widget.cameras = [["lid", "id1"], ["desk", "id2"]]
    assert dict(choice.options) == {"any": "", "lid": "id1", "desk": "id2"}
    choice.value = "id2"
    assert webcam.camera_widget.camera == "id2"
    webcam.camera_widget.cameras = [["lid", "id1"]]
    assert choice.value == "" and webcam.camera_widget.camera == ""


def test_another_camera_does_not_restart_the_chosen_one():
    webcam = live.Webcam("minidome")
    asked = []
    choice = next(
        w for row in webcam.children[1:] for w in row.children if w.description == "Camera"
    )
    webcam.camera_widget.cameras = [["lid", "a"], ["desk", "b"]]
    choice.value = "b"
    webcam.camera_widget.observe(lambda change: asked.append(change["new"]), "camera")
    webcam.camera_widget.cameras = [["lid", "a"], ["new", "c"], ["desk", "b"]]
    assert asked == [] and choice.value == webcam.camera_widget.camera == "b"
    choice.value = "c"
    assert asked == ["c"]


def test_two_cameras_of_one_name_can_be_told_apart():
    webcam = live.Webcam("minidome")
    choice = next(
        w for row in webcam.children[1:] for w in row.children if w.description == "Camera"
    )
    webcam.camera_widget.cameras = [["USB", "a"], ["USB", "b"], ["lid", "c"]]
    assert dict(choice.options) == {"any": "", "USB (1)": "a", "USB (2)": "b", "lid": "c"}
    for device in ("b", "a"):
        choice.value = device
        assert webcam.camera_widget.camera == device
        webcam.camera_widget.cameras = [["USB", "b"], ["USB", "a"]] if device == "b" else []
    assert choice.value == webcam.camera_widget.camera == ""


def test_every_failure_has_a_sentence_in_the_script():
    script = str(widget.CameraWidget._esm)
    camera = ("denied", "not_found", "in_use", "unplugged", "insecure", "other")
    for reason in (*camera, "vscode", "kernel", "busy", "score"):
        assert re.search(rf'\n  {reason}:\s+"', script), reason
    assert "http" not in re.sub(r"pages from https|Use https|http://localhost:{port}", "", script)
