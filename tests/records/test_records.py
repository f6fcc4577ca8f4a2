"""Records: the format held equal to TensorFlow's, writer to reader, and what damage and accidents
do."""

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny_data
from hypothesis import given, settings
from hypothesis import strategies as st

from posekit import datasets, geometry, records
from posekit.datasets import PersonAnnotation, coco
from posekit.errors import DataError
from posekit.files import temporary_path
from posekit.images import decode_image, read_image
from posekit.records import encoding, tfrecord, writer
from posekit.skeleton import COCO17

INT64 = st.integers(-(2**63), 2**63 - 1)
FEATURE = st.one_of(
    st.lists(st.binary(max_size=200), min_size=1, max_size=5),
    st.lists(INT64, max_size=8).map(lambda v: np.array(v, np.int64)),
    st.lists(st.floats(width=32, allow_nan=False), max_size=8).map(
        lambda v: np.array(v, np.float32)
    ),
)
FEATURES = st.dictionaries(st.text(max_size=20), FEATURE, max_size=6)

#: Options of `write` that belong to `CropSettings`.
SETTINGS = {"box_source", "context", "box_px", "padding"}


@pytest.fixture
def samples(tmp_path):
    """Six people in three photos, a dot on each joint."""
    path, _ = tiny_data.coco(tmp_path / "coco", photos=3, people=2)
    return list(coco.read(path, tmp_path / "coco" / "train2017"))


def write(samples, out, **options):
    settings = records.CropSettings(**{key: options.pop(key) for key in SETTINGS & options.keys()})
    return records.write_records(samples, out, "tiny", "train", settings, progress=False, **options)


