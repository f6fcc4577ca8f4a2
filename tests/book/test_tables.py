"""Chapter 02's tables: made anew from the real annotations they are the same, and the tool finds
what is planted in made-up ones."""

import importlib.util
import io
import json
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "book" / "tools" / "tables.py"
spec = importlib.util.spec_from_file_location("book_tables", TOOL)
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


def committed(name: str) -> dict:
    return json.loads((ROOT / "book" / "tables" / f"{name}.json").read_text(encoding="utf-8"))


def archive_of(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "labels.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def line(size, box, joints) -> str:
    """A person as the labels have it: box (x, y, w, h) and joints (x, y, v) in pixels, written by
    width and height."""
    w, h = size
    x, y, bw, bh = box
    values = [0, (x + bw / 2) / w, (y + bh / 2) / h, bw / w, bh / h]
    for joint in joints:
        values += [joint[0] / w, joint[1] / h, joint[2]]
    return " ".join(f"{v:.6f}" if v else "0" for v in values) + "\n"


def standing(x: float, y: float) -> list[tuple]:
    """Seventeen joints of an upright person around (x, y), all visible."""
    return [(x + 7 * (k % 2) - 3 + k // 4, y - 80 + 10 * k + k % 3, 2) for k in range(17)]


@pytest.fixture
def made(tmp_path):
    hidden = [(x, y, 1) if k == 9 else (x, y, v) for k, (x, y, v) in enumerate(standing(300, 200))]
    missing = [(0, 0, 0) if k >= 15 else joint for k, joint in enumerate(standing(100, 330))]
    text = line((640, 427), (250, 100, 100, 200), hidden) + line(
        (640, 427), (60, 228, 80, 199), missing
    )
    return archive_of(
        tmp_path,
        {
            "labels/train2017/a.txt": text,
            "labels/val2017/b.txt": line((500, 375), (1, 1, 40, 50), hidden),
        },
    )


def test_counts_of_made_up_labels(made):
    table = tables.coco(made)
    assert table["people"] == {"train2017": 2, "val2017": 1} and table["people_a_photo"] == [
        0,
        1,
        1,
    ]
    assert table["flags"][9] == [0, 2, 1] and table["flags"][16] == [1, 0, 2]
    assert table["labelled_a_person"][17] == 2 and table["labelled_a_person"][15] == 1
    assert table["photos_of_known_size"] == 2 and table["people_of_known_size"] == 3
    assert (
        table["touches"] == {"left": 1, "top": 1, "right": 0, "bottom": 1}
        and table["touches_any"] == 2
    )
    assert table["missing_at_the_bottom_edge"][15] == 1 and sum(table["missing_elsewhere"]) == 0
    assert table["trunk_angle"][0] == 3
    assert sum(map(sum, table["places"][9])) <= 3 and sum(map(sum, table["box_centre"])) == 3
    assert sum(table["box_longer_side"]) == 3


@pytest.mark.parametrize("side", [333, 427, 480, 640])
def test_a_photos_size_comes_back_from_its_joints(side):
    pixels = np.random.default_rng(side).integers(0, side, (4, 17))
    shares = np.round(pixels / side, 6)
    known = tables.photo_sizes(shares, np.ones((4, 17), bool), np.array([0, 0, 1, 1]), 2)
    assert known.tolist() == [side, side]
    pixels = np.random.default_rng(side).integers(0, side // 2, (1, 17))
    shares = np.round(pixels / (side // 2), 6)
    every = np.ones((1, 17), bool)
    assert tables.photo_sizes(shares, every, np.array([0]), 1).tolist() == [0], (
        "twice as many pixels would do, too"
    )
    even = np.full((1, 17), 0.5)
    assert tables.photo_sizes(even, np.ones((1, 17), bool), np.array([0]), 1).tolist() == [0], (
        "many sides would do"
    )


def test_lines_that_are_no_labels_are_named(tmp_path, capsys):
    archive = archive_of(tmp_path, {"labels/train2017/a.txt": "0 0.5 0.5\n"})
    with pytest.raises(tables.DataError, match=r"a\.txt: 3 numbers, expected 56"):
        tables.coco(archive)
    assert (
        tables.main(["coco", str(tmp_path / "none.tar.xz")]) == 2
        and "none.tar.xz" in capsys.readouterr().err
    )
    (tmp_path / "bad.tar.xz").write_bytes(lzma.compress(b"no tar"))
    assert tables.main(["coco", str(tmp_path / "bad.tar.xz")]) == 2


@pytest.mark.parametrize("name", ["coco", "leeds"])
def test_a_table_is_small_and_says_where_it_is_from(name):
    path = ROOT / "book" / "tables" / f"{name}.json"
    table = committed(name)
    assert path.stat().st_size <= 100_000
    assert (
        all(table[key] for key in ("source", "licence", "command"))
        and f"tables.py {name}" in table["command"]
    )
    assert all(len(digest) == 64 for digest in table["input"].values())
    assert path.read_text(encoding="utf-8") == tables.to_text(table)


@pytest.mark.slow
@pytest.mark.realdata
def test_coco_made_anew_is_the_same(realdata):
    assert tables.coco(realdata / "coco_pose_labels" / "labels.tar.xz") == committed("coco")
    assert committed("coco")["people"] == {
        "train2017": 149_813,
        "val2017": 6352,
    }  # as COCO counts them


@pytest.mark.realdata
def test_leeds_made_anew_is_the_same(realdata):
    assert tables.leeds(realdata / "lsp", realdata / "lspet") == committed("leeds")


@pytest.mark.slow
@pytest.mark.realdata
def test_sizes_of_real_photos_have_their_proportions(realdata):
    """The sides that the joints give away, against width and height in COCO's own annotations of
    some photos."""
    rows, photo, names = tables.read_labels(realdata / "coco_pose_labels" / "labels.tar.xz")
    joints = rows[:, 5:].reshape(-1, 17, 3)
    sides = [
        tables.photo_sizes(joints[..., k], joints[..., 2] > 0, photo, len(names)) for k in (0, 1)
    ]
    sizes = {Path(name).stem: size for name, size in zip(names, zip(*sides))}
    compared = 0
    for split in ("train", "val"):
        data = json.loads(
            (realdata / "coco" / "annotations" / f"person_keypoints_{split}2017.json").read_bytes()
        )
        for image in data["images"]:
            width, height = sizes.get(Path(image["file_name"]).stem, (0, 0))
            if width and height:
                shrunk = max(width, height) / max(image["width"], image["height"])
                assert (
                    abs(image["width"] * shrunk - width) <= shrunk
                    and abs(image["height"] * shrunk - height) <= shrunk
                )
                compared += 1
    assert compared > 200


def test_help_shows_the_commands():
    done = subprocess.run(
        [sys.executable, str(TOOL), "--help"], capture_output=True, text=True, check=True
    )
    assert "coco labels.tar.xz" in done.stdout
