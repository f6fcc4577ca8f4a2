"""Download large files from unreliable servers: resumed, retried, verified, atomic (chapter 02).

`fetch` downloads one file from several mirrors, through dropped connections. `open_folder` keeps a
folder's `downloads.json`, which records the source of each file. Archives are unpacked by
`posekit.datasets.download.archives`. HTTP itself is left to `requests`: redirects, the proxies of
the environment, certificates, which are always verified.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
import time
import zlib
from argparse import ArgumentParser
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import numpy as np
import requests
from tqdm import tqdm

from posekit import __version__
from posekit.datasets.download.manifest import (
    Manifest,
    check_space,
    open_folder,
)
from posekit.errors import DataError
from posekit.files import atomic_write, full_disk

__all__ = [
    "Manifest",
    "Missing",
    "RetryPolicy",
    "add_options",
    "fetch",
    "open_folder",
    "retry_policy",
]

_CHUNK = 1 << 16
_PROGRESS = 1 << 20
"""Bytes that an interrupted attempt must have fetched to count as progress: tries start again."""


class Missing(DataError):
    """No server has the file: each answered 404 or 410."""


@dataclass(frozen=True)
class RetryPolicy:
    """Retries and exponential backoff for a server that fails.

    `urllib3.util.Retry` counts attempts of one request; this counts attempts without progress, so
    that a file of many GB survives any number of dropped connections.

    Args:
        tries: attempts per server without progress, >= 1.
        timeout: seconds to connect, and seconds without a byte before a connection is given up.
        wait: seconds before the second attempt; doubled before each further one, with jitter
            (factor 0.5 to 1).
        max_wait: seconds; a server that asks for more (`Retry-After`) is given up.
        seed: of the jitter.
    """

    tries: int = 6
    timeout: float = 30.0
    wait: float = 1.0
    max_wait: float = 120.0
    seed: int = 0

    def pause(self, url: str, failures: int) -> float:
        """Seconds before the next attempt at a URL that has failed `failures` times (>= 1)."""
        jitter = np.random.default_rng([self.seed, zlib.crc32(url.encode()), failures]).uniform(
            0.5, 1
        )
        return jitter * min(self.max_wait, self.wait * 2 ** (failures - 1))


def add_options(parser: ArgumentParser) -> None:
    """Add --tries, --timeout and --wait to a command line; `retry_policy` reads them."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--tries",
        metavar="N",
        type=int,
        default=RetryPolicy.tries,
        help="attempts per server (default: 6)",
    )
    group.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=RetryPolicy.timeout,
        help="seconds without a byte before a connection is given up (default: 30)",
    )
    group.add_argument(
        "--wait",
        metavar="S",
        type=float,
        default=RetryPolicy.wait,
        help="seconds before the second attempt; doubles with each (default: 1)",
    )


def retry_policy(options: object) -> RetryPolicy:
    """Read the options of `add_options`; raises `DataError` for values out of range."""
    if options.tries < 1 or options.timeout <= 0 or options.wait < 0:
        raise DataError(
            "--tries, --timeout, --wait", "expected at least 1, more than 0, and at least 0"
        )
    return RetryPolicy(options.tries, options.timeout, options.wait)


