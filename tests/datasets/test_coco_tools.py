"""COCO files as annotation tools export them: joints, categories, layouts, values (chapter 02)."""

import gzip
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_data
from PIL import Image

from posekit import datasets
from posekit.datasets import coco, coco_json
from posekit.datasets.joint_names import joint_of
from posekit.errors import DataError
from posekit.skeleton import COCO17

K = len(COCO17)
BOTH = ["images/p1.jpg", "images/p2.jpg"]


@pytest.fixture
def export(tmp_path):
    """Two images of one person each: (content of the JSON, bytes of the images)."""
    path, data = tiny_data.coco(tmp_path / "source", photos=2, people=1)
    data["categories"][0]["keypoints"] = list(COCO17.joints)
    images = []
    for number, image in enumerate(data["images"], 1):
        images.append((tmp_path / "source" / "train2017" / image["file_name"]).read_bytes())
        image["file_name"] = f"p{number}.jpg"
    return data, images


def write(folder: Path, content: object, images: list[bytes], files=BOTH, name="export.json"):
    """An export in `folder`: the images under the names in `files`, one after the other."""
    for number, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(images[number % 2])
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / name).write_bytes(raw)
    return folder


def read(folder: Path, dataset: str = "own", split: str = "train"):
    """(people, what was filtered, notes)."""
    filtered: Counter = Counter()
    notes: list[str] = []
    people = list(datasets.read(dataset, folder, split, filtered, notes=notes))
    return people, filtered, notes


