"""Every page in a real browser with the network cut: nothing is asked of anyone, nothing fails,
nothing runs over the edge."""

import contextlib
import functools
import http.server
import itertools
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.browser

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def html(built_book) -> Path:
    folder = built_book / "_build" / "html"
    assert (folder / "index.html").is_file(), (built_book / "log.txt").read_text()[-3000:]
    return folder


@pytest.fixture(scope="module")
def served(html):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(html))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def all_pages(html: Path) -> list[str]:
    files = [p.relative_to(html) for p in sorted(html.rglob("*.html"))]
    return [str(file) for file in files if file.parts[0] not in ("_static", "slides")]


@contextlib.contextmanager
def opened(browser, scheme: str, size: str = "desktop"):
    """A page that notes what it asks for, and what goes wrong in it."""
    width, height = WIDTHS[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.asked = []
    page.wrong = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on(
        "console",
        lambda message: page.wrong.append(message.text) if message.type == "error" else None,
    )
    page.on(
        "response",
        lambda answer: (
            page.wrong.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
        ),
    )
    yield page
    context.close()


def outside(urls: list[str], base: str) -> list[str]:
    return [
        u
        for u in urls
        if not u.startswith(base) and urlsplit(u).scheme not in ("data", "blob", "about")
    ]


def visit(page, base: str, name: str) -> None:
    """Go to a page of the book, and with the root's, which only forwards, on to the intro: it would
    break into the next visit."""
    page.goto(f"{base}/{name}", wait_until="load")
    if name == "index.html":
        page.wait_for_url("**/book/intro.html")


@pytest.mark.parametrize("way", ["http", pytest.param("file", marks=pytest.mark.slow)])
def test_no_page_asks_anything_of_the_network(browser, html, served, way):
    from playwright.sync_api import TimeoutError

    base = served if way == "http" else html.as_uri()
    with opened(browser, "light") as page:
        for name in all_pages(html):
            visit(page, base, name)
            page.wait_for_timeout(150)
            formulas = page.locator("article .math").count()
            if formulas:
                try:
                    page.wait_for_function(
                        "document.querySelectorAll('article mjx-container svg').length > 0",
                        timeout=20_000,
                    )
                except TimeoutError:
                    asked = [url for url in page.asked if "mathjax/input" in url]
                    pytest.fail(
                        f"{name}: no formula was set; a macro that the vendored MathJax has not? "
                        f"{asked}"
                    )
                assert page.locator("article mjx-container").count() >= formulas, name
                assert page.locator("mjx-merror, [data-mml-node=merror]").count() == 0, (
                    f"{name}: a formula with an error"
                )
            assert outside(page.asked, base) == [], name
            wrong = [w for w in page.wrong if not (way == "file" and "CORS" in w)]
            assert wrong == [], f"{name}: {wrong}"
        assert any("tex-mml-svg.js" in url for url in page.asked)


def test_a_browser_finds_an_icon_at_the_root(served):
    """The page that leads to the intro names no icon, and browsers then ask for this one: a 404
    that came and went with the race."""
    with urllib.request.urlopen(f"{served}/favicon.ico") as answer:
        assert answer.status == 200
        assert answer.read(4) == b"\x00\x00\x01\x00"


def test_the_listener_hears_a_request(browser, tmp_path):
    (tmp_path / "page.html").write_text(
        '<img src="https://example.org/a.png"><script>nothing()</script>'
    )
    with opened(browser, "light") as page:
        page.goto((tmp_path / "page.html").as_uri())
        assert outside(page.asked, tmp_path.as_uri()) == ["https://example.org/a.png"]
        assert any("nothing is not defined" in text for text in page.wrong)


SERIOUS = {"serious", "critical"}


SCHEMES_AND_SIZES = list(itertools.product(("light", "dark"), WIDTHS))
SAMPLE = [
    "book/intro.html",
    "chapters/exercises/ex07_investigation.html",
    "book/glossary.html",
    "book/see_your_pose.html",
    "book/model_card.html",
    "chapters/06_deeppose.html",
    "genindex.html",
    "search.html",
]
"""One page of each kind, for axe-core, which takes seconds per page."""
SHRUNK = """[...document.querySelectorAll("img.posekit-figure[style*=width]")]
    .filter(image => image.getBoundingClientRect().width < 0.89 * parseFloat(image.style.width))
    .map(image => image.alt.slice(0, 60))"""
"""Figures smaller than drawn: their smallest letters, 7.5 points, have 10 px at their own width."""


@pytest.mark.parametrize(
    ("scheme", "size"),
    [
        pytest.param(scheme, size, marks=[pytest.mark.slow] * (scheme == "dark"))
        for scheme, size in SCHEMES_AND_SIZES  # a colour scheme changes no widths
    ],
)
def test_pages_fit_the_window(browser, html, scheme, size):
    with opened(browser, scheme, size) as page:
        for name in all_pages(html):
            visit(page, html.as_uri(), name)
            assert page.evaluate("document.documentElement.dataset.theme") == scheme, name
            width, seen = page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert width <= seen, f"{name}: {width} px wide in a window of {seen}"
            if size == "phone":
                shrunk = page.evaluate(SHRUNK)
                assert shrunk == [], f"{name}: figures with letters under 9 px"


@pytest.mark.parametrize(
    "every_page", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["sample", "all"]
)
@pytest.mark.parametrize(("scheme", "size"), SCHEMES_AND_SIZES)
def test_pages_are_accessible(browser, html, scheme, size, every_page):
    """axe-core on each page: contrast, names of controls, alt texts, order of headings ..."""
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    with opened(browser, scheme, size) as page:
        for name in all_pages(html) if every_page else SAMPLE:
            visit(page, html.as_uri(), name)
            page.wait_for_timeout(100)
            found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
            bad = [
                f"{violation['id']}: {violation['help']}: {node['target']} {node['html'][:80]}"
                for violation in found
                if violation["impact"] in SERIOUS
                for node in violation["nodes"][:3]
            ]
            assert bad == [], f"{name}: " + "; ".join(bad)


def test_axe_hears_a_violation(browser, tmp_path):
    from axe_playwright_python.sync_playwright import Axe

    (tmp_path / "page.html").write_text(
        "<html lang=en><title>A</title><p style='color: #bbb; background: #fff'>pale</p></html>"
    )
    with opened(browser, "light") as page:
        page.goto((tmp_path / "page.html").as_uri())
        found = Axe().run(page).response["violations"]
    assert any(v["id"] == "color-contrast" and v["impact"] in SERIOUS for v in found)


def test_search_finds_a_word_of_the_glossary(browser, served):
    with opened(browser, "light") as page:
        page.goto(f"{served}/search.html?q=collapse")
        page.wait_for_selector("#search-results li a", timeout=20_000)
        assert "glossary" in " ".join(
            page.locator("#search-results li a").evaluate_all("links => links.map(a => a.href)")
        )
