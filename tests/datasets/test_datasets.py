"""The readers: each data set's meaning of coordinates and flags, filtering, and clear errors."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import scipy.io
import tiny_data
from hypothesis import given
from hypothesis import strategies as st
from tiny_data import opencv_projection

from posekit import cameras, datasets, geometry
from posekit.datasets import PersonAnnotation, coco, lsp, panoptic
from posekit.errors import DataError
from posekit.images import encode_jpeg
from posekit.skeleton import COCO17, LSP14, PANOPTIC19

FACE = [COCO17.index(j) for j in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
SHARED = [j for j in COCO17.joints if j in LSP14.joints]


def error_of(function, *args, **kwargs) -> str:
    with pytest.raises(DataError) as caught:
        result = function(*args, **kwargs)
        if not isinstance(result, dict | list | tuple):
            list(result)
    assert "\n" not in str(caught.value) and "(" in str(caught.value), "one line, with a hint"
    return str(caught.value)


# ---- PersonAnnotation ----------------------------------------------------------------------------


def sample(**changes) -> PersonAnnotation:
    fields = {
        "image": "a.jpg",
        "source_id": "a",
        "person_id": "a/1",
        "keypoints": np.ones((17, 2)),
        "keypoints_visible": np.full(17, 2),
        "joint_known": np.ones(17, bool),
        "bbox": np.array([0, 0, 5, 5]),
        "area": 9.0,
        "dataset": "coco",
    }
    return PersonAnnotation(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints": np.full((17, 2), np.nan)}, "keypoints holds NaN"),
        ({"keypoints": np.ones((14, 2))}, "shape"),
        ({"keypoints_visible": np.full(17, 3)}, "expected 0, 1 or 2"),
        ({"bbox": np.array([0, 0, 0, 5])}, "empty box"),
        ({"bbox": np.array([0, np.inf, 1, 5])}, "bbox holds NaN"),
        ({"area": np.nan}, "area is nan"),
    ],
)
def test_a_sample_refuses_what_cannot_be_used(changes, message):
    with pytest.raises(DataError, match=message) as caught:
        sample(**changes)
    assert "a/1" in str(caught.value)


def test_a_sample_keeps_its_own_copy():
    keypoints = np.ones((17, 2), np.float32)
    person = sample(keypoints=keypoints)
    keypoints[:] = 7
    assert np.all(person.keypoints == 1)


# ---- COCO ----------------------------------------------------------------------------------------


def test_coco_people_come_as_they_stand_in_the_file(tmp_path):
    path, data = tiny_data.coco(tmp_path, photos=3, people=2)
    people = list(coco.read(path, tmp_path / "train2017"))
    assert len(people) == 6
    for person, annotation in zip(people, data["annotations"], strict=True):
        joints = np.reshape(annotation["keypoints"], (17, 3))
        assert np.allclose(person.keypoints, joints[:, :2])
        assert np.array_equal(person.keypoints_visible, joints[:, 2])
        assert np.allclose(person.bbox, annotation["bbox"]) and person.area == annotation["area"]
        assert person.person_id == f"{annotation['image_id']:012d}/{annotation['id']}"
        assert person.image == tmp_path / "train2017" / f"{annotation['image_id']:012d}.jpg"
    assert len({p.person_id for p in people}) == 6 and len({p.source_id for p in people}) == 3


def test_coco_leaves_out_crowds_and_the_unlabelled_and_counts_them(tmp_path):
    path, data = tiny_data.coco(tmp_path, photos=2, people=2)
    data["annotations"][0]["iscrowd"] = 1
    data["annotations"][1]["keypoints"] = [0] * 51
    data["annotations"][2]["keypoints"][0:3] = [0, 0, 0]
    path.write_text(json.dumps(data))
    filtered = Counter()
    people = list(coco.read(path, tmp_path / "train2017", filtered=filtered))
    assert filtered == {"crowd": 1, "no labelled joint": 1}
    assert len(people) == 2
    assert people[0].keypoints_visible[0] == 0 and people[0].joint_known.all(), (
        "v = 0 among labelled joints: known, target 0"
    )


def test_the_exclusion_file_counts_for_training_only(tmp_path):
    path, _ = tiny_data.coco(tmp_path, photos=3, people=1)
    (path.parent / "exclude.txt").write_text("# near duplicates\n000000000002.jpg\n\n")
    filtered = Counter()
    train = list(coco.read(path, tmp_path / "train2017", split="train", filtered=filtered))
    assert [p.source_id for p in train] == ["000000000001", "000000000003"] and filtered == {
        "exclude.txt": 1
    }
    assert len(list(coco.read(path, tmp_path / "train2017", split="val"))) == 3


def test_coco_finds_each_layout(tmp_path):
    tiny_data.coco(tmp_path / "official", split="train")
    tiny_data.coco(tmp_path / "official", split="val")
    assert [p.name for p in coco.find(tmp_path / "official", "val")] == [
        "person_keypoints_val2017.json",
        "val2017",
    ]
    other, _ = tiny_data.coco(tmp_path / "other", split="train")
    other.rename(other.with_name("person_keypoints_train_small.json"))
    (tmp_path / "other" / "train2017").rename(tmp_path / "other" / "images")
    assert coco.find(tmp_path / "other", "train")[1].name == "images"
    single, _ = tiny_data.coco(tmp_path / "single", split="train")
    single.rename(tmp_path / "single" / "person_keypoints.json")
    (tmp_path / "single" / "train2017").rename(tmp_path / "single" / "images")
    for split in ("train", "val"):
        annotations, images = coco.find(tmp_path / "single", split)
        assert (annotations.name, images.name) == ("person_keypoints.json", "images")
        assert len(list(coco.read(annotations, images))) == 6
    assert "split 'test'" in error_of(coco.find, tmp_path / "official", "test")
    (tmp_path / "single" / "person_keypoints_2.json").write_text("{}")
    assert "several annotation files fit" in error_of(coco.find, tmp_path / "single", "val")


def nan_in_keypoints(data):
    data["annotations"][3]["keypoints"][4] = float("nan")


def empty_box(data):
    data["annotations"][3]["bbox"][2] = 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (nan_in_keypoints, r"annotation 4 \(000000000002.jpg\): keypoints hold NaN"),
        (empty_box, r"annotation 4 \(000000000002.jpg\): empty box"),
        (
            lambda d: d["annotations"][3].update(keypoints=[1] * 50),
            "annotation 4 .* 50 numbers, expected 51",
        ),
        (
            lambda d: d["annotations"][3].update(keypoints="none"),
            "annotation 4 .*keypoints are 'none', not a list",
        ),
        (
            lambda d: d["annotations"][3].update(keypoints=["none"] * 51),
            "annotation 4 .*not a number",
        ),
        (
            lambda d: d["annotations"][3].update(keypoints=[5] * 51),
            "annotation 4 .*expected 0, 1 or 2",
        ),
        (
            lambda d: d["annotations"][3].update(bbox=[1, 2, "x", 4]),
            "annotation 4 .*not made of numbers",
        ),
        (lambda d: d["annotations"][3].update(bbox=[1, 2, 3]), "annotation 4 .*shape"),
        (lambda d: d["annotations"][3].update(area="big"), "annotation 4 .*area 'big' is not"),
        (
            lambda d: d["annotations"][3].update(image_id=99),
            "annotation 4: unknown image_id 99",
        ),
        (
            lambda d: d["annotations"][3].pop("id"),
            "annotation number 4: has no 'id'",
        ),
        (
            lambda d: d["annotations"].insert(3, None),
            "annotation number 4: is None, expected an object",
        ),
        (lambda d: d["images"][0].pop("file_name"), "image number 1: has no file_name"),
        (lambda d: d.pop("annotations"), "no list 'annotations'"),
    ],
)
def test_coco_errors_name_the_file_and_the_annotation(tmp_path, damage, message):
    path, data = tiny_data.coco(tmp_path, photos=2, people=2)
    damage(data)
    path.write_text(json.dumps(data))
    text = error_of(coco.read, path, tmp_path / "train2017")
    assert text.startswith(str(path))
    assert re.search(message, text), text


def test_broken_json_is_named_with_its_line(tmp_path):
    path, _ = tiny_data.coco(tmp_path)
    path.write_text(path.read_text()[:-40] + "\n")
    assert "person_keypoints_train2017.json: broken JSON at line" in error_of(
        coco.read, path, tmp_path
    )
    path.write_bytes(b"\xff\xfe\x00junk")
    assert "not JSON" in error_of(coco.read, path, tmp_path)
    assert "No such file" in error_of(coco.read, tmp_path / "gone.json", tmp_path)


# ---- LSP and LSPET -------------------------------------------------------------------------------


@pytest.mark.parametrize("extended", [False, True])
def test_lsp_coordinates_count_from_one_and_flags_mean_what_each_set_means(tmp_path, extended):
    joints = tiny_data.lsp(tmp_path, extended=extended)
    people = list(lsp.read_lspet(tmp_path, "val") if extended else lsp.read(tmp_path, None))
    assert len(people) == 4
    for i, person in enumerate(people):
        for joint in SHARED:
            x, y, flag = joints[i, LSP14.index(joint)]
            k = COCO17.index(joint)
            if extended:
                assert person.keypoints_visible[k] == (2 if flag else 0), "LSPET: 1 is annotated"
                assert person.joint_known[k] == bool(flag)
            else:
                assert person.keypoints_visible[k] == (1 if flag else 2), "LSP: 1 is occluded"
                assert person.joint_known[k]
            if person.keypoints_visible[k]:
                assert np.allclose(person.keypoints[k], (x - 1, y - 1), atol=1e-4)
        assert not person.joint_known[FACE].any() and not person.keypoints_visible[FACE].any()
        assert person.bbox is None


def test_lsp_is_split_by_file_number(tmp_path):
    numbers = [1, 2, 900, 901, 1000, 1001, 2000]
    tiny_data.lsp(tmp_path, numbers)
    (tmp_path / "exclude.txt").write_text("im0002.jpg\nim0901.jpg\n")
    got = {
        split: [p.source_id for p in lsp.read(tmp_path, split)]
        for split in ("train", "val", "test", None)
    }
    assert got["train"] == ["im0001", "im0900"]
    assert got["val"] == ["im0901", "im1000"]
    assert got["test"] == ["im1001", "im2000"]
    assert len(got[None]) == 7
    filtered = Counter()
    list(lsp.read(tmp_path, "train", filtered=filtered))
    assert filtered == {"exclude.txt": 1}


def test_images_without_leading_zeros_are_ordered_by_number(tmp_path):
    tiny_data.lsp(tmp_path, range(8, 13))
    before = {p.source_id: p.keypoints for p in lsp.read(tmp_path, None)}
    for path in (tmp_path / "images").iterdir():
        path.rename(path.with_name(f"im{int(path.stem[2:])}.jpg"))
    after = {p.source_id: p.keypoints for p in lsp.read(tmp_path, None)}
    assert list(after) == ["im8", "im9", "im10", "im11", "im12"]
    for name, keypoints in after.items():
        np.testing.assert_array_equal(keypoints, before[f"im{int(name[2:]):04d}"])


def test_the_split_of_lspet_only_names_it(tmp_path):
    tiny_data.lsp(tmp_path, range(1, 4), extended=True)
    (tmp_path / "exclude.txt").write_text("im00002.jpg\n")
    assert [p.source_id for p in lsp.read_lspet(tmp_path, "train")] == ["im00001", "im00003"]
    assert len(list(lsp.read_lspet(tmp_path, "val"))) == 3


def test_an_lspet_person_without_any_label_is_left_out(tmp_path):
    joints = tiny_data.lsp(tmp_path, extended=True)
    joints[1, :, 2] = 0
    tiny_data.save_joints(tmp_path, joints.transpose(1, 2, 0))
    filtered = Counter()
    assert len(list(lsp.read_lspet(tmp_path, "val", filtered=filtered))) == 3 and filtered == {
        "no labelled joint": 1
    }


def test_columns_and_photos_must_be_equally_many(tmp_path):
    tiny_data.lsp(tmp_path)
    (tmp_path / "images" / "im0003.jpg").unlink()
    text = error_of(lsp.read, tmp_path, "train")
    assert "joints.mat: 4 columns of joints, but 3 images" in text


def test_a_wrong_joints_mat_is_named(tmp_path):
    joints = tiny_data.lsp(tmp_path)
    transposed = joints.transpose(2, 1, 0)
    for content, message in (
        (
            joints.transpose(1, 2, 0),
            r"joints.mat: expected 'joints' of shape (3, 14, N), got (14, 3, 4)",
        ),
        (transposed[:, :13], "got (3, 13, 4)"),
        (transposed[:, :, 0], "got (3, 14)"),
        (np.array([["text"]]), "'joints' is no array of numbers"),
    ):
        tiny_data.save_joints(tmp_path, content)
        assert message in error_of(lsp.read, tmp_path, "train")
    assert "lsp and lspet are mixed up" in error_of(
        lsp.read_lspet, swapped(tmp_path, transposed), "train"
    )
    tiny_data.save_joints(tmp_path, transposed, name="points")
    assert "no variable 'joints'" in error_of(lsp.read, tmp_path, "train")
    for junk in (b"", b"junk", b"MATLAB 5.0 MAT-file" + bytes(200)):
        (tmp_path / "joints.mat").write_bytes(junk)
        assert "joints.mat: cannot be read as a MATLAB file" in error_of(
            lsp.read, tmp_path, "train"
        )
    (tmp_path / "joints.mat").unlink()
    assert "joints.mat: no such file" in error_of(lsp.read, tmp_path, "train")


def swapped(root, joints):
    tiny_data.save_joints(root, joints)
    return root


@pytest.mark.parametrize(
    ("row", "value", "message"), [(0, np.nan, "NaN"), (1, np.inf, "NaN or inf"), (2, 0.5, "flags")]
)
def test_a_bad_number_in_joints_mat_is_named_with_its_photo(tmp_path, row, value, message):
    joints = tiny_data.lsp(tmp_path).transpose(2, 1, 0)
    joints[row, 5, 2] = value
    tiny_data.save_joints(tmp_path, joints)
    text = error_of(lsp.read, tmp_path, "train")
    assert "column 3 (im0003.jpg)" in text and message in text


@pytest.mark.realdata
def test_the_real_lsp_and_lspet(realdata):
    filtered = Counter()
    train = list(lsp.read(realdata / "lsp", "train", filtered=filtered))
    val = list(lsp.read(realdata / "lsp", "val"))
    assert (
        len(train) + filtered["exclude.txt"] == 900
        and filtered["exclude.txt"] > 0
        and len(val) == 100
    )
    excluded = set((realdata / "lsp" / "exclude.txt").read_text().split())
    assert not excluded & {p.image.name for p in train}
    flags = np.concatenate([p.keypoints_visible[-12:] for p in train + val])
    assert 0.04 < np.mean(flags == 1) < 0.12, "990 of 14,000 joints are occluded"
    extended = list(lsp.read_lspet(realdata / "lspet", "train"))
    assert len(extended) == 9997
    assert 0.05 < np.mean([~p.joint_known[-12:] for p in extended]) < 0.2, (
        "16,787 of 140,000 are not annotated"
    )
    raw = scipy.io.loadmat(realdata / "lspet" / "joints.mat")["joints"][:, :, 0]
    first = extended[0]
    k = COCO17.index("left_elbow")
    assert first.source_id == "im00001" and np.allclose(
        first.keypoints[k], raw[LSP14.index("left_elbow"), :2] - 1
    )


@pytest.mark.realdata
def test_real_people_have_their_left_on_the_proper_side(realdata):
    """Seen from the front the left shoulder is to the right in the picture; COCO tells front by the
    nose being seen.
    """
    signs = []
    for person in datasets.read("coco", realdata / "coco", "val"):
        v = person.keypoints_visible
        if v[0] == 2 and v[1] == 2 and v[2] == 2 and v[5] and v[6]:
            signs.append(person.keypoints[5, 0] > person.keypoints[6, 0])
    assert len(signs) > 50 and np.mean(signs) > 0.9


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "split", "people", "exact_areas", "left"),
    [
        ("coco", "train", 393, 311, {"crowd": 8, "no labelled joint": 93}),
        ("coco", "val", 257, 154, {"crowd": 3, "no labelled joint": 54}),
        ("coco_extra", "train", 75, 0, {}),
        ("coco_gray", "val", 301, 0, {}),
        ("webcam_stills", "val", 15, 0, {}),
    ],
)
def test_the_real_coco_files(realdata, folder, split, people, exact_areas, left):
    filtered = Counter()
    samples = list(datasets.read("coco", realdata / folder, split, filtered))
    assert len(samples) == people and filtered == left
    assert all(p.image.is_file() for p in samples)
    assert all(p.labelled.any() and p.bbox is not None for p in samples)
    assert sum(p.area > 0 for p in samples) == exact_areas, "an estimated area counts as unknown"


# ---- Panoptic ------------------------------------------------------------------------------------


def test_panoptic_people_are_projected_into_each_camera_with_photos(tmp_path):
    root = tmp_path / "171204_made1"
    poses = tiny_data.panoptic(root)
    cameras = panoptic.read_calibration(root / "calibration_171204_made1.json")
    people = {p.person_id: p for p in panoptic.read(root)}
    assert len(people) == 2 * 2 * 2, "frames x HD cameras x bodies"
    for frame, bodies in poses.items():
        for name in ("00_00", "00_07"):
            for body, joints in enumerate(bodies):
                person = people[f"171204_made1/{name}_{frame:08d}/{body}"]
                assert person.image == root / "hdImgs" / name / f"{name}_{frame:08d}.jpg"
                pixels = opencv_projection(joints[:, :3], cameras[name])
                for k, joint in enumerate(COCO17.joints):
                    expected = pixels[PANOPTIC19.index(joint)]
                    inside = np.all((expected >= -0.5) & (expected < np.array([160, 120]) - 0.5))
                    assert person.keypoints_visible[k] in ((1, 2) if inside else (0,))
                    assert person.joint_known[k]
                    if inside:
                        assert np.allclose(person.keypoints[k], expected, atol=1e-3)


def test_which_cameras(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root)
    (root / "hdImgs" / "00_07" / "00_07_00000001.jpg").unlink()

    def views(cameras):
        return sorted({p.image.name for p in panoptic.read(root, cameras)})

    on_disk = ["00_00_00000000.jpg", "00_00_00000001.jpg", "00_07_00000000.jpg"]
    assert views(None) == on_disk
    assert views("hd") == [*on_disk, "00_07_00000001.jpg"]
    assert views(["01_01"]) == ["01_01_00000000.jpg", "01_01_00000001.jpg"]
    assert "no 00_99" in error_of(panoptic.read, root, ["00_99"])


def one_body(**joints) -> np.ndarray:
    """(1, 19, 4): all joints at the origin, except those given as (x, y, z, confidence)."""
    body = np.tile([0.0, -100, 0, 0.8], (19, 1))
    for joint, value in joints.items():
        body[PANOPTIC19.index(joint)] = value
    return body[None]


def test_joints_missing_outside_or_behind_are_told_apart(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root, frames=1)
    tiny_data.write_poses(
        root,
        0,
        one_body(
            nose=(0, 0, 0, -1),
            left_eye=(0, -100, 0, 0.1),
            left_wrist=(260, -100, 0, 0.9),
            right_wrist=(0, -150, -500, 0.9),
        ),
    )
    person = next(p for p in panoptic.read(root) if "00_00" in p.person_id)
    by_name = {
        j: (int(person.keypoints_visible[k]), bool(person.joint_known[k]))
        for k, j in enumerate(COCO17.joints)
    }
    assert by_name["nose"] == (0, False), "missing: 0, 0, 0, -1"
    assert by_name["left_eye"] == (0, False), "not above the confidence threshold"
    assert by_name["left_wrist"] == (0, True), "beside the frame"
    assert by_name["right_wrist"] == (0, True), "behind the camera"
    assert by_name["left_hip"] == (2, True)


def test_a_person_without_a_joint_in_the_frame_is_filtered_and_counted(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root, frames=1)
    behind = np.tile([0.0, -150, -600, 0.9], (19, 1))
    tiny_data.write_poses(root, 0, np.concatenate([one_body(), behind[None]]))
    filtered = Counter()
    people = list(panoptic.read(root, ["00_00"], filtered=filtered))
    assert [p.person_id for p in people] == ["seq/00_00_00000000/0"] and filtered == {
        "no joint in the frame": 1
    }


def test_the_lens_polynomial_does_not_fold_people_back_into_the_picture(tmp_path):
    """A joint 61 degrees off the axis lies far outside; the polynomial alone would put it near the
    middle.
    """
    root = tmp_path / "seq"
    tiny_data.panoptic(root, frames=1)
    camera = panoptic.read_calibration(root / "calibration_seq.json")["00_00"]
    aside = camera.R.T @ (np.array([1.8, 0, 1.0]) * 100 - camera.t)
    ghost = cameras.project(aside, camera)
    assert geometry.inside(ghost, camera.resolution), "the trap is there"
    assert 1.3 < cameras.lens_range(camera.distCoef) < 1.5
    assert not cameras.in_view(aside, camera)
    tiny_data.write_poses(root, 0, one_body(left_wrist=(*aside, 0.9)))
    person = next(p for p in panoptic.read(root) if "00_00" in p.person_id)
    k = COCO17.index("left_wrist")
    assert person.keypoints_visible[k] == 0 and person.joint_known[k]


@given(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-0.2, 0.2)))
def test_lens_range_is_where_the_distortion_stops_growing(k):
    coefficients = np.array([k[0], k[1], 0, 0, k[2]])
    limit = cameras.lens_range(coefficients)
    radius = np.linspace(0, min(limit, 50), 2000)
    image_radius = cameras.distort(np.stack([radius, 0 * radius], axis=1), coefficients)[:, 0]
    assert np.all(np.diff(image_radius) > -1e-9)
    if np.isfinite(limit) and limit < 50:
        just = cameras.distort(np.array([[limit, 0], [limit * 1.001, 0]]), coefficients)[:, 0]
        assert just[1] - just[0] < 1e-3 * limit * 0.01


def test_scaled_photos_do_not_fit_the_calibration(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root, frames=1)
    tiny_data.write_photo(root / "hdImgs" / "00_07" / "00_07_00000000.jpg", width=80, height=60)
    text = error_of(panoptic.read, root)
    assert "00_07_00000000.jpg: is 80x60, but camera 00_07 is calibrated for 160x120" in text


def test_panoptic_errors_name_the_file_and_the_body(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root)
    pose = root / "hdPose3d_stage1_coco19" / "body3DScene_00000001.json"
    good = pose.read_text()

    def with_body(**changes):
        data = json.loads(good)
        data["bodies"][1].update(changes)
        pose.write_text(json.dumps(data))
        return error_of(panoptic.read, root)

    joints = json.loads(good)["bodies"][1]["joints19"]
    assert "body3DScene_00000001.json, body 1: joints19 hold NaN" in with_body(
        joints19=[float("nan"), *joints[1:]]
    )
    assert "body 1: cannot be read" in with_body(joints19=joints[:60])
    assert "body 1: cannot be read" in with_body(joints19=None)
    pose.write_text(good[:100])
    assert "body3DScene_00000001.json: broken JSON" in error_of(panoptic.read, root)
    pose.write_text("[]")
    assert "no list 'bodies'" in error_of(panoptic.read, root)
    pose.write_text(good)

    calibration = root / "calibration_seq.json"
    content = json.loads(calibration.read_text())
    content["cameras"][1]["distCoef"] = [0.1, 0.2]
    calibration.write_text(json.dumps(content))
    assert "calibration_seq.json, camera 00_07: cannot be read" in error_of(panoptic.read, root)
    content["cameras"].pop(1)
    calibration.write_text(json.dumps(content))
    assert "no camera '00_07', but images of it" in error_of(panoptic.read, root)
    calibration.unlink()
    assert "expected one calibration_SEQ.json, found none" in error_of(panoptic.read, root)


def test_a_sequence_without_poses_or_photos_says_so(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root)
    (root / "hdImgs").rename(root / "images")
    assert "no images" in error_of(panoptic.read, root)
    (root / "hdPose3d_stage1_coco19").rename(root / "hdPose3d")
    assert "no body3DScene_*.json" in error_of(panoptic.read, root)


@pytest.mark.realdata
def test_the_real_sequence_in_its_31_cameras(realdata):
    sequence = realdata / "panoptic" / "160906_band1"
    cameras = panoptic.read_calibration(sequence / "calibration_160906_band1.json")
    assert sum(name.startswith("00_") for name in cameras) == 31
    poses = {p.stem[-8:]: dict(panoptic.read_poses(p)) for p in sequence.glob("hdPose3d*/*.json")}
    assert [len(bodies) for bodies in poses.values()] == [3, 3]
    filtered = Counter()
    people = list(panoptic.read(sequence, "hd", filtered=filtered))
    assert len(people) + filtered["no joint in the frame"] == 31 * 6 and len(people) > 150
    for person in people:
        _, view, body = person.person_id.split("/")
        joints = poses[view[-8:]][int(body)]
        for k, joint in enumerate(COCO17.joints):
            x, y, z, confidence = joints[PANOPTIC19.index(joint)]
            assert person.joint_known[k] == (confidence > 0.1)
            if person.keypoints_visible[k]:
                expected = opencv_projection(np.array([[x, y, z]]), cameras[view[:5]])[0]
                assert np.abs(person.keypoints[k] - expected).max() < 1e-3
    missing = ~np.concatenate([p.joint_known for p in people])
    assert 0 < missing.mean() < 0.2


# ---- all of them ---------------------------------------------------------------------------------


def test_read_knows_every_data_set(tmp_path):
    tiny_data.coco(tmp_path / "coco", split="val")
    tiny_data.lsp(tmp_path / "lsp")
    tiny_data.lsp(tmp_path / "lspet", extended=True)
    tiny_data.panoptic(tmp_path / "panoptic")
    dome, _ = tiny_data.coco(tmp_path / "minidome")
    dome.rename(dome.with_name("person_keypoints_minidome.json"))
    for photo in (tmp_path / "minidome" / "train2017").iterdir():
        photo.rename(tmp_path / "minidome" / photo.name)
    (tmp_path / "mpii" / "images").mkdir(parents=True)
    (tmp_path / "mpii" / "train.json").write_text(
        json.dumps([tiny_data.mpii_entry(tmp_path / "mpii")])
    )
    own, _ = tiny_data.coco(tmp_path / "own")
    own.rename(tmp_path / "own" / "mine.json")
    (tmp_path / "own" / "train2017").rename(tmp_path / "own" / "images")
    (tmp_path / "background").mkdir()
    (tmp_path / "background" / "room.jpg").write_bytes(encode_jpeg(np.zeros((60, 80, 3), np.uint8)))
    for name in datasets.DATASETS:
        people = list(datasets.read(name, tmp_path / name, "val" if name == "coco" else "train"))
        assert people and all(p.dataset == name and p.image.is_file() for p in people)
    assert "unknown data set" in error_of(datasets.read, "imagenet", tmp_path, "train")
    assert "no such folder" in error_of(datasets.read, "lsp", tmp_path / "gone", "train")
    assert "give the folder that holds it" in error_of(
        datasets.read, "own", tmp_path / "mpii" / "train.json", "train"
    )
    assert "not a MiniDome sequence" in error_of(
        datasets.read, "minidome", tmp_path / "lsp", "train"
    )
