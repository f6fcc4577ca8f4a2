"""Frames from a camera or a video file: RGB, each with its time (chapter 12)."""

from collections.abc import Iterator
from pathlib import Path
from threading import Condition, Thread
from time import monotonic

import numpy as np

from posekit.errors import DataError

_SILENT_SECONDS = (
    10.0  # without a word of a camera, after which it is taken for one that gives no picture
)


def frames(source: str | Path | int) -> Iterator[tuple[np.ndarray, float]]:
    """The frames of a video file, or the newest of a camera for as long as it runs.

    Args:
        source: path of a file, or a camera's number (`0` or `"0"` is the first).

    Yields:
        (H, W, 3) uint8 RGB, and seconds since the first.

    Raises:
        DataError: when there is no such file or camera, the file is no video, or the camera gives no picture for ten seconds.
    """
    text = str(source)
    yield from camera(int(text)) if text.isdigit() else video(text)


def _open(what: str | int):
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2.VideoCapture(what)


def rate(path: str | Path) -> float:
    """Frames a second of a video file; 30 where it does not say."""
    import cv2

    capture = _open(str(path))
    try:
        return capture.get(cv2.CAP_PROP_FPS) or 30.0
    finally:
        capture.release()


def video(path: str | Path) -> Iterator[tuple[np.ndarray, float]]:
    """Every frame of a video file, with its time in the file; see `frames`."""
    import cv2

    if not Path(path).is_file():
        raise DataError(
            path,
            "there is no such file",
            "check the path; a camera is named by its number, 0 the first",
        )
    a_second, capture = rate(path), _open(str(path))
    try:
        number = 0
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), number / a_second
            number += 1
        if number == 0:
            raise DataError(
                path,
                "no frame can be read from it",
                "give a video that OpenCV reads: mp4, mkv, avi",
            )
    finally:
        capture.release()


def camera(number: int) -> Iterator[tuple[np.ndarray, float]]:
    """The newest frame of a camera whenever one is wanted: what came while the caller was busy is left out; see `frames`."""
    import cv2

    capture = _open(number)
    if not capture.isOpened():
        capture.release()
        raise DataError(
            f"camera {number}",
            "there is no such camera, or another program holds it",
            "try 0, 1, …",
        )
    newest, ended, changed = [], [], Condition()

    def grab() -> None:
        while not ended:
            try:
                ok, frame = capture.read()
            except Exception:  # a driver's; whoever waits for the frame would wait for ever
                ok, frame = False, None
            with changed:
                newest[:] = [(frame, monotonic())] if ok else []
                if not ok:
                    ended.append(True)
                changed.notify()
        capture.release()  # here: elsewhere it might still be reading

    thread, begin = Thread(target=grab, daemon=True), None
    thread.start()
    try:
        while True:
            with changed:
                if not changed.wait_for(lambda: newest or ended, timeout=_SILENT_SECONDS):
                    raise DataError(
                        f"camera {number}", "gives no picture", "close the program that may hold it"
                    )
                if not newest:
                    break
                frame, when = newest.pop()
            begin = when if begin is None else begin
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), when - begin
        raise DataError(f"camera {number}", "it gives no more frames", "plug it in again")
    finally:
        ended.append(True)
        thread.join(timeout=5)
