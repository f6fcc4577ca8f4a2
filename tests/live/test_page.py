"""The page in a browser with a camera that shows the clip: joints, errors, requests."""

import base64
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from javascript import in_node
from page_lab import CLIP, fake_worker, hosting, mount_widget, open_page, serving
from test_offline import outside

from posekit import geometry
from posekit.inference import predictor
from posekit.live import server, video
from posekit.notebook.checks.ch15 import arm_poses

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def model_file() -> Path:
    """The model of the page."""
    return server.model_file()


@pytest.fixture(scope="module")
def minidome_file(tmp_path_factory) -> Path:
    """A model that is accurate on MiniDome, to compare the page with the true keypoints."""
    from posekit.inference import export

    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(export.to_onnx(predictor.load("minidome")))
    return path


@pytest.fixture(scope="module")
def address(model_file):
    with serving(model_file) as address:
        yield address


def status(page) -> str:
    return page.locator(".syp-status").inner_text()


def keep(page, count: int) -> list[dict]:
    page.evaluate(f"window.wanted = {count}")
    page.wait_for_function(f"window.kept?.length >= {count}")
    return page.evaluate("window.kept")


def frame_of(pose: dict) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(pose["png"].split(",")[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def largest_difference(pose: dict, loaded) -> float:
    """Largest distance between the page's joints and Python's in one crop, per side of the crop."""
    crop = pose["crop"]
    frame = frame_of(pose)
    affine = geometry.crop_affine(np.array(crop["center"]), crop["side"], 224)
    out = loaded.predict_crops(geometry.warp(frame, affine, (224, 224))[None])
    joints = geometry.apply_affine(
        geometry.invert(affine), geometry.decode_keypoints(out["keypoints"][0], (224, 224))
    )
    np.testing.assert_allclose(pose["score"], out["score"][0], atol=0.03)
    assert pose["presence"] == pytest.approx(float(out["presence"][0]), abs=0.03)
    return float(np.abs(np.reshape(pose["raw"], (17, 2)) - joints).max() / crop["side"])


def test_the_camera_s_joints_are_python_s_and_the_truth_s(with_camera, minidome_file):
    loaded = predictor.load(minidome_file)
    frames = [frame.astype(np.int16) for frame, _ in video.frames(CLIP)]
    truth = np.array(json.loads((server.WEB / "clip.json").read_text())["keypoints"])
    with serving(minidome_file) as address, open_page(with_camera, address) as page:
        page.click("[data-do=camera]")
        poses = keep(page, 12)
        page.click("[data-do=stop]")
        assert "Stopped" in status(page)
        assert page.wrong == [] and outside(page.asked, address) == []
    errors = []
    for pose in poses:
        assert largest_difference(pose, loaded) <= 0.01
        seen = cv2.resize(frame_of(pose), (320, 240), interpolation=cv2.INTER_AREA).astype(np.int16)
        apart = [np.abs(seen - frame).mean() for frame in frames]
        joints = truth[int(np.argmin(apart))]
        assert min(apart) < 6  # the camera's frames are the clip's
        scale = frame_of(pose).shape[1] / 320
        torso = np.linalg.norm(joints[5, :2] - joints[12, :2])
        errors.append(
            np.linalg.norm(np.reshape(pose["raw"], (17, 2)) / scale - joints[:, :2], axis=1) / torso
        )
    assert np.median(errors) < 0.2


def test_the_clip_plays_counts_and_stops(with_camera, address, model_file):
    with open_page(with_camera, address) as page:
        page.click("[data-do=clip]")
        page.select_option("[name=exercise]", "arm raises")
        page.wait_for_function("window.last?.done >= 1")
        assert page.locator(".syp-count").inner_text() == str(page.evaluate("window.last.done"))
        assert largest_difference(keep(page, 1)[0], predictor.load(model_file)) <= 0.01
        page.click("[data-do=stop]")
        seen = page.evaluate("window.poses")
        page.wait_for_timeout(300)
        assert page.evaluate("window.poses") <= seen + 1
        assert page.wrong == [] and outside(page.asked, address) == []


@pytest.mark.parametrize(
    ("score", "done"), [(predictor.DRAW_THRESHOLD - 0.02, 0), (predictor.DRAW_THRESHOLD + 0.02, 1)]
)
def test_the_page_counts_with_joints_from_the_drawing_threshold_on(
    with_camera, address, score, done
):
    down = arm_poses(np.array([10.0]), np.array([10.0]))[0].ravel().tolist()
    up = arm_poses(np.array([150.0]), np.array([150.0]))[0].ravel().tolist()
    poses = [{"keypoints": joints, "score": [score] * 17} for joints in (down, down, up)]
    with open_page(with_camera, address) as page:
        fake_worker(page, poses)
        page.select_option("[name=exercise]", "arm raises")
        page.click("[data-do=clip]")
        page.wait_for_function("window.poses >= 5")
        assert page.evaluate("window.last.done") == done
        assert page.locator(".syp-count").inner_text() == str(done)


def test_nothing_is_loaded_before_a_button_is_pressed(with_camera, address):
    with open_page(with_camera, address) as page:
        page.wait_for_timeout(300)
        assert not [
            url
            for url in page.asked
            if "/ort/" in url or url.endswith((".onnx", ".mjpeg", "worker.js"))
        ]
        assert "is loaded when you press" in status(page)
        poster = page.locator(".syp-poster")
        assert poster.is_visible() and poster.evaluate("image => image.naturalWidth") == 640
        assert not page.locator(".syp canvas").is_visible()


def test_the_camera_can_be_started_while_the_clip_plays(with_camera, address):
    with open_page(with_camera, address) as page:
        page.click("[data-do=clip]")
        page.wait_for_function("window.poses > 2")
        assert not page.locator(".syp-poster").is_visible()
        assert page.is_disabled("[data-do=clip]") and page.is_enabled("[data-do=camera]")
        page.click("[data-do=camera]")
        page.wait_for_function("window.last.kind === 'camera'")
        assert page.is_disabled("[data-do=camera]") and page.is_enabled("[data-do=clip]")
        assert page.evaluate("document.activeElement.dataset.do") == "stop"
        page.click("[data-do=stop]")
        assert page.is_enabled("[data-do=camera]") and page.is_disabled("[data-do=stop]")


def test_the_page_keeps_to_its_own_policy(with_camera, address):
    """With the server's content security policy in force, which `bypass_csp` lifts elsewhere."""
    page = with_camera.new_context(permissions=["camera"]).new_page()
    wrong = []
    page.on(
        "console", lambda message: wrong.append(message.text) if message.type == "error" else None
    )
    page.goto(address)
    page.locator("[data-do=clip]").click()
    page.locator(".syp-status", has_text="tracking").wait_for(timeout=90_000)
    assert wrong == []
    page.context.close()


def test_an_image_that_is_chosen_and_one_that_is_dropped(
    with_camera, address, model_file, tmp_path
):
    frame, _ = next(iter(video.frames(CLIP)))
    (tmp_path / "person.png").write_bytes(cv2.imencode(".png", frame[:, :, ::-1])[1].tobytes())
    (tmp_path / "text.jpg").write_text("no image")
    drop = """async ([name, data]) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name, { type: "image/png" }));
      const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
      document.querySelector(".syp-stage").dispatchEvent(new DragEvent("drop", options));
    }"""
    with open_page(with_camera, address) as page:
        page.evaluate("window.wanted = 9")
        page.set_input_files(".syp input[type=file]", tmp_path / "person.png")
        page.wait_for_function("window.kept?.length >= 1")
        data = base64.b64encode((tmp_path / "person.png").read_bytes()).decode()
        page.evaluate(drop, ["person.png", data])
        page.wait_for_function("window.kept?.length >= 2")
        assert "A person was found" in status(page)
        chosen, dropped = page.evaluate("window.kept")
        assert chosen["raw"] == dropped["raw"]
        assert largest_difference(chosen, predictor.load(model_file)) <= 0.01
        page.set_input_files(".syp input[type=file]", tmp_path / "text.jpg")
        page.locator(".syp-status", has_text="text.jpg is no image").wait_for()
        page.locator("[data-do=camera]:enabled").wait_for()


def test_permission_denied(with_camera, address):
    with open_page(with_camera, address, allowed=False) as page:
        page.click("[data-do=camera]")
        page.locator(".syp-wrong", has_text="Permission to use the camera was denied").wait_for()
        page.locator("[data-do=camera]:enabled").wait_for()
        assert not [url for url in page.asked if url.endswith(".onnx")]


def test_no_camera(without_camera, address):
    with open_page(without_camera, address) as page:
        page.click("[data-do=camera]")
        page.locator(".syp-wrong", has_text="No camera was found").wait_for()
        page.click("[data-do=clip]")  # and the rest goes on
        page.wait_for_function("window.poses > 2")


def test_an_origin_that_gets_no_camera(without_camera):
    with (
        hosting(server.WEB) as base,
        open_page(
            without_camera, base.replace("127.0.0.1", "elsewhere.test"), allowed=False
        ) as page,
    ):
        page.click("[data-do=camera]")
        page.locator(".syp-wrong", has_text="only on pages from https").wait_for()


WATCHED = """() => {
  const media = navigator.mediaDevices, open = media.getUserMedia.bind(media);
  media.getUserMedia = async (wanted) => (window.stream = await open(wanted));
}"""
NEVER_PLAYS = """() => {
  HTMLMediaElement.prototype.play = () => { window.asked = true; return new Promise(() => {}); };
}"""
NO_FRAME = """() => {
  HTMLVideoElement.prototype.requestVideoFrameCallback = () => { window.asked = true; };
}"""


def off(page):
    """Waits until every track of the camera has ended."""
    page.wait_for_function(
        "window.stream.getTracks().every((track) => track.readyState === 'ended')"
    )


def test_stop_switches_off_a_camera_that_shows_nothing_yet_and_the_keyboard_keeps_its_place(
    with_camera, address
):
    with open_page(with_camera, address) as page:
        page.evaluate(WATCHED)
        page.evaluate(NEVER_PLAYS)
        page.focus("[data-do=camera]")
        page.keyboard.press("Enter")
        page.wait_for_function("window.asked")
        assert page.evaluate("document.activeElement.dataset.do") == "stop"
        page.keyboard.press("Enter")
        assert (
            "The camera is off" in status(page)
            and page.evaluate("document.activeElement.dataset.do") == "camera"
        )
        off(page)
        assert page.wrong == []


def test_a_camera_that_gives_no_image_is_named_and_switched_off(with_camera, address):
    """A page in the background gets no frames either: there it waits."""
    with open_page(with_camera, address) as page:
        page.clock.install()
        page.evaluate(WATCHED)
        page.evaluate(NO_FRAME)
        page.click("[data-do=camera]")
        page.wait_for_function("window.asked")
        page.uncheck("[name=mirror]")  # nothing is drawn yet
        page.evaluate(
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true }); 0"
        )
        page.clock.run_for(30_000)
        assert "gives no image" not in status(page)
        page.evaluate("delete document.hidden")
        page.clock.run_for(11_000)
        page.locator(".syp-wrong", has_text="gives no image").wait_for()
        off(page)
        assert page.wrong == []


