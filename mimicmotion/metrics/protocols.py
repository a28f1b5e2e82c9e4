"""Evaluation protocols: which videos, which size, which windows. A number without one means nothing.

The two TikTok test sets share two videos only, so their numbers never belong in one column. The same
weights are reported at FVD 185 to 598 because papers mixed sets, windows and lossy files.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from PIL import Image

from mimicmotion.errors import InputError
from mimicmotion.video.size import Size


@dataclass(frozen=True)
class EvaluationProtocol:
    """What fixes a number besides the model.

    Attributes:
        id: stands beside every number.
        description: one sentence for people.
        frame_size: size that both videos are resized to; None keeps the size of the true one.
        window: frames of one window for Frechet metrics; windows slide by one frame.
        videos: names of the test videos (file stems); None takes whatever is there.
        whole_videos: every frame after the first is scored, uncut; else whatever was generated.
        has_truth: there is a true film for each result; without one, results are judged by the picture and
            the poses that drove them, and such numbers stand in a table of their own.
    """

    id: str
    description: str
    frame_size: Size | None
    window: int = 16
    videos: tuple[str, ...] | None = None
    whole_videos: bool = False
    has_truth: bool = True

    def with_window(self, window: int) -> "EvaluationProtocol":
        """The protocol with another window, which also changes its id: the numbers are not comparable."""
        if window == self.window:
            return self
        return replace(self, window=window, id=f"{self.id}-w{window}")

    def id_on(self, split: str) -> str:
        """The id for numbers of a side: of other videos than its list, which val is, they are another's."""
        return self.id if self.videos is None or split == "test" else f"{self.id}-{split}"

    def check_truth(self, has_truth: bool) -> None:
        """Make sure that results are scored against true films where the protocol has them, and only there.

        Raises:
            InputError: the protocol is of the other kind.
        """
        if self.has_truth != has_truth:
            others = ", ".join(one.id for one in PROTOCOLS.values() if one.has_truth == has_truth)
            kind, other = "true films", "pairs of a picture and a driving video, without true films"
            kinds = (kind, other) if self.has_truth else (other, kind)
            raise InputError(f"protocol {self.id} scores {kinds[0]}; those for {kinds[1]} are {others}")

    def check_videos(self, names: Iterable[str]) -> None:
        """Make sure that exactly the videos of the protocol are scored.

        Raises:
            InputError: a video is missing or foreign.
        """
        if self.videos is None:
            return
        named = Counter(list(names))  # a mapping would be taken for counts
        if twice := sorted(name for name, count in named.items() if count > 1):
            raise InputError(
                f"protocol {self.id} scores each of its videos once, and several are called "
                f"{', '.join(twice)}: rename or leave out those that are not part of it"
            )
        got = set(named)
        missing = sorted(set(self.videos) - got)
        foreign = sorted(got - set(self.videos))
        if missing or foreign:
            raise InputError(
                f"protocol {self.id} needs exactly the videos {', '.join(self.videos)}; "
                f"missing: {', '.join(missing) or 'none'}; not part of it: {', '.join(foreign) or 'none'}. "
                "Name the videos so, or score with the protocol 'native'"
            )

    def check_frames(
        self, name: str, num_frames: int, reference: int, frames: Sequence[int], cut_share: float
    ) -> None:
        """Make sure that a clip is what the protocol scores of a video.

        Args:
            name: of the video.
            num_frames: frames of the video.
            reference: the frame that the model was shown.
            frames: true frame of each generated one.
            cut_share: share of the picture that is not generated.

        Raises:
            InputError: frames are missing, or much of the picture is.
        """
        if not self.whole_videos:
            return
        steps = sorted({after - before for before, after in pairwise(frames)})
        if reference != 0 or tuple(frames) != tuple(range(1, num_frames)):
            raise InputError(
                f"protocol {self.id} scores every frame after the first, which is the reference: "
                f"{num_frames - 1} frames of {name}, from frame 1 at step 1. There are {len(frames)}, from "
                f"frame {frames[0]} at step {', '.join(map(str, steps))}, with frame {reference} as "
                f"reference. {_HOW}"
            )
        if cut_share > MAX_CUT_SHARE:
            raise InputError(
                f"protocol {self.id} scores whole pictures: {cut_share:.1%} of those of {name} are cut off, "
                f"{MAX_CUT_SHARE:.0%} are allowed. {_HOW}"
            )

    def resized(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) at the size of the protocol, by Pillow's bicubic filter as in DisCo."""
        if self.frame_size is None:
            return frames
        size, how = self.frame_size, Image.Resampling.BICUBIC
        resized = [Image.fromarray(frame).resize(size, how) for frame in frames]
        return np.stack([np.asarray(picture) for picture in resized])


MAX_CUT_SHARE = 0.02
_HOW = "Set clips.test_clips: whole_video and clips.test_step: 1, or score with the protocol 'native'"

PROTOCOLS = {
    protocol.id: protocol
    for protocol in (
        EvaluationProtocol(
            "tiktok-335-340-256",
            "Sequences 335 to 340 of the TikTok dataset at 256x256, as in MimicMotion's paper and DisPose.",
            Size(256, 256),
            videos=("00335", "00336", "00337", "00338", "00339", "00340"),
            whole_videos=True,
        ),
        EvaluationProtocol(
            "tiktok-disco10-256",
            "DisCo's ten videos at 256x256: eight collected by its authors and two of the TikTok dataset.",
            Size(256, 256),
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
            whole_videos=True,
        ),
        EvaluationProtocol(
            "x-dance",
            "The pairs of the X-Dance benchmark: picture and driving video show different people.",
            None,
            has_truth=False,
        ),
        EvaluationProtocol(
            "cross-identity",
            "Pairs of your own: a picture of one person, a driving video of another.",
            None,
            has_truth=False,
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


def resize_frames(frames: np.ndarray, size: Size) -> np.ndarray:
    """Frames uint8 (n, h, w, 3) resized: area averages down, bilinear up."""
    own = Size.of(frames[0])
    if own == size:
        return frames
    shrinks = size.width_px < own.width_px or size.height_px < own.height_px
    import cv2  # a slow import, and reading a config asks for the protocols

    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = np.empty((len(frames), *size.shape, 3), np.uint8)
    for i, frame in enumerate(frames):
        resized[i] = cv2.resize(frame, size, interpolation=method)
    return resized
