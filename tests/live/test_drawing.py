"""Skeletons on a canvas: every limb, in its colour, from the threshold on; on page and widget."""

import base64

import cv2
import numpy as np
import pytest
from javascript import in_node
from page_lab import fake_worker, mount_widget, open_page, serving
from square_predictor import SquarePredictor

from posekit import live, viz
from posekit.inference.predictor import DRAW_THRESHOLD
from posekit.live import server
from posekit.skeleton import COCO17

WIDTH = 320
HEIGHT = 240
RECORD = """
      const calls = [];
      const context = {
        canvas: { width: given.width, height: given.height },
        beginPath() {}, stroke() { calls.push(["line", this.from, this.to, this.strokeStyle]); },
        moveTo(x, y) { this.from = [x, y]; }, lineTo(x, y) { this.to = [x, y]; },
        arc(x, y, radius) { this.from = [x, y]; this.radius = radius; },
        fill() { calls.push(["dot", this.from, this.radius, this.fillStyle]); },
      };
      drawSkeleton(context, given.keypoints, given.score, constants, given.options);
      return calls;"""


@pytest.fixture(scope="module")
def keypoints() -> np.ndarray:
    """17 joints far enough apart that every limb's middle and every joint can be seen."""
    rng = np.random.default_rng(11)
    best = None
    for _ in range(3000):
        points = rng.uniform((20, 20), (WIDTH - 20, HEIGHT - 20), (17, 2))
        middles = np.array([points[[a, b]].mean(axis=0) for a, b in COCO17.limb_indices])
        marks = np.concatenate([points, middles])
        gaps = np.linalg.norm(marks[:, None] - marks[None], axis=-1) + 1e3 * np.eye(len(marks))
        if best is None or gaps.min() > best[0]:
            best = gaps.min(), points
    return best[1]


def calls(tmp_path, keypoints, score, **options) -> tuple[list, list]:
    """Coloured lines {(a, b): colour} and dots {joint: colour} on a canvas, by their places."""
    given = {"keypoints": keypoints.ravel().tolist(), "score": list(score), "options": options}
    scale = options.get("scale", 1)
    given |= {"width": WIDTH * scale, "height": HEIGHT * scale}
    lines = {}
    dots = {}

    def joint(xy) -> int:
        distances = np.abs((keypoints + 0.5) * scale - xy).max(axis=1)
        assert distances.min() < 1e-6
        return int(np.argmin(distances))

    for kind, a, b, colour in in_node(RECORD, given, tmp_path):
        if kind == "line":
            lines.setdefault((joint(a), joint(b)), []).append(colour)
        else:
            dots.setdefault(joint(a), []).append(colour)
    return lines, dots


@pytest.mark.parametrize("scale", [1, 2])
def test_every_limb_and_joint_is_drawn_over_a_white_halo(tmp_path, keypoints, scale):
    lines, dots = calls(tmp_path, keypoints, np.ones(17), scale=scale)
    wanted = zip(COCO17.limb_indices, viz.limb_colours(), strict=True)
    assert lines == {limb: ["#FFFFFF", colour] for limb, colour in wanted}
    assert dots == {j: ["#FFFFFF", colour] for j, colour in enumerate(viz.joint_colours())}


@pytest.mark.parametrize("threshold", [None, 0.6])
def test_a_joint_is_drawn_from_the_threshold_on_and_a_limb_with_both_its_joints(
    tmp_path, keypoints, threshold
):
    options = {} if threshold is None else {"threshold": threshold}
    limit = threshold or DRAW_THRESHOLD
    for hidden in range(17):
        score = np.full(17, limit)
        score[hidden] = limit - 1e-6
        lines, dots = calls(tmp_path, keypoints, score, **options)
        assert set(dots) == set(range(17)) - {hidden}
        assert set(lines) == {limb for limb in COCO17.limb_indices if hidden not in limb}


