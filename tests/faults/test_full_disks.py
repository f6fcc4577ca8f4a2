"""A disk that is really full, at each writer: one line that says so, nothing partial under a final
name, what was there before still whole, and success once there is space."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_data
from faulty_server import FaultyServer
from small_disk import grow, small_disk

from posekit import cli, files, records, training
from posekit.datasets import coco, download
from posekit.datasets.download import archives
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.live import server
from posekit.notebook import runs

ROOT = Path(__file__).resolve().parents[2]
FULL = "No space left|disk is full|disk has"


def visible(folder: Path) -> list[str]:
    """Return the names of files that are not hidden, parts left out."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and ".part" not in path.name
    )


def fill(disk: Path, *, but: int) -> None:
    """Fill a disk up to so many bytes."""
    with (disk / "filling").open("wb") as file:
        free = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - but)


@pytest.mark.fault("disk-files")
@pytest.mark.parametrize("free", [0, 4096, 40_000])
def test_results_and_drawings(tmp_path, free):
    """`evaluate --results` and `predict --draw` write so."""
    with small_disk(tmp_path / "disk") as disk:
        old = disk / "results.json"
        old.write_bytes(b"[]")
        fill(disk, but=free)
        with pytest.raises(DataError, match=FULL):
            cli._write_files(disk, {old: b"[1]" * 100_000})
        assert old.read_bytes() == b"[]" and visible(disk) == ["filling", "results.json"]
        (disk / "filling").unlink()
        grow(disk, "1m")
        cli._write_files(disk, {old: b"[1]" * 100_000})
        assert old.stat().st_size == 300_000


@pytest.mark.fault("disk-files")
def test_the_results_file_of_a_model(tmp_path, capsys):
    """The whole command, on COCO annotations; an older file of results stays."""
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=2, people=2)
    given = ["--coco", annotations, "--images", tmp_path / "coco" / "train2017"]
    with small_disk(tmp_path / "disk", "40k") as disk:
        old = disk / "results.json"
        old.write_bytes(b"[]")
        fill(disk, but=0)
        command = ["evaluate", *given, "--model", "stage1", "--results", old]
        assert cli.main(list(map(str, command))) == 2
        told = capsys.readouterr().err
        assert "No space left" in told and told.startswith("error: ")
        assert old.read_bytes() == b"[]"


