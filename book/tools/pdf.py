"""`make pdf`: the whole book as one PDF, printed by Chromium from one HTML page.

The page comes from the committed outputs, as `make html` makes the others; formulas are set by the
book's own MathJax. The PDF has an outline and tags for screen readers. Needs Chromium and the
extra `dev`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import build
from browser import ARGUMENTS, find_chromium

PDF = Path("_build") / "pdf" / "human_pose_estimation.pdf"
FOOTER = (
    '<p style="width: 100%; font-size: 8px; text-align: center">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></p>'
)
PRINT_CSS = """
  .headerlink, .copybtn, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header,
  .bd-header-article, .prev-next-footer, .bd-footer, .toctree-wrapper { display: none !important; }
  figure, .cell_output img, table { break-inside: avoid; }
  section > h1 { break-before: page; }
  pre { white-space: pre-wrap !important; }
"""
_READY = """async () => {
  for (const image of document.images) image.loading = 'eager';
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
  if (window.MathJax) await MathJax.startup.promise;
  return document.querySelectorAll('article .math').length;
}"""


def print_page(page_file: Path, pdf: Path) -> int:
    """Print an HTML file.

    Args:
        page_file: the HTML.
        pdf: the PDF to write.

    Returns:
        The number of formulas in it.

    Raises:
        RuntimeError: without Chromium, or if a formula is not set.
    """
    from playwright.sync_api import sync_playwright

    path = find_chromium()
    if path is None:
        raise RuntimeError("no Chromium found: install it, or name it in CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(300_000)
        page.goto(page_file.as_uri(), wait_until="load")
        formulas = page.evaluate(_READY)
        if page.locator("article mjx-container").count() < formulas:
            raise RuntimeError(f"{page_file}: a formula was not set")
        page.add_style_tag(content=PRINT_CSS)
        pdf.parent.mkdir(parents=True, exist_ok=True)
        page.pdf(
            path=pdf,
            format="A4",
            outline=True,
            tagged=True,
            print_background=True,
            display_header_footer=True,
            header_template="<p></p>",
            footer_template=FOOTER,
            margin={"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
        )
        browser.close()
    return formulas


def main() -> int:
    """Build, and print where the PDF is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=build.ROOT, help="build into OUT/_build (default: here)"
    )
    out = parser.parse_args().out.resolve()
    start = time.monotonic()
    command = [*build.command(out), "--builder", "singlehtml"]
    done = subprocess.run(command, cwd=build.ROOT, check=False)
    index = out / "_build" / "singlehtml" / "index.html"
    if done.returncode or not index.is_file():
        print("\nerror: the page was not built: see the warnings above", file=sys.stderr)
        return 1
    try:
        print_page(index, out / PDF)
    except RuntimeError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    size = (out / PDF).stat().st_size / 1e6
    print(f"\nThe PDF is ready ({time.monotonic() - start:.0f} s, {size:.0f} MB):\n  {out / PDF}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
