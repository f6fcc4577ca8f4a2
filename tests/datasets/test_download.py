"""Downloads against a real server that drops, stalls, lies and changes its mind; archives made to
do harm.
"""

import contextlib
import email.utils
import errno
import gzip
import hashlib
import io
import json
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from faulty_server import Fault, FaultyServer

from posekit.datasets import download
from posekit.datasets.download import Missing, RetryPolicy, archives
from posekit.errors import DataError

QUICK = RetryPolicy(tries=3, timeout=10, wait=0.01)
ONCE = RetryPolicy(tries=1, timeout=10)
FILE = np.random.default_rng(1).bytes(700_001)
OTHER = np.random.default_rng(2).bytes(650_003)
posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals and limits there")
SHA256 = hashlib.sha256(FILE).hexdigest()
MD5 = hashlib.md5(FILE).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server():
    with FaultyServer({"/file.bin": FILE}) as running:
        yield running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate that nobody vouches for, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=127.0.0.1"
    )
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out certificate.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_bytes(
        (folder / "certificate.pem").read_bytes() + (folder / "key.pem").read_bytes()
    )
    return folder / "both.pem"


def fetch(folder: Path, *urls: str, policy=QUICK, progress=False, name="file.bin", **more) -> bool:
    with download.open_folder(folder) as manifest:
        return download.fetch(
            urls, folder / name, manifest, policy=policy, progress=progress, **more
        )


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {
        ".downloads.lock"
    }


def assert_right(folder: Path, content: bytes = FILE) -> None:
    assert (folder / "file.bin").read_bytes() == content
    assert files_in(folder) == {"file.bin", "downloads.json"}
    entry = json.loads((folder / "downloads.json").read_text())["files"]["file.bin"]
    assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def ranges(server: FaultyServer) -> list[str | None]:
    return [seen.headers.get("Range") for seen in server.requests("/file.bin")]


# ---- what must work ------------------------------------------------------------------------------


def test_a_file_comes_whole_is_recorded_and_is_not_fetched_twice(tmp_path, server):
    assert fetch(tmp_path, f"{server.url}/file.bin") is True
    assert_right(tmp_path)
    entry = json.loads((tmp_path / "downloads.json").read_text())["files"]["file.bin"]
    assert entry["url"] == f"{server.url}/file.bin" and re.fullmatch(
        r"\d{4}-\d\d-\d\d", entry["fetched"]
    )
    assert fetch(tmp_path, f"{server.url}/file.bin") is False
    assert len(server.seen) == 1 and server.seen[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("reset", [False, True])
def test_a_broken_connection_is_resumed_where_it_broke(tmp_path, server, reset):
    server.faults["/file.bin"] = [Fault(cut=300_000, reset=reset), Fault(cut=200_000, reset=reset)]
    assert fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    starts = [int(asked[6:-1]) for asked in ranges(server)[1:]]
    assert (
        len(starts) == 2
        and 0 < starts[0] <= 300_000
        and starts[0] < starts[1] <= starts[0] + 200_000
    )
    assert all(seen.headers["If-Range"].startswith('"') for seen in server.seen[1:])
    again = sum(server.sent("/file.bin")) - len(FILE)
    assert again <= 2 * (1 << 16) or reset, "at most a chunk is fetched twice"


def test_a_server_without_range_starts_again(tmp_path, server):
    server.faults["/file.bin"] = [Fault(cut=300_000)]
    server.always["/file.bin"] = Fault(ranges=False)
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    assert server.sent("/file.bin")[1] == len(FILE)


def test_without_etag_or_date_only_a_known_checksum_allows_to_resume(tmp_path, server):
    server.always["/file.bin"] = Fault(validators=False)
    server.faults["/file.bin"] = [Fault(cut=300_000, validators=False)]
    fetch(tmp_path / "unknown", f"{server.url}/file.bin")
    assert ranges(server) == [None, None]
    server.faults["/file.bin"] = [Fault(cut=300_000, validators=False)]
    fetch(tmp_path / "known", f"{server.url}/file.bin", sha256=SHA256)
    assert ranges(server)[2] is None and ranges(server)[3].startswith("bytes=")
    assert_right(tmp_path / "unknown")
    assert_right(tmp_path / "known")


def test_a_date_is_as_good_as_an_etag(tmp_path, server):
    dated = {"Last-Modified": "Tue, 14 May 2024 09:00:00 GMT"}
    server.faults["/file.bin"] = [Fault(cut=300_000, validators=False, headers=dated)]
    server.always["/file.bin"] = Fault(validators=False, heeds_if_range=False, headers=dated)
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    assert server.seen[1].headers["If-Range"] == dated["Last-Modified"]


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_in_between_is_not_glued(tmp_path, server, heeds):
    server.faults["/file.bin"] = [Fault(cut=300_000, becomes=OTHER), Fault(heeds_if_range=heeds)]
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path, OTHER)
    assert ranges(server)[1] is not None and len(server.seen) == (2 if heeds else 3)


