"""MPII, your own images, older Panoptic poses, occlusion, and images of odd kinds (chapter 02)."""

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from posekit import datasets, inputs, minidome, records
from posekit.datasets import background, coco, custom, mpii, panoptic
from posekit.errors import DataError
from posekit.images import decode_image
from posekit.skeleton import COCO17, MPII16, PANOPTIC15, PANOPTIC19

ROOT = Path(__file__).resolve().parents[2]
K = len(COCO17)
QUICK = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def brightest(image: np.ndarray, near: np.ndarray, reach: int = 4) -> np.ndarray:
    """The place of the dot near a point, to a fraction of a pixel."""
    x, y = np.round(near).astype(int)
    low = np.maximum([x - reach, y - reach], 0)
    window = image[low[1] : y + reach + 1, low[0] : x + reach + 1].mean(axis=2)
    rows, columns = np.mgrid[: window.shape[0], : window.shape[1]]
    return low + np.array([(columns * window).sum(), (rows * window).sum()]) / window.sum()


# ---- MPII ----------------------------------------------------------------------------------------


def test_mpii_people_lie_on_their_dots(tmp_path):
    entries = [tiny_data.mpii_entry(tmp_path, "a.jpg"), tiny_data.mpii_entry(tmp_path, "b.jpg", 1)]
    entries.append(dict(entries[0]))
    entries[1]["joints_vis"][0] = 0
    entries[1]["joints"][0] = [-1, -1]
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot" / "train.json").write_text(json.dumps(entries))
    people = list(mpii.read(tmp_path, "train"))
    assert [p.person_id for p in people] == ["a/0", "b/0", "a/1"]
    for person in people:
        photo = person.load_image()
        for k in np.flatnonzero(person.labelled):
            assert np.abs(brightest(photo, person.keypoints[k]) - person.keypoints[k]).max() < 0.3
        assert person.bbox == pytest.approx(
            [80 - 1 + 0.5 - 50, 60 - 1 + 15 * 0.5 + 0.5 - 50, 100, 100]
        )
        assert not person.joint_known[:5].any(), "MPII has no face joints of COCO"
    assert not people[1].joint_known[COCO17.index("right_ankle")]
    assert people[0].labelled.sum() == 12


def test_mpii_joints_keep_their_sides():
    assert MPII16.flip_indices[MPII16.index("left_knee")] == MPII16.index("right_knee")
    assert [MPII16.joints[i] for i in (0, 5, 10, 15)] == [
        "right_ankle",
        "left_ankle",
        "right_wrist",
        "left_wrist",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": [[1, 2]]}, "cannot be read: ValueError"),
        ({"joints_vis": [2] * 16}, "joints_vis"),
        ({"joints": [[float("nan")] * 2] * 16}, "NaN"),
        ({"scale": None}, "cannot be read"),
        ({"image": ...}, "KeyError 'image'"),
    ],
)
def test_a_broken_mpii_entry_is_named_or_skipped(tmp_path, change, message):
    good = tiny_data.mpii_entry(tmp_path)
    bad = {k: v for k, v in {**good, **change}.items() if v is not ...}
    (tmp_path / "valid.json").write_text(json.dumps([good, bad, good]))
    with pytest.raises(DataError, match=r"valid\.json, entry 2") as error:
        list(mpii.read(tmp_path, "val"))
    assert message in str(error.value)
    skipped = []
    assert len(list(mpii.read(tmp_path, "val", skipped=skipped))) == 2
    assert [s["person_id"] for s in skipped] == ["entry 2 of valid.json"]


def test_mpii_without_its_files(tmp_path):
    with pytest.raises(DataError, match=r"neither annot/train\.json nor train\.json"):
        list(mpii.read(tmp_path, "train"))


# ---- your own photos -----------------------------------------------------------------------------


def table(rows, columns=custom.COLUMNS, delimiter=",") -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


