#!/usr/bin/env python3
"""Install the book from this folder, without a network.

    python3 install.py            on Windows: py install.py
    python3 install.py --check    only compare the files with their checksums

`make classroom-bundle` puts this file at the top of the bundle, as install.py. It needs nothing but
Python, and its syntax is that of Python 3.6, so that it can tell an older Python to step aside. Run
it again after a failure: what is installed is kept.
"""

import argparse
import errno
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

MANIFEST = "manifest.json"
NEXT = """\
Next, in {folder}:
  the chapters and exercises   {scripts}jupyter lab chapters
  the book, to read            open {html} in a browser
  the live page, your camera   {scripts}python -m posekit webcam"""
_SYSTEMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}


class InstallError(Exception):
    """What is wrong and what to do, in one line."""


def read_manifest(folder):
    """Return the contents of manifest.json.

    Args:
        folder: path of the unpacked bundle.

    Raises:
        InstallError: if it is not there or not readable.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest["files"], dict):
            raise ValueError("no list of files")
        return manifest
    except OSError:
        raise InstallError(
            f"{MANIFEST} is missing: unpack the whole archive and run install.py in its folder"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise InstallError(f"{MANIFEST} is damaged ({error}): copy the archive again") from None


def check_python(manifest, version=None, bits=None):
    """Refuse a Python for which the bundle has no wheels.

    Args:
        manifest: contents of manifest.json.
        version: tuple like `sys.version_info`, which is the default.
        bits: size of a pointer; default: this Python's.

    Raises:
        InstallError: if the version is none of the bundle's, or a 32-bit Python runs.
    """
    version = tuple(version or sys.version_info)[:3]
    wanted = manifest["pythons"]
    found = "Python {}".format(".".join(map(str, version)))
    names = " or ".join(wanted)
    if "{}.{}".format(*version) not in wanted:
        example = (
            f"py -{wanted[-1]} install.py" if os.name == "nt" else f"python{wanted[-1]} install.py"
        )
        raise InstallError(
            f"{found} is running, this bundle is for Python {names}: install it, then {example}"
        )
    if version < (3, 11, 5):
        raise InstallError(f"{found} is running, 3.11.5 or later is needed: install a newer one")
    bits = bits or (64 if sys.maxsize > 2**32 else 32)
    if bits != 64:
        raise InstallError(f"{found} is a {bits}-bit program: install the 64-bit Python")


def check_platform(manifest, system=None, machine=None, release=None):
    """Refuse a system for which the bundle has no wheels.

    Args:
        manifest: contents of manifest.json.
        system: like `sys.platform`, which is the default.
        machine: like `platform.machine()`, which is the default.
        release: on Linux (name, version) of the C library, on macOS its version; default: this
            machine's.

    Raises:
        InstallError: if system, processor or release do not fit.
    """
    wanted = manifest["platform"]
    system = system or sys.platform
    machine = (machine or platform.machine()).lower()
    machine = _MACHINES.get(machine, machine)
    if system != wanted["system"] or machine != wanted["machine"]:
        raise InstallError(
            "this is {} on {}, the bundle is for {} on {}: ask for that of your system".format(
                _SYSTEMS.get(system, system),
                machine,
                _SYSTEMS[wanted["system"]],
                wanted["machine"],
            )
        )
    lowest = tuple(int(part) for part in wanted["release"].split(".") if part)
    if system == "linux":
        name, number = release or platform.libc_ver()
        if name != "glibc" or _numbers(number) < lowest:
            raise InstallError(
                "the C library is {} {}, glibc {} or later is needed: use a newer distribution, "
                "none with musl".format(name or "unknown", number, wanted["release"])
            )
    elif system == "darwin":
        number = release or platform.mac_ver()[0]
        if _numbers(number) < lowest:
            raise InstallError(
                "this is macOS {}, {} or later is needed".format(number, wanted["release"])
            )


def _numbers(version):
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def check_disk(manifest, folder):
    """Refuse a disk that cannot hold the installation.

    Args:
        manifest: contents of manifest.json.
        folder: path of the bundle.

    Raises:
        InstallError: if less than the needed space is free.
    """
    free = shutil.disk_usage(str(folder)).free
    needed = manifest["installed_bytes"]
    if free < needed and not (folder / ".venv").is_dir():
        raise InstallError(
            f"{needed / 1e9:.1f} GB of disk are needed here, {free / 1e9:.1f} GB are free: "
            "make room, or unpack the archive on another disk"
        )


def check_files(manifest, folder, progress=None):
    """Compare every file with its checksum.

    Args:
        manifest: contents of manifest.json; its `files` maps paths to SHA-256.
        folder: path of the bundle.
        progress: function that is called with the number of files checked so far.

    Raises:
        InstallError: that names the first files that are missing or damaged.
    """
    missing, damaged = [], []
    for number, (name, wanted) in enumerate(manifest["files"].items()):
        try:
            if _sha256(folder / name) != wanted:
                damaged.append(name)
        except OSError:
            missing.append(name)
        if progress:
            progress(number + 1)
    for what, names in (("damaged", damaged), ("missing", missing)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InstallError(
                f"{what}: {names[0]}{more}: unpack the archive again, or copy it again"
            )


def _sha256(path):
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def environment():
    """Return the environment variables of this process without pip's and Python's own settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV", "KERAS_BACKEND", "POSEKIT_"))
    }
    return dict(kept, PIP_CONFIG_FILE=os.devnull, PIP_DISABLE_PIP_VERSION_CHECK="1")


