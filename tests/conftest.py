"""What all tests share."""

import os
from pathlib import Path

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note the fault that a test tries, for the report that `book/tools/faults.py` reads."""
    for mark in item.iter_markers("fault"):
        item.user_properties.append(("fault", mark.args[0]))


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real photos and annotations; skips where `POSEKIT_DATA` does not name one."""
    folder = os.environ.get("POSEKIT_DATA")
    if not folder:
        pytest.skip("POSEKIT_DATA is not set: no real data to test on")
    if not Path(folder).is_dir():
        pytest.fail(f"POSEKIT_DATA={folder} is no folder")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def built_book(tmp_path_factory) -> Path:
    """The HTML of the book, built once for all tests (and all their processes) from the committed
    outputs."""
    import subprocess
    import sys

    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    out = shared / "built-book"
    root = Path(__file__).resolve().parents[1]
    with FileLock(f"{out}.lock"):
        if not (out / "log.txt").exists():
            command = [sys.executable, "book/tools/build.py", "--out", str(out)]
            done = subprocess.run(command, cwd=root, capture_output=True, text=True)
            (out / "log.txt").write_text(
                f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}\n"
            )
    return out


@pytest.fixture(scope="module")
def browser():
    """Chromium; a test without it is skipped, with a message."""
    from browser import ARGUMENTS, find_chromium

    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium found: install it (apt install chromium) or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()