def test_a_run_draws_joints_from_the_threshold_on():
    """`live.run` in Python, with scores just above and just below."""
    above = np.arange(17) % 2 == 0

    class Model(SquarePredictor):
        def predict_crops(self, crops, flip=False):
            spots = np.random.default_rng(5).uniform(-0.3, 0.3, (1, 17, 2)).astype(np.float32)
            score = np.where(above, DRAW_THRESHOLD + 0.01, DRAW_THRESHOLD - 0.01)[None]
            presence = np.array([0.9], np.float32)
            return {"keypoints": spots, "visibility": score, "score": score, "presence": presence}

    frames = []
    live.run(server.WEB / "clip.mjpeg", Model(), lambda drawn, pose: frames.append((drawn, pose)))
    drawn, pose = frames[0]
    assert not pose.lost
    first = next(live.video.frames(server.WEB / "clip.mjpeg"))[0]
    wanted = viz.draw_on_image(first, pose.keypoints, above)
    np.testing.assert_array_equal(drawn, wanted)
    assert not np.array_equal(drawn, first)


# ---- in the browser: what the page and the widget put on their canvas -------


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def share_in_colour(canvas: np.ndarray, a: np.ndarray, b: np.ndarray, colour: str) -> float:
    """Share of the points between two places that have a colour."""
    points = np.round(a + np.linspace(0, 1, 50)[:, None] * (b - a)).astype(int)
    apart = np.abs(canvas[points[:, 1], points[:, 0]].astype(int) - rgb(colour)).max(axis=1)
    return float((apart < 60).mean())


def check_canvas(canvas: np.ndarray, keypoints: np.ndarray, score: np.ndarray) -> None:
    """The canvas shows the joints and limbs from the threshold on, as Python draws them."""
    drawn = score >= DRAW_THRESHOLD
    for j, colour in enumerate(viz.joint_colours()):
        if drawn[j]:
            assert share_in_colour(canvas, keypoints[j], keypoints[j], colour) == 1, j
    for (a, b), colour in zip(COCO17.limb_indices, viz.limb_colours(), strict=True):
        if drawn[a] and drawn[b]:  # other limbs may cross it
            assert share_in_colour(canvas, keypoints[a], keypoints[b], colour) > 0.5, (a, b)
    in_python = viz.draw_on_image(np.zeros_like(canvas), keypoints, drawn).any(axis=-1)
    reach = cv2.dilate(in_python.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not (canvas[~reach] > 40).any(), "something is drawn that Python does not draw"


SCORES = {
    "all": np.ones(17),
    "just above and below": np.where(
        np.arange(17) % 3 == 0, DRAW_THRESHOLD - 0.02, DRAW_THRESHOLD + 0.02
    ),
    "none": np.full(17, DRAW_THRESHOLD - 0.02),
}


@pytest.mark.browser
@pytest.mark.parametrize("name", SCORES)
def test_the_page_s_canvas_is_what_python_draws(with_camera, tmp_path, keypoints, name):
    score = SCORES[name]
    pose = {"keypoints": keypoints.ravel().tolist(), "score": score.tolist()}
    (tmp_path / "black.png").write_bytes(
        cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    )
    with serving(server.model_file()) as address, open_page(with_camera, address) as page:
        fake_worker(page, [pose])
        page.set_input_files(".syp input[type=file]", tmp_path / "black.png")
        page.wait_for_function("window.poses >= 1")
        assert page.wrong == []
        data = page.evaluate("document.querySelector('.syp canvas').toDataURL('image/png')")
    check_canvas(decode(data), keypoints, score)


@pytest.mark.browser
@pytest.mark.parametrize("name", SCORES)
def test_the_widget_s_canvas_is_what_python_draws(with_camera, keypoints, name):
    """With a camera that shows black, and a kernel that answers with this pose."""
    score = SCORES[name]
    pose = {"keypoints": keypoints.tolist(), "score": score.tolist(), "lost": False}
    pose |= {"milliseconds": {"kernel": 0}}
    black = """() => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 240 });
      const context = canvas.getContext("2d");
      setInterval(() => context.fillRect(0, 0, 320, 240), 20);
      navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(30);
    }"""
    with serving(server.model_file()) as address, open_page(with_camera, address) as page:
        page.evaluate(black)
        mount_widget(page, pose)
        canvas = ".posekit-webcam canvas"
        page.wait_for_function(f"document.querySelector('{canvas}').dataset.frame > 1")
        assert page.wrong == []
        data = page.evaluate(f"document.querySelector('{canvas}').toDataURL('image/png')")
    check_canvas(decode(data), keypoints, score)


def decode(data: str) -> np.ndarray:
    """Pixels (H, W, 3) uint8 RGB of a data URL."""
    encoded = np.frombuffer(base64.b64decode(data.split(",")[1]), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)
