"""Run the page's JavaScript modules in the Node that comes with Playwright."""

import json
import subprocess
from pathlib import Path

import pytest

from posekit.live.server import WEB

IMPORTS = {
    "one_euro": "smooth",
    "tracker": "INITIAL_STATE, estimatedTorsoLength, nextCrop, personScore, squareAround, update",
    "warp": "cropSquare",
    "repetitions": "NO_REPETITIONS, angle, count, exerciseAngle",
    "frames": "splitMjpeg",
    "core/camera": "CAMERA_ERRORS, CameraError",
    "core/skeleton": "drawSkeleton",
}


def node_path() -> str:
    """Path of Node; skips the test where there is none."""
    playwright = pytest.importorskip("playwright")
    path = Path(playwright.__file__).parent / "driver" / "node"
    path = path if path.is_file() else path.with_suffix(".exe")
    if not path.is_file():
        pytest.skip("Playwright brings no Node on this system")
    return str(path)


def run_module(source: str, folder: Path) -> str:
    """Output of a JavaScript module that is written to a folder."""
    path = folder / "run.mjs"
    path.write_text(source, encoding="utf-8")
    command = [node_path(), "--no-warnings", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_node(script: str, given: object, folder: Path) -> object:
    """Result of a function body that finds the page's functions, `given` and `constants`."""
    path = folder / "given.json"
    path.write_text(json.dumps(given), encoding="utf-8")
    lines = ['import { readFileSync } from "node:fs";']
    for name, names in IMPORTS.items():
        lines.append(f'import {{ {names} }} from "{(WEB / name).as_uri()}.js";')
    constants = (WEB / "core" / "constants.json").as_posix()
    lines += [
        f'const given = JSON.parse(readFileSync("{path.as_posix()}"));',
        f'const constants = JSON.parse(readFileSync("{constants}"));',
        f"console.log(JSON.stringify((() => {{ {script} }})()));",
    ]
    return json.loads(run_module("\n".join(lines), folder))
