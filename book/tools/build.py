"""`make html`: build the book from the committed outputs; no notebook runs, nothing is fetched.

Any warning fails the build, a dead reference too. The pages are written to `_build/html`, all of
them each time, because an unchanged page would keep the old contents in its menu.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command(out: Path) -> list[str]:
    """The Jupyter Book command that builds into `out`/_build/html."""
    return [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."),
        *("--config", "_config.yml", "--toc", "book/_toc.yml", "--path-output", str(out)),
        *("--all", "-n", "-W", "--keep-going"),
    ]


def main() -> int:
    """Build, and print where the book is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT, help="build into OUT/_build (default: here)"
    )
    args = parser.parse_args()
    start = time.monotonic()
    done = subprocess.run(command(args.out.resolve()), cwd=ROOT, check=False)
    index = args.out.resolve() / "_build" / "html" / "index.html"
    if done.returncode or not index.is_file():
        print("\nerror: the book was not built: see the warnings above", file=sys.stderr)
        return 1
    print(f"\nThe book is built ({time.monotonic() - start:.0f} s). Open it:\n  {index.as_uri()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
