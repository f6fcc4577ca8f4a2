"""What the model card tells of a released model: how good, for whom, how sure, and when it sees nobody."""

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

FACE, LIMBS = slice(0, 5), slice(5, None)
AREA_OF_BOX = 0.53
"""Of a person's box in COCO, the share that the person covers: stands in where a data set knows no area, as LSP."""
QUARTER = 0.25


def similarity(answers: EvalResults) -> np.ndarray:
    """Each joint's part of OKS, (N, 17): of a joint outside the crop, which no answer can be right about, 0; NaN where nothing is known."""
    low = np.where(answers.labelled[..., None], answers.target, np.inf).min(axis=1)
    high = np.where(answers.labelled[..., None], answers.target, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore"):
        area = np.where(
            np.isnan(answers.area), AREA_OF_BOX * (high - low).prod(axis=1), answers.area
        )
    term = metrics.keypoint_similarity(answers.keypoints, answers.target, area)
    return np.where(answers.in_crop, term, np.where(answers.in_crop_known, 0.0, np.nan))


def calibrate(answers: list[EvalResults]) -> dict[str, float]:
    """The three numbers of `predictor.joint_score`, by maximum likelihood, so that the score of a joint is the OKS to expect of it.

    Args:
        answers: without the flip test, of people whom the model was not trained on.

    Returns:
        `bias`, `log_sigma`, `visibility`.
    """
    from scipy.optimize import minimize

    target = np.concatenate([similarity(a).ravel() for a in answers])
    visible = np.concatenate([a.visibility.ravel() for a in answers])
    sigma = np.concatenate([a.sigma.mean(axis=-1).ravel() for a in answers])
    counted = np.isfinite(target)
    sure = np.clip(visible[counted], 1e-6, 1 - 1e-6)
    inputs = np.stack([np.ones(counted.sum()), np.log(sigma[counted]), np.log(sure / (1 - sure))])
    wanted = target[counted]

    def cost(numbers):
        evidence = numbers @ inputs
        gradient = inputs @ (1 / (1 + np.exp(-evidence)) - wanted)
        return np.sum(np.logaddexp(0, evidence) - wanted * evidence) / len(wanted), gradient / len(
            wanted
        )

    found = minimize(cost, np.zeros(3), jac=True).x
    return dict(zip(("bias", "log_sigma", "visibility"), found.round(5).tolist(), strict=True))


def sureness(answers: list[EvalResults], bins: int = 10) -> dict:
    """Does the score mean what it says? On people as in `calibrate`.

    Args:
        answers: of a model with its `calibration`, without the flip test.
        bins: of the score.

    Returns:
        `ece`: the mean distance of score and OKS over bins of the score; `bins`: (score, OKS, joints) of each.
    """
    score = np.concatenate([a.score.ravel() for a in answers])
    target = np.concatenate([similarity(a).ravel() for a in answers])
    counted = np.isfinite(target)
    score, target = score[counted], target[counted]
    place = np.minimum((score * bins).astype(int), bins - 1)
    rows = [
        (score[place == b].mean(), target[place == b].mean(), int((place == b).sum()))
        for b in np.unique(place)
    ]
    ece = sum(n * abs(s - t) for s, t, n in rows) / len(score)
    return {
        "ece": round(float(ece), 4),
        "bins": [(round(float(s), 4), round(float(t), 4), n) for s, t, n in rows],
    }


def within_a_quarter(answers: EvalResults) -> dict:
    """Of the labelled, visible joints those within a quarter of the person's shoulder width of the truth, as a webcam needs it.

    Returns:
        `share`, and of it `face`, `body`, `by_joint` {joint: (share, joints)}; `interval` over people.
    """
    left, right = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")
    width = np.linalg.norm(answers.target[:, left] - answers.target[:, right], axis=-1)
    width = np.where(answers.labelled[:, [left, right]].all(axis=1), width, np.nan)
    seen = answers.keypoints_visible == 2
    found, counted = metrics.pck_hits(answers.keypoints, answers.target, seen, QUARTER, width)
    found &= counted

    def share(part: slice) -> float:
        return round(float(found[:, part].sum() / max(counted[:, part].sum(), 1)), 4)

    by_joint = {
        joint: (round(float(found[:, k].sum() / counted[:, k].sum()), 4), int(counted[:, k].sum()))
        for k, joint in enumerate(COCO17.joints)
        if counted[:, k].any()
    }
    interval = [round(v, 4) for v in metrics.bootstrap_ci(found, counted)]
    return {
        "share": share(slice(None)),
        "face": share(FACE),
        "body": share(LIMBS),
        "by_joint": by_joint,
        "interval": interval,
    }


def anybody(there: list[np.ndarray], nobody: list[np.ndarray]) -> dict:
    """How well presence tells a picture with somebody from one with nobody.

    Args:
        there, nobody: presence (N,) of pictures of each kind.

    Returns:
        `auroc`; `roc`: (false alarms, hits) at thresholds from 0.95 to 0.05; the number of pictures of each kind.
    """
    yes, no = np.concatenate(there), np.concatenate(nobody)
    both, truth = np.concatenate([yes, no]), np.concatenate([np.ones(len(yes)), np.zeros(len(no))])
    curve = [
        (round(float((no >= t).mean()), 4), round(float((yes >= t).mean()), 4))
        for t in np.arange(0.95, 0, -0.05)
    ]
    found = metrics.auroc(both[:, None], truth[:, None], np.ones((len(both), 1)))
    return {"auroc": round(found, 4), "roc": curve, "somebody": len(yes), "nobody": len(no)}


def squats(model: predictor.Predictor, folder: Path) -> dict:
    """The clip of one whole person: distance to the reference pose of another model, in body heights.

    Args:
        model: asked for the whole frame, with the flip test.
        folder: with `pose_squats.mp4` and `pose_squats.coco17.json`.

    Returns:
        `mean`, and the `worst` frame's.

    Raises:
        DataError: when the clip cannot be read.
    """
    import cv2

    reference = json.loads((folder / "pose_squats.coco17.json").read_text(encoding="utf-8"))
    clip, off = cv2.VideoCapture(str(folder / "pose_squats.mp4")), []
    try:
        for pose in np.array(reference["keypoints"], np.float64):
            ok, frame = clip.read()
            if not ok:
                raise DataError(
                    folder / "pose_squats.mp4", "ends before its reference", "restore it"
                )
            height = np.ptp(pose[:, 1])
            found = model.predict(frame[..., ::-1], flip=True).keypoints
            off.append(np.linalg.norm(found - pose[:, :2], axis=1).mean() / height)
    finally:
        clip.release()
    return {
        "mean": round(float(np.mean(off)), 4),
        "worst": round(float(np.max(off)), 4),
        "frames": len(off),
    }


def presence(model: predictor.Predictor, folder: Path) -> np.ndarray:
    """(N,) of the crops of a record folder."""
    return evaluation.predict_records(model, folder, flip=False).presence


def dim(picture: np.ndarray) -> np.ndarray:
    """A quarter of the light, (H, W, 3) uint8."""
    return (picture * 0.25).round().astype(np.uint8)


def spoiled(model: predictor.Predictor, val: dict[str, Path]) -> dict:
    """PCK@0.2 on LSP (full photo) and on COCO as the photos are, in a quarter of the light, and as a cheap camera takes them."""
    rng = np.random.default_rng(0)
    ways = {
        "plain": None,
        "dim": dim,
        "poor camera": lambda picture: images.simulate_cheap_camera(picture, rng),
    }
    out = {}
    for name, spoil in ways.items():
        both = {
            key: evaluation.predict_records(model, val[key], flip=False, spoil=spoil)
            for key in ("lsp", "coco")
        }
        out[name] = {
            key: round(metrics.pck(a.keypoints, a.target, a.labelled)["value"], 4)
            for key, a in both.items()
        }
    return out


def followed(model: predictor.Predictor, clip: Path) -> dict:
    """How the demo's tracker does on a clip.

    Returns:
        `frames`; `kept`, the share of frames with somebody; `jitter`, how far a shoulder moves from frame to frame, in body heights of 4.5
        shoulder widths: median and 95 % of frames (None where nobody is kept). Who stands and talks keeps the shoulders nearly still.
    """
    tracker, shoulders, frames = Tracker(model), [], 0
    for frame, seconds in live_frames(clip):
        pose = tracker.step(frame, seconds)
        shoulders.append(np.full((2, 2), np.nan) if pose.lost else pose.keypoints[5:7])
        frames += 1
    shoulders = np.array(shoulders)
    kept = np.isfinite(shoulders[:, 0, 0])
    steps = np.linalg.norm(np.diff(shoulders, axis=0), axis=-1)
    steps = steps[np.isfinite(steps).all(axis=1)]
    jitter = None
    if len(steps):
        width = np.nanmedian(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=-1))
        jitter = [round(float(v), 5) for v in np.quantile(steps / (4.5 * width), (0.5, 0.95))]
    return {"frames": frames, "kept": round(float(kept.mean()), 4), "jitter": jitter}


