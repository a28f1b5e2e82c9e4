"""What one video offers: windows to train on with reference candidates, and a clip to generate and score."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int

from mimicmotion.clips.quality import PosedVideo
from mimicmotion.clips.windows import (
    KEPT,
    Reject,
    Window,
    far_frames,
    good_frames,
    judge,
    lay_windows,
    longest_window,
    measure,
    reject,
    scenes,
    spread,
)
from mimicmotion.video.framing import Framing, whole_framing

_SLACK = 0.06
"""How far the person's middle may leave that of the cut before the cut follows, as a share of its size."""


@dataclass(frozen=True)
class Candidate:
    """A window of one video, or several alike that begin one frame after the other, and what came of them.

    Attributes:
        window: the first of them; of a scene that is too short, the frames that there are.
        num_windows: how many.
        fit: how their frames are brought to a trained size.
        references: frames that may serve as reference; none where they are rejected.
        measures: mean numbers by name, empty where no window could be laid.
        reject: why they are not used, None where they are kept.
    """

    window: Window
    num_windows: int
    fit: Framing
    references: tuple[int, ...]
    measures: Mapping[str, float]
    reject: Reject | None

    @property
    def numbers(self) -> dict[str, float | None]:
        """The measures as columns of the clips dataset."""
        if not self.measures:
            return {}
        renamed = {"confidence": "mean_confidence", "height_share": "box_height"}
        hands = [self.measures[f"{side}_hand_reliability"] for side in ("left", "right")]
        numbers = {renamed.get(name, name): value for name, value in self.measures.items()}
        known = {name: None if np.isnan(value) else value for name, value in numbers.items()}
        return {**known, "hand_reliability": sum(hands) / 2}

    def rejected(self, reject: Reject) -> "Candidate":
        """The same, not used."""
        return replace(self, reject=reject, references=())


def near_duplicate(source: str, twin: str, side: str) -> Reject:
    """Why a video is not used whose near-copy the source puts on another side of the split."""
    return Reject("near_duplicate", "", f"{source} shows what {twin} shows, for {side}")


def training_windows(video: PosedVideo) -> list[Candidate]:
    """Every window of a video, and every scene that is too short for one, in order."""
    settings = video.settings
    num_frames, step = settings.num_frames - 1, settings.train_step(video.fps)
    stride = 1 if settings.windows == "random" else settings.stride or num_frames * step
    candidates = list[Candidate]()
    for scene in scenes(len(video), video.cuts):
        firsts = lay_windows(scene, num_frames, step, stride)
        if len(firsts):
            candidates += _judged(video, scene, firsts, num_frames, step)
        else:
            candidates.append(_too_short(video, scene, num_frames, step))
    return candidates


def _judged(
    video: PosedVideo, scene: tuple[int, int], firsts: Int[np.ndarray, " k"], num_frames: int, step: int
) -> Iterator[Candidate]:
    """The windows of a scene, each judged through its own cut; neighbours alike are one candidate."""
    settings = video.settings
    for begin, end, fit in _cuts(video, firsts, num_frames, step):
        quality = video.quality(fit)
        measures = measure(quality, firsts[begin:end], num_frames, step)
        rules = judge(measures, settings)
        alone = settings.windows == "all"
        edges = np.flatnonzero((np.diff(rules) != 0) | alone) + 1
        good = good_frames(quality, scene, settings)
        for start, after in zip([0, *edges], [*edges, end - begin], strict=True):
            window = Window(int(firsts[begin + start]), num_frames, step)
            numbers = measures.mean(slice(start, after))
            rejected = reject(int(rules[start]), measures.mean(slice(start, start + 1)), settings)
            references: tuple[int, ...] = ()
            if rules[start] == KEPT:
                last = window.last + int(after - start) - 1
                frames = good if good.size else np.arange(window.first, last + 1, step)
                if alone:
                    frames = far_frames(frames, window.first, last, settings.reference_distance)
                references = spread(frames.tolist(), settings.max_references)
            yield Candidate(window, int(after - start), fit, references, numbers, rejected)


