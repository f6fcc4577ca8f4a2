"""Tracker and filter in simulated time, frames from files and cameras, the command `webcam`."""

import gc
import json
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from square_predictor import SquarePredictor

from posekit import geometry, live
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.live import one_euro, repetitions, server, tracking, video
from posekit.skeleton import COCO17

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "posekit" / "live" / "web"
WIDTH = 640
HEIGHT = 480
SLOW_TO_LOSE = tracking.Settings(lost_after_s=0.39)  # between two frames at 25 a second
STANDING = np.array(
    [
        *([0, -80], [-5, -84], [5, -84], [-10, -80], [10, -80]),
        *([18, -55], [-18, -55], [25, -25], [-25, -25], [28, 0], [-28, 0]),
        *([12, 5], [-12, 5], [13, 45], [-13, 45], [14, 85], [-14, 85]),
    ],
    float,
)


@pytest.fixture(scope="module")
def clip_maker():
    sys.path.insert(0, str(ROOT / "book" / "tools"))
    try:
        import clip
    finally:
        sys.path.pop(0)
    return clip


class Seer(SquarePredictor):
    """A network with a known answer: a body around the magenta disc in its crop."""

    def __init__(self, size: float = 1.0, noise: float = 0.0):
        self.calls = 0
        self.size = size
        self.noise = noise
        self.rng = np.random.default_rng(0)
        self.crop = None

    def predict_crops(self, images: np.ndarray, flip: bool = False) -> dict[str, np.ndarray]:
        self.calls += 1
        red = images[0, ..., 0].astype(int)
        green = images[0, ..., 1].astype(int)
        rows, columns = np.nonzero(red - green > 120)
        seen = len(rows) > 4
        middle = np.array([columns.mean(), rows.mean()]) if seen else np.array([111.5, 111.5])
        scale = (
            np.sqrt(max(len(rows), 1) / np.pi) / 10
        )  # the disc's radius is 10 for a body of STANDING's size
        joints = middle + STANDING * scale + self.rng.normal(0, self.noise, (17, 2))
        inside = np.all((joints > 0) & (joints < 223), axis=1) if seen else np.zeros(17, bool)
        sure = np.where(inside, 0.95, 0.05).astype(np.float32)[None]
        return {
            "keypoints": geometry.encode_keypoints(joints, (224, 224)).astype(np.float32)[None],
            "visibility": sure,
            "score": sure,
            "presence": np.array([0.95 if seen else 0.05], np.float32),
        }


def frame_with(
    middle=None, scale: float = 1.0, width: int = WIDTH, height: int = HEIGHT
) -> np.ndarray:
    """A grey frame, with the disc of a body unless `middle` is None."""
    frame = np.full((height, width, 3), 90, np.uint8)
    if middle is not None:
        y, x = np.mgrid[:height, :width]
        frame[np.hypot(x - middle[0], y - middle[1]) <= 10 * scale] = (255, 0, 255)
    return frame


# ---- One-Euro filter --------------------------------------------------------


@pytest.mark.parametrize(
    ("cutoff", "beta", "speed_cutoff"), [(1.0, 0.0, 1.0), (0.5, 0.01, 1.0), (3.0, 1.5, 2.0)]
)
def test_the_filter_agrees_with_the_authors_package(cutoff, beta, speed_cutoff):
    package = pytest.importorskip("OneEuroFilter")
    rng = np.random.default_rng(0)
    seconds = 1 + np.cumsum(rng.uniform(0.005, 0.2, 300))
    values = np.cumsum(rng.normal(0, 3, (300, 17, 2)), axis=0)
    theirs = [
        [package.OneEuroFilter(30, cutoff, beta, speed_cutoff) for _ in range(2)] for _ in range(17)
    ]
    last = None
    how = one_euro.OneEuroParams(cutoff, beta, speed_cutoff)
    for value, now in zip(values, seconds, strict=True):
        last = one_euro.smooth(last, value, now, how)
        wanted = [
            [f(v, now) for f, v in zip(row, joint, strict=True)]
            for row, joint in zip(theirs, value, strict=True)
        ]
        np.testing.assert_allclose(last.value, wanted, rtol=0, atol=1e-9)


