"""The files for containers and public services, as far as they can be checked without one: they are
well formed, and their commands are those of the Makefile."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.M))


def test_the_container_runs_make_targets_and_opens_the_chapters():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert words[0][0] == "FROM" and re.match(r"python:3\.1[123]-slim", words[0][1])
    assert {word for word, _ in words} <= {
        "FROM",
        "RUN",
        "USER",
        "WORKDIR",
        "COPY",
        "EXPOSE",
        "CMD",
    }
    made = [
        match
        for word, rest in words
        for match in re.findall(r"make ([a-z-]+)", rest)
        if word == "RUN"
    ]
    assert made == ["setup", "data"] and set(made) <= targets()
    command = json.loads(next(rest for word, rest in words if word == "CMD"))
    assert command[0] == ".venv/bin/jupyter" and (ROOT / command[-1]).is_dir()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", "_build", "_data", ".venv*"} <= set(ignored)


def test_the_dev_container_is_json_and_runs_a_make_target():
    config = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8"))
    assert re.search(r":3\.1[123]-", config["image"])
    assert re.fullmatch(r"make ([a-z-]+)", config["postCreateCommand"])[1] in targets()
    interpreter = config["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "${containerWorkspaceFolder}/.venv/bin/python"


def test_binder_installs_the_pins_and_runs_the_plain_commands():
    folder = ROOT / "binder"
    assert re.fullmatch(r"python-3\.1[123]\n", (folder / "runtime.txt").read_text())
    lines = [s for s in (folder / "requirements.txt").read_text().splitlines() if s[:1] != "#"]
    assert [(folder / line.removeprefix("-r ")).resolve() for line in lines] == [
        ROOT / "requirements.txt"
    ]
    script = folder / "postBuild"
    assert script.stat().st_mode & 0o111 and script.read_text().startswith("#!/usr/bin/env bash\n")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    commands = [line for line in script.read_text().splitlines()[1:] if line[:1] != "#"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert commands[0] == "set -euo pipefail"
    assert commands[1:] == ["pip install --no-deps --editable .", "python -m posekit.minidome"]
    assert "--no-deps --editable ." in makefile and "-m posekit.minidome" in makefile


def colab_cell() -> str:
    text = (ROOT / "book" / "setup_advanced.md").read_text(encoding="utf-8")
    return re.search(r"^```ipython\n(!git clone .*?)^```", text, re.M | re.S)[1]


def test_the_first_cell_for_colab_is_valid():
    from IPython.core.inputtransformer2 import TransformerManager

    code = TransformerManager().transform_cell(colab_cell())
    compile(code, "cell", "exec")
    assert "run_line_magic('pip'" in code and "run_line_magic('cd', 'tutorial/chapters')" in code
    packages = re.search(r"%pip install --quiet ./tutorial (.*)", colab_cell())[1].split()
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert [name for name in packages if f"\n{name}==" not in pinned] == []


def test_two_lines_switch_the_launch_buttons_on(tmp_path):
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    off = yaml.safe_load(text)
    assert "launch_buttons" not in off and "repository" not in off
    on = yaml.safe_load(re.sub(r"^# (repository|launch_buttons): ", r"\1: ", text, flags=re.M))
    assert set(on) - set(off) == {"launch_buttons", "repository"}
    config = {key: on[key] for key in ("title", "launch_buttons", "repository")}
    config["execute"] = {"execute_notebooks": "off"}
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    cell = {"cell_type": "markdown", "metadata": {}, "source": "# Title\n"}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}
    (tmp_path / "page.ipynb").write_text(json.dumps(notebook))
    command = "from jupyter_book.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "build", str(tmp_path)], capture_output=True, text=True
    )
    page = tmp_path / "_build" / "html" / "page.html"
    assert page.is_file(), done.stdout[-2000:] + done.stderr[-2000:]
    html = page.read_text(encoding="utf-8")
    assert "https://mybinder.org/v2/gh/OWNER/NAME/main?urlpath=lab/tree/page.ipynb" in html
    assert "https://colab.research.google.com/github/OWNER/NAME/blob/main/page.ipynb" in html


@pytest.mark.slow
def test_repo2docker_understands_the_folder_for_binder(monkeypatch):
    buildpacks = pytest.importorskip(
        "repo2docker.buildpacks", reason="pip install jupyter-repo2docker"
    )
    monkeypatch.chdir(ROOT)
    pack = buildpacks.PythonBuildPack("buildpack-deps:jammy")
    assert pack.detect() and pack.python_version == "3.12"
    scripts = " ".join(script for _, script in pack.get_assemble_scripts())
    assert 'install --no-cache-dir -r "binder/requirements.txt"' in scripts
    assert list(pack.get_post_build_scripts()) == ["binder/postBuild"]
