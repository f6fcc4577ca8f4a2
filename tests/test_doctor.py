"""`posekit doctor`: it runs on any Python 3, and says what is missing and how to get it."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import pytest
from packaging.requirements import Requirement

from posekit import cli, doctor, hardware
from posekit.inference import predictor

ROOT = Path(__file__).resolve().parents[1]


def run(capsys) -> tuple[int, str]:
    code = cli.main(["doctor"])
    return code, capsys.readouterr().out


def bare_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `python -m posekit` in the checkout by a Python without any package (`-S`)."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KERAS_BACKEND")}
    command = [sys.executable, "-S", "-m", "posekit", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**kept, **environment}
    )


def test_the_tables_repeat_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {"light": project["dependencies"]}
    wanted |= {part: project["optional-dependencies"][part] for part in ("train", "book")}
    for part, texts in wanted.items():
        needs = {}
        for need in map(Requirement, texts):
            bounds = [bound.version for bound in need.specifier if bound.operator == ">="]
            if need.name != "opencv-python":  # the same as the headless one, for other systems
                needs[need.name] = bounds[0]
        assert dict(doctor.PACKAGES[part]) == needs, part
    assert doctor.BACKENDS == hardware.BACKENDS
    low, high = doctor.PYTHON
    assert project["requires-python"] == f">={low[0]}.{low[1]},<{high[0]}.{high[1] + 1}"


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py", "doctor.py"])
def test_it_keeps_to_the_syntax_of_python_3_6(name):
    source = (ROOT / "posekit" / name).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs]
            assert node.returns is None, "list[str] is an error before Python 3.9"
            assert all(argument.annotation is None for argument in arguments)


def test_a_python_without_packages_is_told_all_that_is_missing():
    done = bare_python("doctor")
    assert (done.returncode, done.stderr) == (1, "")
    for packages in doctor.PACKAGES.values():
        for name, _ in packages:
            assert f"{name} missing" in " ".join(done.stdout.split())
    assert 'run: pip install -e ".[train,book]" (or `make setup`' in done.stdout
    assert "models " in done.stdout and done.stdout.endswith("problem(s)\n")


def test_a_python_without_packages_refuses_other_commands_in_one_line():
    done = bare_python("predict", "--model", "stage1", "photo.jpg")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: numpy is not installed") and "pip install" in done.stderr


def test_help_and_version_need_no_package():
    assert bare_python().stdout == bare_python("--help").stdout
    assert bare_python("--version").stdout.startswith("posekit ")


@pytest.mark.parametrize(
    ("version", "good"),
    [((3, 10, 9), False), ((3, 14, 0), False), ((3, 11, 5), True), ((3, 13, 1), True)],
)
def test_another_python_version_is_named_with_those_that_will_do(version, good):
    told = doctor.wrong_python(version)
    assert (told == "") == good
    if not good:
        assert f"Python {version[0]}.{version[1]}" in told and "3.11 to 3.13" in told


def test_outside_a_checkout_training_and_book_are_optional(capsys, monkeypatch):
    """After `pip install .` there is nothing wrong: the report says how to get the rest."""
    optional = {name for part in ("train", "book") for name, _ in doctor.PACKAGES[part]}
    monkeypatch.setattr(doctor, "_in_checkout", lambda: False)
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name in optional else "99")
    code, out = run(capsys)
    assert code == 0 and out.endswith("all is well\n")
    assert out.count("note: optional") == 2 and 'pip install ".[train,book]"' in out


def test_a_package_that_is_too_old_is_a_problem(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_installed", lambda name: "1.26.4" if name == "numpy" else "99")
    code, out = run(capsys)
    assert code == 1 and "1.26.4 is too old, 2.0 is needed" in out


def test_it_reports_what_is_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("POSEKIT_DATA", str(tmp_path / "gone"))
    code, out = run(capsys)
    assert code == 1
    assert "POSEKIT_DATA points to" in out and out.splitlines()[-1].endswith("problem(s)")
    monkeypatch.delenv("POSEKIT_DATA")
    code, out = run(capsys)
    assert keras.__version__ in out
    assert (code == 0) == (out.splitlines()[-1] == "all is well") == ("problem:" not in out)
    assert code == (0 if predictor.list_models() else 1)
    assert ", ".join(predictor.list_models()) in out


def test_a_keras_that_does_not_load_is_a_problem(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    code, out = run(capsys)
    assert code == 1
    assert "problem: Keras does not load" in out and out.splitlines()[-1].endswith("problem(s)")


def test_an_unknown_backend_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    code, out = run(capsys)
    assert code == 1
    assert "problem: KERAS_BACKEND is 'theano': set it to tensorflow, jax or torch" in out
    code = cli.main(["evaluate", "--model", "minidome", "--records", str(tmp_path)])
    assert code == 2
    code = cli.main(["export", "--model", "minidome", str(tmp_path / "m.onnx")])
    told = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and told.startswith("error: KERAS_BACKEND: is 'theano'")


def test_a_missing_package_is_named_with_its_extra():
    error = ImportError("No module named 'pycocotools'", name="pycocotools.coco")
    told = doctor.missing_package(error)
    assert told.startswith("pycocotools is not installed") and "[train]" in told
    assert "\n" not in doctor.missing_package(ImportError("two\nlines"))
