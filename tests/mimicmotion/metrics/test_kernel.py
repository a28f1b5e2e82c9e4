"""The kernel distance: as published up to pairs of one video, unbiased for few videos, jackknifed."""

from itertools import product

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.metrics.frechet import FeatureStatistics, frechet_distance
from mimicmotion.metrics.kernel import KernelGroups


def kernel(a, b):
    return (a @ b.T / a.shape[1]) ** 2


def by_pairs(videos):
    """Straight from the definition: pairs of different videos alone, times 100."""
    total, num = 0.0, 0
    for one, other in product(range(len(videos)), repeat=2):
        if one != other:
            (x, s), (y, t) = videos[one], videos[other]
            total += kernel(x, y).sum() + kernel(s, t).sum() - kernel(x, t).sum() - kernel(s, y).sum()
            num += len(x) * len(y)
    return 100 * total / num


def groups_of(videos):
    groups = KernelGroups(videos[0][0].shape[1])
    for place, (made, true) in enumerate(videos):
        groups.add(place, made, true)
    return groups


def drawn(rng, num_videos, shift=0.0, width=6, same=False):
    """Videos of several windows each, which look like their own video."""
    videos = []
    for _ in range(num_videos):
        count = int(rng.integers(2, 5))
        true = rng.normal(size=(1, width)) + 0.1 * rng.normal(size=(count, width))
        other = rng.normal(size=(1, width)) + 0.1 * rng.normal(size=(count, width)) + shift
        videos.append((true if same else other, true))
    return videos


def test_it_is_the_mean_over_pairs_of_different_videos_also_without_each_video():
    videos = drawn(np.random.default_rng(0), 5)
    value, without = groups_of(videos).discrepancy()
    assert value == pytest.approx(by_pairs(videos))
    left = [by_pairs(videos[:i] + videos[i + 1 :]) for i in range(5)]
    assert without == pytest.approx(left)


def test_equal_sets_are_at_zero():
    value, without = groups_of(drawn(np.random.default_rng(1), 4, same=True)).discrepancy()
    assert [value, *without] == [0.0] * 5


def test_few_videos_of_one_kind_are_at_zero_on_average_where_the_frechet_distance_is_not():
    rng = np.random.default_rng(2)
    sets = [drawn(rng, 4) for _ in range(400)]
    values = np.array([groups_of(videos).discrepancy()[0] for videos in sets])
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean()) < 3 * error
    shifted = [groups_of(drawn(rng, 4, shift=1.0)).discrepancy()[0] for _ in range(400)]
    assert np.mean(shifted) > 10 * error
    sides = [[np.concatenate(side) for side in zip(*videos, strict=True)] for videos in sets[:50]]
    frechet = [frechet_distance(*map(FeatureStatistics.of, pair)) for pair in sides]
    assert min(frechet) > 1


def test_with_all_pairs_it_is_the_published_number():
    """Numbers of the small example in the published code: degree 2, gamma 1 / d, no constant."""
    a = np.arange(1, 10).reshape(3, 3)
    b = np.array([[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]])
    published = kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()
    assert published == pytest.approx(270.7, abs=0.05)
    many = np.repeat(a[None], 400, 0).reshape(-1, 1, 3), np.repeat(b[:3][None], 400, 0).reshape(-1, 1, 3)
    value, _ = groups_of(list(zip(*many, strict=True))).discrepancy()
    all_pairs = kernel(a, a).mean() + kernel(b[:3], b[:3]).mean() - 2 * kernel(a, b[:3]).mean()
    assert value == pytest.approx(100 * all_pairs, rel=1e-2)


def test_one_video_has_no_pairs():
    with pytest.raises(InputError, match="needs 2 videos"):
        groups_of(drawn(np.random.default_rng(0), 1)).discrepancy()
    assert groups_of(drawn(np.random.default_rng(0), 2)).discrepancy()[1] == ()
