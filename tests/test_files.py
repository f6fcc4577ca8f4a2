"""Atomic files and folders: complete under their name, or not there at all."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from posekit import files
from posekit.errors import DataError


def test_a_file_appears_when_the_block_ends_and_keeps_its_suffix(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"old")
    with files.atomic_file(path, durable=True) as part:
        part.write_bytes(b"new")
        assert part.suffix == ".keras" and part.parent == tmp_path
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.keras"]


def test_a_failed_block_leaves_the_older_file_alone(tmp_path):
    path = tmp_path / "record.json"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.atomic_file(path) as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]


def test_atomic_write_creates_parents_and_names_the_needed_bytes(tmp_path, monkeypatch):
    path = tmp_path / "a" / "b" / "file.bin"
    files.atomic_write(path, b"data", durable=True)
    assert path.read_bytes() == b"data"

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"file\.bin: the disk is full .*; 5 bytes were needed"):
        files.atomic_write(path, b"other")
    assert path.read_bytes() == b"data"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_a_folder_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "set"
    path.mkdir()  # an empty folder may be there already
    left = files.temporary_path(path)
    left.mkdir()
    (left / "old").write_text("left by a killed process")
    with files.atomic_folder(path) as part:
        (part / "new").write_text("1")
        assert not any(path.iterdir())
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]
    assert [entry.name for entry in path.iterdir()] == ["new"]


def test_a_failed_folder_takes_its_parents_with_it(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "a" / "b" / "set") as part:
        (part / "file").write_text("1")
        raise RuntimeError
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError), files.atomic_folder(tmp_path) as part:
        (part / "file").write_text("other")
    assert (tmp_path / "file").read_text() == "mine"
    assert not files.temporary_path(tmp_path).exists()


# ---- addresses and locks --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown", "hint"),
    [
        ("gs://bucket/a b", "gs://bucket/a b", "gcloud storage cp"),
        (Path("gs://bucket/x"), "gs://bucket/x", "gcloud storage cp"),
        ("S3://Bucket/x", "S3://Bucket/x", "aws s3 cp"),
        (Path("https://host/x.jpg"), "https://host/x.jpg", "curl -LO"),
        ("file:///tmp/x", "file:///tmp/x", "leave out file://"),
        ("rtsp://host/x", "rtsp://host/x", "webcam --source"),
        ("hdfs://host/x", "hdfs://host/x", "hdfs dfs -cp"),
        ("abfss://c@a.dfs.core.windows.net/x", "abfss://", "azcopy"),
        ("unknown+scheme://x", "unknown+scheme://x", "copy the data, and give a path"),
    ],
)
def test_an_address_is_refused_by_name(given, shown, hint):
    with pytest.raises(DataError, match="is an address; expected a path") as error:
        files.local_path(given)
    assert str(error.value).startswith(shown) and hint in str(error.value)


@pytest.mark.parametrize(
    "path", ["a/b", "/a:b/c", "C:/data/x", "C:\\data", "a:b", "2024-01:/x", "."]
)
def test_a_path_is_no_address(path):
    assert files.local_path(path) == Path(path)


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    """The shell leaves it in `--out=~/x`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.local_path("~/x") == tmp_path / "x"
    assert files.local_path("~x") == Path("~x")


def test_nothing_is_written_to_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="is an address"):
        files.atomic_write(Path("gs://bucket/x"), b"data")
    with pytest.raises(DataError, match="is an address"), files.atomic_folder(Path("gs://b/x")):
        pass
    monkeypatch.setenv("POSEKIT_CACHE", "s3://bucket/cache")
    with pytest.raises(DataError, match="s3://bucket/cache: is an address"):
        files.cache_root()
    assert not any(tmp_path.iterdir())


def hold(path: Path) -> subprocess.Popen:
    """Start a process that holds the lock on `path` until its input ends."""
    code = (
        "import sys; from posekit import files\n"
        "with files.lock_output(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path):
    out = tmp_path / "new" / "out"
    (tmp_path / "link").symlink_to(tmp_path / "new")
    with hold(out) as process:
        try:
            for path in (out, str(out), tmp_path / "link" / "out"):
                with pytest.raises(DataError, match="out: another process is writing it"):
                    with files.lock_output(path):
                        pass
            with pytest.raises(DataError, match="another process"), files.atomic_folder(out):
                pass
            with files.lock_output(out.with_name("other")):
                pass
        finally:
            process.stdin.close()
            process.wait(60)
    assert process.returncode == 0
    with files.lock_output(out):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["link"]


def test_a_killed_process_holds_no_lock(tmp_path):
    out = tmp_path / "out"
    with hold(out) as process:
        process.kill()
    with files.atomic_folder(out) as part:
        (part / "file").write_text("1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_lock_fits_on_the_longest_name(tmp_path):
    with files.lock_output(tmp_path / ("ä" * 127)), files.lock_output(tmp_path / ("b" * 255)):
        assert len(list(tmp_path.iterdir())) == 2
    assert not any(tmp_path.iterdir())


def test_an_interrupt_releases_the_lock(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.lock_output(tmp_path / "a" / "b"):
        raise KeyboardInterrupt
    assert not any(tmp_path.iterdir())
