"""The figures of the model card: each measures what it says."""

import dataclasses
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from experiments import scorecard

from posekit import metrics
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.inference.evaluation import EvalResults

N = 400
K = 17


@pytest.fixture(scope="module")
def results() -> EvalResults:
    """People of 100 x 200 pixels; each joint's error is normal with a σ that the model knows; a
    tenth is outside, and known to be."""
    rng = np.random.default_rng(0)
    true = rng.uniform((0, 0), (100, 200), (N, K, 2))
    sigma = rng.uniform(0.5, 30, (N, K))
    inside = rng.random((N, K)) < 0.9
    return EvalResults(
        keypoints=true + sigma[..., None] * rng.normal(size=(N, K, 2)),
        visibility=np.clip(np.where(inside, 0.9, 0.1) + rng.uniform(-0.1, 0.1, (N, K)), 0, 1),
        sigma=np.repeat(sigma[..., None], 2, axis=-1) / 250,
        score=1 - sigma / 250,
        presence=np.ones(N),
        target=true,
        keypoints_visible=np.where(inside, 2, 0).astype(np.uint8),
        in_crop=inside,
        in_crop_known=np.ones((N, K), bool),
        crop_keypoints=true / 250,
        crop_target=true / 250,
        crop_to_image=np.tile(np.eye(2, 3), (N, 1, 1)),
        bbox=np.tile([0, 0, 100, 200], (N, 1)),
        area=np.full(N, 10_000.0),
        source_id=np.arange(N).astype(str),
        person_id=np.arange(N).astype(str),
        dataset=np.array(["made"] * N),
        input_size=250,
    )


def test_a_joint_that_is_not_there_has_no_similarity(results):
    found = scorecard.similarity(results)
    assert not found[~results.in_crop].any()
    expected = metrics.keypoint_similarity(results.keypoints, results.target, results.area)
    np.testing.assert_array_equal(found[results.in_crop], expected[results.in_crop])
    unknown = dataclasses.replace(results, in_crop_known=np.zeros((N, K), bool))
    assert np.isnan(scorecard.similarity(unknown)[~results.in_crop]).all()


def test_the_search_is_scored_on_the_same_people_in_the_order_of_the_results(results):
    """A model that answers with the size of the photo shows whose photo it was given."""

    class Photo:
        def __init__(self, source_id):
            self.source_id = source_id

        def load_image(self):
            return np.zeros((int(self.source_id) + 1, 1, 3), np.uint8)

    class Model:
        def predict(self, image, flip):
            return SimpleNamespace(keypoints=np.full((K, 2), len(image) - 1.0))

    people = [Photo(str(i)) for i in reversed(range(N))]
    found = scorecard.search_results(Model(), results, people)
    np.testing.assert_array_equal(found.keypoints[:, 0, 0], np.arange(N))
    np.testing.assert_array_equal(found.target, results.target)


def test_where_no_area_is_known_the_box_of_the_joints_stands_in(results):
    blind = dataclasses.replace(results, area=np.full(N, np.nan))
    found = scorecard.similarity(blind)
    labelled = np.where(results.in_crop[0, :, None], results.target[0], np.nan)
    area = scorecard.AREA_OF_BOX * np.prod(
        np.nanmax(labelled, axis=0) - np.nanmin(labelled, axis=0)
    )
    expected = metrics.keypoint_similarity(results.keypoints[0], results.target[0], area)
    np.testing.assert_allclose(found[0][results.in_crop[0]], expected[results.in_crop[0]])


