"""`make classroom-bundle`: one archive from which the book is installed without a network.

It holds the wheels of all packages that `requirements.txt` pins, for one system and one or more
versions of Python; the book's folder, with the students' copies in place of the exercises; the
MiniDome data; the built pages; and `install.py` (see `bundle_install.py`).

    python book/tools/bundle.py --platform windows-x86_64 --python 3.12 --python 3.13
    python book/tools/bundle.py --platform macos-arm64 --dry-run     # do all wheels exist?

A bundle can be made on any system for any other. pip evaluates markers such as
`sys_platform == 'win32'` for the system it runs on, so they are evaluated here, and every
requirement of every wheel is then checked for the system that the bundle is for.
"""

import argparse
import datetime
import email.parser
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from notebooks import ROOT, read, to_text
from packaging import tags
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from posekit import __version__
from posekit.minidome.dataset import dataset

PYTHONS = {"3.11": "3.11.5", "3.12": "3.12.0", "3.13": "3.13.0"}
"""Version of Python -> the first release of it that the book runs on."""

LEFT_OUT = (
    *("tests/", "book/tools/", "book/quiz/", "book/slides/", "binder/", "."),
    *("Makefile", "Dockerfile", "CONTRIBUTING.md"),
)
"""Beginnings of paths that a class does not need, or that hold answers; the Makefile would fetch
packages."""

VERIFY = [
    ["-m", "pip", "check"],
    ["-m", "posekit", "doctor"],
    ["-m", "posekit.minidome"],
    ["-m", "posekit", "webcam", "--source", "posekit/live/web/clip.mjpeg", "--json"],
]
"""Arguments of Python that the installer runs at the end; each must succeed."""

COMPILED = 1.3
"""Bytes of an installation per byte of unpacked wheels: pip compiles all modules."""


@dataclass(frozen=True)
class Platform:
    """A system that bundles are made for.

    Args:
        system: `sys.platform` there.
        machine: processor, as install.py names it.
        release: lowest version of glibc or macOS; empty on Windows.
        tags: platform tags of wheels that run there.
        uv: the system's name for uv.
        markers: values of the environment markers that depend on the system.
    """

    system: str
    machine: str
    release: str
    tags: tuple[str, ...]
    uv: str
    markers: dict[str, str]


def _markers(sys_platform: str, os_name: str, system: str, machine: str) -> dict[str, str]:
    return {
        "sys_platform": sys_platform,
        "os_name": os_name,
        "platform_system": system,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }


PLATFORMS = {
    "linux-x86_64": Platform(
        "linux",
        "x86_64",
        "2.28",
        (
            *(f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)),
            *(f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")),
        ),
        "x86_64-manylinux_2_28",
        _markers("linux", "posix", "Linux", "x86_64"),
    ),
    "windows-x86_64": Platform(
        "win32",
        "x86_64",
        "",
        ("win_amd64",),
        "x86_64-pc-windows-msvc",
        _markers("win32", "nt", "Windows", "AMD64"),
    ),
    "macos-arm64": Platform(
        "darwin",
        "arm64",
        "14.0",
        ("macosx_14_0_arm64",),  # pip adds the older ones
        "aarch64-apple-darwin",
        _markers("darwin", "posix", "Darwin", "arm64"),
    ),
}


class BundleError(Exception):
    """What is wrong, in one line."""


def environment(target: Platform, python: str) -> dict[str, str]:
    """Return the values of the environment markers of a system and a version of Python.

    Args:
        target: the system.
        python: "3.12".
    """
    return {
        **target.markers,
        "python_version": python,
        "python_full_version": PYTHONS[python],
        "implementation_version": PYTHONS[python],
        "extra": "",
    }


