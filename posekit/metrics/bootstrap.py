"""Bootstrap confidence intervals over people, for a model or a pair of models (chapter 10).

People are resampled, not joints: the joints of one person are right or wrong together, and treating
them as independent makes intervals far too narrow. A score is a fraction of what is scored, so each
person contributes two numbers per group: the number of hits, and the number scored.
"""

import numpy as np

__all__ = ["bootstrap_ci", "paired_bootstrap"]


def _sums(hits: np.ndarray, scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum (N,), (N, K) or (N, G, K) to (N, G) numbers of hits and of scored entries."""
    scored = np.asarray(scored, np.float64)
    hits = np.where(scored > 0, np.asarray(hits, np.float64), 0)
    while scored.ndim < 3:
        hits = hits[:, None]
        scored = scored[:, None]
    return hits.sum(-1), scored.sum(-1)


def _resampled(resamples: int, seed: int, *sums: np.ndarray) -> list[np.ndarray]:
    """Sum each (N, G) over N people drawn with replacement, the same people for all.

    Returns:
        (resamples, G) for each of `sums`.
    """
    rng = np.random.default_rng(seed)
    n = len(sums[0])
    joined = np.concatenate(sums, axis=1)
    counts = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples))
    return np.split(np.stack([count @ joined for count in counts]), len(sums), axis=1)


def _score(hits: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Average the fractions of the groups that exist: (..., G) sums to (...)."""
    with np.errstate(invalid="ignore"):
        shares = hits / scored
    exists = scored > 0
    with np.errstate(invalid="ignore"):
        return np.where(exists, shares, 0).sum(-1) / exists.sum(-1)


def _limits(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the quantiles that enclose a share of `level` of the values; NaN without values."""
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_ci(
    hits: np.ndarray,
    scored: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap confidence interval of a share, over people.

    Args:
        hits: (N,) or (N, K) bool or numbers in 0 ... 1, e.g. of `pck_hits`, or each person's OKS;
            (N, G, K) for a mean of G shares, as PCP is the mean over four kinds of limbs:
            `pcp_hits(...)` reshaped to (N, 4, 2).
        scored: the same shape, bool. Or both as numbers of joints, when a row is not a person but a
            group that is drawn as one, such as a scene.
        level: confidence level, 0 ... 1.
        resamples: how many times N people are drawn with replacement.
        seed: of the draws.

    Returns:
        Low and high end; NaN when nothing is scored. With one person both ends are that person's
        score: one person says nothing about others.

    Source:
        Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    hit_sums, scored_sums = _sums(hits, scored)
    if not len(scored_sums):
        return float("nan"), float("nan")
    return _limits(_score(*_resampled(resamples, seed, hit_sums, scored_sums)), level)


def paired_bootstrap(
    hits_a: np.ndarray,
    hits_b: np.ndarray,
    scored: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Bootstrap the difference of two models' shares on the same people, drawn together.

    Args:
        hits_a, hits_b: see `bootstrap_ci`, in the same order of people.
        scored: the same shape.
        level, resamples, seed: see `bootstrap_ci`.

    Returns:
        `difference` (A - B), `low`, `high`, and `share_above`: the share of resamples in which A is
        better (0.5 for equal). Two intervals that overlap do not say that two models are equal:
        people who are hard are hard for both, and the paired interval, in which that cancels, is
        much narrower.

    Source:
        Efron & Tibshirani 1993, chapter 8; as used for benchmarks by Koehn, EMNLP 2004.
    """
    a, total = _sums(hits_a, scored)
    b, _ = _sums(hits_b, scored)
    if not len(total):
        return dict.fromkeys(("difference", "low", "high", "share_above"), float("nan"))
    drawn_a, drawn_b, drawn_total = _resampled(resamples, seed, a, b, total)
    difference = _score(drawn_a, drawn_total) - _score(drawn_b, drawn_total)
    low, high = _limits(difference, level)
    valid = difference[~np.isnan(difference)]
    above = float(((valid > 0) + 0.5 * (valid == 0)).mean()) if valid.size else float("nan")
    point = float(_score(a.sum(0), total.sum(0)) - _score(b.sum(0), total.sum(0)))
    return {"difference": point, "low": low, "high": high, "share_above": above}