def error_of(function, *args, **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


# ---- tf.train.Example ----------------------------------------------------------------------------


def same(ours: dict, theirs: dict) -> bool:
    return ours.keys() == theirs.keys() and all(
        list(ours[k]) == list(theirs[k])
        if isinstance(ours[k], list)
        else np.array_equal(ours[k], theirs[k])
        for k in ours
    )


@given(FEATURES)
def test_an_example_comes_back_as_it_was(features):
    assert same(tfrecord.parse_example(tfrecord.encode_example(features)), features)


@settings(deadline=None)
@given(FEATURES)
def test_an_example_is_tensorflows_to_the_byte(features):
    import tensorflow as tf

    example = tf.train.Example()
    example.features.SetInParent()
    for name, value in features.items():
        if isinstance(value, list):
            example.features.feature[name].bytes_list.value.extend(value)
        elif value.dtype == np.float32:
            example.features.feature[name].float_list.SetInParent()
            example.features.feature[name].float_list.value.extend(value.tolist())
        else:
            example.features.feature[name].int64_list.SetInParent()
            example.features.feature[name].int64_list.value.extend(value.tolist())
    ours = tfrecord.encode_example(features)
    assert tf.train.Example.FromString(ours) == example
    names = [name.encode() for name in features]
    if not any(a != b and b.startswith(a) for a in names for b in names):
        assert ours == example.SerializeToString(deterministic=True)
    assert same(tfrecord.parse_example(example.SerializeToString()), features)


@given(st.binary(max_size=300))
def test_any_bytes_give_an_example_or_a_value_error(data):
    try:
        features = tfrecord.parse_example(data)
    except ValueError:
        return
    assert isinstance(features, dict)


@given(FEATURES, st.data())
def test_a_cut_example_gives_an_example_or_a_value_error(features, data):
    whole = tfrecord.encode_example(features)
    cut = data.draw(st.integers(0, len(whole)))
    try:
        tfrecord.parse_example(whole[:cut])
    except ValueError:
        return
    assert cut in (0, len(whole))


def test_what_an_example_takes_and_what_not():
    parsed = tfrecord.parse_example(
        tfrecord.encode_example(
            {
                "s": "héllo",
                "b": True,
                "f": 0.5,
                "u": np.uint8([1, 2]),
                "m": np.eye(2, 3),
                "l": [-1, 2],
            }
        )
    )
    assert (
        parsed["s"] == ["héllo".encode()]
        and parsed["b"].tolist() == [1]
        and parsed["f"].tolist() == [0.5]
    )
    assert (
        parsed["u"].dtype == np.int64
        and parsed["m"].dtype == np.float32
        and parsed["m"].tolist() == [1, 0, 0, 0, 1, 0]
    )
    assert parsed["l"].tolist() == [-1, 2]
    for bad in (None, {"a": 1}, [b"a", 1], 2**63, np.uint64([2**64 - 1]), 1j, ["a", None]):
        with pytest.raises(ValueError, match="feature 'x'"):
            tfrecord.encode_example({"x": bad})


def test_unpacked_numbers_of_other_writers_are_read():
    """Protocol buffers allow repeated numbers one by one; old writers do that."""
    one_by_one = b"".join(tfrecord.varint(1 << 3) + tfrecord.varint(n) for n in (5, 2**64 - 1))
    feature = tfrecord._field(3, one_by_one)
    entry = tfrecord._field(1, tfrecord._field(1, b"x") + tfrecord._field(2, feature))
    assert tfrecord.parse_example(tfrecord._field(1, entry))["x"].tolist() == [5, -1]


# ---- framing -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.binary(max_size=500), min_size=1, max_size=5))
def test_frames_are_tensorflows_to_the_byte(tmp_path_factory, payloads):
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("frames")
    with tf.io.TFRecordWriter(str(folder / "theirs")) as writer:
        for payload in payloads:
            writer.write(payload)
    ours = b"".join(map(tfrecord.frame_record, payloads))
    assert ours == (folder / "theirs").read_bytes()
    assert list(tfrecord.read_payloads(folder / "theirs")) == payloads


def test_every_flipped_byte_and_every_cut_is_found_with_its_record(tmp_path):
    payloads = [b"first payload", b"second", b""]
    whole = b"".join(map(tfrecord.frame_record, payloads))
    starts = np.cumsum([0, *(len(tfrecord.frame_record(p)) for p in payloads)])
    shard = tmp_path / "shard"
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] ^= 1 << (i % 8)
        shard.write_bytes(damaged)
        offset = starts[np.searchsorted(starts, i, side="right") - 1]
        assert f"shard, record at byte {offset}: " in error_of(
            lambda: list(tfrecord.read_payloads(shard))
        )
        shard.write_bytes(whole[:i])
        if i in starts:
            assert len(list(tfrecord.read_payloads(shard))) == list(starts).index(i)
        else:
            assert f"record at byte {offset}: the file ends inside" in error_of(
                lambda: list(tfrecord.read_payloads(shard))
            )
    assert "No such file" in error_of(lambda: list(tfrecord.read_payloads(tmp_path / "gone")))


# ---- writer -> reader ----------------------------------------------------------------------------


@pytest.mark.parametrize("box", records.BOX_SOURCES)
@pytest.mark.parametrize(
    ("context", "box_px", "stored"), [(1.5, 224, 336), (1, 224, 224), (1.25, 96, 120)]
)
def test_what_is_written_is_read(tmp_path, samples, box, context, box_px, stored):
    manifest = write(
        samples, tmp_path / "out", box_source=box, context=context, box_px=box_px, shards=2
    )
    assert manifest["stored_px"] == stored and manifest["people"] == 6
    by_id = {s.person_id: s for s in samples}
    people = list(records.read_records(tmp_path / "out"))
    assert {p.person_id for p in people} == set(by_id)
    for person in people:
        sample = by_id[person.person_id]
        photo = read_image(sample.image)
        assert (person.width, person.height, person.dataset, person.source_id) == (
            stored,
            stored,
            "coco",
            sample.source_id,
        )
        assert np.array_equal(person.keypoints_visible, sample.keypoints_visible)
        assert np.array_equal(person.joint_known, sample.joint_known) and person.area == np.float32(
            sample.area
        )
        back = geometry.apply_affine(person.crop_to_image, person.keypoints)
        assert np.abs(back - sample.keypoints).max() <= 1e-3
        expected = {
            "annotation": sample.bbox,
            "joints": geometry.bbox_from_keypoints(sample.keypoints, sample.labelled),
            "image": (0, 0, photo.shape[1], photo.shape[0]),
        }[box]
        assert np.array_equal(person.bbox, np.float32(expected))
        # the padded box is the middle box_px of the stored picture
        middle = geometry.apply_affine(
            person.crop_to_image, [[(stored - 1) / 2] * 2, [(stored - 1) / 2 + box_px, 0]]
        )
        assert np.allclose(middle[0], geometry.bbox_center(person.bbox), atol=1e-3)
        assert np.isclose(middle[1, 0] - middle[0, 0], 1.25 * max(person.bbox[2:]), atol=1e-3)