def gain(better: predictor.Predictor, worse: predictor.Predictor, val: dict[str, Path]) -> dict:
    """What one model has over another on the same people: PCK@0.2 with the flip test, as `metrics.paired_bootstrap`, for each of `val`."""
    out = {}
    for key in ("lsp", "lsp_joints_box", "coco"):
        answers = [evaluation.predict_records(model, val[key]) for model in (better, worse)]
        (a, counted), (b, _) = (
            metrics.pck_hits(x.keypoints, x.target, x.labelled) for x in answers
        )
        paired = metrics.paired_bootstrap(a & counted, b & counted, counted)
        out[key] = {name: round(value, 4) for name, value in paired.items()}
    return out


def by_joint(answers: EvalResults) -> dict:
    """PCK@0.2 of each joint: (share, its interval's lower and upper end over people, joints)."""
    found, counted = metrics.pck_hits(answers.keypoints, answers.target, answers.labelled)
    return {joint: _share(found[:, [k]], counted[:, [k]]) for k, joint in enumerate(COCO17.joints)}


def by_visible_share(answers: EvalResults) -> dict:
    """PCK@0.2, as in `by_joint`, by how many of a person's 12 limb joints are labelled inside the crop, and of occluded joints beside visible
    ones."""
    found, counted = metrics.pck_hits(answers.keypoints, answers.target, answers.labelled)
    limb = np.arange(17) >= COCO17.index("left_shoulder")
    seen = (answers.in_crop & limb).sum(axis=1)
    parts = {"up to 6 joints": seen <= 6, "7 to 11": (seen > 6) & (seen < 12), "all 12": seen == 12}
    chosen = {name: who[:, None] for name, who in parts.items()}
    chosen |= {
        "occluded": answers.keypoints_visible == 1,
        "visible": answers.keypoints_visible == 2,
    }
    return {name: _share(found, counted & which) for name, which in chosen.items()}


