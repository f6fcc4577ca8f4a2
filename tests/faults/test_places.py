"""Homes that are missing or cannot be written to, and paths that are hard to write."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_data
from faulty_server import FaultyServer
from small_disk import small_disk

from posekit import cli, files, records
from posekit.datasets import coco, download
from posekit.datasets.download import archives
from posekit.errors import DataError
from posekit.live import server, video

ROOT = Path(__file__).resolve().parents[2]
USER = 54321
"""Number of a user whom no system knows: without a home folder, as in some containers."""

PREDICT = """
import sys
from posekit import cli
sys.exit(cli.main(["predict", "--model", "stage1", "--json", sys.argv[1]]))
"""
FIGURE = """
import matplotlib
matplotlib.use("Agg")
from posekit import viz
import matplotlib.pyplot as plt
viz.style()
plt.plot([0, 1])
plt.gcf().canvas.draw()
"""
KERAS = """
from posekit import hardware
hardware.load_keras()
import keras
print(float(keras.ops.sum(keras.ops.ones(3))))
"""


def environment(**changes: str) -> dict[str, str]:
    kept = ("PATH", "PYTHONPATH", "LANG")
    given = {name: os.environ[name] for name in kept if name in os.environ}
    return {**given, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **changes}


def python(code: str, *arguments: object, **env: str):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment(**env),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=["missing", "read-only", "a file", "full"])
def home(request, tmp_path):
    """A home folder that cannot be used."""
    if request.param == "missing":
        yield tmp_path / "nowhere" / "home"
    elif request.param == "a file":
        (tmp_path / "home").write_text("")
        yield tmp_path / "home"
    else:
        read_only = request.param == "read-only"
        with small_disk(tmp_path / "home", "8k", read_only=read_only) as disk:
            if not read_only:
                (disk / "filling").write_bytes(bytes(8192))
            yield disk


@pytest.mark.fault("home")
@pytest.mark.parametrize("home", ["missing", "read-only"], indirect=True)
def test_predictions_need_no_home(home, tmp_path):
    tiny_data.write_photo(tmp_path / "a.jpg")
    done = python(PREDICT, tmp_path / "a.jpg", HOME=str(home))
    assert done.returncode == 0 and '"keypoints"' in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.fault("home")
@pytest.mark.parametrize("code", [FIGURE, KERAS], ids=["figure", "keras"])
def test_figures_and_keras_need_no_home(home, code):
    done = python(code, HOME=str(home))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.fault("home")
@pytest.mark.parametrize("home", ["read-only", "a file"], indirect=True)
def test_data_that_cannot_be_kept_at_home_are_told_in_one_line(home):
    code = "from posekit import minidome\nminidome.dataset(progress=False)"
    guarded = (
        f"from posekit.errors import DataError\ntry:\n    exec({code!r})\n"
        "except DataError as error:\n    raise SystemExit(f'error: {error}')"
    )
    done = python(guarded, HOME=str(home))
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr[-2000:]
    assert "cannot keep the data set here" in done.stderr and "POSEKIT_CACHE" in done.stderr


@pytest.mark.fault("home")
def test_a_user_whom_the_system_does_not_know(tmp_path):
    """HOME is not set, and there is no entry for the user."""
    if os.geteuid() != 0:
        pytest.skip("needs the right to become another user")
    code = (
        "import os\nfrom posekit import files\nfrom posekit.errors import DataError\n"
        f"os.environ.pop('HOME', None)\nos.setuid({USER})\n"
        "for call in (files.cache_root, lambda: files.local_path('~/x')):\n"
        "    try:\n        print('found', call())\n"
        "    except DataError as error:\n        print(error)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("HOME: is not set" in line for line in lines)
    assert all("POSEKIT_CACHE" in line for line in lines)


@pytest.mark.fault("home")
def test_progress_in_the_exercises_is_not_needed(home, monkeypatch):
    """It is kept at home; where that cannot be, a check passes all the same."""
    from posekit.notebook import solved

    monkeypatch.setenv("POSEKIT_PROGRESS", str(home / "progress.json"))
    monkeypatch.setattr(solved, "_has_reader", lambda: True)
    solved.record("ch01", "check_flip_person")
    assert (solved.read() == {}) == (not (home / "progress.json").is_file())


# ---- names ----------------------------------------------------------------------------------

NAMES = {
    "non-ASCII": "Übung 姿勢 позa 🕺",
    "spaces": "  two  spaces, 'quotes' and \"more\" & ; $HOME ",
    "a new line": "a\nb",
    "a dash": "-rf",
    "a dot": "see Fig. 3 of the second edition, page 12, on the left side",
    "255 bytes": "x" * 255,
    "255 bytes, non-ASCII": "ä" * 127 + "x",
    "255 bytes after a dot": "a." + "y" * 253,
}


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def name(request) -> str:
    return request.param


def with_suffix(name: str, suffix: str) -> str:
    """A file name of at most 255 bytes."""
    raw = name.encode()[: 255 - len(suffix)]
    return raw.decode(errors="ignore") + suffix


@pytest.mark.fault("names")
def test_every_light_writer(name, tmp_path, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    annotations, _ = tiny_data.coco(folder / name, photos=2, people=2)
    people = list(coco.read(annotations, folder / name / "train2017"))
    settings = records.CropSettings(box_px=64)
    out = folder / "out" / name
    records.write_records(people, out, "tiny", "train", settings, workers=1, progress=False)
    assert records.check(out)["damage"] == []
    files.atomic_write(folder / with_suffix(name, ".json"), b"[]", durable=True)
    with files.atomic_folder(folder / "set" / name) as part:
        (part / "a").write_text("1")
    assert (folder / "set" / name / "a").read_text() == "1"
    with FaultyServer({"/file.bin": b"data"}) as web, download.open_folder(folder) as manifest:
        download.fetch(f"{web.url}/file.bin", folder / "file.bin", manifest, progress=False)
    import zipfile

    with zipfile.ZipFile(folder / "x.zip", "w") as file:
        file.writestr("a.txt", "a")
    assert archives.extract(folder / "x.zip", folder / "zip" / name, progress=False) == 1
    hidden = [path for path in folder.rglob(".*") if path.name != ".downloads.lock"]
    assert hidden == []


@pytest.mark.fault("names")
def test_predict_and_draw(name, tmp_path, capsys):
    photo = tmp_path / with_suffix(name, ".jpg")
    tiny_data.write_photo(photo)
    folder = tmp_path / name
    command = ["predict", "--model", "stage1", "--json", str(photo)]
    assert cli.main(command) == 0, capsys.readouterr().err
    short = tmp_path / "a.jpg"
    tiny_data.write_photo(short)
    assert cli.main([*command[:-1], str(short), "--draw", str(folder)]) == 0
    assert [path.name for path in folder.iterdir()] == ["a.pose.jpg"]


@pytest.mark.fault("names")
def test_the_video_writer(name, tmp_path):
    clip = ROOT / "posekit" / "live" / "web" / "clip.mjpeg"
    out = tmp_path / with_suffix(name, ".mp4")
    with server._VideoWriter(out, str(clip)) as writer:
        for _ in range(5):
            writer(np.zeros((48, 64, 3), np.uint8), None)
    assert len(list(video.frames(out))) == 5
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.slow
@pytest.mark.fault("names")
@pytest.mark.parametrize("kind", ["non-ASCII", "spaces", "255 bytes", "255 bytes after a dot"])
def test_training_and_export(kind, tmp_path, capsys):
    name = NAMES[kind]
    folder = tmp_path / name
    folder.mkdir()
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=2, people=2)
    people = coco.read(annotations, tmp_path / "coco" / "train2017")
    settings = records.CropSettings(box_px=64)
    records.write_records(
        people, folder / "records", "tiny", "train", settings, shards=1, progress=False
    )
    run = folder / name
    data = ["--records", folder / "records", "--val", folder / "records", "--out", run]
    size = ["--backbone", "resnet10v2", "--width", 4, "--input-size", 64]
    length = ["--epochs", 1, "--batch-size", 2, "--checkpoint", 0]
    assert cli.main(list(map(str, ["train", *data, *size, *length]))) == 0
    assert sorted(path.name for path in run.iterdir()) == ["log.csv", "model.keras", "record.json"]
    out = folder / with_suffix(name, ".onnx")
    assert cli.main(["export", "--model", str(run), str(out)]) == 0
    tiny_data.write_photo(folder / "a.jpg")
    assert cli.main(["predict", "--model", str(out), "--json", str(folder / "a.jpg")]) == 0
    assert not list(folder.glob(".*"))


@pytest.mark.fault("names")
@pytest.mark.parametrize("name", ["x" * 256, "x" * 300 + "/y", "a\0b"])
def test_a_name_that_cannot_be_is_an_error_in_one_line(name, tmp_path):
    with pytest.raises((DataError, OSError, ValueError)) as error:
        records.write_records([], tmp_path / name, "tiny", "train", progress=False)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
