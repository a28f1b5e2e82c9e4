"""Frechet distance between two sets of feature vectors, from statistics that stream.

FID, FID-VID and FVD are this distance on the features of one backbone (Heusel et al. 2017).
"""

from dataclasses import dataclass

import numpy as np

from mimicmotion.errors import InputError


@dataclass(frozen=True)
class FeatureStatistics:
    """Number, mean and scatter of feature vectors; memory depends on their width only.

    Attributes:
        count: number of vectors.
        mean: float64 (d,).
        scatter: float64 (d, d), the sum of outer products of deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "FeatureStatistics":
        """Statistics of features (n, d), computed in float64; n may be 0."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2:
            raise InputError(f"features have shape {features.shape}; statistics need (n, d)")
        if not np.isfinite(features).all():
            raise InputError("some features are not finite; the backbone or its input is broken")
        mean = features.mean(axis=0) if len(features) else np.zeros(features.shape[1])
        deviation = features - mean
        return cls(len(features), mean, deviation.T @ deviation)

    def merged(self, other: "FeatureStatistics") -> "FeatureStatistics":
        """Statistics of both sets together (Chan et al. 1979): the order of merging does not matter.

        Raises:
            InputError: the vectors have another width.
        """
        if self.mean.shape != other.mean.shape:
            raise InputError(f"features of width {self.mean.size} and {other.mean.size} cannot be merged")
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        between = np.outer(delta, delta) * (self.count * other.count / count)
        return FeatureStatistics(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> np.ndarray:
        """Sample covariance float64 (d, d).

        Raises:
            InputError: there are fewer than two vectors.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 feature vectors, got {self.count}")
        return self.scatter / (self.count - 1)


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """Squared Frechet distance of the two Gaussians, at least 0.

    |m_a - m_b|^2 + tr(A) + tr(B) - 2 tr((A B)^(1/2)), where the last trace is the sum of the singular
    values of A^(1/2) B^(1/2): real and stable also when a covariance has low rank, where a general matrix
    square root is neither.

    Raises:
        InputError: fewer than two vectors on a side, or another width.
    """
    if a.mean.shape != b.mean.shape:
        raise InputError(f"features of width {a.mean.size} and {b.mean.size} cannot be compared")
    cov_a, cov_b = a.covariance, b.covariance
    cross = np.linalg.svd(_root(cov_a) @ _root(cov_b), compute_uv=False).sum()
    difference = a.mean - b.mean
    distance = difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return max(float(distance), 0.0)


def _root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric square root of a positive semidefinite matrix; noise below rounding counts as zero."""
    values, vectors = np.linalg.eigh(covariance)
    floor = max(float(values[-1]), 0.0) * len(values) * np.finfo(np.float64).eps
    return (vectors * np.sqrt(np.where(values > floor, values, 0.0))) @ vectors.T