def error_of(folder: Path, dataset: str = "own", split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        list(datasets.read(dataset, folder, split))
    assert "\n" not in str(caught.value) and "(" in str(caught.value), "one line, with a hint"
    return str(caught.value)


def unchanged(people, data) -> None:
    """The people are those of `data`, with all their joints."""
    assert len(people) == len(data["annotations"])
    for person, annotation in zip(people, data["annotations"], strict=True):
        joints = np.reshape(annotation["keypoints"], (K, 3)).astype(float)
        np.testing.assert_allclose(person.keypoints, joints[:, :2], atol=1e-3)
        np.testing.assert_array_equal(person.keypoints_visible, joints[:, 2])
        assert person.image.is_file()


# ---- joint names ---------------------------------------------------------------------------------


def spelled(side: str, part: str) -> list[str]:
    letter = side[0]
    capital = side.title()
    return [
        f"{side}_{part}",
        f"{side}-{part}",
        f"{capital} {part.title()}",
        f"{part} ({side})",
        f"{part}_{letter}",
        f"{part.title()}{capital}",
        f"{letter.upper()}{part.title()}",
        f"{letter}{part}",
        f"{letter}_{part[:3]}",
        f"{side}{part.title()}",
        f"{side}_{part}".upper(),
        f"{letter.upper()}. {part}",
        f"07_{side}_{part}",
        f"person/{side} {part} joint",
    ]


@pytest.mark.parametrize("joint", COCO17.joints)
def test_the_usual_spellings_of_each_joint_are_understood(joint):
    names = spelled(*joint.split("_")) if "_" in joint else ["nose", "Nose", "NOSE", "nose tip"]
    assert {name: joint_of(name) for name in names} == dict.fromkeys(names, joint)


@pytest.mark.parametrize(
    "name",
    "Neck MidHip LBigToe left_eye_inner LEFT_EYE_OUTER left_heel left_foot_index head_top wrist 1 "
    "17 left_hand body_center pelvis thorax left left_left_knee shoulder 左肩".split()
    + ["mouth (left)", "left eye (inner)", "", None, 5],
)
def test_other_joints_are_not_taken_for_those_of_coco(name):
    assert joint_of(name) is None


@pytest.mark.parametrize("style", range(14))
def test_a_skeleton_in_any_spelling_is_read_whole(tmp_path, export, style):
    data, images = export
    names = [spelled(*j.split("_"))[style] if "_" in j else j for j in COCO17.joints]
    data["categories"][0]["keypoints"] = names
    people, _, notes = read(write(tmp_path / "own", data, images))
    unchanged(people, data)
    assert notes == []


def test_joints_that_are_not_known_are_reported_by_name(tmp_path, export):
    data, images = export
    data["categories"][0]["keypoints"][0] = "belly button"
    folder = write(tmp_path / "own", data, images)
    people, _, notes = read(folder)
    assert not any(p.joint_known[0] for p in people) and all(
        p.joint_known[1:].all() for p in people
    )
    assert any("belly button" in note for note in notes)
    assert any(note.endswith("does not name: nose") for note in notes)
    with pytest.warns(UserWarning, match="COCO-17") as warned:
        list(datasets.read("own", folder, "train"))
    assert [str(warning.message) for warning in warned] == notes


def test_a_skeleton_without_any_known_joint_is_refused_with_the_names(tmp_path, export):
    data, images = export
    data["categories"][0]["keypoints"] = [str(number) for number in range(1, 18)]
    text = error_of(write(tmp_path / "own", data, images))
    assert "category 'person': none of its keypoints (1, 2, 3, 4, 5, ...)" in text
    assert all(joint in text for joint in COCO17.joints)


@pytest.mark.parametrize("names", ["nose,left_eye", {"0": "nose"}, 17])
def test_names_that_are_not_a_list_are_refused(tmp_path, export, names):
    data, images = export
    data["categories"][0]["keypoints"] = names
    assert "none of its keypoints" in error_of(write(tmp_path / "own", data, images))


def test_two_names_of_one_joint_are_refused(tmp_path, export):
    data, images = export
    data["categories"][0]["keypoints"][2] = "LEye"
    text = error_of(write(tmp_path / "own", data, images))
    assert "2 of its keypoints are the left_eye: left_eye, LEye" in text


# ---- categories ----------------------------------------------------------------------------------


def other(data: dict, category: dict, **annotation) -> dict:
    """One more category, with one annotation."""
    data["categories"].append({"id": 2, **category})
    entry = {"id": 99, "image_id": 1, "category_id": 2, "bbox": [1, 1, 40, 40], "area": 900}
    return {**data, "annotations": [*data["annotations"], {**entry, **annotation}]}


@pytest.mark.parametrize(
    ("category", "annotation"),
    [
        ({"name": "ball"}, {}),
        ({"name": "ball"}, {"keypoints": []}),
        ({"name": "car", "keypoints": ["wheel", "roof"]}, {"keypoints": [1, 1, 2] * 2}),
        (
            {"name": "hand", "keypoints": [f"h{i}" for i in range(21)]},
            {"keypoints": [1, 1, 2] * 21},
        ),
        ({"name": "dog", "keypoints": list(COCO17.joints)}, {"keypoints": [1, 1, 2] * K}),
        ({"name": "dog", "keypoints": ["nose", "LEye"]}, {"keypoints": "broken", "image_id": 77}),
    ],
)
def test_other_categories_are_filtered_and_counted(tmp_path, export, category, annotation):
    data, images = export
    more = other(data, category, **annotation)
    people, filtered, notes = read(write(tmp_path / "own", more, images))
    unchanged(people, data)
    assert filtered == {"of another category": 1} and notes == []


def test_a_category_that_is_not_used_changes_nothing(tmp_path, export):
    data, images = export
    data["categories"].append({"id": 2, "name": "referee", "keypoints": ["nose", "nose"]})
    people, filtered, _ = read(write(tmp_path / "own", data, images))
    unchanged(people, data)
    assert filtered == {}


def test_boxes_next_to_skeletons_are_filtered(tmp_path, export):
    """As Label Studio exports them: `person` are boxes, and the skeletons are called `default`."""
    data, images = export
    data["categories"][0]["name"] = "default"
    more = other(data, {"name": "person"})
    people, filtered, notes = read(write(tmp_path / "own", more, images))
    unchanged(people, data)
    assert filtered == {"of another category": 1}
    assert len(notes) == 1 and "'default' is read as people" in notes[0]


def test_two_kinds_of_people_are_read_both(tmp_path, export):
    data, images = export
    data["categories"][0]["name"] = "man"
    data["categories"].append({"id": 2, "name": "Woman", "keypoints": list(COCO17.joints)})
    data["annotations"][1]["category_id"] = 2
    unchanged(read(write(tmp_path / "own", data, images))[0], data)


@pytest.mark.parametrize("named", [True, False])
def test_several_skeletons_of_which_none_is_called_person_are_refused(tmp_path, export, named):
    data, images = export
    joints = {"keypoints": list(COCO17.joints)} if named else {}
    data["categories"] = [{"id": 1, "name": "player", **joints}, {"id": 2, "name": "b", **joints}]
    data["annotations"][1]["category_id"] = 2
    text = error_of(write(tmp_path / "own", data, images))
    assert "categories 'player', 'b' have" in text and "person" in text


def test_the_far_larger_skeleton_is_that_of_people(tmp_path, export):
    data, images = export
    data["categories"][0]["name"] = "body"
    face = {"name": "face", "keypoints": list(COCO17.joints[:5])}
    people, filtered, _ = read(
        write(tmp_path / "own", other(data, face, keypoints=[1, 1, 2] * 5), images)
    )
    unchanged(people, data)
    assert filtered == {"of another category": 1}


@pytest.mark.parametrize("categories", [..., None, []])
def test_without_categories_all_are_people(tmp_path, export, categories):
    data, images = export
    data["categories"] = categories
    if categories is ...:
        del data["categories"]
    unchanged(read(write(tmp_path / "own", data, images))[0], data)


# ---- annotations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({}, "without keypoints"),
        ({"keypoints": None}, "without keypoints"),
        ({"keypoints": [], "bbox": [0, 0, 0, 0], "num_keypoints": 0}, "without keypoints"),
        ({"keypoints": [0] * 51}, "no labelled joint"),
        ({"iscrowd": 1, "segmentation": {"counts": [3, 2], "size": [5, 1]}}, "crowd"),
        ({"iscrowd": True, "keypoints": [1, 2], "bbox": "x"}, "crowd"),
        ({"iscrowd": "1", "keypoints": [0] * 51}, "crowd"),
    ],
)
def test_annotations_that_are_not_poses_are_filtered_and_counted(tmp_path, export, entry, reason):
    data, images = export
    more = [*data["annotations"], {"id": 99, "image_id": 1, "category_id": 1, **entry}]
    folder = write(tmp_path / "own", {**data, "annotations": more}, images)
    people, filtered, _ = read(folder)
    unchanged(people, data)
    assert filtered == {reason: 1}


