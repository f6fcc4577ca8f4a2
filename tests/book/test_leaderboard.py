"""The class project's leaderboard: posekit's own numbers, and one line for a bad file, which leaves
the board as it was."""

import csv
import datetime
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import leaderboard
import numpy as np
import pytest

from posekit import metrics
from posekit.errors import DataError
from posekit.skeleton import COCO17

K = len(COCO17)
MONDAY = datetime.datetime(2026, 3, 2, 9, 30, tzinfo=datetime.UTC)


def people() -> dict:
    """Three people in two images, with what a student must not see: joints, areas, a facing."""
    rng = np.random.default_rng(0)
    annotations = []
    for number, image in enumerate((7, 7, 9), 1):
        joints = rng.uniform(60, 260, (K, 2)).round(1)
        v = np.full(K, 2)
        v[:2] = 0 if number == 1 else 1
        annotations.append(
            {
                "id": number,
                "image_id": image,
                "category_id": 1,
                "keypoints": np.column_stack([joints * (v > 0)[:, None], v]).ravel().tolist(),
                "num_keypoints": int((v > 0).sum()),
                "bbox": [50.0, 50.0, 220.0, 220.0],
                "area": 21000.0,
                "iscrowd": 0,
                "facing_deg": 33.0,
            }
        )
    return {
        "info": {"seed": 12345},
        "images": [
            {"id": 7, "file_name": "a/7.jpg", "width": 640, "height": 360},
            {"id": 9, "file_name": "a/9.jpg", "width": 640, "height": 360},
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}],
        "annotations": annotations,
    }


def detections(off: float = 0.0) -> list[dict]:
    """The true joints of everyone, moved to the right by some pixels."""
    found = []
    for person in people()["annotations"]:
        joints = np.array(person["keypoints"], float).reshape(K, 3)
        joints[:, 0] += off
        entry = {key: person[key] for key in ("image_id", "category_id")}
        found.append({**entry, "keypoints": joints.ravel().tolist(), "score": 0.9 - 0.1 * off / 50})
    return found


@pytest.fixture
def files(tmp_path):
    """A function that writes JSON into a file of the test's folder."""

    def write(name: str, content: object) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def annotations(files) -> Path:
    return files("people.json", people())


@pytest.fixture
def board(tmp_path) -> Path:
    return tmp_path / "board.csv"


def submit(annotations, results, team, board, hours=0, **options):
    now = MONDAY + datetime.timedelta(hours=hours)
    return leaderboard.submit(annotations, results, team, board, now=now, **options)


def test_a_row_holds_the_numbers_of_posekits_evaluate(files, annotations, board):
    results = files("results.json", detections(off=12))
    rows, notes = submit(annotations, results, "Blue team", board)
    expected = metrics.coco_scores(annotations, results)
    assert 0.1 < expected["AP"] < 0.9
    for name in leaderboard.SCORES:
        assert math.isclose(float(rows[-1][name]), expected[name], abs_tol=5e-5)
    assert rows[-1]["time"] == "2026-03-02 09:30:00"
    assert rows[-1]["detections"] == "3" and notes == []
    with board.open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == rows


def test_the_true_joints_score_one(files, annotations, board):
    rows, _ = submit(annotations, files("results.json", detections()), "A", board)
    assert rows[-1]["AP"] == rows[-1]["AR"] == "1.0000"


def test_the_table_ranks_the_best_submission_of_each_team(files, annotations, board):
    good, fair, bad = (files(f"{off}.json", detections(off)) for off in (0, 12, 40))
    submit(annotations, fair, "A", board)
    submit(annotations, bad, "A", board, hours=1)
    submit(annotations, good, "B", board, hours=2)
    rows, notes = submit(annotations, fair, "C", board, hours=3)
    assert notes == ["team A handed in the same file on 2026-03-02 09:30:00 UTC"]
    lines = leaderboard.table(rows).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["rank", "team", "AP", "AP50", "AP75", "AR", "submissions", "best one, UTC"]
    assert [(row[0], row[1], row[-2]) for row in cells[2:]] == [
        ("1", "B", "1"),
        ("2", "A", "2"),
        ("2", "C", "1"),
    ]
    assert cells[2][2] == "1.000" and cells[3][-1] == "2026-03-02 09:30"


