"""Statistics of accuracies: of one run, of two runs on the same questions, and of runs that differ in their seed.

The numbers come from statsmodels and scipy. Both take a second or more to import (statsmodels brings pandas), so they
are imported where they are used: neither a replica nor a command's `--help` waits for them.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95
"""Of every interval."""
RESAMPLES = 9999
"""Of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Two runs on the same questions: how much better the second one is, and whether that may be chance."""

    questions: int
    """Questions that both runs have and that are scored in both; all below is about these."""
    unscored: int
    """Questions that both runs have and that are unscored in one of them: left out."""
    accuracy_a: float
    """Share that the first run has right; 0 without questions."""
    accuracy_b: float
    """Share that the second run has right."""
    difference: float
    """The second share less the first."""
    low: float
    """Lower end of the difference's 95 % interval, see `bootstrap_interval`."""
    high: float
    """Upper end."""
    only_a: int
    """Questions that only the first run has right."""
    only_b: int
    """Questions that only the second run has right."""
    p_value: float
    """McNemar's exact test, two-sided: how likely chance alone splits `only_a` and `only_b` this unevenly or more."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Runs that differ in their seed alone."""

    seeds: int
    """How many."""
    mean: float
    """Mean of their accuracies."""
    standard_deviation: float
    """Their spread: the sample's, with n - 1."""
    low: float
    """The lowest accuracy."""
    high: float
    """The highest."""


def wilson_interval(correct: int, total: int) -> tuple[float, float]:
    """95 % confidence interval of a share, after Wilson (1927): sensible for few questions and shares near 0 and 1.

    Args:
        correct: How many answers are right, 0 to `total`.
        total: How many were graded.

    Returns:
        Lower and upper bound, both within [0, 1]; (0.0, 1.0) if nothing was graded, since nothing is known then.

    Raises:
        ValueError: If `correct` is not within 0 to `total`.
    """
    if not 0 <= correct <= total:
        raise ValueError(f"correct must be within 0 to total, got {correct} of {total}")
    if total == 0:
        return 0.0, 1.0
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low, high = proportion_confint(correct, total, alpha=1 - LEVEL, method="wilson")
    # Rounding may leave a bound a hair outside; at the ends the bounds are exactly 0 and 1.
    return (0.0 if correct == 0 else max(0.0, float(low))), (1.0 if correct == total else min(1.0, float(high)))


def paired(a: Mapping[str, bool | None], b: Mapping[str, bool | None]) -> Paired:
    """Compares two runs question by question.

    Args:
        a: The first run: by question id whether the answer is right, none if it is unscored.
        b: The second one; questions that only one of the two has are left out.

    Returns:
        Accuracies, difference and its chance; the same for any order of the questions, and each time it is called.
    """
    common = sorted(a.keys() & b.keys())
    scored = [(bool(a[i]), bool(b[i])) for i in common if a[i] is not None and b[i] is not None]
    only_a, only_b = scored.count((True, False)), scored.count((False, True))
    both, count = scored.count((True, True)), len(scored)
    low, high = bootstrap_interval([int(right_b) - int(right_a) for right_a, right_b in scored])
    return Paired(
        questions=count,
        unscored=len(common) - count,
        accuracy_a=(both + only_a) / max(count, 1),
        accuracy_b=(both + only_b) / max(count, 1),
        difference=(only_b - only_a) / max(count, 1),
        low=low,
        high=high,
        only_a=only_a,
        only_b=only_b,
        p_value=mcnemar_p(only_a, only_b),
    )


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided p of McNemar's exact test; 1 if the two runs have the same questions right.

    Args:
        only_a: Questions that only the first run has right.
        only_b: Questions that only the second run has right.
    """
    from statsmodels.stats.contingency_tables import mcnemar  # slow to import

    # What both have right or wrong says nothing about a difference, so any number will do for it.
    return float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


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
    import numpy as np
    from scipy import stats  # slow to import

    interval = stats.bootstrap(
        (np.asarray(differences, dtype=float),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=500,  # so that thousands of questions need no more than some megabytes
        confidence_level=LEVEL,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def over_seeds(accuracies: Sequence[float]) -> Spread:
    """Mean and spread of runs that differ in their seed alone.

    Args:
        accuracies: One a seed.

    Raises:
        ValueError: There are fewer than two, of which no spread can be told.
    """
    if len(accuracies) < 2:
        raise ValueError(f"a spread needs the accuracies of 2 seeds or more, got {len(accuracies)}")
    return Spread(
        seeds=len(accuracies),
        mean=statistics.fmean(accuracies),
        standard_deviation=statistics.stdev(accuracies),
        low=min(accuracies),
        high=max(accuracies),
    )