@pytest.mark.parametrize("value", [..., None])
def test_fields_that_are_not_needed_may_be_absent_or_null(tmp_path, export, value):
    data, images = export
    for entries, keys in (
        (data["annotations"], ("area", "bbox", "iscrowd", "num_keypoints")),
        (data["images"], ("width", "height")),
    ):
        for entry in entries:
            for key in keys:
                entry[key] = value
                if value is ...:
                    del entry[key]
    people, filtered, _ = read(write(tmp_path / "own", data, images))
    unchanged(people, data)
    assert filtered == {} and all(p.bbox is None and p.area == 0 for p in people)


@pytest.mark.parametrize("xy", [[None, None], [float("nan")] * 2, [1e9, -1e9], ["nan", "inf"]])
def test_coordinates_at_v_0_mean_nothing(tmp_path, export, xy):
    data, images = export
    data["annotations"][0]["keypoints"][3:6] = [*xy, 0]
    people, _, _ = read(write(tmp_path / "own", data, images))
    assert people[0].keypoints[1].tolist() == [0, 0]
    assert people[0].keypoints_visible[1] == 0 and people[0].joint_known[1]


def test_a_joint_of_three_gaps_is_not_known(tmp_path, export):
    data, images = export
    data["annotations"][0]["keypoints"][:6] = [None] * 3 + [float("nan")] * 3
    (person, _), _, _ = read(write(tmp_path / "own", data, images))
    assert person.joint_known.tolist() == [False] * 2 + [True] * 15
    assert not person.keypoints_visible[:2].any()


def test_numbers_may_be_spelled_and_nested(tmp_path, export):
    data, images = export
    written = json.loads(json.dumps(data))
    first, second = written["annotations"]
    first["keypoints"] = [str(value) for value in first["keypoints"]]
    first["bbox"] = [str(value) for value in first["bbox"]]
    first["area"] = "900.0"
    second["keypoints"] = np.reshape(second["keypoints"], (K, 3)).tolist()
    for image in written["images"]:
        image["width"] = "160"
        image["height"] = 120.0
    people, _, _ = read(write(tmp_path / "own", written, images))
    unchanged(people, data)
    assert people[0].area == 900 and people[0].image_size == (160, 120)


