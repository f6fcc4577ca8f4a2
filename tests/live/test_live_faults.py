"""The live loop: a camera that vanishes, freezes or changes size, a clock that jumps, and 1,000
starts and stops. The camera is a stand-in for OpenCV's capture; threads and loop are real."""

import contextlib
import gc
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import psutil
import pytest
from test_live import SLOW_TO_LOSE, STANDING, FakeCapture, Seer, frame_with

from posekit import live
from posekit.errors import DataError
from posekit.live import server, tracking, video


def body(width: int = 320, height: int = 240) -> np.ndarray:
    """A frame, BGR, with the disc that stands for a body."""
    return frame_with((width / 2, height / 2), 0.5, width, height)[..., ::-1]


class FaultyCamera(FakeCapture):
    """Stands in for OpenCV's capture: ten frames, then `after` gives the next answer."""

    def __init__(self, after: Callable[[], tuple]):
        super().__init__(10_000)
        self.after = after

    def read(self):
        there, _ = super().read()
        time.sleep(0.01)
        return (there, body()) if self.number <= 10 else self.after()


def see(monkeypatch, after: Callable[[], tuple], on_frame: Callable) -> FaultyCamera:
    """Run the live loop over such a camera until it ends."""
    camera = FaultyCamera(after)
    monkeypatch.setattr(video, "_open", lambda _: camera)
    live.run(0, Seer(), on_frame)
    return camera


@pytest.mark.fault("camera")
def test_a_camera_that_vanishes_is_named_and_the_frames_before_it_came(monkeypatch):
    seen = []
    with pytest.raises(DataError, match="camera 0: it gives no more frames"):
        see(monkeypatch, lambda: (False, None), lambda _, pose: seen.append(pose.lost))
    assert len(seen) >= 3 and not any(seen)


@pytest.mark.fault("camera")
def test_a_camera_that_freezes_in_the_loop_is_named(monkeypatch):
    """Its driver does not return."""
    monkeypatch.setattr(video, "_CAMERA_TIMEOUT_S", 0.5)
    seen = []
    threads = threading.active_count()
    with pytest.raises(DataError, match="camera 0: gives no image"):
        see(
            monkeypatch,
            lambda: time.sleep(2) or (False, None),
            lambda _, pose: seen.append(pose.lost),
        )
    assert len(seen) >= 3 and threading.active_count() <= threads


@pytest.mark.fault("camera")
@pytest.mark.parametrize("size", [(240, 320), (640, 480)])
def test_a_camera_that_changes_size_does_not_end_the_loop(size, tmp_path, monkeypatch):
    shapes = []
    lost = []
    out = tmp_path / "drawn.mp4"
    with pytest.raises(DataError, match="no more frames"), server._VideoWriter(out, "0") as writer:

        def on_frame(frame, pose):
            shapes.append(frame.shape[:2])
            lost.append(pose.lost)
            writer(frame, pose)

        see(monkeypatch, lambda: (len(shapes) < 12, body(*size)), on_frame)
    monkeypatch.undo()
    assert {(240, 320), size[::-1]} <= set(shapes) and not any(lost)
    assert len(list(video.frames(out))) >= 1


@pytest.mark.fault("camera")
@pytest.mark.parametrize("size", [(240, 320), (160, 120), (640, 480), (1280, 720)])
def test_the_person_is_tracked_in_the_first_frame_of_another_size(size):
    tracker = live.Tracker(Seer(), settings=SLOW_TO_LOSE)
    for k in range(10):
        assert not tracker.step(frame_with((160, 120), 0.5, 320, 240), k / 25).lost
    width, height = size
    scale = height / 480
    for k in range(10, 14):
        middle = np.array([width / 2, height / 2])
        pose = tracker.step(frame_with(middle, scale, width, height), k / 25)
        assert not pose.lost
        assert np.abs(pose.keypoints - (STANDING * scale + middle)).max() < 6 * scale + 3


# ---- clocks ---------------------------------------------------------------------------------


@pytest.mark.fault("clock")
@pytest.mark.parametrize("jump", [-0.1, -3600.0, -1e9, 3600.0])
def test_the_tracker_follows_on_after_the_clock_of_the_frames_has_jumped(jump):
    tracker = live.Tracker(Seer(), settings=SLOW_TO_LOSE)
    errors = []
    for k in range(60):
        seconds = 5000 + k / 25 + (jump if k >= 30 else 0)
        middle = np.array([150 + 4 * k, 240.0])
        pose = tracker.step(frame_with(middle), seconds)
        assert not pose.lost
        errors.append(np.abs(pose.keypoints - (STANDING + middle)).max())
    assert max(errors[:30]) < 8 and max(errors[31:]) < 12, errors


