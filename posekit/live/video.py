"""RGB frames with their times, from a camera, a video file or a stream (chapter 15)."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread
from time import monotonic

import numpy as np

from posekit.errors import DataError
from posekit.files import is_address, local_path

__all__ = ["camera", "frame_rate", "frames", "is_live", "video"]

_DEFAULT_FPS = 30.0
_HIGHEST_FPS = 240.0
"""A file that claims more means the unit of its times."""
_FRAMES_MEASURED = 100
"""Frames at the beginning of a file whose times tell its frame rate."""
_CLIP_SCHEMES = ("http", "https")
_STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "tcp", "udp")
_LONGEST_PAUSE_S = 3600.0
"""Seconds between two frames that are taken for a fault of the times, such as their overflow."""
_OPEN_TIMEOUT_MS = 10_000
"""Milliseconds until a server that does not answer is reported."""
_CAMERA_TIMEOUT_S = 10.0
"""Seconds without a frame after which a camera is reported as giving none."""


def frames(source: str | Path | int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the frames of a video file, or the newest frames of a camera while it runs.

    Args:
        source: path of a file, or a camera's number (`0` or `"0"` is the first); or the address of
            a clip (`http://`, `https://`) or of a live stream (`rtsp://` and others), which is read
            like a camera.

    Yields:
        (H, W, 3) uint8 RGB, rotated as the file says, and seconds since the first frame.

    Raises:
        DataError: if there is no such file, camera or stream, the file is no video, or the camera
            gives no image for ten seconds.
    """
    text = str(source)
    if is_live(text):
        yield from camera(int(text) if text.isdigit() else text)
    else:
        yield from video(text)


def _scheme(source: str | Path) -> str:
    """Return the scheme of an address, in lower case; an empty string for a path."""
    return str(source).partition(":")[0].lower() if is_address(source) else ""


def is_live(source: str | Path | int) -> bool:
    """Return whether a source is a camera or a live stream, of which only new frames count."""
    return str(source).isdigit() or _scheme(str(source)) in _STREAM_SCHEMES


def _checked(path: str | Path) -> str:
    """Return a clip's path or address for OpenCV.

    Raises:
        DataError: if there is no such file, or the address is none of a clip.
    """
    if _scheme(path) in _CLIP_SCHEMES:
        return str(path)
    file = local_path(path)
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "there is no such file"
        fix = "give a video; a camera is given by its number, 0 is the first"
        raise DataError(path, problem, fix)
    return str(file.absolute())  # FFmpeg takes `a:b.mp4` for an address


def _open(source: str | int):
    """Open a file, an address or a camera in OpenCV, which may fail silently."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    if isinstance(source, int):
        return cv2.VideoCapture(source)
    if not is_address(source):
        capture = cv2.VideoCapture(source)
    else:
        limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        options = [value for limit in limits for value in (limit, _OPEN_TIMEOUT_MS)]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, options)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # obey the rotation in the file's metadata
    return capture


class _Clock:
    """Times of a clip's frames, as its container has them.

    Args:
        fps: mean frames per second, for frames without a time of their own.
    """

    def __init__(self, fps: float):
        self.fps = fps
        self.first = None
        self.last = None

    def seconds(self, milliseconds: float) -> float:
        """Return a frame's seconds since the first frame, later than the frame before.

        Args:
            milliseconds: CAP_PROP_POS_MSEC after the frame was read; some formats do not have it.
        """
        if self.first is None:
            self.first = milliseconds
            self.last = 0.0
            return 0.0
        time = (milliseconds - self.first) / 1000
        if time - self.last > _LONGEST_PAUSE_S:
            shift = time - self.last - 1 / self.fps
            self.first += 1000 * shift
            time -= shift
        self.last = time if time > self.last else self.last + 1 / self.fps
        return self.last


def frame_rate(path: str | Path) -> float:
    """Return the frames per second of a video file; 30 if the file does not say.

    Of a file with a variable frame rate: the highest at its beginning, so that a video of this rate
    has room for each frame.
    """
    import cv2

    capture = _open(_checked(path))
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        is_stated = 0 < fps <= _HIGHEST_FPS
        fps = fps if is_stated else _DEFAULT_FPS
        times = []
        for _ in range(_FRAMES_MEASURED):
            if not capture.grab():
                break
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        steps = np.diff(times)
        steps = steps[steps > 0]
        # Containers round times, to milliseconds at worst: only a clear difference is one of rate.
        shorter = len(steps) and steps.min() < 0.75 / fps and steps.min() + 0.002 < 1 / fps
        if shorter or (len(steps) and not is_stated):
            fps = min(1 / steps.min(), _HIGHEST_FPS)
        return float(fps)
    finally:
        capture.release()


def video(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """Yield every frame of a video file, with its time in the file; see `frames`."""
    import cv2

    capture = _open(_checked(path))
    try:
        fps = capture.get(cv2.CAP_PROP_FPS)
        clock = _Clock(fps if 0 < fps <= _HIGHEST_FPS else _DEFAULT_FPS)
        while True:
            is_frame, frame = capture.read()
            if not is_frame:
                break
            seconds = clock.seconds(capture.get(cv2.CAP_PROP_POS_MSEC))
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), seconds
        if clock.first is None and is_address(path):
            raise DataError(
                path,
                "no frame can be read from this address",
                "does a browser play it? Else download it, and give the file",
            )
        if clock.first is None:
            raise DataError(
                path,
                "no frame can be read from it",
                "use a video that OpenCV reads: mp4, mkv, avi",
            )
    finally:
        capture.release()


def camera(source: int | str) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the newest frame of a camera each time one is asked for; see `frames`.

    A thread reads the camera, and frames that arrive while the caller is busy are dropped.

    Args:
        source: a camera's number, or the address of a live stream.
    """
    import cv2

    where = f"camera {source}" if isinstance(source, int) else source
    capture = _open(source)
    if not capture.isOpened():
        capture.release()
        if where == source:
            hint = "check the address: does a video player such as VLC open it?"
            raise DataError(where, "there is no stream at this address", hint)
        raise DataError(
            where,
            "there is no such camera, or another program is using it",
            "try another number, or a video: --source FILE",
        )
    newest = []  # at most one frame, with its time
    ended = []  # not empty once the camera gives no more frames or the caller is done
    changed = Condition()

    def grab() -> None:
        while not ended:
            try:
                is_frame, frame = capture.read()
            except Exception:  # raised by a driver; the caller would wait for the frame forever
                is_frame = False
            with changed:
                newest[:] = [(frame, monotonic())] if is_frame else []
                if not is_frame:
                    ended.append(True)
                changed.notify()
        capture.release()  # in this thread: elsewhere the camera might still be read

    thread = Thread(target=grab, daemon=True)
    thread.start()
    begin = None
    try:
        while True:
            with changed:
                if not changed.wait_for(lambda: newest or ended, timeout=_CAMERA_TIMEOUT_S):
                    hint = "close the program that may be using it"
                    raise DataError(where, "gives no image", hint)
                if not newest:
                    break
                frame, now = newest.pop()
            begin = now if begin is None else begin
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), now - begin
        raise DataError(where, "it gives no more frames", "connect it again")
    finally:
        ended.append(True)
        thread.join(timeout=5)
