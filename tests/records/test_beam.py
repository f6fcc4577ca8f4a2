"""Records through Apache Beam: the local run's bytes from two workers, whatever goes wrong.
`make test-beam` runs these with Beam."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_data

from posekit import datasets, records
from posekit.errors import DataError
from posekit.records import beam

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "data_scripts" / "build_tfrecords.py"
TWO_WORKERS = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


@pytest.fixture
def installed():
    pytest.importorskip(
        "apache_beam", reason="Apache Beam is not installed here: `make test-beam` has it"
    )


@pytest.fixture
def coco(tmp_path) -> Path:
    tiny_data.coco(tmp_path / "coco", photos=20, people=3)
    return tmp_path / "coco"


def command(*arguments) -> list[str]:
    return [sys.executable, str(SCRIPT), *map(str, arguments)]


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=240)


def through_beam(*arguments) -> subprocess.CompletedProcess:
    return run(*arguments, "--runner", "beam", "--", *TWO_WORKERS)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def spoil(photo: Path) -> None:
    photo.write_bytes(photo.read_bytes()[:500])


# ---- the same bytes ------------------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "options",
    [(), ("--shards", 3, "--seed", 7, "--box", "joints", "--context", 1), ("--shards", 500)],
)
def test_two_workers_write_the_local_bytes(tmp_path, coco, options):
    local = run("coco", coco, tmp_path / "local", *options)
    done = through_beam("coco", coco, tmp_path / "beam", *options)
    assert (local.returncode, done.returncode) == (0, 0), done.stderr
    assert files(tmp_path / "local") == files(tmp_path / "beam")
    assert done.stdout.startswith("60 people in ")
    assert records.check(tmp_path / "beam")["damage"] == []


@pytest.mark.usefixtures("installed")
def test_the_workers_are_those_of_the_command_line(tmp_path, coco):
    """Without options behind `--`, Beam runs here, on `--workers` processes."""
    assert run("coco", coco, tmp_path / "local").returncode == 0
    assert run("coco", coco, tmp_path / "beam", "--runner", "beam", "--workers", 3).returncode == 0
    assert files(tmp_path / "local") == files(tmp_path / "beam")


@pytest.mark.usefixtures("installed")
@pytest.mark.realdata
def test_real_photos_through_beam(tmp_path, realdata):
    assert run("coco", realdata / "coco", tmp_path / "local", "--split", "val").returncode == 0
    assert (
        through_beam("coco", realdata / "coco", tmp_path / "beam", "--split", "val").returncode == 0
    )
    assert files(tmp_path / "local") == files(tmp_path / "beam")


@pytest.fixture(scope="module")
def dask_cluster():
    """A Dask cluster of two worker processes, and a client of it."""
    reason = "Dask is not installed here: `make test-beam` has it"
    distributed = pytest.importorskip("distributed", reason=reason)
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed here")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def through_dask(client, folder: Path, out: Path, **options) -> None:
    address = client.scheduler.address
    runner = f"--runner={beam.DASK_RUNNER}"
    records.write_records(
        datasets.read("coco", folder, "train"),
        out,
        "coco",
        "train",
        progress=False,
        executor=beam.executor([runner, f"--dask_client_address={address}"]),
        **options,
    )


def test_a_dask_cluster_of_two_processes_writes_the_local_bytes(tmp_path, coco, dask_cluster):
    from distributed import get_task_stream

    assert run("coco", coco, tmp_path / "local", "--shards", 12).returncode == 0
    with get_task_stream(dask_cluster) as stream:
        through_dask(dask_cluster, coco, tmp_path / "dask", shards=12)
    assert files(tmp_path / "local") == files(tmp_path / "dask")
    wrote = [task["worker"] for task in stream.data if "apply_dofn" in str(task["key"])]
    assert len(set(wrote)) == 2, "one worker wrote all shards"


def test_on_a_dask_cluster_a_bad_photo_stops_the_run_with_the_local_message(
    tmp_path, coco, dask_cluster
):
    spoil(coco / "train2017" / f"{2:012d}.jpg")
    local = run("coco", coco, tmp_path / "local")
    with pytest.raises(DataError) as error:
        through_dask(dask_cluster, coco, tmp_path / "dask")
    assert local.returncode == 2 and str(error.value) in local.stderr
    assert not (tmp_path / "dask").exists()


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.usefixtures("installed")
def test_a_bad_photo_stops_the_run_with_the_local_message(tmp_path, coco):
    for number in (2, 9, 17):
        spoil(coco / "train2017" / f"{number:012d}.jpg")
    local = run("coco", coco, tmp_path / "local")
    done = through_beam("coco", coco, tmp_path / "beam")
    assert (local.returncode, done.returncode) == (2, 2)
    last = [text.strip().splitlines()[-1] for text in (local.stderr, done.stderr)]
    assert last[0] == last[1] and "the JPEG is truncated" in last[0]
    assert not (tmp_path / "beam").exists()


@pytest.mark.usefixtures("installed")
def test_bad_photos_are_skipped_and_listed_as_locally(tmp_path, coco):
    for number in (2, 9):
        spoil(coco / "train2017" / f"{number:012d}.jpg")
    assert run("coco", coco, tmp_path / "local", "--skip-bad").returncode == 0
    assert through_beam("coco", coco, tmp_path / "beam", "--skip-bad").returncode == 0
    assert files(tmp_path / "local") == files(tmp_path / "beam")
    assert len(records.read_manifest(tmp_path / "beam")["skipped"]) == 6


@pytest.mark.usefixtures("installed")
def test_what_one_runner_began_the_other_finishes(tmp_path, coco):
    """A photo that is bad stops a run; what is whole stays with --resume, and either runner goes on
    from there."""
    photo = coco / "train2017" / f"{5:012d}.jpg"
    whole = tmp_path / "whole"
    data = photo.read_bytes()
    assert run("coco", coco, whole, "--shards", 12).returncode == 0
    for first, second in ((through_beam, run), (run, through_beam)):
        out = tmp_path / first.__name__
        spoil(photo)
        assert first("coco", coco, out, "--shards", 12, "--resume").returncode == 2
        begun = {path.name: path.stat().st_ino for path in (out / ".partial").glob("*-of-00012")}
        assert begun and not list((out / ".partial").glob("beam-*"))
        photo.write_bytes(data)
        assert second("coco", coco, out, "--shards", 12, "--resume").returncode == 0
        assert files(out) == files(whole)
        assert {
            name: (out / name).stat().st_ino for name in begun
        } == begun  # kept, not written again


def sdk_workers(folder: Path) -> list[int]:
    """Beam's worker processes that a run on this folder started, told by their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if b"sdk_worker_main" in command and f"BEAM_TEST={folder}".encode() in environment:
            found.append(int(process.name))
    return found


