"""Windows of frames: measured many at a time, and kept or rejected with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int

from mimicmotion.clips.quality import FrameQuality
from mimicmotion.clips.settings import WindowSettings

_Value = TypeVar("_Value")


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


@dataclass(frozen=True, eq=False)
class Measures:
    """Numbers of k windows; shares and means over the frames of each, motion over all frames it spans.

    Attributes:
        bad, absent, crowded: shares of frames that do not decode, lack the person, show further people.
        visibility, confidence, height_share: means, see ``FrameQuality``.
        motion: mean speed, 0 where it is not known.
        left_hand_reliability, right_hand_reliability: shares of frames with that hand reliable.
        hand_confidence: the largest of a frame; nan where poses have no hands.
        faded: share of frames within a fade.
        overlay, background_motion, hand_sharpness, face_sharpness: means over frames of which it is known,
            else nan; see ``FrameQuality``.
    """

    bad: Float64[np.ndarray, " k"]
    absent: Float64[np.ndarray, " k"]
    crowded: Float64[np.ndarray, " k"]
    visibility: Float64[np.ndarray, " k"]
    confidence: Float64[np.ndarray, " k"]
    height_share: Float64[np.ndarray, " k"]
    motion: Float64[np.ndarray, " k"]
    left_hand_reliability: Float64[np.ndarray, " k"]
    right_hand_reliability: Float64[np.ndarray, " k"]
    hand_confidence: Float64[np.ndarray, " k"]
    faded: Float64[np.ndarray, " k"]
    overlay: Float64[np.ndarray, " k"]
    background_motion: Float64[np.ndarray, " k"]
    hand_sharpness: Float64[np.ndarray, " k"]
    face_sharpness: Float64[np.ndarray, " k"]

    def mean(self, where: slice) -> dict[str, float]:
        """Means over some of the windows, by name; nan where a number is known of none."""
        return {field.name: float(known_mean(getattr(self, field.name)[where])) for field in fields(self)}


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


def lay_windows(scene: tuple[int, int], num_frames: int, step: int, stride: int) -> Int[np.ndarray, " k"]:
    """First frames of the windows that fit in a scene, ``stride`` apart; none where it is too short."""
    start, end = scene
    return np.arange(start, max(start, end - (num_frames - 1) * step), stride)


def measure(quality: FrameQuality, firsts: Int[np.ndarray, " k"], num_frames: int, step: int) -> Measures:
    """Numbers of the windows that begin at these frames."""
    frames = firsts[:, None] + np.arange(num_frames) * step
    lasts = frames[:, -1]
    # Before that, speed speaks of frames outside; a window shorter than the lag has its last frame only.
    starts = np.minimum(firsts + quality.lag, lasts)
    known = np.cumsum([0, *~np.isnan(quality.speed)])
    ways = np.cumsum([0.0, *np.nan_to_num(quality.speed)])
    counts = known[lasts + 1] - known[starts]
    hands = quality.hands_confident[frames].mean(axis=1)
    return Measures(
        bad=quality.bad[frames].mean(axis=1),
        absent=(~quality.present[frames]).mean(axis=1),
        crowded=(quality.num_people[frames] > 1).mean(axis=1),
        visibility=quality.visibility[frames].mean(axis=1),
        confidence=quality.confidence[frames].mean(axis=1),
        height_share=quality.height_share[frames].mean(axis=1),
        motion=(ways[lasts + 1] - ways[starts]) / np.maximum(counts, 1),
        left_hand_reliability=hands[:, 0],
        right_hand_reliability=hands[:, 1],
        hand_confidence=quality.hand_confidence[frames].max(axis=1),
        faded=quality.faded[frames].mean(axis=1),
        overlay=quality.overlay[frames].mean(axis=1),
        background_motion=known_mean(quality.background_motion[frames]),
        hand_sharpness=known_mean(quality.hand_sharpness[frames]),
        face_sharpness=known_mean(quality.face_sharpness[frames]),
    )


def known_mean(values: Float64[np.ndarray, "*k n"]) -> Float64[np.ndarray, "*k"]:
    """Mean over the last axis of what is no nan; nan where all is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=-1)
    mean = np.where(known, values, 0).sum(axis=-1) / np.maximum(counts, 1)
    return np.where(counts, mean, np.nan)


