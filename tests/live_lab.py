"""What the tests of the live widget share: a clip of a MiniDome person with a number on every frame, JupyterLab, and a browser with a camera."""

import contextlib
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

from posekit import geometry, images, minidome

SIZE, BITS, CELL = (640, 360), 6, 16
CLIP = {"frames": 48, "cameras": 1, "size": SIZE, "take": 48, "seed": 154}
"""One person who walks round a circle."""

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
CAMERA = ["--use-fake-device-for-media-stream"]
ALLOWED = ["--use-fake-ui-for-media-stream"]

WATCH = """(() => {  // every stream that the page gets, so that a test can see whether one is still alive
  window.streams = [];
  const devices = navigator.mediaDevices, get = devices?.getUserMedia.bind(devices);
  if (get) devices.getUserMedia = async (wish) => { const stream = await get(wish); window.streams.push(stream); return stream; };
  window.tracksAlive = () => window.streams.flatMap((s) => s.getTracks()).filter((t) => t.readyState === "live").length;
})();"""


def stamp(frame: np.ndarray, number: int) -> np.ndarray:
    """A copy of a frame with its number in black and white squares along the lower edge, between a white and a black one."""
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
    return sum(on << b for b, on in enumerate(at[2:]))


def make_clip(folder: Path) -> tuple[list[np.ndarray], Path]:
    """The stamped frames, and the file that Chromium shows as its camera, round and round."""
    if not folder.exists():
        minidome.make_sequence(folder, **CLIP, progress=False)
    coco = json.loads((folder / "annotations" / f"person_keypoints_{folder.name}.json").read_text())
    frames = [stamp(images.read_image(folder / one["file_name"]), k) for k, one in enumerate(coco["images"])]
    path = folder / "camera.y4m"
    if not path.exists():
        with path.with_suffix(".part").open("wb") as file:
            file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F20:1 Ip A1:1 C420jpeg\n".encode())
            for frame in frames:
                file.write(b"FRAME\n" + cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420).tobytes())
        path.with_suffix(".part").rename(path)
    return frames, path


def small(frame: np.ndarray, side: int = 320) -> np.ndarray:
    """A frame as the browser sends it, without the JPEG."""
    scale = side / max(frame.shape[:2])
    w, h = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
    return geometry.warp(frame, np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]]), (w, h))


@contextlib.contextmanager
def jupyter(folder: Path):
    """JupyterLab in a folder, on loopback; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).resolve().parents[1]
    home = {name: str(folder / ".jupyter" / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    home |= {
        "IPYTHONDIR": str(folder / ".jupyter" / "ipython"),
        "PYTHONPATH": str(root),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    home["JUPYTERLAB_SETTINGS_DIR"] = str(folder / ".jupyter" / "settings")
    home["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / ".jupyter" / "workspaces")
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=",
        "--ServerApp.ip=127.0.0.1",
    ]
    off = ["apputils-extension:announcements", "debugger-extension", "lsp-extension", "extensionmanager-extension"]
    page = folder / ".jupyter" / "jupyter_config_dir" / "labconfig" / "page_config.json"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(json.dumps({"disabledExtensions": {f"@jupyterlab/{name}": True for name in off}}))
    log = (folder / "jupyter.log").open("w")
    server = subprocess.Popen(command, cwd=folder, env=os.environ | home, stdout=log, stderr=subprocess.STDOUT)
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

    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=spec), path)


class Lab:
    """A page of JupyterLab with one notebook in it."""

    def __init__(self, browser, address: str, name: str, **context):
        self.context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True, **context)
        self.page = self.context.new_page()
        self.page.add_init_script(WATCH)
        self.asked, self.address = [], address
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{address}/doc/tree/{name}?reset")
        self.page.wait_for_function(
            "() => { const w = window.jupyterapp?.shell?.currentWidget; return w?.context?.sessionContext?.session?.kernel?.connectionStatus === 'connected' }",
            timeout=60_000,
        )
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()

    def run(self, cells: int = 1) -> None:
        """Run cells from the top, one after the other."""
        for k in range(cells):
            self.page.locator(".jp-Notebook .jp-CodeCell").nth(k).locator(".jp-Cell-inputWrapper").click()
            self.page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell')")

    def run_cell(self, number: int, wait: bool = True) -> str:
        """Run one cell; its text."""
        self.page.evaluate(
            """([number, wait]) => {
                const panel = window.jupyterapp.shell.currentWidget, book = panel.content;
                book.activeCellIndex = number; book.deselectAll();
                const done = window.jupyterapp.commands.execute('notebook:run-cell');
                return wait ? done : null;
            }""",
            [number, wait],
        )
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number).locator(".jp-OutputArea").inner_text()

    @property
    def root(self):
        return self.page.locator(".posekit-webcam").last

    def press(self, name: str) -> None:
        """Press the button of that name."""
        self.page.locator(".jp-OutputArea .jupyter-button", has_text=re.compile(f"^{name}$")).last.click()

    def wait_state(self, state: str, timeout: float = 30) -> str:
        """Wait until the widget is in a state; its sentence."""
        self.page.wait_for_function(
            "state => [...document.querySelectorAll('.posekit-webcam')].at(-1)?.dataset.state === state",
            arg=state,
            timeout=1000 * timeout,
        )
        return self.root.locator('[role="status"]').inner_text()

    def alive(self) -> int:
        """How many camera tracks are alive."""
        return self.page.evaluate("window.tracksAlive()")

    def close(self) -> None:
        self.context.close()