def _share(
    found: np.ndarray, counted: np.ndarray
) -> tuple[float | None, float | None, float | None, int]:
    """Share of the counted joints that are found, its interval over people, and how many are counted."""
    n = int(counted.sum())
    values = (
        [(found & counted).sum() / n, *metrics.bootstrap_ci(found & counted, counted)]
        if n
        else [None] * 3
    )
    return (*(None if v is None else round(float(v), 4) for v in values), n)


def card(model: predictor.Predictor, val: dict[str, Path], photos: Path) -> dict:
    """All figures of the model card.

    Args:
        model: with its `calibration`.
        val: record folders, as of `released.validation_records`.
        photos: the folder that `POSEKIT_DATA` names.
    """
    flipped = {
        key: evaluation.predict_records(model, val[key]) for key in ("lsp", "coco", "stills")
    }
    plain = [evaluation.predict_records(model, val[key], flip=False) for key in ("lsp", "coco")]
    there = [presence(model, val[key]) for key in ("lsp", "coco", "stills")]
    return {
        "stills": within_a_quarter(flipped["stills"]),
        "squats": squats(model, photos / "pose_clips"),
        "anybody": anybody(there, [presence(model, val["background"])]),
        "sureness": sureness(plain),
        "coco_by_joint": by_joint(flipped["coco"]),
        "coco_by_share": by_visible_share(flipped["coco"]),
        "lsp_by_share": by_visible_share(flipped["lsp"]),
        "spoiled": spoiled(model, val),
        "clips": {
            clip.stem: followed(model, clip) for clip in sorted((photos / "clips").glob("*.m*"))
        },
    }
