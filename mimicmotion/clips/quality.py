"""How well a person can be seen in every frame of a video, from poses and pictures, through a framing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int

from mimicmotion.clips.evidence import EVIDENCE_SCHEMA
from mimicmotion.clips.overlays import Overlay, found_overlays, overlay_shares
from mimicmotion.clips.settings import WindowSettings
from mimicmotion.pose.framing import framed_track
from mimicmotion.pose.layout import BODY, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND
from mimicmotion.pose.table import PoseTrack, column_array, read_track
from mimicmotion.video.framing import Framing, framing
from mimicmotion.video.size import Size

_LAG_S = 0.25
_MIN_KNOWN = 2
_MAX_CONFIDENCE, _MAX_ABOVE = 1.2, 0.03
"""What SimCC maxima stay below, and the share of them that may not."""
_SHOWN_SHARE = 0.25
"""Share of a person's box that must lie in the picture for the person to be in it."""


@dataclass(frozen=True, eq=False)
class FrameQuality:
    """What can be said of each of the n frames of a video.

    Attributes:
        present: the main person was found.
        visibility: share of the 17 body points that are sure; 0 where nobody is.
        confidence: mean confidence of the body points; 0 where nobody is.
        height_share: height of the person's box over that of the picture; 0 where nobody is.
        num_people: people found.
        lag: frames over which speed is measured, about a quarter of a second: between neighbouring frames
            the jitter of a detector is as fast as a slow dance.
        speed: mean way of the sure body points since ``lag`` frames before, in heights of the person's box
            per second; nan where either frame lacks them.
        hands_confident: whether all 21 points of the left and the right hand are sure.
        hand_confidence: confidence that all points of the surer hand reach; 0 where none is whole, nan
            where no frame has any point of a hand.
        bad: the frame stands in for one that did not decode.
        faded: it lies within a fade or a dissolve.
        overlay: share of the picture that overlays cover.
        background_motion, hand_sharpness, face_sharpness: medians of the five frames around that were looked
            at, see ``EVIDENCE_SCHEMA``; of the sharper hand; nan where it is not known.
    """

    present: Bool[np.ndarray, " n"]
    visibility: Float64[np.ndarray, " n"]
    confidence: Float64[np.ndarray, " n"]
    height_share: Float64[np.ndarray, " n"]
    num_people: Int[np.ndarray, " n"]
    lag: int
    speed: Float64[np.ndarray, " n"]
    hands_confident: Bool[np.ndarray, "n 2"]
    hand_confidence: Float64[np.ndarray, " n"]
    bad: Bool[np.ndarray, " n"]
    faded: Bool[np.ndarray, " n"]
    overlay: Float64[np.ndarray, " n"]
    background_motion: Float64[np.ndarray, " n"]
    hand_sharpness: Float64[np.ndarray, " n"]
    face_sharpness: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.present)


