"""The figures of the model card: accuracy, calibration, presence, robustness and tracking.

`card` computes them for one model; `released_model` stores them in `book/runs/stage1/record.json`
under `card`, from which `book/model_card.md` reads.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from experiments import released_data
from posekit import images, metrics
from posekit.datasets import PersonAnnotation
from posekit.errors import DataError
from posekit.inference import evaluation, predictor
from posekit.inference.evaluation import EvalResults
from posekit.live import Tracker
from posekit.live.video import frames as live_frames
from posekit.skeleton import COCO17

AREA_OF_BOX = 0.53
"""Mean fraction of a person's box that the person covers in COCO, for data without area (LSP)."""
PARTS = {
    "face": range(5),
    "shoulders": (5, 6),
    "elbows": (7, 8),
    "wrists": (9, 10),
    "hips": (11, 12),
    "knees": (13, 14),
    "ankles": (15, 16),
    "all": range(17),
}
"""Row of the card's table -> joints of COCO's 17."""
WEBCAM_KINDS = ("webcam", "stills", "web_upper")
"""Photos as a webcam gives them, scored by shoulder width and without the flip test."""
KINDS = (*WEBCAM_KINDS, "lsp", "coco")
"""Kinds of photos of the card's table, keys of `released_data.VALIDATION`."""
SEARCH_KINDS = (*WEBCAM_KINDS, "lsp")
"""Kinds with one person per photo, who can be searched in it (`search_table`)."""
BACKGROUND_KINDS = ("background", "background_squares", "background_stills")
"""Validation samples without a person."""
CALIBRATION_KINDS = ("webcam", "stills", "lsp", "coco")
"""Photos on which the score is calibrated."""
MIN_PRECISION = 0.95
"""Fraction of the drawn wrists that are right, at least, with the threshold of `draw_threshold`."""
SHOULDER_THRESHOLD = 0.25
"""Threshold of `pck_shoulder`, in shoulder widths."""
BODY_HEIGHT = 4.5
"""Body height in shoulder widths, for `tracking_stats`."""


