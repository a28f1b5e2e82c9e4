"""Windows become stretches, and these clips of the lengths that a trainer takes; the rest is counted."""

import pytest

from mimicmotion.clips.stretches import joined, pieces


@pytest.mark.parametrize(
    ("count", "most", "multiple", "lengths", "rest"),
    [
        (100, 81, 4, [81, 17], 2),
        (163, 81, 4, [81, 81], 1),
        (81, 81, 4, [81], 0),
        (300, None, 4, [297], 3),
        (60, 49, 8, [49, 9], 2),
        (15, 81, 4, [13], 2),
        (4, 81, 4, [], 4),
        (7, None, 1, [7], 0),
        (7, 3, 1, [3, 3], 1),
        (20, 2, 4, [], 20),
    ],
)
def test_clips_lie_end_to_end_and_have_k_times_the_multiple_and_one(count, most, multiple, lengths, rest):
    frames = range(10, 10 + 2 * count, 2)
    clips, left_over = pieces(frames, most, multiple)
    assert ([len(clip) for clip in clips], left_over) == (lengths, rest)
    assert [frame for clip in clips for frame in clip] == list(frames)[: count - rest]


def test_windows_that_overlap_or_follow_are_one_stretch():
    windows = [range(0, 7), range(3, 10), range(10, 17), range(18, 25), range(19, 33, 2), range(22, 36, 2)]
    found = [(begin, end, frames) for begin, end, frames in joined(windows)]
    # One frame lies between the third and the fourth; the sixth is off the beat of the fifth and follows it.
    assert found == [
        (0, 3, range(0, 17)),
        (3, 4, range(18, 25)),
        (4, 6, range(19, 35, 2)),
    ]
    assert list(joined([])) == []