def test_the_widget_names_a_camera_that_gives_no_image(with_camera, address):
    with open_page(with_camera, address) as page:
        page.clock.install()
        page.evaluate(WATCHED)
        page.evaluate(NEVER_PLAYS)
        mount_widget(page)
        page.clock.run_for(100)
        page.wait_for_function("window.asked")
        page.clock.run_for(11_000)
        page.locator(".posekit-webcam", has_text="another program may be using it").wait_for()
        off(page)
        assert page.wrong == []


FAULTS = {
    "NotAllowedError": "denied",
    "SecurityError": "denied",
    "NotFoundError": "not_found",
    "OverconstrainedError": "not_found",
    "NotReadableError": "in_use",
    "AbortError": "in_use",
    "StrangeError": "other",
}


def test_page_and_widget_say_the_same_of_every_fault_of_a_camera(with_camera, address, tmp_path):
    sentences = in_node("return CAMERA_ERRORS;", None, tmp_path)
    assert set(FAULTS.values()) < set(sentences)
    with open_page(with_camera, address) as page:
        for name, reason in FAULTS.items():
            page.evaluate(
                """(name) => {
                  navigator.mediaDevices.getUserMedia = async () => {
                    throw new DOMException("broken", name);
                  };
                }""",
                name,
            )
            wanted = sentences[reason].replace("{detail}", f"{name}: broken")
            page.click("[data-do=camera]")
            page.locator(".syp-wrong", has_text=wanted).wait_for()
            assert status(page).startswith(wanted)
            mount_widget(page)
            root = page.locator(".posekit-webcam").last
            page.wait_for_function(
                "[...document.querySelectorAll('.posekit-webcam')].at(-1).dataset.state"
                f" === 'failed {reason}'"
            )
            assert root.locator("[role=status]").inner_text() == f"{wanted} The camera is off."


