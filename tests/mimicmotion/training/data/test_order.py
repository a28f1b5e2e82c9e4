from collections import Counter

import pytest

from mimicmotion.training.data.order import Order, share

SIZES = [(8, 16)] * 5 + [(16, 8)] * 3


def clips(order, steps):
    return [[place.clip for place in order.at(step)] for step in steps]


def test_every_clip_is_seen_each_epoch_and_batches_are_full_and_of_one_size():
    order = Order(SIZES, batch=2, seed=1)
    assert order.steps_per_epoch == 3 + 2
    for epoch in range(3):
        batches = clips(order, range(epoch * 5, epoch * 5 + 5))
        counts = Counter(clip for batch in batches for clip in batch)
        assert set(counts) == set(range(8))
        assert sum(counts.values()) == 10
        assert all(len({SIZES[clip] for clip in batch}) == 1 for batch in batches)


def test_the_order_depends_on_seed_and_epoch_and_not_on_where_one_starts():
    whole = clips(Order(SIZES, 2, seed=1), range(15))
    assert clips(Order(SIZES, 2, seed=1), range(7, 15)) == whole[7:]
    assert whole[:5] != whole[5:10]
    assert clips(Order(SIZES, 2, seed=2), range(15)) != whole


def test_fewer_clips_than_a_batch_are_repeated_under_other_seeds():
    places = Order([(8, 8)] * 2, batch=5, seed=0).at(0)
    assert Counter(place.clip for place in places).total() == 5
    draws = {place.rng(0).random() for place in places}
    assert len(draws) == 5
    assert places[0].rng(0).random() != places[0].rng(1).random()


def test_workers_and_rounds_split_the_same_batch():
    places = Order([(8, 8)] * 8, batch=8, seed=3).at(0)
    two = [share(places, rank, workers=2, rounds=2) for rank in range(2)]
    one = share(places, 0, workers=1, rounds=4)
    assert [two[0][0], two[1][0], two[0][1], two[1][1]] == one
    assert [place for round_ in one for place in round_] == places
    with pytest.raises(ValueError, match="8 does not divide over 3 workers"):
        share(places, 0, 3, 1)
