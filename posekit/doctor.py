"""`posekit doctor`: report what this machine has, what is missing, and how to get it (book: setup).

Runs on any Python 3 without a dependency: standard library only, syntax of Python 3.6. The tables
repeat the lower bounds of pyproject.toml (a test compares them), because a checkout that has never
been installed has no metadata to read them from.
"""

import argparse
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

__all__ = ["main", "missing_package", "wrong_python"]

PYTHON = ((3, 11), (3, 13))
"""First and last Python version that posekit runs on."""

PACKAGES = {
    "light": (
        ("filelock", "3.12"),
        ("numpy", "2.0"),
        ("onnxruntime", "1.20"),
        ("opencv-python-headless", "4.11"),
        ("pillow", "11.3"),
        ("requests", "2.32"),
        ("tqdm", "4.66"),
    ),
    "train": (
        ("google-crc32c", "1.5"),
        ("keras", "3.15"),
        ("onnx", "1.17"),
        ("pycocotools", "2.0.8"),
        ("scipy", "1.14"),
        ("tensorflow", "2.19"),
        ("tf2onnx", "1.17"),
    ),
    "book": (
        ("anywidget", "0.9.13"),
        ("ipywidgets", "8.1"),
        ("jupyter", "1.1"),
        ("jupyter-book", "1.0.4"),
        ("jupyterlab", "4.2"),
        ("matplotlib", "3.9"),
        ("nbval", "0.11"),
        ("platformdirs", "4"),
        ("scikit-image", "0.25"),
        ("sphinx-exercise", "1.0.1"),
    ),
}
"""Part of the installation -> (distribution, lowest version)."""

PURPOSE = {
    "light": "posekit.load, posekit predict, posekit webcam",
    "train": "records, training, evaluation, export",
    "book": "the chapters and their exercises",
}

OPENCV = ("opencv-python-headless", "opencv-python")
"""Distributions of OpenCV; either is good (pyproject.toml takes the first on Linux)."""

BACKENDS = ("tensorflow", "jax", "torch")
"""Keras backends that posekit is tested with."""

# Names of import packages that are not those of their distributions.
_IMPORTS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "google_crc32c": "google-crc32c",
    "skimage": "scikit-image",
    "IPython": "ipywidgets",
    "traitlets": "ipywidgets",
    "jax": "jax",
    "torch": "torch",
}
_FREE_GIB = 2
_NAME_WIDTH = 24


def wrong_python(version=None):
    """Return what is wrong with the Python version, or an empty string.

    Args:
        version: a tuple like `sys.version_info`, which is the default.
    """
    version = tuple(version or sys.version_info)
    if PYTHON[0] <= version[:2] <= PYTHON[1]:
        return ""
    return (
        "Python {}.{} is running, posekit needs {}.{} to {}.{}: install one of these, then make a "
        "new environment with it (python3.12 -m venv .venv)"
    ).format(version[0], version[1], *(PYTHON[0] + PYTHON[1]))


def wrong_backend():
    """Return what is wrong with the environment variable KERAS_BACKEND, or an empty string."""
    backend = os.environ.get("KERAS_BACKEND")
    if not backend or backend in BACKENDS:
        return ""
    return f"KERAS_BACKEND is {backend!r}: set it to {_or(BACKENDS)}, or unset it"


def missing_package(error):
    """Return one line on a package that could not be imported, and on how to install it.

    Args:
        error: the ImportError.
    """
    module = (getattr(error, "name", None) or "").split(".")[0]
    name = _IMPORTS.get(module, module)
    for part in ("light", "train", "book"):
        if name in [package for package, _ in PACKAGES[part]]:
            return (
                f"{name} is not installed or does not load ({_line(error)}): {install_hint([part])}"
            )
    return f"an import failed ({_line(error)}): `posekit doctor` lists what is missing"


def install_hint(parts):
    """Return how to install parts of posekit on this machine.

    Args:
        parts: keys of `PACKAGES`.
    """
    extras = ",".join(part for part in parts if part != "light")
    target = f'".[{extras}]"' if extras else "."
    if not _in_checkout():
        return f"in the book's folder run: pip install {target}"
    folder = "" if str(_checkout()) == str(Path.cwd()) else f"in {_checkout()} "
    if not _in_environment():
        activate = _checkout() / ".venv" / "bin" / "activate"
        if activate.exists():
            return (
                f"activate the environment (source {activate}), or {_pip(folder, target, extras)}"
            )
        return f"make an environment (make setup), or {_pip(folder, target, extras)}"
    return _pip(folder, target, extras)


def _pip(folder, target, extras):
    """Return the command that installs parts of posekit."""
    hint = f"{folder}run: pip install -e {target}"
    if extras:
        hint += " (or `make setup` for the tested versions of everything)"
    return hint


def main(argv=None):
    """Print the report.

    Args:
        argv: the arguments after `doctor`; None for none.

    Returns:
        0, or 1 if something is missing that this installation should have. In a checkout of the
        book that is everything, elsewhere it is the part `light`.
    """
    parser = argparse.ArgumentParser(
        prog="posekit doctor",
        description="Report what this machine has, what is missing, and how to get it.",
    )
    parser.parse_args(argv or [])
    report = _Report()
    _check_python(report)
    missing = _check_packages(report)
    if not wrong_python():
        _check_opencv(report, missing)
        _check_keras(report, missing)
        _check_models(report)
    _check_disk(report)
    _check_folders(report)
    for note in report.notes:
        print("note: " + note)
    for problem in report.problems:
        print("problem: " + problem)
    for hint in report.hints:
        print("to install what is missing, " + hint)
    if report.problems:
        print(f"{len(report.problems)} problem(s)")
        return 1
    print("all is well")
    return 0


