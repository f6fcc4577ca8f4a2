"""The command line `data_scripts/build_tfrecords.py`: each data set, each option, and bad input in
one clear line.
"""

import importlib.util
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_data

from posekit import records

SCRIPT = Path(__file__).parents[2] / "data_scripts" / "build_tfrecords.py"

_spec = importlib.util.spec_from_file_location("build_tfrecords", SCRIPT)
build_tfrecords = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build_tfrecords)


def run(*arguments) -> int:
    return build_tfrecords.main([*map(str, arguments), "--workers", "1"])


def minidome(root: Path) -> Path:
    """A sequence as MiniDome writes it: COCO JSON whose file names start from the sequence's
    folder.
    """
    path, data = tiny_data.coco(root, photos=3, people=2)
    (root / "hdImgs" / "00_00").mkdir(parents=True)
    for image in data["images"]:
        (root / "train2017" / image["file_name"]).rename(
            root / "hdImgs" / "00_00" / image["file_name"]
        )
        image["file_name"] = f"hdImgs/00_00/{image['file_name']}"
    (root / "train2017").rmdir()
    path.write_text(json.dumps(data))
    path.rename(path.with_name(f"person_keypoints_{root.name}.json"))
    return root


def make(name: str, root: Path) -> Path:
    if name == "minidome":
        minidome(root)
    elif name == "coco":
        tiny_data.coco(root, photos=3, people=2)
    elif name == "panoptic":
        tiny_data.panoptic(root)
    else:
        tiny_data.lsp(root, extended=name == "lspet")
    return root


@pytest.mark.parametrize(
    ("name", "people"), [("minidome", 6), ("panoptic", 8), ("coco", 6), ("lsp", 4), ("lspet", 4)]
)
@pytest.mark.parametrize("box", records.BOX_SOURCES)
def test_each_data_set_with_each_box(tmp_path, capsys, name, people, box):
    src = make(name, tmp_path / "src")
    assert run(name, src, tmp_path / "out", "--box", box, "--shards", 2) == 0
    out, err = capsys.readouterr()
    assert re.match(rf"{people} people in 2 shards, \d+\.\d MB, \d+\.\d s \(\d+ people/s\): ", out)
    assert "people: 100%" in err, "a progress bar, on stderr"
    written = list(records.read_records(tmp_path / "out"))
    assert len(written) == people and {p.dataset for p in written} == {name}
    manifest = records.read_manifest(tmp_path / "out")
    assert (manifest["dataset"], manifest["split"], manifest["box"]) == (name, "train", box)
    assert [s["file"] for s in manifest["shards"]] == [
        f"{name}-train.tfrecord-0000{i}-of-00002" for i in (0, 1)
    ]


def test_the_options_reach_the_records(tmp_path):
    src = make("lsp", tmp_path / "src")
    options = ("--context", 1, "--box-px", 128, "--shards", 3, "--seed", 5)
    assert run("lsp", src, tmp_path / "out", *options) == 0
    manifest = records.read_manifest(tmp_path / "out")
    assert (manifest["context"], manifest["box_px"], manifest["stored_px"], manifest["seed"]) == (
        1,
        128,
        128,
        5,
    )
    assert len(manifest["shards"]) == 3


def test_what_is_left_out_is_told(tmp_path, capsys):
    src = make("lsp", tmp_path / "src")
    (src / "exclude.txt").write_text("im0002.jpg\n")
    assert run("lsp", src, tmp_path / "train") == 0
    assert capsys.readouterr().out.splitlines()[1] == "left out: 1 exclude.txt"
    assert records.read_manifest(tmp_path / "train")["filtered"] == {"exclude.txt": 1}


def test_lsp_is_split_by_file_number(tmp_path):
    tiny_data.lsp(tmp_path / "src", [1, 900, 901, 1000, 1001])
    for split, people in (("train", 2), ("val", 2), ("test", 1)):
        assert run("lsp", tmp_path / "src", tmp_path / split, "--split", split) == 0
        assert records.read_manifest(tmp_path / split)["people"] == people


