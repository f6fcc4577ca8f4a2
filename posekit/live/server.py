"""`python -m posekit webcam`: the in-page demo from a server that only this computer can reach, or a clip without a window (chapter 12)."""

import argparse
import json
import re
import signal
import sys
import time
import webbrowser
from contextlib import suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from posekit import live
from posekit.errors import DataError
from posekit.live import video

WEB = Path(__file__).parent / "web"
"""The page: scripts, styles, the clip, and ONNX Runtime for browsers. The book carries the same files."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
}
_TYPES |= {".json": "application/json", ".gz": "application/octet-stream"}
_HERE = {"127.0.0.1", "localhost", "[::1]"}  # another name that leads here is somebody else's page
_CAMERA_RATE = 25.0  # of the video that is written, frames a second
_POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data: blob:; style-src 'self'"


def model_file(model: object = None) -> Path:
    """The .onnx file of a model.

    Args:
        model: its path, a model of the package by name, or None for `live.DEFAULT_MODEL`.

    Raises:
        DataError: when there is none.
    """
    from posekit.inference import predictor

    path = Path(model or live.DEFAULT_MODEL)
    if path.suffix != ".onnx":
        path = (
            predictor.weights_folder() / path if str(path) in predictor.list_models() else path
        ) / "model.onnx"
    if not path.is_file():
        raise DataError(
            path,
            "there is no such model file",
            "a page wants ONNX: python -m posekit export --model RUN OUT.onnx",
        )
    return path


def server(model: object = None, port: int = 0) -> ThreadingHTTPServer:
    """The demo's server, on 127.0.0.1 only; `serve_forever` and `shutdown` are its own.

    Args:
        model: see `model_file`.
        port: 0 takes any free one; `server_port` says which.
    """
    files = {
        f"/{path.relative_to(WEB).as_posix()}": path for path in WEB.rglob("*") if path.is_file()
    }
    files |= {"/": WEB / "index.html", "/model.onnx": model_file(model)}

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here = re.sub(r":\d+$", "", self.headers.get("Host", "")).lower() in _HERE
            path = files.get(unquote(urlsplit(self.path).path)) if here else None
            data = (
                path.read_bytes()
                if path
                else b"no such file"
                if here
                else b"for this computer only"
            )
            self.send_response(200 if path else 404 if here else 403)
            self.send_header(
                "Content-Type", _TYPES.get(path.suffix if path else "", "application/octet-stream")
            )
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Security-Policy", _POLICY)
            self.send_header("Cache-Control", "no-cache")
            with suppress(ConnectionError):  # the tab was closed meanwhile
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Page)


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the subcommand `webcam` to a parser."""
    p = commands.add_parser(
        "webcam", help="your own pose: the demo in a browser, or a camera or clip without one"
    )
    p.add_argument(
        "--source", metavar="FILE|0", help="without a browser: a video file, or a camera's number"
    )
    p.add_argument(
        "--model",
        metavar="NAME|FILE",
        help=f"default {live.DEFAULT_MODEL}; the browser wants an .onnx file",
    )
    p.add_argument("--json", action="store_true", help="with --source: print one JSON object")
    p.add_argument(
        "--out",
        type=Path,
        metavar="FILE.mp4",
        help="with --source: write the frames with the skeleton",
    )
    p.add_argument("--no-browser", action="store_true", help="only print the address")


def webcam(args: argparse.Namespace) -> int:
    """Carry out the subcommand; 0."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell that starts us in the background has it ignored
    if args.source is None:
        for name in ("json", "out"):
            if getattr(args, name):
                raise DataError(
                    f"--{name}", "goes with --source", "name a clip or a camera, such as --source 0"
                )
        return _serve(args.model, not args.no_browser)
    writer = _Writer(args.out, args.source) if args.out else None
    try:
        summary = live.run(args.source, args.model, writer)
    finally:
        if writer:
            writer.close()
    if args.json:
        print(json.dumps(asdict(summary)))
    else:
        print(f"{summary.frames} frames, nobody in {summary.lost_frames}; from decoded frame to drawn skeleton median "
              f"{summary.p50_ms} ms, 95 % below {summary.p95_ms} ms: {summary.fps} frames a second")  # fmt: skip
    return 0


def _serve(model: object, browser: bool) -> int:
    with server(model) as one:
        address = f"http://127.0.0.1:{one.server_port}/"
        print(
            f"See your own pose: {address}\nThis computer only; no picture leaves it. Ctrl-C ends.",
            flush=True,
        )
        if browser:
            webbrowser.open(address)
        try:
            one.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print("\nended", file=sys.stderr)
    return 0


class _Writer:
    """Writes drawn frames into an mp4, aside until it is closed: a clip's at the clip's rate, a camera's as time goes by."""

    def __init__(self, path: Path, source: str):
        self.path, self.part, self.file = (
            path,
            path.with_name(f".{path.stem}.part{path.suffix}"),
            None,
        )
        self.live = source.isdigit()
        if not self.live and path.exists() and Path(source).exists() and path.samefile(source):
            raise DataError(path, "is the clip itself", "give --out another name")
        self.rate = _CAMERA_RATE if self.live else video.rate(source)
        self.begin, self.written = 0.0, 0

    def __call__(self, drawn, pose) -> None:
        import cv2

        if self.file is None:
            height, width = drawn.shape[:2]
            file = cv2.VideoWriter(
                str(self.part), cv2.VideoWriter_fourcc(*"mp4v"), self.rate, (width, height)
            )
            if not file.isOpened():
                raise DataError(
                    self.path, "cannot be written as a video", "give a writable FILE.mp4"
                )
            self.file, self.begin = file, time.monotonic()
        due = (
            1 + int((time.monotonic() - self.begin) * self.rate) if self.live else self.written + 1
        )
        for _ in range(
            self.written, due
        ):  # none where a camera is faster, the same again where the network is slower
            self.file.write(cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        self.written = max(self.written, due)

    def close(self) -> None:
        if self.file is not None:
            self.file.release()
            self.part.replace(self.path)
