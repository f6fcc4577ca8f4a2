"""Browsers of the tests of the page."""

import pytest
from browser import ARGUMENTS, find_chromium
from page_lab import CAMERA


@pytest.fixture(scope="module")
def playwright():
    """Playwright; skips without Chromium."""
    if find_chromium() is None:
        pytest.skip("no Chromium found: install it (apt install chromium) or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as one:
        yield one


@pytest.fixture(scope="module")
def with_camera(playwright):
    """A browser whose camera shows the page's clip."""
    browser = playwright.chromium.launch(
        executable_path=find_chromium(), args=[*ARGUMENTS, *CAMERA]
    )
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def without_camera(playwright):
    """A browser without a camera, for which `elsewhere.test` is this computer."""
    names = "--host-resolver-rules=MAP elsewhere.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    arguments = [a for a in ARGUMENTS if "host-resolver" not in a]
    browser = playwright.chromium.launch(executable_path=find_chromium(), args=[*arguments, names])
    yield browser
    browser.close()