def test_the_filter_does_not_know_the_resolution():
    rng = np.random.default_rng(1)
    values = np.cumsum(rng.normal(0, 2, (100, 17, 2)), axis=0)
    small = large = None
    for t, value in enumerate(values):
        small = one_euro.smooth(small, value, t / 25, torso_length=60.0)
        large = one_euro.smooth(large, 3 * value, t / 25, torso_length=180.0)
    np.testing.assert_allclose(large.value, 3 * small.value, rtol=1e-9)


def test_the_filter_calms_rest_and_follows_motion():
    rng = np.random.default_rng(2)
    rest = None
    moved = None
    out = []
    lag = []
    for t in range(120):
        rest = one_euro.smooth(rest, rng.normal(0, 1.0, (17, 2)), t / 30, torso_length=100.0)
        moved = one_euro.smooth(
            moved, np.full((17, 2), 300.0 * t / 30), t / 30, torso_length=100.0
        )  # three torsos a second
        out.append(rest.value)
        lag.append(300.0 * t / 30 - moved.value[0, 0])
    assert np.std(out[30:]) < 0.5  # jitter at rest is more than halved
    assert lag[-1] < 0.03 * 300  # and a fast joint is less than a frame behind


def test_a_time_that_does_not_go_on_changes_nothing():
    last = one_euro.smooth(None, np.ones((17, 2)), 5.0)
    assert one_euro.smooth(last, np.zeros((17, 2)), 5.0) is last
    assert one_euro.smooth(last, np.zeros((17, 2)), 4.0) is last


# ---- tracking ---------------------------------------------------------------


def test_a_search_begins_with_the_whole_frame():
    center, side = tracking.next_crop(tracking.State(), 3.0, 640, 360)
    assert (center.tolist(), side) == ([319.5, 179.5], 640.0)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (480, 480)])
def test_a_search_goes_through_smaller_squares_for_people_far_away(width, height):
    """Four crops in turn; the three small ones cover the frame along its longer side."""
    score = np.zeros(17)
    state = tracking.State()
    seen = []
    for t in range(8):
        seen.append(tracking.next_crop(state, t / 25, width, height))
        state = tracking.update(state, STANDING, score, 0.0, t / 25, width, height)
        assert state.mode == "searching"
    for before, after in zip(seen[:4], seen[4:], strict=True):
        np.testing.assert_array_equal([*before.center, before.side], [*after.center, after.side])
    low, high = (np.array([c + sign * s / 2 + 0.5 for c, s in seen[1:4]]) for sign in (-1, 1))
    assert (
        (low >= 0).all()
        and (high <= [width, height]).all()
        and {s for _, s in seen[1:4]} == {270.0 if width != height else 360.0}
    )
    longer = int(height > width)
    assert low[0, longer] == 0 and high[2, longer] == max(width, height)


def test_a_find_that_is_not_confirmed_continues_the_search():
    state = tracking.update(
        tracking.State(search_count=2), STANDING + 200, np.full(17, 0.9), 0.9, 0.0, WIDTH, HEIGHT
    )
    assert state.mode == "confirming"
    state = tracking.update(state, STANDING + 200, np.zeros(17), 0.0, 0.0, WIDTH, HEIGHT)
    assert (state.mode, state.search_count) == ("searching", 3)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_crops_scale_with_the_resolution(times):
    counts = np.ones(17, bool)
    small = tracking.square_around(STANDING + 200, counts, 60.0, 400, 400)
    large = tracking.square_around(
        times * (STANDING + 200.5) - 0.5, counts, 60.0 * times, 400 * times, 400 * times
    )
    np.testing.assert_allclose((large.center + 0.5) / times - 0.5, small.center)
    assert large.side == pytest.approx(times * small.side)


def test_the_crop_contains_the_body_with_the_margin_of_training():
    center, side = tracking.square_around(
        STANDING + [320, 240], np.ones(17, bool), 62.0, WIDTH, HEIGHT
    )
    low = (STANDING + [320, 240]).min(axis=0)
    high = (STANDING + [320, 240]).max(axis=0)
    assert np.all(center - side / 2 < low - 10) and np.all(center + side / 2 > high + 10)
    assert side < 1.7 * (high - low).max()


