"""RGB frames with their times, from a camera or a video file (chapter 15)."""

from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread
from time import monotonic

import numpy as np

from posekit.errors import DataError

__all__ = ["camera", "frame_rate", "frames", "video"]

_DEFAULT_FPS = 30.0
_CAMERA_TIMEOUT_S = 10.0
"""Seconds without a frame after which a camera is reported as giving none."""


def frames(source: str | Path | int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the frames of a video file, or the newest frames of a camera while it runs.

    Args:
        source: path of a file, or a camera's number (`0` or `"0"` is the first).

    Yields:
        (H, W, 3) uint8 RGB, and seconds since the first frame.

    Raises:
        DataError: if there is no such file or camera, the file is no video, or the camera gives no
            image for ten seconds.
    """
    text = str(source)
    yield from camera(int(text)) if text.isdigit() else video(text)


def _open(source: str | int):
    """Open a file or a camera in OpenCV, which may fail silently."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2.VideoCapture(source)


def frame_rate(path: str | Path) -> float:
    """Return the frames per second of a video file; 30 if the file does not say."""
    import cv2

    capture = _open(str(path))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or _DEFAULT_FPS
    finally:
        capture.release()


def video(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """Yield every frame of a video file, with its time in the file; see `frames`."""
    import cv2

    if not Path(path).is_file():
        raise DataError(
            path,
            "there is no such file",
            "check the path; a camera is given by its number, 0 is the first",
        )
    fps = frame_rate(path)
    capture = _open(str(path))
    try:
        number = 0
        while True:
            is_frame, frame = capture.read()
            if not is_frame:
                break
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), number / fps
            number += 1
        if number == 0:
            raise DataError(
                path,
                "no frame can be read from it",
                "use a video that OpenCV reads: mp4, mkv, avi",
            )
    finally:
        capture.release()


def camera(number: int) -> Iterator[tuple[np.ndarray, float]]:
    """Yield the newest frame of a camera each time one is asked for; see `frames`.

    A thread reads the camera, and frames that arrive while the caller is busy are dropped.
    """
    import cv2

    capture = _open(number)
    if not capture.isOpened():
        capture.release()
        raise DataError(
            f"camera {number}",
            "there is no such camera, or another program is using it",
            "try 0, 1, …",
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
                    raise DataError(
                        f"camera {number}",
                        "gives no image",
                        "close the program that may be using it",
                    )
                if not newest:
                    break
                frame, now = newest.pop()
            begin = now if begin is None else begin
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), now - begin
        raise DataError(f"camera {number}", "it gives no more frames", "connect it again")
    finally:
        ended.append(True)
        thread.join(timeout=5)
