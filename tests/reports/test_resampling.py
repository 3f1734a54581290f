"""Resampling by counts against resampling question by question."""

import numpy as np
import pytest
from scipy import stats

from pipeline.reports.resampling import bootstrap_interval, sign_flip_p
from pipeline.reports.stats import mcnemar_p, paired, paired_over_seeds


@pytest.mark.parametrize(
    "differences",
    [
        [1] * 30 + [-1] * 12 + [0] * 80,
        [1] * 3 + [0] * 40,
        [0.5] * 20 + [-0.25] * 11 + [0] * 30 + [1] * 4,
    ],
)
def test_the_interval_is_that_of_scipys_bootstrap(differences):
    drawn = stats.bootstrap(
        (np.array(differences, dtype=float),), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert bootstrap_interval(differences) == pytest.approx((drawn.low, drawn.high), abs=1.5 / len(differences))


@pytest.mark.parametrize(("ups", "downs"), [(9, 2), (5, 5), (30, 14), (3, 0)])
def test_random_signs_come_to_what_mcnemars_test_computes(ups, downs):
    found = sign_flip_p([1.0] * ups + [-1.0] * downs + [0.0] * 20)
    assert found == pytest.approx(mcnemar_p(downs, ups), abs=0.02)


def test_signs_that_never_come_have_the_smallest_p_and_no_difference_has_one():
    assert sign_flip_p([0.5] * 60) == pytest.approx(1e-4)
    assert sign_flip_p([]) == sign_flip_p([0.0] * 5) == 1.0


def test_one_seed_each_is_the_plain_pair():
    a, b = {"q1": True, "q2": False, "q3": None}, {"q1": False, "q2": True, "q3": True}
    assert paired_over_seeds([a], [b]) == paired(a, b)


def test_several_seeds_are_compared_by_each_questions_mean():
    a = [{"q1": True, "q2": False, "q3": True}, {"q1": False, "q2": False, "q3": None}]
    b = [{"q1": True, "q2": True, "q3": True}]
    found = paired_over_seeds(a, b)
    assert (found.questions, found.unscored) == (2, 1)
    assert (found.accuracy_a, found.accuracy_b, found.difference) == pytest.approx((0.25, 1.0, 0.75))
    assert (found.only_a, found.only_b) == (0, 2)
    assert found.low <= 0.75 <= found.high
