"""Fetching large files from servers that are not reliable: resumed, retried, verified, and never half there (chapter 02).

`fetch` brings one file: from several mirrors, through dropped connections, to the byte. `open_folder` keeps a folder's
`downloads.json`, which remembers what came from where. Archives are unpacked by `posekit.datasets.download.archives`. HTTP itself
is the business of `requests`: redirects, the proxies of the environment, certificates, which are always verified.
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
    "Patience",
    "add_options",
    "fetch",
    "open_folder",
    "patience",
]

_CHUNK = 1 << 16
_PROGRESS = 1 << 20
"""Bytes that a broken attempt must have brought to count as progress, after which all tries are there again."""


class Missing(DataError):
    """Every server answered that it has no such file (404 or 410)."""


@dataclass(frozen=True)
class Patience:
    """How long to go on with a server that fails.

    Args:
        tries: attempts a server without progress, >= 1.
        timeout: seconds to connect, and seconds without a byte before a connection is given up.
        wait: seconds before the second attempt; doubled before each further one, with jitter (factor 0.5 to 1).
        longest_wait: seconds; a server that asks for more (`Retry-After`) is given up.
        seed: of the jitter.
    """

    tries: int = 6
    timeout: float = 30.0
    wait: float = 1.0
    longest_wait: float = 120.0
    seed: int = 0

    def pause(self, url: str, failures: int) -> float:
        """Seconds to wait before the next attempt at a URL that has failed `failures` times (>= 1)."""
        jitter = np.random.default_rng([self.seed, zlib.crc32(url.encode()), failures]).uniform(
            0.5, 1
        )
        return jitter * min(self.longest_wait, self.wait * 2 ** (failures - 1))


def add_options(parser: ArgumentParser) -> None:
    """Add --tries, --timeout and --wait to a command line; `patience` reads them."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--tries",
        metavar="N",
        type=int,
        default=Patience.tries,
        help="attempts a server (default: 6)",
    )
    group.add_argument(
        "--timeout",
        metavar="S",
        type=float,
        default=Patience.timeout,
        help="seconds of silence to bear (default: 30)",
    )
    group.add_argument(
        "--wait",
        metavar="S",
        type=float,
        default=Patience.wait,
        help="before the second attempt; doubles (default: 1)",
    )


def patience(options: object) -> Patience:
    """The Patience that the command line asks for. Raises `DataError` for values that make no sense."""
    if options.tries < 1 or options.timeout <= 0 or options.wait < 0:
        raise DataError(
            "--tries, --timeout, --wait", "expected at least 1, more than 0, and at least 0"
        )
    return Patience(options.tries, options.timeout, options.wait)


def fetch(
    urls: str | Iterable[str],
    path: str | Path,
    manifest: Manifest,
    *,
    size: int | None = None,
    sha256: str | None = None,
    md5: str | None = None,
    check: Callable[[Path], object] | None = None,
    patience: Patience = Patience(),
    progress: bool = True,
) -> bool:
    """Bring a file. A file that is there and is right is left alone; else it appears at once, whole and verified.

    Bytes are written to `path.part`. An interrupted part is resumed (RFC 9110, section 14: Range and If-Range) when the
    server proves that its file is still the same one, and begun anew when it does not. Servers are tried in order, each
    until its tries are used up; one that does not have the file, or sends something else, is not asked again.

    Args:
        urls: where the file is to be had: one URL, or several in order of preference.
        path: where to put it, inside the manifest's folder.
        manifest: gets url, bytes, sha256 and date; what it already holds of the file must come again.
        size: its bytes, if known.
        sha256: its SHA-256 in hexadecimal, if published.
        md5: its MD5 in hexadecimal, if published.
        check: called with the complete file before it gets its name; raises DataError when the content is not right.
        patience: how long to try.
        progress: show a bar of bytes.

    Returns:
        True if the network was needed.

    Raises:
        Missing: when every server says that it has no such file.
        DataError: when it cannot be had, is not what it must be, or does not fit on the disk. The part stays.
    """
    path, urls = Path(path), deque(dict.fromkeys([urls] if isinstance(urls, str) else urls))
    recorded = manifest.get(path)
    want = {
        "bytes": size or recorded.get("bytes"),
        "sha256": sha256 or recorded.get("sha256"),
        "md5": md5,
    }
    want |= {name: want[name].lower() for name in ("sha256", "md5") if want[name]}
    if path.exists():
        try:
            found = _inspect(path, want, check)
        except _Failed as failure:
            tqdm.write(f"{path} {failure}: fetching it again", file=sys.stderr)
        else:
            if not recorded:
                manifest.add(path, **found)
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(path, want, bool(recorded))
    with tqdm(desc=path.name, unit="B", unit_scale=True, disable=not progress) as bar:
        url, found = _from_any(urls, part, check, patience, bar)
    part.file.replace(path)
    part.about.unlink(missing_ok=True)
    _sync_folder(path.parent)
    manifest.add(path, url=url, **found, fetched=f"{datetime.now(UTC):%Y-%m-%d}")
    return True