def pins(text: str, markers: dict[str, str]) -> list[Requirement]:
    """Return the lines of a requirements.txt that apply to a system.

    Args:
        text: contents of the file.
        markers: of `environment`.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    needs = [Requirement(line) for line in lines]
    return [need for need in needs if need.marker is None or need.marker.evaluate(markers)]


def requirements_of(wheel: Path) -> tuple[str, str, list[str]]:
    """Return canonical name, version and requirements of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        metadata = email.parser.BytesParser().parsebytes(archive.read(name))
    found = metadata.get_all("Requires-Dist") or []
    return canonicalize_name(metadata["Name"]), metadata["Version"], list(found)


def lacking(found: Iterable[tuple[str, str, list[str]]], markers: dict[str, str]) -> list[str]:
    """Return the requirements that no wheel fulfils.

    Args:
        found: (canonical name, version, requirements) of each wheel.
        markers: of `environment`.

    Returns:
        Lines like "ipython needs colorama>=0.4; it is not there".
    """
    found = [(name, version, list(map(Requirement, needs))) for name, version, needs in found]
    versions = {name: version for name, version, _ in found}
    extras: dict[str, set[str]] = {name: {""} for name in versions}
    complaints: list[str] = []
    changed = True
    while changed:  # until no wheel asks another one for a further extra
        changed, complaints = False, []
        for name, _, needs in found:
            for need in needs:
                if need.marker and not any(
                    need.marker.evaluate({**markers, "extra": extra}) for extra in extras[name]
                ):
                    continue
                other = canonicalize_name(need.name)
                version = versions.get(other)
                if version is None:
                    complaints.append(f"{name} needs {need}; it is not there")
                elif not need.specifier.contains(version, prereleases=True):
                    complaints.append(f"{name} needs {need}; {version} is there")
                elif not need.extras <= extras[other]:
                    extras[other] |= need.extras
                    changed = True
    return complaints


def resolve(target: Platform, python: str, requirements: str) -> int:
    """Ask the package index whether all wheels exist and the pins are complete, with uv.

    uv evaluates markers for any system and reads the metadata of wheels without downloading them.

    Args:
        target: the system.
        python: "3.12".
        requirements: contents of requirements.txt.

    Returns:
        The number of wheels.

    Raises:
        BundleError: if uv or a wheel is missing, or something is needed that is not pinned.
    """
    if shutil.which("uv") is None:
        raise BundleError("--dry-run needs uv: pip install uv")
    command = [
        *("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--no-config"),
        *("--only-binary", ":all:", "--python-platform", target.uv),
        *("--python-version", PYTHONS[python], "-"),
    ]
    done = subprocess.run(
        command,
        input=requirements,
        capture_output=True,
        text=True,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": target.release},
        check=False,
    )
    if done.returncode:
        raise BundleError(f"Python {python}: {' '.join(done.stderr.split())}")
    markers = environment(target, python)
    needed = {canonicalize_name(need.name) for need in pins(done.stdout, markers)}
    pinned = {canonicalize_name(need.name) for need in pins(requirements, markers)}
    if needed != pinned:
        names = ", ".join(sorted(needed ^ pinned))
        raise BundleError(f"requirements.txt is incomplete for Python {python}: {names}")
    return len(needed)


def download(target: Platform, pythons: list[str], requirements: str, wheels: Path) -> None:
    """Download the wheels, if they are not all there.

    Args:
        target: the system.
        pythons: ["3.12"].
        requirements: contents of requirements.txt.
        wheels: folder.

    Raises:
        BundleError: if one is missing, or a requirement of one is.
    """
    for python in pythons:
        markers = environment(target, python)
        try:
            chosen = wheels_for(wheels, target, python, requirements)
        except BundleError:
            _pip_download(target, python, pins(requirements, markers), wheels)
            chosen = wheels_for(wheels, target, python, requirements)
        complaints = lacking([requirements_of(wheel) for wheel in chosen], markers)
        if complaints:
            raise BundleError(
                f"requirements.txt is incomplete for Python {python}: {complaints[0]}"
            )