def test_the_dots_in_the_stored_picture_are_where_the_joints_are(tmp_path):
    path, _ = tiny_data.coco(tmp_path / "coco", photos=4, people=1)
    write(coco.read(path, tmp_path / "coco" / "train2017"), tmp_path / "out", box_source="joints")
    for person in records.read_records(tmp_path / "out"):
        image = decode_image(person.encoded, "stored").astype(float)[..., 0]
        assert image.shape == (336, 336)
        y, x = np.mgrid[:336, :336]
        for px, py in person.keypoints:
            bright = np.where(np.hypot(x - px, y - py) < 8, np.maximum(image - 120, 0), 0)
            centre = np.array([(x * bright).sum(), (y * bright).sum()]) / bright.sum()
            assert np.abs(centre - (px, py)).max() < 0.3


def test_a_joint_without_label_is_a_mask_and_not_a_place(tmp_path, samples):
    visible = samples[0].keypoints_visible.copy()
    visible[3] = 0
    known = np.ones(17, bool)
    known[3] = False
    changed = replace(samples[0], keypoints_visible=visible, joint_known=known)
    write([changed], tmp_path / "out")
    person = next(records.read_records(tmp_path / "out"))
    assert (
        person.keypoints_visible[3] == 0
        and not person.joint_known[3]
        and np.all(person.keypoints[3] == 0)
    )


def test_tensorflow_reads_the_same(tmp_path, samples):
    import tensorflow as tf

    write(samples, tmp_path / "out", shards=2)
    shards = records.shard_paths(tmp_path / "out")
    spec = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        "image/key/sha256": tf.io.FixedLenFeature([], tf.string),
        "image/source_id": tf.io.FixedLenFeature([], tf.string),
        "person/keypoints": tf.io.FixedLenFeature([17, 2], tf.float32),
        "person/keypoints_visible": tf.io.FixedLenFeature([17], tf.int64),
        "person/joint_known": tf.io.FixedLenFeature([17], tf.int64),
        "person/bbox": tf.io.FixedLenFeature([4], tf.float32),
        "person/area": tf.io.FixedLenFeature([], tf.float32),
        "person/crop_to_image": tf.io.FixedLenFeature([2, 3], tf.float32),
        "person/id": tf.io.FixedLenFeature([], tf.string),
        "dataset": tf.io.FixedLenFeature([], tf.string),
    }
    theirs = list(tf.data.TFRecordDataset([str(s) for s in shards]))
    payloads = [p for shard in shards for p in records.read_payloads(shard)]
    assert [t.numpy() for t in theirs] == payloads
    for serialized, person in zip(theirs, records.read_records(tmp_path / "out"), strict=True):
        parsed = {k: v.numpy() for k, v in tf.io.parse_single_example(serialized, spec).items()}
        assert set(records.parse_example(serialized.numpy())) == set(spec)
        assert parsed["image/encoded"] == person.encoded and parsed["image/format"] == b"jpeg"
        assert parsed["image/key/sha256"].decode() == hashlib.sha256(person.encoded).hexdigest()
        assert (parsed["image/height"], parsed["image/width"]) == (person.height, person.width)
        assert np.array_equal(parsed["person/keypoints"], person.keypoints)
        assert np.array_equal(parsed["person/keypoints_visible"], person.keypoints_visible)
        assert np.array_equal(parsed["person/joint_known"], person.joint_known)
        assert (
            np.array_equal(parsed["person/bbox"], person.bbox)
            and parsed["person/area"] == person.area
        )
        assert np.array_equal(
            parsed["person/crop_to_image"], person.crop_to_image.astype(np.float32)
        )
        assert (
            parsed["person/id"].decode() == person.person_id
            and parsed["dataset"].decode() == person.dataset
        )
        assert parsed["image/source_id"].decode() == person.source_id
        picture = tf.io.decode_jpeg(serialized_image := parsed["image/encoded"], channels=3).numpy()
        assert np.abs(picture.astype(int) - decode_image(serialized_image, "stored")).mean() < 1


