from collections import Counter

import pytest

from mimicmotion.training.data.order import Order, share

SIZES = [(8, 16)] * 5 + [(16, 8)] * 3


def alone(sizes):
    """Clips that an epoch shows one by one."""
    return [(size, f"clip{n}", 1) for n, size in enumerate(sizes)]


def clips(order, steps):
    return [[index.clip for index in order.at(step)] for step in steps]


def test_every_clip_is_seen_each_epoch_and_batches_are_full_and_of_one_size():
    order = Order(alone(SIZES), batch=2, seed=1)
    assert order.steps_per_epoch == 3 + 2
    for epoch in range(3):
        batches = clips(order, range(epoch * 5, epoch * 5 + 5))
        counts = Counter(clip for batch in batches for clip in batch)
        assert set(counts) == set(range(8))
        assert sum(counts.values()) == 10
        assert all(len({SIZES[clip] for clip in batch}) == 1 for batch in batches)


def test_the_order_depends_on_seed_and_epoch_and_not_on_where_one_starts():
    whole = clips(Order(alone(SIZES), 2, seed=1), range(15))
    assert clips(Order(alone(SIZES), 2, seed=1), range(7, 15)) == whole[7:]
    assert whole[:5] != whole[5:10]
    assert clips(Order(alone(SIZES), 2, seed=2), range(15)) != whole


def test_an_epoch_shows_every_video_once_and_all_its_windows_get_the_same_chance():
    runs = [((8, 8), "a", 30), ((8, 8), "a", 10), ((8, 8), "b", 5), ((8, 8), "c", 1)]
    order = Order(runs, batch=1, seed=1)
    assert order.steps_per_epoch == 3
    epochs = [{step[0] for step in clips(order, range(3 * n, 3 * n + 3))} for n in range(400)]
    assert all(epoch in ({0, 2, 3}, {1, 2, 3}) for epoch in epochs)
    assert sum(0 in epoch for epoch in epochs) / 400 == pytest.approx(0.75, abs=0.06)


def test_fewer_clips_than_a_batch_are_repeated_under_other_seeds():
    indices = Order(alone([(8, 8)] * 2), batch=5, seed=0).at(0)
    assert Counter(index.clip for index in indices).total() == 5
    draws = {index.rng(0).random() for index in indices}
    assert len(draws) == 5
    assert indices[0].rng(0).random() != indices[0].rng(1).random()


def test_workers_and_rounds_split_the_same_batch():
    indices = Order(alone([(8, 8)] * 8), batch=8, seed=3).at(0)
    two = [share(indices, rank, workers=2, accumulation_steps=2) for rank in range(2)]
    one = share(indices, 0, workers=1, accumulation_steps=4)
    assert [two[0][0], two[1][0], two[0][1], two[1][1]] == one
    assert [index for round_ in one for index in round_] == indices
    with pytest.raises(ValueError, match="8 does not divide over 3 workers"):
        share(indices, 0, 3, 1)