@pytest.mark.usefixtures("installed")
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_killed_with_its_workers_alive_and_resumed_it_writes_the_same_bytes(tmp_path):
    tiny_data.coco(tmp_path / "coco", photos=10, people=30)
    arguments = ("coco", tmp_path / "coco", tmp_path / "out", "--shards", 60)
    run("coco", tmp_path / "coco", tmp_path / "whole", "--shards", 60)
    killed = subprocess.Popen(
        command(*arguments, "--runner", "beam", "--", *TWO_WORKERS),
        env={**os.environ, "BEAM_TEST": str(tmp_path)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "out" / ".partial").glob("*.json"))) < 10 and killed.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    workers = sdk_workers(tmp_path)
    killed.kill()
    killed.wait()
    assert len(workers) >= 2, "two workers were to write"
    while sdk_workers(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sdk_workers(tmp_path) == [], "a worker outlives the run"
    with pytest.raises(DataError, match="no manifest"):
        records.read_manifest(tmp_path / "out")
    done = through_beam(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.usefixtures("installed")
def test_a_task_may_run_twice(tmp_path, coco):
    """As when a runner loses sight of a machine: the second finds the first one's shard, and the
    bytes are the same."""

    def twice(job):
        begun = beam.executor(TWO_WORKERS)(job)
        aside = job.folder / "beam-again"
        aside.mkdir()
        (aside / "order").write_bytes(b"".join(place.to_bytes(8, "little") for place in job.order))
        for shard in job.files:
            beam.write_task(shard, job.folder, aside, job.spool, job.settings, job.skip_errors)
        return begun

    for name, executor in (("twice", twice), ("local", None)):
        samples = datasets.read("coco", coco, "train")
        records.write_records(
            samples, tmp_path / name, "coco", "train", progress=False, executor=executor
        )
    assert files(tmp_path / "twice") == files(tmp_path / "local")


@pytest.mark.usefixtures("installed")
def test_a_failed_pipeline_is_told_in_one_line(tmp_path, coco, monkeypatch):
    """A worker that does not see the folder, as without a shared file system: the cause comes
    through, and nothing stays."""

    def elsewhere(job):
        (job.folder / "samples.spool").unlink()
        return beam.executor()(job)

    with pytest.raises(DataError) as error:
        samples = datasets.read("coco", coco, "train")
        records.write_records(
            samples, tmp_path / "out", "coco", "train", progress=False, executor=elsewhere
        )
    assert re.match(
        r"beam: the pipeline failed: .*No such file or directory.*samples\.spool", str(error.value)
    )
    assert "under the same paths" in str(error.value)
    assert not (tmp_path / "out").exists()


# ---- without Beam --------------------------------------------------------------------------------


def test_without_beam_the_extra_is_named(tmp_path, coco):
    hidden = tmp_path / "hidden" / "apache_beam"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ModuleNotFoundError('hidden by the test')")
    done = subprocess.run(
        command("coco", coco, tmp_path / "out", "--runner", "beam"),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(hidden.parent), str(ROOT)])},
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: apache-beam: is not installed (pip install -e '.[beam]'")
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_pipeline_options_belong_to_beam(tmp_path, coco):
    done = run("coco", coco, tmp_path / "out", "--", "--runner=FlinkRunner")
    assert done.returncode == 2 and "options after `--` are for --runner beam" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_decides_the_bytes_is_pinned_as_for_the_book():
    pins = {}
    for name in ("requirements.txt", "tests/requirements-beam.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        pins[name] = dict(
            re.match(r"([\w-]+)==([^;\s]+)", line).groups()
            for line in lines
            if line and line[0] != "#"
        )
    book, other = pins.values()
    for package in ("numpy", "opencv-python-headless", "google-crc32c", "scipy", "tqdm"):
        assert other[package] == book[package], package
    assert "apache-beam" in other and "tensorflow" not in other
