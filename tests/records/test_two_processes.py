"""Two processes with one output folder, flags outside their range, and damaged images."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_data

from posekit import records
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.images import encode_jpeg
from posekit.inputs import tfdata
from posekit.records import tfrecord

ROOT = Path(__file__).parents[2]

SLOW = """
import sys, time
from pathlib import Path
from posekit import records
from posekit.datasets import coco

def slowly(samples):
    for sample in samples:
        yield sample
    print("reading", flush=True)
    sys.stdin.readline()

people = coco.read(Path(sys.argv[1]), Path(sys.argv[2]))
records.write_records(slowly(people), sys.argv[3], "tiny", "train", progress=False)
"""


@pytest.fixture
def source(tmp_path) -> tuple[Path, Path]:
    path, _ = tiny_data.coco(tmp_path / "coco", photos=3, people=2)
    return path, tmp_path / "coco" / "train2017"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("resume", [False, True])
def test_a_second_writer_is_refused_and_the_first_loses_nothing(
    tmp_path, source, existing, resume, capsys
):
    out = tmp_path / "records"
    if existing:
        out.mkdir()
    command = [sys.executable, "-c", SLOW, *map(str, source), str(out)]
    first = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == "reading\n"
        with pytest.raises(DataError, match="records: another process is writing it"):
            records.write_records(
                coco.read(*source), out, "tiny", "train", resume=resume, progress=False
            )
        first.communicate("go on\n", timeout=120)
    finally:
        first.kill()
    assert first.returncode == 0
    assert not records.check(out)["damage"] and len(list(records.read_records(out))) == 6
    alone = tmp_path / "alone"
    records.write_records(coco.read(*source), alone, "tiny", "train", progress=False)
    assert contents(out) == contents(alone)
    assert {path.name for path in tmp_path.iterdir()} == {"coco", "records", "alone"}


def test_an_address_is_no_folder_of_records(tmp_path, source, monkeypatch, capsys):
    import runpy

    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(ROOT / "data_scripts" / "build_tfrecords.py"))["main"]
    root = str(source[1].parent)
    for argv in (
        ["coco", root, "gs://bucket/x"],
        ["coco", "s3://bucket/coco", "out"],
        ["check", "https://host/records"],
    ):
        assert main(argv) == 2
        told = capsys.readouterr().err
        assert "is an address" in told and told.count("\n") == 1 and "://" in told
    assert {path.name for path in tmp_path.iterdir()} == {"coco"}


# ---- flags ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [3, -1, 257, 256, 1.5, 0.4, 1e9])
def test_flags_are_checked_before_they_are_cast(source, flag):
    """257 would become 1, 1.5 too, and 256 and 0.4 become 0."""
    person = next(coco.read(*source))
    visible = person.keypoints_visible.astype(np.float64)
    visible[3] = flag
    with pytest.raises(DataError, match="visibility flags"):
        replace(person, keypoints_visible=visible)
    known = person.joint_known.astype(np.float64)
    known[3] = flag
    with pytest.raises(DataError, match="joint_known"):
        replace(person, joint_known=known)
    extra = np.zeros((2, 3))
    extra[1, 2] = flag
    with pytest.raises(DataError, match="v of neck and head top"):
        replace(person, extra_keypoints=extra)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("person/keypoints_visible", 257),
        ("person/keypoints_visible", 256),
        ("person/keypoints_visible", -1),
        ("person/joint_known", 2),
        ("person/joint_known", 256),
        ("person/extra", 1.5),
    ],
)
def test_flags_of_a_record_are_checked_before_they_are_cast(tmp_path, source, name, flag):
    person = next(coco.read(*source))
    features = tfrecord.parse_example(records.encode_person(person, records.CropSettings()))
    features.setdefault("person/extra", np.zeros(6, np.float32))
    good = records.decode_person(tfrecord.encode_example(features))
    assert np.array_equal(good.keypoints_visible, person.keypoints_visible)
    features[name] = features[name].copy()
    features[name][5] = flag
    with pytest.raises(DataError, match=rf"shard, record 4: .*{name} holds \[{flag}"):
        records.decode_person(tfrecord.encode_example(features), "shard, record 4")


# ---- a damaged image in a batch -------------------------------------------------------------


def test_a_damaged_image_in_a_batch_is_named_by_shard_record_and_person(tmp_path, source):
    good = list(coco.read(*source))
    out = tmp_path / "records"
    records.write_records(good, out, "tiny", "train", shards=2, progress=False)
    chosen = list(records.read_records(out))[4]
    where = records.find_image([out], chosen.encoded)
    assert "tiny-train.tfrecord-00001-of-00002, record 1" in where
    assert chosen.person_id in where and chosen.source_id in where
    shard = out / "tiny-train.tfrecord-00001-of-00002"
    payloads = list(records.read_payloads(shard))
    features = tfrecord.parse_example(payloads[1])
    broken = encode_jpeg(np.zeros((8, 8, 3), np.uint8))[:-30]
    features["image/encoded"] = [broken]
    payloads[1] = tfrecord.encode_example(features)
    data = b"".join(tfrecord.frame_record(payload) for payload in payloads)
    manifest = out / "manifest.json"
    size = shard.stat().st_size
    manifest.write_text(manifest.read_text().replace(f'"bytes": {size}', f'"bytes": {len(data)}'))
    shard.write_bytes(data)
    with pytest.raises(DataError) as error:
        tfdata._decode(broken, [out])
    told = str(error.value)
    assert told.startswith(f"{shard}, record 1, person {chosen.person_id} of image")
    assert "truncated" in told and "build the records again" in told
    assert records.find_image([out], b"nowhere") is None
