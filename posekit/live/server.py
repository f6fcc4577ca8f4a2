"""The command `webcam`: the page on a local server, or a video without a window (chapter 15)."""

import argparse
import json
import re
import signal
import sys
import time
import webbrowser
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from posekit import live
from posekit.errors import DataError
from posekit.live import video

__all__ = ["WEB", "model_file", "server", "webcam"]

WEB = Path(__file__).parent / "web"
"""Folder of the page: scripts, styles, the clip, and ONNX Runtime. The book has a copy of it."""

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".json": "application/json",
    ".webp": "image/webp",
}
_OTHER_TYPE = "application/octet-stream"
_LOCAL_NAMES = {"127.0.0.1", "localhost", "[::1]"}
"""Host names that are answered. Another name that leads here belongs to another site's page."""
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "img-src 'self' data: blob:",
        "style-src 'self'",
    )
)
_CAMERA_FPS = 25.0
"""Frames per second of a video that is written from a camera."""


def model_file(model: object = None) -> Path:
    """Return the path of a model's .onnx file.

    Args:
        model: its path, the name of a model of the package, or None for `live.DEFAULT_MODEL`.

    Raises:
        DataError: if there is none.
    """
    from posekit.inference import predictor

    path = Path(model or live.DEFAULT_MODEL)
    if path.suffix != ".onnx":
        if str(path) in predictor.list_models():
            path = predictor.weights_folder() / path
        path = path / "model.onnx"
    if not path.is_file():
        raise DataError(
            path,
            "there is no such model file",
            "the page needs an ONNX file: python -m posekit export --model RUN OUT.onnx",
        )
    return path


def server(model: object = None, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of the page on 127.0.0.1; call its `serve_forever` and `shutdown`.

    Args:
        model: see `model_file`.
        port: 0 takes any free one; `server_port` says which.

    Raises:
        DataError: see `model_file`.
    """
    files = {f"/{path.relative_to(WEB).as_posix()}": path for path in WEB.rglob("*")}
    files = {address: path for address, path in files.items() if path.is_file()}
    files |= {"/": WEB / "index.html", "/model.onnx": model_file(model)}

    class Page(BaseHTTPRequestHandler):
        """Answers with the files of the page, to this computer only."""

        def do_GET(self) -> None:
            host = re.sub(r":\d+$", "", self.headers.get("Host", "")).lower()
            path = files.get(unquote(urlsplit(self.path).path))
            if host not in _LOCAL_NAMES:
                self._answer(HTTPStatus.FORBIDDEN, b"for this computer only", _OTHER_TYPE)
            elif path is None:
                self._answer(HTTPStatus.NOT_FOUND, b"no such file", _OTHER_TYPE)
            else:
                content_type = _CONTENT_TYPES.get(path.suffix, _OTHER_TYPE)
                self._answer(HTTPStatus.OK, path.read_bytes(), content_type)

        def _answer(self, status: HTTPStatus, data: bytes, content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("Cache-Control", "no-cache")
            with suppress(ConnectionError):  # the tab may have been closed
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Page)


def webcam(args: argparse.Namespace) -> int:
    """Run the subcommand and return its exit code, 0."""
    # A shell that starts the command in the background makes it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if args.source is None:
        for name in ("json", "out"):
            if getattr(args, name):
                raise DataError(
                    f"--{name}",
                    "goes with --source",
                    "name a video or a camera, such as --source 0",
                )
        return _serve(args.model, not args.no_browser)
    writer = _VideoWriter(args.out, args.source) if args.out else None
    try:
        summary = live.run(args.source, args.model, writer)
    finally:
        if writer:
            writer.close()
    if args.json:
        print(json.dumps(asdict(summary)))
    else:
        print(
            f"{summary.frames} frames, no person in {summary.lost_frames}; from the decoded frame "
            f"to the drawn skeleton: median {summary.p50_ms} ms, 95th percentile "
            f"{summary.p95_ms} ms, {summary.fps} frames per second"
        )
    return 0


def _serve(model: object, open_browser: bool) -> int:
    with server(model) as page:
        address = f"http://127.0.0.1:{page.server_port}/"
        print(
            f"See your own pose: {address}\n"
            "The page works on this computer only, and sends no image. Press Ctrl-C to end.",
            flush=True,
        )
        if open_browser:
            webbrowser.open(address)
        try:
            page.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print("\nended", file=sys.stderr)
    return 0


class _VideoWriter:
    """Writer of drawn frames into an mp4 file, which appears under its name when closed.

    Args:
        path: of the file.
        source: as given to `live.run`. A video file gives its frame rate; frames of a camera are
            repeated or dropped so that the video lasts as long as it was filmed.

    Raises:
        DataError: if `path` is the source itself, or cannot be written.
    """

    def __init__(self, path: Path, source: str):
        self.path = path
        self.part = path.with_name(f".{path.stem}.part{path.suffix}")
        self.file = None
        self.is_camera = source.isdigit()
        is_source = not self.is_camera and path.exists() and Path(source).exists()
        if is_source and path.samefile(source):
            raise DataError(path, "is the source itself", "give --out another name")
        self.fps = _CAMERA_FPS if self.is_camera else video.frame_rate(source)
        self.begin = 0.0
        self.written = 0

    def __call__(self, drawn, pose) -> None:
        import cv2

        if self.file is None:
            self._open(drawn.shape[1], drawn.shape[0])
        due = self.written + 1
        if self.is_camera:
            due = 1 + int((time.monotonic() - self.begin) * self.fps)
        frame = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
        for _ in range(self.written, due):
            self.file.write(frame)
        self.written = max(self.written, due)

    def _open(self, width: int, height: int) -> None:
        import cv2

        codec = cv2.VideoWriter_fourcc(*"mp4v")
        file = cv2.VideoWriter(str(self.part), codec, self.fps, (width, height))
        if not file.isOpened():
            raise DataError(self.path, "cannot be written as a video", "give a writable FILE.mp4")
        self.file = file
        self.begin = time.monotonic()

    def close(self) -> None:
        """Finish the file."""
        if self.file is not None:
            self.file.release()
            self.part.replace(self.path)
