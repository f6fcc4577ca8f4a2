"""What all tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of real photos and annotations; skips where `POSEKIT_DATA` does not name one."""
    folder = os.environ.get("POSEKIT_DATA")
    if not folder:
        pytest.skip("POSEKIT_DATA is not set: no real data to test on")
    if not Path(folder).is_dir():
        pytest.fail(f"POSEKIT_DATA={folder} is no folder")
    return Path(folder).resolve()