def test_a_file_that_changed_unnoticed_is_caught_by_its_checksum(tmp_path, server):
    """Neither ETag nor date, the same length: the pieces only fail to fit together at the end."""
    same_length = OTHER[:1] + FILE[1:]
    server.files["/file.bin"] = same_length
    server.faults["/file.bin"] = [
        Fault(cut=300_000, validators=False, becomes=FILE),
        Fault(validators=False),
    ]
    fetch(tmp_path, f"{server.url}/file.bin", sha256=SHA256)
    assert_right(tmp_path)
    assert len(server.seen) == 3 and ranges(server)[2] is None


def test_all_there_but_not_yet_named_needs_no_network(tmp_path, server):
    """Ended between the last byte and the rename."""
    server.faults["/file.bin"] = [Fault(cut=300_000)]
    with pytest.raises(DataError):
        fetch(tmp_path, f"{server.url}/file.bin", policy=ONCE)
    (tmp_path / "file.bin.part").write_bytes(FILE)
    server.seen.clear()
    assert fetch(tmp_path, f"{server.url}/file.bin") and server.seen == []
    assert_right(tmp_path)


@pytest.mark.parametrize(
    "about", [None, "", "{", '{"url": 1}', '{"url": "http://elsewhere/x", "etag": "\\"1\\""}', "[]"]
)
def test_a_part_of_unknown_origin_is_not_trusted(tmp_path, server, about):
    (tmp_path / "file.bin.part").write_bytes(b"what is this?")
    if about is not None:
        (tmp_path / "file.bin.part.json").write_text(about)
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    assert ranges(server) == [None]


def test_a_part_longer_than_the_file_is_begun_anew(tmp_path, server):
    server.faults["/file.bin"] = [Fault(cut=300_000)]
    with pytest.raises(DataError):
        fetch(tmp_path, f"{server.url}/file.bin", policy=ONCE)
    (tmp_path / "file.bin.part").write_bytes(FILE + b"more")
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    assert [seen.status for seen in server.seen] == [200, 416, 200]


def test_redirects_are_followed_and_compressed_answers_are_unpacked(tmp_path, server):
    server.faults["/moved"] = [Fault(status=302, headers={"Location": "/file.bin"})]
    fetch(tmp_path, f"{server.url}/moved")
    assert_right(tmp_path)
    server.faults["/file.bin"] = [
        Fault(body=gzip.compress(FILE), headers={"Content-Encoding": "gzip"})
    ]
    fetch(tmp_path / "packed", f"{server.url}/file.bin", sha256=SHA256)
    assert_right(tmp_path / "packed")
    server.faults["/file.bin"] = [
        Fault(body=gzip.compress(FILE), cut=300_000, headers={"Content-Encoding": "gzip"})
    ]
    server.seen.clear()
    fetch(tmp_path / "broken", f"{server.url}/file.bin")
    assert_right(tmp_path / "broken")
    assert ranges(server) == [None, None]


