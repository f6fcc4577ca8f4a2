"""Helpers of the browser tests of the page: servers, pages that record poses, fake workers."""

import contextlib
import functools
import http.server
import json
import threading
from pathlib import Path

from posekit.live import server, widget

CLIP = server.WEB / "clip.mjpeg"
CAMERA = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={CLIP}"]
LISTEN = """() => {
  window.poses = 0;
  window.wanted = 0;
  document.getElementById("see-your-pose").addEventListener("pose", ({ detail }) => {
    const { pose, kind, fps, number, repetitions } = detail;
    window.poses++;
    const { lost, presence } = pose;
    window.last = { kind, lost, presence, fps, number, done: repetitions.done };
    if (window.wanted > 0 && !lost) {
      window.wanted--;
      (window.kept ??= []).push({ ...pose, number, png: detail.frame.toDataURL("image/png") });
    }
  });
}"""
#: A worker that answers with the given poses in turn, and then with the last one.
FAKE_WORKER = """
const poses = POSES;
onmessage = ({ data }) => {
  let pose = null;
  if (data.type === "frame") pose = poses.length > 1 ? poses.shift() : poses[0];
  postMessage({ type: "answer", id: data.id, pose });
};
"""
#: Mounts the widget's script with a kernel that answers every frame with the same pose, or never.
MOUNT_WIDGET = """async ([script, pose]) => {
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const { default: make } = await import(url);
  const traits = { running: false, camera: "", mirror: false, threshold: null, side: 320 };
  Object.assign(traits, { max_in_flight: 1, kernel_timeout_s: 15, threshold: window.threshold });
  const on = {};
  const reply = (content) => {
    const { session, id } = content;
    if (!pose) return;
    if (content.kind === "start") setTimeout(() => on["msg:custom"]({ kind: "ready", session }));
    if (content.kind === "frame") {
      setTimeout(() => on["msg:custom"]({ ...pose, kind: "pose", session, id }));
    }
  };
  const widget = make();
  widget.initialize({
    model: {
      get: (name) => traits[name],
      set: (name, value) => { traits[name] = value; },
      save_changes() {},
      send: reply,
      on(name, call) { on[name] = call; },
    },
  });
  widget.render({ el: document.body });
  traits.running = true;
  on["change:running"]();
}"""


def fake_worker(page, poses: list[dict]) -> None:
    """Let the page's worker answer with these poses; each needs `keypoints` and `score`."""
    rest = {"lost": False, "presence": 1, "milliseconds": {"crop": 0, "model": 0}}
    answers = [{**rest, **pose} for pose in poses]
    script = FAKE_WORKER.replace("POSES", json.dumps(answers))
    page.context.route(
        "**/worker.js", lambda route: route.fulfill(body=script, content_type="text/javascript")
    )


def mount_widget(page, pose: dict | None = None) -> None:
    """Put the camera widget on a page and start it; see `MOUNT_WIDGET`."""
    page.evaluate(f"window.threshold = {widget.CameraWidget().threshold}")
    page.evaluate(MOUNT_WIDGET, [str(widget.CameraWidget._esm), pose])


@contextlib.contextmanager
def serving(model: Path):
    """The demo's server; yields its address."""
    with server.server(model) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}/"
        one.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server without a log."""

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def hosting(folder: Path):
    """A plain server of a folder, under any host name; yields its address."""
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}/"
        one.shutdown()


@contextlib.contextmanager
def open_page(browser, address: str, allowed: bool = True, **options):
    """The page in a context of its own; `page.asked` lists requests, `page.wrong` errors."""
    context = browser.new_context(
        permissions=["camera"] if allowed else [], bypass_csp=True, **options
    )
    page = context.new_page()
    page.asked = []
    page.wrong = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))

    def on_console(message) -> None:
        if message.type == "error":
            page.wrong.append(message.text)

    page.on("console", on_console)
    page.set_default_timeout(90_000)
    page.goto(address)
    page.wait_for_selector("[data-do=camera]")
    page.evaluate(LISTEN)
    yield page
    context.close()
