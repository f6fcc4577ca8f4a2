"""`make refresh`: format notebooks, run them in place and write them in their committed form. The
only way they get outputs.

Without arguments all of them; else paths or glob patterns:
`python book/tools/refresh.py "chapters/01*.ipynb"`. `--no-run` keeps the outputs and only writes
the form.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from notebooks import ROOT, find, is_exercise, normalise, read, to_text


def run(path: Path, notebook: nbformat.NotebookNode, timeout: int) -> nbformat.NotebookNode:
    """Run a notebook in its own folder with this Python, and return it with its outputs."""
    os.environ.update(PYTHONHASHSEED="0", TF_CPP_MIN_LOG_LEVEL="3")
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    start = time.monotonic()
    done = 0

    def step(cell, cell_index, **_):
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            if sys.stdout.isatty():
                print(
                    f"\r  cell {done}/{total}, {time.monotonic() - start:4.0f} s ",
                    end="",
                    flush=True,
                )

    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=step,
    )
    return client.execute()


def main() -> int:
    """Returns 1 when a notebook failed; it is then left as it was, and the others are still run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", help="paths or glob patterns; default: all")
    parser.add_argument(
        "--no-run", action="store_true", help="keep the outputs, only write the form"
    )
    parser.add_argument("--timeout", type=int, default=600, help="seconds per cell (default: 600)")
    args = parser.parse_args()
    failed = []
    for arguments in (["check", "--fix", "--quiet", "--exit-zero"], ["format", "--quiet"]):
        subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, *map(str, find(args.notebooks))],
            cwd=ROOT,
            check=True,
        )
    for path in find(args.notebooks):
        start = time.monotonic()
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        print(f"{name} ...", flush=True)
        notebook = normalise(read(path), is_exercise(path))
        if not args.no_run:
            try:
                notebook = normalise(run(path, notebook, args.timeout), is_exercise(path))
            except CellExecutionError as error:
                print(
                    f"\n{name}: a cell failed; the notebook is left as it was\n{error}",
                    file=sys.stderr,
                )
                failed.append(path)
                continue
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            file.write(to_text(notebook))
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
        print(
            f"\r  {time.monotonic() - start:.1f} s, {path.stat().st_size / 1000:.0f} kB     ",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