def test_a_body_without_ankles_gets_a_margin_at_the_bottom():
    counts = np.ones(17, bool)
    counts[13:] = False  # knees and ankles
    with_room = tracking.square_around(STANDING + [320, 240], counts, 62.0, WIDTH, HEIGHT)
    assert with_room.center[1] + with_room.side / 2 > 240 + 45  # the knees
    at_the_edge = tracking.square_around(STANDING + [320, 470], counts, 62.0, WIDTH, HEIGHT)
    assert at_the_edge.center[1] < 470  # but the frame ends where it ends


def test_the_next_crop_moves_with_the_body():
    state = tracking.State()
    score = np.full(17, 0.9)
    for t in range(20):
        joints = STANDING + [100 + 12 * t, 240]
        state = tracking.update(state, joints, score, 0.9, t / 25, WIDTH, HEIGHT)
    ahead = tracking.next_crop(state, 20 / 25, WIDTH, HEIGHT).center[0] - state.crop.center[0]
    assert ahead == pytest.approx(12, rel=0.1)
    late = tracking.next_crop(state, 100.0, WIDTH, HEIGHT).center[0] - state.crop.center[0]
    assert late < 0.25 * 12 * 25  # a velocity is not trusted for long


def test_the_person_score_is_the_lower_of_presence_and_joint_scores():
    score = np.concatenate([np.full(5, 0.8), np.full(12, 0.1)])
    assert tracking.person_score(0.9, score) == pytest.approx(0.8)
    assert tracking.person_score(0.2, score) == pytest.approx(0.2)


def test_a_person_score_between_the_thresholds_changes_nothing():
    settings = tracking.Settings()
    score = np.full(17, 0.9)
    between = (settings.keep_threshold + settings.acquire_threshold) / 2
    lost = tracking.update(tracking.State(), STANDING + 200, score, between, 0.0, WIDTH, HEIGHT)
    assert lost.mode == "searching"
    kept = tracking.State()
    for t in range(3):
        kept = tracking.update(kept, STANDING + 200, score, 0.9, t / 25, WIDTH, HEIGHT)
    for t in range(3, 200):
        kept = tracking.update(kept, STANDING + 200, score, between, t / 25, WIDTH, HEIGHT)
        assert kept.mode == "tracking" and kept.low_since is None


def test_a_find_is_confirmed_in_a_close_crop():
    found = tracking.update(
        tracking.State(), STANDING + 200, np.full(17, 0.9), 0.9, 0.0, WIDTH, HEIGHT
    )
    assert found.mode == "confirming"
    assert (
        tracking.update(found, STANDING + 200, np.full(17, 0.9), 0.2, 0.0, WIDTH, HEIGHT).mode
        == "searching"
    )
    assert (
        tracking.update(found, STANDING + 200, np.full(17, 0.9), 0.9, 0.0, WIDTH, HEIGHT).mode
        == "tracking"
    )


def test_a_short_time_of_low_scores_loses_no_track_and_a_long_one_does():
    tracker = live.Tracker(Seer(), settings=SLOW_TO_LOSE)
    modes = []
    for t in range(40):
        there = not (10 <= t < 15 or t >= 25)  # 0.2 s away, and then for good
        pose = tracker.step(frame_with((320, 240)) if there else frame_with(), t / 25)
        modes.append(pose.lost)
    patience = int(np.ceil(SLOW_TO_LOSE.lost_after_s * 25))
    assert modes == [False] * (25 + patience) + [True] * (15 - patience)


def test_nothing_is_changed_in_place():
    state = tracking.State()
    score = np.full(17, 0.9)
    joints = STANDING + 200
    for t in range(3):
        before = (joints.copy(), score.copy())
        new = tracking.update(state, joints, score, 0.9, t / 25, WIDTH, HEIGHT)
        assert (
            np.array_equal(joints, before[0])
            and np.array_equal(score, before[1])
            and new is not state
        )
        state = new


# ---- the tracker over clips -------------------------------------------------


