"""How a film changes over long distances in time, and at the borders of its tiles."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from mimicmotion.diffusion.fusion import tiles
from mimicmotion.diffusion.settings import Fusion
from mimicmotion.errors import InputError

PER_FRAMES = 100
_NEIGHBOURS = 4


def colour_statistics(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "6"]:
    """Mean and spread of each channel of CIE Lab over a frame, in Lab units."""
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    return np.concatenate([lab.mean(axis=0), lab.std(axis=0)])


def change_curve(vectors: Float[np.ndarray, "n d"]) -> dict[int, float]:
    """Mean distance between vectors of frames 1, 2, 4 ... apart; nan vectors are passed over."""
    curve = {}
    step = 1
    while step < len(vectors):
        distances = np.linalg.norm(vectors[step:] - vectors[:-step], axis=1)
        if np.isfinite(distances).any():
            curve[step] = float(np.nanmean(distances))
        step *= 2
    return curve


def drift_slope(curve: Mapping[int, float], num_frames: int) -> float | None:
    """By how much the curve rises in ``PER_FRAMES`` frames, by least squares; None below two distances.

    A distance weighs as many pairs of frames as there are at it. A dance alone lets the curve rise over a
    few frames and then stay; drift lets it rise to its end.
    """
    if len(curve) < 2:
        return None
    steps, values = np.array([*curve]), np.array([*curve.values()])
    return float(np.polyfit(steps, values, 1, w=np.sqrt(num_frames - steps))[0] * PER_FRAMES)


def tile_borders(tiles: Sequence[Sequence[int]], *, blended: bool = True) -> tuple[int, ...]:
    """Frames that differ from the one before in the tiles that made them: where one begins, or has ended.

    Args:
        tiles: slots of each tile, slot 0 being the reference, so that frame 0 is slot 1.
        blended: whether neighbours were; else a tile begins where the one before has ended.
    """
    starts = {tile[1] - 1 for tile in tiles[1:]} if blended else set()
    return tuple(sorted(starts | {tile[-1] for tile in tiles[:-1]}))


def film_borders(fusion: Fusion, num_frames: int, tile: int, overlap: int) -> tuple[int, ...]:
    """The tile borders of a sampled film.

    Args:
        fusion: how tiles were joined.
        num_frames: frames of the film, the reference not among them.
        tile, overlap: in slots, the reference included.
    """
    parts = tiles(num_frames + 1, tile, 0 if fusion == "none" else overlap)
    return tile_borders(parts, blended=fusion not in ("none", "first"))


def join_ratio(changes: Float[np.ndarray, " n"], borders: Sequence[int]) -> float | None:
    """Change into border frames over the median change into their neighbours, mean over borders.

    Neighbours in time, because a dance has fast and slow moments. None where no border has a neighbour
    that changes.

    Args:
        changes: ``changes[i]`` is how much frame i + 1 differs from frame i.
        borders: frames, from 1 on.

    Raises:
        InputError: a border lies outside of the film.
    """
    wrong = [border for border in borders if not 1 <= border <= len(changes)]
    if wrong:
        raise InputError(
            f"a tile border at frame {wrong[0]} does not fit a film of {len(changes) + 1} frames: tile and "
            "overlap are those of another film"
        )
    ratios = []
    for border in borders:
        near = range(max(border - _NEIGHBOURS, 1), min(border + _NEIGHBOURS, len(changes)) + 1)
        usual = [changes[frame - 1] for frame in near if frame not in borders]
        if usual and np.median(usual) > 0:
            ratios.append(changes[border - 1] / np.median(usual))
    return float(np.mean(ratios)) if ratios else None
