"""Each image has its own source id, also where names differ only in suffix or folder."""

import csv
import json

import numpy as np
import tiny_data

from posekit import datasets, records
from posekit.datasets import background, coco, custom, mpii


def test_a_name_without_suffix_is_the_id_where_only_one_image_has_it():
    assert datasets.source_ids(["000000123456.jpg", "b/c.png"]) == {
        "000000123456.jpg": "000000123456",
        "b/c.png": "b/c",
    }


def test_ids_differ_where_names_do():
    names = ["a.jpg", "a.png", "a", "a.jpg.png", "b.jpg", "d/a.jpg", "d.x/a.jpg", "..", "."]
    ids = datasets.source_ids([*names, "a.jpg", ""])
    assert list(ids) == names and len(set(ids.values())) == len(names)
    assert ids["a.jpg"] == "a.jpg" and ids["b.jpg"] == "b" and ids["d/a.jpg"] == "d/a"


def two_suffixes(path, images):
    """Rename the second of two images to the first's name with another suffix."""
    data = json.loads(path.read_text())
    first, second = data["images"][:2]
    old = images / second["file_name"]
    second["file_name"] = first["file_name"].replace(".jpg", ".jpeg")
    old.rename(images / second["file_name"])
    path.write_text(json.dumps(data))
    return first["file_name"], second["file_name"]


def test_coco_images_that_differ_in_their_suffix_are_two(tmp_path):
    path, _ = tiny_data.coco(tmp_path / "coco", photos=3, people=2)
    images = tmp_path / "coco" / "train2017"
    third = [p.source_id for p in coco.read(path, images)][-1]
    names = two_suffixes(path, images)
    people = list(coco.read(path, images))
    ids = [person.source_id for person in people]
    assert set(ids) == {*names, third} and len({p.person_id for p in people}) == 6
    assert {p.image.name for p in people if p.source_id == names[1]} == {names[1]}
    records.write_records(people, tmp_path / "out", "tiny", "train", progress=False)
    assert {p.source_id for p in records.read_records(tmp_path / "out")} == set(ids)


def test_images_of_a_table_that_differ_in_their_suffix_are_two(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    with (tmp_path / "keypoints.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(custom.COLUMNS)
        for name in ("a.jpg", "a.png", "b.jpg"):
            points = tiny_data.spread(rng)
            tiny_data.write_photo(tmp_path / "images" / name, points)
            for joint, (x, y) in zip(custom.COCO17.joints, points, strict=True):
                writer.writerow([name, 1, joint, x, y, 2])
    assert [p.source_id for p in custom.read(tmp_path)] == ["a.jpg", "a.png", "b"]


def test_mpii_images_that_differ_in_their_suffix_are_two(tmp_path):
    entries = [tiny_data.mpii_entry(tmp_path, name) for name in ("a.jpg", "a.png", "b.jpg")]
    (tmp_path / "annot").mkdir()
    (tmp_path / "annot" / "train.json").write_text(json.dumps(entries))
    people = list(mpii.read(tmp_path, "train"))
    assert [p.source_id for p in people] == ["a.jpg", "a.png", "b"]
    assert len({p.person_id for p in people}) == 3


def test_backgrounds_of_one_name_in_two_folders_are_two(tmp_path):
    folder = tmp_path / "images"
    for name in ("x/a.jpg", "y/a.jpg", "y/b.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        tiny_data.write_photo(folder / name, width=400, height=300)
    entries = [
        {"id": i, "file_name": name, "width": 400, "height": 300}
        for i, name in enumerate(("x/a.jpg", "y/a.jpg", "y/b.jpg"))
    ]
    category = {"id": 1, "name": "person", "keypoints": list(custom.COCO17.joints)}
    data = {"images": entries, "annotations": [], "categories": [category]}
    (tmp_path / "person_keypoints.json").write_text(json.dumps(data))
    ids = [sample.person_id for sample in background.read(tmp_path, "train")]
    assert ids == ["x/a.jpg", "y/a.jpg", "b.jpg"]
