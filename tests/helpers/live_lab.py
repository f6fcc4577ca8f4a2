"""Helpers of the widget's tests: a clip with numbered frames, JupyterLab, a browser."""

import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cv2
import numpy as np

from posekit import geometry, images
from posekit.live.server import WEB
from posekit.live.video import video

SIZE = (640, 480)
BITS = 6
CELL = 16
FRAMES = 48

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP elsewhere.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
CAMERA = ["--use-fake-device-for-media-stream"]
ALLOWED = ["--use-fake-ui-for-media-stream"]

WATCH = """(() => {  // records every stream, so that a test can see whether one is alive
  window.streams = [];
  const devices = navigator.mediaDevices, get = devices?.getUserMedia.bind(devices);
  window.rewatch = () => {
    devices.getUserMedia = async (wanted) => {
      const stream = await get(wanted);
      window.streams.push(stream);
      return stream;
    };
  };
  if (get) window.rewatch();
  window.tracksAlive = () => {
    const tracks = window.streams.flatMap((stream) => stream.getTracks());
    return tracks.filter((track) => track.readyState === "live").length;
  };
})();"""


def stamp(frame: np.ndarray, number: int) -> np.ndarray:
    """Copy of a frame with its number in black and white squares along the lower edge."""
    out = frame.copy()
    for k, on in enumerate([1, 0, *((number >> b) & 1 for b in range(BITS))]):
        out[-CELL:, k * CELL : (k + 1) * CELL] = 255 * on
    return out


def number_on(frame: np.ndarray) -> int:
    """The number on a stamped frame, of whatever size."""
    cell = CELL * frame.shape[1] / SIZE[0]
    at = [frame[-int(cell / 2), int((k + 0.5) * cell)].mean() > 128 for k in range(BITS + 2)]
    if at[:2] != [True, False]:
        raise ValueError("this frame bears no number")
    return sum(int(on) << b for b, on in enumerate(at[2:]))


def make_clip(path: Path) -> list[np.ndarray]:
    """Write the page's clip with numbers, for Chromium's camera; return its frames."""
    film = itertools.islice(video(WEB / "clip.mjpeg"), FRAMES)
    frames = [
        stamp(cv2.resize(frame, SIZE, interpolation=cv2.INTER_CUBIC), k)
        for k, (frame, _) in enumerate(film)
    ]
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F30:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
    return frames


def as_sent(frame: np.ndarray, side: int = 320) -> np.ndarray:
    """A frame as the browser sends it: through the camera's YUV, smaller, and as a JPEG."""
    seen = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420), cv2.COLOR_YUV2RGB_I420)
    scale = side / max(frame.shape[:2])
    w = round(frame.shape[1] * scale)
    h = round(frame.shape[0] * scale)
    shift = (scale - 1) / 2
    small = geometry.warp(seen, np.array([[scale, 0, shift], [0, scale, shift]]), (w, h))
    return images.decode_image(images.encode_jpeg(small, 90), "a frame")


@contextlib.contextmanager
def jupyter(folder: Path):
    """JupyterLab in a folder, on loopback; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).resolve().parents[2]
    home = {
        name: str(folder / ".jupyter" / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")
    }
    home |= {
        "IPYTHONDIR": str(folder / ".jupyter" / "ipython"),
        "PYTHONPATH": str(root),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    home["JUPYTERLAB_SETTINGS_DIR"] = str(folder / ".jupyter" / "settings")
    home["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / ".jupyter" / "workspaces")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--expose-app-in-browser",
    ]
    command += [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.allow_remote_access=True",
    ]
    off = [
        "apputils-extension:announcements",
        "debugger-extension",
        "lsp-extension",
        "extensionmanager-extension",
    ]
    page = folder / ".jupyter" / "jupyter_config_dir" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(
        json.dumps({"disabledExtensions": {f"@jupyterlab/{name}": True for name in off}})
    )
    log = (folder / "jupyter.log").open("w")
    server = subprocess.Popen(
        command, cwd=folder, env=os.environ | home, stdout=log, stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api", timeout=1).close()
                break
            if server.poll() is not None:
                raise RuntimeError((folder / "jupyter.log").read_text()[-2000:])
            time.sleep(0.25)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def notebook(path: Path, cells: list[str]) -> None:
    """Write a notebook of code cells."""
    import nbformat

    spec = {
        "kernelspec": {
            "name": "python3",
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
        }
    }
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=spec
        ),
        path,
    )


class Lab:
    """A page of JupyterLab with one notebook in it."""

    def __init__(self, browser, address: str, name: str, **context):
        self.context = browser.new_context(
            viewport={"width": 1280, "height": 1000}, accept_downloads=True, **context
        )
        self.page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.asked = []
        self.address = address
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{address}/doc/tree/{name}?reset")
        self.page.wait_for_function(
            """() => {
              const context = window.jupyterapp?.shell?.currentWidget?.context;
              return context?.sessionContext?.session?.kernel?.connectionStatus === "connected";
            }""",
            timeout=60_000,
        )
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()

    def run_cell(self, number: int) -> None:
        """Run one cell, and wait for it and for the widget in it."""
        self.page.evaluate(
            """(number) => {
                const book = window.jupyterapp.shell.currentWidget.content;
                book.activeCellIndex = number;
                book.deselectAll();
                return window.jupyterapp.commands.execute('notebook:run-cell');
            }""",
            number,
        )
        self.page.locator(".jp-OutputArea .posekit-webcam").wait_for(timeout=60_000)

    def execute(self, code: str) -> str:
        """Run code in the kernel next to the notebook; return its output."""
        return self.page.evaluate(
            """async (code) => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code }), parts = [];
                future.onIOPub = ({ content }) => parts.push(content.text ?? content.evalue ?? "");
                const reply = await future.done;
                if (reply.content.status !== "ok") throw new Error(reply.content.evalue);
                return parts.join("");
            }""",
            code,
        )

    def frame(self) -> int:
        """Number of the frame that is shown."""
        return int(
            self.page.evaluate(
                "[...document.querySelectorAll('.posekit-webcam canvas')].at(-1).dataset.frame ?? 0"
            )
        )

    @property
    def root(self):
        return self.page.locator(".posekit-webcam").last

    def press(self, name: str) -> None:
        """Press the button of that name."""
        self.page.locator(
            ".jp-OutputArea .jupyter-button", has_text=re.compile(f"^{name}$")
        ).last.click()

    def wait_state(self, state: str, timeout: float = 30) -> str:
        """Wait until the widget is in a state; its sentence."""
        self.page.wait_for_function(
            """state => {
              const widgets = [...document.querySelectorAll(".posekit-webcam")];
              return widgets.at(-1)?.dataset.state === state;
            }""",
            arg=state,
            timeout=1000 * timeout,
        )
        return self.root.locator('[role="status"]').inner_text()

    def alive(self) -> int:
        """How many camera tracks are alive."""
        return self.page.evaluate("window.tracksAlive()")

    def close(self) -> None:
        self.context.close()
