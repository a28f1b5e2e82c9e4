"""Every fusion at every length: weights sum to one for each frame."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mimicmotion.diffusion.fusion import fusion_weights, layout, tiles
from mimicmotion.errors import InputError

KINDS = ("progressive", "release", "uniform", "first")


def total(kind: str, parts: list[tuple[int, ...]], num_frames: int) -> torch.Tensor:
    weights = fusion_weights(kind, parts, num_frames)
    return torch.zeros(num_frames).index_add_(0, torch.tensor(parts).flatten(), weights.flatten())


@given(
    num_frames=st.integers(1, 120),
    shape=st.integers(2, 24).flatmap(lambda tile: st.tuples(st.just(tile), st.integers(0, tile - 1))),
    kind=st.sampled_from(KINDS),
)
def test_weights_sum_to_one_for_every_frame(num_frames: int, shape: tuple[int, int], kind: str) -> None:
    tile, overlap = shape
    parts = tiles(num_frames, tile, overlap)
    assert {len(part) for part in parts} == {min(tile, num_frames)}
    assert all(part[0] == 0 and part[1:] == tuple(range(part[1], part[-1] + 1)) for part in parts if part[1:])
    torch.testing.assert_close(total(kind, parts, num_frames), torch.ones(num_frames))
    assert (fusion_weights(kind, parts, num_frames) >= 0).all()


def test_tiles_are_those_of_the_released_sampler() -> None:
    assert tiles(19, 8, 3) == [
        (0, *range(1, 8)),
        (0, *range(6, 13)),
        (0, *range(11, 18)),
        (0, *range(12, 19)),
    ]


def test_short_videos_are_one_tile_and_overlap_zero_is_a_cut() -> None:
    assert tiles(5, 8, 3) == [(0, 1, 2, 3, 4)]
    assert tiles(1, 8, 3) == [(0,)]
    assert tiles(7, 4, 0) == tiles(7, 4, 1) == [(0, 1, 2, 3), (0, 4, 5, 6)]
    for kind in KINDS:
        assert torch.equal(fusion_weights(kind, tiles(7, 4, 0), 7)[:, 1:], torch.ones(2, 3))


def test_progressive_is_the_ramp_of_the_paper() -> None:
    parts = tiles(12, 7, 3)
    assert parts == [(0, *range(1, 7)), (0, *range(5, 11)), (0, *range(6, 12))]
    weights = fusion_weights("progressive", parts[:2], 11)
    expected = torch.tensor([[0.5, 1, 1, 1, 1, 2 / 3, 1 / 3], [0.5, 1 / 3, 2 / 3, 1, 1, 1, 1]])
    torch.testing.assert_close(weights, expected)
    # The third starts one frame later: it fades in over all five frames that lie there already.
    last = fusion_weights("progressive", parts, 12)[2]
    torch.testing.assert_close(last, torch.tensor([1 / 3, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]))


def test_first_takes_each_frame_from_the_first_tile_that_holds_it() -> None:
    weights = fusion_weights("first", tiles(10, 5, 3), 10)
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    assert weights[0].tolist() == [1.0] * 5


def test_segments_share_no_slot_and_have_one_of_the_reference_each() -> None:
    """The last one is as long as the others: of what it would share with the one before it has copies."""
    plan = layout("none", 9, 4, 2)
    assert plan.tiles == [(0, 1, 2, 3), (9, 4, 5, 6), (10, 11, 7, 8)]
    assert plan.frames == (*range(9), 0, 0, 6)
    assert torch.equal(fusion_weights("none", plan.tiles, len(plan.frames)), torch.ones(3, 4))
    assert layout("none", 3, 4, 2) == layout("first", 3, 4, 2)
    assert layout("first", 9, 4, 2).frames == tuple(range(9))


@pytest.mark.parametrize(("frames", "tile", "overlap"), [(0, 8, 2), (9, 1, 0), (9, 8, 8), (9, 8, -1)])
def test_impossible_tilings_say_what_is_allowed(frames: int, tile: int, overlap: int) -> None:
    with pytest.raises(InputError, match=r"allowed|at least"):
        tiles(frames, tile, overlap)