def test_a_person_is_tracked_lost_and_found_again():
    """A person crosses, leaves for a second and comes back elsewhere, smaller."""
    seer = Seer(noise=0.3)
    errors = []
    lost = []
    tracker = live.Tracker(seer, settings=SLOW_TO_LOSE)
    for t in range(125):
        there = t < 50 or t >= 80
        middle, scale = ((150 + 6 * t, 250), 1.0) if t < 50 else ((500 - 4 * (t - 80), 200), 0.7)
        pose = tracker.step(frame_with(middle, scale) if there else frame_with(), 7.0 + t / 25)
        lost.append(pose.lost)
        assert (pose.keypoints is None) == pose.lost
        if there and not pose.lost:
            errors.append(np.abs(pose.keypoints - (STANDING * scale + middle)).mean())
    patience = int(np.ceil(SLOW_TO_LOSE.lost_after_s * 25))
    assert lost == [False] * (50 + patience) + [True] * (30 - patience) + [False] * 45
    assert np.mean(errors) < 4 and max(errors) < 12
    assert seer.calls == 125 + 2  # twice in a frame only where a person is found


def test_no_clock_but_the_frames_is_asked(monkeypatch):
    def poses(sleep: float):
        tracker = live.Tracker(Seer(noise=0.5))
        out = []
        for t in range(12):
            time.sleep(sleep * (t % 3))
            out.append(tracker.step(frame_with((200 + 5 * t, 240)), t / 25).keypoints)
        return np.array(out)

    np.testing.assert_array_equal(poses(0), poses(0.004))


def test_two_trackers_share_nothing():
    one = live.Tracker(Seer())
    two = live.Tracker(Seer())
    a = one.step(frame_with((200, 240)), 0.0)
    b = two.step(frame_with((400, 240)), 0.0)
    assert a.keypoints[0, 0] < 250 < 350 < b.keypoints[0, 0]
    one.reset()
    assert one.step(frame_with(), 1.0).lost and not two.step(frame_with((400, 240)), 1.0).lost


def test_a_pose_has_the_square_of_its_crop_and_its_times():
    tracker = live.Tracker(Seer())
    pose = tracker.step(frame_with((320, 240)), 0.0)
    assert (
        pose.keypoints.dtype == np.float32
        and pose.bbox.shape == (4,)
        and pose.presence == pytest.approx(0.95)
    )
    assert pose.bbox[2] == pose.bbox[3] < 640  # the second look
    assert set(pose.milliseconds) == {"crop", "model", "track", "total"}
    assert (
        sum(v for k, v in pose.milliseconds.items() if k != "total")
        <= pose.milliseconds["total"] + 0.1
    )


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1280, 720), (97, 211), (5, 3)])
def test_frames_of_any_shape(size):
    width, height = size
    tracker = live.Tracker(Seer())
    for t in range(4):
        tracker.step(frame_with((width / 2, height / 2), height / 240, width, height), t / 25)


@pytest.fixture(scope="module")
def real_model():
    """The released model: it knows people, and when there are none."""

    return predictor.load(live.DEFAULT_MODEL, threads=1)


def test_the_released_model_tracks_a_rendered_person(real_model):
    """Locked on in the first frame, the joints where they truly are."""
    tracker = live.Tracker(real_model)
    errors = []
    truth = json.loads((WEB / "clip.json").read_text())["keypoints"]
    for (frame, seconds), joints in list(zip(video.frames(WEB / "clip.mjpeg"), truth, strict=True))[
        :60
    ]:
        pose = tracker.step(frame, seconds)
        joints = np.array(joints)
        assert not pose.lost
        torso = np.linalg.norm(joints[5, :2] - joints[12, :2])
        errors.append(np.linalg.norm(pose.keypoints - joints[:, :2], axis=1) / torso)
    assert np.mean(errors[0]) < 0.2 and np.mean(errors) < 0.15