@dataclass(frozen=True, eq=False)
class PosedVideo:
    """The poses and facts of one video, judged through any framing.

    Attributes:
        track: the main person.
        frames, boxes: of everybody found, the frame and the box in pixels.
        fps: frames per second.
        bad_frames: frames that stand in for lost ones.
        cuts: first frames of new scenes, and edges of fades.
        settings: thresholds and sizes.
        fades: first frame and end (exclusive) of each.
        overlays: boxes of logos, captions and watermarks.
        evidence: of the pictures, see ``EVIDENCE_SCHEMA``.
        odd_confidences: what of its confidences no SimCC model gives, if anything.
    """

    track: PoseTrack
    frames: Int[np.ndarray, " m"]
    boxes: Float64[np.ndarray, "m 4"]
    fps: float
    bad_frames: Sequence[int]
    cuts: Sequence[int]
    settings: WindowSettings
    fades: Sequence[tuple[int, int]] = ()
    overlays: Sequence[Overlay] = ()
    evidence: pa.Table = field(default_factory=EVIDENCE_SCHEMA.empty_table)
    odd_confidences: str | None = None
    _seen: dict[Framing, FrameQuality] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        facts: Mapping[str, Any],
        poses: pa.Table,
        evidence: pa.Table,
        settings: WindowSettings,
        given: Sequence[Overlay] = (),
    ) -> Self:
        """The video of a row of the decode stage, both tables of the pose stage, and overlays of a list."""
        size, calibration = Size(facts["width_px"], facts["height_px"]), settings.opened_calibration()
        track = read_track(poses, facts["num_frames"], 0, size, calibration)
        boxes = column_array(poses, "box", (4,)).astype(np.float64)
        frames = poses["frame"].to_numpy()
        fades = [(first, end) for first, end in facts["fades"]] if settings.reject_fades else []
        found = found_overlays(evidence, len(track), size, settings.overlay_threshold)
        return cls(
            track,
            frames,
            boxes,
            facts["fps"],
            facts["bad_frames"],
            sorted({*facts["scene_cuts"], *(edge for fade in fades for edge in fade)}),
            settings,
            fades,
            [*given, *found],
            evidence,
            odd_confidences(column_array(poses, "confidences", (NUM_KEYPOINTS,))),
        )

    def __len__(self) -> int:
        return len(self.track)

    @property
    def size_px(self) -> Size:
        """Size of the video."""
        return self.track.size_px

    def framed(self, centre: tuple[float, float] | None) -> Framing:
        """The framing to a trained size around a point."""
        return framing(self.size_px, self.settings.sizes_px, centre)

    def quality(self, fit: Framing) -> FrameQuality:
        """Quality of every frame as the framing shows it: what it cuts off is not seen."""
        if fit not in self._seen:
            framed = framed_track(self.track, fit)
            people = np.bincount(self.frames[self._shown(fit)], minlength=len(self))
            pictures = self._pictures(fit)
            self._seen[fit] = frame_quality(
                framed, people, self.fps, self.bad_frames, self.settings, pictures
            )
        return self._seen[fit]

    def _pictures(self, fit: Framing) -> dict[str, np.ndarray]:
        """The fields of ``FrameQuality`` that are known from pictures."""
        faded = np.zeros(len(self), dtype=bool)
        for first, end in self.fades:
            faded[first:end] = True
        rows = self.evidence["frame"].to_numpy()
        nearest = nearest_rows(rows, len(self))
        # A picture that turns into another neither moves nor is sharp.
        turning = faded[rows] | faded[np.minimum(rows + max(1, round(self.fps * _LAG_S)), len(self) - 1)]

        def known(name: str) -> np.ndarray:
            values = self.evidence[name].to_numpy().astype(np.float64)
            return np.asarray(np.append(steady(np.where(turning, np.nan, values)), np.nan)[nearest])

        return {
            "faded": faded,
            "overlay": overlay_shares(self.overlays, len(self), fit),
            "background_motion": known("background_motion"),
            "hand_sharpness": np.fmax(known("left_hand_sharpness"), known("right_hand_sharpness")),
            "face_sharpness": known("face_sharpness"),
        }

    def _shown(self, fit: Framing) -> Bool[np.ndarray, " m"]:
        """Which of the boxes lie in the picture by more than a sliver."""
        if not fit.cut_share:
            return np.ones(len(self.boxes), dtype=bool)
        scale = np.array(fit.scaled, np.float64) / fit.source
        start, end = self.boxes[:, :2] * scale - fit.offset, self.boxes[:, 2:] * scale - fit.offset
        seen = np.clip(end, 0, fit.target) - np.clip(start, 0, fit.target)
        return np.asarray(seen.prod(axis=1) > _SHOWN_SHARE * (end - start).prod(axis=1))


