"""The figures of the model card: accuracy, calibration, presence, robustness and tracking.

`card` computes them for one model; `released_models` stores them in
`book/runs/{first,teacher,student}/record.json` under `card`, from which `book/model_card.md` reads.
"""

import json
from pathlib import Path

import numpy as np

from posekit import images, metrics
from posekit.errors import DataError
from posekit.inference import evaluation, predictor
from posekit.inference.evaluation import EvalResults
from posekit.live import Tracker
from posekit.live.video import frames as live_frames
from posekit.skeleton import COCO17

FACE = slice(0, 5)
BODY = slice(5, None)
AREA_OF_BOX = 0.53
"""Mean share of a person's box that the person covers in COCO, for data without area (LSP)."""
PARTS = {
    "face": FACE,
    "shoulders": slice(5, 7),
    "elbows": slice(7, 9),
    "wrists": slice(9, 11),
    "hips": slice(11, 13),
    "knees": slice(13, 15),
    "ankles": slice(15, 17),
    "all": slice(None),
}
"""Name -> joints of COCO-17 that `by_part` takes together."""
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


def pck_shoulder(results: EvalResults) -> dict:
    """Compute PCK at a quarter of the shoulder width, over visible joints.

    Args:
        results: predictions; people without both shoulders labelled are left out.

    Returns:
        `share` of the joints, `face` and `body`: of its parts; `by_joint`: joint -> (share, number
        of joints); `by_part`: see there; `interval`: 95 % bootstrap interval over people.
    """
    left = COCO17.index("left_shoulder")
    right = COCO17.index("right_shoulder")
    width = np.linalg.norm(results.target[:, left] - results.target[:, right], axis=-1)
    width = np.where(results.labelled[:, [left, right]].all(axis=1), width, np.nan)
    visible = results.keypoints_visible == 2
    hits, counted = metrics.pck_hits(
        results.keypoints, results.target, visible, SHOULDER_THRESHOLD, width
    )
    hits &= counted

    def share(part: slice) -> float:
        return round(float(hits[:, part].sum() / max(counted[:, part].sum(), 1)), 4)

    by_joint = {
        joint: (round(float(hits[:, k].sum() / counted[:, k].sum()), 4), int(counted[:, k].sum()))
        for k, joint in enumerate(COCO17.joints)
        if counted[:, k].any()
    }
    return {
        "share": share(slice(None)),
        "face": share(FACE),
        "body": share(BODY),
        "by_joint": by_joint,
        "by_part": by_part(hits, counted),
        "interval": [round(v, 4) for v in metrics.bootstrap_ci(hits, counted)],
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
        `frames`; `tracked`: share of the frames with a pose; `jitter`: median and 95 % quantile of
        a shoulder's movement from frame to frame, in body heights of 4.5 shoulder widths, or None
        if the tracker never finds a person.
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


def pck_gain(better: predictor.Predictor, worse: predictor.Predictor, val: dict[str, Path]) -> dict:
    """Compare two models on the same people by a paired bootstrap of PCK@0.2, with the flip test.

    Args:
        better: the model whose gain is measured.
        worse: the model it is compared with.
        val: record folders; `lsp`, `lsp_joints_box` and `coco` are used.

    Returns:
        For each of the three: what `metrics.paired_bootstrap` returns.
    """
    gains = {}
    for key in ("lsp", "lsp_joints_box", "coco"):
        results = [evaluation.predict_records(model, val[key]) for model in (better, worse)]
        (a, counted), (b, _) = (
            metrics.pck_hits(r.keypoints, r.target, r.labelled) for r in results
        )
        paired = metrics.paired_bootstrap(a & counted, b & counted, counted)
        gains[key] = {name: round(value, 4) for name, value in paired.items()}
    return gains


def by_joint(results: EvalResults) -> dict:
    """Compute PCK@0.2 per joint.

    Returns:
        Joint -> (share, lower and upper end of its 95 % interval over people, number of joints).
    """
    hits, counted = metrics.pck_hits(results.keypoints, results.target, results.labelled)
    return {joint: _share(hits[:, [k]], counted[:, [k]]) for k, joint in enumerate(COCO17.joints)}


def by_visible_share(results: EvalResults) -> dict:
    """Compute PCK@0.2 by the number of limb joints in the crop, and of occluded and visible joints.

    Returns:
        `up to 6 joints`, `7 to 11`, `all 12`: people with that many of the 12 limb joints labelled
        inside the crop; `occluded` (v = 1) and `visible` (v = 2) joints. Each as in `by_joint`.
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
    return {name: _share(hits, counted & subset) for name, subset in subsets.items()}


def by_part(hits: np.ndarray, counted: np.ndarray) -> dict:
    """Compute the share of hits of each entry of `PARTS`.

    Args:
        hits: (N, 17) bool, as of `metrics.pck_hits`.
        counted: (N, 17) bool.

    Returns:
        Name -> (share, lower and upper end of its 95 % interval over people, number of joints).
    """
    return {name: _share(hits[:, part], counted[:, part]) for name, part in PARTS.items()}


def _share(
    hits: np.ndarray, counted: np.ndarray
) -> tuple[float | None, float | None, float | None, int]:
    """Share of hits among the counted joints, its interval over people, and the number of
    joints."""
    n = int(counted.sum())
    if not n:
        return None, None, None, 0
    hits = hits & counted
    share = float(hits.sum() / n)
    low, high = metrics.bootstrap_ci(hits, counted)
    return round(share, 4), round(float(low), 4), round(float(high), 4), n


def card(model: predictor.Predictor, val: dict[str, Path], photos: Path) -> dict:
    """Compute all figures of the model card that `evaluation.evaluate` does not.

    Args:
        model: the model, with its `calibration`.
        val: record folders, as `released_models.validation_records` returns them.
        photos: the folder that `POSEKIT_DATA` names; `pose_clips` and `clips` are used.

    Returns:
        One entry per function above; `book/model_card.md` shows them.
    """
    flipped = {
        key: evaluation.predict_records(model, val[key]) for key in ("lsp", "coco", "stills")
    }
    plain = {
        key: evaluation.predict_records(model, val[key], flip=False)
        for key in ("lsp", "coco", "stills", "background")
    }
    with_person = [plain[key].presence for key in ("lsp", "coco", "stills")]
    clips = sorted((photos / "clips").glob("*.m*"))
    return {
        "stills": pck_shoulder(flipped["stills"]),
        "clip_error": clip_error(model, photos / "pose_clips"),
        "presence": presence_roc(with_person, [plain["background"].presence]),
        "calibration": calibration([plain["lsp"], plain["coco"]]),
        "coco_by_joint": by_joint(flipped["coco"]),
        "coco_by_share": by_visible_share(flipped["coco"]),
        "lsp_by_share": by_visible_share(flipped["lsp"]),
        "robustness": robustness(model, val),
        "clips": {clip.stem: tracking_stats(model, clip) for clip in clips},
    }