def test_the_released_model_loses_a_person_who_leaves_and_finds_them_again(real_model, clip_maker):
    """A rendered person leaves the room for a second and comes back elsewhere."""
    spot = np.zeros((60, 2))
    there = np.ones(60, bool)
    there[20:40] = False
    spot[40:, 0] = 60.0
    made = clip_maker.render(np.repeat(clip_maker.STAND[None], 60, axis=0), spot, there)
    tracker = live.Tracker(real_model, settings=SLOW_TO_LOSE)
    lost = []
    errors = []
    for t, (frame, truth) in enumerate(made):
        pose = tracker.step(frame, 100 + t / 25)
        lost.append(pose.lost)
        if truth is not None and not pose.lost:
            errors.append(np.abs(pose.keypoints - truth[:, :2])[truth[:, 2] > 0].mean())
    gone = 20 + int(np.ceil(SLOW_TO_LOSE.lost_after_s * 25))
    assert lost == [False] * gone + [True] * (40 - gone) + [False] * 20
    assert max(errors) < 10  # of a person 150 pixels high


@pytest.mark.realdata
def test_a_person_who_squats_is_tracked(realdata, real_model):
    """Against another model's joints, good to a few pixels; the squats are counted."""
    reference = json.loads((realdata / "pose_clips/pose_squats.coco17.json").read_text())[
        "keypoints"
    ]
    tracker = live.Tracker(real_model)
    errors = []
    count = repetitions.RepCount()
    for (frame, seconds), joints in zip(
        video.frames(realdata / "pose_clips/pose_squats.mp4"), reference, strict=True
    ):
        pose = tracker.step(frame, seconds)
        joints = np.array(joints)
        assert not pose.lost
        errors.append(
            np.linalg.norm(pose.keypoints - joints, axis=1) / np.linalg.norm(joints[5] - joints[12])
        )
        exercise = repetitions.EXERCISES["squats"]
        count = repetitions.count(
            count, repetitions.exercise_angle(pose.keypoints, pose.score, exercise), exercise
        )
    assert np.median(errors) < 0.15
    assert count.done == 3


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("clip", "low", "high"),
    [("walk.mkv", 0, 0.05), ("asl_yes.mkv", 0, 0.05), ("nobody_car-detection.mp4", 0.95, 1)],
)
def test_real_clips_with_and_without_a_person(realdata, real_model, clip, low, high):
    summary = live.run(realdata / "clips" / clip, real_model)
    assert low <= summary.lost_frames / summary.frames <= high


# ---- frames -----------------------------------------------------------------


def test_a_file_gives_every_frame_in_rgb_with_its_time():
    frames = list(video.frames(WEB / "clip.mjpeg"))
    assert (
        len(frames) == 160
        and frames[0][0].shape == (240, 320, 3)
        and frames[0][0].dtype == np.uint8
    )
    np.testing.assert_allclose([s for _, s in frames], np.arange(160) / 25)
    red, _, blue = frames[0][0][100:130, 150:170].reshape(-1, 3).mean(axis=0)
    assert frames[0][0][60, 80, 2] > frames[0][0][60, 80, 0]  # the window's sky is blue
    assert red > 0 and blue > 0


@pytest.mark.parametrize("name", ["missing.mp4", "text.mp4", "folder"])
def test_what_is_no_video_is_named(tmp_path, name):
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=name):
        list(video.frames(tmp_path / name))


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(DataError, match="camera 63: there is no such camera"):
        next(video.frames(63))


class FakeCapture:
    """A camera that gives a numbered frame every 2 ms, `limit` of them."""

    def __init__(self, limit: int):
        self.number = 0
        self.limit = limit
        self.released = False

    def isOpened(self) -> bool:
        return True

    def read(self):
        time.sleep(0.002)
        self.number += 1
        return (self.number <= self.limit, np.full((4, 4, 3), self.number % 251, np.uint8))

    def release(self) -> None:
        self.released = True


def test_a_busy_caller_gets_the_newest_frame_of_a_camera(monkeypatch):
    camera = FakeCapture(10_000)
    monkeypatch.setattr(video, "_open", lambda _: camera)
    frames = video.frames(0)
    behind = []
    for _ in range(5):
        frame, _ = next(frames)
        behind.append(camera.number - int(frame[0, 0, 0]))
        time.sleep(0.05)  # some 25 frames pass
    frames.close()
    assert max(behind) <= 3 and camera.released


