"""Tiles of a long video, and the weights with which their predictions are joined: pure functions.

Slot 0 is the reference; it stands first in every tile. Weights sum to one for every slot, so fused
predictions are weighted means, and one buffer of the video's length holds them whatever the number of tiles.
Without fusion, segments share no slot: each has its own copy of what two would share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mimicmotion.diffusion.settings import Fusion
from mimicmotion.errors import InputError

Tile = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Which slots there are, and which of them each tile denoises.

    Attributes:
        tiles: slots of each tile, all of one length.
        frames: frame of each slot; the first slots are the frames of the video in order, the rest copies.
    """

    tiles: list[Tile]
    frames: tuple[int, ...]


def layout(kind: Fusion, num_frames: int, tile: int, overlap: int) -> Layout:
    """Return the tiles of a video as a kind of fusion needs them.

    Args:
        kind: with ``none``, segments meet without sharing a frame, and have a slot 0 each. The last one
            begins earlier to be as long as the others; of its first frames it has copies, which are dropped.
        num_frames, tile, overlap: see ``tiles``; the overlap plays no part in ``none``.

    Raises:
        InputError: as ``tiles``.
    """
    parts = tiles(num_frames, tile, 0 if kind == "none" else overlap)
    frames = list(range(num_frames))
    if kind != "none":
        return Layout(parts, tuple(frames))
    taken, segments = set[int](), list[Tile]()
    for part in parts:
        copied = [frame for frame in part if frame in taken]
        slots = range(len(frames), len(frames) + len(copied))
        segments.append((*slots, *(frame for frame in part if frame not in taken)))
        frames += copied
        taken |= {*part}
    return Layout(segments, tuple(frames))


def tiles(num_frames: int, tile: int, overlap: int) -> list[Tile]:
    """Return the frames of each tile, all of one length: slot 0, then neighbours in time.

    Tiles start ``tile - overlap`` frames apart; the last is moved forward to end with the video. A video
    shorter than a tile is one tile. Since all share slot 0, tiles with overlap 1 meet without sharing
    another frame, and overlap 0 means the same cut.

    Args:
        num_frames: slots of the video, slot 0 included.
        tile: slots of a tile, slot 0 included.
        overlap: slots that neighbouring tiles share, slot 0 included.

    Raises:
        InputError: no frame, a tile of fewer than 2 slots, or an overlap outside [0, tile).
    """
    if num_frames < 1:
        raise InputError(f"a video of {num_frames} frames cannot be tiled; it needs at least 1")
    if tile < 2:
        raise InputError(
            f"a tile of {tile} slots holds no frame beside the reference; allowed are 2 and more"
        )
    if not 0 <= overlap < tile:
        raise InputError(f"overlap {overlap} does not fit tiles of {tile} slots; allowed are 0 to {tile - 1}")
    if num_frames <= tile:
        return [tuple(range(num_frames))]
    stride = min(tile - overlap, tile - 1)
    starts = list(range(1, num_frames - tile + 2, stride))
    if starts[-1] + tile - 1 < num_frames:
        starts.append(num_frames - tile + 1)
    return [(0, *range(first, first + tile - 1)) for first in starts]


def fusion_weights(kind: Fusion, tiles: Sequence[Tile], num_frames: int) -> Float[Tensor, "tiles slots"]:
    """Return the weight of each slot of each tile, float32; for every frame they sum to one.

    Args:
        kind: ``progressive``: the paper's ramp. Of C frames that a tile shares with what came before, the
            j-th takes j / (C + 1) from this tile and the rest from before (arXiv 2406.19680).
            ``release``: the released code's triangle over the whole tile. ``uniform``: the plain mean.
            ``first``: each frame comes from the first tile that holds it. ``none``: a slot is in one tile.
        tiles: as ``layout`` gives them.
        num_frames: slots of the video, copies included.
    """
    slots = len(tiles[0])
    if kind == "release":
        ramp = (torch.arange(slots) + 0.5) * 2 / slots
        return _normalised(torch.minimum(ramp, 2 - ramp).repeat(len(tiles), 1), tiles, num_frames)
    if kind == "uniform" or kind == "none":
        return _normalised(torch.ones(len(tiles), slots), tiles, num_frames)
    return _in_order(kind, tiles)


def _normalised(
    weights: Float[Tensor, "tiles slots"], tiles: Sequence[Tile], num_frames: int
) -> Float[Tensor, "tiles slots"]:
    frames = torch.tensor(tiles)
    total = torch.zeros(num_frames).index_add_(0, frames.flatten(), weights.flatten())
    return weights / total[frames]


def _in_order(kind: Literal["progressive", "first"], tiles: Sequence[Tile]) -> Float[Tensor, "tiles slots"]:
    """Weights of tiles laid over each other one by one, each fading in over what lies there already."""
    weights = torch.ones(len(tiles), len(tiles[0]))
    for current, tile in enumerate(tiles[1:], start=1):
        shared = tiles[current - 1][-1] - tile[1] + 1
        ramp = torch.arange(1, shared + 1) / (shared + 1)
        fade = ramp if kind == "progressive" else torch.zeros(shared)
        weights[current, 1 : shared + 1] = fade
        below = current - 1
        while below >= 0 and tiles[below][-1] >= tile[1]:
            faded = tiles[below][-1] - tile[1] + 1
            weights[below, -faded:] *= 1 - fade[:faded]
            below -= 1
    # No tile is nearer to the reference slot than another.
    weights[:, 0] = 1 / len(tiles) if kind == "progressive" else torch.eye(len(tiles))[0]
    return weights
