"""Intervals and tests against their defining equations, published values, and sums written out here."""

import subprocess
import sys
from math import comb
from statistics import NormalDist

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.reports.stats import bootstrap_interval, mcnemar_p, over_seeds, paired, wilson_interval

Z = NormalDist().inv_cdf(0.975)


@pytest.mark.parametrize(("correct", "total"), [(1, 10), (5, 10), (9, 10), (81, 263), (1318, 1319)])
def test_bounds_lie_exactly_z_standard_errors_from_the_share(correct: int, total: int) -> None:
    for bound in wilson_interval(correct, total):
        assert (correct / total - bound) ** 2 == pytest.approx(Z**2 * bound * (1 - bound) / total)


def test_a_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_ends_are_exact_and_nothing_graded_says_nothing() -> None:
    for total in (1, 3, 20, 1319):
        assert wilson_interval(0, total)[0] == 0.0
        assert wilson_interval(total, total)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "total"), [(2, 1), (-1, 4), (0, -1)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="correct must be within 0 to total"):
        wilson_interval(correct, total)


def fair_coin_p(heads: int, tails: int) -> float:
    """Two-sided exact p of a fair coin: twice the smaller tail, summed term by term, 1 at most."""
    tosses = heads + tails
    tail = sum(comb(tosses, k) for k in range(min(heads, tails) + 1))
    return float(min(1, 2 * tail / 2**tosses))


@settings(deadline=None)
@example(0, 0)
@example(5, 5)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemars_p_is_that_of_a_fair_coin(only_a: int, only_b: int) -> None:
    assert mcnemar_p(only_a, only_b) == pytest.approx(fair_coin_p(only_a, only_b), rel=1e-9, abs=1e-300)
    assert mcnemar_p(only_a, only_b) == mcnemar_p(only_b, only_a)


def test_without_discordant_pairs_nothing_speaks_for_a_difference() -> None:
    run = {"a": True, "b": False, "c": True}
    same = paired(run, run)
    assert (same.p_value, same.difference) == (1.0, 0.0)
    assert same.low == -same.high < 0


OUTCOMES = st.lists(
    st.tuples(st.sampled_from([True, False, None]), st.sampled_from([True, False, None])), min_size=0, max_size=12
)


@settings(max_examples=25, deadline=None)
@given(OUTCOMES)
def test_pairs_are_counted_over_the_questions_that_both_have_scored(outcomes: list[tuple[bool, bool]]) -> None:
    a = {f"q{i}": pair[0] for i, pair in enumerate(outcomes)} | {"only a": True}
    b = {f"q{i}": pair[1] for i, pair in enumerate(outcomes)} | {"only b": False}
    both = [pair for pair in outcomes if None not in pair]
    found = paired(a, b)
    assert (found.questions, found.unscored) == (len(both), len(outcomes) - len(both))
    assert (found.only_a, found.only_b) == (both.count((True, False)), both.count((False, True)))
    if both:
        right_a, right_b = (sum(pair[side] for pair in both) / len(both) for side in (0, 1))
        assert (found.accuracy_a, found.accuracy_b) == pytest.approx((right_a, right_b))
        assert found.difference == pytest.approx(right_b - right_a)
    assert found.p_value == pytest.approx(fair_coin_p(found.only_a, found.only_b))
    assert -1 <= found.low <= found.difference <= found.high <= 1


def test_the_order_of_the_questions_and_a_second_call_change_nothing() -> None:
    a = {f"q{i}": i % 3 == 0 for i in range(50)}
    b = {f"q{i}": i % 4 == 0 for i in range(50)}
    assert paired(a, b) == paired(dict(reversed(a.items())), dict(reversed(b.items()))) == paired(a, b)


def binomial_quantile(count: int, chance: float, level: float) -> int:
    """The smallest k that a binomial count does not exceed with at least this probability."""
    mass = 0.0
    for k in range(count + 1):
        mass += comb(count, k) * chance**k * (1 - chance) ** (count - k)
        if mass >= level:
            return k
    return count


@pytest.mark.parametrize(("better", "count"), [(30, 100), (50, 100), (8, 200)])
def test_the_bootstrap_interval_is_that_of_the_resampled_share(better: int, count: int) -> None:
    """Where no answer is worse, a resample's mean is a binomial share, whose BCa quantiles can be written down."""
    share = better / count
    # Efron (1987): acceleration from the jackknife, whose values are known in closed form for a share; bias is half the
    # mass at the share itself more than a half.
    skew = (1 - 2 * share) / (6 * (count * share * (1 - share)) ** 0.5)
    normal = NormalDist()
    below = sum(comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(better))
    at = comb(count, better) * share**better * (1 - share) ** (count - better)
    bias = normal.inv_cdf(below + at / 2)
    expected = []
    for z in (-Z, Z):
        level = normal.cdf(bias + (bias + z) / (1 - skew * (bias + z)))
        expected.append(binomial_quantile(count, share, level) / count)
    found = bootstrap_interval([1] * better + [0] * (count - better))
    assert found == pytest.approx(expected, abs=1.01 / count)  # the resamples' quantiles are a step off at most


@pytest.mark.parametrize("count", [2, 3, 40, 2376])
def test_differences_that_are_all_alike_bound_how_many_others_there_may_be(count: int) -> None:
    low, high = bootstrap_interval([0] * count)
    assert (1 - high) ** count == pytest.approx(0.025)  # so many others would have stayed unseen this rarely
    assert low == -high
    assert bootstrap_interval([1] * count) == pytest.approx((1 - 2 * high, 1.0))
    assert bootstrap_interval([-1] * count) == pytest.approx((-1.0, 2 * high - 1))


def test_an_interval_narrows_with_the_questions_and_has_a_width_from_the_second_on() -> None:
    widths = [high - low for low, high in (bootstrap_interval([1] * count) for count in (1, 2, 3, 30, 300))]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 2
    assert widths[-1] > 0.02


@pytest.mark.parametrize("few", [[], [1]])
def test_an_interval_of_fewer_than_two_questions_says_nothing(few: list[float]) -> None:
    assert bootstrap_interval(few) == (-1.0, 1.0)


def test_the_interval_of_as_many_questions_as_the_largest_benchmark_has_gets_narrow() -> None:
    low, high = bootstrap_interval([1, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0] * 216)
    standard_error = ((3 / 11 - (1 / 11) ** 2) / 2376) ** 0.5
    assert (high - low) == pytest.approx(2 * Z * standard_error, rel=0.05)
    assert (high + low) / 2 == pytest.approx(1 / 11, abs=0.002)


def test_mean_and_spread_over_seeds() -> None:
    spread = over_seeds([0.5, 0.25, 0.75])
    assert (spread.seeds, spread.mean, spread.low, spread.high) == (3, 0.5, 0.25, 0.75)
    assert spread.standard_deviation == pytest.approx(0.25)  # (0 + 1/16 + 1/16) / 2 is its square


@pytest.mark.parametrize("accuracies", [[], [0.5]])
def test_a_single_seed_has_no_spread(accuracies: list[float]) -> None:
    with pytest.raises(ValueError, match=f"2 seeds or more, got {len(accuracies)}"):
        over_seeds(accuracies)


def test_commands_and_replicas_do_not_wait_for_the_statistics_packages() -> None:
    code = "import jobs.eval, jobs.compare, pipeline.reports, pipeline.agents.actor, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy.stats", "statsmodels"} & set(done.stdout.split())