@pytest.fixture
def album(tmp_path):
    """A photo with two people in a table, a dot on each of their joints."""
    rng = np.random.default_rng(0)
    people = [tiny_data.spread(rng), tiny_data.spread(rng)]
    tiny_data.write_photo(tmp_path / "images" / "garden.jpg", np.concatenate(people))
    rows = [
        ("garden.jpg", str(i + 1), joint, f"{x:.2f}", f"{y:.2f}", 2)
        for i, points in enumerate(people)
        for joint, (x, y) in zip(COCO17.joints, points, strict=True)
    ]
    (tmp_path / "keypoints.csv").write_text(table(rows), encoding="utf-8")
    return tmp_path, people, rows


def test_a_table_of_joints_becomes_people(album):
    folder, points, _ = album
    people = list(datasets.read("own", folder, "train"))
    assert [p.person_id for p in people] == ["garden.jpg/1", "garden.jpg/2"]
    for person, true in zip(people, points, strict=True):
        np.testing.assert_allclose(person.keypoints, true, atol=0.006)
        assert person.labelled.all() and person.bbox is None and person.as_displayed
        photo = person.load_image()
        errors = [np.abs(brightest(photo, person.keypoints[k]) - true[k]).max() for k in range(K)]
        assert np.median(errors) < 0.7, "dots of the two people touch"


@pytest.mark.parametrize(
    "way",
    ["bom", "semicolon", "tabs", "crlf", "names", "spaces", "comma decimals", "pandas"],
)
def test_tables_as_spreadsheets_write_them(album, way):
    folder, points, rows = album
    names = {"left_shoulder": "Left Shoulder", "nose": "NOSE", "right_wrist": "right-wrist"}
    text = {
        "bom": "\ufeff" + table(rows),
        "semicolon": table(rows, delimiter=";"),
        "tabs": table(rows, delimiter="\t"),
        "crlf": table(rows).replace("\r\n", "\n").replace("\n", "\r\n"),
        "names": table([(*r[:2], names.get(r[2], r[2]), *r[3:]) for r in rows]),
        "spaces": table(
            [tuple(f" {value} " for value in r) for r in rows],
            [f" {c.upper()} " for c in custom.COLUMNS],
        ),
        "comma decimals": table(
            [(*r[:3], r[3].replace(".", ","), r[4].replace(".", ","), r[5]) for r in rows],
            delimiter=";",
        ),
        "pandas": table(
            [(r[0], f"{r[1]}.0", *r[2:5], "2.0") for r in rows]
            + [("garden.jpg", "3.0", "nose", "NaN", "", "nan")]
        ),
    }[way]
    (folder / "keypoints.csv").write_bytes(text.encode())
    people = list(custom.read(folder))
    np.testing.assert_allclose([p.keypoints for p in people], points, atol=0.006)


