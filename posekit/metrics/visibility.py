"""Ranking (AUROC, average precision) and calibration of the visibility output (chapter 10).

All functions take `probability`, `target` and `weight` of the same shape, any shape; entries with
weight 0 are left out, as in the loss.
"""

import numpy as np

__all__ = [
    "auroc",
    "average_precision",
    "expected_calibration_error",
    "reliability",
    "visibility_accuracy",
]


def _known(
    probability: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Entries with weight above 0, flat: probability float64 and target bool."""
    known = np.asarray(weight) > 0
    return np.asarray(probability, np.float64)[known], np.asarray(target)[known] > 0.5


def visibility_accuracy(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Share of joints with the probability on the right side of 0.5: inside the crop or not.

    Args:
        probability: (N, 17) in 0 ... 1.
        target: (N, 17) 1 = inside the crop.
        weight: (N, 17) > 0 where the target is known.

    Returns:
        0 ... 1, NaN when no target is known. Beware: most joints are inside the crop, so always
        answering "inside" scores high.
    """
    probability, target = _known(probability, target, weight)
    return float(((probability > 0.5) == target).mean()) if target.size else float("nan")


def auroc(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Area under the ROC curve of "inside the crop".

    It is the probability that a joint inside the crop gets a higher value than one outside.

    Args:
        probability, target, weight: see `visibility_accuracy`.

    Returns:
        0 ... 1, 0.5 for guessing at any share of joints outside; equal probabilities count half.
        NaN when all known joints are inside or all are outside.

    Source:
        Hanley & McNeil, Radiology 1982: the area equals the Mann-Whitney statistic;
        computed from mid-ranks.
    """
    probability, target = _known(probability, target, weight)
    inside = int(target.sum())
    outside = int((~target).sum())
    if not inside or not outside:
        return float("nan")
    _, index, count = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[index]
    return float((rank[target].sum() - inside * (inside + 1) / 2) / (inside * outside))


def average_precision(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Average precision: the mean of precision over recall.

    Σ (R_n - R_{n-1}) P_n over descending thresholds, one step for equal probabilities, without
    interpolation. To score the detection of the joints *outside*, which are rare, pass
    1 - probability and 1 - target.

    Args:
        probability, target, weight: see `visibility_accuracy`.

    Returns:
        0 ... 1; guessing gets the share of positives. NaN when there is no positive.
    """
    probability, target = _known(probability, target, weight)
    if not target.any():
        return float("nan")
    order = np.argsort(-probability, kind="stable")
    # The last index of each run of equal probabilities.
    last = np.flatnonzero(np.diff(probability[order], append=-np.inf))
    hits = np.cumsum(target[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) / target.sum() * hits / (last + 1)))


def reliability(
    probability: np.ndarray, target: np.ndarray, weight: np.ndarray, bins: int = 10
) -> dict:
    """Reliability diagram: predicted probability and observed frequency per bin.

    Args:
        probability, target, weight: see `visibility_accuracy`.
        bins: number of bins of equal width over 0 ... 1; the last one holds 1 too.

    Returns:
        `edges` (bins + 1,), `confidence` (bins,) mean probability, `frequency` (bins,) share
        inside, `count` (bins,); NaN in an empty bin.

    Source:
        Niculescu-Mizil & Caruana, ICML 2005.
    """
    probability, target = _known(probability, target, weight)
    edges = np.linspace(0, 1, bins + 1)
    index = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(index, probability, bins) / count
        frequency = np.bincount(index, target, bins) / count
    return {"edges": edges, "confidence": confidence, "frequency": frequency, "count": count}


def expected_calibration_error(
    probability: np.ndarray, target: np.ndarray, weight: np.ndarray, bins: int = 10
) -> float:
    """Expected calibration error: mean |frequency - confidence| over bins, weighted by count.

    Args:
        probability, target, weight, bins: see `reliability`.

    Returns:
        0 ... 1, 0 is calibrated; NaN when no target is known. A constant probability equal to the
        base rate gets 0 and is useless: report it together with `auroc`.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    diagram = reliability(probability, target, weight, bins)
    filled = diagram["count"] > 0
    total = diagram["count"].sum()
    if not total:
        return float("nan")
    gap = np.abs(diagram["frequency"] - diagram["confidence"])[filled]
    return float((gap * diagram["count"][filled]).sum() / total)
