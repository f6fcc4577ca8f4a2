"""COCO's object keypoint similarity (OKS; chapter 09), and types of error (chapter 10)."""

import numpy as np

from posekit.skeleton import COCO17, Skeleton

__all__ = ["ERRORS", "error_types", "keypoint_similarity", "oks", "oks_matrix"]

ERRORS = ("good", "jitter", "inversion", "swap", "miss")
"""Kinds of a predicted joint, indexed by `error_types`; -1 stands for an unlabelled joint."""


def keypoint_similarity(
    pred: np.ndarray, target: np.ndarray, area: np.ndarray, sigmas: np.ndarray | None = None
) -> np.ndarray:
    """Similarity of each joint, exp(-d² / (2 · area · (2σ)²)).

    Args:
        pred: (..., K, 2) predicted joints, image pixels.
        target: (..., K, 2) annotated joints; broadcasts against `pred`.
        area: (...) the person's area in image pixels squared (COCO's `area`: of the segmentation).
        sigmas: (K,) COCO's falloff constants; None for those of COCO-17.

    Returns:
        (..., K) in 0 ... 1, NaN where the annotation is NaN: 1 for no error, 0.88, 0.61 and 0.32 at
        a distance of one, two and three σ · √area.

    Source:
        cocoapi, `cocoeval.py`; cocodataset.org, "Keypoint evaluation". COCO writes k = 2σ.
    """
    sigmas = np.asarray(COCO17.sigmas if sigmas is None else sigmas, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        offset = np.asarray(pred, np.float64) - np.asarray(target, np.float64)
        squared_distance = (offset * offset).sum(-1)
        return _falloff(squared_distance, np.asarray(area, np.float64)[..., None], sigmas)


def _falloff(squared_distance: np.ndarray, area: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """Similarity of a squared distance."""
    # area + spacing, and this order of divisions, as in cocoeval: it keeps an area of 0 finite.
    return np.exp(-(squared_distance / (2 * sigmas) ** 2 / (area + np.spacing(1)) / 2))


def oks(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    sigmas: np.ndarray | None = None,
) -> np.ndarray:
    """OKS of N predictions with their N people: the mean similarity over the labelled joints.

    Args:
        pred: (N, K, 2) image pixels.
        target: (N, K, 2) image pixels.
        labelled: (N, K) bool (v >= 1).
        area: (N,) image pixels squared.
        sigmas: see `keypoint_similarity`.

    Returns:
        (N,) in 0 ... 1; NaN for people without a labelled joint.

    Source:
        See `keypoint_similarity`.
    """
    labelled = np.asarray(labelled, bool)
    similarity = np.where(labelled, keypoint_similarity(pred, target, area, sigmas), 0)
    with np.errstate(invalid="ignore"):
        return np.divide(similarity.sum(-1), labelled.sum(-1))


def oks_matrix(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    bbox: np.ndarray,
    sigmas: np.ndarray | None = None,
) -> np.ndarray:
    """OKS of every prediction with every person of one image, for COCO's matching.

    A person without labelled joints (a crowd) has no OKS, but COCO still lets it absorb detections
    near it: the joints' distances are then those to the person's box, widened by its own width and
    height on each side, and all joints count.

    Args:
        pred: (P, K, 2) image pixels.
        target: (T, K, 2).
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
    K = np.shape(labelled)[-1]
    pred = np.asarray(pred, np.float64).reshape(-1, 1, K, 2)
    target = np.asarray(target, np.float64).reshape(1, -1, K, 2)
    labelled = np.asarray(labelled, bool).reshape(1, -1, K)
    bbox = np.asarray(bbox, np.float64).reshape(1, -1, 1, 4)
    area = np.asarray(area, np.float64).reshape(1, -1, 1)
    low = bbox[..., :2] - bbox[..., 2:]
    high = bbox[..., :2] + 2 * bbox[..., 2:]
    any_labelled = labelled.any(-1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):
        outside = np.maximum(low - pred, 0) + np.maximum(pred - high, 0)
        offset = np.where(any_labelled[..., None], pred - target, outside)
        similarity = _falloff((offset * offset).sum(-1), area, sigmas)
    scored = labelled | ~any_labelled
    return np.where(scored, similarity, 0).sum(-1) / scored.sum(-1)


def error_types(
    pred: np.ndarray,
    target: np.ndarray,
    labelled: np.ndarray,
    area: np.ndarray,
    image_id: np.ndarray,
    skeleton: Skeleton = COCO17,
) -> np.ndarray:
    """Classify predicted joints: good, jitter, inversion, swap or miss.

    Each predicted joint is compared with four kinds of annotated joint of its image: the one it
    should be; the same person's other side; and, of each other person, the same joint and its other
    side. The most similar one decides. Own joint: *good* from a similarity of 0.85, *jitter* from
    0.5. Own other side, from 0.5: *inversion*. Another person's, from 0.5: *swap*. Below 0.5 to all
    of them: *miss*.

    Args:
        pred: (N, 17, 2) image pixels, each prediction for the person in the same row; NaN is a
            miss.
        target: (N, 17, 2) image pixels.
        labelled: (N, 17) bool.
        area: (N,) image pixels squared, above 0 for every person with a labelled joint.
        image_id: (N,) identifies images: people with the same value are in the same image.
        skeleton: for its `flip_indices` and `sigmas`.

    Returns:
        (N, 17) int8: an index into `ERRORS`, -1 where the joint is not labelled.

    Raises:
        ValueError: for a person with a labelled joint whose area is not above 0: without an area
            (NaN) there is no similarity.

    Source:
        Ronchi & Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV
        2017, section 3.1. There a joint without another side (the nose) cannot be inverted; so
        here.
    """
    pred = np.asarray(pred, np.float64)
    target = np.asarray(target, np.float64)
    labelled = np.asarray(labelled, bool)
    area = np.asarray(area, np.float64)
    flip = np.asarray(skeleton.flip_indices)
    sigmas = np.asarray(skeleton.sigmas)
    unknown = labelled.any(axis=1) & ~(area > 0)
    if unknown.any():
        n = int(unknown.argmax())
        raise ValueError(
            f"person {n} has the area {area[n]}, expected a number above 0: "
            "leave out people without a known area"
        )

    def similarity(people: np.ndarray, to: np.ndarray, order: np.ndarray | slice) -> np.ndarray:
        value = np.nan_to_num(
            keypoint_similarity(pred[people], target[to][:, order], area[to], sigmas), nan=0.0
        )
        return np.where(labelled[to][:, order], value, -1.0)

    people = np.arange(len(pred))
    unflipped = slice(None)
    own = similarity(people, people, unflipped)
    has_other_side = flip != np.arange(len(flip))
    other_side = np.where(has_other_side, similarity(people, people, flip), -1.0)
    others = np.full(own.shape, -1.0)
    for group in _groups(np.asarray(image_id)):
        for shift in range(1, len(group)):
            to = np.roll(group, shift)
            for joints in (unflipped, flip):
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


def _groups(values: np.ndarray) -> list[np.ndarray]:
    """Indices of equal values, one array per value."""
    if not len(values):
        return []
    order = np.argsort(values, kind="stable")
    return np.split(order, np.flatnonzero(values[order][1:] != values[order][:-1]) + 1)
