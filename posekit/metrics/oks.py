"""COCO's object keypoint similarity, and what kind of error a joint is by it (chapter 07)."""

import numpy as np

from posekit.skeleton import COCO17, Skeleton

ERRORS = ("good", "jitter", "inversion", "swap", "miss")
"""What a joint can be, in the order of the numbers that `error_types` gives; -1 is a joint without a label."""


def keypoint_similarity(
    pred: np.ndarray, true: np.ndarray, area: np.ndarray, sigmas: np.ndarray | None = None
) -> np.ndarray:
    """Similarity of each joint, exp(−d² / (2 · area · (2σ)²)): 1 on the spot, 0.88, 0.61 and 0.32 at one, two and three σ.

    Args:
        pred: (..., K, 2) predicted joints, photo pixels.
        true: (..., K, 2) true joints; broadcasts against `pred`.
        area: (...) the person's area in photo pixels squared (COCO's `area`: of the segmentation).
        sigmas: (K,) COCO's falloff constants; None for those of COCO-17.

    Returns:
        (..., K) in 0 ... 1, NaN where the truth is NaN.

    Source:
        cocoapi, `cocoeval.py`; cocodataset.org, "Keypoint evaluation". COCO writes k = 2σ.
    """
    sigmas = np.asarray(COCO17.sigmas if sigmas is None else sigmas, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        offset = np.asarray(pred, np.float64) - np.asarray(true, np.float64)
        square = (offset * offset).sum(-1)
        return _falloff(square, np.asarray(area, np.float64)[..., None], sigmas)


def _falloff(square: np.ndarray, area: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    # area + spacing, and this order of divisions, as in cocoeval: an area of 0 must not divide by it
    return np.exp(-(square / (2 * sigmas) ** 2 / (area + np.spacing(1)) / 2))


def oks(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    sigmas: np.ndarray | None = None,
) -> np.ndarray:
    """OKS of N predictions with their N people: the mean similarity over the labelled joints.

    Args:
        pred: (N, K, 2) photo pixels.
        true: (N, K, 2) photo pixels.
        labelled: (N, K) bool (v >= 1).
        area: (N,) photo pixels squared.
        sigmas: see `keypoint_similarity`.

    Returns:
        (N,) in 0 ... 1; NaN for people without a labelled joint.

    Source:
        See `keypoint_similarity`.
    """
    labelled = np.asarray(labelled, bool)
    similarity = np.where(labelled, keypoint_similarity(pred, true, area, sigmas), 0)
    with np.errstate(invalid="ignore"):
        return np.divide(similarity.sum(-1), labelled.sum(-1))


def oks_matrix(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    bbox: np.ndarray,
    sigmas: np.ndarray | None = None,
) -> np.ndarray:
    """OKS of every prediction with every person of one photo, as COCO's matching wants it.

    A person without labelled joints (a crowd) has no OKS. COCO lets it swallow detections near it all the same: the joints'
    distances are then those to the person's box widened by its own width and height on each side, and all joints count.

    Args:
        pred: (P, K, 2) photo pixels.
        true: (T, K, 2).
        labelled: (T, K) bool.
        area: (T,).
        bbox: (T, 4) x, y, w, h.
        sigmas: see `keypoint_similarity`.

    Returns:
        (P, T), in the order given (pycocotools sorts predictions by score and keeps 20).

    Source:
        cocoapi, `COCOeval.computeOks`.
    """
    sigmas = np.asarray(COCO17.sigmas if sigmas is None else sigmas, np.float64)
    pred, true, labelled = (
        np.asarray(pred, np.float64),
        np.asarray(true, np.float64),
        np.asarray(labelled, bool),
    )
    K = labelled.shape[-1]
    pred, true, labelled = (
        pred.reshape(-1, 1, K, 2),
        true.reshape(1, -1, K, 2),
        labelled.reshape(1, -1, K),
    )
    bbox, area = (
        np.asarray(bbox, np.float64).reshape(1, -1, 1, 4),
        np.asarray(area, np.float64).reshape(1, -1, 1),
    )
    low, high = bbox[..., :2] - bbox[..., 2:], bbox[..., :2] + 2 * bbox[..., 2:]
    some = labelled.any(-1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        outside = np.maximum(low - pred, 0) + np.maximum(pred - high, 0)
        offset = np.where(some[..., None], pred - true, outside)
        similarity = _falloff((offset * offset).sum(-1), area, sigmas)
    counted = labelled | ~some
    return np.where(counted, similarity, 0).sum(-1) / counted.sum(-1)


def error_types(
    pred: np.ndarray,
    true: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    photo: np.ndarray,
    skeleton: Skeleton = COCO17,
) -> np.ndarray:
    """Which joints fail, and how: good, jitter, inversion, swap or miss.

    Each predicted joint is compared with four kinds of true joint of its photo: the one it should be; the same person's
    other side; and, of each other person, the same joint and its other side. The most similar one decides. Own joint:
    *good* from a similarity of 0.85, *jitter* from 0.5. Own other side, from 0.5: *inversion*. Somebody else's, from 0.5: *swap*.
    Below 0.5 to all of them: *miss*.

    Args:
        pred: (N, 17, 2) photo pixels, each prediction belonging to the person in the same row; NaN is a miss.
        true: (N, 17, 2).
        labelled: (N, 17) bool.
        area: (N,) photo pixels squared, above 0 for everybody with a labelled joint.
        photo: (N,) what tells photos apart: people with the same value stand in the same photo.
        skeleton: for its `flip_indices` and `sigmas`.

    Returns:
        (N, 17) int8: an index into `ERRORS`, -1 where the joint is not labelled.

    Raises:
        ValueError: for somebody with a labelled joint whose area is not above 0: where no area is known (NaN) there is no similarity.

    Source:
        Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017, section 3.1. There a joint
        without other side (the nose) cannot be inverted; so here.
    """
    labelled, area, photo = (
        np.asarray(labelled, bool),
        np.asarray(area, np.float64),
        np.asarray(photo),
    )
    pred, true = np.asarray(pred, np.float64), np.asarray(true, np.float64)
    flip, sigmas = np.asarray(skeleton.flip_indices), np.asarray(skeleton.sigmas)
    paired = flip != np.arange(len(flip))
    unknown = labelled.any(axis=1) & ~(area > 0)
    if unknown.any():
        n = int(unknown.argmax())
        raise ValueError(
            f"person {n} has the area {area[n]}, expected a number above 0: leave out whose area is not known"
        )

    def similarity(people: np.ndarray, to: np.ndarray, order: np.ndarray | slice) -> np.ndarray:
        value = np.nan_to_num(
            keypoint_similarity(pred[people], true[to][:, order], area[to], sigmas), nan=0.0
        )
        return np.where(labelled[to][:, order], value, -1.0)

    everybody, straight = np.arange(len(pred)), slice(None)
    own = similarity(everybody, everybody, straight)
    other_side = np.where(paired, similarity(everybody, everybody, flip), -1.0)
    others = np.full(own.shape, -1.0)
    order = np.argsort(photo, kind="stable")
    for group in (
        np.split(order, np.flatnonzero(photo[order][1:] != photo[order][:-1]) + 1)
        if len(order)
        else []
    ):
        for shift in range(1, len(group)):
            to = np.roll(group, shift)
            for joints in (straight, flip):
                others[group] = np.maximum(others[group], similarity(group, to, joints))
    best = np.maximum(np.maximum(own, other_side), others)
    kind = np.select(
        [best < 0.5, (own >= best) & (own >= 0.85), own >= best, other_side >= best],
        [
            ERRORS.index("miss"),
            ERRORS.index("good"),
            ERRORS.index("jitter"),
            ERRORS.index("inversion"),
        ],
        ERRORS.index("swap"),
    )
    return np.where(labelled, kind, -1).astype(np.int8)