@pytest.mark.parametrize("kind", [str, float, lambda number: number - 1])
def test_ids_of_mixed_type_are_the_same_id(tmp_path, export, kind):
    data, images = export
    for image in data["images"]:
        image["id"] = kind(image["id"])
    data["categories"][0]["id"] = "1"
    if kind not in (str, float):
        for annotation in data["annotations"]:
            annotation["image_id"] -= 1
    unchanged(read(write(tmp_path / "own", data, images))[0], data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": [1.0] * 34}, "keypoints hold 34 numbers, expected 51"),
        ({"keypoints": [[1.0] * 17] * 3}, "nested numbers, expected 51"),
        ({"keypoints": {"nose": [1, 2, 2]}}, "not a list of numbers"),
        ({"keypoints": [1, 2, 0.9] * 17}, "v is [0.9], expected 0, 1 or 2"),
        ({"keypoints": [1, 2, None] * 17}, "v is [nan"),
        ({"keypoints": [None, 2, 2] * 17}, "keypoints hold NaN, infinity, null"),
        ({"keypoints": [1, 2, 2] * 16 + [1, 1e9, 2]}, "numbers beyond any image"),
        ({"category_id": None}, "unknown category_id None"),
        ({"category_id": 7}, "unknown category_id 7"),
        ({"image_id": [1]}, "unknown image_id [1]"),
        ({"id": float("nan")}, "has the id nan"),
        ({"bbox": [1, 2, float("nan"), 4]}, "bbox holds NaN"),
        ({"bbox": [1, 2, -3, 4]}, "empty box"),
        ({"area": -1}, "area is -1"),
        ({"state": "l" * 16}, "is not a string of 17 letters"),
        ({"state": "l" * 16 + "x"}, "state holds x"),
        ({"state": "l" * 16 + "o"}, "state 'o' of joint 16 does not fit its v"),
        ({"state": 5}, "is not a string of 17 letters"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_can_be_skipped(tmp_path, export, change, message):
    data, images = export
    data["annotations"][1] |= change
    folder = write(tmp_path / "own", data, images)
    text = error_of(folder)
    assert message in text and "export.json, annotation" in text
    assert not any(word in text for word in ("KeyError", "TypeError", "int()", "codec"))
    skipped: list[dict] = []
    assert len(list(datasets.read("own", folder, "train", skipped=skipped))) == 1
    assert len(skipped) == 1 and message in skipped[0]["problem"]


def test_the_state_tells_unsure_joints_from_those_outside(tmp_path, export):
    data, images = export
    joints = data["annotations"][0]["keypoints"]
    joints[3:9] = [0] * 6
    data["annotations"][0]["state"] = "louu" + "l" * 13
    people, _, _ = read(write(tmp_path / "own", data, images))
    assert people[0].keypoints_visible[1:4].tolist() == [0, 0, 0], "an unsure joint has no label"
    assert people[0].joint_known[:4].tolist() == [True, True, False, False]
    assert people[0].labelled[4:].all() and people[0].joint_known[4:].all()
    assert people[1].joint_known.all(), "without a state nothing is unsure"


@pytest.mark.realdata
@pytest.mark.parametrize(("split", "people"), [("train", 1380), ("val", 246)])
def test_the_webcam_labels_have_unsure_joints(realdata, split, people):
    found, filtered, notes = read(realdata / "webcam_people", "coco", split)
    path, _ = coco.find(realdata / "webcam_people", split)
    letters = "".join(a["state"] for a in json.loads(path.read_bytes())["annotations"])
    assert len(found) == people and not filtered and not notes
    assert sum(int((~p.joint_known).sum()) for p in found) == letters.count("u") > 0
    outside = sum(int((p.joint_known & ~p.labelled).sum()) for p in found)
    assert outside == letters.count("o") > 0


# ---- folders and file names ----------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["own", "coco"])
@pytest.mark.parametrize(
    ("json_file", "names", "files"),
    [
        ("annotations/person_keypoints_default.json", "p1.jpg p2.jpg", "images/default/"),
        ("annotations/person_keypoints_Train.json", "p1.jpg p2.jpg", "images/Train/"),
        ("result.json", "images/p1.jpg images/p2.jpg", "images/"),
        ("result.json", r"images\p1.jpg images\p2.jpg", "images/"),
        ("result.json", "../images/p1.jpg ../images/p2.jpg", "images/"),
        ("result.json", "images/0a1b2c3d-p1.jpg images/4e5f6a7b-p2.jpg", "images/"),
        ("result.json", "http://h:80/data/upload/3/p1.jpg http://h/p2.jpg", "images/"),
        ("result.json", "/data/local-files/?d=m/p1.jpg /data/p2.jpg", "images/"),
        ("train/_annotations.coco.json", "p1.jpg p2.jpg", "train/"),
        ("_annotations.coco.json", "p1.jpg p2.jpg", ""),
        (".exports/coco-1.json", "p1.jpg p2.jpg", ""),
        ("mine.json", "/datasets/mine/p1.jpg /datasets/mine/p2.jpg", "images/"),
        ("mine.json", r"C:\Users\me\p1.jpg C:\Users\me\p2.jpg", "images/"),
        ("annotations/person_keypoints_default.json", "p1.jpg p2.jpg", ""),
        ("annotations/person_keypoints_default.json", "p1.jpg p2.jpg", "photos/"),
        ("mine.json", "P1.JPG p2.JPEG", "Images/"),
        ("mine.json", r"day1\p1.jpg day2\p2.jpg", "images/"),
    ],
)
def test_the_layouts_of_annotation_tools_are_found(
    tmp_path, export, dataset, json_file, names, files
):
    data, images = export
    names = names.split()
    for image, name in zip(data["images"], names, strict=True):
        image["file_name"] = name
    on_disk = [f"{files}p1.jpg", f"{files}p2.{'jpeg' if 'JPEG' in names[1] else 'jpg'}"]
    if "day1" in names[0]:
        on_disk = ["images/day1/p1.jpg", "images/day2/p2.jpg"]
    folder = write(tmp_path / "set", data, images, on_disk, json_file)
    people, _, _ = read(folder, dataset)
    unchanged(people, data)
    assert [p.image.read_bytes() for p in people] == images


def test_the_split_picks_among_several_files(tmp_path, export):
    data, images = export
    for split in ("train", "valid", "test"):
        data["images"][0]["file_name"] = f"{split}.jpg"
        files = [f"{split}/{split}.jpg", f"{split}/p2.jpg"]
        write(tmp_path / "set", data, images, files, f"{split}/_annotations.coco.json")
    for split, folder in (("train", "train"), ("val", "valid"), ("test", "test")):
        for dataset in ("own", "coco"):
            people, _, _ = read(tmp_path / "set", dataset, split)
            assert {p.image.parent.name for p in people} == {folder}


def test_keypoints_are_preferred_to_other_annotations_of_the_same_images(tmp_path, export):
    data, images = export
    folder = write(tmp_path / "own", data, images, name="annotations/person_keypoints_default.json")
    for kind in ("instances", "captions"):
        other = {"images": data["images"], "annotations": [], "categories": []}
        write(folder, other, images, name=f"annotations/{kind}_default.json")
    unchanged(read(folder)[0], data)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path, export):
    data, images = export
    files = ["images/day1/p.jpg", "images/day2/p.jpg"]
    for image, day in zip(data["images"], ("Day1", "Day2"), strict=True):
        image["file_name"] = f"{day}/p.jpg"
    folder = write(tmp_path / "own", data, images, files)
    assert [p.image.read_bytes() for p in read(folder)[0]] == images
    for image, day in zip(data["images"], ("day1", "day2"), strict=True):
        image |= {"file_name": "p.jpg", "path": f"/datasets/mine/{day}/p.jpg"}
    write(folder, data, images, files)
    assert [p.image.read_bytes() for p in read(folder)[0]] == images, "COCO Annotator's path"
    for image in data["images"]:
        del image["path"]
    write(folder, data, images, files)
    assert "several files" in error_of(folder)


def test_no_image_is_taken_for_another(tmp_path, export):
    data, images = export
    for image, day in zip(data["images"], ("day1", "day2"), strict=True):
        image["file_name"] = f"{day}/p.jpg"
    people, _, _ = read(write(tmp_path / "a", data, images, ["images/day3/p.jpg"]))
    assert not any(p.image.exists() for p in people), "day3 is neither day1 nor day2"
    text = error_of(write(tmp_path / "b", data, images, ["images/p.jpg"]))
    assert "'day2/p.jpg' and 'day1/p.jpg' are both" in text


# ---- image size and EXIF -------------------------------------------------------------------------


def turned(image: bytes) -> bytes:
    """The image as a telephone stores it: on its side, with the EXIF note how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    upright = Image.open(io.BytesIO(image))
    upright.transpose(Image.Transpose.ROTATE_90).save(out, "JPEG", quality=97, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("as_displayed", [True, False])
def test_the_annotated_size_tells_how_an_image_was_turned(tmp_path, export, as_displayed):
    data, images = export
    folder = write(tmp_path / "own", data, [turned(image) for image in images])
    upright = np.array(Image.open(io.BytesIO(images[0])))
    path = folder / "export.json"
    for size in (upright.shape[1::-1], upright.shape[:2]):
        for image in data["images"]:
            image |= {"width": size[0], "height": size[1]}
        path.write_text(json.dumps(data))
        person = next(coco.read(path, folder / "images", as_displayed=as_displayed))
        assert person.load_image().shape[1::-1] == size
    for image in data["images"]:
        image |= {"width": 80, "height": 60}
    path.write_text(json.dumps(data))
    person = next(coco.read(path, folder / "images", as_displayed=as_displayed))
    with pytest.raises(DataError, match="but its annotations are for 80x60"):
        person.load_image()


# ---- formats that are not read -------------------------------------------------------------------

LABELME = {"version": "5.4", "flags": {}, "shapes": [], "imagePath": "p1.jpg"}
VIA = {"p1.jpg9": {"filename": "p1.jpg", "size": 9, "regions": []}}
TASK = {"id": 1, "annotations": [{"result": []}], "data": {"image": "p1.jpg"}}
TASK_MIN = {"id": 1, "image": "p1.jpg", "kp": [{"keypointlabels": ["nose"]}], "annotator": 1}
YOLO = b"0 0.5 0.5 0.2 0.4 " + b"0.5 0.5 2 " * 17 + b"\n"


@pytest.mark.parametrize("dataset", ["own", "coco"])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p1.json", LABELME, "labelme"),
        ("images/p1.json", LABELME, "labelme"),
        ("via.json", VIA, "VIA"),
        ("via.json", {"_via_settings": {}, "_via_img_metadata": VIA}, "VIA"),
        ("project-1.json", [TASK], "Label Studio"),
        ("project-1.json", [TASK_MIN], "Label Studio"),
        ("labels/p1.txt", YOLO, "YOLO"),
        ("labels/train/p1.txt", YOLO, "YOLO"),
        ("annotations.xml", b"<?xml version='1.0'?><annotations/>", "XML"),
        ("person_keypoints.json", gzip.compress(b"{}", mtime=0), "gzip"),
        ("person_keypoints.json.gz", gzip.compress(b"{}", mtime=0), "unpack"),
        ("export.zip", b"PK\x03\x04", "unpack"),
        ("result.json", [{"image_id": 1, "keypoints": [], "score": 1}], "results file"),
        ("p1_keypoints.json", {"version": 1.3, "people": []}, "OpenPose"),
    ],
)
def test_other_formats_are_refused_by_name(tmp_path, export, dataset, name, content, said):
    text = error_of(write(tmp_path / "set", content, export[1], name=name), dataset)
    assert said in text and name.rpartition("/")[2] in text


def test_several_files_of_another_format_are_refused_by_name(tmp_path, export):
    folder = write(tmp_path / "own", LABELME, export[1], name="p1.json")
    write(folder, LABELME, export[1], name="p2.json")
    assert "labelme" in error_of(folder)


def test_the_one_parser_is_used_everywhere(tmp_path, export):
    """Every image and person, whatever is filtered later."""
    data, images = export
    file = coco_json.parse(write(tmp_path / "own", data, images) / "export.json")
    assert [image.file_name for image in file.images.values()] == ["p1.jpg", "p2.jpg"]
    assert [person.id for person in file.people()] == [1, 2]
    assert file.categories[1].from_coco17(np.eye(K)).tolist() == np.eye(K).tolist()
