"""MediaPipe next to this book's model: its landmarks are mapped and scored as ours."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_data
from experiments import peers, released_data, scorecard

from posekit import datasets, geometry
from posekit.errors import DataError
from posekit.images import read_image
from posekit.live import DEFAULT_MODEL
from posekit.notebook import runs
from posekit.skeleton import COCO17

POSE_LANDMARKS = """nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye
right_eye_outer left_ear right_ear mouth_left mouth_right left_shoulder right_shoulder left_elbow
right_elbow left_wrist right_wrist left_pinky right_pinky left_index right_index left_thumb
right_thumb left_hip right_hip left_knee right_knee left_ankle right_ankle left_heel right_heel
left_foot_index right_foot_index""".split()
"""Names of mediapipe.solutions.pose.PoseLandmark, in lower case."""
SETS = {"webcam": "pck_shoulder", "lsp": "pcp", "coco": "pck", "background": None}


def as_landmarks(points: np.ndarray, size: tuple[int, int]) -> list:
    """33 landmarks that hold 17 points in pixels; what COCO has no joint for is far away."""
    landmarks = np.full((len(POSE_LANDMARKS), 3), 9.0)
    at = [POSE_LANDMARKS.index(joint) for joint in COCO17.joints]
    landmarks[at, :2] = (points + 0.5) / size
    return landmarks.tolist()


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """What MediaPipe would see of six people, and landmarks at their joints; one is not found."""
    root = tmp_path_factory.mktemp("photos")
    tiny_data.coco(root / "people", split="val")
    for i in range(6):
        tiny_data.write_photo(root / "rooms" / "images" / f"{i}.jpg")
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSEKIT_DATA", str(root))
        patch.setattr(peers, "METRICS", SETS)
        validation = {
            "webcam": ("coco", "people", "image"),
            "lsp": ("coco", "people", "joints"),
            "coco": ("coco", "people", "annotation"),
            "background": ("background", "rooms", "image"),
        }
        patch.setattr(released_data, "VALIDATION", validation)
        peers.write_photos(folder)
        index = json.loads((folder / "photos.json").read_text())
        photos = {}
        people = {p.person_id: p for p in datasets.read("coco", root / "people", "val")}
        for key, entries in index.items():
            for person, entry in entries.items():
                size = read_image(folder / "photos" / entry["file"]).shape[1::-1]
                photo = {"size": size, "landmarks": None, "processor_ms": 1.5}
                if key != "background" and person != next(iter(people)):
                    to_photo = geometry.invert(np.array(entry["to_image"]))
                    points = geometry.apply_affine(to_photo, people[person].keypoints)
                    photo["landmarks"] = as_landmarks(points, size)
                photos[entry["file"]] = photo
        found = {"name": "a peer", "photos": photos}
        (folder / "landmarks.json").write_text(json.dumps(found))
        yield folder


@pytest.fixture(scope="module")
def compared(work) -> dict:
    return peers.compare(work, DEFAULT_MODEL)


def test_each_joint_has_its_landmark():
    assert [POSE_LANDMARKS[i] for i in peers.LANDMARKS] == list(COCO17.joints)


def test_landmarks_are_shares_of_the_photo_and_joints_are_pixels():
    landmarks = [[0.5, 0.25, 1.0]] * 33
    np.testing.assert_allclose(peers.coco17(landmarks, (200, 100)), [[99.5, 24.5]] * 17)
    points = np.arange(34.0).reshape(17, 2)
    np.testing.assert_allclose(peers.coco17(as_landmarks(points, (64, 48)), (64, 48)), points)
    assert np.isinf(peers.coco17(None, (200, 100))).all()


def test_a_crop_is_the_padded_square_at_the_resolution_of_the_photo():
    affine, size = peers.seen_square(np.array([10, 20, 30, 40]))
    assert size == 50
    np.testing.assert_allclose(affine[:, :2], np.eye(2))


def test_what_mediapipe_sees_shows_the_joints_that_are_scored(work):
    """Each joint is a white dot; it is where the landmarks say, in photos and in crops."""
    found = json.loads((work / "landmarks.json").read_text())["photos"]
    assert sum(name.startswith("coco/") for name in found) == 6
    sizes = {tuple(photo["size"]) for name, photo in found.items() if name.startswith("webcam/")}
    assert sizes == {(160, 120)}
    for name, photo in found.items():
        if photo["landmarks"]:
            image = read_image(work / "photos" / name)
            x, y = peers.coco17(photo["landmarks"], photo["size"]).round().astype(int).T
            assert image[y, x].min() > 180


def test_perfect_landmarks_miss_only_the_person_who_is_not_found(compared):
    scores = compared["runs"]["mediapipe"]
    for key in ("webcam", "lsp", "coco"):
        found = scores[key]["found"]
        assert found[0] == pytest.approx(5 / 6, abs=1e-4) and found[3] == scores[key]["photos"] == 6
    for key in ("lsp", "coco"):
        share, low, high, n = scores[key]["by_part"]["all"]
        assert (share, n) == (pytest.approx(5 / 6, abs=1e-4), 6 * 17) and low < share < high
    assert scores["lsp"]["pcp"]["mean"] == pytest.approx(5 / 6, abs=1e-4)
    assert 0.6 < scores["webcam"]["by_part"]["all"][0] < 1
    assert scores["background"] == {"photos": 1, "found": (0.0, 0.0, 0.0, 1)}
    assert compared["names"] == {"mediapipe": "a peer", "model": DEFAULT_MODEL}
    assert scores["processor_ms"] == 1.5


def test_both_are_scored_on_the_same_joints(compared):
    ours, theirs = compared["runs"]["model"], compared["runs"]["mediapipe"]
    assert ours.keys() == theirs.keys()
    for key in SETS:
        assert ours[key].keys() == theirs[key].keys()
        for part, share in ours[key].get("by_part", {}).items():
            assert share[3] == theirs[key]["by_part"][part][3] > 0


def test_a_photo_that_was_not_run_is_reported(work):
    landmarks = json.loads((work / "landmarks.json").read_text())
    index = json.loads((work / "photos.json").read_text())
    results = type("Results", (), {"person_id": np.array(["000000000001/1"])})()
    results.keypoints = np.zeros((1, 17, 2))
    results.presence = np.zeros(1)
    del landmarks["photos"][index["coco"]["000000000001/1"]["file"]]
    with pytest.raises(DataError, match="no photo of person 000000000001/1"):
        peers.with_landmarks(results, index["coco"], landmarks["photos"])


def test_the_record_compares_both_on_the_same_photos():
    run = runs.read("peers")
    ours, theirs = run.record["runs"]["model"], run.record["runs"]["mediapipe"]
    for key, metric in peers.METRICS.items():
        assert ours[key]["photos"] == theirs[key]["photos"] == ours[key]["found"][3]
        assert ("by_part" in ours[key]) == (metric is not None)
        for part in scorecard.PARTS if metric else ():
            assert ours[key]["by_part"][part][3] == theirs[key]["by_part"][part][3]
            assert run.log[f"mediapipe, {key}, {part}"]["n"] == theirs[key]["by_part"][part][3]
    with (runs.book_runs() / "peers" / "log.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + len(run.log)
    assert theirs["webcam"]["by_part"]["wrists"][0] > 0.9
    assert "MediaPipe" in run.record["notes"]["labels"]
