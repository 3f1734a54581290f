"""Statistics of accuracies: of one run, of two runs on the same questions, and of runs that differ in their seed.

Intervals of shares and McNemar's test come from statsmodels, which takes a second or more to import (it brings scipy
and pandas), so it is imported where it is used: neither a replica nor a command's `--help` waits for it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from pipeline.reports.resampling import LEVEL, bootstrap_interval, sign_flip_p


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
    """McNemar's exact test, two-sided: how likely chance alone splits `only_a` and `only_b` this unevenly or more. Over
    several seeds: the same by random signs, see `sign_flip_p`."""


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


def paired_over_seeds(a: Sequence[Mapping[str, bool | None]], b: Sequence[Mapping[str, bool | None]]) -> Paired:
    """Compares two ways of answering, each run with one seed or several: a question's score is its mean over the seeds.

    Args:
        a: The first way's runs, as `paired` takes them; a question that is unscored with some seed is left out of it.
        b: The second way's.

    Returns:
        With one run each the same as `paired`. Otherwise `only_a` and `only_b` count questions whose mean is higher.
    """
    if len(a) == len(b) == 1:
        return paired(a[0], b[0])
    means_a, means_b = _means(a), _means(b)
    common = sorted(means_a.keys() & means_b.keys())
    differences = [round(float(means_b[i] - means_a[i]), 12) for i in common]
    low, high = bootstrap_interval(differences)
    count = len(common)
    return Paired(
        questions=count,
        unscored=len(set.intersection(*map(set, (*a, *b)))) - count,
        accuracy_a=float(sum(means_a[i] for i in common) / max(count, 1)),
        accuracy_b=float(sum(means_b[i] for i in common) / max(count, 1)),
        difference=float(sum(means_b[i] - means_a[i] for i in common) / max(count, 1)),
        low=low,
        high=high,
        only_a=sum(d < 0 for d in differences),
        only_b=sum(d > 0 for d in differences),
        p_value=sign_flip_p(differences),
    )


def _means(runs: Sequence[Mapping[str, bool | None]]) -> dict[str, Fraction]:
    """Each question's mean score over runs that all have it scored; exact, so that what is equal has no difference."""
    common = set.intersection(*map(set, runs))
    scores = {i: [run[i] for run in runs] for i in common}
    return {i: Fraction(sum(map(bool, found)), len(found)) for i, found in scores.items() if None not in found}


@cache
def mcnemar_p(only_a: int, only_b: int) -> float:
    """Two-sided p of McNemar's exact test; 1 if the two runs have the same questions right.

    Args:
        only_a: Questions that only the first run has right.
        only_b: Questions that only the second run has right.
    """
    from statsmodels.stats.contingency_tables import mcnemar  # slow to import

    # What both have right or wrong says nothing about a difference, so any number will do for it.
    return float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


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
