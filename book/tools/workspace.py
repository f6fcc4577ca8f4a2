"""`make lab`: a folder to work in, `workspace/`, opened in JupyterLab.

It holds the chapters and the students' copies of the exercises, without solutions (see
`assignments.py`). A second call brings files up to date that the reader has not touched. A file
that was changed stays as it is, always: the copy in the workspace may hold hours of work.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

from assignments import handout
from notebooks import ROOT, find, is_exercise

MANIFEST = ".workspace.json"
"""Name of the file that records what was written: path -> SHA-256."""


def fill(folder: Path, files: dict[Path, bytes]) -> list[Path]:
    """Write the files that are missing, and those that are as they were written last time.

    Args:
        folder: the workspace; made if it is missing.
        files: path below it -> contents.

    Returns:
        The paths that were left as they are, because they were changed and the book now has
        another version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    try:
        written = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        written = {}
    kept = []
    for name, content in files.items():
        target, new = folder / name, hashlib.sha256(content).hexdigest()
        if target.exists():
            there = hashlib.sha256(target.read_bytes()).hexdigest()
            if there not in (new, written.get(name.as_posix())):
                if written.get(name.as_posix()) != new:
                    kept.append(name)
                continue
        if not target.exists() or there != new:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(target.name + ".new")
            temporary.write_bytes(content)
            temporary.replace(target)
        written[name.as_posix()] = new
    manifest.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return kept


def main() -> int:
    """Fill the workspace, and open it unless told otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "workspace", help="default: workspace")
    parser.add_argument("--no-open", action="store_true", help="only write the files")
    args, rest = parser.parse_known_args()
    kept = fill(args.out, handout([path for path in find() if is_exercise(path)]))
    for name in kept:
        print(f"kept as you changed it: {args.out / name} (to get the new version, rename it)")
    print(f"your workspace: {args.out}")
    if args.no_open:
        return 0
    command = [sys.executable, "-m", "jupyterlab", "--LabApp.default_url=/lab/tree/chapters", *rest]
    return subprocess.run(command, cwd=args.out, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
