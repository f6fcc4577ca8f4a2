"""Write requirements.txt anew from the running environment: the exact versions that were tested.

Takes what posekit with its extras `dev` and `teach` needs, with everything below it, and nothing else that happens to be installed.
Run it in an environment in which `make test` passes: `python book/tools/pin.py`.
"""

import importlib.metadata as metadata
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
HEADER = """\
# The tested exact versions of posekit[dev,teach] and of everything below it: `make setup` installs these.
# Written by `python book/tools/pin.py`. pyproject.toml holds the lower bounds; GPU and Beam are extras there.
"""
OPENCV = {
    "opencv-python-headless": "sys_platform == 'linux'",
    "opencv-python": "sys_platform != 'linux'",
}


def closure(name: str, extras: set[str]) -> set[str]:
    """Canonical names of all installed distributions that `name[extras]` needs on this machine."""
    seen: dict[str, set[str]] = {}
    todo = [(canonicalize_name(name), extras)]
    while todo:
        name, wanted = todo.pop()
        if name in seen and wanted <= seen[name]:
            continue
        seen[name] = seen.get(name, set()) | wanted
        for text in metadata.requires(name) or []:
            need = Requirement(text)
            environments = [{"extra": extra} for extra in ("", *seen[name])]
            if need.marker is None or any(
                need.marker.evaluate(environment) for environment in environments
            ):
                todo.append((canonicalize_name(need.name), set(need.extras)))
    return set(seen)


def main() -> int:
    """Write the file; complain about what is missing."""
    lines = []
    for name in sorted(closure("posekit", {"dev", "teach"}) - {"posekit"}):
        version = metadata.version(name)
        if name in OPENCV:
            continue
        lines.append(f"{re.sub('_', '-', name)}=={version}")
    cv = next(metadata.version(name) for name in OPENCV if _installed(name))
    lines += [f"{name}=={cv}; {marker}" for name, marker in OPENCV.items()]
    (ROOT / "requirements.txt").write_text(
        HEADER + "\n".join(sorted(lines)) + "\n", encoding="utf-8"
    )
    print(
        f"requirements.txt: {len(lines)} packages, Python {sys.version_info.major}.{sys.version_info.minor}"
    )
    return 0


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