def test_a_camera_that_is_unplugged_is_named(monkeypatch):
    camera = FakeCapture(5)
    monkeypatch.setattr(video, "_open", lambda _: camera)
    with pytest.raises(DataError, match="gives no more frames"):
        list(video.frames("0"))
    assert camera.released


def test_a_camera_that_gives_no_image_is_named_and_released_once_it_is_no_longer_read(
    monkeypatch,
):
    class Silent(FakeCapture):
        reading = False

        def read(self):
            self.reading = True
            time.sleep(0.4)
            self.reading = False
            return False, None

        def release(self):
            self.released = not self.reading

    camera = Silent(0)
    monkeypatch.setattr(video, "_open", lambda _: camera)
    monkeypatch.setattr(video, "_CAMERA_TIMEOUT_S", 0.1)
    with pytest.raises(DataError, match="camera 0: gives no image"):
        next(video.frames(0))
    assert camera.released


def test_a_camera_whose_driver_fails_is_named(monkeypatch):
    class Broken(FakeCapture):
        def read(self):
            raise RuntimeError("a driver's")

    camera = Broken(0)
    monkeypatch.setattr(video, "_open", lambda _: camera)
    monkeypatch.setattr(video, "_CAMERA_TIMEOUT_S", 5.0)
    with pytest.raises(DataError, match="gives no more frames"):
        next(video.frames(0))
    assert camera.released


# ---- run and the command line -----------------------------------------------


def test_a_run_is_summed_up_by_the_clock_that_it_is_given():
    now = iter(np.arange(0, 100, 0.01))
    drawn = []
    summary = live.run(
        WEB / "clip.mjpeg",
        Seer(),
        lambda frame, pose: drawn.append((frame.shape, pose.lost)),
        lambda: next(now),
    )
    assert (
        summary.frames == summary.lost_frames == len(drawn) == 160
    )  # the clip has no magenta disc
    assert (summary.p50_ms, summary.p95_ms, summary.fps) == (10.0, 10.0, 100.0)


class Interrupted(Seer):
    """Raises Ctrl-C in the sixth frame."""

    def predict_crops(self, images, flip=False):
        if self.calls == 5:
            raise KeyboardInterrupt
        return super().predict_crops(images, flip)


def test_ctrl_c_ends_a_run_which_is_summed_up(monkeypatch):
    camera = FakeCapture(10_000)
    monkeypatch.setattr(video, "_open", lambda _: camera)
    assert live.run(0, Interrupted()).frames == 5
    assert camera.released


def test_ctrl_c_ends_the_command_with_its_object_and_its_video(monkeypatch, capsys, tmp_path):
    from posekit import cli

    monkeypatch.setattr(predictor, "load", lambda name, threads: Interrupted())
    out = tmp_path / "drawn.mp4"
    assert (
        cli.main(["webcam", "--source", str(WEB / "clip.mjpeg"), "--json", "--out", str(out)]) == 0
    )
    assert json.loads(capsys.readouterr().out)["frames"] == len(list(video.frames(out))) == 5
    assert list(tmp_path.iterdir()) == [out]


def test_a_clip_is_not_written_over_itself(capsys, monkeypatch, tmp_path):
    from posekit import cli

    clip = tmp_path / "clip.mp4"
    clip.write_bytes((WEB / "clip.mjpeg").read_bytes())
    monkeypatch.chdir(tmp_path)
    assert cli.main(["webcam", "--source", str(clip), "--out", "clip.mp4"]) == 2
    assert "clip.mp4: is the source itself" in capsys.readouterr().err
    assert clip.read_bytes() == (WEB / "clip.mjpeg").read_bytes()


def test_a_video_is_written_aside_and_at_the_rate_of_its_clip(monkeypatch, tmp_path):
    clip = tmp_path / "clip.mp4"
    out = tmp_path / "drawn.mp4"
    monkeypatch.setattr(video, "frame_rate", lambda _: 10.0)
    out.write_text("of an earlier run")
    for path in (clip, out):
        writer = server._VideoWriter(path, str(WEB / "clip.mjpeg"))
        for _ in range(7):
            writer(frame_with(), None)
        assert path == clip or out.read_text() == "of an earlier run"
        writer.close()
    monkeypatch.undo()
    assert video.frame_rate(clip) == video.frame_rate(out) == pytest.approx(10)
    assert len(list(video.frames(out))) == 7 and sorted(tmp_path.iterdir()) == [clip, out]
    assert server._VideoWriter(out, str(clip)).fps == pytest.approx(10)


