"""Wilson's interval against its defining equation and published values."""

import pytest

from pipeline.reports.stats import wilson_interval


@pytest.mark.parametrize(("correct", "total"), [(1, 10), (5, 10), (9, 10), (81, 263), (1318, 1319)])
def test_bounds_lie_exactly_z_standard_errors_from_the_share(correct: int, total: int) -> None:
    for bound in wilson_interval(correct, total):
        assert (correct / total - bound) ** 2 == pytest.approx(1.96**2 * bound * (1 - bound) / total)


def test_a_published_example() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_ends_are_exact_and_nothing_graded_says_nothing() -> None:
    assert wilson_interval(0, 20)[0] == 0.0
    assert wilson_interval(20, 20)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("correct", "total"), [(2, 1), (-1, 4), (0, -1)])
def test_impossible_counts_are_refused(correct: int, total: int) -> None:
    with pytest.raises(ValueError, match="correct must be within 0 to total"):
        wilson_interval(correct, total)
