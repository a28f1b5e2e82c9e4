"""Evaluation protocols: which videos, which size, which windows. A number without one means nothing.

The two TikTok test sets share two videos only, so their numbers never belong in one column. The same
weights are reported at FVD 185 to 598 because papers mixed sets, windows and lossy files.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mimicmotion.errors import InputError


@dataclass(frozen=True)
class EvaluationProtocol:
    """What fixes a number besides the model.

    Attributes:
        id: stands beside every number.
        description: one sentence for people.
        frame_size: (height, width) that both videos are resized to; None keeps the size of the true one.
        window: frames of one window for Frechet metrics; windows slide by one frame.
        videos: names of the test videos (file stems); None takes whatever is there.
    """

    id: str
    description: str
    frame_size: tuple[int, int] | None
    window: int = 16
    videos: tuple[str, ...] | None = None

    def with_window(self, window: int) -> "EvaluationProtocol":
        """The protocol with another window, which also changes its id: the numbers are not comparable."""
        if window == self.window:
            return self
        return replace(self, window=window, id=f"{self.id}-w{window}")

    def check_videos(self, names: Iterable[str]) -> None:
        """Make sure that exactly the videos of the protocol are scored.

        Raises:
            InputError: a video is missing or foreign.
        """
        if self.videos is None:
            return
        got = set(names)
        missing = sorted(set(self.videos) - got)
        foreign = sorted(got - set(self.videos))
        if missing or foreign:
            raise InputError(
                f"protocol {self.id} needs exactly the videos {', '.join(self.videos)}; "
                f"missing: {', '.join(missing) or 'none'}; not part of it: {', '.join(foreign) or 'none'}. "
                "Name the videos so, or score with the protocol 'native'"
            )

    def resized(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) at the size of the protocol: area averages down, bilinear up."""
        if self.frame_size is None:
            return frames
        return resize_frames(frames, self.frame_size)


PROTOCOLS = {
    protocol.id: protocol
    for protocol in (
        EvaluationProtocol(
            "tiktok-335-340-256",
            "Sequences 335 to 340 of the TikTok dataset at 256x256, as in MimicMotion's paper and DisPose.",
            (256, 256),
            videos=("00335", "00336", "00337", "00338", "00339", "00340"),
        ),
        EvaluationProtocol(
            "tiktok-disco10-256",
            "DisCo's ten videos at 256x256: eight collected by its authors and two of the TikTok dataset.",
            (256, 256),
            videos=(
                "00337",
                "00338",
                "201_002_1x1",
                "201_005_1x1",
                "201_021_1x1",
                "201_024_1x1",
                "202_006_1x1",
                "202_007_1x1",
                "202_025_1x1",
                "203_006_1x1",
            ),
        ),
        EvaluationProtocol("native", "All test videos at the size they were generated at.", None),
    )
}


def protocol_by_id(protocol_id: str) -> EvaluationProtocol:
    """The protocol of this id.

    Raises:
        InputError: there is none.
    """
    if protocol_id not in PROTOCOLS:
        raise InputError(f"there is no protocol {protocol_id!r}; choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[protocol_id]


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Frames uint8 (n, h, w, 3) resized to (height, width): area averages down, bilinear up."""
    height, width = size
    if frames.shape[1:3] == (height, width):
        return frames
    shrinks = height < frames.shape[1] or width < frames.shape[2]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = np.empty((len(frames), height, width, 3), np.uint8)
    for i, frame in enumerate(frames):
        resized[i] = cv2.resize(frame, (width, height), interpolation=method)
    return resized
