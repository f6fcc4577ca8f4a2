"""The page's JavaScript computes what Python computes: the same vectors go through both."""

import json

import cv2
import numpy as np
import pytest
from javascript import in_node

from posekit import geometry
from posekit.live import repetitions, tracking
from posekit.live.server import WEB


def walk(seed: int, frames: int = 160):
    """Predictions of a body that moves, grows, is cut off, leaves and comes back, by a clock that
    jumps back at times."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-1, 1, (17, 2)) * [40, 90]
    seconds = 0.0
    out = []
    for t in range(frames):
        seconds += rng.choice([0.0, 0.02, 0.04, 0.3, -60], p=[0.05, 0.42, 0.43, 0.05, 0.05])
        here = 0.9 if (t // 40) % 2 == 0 else 0.1
        keypoints = (
            body * (1 + 0.3 * np.sin(t / 20))
            + [320 + 250 * np.sin(t / 30), 240]
            + rng.normal(0, 2, (17, 2))
        )
        score = np.clip(here + rng.normal(0, 0.15, 17), 0, 1) * (rng.random(17) > 0.15)
        presence = float(np.clip(here + rng.normal(0, 0.2), 0, 1))
        out.append(
            {
                "keypoints": keypoints.tolist(),
                "score": score.tolist(),
                "presence": presence,
                "seconds": seconds,
            }
        )
    return out


def test_the_tracker_is_the_same_in_javascript(tmp_path):
    given = [walk(seed) for seed in range(4)]
    wanted = []
    modes = set()
    for steps in given:
        state = tracking.State()
        states = []
        for s in steps:
            center, side = tracking.next_crop(state, s["seconds"], 640, 480)
            state = tracking.update(
                state, s["keypoints"], s["score"], s["presence"], s["seconds"], 640, 480
            )
            modes.add(state.mode)
            states.append(
                [
                    *center,
                    side,
                    *(state.smoothed.value.ravel() if state.mode == "tracking" else np.zeros(34)),
                    state.torso_length,
                    state.search_count,
                ]
            )
        wanted.append(states)
    script = """
      return given.map((steps) => {
        let state = INITIAL_STATE;
        return steps.map(({ keypoints, score, presence, seconds }) => {
          const { center, side } = nextCrop(state, seconds, 640, 480, constants.tracker);
          const flat = keypoints.flat();
          state = update(state, flat, score, presence, seconds, 640, 480, constants.tracker);
          const { mode, smoothed, torsoLength, searchCount } = state;
          const filtered = mode === "tracking" ? smoothed.value : Array(34).fill(0);
          return [...center, side, ...filtered, torsoLength, searchCount];
        });
      });"""
    assert modes == {"searching", "confirming", "tracking"}
    np.testing.assert_allclose(in_node(script, given, tmp_path), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("low_seconds", [0.375, 0.5, 0.625])
def test_a_track_is_lost_at_the_same_moment_on_both_sides(tmp_path, low_seconds):
    """At exactly `lost_after_s` the track is lost; the times are exact in binary."""
    settings = tracking.Settings(lost_after_s=0.5)
    body = np.random.default_rng(0).uniform(100, 300, (17, 2))
    times = [0.0, 0.125, 1.0, 1.0 + low_seconds]
    presence = [0.9, 0.9, 0.1, 0.1]
    state = tracking.State()
    score = np.full(17, 0.9)
    for p, t in zip(presence, times, strict=True):
        state = tracking.update(state, body, score, p, t, 640, 480, settings)
    assert state.mode == ("searching" if low_seconds >= 0.5 else "tracking")
    script = """
      const settings = { ...constants.tracker, lostAfterS: 0.5 };
      let state = INITIAL_STATE;
      given.times.forEach((seconds, k) => {
        const { body, score, presence } = given;
        state = update(state, body, score, presence[k], seconds, 640, 480, settings);
      });
      return state.mode;"""
    given = {"body": body.ravel().tolist(), "score": score.tolist()}
    given |= {"times": times, "presence": presence}
    assert in_node(script, given, tmp_path) == state.mode


@pytest.mark.parametrize(
    ("presence", "start"),
    [(0.3, "searching"), (0.2999, "searching"), (0.2, "tracking"), (0.1999, "tracking")],
)
def test_thresholds_include_their_own_value_on_both_sides(tmp_path, presence, start):
    """A score equal to a threshold reaches it, as for drawing."""
    body = np.random.default_rng(0).uniform(100, 300, (17, 2))
    score = np.full(17, 0.9)
    before = [0.9, 0.9] if start == "tracking" else []
    state = tracking.State()
    for t, p in enumerate([*before, presence]):
        state = tracking.update(state, body, score, p, float(t), 640, 480)
    script = """
      let state = INITIAL_STATE;
      given.presence.forEach((presence, t) => {
        const { body, score } = given;
        state = update(state, body, score, presence, t, 640, 480, constants.tracker);
      });
      return [state.mode, state.lowSince === null];"""
    given = {"body": body.ravel().tolist(), "score": score.tolist()}
    given["presence"] = [*before, presence]
    assert in_node(script, given, tmp_path) == [state.mode, state.low_since is None]
    reached = presence in (0.3, 0.2)
    if start == "tracking":
        assert state.mode == "tracking" and (state.low_since is None) == reached
    else:
        assert state.mode == ("confirming" if reached else "searching")


def test_the_counter_is_the_same_in_javascript(tmp_path):
    rng = np.random.default_rng(0)
    poses = []
    for t in range(300):
        raised = np.deg2rad(90 + 80 * np.sin(t / 12) + rng.normal(0, 8))
        keypoints = rng.normal(0, 3, (17, 2)) + 100
        for shoulder, elbow, hip, sign in ((5, 7, 11, 1), (6, 8, 12, -1)):
            keypoints[hip] = keypoints[shoulder] + [0, 60]
            keypoints[elbow] = keypoints[shoulder] + 40 * np.array(
                [sign * np.sin(raised), np.cos(raised)]
            )
        poses.append([keypoints.ravel().tolist(), rng.uniform(0.2, 1, 17).tolist()])
    for name, exercise in repetitions.EXERCISES.items():
        state = repetitions.RepCount()
        wanted = []
        for keypoints, score in poses:
            degrees = repetitions.exercise_angle(np.reshape(keypoints, (17, 2)), score, exercise)
            state = repetitions.count(state, degrees, exercise)
            wanted.append([-1 if degrees is None else degrees, state.done, int(state.ready)])
        script = """
          const exercise = constants.exercises[given.name];
          let state = NO_REPETITIONS;
          return given.poses.map(([keypoints, score]) => {
            const degrees = exerciseAngle(keypoints, score, exercise, constants.drawThreshold);
            state = count(state, degrees, exercise);
            return [degrees ?? -1, state.done, state.ready ? 1 : 0];
          });"""
        np.testing.assert_allclose(
            in_node(script, {"name": name, "poses": poses}, tmp_path), wanted, rtol=1e-9
        )


@pytest.mark.parametrize("name", repetitions.EXERCISES)
def test_an_angle_equal_to_a_limit_reaches_it_on_both_sides(tmp_path, name):
    """At exactly `rest_angle` a repetition may begin, at exactly `target_angle` it is complete."""
    exercise = repetitions.EXERCISES[name]
    state = repetitions.RepCount()
    states = []
    degrees = [exercise.rest_angle, exercise.target_angle] * 2
    for angle in degrees:
        state = repetitions.count(state, angle, exercise)
        states.append([state.done, state.ready])
    assert states == [[0, True], [1, False], [1, True], [2, False]]
    script = """
      let state = NO_REPETITIONS;
      return given.degrees.map((angle) => {
        state = count(state, angle, constants.exercises[given.name]);
        return [state.done, state.ready];
      });"""
    assert in_node(script, {"name": name, "degrees": degrees}, tmp_path) == states


@pytest.mark.parametrize("side", [90.0, 224.0, 301.5, 640.0, 1700.0])
def test_the_crop_is_the_same_to_two_levels(tmp_path, side):
    rng = np.random.default_rng(int(side))
    frame = cv2.resize(
        rng.integers(0, 256, (36, 48, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC
    )
    center = np.array([300.3, 210.7])
    wanted = geometry.warp(frame, geometry.crop_affine(center, side, 224), (224, 224)).astype(int)
    rgba = np.concatenate([frame, np.full((480, 640, 1), 255, np.uint8)], axis=2)
    (tmp_path / "frame.bin").write_bytes(rgba.tobytes())
    script = """
      const data = new Uint8ClampedArray(readFileSync(given.file));
      const { center, side } = given;
      return [...cropSquare({ data, width: 640, height: 480 }, { center, side }, 224)];"""
    given = {"file": str(tmp_path / "frame.bin"), "center": center.tolist(), "side": side}
    got = np.reshape(in_node(script, given, tmp_path), (224, 224, 3))
    error = np.abs(got - wanted)
    assert error.mean() < 0.5
    assert np.quantile(error, 0.999) <= 4  # OpenCV rounds places to 1/32 px


def test_the_clip_is_split_into_its_jpegs(tmp_path):
    data = (WEB / "clip.mjpeg").read_bytes()
    wanted = json.loads((WEB / "clip.json").read_text())
    script = "return splitMjpeg(new Uint8Array(readFileSync(given)));"
    ends = in_node(script, str(WEB / "clip.mjpeg"), tmp_path)
    assert len(ends) == len(wanted["keypoints"]) and ends[0][0] == 0 and ends[-1][1] == len(data)
    start, end = ends[7]
    assert cv2.imdecode(np.frombuffer(data[start:end], np.uint8), cv2.IMREAD_COLOR).shape == (
        240,
        320,
        3,
    )
