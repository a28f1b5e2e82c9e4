"""Windows of frames: laid inside scenes, measured, and kept or rejected with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mimicmotion.clips.quality import FrameQuality


@dataclass(frozen=True)
class Window:
    """Frames of one video at an even step.

    Attributes:
        first: first frame.
        num_frames: how many frames.
        step: distance of neighbouring frames in the video.
    """

    first: int
    num_frames: int
    step: int

    @property
    def frames(self) -> range:
        """Indices in the video."""
        return range(self.first, self.last + 1, self.step)

    @property
    def last(self) -> int:
        """Last frame."""
        return self.first + (self.num_frames - 1) * self.step


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a window must reach.

    Attributes:
        min_visibility: mean share of sure body points.
        min_confidence: mean confidence of body points.
        min_height_share: mean height of the person over that of the picture.
        max_crowded_fraction: share of frames that may show further people.
        min_motion: mean speed of body points, in heights of the person per second.
    """

    min_visibility: float
    min_confidence: float
    min_height_share: float
    max_crowded_fraction: float
    min_motion: float


@dataclass(frozen=True)
class Measures:
    """Numbers of one window; shares and means over its frames, motion over all frames it spans.

    Attributes:
        bad, absent, crowded: shares of frames that do not decode, lack the person, show further people.
        visibility, confidence, height_share: means, see ``FrameQuality``.
        motion: mean speed, 0 where it is not known.
        left_hand_reliability, right_hand_reliability: shares of frames with that hand reliable.
    """

    bad: float
    absent: float
    crowded: float
    visibility: float
    confidence: float
    height_share: float
    motion: float
    left_hand_reliability: float
    right_hand_reliability: float


@dataclass(frozen=True)
class Reject:
    """Why a window is not used: a stable code, the limit that decided, and a sentence."""

    reason: str
    limit: str
    sentence: str