def fetch(
    urls: str | Iterable[str],
    path: str | Path,
    manifest: Manifest,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    check: Callable[[Path], object] | None = None,
    policy: RetryPolicy = RetryPolicy(),
    progress: bool = True,
) -> bool:
    """Download a file, unless it exists and is right; it appears complete and verified.

    Bytes are written to `path.part`. An interrupted part is resumed (RFC 9110, section 14: Range
    and If-Range) when the server proves that its file is still the same one, and restarted when it
    does not. Servers are tried in order, each until its tries are used up; one that does not have
    the file, or sends something else, is not asked again.

    Args:
        urls: URLs of the file: one, or several in order of preference.
        path: where to put it, inside the manifest's folder.
        manifest: gets url, bytes, sha256 and date; a file must equal what is recorded of it.
        size: its bytes, if known.
        sha256: its SHA-256 in hexadecimal, if published.
        md5: its MD5 in hexadecimal, if published.
        check: called with the complete file before it is renamed; raises DataError when the content
            is not right.
        policy: retries and timeouts.
        progress: show a bar of bytes.

    Returns:
        True if the network was needed.

    Raises:
        Missing: when every server says that it has no such file.
        DataError: when it cannot be fetched, is not what it must be, or does not fit on the disk.
            The part stays.
    """
    path = Path(path)
    urls = deque(dict.fromkeys([urls] if isinstance(urls, str) else urls))
    recorded = manifest.get(path)
    want = {
        "bytes": size or recorded.get("bytes"),
        "sha256": sha256 or recorded.get("sha256"),
        "md5": md5,
    }
    want |= {name: want[name].lower() for name in ("sha256", "md5") if want[name]}
    part = _Part(path, want, bool(recorded))
    if path.exists():
        try:
            found = _inspect(path, want, check)
        except _Failed as failure:
            tqdm.write(f"{path} {failure}: fetching it again", file=sys.stderr)
        else:
            if not recorded:
                manifest.add(path, **found)
            part.about.unlink(missing_ok=True)  # of a process killed right after the rename
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(desc=path.name, unit="B", unit_scale=True, disable=not progress) as bar:
        url, found = _from_any(urls, part, check, policy, bar)
    # Before the rename, so that a process killed in between loses no entry.
    manifest.add(path, url=url, **found, fetched=f"{datetime.now(UTC):%Y-%m-%d}")
    part.file.replace(path)
    part.about.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


class _Failed(Exception):
    """A failed attempt.

    Args:
        reason: completes a sentence that begins with the URL.
        final: do not ask this server again.
        missing: it has no such file.
        wrong: it sent something else.
        retry_after: seconds that it asks to wait.
    """

    def __init__(self, reason: str, *, final=False, missing=False, wrong=False, retry_after=0.0):
        super().__init__(reason)
        self.final = final
        self.missing = missing
        self.wrong = wrong
        self.retry_after = retry_after


class _Part:
    """A partial file, and next to it what identifies the server's file."""

    def __init__(self, path: Path, want: dict, recorded: bool):
        self.path = path
        self.want = want
        self.recorded = recorded
        self.file = path.with_name(path.name + ".part")
        self.about = path.with_name(path.name + ".part.json")

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def state(self) -> dict:
        """url, etag, last_modified and bytes of the complete file; {} if they are not known."""
        try:
            state = json.loads(self.about.read_bytes())
            return state if isinstance(state["url"], str) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def validator(self) -> str:
        """The value of If-Range: a strong ETag, or the date; "" if the server gave neither."""
        state = self.state()
        etag = state.get("etag") or ""
        return etag if etag and not etag.startswith("W/") else state.get("last_modified") or ""

    def resumable(self, url: str) -> bool:
        """Return whether to resume from this URL: only if a change of the file would be noticed."""
        known = self.want["sha256"] or self.want["md5"]
        return (
            self.size() > 0 and self.state().get("url") == url and bool(self.validator() or known)
        )

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