def test_joints_not_in_the_table_are_unknown_and_v_0_is_outside_the_image(album):
    folder, _, rows = album
    rows = [r for r in rows if r[1] == "1" and r[2] not in ("left_eye", "nose", "left_ear")]
    rows += [("garden.jpg", "1", "left_eye", "", "", 0), ("garden.jpg", "1", "nose", "3", "4", 1)]
    rows += [
        ("garden.jpg", "1", "left_ear", "", "", "")
    ]  # a line of the template that was not filled in
    (folder / "keypoints.csv").write_text(table(rows))
    (person,) = custom.read(folder)
    at = [COCO17.index(j) for j in ("left_eye", "nose", "left_ear")]
    assert person.keypoints_visible[at].tolist() == [0, 1, 0]
    assert person.joint_known[at].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("garden.jpg", "1", "knie", "1", "2", 2), "line 36: unknown joint 'knie'"),
        (("garden.jpg", "1", "nose", "1", "2", 2), "line 36: nose of person 1 occurs twice"),
        (("garden.jpg", "3", "nose", "1", "here", 2), "line 36: x '1', y 'here'"),
        (("garden.jpg", "3", "nose", "1", "", 2), "line 36: x '1', y ''"),
        (("garden.jpg", "3", "nose", "1", "2", 7), "line 36: v is '7'"),
        (("garden.jpg", "3", "nose", "nan", "2", 2), "line 36"),
        (("garden.jpg", "3", "nose", "1e99", "2", 2), "is no position in an image"),
        (("", "3", "nose", "1", "2", 2), "line 36: has no image or no joint"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(album, line, message):
    folder, _, rows = album
    (folder / "keypoints.csv").write_text(table([*rows, line]))
    with pytest.raises(DataError) as error:
        list(custom.read(folder))
    assert message in str(error.value) and "keypoints.csv" in str(error.value)


def test_a_missing_column_a_missing_table_and_two_of_them(album):
    folder, _, rows = album
    (folder / "keypoints.csv").write_text(table([r[:5] for r in rows], custom.COLUMNS[:5]))
    with pytest.raises(DataError, match="line 1: no column 'v'"):
        list(custom.read(folder))
    (folder / "mine.json").write_text("{}")
    with pytest.raises(DataError, match=r"found keypoints\.csv, mine\.json"):
        list(custom.read(folder))
    with pytest.raises(DataError, match="found neither"):
        list(custom.read(folder / "images"))


def test_the_template_is_a_table_that_can_be_filled_in(tmp_path):
    tiny_data.write_photo(tmp_path / "images" / "a.jpg")
    text = custom.template([tmp_path / "images" / "a.jpg"])
    assert len(text.splitlines()) == 1 + K
    (tmp_path / "keypoints.csv").write_text(text.replace("a.jpg,1,nose,,,", "a.jpg,1,nose,5,6,2"))
    (person,) = custom.read(tmp_path)
    assert person.labelled.sum() == person.joint_known.sum() == 1


def test_a_tools_json_may_order_its_joints_as_it_likes(tmp_path):
    """As CVAT or Label Studio export it: joints in the order in which somebody defined them, one
    more, one missing.
    """
    path, data = tiny_data.coco(tmp_path, photos=1, people=1)
    order = [*reversed(COCO17.joints[1:]), "belly button"]
    old = np.array(data["annotations"][0]["keypoints"]).reshape(K, 3)
    new = [old[COCO17.index(joint)] if joint in COCO17.joints else [1, 1, 2] for joint in order]
    data["annotations"][0]["keypoints"] = np.concatenate(new).tolist()
    data["categories"][0]["keypoints"] = [joint.replace("_", " ").title() for joint in order]
    path.unlink()
    (tmp_path / "export.json").write_text(json.dumps(data))
    (tmp_path / "train2017").rename(tmp_path / "images")
    (tmp_path / "annotations").rmdir()
    notes: list[str] = []
    (person,) = datasets.read("own", tmp_path, "train", notes=notes)
    assert any(note.endswith("no joints of COCO-17: Belly Button") for note in notes)
    np.testing.assert_allclose(person.keypoints[1:], old[1:, :2], atol=1e-4)
    assert person.keypoints_visible[0] == 0 and not person.joint_known[0], (
        "the nose has no place in that export"
    )


def test_own_photos_become_records_by_the_command_line(album, tmp_path):
    folder, points, _ = album
    command = [
        sys.executable,
        str(ROOT / "data_scripts" / "build_tfrecords.py"),
        "own",
        str(folder),
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    people = {p.person_id: p for p in records.read_records(tmp_path / "out")}
    back = people["garden.jpg/1"].crop_to_image @ np.append(people["garden.jpg/1"].keypoints[0], 1)
    np.testing.assert_allclose(back, points[0][0], atol=0.01)


# ---- photos of odd kinds -------------------------------------------------------------------------


def turned(picture: np.ndarray, orientation: int) -> bytes:
    """A JPEG whose pixels lie as a camera held in that way stores them, with the note how to turn
    them.
    """
    undo = {3: 2, 6: 1, 8: 3}[orientation]  # quarter turns to the left
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(picture, undo))).save(
        out, "JPEG", quality=97, exif=exif
    )
    return out.getvalue()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photo_is_read_as_stored_or_as_displayed(orientation):
    picture = tiny_data.dots(160, 120, tiny_data.spread(np.random.default_rng(0)))
    data = turned(picture, orientation)
    shown = decode_image(data, "photo", as_displayed=True)
    stored = decode_image(data, "photo")
    assert shown.shape == picture.shape and np.abs(shown.astype(int) - picture).mean() < 2
    assert stored.shape == ((120, 160, 3) if orientation == 3 else (160, 120, 3))


