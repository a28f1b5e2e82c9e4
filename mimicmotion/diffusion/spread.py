"""One video over several workers of a process group: which part a worker does, and how parts are joined.

Every worker holds all latents of the video, which are small, and does some of its tiles; each step sums
the weighted raw predictions over all workers. So a worker needs pose features of its own tiles only, and
from the sum on all of them know the same.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """What one worker of torch's default process group does of a video.

    Attributes:
        rank: of this worker.
        size: how many workers there are; all of them make the same calls in the same order.
    """

    rank: int
    size: int

    def part(self, num: int) -> slice:
        """Return this worker's part of ``num`` neighbours; parts differ by one at most and may be empty."""
        each, rest = divmod(num, self.size)
        begin = self.rank * each + min(self.rank, rest)
        return slice(begin, begin + each + (self.rank < rest))

    def sum_(self, tensor: Tensor) -> None:
        """Put the sum over all workers in the place of every worker's tensor."""
        dist.all_reduce(tensor)

    def gather_frames(
        self,
        latents: Float[Tensor, "n 4 h w"],
        chunk_size: int,
        decode: Callable[[Float[Tensor, "k 4 h w"], int], Iterable[np.ndarray]],
        skip: int,
    ) -> Iterator[np.ndarray]:
        """Yield all frames to worker 0, and none to others; chunks are decoded in turn, one at a time each.

        Args:
            latents: of all slots, the same on every worker.
            chunk_size: slots decoded together; chunks begin where those of one process do.
            decode: gives the frames uint8 (height, width, 3) of a chunk without the first so many.
            skip: slots at the beginning that are decoded but not given out.
        """
        starts = range(0, len(latents), chunk_size)
        for first in range(0, len(starts), self.size):
            group = starts[first : first + self.size]
            own = None
            if self.rank < len(group):
                begin = group[self.rank]
                own = list(decode(latents[begin : begin + chunk_size], max(skip - begin, 0)))
            if self.rank == 0:
                yield from own or []
                for source in range(1, len(group)):
                    yield from self._received(source)
            elif own is not None:
                self._send(own)

    def _send(self, frames: list[np.ndarray]) -> None:
        device = _message_device()
        shape = (len(frames), *(frames[0].shape if frames else (0, 0, 3)))
        dist.send(torch.tensor(shape, device=device), 0)
        if frames:
            dist.send(torch.from_numpy(np.stack(frames)).to(device), 0)

    def _received(self, source: int) -> np.ndarray:
        device = _message_device()
        shape = torch.empty(4, dtype=torch.int64, device=device)
        dist.recv(shape, source)
        frames = torch.empty(shape.tolist(), dtype=torch.uint8, device=device)
        if len(frames):
            dist.recv(frames, source)
        return frames.cpu().numpy()


def _message_device() -> torch.device:
    """Where tensors must lie to be sent."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
