"""Nothing is lost: runs that are killed and finished, damage that is named with its byte, bad
photos that are skipped and listed."""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posekit import datasets, records
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.records import tfrecord, writer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "data_scripts" / "build_tfrecords.py"


def command_line():
    spec = importlib.util.spec_from_file_location("build_tfrecords", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def write(samples, out, *, shards=5, **options):
    names = {"box_source", "context", "box_px", "padding"} & options.keys()
    settings = records.CropSettings(**{"box_px": 64, **{name: options.pop(name) for name in names}})
    return records.write_records(
        samples, out, "tiny", "train", settings, shards=shards, progress=False, **options
    )


@pytest.fixture
def samples(tmp_path):
    path, _ = tiny_data.coco(tmp_path / "coco", photos=3, people=2)
    six = list(coco.read(path, tmp_path / "coco" / "train2017"))
    return [replace(six[i % 6], person_id=f"p{i}") for i in range(40)]


class Killed(BaseException):
    pass


def killed_after(samples, out, people: int, monkeypatch, **options) -> None:
    """A run that dies, as by kill -9, when it has begun to write so many people: no clean-up of
    ours may run."""
    real = tfrecord.frame_record
    seen = []

    def frame(payload):
        seen.append(payload)
        if len(seen) > people:
            raise Killed
        return real(payload)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "frame_record", frame)
        patch.setattr(shutil, "rmtree", lambda *a, **k: None)
        patch.setattr(Path, "unlink", lambda *a, **k: None)
        with pytest.raises(Killed):
            write(samples, out, **options)


# ---- resume --------------------------------------------------------------------------------------


def test_on_a_new_folder_resume_is_a_plain_run(tmp_path, samples):
    write(samples, tmp_path / "plain")
    write(samples, tmp_path / "resumed", resume=True)
    assert files(tmp_path / "plain") == files(tmp_path / "resumed")
    assert not (tmp_path / "resumed" / ".partial").exists()


@pytest.mark.parametrize("people", [0, 1, 9, 20, 39])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_is_finished_to_the_same_bytes(
    tmp_path, samples, monkeypatch, people, workers
):
    write(samples, tmp_path / "whole")
    killed_after(samples, tmp_path / "out", people, monkeypatch)
    with pytest.raises(DataError, match="no manifest"):
        records.read_manifest(tmp_path / "out")
    write(samples, tmp_path / "out", resume=True, workers=workers)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(files(tmp_path / "whole"))


def test_what_was_finished_is_not_made_again(tmp_path, samples, monkeypatch):
    killed_after(samples, tmp_path / "out", 20, monkeypatch)
    made = []
    real = writer.write_shard
    monkeypatch.setattr(
        writer, "write_shard", lambda path, *rest: made.append(path.name) or real(path, *rest)
    )
    write(samples, tmp_path / "out", resume=True)
    assert [name[-14:] for name in made] == ["00002-of-00005", "00003-of-00005", "00004-of-00005"]


def test_a_finished_shard_that_was_damaged_since_is_made_again(tmp_path, samples, monkeypatch):
    write(samples, tmp_path / "whole")
    killed_after(samples, tmp_path / "out", 20, monkeypatch)
    shard = tmp_path / "out" / ".partial" / "tiny-train.tfrecord-00000-of-00005"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    write(samples, tmp_path / "out", resume=True)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_plain_run_begins_anew(tmp_path, samples, monkeypatch):
    killed_after(samples, tmp_path / "out", 20, monkeypatch)
    write(samples, tmp_path / "out", seed=5)
    write(samples, tmp_path / "whole", seed=5)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 1}, "seed 0 (here 1)"),
        ({"shards": 2}, "shards 5 (here 2)"),
        ({"context": 2.0}, "context 1.5 (here 2.0)"),
    ],
)
def test_other_arguments_are_named_and_nothing_is_touched(
    tmp_path, samples, monkeypatch, options, named
):
    killed_after(samples, tmp_path / "out", 20, monkeypatch)
    before = files(tmp_path / "out" / ".partial")
    with pytest.raises(DataError) as error:
        write(samples, tmp_path / "out", resume=True, **options)
    assert named in str(error.value)
    assert {
        n: b for n, b in before.items() if ".tfrecord-" in n or n == "plan.json"
    }.items() <= files(tmp_path / "out" / ".partial").items()
    write(samples, tmp_path / "whole")
    with pytest.raises(DataError, match="was begun with"):
        write(samples, tmp_path / "whole", resume=True, **options)
    assert records.check(tmp_path / "whole")["damage"] == []
    assert not (tmp_path / "whole" / ".partial").exists()


