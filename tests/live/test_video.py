"""Frames of clips: their times, their rotation, addresses; and the writer of drawn clips."""

import functools
import http.server
import struct
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from posekit.errors import DataError
from posekit.live import Pose, server, video

SIZE = (64, 48)
FPS = 25.0


def write_clip(path: Path, frames: int = 20, codec: str = "mp4v") -> Path:
    """Write a clip of 25 frames per second: red on top, blue below."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), FPS, SIZE)
    frame = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    frame[: SIZE[1] // 2, :, 2] = 250
    frame[SIZE[1] // 2 :, :, 0] = 250
    for _ in range(frames):
        writer.write(frame)
    writer.release()
    return path


def find_box(data: bytes, names: list[bytes], start: int = 0, stop: int | None = None) -> list[int]:
    """Return the offsets of nested boxes of an mp4 file (ISO/IEC 14496-12, section 4.2)."""
    stop = len(data) if stop is None else stop
    while start < stop:
        size = int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == names[0]:
            inside = find_box(data, names[1:], start + 8, start + size) if names[1:] else []
            return [start, *inside]
        start += size
    raise AssertionError(f"no box {names[0]}")


def with_durations(clip: Path, entries: list[tuple[int, int]]) -> Path:
    """Give the frames of an mp4 file other durations: (frames, length in units of 1/4 of 40 ms).

    The box `stts` grows, and with it those around it; they stand behind the frames, which stay.
    """
    data = bytearray(clip.read_bytes())
    path = find_box(data, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"])
    stts = path[-1]
    size, count = struct.unpack_from(">I8xI", data, stts)
    _, delta = struct.unpack_from(">II", data, stts + 16)
    assert count == 1 and data.find(b"mdat") < path[0]
    table = b"".join(struct.pack(">II", n, length * delta // 4) for n, length in entries)
    box = struct.pack(">I4s4xI", 16 + len(table), b"stts", len(entries)) + table
    data[stts : stts + size] = box
    for offset in path[:-1]:
        (old,) = struct.unpack_from(">I", data, offset)
        struct.pack_into(">I", data, offset, old + len(box) - size)
    clip.write_bytes(data)
    return clip


def rotated(clip: Path, matrix: tuple[int, ...]) -> Path:
    """Set the rotation in the track header of an mp4 file: a, b, c, d of its matrix."""
    data = bytearray(clip.read_bytes())
    tkhd = find_box(data, [b"moov", b"trak", b"tkhd"])[-1]
    a, b, c, d = (value << 16 & 0xFFFFFFFF for value in matrix)
    struct.pack_into(">9I", data, tkhd + 48, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(data)
    return clip


def times(source) -> list[float]:
    return [seconds for _, seconds in video.frames(source)]


# ---- times ----------------------------------------------------------------------------------


def test_times_are_those_of_the_file_at_a_variable_frame_rate(tmp_path):
    """Ten frames of 20 ms, then ten of 60 ms; the mean is 40 ms."""
    clip = with_durations(write_clip(tmp_path / "phone.mp4"), [(10, 2), (10, 6)])
    wanted = np.cumsum([0, *[0.02] * 10, *[0.06] * 9])
    np.testing.assert_allclose(times(clip), wanted, atol=0.0015)
    assert video.frame_rate(clip) == pytest.approx(50, rel=0.01)


def test_a_pause_in_a_clip_is_as_long_as_it_was(tmp_path):
    clip = with_durations(write_clip(tmp_path / "pause.mp4"), [(9, 2), (1, 42), (10, 2)])
    wanted = np.cumsum([0, *[0.02] * 9, 0.42, *[0.02] * 9])
    np.testing.assert_allclose(times(clip), wanted, atol=0.0015)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mp4v"), ("a.mkv", "mp4v"), ("a.avi", "MJPG"), ("a.webm", "VP80"), ("a.ts", "mp4v")],
)
def test_times_at_a_constant_frame_rate(tmp_path, name, codec):
    clip = write_clip(tmp_path / name, codec=codec)
    np.testing.assert_allclose(times(clip), np.arange(20) / FPS, atol=0.0015)
    assert video.frame_rate(clip) == pytest.approx(FPS)


def test_frames_without_a_time_follow_at_the_mean_rate():
    """Some formats have no times, and damaged files have times that go back."""
    clock = video._Clock(10.0)
    given = [0, 0, 0, 500, 400, 600]
    found = [clock.seconds(time) for time in given]
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.5, 0.6, 0.7])
    # The times of a transport stream overflow after 26.5 hours.
    clock = video._Clock(10.0)
    found = [clock.seconds(time) for time in (0, 100, 95_443_717, 95_443_917)]
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 0.4])
    late = video._Clock(10.0)
    np.testing.assert_allclose([late.seconds(time) for time in (1400, 1440)], [0, 0.04])


# ---- rotation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("matrix", "shape", "red"),
    [
        ((1, 0, 0, 1), (48, 64), "top"),
        ((0, 1, -1, 0), (64, 48), "right"),
        ((-1, 0, 0, -1), (48, 64), "bottom"),
        ((0, -1, 1, 0), (64, 48), "left"),
    ],
)
def test_a_clip_is_rotated_as_it_says(tmp_path, matrix, shape, red):
    clip = rotated(write_clip(tmp_path / "phone.mp4", frames=3), matrix)
    for frame, _ in video.frames(clip):
        assert frame.shape[:2] == shape
        height, width = shape
        reds = frame[..., 0].astype(int) - frame[..., 2]
        sides = {
            "top": reds[: height // 4],
            "bottom": reds[-height // 4 :],
            "left": reds[:, : width // 4],
            "right": reds[:, -width // 4 :],
        }
        assert max(sides, key=lambda side: sides[side].mean()) == red


# ---- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("gs://bucket/clip.mp4", "gcloud storage cp"),
        ("s3://bucket/clip.mp4", "aws s3 cp"),
        ("file:///home/me/clip.mp4", "leave out file://"),
        (Path("s3://bucket/clip.mp4"), "aws s3 cp"),
        ("hdfs://host/clip.mp4", "copy the data"),
    ],
)
def test_an_address_of_no_stream_is_refused(source, hint):
    with pytest.raises(DataError, match="is an address") as error:
        next(video.frames(source))
    assert hint in str(error.value) and "://" in str(error.value)


@pytest.mark.parametrize("source", ["rtsp://127.0.0.1:9/live", "http://127.0.0.1:9/clip.mp4"])
def test_a_stream_that_is_not_there_is_named_in_one_line(source):
    """As a process of its own: FFmpeg would add lines in its own words."""
    command = [sys.executable, "-m", "posekit", "webcam", "--source", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {source}: ") and done.stderr.count("\n") == 1
    assert "this address" in done.stderr


def test_a_clip_is_read_over_http(tmp_path):
    clip = with_durations(write_clip(tmp_path / "phone.mp4"), [(10, 2), (10, 6)])

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    handler = functools.partial(Quiet, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{host.server_port}/phone.mp4"
        assert times(address) == times(clip)
        assert video.frame_rate(address) == video.frame_rate(clip)
        with pytest.raises(DataError, match="no frame can be read from this address"):
            times(address.replace("phone", "none"))
        host.shutdown()


def test_live_streams_are_read_like_cameras():
    assert video.is_live(0) and video.is_live("1") and video.is_live("rtsp://host/live")
    assert not video.is_live("http://host/a.mp4") and not video.is_live("a.mp4")


# ---- the writer -----------------------------------------------------------------------------


def write(path: Path, source: str, seconds: list[float]) -> None:
    frame = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    nothing = np.zeros(17)
    with server._VideoWriter(path, source) as writer:
        for time in seconds:
            pose = Pose(None, nothing, nothing, 0.0, np.zeros(4), True, {}, time)
            writer(frame, pose)


@pytest.mark.parametrize("suffix", server._CODECS)
def test_the_suffix_decides_the_format(tmp_path, suffix):
    clip = write_clip(tmp_path / "clip.mp4")
    out = tmp_path / f"drawn{suffix}"
    write(out, str(clip), times(clip))
    np.testing.assert_allclose(times(out), np.arange(20) / FPS, atol=0.0015)
    heads = {
        ".avi": b"RIFF",
        ".mkv": b"\x1a\x45\xdf\xa3",
        ".webm": b"\x1a\x45\xdf\xa3",
    }
    head = out.read_bytes()[:64]
    assert head.startswith(heads[suffix]) if suffix in heads else head[4:8] == b"ftyp"
    assert (b"webm" in head) == (suffix == ".webm")
    assert sorted(tmp_path.iterdir()) == sorted([clip, out])


@pytest.mark.parametrize("name", ["x.gif", "x.jpg", "x", "x.txt", "x.mp5", ".mp4", "x.wmv"])
def test_other_suffixes_are_refused_before_anything_is_done(tmp_path, name, monkeypatch, capsys):
    from posekit import cli, live

    clip = write_clip(tmp_path / "clip.mp4")
    monkeypatch.setattr(live, "Tracker", lambda model: pytest.fail("a model was loaded"))
    out = tmp_path / name
    assert cli.main(["webcam", "--source", str(clip), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "cannot be written as" in told and ".mp4" in told and told.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_drawn_clip_keeps_the_times_of_its_source(tmp_path):
    clip = with_durations(write_clip(tmp_path / "phone.mp4"), [(10, 2), (10, 6)])
    write(tmp_path / "drawn.mp4", str(clip), times(clip))
    drawn = times(tmp_path / "drawn.mp4")
    assert drawn[-1] == pytest.approx(times(clip)[-1], abs=0.02)
    assert len(drawn) == 10 + 9 * 3 + 1  # each frame of 60 ms three times, at 50 per second


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, DataError("frame", "broken")])
def test_an_error_leaves_nothing_behind(tmp_path, error):
    clip = write_clip(tmp_path / "clip.mp4")
    old = tmp_path / "drawn.mp4"
    old.write_bytes(b"of an earlier run")
    with pytest.raises(BaseException) as raised:
        with server._VideoWriter(old, str(clip)) as writer:
            writer(np.zeros((48, 64, 3), np.uint8), None)
            raise error
    assert raised.type in (error, type(error))
    assert old.read_bytes() == b"of an earlier run"
    assert sorted(tmp_path.iterdir()) == [clip, old]


def test_the_video_of_a_camera_that_is_unplugged_is_kept(tmp_path):
    out = tmp_path / "drawn.mp4"
    with pytest.raises(DataError), server._VideoWriter(out, "0") as writer:
        writer(np.zeros((48, 64, 3), np.uint8), None)
        raise DataError("camera 0", "it gives no more frames", "connect it again")
    assert len(times(out)) == 1 and list(tmp_path.iterdir()) == [out]


def test_a_clip_that_is_not_complete_is_refused(tmp_path, monkeypatch):
    """OpenCV says nothing of a full disk; the file then ends early."""
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(DataError, match=r"drawn\.mp4: is not complete"):
        with server._VideoWriter(tmp_path / "drawn.mp4", str(clip)) as writer:
            for _ in range(5):
                writer(np.zeros((48, 64, 3), np.uint8), None)
            writer.file.release()
            writer.part.write_bytes(writer.part.read_bytes()[:200])
    assert list(tmp_path.iterdir()) == [clip]


def test_a_second_process_is_refused_and_the_first_keeps_its_video(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4")
    out = tmp_path / "drawn.mp4"
    code = (
        "import sys; from posekit.live import server\n"
        "with server._VideoWriter(__import__('pathlib').Path(sys.argv[1]), sys.argv[2]): pass"
    )
    with server._VideoWriter(out, str(clip)) as writer:
        writer(np.zeros((48, 64, 3), np.uint8), None)
        command = [sys.executable, "-c", code, str(out), str(clip)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "drawn.mp4: another process is writing it" in second.stderr
    assert len(times(out)) == 1 and sorted(tmp_path.iterdir()) == [clip, out]


def test_a_camera_that_is_turned_does_not_end_the_video(tmp_path):
    out = tmp_path / "drawn.mp4"
    clip = write_clip(tmp_path / "clip.mp4")
    with server._VideoWriter(out, str(clip)) as writer:
        writer(np.zeros((48, 64, 3), np.uint8), None)
        writer(np.zeros((64, 48, 3), np.uint8), None)
    assert len(times(out)) == 2