def test_own_turned_photos_keep_joints_and_pixels_together(album, tmp_path):
    """A telephone's photo, annotated as displayed: in the record the joints lie on their dots, and
    no EXIF is left to turn it again.
    """
    folder, points, _ = album
    picture = tiny_data.dots(160, 120, np.concatenate(points))
    (folder / "images" / "garden.jpg").write_bytes(turned(picture, 6))
    records.write_records(
        datasets.read("own", folder, "train"), tmp_path / "out", "own", "train", progress=False
    )
    for person in records.read_records(tmp_path / "out"):
        stored = decode_image(person.encoded, "record")
        assert Image.open(io.BytesIO(person.encoded)).getexif() == {}
        for k in range(K):
            assert (
                np.abs(brightest(stored, person.keypoints[k], 6) - person.keypoints[k]).max() < 1.5
            )


def test_official_sets_count_in_the_pixels_as_stored(tmp_path):
    path, data = tiny_data.coco(tmp_path, photos=1, people=1)
    photo = tmp_path / "train2017" / data["images"][0]["file_name"]
    picture = decode_image(photo.read_bytes(), photo)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(photo, quality=97, exif=exif)
    (person,) = coco.read(path, tmp_path / "train2017")
    stored = person.load_image()
    assert stored.shape == picture.shape
    assert np.abs(brightest(stored, person.keypoints[0]) - person.keypoints[0]).max() < 0.3


