"""Time of the metrics. The claim: OKS and PCK of 100,000 people in half a second on one
core, both together.

For comparison, OKS by a plain loop over 1,000 people, as a ratio in the same run.
"""

import argparse
import json
import statistics
import time

import numpy as np

from posekit import metrics
from posekit.skeleton import COCO17

CLAIM_SECONDS = 0.5


def timed(function, *args, repeats: int = 5) -> float:
    """Median processor seconds of this process: what one core needs, whatever else runs on the
    machine."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        function(*args)
        seconds.append(time.process_time() - begin)
    return statistics.median(seconds)


def oks_in_a_loop(pred, true, labelled, area) -> list[float]:
    """OKS person by person and joint by joint, as in its formula."""
    scores = []
    for p, t, on, a in zip(pred, true, labelled, area, strict=True):
        total = 0.0
        for k in np.flatnonzero(on):
            total += np.exp(-((p[k] - t[k]) ** 2).sum() / (2 * a * (2 * COCO17.sigmas[k]) ** 2))
        scores.append(total / on.sum())
    return scores


def main() -> int:
    """Score, time, print one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object (else a line)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    n = args.people
    K = len(COCO17)
    true = rng.uniform(0, 640, (n, K, 2))
    pred = true + rng.normal(0, 10, true.shape)
    labelled = rng.random((n, K)) > 0.2
    area = rng.uniform(32**2, 200**2, n)
    labelled[:, 0] = True
    seconds_oks = timed(metrics.oks, pred, true, labelled, area)
    seconds_pck = timed(metrics.pck, pred, true, labelled)
    few = [v[:1000] for v in (pred, true, labelled, area)]
    if not np.allclose(oks_in_a_loop(*few), metrics.oks(*few), atol=1e-9):
        raise SystemExit("error: the loop and posekit.metrics.oks disagree")
    seconds_loop = timed(oks_in_a_loop, *few, repeats=3) * n / 1000
    result = {
        "people": n,
        "seconds_oks": round(seconds_oks, 4),
        "seconds_pck": round(seconds_pck, 4),
        "seconds": round(seconds_oks + seconds_pck, 4),
        "claim_seconds_for_100000_people": CLAIM_SECONDS,
        "seconds_for_100000_people": round((seconds_oks + seconds_pck) * 100_000 / n, 4),
        "oks_times_as_fast_as_a_loop": round(seconds_loop / seconds_oks, 1),
    }
    print(json.dumps(result) if args.json else ", ".join(f"{k} {v}" for k, v in result.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