def _pip_download(target: Platform, python: str, wanted: list[Requirement], wheels: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
        *("--dest", str(wheels), "--find-links", str(wheels)),
        *("--no-deps", "--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", PYTHONS[python]),
        *(part for tag in target.tags for part in ("--platform", tag)),
        *(f"{need.name}{need.specifier}" for need in wanted),
    ]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise BundleError(f"pip: {(errors or [done.stderr.strip()])[-1]}")


def supported(target: Platform, python: str) -> list[tags.Tag]:
    """Return the tags of wheels that a system and a version of Python can install, best first."""
    version = tuple(int(part) for part in python.split("."))
    platforms = list(target.tags)
    if target.system == "darwin":
        platforms = list(tags.mac_platforms((14, 0), target.machine))
    interpreter = f"cp{version[0]}{version[1]}"
    return [
        *tags.cpython_tags(version, platforms=platforms),
        *tags.compatible_tags(version, interpreter, platforms),
    ]


def wheels_for(wheels: Path, target: Platform, python: str, requirements: str) -> list[Path]:
    """Return the wheels in a folder that fulfil the pins for a system and a version of Python.

    Args:
        wheels: the folder.
        target: the system.
        python: "3.12".
        requirements: contents of requirements.txt.

    Raises:
        BundleError: if there is none for a pin.
    """
    rank = {tag: place for place, tag in enumerate(supported(target, python))}
    best: dict[str, dict[str, tuple[int, Path]]] = {}
    for path in wheels.glob("*.whl"):
        name, version, _, tagged = parse_wheel_filename(path.name)
        place = min((rank[tag] for tag in tagged if tag in rank), default=None)
        versions = best.setdefault(name, {})
        if place is not None and place < versions.get(str(version), (len(rank), path))[0]:
            versions[str(version)] = (place, path)
    chosen = []
    for need in pins(requirements, environment(target, python)):
        found = best.get(canonicalize_name(need.name), {})
        fit = [path for version, (_, path) in found.items() if need.specifier.contains(version)]
        if not fit:
            raise BundleError(f"no wheel of {need} for Python {python} in {wheels}")
        chosen.append(fit[0])
    return chosen