def test_the_proxy_of_the_environment_is_asked(tmp_path, server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    fetch(tmp_path, "http://no-such-host.invalid/file.bin")
    assert_right(tmp_path)


def test_a_bar_shows_the_bytes(tmp_path, server, capsys):
    fetch(tmp_path, f"{server.url}/file.bin", progress=True)
    assert re.search(r"file\.bin: 100%.*700k/700k", capsys.readouterr().err)


def test_an_empty_file_is_a_file(tmp_path, server):
    server.files["/file.bin"] = b""
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path, b"")


# ---- servers that fail ---------------------------------------------------------------------------


def test_503_is_tried_again_after_the_time_it_asks_for(tmp_path, server):
    server.faults["/file.bin"] = [Fault(status=503, headers={"Retry-After": "1"})]
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    assert server.seen[1].when - server.seen[0].when >= 1


def test_retry_after_may_be_a_date(tmp_path, server):
    then = email.utils.formatdate(time.time() + 2, usegmt=True)
    server.faults["/file.bin"] = [Fault(status=429, headers={"Retry-After": then})]
    fetch(tmp_path, f"{server.url}/file.bin")
    assert server.seen[1].when - server.seen[0].when >= 0.9


def test_a_server_that_asks_for_too_long_a_wait_is_left(tmp_path, server):
    server.always["/file.bin"] = Fault(status=503, headers={"Retry-After": "3600"})
    with pytest.raises(DataError, match=r"answered 503 .* asks to come back in 3600 s"):
        fetch(tmp_path, f"{server.url}/file.bin")
    with FaultyServer({"/file.bin": FILE}) as mirror:
        fetch(tmp_path, f"{server.url}/file.bin", f"{mirror.url}/file.bin")
    assert_right(tmp_path)


@pytest.mark.parametrize(
    "fault", [Fault(status=500), Fault(status=429), Fault(cut=0), Fault(cut=9, reset=True)]
)
def test_tries_are_bounded(tmp_path, server, fault):
    server.always["/file.bin"] = fault
    with pytest.raises(DataError, match=r"file\.bin: could not be fetched: http://127"):
        fetch(tmp_path, f"{server.url}/file.bin")
    assert len(server.seen) == 3 and files_in(tmp_path) == {"downloads.json"}


def test_progress_gives_the_tries_back(tmp_path):
    big = np.random.default_rng(3).bytes(6 << 20)
    with FaultyServer({"/file.bin": big}) as server:
        server.always["/file.bin"] = Fault(cut=1_300_000)
        fetch(
            tmp_path / "a",
            f"{server.url}/file.bin",
            policy=RetryPolicy(tries=2, timeout=1, wait=0.01),
        )
        assert_right(tmp_path / "a", big)
        server.always["/file.bin"] = Fault(cut=200_000)
        with pytest.raises(DataError, match=r"bytes are kept: run it again"):
            fetch(
                tmp_path / "b",
                f"{server.url}/file.bin",
                policy=RetryPolicy(tries=2, timeout=1, wait=0.01),
            )
        server.always.clear()
        fetch(tmp_path / "b", f"{server.url}/file.bin")
        assert_right(tmp_path / "b", big)
        assert 0 < int(ranges(server)[-1][6:-1]) <= 400_000


def test_waits_double_within_bounds_and_repeat_for_a_seed():
    waits = [RetryPolicy(wait=1, max_wait=20).pause("http://a/b", n) for n in range(1, 9)]
    assert waits == [RetryPolicy(wait=1, max_wait=20).pause("http://a/b", n) for n in range(1, 9)]
    assert all(
        0.5 * full <= w <= full for w, full in zip(waits, [1, 2, 4, 8, 16, 20, 20, 20], strict=True)
    )
    assert waits != [
        RetryPolicy(wait=1, max_wait=20, seed=1).pause("http://a/b", n) for n in range(1, 9)
    ]
    assert RetryPolicy().pause("http://a/b", 3) != RetryPolicy().pause("http://a/c", 3), (
        "files do not retry in step"
    )


def test_404_is_missing_and_not_asked_twice(tmp_path, server):
    with pytest.raises(Missing, match=r"/none has no such file \(404\)"):
        fetch(tmp_path, f"{server.url}/none")
    assert len(server.seen) == 1
    with FaultyServer({"/none": FILE}) as mirror:
        fetch(tmp_path, f"{server.url}/none", f"{mirror.url}/none")
        assert_right(tmp_path)


