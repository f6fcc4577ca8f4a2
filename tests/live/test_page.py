"""The demo in a real browser with a made camera: the joints are Python's, each failure has its words, nothing goes outside."""

import base64
import contextlib
import functools
import http.server
import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_offline import ARGUMENTS, find_chromium, outside

from posekit import geometry
from posekit.inference import predictor
from posekit.live import server, video, widget

pytestmark = pytest.mark.browser

CLIP = server.WEB / "clip.mjpeg"
CAMERA = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={CLIP}"]
LISTEN = """() => {
  window.poses = 0;
  window.wanted = 0;
  document.getElementById("see-your-pose").addEventListener("pose", ({ detail }) => {
    window.poses++;
    window.last = { kind: detail.kind, lost: detail.pose.lost, presence: detail.pose.presence, fps: detail.fps, number: detail.number, done: detail.counted.done };
    if (window.wanted > 0 && !detail.pose.lost) {
      window.wanted--;
      (window.kept ??= []).push({ ...detail.pose, number: detail.number, png: detail.frame.toDataURL("image/png") });
    }
  });
}"""


@pytest.fixture(scope="module")
def model_file() -> Path:
    """The model of the page."""
    return server.model_file()


@pytest.fixture(scope="module")
def minidome_file(tmp_path_factory) -> Path:
    """A model that knows MiniDome's people well, to hold the page against the truth."""
    from posekit.inference import export

    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(export.to_onnx(predictor.load("minidome")))
    return path


@contextlib.contextmanager
def serving(model: Path):
    with server.server(model) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}/"
        one.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def hosting(folder: Path):
    """A folder under any name that leads here."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}/"
        one.shutdown()


@pytest.fixture(scope="module")
def address(model_file):
    with serving(model_file) as address:
        yield address


@pytest.fixture(scope="module")
def playwright():
    if find_chromium() is None:
        pytest.skip("no Chromium found: install it (apt install chromium) or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as one:
        yield one


@pytest.fixture(scope="module")
def with_camera(playwright):
    browser = playwright.chromium.launch(
        executable_path=find_chromium(), args=[*ARGUMENTS, *CAMERA]
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def without_camera(playwright):
    names = "--host-resolver-rules=MAP elsewhere.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    arguments = [a for a in ARGUMENTS if "host-resolver" not in a]
    browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*arguments, names])
    yield browser
    browser.close()


@contextlib.contextmanager
def page_of(browser, address: str, allowed: bool = True, **options):
    context = browser.new_context(
        permissions=["camera"] if allowed else [], bypass_csp=True, **options
    )
    page = context.new_page()
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on(
        "console",
        lambda message: page.wrong.append(message.text) if message.type == "error" else None,
    )
    page.set_default_timeout(90_000)
    page.goto(address)
    page.wait_for_selector("[data-do=camera]")
    page.evaluate(LISTEN)
    yield page
    context.close()


def status(page) -> str:
    return page.locator(".syp-status").inner_text()


def keep(page, count: int) -> list[dict]:
    page.evaluate(f"window.wanted = {count}")
    page.wait_for_function(f"window.kept?.length >= {count}")
    return page.evaluate("window.kept")


def picture_of(pose: dict) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(pose["png"].split(",")[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def largest_difference(pose: dict, loaded) -> float:
    """Between the page's joints and Python's on the same frame and crop, as a share of the crop's side."""
    crop, frame = pose["crop"], picture_of(pose)
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
    with serving(minidome_file) as address, page_of(with_camera, address) as page:
        page.click("[data-do=camera]")
        poses = keep(page, 12)
        page.click("[data-do=stop]")
        assert "Stopped" in status(page)
        assert page.wrong == [] and outside(page.asked, address) == []
    errors = []
    for pose in poses:
        assert largest_difference(pose, loaded) <= 0.01
        seen = cv2.resize(picture_of(pose), (320, 240), interpolation=cv2.INTER_AREA).astype(
            np.int16
        )
        apart = [np.abs(seen - frame).mean() for frame in frames]
        joints = truth[int(np.argmin(apart))]
        assert min(apart) < 6  # the camera's frames are the clip's
        scale = picture_of(pose).shape[1] / 320
        torso = np.linalg.norm(joints[5, :2] - joints[12, :2])
        errors.append(
            np.linalg.norm(np.reshape(pose["raw"], (17, 2)) / scale - joints[:, :2], axis=1) / torso
        )
    assert np.median(errors) < 0.2


