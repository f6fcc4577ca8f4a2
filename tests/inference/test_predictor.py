"""Predictor, `predict` and `evaluate`: poses in the right pixels, bad input refused in one line."""

import json
import re
import subprocess
import sys
import weakref

import cv2
import keras
import numpy as np
import pytest
from PIL import Image

from posekit import cli, geometry, images, inputs, metrics, models, records, training
from posekit.datasets import PersonAnnotation
from posekit.errors import DataError
from posekit.inference import evaluation, predictor
from posekit.skeleton import COCO17

K = len(COCO17)
SIZE = 64
LIMBS = ["upper_arm", "lower_arm", "upper_leg", "lower_leg", "mean"]
SCORES = ["pcp", "pck@0.2", "visibility_accuracy", "collapse_ratio"]


def photo(seed: int, width: int = 320, height: int = 240) -> np.ndarray:
    """A photo of smooth blobs: rich enough that a network answers differently to each crop."""
    noise = np.random.default_rng(seed).integers(
        0, 255, (height // 8, width // 8, 3), dtype=np.uint8
    )
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def photos(folder):
    paths = [folder / f"photo{i}.jpg" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_bytes(images.encode_jpeg(photo(i)))
    return paths


@pytest.fixture(scope="module")
def record_folder(folder, photos):
    """40 people: boxes of many sizes; some joints unlabelled, some known to be outside."""
    rng = np.random.default_rng(7)
    typical = rng.uniform(0.1, 0.9, (K, 2))

    def samples():
        for i in range(40):
            bbox = np.concatenate([rng.uniform(0, (200, 120)), rng.uniform(40, (120, 120))])
            keypoints = bbox[:2] + bbox[2:] * (typical + rng.normal(0, 0.08, (K, 2)))
            visible = rng.choice([0, 1, 2], K, p=[0.2, 0.2, 0.6])
            visible[[0, 5, 12]] = 2
            known = (visible > 0) | (rng.random(K) < 0.5)
            name = f"photo{i % 4}"
            yield PersonAnnotation(
                photos[i % 4],
                name,
                f"{name}/{i}",
                keypoints,
                visible,
                known,
                bbox,
                float(bbox[2] * bbox[3]),
                "made",
            )

    records.write_records(samples(), folder / "records", "made", "val", shards=3, progress=False)
    return folder / "records"


@pytest.fixture(scope="module")
def means(record_folder):
    pose, visibility = training.mean_targets([record_folder])
    return {"mean_pose": pose.round(5).tolist(), "mean_visibility": visibility.round(5).tolist()}


@pytest.fixture(scope="module")
def network(means):
    """A real network with random weights, whose outputs depend on every pixel."""
    keras.utils.set_random_seed(3)
    return predictor.Predictor(models.build(base_channels=8, input_size=SIZE), means)


@pytest.fixture(scope="module")
def constant_run(folder, means):
    """The run folder of a collapsed network, which always predicts the training mean."""
    image = keras.Input((SIZE, SIZE, 3))
    features = keras.layers.GlobalAveragePooling2D()(image)
    zero = {"kernel_initializer": "zeros"}
    pose = keras.layers.Dense(2 * K, name="pose", **zero)
    seen = keras.layers.Dense(K, name="visibility", **zero)
    outputs = {
        "keypoints": keras.layers.Reshape((K, 2))(pose(features)),
        "visibility": seen(features),
    }
    model = keras.Model(image, outputs)
    pose.bias.assign(np.ravel(means["mean_pose"]))
    seen.bias.assign(means["mean_visibility"])
    run = folder / "constant"
    run.mkdir()
    model.save(run / "model.keras")
    (run / "record.json").write_text(json.dumps(means))
    return run


class Oracle:
    """A model that predicts the annotated joints, in the order of the records."""

    input_size = SIZE

    def __init__(self, directory, record):
        self.record = record
        self.asked = 0
        box_px = records.read_manifest(directory)["box_px"]
        self.people = list(records.read_records(directory))
        stored = np.stack([person.keypoints for person in self.people])
        low = (self.people[0].width - box_px) / 2  # the padded box is the stored picture's centre
        self.pose = ((stored + 0.5 - low) / box_px - 0.5).astype(np.float32)
        self.seen = np.all(np.abs(self.pose) < 0.5, axis=-1) & np.stack(
            [p.labelled for p in self.people]
        )

    def predict_crops(self, crops, flip=False):
        part = slice(self.asked, self.asked + len(crops))
        self.asked += len(crops)
        seen = self.seen[part].astype(np.float32)
        return predictor.complete_outputs({"keypoints": self.pose[part], "visibility": seen})


def run_cli(capsys, *arguments: object) -> tuple[int, str, str]:
    try:
        code = cli.main([str(a) for a in arguments])
    except SystemExit as stop:  # argparse
        code = stop.code
    return code, *capsys.readouterr()


# ---- predict -------------------------------------------------------------------------------------


def test_a_translated_photo_shifts_the_joints_alike(network):
    """The same person moved by (37, 21) px: the crop is the same, so every joint moves alike."""
    small = photo(0)
    offset = np.array([37, 21])
    large = photo(1, 400, 300)
    large[offset[1] : offset[1] + 240, offset[0] : offset[0] + 320] = small
    bbox = np.array([120, 90, 60, 70])
    here = network.predict(small, bbox)
    there = network.predict(large, bbox + [*offset, 0, 0])
    np.testing.assert_allclose(
        there.keypoints - here.keypoints, np.broadcast_to(offset, (K, 2)), atol=1e-3
    )
    np.testing.assert_allclose(there.visibility, here.visibility, atol=1e-5)
    elsewhere = network.predict(small, bbox + [40, 0, 0, 0])
    assert np.abs(elsewhere.keypoints - here.keypoints - [40, 0]).max() > 0.1, (
        "the network does not look at the picture"
    )


def test_predict_is_the_crop_through_the_model_and_back(network):
    """The definition, step by step, in numbers: a 60 x 70 box, padded to a square of 87.5."""
    image = photo(2)
    pose = network.predict(image, [100, 50, 60, 70])
    affine = np.array([[SIZE / 87.5, 0, 0], [0, SIZE / 87.5, 0]])
    affine[:, 2] = (SIZE - 1) / 2 - affine[:, :2] @ [100 + 30 - 0.5, 50 + 35 - 0.5]
    crop = geometry.warp(image, affine, (SIZE, SIZE))
    out = network.model.predict_on_batch(crop[None].astype(np.float32))
    in_crop = (np.asarray(out["keypoints"])[0] + 0.5) * SIZE - 0.5
    np.testing.assert_allclose(pose.keypoints, (in_crop - affine[:, 2]) * 87.5 / SIZE, atol=1e-3)
    np.testing.assert_allclose(pose.visibility, np.asarray(out["visibility"])[0], atol=1e-6)


class BlobModel(predictor.Predictor):
    """A model of 64 x 64 crops that puts a body on the bright pixels, with a fixed score."""

    input_size = 64

    def __init__(self, score: float):
        super().__init__(model=None, record={})
        object.__setattr__(self, "asked_score", score)
        object.__setattr__(self, "crops", [])

    def predict_crops(self, images, flip=False):
        self.crops.extend(images)
        body = np.random.default_rng(0).uniform(-0.5, 0.5, (K, 2))
        y, x = np.nonzero(images[0][..., 0] > 127)
        center = np.array([x.mean(), y.mean()])
        pose = ((center + body * np.ptp(x) + 0.5) / 64 - 0.5)[None].astype(np.float32)
        return {
            "keypoints": pose,
            "visibility": np.ones((1, K), np.float32),
            "score": np.full((1, K), self.asked_score, np.float32),
            "presence": np.ones(1, np.float32),
        }


def blob(side: int) -> np.ndarray:
    """A dark photo of 400 x 300 pixels with a bright square of `side` pixels around (200, 150)."""
    image = np.zeros((300, 400, 3), np.uint8)
    image[150 - side // 2 : 150 + side // 2, 200 - side // 2 : 200 + side // 2] = 255
    return image


def test_without_a_box_a_small_person_is_looked_at_again_in_a_closer_square():
    model = BlobModel(score=0.9)
    pose = model.predict(blob(40))
    assert len(model.crops) == 2
    assert pose.bbox[2] < 200
    np.testing.assert_allclose(pose.bbox[:2] + pose.bbox[2:] / 2, [200, 150], atol=15)
    far, close = (np.mean(crop[..., 0] > 127) for crop in model.crops)
    assert close > 4 * far, "the second crop shows the person larger"
    assert np.abs(pose.keypoints - [200, 150]).max() < 40
    assert set(pose.milliseconds) == {"crop", "model"}


@pytest.mark.parametrize(("side", "score"), [(290, 0.9), (40, 0.1)])
def test_without_a_box_one_look_is_enough_for_a_large_person_and_for_nobody_found(side, score):
    model = BlobModel(score)
    pose = model.predict(blob(side))
    assert len(model.crops) == 1
    assert pose.bbox.tolist() == [0, 0, 400, 300]


def test_without_a_box_the_full_photo_comes_first(network):
    """Without a confident joint the answer is the one in the box of the whole photo."""
    image = photo(3)
    never = {"bias": -9.0, "log_sigma": 0.0, "visibility": 0.0}
    unsure = predictor.Predictor(network.model, network.record | {"calibration": never})
    np.testing.assert_array_equal(
        unsure.predict(image).keypoints, unsure.predict(image, [0, 0, 320, 240]).keypoints
    )


@pytest.mark.parametrize("bbox", [[0, 0, 0, 10], [0, 0, 10, -1], [np.nan, 0, 10, 10]])
def test_an_empty_box_is_refused(network, bbox):
    with pytest.raises(DataError, match=r"^image: the box"):
        network.predict(photo(0), bbox)


def test_predict_changes_neither_photo_nor_box(network):
    image = photo(0)
    bbox = np.array([10.0, 10, 50, 50])
    image.setflags(write=False)
    bbox.setflags(write=False)
    network.predict(image, bbox, flip=True)
    np.testing.assert_array_equal(image, photo(0))
    assert bbox.tolist() == [10, 10, 50, 50]


@pytest.mark.parametrize(
    "bbox", [[320, 0, 10, 10], [0, 240, 10, 10], [-10, 0, 10, 10], [0, -10, 9, 10]]
)
def test_a_box_outside_the_image_is_refused(network, photos, bbox):
    with pytest.raises(DataError, match=r"image: the box .* lies outside the image \(320x240\)"):
        network.predict(photo(0), bbox)
    with pytest.raises(DataError, match=photos[0].name):
        network.predict(photos[0], bbox)
    inside = np.add(bbox, [np.sign(-bbox[0]), np.sign(-bbox[1]), 0, 0])
    network.predict(photo(0), inside)  # a single row or column of pixels is enough


def test_a_path_an_array_and_a_pil_image_give_the_same_pose(network, photos):
    """Of a file, of its text, of its pixels, and of PIL's: all as viewers show it."""
    path = photos[0]
    pixels = images.read_image(path)
    png = path.with_suffix(".png")
    Image.fromarray(pixels).save(png)
    want = network.predict(pixels, [10, 20, 80, 100])
    for same in (path, str(path), png, Image.open(png)):
        got = network.predict(same, [10, 20, 80, 100])
        np.testing.assert_array_equal(got.keypoints, want.keypoints)


def test_path_and_pil_image_are_turned_by_their_exif(network, photos, tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying down
    Image.open(photos[0]).save(path, exif=exif)
    upright = network.predict(np.array(Image.open(path).transpose(Image.Transpose.ROTATE_270)))
    for same in (path, Image.open(path)):
        np.testing.assert_array_equal(network.predict(same).keypoints, upright.keypoints)


@pytest.mark.parametrize(
    ("make", "problem", "fix"),
    [
        (lambda x: x / 255, "dtype float64.* go from 0 to 1", r"\(image \* 255\)"),
        (lambda x: (x / 255).astype("f4"), "dtype float32", r"\(image \* 255\)"),
        (lambda x: x.astype("f4"), "dtype float32.* go from 0 to 255", "clip"),
        (lambda x: x.astype("u2") * 257, "dtype uint16", "// 257"),
        (lambda x: x > 99, "dtype bool", r"\* 255"),
        (lambda x: x[..., 0], r"is grey: has shape \(240, 320\)", "COLOR_GRAY2RGB"),
        (lambda x: x[..., :1], "is grey", "COLOR_GRAY2RGB"),
        (lambda x: np.dstack([x, x[..., :1]]), "four channels", r"image\[\.\.\., :3\]"),
        (lambda x: x.transpose(2, 0, 1), r"has shape \(3, 240, 320\)", "transpose"),
        (lambda x: x[None], "has shape", "one image at a time"),
        (lambda x: x[:0], "is empty", "pixel"),
        (lambda x: x.tolist(), "is a list", "a path, a uint8 RGB array"),
        (lambda x: None, "is a NoneType", "a path, a uint8 RGB array"),
        (lambda x: Image.fromarray(x).convert("L"), "PIL image of mode L", "convert"),
        (lambda x: Image.fromarray(x).convert("RGBA"), "PIL image of mode RGBA", "convert"),
        (lambda x: "missing.jpg", "missing.jpg: cannot read", "check the path"),
    ],
)
def test_what_is_no_rgb_image_is_refused_in_one_line_with_the_fix(network, make, problem, fix):
    for predict in (network.predict, lambda x: network.predict_square(x, (50, 50), 80)):
        with pytest.raises(DataError, match=problem) as error:
            predict(make(photo(0)))
        assert re.search(fix, str(error.value)) and "\n" not in str(error.value)


def test_inside_a_square_is_around_the_box_of_its_size(network):
    """A box of 80 x 60 is padded to a square of 100: the same crop, and the square as the box."""
    image = photo(2)
    around = network.predict(image, [100, 50, 80, 60], flip=True)
    inside = network.predict_square(image, (139.5, 79.5), 100, flip=True)
    np.testing.assert_allclose(inside.keypoints, around.keypoints, rtol=1e-6)
    np.testing.assert_array_equal(inside.score, around.score)
    assert inside.bbox.tolist() == [90, 30, 100, 100]
    assert set(inside.milliseconds) == {"crop", "model"}
    assert min(inside.milliseconds.values()) > 0


def test_squares_of_several_images_are_one_batch(network):
    squares = [(photo(0), (50, 60), 70), (photo(1, 400, 300), (200, 100), 150)]
    together = network.predict_squares(iter(squares))
    for square, pose in zip(squares, together, strict=True):
        alone = network.predict_square(*square)
        np.testing.assert_allclose(pose.keypoints, alone.keypoints, atol=1e-2)
        np.testing.assert_allclose(pose.visibility, alone.visibility, atol=1e-5)
    assert network.predict_squares([]) == []


@pytest.mark.parametrize(
    ("center", "side"), [((5, 5), 0), ((5, 5), -1), ((5, np.nan), 9), ((5,), 9), ((5, 5), np.inf)]
)
def test_a_square_without_pixels_is_refused(network, center, side):
    with pytest.raises(DataError, match="square"):
        network.predict_square(photo(0), center, side)


def test_sigma_is_given_in_image_pixels():
    """A square twice as large: the same share of its side is twice as many pixels."""
    model = models.build(base_channels=4, input_size=SIZE, predict_sigma=True)
    loaded = predictor.Predictor(model, {})
    image = np.full((300, 300, 3), 99, np.uint8)
    small = loaded.predict_square(image, (150, 150), 50)
    large = loaded.predict_square(image, (150, 150), 100)
    assert small.sigma.shape == (K, 2)
    np.testing.assert_allclose(large.sigma, 2 * small.sigma, rtol=1e-4)


def test_repr_is_one_line(network, constant_run):
    for thing in (network, predictor.load(constant_run), network.predict(photo(0))):
        assert "\n" not in repr(thing) and len(repr(thing)) < 200
    assert repr(constant_run.name)[1:-1] in repr(predictor.load(constant_run))
    exported = predictor.load("stage1")
    assert repr(exported) == "Predictor('stage1', ONNX, input 224 px)"
    assert "\n" not in repr(exported.model)


# ---- the flip test -------------------------------------------------------------------------------


def test_the_flip_test_equals_averaging_by_hand(network):
    """Mirror the crop, mirror the joints back, swap left and right, average."""
    crops = np.stack([cv2.resize(photo(i), (SIZE, SIZE)) for i in range(3)])
    plain = network.predict_crops(crops)
    mirrored = network.predict_crops(crops[:, :, ::-1])
    both = network.predict_crops(crops, flip=True)
    for n in range(len(crops)):
        for k, name in enumerate(COCO17.joints):
            side, _, rest = name.partition("_")
            twin = COCO17.index({"left": "right_", "right": "left_"}[side] + rest) if rest else k
            x, y = mirrored["keypoints"][n, twin]
            np.testing.assert_allclose(
                both["keypoints"][n, k], (plain["keypoints"][n, k] + [-x, y]) / 2, atol=1e-5
            )
            seen = (plain["visibility"][n, k] + mirrored["visibility"][n, twin]) / 2
            np.testing.assert_allclose(both["visibility"][n, k], seen, atol=1e-5)
    assert np.abs(both["keypoints"] - plain["keypoints"]).max() > 1e-3


def test_the_flip_test_makes_a_model_fair_to_mirrors(network):
    """With it, the pose of the mirrored photo is exactly the mirrored pose."""
    crop = cv2.resize(photo(1), (SIZE, SIZE))[None]
    here = network.predict_crops(crop, flip=True)["keypoints"]
    there = network.predict_crops(crop[:, :, ::-1], flip=True)["keypoints"]
    np.testing.assert_allclose(there[:, list(COCO17.flip_indices)] * [-1, 1], here, atol=1e-5)


def test_sigma_is_flipped_too_and_lowers_the_score():
    """σ has no sign: only left and right are swapped. A larger σ gives a lower score."""
    keras.utils.set_random_seed(0)
    model = models.build(base_channels=4, input_size=SIZE, predict_sigma=True)
    rng = np.random.default_rng(0)
    for name in ("head_sigma", "head_keypoints"):
        kernel = model.get_layer(name).kernel
        kernel.assign(rng.normal(0, 0.02, kernel.shape))  # small enough for σ < 1
    network = predictor.Predictor(model, {})
    crop = cv2.resize(photo(1), (SIZE, SIZE))[None]
    plain, mirrored = (network.predict_crops(x)["sigma"][0] for x in (crop, crop[:, :, ::-1]))
    both = network.predict_crops(crop, flip=True)["sigma"][0]
    np.testing.assert_allclose(both, (plain + mirrored[list(COCO17.flip_indices)]) / 2, atol=1e-5)
    assert np.abs(plain - mirrored[list(COCO17.flip_indices)]).max() > 1e-3
    pose = network.predict(photo(1))
    assert np.all(pose.score < pose.visibility) and np.all(pose.score > 0)


# ---- evaluate ------------------------------------------------------------------------------------


def test_the_truth_scores_one_in_photo_pixels(record_folder, means):
    """The way back through both affines is exact to the pixel, not only to the threshold."""
    scores = evaluation.evaluate(Oracle(record_folder, means), record_folder)
    assert set(scores["pcp"].values()) == {1.0}
    assert scores["pck@0.2"] == 1
    assert scores["visibility_accuracy"] == 1
    assert scores["collapse_ratio"] == pytest.approx(1, abs=1e-5)
    assert scores["n"] == 40


def test_the_score_of_a_sigma_is_one_minus_it_within_0_and_1():
    sigma = np.array([[[0.1, 0.3], [0.0, 0.0], [2.0, 1.0]]])
    np.testing.assert_allclose(predictor.sigma_score(sigma), [[0.8, 1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize(("error", "found"), [(0.199, 1), (0.201, 0)])
def test_the_error_is_measured_in_the_photo(record_folder, means, error, found):
    """Joints moved by 0.199 of the torso, in image pixels, are all hits; by 0.201, none."""
    oracle = Oracle(record_folder, means)
    truth = np.stack([geometry.apply_affine(p.crop_to_image, p.keypoints) for p in oracle.people])
    torso = np.linalg.norm(
        truth[:, COCO17.index("left_shoulder")] - truth[:, COCO17.index("right_hip")], axis=-1
    )
    crop_side = np.array([1.25 * p.bbox[2:].max() for p in oracle.people])
    oracle.pose = oracle.pose + (error * torso / crop_side)[:, None, None] * np.array([0.6, -0.8])
    assert evaluation.evaluate(oracle, record_folder)["pck@0.2"] == found


def test_always_the_mean_pose_is_found_out_and_equals_its_own_yardstick(
    record_folder, constant_run
):
    scores = evaluation.evaluate(predictor.load(constant_run), record_folder, flip=False)
    assert scores["collapse_ratio"] < 0.01
    assert scores["mean_pose"]["collapse_ratio"] < 0.01
    assert scores["pcp"] == pytest.approx(scores["mean_pose"]["pcp"], abs=1e-6)
    for key in SCORES[1:]:
        assert scores[key] == pytest.approx(scores["mean_pose"][key], abs=1e-6), key
    assert scores["pck@0.2"] > 0.1, "these people are alike enough for the mean to score"


def test_in_photo_coordinates_the_collapse_would_not_show(record_folder, means):
    people = list(records.read_records(record_folder))
    oracle = Oracle(record_folder, means)
    box_px = records.read_manifest(record_folder)["box_px"]
    stored = (np.array(means["mean_pose"]) + 0.5) * box_px - 0.5 + (people[0].width - box_px) / 2
    constant = np.stack([geometry.apply_affine(p.crop_to_image, stored) for p in people])
    truth = np.stack([geometry.apply_affine(p.crop_to_image, p.keypoints) for p in people])
    labelled = np.stack([p.labelled for p in people])
    assert metrics.collapse_ratio(constant, truth, labelled) > 0.9
    assert (
        metrics.collapse_ratio(
            np.broadcast_to(means["mean_pose"], truth.shape), oracle.pose, oracle.seen
        )
        < 0.01
    )


def test_evaluate_equals_the_pipelines_crops_and_targets(network, record_folder):
    """Scores of the plain pipeline's crops and targets, in crop coordinates, are the same."""
    parts = list(inputs.make_batches(record_folder, 16, input_size=SIZE).as_numpy_iterator())
    pictures = np.concatenate([x for x, _ in parts])
    target = np.concatenate([y["keypoints"] for _, y in parts])
    seen = np.concatenate([y["visibility"] for _, y in parts])
    out = network.predict_crops(pictures)
    scores = evaluation.evaluate(network, record_folder, flip=False)
    inside = target[..., 2] > 0
    labelled = np.stack([p.labelled for p in records.read_records(record_folder)])
    assert np.array_equal(labelled, inside), (
        "these people have all their labelled joints inside the crop"
    )
    # TensorFlow and OpenCV decode a JPEG to within a grey level or two of each other
    collapse = metrics.collapse_ratio(out["keypoints"], target[..., :2], inside)
    assert scores["collapse_ratio"] == pytest.approx(collapse, rel=0.01)
    pck = metrics.pck(out["keypoints"], target[..., :2], inside)["value"]
    assert scores["pck@0.2"] == pytest.approx(pck, abs=0.01)
    accuracy = metrics.visibility_accuracy(out["visibility"], seen[..., 0], seen[..., 1])
    assert scores["visibility_accuracy"] == pytest.approx(accuracy, abs=0.01)


def test_misplaced_boxes_are_scored_where_they_lie(record_folder, means, network):
    """The annotated joints do not depend on the box; scores fall when boxes are displaced."""
    answers = evaluation.predict_records(network, record_folder, jitter=0.15, seed=3)
    plain = evaluation.predict_records(network, record_folder)
    np.testing.assert_array_equal(answers.target, plain.target)
    assert np.abs(answers.crop_to_image - plain.crop_to_image).max() > 1
    points = geometry.decode_keypoints(answers.crop_target, (SIZE, SIZE))
    back = geometry.apply_affine(answers.crop_to_image, points)
    np.testing.assert_allclose(back[answers.in_crop], answers.target[answers.in_crop], atol=1e-3)
    assert (answers.in_crop != plain.in_crop).any(), "some joints fall out of a misplaced box"
    again = evaluation.predict_records(network, record_folder, jitter=0.15, seed=3)
    np.testing.assert_array_equal(answers.crop_to_image, again.crop_to_image)


def test_the_batch_size_changes_nothing(network, record_folder):
    want = evaluation.evaluate(network, record_folder)
    got = evaluation.evaluate(network, record_folder, batch_size=7)
    assert got["pcp"] == want["pcp"]
    assert got["collapse_ratio"] == pytest.approx(want["collapse_ratio"], rel=1e-4)


# ---- load ----------------------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was_saved(constant_run, means):
    loaded = predictor.load(constant_run)
    assert loaded.input_size == SIZE
    assert loaded.record == means
    np.testing.assert_allclose(
        loaded.predict(photo(0)).visibility, means["mean_visibility"], atol=1e-6
    )


def test_a_run_is_not_shadowed_by_its_own_export(tmp_path):
    for name in ("record.json", "model.keras", "model.onnx"):
        (tmp_path / name).touch()
    assert predictor.locate(tmp_path) == tmp_path / "model.keras"
    (tmp_path / "model.keras").unlink()
    assert predictor.locate(tmp_path) == tmp_path / "model.onnx"


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(DataError) as error:
        predictor.load("nonesuch")
    assert all(name in str(error.value) for name in ["nonesuch", *predictor.list_models()])


def test_the_packaged_model_is_small_and_loads():
    assert "minidome" in predictor.list_models()
    loaded = predictor.load("minidome")
    pose = loaded.predict(photo(0))
    assert pose.keypoints.shape == (K, 2) and np.all(np.isfinite(pose.keypoints))
    assert np.all((pose.visibility >= 0) & (pose.visibility <= 1))
    weights = predictor.resources.files("posekit") / "weights" / "minidome"
    assert sum(len(file.read_bytes()) for file in weights.iterdir()) <= 3 * 2**20


@pytest.mark.parametrize(
    "damage", ["cut short", "bytes changed", "no model", "broken record", "no mean pose"]
)
def test_a_damaged_run_is_one_clear_error(constant_run, tmp_path, damage):
    model = (constant_run / "model.keras").read_bytes()
    record = (constant_run / "record.json").read_text()
    if damage == "cut short":
        model = model[: len(model) // 2]
    elif damage == "bytes changed":
        model = model[:60] + bytes(200) + model[260:]
    elif damage == "broken record":
        record = record[:-5]
    elif damage == "no mean pose":
        record = "{}"
    (tmp_path / "record.json").write_text(record)
    if damage != "no model":
        (tmp_path / "model.keras").write_bytes(model)
    with pytest.raises(DataError, match="cannot be read") as error:
        predictor.load(tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


# ---- python -m posekit evaluate ------------------------------------------------------------------


@pytest.mark.parametrize("flip", [True, False])
def test_evaluate_prints_the_contracts_keys(capsys, constant_run, record_folder, flip):
    code, out, _ = run_cli(
        capsys,
        "evaluate",
        "--model",
        constant_run,
        "--records",
        record_folder,
        "--json",
        *([] if flip else ["--no-flip"]),
    )
    scores = json.loads(out)
    assert code == 0
    more = ["oks", "confidence_oks", "visibility_auroc", "visibility_ece", "intervals"]
    assert sorted(scores) == sorted(["n", "flip", "box", "jitter", "mean_pose", *SCORES, *more])
    assert sorted(scores["mean_pose"]) == sorted([*SCORES, *more])
    for name, value in (
        ("pck@0.2", scores["pck@0.2"]),
        ("pcp", scores["pcp"]["mean"]),
        ("oks", scores["oks"]),
    ):
        low, high = scores["intervals"][name]
        assert low <= value <= high
    assert list(scores["pcp"]) == list(scores["mean_pose"]["pcp"]) == LIMBS
    assert (scores["n"], scores["flip"], scores["box"]) == (40, flip, "annotation")
    assert scores["collapse_ratio"] < 0.01


def test_what_cannot_be_scored_is_null_in_json(capsys, constant_run, folder, photos):
    """Three joints of one person: no limb, no torso. JSON knows no NaN."""
    keypoints = np.full((K, 2), 50.0)
    visible = np.zeros(K, int)
    keypoints[:3] = [[50, 50], [60, 50], [55, 90]]
    visible[:3] = 2
    one = PersonAnnotation(
        photos[0], "photo0", "photo0/0", keypoints, visible, visible > 0, None, 0, "made"
    )
    records.write_records([one], folder / "three joints", "made", "val", progress=False)
    code, out, _ = run_cli(
        capsys, "evaluate", "--model", constant_run, "--records", folder / "three joints", "--json"
    )
    scores = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert code == 0
    assert scores["pck@0.2"] is scores["pcp"]["mean"] is scores["collapse_ratio"] is None


def test_the_table_shows_the_mean_pose_beside_the_model(capsys, constant_run, record_folder):
    code, out, _ = run_cli(
        capsys, "evaluate", "--model", constant_run, "--records", record_folder, "--no-flip"
    )
    assert code == 0
    assert "40 people, box: annotation, flip test: no" in out
    rows = [(line[:22], *line[22:].split()[:2]) for line in out.splitlines()[2:]]
    assert sum("…" in line for line in out.splitlines()) == 3, "an interval on each headline figure"
    assert len(rows) == len(LIMBS) + 5
    assert all(float(model) == pytest.approx(float(mean), abs=2e-3) for _, model, mean in rows)


@pytest.mark.parametrize("what", ["no records", "no model", "a shard cut short"])
def test_evaluate_refuses_bad_input_in_one_line(
    capsys, constant_run, record_folder, tmp_path, what
):
    model = constant_run
    folder = record_folder
    if what == "no records":
        folder = tmp_path
    elif what == "no model":
        model = "nonesuch"
    else:
        folder = tmp_path / "cut"
        folder.mkdir()
        for file in record_folder.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        shard = sorted(folder.glob("*.tfrecord-*"))[1]
        shard.write_bytes(shard.read_bytes()[:-10])
    code, out, err = run_cli(capsys, "evaluate", "--model", model, "--records", folder, "--json")
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert {"no records": str(tmp_path), "no model": "nonesuch"}.get(what, "00001-of-00003") in err


# ---- python -m posekit predict -------------------------------------------------------------------


def test_predict_prints_a_list_of_poses(capsys, constant_run, photos, means):
    code, out, _ = run_cli(
        capsys, "predict", "--model", constant_run, *photos[:2], "--box", "10,20,80,100", "--json"
    )
    poses = json.loads(out)
    assert code == 0
    assert [list(pose) for pose in poses] == [
        ["image", "box", "keypoints", "visibility", "score", "presence"]
    ] * 2
    for pose, path in zip(poses, photos):
        assert pose["image"] == str(path)
        assert pose["box"] == [10, 20, 80, 100]
        assert np.shape(pose["keypoints"]) == (K, 2)
        assert np.shape(pose["visibility"]) == np.shape(pose["score"]) == (K,)
        # A square of 125 px around the box's centre, pixel (49.5, 69.5); the flip test makes the
        # mean symmetric.
        mean = np.array(means["mean_pose"])
        symmetric = (mean + mean[list(COCO17.flip_indices)] * [-1, 1]) / 2
        np.testing.assert_allclose(pose["keypoints"], symmetric * 125 + [49.5, 69.5], atol=0.02)


def test_predict_without_a_box_takes_the_full_photo(capsys, constant_run, photos):
    code, out, _ = run_cli(capsys, "predict", "--model", constant_run, photos[0], "--json")
    assert code == 0
    assert json.loads(out)[0]["box"] == [0, 0, 320, 240]


def test_predict_as_text_names_every_joint(capsys, constant_run, photos):
    code, out, _ = run_cli(capsys, "predict", "--model", constant_run, photos[0])
    assert code == 0
    first, *rows = out.splitlines()
    assert first.startswith(f"{photos[0]}: presence ")
    assert [line.split()[0] for line in rows] == ["joint", *COCO17.joints]


def test_predict_as_text_names_an_image_without_a_person(capsys, photos, tmp_path):
    black = tmp_path / "black.png"
    cv2.imwrite(str(black), np.zeros((240, 320, 3), np.uint8))
    code, out, _ = run_cli(capsys, "predict", "--model", "stage1", black, "--draw", tmp_path)
    assert code == 0
    assert out.splitlines()[0].endswith(", probably no person")
    assert out.splitlines()[-1] == f"drawn: {tmp_path / 'black.pose.jpg'}"


def test_predict_draws_the_pose_into_a_copy(capsys, constant_run, photos, tmp_path):
    before = photos[0].read_bytes()
    code, _, _ = run_cli(
        capsys, "predict", "--model", constant_run, photos[0], "--draw", tmp_path / "new" / "drawn"
    )
    assert code == 0
    assert [path.name for path in (tmp_path / "new" / "drawn").iterdir()] == ["photo0.pose.jpg"]
    drawn = images.read_image(tmp_path / "new" / "drawn" / "photo0.pose.jpg").astype(int)
    changed = np.abs(drawn - images.read_image(photos[0])).max(axis=-1) > 40
    assert 0.005 < changed.mean() < 0.5
    assert photos[0].read_bytes() == before


def test_a_photo_of_a_phone_is_turned_as_viewers_show_it(capsys, constant_run, photos, tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying down
    Image.open(photos[0]).save(path, exif=exif)
    code, out, _ = run_cli(capsys, "predict", "--model", constant_run, path, "--json")
    assert code == 0
    assert json.loads(out)[0]["box"] == [0, 0, 240, 320]


def test_photos_are_not_kept_in_memory(capsys, constant_run, photos, monkeypatch):
    read = images.read_image
    seen = []
    alive = []

    def watched(*arguments, **options):
        alive.append(sum(ref() is not None for ref in seen))
        image = read(*arguments, **options)
        seen.append(weakref.ref(image))
        return image

    monkeypatch.setattr(images, "read_image", watched)
    assert run_cli(capsys, "predict", "--model", constant_run, *photos)[0] == 0
    assert len(alive) >= len(photos) and max(alive) <= 1


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("--box 1,2,3", "--box"),
        ("--box 1,2,0,4", "--box"),
        ("--box nan,2,3,4", "--box"),
        ("--box a,b,c,d", "--box"),
        ("--box 900,2,30,40", "photo0.jpg"),
        ("--box=-50,2,30,40", "photo0.jpg"),
        ("missing", "missing.jpg"),
        ("truncated", "truncated.jpg"),
        ("no picture", "text.jpg"),
        ("empty", "empty.jpg"),
        ("--model nonesuch", "nonesuch"),
        ("--draw onto a file", "photo1.jpg"),
        ("--draw twice the same", "photo0.pose.jpg"),
        ("no image", "IMAGE"),
    ],
)
def test_predict_refuses_bad_input_in_one_line_and_writes_nothing(
    capsys, constant_run, photos, tmp_path, what, names
):
    pictures = [photos[0]]
    model = constant_run
    draw = tmp_path / "drawn"
    more = []
    bad = {
        "missing": None,
        "truncated": photos[0].read_bytes()[:-900],
        "no picture": b"no picture",
        "empty": b"",
    }
    if what in bad:
        pictures.append(tmp_path / names)
        if bad[what] is not None:
            pictures[-1].write_bytes(bad[what])
    elif what.startswith("--box"):
        more = what.split()
    elif what == "--model nonesuch":
        model = "nonesuch"
    elif what == "--draw onto a file":
        draw = photos[1]
    elif what == "--draw twice the same":
        (tmp_path / "other").mkdir()
        pictures.append(tmp_path / "other" / "photo0.jpg")
        pictures[1].write_bytes(photos[1].read_bytes())
    else:
        pictures = []
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run_cli(
        capsys, "predict", "--model", model, *pictures, "--json", "--draw", draw, *more
    )
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert names in err
    assert sorted(tmp_path.rglob("*")) == before
    assert photos[1].read_bytes().startswith(b"\xff\xd8")


def test_a_folder_that_cannot_be_written_is_named_and_left_as_it_was(
    capsys, constant_run, photos, tmp_path
):
    (
        tmp_path / "photo0.pose.jpg"
    ).mkdir()  # in the picture's place; works for root too, whom no permission stops
    code, out, err = run_cli(
        capsys, "predict", "--model", constant_run, photos[0], "--draw", tmp_path
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(tmp_path) in err
    assert [path.name for path in tmp_path.iterdir()] == ["photo0.pose.jpg"]


# ---- as a program --------------------------------------------------------------------------------


def program(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "posekit", *map(str, arguments)], capture_output=True, text=True
    )


def test_as_a_program_only_json_comes_out_and_nothing_on_standard_error(constant_run, photos):
    done = program("predict", "--model", constant_run, photos[0], "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)) == 1


def test_as_a_program_bad_input_is_one_line_and_exit_code_2(photos):
    done = program("predict", "--model", "nonesuch", photos[0])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nonesuch: no such model") and done.stderr.count("\n") == 1
