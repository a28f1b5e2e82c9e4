"""PoseNet's features of every frame of a video, computed once and kept where they fit."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from io import BufferedRandom
from itertools import islice
from types import TracebackType
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mimicmotion.errors import InputError
from mimicmotion.video.size import Size

GPU_SHARE = 8
"""One in so many free bytes of a GPU may hold pose features."""


class PoseFeatures:
    """Features by frame: in memory up to a limit, in a temporary file beyond it.

    Full-size features take 6 MB a frame in half precision, and every step reads all of them. A file lets
    memory stay the same at any length of the video. Reading a tile back (100 MB) takes little beside a CPU's
    network, and a good part of a GPU's.

    Args:
        memory_bytes: how much stays in memory, on the device where the features were computed.
        num_frames: how many will come, where that is known; no room is taken for more.
    """

    def __init__(self, memory_bytes: int, num_frames: int | None = None) -> None:
        self._memory_bytes, self._expected = memory_bytes, num_frames
        self._kept = torch.empty(0)
        self._file: BufferedRandom | None = None
        self._num = 0

    def __len__(self) -> int:
        return self._num

    def append(self, features: Float[Tensor, "k c h w"]) -> None:
        """Add the features of the next frames."""
        if self._num == 0:
            # One block at once: many small ones between a network's large ones would tear the heap apart.
            room = self._memory_bytes // (features[0].numel() * features.element_size())
            room = room if self._expected is None else min(room, self._expected)
            self._kept = features.new_empty((room, *features.shape[1:]))
        room = max(len(self._kept) - self._num, 0)
        self._kept[self._num : self._num + len(features)] = features[:room]
        for index, frame in enumerate(features[room:], start=self._num + len(features[:room])):
            self._place(index).write(_bytes(frame.cpu().contiguous()))
        self._num += len(features)

    def __getitem__(self, frames: Int[Tensor, " k"]) -> Float[Tensor, "k c h w"]:
        """Return the features of these frames."""
        result = self._kept.new_empty((len(frames), *self._kept.shape[1:]))
        for place, frame in zip(result, frames.tolist(), strict=True):
            if not 0 <= frame < self._num:
                raise IndexError(f"frame {frame} of {self._num}")
            place.copy_(self._kept[frame] if frame < len(self._kept) else self._read(frame))
        return result

    def _read(self, frame: int) -> Float[Tensor, "c h w"]:
        read = torch.empty(self._kept.shape[1:], dtype=self._kept.dtype)
        self._place(frame).readinto(_bytes(read))
        return read

    def _place(self, frame: int) -> BufferedRandom:
        """The file, at the place of this frame."""
        size = self._kept.shape[1:].numel() * self._kept.element_size()
        if self._file is None:
            _check_room(((self._expected or 0) - len(self._kept)) * size)
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._file.seek((frame - len(self._kept)) * size)
        return self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


class PartialFeatures:
    """Pose features of some frames of a video, found by their place in the video.

    Args:
        features: of these frames only, in their order.
        frames: their places, rising.
    """

    def __init__(self, features: PoseFeatures, frames: Int[Tensor, " k"]) -> None:
        self.features, self.frames = features, frames

    def __getitem__(self, frames: Int[Tensor, " k"]) -> Float[Tensor, "k c h w"]:
        """Return the features of these frames of the video.

        Raises:
            IndexError: a frame whose features were not computed here.
        """
        places = torch.searchsorted(self.frames, frames).clamp_(max=len(self.frames) - 1)
        if not torch.equal(self.frames[places], frames):
            raise IndexError(f"features of frames {frames.tolist()} were asked of {self.frames.tolist()}")
        return self.features[places]


def _check_room(num_bytes: int) -> None:
    """Refuse a temporary folder without room for a file of this size."""
    folder = tempfile.gettempdir()
    if num_bytes > (free := shutil.disk_usage(folder).free):
        raise InputError(
            f"pose features need {num_bytes / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB left: "
            "set TMPDIR to a folder with room, or make a shorter or smaller video"
        )


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a tensor; numpy knows no bfloat16, so it is seen as bytes."""
    return tensor.view(torch.uint8).numpy().data


@torch.no_grad()
def compute_pose_features(
    pose_net: nn.Module,
    poses: Iterable[np.ndarray | Tensor],
    size: Size,
    *,
    batch_size: int = 16,
    num_frames: int | None = None,
    memory_bytes: int | None = None,
) -> PoseFeatures:
    """Return the features of drawn poses, each frame seen once; to be closed after use (``with``).

    Args:
        pose_net: a ``PoseNet``; its dtype and device are those of the features.
        poses: drawn poses (3, h, w), uint8 or float in [-1, 1], one after another; never all in memory.
        size: that they must have.
        batch_size: frames given to the network at a time.
        num_frames: how many poses will come, where that is known.
        memory_bytes: how much of the features stays in memory; None for an eighth of what is free on a GPU,
            and for 16 MiB on a CPU, where a file is cached by the system anyway.

    Raises:
        InputError: a pose of another size, or none at all.
    """
    weight = next(pose_net.parameters())
    room = _room_bytes(weight.device) if memory_bytes is None else memory_bytes
    features = PoseFeatures(room, num_frames)
    for batch in _batches(poses, size, batch_size):
        scaled = batch.to(weight.device)
        scaled = scaled / 127.5 - 1 if scaled.dtype == torch.uint8 else scaled
        features.append(pose_net(scaled.to(weight.dtype)))
    if not len(features):
        raise InputError("no drawn pose was given; the first belongs to the reference, the others to frames")
    return features


def _room_bytes(device: torch.device) -> int:
    """How much memory features may take."""
    if device.type != "cuda":
        return 2**24
    free, _ = torch.cuda.mem_get_info(device)
    return free // GPU_SHARE


def _batches(
    poses: Iterable[np.ndarray | Tensor], size: Size, batch_size: int
) -> Iterator[Float[Tensor, "k 3 h w"]]:
    count = 0
    source = iter(poses)
    while group := list(islice(source, batch_size)):
        for pose in group:
            if tuple(pose.shape) != (3, *size.shape):
                raise InputError(
                    f"drawn pose {count} has the shape {tuple(pose.shape)}; the reference picture asks for "
                    f"{(3, *size.shape)}: draw the poses at its size"
                )
            count += 1
        yield torch.stack([torch.as_tensor(pose) for pose in group])