class _Failed(Exception):
    """An attempt that failed.

    Args:
        reason: completes a sentence that begins with the URL.
        final: asking this server again is of no use.
        missing: it has no such file.
        wrong: what it sent is not what was wanted.
        retry_after: seconds that it asks to wait.
    """

    def __init__(self, reason: str, *, final=False, missing=False, wrong=False, retry_after=0.0):
        super().__init__(reason)
        self.final, self.missing, self.wrong, self.retry_after = final, missing, wrong, retry_after


class _Part:
    """The file that is growing, and beside it what tells whether the server still has the same one."""

    def __init__(self, path: Path, want: dict, recorded: bool):
        self.path, self.want, self.recorded = path, want, recorded
        self.file, self.about = (
            path.with_name(path.name + ".part"),
            path.with_name(path.name + ".part.json"),
        )

    def size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def state(self) -> dict:
        """url, etag, last_modified and bytes of the whole; {} if they are not known."""
        try:
            state = json.loads(self.about.read_bytes())
            return state if isinstance(state["url"], str) else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def validator(self) -> str:
        """What If-Range needs: a strong ETag, or the date; "" if the server gave neither."""
        state = self.state()
        etag = state.get("etag") or ""
        return etag if etag and not etag.startswith("W/") else state.get("last_modified") or ""

    def resumable(self, url: str) -> bool:
        """Whether the next bytes may be asked of this URL: a file that changed in between must be noticed."""
        known = self.want["sha256"] or self.want["md5"]
        return (
            self.size() > 0 and self.state().get("url") == url and bool(self.validator() or known)
        )

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)


def _from_any(
    urls: deque, part: _Part, check: Callable | None, patience: Patience, bar: tqdm
) -> tuple[str, dict]:
    """The part made whole by one of the URLs: (that URL, bytes and sha256)."""
    owner = part.state().get("url")
    urls = deque(sorted(urls, key=lambda url: url != owner))
    failures, ready = dict.fromkeys(urls, 0), dict.fromkeys(urls, 0.0)
    reasons, furthest = {}, part.size()
    while urls:
        url = urls[0]
        time.sleep(max(0.0, ready[url] - time.monotonic()))
        try:
            _attempt(url, part, patience, bar)
            return url, _inspect(part.file, part.want, check)
        except _Failed as failure:
            if failure.wrong and part.state().get("url") == url:
                part.discard()
            twice_wrong = failure.wrong and url in reasons and reasons[url].wrong
            reasons[url] = failure
            progress = part.size() >= furthest + _PROGRESS
            furthest = max(furthest, part.size())
            failures[url] = 1 if progress else failures[url] + 1
            pause = max(patience.pause(url, failures[url]), failure.retry_after)
            give_up = failure.final or twice_wrong or pause > patience.longest_wait
            if give_up or failures[url] >= patience.tries:
                urls.popleft()
                continue
            ready[url] = time.monotonic() + pause
            if not part.resumable(url):
                urls.rotate(-1)
    raise _given_up(part, reasons)


def _given_up(part: _Part, reasons: dict[str, _Failed]) -> DataError:
    """The error that says of each server why it was given up. A part that could not be resumed goes."""
    told = "could not be fetched: " + (
        "; ".join(f"{url} {failure}" for url, failure in reasons.items()) or "no URL"
    )
    kept = part.resumable(part.state().get("url"))
    if not kept:
        part.discard()
    if reasons and all(failure.missing for failure in reasons.values()):
        return Missing(part.path, told, "check the name")
    if kept:
        return DataError(part.path, told, f"{part.size():,} bytes are kept: run it again to go on")
    if part.recorded and any(failure.wrong for failure in reasons.values()):
        hint = "it is not what came the first time; if it was meant to change, remove its entry from downloads.json"
        return DataError(part.path, told, hint)
    return DataError(part.path, told, "try again later, or name another server")