def test_the_calibrated_score_is_the_oks_to_expect(results):
    """Fitted on one half of the people, it holds on the other, far better than before; a larger σ
    and less visibility mean less."""
    halves = [
        EvalResults(
            **{k: v[part] if isinstance(v, np.ndarray) else v for k, v in results.__dict__.items()}
        )
        for part in (slice(None, N // 2), slice(N // 2, None))
    ]
    numbers = scorecard.calibrate(halves[:1])
    assert numbers["log_sigma"] < 0 < numbers["visibility"]

    def scored(calibration: dict | None) -> EvalResults:
        out = {"visibility": halves[1].visibility, "sigma": halves[1].sigma}
        return dataclasses.replace(halves[1], score=predictor.joint_score(out, calibration))

    held_out = scorecard.calibration([scored(numbers)])
    before = scorecard.calibration([scored(None)])
    assert held_out["ece"] < 0.06 and held_out["ece"] < 0.3 * before["ece"]
    assert sum(n for *_, n in held_out["bins"]) == N * K // 2


def test_pck_shoulder_counts_by_a_quarter_of_the_shoulder_width(results):
    """By hand, for a person whose shoulders are 40 pixels apart: 10 pixels are near enough, 11 are
    not, an occluded joint is not asked."""
    one = {k: v[:1].copy() if isinstance(v, np.ndarray) else v for k, v in results.__dict__.items()}
    one["target"][0, 5] = (30, 50)
    one["target"][0, 6] = (70, 50)
    one["keypoints_visible"][0] = 2
    one["keypoints"] = one["target"].copy()
    one["keypoints"][0, 0, 0] += 10
    one["keypoints"][0, 9, 1] += 11
    one["keypoints_visible"][0, 10] = 1
    one["keypoints"][0, 10] = 1e3
    found = scorecard.pck_shoulder(EvalResults(**one))
    assert found["face"][::3] == (1, 5) and found["elbows"][::3] == (1, 2)
    assert found["wrists"][::3] == (0, 1) and found["all"][::3] == (round(15 / 16, 4), 16)


def test_the_threshold_lets_few_wrong_wrists_be_drawn(results):
    """By hand: shoulders 40 pixels apart, wrists right within 10 pixels. The higher the score, the
    more are right; a wrist outside the crop is wrong wherever it is drawn."""
    n = 200
    target = np.zeros((n, K, 2))
    target[:, 6, 0] = 40
    score = np.linspace(0.1, 0.9, n)[:, None].repeat(K, axis=1)
    wrong = (np.arange(n) % 10 == 0) | (np.arange(n) < 60)
    wrong[-40:] = False
    keypoints = target + np.where(wrong, 20, 5)[:, None, None] * [1.0, 0.0]
    visible = np.full((n, K), 2, np.uint8)
    visible[100:110, 9:11] = 0
    fields = {
        "keypoints": keypoints,
        "target": target,
        "score": score,
        "keypoints_visible": visible,
        "in_crop": visible > 0,
        "in_crop_known": np.ones((n, K), bool),
    }
    made = dataclasses.replace(results, **fields)
    found = scorecard.draw_threshold([made])
    right = ~wrong & (visible[:, 9] > 0)
    drawn = score[:, 9] >= found["score"]
    assert found["right"] == round(right[drawn].mean(), 4) >= 0.95
    lower = score[:, 9] >= found["score"] - 0.01
    assert right[lower].mean() < 0.95
    assert found["drawn"] == round((drawn & (visible[:, 9] > 0)).sum() / 190, 4)
    assert found["wrists"] == 2 * 190 and found["outside"] == 2 * 10


def test_presence_gives_a_roc_curve():
    found = scorecard.presence_roc([np.array([0.9, 0.8]), np.array([0.4])], [np.array([0.5, 0.1])])
    assert found["with_person"] == 3 and found["without_person"] == 2
    assert found["auroc"] == pytest.approx(5 / 6, abs=1e-4)
    assert found["roc"][0] == (0, 0) and found["roc"][-1] == (1, 1)


def test_how_much_of_the_body_is_seen(results):
    found = scorecard.by_visible_share(results)
    assert (
        sum(found[name][-1] for name in ("up to 6 joints", "7 to 11", "all 12"))
        == found["visible"][-1]
    )
    assert found["occluded"] == (None, None, None, 0)
    share, low, high, n = found["visible"]
    assert 0 < low < share < high < 1 and n > 1000


def test_parts_of_the_body_have_their_share_with_its_interval(results):
    found = scorecard.pck_torso(results)
    per_joint = metrics.pck(results.keypoints, results.target, results.labelled)["per_joint"]
    assert found["wrists"][0] == pytest.approx(np.mean(per_joint[9:11]), abs=0.02)
    assert all(low <= share <= high for share, low, high, _ in found.values())
    parts = [n for part, (*_, n) in found.items() if part != "all"]
    assert sum(parts) == found["all"][3] == scorecard.by_visible_share(results)["visible"][-1]


def test_photos_of_one_person_are_drawn_as_one(results):
    """Ten photos of each person alike are no more evidence than one."""
    alone = dataclasses.replace(results, source_id=np.array([f"{i:03d}_00.jpg" for i in range(N)]))
    assert len(np.unique(scorecard.photo_groups(alone))) == N
    together = dataclasses.replace(
        results, source_id=np.array([f"{i // 10:03d}_{i % 10:02d}.jpg" for i in range(N)])
    )
    assert len(np.unique(scorecard.photo_groups(together))) == N // 10
    hits = np.repeat(np.arange(N // 10) % 2 == 0, 10)[:, None] & np.ones((N, K), bool)
    counted = np.ones((N, K), bool)
    narrow, wide = (
        scorecard.by_part(hits, counted, scorecard.photo_groups(r))["all"]
        for r in (alone, together)
    )
    assert narrow[0] == wide[0] == 0.5
    assert wide[2] - wide[1] > 2.5 * (narrow[2] - narrow[1])


# ---- in dim light, and on clips ------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Forty made people in the dome as records."""
    from posekit import minidome, records
    from posekit.datasets import coco

    folder = tmp_path_factory.mktemp("made")
    minidome.make_sequence(folder / "seq", 16, cameras=2, seed=4, workers=1, progress=False)
    labels = folder / "seq" / "annotations" / "person_keypoints_seq.json"
    people = coco.read(labels, folder / "seq", dataset="minidome")
    records.write_records(
        people,
        folder / "out",
        "minidome",
        "val",
        settings=records.CropSettings(box_px=160),
        progress=False,
    )
    return dict.fromkeys(("lsp", "lsp_joints_box", "coco"), folder / "out")


def test_corrupted_images_are_what_the_model_sees(made):
    model = predictor.load("stage1")
    found = scorecard.robustness(model, made)
    assert found["plain"]["lsp"] == found["plain"]["coco"] > 0.3
    assert (
        0 < found["cheap camera"]["coco"] < found["plain"]["coco"] and 0 < found["dim"]["coco"] <= 1
    )
    picture = np.full((4, 4, 3), 200, np.uint8)
    assert (scorecard.dim_light(picture) == 50).all() and (picture == 200).all()
    from posekit.inference import evaluation

    black = evaluation.predict_records(model, made["lsp"], flip=False, corrupt=np.zeros_like)
    assert np.ptp(black.crop_keypoints, axis=0).max() < 1e-6, "every crop is the same black one"


def test_a_clip_that_ends_early_is_reported_and_released(tmp_path, monkeypatch):
    class Clip:
        released = 0

        def read(self):
            return False, None

        def release(self):
            self.released += 1

    clip = Clip()
    monkeypatch.setattr(cv2, "VideoCapture", lambda path: clip)
    (tmp_path / "pose_squats.coco17.json").write_text(
        json.dumps({"keypoints": np.zeros((1, 17, 3)).tolist()})
    )
    with pytest.raises(DataError, match="ends before its reference"):
        scorecard.clip_error(None, tmp_path)
    assert clip.released == 1


def test_tracking_stats_give_jitter_in_body_heights():
    clip = next((predictor.weights_folder().parent / "live" / "web").glob("clip.mjpeg"))
    found = scorecard.tracking_stats(predictor.load("stage1"), clip)
    assert found["frames"] > 50 and found["tracked"] > 0.9
    assert 0 < found["jitter"][0] < found["jitter"][1] < 0.1
