"""The command `webcam`: the page on a local server, or a video without a window (chapter 15)."""

import argparse
import contextlib
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
from posekit.files import is_address, local_path, lock_output, temporary_path
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
_REQUEST_TIMEOUT_S = 30.0
"""Seconds after which a connection that sends nothing is closed."""
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "img-src 'self' data: blob:",
        "style-src 'self'",
    )
)
_CODECS = {
    ".mp4": "mp4v",
    ".m4v": "mp4v",
    ".mov": "mp4v",
    ".mkv": "mp4v",
    ".avi": "MJPG",
    ".webm": "VP80",
}
"""Suffix of a video file -> codec that OpenCV writes into it on every system."""
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

    path = local_path(model or live.DEFAULT_MODEL)
    if path.is_file() and path.suffix != ".onnx":
        predictor.locate(path)  # names what it is, unless it is the model.keras of a run
        path = path.parent
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

        timeout = _REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            path = None
            with suppress(ValueError):  # an address that is none, such as http://[
                path = files.get(unquote(urlsplit(self.path).path))
            # A browser sends the origin of a page of another site along.
            sent_by = self.headers.get("Origin", "").lower().removeprefix("http://")
            asked = [self.headers.get("Host", "").lower(), *([sent_by] if sent_by else [])]
            if not {re.sub(r":\d+$", "", name) for name in asked} <= _LOCAL_NAMES:
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
    # A shell that starts the command in the background makes it ignore Ctrl-C. A terminated
    # process ends like one that is interrupted: with its video.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.source is None:
        for name in ("json", "out"):
            if getattr(args, name):
                raise DataError(
                    f"--{name}",
                    "goes with --source",
                    "name a video or a camera, such as --source 0",
                )
        return _serve(args.model, not args.no_browser)
    if args.out:
        with _VideoWriter(args.out, args.source) as writer:
            summary = live.run(args.source, args.model, writer)
    else:
        summary = live.run(args.source, args.model)
    if args.json:
        print(json.dumps(asdict(summary)))
    else:
        print(
            f"{summary.frames} frames, no person in {summary.lost_frames}; from the decoded frame "
            f"to the drawn skeleton: median {summary.p50_ms} ms, 95 % of the frames within "
            f"{summary.p95_ms} ms; {summary.fps} frames per second"
        )
        if args.out:
            print(f"drawn: {args.out}")
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
    """Writer of drawn frames into a video file, which appears under its name when it is complete.

    Frames are repeated or dropped so that each is shown at its time, and the video lasts as long as
    it was filmed. As a context: an error removes what was written; of a camera that is unplugged
    the video up to then is kept.

    Args:
        path: of the file; its suffix decides the format, see `_CODECS`.
        source: as given to `live.run`. A video file gives its frame rate.

    Raises:
        DataError: if `path` is the source itself, has another suffix, cannot be written, or another
            process is writing it.
    """

    def __init__(self, path: Path, source: str):
        self.path = path = local_path(path)
        self.part = temporary_path(path)
        self.file = None
        self.is_camera = video.is_live(source)
        is_source = not is_address(source) and path.exists() and Path(source).exists()
        if is_source and path.samefile(source):
            raise DataError(path, "is the source itself", "give --out another name")
        if path.suffix.lower() not in _CODECS:
            known = ", ".join(_CODECS)
            problem = f"a video cannot be written as {path.suffix or 'a file without suffix'}"
            raise DataError(path, problem, f"end its name in one of {known}")
        if path.is_dir() or not path.absolute().parent.is_dir():
            problem = "is a folder" if path.is_dir() else "there is no such folder"
            where = path if path.is_dir() else path.parent
            raise DataError(where, problem, "give --out a file in a folder that exists")
        self.fps = _CAMERA_FPS if self.is_camera else video.frame_rate(source)
        self.begin = 0.0
        self.written = 0
        self._lock = contextlib.ExitStack()

    def __enter__(self) -> "_VideoWriter":
        try:
            self._lock.enter_context(lock_output(self.path))
        except OSError as error:
            problem = f"cannot be written: {error.strerror or error}"
            raise DataError(self.path, problem, "give a writable FILE.mp4") from None
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> None:
        with self._lock:
            if error is None or (self.is_camera and isinstance(error, DataError)):
                self.close()
            else:
                self._discard()

    def __call__(self, drawn, pose) -> None:
        import cv2

        height, width = drawn.shape[:2]
        if self.file is None:
            self._open(width, height)
            self.size = width, height
        if (width, height) != self.size:  # a camera that was turned: the file keeps its size
            drawn = cv2.resize(drawn, self.size)
        due = self.written + 1
        if self.is_camera:
            due = 1 + int((time.monotonic() - self.begin) * self.fps)
        elif pose is not None:
            due = 1 + round(pose.seconds * self.fps)
        frame = cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)
        for _ in range(self.written, due):
            self.file.write(frame)
        self.written = max(self.written, due)

    def _open(self, width: int, height: int) -> None:
        import cv2

        codec = cv2.VideoWriter_fourcc(*_CODECS[self.path.suffix.lower()])
        file = cv2.VideoWriter(str(self.part), codec, self.fps, (width, height))
        if not file.isOpened():
            raise DataError(self.path, "cannot be written as a video", "give a writable FILE.mp4")
        self.file = file
        self.begin = time.monotonic()

    def close(self) -> None:
        """Finish the file.

        Raises:
            DataError: if it is not complete: OpenCV does not report a full disk.
        """
        if self.file is None:
            return
        try:
            self.file.release()
            if not self._is_complete():
                problem = f"is not complete: {self.written} frames could not be written"
                raise DataError(self.path, problem, "is the disk full?")
            self.part.replace(self.path)
        finally:
            self._discard()

    def _is_complete(self) -> bool:
        import cv2

        if not self.part.is_file():
            return False
        written = cv2.VideoCapture(str(self.part.absolute()))
        try:
            return written.get(cv2.CAP_PROP_FRAME_COUNT) >= self.written - 1
        finally:
            written.release()

    def _discard(self) -> None:
        """Remove what was written and is not complete."""
        if self.file is not None:
            self.file.release()
        self.part.unlink(missing_ok=True)
