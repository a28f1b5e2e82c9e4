"""People keep their numbers through crossings and gaps, and the main person is number 0."""

import numpy as np
import pytest

from mimicmotion.pose.people import Person
from mimicmotion.pose.tracks import link
from mimicmotion.video.size import Size

SIZE = Size(400, 200)


def person(x, y=60.0, height=100.0, seed=0, score=0.9):
    """Someone whose box has its upper left at (x, y); the seed is the body's shape."""
    shape = np.random.default_rng(seed).uniform(0, 1, (133, 2))
    box = np.array([x, y, x + 0.4 * height, y + height], np.float32)
    return Person(
        box=box,
        box_score=score,
        keypoints=(box[:2] + shape * (box[2:] - box[:2])).astype(np.float32),
        confidences=np.full(133, 0.8, np.float32),
    )


def numbers_of(linked, frames, who):
    """Track number per frame of the person ``who`` (its place in each input frame), None where absent."""
    return [
        next((number for number, p in row if who < len(people) and p is people[who]), None)
        for row, people in zip(linked, frames, strict=True)
    ]


def test_two_people_who_cross_keep_their_numbers():
    frames = [[person(10 + 10 * t, seed=1, height=110), person(300 - 10 * t, seed=2)] for t in range(30)]
    linked = link(frames, 12, SIZE)
    assert set(numbers_of(linked, frames, 0)) == {0}
    assert set(numbers_of(linked, frames, 1)) == {1}


def test_a_person_hidden_while_crossing_comes_back_under_its_number():
    frames = []
    for t in range(30):
        people = [person(10 + 10 * t, seed=1, height=110), person(300 - 10 * t, seed=2)]
        frames.append(people if abs(people[0].box[0] - people[1].box[0]) > 35 else people[:1])
    assert any(len(people) == 1 for people in frames)
    linked = link(frames, 12, SIZE)
    assert set(numbers_of(linked, frames, 0)) == {0}
    assert set(numbers_of(linked, frames, 1)) == {1, None}


def test_order_within_a_frame_does_not_matter():
    random = np.random.default_rng(0)
    frames = [
        [person(50 + t, seed=1), person(200, seed=2), person(320, height=60, seed=3)] for t in range(10)
    ]
    shuffled = [[people[i] for i in random.permutation(3)] for people in frames]
    for row, other in zip(link(frames, 12, SIZE), link(shuffled, 12, SIZE), strict=True):
        assert {(number, id(p)) for number, p in row} == {(number, id(p)) for number, p in other}


def test_among_several_a_gap_of_a_second_is_bridged_and_a_longer_one_is_not():
    for gap, same in ((12, True), (14, False)):
        pair = [person(40, seed=1), person(300, seed=2)]
        frames = [pair] * 8 + [[] for _ in range(gap - 1)] + [pair] * 4
        linked = link(frames, 12, SIZE)
        assert ({number for number, _ in linked[-1]} == {number for number, _ in linked[0]}) is same


@pytest.mark.parametrize("away", [0, 5, 24, 100])
def test_one_candidate_is_one_person_across_gaps_and_cuts(away):
    # She comes back elsewhere, of another size, as after a cut.
    frames = [[person(30)] for _ in range(20)] + [[]] * away + [[person(300, y=5, height=40)]] * 15
    assert all(number == 0 for row in link(frames, 12, SIZE) for number, _ in row)


def test_who_comes_back_to_one_that_stayed_is_the_one_that_was_away():
    stays = person(30, seed=1, height=60)
    frames = [[stays, person(250, seed=2)]] * 20 + [[stays]] * 30 + [[stays, person(350, seed=2)]] * 20
    linked = link(frames, 12, SIZE)
    assert [sorted(number for number, _ in row) for row in linked] == [[0, 1]] * 20 + [[1]] * 30 + [
        [0, 1]
    ] * 20


def test_a_slight_one_beside_is_no_candidate_and_two_that_come_are_none():
    poster = person(5, y=0, height=15, seed=3, score=0.3)
    frames = [[person(150, seed=1), poster]] * 5 + [[person(150, seed=1)]] * 15 + [[]] * 30
    frames += [[person(300, y=10, height=80, seed=1)]] * 20
    assert all((0 in {number for number, _ in row}) == bool(row) for row in link(frames, 12, SIZE))
    frames = [[person(150)]] * 20 + [[]] * 30 + [[person(20), person(300)]] * 5
    assert 0 not in {number for number, _ in link(frames, 12, SIZE)[-1]}


@pytest.mark.parametrize(
    ("main", "other"),
    [
        (person(150, height=120, seed=1), person(150, height=60, y=0, seed=2)),
        (person(180, seed=1), person(355, seed=2)),
        (person(100, seed=1, score=0.9), person(260, seed=2, score=0.4)),
    ],
)
def test_the_main_person_is_large_central_and_sure(main, other):
    frames = [[other, main]] * 5
    linked = link(frames, 12, SIZE)
    assert {number for row in linked for number, p in row if p is main} == {0}


def test_the_main_person_is_not_a_short_visitor():
    frames = [[person(180, seed=1)] for _ in range(20)]
    frames[7].append(person(20, y=0, height=190, seed=2))
    linked = link(frames, 12, SIZE)
    assert {row[0][0] for row in linked} == {0}
    assert len(linked[7]) == 2


def test_nobody_gives_empty_frames():
    assert link([[], []], 12, SIZE) == [[], []]