def book_files() -> list[Path]:
    """Return the files of the checkout that go into the bundle, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleError("the bundle is made from a git checkout; git ls-files failed here")
    names = [name for name in done.stdout.splitlines() if not name.startswith(LEFT_OUT)]
    return [Path(name) for name in names if (ROOT / name).is_file()]


def lay_out(folder: Path, html: Path) -> None:
    """Write everything but the wheels and the manifest.

    Args:
        folder: a new folder.
        html: the built pages.
    """
    from assignments import cut

    for name in book_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.match("chapters/exercises/*.ipynb"):
            target.write_text(to_text(cut(read(ROOT / name))), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / name, target)
    shutil.copytree(html, folder / "_build" / "html")
    home = dataset().train.parent
    shutil.copytree(home, folder / "_data" / home.name)
    shutil.copyfile(ROOT / "book/tools/bundle_install.py", folder / "install.py")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpacked_bytes(wheels: list[Path]) -> int:
    """Return the size of the files of wheels, unpacked."""
    total = 0
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            total += sum(item.file_size for item in archive.infolist())
    return total


def write_manifest(
    folder: Path, name: str, target: Platform, pythons: list[str], verify: list[list[str]] = VERIFY
) -> dict:
    """Write manifest.json, which install.py reads.

    Args:
        folder: the bundle, complete but for the manifest.
        name: of the bundle.
        target: the system.
        pythons: ["3.12"].
        verify: arguments of Python for each check at the end of the installation.

    Returns:
        What was written.
    """
    requirements = (folder / "requirements.txt").read_text(encoding="utf-8")
    unpacked = max(
        unpacked_bytes(wheels_for(folder / "wheels", target, python, requirements))
        for python in pythons
    )
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "name": name,
        "made": datetime.date.today().isoformat(),
        "platform": {
            "system": target.system,
            "machine": target.machine,
            "release": target.release,
        },
        "pythons": pythons,
        "installed_bytes": int(COMPILED * unpacked),
        "verify": verify,
        "files": {path.relative_to(folder).as_posix(): sha256(path) for path in paths},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return manifest


def pack(folder: Path, archive: Path) -> None:
    """Write a folder as a zip archive; what is compressed already is only stored.

    Args:
        folder: becomes the one folder at the archive's top.
        archive: path of the new file.
    """
    stored = {".whl", ".png", ".jpg", ".webp", ".onnx", ".npz", ".gz", ".mjpeg", ".tfrecord"}
    part = archive.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            kind = zipfile.ZIP_STORED if path.suffix in stored else zipfile.ZIP_DEFLATED
            out.write(path, Path(folder.name) / path.relative_to(folder), compress_type=kind)
    part.replace(archive)


def this_platform() -> str:
    """Return the key of `PLATFORMS` for the machine that runs this, or of Linux without one."""
    machine = {"AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    for name, target in PLATFORMS.items():
        if (target.system, target.machine) == (sys.platform, machine):
            return name
    return "linux-x86_64"


def make(name: str, pythons: list[str], html: Path, out: Path, wheels: Path) -> Path:
    """Make a bundle.

    Args:
        name: key of `PLATFORMS`.
        pythons: ["3.12"].
        html: the built pages.
        out: folder of the archive.
        wheels: folder in which downloaded wheels are kept for the next time.

    Returns:
        The archive; its SHA-256 lies next to it.

    Raises:
        BundleError: if something is missing.
    """
    target = PLATFORMS[name]
    if not (html / "index.html").is_file():
        raise BundleError(f"no built book in {html}: run make html-class")
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    wheels.mkdir(parents=True, exist_ok=True)
    print(f"downloading wheels for {name}, Python {' and '.join(pythons)}", flush=True)
    download(target, pythons, requirements, wheels)
    title = f"human-pose-estimation-{__version__}-{name}"
    with tempfile.TemporaryDirectory(dir=out) as temporary:
        folder = Path(temporary) / title
        folder.mkdir()
        print("collecting pages, data and students' copies", flush=True)
        lay_out(folder, html)
        (folder / "wheels").mkdir()
        for python in pythons:
            for wheel in wheels_for(wheels, target, python, requirements):
                if not (folder / "wheels" / wheel.name).exists():
                    shutil.copyfile(wheel, folder / "wheels" / wheel.name)
        manifest = write_manifest(folder, title, target, pythons)
        archive = out / f"{title}.zip"
        print(f"packing {len(manifest['files'])} files", flush=True)
        pack(folder, archive)
    (out / f"{archive.name}.sha256").write_text(f"{sha256(archive)}  {archive.name}\n")
    return archive


def main() -> int:
    """Make a bundle, or with --dry-run only resolve it; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--platform", choices=PLATFORMS, default=this_platform())
    parser.add_argument(
        "--python",
        nargs="+",
        choices=PYTHONS,
        default=[here],
        help=f"versions of Python in the class (default: {here})",
    )
    built = ROOT / "_build" / "class" / "_build" / "html"
    parser.add_argument("--html", type=Path, default=built, help="pages; default: make html-class")
    parser.add_argument("--out", type=Path, default=ROOT / "_build/bundle")
    parser.add_argument("--dry-run", action="store_true", help="only ask whether all wheels exist")
    args = parser.parse_args()
    start = time.monotonic()
    try:
        if args.dry_run:
            requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
            for python in args.python:
                count = resolve(PLATFORMS[args.platform], python, requirements)
                print(f"{args.platform}, Python {python}: all {count} wheels exist", flush=True)
            return 0
        args.out.mkdir(parents=True, exist_ok=True)
        wheels = args.out / f"wheels-{args.platform}"
        archive = make(args.platform, args.python, args.html, args.out, wheels)
    except (BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size = archive.stat().st_size / 1e9
    print(f"{archive}: {size:.2f} GB ({time.monotonic() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
