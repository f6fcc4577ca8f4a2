"""A real HTTP server on 127.0.0.1 that serves bytes, and fails in the ways that real ones do, when
told to."""

import hashlib
import re
import socket
import ssl
import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


@dataclass
class Fault:
    """How one answer goes wrong; a plain `Fault()` is a good answer.

    Args:
        status: answered with an empty page instead of the file.
        headers: added to the answer, or put in place of its own.
        cut: bytes of the body after which the connection is broken.
        reset: break it with a reset instead of an end.
        stall: seconds of silence, before the headers or, with `cut`, after that many bytes.
        body: served in place of the file.
        claim: Content-Length that is sent in place of the true one (the body is cut to it).
        ranges: False for a server that knows no Range.
        validators: False for one that sends neither ETag nor Last-Modified.
        heeds_if_range: False for one that sends the piece even when the file is another one now.
        becomes: the file's content from the next request on.
        trickle: seconds between pieces of 1 kB.
    """

    status: int = 200
    headers: dict = field(default_factory=dict)
    cut: int | None = None
    reset: bool = False
    stall: float = 0.0
    body: bytes | None = None
    claim: int | None = None
    ranges: bool = True
    validators: bool = True
    heeds_if_range: bool = True
    becomes: bytes | None = None
    trickle: float = 0.0


@dataclass
class Seen:
    """A request that arrived, and how many bytes of body it gets at most."""

    path: str
    headers: dict
    when: float
    status: int = 0
    sent: int = 0


class FaultyServer:
    """Serves `files` (path -> bytes), from its own thread, until the `with` block ends.

    `faults[path]` is a list: each request for the path takes the first away, until it is empty.
    `always[path]` is the fault of every request then. `seen` are all requests.
    """

    def __init__(self, files: dict[str, bytes] | None = None, certificate: Path | None = None):
        self.files = dict(files or {})
        self.faults = defaultdict(list)
        self.always = {}
        self.seen = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"

    def __enter__(self) -> "FaultyServer":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def requests(self, path: str | None = None) -> list[Seen]:
        """What was asked, of one path or of all."""
        return [seen for seen in self.seen if path in (None, seen.path)]

    def sent(self, path: str) -> list[int]:
        """Bytes of body that each request for a path got."""
        return [seen.sent for seen in self.requests(path)]

    def _take(self, path: str) -> tuple[bytes | None, Fault]:
        with self._lock:
            fault = (
                self.faults[path].pop(0) if self.faults[path] else self.always.get(path, Fault())
            )
            data = self.files.get(path)
            if fault.becomes is not None:
                self.files[path] = fault.becomes
        return data if fault.body is None else fault.body, fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    of: FaultyServer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        seen = Seen(path, dict(self.headers), time.monotonic())
        self.of.seen.append(seen)
        data, fault = self.of._take(path)
        status = fault.status
        status_body = data if data is not None else b""
        if data is None and status == 200:
            status = 404
        if fault.stall and fault.cut is None:
            time.sleep(fault.stall)
        headers = {"Content-Type": "application/octet-stream"}
        body = status_body
        if status == 200:
            etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            if fault.validators:
                headers["ETag"] = etag
            status, body = self._piece(data, fault, etag, headers)
        else:
            headers["Content-Type"] = "text/html"
            body = f"<h1>{status}</h1>".encode()
        length = len(body) if fault.claim is None else fault.claim
        headers["Content-Length"] = str(length)
        body = body[:length]
        headers.update(fault.headers)
        broken = fault.cut is not None
        body = body[: fault.cut] if broken else body
        seen.status = status
        seen.sent = len(body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(body, fault.trickle)
        if fault.stall and broken:
            time.sleep(fault.stall)
        if length > len(body):
            if fault.reset:
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self.close_connection = True

    def _send(self, body: bytes, trickle: float) -> None:
        pieces = [body[i : i + 1024] for i in range(0, len(body), 1024)] if trickle else [body]
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(trickle)

    def _piece(self, data: bytes, fault: Fault, etag: str, headers: dict) -> tuple[int, bytes]:
        """(status, body) for the Range that is asked, if any and if its If-Range still holds."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        changed = fault.heeds_if_range and self.headers.get("If-Range", etag) != etag
        if not (asked and fault.ranges) or changed:
            return 200, data
        start = int(asked[1])
        if start >= len(data):
            headers["Content-Range"] = f"bytes */{len(data)}"
            return 416, b""
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return 206, data[start:]