@pytest.mark.fault("disk-files")
def test_printed_output_onto_a_full_disk(tmp_path):
    """`posekit ... --json > FILE`: an error and an exit code, not half an object and success."""
    tiny_data.write_photo(tmp_path / "a.jpg")
    command = [sys.executable, "-m", "posekit", "predict", "--model", "stage1"]
    command += ["--json", str(tmp_path / "a.jpg")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.fault("disk-records")
@pytest.mark.parametrize("free", [0, 8192, 60_000, 150_000])
def test_records(tmp_path, free):
    annotations, _ = tiny_data.coco(tmp_path / "coco", photos=6, people=4)
    people = list(coco.read(annotations, tmp_path / "coco" / "train2017"))

    def write(out: Path) -> dict:
        settings = records.CropSettings(box_px=224)
        return records.write_records(
            people, out, "tiny", "train", settings, shards=8, resume=True, progress=False
        )

    whole = write(tmp_path / "whole")
    with small_disk(tmp_path / "disk", "400k") as disk:
        fill(disk, but=free)
        with pytest.raises(DataError, match=FULL):
            write(disk / "out")
        assert visible(disk) == ["filling"]
        (disk / "filling").unlink()
        grow(disk, "8m")
        assert write(disk / "out") == whole
        assert records.check(disk / "out")["damage"] == []


@pytest.mark.fault("disk-download")
@pytest.mark.parametrize("free", [0, 4096, 100_000])
def test_downloads_and_archives(tmp_path, free):
    data = os.urandom(150_000)
    with (
        FaultyServer({"/file.bin": data}) as web,
        small_disk(tmp_path / "disk", "300k") as disk,
    ):
        fill(disk, but=free)

        def fetch() -> None:
            with download.open_folder(disk) as manifest:
                policy = download.RetryPolicy(tries=1)
                url = f"{web.url}/file.bin"
                download.fetch(url, disk / "file.bin", manifest, policy=policy, progress=False)

        with pytest.raises(DataError, match=FULL):
            fetch()
        assert not (disk / "file.bin").exists()
        (disk / "filling").unlink()
        grow(disk, "2m")
        fetch()
        assert (disk / "file.bin").read_bytes() == data
        import zipfile

        with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
            for name in "abcdef":
                file.writestr(name, os.urandom(100_000))
        grow(disk, "500k")
        with pytest.raises(DataError, match=FULL):
            archives.extract(tmp_path / "x.zip", disk / "x", progress=False)
        assert not list(disk.glob("*x*"))
        grow(disk, "2m")
        assert archives.extract(tmp_path / "x.zip", disk / "x", progress=False) == 6


@pytest.mark.fault("disk-video")
@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".webm"])
def test_the_video_of_the_live_loop(tmp_path, suffix):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    for k in range(40):
        writer.write(np.random.default_rng(k).integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
    frames = [np.random.default_rng(k).integers(0, 255, (240, 320, 3), np.uint8) for k in range(40)]
    with small_disk(tmp_path / "disk", "200k") as disk:
        old = disk / f"drawn{suffix}"
        old.write_bytes(b"of an earlier run")
        with pytest.raises(DataError, match="is the disk full|cannot be written|disk is full"):
            with server._VideoWriter(old, str(clip)) as drawn:
                for frame in frames:
                    drawn(frame, None)
        assert old.read_bytes() == b"of an earlier run" and visible(disk) == [old.name]
        grow(disk, "16m")
        with server._VideoWriter(old, str(clip)) as drawn:
            for frame in frames:
                drawn(frame, None)
        assert old.stat().st_size > 10_000 and visible(disk) == [old.name]


@pytest.mark.fault("disk-run-record")
@pytest.mark.parametrize("free", [0, 4096])
def test_the_record_of_an_experiment(tmp_path, monkeypatch, free):
    rows = [[k, k**2] for k in range(3000)]
    with small_disk(tmp_path / "disk", "300k") as disk:
        (disk / "_config.yml").touch()
        (disk / "book").mkdir()
        monkeypatch.chdir(disk)
        folder = runs.write("speed", "old", "none", {}, ("run", "value"), rows[:3])
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        fill(disk, but=free)
        with pytest.raises(DataError, match=FULL):
            runs.write("speed", "new", "none", {"rows": rows}, ("run", "value"), rows)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        monkeypatch.chdir(tmp_path)


@pytest.mark.fault("disk-export")
@pytest.mark.parametrize("free", [0, 4096])
def test_the_writer_of_an_exported_model(tmp_path, free):
    """The file of a real export, by the function that `export` writes it with."""
    data = (ROOT / "posekit" / "weights" / "minidome" / "model.keras").read_bytes()
    with small_disk(tmp_path / "disk", "300k") as disk:
        fill(disk, but=free)
        with pytest.raises(DataError, match=r"model\.onnx: the disk is full .* bytes were needed"):
            files.atomic_write(disk / "model.onnx", data)
        assert visible(disk) == ["filling"] and not list(disk.glob(".*"))


@pytest.mark.slow
@pytest.mark.fault("disk-export")
def test_export(tmp_path, capsys):
    """The command: the file, and the scratch folder of the conversion."""
    with small_disk(tmp_path / "disk", "300k") as disk:
        command = ["export", "--model", "minidome", str(disk / "m.onnx")]
        assert cli.main(command) == 2
        told = capsys.readouterr().err
        assert "disk is full" in told and told.count("\n") == 1 and not list(disk.iterdir())
        grow(disk, "32m")
        assert cli.main(command) == 0
        assert [path.name for path in disk.iterdir()] == ["m.onnx"]
    with small_disk(tmp_path / "scratch", "100k") as scratch:
        environment = {**os.environ, "TMPDIR": str(scratch)}
        command = [sys.executable, "-m", "posekit", "export", "--model", "minidome"]
        done = subprocess.run(
            [*command, str(tmp_path / "m.onnx")],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2 and not (tmp_path / "m.onnx").exists(), done.stderr[-500:]
        assert "Traceback" not in done.stderr
        assert not list(scratch.iterdir())


# ---- training -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def record_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("full")
    annotations, _ = tiny_data.coco(folder / "coco", photos=4, people=2)
    people = coco.read(annotations, folder / "coco" / "train2017")
    settings = records.CropSettings(box_px=64)
    records.write_records(
        people, folder / "records", "coco", "train", settings, shards=1, progress=False
    )
    return folder / "records"


@pytest.mark.fault("disk-training")
@pytest.mark.parametrize(
    "moment",
    [
        "first checkpoint",
        pytest.param("log", marks=pytest.mark.slow),
        pytest.param("second checkpoint", marks=pytest.mark.slow),
        pytest.param("model", marks=pytest.mark.slow),
        pytest.param("record", marks=pytest.mark.slow),
        pytest.param("curves", marks=pytest.mark.slow),
    ],
)
def test_training(record_folder, tmp_path, monkeypatch, moment):
    """The disk gets full before a certain file is written. With space, the run ends with the
    weights of one without a fault."""
    recipe = training.Recipe(
        backbone="resnet10v2",
        base_channels=2,
        input_size=32,
        epochs=3,
        batch_size=4,
        dtype="float32",
    )

    def train(out: Path, **options: object) -> list[np.ndarray]:
        training.train(
            [record_folder],
            record_folder,
            recipe,
            out,
            verbose=False,
            checkpoint_seconds=0,
            **options,
        )
        return predictor.load(out).model.get_weights()

    wanted = None if moment == "first checkpoint" else train(tmp_path / "whole")
    with small_disk(tmp_path / "disk", "16m") as disk:
        options = {"tensorboard": disk / "curves"} if moment == "curves" else {}
        with monkeypatch.context() as patch:
            fill_before(patch, moment, disk)
            with pytest.raises(DataError, match=FULL):
                train(disk / "run", **options)
        (disk / "filling").unlink()
        assert visible(disk) == (
            [] if moment != "curves" else [f"curves/{next((disk / 'curves').iterdir()).name}"]
        )
        partial = disk / ".run.partial"
        assert (partial / "checkpoint.npz").exists() == (
            moment in ("second checkpoint", "model", "record")
        )
        weights = train(disk / "run", **options)
        left = sorted(path.name for path in (disk / "run").iterdir())
        assert left == ["log.csv", "model.keras", "record.json"]
    for a, b in zip(weights, wanted or weights, strict=True):
        np.testing.assert_array_equal(a, b)


def fill_before(patch: pytest.MonkeyPatch, moment: str, disk: Path) -> None:
    """Fill the disk before a file is written; the writing itself is real."""

    def before(owner: object, name: str, when=lambda *given: True, but: int = 0) -> None:
        real = getattr(owner, name)

        def first_fill(*given, **options):
            if when(*given) and not (disk / "filling").exists():
                fill(disk, but=but)
            return real(*given, **options)

        patch.setattr(owner, name, first_fill)

    if moment == "first checkpoint":
        before(training.Checkpoint, "save", but=20_000)
    elif moment == "second checkpoint":
        before(training.Checkpoint, "save", lambda _, done: done == 2, but=20_000)
    elif moment == "log":
        before(training.ValidationLogger, "on_epoch_end")
    elif moment == "curves":
        before(training.tensorboard.TensorBoard, "on_epoch_end")
    elif moment == "model":
        before(training.run, "_write_run", but=4096)
    else:
        before(training.run.json, "dumps", lambda value, *_: "mean_pose" in value)