def scenes(num_frames: int, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """First frame and end (exclusive) of each scene of a video."""
    inner = [cut for cut in cuts if 0 < cut < num_frames]
    return list(zip([0, *inner], [*inner, num_frames], strict=True))


def lay_windows(scene: tuple[int, int], num_frames: int, step: int, stride: int) -> list[Window]:
    """Windows that fit in a scene, ``stride`` frames apart; none where it is too short."""
    start, end = scene
    span = (num_frames - 1) * step + 1
    return [Window(first, num_frames, step) for first in range(start, end - span + 1, stride)]


def measure(quality: FrameQuality, window: Window) -> Measures:
    """Numbers of a window."""
    frames = np.asarray(window.frames)
    # Before that, speed speaks of frames outside; a window shorter than the lag has its last frame only.
    start = min(window.first + quality.lag, window.last)
    speed = quality.speed[start : window.last + 1]
    known = speed[~np.isnan(speed)]
    hands = quality.hands_confident[frames].mean(axis=0)
    return Measures(
        bad=float(quality.bad[frames].mean()),
        absent=float((~quality.present[frames]).mean()),
        crowded=float((quality.num_people[frames] > 1).mean()),
        visibility=float(quality.visibility[frames].mean()),
        confidence=float(quality.confidence[frames].mean()),
        height_share=float(quality.height_share[frames].mean()),
        motion=float(known.mean()) if known.size else 0.0,
        left_hand_reliability=float(hands[0]),
        right_hand_reliability=float(hands[1]),
    )


def judge(measures: Measures, limits: Limits) -> Reject | None:
    """Why a window with these numbers is rejected, or None; the first reason in a fixed order counts."""
    m = measures
    if m.bad > 0:
        return Reject("bad_frames", "", f"{m.bad:.0%} of its frames did not decode")
    if m.absent > 0:
        return Reject("no_person", "", f"nobody was found in {m.absent:.0%} of its frames")
    at_least = (
        ("low_visibility", "min_visibility", m.visibility, "of the body points are sure on average"),
        ("low_confidence", "min_confidence", m.confidence, "is the mean confidence of the body points"),
        ("too_small", "min_height_share", m.height_share, "of the picture's height is the person"),
        ("too_still", "min_motion", m.motion, "body heights per second is the mean motion"),
    )
    for reason, limit, value, meaning in at_least:
        needed = getattr(limits, limit)
        if value < needed:
            return Reject(reason, limit, f"{value:.3g} {meaning}, {limit} is {needed:g}")
    if m.crowded > limits.max_crowded_fraction:
        allowed = f"max_crowded_fraction is {limits.max_crowded_fraction:g}"
        return Reject(
            "several_people",
            "max_crowded_fraction",
            f"{m.crowded:.3g} of its frames show further people, {allowed}",
        )
    return None


def longest_window(
    quality: FrameQuality, cuts: Sequence[int], limits: Limits, min_frames: int, max_frames: int, step: int
) -> Window | Reject:
    """The longest window of a video that passes, or why its first candidate does not.

    Stretches in which the person is seen without a break are tried whole, then three quarters of them, and
    so on, in steps of a quarter; the shortest from every frame, so that one is found where there is one.

    Args:
        quality: of the video.
        cuts: first frames of new scenes.
        limits: what it must reach.
        min_frames, max_frames: bounds of its length.
        step: distance of its frames.
    """
    parts = [part for scene in scenes(len(quality), cuts) for part in _unbroken(quality, scene)]
    reject: Reject | None = None
    for length in _lengths(parts, min_frames, max_frames, step):
        stride = 1 if length == min_frames else max(1, length * step // 4)
        for part in parts:
            for window in lay_windows(part, length, step, stride):
                found = judge(measure(quality, window), limits)
                if found is None:
                    return window
                reject = reject or found
    if reject is None and not quality.present.any():
        reject = Reject("no_person", "", "nobody was found in any of its frames")
    return reject or Reject(
        "too_short", "num_frames", f"nobody is seen for {min_frames} frames at a step of {step} in one scene"
    )


def _unbroken(quality: FrameQuality, scene: tuple[int, int]) -> list[tuple[int, int]]:
    """Stretches of a scene in which every frame decodes and shows the person."""
    start, end = scene
    usable = np.concatenate([[False], (quality.present & ~quality.bad)[start:end], [False]])
    edges = np.flatnonzero(np.diff(usable.astype(np.int8))) + start
    return [(int(first), int(after)) for first, after in edges.reshape(-1, 2)]


def _lengths(parts: Sequence[tuple[int, int]], shortest: int, longest: int, step: int) -> list[int]:
    """Numbers of frames to try, largest first."""
    lengths = set()
    for start, end in parts:
        length = min(longest, (end - start - 1) // step + 1)
        while length >= shortest:
            lengths.add(length)
            length = max(shortest, length * 3 // 4) if length > shortest else 0
    return sorted(lengths, reverse=True)


def reference_candidates(
    quality: FrameQuality, window: Window, scene: tuple[int, int], limits: Limits, distance: int, most: int
) -> list[int]:
    """Frames that may serve as reference of a window, at most ``most``, spread evenly.

    They show the person as well as the limits ask, lie in the window's scene (elsewhere clothes or place may
    differ) and at least ``distance`` frames outside the window; nearer, and then inside, where there is none.
    """
    frames = np.arange(*scene)
    good = (
        quality.present[frames]
        & ~quality.bad[frames]
        & (quality.visibility[frames] >= limits.min_visibility)
        & (quality.confidence[frames] >= limits.min_confidence)
        & (quality.height_share[frames] >= limits.min_height_share)
    )
    away = np.maximum(window.first - frames, frames - window.last)
    for least in (distance, 1):
        chosen = frames[good & (away >= least)]
        if chosen.size:
            break
    else:
        chosen = frames[good] if good.any() else np.asarray(window.frames)
    places = np.unique(np.linspace(0, chosen.size - 1, min(most, chosen.size)).round().astype(int))
    return [int(frame) for frame in chosen[places]]
