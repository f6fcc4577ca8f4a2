"""Chapter 03's exercises: the solutions in the notebook pass, and agree with posekit and TensorFlow on anything."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
import tiny_data
from hypothesis import given, settings
from hypothesis import strategies as st

from posekit import inputs, records
from posekit.datasets import coco
from posekit.images import decode_image
from posekit.notebook.checks import CheckFailed, ch03
from posekit.records import tfrecord
from posekit.skeleton import COCO17

NOTEBOOK = Path(__file__).parents[2] / "chapters/exercises/ex03_tfrecords.ipynb"


def solutions() -> dict:
    """The functions that the notebook's solution cells define."""
    names = {"np": np, "COCO17": COCO17, "tfrecord": tfrecord}
    exec("import struct", names)
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if "### BEGIN SOLUTION" in cell.source:
            exec(cell.source, names)
    return names


SOLVED = solutions()
CHECKS = {"read_varint", "read_frames", "flip_batch", "is_clean"}


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_solution_passes_and_an_empty_answer_is_told_so(name, capsys):
    check = getattr(ch03, f"check_{name}")
    check(SOLVED[name])
    assert capsys.readouterr().out.startswith("✓ ")
    with pytest.raises(CheckFailed, match="no value yet"):
        check(None)


@given(
    number=st.integers(-(2**63), 2**63 - 1),
    before=st.binary(max_size=5),
    after=st.binary(max_size=5),
)
def test_read_varint_undoes_posekits_varint(number, before, after):
    data = tfrecord.varint(number)
    assert SOLVED["read_varint"](before + data + after, len(before)) == (
        number,
        len(before) + len(data),
    )
    with pytest.raises(ValueError):
        SOLVED["read_varint"](before + data[:-1], len(before))


@settings(deadline=None)
@given(payloads=st.lists(st.binary(max_size=60), max_size=4), damage=st.data())
def test_read_frames_is_posekits_reader(payloads, damage):
    whole = b"".join(map(tfrecord.frame_record, payloads))
    assert SOLVED["read_frames"](whole) == payloads
    if payloads:
        at, bit = damage.draw(st.integers(0, len(whole) - 1)), damage.draw(st.integers(0, 7))
        broken = bytearray(whole)
        broken[at] ^= 1 << bit
        starts = np.cumsum([0] + [len(p) + 16 for p in payloads])
        offset = starts[np.searchsorted(starts, at, side="right") - 1]
        with pytest.raises(ValueError, match=f"record at byte {offset}:"):
            SOLVED["read_frames"](bytes(broken))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("people")
    annotations, _ = tiny_data.coco(root / "coco", photos=3, people=2)
    samples = coco.read(annotations, root / "coco" / "train2017")
    records.write_records(
        samples,
        root / "records",
        "tiny",
        "train",
        settings=records.CropSettings(box_px=64),
        progress=False,
    )
    return root / "records"


def test_flip_batch_does_what_the_pipelines_flip_does(folder):
    mirror = inputs.Augmentation(flip=1, rotation=0, scale=0, shift=0, colour=0)
    images, targets = next(iter(inputs.make_batches(folder, 6, input_size=64)))
    theirs, their_targets = next(
        iter(inputs.make_batches(folder, 6, input_size=64, augment=mirror))
    )
    ours = SOLVED["flip_batch"](
        images.numpy(), targets["keypoints"].numpy(), targets["visibility"].numpy()
    )
    assert np.array_equal(ours[0], theirs)
    np.testing.assert_allclose(ours[1], their_targets["keypoints"], atol=1e-6)
    assert np.array_equal(ours[2], their_targets["visibility"])


def test_is_clean_judges_real_pipelines(folder):
    stored = list(records.read_records(folder))
    pictures = np.stack([decode_image(r.encoded, "stored") for r in stored])
    keypoints = np.stack([r.keypoints for r in stored])

    def judged(**options):
        return SOLVED["is_clean"](
            inputs.make_batches(folder, 4, input_size=64, **options), pictures, keypoints, 64
        )

    still = {"flip": 0, "rotation": 0, "scale": 0, "shift": 0, "colour": 0}
    assert judged() and judged(augment=inputs.Augmentation(**still))
    assert not judged(augment=inputs.Augmentation())
    assert not judged(augment=inputs.Augmentation(**{**still, "colour": 0.1}))
    assert not judged(shuffle=True)
