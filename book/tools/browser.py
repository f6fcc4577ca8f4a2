"""Chromium, for tests and for the PDF of the book."""

import os
import shutil
from pathlib import Path

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
"""Arguments of the command: it reaches nothing but this machine."""
_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)
_MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def find_chromium() -> str | None:
    """Return the path of Chromium or Chrome, or None if there is none.

    It looks at the variable `CHROMIUM`, then on the path, then in macOS' folder of applications.
    """
    paths = [os.environ.get("CHROMIUM"), *map(shutil.which, _NAMES), *_MACOS]
    return next((path for path in paths if path and Path(path).is_file()), None)
