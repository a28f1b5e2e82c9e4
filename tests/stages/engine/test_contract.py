"""What a stage may take."""

import pytest

from stages.engine.contract import Item, Runtime


@pytest.mark.parametrize(
    ("runtime", "num_frames", "limit_s"),
    [
        ({}, 0, 3600),
        ({}, 36, 3600),
        ({}, 300 * 12, 36_000),
        ({"frame_timeout_s": 1}, 300 * 12, 3600),
        ({"frame_timeout_s": 0, "item_timeout_s": 60}, 300 * 12, 60),
        ({}, 10**9, 365 * 24 * 3600),
    ],
)
def test_a_long_film_may_take_longer(runtime, num_frames, limit_s):
    assert Runtime(**runtime).limit_s(Item("a", {}, num_frames=num_frames)) == limit_s
