"""OKS and COCO's ten numbers: equal to pycocotools, to the published example, and clear about what
is not COCO's format (chapter 09).
"""

import contextlib
import copy
import io
import json
import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posekit import metrics
from posekit.errors import DataError
from posekit.metrics.coco import NAMES
from posekit.skeleton import COCO17

K = len(COCO17)


def random_photos(seed: int, photos: int = 6) -> tuple[dict, list[dict]]:
    """Annotations and detections with crowds, unlabelled joints, people without joints, ties of
    score, and empty photos of both kinds.
    """
    rng = np.random.default_rng(seed)
    images = [{"id": i, "width": 640, "height": 480} for i in range(photos)]
    people = []
    found = []
    for image in images[:-1]:  # nobody is annotated on the last one
        for _ in range(rng.integers(0, 4)):
            centre = rng.uniform(100, 400, 2)
            size = rng.uniform(20, 200)
            joints = centre + rng.uniform(-size / 2, size / 2, (K, 2))
            v = rng.integers(0, 3, K) * (rng.random() > 0.2)
            people.append(
                {
                    "id": len(people) + 1,
                    "image_id": image["id"],
                    "category_id": 1,
                    "keypoints": np.column_stack([joints * (v > 0)[:, None], v]).ravel().tolist(),
                    "num_keypoints": int((v > 0).sum()),
                    "bbox": [*(centre - size / 2).tolist(), float(size), float(size)],
                    "area": float(size**2 * rng.uniform(0.2, 0.6)),
                    "iscrowd": int(rng.random() < 0.15),
                }
            )
            for _ in range(rng.integers(0, 3)):
                near = joints + rng.normal(0, rng.choice([0.5, 5, 50]), (K, 2))
                entry = np.column_stack([near, np.ones(K)]).ravel().tolist()
                score = float(rng.choice([0.5, 0.9, rng.random()]))
                found.append(
                    {"image_id": image["id"], "category_id": 1, "keypoints": entry, "score": score}
                )
    stray = rng.uniform(0, 400, (K, 3)).ravel().tolist()
    found.append({"image_id": photos - 1, "category_id": 1, "keypoints": stray, "score": 0.3})
    truth = {"images": images, "categories": [{"id": 1, "name": "person"}], "annotations": people}
    return truth, found


