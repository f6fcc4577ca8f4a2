"""posekit.inference.evaluation and `evaluate --coco`: detections land in photo pixels, the ten
numbers come out, what is missing is said (chapter 09)."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from posekit import cli, geometry, images, metrics, minidome, models, records
from posekit.datasets import coco
from posekit.errors import DataError
from posekit.inference import evaluation, predictor
from posekit.inputs import on_device
from posekit.metrics.coco import NAMES
from posekit.skeleton import COCO17

K = len(COCO17)


@pytest.fixture(scope="module")
def model():
    return predictor.load("minidome")


@pytest.fixture(scope="module")
def dome(tmp_path_factory):
    """A small MiniDome sequence: (annotation file, photo folder)."""
    folder = tmp_path_factory.mktemp("dome") / "dome"
    minidome.make_sequence(folder, frames=6, seed=3, progress=False)
    return coco.find_minidome(folder)


def test_detections_are_those_of_the_predictor_in_photo_pixels(model, dome):
    results = evaluation.coco_results(model, *dome, batch_size=3)
    truth = json.loads(dome[0].read_text(encoding="utf-8"))
    names = {i["id"]: i["file_name"] for i in truth["images"]}
    people = [a for a in truth["annotations"] if not a.get("iscrowd")]
    assert [r["image_id"] for r in results] == [a["image_id"] for a in people]
    for result, person in list(zip(results, people, strict=True))[:5]:
        photo = images.read_image(dome[1] / names[person["image_id"]])
        pose = model.predict(photo, np.array(person["bbox"]), flip=True)
        joints = np.array(result["keypoints"]).reshape(K, 3)
        np.testing.assert_allclose(joints[:, :2], pose.keypoints, atol=0.05)
        assert result["score"] == pytest.approx(float(pose.score.mean()), abs=1e-3)


def test_a_trained_model_scores_far_above_its_mean_pose(model, dome):
    """On MiniDome's exact areas: the whole way from photos to AP. The mean pose knows the box, and
    little else."""
    scores = metrics.coco_scores(dome[0], evaluation.coco_results(model, *dome))
    people = list(coco.read(*dome, dataset="minidome"))
    crop = geometry.decode_keypoints(np.asarray(model.record["mean_pose"]), (224, 224))
    guesses = []
    for person, entry in zip(people, evaluation.coco_results(model, *dome), strict=False):
        affine = geometry.crop_affine(
            geometry.bbox_center(person.bbox), geometry.square_side(person.bbox), 224
        )
        mean = geometry.apply_affine(geometry.invert(affine), crop)
        guesses.append({**entry, "keypoints": np.column_stack([mean, np.ones(K)]).ravel().tolist()})
    blind = metrics.coco_scores(dome[0], guesses)
    assert scores["AP50"] > blind["AP50"] + 0.1
    assert scores["AR"] > blind["AR"]


def test_the_command_writes_results_and_scores_them_alike(dome, tmp_path, capsys):
    out = tmp_path / "new" / "results.json"
    model_way = ["--images", str(dome[1]), "--model", "minidome", "--results", str(out)]
    assert cli.main(["evaluate", "--coco", str(dome[0]), *model_way, "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert cli.main(["evaluate", "--coco", str(dome[0]), "--results", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == scored
    assert list(scored) == list(NAMES)
    assert cli.main(["evaluate", "--coco", str(dome[0]), "--results", str(out)]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert [line.split()[0] for line in lines if line] == list(NAMES)


def test_without_people_the_numbers_are_null_not_minus_one(dome, tmp_path, capsys):
    truth = json.loads(dome[0].read_text(encoding="utf-8")) | {"annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    (tmp_path / "results.json").write_text("[]", encoding="utf-8")
    way = [
        "--coco",
        str(tmp_path / "truth.json"),
        "--results",
        str(tmp_path / "results.json"),
        "--json",
    ]
    assert cli.main(["evaluate", *way]) == 0
    assert json.loads(capsys.readouterr().out) == dict.fromkeys(NAMES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--coco", "TRUTH"], "needs --results FILE"),
        (["--coco", "TRUTH", "--images", "DIR"], "needs --results FILE"),
        (["--coco", "TRUTH", "--model", "minidome"], "add --images DIR"),
        (["--coco", "TRUTH", "--results", "none.json"], "none.json: cannot be read"),
        (["--coco", "none.json", "--results", "TRUTH"], "none.json: cannot be read"),
        (["--coco", "TRUTH", "--results", "TRUTH"], "is not a list"),
        (["--coco", "TRUTH", "--images", "DIR", "--model", "nobody"], "no such model"),
        (
            ["--coco", "TRUTH", "--images", "EMPTY", "--model", "minidome"],
            "cannot read the image",
        ),
        (
            ["--records", "DIR", "--model", "minidome", "--results", "x"],
            "--results: goes with --coco",
        ),
        (["--records", "DIR"], "add --model"),
        (
            ["--coco", "TRUTH", "--results", "TRUTH", "--jitter", "0.3"],
            "--jitter: goes with --records",
        ),
    ],
)
def test_what_is_missing_is_one_line(dome, tmp_path, capsys, arguments, said):
    (tmp_path / "empty").mkdir()
    names = {"TRUTH": str(dome[0]), "DIR": str(dome[1]), "EMPTY": str(tmp_path / "empty")}
    assert cli.main(["evaluate", *(names.get(a, a) for a in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and said in error


def test_records_and_coco_exclude_each_other(dome, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "--coco", str(dome[0]), "--records", str(dome[1])])
    assert stop.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_an_image_without_a_name_is_named(model, dome, tmp_path):
    truth = json.loads(dome[0].read_text(encoding="utf-8"))
    del truth["images"][0]["file_name"]
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    with pytest.raises(DataError, match=r"image number 1: has no file_name"):
        evaluation.coco_results(model, tmp_path / "truth.json", dome[1])


def test_joints_in_another_order_are_predicted_in_that_order(model, dome, tmp_path):
    truth = json.loads(dome[0].read_text(encoding="utf-8"))
    truth["categories"][0]["keypoints"] = [*COCO17.joints[::-1], "belly button"]
    for person in truth["annotations"]:
        joints = np.reshape(person["keypoints"], (K, 3))[::-1]
        person["keypoints"] = [*joints.ravel().tolist(), 1, 1, 2]
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    ours = evaluation.coco_results(model, *dome, flip=False)
    theirs = evaluation.coco_results(model, tmp_path / "truth.json", dome[1], flip=False)
    for a, b in zip(ours, theirs, strict=True):
        joints = np.reshape(b["keypoints"], (K + 1, 3))
        np.testing.assert_array_equal(np.reshape(a["keypoints"], (K, 3)), joints[:K][::-1])
        assert joints[K].tolist() == [0, 0, 0]
    scores = metrics.coco_scores(tmp_path / "truth.json", theirs, notes=[])
    assert scores == pytest.approx(metrics.coco_scores(dome[0], ours), nan_ok=True)


def test_images_of_another_size_are_refused_and_turned_ones_turned(model, dome, tmp_path):
    truth = json.loads(dome[0].read_text(encoding="utf-8"))
    truth["images"] = truth["images"][:2]
    ids = {image["id"] for image in truth["images"]}
    truth["annotations"] = [a for a in truth["annotations"] if a["image_id"] in ids]
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    exif = Image.Exif()
    exif[0x0112] = 6
    for entry in truth["images"]:
        image = Image.open(dome[1] / entry["file_name"])
        half = image.resize((image.width // 2, image.height // 2))
        turned = image.transpose(Image.Transpose.ROTATE_90)
        for folder, content in (("half", half), ("turned", turned), ("stored", image)):
            path = tmp_path / folder / entry["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            note = {"exif": exif} if folder == "turned" else {}
            content.save(path, quality=100, subsampling=0, **note)
    with pytest.raises(DataError, match=r"the image is \d+x\d+, but its annotations are for"):
        evaluation.coco_results(model, tmp_path / "truth.json", tmp_path / "half")
    upright, turned = (
        evaluation.coco_results(model, tmp_path / "truth.json", tmp_path / folder, flip=False)
        for folder in ("stored", "turned")
    )
    for a, b in zip(upright, turned, strict=True):
        np.testing.assert_allclose(a["keypoints"], b["keypoints"], atol=3)


def test_what_is_left_out_and_unknown_joints_are_told_on_stderr(dome, tmp_path, capsys):
    truth = json.loads(dome[0].read_text(encoding="utf-8"))
    truth["categories"][0]["keypoints"] = ["belly button", *COCO17.joints[1:]]
    truth["categories"].append({"id": 2, "name": "ball"})
    ball = {"id": 10**6, "image_id": truth["images"][0]["id"], "category_id": 2}
    truth["annotations"].append(ball)
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    (tmp_path / "results.json").write_text("[]", encoding="utf-8")
    files = ["--coco", str(tmp_path / "truth.json"), "--results", str(tmp_path / "results.json")]
    assert cli.main(["evaluate", *files, "--json"]) == 0
    out, err = capsys.readouterr()
    assert list(json.loads(out)) == list(NAMES)
    assert "belly button" in err and "left out: 1 of another category\n" in err


# ---- how sure it says it is ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def dome_records(dome, tmp_path_factory):
    out = tmp_path_factory.mktemp("sure") / "records"
    records.write_records(
        coco.read(*dome, dataset="minidome"),
        out,
        "minidome",
        "val",
        settings=records.CropSettings(box_px=64),
        progress=False,
    )
    return out


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("with_sigma", [True, False])
def test_a_models_sigma_score_and_presence_reach_the_results(
    dome_records, tmp_path, capsys, with_sigma, calibrated
):
    keras.utils.set_random_seed(3)
    network = models.build(
        head="regression", base_channels=4, input_size=64, predict_sigma=with_sigma
    )
    record = {"mean_pose": np.zeros((K, 2)).tolist(), "mean_visibility": np.ones(K).tolist()}
    if calibrated:
        record["calibration"] = {"bias": -3.0, "log_sigma": -1.2, "visibility": 0.4}
    sigma = network.get_layer("head_sigma") if with_sigma else None
    if sigma:  # a network at its beginning says the same σ of everybody
        sigma.kernel.assign(np.random.default_rng(0).normal(0, 1, sigma.kernel.shape))
    asked = predictor.Predictor(network, record)
    answers = evaluation.predict_records(asked, dome_records)
    scores = evaluation.scores(answers)
    blind = evaluation.scores(
        answers.with_predictions(record["mean_pose"], record["mean_visibility"])
    )
    assert np.isnan(blind["confidence_oks"])
    crops = np.concatenate(
        [x for x, _ in on_device.iterate_center_crops(dome_records, input_size=64)]
    )
    out = asked.predict_crops(crops, flip=True)
    np.testing.assert_allclose(answers.score, out["score"], atol=1e-5)
    np.testing.assert_allclose(answers.presence, out["presence"], atol=1e-5)
    if not with_sigma:
        assert np.isnan(answers.sigma).all() and np.isnan(scores["confidence_oks"])
        assert answers.sigma.shape == answers.keypoints.shape
    else:
        np.testing.assert_allclose(answers.sigma, out["sigma"], atol=1e-5)
        assert -1 <= scores["confidence_oks"] <= 1
    unflipped = asked.predict_crops(crops)
    np.testing.assert_allclose(
        unflipped["score"], predictor.joint_score(unflipped, record.get("calibration")), atol=1e-6
    )
    if with_sigma and not calibrated:
        certainty = np.clip(1 - unflipped["sigma"].mean(axis=-1), 0, 1)
        expected = unflipped["visibility"] * certainty
        np.testing.assert_allclose(unflipped["score"], expected, atol=1e-5)
    (tmp_path / "record.json").write_text(json.dumps(record))
    network.save(tmp_path / "model.keras")
    assert cli.main(["evaluate", "--model", str(tmp_path), "--records", str(dome_records)]) == 0
    assert ("1 - sigma with OKS" in capsys.readouterr().out) == with_sigma


def test_the_correlation_is_spearmans_over_people_and_joints_inside():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    sigma = rng.random((40, K, 2))
    oks = rng.random(40).round(1)
    inside = rng.random((40, K)) < 0.7
    oks[3] = np.nan
    inside[5] = False
    mean = np.array(
        [
            row[there].mean() if there.any() else np.nan
            for row, there in zip(1 - sigma.mean(axis=-1), inside, strict=True)
        ]
    )
    counted = np.isfinite(mean) & np.isfinite(oks)
    assert evaluation.confidence_oks(sigma, oks, inside) == pytest.approx(
        spearmanr(mean[counted], oks[counted])[0]
    )
    everywhere = np.ones((40, K), bool)
    falling = np.broadcast_to(np.linspace(1, 0, 40)[:, None, None], (40, K, 2))
    assert evaluation.confidence_oks(falling, np.arange(40.0) ** 3, everywhere) == pytest.approx(1)
    assert np.isnan(evaluation.confidence_oks(falling[:2], np.arange(2.0), everywhere[:2]))
    assert np.isnan(evaluation.confidence_oks(np.full((40, K, 2), 0.5), oks, everywhere))
