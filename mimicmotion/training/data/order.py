"""Which clips the optimiser steps of an epoch see; a pure function, so a step number is a position."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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

    def rng(self, seed: int) -> np.random.Generator:
        """Return the sample's own generator: the same on any worker, in any thread, after any restart."""
        return np.random.default_rng([seed, self.epoch, self.slot])


class Order:
    """Batches of clips of one size, each clip at least once per epoch.

    The last batch of a size is filled up with its first clips, so no clip is left out and all batches
    are full. The order depends on seed and epoch alone: workers share each batch, so their number does
    not change what a step sees.

    Args:
        sizes: size of the training pictures of each clip; a batch mixes none.
        batch: samples per optimiser step, over all workers.
        seed: of the whole run.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], batch: int, seed: int) -> None:
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
            clips = rng.permutation(group)
            full = np.resize(clips, -(-len(clips) // self._batch) * self._batch)
            batches += full.reshape(-1, self._batch).tolist()
        return [batches[n] for n in rng.permutation(len(batches))]


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
