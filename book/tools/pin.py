"""Write requirements.txt: the exact versions in the running environment.

Takes the dependencies of posekit and of its extras in `EXTRAS`, as pyproject.toml lists them, with
all of theirs, and nothing else that is installed. Run it in an environment in which `make test`
passes: `python book/tools/pin.py`.
"""

import importlib.metadata as metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("train", "pretrained", "book", "dev", "teach")
HEADER = f"""\
# The tested exact versions of posekit[{",".join(EXTRAS)}] and of all their dependencies:
# `make setup` installs these. Written by `python book/tools/pin.py`. pyproject.toml holds the lower
# bounds; its other extras (gpu, beam) are not in here.
"""
OPENCV = {
    "opencv-python-headless": "sys_platform == 'linux'",
    "opencv-python": "sys_platform != 'linux'",
}


def direct() -> list[Requirement]:
    """Return the dependencies of posekit and of its extras in `EXTRAS`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for name in EXTRAS for text in extras[name])]
    return [Requirement(text) for text in texts]


def applies(need: Requirement, extras: set[str]) -> bool:
    """Return whether a dependency is needed on this machine, given the extras asked for."""
    if need.marker is None:
        return True
    return any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras))


def closure(needs: list[Requirement]) -> set[str]:
    """Return the canonical names of installed distributions that are needed on this machine."""
    seen: dict[str, set[str]] = {}
    todo = [need for need in needs if applies(need, set())]
    while todo:
        need = todo.pop()
        name = canonicalize_name(need.name)
        if name in seen and need.extras <= seen[name]:
            continue
        seen[name] = seen.get(name, set()) | need.extras
        below = map(Requirement, metadata.requires(name) or [])
        todo += [other for other in below if applies(other, seen[name])]
    return set(seen)


def main() -> int:
    """Write the file and print the number of packages; a missing one raises."""
    lines = []
    for name in sorted(closure(direct()) - {"posekit"}):
        version = metadata.version(name)
        if name in OPENCV:
            continue
        lines.append(f"{re.sub('_', '-', name)}=={version}")
    cv = next(metadata.version(name) for name in OPENCV if _installed(name))
    lines += [f"{name}=={cv}; {marker}" for name, marker in OPENCV.items()]
    path = ROOT / "requirements.txt"
    here = {line.partition("==")[0] for line in lines}
    for line in path.read_text(encoding="utf-8").splitlines():
        if re.match(r"[\w.-]+==.*;", line) and line.partition("==")[0] not in here:
            lines.append(line)
    path.write_text(HEADER + "\n".join(sorted(lines)) + "\n", encoding="utf-8")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"requirements.txt: {len(lines)} packages, Python {version}")
    return 0


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