def test_missing_is_only_what_all_servers_miss(tmp_path, server):
    server.always["/none"] = Fault(status=500)
    with FaultyServer() as mirror, pytest.raises(DataError) as raised:
        fetch(tmp_path, f"{mirror.url}/none", f"{server.url}/none")
    assert not isinstance(raised.value, Missing)
    assert "404" in str(raised.value) and "answered 500" in str(raised.value)


def test_mirrors_are_asked_in_order_and_a_dead_one_costs_one_attempt(tmp_path, server):
    with FaultyServer() as dead:
        pass
    fetch(tmp_path, f"{dead.url}/file.bin", f"{server.url}/file.bin")
    assert_right(tmp_path)
    with pytest.raises(
        DataError, match=r"cannot be reached \(Failed to establish a new connection: .*refused\)"
    ):
        fetch(tmp_path / "x", f"{dead.url}/file.bin")
    with FaultyServer({"/file.bin": OTHER}) as second:
        fetch(tmp_path / "first", f"{server.url}/file.bin", f"{second.url}/file.bin")
        assert second.seen == []
        assert_right(tmp_path / "first")


def test_a_part_is_resumed_from_its_own_server_and_never_continued_from_another(tmp_path, server):
    with FaultyServer({"/file.bin": OTHER}) as second:
        second.always["/file.bin"] = Fault(cut=300_000)
        with pytest.raises(DataError):
            fetch(tmp_path, f"{second.url}/file.bin", policy=ONCE)
        shutil.copytree(tmp_path, tmp_path.with_name("copy"))
        fetch(tmp_path, f"{server.url}/file.bin")
        assert_right(tmp_path)
        second.always.clear()
        fetch(tmp_path.with_name("copy"), f"{server.url}/file.bin", f"{second.url}/file.bin")
        assert_right(tmp_path.with_name("copy"), OTHER)
        assert second.seen[-1].status == 206


def test_silence_ends_in_a_timeout_and_the_part_is_resumed(tmp_path, server):
    server.faults["/file.bin"] = [Fault(stall=2), Fault(cut=300_000, stall=2)]
    fetch(tmp_path, f"{server.url}/file.bin", policy=RetryPolicy(tries=9, timeout=0.5, wait=0.01))
    assert_right(tmp_path)
    assert any(asked for asked in ranges(server))
    server.always["/file.bin"] = Fault(stall=2)
    with pytest.raises(DataError, match=r"was silent for 0\.3 s"):
        fetch(tmp_path / "x", f"{server.url}/file.bin", policy=RetryPolicy(tries=1, timeout=0.3))


def test_a_short_body_is_not_taken_for_the_file(tmp_path, server):
    server.faults["/file.bin"] = [Fault(claim=500_000)]
    fetch(tmp_path, f"{server.url}/file.bin", size=len(FILE))
    assert_right(tmp_path)
    server.always["/file.bin"] = Fault(claim=500_000)
    with pytest.raises(DataError, match=r"has a file of 500,000 bytes, expected 700,001"):
        fetch(tmp_path / "x", f"{server.url}/file.bin", size=len(FILE))
    server.always["/file.bin"] = Fault(claim=900_000)
    with pytest.raises(DataError, match=r"broke off after [\d,]+ bytes .*are kept"):
        fetch(tmp_path / "y", f"{server.url}/file.bin")
    assert not (tmp_path / "y" / "file.bin").exists()


@pytest.mark.parametrize(
    "known", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256.upper(), "md5": MD5}]
)
def test_a_wrong_checksum_is_fetched_once_more_then_refused(tmp_path, server, known):
    server.faults["/file.bin"] = [Fault(body=OTHER)]
    fetch(tmp_path, f"{server.url}/file.bin", **known)
    assert_right(tmp_path)
    server.always["/file.bin"] = Fault(body=OTHER)
    server.seen.clear()
    name, value = next(iter(known.items()))
    with pytest.raises(
        DataError, match=rf"has (md5|sha256) \w+, expected {MD5 if 'md5' in known else SHA256}"
    ):
        fetch(tmp_path / "x", f"{server.url}/file.bin", **known)
    assert len(server.seen) == 2 and files_in(tmp_path / "x") == {"downloads.json"}
    with FaultyServer({"/file.bin": FILE}) as mirror:
        fetch(tmp_path / "x", f"{server.url}/file.bin", f"{mirror.url}/file.bin", **known)
    assert_right(tmp_path / "x")