def test_submissions_per_day_are_limited(files, annotations, board):
    results = files("results.json", detections())
    submit(annotations, results, "A", board, per_day=1)
    submit(annotations, results, "B", board, per_day=1)
    with pytest.raises(DataError, match=r"team A: has handed in 1 files today, of 1 allowed"):
        submit(annotations, results, "A", board, hours=1, per_day=1)
    rows, _ = submit(annotations, results, "A", board, hours=24, per_day=1)
    assert len(rows) == 3


def entry(**changes) -> list[dict]:
    found = detections()
    found[1] |= changes
    return found


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"annotations": []}, "is not a list"),
        ([], "holds no detection"),
        ([1], "entry 0: has no 'image_id'"),
        ([{"image_id": 7}], "entry 0: has no 'category_id'"),
        (entry(image_id=8), "entry 1: unknown image_id 8"),
        (entry(category_id=2), "entry 1: unknown category_id 2"),
        (entry(keypoints=[1.0] * 34), "entry 1: keypoints has 34 numbers, expected 51"),
        (entry(keypoints=[float("nan")] * 51), "entry 1: keypoints holds NaN"),
        (entry(score="high"), "entry 1: score holds NaN, infinity or no number"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(content, complaint, files, annotations, board, capsys):
    good = files("good.json", detections())
    submit(annotations, good, "A", board)
    before = board.read_bytes()
    bad = files("bad.json", content)
    command = ["score", str(annotations), str(bad), "--team", "B", "--board", str(board)]
    assert leaderboard.main(command) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith(f"error: {bad}") and complaint in err
    assert board.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"[", b"\xff\xfe", b"PK\x03\x04", b"[" * 100_000], ids=range(5)
)
def test_what_is_not_json_is_refused(content, tmp_path, annotations, board, capsys):
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)
    command = ["score", str(annotations), str(bad), "--team", "B", "--board", str(board)]
    assert leaderboard.main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not board.exists()


def test_missing_files_are_named(tmp_path, files, annotations, board, capsys):
    good, none = files("good.json", detections()), tmp_path / "none.json"
    for pair in ((annotations, none), (none, good)):
        command = ["score", *map(str, pair), "--team", "B", "--board", str(board)]
        assert leaderboard.main(command) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"error: {none}: cannot be read") and err.count("\n") == 1
    assert leaderboard.main(["table", str(board)]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_large_file_is_not_read(files, annotations, board, monkeypatch):
    monkeypatch.setattr(leaderboard, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="at most 100 are read"):
        submit(annotations, files("results.json", detections()), "A", board)


@pytest.mark.parametrize("team", ["", " ", "=1+1", "-a", "@x", "a|b", "a,b", "a\x00", "x" * 41])
def test_names_that_a_table_or_spreadsheet_would_misread_are_refused(
    team, files, annotations, board
):
    with pytest.raises(DataError, match="cannot be a name"):
        submit(annotations, files("results.json", detections()), team, board)


def test_names_of_many_languages_are_taken(files, annotations, board):
    results = files("results.json", detections())
    rows, _ = submit(annotations, results, "  Équipe\n 3 ", board)
    assert rows[-1]["team"] == "Équipe 3"


def test_a_board_holds_one_annotation_file(files, annotations, board):
    results = files("results.json", detections())
    submit(annotations, results, "A", board)
    other = people()
    other["annotations"].pop()
    with pytest.raises(DataError, match="scores on another annotation file"):
        submit(files("other.json", other), results, "A", board)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("team,AP\nA,1\n", "has other columns"),
        (",".join(leaderboard.COLUMNS) + "\nA,now,high,1,1,1,3,x,y\n", "line 2"),
        (",".join(leaderboard.COLUMNS) + "\nA,now\n", "line 2: another number of columns"),
    ],
)
def test_a_board_that_was_edited_is_refused(text, complaint, files, annotations, board):
    board.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=complaint):
        submit(annotations, files("results.json", detections()), "A", board)
    assert board.read_text(encoding="utf-8") == text