def test_the_clip_plays_counts_and_stops(with_camera, address, model_file):
    with page_of(with_camera, address) as page:
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


def test_nothing_is_loaded_before_a_button_is_pressed(with_camera, address):
    with page_of(with_camera, address) as page:
        page.wait_for_timeout(300)
        assert not [
            url
            for url in page.asked
            if "/ort/" in url or url.endswith((".onnx", ".mjpeg", "worker.js"))
        ]
        assert "Nothing is loaded" in status(page)


def test_the_page_keeps_to_its_own_policy(with_camera, address):
    """With the server's content security policy in force, which `bypass_csp` lifts elsewhere."""
    page = with_camera.new_context(permissions=["camera"]).new_page()
    wrong = []
    page.on(
        "console", lambda message: wrong.append(message.text) if message.type == "error" else None
    )
    page.goto(address)
    page.locator("[data-do=clip]").click()
    page.locator(".syp-status", has_text="following").wait_for(timeout=90_000)
    assert wrong == []
    page.context.close()


def test_a_picture_that_is_chosen_and_one_that_is_dropped(
    with_camera, address, model_file, tmp_path
):
    frame, _ = next(iter(video.frames(CLIP)))
    (tmp_path / "person.png").write_bytes(cv2.imencode(".png", frame[:, :, ::-1])[1].tobytes())
    (tmp_path / "text.jpg").write_text("no picture")
    drop = """async ([name, data]) => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name, { type: "image/png" }));
      document.querySelector(".syp-stage").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }"""
    with page_of(with_camera, address) as page:
        page.evaluate("window.wanted = 9")
        page.set_input_files(".syp input[type=file]", tmp_path / "person.png")
        page.wait_for_function("window.kept?.length >= 1")
        data = base64.b64encode((tmp_path / "person.png").read_bytes()).decode()
        page.evaluate(drop, ["person.png", data])
        page.wait_for_function("window.kept?.length >= 2")
        assert "Somebody was found" in status(page)
        chosen, dropped = page.evaluate("window.kept")
        assert chosen["raw"] == dropped["raw"]
        assert largest_difference(chosen, predictor.load(model_file)) <= 0.01
        page.set_input_files(".syp input[type=file]", tmp_path / "text.jpg")
        page.locator(".syp-status", has_text="text.jpg is no picture").wait_for()
        page.locator("[data-do=camera]:enabled").wait_for()


def test_permission_denied(with_camera, address):
    with page_of(with_camera, address, allowed=False) as page:
        page.click("[data-do=camera]")
        page.locator(".syp-wrong", has_text="The camera was not allowed").wait_for()
        page.locator("[data-do=camera]:enabled").wait_for()
        assert not [url for url in page.asked if url.endswith(".onnx")]


def test_no_camera(without_camera, address):
    with page_of(without_camera, address) as page:
        page.click("[data-do=camera]")
        page.locator(".syp-wrong", has_text="No camera was found").wait_for()
        page.click("[data-do=clip]")  # and the rest goes on
        page.wait_for_function("window.poses > 2")


def test_an_origin_that_gets_no_camera(without_camera):
    with (
        hosting(server.WEB) as base,
        page_of(without_camera, base.replace("127.0.0.1", "elsewhere.test"), allowed=False) as page,
    ):
        page.click("[data-do=camera]")
        page.locator(".syp-wrong", has_text="over https").wait_for()


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
    with page_of(with_camera, address) as page:
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