def _from_any(
    urls: deque, part: _Part, check: Callable | None, policy: RetryPolicy, bar: tqdm
) -> tuple[str, dict]:
    """Complete the part from one of the URLs: (that URL, bytes and sha256)."""
    owner = part.state().get("url")
    urls = deque(sorted(urls, key=lambda url: url != owner))
    failures = dict.fromkeys(urls, 0)
    ready = dict.fromkeys(urls, 0.0)
    reasons = {}
    furthest = part.size()
    while urls:
        url = urls[0]
        time.sleep(max(0.0, ready[url] - time.monotonic()))
        try:
            _attempt(url, part, policy, bar)
            return url, _inspect(part.file, part.want, check)
        except _Failed as failure:
            if failure.wrong and part.state().get("url") == url:
                part.discard()
            twice_wrong = failure.wrong and url in reasons and reasons[url].wrong
            reasons[url] = failure
            progress = part.size() >= furthest + _PROGRESS
            furthest = max(furthest, part.size())
            failures[url] = 1 if progress else failures[url] + 1
            pause = max(policy.pause(url, failures[url]), failure.retry_after)
            give_up = failure.final or twice_wrong or pause > policy.max_wait
            if give_up or failures[url] >= policy.tries:
                urls.popleft()
                continue
            ready[url] = time.monotonic() + pause
            if not part.resumable(url):
                urls.rotate(-1)
    raise _final_error(part, reasons)


def _final_error(part: _Part, reasons: dict[str, _Failed]) -> DataError:
    """The error that says why each server was given up; removes a part that cannot be resumed."""
    message = "could not be fetched: " + (
        "; ".join(f"{url} {failure}" for url, failure in reasons.items()) or "no URL"
    )
    kept = part.resumable(part.state().get("url"))
    if not kept:
        part.discard()
    if reasons and all(failure.missing for failure in reasons.values()):
        return Missing(part.path, message, "check the name")
    if kept:
        return DataError(
            part.path, message, f"{part.size():,} bytes are kept: run it again to go on"
        )
    if part.recorded and any(failure.wrong for failure in reasons.values()):
        hint = (
            "it is not the file of the first download; if it was meant to change, remove its entry "
            "from downloads.json"
        )
        return DataError(part.path, message, hint)
    return DataError(part.path, message, "try again later, or name another server")


_threads = threading.local()


def _session() -> requests.Session:
    """One session per thread: connections are kept for the next file."""
    if not hasattr(_threads, "session"):
        _threads.session = requests.Session()
        _threads.session.headers.update(
            {"User-Agent": f"posekit/{__version__}", "Accept-Encoding": "identity"}
        )
    return _threads.session


def _attempt(url: str, part: _Part, policy: RetryPolicy, bar: tqdm) -> None:
    """Fetch the rest of the part. Raises `_Failed`, or `DataError` on a full disk."""
    start = part.size() if part.resumable(url) else 0
    if start and start == part.state().get("bytes"):
        return  # complete: it was stopped between the last byte and the check
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and part.validator():
        headers["If-Range"] = part.validator()
    try:
        with _session().get(url, headers=headers, stream=True, timeout=policy.timeout) as response:
            start = _body_start(response, part, start)
            _write(response, part, url, start, bar)
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise _Failed(f"broke the secure connection ({_root_message(error)})") from None
        why = re.sub(r".*certificate verify failed:? ?|\s*\(_ssl.*", "", str(error))
        reason = (
            f"shows a certificate that cannot be verified ({why}); nothing is fetched without: "
            "check the clock, or name your network's own certificates in REQUESTS_CA_BUNDLE"
        )
        raise _Failed(reason, final=True) from None
    except requests.exceptions.TooManyRedirects:
        raise _Failed("redirects in a circle", final=True) from None
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ):
        raise _Failed("is no http or https URL", final=True) from None
    except requests.exceptions.Timeout:
        raise _Failed(f"was silent for {policy.timeout:g} s") from None
    except requests.exceptions.ChunkedEncodingError:
        raise _Failed(f"broke off after {part.size():,} bytes") from None
    except requests.exceptions.RequestException as error:
        if "timed out" in str(error):
            raise _Failed(
                f"was silent for {policy.timeout:g} s after {part.size():,} bytes"
            ) from None
        raise _Failed(f"cannot be reached ({_root_message(error)})") from None


def _root_message(error: BaseException) -> str:
    """The message of the first of a chain of wrapped network errors."""
    while isinstance(
        inner := getattr(error, "reason", None) or (error.args or [None])[0], BaseException
    ):
        error = inner
    message = str(getattr(error, "strerror", None) or error)
    return re.sub(
        r"^(<.*?>|\w+\(.*?\)): ", "", message
    )  # urllib3 puts the connection object in front


