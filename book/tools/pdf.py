"""`make pdf`: the whole book as one PDF, printed by Chromium from the pages of `make html`.

Formulas are set by the book's own MathJax. The PDF has an outline. Needs Chromium and the extra
`dev`.
"""

import argparse
import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import build
import yaml
from browser import ARGUMENTS, find_chromium

PDF = Path("_build") / "pdf" / "human_pose_estimation.pdf"
TOC = build.ROOT / "book" / "_toc.yml"
PRINT_CSS = """
  .headerlink, .copybtn, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header,
  .bd-header-article, .prev-next-footer, .bd-footer, .skip-link,
  #jb-print-toc, details.hide > summary { display: none !important; }
  #jb-print-docs-body h1 { text-align: left !important; font-size: 2.3rem !important; }
  #jb-print-docs-body h1 { margin-bottom: 1.2rem !important; }
  .bd-main .bd-content { margin-left: 0 !important; }
  .bd-article { padding-left: 0 !important; padding-right: 0 !important; }
  .bd-article section > * { max-width: none !important; }
  figure, .cell_output img, tr, .cell_input { break-inside: avoid; }
  table { break-inside: auto !important; }
  p:has(+ table, + .pst-scrollable-table-container) { break-after: avoid; }
  pre { white-space: pre-wrap !important; }
"""
_PREPARE = """async () => {
  const isHere = (link) => link.getAttribute('href').startsWith('#');
  for (const link of document.querySelectorAll('a[href]')) {
    if (link.protocol === 'file:' && !isHere(link)) link.removeAttribute('href');
  }
  for (const folded of document.querySelectorAll('article details')) folded.open = true;
  for (const image of document.images) image.loading = 'eager';
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
  if (window.MathJax) await MathJax.startup.promise;
  return document.querySelectorAll('article .math').length;
}"""
"""Takes the links to other pages away, which are files of this machine, unfolds answers and code,
and waits for images and formulas; gives the number of formulas."""


def pages() -> Iterator[tuple[str, int]]:
    """Yield the pages of the book in order, each with its level in the outline."""
    toc = yaml.safe_load(TOC.read_text(encoding="utf-8"))
    yield toc["root"], 0
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            yield chapter["file"], 0
            for section in chapter.get("sections", []):
                yield section["file"], 1


def print_book(html: Path, pdf: Path) -> int:
    """Print the pages of the built book into one PDF.

    Args:
        html: folder of the built book.
        pdf: the file to write.

    Returns:
        The number of pages of paper.

    Raises:
        RuntimeError: without Chromium, or if a formula is not set.
    """
    from playwright.sync_api import sync_playwright
    from pypdf import PdfReader, PdfWriter

    path = find_chromium()
    if path is None:
        raise RuntimeError("no Chromium found: install it, or name it in CHROMIUM")
    writer = PdfWriter()
    parent = None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = browser.new_page(color_scheme="light")
        for name, level in pages():
            page.goto((html / f"{name}.html").as_uri(), wait_until="load")
            formulas = page.evaluate(_PREPARE)
            if page.locator("article mjx-container").count() < formulas:
                raise RuntimeError(f"{name}: a formula was not set")
            page.add_style_tag(content=PRINT_CSS)
            title = page.locator("article h1").first.inner_text().removesuffix("#").strip()
            first = len(writer.pages)
            printed = page.pdf(
                format="A4",
                scale=0.85,
                tagged=True,
                print_background=True,
                margin={"top": "16mm", "bottom": "16mm", "left": "16mm", "right": "16mm"},
            )
            writer.append(PdfReader(io.BytesIO(printed)), import_outline=False)
            entry = writer.add_outline_item(title, first, parent=parent if level else None)
            parent = parent if level else entry
        browser.close()
    writer.compress_identical_objects()
    writer.add_metadata({"/Title": "Human Pose Estimation, Step by Step"})
    pdf.parent.mkdir(parents=True, exist_ok=True)
    writer.write(pdf)
    return len(writer.pages)


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
    done = subprocess.run(build.command(out), cwd=build.ROOT, check=False)
    html = out / "_build" / "html"
    if done.returncode or not (html / "index.html").is_file():
        print("\nerror: the book was not built: see the warnings above", file=sys.stderr)
        return 1
    try:
        count = print_book(html, out / PDF)
    except RuntimeError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    size = (out / PDF).stat().st_size / 1e6
    seconds = time.monotonic() - start
    print(f"\nThe PDF is ready ({seconds:.0f} s): {count} pages, {size:.0f} MB\n  {out / PDF}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
