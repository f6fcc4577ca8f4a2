"""The camera widget in JupyterLab, in a browser: pixels, skeleton, and every error's sentence."""

import base64
import io
import os
import signal

import numpy as np
import pytest
from browser import find_chromium
from live_lab import (
    ALLOWED,
    ARGUMENTS,
    CAMERA,
    Lab,
    as_sent,
    jupyter,
    make_clip,
    notebook,
    number_on,
)

from posekit import geometry, live, viz
from posekit.inference import predictor

pytestmark = pytest.mark.browser

WIDGET = """
import numpy as np
from posekit import live
seen = []
def keep(frame, pose):
    seen.append((frame, pose, webcam._tracker.state.seconds))
webcam = live.Webcam("minidome", on_frame=keep)
webcam
"""
SAVE = """
frames, poses, seconds = zip(*seen)
arrays = {name: [getattr(p, name) for p in poses] for name in ("keypoints", "score", "bbox")}
np.savez("seen.npz", frames=frames, seconds=seconds, **arrays)
"""


@pytest.fixture(scope="module")
def chromium():
    """Launches Chromium with more arguments."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium found: install it (apt install chromium) or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = []

        def launch(*arguments):
            opened.append(
                playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *arguments])
            )
            return opened[-1]

        yield launch
        for browser in opened:
            browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    notebook(folder / "live.ipynb", [WIDGET])
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with jupyter(folder) as address:
        yield address


@pytest.fixture(scope="module")
def clip(folder):
    return make_clip(folder / "camera.y4m")


@pytest.fixture(scope="module")
def lab(chromium, address, folder, clip):
    """A notebook with the widget and a camera that shows the clip."""
    browser = chromium(*CAMERA, *ALLOWED, f"--use-file-for-fake-video-capture={folder}/camera.y4m")
    lab = Lab(browser, address, "live.ipynb")
    lab.run_cell(0)
    yield lab
    lab.close()


def start(lab) -> None:
    lab.press("Start")
    lab.wait_state("on", 120)
    assert lab.alive() == 1


def test_the_skeleton_is_pythons_and_lies_on_the_frame_that_was_scored(lab, clip, folder, address):
    start(lab)
    lab.page.wait_for_function(
        "Number(document.querySelector('.posekit-webcam canvas').dataset.frame) > 25",
        timeout=60_000,
    )
    lab.press("Stop")
    lab.wait_state("off")
    assert lab.alive() == 0
    image = lab.page.evaluate(
        "document.querySelector('.posekit-webcam canvas').toDataURL('image/png')"
    )
    last = int(lab.page.evaluate("document.querySelector('.posekit-webcam canvas').dataset.frame"))
    lab.execute(SAVE)
    seen = np.load(folder / "seen.npz")

    model = predictor.load("minidome")
    again = live.Tracker(model)
    worst = []
    for frame, keypoints, bbox, seconds in zip(
        seen["frames"], seen["keypoints"], seen["bbox"], seen["seconds"], strict=True
    ):
        np.testing.assert_allclose(again.step(frame, seconds).keypoints, keypoints, atol=0.01)
        square = geometry.crop_affine(geometry.bbox_center(bbox), bbox[2], 224)
        original = as_sent(clip[number_on(frame)])
        crops = np.stack([geometry.warp(image, square, (224, 224)) for image in (frame, original)])
        worst.append(np.abs(np.subtract(*model.predict_crops(crops)["keypoints"])).max())
    assert max(worst) <= 0.015, (
        "shares of the crop: the browser's frame leads to another pose than the file's"
    )

    from PIL import Image

    canvas = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(image.split(",")[1]))).convert("RGB")
    )[:, ::-1]
    k = min(last, len(seen["frames"])) - 1
    assert number_on(canvas) == number_on(seen["frames"][k]), (
        "drawn over another frame than was scored"
    )
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in viz.joint_colours()])
    sure = np.flatnonzero(seen["score"][k] >= predictor.DRAW_THRESHOLD)
    at = np.round(
        (seen["keypoints"][k] + 0.5) * canvas.shape[1] / seen["frames"].shape[2] - 0.5
    ).astype(int)
    inside = [
        j for j in sure if 0 <= at[j][0] < canvas.shape[1] and 0 <= at[j][1] < canvas.shape[0]
    ]
    drawn = [np.abs(canvas[at[j][1], at[j][0]].astype(int) - colours[j]).max() < 40 for j in inside]
    assert np.mean(drawn) > 0.7, "joints are drawn where they were found, some over others"
    assert [url for url in lab.asked if not url.startswith((address, "blob:", "data:"))] == []


def test_it_continues_during_a_busy_cell_and_says_when_no_answer_comes(lab):
    start(lab)
    before = lab.frame()
    lab.execute("import time; time.sleep(3)")
    assert lab.frame() > before + 2, "the kernel answers from another thread"
    lab.execute("webcam.camera_widget.kernel_timeout_s, webcam._frame = 1.5, lambda *given: None")
    sentence = lab.wait_state("failed busy")
    assert "has not answered for" in sentence and "camera is off" in sentence and lab.alive() == 0
    lab.execute("del webcam._frame; webcam.camera_widget.kernel_timeout_s = 15")


def test_an_error_in_the_kernel_is_said_and_the_next_start_works(lab):
    lab.execute("webcam.on_frame = lambda frame, pose: 1 / 0")
    lab.press("Start")
    assert "ZeroDivisionError: division by zero" in lab.wait_state("failed score", 60)
    assert lab.alive() == 0
    lab.execute("webcam.on_frame = None")
    start(lab)
    lab.press("Stop")
    lab.wait_state("off")


FAULTS = {
    "unplugged": """for (const track of streams.at(-1).getTracks()) {
      track.stop();
      track.dispatchEvent(new Event("ended"));
    }""",
    "in_use": """navigator.mediaDevices.getUserMedia = async () => {
      throw new DOMException("in use", "NotReadableError");
    }; 0""",
    "vscode": "document.body.dataset.vscodeThemeKind = 'vscode-dark'",
}
UNDO = "delete document.body.dataset.vscodeThemeKind; delete navigator.mediaDevices.getUserMedia"


def test_every_fault_of_the_camera_has_its_sentence_and_leaves_it_off(lab):
    words = {"unplugged": "unplugged", "in_use": "another program", "vscode": "VS Code"}
    for fault, script in FAULTS.items():
        if fault == "unplugged":
            start(lab)
        lab.page.evaluate(script)
        if fault != "unplugged":
            lab.press("Start")
        assert words[fault] in lab.wait_state(f"failed {fault}"), fault
        assert lab.alive() == 0, fault
    lab.page.evaluate(UNDO)
    lab.page.evaluate("window.rewatch(); 0")


def test_snapshot_and_recording_come_as_downloads(lab, tmp_path):
    start(lab)
    with lab.page.expect_download(timeout=20_000) as image:
        lab.press("Snapshot")
    assert image.value.suggested_filename.startswith(
        "pose-"
    ) and image.value.suggested_filename.endswith(".png")
    lab.press("Record")
    lab.page.wait_for_timeout(1000)
    with lab.page.expect_download(timeout=20_000) as film:
        lab.press("Record")
    path = tmp_path / film.value.suggested_filename
    film.value.save_as(path)
    assert path.stat().st_size > 1000
    lab.press("Stop")
    lab.wait_state("off")


def test_the_camera_goes_off_with_its_output_with_a_new_run_and_with_the_kernel(lab):
    start(lab)
    lab.run_cell(0)
    lab.page.wait_for_function("window.tracksAlive() === 0", timeout=20_000)
    start(lab)
    lab.page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
    lab.page.wait_for_function("window.tracksAlive() === 0", timeout=20_000)
    lab.run_cell(0)
    start(lab)
    lab.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    sentence = lab.wait_state("failed kernel", 60)
    assert "restarted or is gone" in sentence and "Run this cell again" in sentence
    assert lab.alive() == 0
    lab.press("Start")  # and pressed all the same
    lab.wait_state("failed kernel", 60)
    lab.page.wait_for_function("window.tracksAlive() === 0", timeout=20_000)


@pytest.mark.slow
@pytest.mark.fault("kernel")
def test_the_camera_goes_off_when_the_kernel_is_killed(lab):
    """kill -9 of the kernel's process; the next run of the cell works again."""
    lab.run_cell(0)
    start(lab)
    os.kill(int(lab.execute("import os; print(os.getpid())")), signal.SIGKILL)
    sentence = lab.wait_state("failed kernel", 60)
    assert "restarted or is gone" in sentence and lab.alive() == 0
    lab.page.locator(".jp-Dialog button.jp-mod-accept").click()  # "Kernel Restarting"
    lab.page.wait_for_function(
        """() => {
          const { session } = jupyterapp.shell.currentWidget.sessionContext;
          return session?.kernel?.status === "idle";
        }""",
        timeout=60_000,
    )
    lab.run_cell(0)
    start(lab)
    lab.press("Stop")
    lab.wait_state("off")
    assert lab.alive() == 0