def _body_start(response: requests.Response, part: _Part, start: int) -> int:
    """The byte at which a response's body begins; raises `_Failed` if it is not the same file."""
    code = response.status_code
    state = part.state()
    if code in (404, 410):
        raise _Failed(f"has no such file ({code})", final=True, missing=True)
    if code == 416:
        part.discard()
        raise _Failed("has no bytes after those that are here")
    if code not in (200, 206):
        temporary = code >= 500 or code in (408, 425, 429)
        wait = _seconds(response.headers.get("Retry-After"))
        asked = f" and asks to come back in {wait:.0f} s" if wait else ""
        raise _Failed(
            f"answered {code} {response.reason}{asked}", final=not temporary, retry_after=wait
        )
    if "html" in response.headers.get("Content-Type", "") and "htm" not in part.path.suffix:
        raise _Failed("sent a web page instead of the file (a log-in or error page?)", final=True)
    if code == 200:
        return 0
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if not start or span is None or int(span[1]) != start:
        raise _Failed(
            f"sent another piece than was asked for ({response.headers.get('Content-Range')})",
            final=True,
        )
    now = {
        "etag": response.headers.get("ETag"),
        "last_modified": response.headers.get("Last-Modified"),
    }
    now["bytes"] = None if span[2] == "*" else int(span[2])
    if any(now[key] and state.get(key) and now[key] != state[key] for key in now):
        part.discard()
        raise _Failed("has another file now than the one that was begun")
    return start


def _write(response: requests.Response, part: _Part, url: str, start: int, bar: tqdm) -> None:
    """Append the body to the part, from byte `start` on."""
    headers = (
        {} if "Content-Encoding" in response.headers else response.headers
    )  # a packed body cannot be resumed
    length = headers.get("Content-Length")
    total = start + int(length) if length and length.isdecimal() else None
    if total is not None and part.want["bytes"] not in (None, total):
        raise _Failed(f"has a file of {total:,} bytes, expected {part.want['bytes']:,}", wrong=True)
    check_space(part.path, (total or start) - start)
    bar.reset(total)
    bar.initial = bar.n = start
    with part.file.open("r+b" if start else "wb") as file:
        file.seek(start)
        if not start:
            state = {
                "url": url,
                "etag": headers.get("ETag"),
                "last_modified": headers.get("Last-Modified"),
            }
            atomic_write(part.about, json.dumps(state | {"bytes": total}).encode())
        with full_disk(part.path, total or start):
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and part.size() != total:  # urllib3 1.x takes a short body for a whole one
        raise _Failed(f"broke off after {part.size():,} of {total:,} bytes")


def _seconds(retry_after: str | None) -> float:
    """Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3)."""
    if not retry_after:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        with contextlib.suppress(ValueError, TypeError):
            return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return 0.0


def _inspect(file: Path, want: dict, check: Callable | None) -> dict:
    """bytes and sha256 of a file; raises `_Failed` when they, or `check`, do not agree."""
    found = {"bytes": file.stat().st_size}
    if want["bytes"] not in (None, found["bytes"]):
        raise _Failed(f"has {found['bytes']:,} bytes, expected {want['bytes']:,}", wrong=True)
    for name in ("md5", "sha256"):
        if name == "sha256" or want[name]:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, name).hexdigest()
            if want[name] not in (None, digest):
                raise _Failed(f"has {name} {digest}, expected {want[name]}", wrong=True)
    try:
        if check is not None:
            check(file)
    except DataError as error:
        raise _Failed(f"is not the file that is wanted: {error.problem}", wrong=True) from None
    return found | {"sha256": digest}


def _sync_folder(folder: Path) -> None:
    """Flush a rename to disk, where folders can be opened for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