def test_a_camera_that_cannot_be_opened_is_off_when_the_error_arrives(with_camera, address):
    """Without the caller's help."""
    with open_page(with_camera, address) as page:
        page.evaluate(WATCHED)
        reason, states = page.evaluate("""async () => {
          const fail = new DOMException("", "AbortError");
          HTMLMediaElement.prototype.play = () => Promise.reject(fail);
          const { openCamera } = await import("./core/camera.js");
          const ignore = () => {};
          try {
            await openCamera({ deviceId: "", onOpen: ignore, onEnded: ignore });
          } catch (error) {
            return [error.reason, window.stream.getTracks().map((track) => track.readyState)];
          }
        }""")
        assert reason == "in_use" and states == ["ended"]


def test_unplugged(with_camera, address):
    with open_page(with_camera, address) as page:
        page.evaluate(WATCHED)
        page.click("[data-do=camera]")
        page.wait_for_function("window.poses > 2")
        page.evaluate("window.stream.getVideoTracks()[0].dispatchEvent(new Event('ended'))")
        page.locator(".syp-status", has_text="unplugged").wait_for()
        assert page.evaluate("window.stream.getVideoTracks()[0].readyState") == "ended"
        page.locator("[data-do=camera]:enabled").click()
        seen = page.evaluate("window.poses")
        page.wait_for_function(f"window.poses > {seen + 2}")