def test_the_bytes_depend_on_the_seed_but_not_on_workers_or_input_order(tmp_path, samples):
    samples = [replace(samples[i % 6], person_id=str(i)) for i in range(3 * encoding.CHUNK)]
    plain = write(samples, tmp_path / "a", shards=3)
    write(reversed(samples), tmp_path / "b", shards=3, workers=2)
    write(samples, tmp_path / "c", shards=3, seed=1)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert plain["digest"] != records.read_manifest(tmp_path / "c")["digest"]
    order = [p.person_id for p in records.read_records(tmp_path / "a")]
    assert order == sorted(order, key=lambda i: hashlib.sha256(f"0/{i}".encode()).digest())
    assert order != [s.person_id for s in samples]


def test_many_chunks_in_parallel_keep_their_order(tmp_path, samples):
    many = [replace(samples[i % 6], person_id=str(i)) for i in range(20 * encoding.CHUNK)]
    write(many, tmp_path / "a", shards=1, box_px=32)
    write(many, tmp_path / "b", shards=1, box_px=32, workers=2)
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_workers_do_not_run_far_ahead_of_the_disk(tmp_path, samples, monkeypatch):
    submitted = []

    class Counting(encoding.ProcessPoolExecutor):
        def submit(self, *args, **kwargs):
            submitted.append(args)
            return super().submit(*args, **kwargs)

    monkeypatch.setattr(encoding, "ProcessPoolExecutor", Counting)
    plan = writer.WriterConfig("tiny", "train", records.CropSettings(box_px=32), 8, 0)
    many = [replace(samples[i % 6], person_id=str(i)) for i in range(20 * encoding.CHUNK)]
    order, _ = writer._spool(many, tmp_path / "spool", plan, Counter())
    with encoding.encode_in_pool(tmp_path / "spool", plan.settings, 2, False) as encode:
        next(encode(order))
        assert len(submitted) == 2 * 2 + 1


def test_the_manifest_tells_what_is_there(tmp_path, samples):
    manifest = write(samples, tmp_path / "out", shards=4, seed=7, context=1.25)
    assert manifest == records.read_manifest(tmp_path / "out")
    assert (manifest["schema_version"], manifest["dataset"], manifest["split"]) == (
        1,
        "tiny",
        "train",
    )
    assert (manifest["people"], manifest["seed"], manifest["context"], manifest["padding"]) == (
        6,
        7,
        1.25,
        1.25,
    )
    assert [s["file"] for s in manifest["shards"]] == [
        f"tiny-train.tfrecord-0000{i}-of-00004" for i in range(4)
    ]
    for shard, path in zip(manifest["shards"], records.shard_paths(tmp_path / "out"), strict=True):
        assert shard["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert shard["bytes"] == path.stat().st_size and shard["people"] == len(
            list(records.read_payloads(path))
        )
    digest = hashlib.sha256("".join(s["sha256"] for s in manifest["shards"]).encode()).hexdigest()
    assert manifest["digest"] == digest
    assert sorted(files(tmp_path / "out")) == sorted(
        [*(s["file"] for s in manifest["shards"]), "manifest.json"]
    )


def test_there_are_never_more_shards_than_people(tmp_path, samples):
    assert len(write(samples[:3], tmp_path / "out", shards=8)["shards"]) == 3


def test_joints_that_span_nothing_have_no_box(tmp_path, samples):
    one = np.zeros(17, int)
    one[0] = 2
    single = replace(samples[0], keypoints_visible=one, joint_known=one > 0, person_id="single")
    manifest = write([single, *samples], tmp_path / "joints", box_source="joints")
    assert manifest["people"] == 6 and list(manifest["filtered"].values()) == [1]
    assert write([single, *samples], tmp_path / "annotation")["people"] == 7, (
        "it has an annotated box"
    )


