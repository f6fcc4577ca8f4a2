"""`make html`: build the book from the committed outputs; no notebook runs, nothing is fetched.

Any warning fails the build, a dead reference too. The pages are written to `_build/html`, all of
them each time, because an unchanged page would keep the old contents in its menu.

`make html-class` (`--for-class`) builds the book without solutions into `_build/class/_build/html`:
the exercises are the students' copies, on the page and as a download, and the quiz has no answers.
The answers to "Check yourself" in the chapters stay, folded: they belong to the text.

`make links` lets Sphinx ask each address that a page or a chapter links to whether it answers.

One build at a time: a second one into the same folder is refused, because both would write the same
files.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from posekit.errors import DataError
from posekit.files import lock_output

ROOT = Path(__file__).resolve().parents[2]


def command(out: Path, links: bool = False) -> list[str]:
    """The Jupyter Book command that builds into `out`/_build/html, or checks external links."""
    custom = ("--builder", "custom", "--custom-builder", "linkcheck")  # not into _build/html
    builder = (*custom, "--all") if links else ("--all", "-n", "-W")
    return [
        *(sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."),
        *("--config", "_config.yml", "--toc", "book/_toc.yml", "--path-output", str(out)),
        *(*builder, "--keep-going"),
    ]


def broken(output: Path) -> list[str]:
    """Return the links that did not answer, one line each.

    Args:
        output: output.json of Sphinx's linkcheck: one JSON object per line.
    """
    checked = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return [
        f"{link['filename']}:{link['lineno']}: {link['uri']}: {link['info']}"
        for link in checked
        if link["status"] in ("broken", "timeout")
    ]


def stage_class(folder: Path) -> None:
    """Copy what the build reads, with the students' copies in place of the exercises.

    Args:
        folder: for the copy; emptied first.
    """
    from assignments import cut
    from notebooks import find, is_exercise, read, to_text

    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "exercises")
    for name in ("book", "chapters"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    exercises = folder / "chapters" / "exercises"
    exercises.mkdir()
    for path in filter(is_exercise, find()):
        (exercises / path.name).write_text(to_text(cut(read(path))), encoding="utf-8")
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    language = "    language: en\n"
    if language not in config:
        raise SystemExit("error: _config.yml: no line 'language: en' to put the setting behind")
    config = config.replace(language, f"{language}    quiz_answers: false\n")
    (folder / "_config.yml").write_text(config, encoding="utf-8")


def main() -> int:
    """Build, and print where the book is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, help="build into OUT/_build (default: here, or _build/class)"
    )
    parser.add_argument("--for-class", action="store_true", help="without solutions")
    parser.add_argument("--links", action="store_true", help="check external links instead")
    args = parser.parse_args()
    out = (args.out or (ROOT / "_build" / "class" if args.for_class else ROOT)).resolve()
    try:
        with lock_output(out / "_build" / "html"):
            return build(args, out)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def build(args: argparse.Namespace, out: Path) -> int:
    """Build into `out`/_build, or check the links; return the exit code."""
    start = time.monotonic()
    if args.links:
        subprocess.run(command(out, links=True), cwd=ROOT, check=False)
        report = out / "_build" / "linkcheck" / "output.json"
        if not report.is_file():
            print("\nerror: the links were not checked: see above", file=sys.stderr)
            return 2
        dead = broken(report)
        print("\n".join(["", *dead, f"{len(dead)} dead links"]))
        return 1 if dead else 0
    source = ROOT
    if args.for_class:
        source = out / "source"
        stage_class(source)
    done = subprocess.run(command(out), cwd=source, check=False)
    index = out / "_build" / "html" / "index.html"
    if done.returncode or not index.is_file():
        print("\nerror: the book was not built: see the warnings above", file=sys.stderr)
        return 1
    print(f"\nThe book is built ({time.monotonic() - start:.0f} s). Open it:\n  {index.as_uri()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
