"""Intervals and tests by resampling the differences between two runs, question by question.

Differences of right and wrong answers take few distinct values, so what a resample draws is how often each of them
occurs (a multinomial count) rather than every question. It is the same distribution and takes milliseconds where
thousands of questions are drawn ten thousand times: a comparison may hold hundreds of pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

LEVEL = 0.95
"""Of every interval."""
RESAMPLES = 9999
"""Of the bootstrap, and of the signs that are drawn."""

_Counts = tuple[tuple[float, int], ...]
"""Distinct values in ascending order, and how often each occurs."""


def bootstrap_interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of a mean of paired differences, the same each time (Efron's BCa, fixed seed).

    Differences that are all alike have no spread to resample, and yet are no proof. There the interval is exact: with a
    share of q = 1 - 0.025^(1/n) of other questions, n draws show none of them in 2.5 % of all cases, and what such
    questions have is anything within [-1, 1].

    Args:
        differences: One a question, each within [-1, 1].

    Returns:
        Lower and upper bound, within [-1, 1]. With fewer than two questions nothing is known: (-1.0, 1.0).
    """
    count = len(differences)
    if count < 2:
        return -1.0, 1.0
    if len(set(differences)) == 1:
        alike, unseen = differences[0], 1 - ((1 - LEVEL) / 2) ** (1 / count)
        return alike - unseen * (alike + 1), alike + unseen * (1 - alike)
    return _bca(_counted(differences))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of a mean of paired differences: how often random signs take it as far from 0, or farther.

    With differences of -1, 0 and 1 alone this is what McNemar's exact test computes; here the signs are drawn, because
    means over seeds take more values than that.

    Args:
        differences: One a question.

    Returns:
        At least 1 / (RESAMPLES + 1), the same each time; 1 where nothing differs.
    """
    return _flipped(_counted([abs(d) for d in differences if d]), abs(sum(differences)))


def _counted(values: Sequence[float]) -> _Counts:
    return tuple(sorted(Counter(round(float(value), 12) for value in values).items()))


@cache
def _bca(counts: _Counts) -> tuple[float, float]:
    """The bias-corrected and accelerated interval (Efron 1987) of the mean."""
    import numpy as np

    values = np.array([value for value, _ in counts])
    often = np.array([times for _, times in counts])
    total, normal = int(often.sum()), NormalDist()
    mean = float(values @ often) / total
    means = np.random.default_rng(0).multinomial(total, often / total, size=RESAMPLES) @ values / total
    # Sums in another order differ in their last bits, and must not decide on which side of the mean a resample lies.
    ties = np.isclose(means, mean, rtol=0, atol=1e-9)
    below = (np.count_nonzero((means < mean) & ~ties) + np.count_nonzero(ties) / 2) / RESAMPLES
    bias = normal.inv_cdf(min(max(below, 0.5 / RESAMPLES), 1 - 0.5 / RESAMPLES))
    off = values - mean
    acceleration = float(often @ off**3) / (6 * float(often @ off**2) ** 1.5)
    bounds = []
    for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        z = bias + normal.inv_cdf(level)
        bounds.append(float(np.quantile(means, normal.cdf(bias + z / (1 - acceleration * z)))))
    return bounds[0], bounds[1]


@cache
def _flipped(counts: _Counts, total: float) -> float:
    import numpy as np

    if not counts:
        return 1.0
    rng = np.random.default_rng(0)
    sums = np.zeros(RESAMPLES)
    for value, times in counts:
        sums += value * (2 * rng.binomial(times, 0.5, size=RESAMPLES) - times)
    return float(1 + np.count_nonzero(np.abs(sums) >= total - 1e-9)) / (RESAMPLES + 1)