def test_a_camera_s_video_lasts_as_long_as_it_was_filmed(monkeypatch, tmp_path):
    now = iter([5.0, 5.0, 5.01, 6.01, 6.02])  # begun; four frames, two of them too early
    monkeypatch.setattr(server.time, "monotonic", lambda: next(now))
    writer = server._VideoWriter(tmp_path / "drawn.mp4", "0")
    for _ in range(4):
        writer(frame_with(), None)
    writer.close()
    assert len(list(video.frames(tmp_path / "drawn.mp4"))) == 1 + 25


def test_webcam_prints_one_object(monkeypatch, capsys, tmp_path):
    from posekit import cli

    monkeypatch.setattr(predictor, "load", lambda name, threads: Seer())
    out = tmp_path / "drawn.mp4"
    assert (
        cli.main(["webcam", "--source", str(WEB / "clip.mjpeg"), "--json", "--out", str(out)]) == 0
    )
    assert set(json.loads(capsys.readouterr().out)) == {
        "frames",
        "lost_frames",
        "p50_ms",
        "p95_ms",
        "fps",
    }
    assert len(list(video.frames(out))) == 160


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--source", "missing.mp4"], "missing.mp4: there is no such file"),
        (["--source", "63"], "camera 63"),
        (["--json"], "--json: goes with --source"),
        (["--out", "x.mp4"], "--out: goes with --source"),
        (["--model", "nothing.onnx", "--no-browser"], "nothing.onnx"),
    ],
)
def test_webcam_says_what_is_wrong_in_one_line(monkeypatch, capsys, given, words):
    from posekit import cli

    monkeypatch.setattr(live, "Tracker", lambda model: None)
    assert cli.main(["webcam", *given]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


@pytest.mark.skipif(
    sys.platform == "win32", reason="Ctrl-C reaches a child process in another way there"
)
def test_the_demo_is_served_to_this_computer_only_until_ctrl_c():
    """As a process of its own: it prints its address, answers, and ends cleanly."""
    model = str(ROOT / "posekit" / "weights" / live.DEFAULT_MODEL / "model.onnx")
    command = [sys.executable, "-m", "posekit", "webcam", "--no-browser", "--model", model]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline()).group()
            with urllib.request.urlopen(address) as answer:
                assert (
                    b"See your own pose" in answer.read()
                    and "default-src 'self'" in answer.headers["Content-Security-Policy"]
                )
            with urllib.request.urlopen(f"{address}tracker.js") as answer:
                assert answer.headers["Content-Type"] == "text/javascript"
            for path in ("server.py", "../server.py", "%2e%2e/server.py", "/etc/passwd"):
                with pytest.raises(urllib.error.HTTPError, match="404"):
                    urllib.request.urlopen(address + path)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
            assert process.stderr.read().strip() == "ended"
        finally:
            process.kill()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=5)


def test_a_page_of_another_name_gets_nothing():
    """A site whose name leads to 127.0.0.1 must not read from this computer."""
    with server.server() as one:
        threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True).start()
        got = {}
        for name in (
            "127.0.0.1",
            "localhost",
            "[::1]",
            "elsewhere.test",
            "127.0.0.1.elsewhere.test",
        ):
            wanted = urllib.request.Request(f"http://127.0.0.1:{one.server_port}/tracker.js")
            wanted.add_header("Host", f"{name}:{one.server_port}")
            try:
                with urllib.request.urlopen(wanted) as answer:
                    got[name] = answer.status
            except urllib.error.HTTPError as error:
                got[name] = error.code
        one.shutdown()
    assert [*got.values()] == [200, 200, 200, 403, 403]