def test_a_camera_that_gives_no_picture_is_named_and_switched_off(with_camera, address):
    """A page in the background gets no frames either: there it waits."""
    with page_of(with_camera, address) as page:
        page.clock.install()
        page.evaluate(WATCHED)
        page.evaluate(NO_FRAME)
        page.click("[data-do=camera]")
        page.wait_for_function("window.asked")
        page.uncheck("[name=mirror]")  # nothing is drawn yet
        page.evaluate(
            "() => { Object.defineProperty(document, 'hidden', { value: true, configurable: true }); }"
        )
        page.clock.run_for(30_000)
        assert "gives no picture" not in status(page)
        page.evaluate("delete document.hidden")
        page.clock.run_for(11_000)
        page.locator(".syp-wrong", has_text="gives no picture").wait_for()
        off(page)
        assert page.wrong == []


def test_the_widget_names_a_camera_that_gives_no_picture(with_camera, address):
    script = Path(widget.__file__).with_suffix(".js").read_text(encoding="utf-8")
    with page_of(with_camera, address) as page:
        page.clock.install()
        page.evaluate(WATCHED)
        page.evaluate(NEVER_PLAYS)
        page.evaluate(
            """async (script) => {
              const { default: make } = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
              const state = { running: false, camera: "" }, on = {}, one = make();
              one.initialize({ model: { get: (name) => state[name], set: (name, value) => { state[name] = value; },
                save_changes() {}, send() {}, on(name, call) { on[name] = call; } } });
              one.render({ el: document.body });
              state.running = true;
              on["change:running"]();
            }""",
            script,
        )
        page.clock.run_for(100)
        page.wait_for_function("window.asked")
        page.clock.run_for(11_000)
        page.locator(".posekit-webcam", has_text="another program may be using it").wait_for()
        off(page)
        assert page.wrong == []


def test_unplugged(with_camera, address):
    with page_of(with_camera, address) as page:
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
    with page_of(with_camera, address) as page:
        page.route("**/model.onnx", lambda route: route.fulfill(status=404))
        page.click("[data-do=clip]")
        page.locator(".syp-wrong", has_text="/model.onnx: 404").wait_for()
        page.unroute("**/model.onnx")
        page.locator("[data-do=clip]:enabled").click()
        page.wait_for_function("window.poses > 2")


def test_two_starts_that_wait_for_one_load_hear_why_it_failed(with_camera, address):
    with page_of(with_camera, address) as page:
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
    with page_of(with_camera, address) as page:
        names = []
        for _ in range(8):
            page.keyboard.press("Tab")
            names.append(
                page.evaluate(
                    "document.activeElement.textContent.trim() || document.activeElement.name || document.activeElement.type"
                )
            )
        assert any("Start the camera" in n for n in names) and "file" in names and "mirror" in names
        unnamed = page.evaluate("""() => [...document.querySelectorAll(".syp button, .syp input, .syp select")]
          .filter((e) => !e.closest("[hidden]") && !(e.textContent.trim() && e.tagName === "BUTTON") && !e.labels?.length).length""")
        assert unnamed == 0
        assert page.locator("[role=status][aria-live=polite]").count() == 1
        page.focus("[data-do=clip]")
        page.keyboard.press("Enter")
        page.wait_for_function("window.poses > 2")
        assert page.locator("canvas").get_attribute("aria-label")


def test_the_mirror_is_display_only(with_camera, minidome_file):
    with serving(minidome_file) as address, page_of(with_camera, address) as page:
        page.click("[data-do=camera]")
        left, right = np.reshape(keep(page, 1)[0]["keypoints"], (17, 2))[[5, 6], 0]
        assert (
            left > right
        )  # somebody who faces the camera has the left shoulder on the picture's right
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
        page_of(
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
    with page_of(with_camera, address) as page:
        page.evaluate("""() => {
          window.streams = [];
          const media = navigator.mediaDevices, open = media.getUserMedia.bind(media);
          media.getUserMedia = async (wanted) => { const s = await open(wanted); window.streams.push(s); return s; };
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