@pytest.mark.fault("clock")
def test_a_person_who_leaves_is_lost_in_time_although_the_clock_jumps():
    tracker = live.Tracker(Seer(), settings=SLOW_TO_LOSE)
    for k in range(10):
        tracker.step(frame_with((320, 240)), 100 + k / 25)
    lost = []
    for k in range(30):
        seconds = 100.4 + k / 25 - (3600 if k >= 5 else 0)
        lost.append(tracker.step(frame_with(), seconds).lost)
    first = lost.index(True)
    assert first <= 5 + np.ceil(SLOW_TO_LOSE.lost_after_s * 25) and all(lost[first:])


@pytest.mark.fault("clock")
def test_small_steps_back_are_as_good_as_none():
    """Two frames that arrive in the wrong order."""
    state = tracking.State()
    for k in range(50):
        seconds = k / 25 - (0.05 if k % 10 == 7 else 0)
        state = tracking.update(
            state, STANDING + [200 + k, 200], np.full(17, 0.9), 0.9, seconds, 640, 480
        )
    assert state.mode == "tracking"
    assert np.abs(state.smoothed.value - (STANDING + [249, 200])).max() < 4


# ---- 1,000 starts and stops -----------------------------------------------------------------


@contextlib.contextmanager
def nothing_grows(warm_up: Callable[[], object], megabytes: float) -> Iterator[None]:
    """Fail if threads, open files or memory have grown in the block, after a warm-up."""
    process = psutil.Process()
    for _ in range(30):
        warm_up()
    gc.collect()
    before = threading.active_count(), process.num_fds(), process.memory_info().rss
    yield
    gc.collect()
    after = threading.active_count(), process.num_fds(), process.memory_info().rss
    grown = (after[2] - before[2]) / 1e6
    print("threads", before[0], after[0], "files", before[1], after[1], "grown", grown, "MB")
    assert after[0] <= before[0] and after[1] <= before[1] and grown < megabytes


CYCLES = 1000


@pytest.mark.slow
@pytest.mark.fault("cycles")
def test_the_live_loop_over_a_clip(tmp_path, record_property):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    for _ in range(3):
        writer.write(body())
    writer.release()

    def cycle():
        assert live.run(clip, Seer()).frames == 3

    with nothing_grows(cycle, 30):
        for _ in range(CYCLES):
            cycle()
    record_property("tries", CYCLES)


@pytest.mark.slow
@pytest.mark.fault("cycles")
def test_the_live_loop_over_a_camera(record_property, monkeypatch):
    monkeypatch.setattr(video, "_open", lambda _: FakeCapture(10_000))

    def cycle():
        with contextlib.closing(video.frames(0)) as frames:
            next(frames)

    with nothing_grows(cycle, 20):
        for _ in range(CYCLES):
            cycle()
    record_property("tries", CYCLES)


@pytest.mark.slow
@pytest.mark.fault("cycles")
def test_the_server_of_the_page(record_property):
    def cycle():
        with server.server() as page:
            thread = threading.Thread(target=page.serve_forever, args=(0.005,))
            thread.start()
            address = f"http://127.0.0.1:{page.server_port}/tracker.js"
            with urllib.request.urlopen(address) as answer:
                assert answer.status == 200
            page.shutdown()
            thread.join()

    with nothing_grows(cycle, 20):
        for _ in range(CYCLES):
            cycle()
    record_property("tries", CYCLES)


@pytest.mark.slow
@pytest.mark.fault("cycles")
def test_the_kernel_s_side_of_the_widget(record_property):
    from test_widget import Model, frame

    from posekit.live import widget

    webcam = widget.Webcam(Model())
    webcam.camera_widget.send = lambda content, buffers=None: None

    def cycle():
        webcam._receive(None, {"kind": "start", "session": "a"}, [])
        frame(webcam, 1)
        webcam._receive(None, {"kind": "stop", "session": "a"}, [])

    with nothing_grows(cycle, 20):
        for _ in range(CYCLES):
            cycle()
    record_property("tries", CYCLES)