def test_content_is_checked_before_the_file_gets_its_name(tmp_path, server):
    def is_file(path: Path) -> None:
        assert path.name == "file.bin.part"
        if path.read_bytes() != FILE:
            raise DataError(path, "is the other one")

    server.always["/file.bin"] = Fault(body=OTHER)
    with pytest.raises(DataError, match="is not the file that is wanted: is the other one"):
        fetch(tmp_path, f"{server.url}/file.bin", check=is_file)
    assert not (tmp_path / "file.bin").exists()
    server.always.clear()
    fetch(tmp_path, f"{server.url}/file.bin", check=is_file)


def test_a_web_page_is_not_the_file(tmp_path, server):
    page = Fault(body=b"<html>Please log in", headers={"Content-Type": "text/html; charset=utf-8"})
    server.always["/file.bin"] = page
    with pytest.raises(DataError, match="sent a web page instead of the file"):
        fetch(tmp_path, f"{server.url}/file.bin")
    assert len(server.seen) == 1 and files_in(tmp_path) == {"downloads.json"}


def test_redirects_in_a_circle_end(tmp_path, server):
    server.always["/a"] = Fault(status=302, headers={"Location": "/b"})
    server.always["/b"] = Fault(status=302, headers={"Location": "/a"})
    with pytest.raises(DataError, match="redirects in a circle"):
        fetch(tmp_path, f"{server.url}/a")
    assert len(server.seen) <= 40


def test_a_piece_that_was_not_asked_for_is_refused(tmp_path, server):
    server.faults["/file.bin"] = [
        Fault(cut=300_000),
        Fault(headers={"Content-Range": "bytes 0-9/10"}),
    ]
    with pytest.raises(DataError, match=r"sent another piece than was asked for \(bytes 0-9/10\)"):
        fetch(tmp_path, f"{server.url}/file.bin")


@pytest.mark.parametrize(
    "url", ["file.bin", "ftp://127.0.0.1/file.bin", "http://", "http://[::1/file.bin"]
)
def test_what_is_no_url_is_said(tmp_path, url):
    with pytest.raises(DataError, match="is no http or https URL"):
        fetch(tmp_path, url)


def test_a_certificate_that_cannot_be_verified_is_never_accepted(tmp_path, certificate):
    with FaultyServer({"/file.bin": FILE}, certificate=certificate) as server:
        with pytest.raises(DataError) as raised:
            fetch(tmp_path, f"{server.url}/file.bin")
        assert server.seen == []
    assert "shows a certificate that cannot be verified (self-signed certificate)" in str(
        raised.value
    )
    assert "REQUESTS_CA_BUNDLE" in str(raised.value) and "\n" not in str(raised.value)


def test_a_certificate_of_ones_own_network_is_accepted_when_named(
    tmp_path, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with FaultyServer({"/file.bin": FILE}, certificate=certificate) as server:
        fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)


# ---- the manifest --------------------------------------------------------------------------------


def test_a_file_damaged_on_disk_is_fetched_again(tmp_path, server, capsys):
    fetch(tmp_path, f"{server.url}/file.bin")
    (tmp_path / "file.bin").write_bytes(FILE[:-1] + b"!")
    assert fetch(tmp_path, f"{server.url}/file.bin") is True
    assert_right(tmp_path)
    assert "expected" in capsys.readouterr().err


def test_what_came_first_must_come_again(tmp_path, server):
    fetch(tmp_path, f"{server.url}/file.bin")
    server.files["/file.bin"] = OTHER
    assert fetch(tmp_path, f"{server.url}/file.bin") is False, "what is there is right"
    (tmp_path / "file.bin").unlink()
    with pytest.raises(
        DataError,
        match=r"not the file of the first download.*remove its entry from downloads\.json",
    ):
        fetch(tmp_path, f"{server.url}/file.bin")
    (tmp_path / "downloads.json").unlink()
    fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path, OTHER)


