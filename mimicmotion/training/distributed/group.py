"""The group of workers that train together, as torch describes it; one worker needs no group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mimicmotion.foreign import says_lost_peer

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """This worker's place among all.

    Attributes:
        rank: number of this worker, from 0.
        size: number of workers.
        device: where this worker computes.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def current(cls) -> "World":
        """Return the world of the torch process group, or that of a lone process."""
        device = torch.device("cpu")
        if torch.cuda.is_available():
            # A launcher shows each worker its own GPU, or all of them and the worker's number on its machine.
            local = int(os.environ.get("LOCAL_RANK", "0"))
            device = torch.device("cuda", local % torch.cuda.device_count())
            torch.cuda.set_device(device)
        if not (dist.is_available() and dist.is_initialized()):
            return cls(0, 1, device)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def is_first(self) -> bool:
        """Whether this worker speaks for all."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all workers."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def joined(self, values: list[Value]) -> list[Value]:
        """Return the lists of all workers as one, in the order of workers; small values that pickle."""
        lists: list[list[Value]] = [values] * self.size
        if self.size > 1:
            dist.all_gather_object(lists, values)
        return [value for one in lists for value in one]

    def wait(self) -> None:
        """Return when all workers are here."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def lost_workers_are_connection_errors(world: World) -> Iterator[None]:
    """Turn what torch raises when another worker is gone into ``ConnectionError``.

    It is no fault of this worker, so whoever started the group can start it again.
    """
    try:
        yield
    except RuntimeError as error:
        if world.size > 1 and (isinstance(error, dist.DistError) or says_lost_peer(error)):
            raise ConnectionError(f"worker {world.rank} lost the others: {error}") from error
        raise