@pytest.mark.parametrize(
    ("arguments", "host", "state", "words"),
    [
        (CAMERA, "127.0.0.1", "failed denied", "Permission to use the camera was denied"),
        (ALLOWED, "127.0.0.1", "failed not_found", "No camera was found"),
        (
            CAMERA + ALLOWED,
            "elsewhere.test",
            "failed insecure",
            "this page came from http://elsewhere.test",
        ),
    ],
    ids=["denied", "no camera", "insecure"],
)
def test_without_permission_camera_or_a_safe_origin_it_says_so(
    chromium, address, folder, arguments, host, state, words
):
    name = f"{state[7:]}.ipynb"
    notebook(folder / name, ["from posekit import live\nlive.Webcam()"])
    lab = Lab(chromium(*arguments), address.replace("127.0.0.1", host), name)
    lab.run_cell(0)
    lab.press("Start")
    assert words in lab.wait_state(state, 60)
    assert lab.alive() == 0
    assert lab.page.locator(".jp-OutputArea .jupyter-button").first.inner_text().strip() == "Start"
    lab.close()


@pytest.mark.slow
def test_a_hundred_starts_and_stops_leave_nothing_behind(lab):
    lab.run_cell(0)

    def left() -> tuple:
        heap = lab.page.evaluate("(window.gc?.(), performance.memory.usedJSHeapSize)")
        return (
            lab.page.evaluate("document.querySelectorAll('*').length"),
            heap,
            int(lab.execute("import threading; print(threading.active_count())")),
        )

    for k in range(100):
        start(lab)
        lab.press("Stop")
        lab.wait_state("off")
        if k == 9:
            nodes, heap, threads = left()
    nodes_after, heap_after, threads_after = left()
    assert lab.alive() == 0
    assert nodes_after <= nodes + 5 and threads_after <= threads + 1
    assert heap_after < heap + 30e6