_RULES = (
    ("bad_frames", "", "bad", "{value:.0%} of its frames did not decode"),
    ("fade", "", "faded", "{value:.0%} of its frames lie within a fade or a dissolve"),
    ("no_person", "", "absent", "nobody was found in {value:.0%} of its frames"),
    (
        "low_visibility",
        "min_visibility",
        "visibility",
        "{value:.3g} of the body points are sure on average, {limit} is {allowed:g}",
    ),
    (
        "low_confidence",
        "min_confidence",
        "confidence",
        "{value:.3g} is the mean confidence of the body points, {limit} is {allowed:g}",
    ),
    (
        "too_small",
        "min_height_share",
        "height_share",
        "{value:.3g} of the picture's height is the person, {limit} is {allowed:g}",
    ),
    (
        "too_still",
        "min_motion",
        "motion",
        "{value:.3g} body heights per second is the mean motion, {limit} is {allowed:g}",
    ),
    (
        "several_people",
        "max_crowded_fraction",
        "crowded",
        "{value:.3g} of its frames show further people, {limit} is {allowed:g}",
    ),
    (
        "moving_camera",
        "max_background_motion",
        "background_motion",
        "{value:.3g} picture heights per second is the motion of the background, {limit} is {allowed:g}",
    ),
    (
        "overlay",
        "max_overlay_share",
        "overlay",
        "{value:.3g} of the picture is logos, captions or watermarks, {limit} is {allowed:g}",
    ),
    (
        "unsure_hands",
        "min_hand_confidence",
        "hand_confidence",
        "{value:.3g} is the most that all points of a hand reach in a frame, {limit} is {allowed:g}",
    ),
    (
        "blurred_hands",
        "min_hand_sharpness",
        "hand_sharpness",
        "{value:.3g} is the mean sharpness of the sharper hand, {limit} is {allowed:g}",
    ),
    (
        "blurred_face",
        "min_face_sharpness",
        "face_sharpness",
        "{value:.3g} is the mean sharpness of the face, {limit} is {allowed:g}",
    ),
)
"""Code, field of the limit (none: 0 at most), measure, sentence; the first that a window breaks counts."""
KEPT = -1


def limit_of(reason: str) -> str:
    """Field of the limit behind a code of rejection; empty where none is."""
    return next((limit for code, limit, *_ in _RULES if code == reason), "")


def judge(measures: Measures, settings: WindowSettings) -> Int[np.ndarray, " k"]:
    """The rule that each window breaks first, or ``KEPT``; see ``reject``."""
    broken = np.full(len(measures.bad), KEPT)
    for rule in reversed(range(len(_RULES))):
        _, limit, name, _ = _RULES[rule]
        values = getattr(measures, name)
        allowed = getattr(settings, limit) if limit else 0.0
        if allowed is not None:
            broken[values < allowed if limit.startswith("min_") else values > allowed] = rule
    return broken


def reject(rule: int, value_of: dict[str, float], settings: WindowSettings) -> Reject | None:
    """Why windows with these numbers are rejected by a rule of ``judge``; None where they are kept."""
    if rule == KEPT:
        return None
    code, limit, name, sentence = _RULES[rule]
    allowed = getattr(settings, limit) if limit else 0.0
    return Reject(code, limit, sentence.format(value=value_of[name], limit=limit, allowed=allowed))


def longest_window(
    quality: FrameQuality, scene: tuple[int, int], settings: WindowSettings, min_frames: int, step: int
) -> Window | Reject:
    """The longest window of a scene that passes, or why its first candidate does not.

    Stretches in which the person is seen without a break are tried whole, then three quarters of them, and
    so on, in steps of a quarter; the shortest from every frame, so that one is found where there is one.

    Args:
        quality: of the video.
        scene: first frame and end.
        settings: what it must reach; it has ``max_test_frames`` and one more at most.
        min_frames: least number of frames.
        step: distance of its frames.
    """
    parts = _unbroken(quality, scene)
    first: Reject | None = None
    for length in _lengths(parts, min_frames, settings.max_test_frames + 1, step):
        stride = 1 if length == min_frames else max(1, length * step // 4)
        for part in parts:
            starts = lay_windows(part, length, step, stride)
            measures = measure(quality, starts, length, step)
            rules = judge(measures, settings)
            if (rules == KEPT).any():
                return Window(int(starts[np.argmax(rules == KEPT)]), length, step)
            if len(rules) and first is None:
                first = reject(int(rules[0]), measures.mean(slice(0, 1)), settings)
    if first is None and not quality.present.any():
        return Reject("no_person", "", "nobody was found in any of its frames")
    return first or Reject(
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


def good_frames(
    quality: FrameQuality, scene: tuple[int, int], settings: WindowSettings
) -> Int[np.ndarray, " k"]:
    """Frames of a scene that show the person as well as the limits ask of a window."""
    frames = np.arange(*scene)
    good: Bool[np.ndarray, " n"] = (
        quality.present
        & ~quality.bad
        & (quality.visibility >= settings.min_visibility)
        & (quality.confidence >= settings.min_confidence)
        & (quality.height_share >= settings.min_height_share)
        & ~quality.faded
        & ~(quality.face_sharpness < settings.min_face_sharpness)
    )
    return frames[good[frames]]


def far_frames(frames: Int[np.ndarray, " k"], first: int, last: int, distance: int) -> Int[np.ndarray, " m"]:
    """Those at least ``distance`` frames outside a window; nearer, and then inside, where there is none."""
    away = np.maximum(first - frames, frames - last)
    for least in (distance, 1):
        if (away >= least).any():
            return frames[away >= least]
    return frames


def spread(values: Sequence[_Value], most: int) -> tuple[_Value, ...]:
    """At most so many of these, evenly spread."""
    places = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return tuple(values[place] for place in np.unique(places))