def test_a_model_that_is_missing_is_named(with_camera, address):
    with open_page(with_camera, address) as page:
        page.route("**/model.onnx", lambda route: route.fulfill(status=404))
        page.click("[data-do=clip]")
        page.locator(".syp-wrong", has_text="/model.onnx: 404").wait_for()
        page.unroute("**/model.onnx")
        page.locator("[data-do=clip]:enabled").click()
        page.wait_for_function("window.poses > 2")


def test_two_starts_that_wait_for_one_load_both_fail_with_its_error(with_camera, address):
    with open_page(with_camera, address) as page:
        held = []
        page.route("**/model.onnx", lambda route: held.append(route))
        page.click("[data-do=clip]")
        while not held:
            page.wait_for_timeout(50)
        page.click("[data-do=stop]")
        with page.expect_response("**/clip.mjpeg"):
            page.click("[data-do=clip]")
        page.wait_for_timeout(500)  # now it waits, too
        held[0].fulfill(status=404)
        page.locator(".syp-wrong", has_text="/model.onnx: 404").wait_for()


def test_the_keyboard_and_a_screen_reader_get_everywhere(with_camera, address):
    with open_page(with_camera, address) as page:
        names = []
        for _ in range(8):
            page.keyboard.press("Tab")
            names.append(
                page.evaluate(
                    "(({ textContent, name, type }) => textContent.trim() || name || type)"
                    "(document.activeElement)"
                )
            )
        assert any("Start the camera" in n for n in names) and "file" in names and "mirror" in names
        unnamed = page.evaluate("""() => {
          const hasText = (e) => e.tagName === "BUTTON" && e.textContent.trim();
          const isNamed = (e) => hasText(e) || e.labels?.length;
          const controls = [...document.querySelectorAll(".syp :is(button, input, select)")];
          return controls.filter((e) => !e.closest("[hidden]") && !isNamed(e)).length;
        }""")
        assert unnamed == 0
        assert page.locator("[role=status][aria-live=polite]").count() == 1
        page.focus("[data-do=clip]")
        page.keyboard.press("Enter")
        page.wait_for_function("window.poses > 2")
        assert page.locator("canvas").get_attribute("aria-label")


def test_the_mirror_is_display_only(with_camera, minidome_file):
    with serving(minidome_file) as address, open_page(with_camera, address) as page:
        page.click("[data-do=camera]")
        left, right = np.reshape(keep(page, 1)[0]["keypoints"], (17, 2))[[5, 6], 0]
        assert left > right  # facing the camera, the left shoulder is at the right of the image
        page.uncheck("[name=mirror]")
        page.evaluate("window.kept = []")
        left, right = np.reshape(keep(page, 1)[0]["keypoints"], (17, 2))[[5, 6], 0]
        assert left > right


def test_the_book_s_page_works_under_a_sub_path(with_camera, built_book, model_file, tmp_path):
    site = tmp_path / "some" / "where"
    shutil.copytree(built_book / "_build" / "html", site)
    assert sum(path.stat().st_size for path in (site / "live").rglob("*")) <= 25e6
    with (
        hosting(tmp_path) as base,
        open_page(
            with_camera,
            f"{base}some/where/book/see_your_pose.html",
            viewport={"width": 390, "height": 844},
        ) as page,
    ):
        page.click("[data-do=camera]")
        assert largest_difference(keep(page, 1)[0], predictor.load(model_file)) <= 0.01
        width, seen = page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert width <= seen and page.wrong == [] and outside(page.asked, base) == []


def test_opened_as_a_file_the_book_s_page_says_what_to_do(with_camera, built_book):
    page = with_camera.new_page()
    page.goto((built_book / "_build" / "html" / "book" / "see_your_pose.html").as_uri())
    assert "python -m http.server" in page.locator("#see-your-pose").inner_text()
    page.close()


@pytest.mark.slow
def test_a_hundred_starts_and_stops_in_the_page(with_camera, address):
    with open_page(with_camera, address) as page:
        page.evaluate("""() => {
          window.streams = [];
          const media = navigator.mediaDevices, open = media.getUserMedia.bind(media);
          media.getUserMedia = async (wanted) => {
            const stream = await open(wanted);
            window.streams.push(stream);
            return stream;
          };
        }""")
        for _ in range(100):
            seen = page.evaluate("window.poses")
            page.click("[data-do=camera]")
            page.wait_for_function(f"window.poses > {seen + 1}")
            page.click("[data-do=stop]")
        assert page.evaluate("window.streams.length") == 100
        assert page.evaluate(
            "window.streams.every((s) => s.getTracks().every((t) => t.readyState === 'ended'))"
        )
        assert len(page.workers) == 1 and page.wrong == []