def frame_quality(
    track: PoseTrack,
    num_people: Int[np.ndarray, " n"],
    fps: float,
    bad_frames: Sequence[int],
    settings: WindowSettings,
    pictures: Mapping[str, np.ndarray],
) -> FrameQuality:
    """Quality of every frame of one video; points outside the picture are not seen, however sure.

    Args:
        track: the main person, in pixels of the picture.
        num_people: people per frame.
        fps: frames per second.
        bad_frames: indices of frames that stand in for lost ones.
        settings: the thresholds.
        pictures: the fields that are known from pictures.
    """
    points = track.keypoints.astype(np.float64)
    size = np.array((track.width_px, track.height_px))
    inside = np.asarray(((points >= 0) & (points < size)).all(axis=2))
    confidences = (track.confidences * inside)[:, BODY].astype(np.float64)
    sure = confidences > settings.keypoint_threshold
    edges = np.clip(track.boxes[:, [1, 3]], 0, track.height_px)
    heights = np.nan_to_num(np.where(track.present, edges[:, 1] - edges[:, 0], 0.0)).astype(np.float64)
    lag = max(1, round(fps * _LAG_S))
    bad = np.zeros(len(track), dtype=bool)
    bad[list(bad_frames)] = True
    hands = (LEFT_HAND, RIGHT_HAND)
    whole = np.stack([inside[:, hand].all(axis=1) for hand in hands], axis=1)
    has_hands = any((track.confidences[:, hand] > 0).any() for hand in hands)
    reached = (track.hand_confidences * whole).max(axis=1).astype(np.float64)
    return FrameQuality(
        present=track.present & inside.any(axis=1),
        visibility=sure.mean(axis=1),
        confidence=confidences.mean(axis=1),
        height_share=heights / track.height_px,
        num_people=num_people,
        lag=lag,
        speed=_speed(points[:, BODY], sure, heights, lag, fps),
        hands_confident=whole & (track.hand_confidences > settings.hand_threshold),
        hand_confidence=reached if has_hands else np.full(len(track), np.nan),
        bad=bad,
        **pictures,
    )


def odd_confidences(values: Float64[np.ndarray, "m 133"]) -> str | None:
    """What of confidences as they are stored no SimCC model gives, if anything."""
    above = float((values > _MAX_CONFIDENCE).mean()) if values.size else 0.0
    if above > _MAX_ABOVE:
        return f"{above:.0%} of its confidences are above {_MAX_CONFIDENCE}"
    return "its confidences are 0 and 1 alone" if values.size and np.isin(values, (0, 1)).all() else None


def steady(values: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Median of five values around each, so that no single one decides; nan of fewer than two."""
    if not len(values):
        return values
    around = np.lib.stride_tricks.sliding_window_view(np.pad(values, 2, constant_values=np.nan), 5)
    known = (~np.isnan(around)).sum(axis=1) >= _MIN_KNOWN
    medians = np.full(len(values), np.nan)
    medians[known] = np.nanmedian(around[known], axis=1)
    return medians


def nearest_rows(rows: Int[np.ndarray, " k"], num_frames: int) -> Int[np.ndarray, " n"]:
    """Of each frame the row whose frame is nearest; -1 where there is no row."""
    if not len(rows):
        return np.full(num_frames, -1)
    return np.searchsorted((rows[1:] + rows[:-1]) / 2, np.arange(num_frames))


def _speed(
    points: Float64[np.ndarray, "n 17 2"],
    sure: Bool[np.ndarray, "n 17"],
    heights: Float64[np.ndarray, " n"],
    lag: int,
    fps: float,
) -> Float64[np.ndarray, " n"]:
    speed = np.full(len(points), np.nan)
    both = sure[lag:] & sure[:-lag]
    way = np.linalg.norm(points[lag:] - points[:-lag], axis=2)
    counts = both.sum(axis=1)
    known = (counts > 0) & (heights[lag:] > 0)
    mean_way = (way * both).sum(axis=1) / np.maximum(counts, 1)
    speed[lag:][known] = mean_way[known] / heights[lag:][known] * fps / lag
    return speed
