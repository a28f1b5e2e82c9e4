"""One video from a reference picture and driving poses: what the command and the animate stage share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

import numpy as np
import torch

from mimicmotion.diffusion.sampler import Progress, Retiled
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.pictures.panels import labelled_row
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PoseTrack
from mimicmotion.video.size import Size


class Pipeline(Protocol):
    """The part of ``MimicMotionPipeline`` that is used here."""

    def sample(
        self,
        image: np.ndarray,
        poses: Iterable[np.ndarray],
        *,
        settings: SamplerSettings,
        generator: torch.Generator,
        progress: Progress | None,
        retiled: Retiled | None,
    ) -> torch.Tensor:
        """Latents of all slots from the reference and drawn poses, the reference's own first."""

    def decode(self, latents: torch.Tensor, chunk_size: int) -> Iterator[np.ndarray]:
        """Frames without the reference slot, one after another."""


@dataclass(frozen=True, kw_only=True)
class AnimationInputs:
    """What shall be danced, by whom: all in pixels of the result.

    Attributes:
        reference: uint8 (h, w, 3); the result has its size.
        reference_pose: the pose in the reference, a track of one frame.
        driving: the pose of each frame of the result.
        style: how poses are drawn; that of the checkpoint's training.
    """

    reference: np.ndarray
    reference_pose: PoseTrack
    driving: PoseTrack
    style: DrawingStyle

    @property
    def size(self) -> Size:
        """Size of the result."""
        return Size.of(self.reference)

    def pose_pictures(self) -> "PosePictures":
        """Drawn poses uint8 (3, h, w), the reference's own first; black where nobody was found."""
        return PosePictures(self)


class PosePictures(Sequence[np.ndarray]):
    """The poses of an animation, each drawn when it is asked for."""

    def __init__(self, inputs: AnimationInputs) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return 1 + len(self.inputs.driving)

    @overload
    def __getitem__(self, slot: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, slot: slice) -> list[np.ndarray]: ...

    def __getitem__(self, slot: int | slice) -> np.ndarray | list[np.ndarray]:
        """Return the drawn pose of a slot, slot 0 the reference's."""
        if isinstance(slot, slice):
            return [self[one] for one in range(len(self))[slot]]
        place = range(len(self))[slot]
        shown = self.inputs
        track, frame = (shown.driving, place - 1) if place else (shown.reference_pose, 0)
        if not track.present[frame]:
            return np.zeros((3, *shown.size.shape), np.uint8)
        points, confidences = track.keypoints[None, frame], track.confidences[None, frame]
        return draw_pose(points, confidences, shown.size, shown.style)


def generate(
    pipeline: Pipeline,
    inputs: AnimationInputs,
    settings: SamplerSettings,
    seed: int,
    decode_chunk: int = 8,
    progress: Progress | None = None,
    retiled: Retiled | None = None,
) -> Iterator[np.ndarray]:
    """Frames uint8 (h, w, 3), one for each driving pose; a chunk of them is in memory.

    Args:
        pipeline: a loaded ``MimicMotionPipeline``.
        inputs: the reference and the poses.
        settings: how to sample.
        seed: of all randomness; the same seed gives the same video.
        decode_chunk: frames that the temporal decoder sees together.
        progress: called with (tiles done, tiles of the whole run).
        retiled: called where the tile becomes smaller for want of memory.
    """
    latents = pipeline.sample(
        inputs.reference,
        inputs.pose_pictures(),
        settings=settings,
        generator=torch.Generator().manual_seed(seed),
        progress=progress,
        retiled=retiled,
    )
    yield from pipeline.decode(latents, decode_chunk)


def side_by_side(
    inputs: AnimationInputs, generated: Iterable[np.ndarray], true: Iterable[np.ndarray] | None = None
) -> Iterator[np.ndarray]:
    """Frames of a comparison: reference, driving pose, generated and, where given, true, each labelled."""
    poses = iter(inputs.pose_pictures())
    next(poses)  # the reference's own
    truths = iter(true) if true is not None else None
    for pose, frame in zip(poses, generated, strict=True):
        panels = {
            "reference": inputs.reference,
            "driving pose": pose.transpose(1, 2, 0),
            "generated": frame,
        }
        if truths is not None:
            panels["true"] = next(truths)
        yield labelled_row(panels)