_threads = threading.local()


def _session() -> requests.Session:
    """One a thread: connections are kept for the next file."""
    if not hasattr(_threads, "session"):
        _threads.session = requests.Session()
        _threads.session.headers.update(
            {"User-Agent": f"posekit/{__version__}", "Accept-Encoding": "identity"}
        )
    return _threads.session


def _attempt(url: str, part: _Part, patience: Patience, bar: tqdm) -> None:
    """Fetch what the part still lacks. Raises `_Failed`, or `DataError` on a full disk."""
    start = part.size() if part.resumable(url) else 0
    if start and start == part.state().get("bytes"):
        return  # all there: it was ended between the last byte and the check
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and part.validator():
        headers["If-Range"] = part.validator()
    try:
        with _session().get(url, headers=headers, stream=True, timeout=patience.timeout) as answer:
            start = _accept(answer, part, start)
            _write(answer, part, url, start, bar)
    except requests.exceptions.SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise _Failed(f"broke the secure connection ({_innermost(error)})") from None
        why = re.sub(r".*certificate verify failed:? ?|\s*\(_ssl.*", "", str(error))
        reason = f"shows a certificate that cannot be verified ({why}); nothing is fetched without: check the clock, "
        raise _Failed(
            reason + "or name your network's own certificates in REQUESTS_CA_BUNDLE", final=True
        ) from None
    except requests.exceptions.TooManyRedirects:
        raise _Failed("redirects in a circle", final=True) from None
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ):
        raise _Failed("is no http or https URL", final=True) from None
    except requests.exceptions.Timeout:
        raise _Failed(f"was silent for {patience.timeout:g} s") from None
    except requests.exceptions.ChunkedEncodingError:
        raise _Failed(f"broke off after {part.size():,} bytes") from None
    except requests.exceptions.RequestException as error:
        if "timed out" in str(error):
            raise _Failed(
                f"was silent for {patience.timeout:g} s after {part.size():,} bytes"
            ) from None
        raise _Failed(f"cannot be reached ({_innermost(error)})") from None


def _innermost(error: BaseException) -> str:
    """What a chain of wrapped network errors comes down to."""
    while isinstance(
        inner := getattr(error, "reason", None) or (error.args or [None])[0], BaseException
    ):
        error = inner
    told = str(getattr(error, "strerror", None) or error)
    return re.sub(r"^(<.*?>|\w+\(.*?\)): ", "", told)  # urllib3 puts the connection object in front


def _accept(answer: requests.Response, part: _Part, start: int) -> int:
    """The byte at which an answer's body begins; raises `_Failed` if it is not the file, or no longer the same one."""
    code, state = answer.status_code, part.state()
    if code in (404, 410):
        raise _Failed(f"has no such file ({code})", final=True, missing=True)
    if code == 416:
        part.discard()
        raise _Failed("has no bytes after those that are here")
    if code not in (200, 206):
        temporary = code >= 500 or code in (408, 425, 429)
        wait = _seconds(answer.headers.get("Retry-After"))
        asked = f" and asks to come back in {wait:.0f} s" if wait else ""
        raise _Failed(
            f"answered {code} {answer.reason}{asked}", final=not temporary, retry_after=wait
        )
    if "html" in answer.headers.get("Content-Type", "") and "htm" not in part.path.suffix:
        raise _Failed("sent a web page instead of the file (a log-in or error page?)", final=True)
    if code == 200:
        return 0
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
    if not start or span is None or int(span[1]) != start:
        raise _Failed(
            f"sent another piece than was asked for ({answer.headers.get('Content-Range')})",
            final=True,
        )
    now = {"etag": answer.headers.get("ETag"), "last_modified": answer.headers.get("Last-Modified")}
    now["bytes"] = None if span[2] == "*" else int(span[2])
    if any(now[key] and state.get(key) and now[key] != state[key] for key in now):
        part.discard()
        raise _Failed("has another file now than the one that was begun")
    return start


def _write(answer: requests.Response, part: _Part, url: str, start: int, bar: tqdm) -> None:
    """Append the body to the part, from byte `start` on."""
    headers = (
        {} if "Content-Encoding" in answer.headers else answer.headers
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
            for chunk in answer.iter_content(_CHUNK):
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
    """bytes and sha256 of a file; raises `_Failed` when they, or what `check` finds, are not what is wanted."""
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
    """Make a rename last through a power cut, where folders can be opened for that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