def test_a_file_that_was_put_there_is_checked_and_recorded(tmp_path, server):
    (tmp_path / "file.bin").write_bytes(FILE)
    assert fetch(tmp_path, f"{server.url}/file.bin", sha256=SHA256) is False and server.seen == []
    assert_right(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"files": []}', '{"files": {"a": 1}}', "\xff"]
)
def test_a_broken_manifest_is_named(tmp_path, content):
    (tmp_path / "downloads.json").write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=r"downloads\.json: cannot be read"):
        fetch(tmp_path, "http://127.0.0.1:9/x")
    assert (tmp_path / "downloads.json").read_text(encoding="latin-1") == content


def test_many_files_do_not_write_the_manifest_each_time(tmp_path):
    with download.open_folder(tmp_path, every=60) as manifest:
        for i in range(100):
            manifest.add(tmp_path / f"{i}.jpg", bytes=i)
        assert not manifest.path.exists()
    assert len(json.loads((tmp_path / "downloads.json").read_text())["files"]) == 100


def test_one_process_at_a_time(tmp_path, server):
    code = (
        "import sys; from posekit.datasets import download\n"
        "with download.open_folder(sys.argv[1]): print(1, flush=True); input()"
    )
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=-1, stdout=-1, text=True)
    try:
        assert other.stdout.readline() == "1\n"
        with pytest.raises(DataError, match="another process is downloading into it"):
            fetch(tmp_path, f"{server.url}/file.bin")
    finally:
        other.communicate("\n")
    assert fetch(tmp_path, f"{server.url}/file.bin")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(DataError, match=r"taken.*cannot be written"):
        fetch(tmp_path / "taken" / "sub", "http://127.0.0.1:9/x")


def test_a_disk_that_is_mounted_to_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path, *arguments, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"new: cannot be written: Read-only file system"):
        fetch(tmp_path / "new", "http://127.0.0.1:9/x")


# ---- disks, signals ------------------------------------------------------------------------------

CHILD = """
import resource, signal, sys
from pathlib import Path
from posekit.datasets import download
from posekit.errors import DataError
url, folder, largest = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
# shells start background jobs with it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
if largest:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
try:
    with download.open_folder(folder) as manifest:
        download.fetch(url, folder / "file.bin", manifest)
except DataError as error:
    sys.exit(f"error: {error}")
except KeyboardInterrupt:
    sys.exit(130)
"""