class _Report:
    """Problems, notes and hints of a run, printed at its end."""

    def __init__(self):
        self.problems = []
        self.notes = []
        self.hints = []

    def row(self, name, value):
        """Print one line of the table."""
        print("{:{}s}{}".format(name, _NAME_WIDTH, value))


def _check_python(report):
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    report.row("python", f"{platform.python_version()} on {system}")
    if wrong_python():
        report.problems.append(wrong_python())
    if not _in_environment():
        report.row("environment", "none, the system's Python")
        report.notes.append(
            "no virtual environment is active: make one (python3 -m venv .venv) and use its "
            "Python, so that posekit's packages do not mix with the system's"
        )
    else:
        report.row("environment", sys.prefix)


def _check_packages(report):
    """Print the version of each package; return the names of those that are missing, by part."""
    missing = {}
    for part, packages in PACKAGES.items():
        absent = []
        for name, lowest in packages:
            found = _installed(name)
            if found is None:
                absent.append(name)
                report.row(name, f"missing (for {PURPOSE[part]})")
            elif _numbers(found) < _numbers(lowest):
                absent.append(name)
                report.row(name, f"{found} is too old, {lowest} is needed")
            else:
                report.row(name, found)
        missing[part] = absent
    needed = tuple(PACKAGES) if _in_checkout() else ("light",)
    incomplete = [part for part in PACKAGES if missing[part]]
    for part in incomplete:
        text = "{} ({}): missing or too old: {}".format(
            part, PURPOSE[part], ", ".join(missing[part])
        )
        if part in needed:
            report.problems.append(text)
        else:
            report.notes.append("optional, " + text)
    if incomplete:
        report.hints.append(install_hint(incomplete))
    return missing


def _check_opencv(report, missing):
    if OPENCV[0] in missing["light"]:
        return
    try:
        import cv2  # noqa: F401
    except Exception as error:
        report.problems.append(
            f"OpenCV does not load ({_line(error)}): install opencv-python-headless, and only that"
        )


def _check_keras(report, missing):
    if wrong_backend():
        report.problems.append(wrong_backend())
        return
    if "keras" in missing["train"] or missing["light"]:
        return
    try:
        from posekit import hardware

        hardware.load_keras()
        import keras

        from posekit import training

        report.row("accelerator", ", ".join(hardware.accelerators()) or "none, only the processor")
        bfloat16 = "yes" if training.bfloat16_pays() else "no"
        report.row("backend", f"{keras.backend.backend()}, bfloat16 {bfloat16}")
    except ValueError as error:  # a DataError that says what to do
        report.problems.append(_line(error))
    except Exception as error:  # whatever a broken installation or configuration raises
        report.problems.append(
            "Keras does not load ({}): {}".format(_line(error), install_hint(["train"]))
        )


def _check_models(report):
    """Print the package's models; `predictor.list_models` lists them, but needs NumPy."""
    path = Path(__file__).resolve().parent / "weights" / "manifest.json"
    try:
        listed = [name.split("/") for name in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        report.problems.append(f"{path} cannot be read ({error}): install posekit again")
        return
    models = sorted({parts[0] for parts in listed if parts[1].startswith("model.")})
    report.row("models", ", ".join(models) or "none in the package")
    if not models:
        report.problems.append("the package holds no model: install posekit again")


def _check_disk(report):
    free = shutil.disk_usage(str(Path.cwd())).free / 2**30
    report.row("disk", f"{free:.0f} GiB free here")
    if free < _FREE_GIB:
        report.problems.append(
            f"less than {_FREE_GIB} GiB of disk are free: the embedded data and the book need "
            "about that much"
        )


def _check_folders(report):
    data = os.environ.get("POSEKIT_DATA")
    report.row("POSEKIT_DATA", data or "not set (optional: real photos for your own runs)")
    if data and not Path(data).is_dir():
        report.problems.append(
            f"POSEKIT_DATA points to {data}, which is not a folder: correct or unset it"
        )
    cache = os.environ.get("POSEKIT_CACHE")
    if cache and Path(cache).exists() and not Path(cache).is_dir():
        report.problems.append(
            f"POSEKIT_CACHE points to {cache}, which is not a folder: correct or unset it"
        )


def _in_environment():
    """Return whether this Python is that of a virtual environment, or of conda."""
    prefix = getattr(sys, "base_prefix", sys.prefix)
    return sys.prefix != prefix or bool(os.environ.get("CONDA_PREFIX"))


def _checkout():
    """Return the folder that contains the package's own."""
    return Path(__file__).resolve().parents[1]


def _in_checkout():
    """Return whether the package is in a checkout of the book, not in site-packages."""
    return (_checkout() / "_config.yml").is_file()


def _installed(name):
    """Return the version of a distribution, or None if it is not installed."""
    try:
        from importlib import metadata
    except ImportError:  # Python 3.6 and 3.7
        metadata = None
    for candidate in OPENCV if name in OPENCV else (name,):
        try:
            if metadata is not None:
                return metadata.version(candidate)
            import pkg_resources

            return pkg_resources.get_distribution(candidate).version
        except Exception:  # each of the two has a class of its own for "not installed"
            continue
    return None


def _numbers(version):
    """Return the leading numbers of a version as a tuple to compare: "2.0.8rc1" -> (2, 0, 8)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _line(error):
    """Return an exception as one line."""
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__


def _or(names):
    return "{} or {}".format(", ".join(names[:-1]), names[-1])