# ---- accidents -----------------------------------------------------------------------------------


def test_two_people_with_one_id_are_an_error(tmp_path, samples):
    text = error_of(write, [*samples, samples[2]], tmp_path / "out")
    assert (
        f"two people with the id '{samples[2].person_id}'" in text and samples[2].image.name in text
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("existing", [False, True])
def test_when_a_photo_fails_nothing_stays(tmp_path, samples, workers, existing):
    out = tmp_path / "new" / "out"
    if existing:
        out.mkdir(parents=True)
        (out / "notes.txt").write_text("mine")
    last = samples[-1].image
    last.write_bytes(last.read_bytes()[:500])
    many = [replace(samples[i % 6], person_id=str(i)) for i in range(3 * encoding.CHUNK)]
    text = error_of(write, many, out, workers=workers)
    assert f"{last}: the JPEG is truncated" in text
    if existing:
        assert files(out) == {"notes.txt": b"mine"} and [p.name for p in out.iterdir()] == [
            "notes.txt"
        ]
    else:
        assert not (tmp_path / "new").exists()


def test_when_the_source_fails_nothing_stays(tmp_path, samples):
    def broken():
        yield from samples
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(broken(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_set(tmp_path, samples):
    write(samples, tmp_path / "out")
    before = files(tmp_path / "out")
    assert "already holds records" in error_of(write, samples, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_what_a_killed_run_left_is_replaced(tmp_path, samples):
    partial = tmp_path / "out" / ".partial"
    partial.mkdir(parents=True)
    (partial / "tiny-train.tfrecord-00000-of-00008").write_bytes(b"torn")
    assert "no manifest.json" in error_of(records.read_manifest, tmp_path / "out")
    write(samples, tmp_path / "out")
    assert not partial.exists() and len(list(records.read_records(tmp_path / "out"))) == 6


def test_a_folder_that_cannot_be_written(tmp_path, samples):
    (tmp_path / "file").write_text("I am a file")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        text = error_of(write, samples, out)
        assert text.startswith(f"{out}: cannot be written: ")
    assert (tmp_path / "file").read_text() == "I am a file"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_a_full_disk_is_named_and_nothing_stays(tmp_path, samples, monkeypatch):
    real = writer.write_shard

    def full(path, *rest):
        temporary_path(path).symlink_to("/dev/full")
        return real(path, *rest)

    monkeypatch.setattr(writer, "write_shard", full)
    assert f"{tmp_path / 'out'}: cannot be written: No space left" in error_of(
        write, samples, tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()


def test_nobody_to_write_says_why(tmp_path, samples):
    text = error_of(write, [], tmp_path / "out", filtered=Counter({"crowd": 3}))
    assert "no people to write for split 'train' of tiny: 3 crowd" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"box_source": "person"}, "box_source: is 'person'"),
        ({"context": 0.9}, "context: is 0.9"),
        ({"context": float("nan")}, "context: is nan"),
        ({"box_px": 0}, "box_px: is 0"),
        ({"padding": -1}, "padding: is -1"),
        ({"shards": 0}, "shards: is 0"),
        ({"workers": 0}, "workers: is 0"),
    ],
)
def test_wrong_settings_are_named(tmp_path, samples, options, message):
    assert message in error_of(write, samples, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_damaged_folder_is_noticed(tmp_path, samples):
    out = tmp_path / "out"
    write(samples, out, shards=2)
    shard = records.shard_paths(out)[1]
    whole = shard.read_bytes()
    manifest = (out / "manifest.json").read_text()

    def reading():
        return error_of(lambda: list(records.read_records(out)))

    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    shard.write_bytes(flipped)
    assert f"{shard}, record at byte" in reading()
    shard.write_bytes(whole[:-1])
    assert f"{shard}: has {len(whole) - 1} bytes" in reading()
    shard.unlink()
    assert f"{shard}: is missing" in reading()
    shard.write_bytes(whole)
    foreign = tfrecord.frame_record(tfrecord.encode_example({"x": 1}))
    shard.write_bytes(foreign)
    edited = json.loads(manifest)
    edited["shards"][1]["bytes"] = len(foreign)
    (out / "manifest.json").write_text(json.dumps(edited))
    assert f"{shard}, record 0: not a record of posekit" in reading()
    edited["schema_version"] = 99
    (out / "manifest.json").write_text(json.dumps(edited))
    assert "manifest.json: schema version 99, expected 1" in reading()
    (out / "manifest.json").write_text(manifest[:50])
    assert "manifest.json: broken JSON" in reading()
    (out / "manifest.json").unlink()
    assert "no records" in reading()


# ---- size and speed ------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_number_of_people(tmp_path, samples):
    def peak(people: int) -> int:
        stream = (replace(samples[i % 6], person_id=str(i)) for i in range(people))
        tracemalloc.start()
        try:
            write(stream, tmp_path / str(people), box_px=64)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)
    few = peak(100)
    many = peak(1000)
    stored = sum(s["bytes"] for s in records.read_manifest(tmp_path / "1000")["shards"])
    assert stored > 2e6
    assert many - few < 0.4e6, f"{few} bytes for 100 people, {many} for 1000"


def test_this_room_needs_no_tensorflow():
    code = (
        "import sys, posekit.records, posekit.datasets.lsp; sys.exit('tensorflow' in sys.modules "
        "or 'keras' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False).returncode
        == 0
    )


@pytest.mark.realdata
def test_real_people_survive_the_way_into_records(tmp_path, realdata):
    samples = list(datasets.read("lsp", realdata / "lsp", "val"))
    records.write_records(
        samples,
        tmp_path / "out",
        "lsp",
        "val",
        settings=records.CropSettings(box_source="joints"),
        progress=False,
    )
    by_id = {s.person_id: s for s in samples}
    people = list(records.read_records(tmp_path / "out"))
    assert len(people) == 100
    for person in people:
        sample = by_id[person.person_id]
        back = geometry.apply_affine(person.crop_to_image, person.keypoints)
        assert np.abs(back - sample.keypoints)[sample.labelled].max() <= 1e-3
        stored = decode_image(person.encoded, person.person_id)
        again = geometry.warp(
            read_image(sample.image), geometry.invert(person.crop_to_image), (336, 336)
        )
        assert np.abs(stored.astype(int) - again).mean() < 4
        assert (
            person.joint_known.sum() == 12
            and not person.joint_known[: COCO17.index("left_shoulder")].any()
        )


def test_the_stored_crop_keeps_the_quality_of_the_photo(tmp_path):
    """JPEG at quality 92: PSNR above 40 dB on a smooth, coloured photo with edges."""
    y, x = np.mgrid[:200, :240]
    photo = np.stack([x, 0.6 * x + 0.4 * y, 255 - y], axis=-1) % 256
    photo[(x // 30 + y // 25) % 2 == 0] //= 2
    noise = np.random.default_rng(0).normal(0, 2, photo.shape)
    photo = np.clip(photo + noise, 0, 255).astype(np.uint8)
    path = tmp_path / "photo.png"
    assert cv2.imwrite(str(path), photo[..., ::-1])
    keypoints = np.random.default_rng(1).uniform(60, 140, (17, 2)).astype(np.float32)
    person = PersonAnnotation(
        image=path,
        source_id="photo.png",
        person_id="photo/0",
        keypoints=keypoints,
        keypoints_visible=np.full(17, 2, np.uint8),
        joint_known=np.ones(17, bool),
        bbox=None,
        area=0.0,
        dataset="made",
    )
    settings = records.CropSettings(box_px=128)
    record = records.decode_person(records.encode_person(person, settings))
    affine = geometry.invert(record.crop_to_image)
    wanted = geometry.warp(photo, affine, (settings.stored_px, settings.stored_px))
    error = decode_image(record.encoded, "").astype(float) - wanted
    psnr = 10 * np.log10(255**2 / np.mean(error**2))
    assert psnr > 40, f"PSNR {psnr:.1f} dB"
