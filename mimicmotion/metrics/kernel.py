"""Maximum mean discrepancy (MMD) of two sets of feature vectors, unbiased also for few videos.

The kernel is the one published as JEDi (Luo et al. 2025, arXiv 2410.05203): (x . y / d)^2, times 100, on
V-JEPA's features. The squared discrepancy is then that of the mean outer products of both sides, so it sees
means and covariances, and needs no matrix root. JEDi's code takes the mean over all pairs, which is too
high for few videos. Here pairs of one video are left out, on and between both sides: the U-statistic of
Gretton et al. 2012 with a video as one observation. So it is zero on average where both sides are alike, may
be negative, and is exactly zero for two equal sets.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.metrics.intervals import NUM_GROUPS, group_of

SCALE = 100


@dataclass
class _Sums:
    """Sums over some videos.

    Attributes:
        products: float64 (d, d), outer products of what was made less those of the truth.
        within: the same squared, over pairs of one video.
        num: vectors of one side.
        num_within: pairs of one video.
    """

    products: np.ndarray
    within: float = 0.0
    num: int = 0
    num_within: int = 0

    @classmethod
    def of(cls, videos: Iterable[tuple[np.ndarray, np.ndarray]], width: int) -> "_Sums":
        sums = cls(np.zeros((width, width)))
        for made, true in videos:
            one = _products(made) - _products(true)
            sums.products += one
            sums.within += float(np.vdot(one, one))
            sums.num += len(made)
            sums.num_within += len(made) ** 2
        return sums


class KernelGroups:
    """Feature vectors of what was made and of the truth, by group of videos; holds all of them.

    Args:
        width: numbers in a feature vector.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._groups: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(NUM_GROUPS)]

    def add(self, video: int, made: np.ndarray, true: np.ndarray) -> None:
        """Add one video, by its place in the order of the set: vectors (n, d) of both sides."""
        if len(made):
            self._groups[group_of(video)].append((made, true))

    @property
    def count(self) -> int:
        """Vectors of one side."""
        return sum(len(made) for group in self._groups for made, _ in group)

    def discrepancy(self) -> tuple[float, tuple[float | None, ...]]:
        """The squared MMD times 100, and the same without each group of videos in turn.

        The second holds None for a group without vectors; it is empty where too little is left.

        Raises:
            InputError: there are fewer than two videos.
        """
        num_videos = sum(map(len, self._groups))
        if num_videos < 2:
            raise InputError("MMD leaves out pairs of one video, so it needs 2 videos or more")
        whole = _Sums.of(chain.from_iterable(self._groups), self._width)
        square = float(np.vdot(whole.products, whole.products))
        value = self._unbiased(square, whole)
        if num_videos - max(map(len, self._groups)) < 2:
            return value, ()
        last = max(i for i, group in enumerate(self._groups) if group)
        return value, tuple(
            self._without(square, whole, group) if group else None for group in self._groups[: last + 1]
        )

    def _without(self, square: float, whole: _Sums, group: list[tuple[np.ndarray, np.ndarray]]) -> float:
        own = _Sums.of(group, self._width)
        square += float(np.vdot(own.products, own.products) - 2 * np.vdot(whole.products, own.products))
        counts = whole.num - own.num, whole.num_within - own.num_within
        return self._unbiased(square, _Sums(whole.products, whole.within - own.within, *counts))

    def _unbiased(self, square: float, sums: _Sums) -> float:
        return SCALE * (square - sums.within) / (sums.num**2 - sums.num_within) / self._width**2


def _products(vectors: np.ndarray) -> np.ndarray:
    exact = vectors.astype(np.float64)
    return exact.T @ exact