@pytest.mark.parametrize("kind", ["L", "CMYK", "P", "RGBA", "16 bit grey", "16 bit colour", "1"])
def test_pictures_of_every_kind_become_rgb(kind, tmp_path):
    """A red and a grey half: seen as that whatever the file is made of."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30] = (200, 30, 40)
    picture[:, 30:] = 128
    path = tmp_path / "photo.png"
    tolerance = 3
    if kind == "16 bit grey":
        cv2.imwrite(str(path), picture[..., 0].astype(np.uint16) * 257)
        picture = np.repeat(picture[..., :1], 3, axis=2)
    elif kind == "16 bit colour":
        cv2.imwrite(str(path), picture[..., ::-1].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(picture).convert(kind)
        path, tolerance = (
            (tmp_path / "photo.jpg", 40) if kind == "CMYK" else (path, 20 if kind == "P" else 3)
        )
        image.save(path)
        picture = np.array(image.convert("RGB"))
    read = decode_image(path.read_bytes(), path)
    assert read.shape == (40, 60, 3) and read.dtype == np.uint8
    assert np.abs(read.astype(int) - picture)[:, [5, 50]].max() <= tolerance


def test_what_is_transparent_shows_white(tmp_path):
    clear = np.zeros((10, 10, 4), np.uint8)
    clear[:, 5:] = 20, 40, 60, 255
    Image.fromarray(clear).save(tmp_path / "a.png")
    read = decode_image((tmp_path / "a.png").read_bytes(), "a.png")
    assert (read[:, :5] == 255).all() and (read[:, 5:] == (20, 40, 60)).all()


@QUICK
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM", b"GIF89a"]),
)
def test_any_bytes_are_a_picture_or_a_data_error(data, start):
    try:
        assert decode_image(start + data, "noise").ndim == 3
    except DataError as error:
        assert "noise" in str(error)


def test_a_photo_of_another_size_than_its_annotations_is_named(tmp_path):
    path, data = tiny_data.coco(tmp_path, photos=1)
    tiny_data.write_photo(
        tmp_path / "train2017" / data["images"][0]["file_name"], width=80, height=60
    )
    with pytest.raises(DataError, match="80x60.*160x120"):
        records.write_records(
            coco.read(path, tmp_path / "train2017"), tmp_path / "out", "x", "train", progress=False
        )


# ---- COCO's small print --------------------------------------------------------------------------


def test_tiny_people_are_left_out_by_stated_thresholds(tmp_path):
    path, data = tiny_data.coco(tmp_path, photos=1, people=3)
    data["annotations"][0]["bbox"] = [10, 10, 12, 15.9]
    data["annotations"][1]["keypoints"][3:] = [0] * 48
    path.write_text(json.dumps(data))
    filtered = Counter()
    assert len(list(coco.read(path, tmp_path / "train2017", filtered=filtered))) == 2
    assert filtered == {"smaller than 16 px": 1}
    filtered.clear()
    kept = list(
        coco.read(path, tmp_path / "train2017", min_side=0, min_joints=2, filtered=filtered)
    )
    assert len(kept) == 2 and filtered == {"fewer than 2 labelled joints": 1}


def test_an_estimated_area_is_no_area(tmp_path):
    path, data = tiny_data.coco(tmp_path, photos=1, people=2)
    data["annotations"][0]["area_source"] = "coco"
    data["annotations"][1]["area_source"] = "bbox*0.53"
    path.write_text(json.dumps(data))
    exact, estimated = coco.read(path, tmp_path / "train2017")
    assert exact.area > 0 and estimated.area == 0


# ---- Panoptic: older poses, other versions, who stands before whom -------------------------------


def test_the_older_15_joints_are_the_first_of_the_19(tmp_path):
    root = tmp_path / "141215_old1"
    poses = tiny_data.panoptic(root)
    new = {p.person_id: p for p in panoptic.read(root)}
    (root / "hdPose3d_stage1_coco19").rename(root / "hdPose3d_stage1")
    for frame, bodies in poses.items():
        path = root / "hdPose3d_stage1" / f"body3DScene_{frame:08d}.json"
        old = [{"id": i, "joints15": body[:15].ravel().tolist()} for i, body in enumerate(bodies)]
        path.write_text(json.dumps({"version": 0.5, "bodies": old}))
    people = {p.person_id: p for p in panoptic.read(root)}
    assert people.keys() == new.keys()
    eyes = [COCO17.index(j) for j in ("left_eye", "right_eye", "left_ear", "right_ear")]
    rest = [k for k in range(K) if k not in eyes]
    for name, person in people.items():
        assert not person.joint_known[eyes].any() and not person.labelled[eyes].any()
        np.testing.assert_array_equal(person.keypoints[rest], new[name].keypoints[rest])
    assert PANOPTIC15.joints == PANOPTIC19.joints[:15]


@pytest.mark.parametrize("version", [1.0, "0.7", None, True])
def test_a_pose_file_of_another_version_is_refused(tmp_path, version):
    path = tiny_data.write_poses(tmp_path, 0, np.ones((1, 19, 4)))
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
    with pytest.raises(DataError, match="is of version"):
        panoptic.read_poses(path)


def test_two_bodies_with_one_id_and_frames_that_are_skipped(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root, frames=2)
    path = root / "hdPose3d_stage1_coco19" / "body3DScene_00000001.json"
    data = json.loads(path.read_text())
    data["bodies"][1]["id"] = data["bodies"][0]["id"]
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="two bodies have one id"):
        list(panoptic.read(root))
    skipped = []
    assert len(list(panoptic.read(root, skipped=skipped))) == 4
    assert skipped == [{"person_id": path.name, "problem": "two bodies have one id"}]


def test_the_confidence_decides_what_is_found(tmp_path):
    root = tmp_path / "seq"
    tiny_data.panoptic(root)
    known = [
        np.concatenate([p.joint_known for p in panoptic.read(root, confidence=c)]).mean()
        for c in (0.1, 0.5)
    ]
    assert known[0] == 1 and 0.3 < known[1] < 0.8


def test_a_body_before_another_hides_it_and_one_beside_or_behind_does_not():
    calibration = tiny_data.camera_entry("00_00", (0, -100, -300))
    camera = panoptic.Camera(
        "00_00",
        np.array(calibration["K"]),
        np.zeros(5),
        np.array(calibration["R"]),
        np.array(calibration["t"]).ravel(),
        (160, 120),
    )
    standing = np.zeros((19, 4))
    height = {
        "neck": -150,
        "nose": -165,
        "body_center": -95,
        "shoulder": -145,
        "elbow": -120,
        "wrist": -95,
    }
    height |= {"hip": -95, "knee": -50, "ankle": -8, "eye": -168, "ear": -166}
    for k, joint in enumerate(PANOPTIC19.joints):
        side = -1 if joint.startswith("right") else 1 if joint.startswith("left") else 0
        part = joint.removeprefix("left_").removeprefix("right_")
        width = {
            "shoulder": 18,
            "elbow": 24,
            "wrist": 26,
            "hip": 10,
            "knee": 11,
            "ankle": 11,
            "eye": 3,
            "ear": 7,
        }.get(part, 0)
        standing[k] = side * width, height[part], {"nose": -10, "eye": -8}.get(part, 0), 1
    at = {
        place: standing + (x, 0, z, 0)
        for place, (x, z) in {"front": (0, -80), "aside": (90, -80), "back": (0, 80)}.items()
    }
    here = standing
    hidden = {
        place: panoptic.hidden(np.stack([here, other]), camera) for place, other in at.items()
    }
    torso = [PANOPTIC19.index(j) for j in ("neck", "body_center", "left_hip", "right_hip")]
    alone = {
        place: panoptic.hidden(other[None], camera)[0] for place, other in at.items()
    }  # a far ear, say
    face = [PANOPTIC19.index(j) for j in ("nose", "left_eye", "right_eye")]
    assert not panoptic.hidden(here[None], camera)[0].any() and not any(
        own[face].any() for own in alone.values()
    )
    assert hidden["front"][0, torso].all() and (hidden["front"][1] == alone["front"]).all()
    assert not hidden["aside"][0].any() and (hidden["aside"][1] == alone["aside"]).all()
    assert hidden["back"][1, torso].all() and not hidden["back"][0].any()
    turned = here * (-1, 1, -1, 1)
    assert panoptic.hidden(turned[None], camera)[0, face].all(), "from behind nobody sees a face"
    missing = np.stack([here, at["front"] * (1, 1, 1, 0)])
    assert not panoptic.hidden(missing, camera).any(), "what was not found hides nothing"
    assert panoptic.hidden(np.zeros((0, 19, 4)), camera).shape == (0, 19)


def test_the_guess_agrees_with_minidomes_truth(tmp_path, record_property):
    """MiniDome knows who and what stands before whom.

    The guess knows bodies only: it misses furniture, and is right when it speaks.
    """
    minidome.make_sequence(tmp_path / "dome", frames=25, seed=11, progress=False)
    truth = {}
    for person in coco.read(*coco.find_minidome(tmp_path / "dome"), dataset="minidome"):
        truth.setdefault(person.image.name, []).append(person)
    guessed = []
    true = []
    for person in panoptic.read(tmp_path / "dome"):
        for other in truth.get(person.image.name, ()):
            both = person.labelled & other.labelled
            if both.any() and np.abs(person.keypoints - other.keypoints)[both].max() < 0.5:
                guessed.append(person.keypoints_visible[both] == 1)
                true.append(other.keypoints_visible[both] == 1)
    guessed = np.concatenate(guessed)
    true = np.concatenate(true)
    agreement = (guessed == true).mean()
    precision = true[guessed].mean()
    recall = guessed[true].mean()
    for name, value in (
        ("agreement", agreement),
        ("precision", precision),
        ("recall", recall),
        ("hidden", true.mean()),
    ):
        record_property(name, round(float(value), 3))
    print(
        f"agreement {agreement:.3f}, precision {precision:.3f}, recall {recall:.3f} "
        f"of {true.mean():.3f} hidden"
    )
    assert len(true) > 800
    assert agreement > 0.78 and precision > 0.75 and recall > 0.5


# ---- any input -----------------------------------------------------------------------------------

KEYS = st.sampled_from(
    "images annotations categories id image_id file_name width height keypoints bbox area iscrowd "
    "category_id name state bodies joints19 joints15 version cameras K R t distCoef resolution "
    "image joints joints_vis center scale".split()
)
VALUE = (
    st.none()
    | st.booleans()
    | st.integers(-5, 700)
    | st.floats()
    | st.text(max_size=4)
    | st.just(10**400)
)
JSON = st.recursive(
    VALUE
    | st.lists(st.floats(-10, 700), min_size=51, max_size=51)
    | st.lists(st.integers(0, 2), min_size=16, max_size=16),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


def people_or_data_error(reader) -> None:
    try:
        people = list(reader())
    except DataError as error:
        assert str(error)
        return
    assert all(isinstance(p, datasets.PersonAnnotation) for p in people)


@QUICK
@given(content=JSON)
@pytest.mark.parametrize("reader", ["coco", "own", "mpii", "calibration", "poses"])
def test_any_json_gives_people_or_a_data_error(tmp_path, reader, content):
    folder = tmp_path / reader
    (folder / "images").mkdir(parents=True, exist_ok=True)
    path = folder / {"mpii": "train.json"}.get(reader, "person_keypoints_train.json")
    path.write_text(json.dumps(content))
    if reader in ("calibration", "poses"):
        read = panoptic.read_calibration if reader == "calibration" else panoptic.read_poses
        try:
            read(path)
        except DataError:
            return
    else:
        people_or_data_error(lambda: datasets.read(reader, folder, "train"))


@QUICK
@given(
    change=st.dictionaries(KEYS, JSON, min_size=1, max_size=3),
    part=st.sampled_from(["images", "annotations", "categories"]),
)
def test_a_good_coco_file_with_something_strange_in_it(tmp_path, change, part):
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "keypoints": [5, 6, 2] * K,
                "bbox": [1, 1, 50, 50],
                "area": 9,
            }
        ],
    }
    data[part][0] |= change
    (tmp_path / "images").mkdir(exist_ok=True)
    (tmp_path / "person_keypoints.json").write_text(json.dumps(data))
    people_or_data_error(lambda: datasets.read("coco", tmp_path, "train"))


@QUICK
@given(
    change=st.dictionaries(KEYS, JSON, min_size=1, max_size=3),
    part=st.sampled_from(["camera", "body"]),
)
def test_a_good_panoptic_sequence_with_something_strange_in_it(tmp_path, change, part):
    root = tmp_path / "seq"
    if not root.exists():
        tiny_data.panoptic(root, frames=1, bodies=1)
        (tmp_path / "calibration").write_text((root / "calibration_seq.json").read_text())
    calibration = json.loads((tmp_path / "calibration").read_text())
    path = tiny_data.write_poses(root, 0, np.ones((1, 19, 4)))
    if part == "camera":
        calibration["cameras"][0] |= change
    else:
        poses = json.loads(path.read_text())
        poses["bodies"][0] |= change
        path.write_text(json.dumps(poses))
    (root / "calibration_seq.json").write_text(json.dumps(calibration))
    people_or_data_error(lambda: panoptic.read(root))


CELL = st.text(max_size=6) | st.sampled_from(
    ["nose", "left_hip", "1", "2", "12.5", "a.jpg", "", "0", "nan", '"', "\x00"]
)


@QUICK
@given(
    rows=st.lists(st.lists(CELL, max_size=8), max_size=6),
    header=st.booleans(),
    noise=st.text(max_size=20),
)
def test_any_table_gives_people_or_a_data_error(tmp_path, rows, header, noise):
    lines = (
        ([",".join(custom.COLUMNS)] if header else []) + [",".join(row) for row in rows] + [noise]
    )
    (tmp_path / "keypoints.csv").write_text(
        "\n".join(lines), encoding="utf-8", errors="surrogatepass" and "replace"
    )
    people_or_data_error(lambda: custom.read(tmp_path))


# ---- background ----------------------------------------------------------------------------------


def rooms(folder, count=12):
    folder.mkdir(parents=True)
    for i in range(count):
        tiny_data.write_photo(folder / f"{i:02d}.jpg")


def test_background_has_known_and_unlabelled_joints_only(tmp_path):
    """Every joint counts as known to be away; the records keep that, and a training asks for no
    coordinate.
    """
    rooms(tmp_path / "rooms" / "images")
    people = list(datasets.read("background", tmp_path / "rooms", "all"))
    assert len(people) == 12 and all(p.joint_known.all() and not p.labelled.any() for p in people)
    assert np.allclose(people[0].bbox[2:], (160, 120))
    records.write_records(
        people,
        tmp_path / "out",
        "background",
        "train",
        settings=records.CropSettings(box_source="image", box_px=64),
        progress=False,
    )
    _, targets = next(
        iter(inputs.make_batches(tmp_path / "out", 12, input_size=48).as_numpy_iterator())
    )
    assert not targets["keypoints"][..., 2].any() and not targets["visibility"][..., 0].any()
    assert np.all(targets["visibility"][..., 1] == 1)


def test_every_sixth_background_image_is_for_validation(tmp_path):
    rooms(tmp_path / "rooms")
    names = {
        split: [p.person_id for p in datasets.read("background", tmp_path / "rooms", split)]
        for split in ("train", "val")
    }
    assert names["val"] == ["05.jpg", "11.jpg"] and len(names["train"]) == 10
    assert not set(names["val"]) & set(names["train"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image there"):
        list(datasets.read("background", tmp_path / "empty", "train"))


def test_squares_next_to_people_touch_none_of_them(tmp_path):
    """The context crop of a square that people leave free lies in the photo and off every box; a
    photo without people is taken whole.
    """
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = rng.integers(200, 700, 2)
        boxes = np.column_stack([rng.uniform(0, 200, (2, 2)), rng.uniform(20, 150, (2, 2))])
        if (square := background.largest_free(width, height, boxes)) is None:
            continue
        x, y, w, h = square
        reach = background.CONTEXT / 2 * w
        x0 = x + w / 2 - reach
        y0 = y + h / 2 - reach
        x1 = x + w / 2 + reach
        y1 = y + h / 2 + reach
        assert w == h and x0 > -1e-6 and y0 > -1e-6 and x1 < width + 1e-6 and y1 < height + 1e-6
        assert all(
            x1 <= bx or bx + bw <= x0 or y1 <= by or by + bh <= y0 for bx, by, bw, bh in boxes
        )
    file, data = tiny_data.coco(tmp_path / "coco")
    data["annotations"] = [
        a for a in data["annotations"] if a["image_id"] != data["images"][0]["id"]
    ]
    file.write_text(json.dumps(data))
    found = list(datasets.read("background", tmp_path / "coco", "train"))
    assert [p.source_id for p in found] == [
        data["images"][0]["file_name"]
    ]  # the others' people leave no square of 150 pixels


def test_no_square_is_taken_where_a_person_has_no_box(tmp_path):
    """No square is put where somebody may be; entries that cannot be used name the file, and one
    bad room does not end a run that skips.
    """
    file, data = tiny_data.coco(tmp_path / "coco")
    for annotation in data["annotations"]:
        annotation["bbox"] = [0, 0, 0, 0]
    file.write_text(json.dumps(data))
    filtered = Counter()
    assert not list(datasets.read("background", tmp_path / "coco", "train", filtered))
    assert filtered == {"a person without a box": len(data["images"])}
    for broken in ({"bbox": [1, 2, "x", 3]}, {"bbox": [1, 2]}):
        file.write_text(json.dumps({**data, "annotations": [{**data["annotations"][0], **broken}]}))
        with pytest.raises(DataError, match=f"{file.name}, annotation number 1.*bbox"):
            list(datasets.read("background", tmp_path / "coco", "train"))
    file.write_text("[]")
    with pytest.raises(DataError, match="not a COCO annotation file"):
        list(datasets.read("background", tmp_path / "coco", "train"))
    rooms(tmp_path / "rooms", 3)
    (tmp_path / "rooms" / "01.jpg").write_bytes(b"no picture")
    skipped = []
    assert len(list(datasets.read("background", tmp_path / "rooms", "all", skipped=skipped))) == 2
    assert [entry["person_id"] for entry in skipped] == ["01.jpg"]


def test_a_list_of_exclusions_as_notepad_saves_it(tmp_path):
    (tmp_path / "exclude.txt").write_bytes(
        "\ufeffim0001.jpg\r\n  # a remark\r\nim0002.jpg\r\n".encode()
    )
    assert datasets.excluded_images(tmp_path, "train") == {"im0001.jpg", "im0002.jpg"}


def test_a_table_with_its_header_in_quotes(tmp_path):
    tiny_data.write_photo(tmp_path / "images" / "a.jpg")
    (tmp_path / "keypoints.csv").write_text(
        '"image","person","joint","x","y","v"\n"a.jpg","1","nose","30","20","2"\n'
    )
    (person,) = datasets.read("own", tmp_path, "train")
    assert person.keypoints[0].tolist() == [30, 20] and person.keypoints_visible[0] == 2