def test_students_get_boxes_and_no_joints(files, annotations, board, tmp_path, capsys):
    out = tmp_path / "blind.json"
    assert leaderboard.main(["blind", str(annotations), str(out)]) == 0
    content = json.loads(out.read_text(encoding="utf-8"))
    assert set(content) == {"images", "categories", "annotations"}
    for person in content["annotations"]:
        assert set(person) == set(
            "id image_id category_id bbox iscrowd num_keypoints keypoints".split()
        )
        assert not any(person["keypoints"])
    file, found = metrics.coco.checked_annotations(out)
    assert [box.tolist() for _, box in found] == [p["bbox"] for p in people()["annotations"]]
    assert [image.name for image in file.images.values()] == ["a/7.jpg", "a/9.jpg"]
    # The blind file scores nothing, and says so.
    with pytest.raises(DataError, match="has no person to score on"):
        submit(out, files("results.json", detections()), "A", board)
    assert leaderboard.main(["blind", str(annotations), str(out)]) == 2
    assert "exists" in capsys.readouterr().err


def test_the_mean_pose_stands_in_each_box(annotations, board, tmp_path):
    out = tmp_path / "mean.json"
    assert leaderboard.main(["mean-pose", str(annotations), str(out)]) == 0
    results = json.loads(out.read_text(encoding="utf-8"))
    assert [entry["image_id"] for entry in results] == [7, 7, 9]
    joints = np.array(results[0]["keypoints"]).reshape(K, 3)[:, :2]
    assert np.all((joints > 50) & (joints < 270))  # the box
    nose, ankles = COCO17.index("nose"), [COCO17.index(f"{s}_ankle") for s in ("left", "right")]
    assert joints[nose, 1] < joints[ankles, 1].min()
    assert np.ptp(joints[:, 0]) < np.ptp(joints[:, 1])
    rows, _ = submit(annotations, out, "mean pose", board)
    assert float(rows[-1]["AP"]) < 0.5


def test_the_mean_pose_of_other_people_is_their_mean(files, annotations, tmp_path):
    """Two training people, one of them with a joint that is not labelled; boxes of another size."""
    train = people()
    train["annotations"] = train["annotations"][:2]
    for person, offset, scale in zip(train["annotations"], (0, 30), (1.0, 0.5), strict=True):
        joints = np.array(person["keypoints"]).reshape(K, 3)
        joints[:, :2] = (joints[:, :2] + 0.5) * scale - 0.5 + offset  # boxes count edges
        person["keypoints"] = joints.ravel().tolist()
        person["bbox"] = [50 * scale + offset, 50 * scale + offset, 220 * scale, 220 * scale]
    results = leaderboard.mean_pose(annotations, files("train.json", train))
    first, second = (np.array(p["keypoints"]).reshape(K, 3) for p in people()["annotations"][:2])
    expected = np.where(first[:, 2:] > 0, (first + second) / 2, second)[:, :2]
    found = np.array(results[0]["keypoints"]).reshape(K, 3)[:, :2]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    train["annotations"] = train["annotations"][:1]
    with pytest.raises(DataError, match="labels no nose, left_eye"):
        leaderboard.mean_pose(annotations, files("train1.json", train))


def test_it_runs_as_a_command_without_tensorflow(files, annotations, board):
    results = files("results.json", detections())
    code = (
        "import sys, leaderboard; code = leaderboard.main(sys.argv[1:]);"
        "sys.exit(code or sum(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, "score", annotations, results, "--team", "A"]
        + ["--board", board],
        cwd=root,
        env={"PYTHONPATH": os.pathsep.join((str(root), str(root / "book" / "tools"))), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| rank | team | AP |") and "| 1 | A | 1.000 |" in done.stdout
