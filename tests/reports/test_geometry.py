"""Coverage and drift against what is known of simple clouds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reports.geometry import coverage, drift, fit_plane, places, random_like, some


def cloud(count, size=8, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size))


def covered(tokens, others, k=5):
    """By the definition, pair by pair."""
    reached = 0
    for place, token in enumerate(tokens):
        own = sorted(np.linalg.norm(token - other) for at, other in enumerate(tokens) if at != place)
        reached += min(np.linalg.norm(token - other) for other in others) <= own[k - 1]
    return reached / len(tokens)


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0, 50.0])
def test_coverage_is_what_its_definition_says(shift):
    tokens, others = cloud(40), cloud(30, seed=1) + shift
    assert coverage(tokens, others) == pytest.approx(covered(tokens, others))


def test_another_sample_of_the_same_distribution_covers_nearly_all_and_one_point_next_to_nothing():
    tokens = cloud(500)
    assert coverage(tokens, cloud(500, seed=1)) == pytest.approx(1 - 0.5**5, abs=0.03)
    assert coverage(tokens, tokens[:1]) < 0.05
    assert coverage(tokens, tokens + 100) == 0


def test_drift_of_a_cloud_from_itself_is_none():
    found = drift(cloud(200), cloud(200))
    assert (found.centre, found.values) == (0, 0)
    assert found.beyond == pytest.approx(0.05, abs=0.01)


def test_drift_tells_length_place_values_and_spread():
    tokens = cloud(400)
    away = drift(np.full((10, 8), 3.0), tokens)
    assert away.norm == pytest.approx(3 * 8**0.5)
    assert away.spread == pytest.approx(0)
    assert away.centre == pytest.approx(np.linalg.norm(3 - tokens.mean(axis=0)))
    assert away.values == pytest.approx(np.abs(3 - tokens).mean())  # all values have to move to 3
    assert away.beyond == 1


@given(count=st.integers(1, 30), wanted=st.integers(0, 40))
def test_lots_are_drawn_without_repeating_and_the_same_each_time(count, wanted):
    drawn = places(count, wanted).tolist()
    assert len(drawn) == len(set(drawn)) == min(count, wanted)
    assert set(drawn) <= set(range(count))
    assert drawn == places(count, wanted).tolist()
    vectors = cloud(count)
    assert some(vectors, wanted).tolist() == vectors[drawn].tolist()


def test_random_vectors_keep_lengths_and_nothing_else():
    vectors = cloud(300) + 5
    found = random_like(vectors)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(vectors, axis=1))
    assert np.linalg.norm(found.mean(axis=0)) < 0.2 * np.linalg.norm(vectors.mean(axis=0))


def test_the_plane_is_that_in_which_clouds_spread_most():
    flat = np.zeros((50, 6))
    flat[:, 2], flat[:, 4] = 10 * cloud(50, 1).ravel(), 3 * cloud(50, 1, seed=1).ravel()
    plane = fit_plane([flat, flat[:20]])
    assert sum(plane.shares) == pytest.approx(1)
    assert np.abs(plane.axes_2D).argmax(axis=1).tolist() == [2, 4]
    # distances within the plane stay what they are
    points = plane.project(flat)
    np.testing.assert_allclose(np.linalg.norm(points[0] - points[1]), np.linalg.norm(flat[0] - flat[1]))


def test_a_large_cloud_does_not_outweigh_a_small_one():
    small, large = cloud(20, 3) * [9, 1, 1], cloud(2000, 3, seed=1) * [0, 5, 0]
    assert np.abs(fit_plane([small, large]).axes_2D[0]).argmax() == 0
