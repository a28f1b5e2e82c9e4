"""Which clips the optimiser steps of an epoch see; a pure function, so a step number is a position."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mimicmotion.video.size import Size


@dataclass(frozen=True)
class SampleIndex:
    """Where a sample stands in the run; seeds everything random about it.

    Attributes:
        clip: index of the clip.
        epoch: how often all clips were seen before.
        slot: position in the epoch.
    """

    clip: int
    epoch: int
    slot: int

    def rng(self, seed: int, purpose: int = 0) -> np.random.Generator:
        """Return the sample's own generator: the same on any worker, in any thread, after any restart."""
        purposes = (purpose,) if purpose else ()
        return np.random.default_rng([seed, self.epoch, self.slot, *purposes])


class Order:
    """Batches of clips of one size; an epoch shows one clip of each unit at least once.

    Of a unit with several clips one is drawn anew each epoch, by the number of its windows, so that every
    window has the same chance. The last batch of a size is filled up with its first clips, so no unit is left
    out and all batches are full. The order depends on seed and epoch alone: workers share each batch, so
    their number does not change what a step sees.

    Args:
        clips: size of the training pictures, unit and number of windows of each; a batch mixes no sizes.
        batch: samples per optimiser step, over all workers.
        seed: of the whole run.
    """

    def __init__(self, clips: Sequence[tuple[Size, str, int]], batch: int, seed: int) -> None:
        units: dict[tuple[Size, str], list[int]] = {}
        for index, (size, unit, _) in enumerate(clips):
            units.setdefault((size, unit), []).append(index)
        self._units = [np.array(members) for members in units.values()]
        self._chances = [np.array([clips[index][2] for index in members]) for members in units.values()]
        sizes = [size for size, _ in units]
        self._groups = [np.flatnonzero([other == size for other in sizes]) for size in sorted(set(sizes))]
        self._batch = batch
        self._seed = seed
        self.steps_per_epoch = sum(-(-len(group) // batch) for group in self._groups)
        self._epoch = -1
        self._batches: list[list[int]] = []

    def at(self, step: int) -> list[SampleIndex]:
        """Return the samples of optimiser step ``step``, counted from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        start = position * self._batch
        return [SampleIndex(clip, epoch, start + n) for n, clip in enumerate(self._batches[position])]

    def _shuffled(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self._seed, epoch])
        batches = []
        for group in self._groups:
            units = rng.permutation(group)
            full = np.resize(units, -(-len(units) // self._batch) * self._batch)
            batches += full.reshape(-1, self._batch).tolist()
        order = rng.permutation(len(batches))
        return [[self._drawn(unit, rng) for unit in batches[n]] for n in order]

    def _drawn(self, unit: int, rng: np.random.Generator) -> int:
        """One clip of a unit."""
        members, chances = self._units[unit], self._chances[unit]
        return int(members[0] if len(members) == 1 else rng.choice(members, p=chances / chances.sum()))


def share(
    indices: Sequence[SampleIndex], rank: int, workers: int, accumulation_steps: int
) -> list[list[SampleIndex]]:
    """Return this worker's samples of one optimiser step, one list per accumulation round.

    Raises:
        ValueError: the batch does not divide evenly.
    """
    size, rest = divmod(len(indices), workers * accumulation_steps)
    if rest or not size:
        raise ValueError(
            f"a batch of {len(indices)} does not divide over {workers} workers x {accumulation_steps} "
            "accumulation steps"
        )
    starts = ((round_ * workers + rank) * size for round_ in range(accumulation_steps))
    return [list(indices[start : start + size]) for start in starts]