def _cuts(
    video: PosedVideo, firsts: Int[np.ndarray, " k"], num_frames: int, step: int
) -> Iterator[tuple[int, int, Framing]]:
    """Stretches of windows, begin and end, with the cut that they share: it follows the person."""
    centred = video.framed(None)
    if not centred.cut_share:
        yield 0, len(firsts), centred
        return
    frames = firsts[:, None] + np.arange(num_frames) * step
    size, scaled, target = (np.array(pair) for pair in (video.size_px, centred.scaled, centred.target))
    half = target / 2 * size / scaled
    wanted = np.clip(np.median(_middles(video)[frames], axis=1), half, np.maximum(half, size - half))
    slack = 2 * half * _SLACK
    begin = 0
    for place in range(1, len(firsts) + 1):
        if place == len(firsts) or (abs(wanted[place] - wanted[begin]) > slack).any():
            yield begin, place, video.framed((float(wanted[begin][0]), float(wanted[begin][1])))
            begin = place


def _middles(video: PosedVideo) -> Float64[np.ndarray, "n 2"]:
    """Middle of the person's box in each frame; where nobody is, between the frames around it."""
    boxes, present = video.track.boxes.astype(np.float64), np.flatnonzero(video.track.present)
    if not present.size:
        return np.tile(np.array(video.size_px) / 2, (len(video), 1))
    middles = (boxes[present, :2] + boxes[present, 2:]) / 2
    every = np.arange(len(video))
    return np.stack([np.interp(every, present, middles[:, axis]) for axis in (0, 1)], axis=1)


def generated_clip(video: PosedVideo) -> Candidate:
    """What is generated of a video and compared with it, or the whole video rejected.

    The first frame is the reference and the others are the clip: a frame that was given cannot be scored,
    and a copied reference would be perfect there.
    """
    if video.settings.test_clips == "whole_video":
        return _whole_video(video)
    return _longest_run(video)


def _whole_video(video: PosedVideo) -> Candidate:
    """Every frame after the first, uncut: no limit applies, and who is not found has a black pose."""
    step, fit = (
        video.settings.generated_step(video.fps),
        whole_framing(video.size_px, video.settings.sizes_px),
    )
    num_frames = (len(video) - 1) // step
    if num_frames < 1:
        rejected = Reject("too_short", "test_step", f"it has {len(video)} frames, its test step is {step}")
        return Candidate(Window(0, 1, step), 1, fit, (), {}, rejected)
    window = Window(step, num_frames, step)
    measures = measure(video.quality(fit), np.array([step]), num_frames, step).mean(slice(None))
    return Candidate(window, 1, fit, (0,), measures, None)


def _longest_run(video: PosedVideo) -> Candidate:
    settings, step = video.settings, video.settings.generated_step(video.fps)
    middles, found = _middles(video), list[tuple[Window, Framing]]()
    rejected: Reject | None = None
    for start, end in scenes(len(video), video.cuts):
        across, down = np.median(middles[start:end], axis=0)
        fit = video.framed((float(across), float(down)))
        window = longest_window(video.quality(fit), (start, end), settings, settings.num_frames, step)
        if isinstance(window, Window):
            found.append((window, fit))
        else:
            rejected = rejected or window
    if not found:
        return whole(video, rejected)
    window, fit = max(found, key=lambda pair: pair[0].num_frames)
    driving = Window(window.first + step, window.num_frames - 1, step)
    measures = measure(video.quality(fit), np.array([driving.first]), driving.num_frames, step)
    return Candidate(driving, 1, fit, (window.first,), measures.mean(slice(None)), None)


def whole(video: PosedVideo, rejected: Reject | None) -> Candidate:
    """All of a video, rejected."""
    step = video.settings.generated_step(video.fps)
    return Candidate(_as_many(0, len(video), step), 1, video.framed(None), (), {}, rejected)


def _as_many(first: int, num_frames: int, step: int) -> Window:
    """As many frames at a step as a stretch of ``num_frames`` holds."""
    return Window(first, max(1, (num_frames - 1) // step + 1), step)


def _too_short(video: PosedVideo, scene: tuple[int, int], num_frames: int, step: int) -> Candidate:
    start, end = scene
    needed = (num_frames - 1) * step + 1
    short = Reject("too_short", "num_frames", f"its scene has {end - start} frames, a window spans {needed}")
    faded = Reject("fade", "", f"its {end - start} frames lie within a fade or a dissolve")
    within = any(first <= start and end <= after for first, after in video.fades)
    window = _as_many(start, end - start, step)
    return Candidate(window, 1, video.framed(None), (), {}, faded if within else short)