def test_a_tab_that_is_closed_while_it_loads_is_no_error():
    class Closed:
        def write(self, _):
            raise BrokenPipeError

    with server.server() as one:
        page = one.RequestHandlerClass.__new__(one.RequestHandlerClass)
        page.path = "/"
        page.headers = {"Host": "localhost"}
        page.wfile = Closed()
        page.request_version = "HTTP/1.1"
        page.requestline = ""
        page.do_GET()


def test_the_page_s_model_is_named_where_it_is_missing(tmp_path):
    with pytest.raises(DataError, match="the page needs an ONNX file: python -m posekit export"):
        server.model_file("minidome")
    with pytest.raises(DataError, match="nothing.onnx"):
        server.model_file(tmp_path / "nothing.onnx")
    assert server.model_file().name == "model.onnx"
    assert (
        sum(path.stat().st_size for path in WEB.rglob("*")) + server.model_file().stat().st_size
        <= 25e6
    )


# ---- counting ---------------------------------------------------------------


def test_angles():
    assert repetitions.angle([1, 0], [0, 0], [0, 1]) == pytest.approx(90)
    assert repetitions.angle([1, 0], [0, 0], [-1, 0]) == pytest.approx(180)
    assert repetitions.angle([2, 2], [1, 1], [5, 5]) == pytest.approx(0, abs=1e-6)


def test_the_clip_holds_three_arm_raises_and_two_squats():
    truth = np.array(json.loads((WEB / "clip.json").read_text())["keypoints"])
    for name, wanted in (("arm raises", 3), ("squats", 2)):
        state = repetitions.RepCount()
        for joints in truth:
            degrees = repetitions.exercise_angle(
                joints[:, :2], np.ones(17), repetitions.EXERCISES[name]
            )
            state = repetitions.count(state, degrees, repetitions.EXERCISES[name])
        assert state.done == wanted, name


@pytest.mark.parametrize("name", repetitions.EXERCISES)
def test_trembling_at_a_threshold_counts_once(name):
    exercise = repetitions.EXERCISES[name]
    rng = np.random.default_rng(0)
    state = repetitions.RepCount()
    state = repetitions.count(
        state, exercise.rest_angle + np.sign(exercise.rest_angle - exercise.target_angle), exercise
    )
    for _ in range(500):
        state = repetitions.count(state, exercise.target_angle + rng.normal(0, 5), exercise)
    assert state.done == 1
    assert repetitions.count(state, None, exercise) is state


def test_joints_below_the_threshold_are_not_measured():
    score = np.ones(17)
    exercise = repetitions.EXERCISES["arm raises"]
    joints = STANDING.copy()
    both = repetitions.exercise_angle(joints, score, exercise)
    score[COCO17.index("left_elbow")] = 0.1
    assert repetitions.exercise_angle(joints, score, exercise) == pytest.approx(
        both, abs=1
    )  # the right arm alone
    score[COCO17.index("right_hip")] = 0.1
    assert repetitions.exercise_angle(joints, score, exercise) is None


# ---- endurance --------------------------------------------------------------


@pytest.mark.slow
def test_twenty_thousand_frames_leave_nothing_behind():
    tracker = live.Tracker(Seer(noise=0.5))
    frames = [frame_with((150 + 10 * k, 240)) for k in range(20)] + [frame_with()] * 20
    threads = threading.active_count()
    for t in range(400):
        tracker.step(frames[t % 40], t / 25)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for t in range(400, 20_400):
        tracker.step(frames[t % 40], t / 25)
    gc.collect()
    grown = sum(
        change.size_diff for change in tracemalloc.take_snapshot().compare_to(before, "filename")
    )
    tracemalloc.stop()
    assert grown < 200_000 and threading.active_count() == threads


@pytest.mark.slow
def test_a_hundred_starts_and_stops_of_a_camera_leave_no_thread(monkeypatch):
    cameras = []
    monkeypatch.setattr(
        video, "_open", lambda _: cameras.append(FakeCapture(10_000)) or cameras[-1]
    )
    threads = threading.active_count()
    for _ in range(100):
        frames = video.frames(0)
        tracker = live.Tracker(Seer())
        for _ in range(3):
            tracker.step(*next(frames))
        frames.close()
    assert threading.active_count() == threads and all(c.released for c in cameras)
