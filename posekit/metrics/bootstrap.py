"""How sure is a figure? Confidence intervals from resampling people, for one model and for the difference of two (chapter 07).

People are resampled, not joints: the joints of one person are right or wrong together, and taking them for independent
makes intervals far too narrow. A score is a share of what is counted, so a person enters by two numbers a group: how
many were found, and how many counted.
"""

import numpy as np


def _sums(found: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,), (N, K) or (N, G, K) to two of (N, G): how many found and how many counted, per person and group."""
    counted = np.asarray(counted, np.float64)
    found = np.where(counted > 0, np.asarray(found, np.float64), 0)
    while counted.ndim < 3:
        found, counted = found[:, None], counted[:, None]
    return found.sum(-1), counted.sum(-1)


def _resampled(resamples: int, seed: int, *sums: np.ndarray) -> list[np.ndarray]:
    """Each (N, G) of one entry a person to (resamples, G): summed over N people drawn with replacement, the same for all."""
    rng, n, together = np.random.default_rng(seed), len(sums[0]), np.concatenate(sums, axis=1)
    drawn = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples))
    return np.split(np.stack([times @ together for times in drawn]), len(sums), axis=1)


def _score(found: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(…, G) sums to (…): the mean of the groups' shares, of those groups that exist."""
    with np.errstate(invalid="ignore"):
        shares = found / counted
    exists = counted > 0
    with np.errstate(invalid="ignore"):
        return np.where(exists, shares, 0).sum(-1) / exists.sum(-1)


def _limits(values: np.ndarray, level: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_ci(
    found: np.ndarray,
    counted: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval over people of a share.

    Args:
        found: (N,) or (N, K) bool or numbers in 0 ... 1, e.g. of `pck_hits`, or each person's OKS; (N, G, K) for a mean of
            G shares, as PCP is the mean over four kinds of limbs: `pcp_hits(...)` reshaped to (N, 4, 2).
        counted: the same shape, bool. Or both as numbers of joints, when a row is not a person but a group that is drawn as one, a scene.
        level: of confidence.
        resamples: how many times N people are drawn with replacement.
        seed: of the draws.

    Returns:
        Low and high end; NaN when nothing is counted. With one person both ends are that person's score: an interval
        that says nothing, as one person does.

    Source:
        Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    hits, counts = _sums(found, counted)
    if not len(counts):
        return float("nan"), float("nan")
    return _limits(_score(*_resampled(resamples, seed, hits, counts)), level)


def paired_bootstrap(
    found_a: np.ndarray,
    found_b: np.ndarray,
    counted: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Is model A better than model B? The difference of their shares on the same people, each draw shared by both.

    Args:
        found_a, found_b: see `bootstrap_ci`, in the same order of people.
        counted: the same shape.
        level, resamples, seed: see `bootstrap_ci`.

    Returns:
        `difference` (A − B), `low`, `high`, and `share_above`: the share of resamples in which A is better (0.5 for none). Two
        intervals that overlap do not say that two models are equal: people who are hard are hard for both, and the
        paired interval, in which that cancels, is much narrower.

    Source:
        Efron & Tibshirani 1993, chapter 8; as used for benchmarks by Koehn, EMNLP 2004.
    """
    (a, counts), (b, _) = _sums(found_a, counted), _sums(found_b, counted)
    if not len(counts):
        return dict.fromkeys(("difference", "low", "high", "share_above"), float("nan"))
    drawn_a, drawn_b, total = _resampled(resamples, seed, a, b, counts)
    difference = _score(drawn_a, total) - _score(drawn_b, total)
    low, high = _limits(difference, level)
    valid = difference[~np.isnan(difference)]
    above = float(((valid > 0) + 0.5 * (valid == 0)).mean()) if valid.size else float("nan")
    point = float(_score(a.sum(0), counts.sum(0)) - _score(b.sum(0), counts.sum(0)))
    return {"difference": point, "low": low, "high": high, "share_above": above}
