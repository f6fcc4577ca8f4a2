"""The figures of the model card: each measures what it says."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
from experiments import label_noise, scorecard

from posekit import metrics
from posekit.datasets import PersonAnnotation
from posekit.errors import DataError
from posekit.inference import predictor
from posekit.inference.evaluation import EvalResults
from posekit.skeleton import COCO17

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
    assert (
        found["face"] == 1
        and found["body"] == round(10 / 11, 4)
        and found["share"] == round(15 / 16, 4)
    )
    assert found["by_joint"]["left_wrist"] == (0, 1) and "right_wrist" not in found["by_joint"]
    assert found["by_part"]["wrists"] == (0, 0, 0, 1)
    assert found["by_part"]["elbows"] == (1, 1, 1, 2)
    assert found["by_part"]["all"][::3] == (found["share"], 16)


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


def test_by_joint_is_the_share_of_each_with_its_interval(results):
    found = scorecard.by_joint(results)
    per_joint = metrics.pck(results.keypoints, results.target, results.labelled)["per_joint"]
    np.testing.assert_allclose([found[joint][0] for joint in COCO17.joints], per_joint, atol=1e-4)
    assert all(low <= share <= high for share, low, high, _ in found.values())
    assert sum(n for *_, n in found.values()) == scorecard.by_visible_share(results)["visible"][-1]


# ---- swapped labels -----------------------------------------------------------------------------


def test_swapped_legs_are_found_and_corrected(results, tmp_path):
    """People whose answer is near; the legs of ten of them are exchanged in the labels. Legs that
    lie on each other are let be, and people who do not stand upright."""
    rng = np.random.default_rng(1)
    true = results.target * 3
    true[:, 11:13, 1] = true[:, 5:7, 1] + 400
    true[20:30] = true[20:30] * [1, -1]
    knees = [
        COCO17.index(f"{side}_{joint}")
        for joint in label_noise.PARTS["legs"]
        for side in ("left", "right")
    ]
    labels = true.copy()
    labels[:10] = labels[:10][:, [*range(11), *np.array(COCO17.flip_indices)[11:]]]
    true[10:20, knees[1::2]] = true[10:20, knees[::2]] + 1  # both legs at one place
    labels[10:30] = true[10:30][:, list(COCO17.flip_indices)]
    near = dataclasses.replace(
        results,
        target=labels,
        keypoints=true + rng.normal(0, 2, true.shape),
        keypoints_visible=np.full((N, K), 2, np.uint8),
        in_crop=np.ones((N, K), bool),
    )
    found = label_noise.swapped(near)
    assert found["legs"][:10].mean() > 0.8 and not found["legs"][10:].any()
    assert not found["arms"][:10].any() and not found["arms"][20:].any()
    upside_down = dataclasses.replace(
        near, target=near.target * [1, -1], keypoints=near.keypoints * [1, -1]
    )
    assert label_noise.swapped(upside_down)["arms"][20:30].mean() > 0.5, (
        "stood on their feet they are found"
    )
    table = tmp_path / "swaps.csv"
    table.write_text("person_id,part\n12,arms\n12,legs\n7,legs\n")
    assert label_noise.count(table) == {"arms": 1, "legs": 2, "both": 1}
    people = [
        PersonAnnotation(
            image=tmp_path / "x.jpg",
            source_id=str(i),
            person_id=str(i),
            keypoints=labels[i],
            keypoints_visible=np.arange(K) % 3,
            joint_known=np.ones(K, bool),
            bbox=None,
            area=0.0,
            dataset="lspet",
        )
        for i in range(9)
    ]
    after = list(label_noise.corrected(people, table))
    np.testing.assert_allclose(after[7].keypoints, true[7], rtol=1e-6)
    assert (
        after[7].keypoints_visible.tolist()[11:]
        == people[7].keypoints_visible[[12, 11, 14, 13, 16, 15]].tolist()
    )
    assert all(
        np.array_equal(a.keypoints, b.keypoints) for a, b in zip(after[:7], people[:7], strict=True)
    )


# ---- models compared, in dim light, and on clips -----------------------------------------------


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


def test_a_model_gains_on_a_worse_one_and_nothing_on_itself(made):
    good = predictor.load("stage1-student")
    other = predictor.load("minidome")
    same = scorecard.pck_gain(good, good, made)["coco"]
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0, "share_above": 0.5}
    better = scorecard.pck_gain(good, other, made)["lsp"]
    worse = scorecard.pck_gain(other, good, made)["lsp"]
    assert (
        better["difference"] == -worse["difference"] != 0
        and better["low"] < better["difference"] < better["high"]
    )


def test_corrupted_images_are_what_the_model_sees(made):
    model = predictor.load("stage1-student")
    found = scorecard.robustness(model, made)
    assert found["plain"]["lsp"] == found["plain"]["coco"] > 0.5
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
    found = scorecard.tracking_stats(predictor.load("stage1-student"), clip)
    assert found["frames"] > 50 and found["tracked"] > 0.9
    assert 0 < found["jitter"][0] < found["jitter"][1] < 0.1