def reference(truth: dict, found: list[dict]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(copy.deepcopy(found)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def arrays(people: list[dict]) -> dict[str, np.ndarray]:
    joints = np.array([p["keypoints"] for p in people]).reshape(-1, K, 3)
    return {
        "target": joints[..., :2],
        "labelled": joints[..., 2] > 0,
        "area": np.array([p["area"] for p in people]),
        "bbox": np.array([p["bbox"] for p in people]).reshape(-1, 4),
    }


def written(tmp_path, truth, found=None):
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    (tmp_path / "results.json").write_text(json.dumps(found), encoding="utf-8")
    return tmp_path / "truth.json", tmp_path / "results.json"


# ---- OKS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_oks_equals_pycocotools(seed):
    truth, found = random_photos(seed)
    evaluation = reference(truth, found)
    compared = 0
    for image in truth["images"]:
        people = evaluation._gts[image["id"], 1]  # as pycocotools keeps them
        detected = sorted(evaluation._dts[image["id"], 1], key=lambda d: -d["score"])
        theirs = evaluation.computeOks(image["id"], 1)
        if len(theirs) == 0:
            assert not people or not detected
            continue
        pred = np.array([d["keypoints"] for d in detected]).reshape(-1, K, 3)[..., :2]
        known = arrays(people)
        ours = metrics.oks_matrix(pred, **known)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
        for t in np.flatnonzero(known["labelled"].any(-1)):
            paired = metrics.oks(
                pred,
                *(
                    np.repeat(known[k][t : t + 1], len(pred), 0)
                    for k in ("target", "labelled", "area")
                ),
            )
            np.testing.assert_allclose(paired, theirs[:, t], rtol=0, atol=1e-9)
        compared += theirs.size
    assert compared


def test_oks_by_hand():
    """One joint of three is one k·√area away (k = 2σ): exp(−1/2). Unlabelled ones don't count."""
    true = np.zeros((1, K, 2))
    labelled = np.zeros((1, K), bool)
    labelled[0, [0, 5, 11]] = True
    pred = true.copy()
    pred[0, 5] = (2 * COCO17.sigmas[5] * 50, 0)
    pred[0, 7] = (1e6, 1e6)
    assert metrics.oks(pred, true, labelled, np.array([50.0**2]))[0] == pytest.approx(
        (2 + np.exp(-0.5)) / 3, abs=1e-12
    )


def test_a_joint_counts_by_its_own_falloff():
    """The same ten pixels cost an eye far more than a hip."""
    true = np.zeros((1, K, 2))
    similarity = metrics.keypoint_similarity(true + (10, 0), true, np.array([80.0**2]))[0]
    assert similarity[COCO17.index("left_eye")] < 0.1 < 0.6 < similarity[COCO17.index("left_hip")]


def test_oks_of_no_people_and_of_no_labels_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nobody = np.zeros((0, K, 2))
        assert metrics.oks(nobody, nobody, np.zeros((0, K), bool), np.zeros(0)).shape == (0,)
        assert metrics.oks_matrix(
            nobody, nobody, np.zeros((0, K)), np.zeros(0), np.zeros((0, 4))
        ).shape == (0, 0)
        unknown = np.full((2, K, 2), np.nan)
        assert np.isnan(
            metrics.oks(unknown + 1, unknown, np.zeros((2, K), bool), np.array([0.0, 5.0]))
        ).all()
        on_the_spot = metrics.oks(
            np.ones((1, K, 2)), np.ones((1, K, 2)), np.ones((1, K), bool), np.zeros(1)
        )
        assert on_the_spot[0] == 1, "an area of 0 must not divide by it"


# ---- the ten numbers -----------------------------------------------------------------------------


@pytest.mark.realdata
def test_the_ten_published_numbers(realdata):
    folder = realdata / "coco_eval_parity"
    scores = metrics.coco_scores(
        folder / "annotations/person_keypoints_val2014_100.json",
        folder / "results/person_keypoints_val2014_fakekeypoints100_results.json",
    )
    text = (folder / "expected_pycocotools.txt").read_text(encoding="utf-8")
    published = json.loads(text[text.index("{") :])
    assert list(scores) == list(published) == list(NAMES)
    for name, value in published.items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("seed", range(4))
def test_the_ten_numbers_are_pycocotools_own(tmp_path, seed):
    truth, found = random_photos(seed, photos=12)
    before = copy.deepcopy(found)
    ours = metrics.coco_scores(written(tmp_path, truth)[0], found)
    assert found == before, "pycocotools writes into what it is given: it must be given a copy"
    theirs = reference(truth, found).stats
    for name, value in zip(NAMES, theirs, strict=True):
        assert (np.isnan(ours[name]) and value == -1) or ours[name] == value, name


def test_the_truth_itself_scores_one_and_no_detection_scores_zero(tmp_path):
    truth, _ = random_photos(3, photos=10)
    for person in truth["annotations"]:
        person["iscrowd"] = 0
    path = written(tmp_path, truth)[0]
    keep = ("image_id", "category_id", "keypoints")
    perfect = [
        {**{k: p[k] for k in keep}, "score": 1.0}
        for p in truth["annotations"]
        if p["num_keypoints"]
    ]
    assert metrics.coco_scores(path, perfect)["AP"] == 1.0
    nothing = metrics.coco_scores(path, [])
    assert nothing["AP"] == nothing["AR"] == 0.0


def test_without_people_every_number_is_nan(tmp_path):
    truth, found = random_photos(0)
    truth["annotations"] = []
    assert all(
        np.isnan(v) for v in metrics.coco_scores(written(tmp_path, truth)[0], found).values()
    )


def test_annotations_without_the_derived_keys_are_completed(tmp_path):
    """`iscrowd` and `num_keypoints` follow from the rest, and other tools leave them out."""
    truth, found = random_photos(1, photos=10)
    for person in truth["annotations"]:
        person["iscrowd"] = 0
    whole = metrics.coco_scores(written(tmp_path, truth)[0], found)
    for person in truth["annotations"]:
        del person["iscrowd"], person["num_keypoints"]
    assert metrics.coco_scores(written(tmp_path, truth)[0], found) == pytest.approx(
        whole, nan_ok=True
    )


# ---- what is not COCO's format -------------------------------------------------------------------


def broken(entry: dict, **change) -> dict:
    return {k: v for k, v in {**entry, **change}.items() if v is not ...}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_id": ...}, "no 'image_id'"),
        ({"category_id": ...}, "no 'category_id'"),
        ({"keypoints": ...}, "no 'keypoints'"),
        ({"score": ...}, "no 'score'"),
        ({"image_id": 999}, "unknown image_id 999"),
        ({"image_id": [1]}, "unknown image_id"),
        ({"category_id": 2}, "unknown category_id 2"),
        ({"keypoints": [1.0] * 34}, "34 numbers, expected 51"),
        ({"keypoints": [1.0] * 50 + [float("nan")]}, "NaN"),
        ({"keypoints": [1.0] * 50 + [float("inf")]}, "NaN, infinity"),
        ({"keypoints": [1.0] * 50 + ["x"]}, "no number"),
        ({"keypoints": "here"}, "str numbers"),
        ({"score": float("nan")}, "score holds NaN"),
        ({"score": None}, "score holds"),
        ({"score": True}, "score holds"),
        ({"bbox": [1.0, 2.0, 3.0]}, "bbox has 3 numbers, expected 4"),
        ({"bbox": "x"}, "bbox has str numbers"),
    ],
)
def test_a_broken_result_is_named(tmp_path, change, named):
    truth, found = random_photos(2)
    found[1] = broken(found[1], **change)
    paths = written(tmp_path, truth, found)
    with pytest.raises(DataError, match=r"results\.json, entry 1") as error:
        metrics.coco_scores(*paths)
    assert named in str(error.value)


