"""Atomic files and folders: complete under their name, or not there at all."""

import errno

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
