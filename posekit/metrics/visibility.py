"""Is a probability worth its name? Ranking (AUROC, average precision) and calibration of the visibility output (chapter 07).

All take `probability`, `target` and `weight` of any one shape; what has weight 0 is left out, as in the loss.
"""

import numpy as np


def _known(
    probability: np.ndarray, target: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    known = np.asarray(weight) > 0
    return np.asarray(probability, np.float64)[known], np.asarray(target)[known] > 0.5


def visibility_accuracy(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Share of joints whose side of 0.5 is right ("inside the crop or not"), over those whose truth is known.

    Args:
        probability: (N, 17) in 0 ... 1.
        target: (N, 17) 1 = inside the crop.
        weight: (N, 17) > 0 where the truth is known.

    Returns:
        0 ... 1, NaN when nothing is known. Beware: most joints are inside, so always answering "inside" scores high.
    """
    probability, target = _known(probability, target, weight)
    return float(((probability > 0.5) == target).mean()) if target.size else float("nan")


def auroc(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a joint inside the crop gets a higher probability than one outside.

    Args:
        probability, target, weight: see `visibility_accuracy`.

    Returns:
        0 ... 1, 0.5 for guessing whatever the share of joints outside; equal probabilities count half. NaN when all known
        joints are on one side.

    Source:
        Hanley & McNeil, Radiology 1982: the area equals the Mann-Whitney statistic; computed from mid-ranks.
    """
    probability, target = _known(probability, target, weight)
    inside, outside = int(target.sum()), int((~target).sum())
    if not inside or not outside:
        return float("nan")
    _, place, count = np.unique(probability, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((rank[target].sum() - inside * (inside + 1) / 2) / (inside * outside))


def average_precision(probability: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """Average precision: the mean, over recall, of the share of right ones among those called.

    Σ (R_n − R_{n−1}) P_n over descending thresholds, one step for equal probabilities, without interpolation. To ask how well
    the joints *outside* are found, which are the rare ones, give 1 − probability and 1 − target.

    Args:
        probability, target, weight: see `visibility_accuracy`.

    Returns:
        0 ... 1; guessing gets the share of positives. NaN when there is no positive.
    """
    probability, target = _known(probability, target, weight)
    if not target.any():
        return float("nan")
    order = np.argsort(-probability, kind="stable")
    last = np.flatnonzero(
        np.diff(probability[order], append=-np.inf)
    )  # the last of each run of equal ones
    hits = np.cumsum(target[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) / target.sum() * hits / (last + 1)))


def reliability(
    probability: np.ndarray, target: np.ndarray, weight: np.ndarray, bins: int = 10
) -> dict:
    """The reliability diagram: of the joints that are given 70 %, are 70 % inside?

    Args:
        probability, target, weight: see `visibility_accuracy`.
        bins: number of bins of equal width over 0 ... 1; the last one holds 1 too.

    Returns:
        `edges` (bins + 1,), `confidence` (bins,) mean probability, `frequency` (bins,) share inside, `count` (bins,); NaN in an empty bin.

    Source:
        Niculescu-Mizil & Caruana, ICML 2005.
    """
    probability, target = _known(probability, target, weight)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, probability, bins) / count
        frequency = np.bincount(place, target, bins) / count
    return {"edges": edges, "confidence": confidence, "frequency": frequency, "count": count}


def expected_calibration_error(
    probability: np.ndarray, target: np.ndarray, weight: np.ndarray, bins: int = 10
) -> float:
    """Mean distance between what is promised and what comes true: |frequency − confidence| over the bins, weighted by their counts.

    Args:
        probability, target, weight, bins: see `reliability`.

    Returns:
        0 ... 1, 0 is calibrated; NaN when nothing is known. A constant answer equal to the base rate gets 0 and is of no use:
        read it beside `auroc`.

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    diagram = reliability(probability, target, weight, bins)
    filled, total = diagram["count"] > 0, diagram["count"].sum()
    if not total:
        return float("nan")
    gap = np.abs(diagram["frequency"] - diagram["confidence"])[filled]
    return float((gap * diagram["count"][filled]).sum() / total)