@pytest.mark.parametrize(
    "more", [{"bbox": None}, {"bbox": []}, {"segmentation": []}, {"caption": "a person"}]
)
def test_other_keys_of_results_change_nothing(tmp_path, more):
    truth, found = random_photos(2)
    path = written(tmp_path, truth)[0]
    whole = metrics.coco_scores(path, found)
    assert metrics.coco_scores(path, [{**entry, **more} for entry in found]) == pytest.approx(
        whole, nan_ok=True
    )
    boxed = [{**entry, "bbox": [0.0, 0.0, 9.0, 9.0]} for entry in found]
    some = [*boxed[:1], *(broken(entry, bbox=...) for entry in found[1:])]
    assert metrics.coco_scores(path, some) == pytest.approx(whole, nan_ok=True)


def test_a_detection_is_as_large_as_its_box_where_all_have_one(tmp_path):
    truth, found = random_photos(2)
    path = written(tmp_path, truth)[0]
    boxed = [{**entry, "bbox": [0.0, 0.0, 9.0, 9.0], "caption": ""} for entry in found]
    file, _ = metrics.coco.checked_annotations(path)
    kept = metrics.coco.checked_results(boxed, file, "results")
    assert len(kept) == len(found)
    assert all(detection.bbox.tolist() == [0.0, 0.0, 9.0, 9.0] for detection in kept)