def child(server: FaultyServer, folder: Path, largest: int = 0) -> subprocess.Popen:
    command = [sys.executable, "-c", CHILD, f"{server.url}/file.bin", folder, str(largest)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for_part(folder: Path, least: int) -> None:
    part = folder / "file.bin.part"
    start = time.monotonic()
    while not (part.exists() and part.stat().st_size >= least):
        assert time.monotonic() - start < 20, "no part appeared"
        time.sleep(0.005)


@posix
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_killed_or_interrupted_it_leaves_a_part_that_is_resumed(tmp_path, server, name):
    number = getattr(signal, name)
    server.faults["/file.bin"] = [Fault(cut=300_000, stall=60)]
    process = child(server, tmp_path)
    wait_for_part(tmp_path, 200_000)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert not (tmp_path / "file.bin").exists()
    assert fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    assert int(ranges(server)[-1][6:-1]) >= 200_000


def test_a_file_larger_than_the_disk_is_refused_before_a_byte_is_written(tmp_path, server):
    server.always["/file.bin"] = Fault(claim=10**17)
    with pytest.raises(
        DataError, match=r"100,000,000,000,000,000 bytes are needed, the disk has [\d,]+ free"
    ):
        fetch(tmp_path, f"{server.url}/file.bin")
    assert not (tmp_path / "file.bin.part").exists() and len(server.seen) == 1


@posix
@pytest.mark.fault("disk-download")
def test_a_disk_that_gets_full_is_told_and_the_part_stays(tmp_path, server):
    """The system's limit on a file's size stands in for the full disk: the same failing write, at a
    known byte.
    """
    process = child(server, tmp_path, largest=400_000)
    _, told = process.communicate()
    assert process.returncode == 1 and "Traceback" not in told
    assert re.search(
        r"the disk is full \(.*\); 700,001 bytes were needed \(free some space and run it", told
    )
    assert (tmp_path / "file.bin.part").stat().st_size > 0
    assert fetch(tmp_path, f"{server.url}/file.bin")
    assert_right(tmp_path)
    assert server.seen[-1].status == 206


# ---- archives ------------------------------------------------------------------------------------


def tar(path: Path, *members: tuple | tarfile.TarInfo, mode: str = "w") -> Path:
    """A tar of (name, bytes) pairs and ready-made TarInfos."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            info, data = (
                (member, b"")
                if isinstance(member, tarfile.TarInfo)
                else (tarfile.TarInfo(member[0]), member[1])
            )
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def zipped(path: Path, *members: tuple) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def special(kind: bytes, name: str = "a/evil", target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.xz", "zip"])
def test_archives_are_unpacked(tmp_path, kind):
    members = [("a/1.txt", b"one"), ("a/b/2.txt", b"two"), ("3.txt", b"")]
    path = tmp_path / f"x.{kind}"
    zipped(path, ("a/", b""), *members) if kind == "zip" else tar(
        path, *members, mode="w:" + kind[4:]
    )
    assert archives.extract(path, tmp_path / "out", progress=False) == 3
    assert {
        name: (tmp_path / "out" / name).read_bytes() for name in files_in(tmp_path / "out")
    } == dict(members)
    assert (
        archives.extract(
            path, tmp_path / "some", lambda name: name.startswith("a/"), progress=False
        )
        == 2
    )
    assert files_in(tmp_path / "some") == {"a/1.txt", "a/b/2.txt"}
    with pytest.raises(DataError, match="exists already"):
        archives.extract(path, tmp_path / "out")


EVIL_NAMES = [
    "/etc/evil",
    "../evil",
    "a/../../evil",
    "a/..",
    "C:/evil",
    "C:evil",
    "..\\evil",
    "\\\\host\\evil",
    "//evil",
]
EVIL = {
    **{f"name {name}": (name, b"x") for name in EVIL_NAMES},
    "a symlink out": special(tarfile.SYMTYPE, target="/etc"),
    "a symlink up": special(tarfile.SYMTYPE, target="../../etc"),
    "a hard link out": special(tarfile.LNKTYPE, target="/etc/passwd"),
    "a device": special(tarfile.CHRTYPE),
    "a pipe": special(tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_an_evil_tar_writes_nothing(tmp_path, evil):
    path = tar(tmp_path / "x.tar", ("a/good", b"1"), evil, ("a/evil/through", b"3"))
    (tmp_path / "deep").mkdir()
    with pytest.raises(
        DataError, match=r"x\.tar, member '.*': (its path leaves the folder|is a link or a device)"
    ):
        archives.extract(path, tmp_path / "deep" / "out", progress=False)
    assert files_in(tmp_path) == {"x.tar"} and list((tmp_path / "deep").iterdir()) == []


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_an_evil_zip_writes_nothing(tmp_path, name):
    path = zipped(tmp_path / "x.zip", ("good", b"1"), (name, b"2"))
    with pytest.raises(DataError, match="its path leaves the folder"):
        archives.extract(path, tmp_path / "out", progress=False)
    assert files_in(tmp_path) == {"x.zip"}


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DataError, match="is a link or a device"):
        archives.extract(
            zipped(tmp_path / "x.zip", (link, "/etc")), tmp_path / "out", progress=False
        )


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_comes_twice_is_refused(tmp_path, kind):
    for members in (
        [("a", b"1"), ("a", b"2")],
        [("a", b"1"), ("a/b", b"2")],
        [("a/b", b"1"), ("a", b"2")],
    ):
        with (
            pytest.warns(UserWarning)
            if kind == "zip" and members[0][0] == members[1][0]
            else contextlib.nullcontext()
        ):
            path = (zipped if kind == "zip" else tar)(tmp_path / f"x.{kind}", *members)
        with pytest.raises(DataError, match="another member has the same name"):
            archives.extract(path, tmp_path / "out", progress=False)
        assert files_in(tmp_path) == {path.name}


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "zip"])
def test_a_bomb_is_defused(tmp_path, kind):
    zeros = bytes(30 << 20)
    path = tmp_path / f"x.{kind}"
    zipped(path, ("zeros", zeros)) if kind == "zip" else tar(
        path, ("zeros", zeros), mode="w:" + kind[4:]
    )
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"grows beyond [\d,]+ bytes or 1,000,000 files: a bomb"):
        archives.extract(path, tmp_path / "out", progress=False)
    assert files_in(tmp_path) == {path.name}


def test_a_zip_that_lies_about_its_sizes_is_damaged(tmp_path):
    """Header says 10 bytes, inside are 5 MB: only 10 are ever read, and their checksum is wrong."""
    path = zipped(tmp_path / "x.zip", ("zeros", bytes(5 << 20)))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + offset
        data[at : at + 4] = (10).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be unpacked"):
        archives.extract(path, tmp_path / "out", progress=False)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("damage", ["short", "flipped", "none", "other"])
def test_a_damaged_archive_leaves_nothing(tmp_path, kind, damage):
    path = tmp_path / f"x.{kind}"
    noise = np.random.default_rng(0).bytes(50_000)
    members = [(f"a/{i}", noise) for i in range(5)]
    zipped(path, *members) if kind == "zip" else tar(path, *members, mode="w:" + kind[4:])
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        header = (
            512 + 50_176 if kind == "tar" else len(data) // 2
        )  # a plain tar's checksum covers its headers only
        data[header] ^= 0xFF
    path.write_bytes(
        {"short": data[:130_000], "flipped": data, "none": b"", "other": noise}[damage]
    )
    with pytest.raises(DataError, match=rf"x\.{kind}: cannot be unpacked"):
        archives.extract(path, tmp_path / "out", progress=False)
    assert files_in(tmp_path) == {path.name}


def test_what_is_no_file_is_no_archive(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("folder", "missing.tar"):
        with pytest.raises(DataError, match=f"{name}: is not a file"):
            archives.extract(tmp_path / name, tmp_path / "out", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_an_archive_needs_no_memory(tmp_path):
    """Neither for what is large nor for what are many."""
    path = tar(
        tmp_path / "x.tar", *[(f"a/{i:05d}", b"") for i in range(10_000)], ("big", bytes(32 << 20))
    )
    code = (
        "import sys, tracemalloc; from posekit.datasets.download import archives\n"
        "tracemalloc.start()\n"
        "count = archives.extract(*sys.argv[1:], lambda name: name >= 'a/09990', progress=False)\n"
        "print(count, tracemalloc.get_traced_memory()[1])"
    )  # in a process of its own: other rooms' threads allocate, too
    command = [sys.executable, "-c", code, path, tmp_path / "out"]
    count, peak = map(
        int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    )
    assert count == 11
    assert peak < 6 << 20


def test_what_a_killed_extraction_left_is_cleared(tmp_path):
    left = tmp_path / ".out.temporary" / "half"
    left.parent.mkdir()
    left.write_bytes(b"half")
    archives.extract(tar(tmp_path / "x.tar", ("a", b"1")), tmp_path / "out", progress=False)
    assert files_in(tmp_path) == {"x.tar", "out/a"}


@posix
def test_unpacking_onto_a_full_disk_leaves_nothing(tmp_path):
    tar(tmp_path / "x.tar", ("a", bytes(1000)), ("b", bytes(900_000)))
    code = (
        "import resource, sys; from posekit.datasets.download import archives\n"
        "from posekit.errors import DataError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))\n"
        "try: archives.extract(*sys.argv[1:], progress=False)\n"
        "except DataError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", code, tmp_path / "x.tar", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "the disk is full" in done.stderr and "901,000 bytes were needed" in done.stderr
    assert files_in(tmp_path) == {"x.tar"}