def test_another_source_is_noticed(tmp_path, samples, monkeypatch):
    killed_after(samples, tmp_path / "out", 20, monkeypatch)
    moved = [*samples[:-1], replace(samples[-1], keypoints=samples[-1].keypoints + 1)]
    for people in (samples[:-1], moved):
        with pytest.raises(DataError, match="begun with other people .* or their labels changed"):
            write(people, tmp_path / "out", resume=True)


def test_a_whole_set_is_left_alone(tmp_path, samples):
    manifest = write(samples, tmp_path / "out")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()}
    assert write(samples, tmp_path / "out", resume=True) == manifest
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("moved", [0, 1, 3, 5])
def test_killed_while_the_whole_set_is_moved(tmp_path, samples, monkeypatch, moved):
    """Between the first move into the folder and the last there is no manifest, so nobody reads;
    then it is finished."""
    write(samples, tmp_path / "whole")
    real = Path.replace
    seen = []

    def replace(path, target):
        if Path(target).parent == tmp_path / "out" and len(seen) == moved:
            raise Killed
        seen.extend([target] if Path(target).parent == tmp_path / "out" else [])
        return real(path, target)

    for resume in (True, False):
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            patch.setattr(shutil, "rmtree", lambda *a, **k: None)
            patch.setattr(Path, "unlink", lambda *a, **k: None)
            patch.setattr(Path, "glob", lambda *a: iter(()))
            with pytest.raises(Killed):
                write(samples, tmp_path / "out")
        assert len([n for n in files(tmp_path / "out") if ".tfrecord-" in n]) == moved
        with pytest.raises(DataError):
            records.read_manifest(tmp_path / "out")
        write(samples, tmp_path / "out", resume=resume)
        assert files(tmp_path / "out") == files(tmp_path / "whole")
        shutil.rmtree(tmp_path / "out")