def test_ids_that_occur_twice_are_named(tmp_path):
    truth, found = random_photos(2)
    with pytest.raises(DataError, match=r"entry 2.*id 7 occurs twice"):
        metrics.coco_scores(
            written(tmp_path, truth)[0],
            [{**f, "id": i} for f, i in zip(found, (6, 7, 7), strict=False)],
        )
    truth["annotations"][1]["id"] = truth["annotations"][0]["id"]
    with pytest.raises(DataError, match=r"truth\.json, annotation 1 .*second annotation"):
        metrics.coco_scores(written(tmp_path, truth)[0], found)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", "null", '{"images": 3}', '{"images": [], "categories": [3]}']
)
def test_a_file_that_is_no_annotation_file_is_named(tmp_path, text):
    (tmp_path / "truth.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"truth\.json"):
        metrics.coco_scores(tmp_path / "truth.json", [])


@pytest.mark.parametrize("key", ["image_id", "keypoints", "bbox", "area", "id", "category_id"])
@pytest.mark.parametrize("value", [..., None, "x", [], float("nan")])
def test_a_broken_annotation_is_named(tmp_path, key, value):
    truth, found = random_photos(2)
    truth["annotations"][1] = broken(truth["annotations"][1], **{key: value})
    if key == "id" and value == "x":
        return  # a string is a good id
    if key in ("keypoints", "bbox") and value in (..., None, []):
        return  # filtered, and not needed: tested below
    with pytest.raises(DataError, match=r"truth\.json, annotation (number )?2"):
        metrics.coco_scores(written(tmp_path, truth)[0], found)


@pytest.mark.parametrize("value", [..., None, []])
def test_annotations_without_keypoints_are_filtered_and_boxes_are_not_needed(tmp_path, value):
    truth, found = random_photos(1, photos=10)
    person = next(a for a in truth["annotations"] if a["num_keypoints"] and not a["iscrowd"])
    whole = metrics.coco_scores(written(tmp_path, truth)[0], found)
    place = truth["annotations"].index(person)
    truth["annotations"][place] = broken(person, bbox=value)
    assert metrics.coco_scores(written(tmp_path, truth)[0], found) == whole
    truth["annotations"][place] = broken(person, keypoints=value)
    filtered = Counter()
    without = metrics.coco_scores(written(tmp_path, truth)[0], found, filtered)
    del truth["annotations"][place]
    assert without == metrics.coco_scores(written(tmp_path, truth)[0], found)
    assert filtered == {"without keypoints": 1}


# ---- annotations of other tools ------------------------------------------------------------------


def perfect(truth: dict) -> list[dict]:
    """Detections of each labelled person, exactly where it is."""
    keep = ("image_id", "category_id", "keypoints")
    return [
        {**{key: person[key] for key in keep}, "score": 1.0}
        for person in truth["annotations"]
        if not person["iscrowd"] and person["num_keypoints"]
    ]


@pytest.mark.parametrize(
    "number", [lambda i: i, lambda i: -i, lambda i: f"a{i}", lambda i: str(i) if i % 2 else i]
)
def test_ids_of_any_kind_change_nothing(tmp_path, number):
    """pycocotools takes the annotation with id 0 for a miss, and cannot sort ids of two types."""
    truth, found = random_photos(1, photos=10)
    path = written(tmp_path, truth)[0]
    whole = metrics.coco_scores(path, found)
    exact = metrics.coco_scores(path, perfect(truth))
    for i, person in enumerate(truth["annotations"]):
        person["id"] = number(i)
    written(tmp_path, truth)
    assert metrics.coco_scores(path, found) == pytest.approx(whole, nan_ok=True)
    assert metrics.coco_scores(path, perfect(truth)) == pytest.approx(exact, nan_ok=True)
    assert exact["AP"] == 1.0


def test_image_and_category_ids_may_be_of_mixed_type(tmp_path):
    truth, _ = random_photos(1, photos=10)
    truth["images"].append({"id": "a"})
    truth["categories"][0]["id"] = "1"
    truth["annotations"][0]["image_id"] = "a"
    truth["annotations"][1]["image_id"] = str(truth["annotations"][1]["image_id"])
    assert metrics.coco_scores(written(tmp_path, truth)[0], perfect(truth))["AP"] == 1.0


def reordered(truth: dict, order: list[int], names: list[str]) -> dict:
    """The same annotations with their joints in another order; joint -1 is one of another kind."""
    truth = copy.deepcopy(truth)
    truth["categories"][0]["keypoints"] = names
    for entry in truth["annotations"]:
        joints = np.append(np.reshape(entry["keypoints"], (K, 3)), [[1, 1, 2]], axis=0)
        entry["keypoints"] = joints[order].ravel().tolist()
    return truth


def test_the_order_of_the_category_is_obeyed(tmp_path):
    truth, found = random_photos(2, photos=10)
    whole = metrics.coco_scores(written(tmp_path, truth)[0], found)
    order = list(range(K))[::-1]
    other = reordered(truth, order, [COCO17.joints[k] for k in order])
    theirs = reordered({"categories": [{}], "annotations": found}, order, [])["annotations"]
    assert metrics.coco_scores(written(tmp_path, other)[0], theirs) == pytest.approx(
        whole, nan_ok=True
    )


def test_joints_that_are_not_coco_s_are_not_scored_but_named(tmp_path):
    truth, found = random_photos(2, photos=10)
    whole = metrics.coco_scores(written(tmp_path, truth)[0], found)
    more = reordered(truth, [*range(K), -1], [*COCO17.joints, "neck"])
    notes: list[str] = []
    path = written(tmp_path, more)[0]
    assert metrics.coco_scores(path, found, notes=notes) == pytest.approx(whole, nan_ok=True)
    assert len(notes) == 1 and notes[0].endswith("no joints of COCO-17: neck")
    theirs = reordered({"categories": [{}], "annotations": found}, [*range(K), -1], [])
    assert metrics.coco_scores(path, theirs["annotations"], notes=[]) == pytest.approx(
        whole, nan_ok=True
    )


def test_other_categories_and_their_detections_are_filtered(tmp_path):
    truth, found = random_photos(2, photos=10)
    whole = metrics.coco_scores(written(tmp_path, truth)[0], found)
    image = truth["images"][0]["id"]
    truth["categories"].append({"id": 2, "name": "ball"})
    truth["annotations"].append({"id": 99, "image_id": image, "category_id": 2, "bbox": [1] * 4})
    ball = {"image_id": image, "category_id": 2, "keypoints": [1.0] * 51, "score": 1.0}
    filtered = Counter()
    scores = metrics.coco_scores(written(tmp_path, truth)[0], [*found, ball], filtered)
    assert scores == pytest.approx(whole, nan_ok=True)
    assert filtered == {"of another category": 1, "results of another category": 1}


def test_crowds_without_keypoints_are_ignored_by_their_box_or_left_out(tmp_path):
    truth, found = random_photos(2, photos=10)
    last = truth["images"][-1]["id"]  # nobody is annotated there, and one detection is
    crowd = {"id": 99, "image_id": last, "category_id": 1, "iscrowd": 1}
    rle = {"segmentation": {"counts": [5], "size": [5, 1]}}
    whole = metrics.coco_scores(written(tmp_path, truth)[0], found)
    filtered = Counter()
    truth["annotations"].append({**crowd, **rle})
    assert metrics.coco_scores(written(tmp_path, truth)[0], found, filtered) == pytest.approx(
        whole, nan_ok=True
    )
    assert filtered == {"without a labelled joint or a box": 1}
    truth["annotations"][-1] |= {"bbox": [0, 0, 640, 480], "area": 640 * 480}
    here = [f for f in found if f["image_id"] == last]
    truth["annotations"] = truth["annotations"][-1:]
    ignored = metrics.coco_scores(written(tmp_path, truth)[0], here)
    assert all(np.isnan(value) for value in ignored.values())


@pytest.mark.parametrize("area", [..., None, 0])
def test_a_person_without_an_area_cannot_be_scored(tmp_path, area):
    truth, found = random_photos(2)
    truth["annotations"][1] = broken(truth["annotations"][1], area=area)
    with pytest.raises(DataError, match=r"annotation 2 .*area.*OKS is measured by it"):
        metrics.coco_scores(written(tmp_path, truth)[0], found)


def test_another_tool_s_format_is_refused_by_name(tmp_path):
    content = {"version": "5", "flags": {}, "shapes": [], "imagePath": "a.jpg"}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"truth\.json: is labelme's own JSON"):
        metrics.coco_scores(tmp_path / "truth.json", [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["image_id", "category_id", "keypoints", "score", "id", "bbox", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(results=JSON)
def test_any_results_give_numbers_or_a_clear_error(tmp_path, results):
    truth, _ = random_photos(2)
    truth_path, path = written(tmp_path, truth, results)
    with contextlib.suppress(DataError):
        assert set(metrics.coco_scores(truth_path, path)) == set(NAMES)


# ---- the kinds of errors -------------------------------------------------------------------------


def two_people() -> dict[str, np.ndarray]:
    """Two people 200 px apart in one photo and one alone in another; joints on a ring, so that none
    lies near another.
    """
    angle = np.linspace(0, 2 * np.pi, K, endpoint=False)
    ring = 90 * np.column_stack([np.cos(angle), np.sin(angle)])
    true = np.stack([ring + (150, 150), ring + (390, 150), ring + (150, 150)])
    return {
        "target": true,
        "labelled": np.ones((3, K), bool),
        "area": np.full(3, 80.0**2),
        "image_id": np.array(["a", "a", "b"]),
    }


def test_each_kind_of_error_is_told_from_the_others():
    scene = two_people()
    left = COCO17.index("left_wrist")
    right = COCO17.index("right_wrist")
    k = 2 * COCO17.sigmas[left] * 80  # px at which the similarity is exp(−1/2) = 0.61
    pred = scene["target"].copy()
    for person, (change, kind) in enumerate(
        [((0.3 * k, 0), "good"), ((0.9 * k, 0), "jitter"), ((6 * k, 6 * k), "miss")]
    ):
        pred[person, left] += change
        assert metrics.ERRORS[metrics.error_types(pred, **scene)[person, left]] == kind
    pred = scene["target"].copy()
    pred[0, left] = scene["target"][0, right] + 1  # her own right wrist
    pred[0, right] = scene["target"][1, right] + 1  # the other's right wrist
    pred[1, left] = scene["target"][0, right] - 1  # the other's other side
    pred[2, left] = scene["target"][1, left]  # nobody is there in photo b
    kinds = metrics.error_types(pred, **scene)
    named = [metrics.ERRORS[kinds[i]] for i in ((0, left), (0, right), (1, left), (2, left))]
    assert named == ["inversion", "swap", "swap", "miss"]
    assert (np.delete(kinds, [left, right], axis=1) == 0).all(), (
        "the other joints are where they should be"
    )


def test_a_joint_without_a_label_has_no_kind_and_causes_none():
    scene = two_people()
    left = COCO17.index("left_wrist")
    right = COCO17.index("right_wrist")
    scene["labelled"][0, right] = False
    scene["target"][0, right] = np.nan
    pred = np.nan_to_num(scene["target"])
    pred[0, left] = two_people()["target"][0, right]
    kinds = metrics.error_types(pred, **scene)
    assert kinds[0, right] == -1
    assert metrics.ERRORS[kinds[0, left]] == "miss"


def test_the_nose_has_no_other_side():
    scene = two_people()
    nose = COCO17.index("nose")
    pred = scene["target"].copy()
    pred[0, nose] += 500
    assert metrics.ERRORS[metrics.error_types(pred, **scene)[0, nose]] == "miss"


def test_where_nothing_was_predicted_is_a_miss():
    scene = two_people()
    pred = scene["target"].copy()
    pred[0, 3] = np.nan
    kinds = metrics.error_types(pred, **scene)
    assert metrics.ERRORS[kinds[0, 3]] == "miss"
    assert (np.delete(kinds.ravel(), 3) == 0).all()


@pytest.mark.parametrize("area", [np.nan, 0, -1])
def test_without_an_area_there_are_no_kinds(area):
    scene = two_people()
    scene["area"][1] = area
    with pytest.raises(ValueError, match="person 1 has the area"):
        metrics.error_types(scene["target"], **scene)
    scene["labelled"][1] = False  # a crowd
    assert (metrics.error_types(scene["target"], **scene)[[0, 2]] == 0).all()


def test_kinds_equal_a_loop_over_all_joints_of_all_people():
    rng = np.random.default_rng(5)
    n = 30
    photo = rng.integers(0, 10, n)
    area = rng.uniform(20, 60, n) ** 2
    true = rng.uniform(0, 60, (n, K, 2))
    labelled = rng.random((n, K)) > 0.3
    pred = true + rng.normal(0, 8, true.shape)
    ours = metrics.error_types(pred, true, labelled, area, photo)
    seen = set()
    for i in range(n):
        for j in range(K):
            if not labelled[i, j]:
                assert ours[i, j] == -1
                continue
            entries = []
            for other in np.flatnonzero(photo == photo[i]):
                for joint, side in {j: "same", COCO17.flip_indices[j]: "other"}.items():
                    side = "same" if joint == j else "other"
                    if labelled[other, joint]:
                        d2 = ((pred[i, j] - true[other, joint]) ** 2).sum()
                        value = np.exp(-d2 / (2 * area[other] * (2 * COCO17.sigmas[j]) ** 2))
                        entries.append((value, other == i, side == "same"))
            value, own, same = max(entries, key=lambda e: (e[0], e[1], e[2]))
            kind = (
                (
                    "miss"
                    if value < 0.5
                    else ("good" if value >= 0.85 else "jitter")
                    if same
                    else "inversion"
                )
                if own or value < 0.5
                else "swap"
            )
            assert metrics.ERRORS[ours[i, j]] == kind
            seen.add(kind)
    assert seen == set(metrics.ERRORS)


def test_no_function_changes_its_callers_arrays():
    scene = {**two_people(), "pred": two_people()["target"] + 3}
    before = copy.deepcopy(scene)
    metrics.error_types(**scene)
    metrics.oks(*(scene[k] for k in ("pred", "target", "labelled", "area")))
    metrics.oks_matrix(
        *(scene[k] for k in ("pred", "target", "labelled", "area")), bbox=np.ones((3, 4))
    )
    for name, value in before.items():
        np.testing.assert_array_equal(scene[name], value)
