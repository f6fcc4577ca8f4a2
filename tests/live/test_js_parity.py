"""The page's JavaScript does what Python does: the same vectors through both, in the Node that Playwright brings."""

import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from posekit import geometry
from posekit.live import one_euro, repetitions, tracking
from posekit.skeleton import COCO17

WEB = Path(__file__).resolve().parents[2] / "posekit" / "live" / "web"


@pytest.fixture(scope="module")
def node() -> str:
    playwright = pytest.importorskip("playwright")
    path = Path(playwright.__file__).parent / "driver" / "node"
    path = path if path.is_file() else path.with_suffix(".exe")
    if not path.is_file():
        pytest.skip("Playwright brings no Node on this system")
    return str(path)


def in_node(node: str, script: str, given, folder: Path):
    """What a module prints that imports from the page's scripts and finds what it is given in `given`."""
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
    text = f'import {{ readFileSync }} from "node:fs";\nconst given = JSON.parse(readFileSync("{(folder / "given.json").as_posix()}"));\n'
    for name, names in (
        ("one_euro", "smooth, ONE_EURO"),
        ("tracker", "update, nextCrop, belief, torso, around, NOBODY, SETTINGS"),
        ("warp", "cut"),
        ("counting", "angle, measure, count, EXERCISES, NONE_YET"),
        ("sources", "cutApart"),
    ):
        text += f'import {{ {names} }} from "{(WEB / name).as_uri()}.js";\n'
    (folder / "run.mjs").write_text(
        f"{text}\nconsole.log(JSON.stringify((() => {{ {script} }})()));\n", encoding="utf-8"
    )
    command = [
        node,
        "--no-warnings",
        str(folder / "run.mjs"),
    ]  # a Node that knows a module when it sees one
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def walk(seed: int, frames: int = 160):
    """A body that moves, grows, is cut off, leaves and comes back: what a network might say, frame by frame."""
    rng = np.random.default_rng(seed)
    body, seconds, out = rng.uniform(-1, 1, (17, 2)) * [40, 90], 0.0, []
    for t in range(frames):
        seconds += rng.choice([0.0, 0.02, 0.04, 0.3], p=[0.05, 0.45, 0.45, 0.05])
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


def test_the_tracker_is_the_same_in_javascript(node, tmp_path):
    given, wanted, modes = [walk(seed) for seed in range(4)], [], set()
    for steps in given:
        state, states = tracking.State(), []
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
        let state = NOBODY;
        return steps.map((s) => {
          const { center, side } = nextCrop(state, s.seconds, 640, 480);
          state = update(state, s.keypoints.flat(), s.score, s.presence, s.seconds, 640, 480);
          return [...center, side, ...(state.mode === "tracking" ? state.smoothed.value : Array(34).fill(0)), state.torso_length, state.search_count];
        });
      });"""
    assert modes == {"searching", "confirming", "tracking"}
    np.testing.assert_allclose(in_node(node, script, given, tmp_path), wanted, rtol=1e-9, atol=1e-9)


def test_the_settings_are_the_same(node, tmp_path):
    settings, euro = tracking.Settings(), one_euro.OneEuroParams()
    wanted = {
        "found": settings.acquire_threshold,
        "kept": settings.keep_threshold,
        "patience": settings.lost_after_s,
        "joint": settings.crop_joint_threshold,
    }
    wanted["filter"] = {
        "min_cutoff": euro.min_cutoff,
        "beta": euro.beta,
        "speed_cutoff": euro.speed_cutoff,
    }
    assert in_node(node, "return SETTINGS;", None, tmp_path) == wanted
    exercises = {
        name: {
            "corners": [[COCO17.index(j) for j in c] for c in e.corners],
            "start": e.rest_angle,
            "goal": e.target_angle,
        }
        for name, e in repetitions.EXERCISES.items()
    }
    assert in_node(node, "return EXERCISES;", None, tmp_path) == exercises


def test_the_counter_is_the_same_in_javascript(node, tmp_path):
    rng, poses = np.random.default_rng(0), []
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
        state, wanted = repetitions.RepCount(), []
        for keypoints, score in poses:
            degrees = repetitions.exercise_angle(np.reshape(keypoints, (17, 2)), score, exercise)
            state = repetitions.count(state, degrees, exercise)
            wanted.append([-1 if degrees is None else degrees, state.done, int(state.ready)])
        script = """
          let state = NONE_YET;
          return given.poses.map(([keypoints, score]) => {
            const degrees = measure(keypoints, score, EXERCISES[given.name]);
            state = count(state, degrees, EXERCISES[given.name]);
            return [degrees ?? -1, state.done, state.ready ? 1 : 0];
          });"""
        np.testing.assert_allclose(
            in_node(node, script, {"name": name, "poses": poses}, tmp_path), wanted, rtol=1e-9
        )


@pytest.mark.parametrize("side", [90.0, 224.0, 301.5, 640.0, 1700.0])
def test_the_crop_is_the_same_to_two_levels(node, tmp_path, side):
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
      return [...cut({ data, width: 640, height: 480 }, { center: given.center, side: given.side }, 224)];"""
    given = {"file": str(tmp_path / "frame.bin"), "center": center.tolist(), "side": side}
    got = np.reshape(in_node(node, script, given, tmp_path), (224, 224, 3))
    error = np.abs(got - wanted)
    assert error.mean() < 0.5
    assert np.quantile(error, 0.999) <= 4  # OpenCV rounds places to 1/32 px


def test_the_clip_is_cut_apart_at_its_pictures(node, tmp_path):
    data = (WEB / "clip.mjpeg").read_bytes()
    wanted = json.loads((WEB / "clip.json").read_text())
    script = "return cutApart(new Uint8Array(readFileSync(given)));"
    ends = in_node(node, script, str(WEB / "clip.mjpeg"), tmp_path)
    assert len(ends) == len(wanted["keypoints"]) and ends[0][0] == 0 and ends[-1][1] == len(data)
    start, end = ends[7]
    assert cv2.imdecode(np.frombuffer(data[start:end], np.uint8), cv2.IMREAD_COLOR).shape == (
        240,
        320,
        3,
    )