def test_it_runs_from_anywhere_and_workers_change_no_byte(tmp_path):
    tiny_data.coco(tmp_path / "src", photos=20, people=2)
    for workers in ("1", "2"):
        done = subprocess.run(
            [
                sys.executable,
                SCRIPT,
                "coco",
                "src",
                f"out{workers}",
                "--workers",
                workers,
                "--shards",
                "2",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    first, second = (
        {p.name: p.read_bytes() for p in (tmp_path / out).iterdir()} for out in ("out1", "out2")
    )
    assert first == second and len(first) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
def test_told_to_end_it_leaves_nothing(tmp_path):
    path, data = tiny_data.coco(tmp_path / "src", photos=20, people=2)
    data["annotations"] = [
        {**a, "id": a["id"] + 1000 * i} for i in range(200) for a in data["annotations"]
    ]
    path.write_text(json.dumps(data))
    command = [sys.executable, SCRIPT, "coco", "src", "out", "--workers", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    shown = ""
    while not re.search(r" [1-9]\d*/8000", shown):
        more = process.stderr.read(20)
        assert more, shown
        shown += more
    assert (tmp_path / "out" / ".partial").is_dir()
    process.send_signal(signal.SIGTERM)
    shown += process.stderr.read()
    assert process.wait() == 130 and shown.endswith("stopped: nothing was kept\n")
    assert not (tmp_path / "out").exists()


# ---- bad input: one line that names the file and the fix, exit code 2, nothing left behind -------


def missing_jpeg(src):
    path = sorted(src.rglob("*.jpg"))[1]
    path.unlink()
    return re.escape(str(path)) + ": cannot read the image: No such file"


def truncated_jpeg(src):
    path = sorted(src.rglob("*.jpg"))[1]
    path.write_bytes(path.read_bytes()[:400])
    return re.escape(str(path)) + ": the JPEG is truncated"


def no_picture(src):
    path = sorted(src.rglob("*.jpg"))[1]
    path.write_bytes(b"<html>404</html>")
    return re.escape(str(path)) + ": not an image"


def broken_json(src):
    path = next(src.rglob("*.json"))
    path.write_text(path.read_text()[:-30])
    return re.escape(str(path)) + ": broken JSON at line 1"


def edit_json(src, change):
    path = next(src.rglob("*.json"))
    data = json.loads(path.read_text())
    change(data["annotations"][2])
    path.write_text(json.dumps(data))
    return re.escape(str(path)) + ", annotation 3 "


def nan_coordinate(src):
    return (
        edit_json(src, lambda a: a["keypoints"].__setitem__(0, float("nan")))
        + r".*: keypoints hold NaN"
    )


def empty_box(src):
    return edit_json(src, lambda a: a["bbox"].__setitem__(3, 0)) + ".*: empty box"


@pytest.mark.parametrize(
    "damage", [missing_jpeg, truncated_jpeg, no_picture, broken_json, nan_coordinate, empty_box]
)
@pytest.mark.parametrize("name", ["coco", "minidome"])
def test_bad_coco_input(tmp_path, capsys, name, damage):
    src = make(name, tmp_path / "src")
    message = damage(src)
    assert run(name, src, tmp_path / "out") == 2
    check_error(capsys, message, tmp_path / "out")


def check_error(capsys, message: str, out: Path) -> None:
    stdout, stderr = capsys.readouterr()
    errors = [line for line in stderr.splitlines() if "people:" not in line and line.strip()]
    assert stdout == "" and len(errors) == 1, stderr
    assert re.match(f"error: {message}.*\\(.+\\)$", errors[0]), errors[0]
    assert not out.exists()


def wrong_joints_mat(src):
    tiny_data.save_joints(src, np.zeros((2, 14, 4)))
    return re.escape(str(src / "joints.mat")) + r": expected 'joints' of shape .*, got \(2, 14, 4\)"


def junk_joints_mat(src):
    (src / "joints.mat").write_bytes(b"junk")
    return re.escape(str(src / "joints.mat")) + ": cannot be read as a MATLAB file"


def nan_in_joints_mat(src):
    import scipy.io

    joints = scipy.io.loadmat(src / "joints.mat")["joints"]
    joints[1, 1, 1] = np.nan
    tiny_data.save_joints(src, joints)
    return re.escape(str(src / "joints.mat")) + r", column 2 \(im0+2.jpg\): holds NaN"


def one_photo_too_few(src):
    sorted(src.rglob("*.jpg"))[-1].unlink()
    return re.escape(str(src / "joints.mat")) + ": 4 columns of joints, but 3 images"


@pytest.mark.parametrize(
    "damage",
    [wrong_joints_mat, junk_joints_mat, nan_in_joints_mat, one_photo_too_few, truncated_jpeg],
)
@pytest.mark.parametrize("name", ["lsp", "lspet"])
def test_bad_lsp_input(tmp_path, capsys, name, damage):
    src = make(name, tmp_path / "src")
    if damage is nan_in_joints_mat and name == "lspet":
        joints = tiny_data.lsp(src, extended=True).transpose(1, 2, 0)
        joints[1, 1, 1] = np.nan
        tiny_data.save_joints(src, joints)
        message = re.escape(str(src / "joints.mat")) + r", column 2 \(im00002.jpg\): holds NaN"
    else:
        message = damage(src)
    assert run(name, src, tmp_path / "out") == 2
    check_error(capsys, message, tmp_path / "out")


def bad_pose(src):
    path = sorted(src.glob("hdPose3d*/*.json"))[1]
    data = json.loads(path.read_text())
    data["bodies"][0]["joints19"][5] = float("nan")
    path.write_text(json.dumps(data))
    return re.escape(str(path)) + ", body 0: joints19 hold NaN"


@pytest.mark.parametrize("damage", [truncated_jpeg, broken_json, bad_pose])
def test_bad_panoptic_input(tmp_path, capsys, damage):
    src = make("panoptic", tmp_path / "src")
    message = damage(src)
    assert run("panoptic", src, tmp_path / "out") == 2
    check_error(capsys, message, tmp_path / "out")


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    src = make("coco", tmp_path / "src")
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "out"
    assert run("coco", src, out) == 2
    check_error(capsys, re.escape(str(out)) + ": cannot be written: Not a directory", out)
    assert (tmp_path / "file").read_text() == "in the way"


def test_records_are_not_overwritten(tmp_path, capsys):
    src = make("coco", tmp_path / "src")
    assert run("coco", src, tmp_path / "out") == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    assert run("coco", src, tmp_path / "out") == 2
    assert "already holds records" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("coco", "{src}", "{out}", "--split", "test"),
            "no COCO keypoint annotations for split 'test'",
        ),
        (("lsp", "{src}", "{out}"), "joints.mat: no such file"),
        (("coco", "{src}/gone", "{out}"), "no such folder"),
        (("coco", "{src}", "{out}", "--context", "0.5"), "context: is 0.5"),
        (("coco", "{src}", "{out}", "--shards", "0"), "shards: is 0"),
    ],
)
def test_wrong_arguments(tmp_path, capsys, arguments, message):
    src = make("coco", tmp_path / "src")
    assert run(*(a.format(src=src, out=tmp_path / "out") for a in arguments)) == 2
    check_error(capsys, f".*{re.escape(message)}", tmp_path / "out")


@pytest.mark.parametrize(
    "arguments", [("imagenet", "a", "b"), ("coco", "a"), ("coco", "a", "b", "--box", "x")]
)
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as left:
        run(*arguments)
    assert left.value.code == 2 and "usage:" in capsys.readouterr().err


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "folder", "split", "people"),
    [
        ("coco", "coco", "val", 257),
        ("lsp", "lsp", "val", 100),
        ("coco", "webcam_stills", "val", 15),
    ],
)
def test_real_photos(tmp_path, realdata, name, folder, split, people):
    assert run(name, realdata / folder, tmp_path / "out", "--split", split) == 0
    written = list(records.read_records(tmp_path / "out"))
    assert len(written) == people and all(p.labelled.any() for p in written)