def explain(output):
    """Return one line on a failed command.

    Args:
        output: what the command printed.
    """
    full = ("no space left", "errno 28", "disk quota", "not enough space", "winerror 112")
    if any(words in output.lower() for words in full):
        return "the disk is full: make room, then run install.py again"
    if "filename or extension is too long" in output.lower():
        return "a path is too long for Windows: unpack the archive near the root, as in C:\\book"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1][:300]


def run(command, folder, log, what):
    """Run a command and append what it prints to a log.

    Args:
        command: list of strings.
        folder: working folder.
        log: path of the log.
        what: for the message if it fails.

    Raises:
        InstallError: if the command cannot be started or fails.
    """
    try:
        done = subprocess.run(
            command,
            cwd=str(folder),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = done.stdout.decode("utf-8", "replace")
        with log.open("a", encoding="utf-8") as file:
            file.write("$ {}\n{}\n".format(" ".join(command), output))
    except OSError as error:
        raise InstallError(f"{what}: {explain(_line(error))}") from None
    if done.returncode:
        raise InstallError(f"{what}: {explain(output)} (all of it: {log.name})")


def _line(error):
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "No space left on device"
    return " ".join(str(error).split())


def make_environment(folder, log):
    """Return the Python of the environment `.venv`, which is made if it is not there.

    Args:
        folder: path of the bundle.
        log: path of the log.

    Raises:
        InstallError: if there is no venv, or it cannot be made.
    """
    python = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (folder / ".venv" / ".complete").is_file():
        return python
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise InstallError(
            "this Python has no venv: on Debian and Ubuntu, apt install python3-venv"
        ) from None
    command = [sys.executable, "-m", "venv", "--clear", str(folder / ".venv")]
    run(command, folder, log, "making .venv failed")
    (folder / ".venv" / ".complete").touch()
    return python


def steps(python):
    """Return the commands that install from `wheels`, with their names.

    Args:
        python: path of the Python of the environment.
    """
    pip = [str(python), "-m", "pip", "--isolated", "install", "--no-index", "--no-input"]
    return [
        (
            "installing the packages (the longest step)",
            [*pip, "--find-links", "wheels", "--only-binary=:all:", "-r", "requirements.txt"],
        ),
        (
            "installing the book's own package",
            [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
        ),
    ]


def install(folder):
    """Check this machine and the bundle, install, and verify.

    Args:
        folder: path of the unpacked bundle.

    Raises:
        InstallError: with the reason, in one line.
    """
    start = time.time()
    manifest = read_manifest(folder)
    check_python(manifest)
    check_platform(manifest)
    check_disk(manifest, folder)

    def tell(text):
        print(f"[{time.time() - start:4.0f} s] {text}", flush=True)

    tell("{}: checking {} files".format(manifest["name"], len(manifest["files"])))
    check_files(manifest, folder)
    log = folder / "install.log"
    log.write_text("", encoding="utf-8")
    tell("making the environment .venv")
    python = make_environment(folder, log)
    for what, command in steps(python):
        tell(what)
        run(command, folder, log, what.partition(" (")[0])
    for arguments in manifest["verify"]:
        tell("verifying: python {}".format(" ".join(arguments)))
        run([str(python), *arguments], folder, log, "installed, but a check fails")
    tell("ready. Nothing outside of this folder was changed.\n")
    scripts = str(Path(".venv") / ("Scripts" if os.name == "nt" else "bin")) + os.sep
    print(NEXT.format(folder=folder, scripts=scripts, html=Path("_build", "html", "index.html")))


def main(argv=None):
    """Install, or check; return the exit code: 0, 2 with a message of one line, or 130."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare all files with checksums")
    args = parser.parse_args(argv)
    folder = Path(__file__).resolve().parent
    try:
        if args.check:
            manifest = read_manifest(folder)
            check_files(manifest, folder)
            print("all {} files are as they were packed".format(len(manifest["files"])))
        else:
            install(folder)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {explain(_line(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted; run install.py again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
