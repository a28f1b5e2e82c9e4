"""Frechet distance against closed forms, and statistics that stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimicmotion.errors import InputError
from mimicmotion.metrics.frechet import FeatureStatistics, frechet_distance


def gaussian(mean, covariance, count=10):
    mean = np.asarray(mean, np.float64)
    return FeatureStatistics(count, mean, np.asarray(covariance, np.float64) * (count - 1))


def random_covariance(rng, width, rank=None):
    a = rng.standard_normal((width, rank or width))
    return a @ a.T


def test_closed_form_of_two_diagonal_gaussians():
    rng = np.random.default_rng(0)
    mean_a, mean_b = rng.standard_normal((2, 6))
    std_a, std_b = rng.uniform(0.1, 3, (2, 6))
    expected = ((mean_a - mean_b) ** 2 + (std_a - std_b) ** 2).sum()
    distance = frechet_distance(gaussian(mean_a, np.diag(std_a**2)), gaussian(mean_b, np.diag(std_b**2)))
    assert distance == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("width", [2, 5, 40])
def test_eigenvalue_form_of_full_covariances(width):
    rng = np.random.default_rng(width)
    cov_a, cov_b = random_covariance(rng, width), random_covariance(rng, width)
    mean_a, mean_b = rng.standard_normal((2, width))
    cross = np.sqrt(np.linalg.eigvals(cov_a @ cov_b).astype(complex)).real.sum()
    expected = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    assert frechet_distance(gaussian(mean_a, cov_a), gaussian(mean_b, cov_b)) == pytest.approx(
        expected, abs=1e-6
    )


def test_low_rank_covariances_stay_exact():
    """Ten vectors in 60 dimensions: the same set is at distance zero, a shifted one at its shift."""
    features = np.random.default_rng(0).standard_normal((10, 60))
    a = FeatureStatistics.of(features)
    b = FeatureStatistics.of(features + 0.5)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, b) == pytest.approx(60 * 0.25, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 40), max_size=5))
def test_any_batches_in_any_order_give_the_same_distance(seed, cuts):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((41, 5)) * 10 + 100
    other = FeatureStatistics.of(rng.standard_normal((30, 5)) * 12 + 90)
    whole = FeatureStatistics.of(features)
    parts = np.split(rng.permutation(features), sorted(cuts))
    merged = FeatureStatistics.of(features[:0])
    for part in parts:
        merged = merged.merged(FeatureStatistics.of(part))
    assert merged.count == 41
    np.testing.assert_allclose(merged.covariance, np.cov(features, rowvar=False), rtol=1e-8)
    assert frechet_distance(merged, other) == pytest.approx(frechet_distance(whole, other), rel=1e-6)


def test_one_vector_has_no_covariance():
    one = FeatureStatistics.of(np.zeros((1, 3)))
    with pytest.raises(InputError, match="at least 2"):
        frechet_distance(one, one)


def test_broken_features_are_refused():
    with pytest.raises(InputError, match="not finite"):
        FeatureStatistics.of(np.array([[np.nan, 1.0]]))
    with pytest.raises(InputError, match="width 2 and 3"):
        FeatureStatistics.of(np.zeros((4, 2))).merged(FeatureStatistics.of(np.zeros((4, 3))))