def test_stopped_while_resuming_it_keeps_its_whole_shards_and_only_them(tmp_path, samples):
    plan = writer.WriterConfig("tiny", "train", records.CropSettings(box_px=64), 5, 0)
    order = sorted(samples, key=lambda sample: plan.sort_key(sample.person_id))
    good = order[20].image.read_bytes()
    (tmp_path / "other.jpg").write_bytes(b"")  # 0 bytes
    samples = [replace(s, image=tmp_path / "other.jpg") if s is order[20] else s for s in samples]
    with pytest.raises(DataError, match="other.jpg"):
        write(samples, tmp_path / "out", resume=True)
    shards = [f"tiny-train.tfrecord-0000{i}-of-00005" for i in (0, 1)]
    left = [*shards, *(f"{name}.json" for name in shards), "plan.json"]
    assert sorted(files(tmp_path / "out" / ".partial")) == sorted(left)
    (tmp_path / "other.jpg").write_bytes(good)
    write(samples, tmp_path / "out", resume=True)
    write(samples, tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_stopped_before_anything_is_whole_it_leaves_nothing(tmp_path, samples):
    for sample in samples:
        sample.image.write_bytes(b"")
    with pytest.raises(DataError):
        write(samples, tmp_path / "out", resume=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_foreign_shards_is_not_touched(tmp_path, samples):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other-train.tfrecord-00000-of-00001").write_bytes(b"mine")
    for resume in (True, False):
        with pytest.raises(DataError, match="holds shards without a manifest"):
            write(samples, tmp_path / "out", resume=resume)
    assert files(tmp_path / "out") == {"other-train.tfrecord-00000-of-00001": b"mine"}


def run_script(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        **options,
    )


@pytest.mark.fault("kill-records")
def test_killed_ten_times_at_random_and_resumed_it_writes_the_same_bytes(tmp_path, record_property):
    """kill -9 of the real command and its workers; after each, no reader sees records; the last
    resume gives the bytes of a plain run."""
    tiny_data.coco(tmp_path / "coco", photos=60, people=4)
    arguments = ["coco", tmp_path / "coco", "OUT", "--shards", "40", "--workers", "2"]
    plain = [tmp_path / "plain" if a == "OUT" else a for a in arguments]
    begin = time.monotonic()
    assert run_script(*plain).returncode == 0
    whole_run = time.monotonic() - begin
    rng = random.Random(4)
    out = tmp_path / "out"
    kills = 0
    kept = set()
    resumed = [
        sys.executable,
        str(SCRIPT),
        *(str(out if a == "OUT" else a) for a in arguments),
        "--resume",
    ]
    for _ in range(10):
        process = subprocess.Popen(
            resumed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(rng.uniform(0.2, 0.8) * whole_run)
        finished = process.poll() is not None
        os.killpg(process.pid, signal.SIGKILL) if not finished else None
        process.wait()
        if finished:
            break
        kills += 1
        if (out / "manifest.json").exists():
            assert records.check(out)["damage"] == []
        else:
            with pytest.raises(DataError):
                records.shard_paths(out)
        kept.add(len(list(out.glob(".partial/*.tfrecord-*.json"))))
    assert kills >= 2
    record_property("tries", kills)
    done = subprocess.run(resumed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert files(out) == files(tmp_path / "plain")
    assert not (out / ".partial").exists()


@pytest.mark.fault("disk-records")
def test_a_disk_that_is_really_full(tmp_path, samples):
    """A file system of 300 kB of its own, where this machine lets us make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        with pytest.raises(DataError, match="No space left"):
            write(samples, disk / "out", box_px=224)
        assert list(disk.iterdir()) == []
        with pytest.raises(DataError, match="No space left"):
            write(samples, disk / "out", box_px=224, shards=40, resume=True)
        kept = [
            p
            for p in (disk / "out" / ".partial").iterdir()
            if p.name.endswith(".json") and "tfrecord" in p.name
        ]
        assert 0 < len(kept) < 40, "what is whole waits for more space"
        shutil.copytree(disk / "out", tmp_path / "larger")
        write(samples, tmp_path / "larger", box_px=224, shards=40, resume=True)
        write(samples, tmp_path / "whole", box_px=224, shards=40)
        assert files(tmp_path / "larger") == files(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ---- check ---------------------------------------------------------------------------------------


@pytest.fixture
def whole(tmp_path, samples):
    write(samples, tmp_path / "records", shards=3)
    return tmp_path / "records"


def offsets(shard: Path) -> list[int]:
    return [offset for offset, _ in tfrecord.scan(shard)]


def test_a_whole_folder_is_whole(whole, capsys):
    result = records.check(whole)
    assert (result["people"], result["shards"], result["damage"]) == (40, 3, [])
    assert result["bytes"] == sum(p.stat().st_size for p in records.shard_paths(whole))
    assert command_line().main(["check", str(whole)]) == 0
    assert "40 people in 3 shards" in capsys.readouterr().out


def test_any_flipped_byte_in_any_shard_is_found_with_shard_and_record(whole, capsys):
    rng = np.random.default_rng(0)
    for shard in records.shard_paths(whole):
        good = shard.read_bytes()
        starts = offsets(shard)
        for at in rng.integers(0, len(good), 12).tolist():
            bad = bytearray(good)
            bad[at] ^= 1 << int(rng.integers(8))
            shard.write_bytes(bad)
            start = max(s for s in starts if s <= at)
            damage = records.check(whole)["damage"]
            assert damage[0].startswith(f"{shard}, record at byte {start}: damaged"), (at, damage)
            with pytest.raises(DataError, match=f"record at byte {start}"):
                list(records.read_records(whole))
        shard.write_bytes(good)
    assert command_line().main(["check", str(whole)]) == 0


def test_all_damage_is_told_not_only_the_first(whole, capsys):
    first, second, _ = records.shard_paths(whole)
    data = bytearray(first.read_bytes())
    starts = offsets(first)
    for start in (starts[2], starts[5]):
        data[start + 40] ^= 1
    first.write_bytes(data)
    second.write_bytes(second.read_bytes()[:-3])
    assert command_line().main(["check", str(whole), "--json"]) == 2
    printed = capsys.readouterr()
    damage = json.loads(printed.out)["damage"]
    assert [f"byte {starts[2]}" in damage[0], f"byte {starts[5]}" in damage[1]] == [True, True]
    assert any(f"{second}" in line and "ends inside a record" in line for line in damage)
    assert len(printed.err.splitlines()) == len(damage) + 1


def test_a_truncated_last_record_is_named(whole):
    shard = records.shard_paths(whole)[-1]
    start = offsets(shard)[-1]
    shard.write_bytes(shard.read_bytes()[: start + 30])
    damage = records.check(whole)["damage"]
    assert any(
        f"{shard}, record at byte {start}: the file ends inside a record" in line for line in damage
    )


def test_damage_that_fits_its_check_sums(whole):
    """A tool that rewrites records honestly framed: the picture, the person, the count, the
    order."""
    shard = records.shard_paths(whole)[0]
    payloads = list(records.read_payloads(shard))
    good = shard.read_bytes()
    manifest = json.loads((whole / "manifest.json").read_text())

    def damage_of(changed: list[bytes]) -> str:
        shard.write_bytes(b"".join(map(tfrecord.frame_record, changed)))
        manifest["shards"][0]["bytes"] = shard.stat().st_size
        (whole / "manifest.json").write_text(json.dumps(manifest))
        return "\n".join(records.check(whole)["damage"])

    features = tfrecord.parse_example(payloads[1])
    assert "not a record of posekit" in damage_of(
        [payloads[0], tfrecord.encode_example({"x": 1}), *payloads[2:]]
    )
    pictures = [tfrecord.parse_example(payload)["image/encoded"] for payload in payloads]
    other = {
        **features,
        "image/encoded": next(p for p in pictures if p != features["image/encoded"]),
    }
    assert "another SHA-256 than the record says" in damage_of(
        [payloads[0], tfrecord.encode_example(other), *payloads[2:]]
    )
    no_jpeg = tfrecord.encode_example({**features, "image/encoded": [b"no picture"]})
    assert "record at byte" in damage_of([payloads[0], no_jpeg, *payloads[2:]])
    assert "occurs twice" in damage_of([payloads[0], payloads[0], *payloads[2:]])
    assert f"holds {len(payloads) - 1} records, the manifest says {len(payloads)}" in damage_of(
        payloads[1:]
    )
    assert "another SHA-256 than the manifest says" in damage_of(payloads[::-1])
    manifest["shards"][0]["bytes"] = len(good)
    (whole / "manifest.json").write_text(json.dumps(manifest))
    shard.unlink()
    assert "is missing" in "\n".join(records.check(whole)["damage"])
    shard.write_bytes(good)
    (whole / "tiny-train.tfrecord-00003-of-00003").write_bytes(good)
    assert "is not in the manifest" in "\n".join(records.check(whole)["damage"])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 1, "shards": [{}]}']
)
def test_check_without_a_usable_manifest_is_one_line(whole, capsys, text):
    (whole / "manifest.json").write_text(text)
    assert command_line().main(["check", str(whole)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.binary(max_size=200), cut=st.integers(0, 60))
def test_any_bytes_are_records_or_damage(tmp_path, data, cut):
    """Never another error, never without an end; what is framed before the noise is still read."""
    shard = tmp_path / "shard"
    shard.write_bytes(tfrecord.frame_record(b"good") + data + tfrecord.frame_record(b"more")[:cut])
    found = list(tfrecord.scan(shard))
    assert found[0] == (0, b"good")
    assert all(isinstance(content, bytes | DataError) for _, content in found)


# ---- skip-bad ------------------------------------------------------------------------------------


@pytest.fixture
def with_bad_photos(tmp_path):
    tiny_data.coco(tmp_path / "coco", photos=6, people=4)
    photos = sorted((tmp_path / "coco" / "train2017").iterdir())
    photos[1].write_bytes(b"")
    photos[4].write_bytes(photos[4].read_bytes()[:300])
    return tmp_path / "coco", [photos[1].name, photos[4].name]


def test_without_skip_bad_the_first_bad_photo_stops_the_run(with_bad_photos, tmp_path):
    source, bad = with_bad_photos
    stopped = {
        run_script("coco", source, tmp_path / "out", "--workers", w).stderr.splitlines()[-1]
        for w in (1, 2)
    }
    assert len(stopped) == 1, "the same one whatever the number of workers"
    assert any(name in next(iter(stopped)) for name in bad)
    assert not (tmp_path / "out").exists()


def test_skip_bad_leaves_them_out_and_lists_them(with_bad_photos, tmp_path, capsys):
    source, bad = with_bad_photos
    for workers in ("1", "2"):
        arguments = [
            "coco",
            str(source),
            str(tmp_path / workers),
            "--skip-bad",
            "--workers",
            workers,
        ]
        assert command_line().main(arguments) == 0
        printed = capsys.readouterr()
        manifest = records.read_manifest(tmp_path / workers)
        assert manifest["people"] == 16 and len(manifest["skipped"]) == 8
        assert {s["problem"].split(":")[0] for s in manifest["skipped"]} == set(bad)
        assert sum(line.startswith("skipped: ") for line in printed.err.splitlines()) == 8
        assert "skipped: 8, whose" in printed.out
        assert records.check(tmp_path / workers)["damage"] == []
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert str(tmp_path) not in (tmp_path / "1" / "manifest.json").read_text()


def test_annotations_that_cannot_be_used_are_skipped_and_listed_too(tmp_path, capsys):
    path, data = tiny_data.coco(tmp_path / "coco", photos=2, people=2)
    data["annotations"][1]["keypoints"][4] = "here"
    path.write_text(json.dumps(data))
    assert (
        command_line().main(
            ["coco", str(tmp_path / "coco"), str(tmp_path / "stopped"), "--workers", "1"]
        )
        == 2
    )
    assert "annotation 2" in capsys.readouterr().err and not (tmp_path / "stopped").exists()
    for way in ([], ["--resume"]):  # the second finds all of it whole
        arguments = [
            "coco",
            str(tmp_path / "coco"),
            str(tmp_path / "out"),
            "--workers",
            "1",
            "--skip-bad",
            *way,
        ]
        assert command_line().main(arguments) == 0
        manifest = records.read_manifest(tmp_path / "out")
        assert manifest["people"] == 3
        assert [s["person_id"] for s in manifest["skipped"]] == [
            "annotation 2 of person_keypoints_train2017.json"
        ]


def test_a_run_stopped_by_a_bad_photo_goes_on_with_skip_bad(with_bad_photos, tmp_path):
    source, _ = with_bad_photos
    people = list(datasets.read("coco", source, "train"))
    with pytest.raises(DataError):
        write(people, tmp_path / "out", resume=True, shards=24)
    write(people, tmp_path / "out", resume=True, skip_errors=True, shards=24)
    write(people, tmp_path / "whole", skip_errors=True, shards=24)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_when_all_are_bad_it_says_so(with_bad_photos, tmp_path):
    source, bad = with_bad_photos
    people = [p for p in datasets.read("coco", source, "train") if p.image.name in bad]
    with pytest.raises(DataError, match="no people are left: all 8 were skipped"):
        write(people, tmp_path / "out", skip_errors=True)
    assert not (tmp_path / "out").exists()