def similarity(results: EvalResults) -> np.ndarray:
    """Compute each joint's term of OKS.

    Args:
        results: predictions and annotations of N people.

    Returns:
        (N, 17) in [0, 1]; 0 for a joint known to be outside the crop, which no prediction can get
        right; NaN where it is not known whether the joint is inside.
    """
    labelled = results.labelled[..., None]
    low = np.where(labelled, results.target, np.inf).min(axis=1)
    high = np.where(labelled, results.target, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore"):
        box_area = (high - low).prod(axis=1)
        area = np.where(np.isnan(results.area), AREA_OF_BOX * box_area, results.area)
    term = metrics.keypoint_similarity(results.keypoints, results.target, area)
    return np.where(results.in_crop, term, np.where(results.in_crop_known, 0.0, np.nan))


def calibrate(results: list[EvalResults]) -> dict[str, float]:
    """Fit the three parameters of `predictor.joint_score`, so that a score is the expected OKS
    term.

    The score is logistic in log sigma and in the logit of the visibility; the fit is by maximum
    likelihood.

    Args:
        results: predictions without the flip test, of people who were not trained on.

    Returns:
        `bias`, `log_sigma`, `visibility`.
    """
    from scipy.optimize import minimize

    target = np.concatenate([similarity(r).ravel() for r in results])
    visibility = np.concatenate([r.visibility.ravel() for r in results])
    sigma = np.concatenate([r.sigma.mean(axis=-1).ravel() for r in results])
    counted = np.isfinite(target)
    target = target[counted]
    visibility = np.clip(visibility[counted], 1e-6, 1 - 1e-6)
    logit = np.log(visibility / (1 - visibility))
    inputs = np.stack([np.ones(len(target)), np.log(sigma[counted]), logit])

    def negative_log_likelihood(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        score_logit = parameters @ inputs
        value = np.sum(np.logaddexp(0, score_logit) - target * score_logit)
        gradient = inputs @ (1 / (1 + np.exp(-score_logit)) - target)
        return value / len(target), gradient / len(target)

    fitted = minimize(negative_log_likelihood, np.zeros(3), jac=True).x
    return dict(zip(("bias", "log_sigma", "visibility"), fitted.round(5).tolist(), strict=True))


def calibration(results: list[EvalResults], bins: int = 10) -> dict:
    """Compare scores with the OKS terms that the joints earn.

    Args:
        results: predictions without the flip test, of a calibrated model.
        bins: number of equal bins of the score.

    Returns:
        `ece`: expected calibration error, the mean distance of score and OKS over the bins; `bins`:
        (mean score, mean OKS, number of joints) of each bin.
    """
    score = np.concatenate([r.score.ravel() for r in results])
    target = np.concatenate([similarity(r).ravel() for r in results])
    counted = np.isfinite(target)
    score = score[counted]
    target = target[counted]
    index = np.minimum((score * bins).astype(int), bins - 1)
    rows = [
        (score[index == b].mean(), target[index == b].mean(), int((index == b).sum()))
        for b in np.unique(index)
    ]
    ece = sum(n * abs(s - t) for s, t, n in rows) / len(score)
    return {
        "ece": round(float(ece), 4),
        "bins": [(round(float(s), 4), round(float(t), 4), n) for s, t, n in rows],
    }


def shoulder_hits(results: EvalResults) -> tuple[np.ndarray, np.ndarray]:
    """Find the visible joints within a quarter of the shoulder width.

    Args:
        results: predictions; people without both shoulders labelled are left out.

    Returns:
        (N, 17) bool each: hits, and which joints count.
    """
    shoulders = list(PARTS["shoulders"])
    left, right = (results.target[:, joint] for joint in shoulders)
    width = np.linalg.norm(left - right, axis=-1)
    width = np.where(results.labelled[:, shoulders].all(axis=1), width, np.nan)
    visible = results.keypoints_visible == 2
    hits, counted = metrics.pck_hits(
        results.keypoints, results.target, visible, SHOULDER_THRESHOLD, width
    )
    return hits & counted, counted


def pck_shoulder(results: EvalResults) -> dict[str, tuple]:
    """Compute PCK at a quarter of the shoulder width, over visible joints, by part of the body.

    Returns:
        Part of `PARTS` -> (share, lower and upper end of its 95 % interval over the groups of
        `photo_groups`, number of joints).
    """
    return by_part(*shoulder_hits(results), photo_groups(results))


def pck_torso(results: EvalResults) -> dict[str, tuple]:
    """Compute PCK@0.2 by part of the body; returns as `pck_shoulder`."""
    hits, counted = metrics.pck_hits(results.keypoints, results.target, results.labelled)
    return by_part(hits & counted, counted, photo_groups(results))


def photo_groups(results: EvalResults) -> np.ndarray:
    """Return for each person the number of its group, which a bootstrap draws as one, (N,) int.

    Photos of one person in front of their webcam are named GROUP_NUMBER.jpg and are one group; so
    are the people in one photo.
    """
    names = [re.sub(r"^(\d+)_\d+\.\w+$", r"\1", str(name)) for name in results.source_id]
    return np.unique(names, return_inverse=True)[1]


def by_part(hits: np.ndarray, counted: np.ndarray, groups: np.ndarray) -> dict[str, tuple]:
    """Compute the share of hits by part of the body.

    Args:
        hits: (N, 17) bool, within `counted`.
        counted: (N, 17) bool.
        groups: (N,) of `photo_groups`.

    Returns:
        As `pck_shoulder`.
    """
    return {
        part: _share(hits[:, list(joints)], counted[:, list(joints)], groups)
        for part, joints in PARTS.items()
    }


def draw_threshold(results: list[EvalResults]) -> dict:
    """Choose the score from which a joint is drawn.

    It is the lowest at which `MIN_PRECISION` of the drawn wrists are right. A wrist is right within
    a quarter of the shoulder width, and wrong if it is known to lie outside the crop.

    Args:
        results: predictions without the flip test, of a calibrated model, of people who were not
            trained on.

    Returns:
        `score`, rounded up to hundredths; `right`: fraction of the drawn wrists that are right;
        `drawn`: fraction of the visible wrists that are drawn; `wrists`, `outside`: numbers of
        wrists that are visible and that are outside.
    """
    wrists = list(PARTS["wrists"])
    score, right, visible = [], [], []
    for r in results:
        hits, counted = shoulder_hits(r)
        outside = r.in_crop_known & ~r.in_crop & (r.keypoints_visible == 0)
        asked = (counted | outside)[:, wrists]
        score.append(r.score[:, wrists][asked])
        right.append(hits[:, wrists][asked])
        visible.append(counted[:, wrists][asked])
    score, right, visible = (np.concatenate(parts) for parts in (score, right, visible))
    thresholds = np.arange(0.05, 1, 0.01).round(2)
    precision = np.array(
        [right[score >= t].mean() if (score >= t).any() else 1 for t in thresholds]
    )
    chosen = thresholds[np.argmax(precision >= MIN_PRECISION)]
    drawn = score >= chosen
    return {
        "score": float(chosen),
        "right": round(float(right[drawn].mean()), 4),
        "drawn": round(float((drawn & visible).sum() / visible.sum()), 4),
        "wrists": int(visible.sum()),
        "outside": int((~visible).sum()),
    }


def presence_roc(with_person: list[np.ndarray], without_person: list[np.ndarray]) -> dict:
    """Compute the ROC of presence: images with a person against images without.

    Args:
        with_person: (N,) presence of images with a person, one array per data set.
        without_person: (N,) presence of images without.

    Returns:
        `auroc`; `roc`: (false positive rate, true positive rate) at thresholds from 0.95 to 0.05;
        `with_person`, `without_person`: numbers of images.
    """
    positive = np.concatenate(with_person)
    negative = np.concatenate(without_person)
    presence = np.concatenate([positive, negative])
    target = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    curve = [
        (round(float((negative >= t).mean()), 4), round(float((positive >= t).mean()), 4))
        for t in np.arange(0.95, 0, -0.05)
    ]
    area = metrics.auroc(presence[:, None], target[:, None], np.ones((len(presence), 1)))
    return {
        "auroc": round(area, 4),
        "roc": curve,
        "with_person": len(positive),
        "without_person": len(negative),
    }


def clip_error(model: predictor.Predictor, folder: Path) -> dict:
    """Measure the distance to another model's poses on a clip of one whole person doing squats.

    Args:
        model: predicts on full frames, with the flip test.
        folder: holds `pose_squats.mp4` and `pose_squats.coco17.json`.

    Returns:
        `mean` and `worst` of the frames' mean distance, in body heights; `frames`.

    Raises:
        DataError: if the clip is shorter than its reference.
    """
    import cv2

    reference = json.loads((folder / "pose_squats.coco17.json").read_text(encoding="utf-8"))
    clip = cv2.VideoCapture(str(folder / "pose_squats.mp4"))
    errors = []
    try:
        for pose in np.array(reference["keypoints"], np.float64):
            ok, frame = clip.read()
            if not ok:
                raise DataError(
                    folder / "pose_squats.mp4", "ends before its reference", "restore the file"
                )
            predicted = model.predict(frame[..., ::-1], flip=True).keypoints
            distance = np.linalg.norm(predicted - pose[:, :2], axis=1).mean()
            errors.append(distance / np.ptp(pose[:, 1]))
    finally:
        clip.release()
    return {
        "mean": round(float(np.mean(errors)), 4),
        "worst": round(float(np.max(errors)), 4),
        "frames": len(errors),
    }


def dim_light(image: np.ndarray) -> np.ndarray:
    """Return an image with a quarter of the light.

    Args:
        image: (H, W, 3) uint8.
    """
    return (image * 0.25).round().astype(np.uint8)


def robustness(model: predictor.Predictor, val: dict[str, Path]) -> dict:
    """Compute PCK@0.2 without the flip test on unchanged, darkened and degraded images.

    Args:
        model: the model.
        val: record folders; `lsp` (full images) and `coco` are used.

    Returns:
        `plain`, `dim`, `cheap camera`: {`lsp`, `coco`: PCK@0.2}.
    """
    rng = np.random.default_rng(0)
    corruptions = {
        "plain": None,
        "dim": dim_light,
        "cheap camera": lambda image: images.simulate_cheap_camera(image, rng),
    }
    table = {}
    for name, corrupt in corruptions.items():
        table[name] = {}
        for key in ("lsp", "coco"):
            results = evaluation.predict_records(model, val[key], flip=False, corrupt=corrupt)
            pck = metrics.pck(results.keypoints, results.target, results.labelled)["value"]
            table[name][key] = round(pck, 4)
    return table


def tracking_stats(model: predictor.Predictor, clip: Path) -> dict:
    """Run the demo's tracker on a clip and measure how often it tracks and how much it jitters.

    Args:
        model: the model.
        clip: a video.

    Returns:
        `frames`; `tracked`: fraction of the frames with a pose; `jitter`: median and 95 % quantile
        of a shoulder's movement from frame to frame, in body heights of 4.5 shoulder widths, or
        None if the tracker never finds a person.
    """
    tracker = Tracker(model)
    shoulders = []
    for frame, seconds in live_frames(clip):
        pose = tracker.step(frame, seconds)
        shoulders.append(np.full((2, 2), np.nan) if pose.lost else pose.keypoints[5:7])
    shoulders = np.array(shoulders)
    tracked = np.isfinite(shoulders[:, 0, 0])
    steps = np.linalg.norm(np.diff(shoulders, axis=0), axis=-1)
    steps = steps[np.isfinite(steps).all(axis=1)]
    jitter = None
    if len(steps):
        width = np.nanmedian(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1))
        quantiles = np.quantile(steps / (BODY_HEIGHT * width), (0.5, 0.95))
        jitter = [round(float(v), 5) for v in quantiles]
    return {
        "frames": len(shoulders),
        "tracked": round(float(tracked.mean()), 4),
        "jitter": jitter,
    }


def by_visible_share(results: EvalResults) -> dict:
    """Compute PCK@0.2 by the number of limb joints in the crop, and of occluded and visible joints.

    Returns:
        `up to 6 joints`, `7 to 11`, `all 12`: people with that many of the 12 limb joints labelled
        inside the crop; `occluded` (v = 1) and `visible` (v = 2) joints. Each as in `pck_shoulder`.
    """
    hits, counted = metrics.pck_hits(results.keypoints, results.target, results.labelled)
    limb = np.arange(17) >= COCO17.index("left_shoulder")
    joints = (results.in_crop & limb).sum(axis=1)[:, None]
    subsets = {
        "up to 6 joints": joints <= 6,
        "7 to 11": (joints > 6) & (joints < 12),
        "all 12": joints == 12,
        "occluded": results.keypoints_visible == 1,
        "visible": results.keypoints_visible == 2,
    }
    groups = photo_groups(results)
    return {name: _share(hits, counted & subset, groups) for name, subset in subsets.items()}


def _share(
    hits: np.ndarray, counted: np.ndarray, groups: np.ndarray
) -> tuple[float | None, float | None, float | None, int]:
    """Share of hits among the counted joints, its interval over groups, and the number of
    joints."""
    n = int(counted.sum())
    if not n:
        return None, None, None, 0
    hits = hits & counted
    share = float(hits.sum() / n)
    sums = np.zeros((2, groups.max() + 1))
    np.add.at(sums, (0, groups), hits.sum(axis=1))
    np.add.at(sums, (1, groups), counted.sum(axis=1))
    low, high = metrics.bootstrap_ci(*sums)
    return round(share, 4), round(float(low), 4), round(float(high), 4), n


def joints_table(
    model: predictor.Predictor, val: dict[str, Path]
) -> tuple[dict[str, dict], dict[str, dict]]:
    """Score a model and the mean pose on all `KINDS`.

    Args:
        model: the model.
        val: as of `released_data.validation_records`.

    Returns:
        Kind -> part -> as of `pck_shoulder`, of the model and of the mean pose.
    """
    table, mean_pose = {}, {}
    for kind in KINDS:
        webcam = kind in WEBCAM_KINDS
        pck = pck_shoulder if webcam else pck_torso
        results = evaluation.predict_records(model, val[kind], flip=not webcam)
        table[kind] = pck(results)
        constant = (model.record["mean_pose"], model.record["mean_visibility"])
        mean_pose[kind] = pck(results.with_predictions(*constant))
    return table, mean_pose


def search_results(
    model: predictor.Predictor,
    results: EvalResults,
    people: Iterable[PersonAnnotation],
    flip: bool = False,
) -> EvalResults:
    """Replace the keypoints of one look at the full photo by those of `Predictor.predict` without a
    box, which looks again in a closer square.

    Args:
        model: the model.
        results: of the people, one per photo.
        people: the same, in any order.
        flip: see `Predictor.predict`.
    """
    photos = {person.source_id: person for person in people}
    keypoints = [
        model.predict(photos[str(source)].load_image(), flip=flip).keypoints
        for source in results.source_id
    ]
    return replace(results, keypoints=np.stack(keypoints))


def search_table(model: predictor.Predictor, val: dict[str, Path]) -> dict:
    """Score `Predictor.predict` without a box, on the kinds of photos with one person each.

    Args:
        model: the model.
        val: as of `released_data.validation_records`.

    Returns:
        Kind -> part -> as of `pck_shoulder` (`lsp`: `pck_torso`, with the flip test); `lsp_pcp`:
        strict PCP.
    """
    table = {}
    for kind in SEARCH_KINDS:
        webcam = kind in WEBCAM_KINDS
        results = evaluation.predict_records(model, val[kind], flip=not webcam)
        people = released_data.validation_people(kind)
        results = search_results(model, results, people, flip=not webcam)
        table[kind] = pck_shoulder(results) if webcam else pck_torso(results)
        if kind == "lsp":
            pcp = metrics.pcp(results.keypoints, results.target, results.labelled)
            table["lsp_pcp"] = round(pcp["mean"], 4)
    return table


def card(model: predictor.Predictor, val: dict[str, Path], photos: Path) -> dict:
    """Compute all figures of the model card that `evaluation.evaluate` does not.

    Args:
        model: the model, with its `calibration`.
        val: as of `released_data.validation_records`.
        photos: the folder that `POSEKIT_DATA` names; `pose_clips` and `clips` are used.

    Returns:
        One entry per function above; `book/model_card.md` shows them.
    """
    plain = {
        kind: evaluation.predict_records(model, val[kind], flip=False)
        for kind in (*KINDS, *BACKGROUND_KINDS)
    }
    table, mean_pose = joints_table(model, val)
    clips = sorted((photos / "clips").glob("*.m*"))
    return {
        "joints": table,
        "mean_pose": mean_pose,
        "search": search_table(model, val),
        "draw_threshold": draw_threshold([plain["webcam"], plain["stills"]]),
        "clip_error": clip_error(model, photos / "pose_clips"),
        "presence": presence_roc(
            [plain[kind].presence for kind in KINDS],
            [plain[kind].presence for kind in BACKGROUND_KINDS],
        ),
        "calibration": calibration([plain[kind] for kind in CALIBRATION_KINDS]),
        "coco_by_share": by_visible_share(evaluation.predict_records(model, val["coco"])),
        "robustness": robustness(model, val),
        "clips": {clip.stem: tracking_stats(model, clip) for clip in clips},
    }
