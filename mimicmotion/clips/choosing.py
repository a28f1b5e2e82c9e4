"""What one video offers: training windows with reference candidates, and its longest run for testing."""

from collections.abc import Sequence
from dataclasses import dataclass

from mimicmotion.clips.quality import FrameQuality
from mimicmotion.clips.windows import (
    Limits,
    Measures,
    Reject,
    Window,
    judge,
    lay_windows,
    longest_window,
    measure,
    reference_candidates,
    scenes,
)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The form of windows in one video.

    Attributes:
        num_frames: driving frames of a training window.
        step: video frames from one driving frame to the next.
        stride: video frames between the starts of neighbouring windows.
        reference_distance: video frames between a window and its reference candidates.
        max_references: most reference candidates.
        max_test_frames: most driving frames of the test clip.
    """

    num_frames: int
    step: int
    stride: int
    reference_distance: int
    max_references: int
    max_test_frames: int


@dataclass(frozen=True)
class Candidate:
    """A window of one video and what became of it.

    Attributes:
        window: its frames; of a scene that is too short, those that there are.
        references: frames that may serve as reference; none where it is rejected.
        measures: its numbers, None where no window could be laid.
        reject: why it is not used, None where it is kept.
    """

    window: Window
    references: tuple[int, ...]
    measures: Measures | None
    reject: Reject | None


def training_windows(
    quality: FrameQuality, cuts: Sequence[int], limits: Limits, shape: Shape
) -> list[Candidate]:
    """Every window of a video, and every scene that is too short for one, in order."""
    candidates = []
    for scene in scenes(len(quality), cuts):
        windows = lay_windows(scene, shape.num_frames, shape.step, shape.stride)
        if not windows:
            candidates.append(_too_short(scene, shape))
        for window in windows:
            measures = measure(quality, window)
            reject = judge(measures, limits)
            references: list[int] = []
            if reject is None:
                references = reference_candidates(
                    quality, window, scene, limits, shape.reference_distance, shape.max_references
                )
            candidates.append(Candidate(window, tuple(references), measures, reject))
    return candidates


def testing_clip(quality: FrameQuality, cuts: Sequence[int], limits: Limits, shape: Shape) -> Candidate:
    """The longest usable run of a video, or the whole video rejected.

    The run's first frame is the reference and the others are the clip: a frame that was given cannot be
    scored, and a copied reference would be perfect there.
    """
    longest = max(shape.num_frames, shape.max_test_frames)
    found = longest_window(quality, cuts, limits, shape.num_frames + 1, longest + 1, shape.step)
    if isinstance(found, Window):
        driving = Window(found.first + shape.step, found.num_frames - 1, shape.step)
        return Candidate(driving, (found.first,), measure(quality, driving), None)
    return Candidate(whole(len(quality), shape.step), (), None, found)


def whole(num_frames: int, step: int, first: int = 0) -> Window:
    """As many frames at a step as a stretch of ``num_frames`` holds."""
    return Window(first, max(1, (num_frames - 1) // step + 1), step)


def _too_short(scene: tuple[int, int], shape: Shape) -> Candidate:
    start, end = scene
    needed = (shape.num_frames - 1) * shape.step + 1
    sentence = f"its scene has {end - start} frames, a window spans {needed}"
    window = whole(end - start, shape.step, start)
    return Candidate(window, (), None, Reject("too_short", "num_frames", sentence))
