"""One source video in, one well-behaved video out: upright, square pixels, constant rate, H.264.

Runs in a child process of its own (``isolated.py``), which takes source, target and settings as JSON and
prints one line of JSON: the facts, or the reason for a reject. Memory does not depend on the length.
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import av
import av.subtitles.stream  # these come with the first film anyhow: here, so that no child has to
import numpy.ma  # noqa: F401
from av.video.reformatter import VideoReformatter

from mimicmotion.errors import AWAY, MimicMotionError, RejectedItem
from mimicmotion.parent import end_with_parent
from mimicmotion.video.colour import YuvConverter, to_rgb, to_yuv
from mimicmotion.video.containers import reading, unreadable
from mimicmotion.video.geometry import (
    Orientation,
    even,
    orientation_of,
    stored_target_size,
)
from mimicmotion.video.resample import hold
from mimicmotion.video.scenes import SceneCutFinder
from mimicmotion.video.size import Size
from mimicmotion.video.sources import GoodFrames, Outline, read_outline
from mimicmotion.video.writer import VideoWriter

if TYPE_CHECKING:
    from mimicmotion.video.settings import NormaliseSettings


@dataclass(frozen=True, kw_only=True)
class VideoFacts:
    """What is known of one video after it was normalised.

    Attributes:
        codec: of the source, e.g. ``hevc``.
        source_width_px, source_height_px: of the source as stored, before rotation.
        source_fps: average rate of the source by time.
        constant_rate: whether the source's frames lie on a grid of that rate.
        width_px, height_px, fps, num_frames, duration_s: of the normalised video.
        rotation_deg: clockwise turn that made the source upright, before any mirror; by 90 and 270 width and
            height changed places.
        has_audio: whether the source has sound.
        scene_cuts: first frame of each new scene.
        fades: first frame and end (exclusive) of each fade or dissolve.
        num_bad_frames: frames of the source that did not decode or refer to such.
        bad_frames: normalised frames that stand in for them, showing the last good one.
        trimmed_s: length of a broken tail that was cut off.
        source_num_frames: frames of the source, those that did not decode included.
        source_frames: for each normalised frame, the frame of the source that it shows.
    """

    codec: str
    source_width_px: int
    source_height_px: int
    source_fps: float
    constant_rate: bool
    width_px: int
    height_px: int
    fps: float
    num_frames: int
    duration_s: float
    rotation_deg: int
    has_audio: bool
    scene_cuts: tuple[int, ...]
    fades: tuple[tuple[int, int], ...]
    num_bad_frames: int
    bad_frames: tuple[int, ...]
    trimmed_s: float
    source_num_frames: int
    source_frames: tuple[int, ...]

    @property
    def damage(self) -> str | None:
        """What of the source could not be used, in words; None where all of it could."""
        said = []
        if self.trimmed_s:
            said.append(
                f"{self.duration_s:.1f} s decode, at least {self.trimmed_s:.1f} s do not and are left out"
            )
        if self.bad_frames:
            said.append(
                f"{len(self.bad_frames)} of {self.num_frames} frames do not decode and show the one before"
            )
        return "; ".join(said) or None


def normalise_video(source: Path, target: Path, settings: "NormaliseSettings") -> VideoFacts:
    """Facts of a source video whose normalised form now lies at ``target``.

    The target is written beside itself and renamed; the same source and settings give the same bytes.

    Raises:
        RejectedItem: ``unreadable``, ``no_video_stream``, ``broken_tail``, ``changes_midway``, ``too_short``,
            ``too_small``.
        OSError: the file system failed, e.g. is full.
    """
    outline = read_outline(source)
    staging = staging_of(target)
    try:
        facts = _transcode(source, staging, outline, settings)
        staging.replace(target)
    except (MimicMotionError, OSError, MemoryError):
        raise
    except Exception as error:  # what a file leads FFmpeg or us to is its fault, whatever the class
        raise unreadable(source, error) from error
    finally:
        staging.unlink(missing_ok=True)
    return facts


def staging_of(target: Path) -> Path:
    """Where the target is written before it is renamed."""
    return target.with_name(f".{target.stem}.part{target.suffix}")


def _transcode(source: Path, staging: Path, outline: Outline, settings: "NormaliseSettings") -> VideoFacts:
    fps = outline.rate.fps if settings.fps is None else Fraction(settings.fps).limit_denominator(1001)
    frames = GoodFrames(source, outline)
    scenes, upright, bad_frames = SceneCutFinder(float(fps)), Upright(source, outline, settings), list[int]()
    source_frames = list[int]()
    good_s = 0.0
    with VideoWriter(staging, fps, settings.crf, settings.key_frame_interval) as writer:
        for held in hold(frames, fps, outline.tick_s):
            good_s = held.end_s
            if held.num_slots == 0:
                continue
            if held.before_error:
                bad_frames.extend(range(writer.num_frames + 1, writer.num_frames + held.num_slots))
            with reading(source):
                frame = upright(held.picture)
                scenes.add(frame)
            writer.write(frame, held.num_slots)
            source_frames.extend([held.number] * held.num_slots)
            scenes.repeat(held.num_slots - 1)
        check_tail(source, outline, good_s, settings)
        if writer.num_frames < settings.min_num_frames:
            raise RejectedItem(
                "too_short",
                f"{source.name} gives {writer.num_frames} frames, "
                f"at least {settings.min_num_frames} are needed",
            )
    return VideoFacts(
        codec=outline.codec,
        source_width_px=upright.source_width_px,
        source_height_px=upright.source_height_px,
        source_fps=float(outline.rate.fps),
        constant_rate=outline.rate.constant,
        width_px=writer.width_px,
        height_px=writer.height_px,
        fps=float(fps),
        num_frames=writer.num_frames,
        duration_s=float(writer.num_frames / fps),
        rotation_deg=upright.orientation.rotation_deg,
        has_audio=outline.has_audio,
        scene_cuts=tuple(scenes.cuts()),
        fades=tuple(scenes.fades()),
        num_bad_frames=frames.num_bad,
        bad_frames=tuple(bad_frames),
        trimmed_s=max(0.0, outline.expected_length_s - good_s) if outline.breaks_off(good_s) else 0.0,
        source_num_frames=frames.num_frames,
        source_frames=tuple(source_frames),
    )


def check_tail(source: Path, outline: Outline, good_s: float, settings: "NormaliseSettings") -> None:
    """Refuse a broken tail unless it may be trimmed.

    Raises:
        RejectedItem: ``broken_tail``, or ``unreadable`` when nothing decodes.
    """
    if good_s == 0:
        raise RejectedItem("unreadable", f"no frame of {source.name} decodes")
    if settings.on_broken_tail == "reject" and outline.breaks_off(good_s):
        raise RejectedItem(
            "broken_tail",
            f"{source.name} decodes for {good_s:.2f} of {outline.expected_length_s:.2f} s; "
            "on_broken_tail: trim would keep that part",
        )


class Upright:
    """Turns decoded frames of one source into upright ones of one even size, yuv420p in BT.709."""

    def __init__(self, source: Path, outline: Outline, settings: "NormaliseSettings") -> None:
        self._source = source
        self._settings = settings
        self._stay_yuv = YuvConverter()
        self._to_rgb, self._to_yuv = VideoReformatter(), VideoReformatter()
        self._size: Size | None = None
        self.orientation = Orientation()
        self.source_width_px = 0
        self.source_height_px = 0
        self._aspect = outline.pixel_aspect

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Frame to encode of a decoded one; the first settles size and orientation.

        Raises:
            RejectedItem: ``too_small``.
        """
        size = self._size or self._settle(frame)
        if self.orientation == Orientation() and self._stay_yuv.takes(frame, size):
            return self._stay_yuv(frame, size)
        picture = even(self.orientation.apply(to_rgb(frame, self._to_rgb, size)))
        return to_yuv(picture, self._to_yuv)

    def _settle(self, frame: av.VideoFrame) -> Size:
        self.orientation = orientation_of(frame)
        self.source_width_px, self.source_height_px = frame.width, frame.height
        limit = self._settings.short_side_px
        self._size = stored_target_size(Size(frame.width, frame.height), self._aspect, limit)
        if min(self._size) < self._settings.min_short_side_px:
            raise RejectedItem(
                "too_small",
                f"{self._source.name} is {self._size.width_px} x {self._size.height_px} pixels, the shorter "
                f"side must have at least {self._settings.min_short_side_px}",
            )
        return self._size


def main(arguments: list[str]) -> int:
    """Exit status of the child: 0 with one line of JSON on standard output."""
    end_with_parent()  # nobody else kills it when a worker is killed
    source, target, settings = arguments
    # The parent has checked them, and pydantic takes longer to import than a short film to decode.
    checked = cast("NormaliseSettings", SimpleNamespace(**json.loads(settings)))
    try:
        facts = normalise_video(Path(source), Path(target), checked)
        answer: dict[str, Any] = {"facts": dataclasses.asdict(facts)}
    except RejectedItem as reject:
        answer = {"rejected": [reject.code, reject.sentence]}
    except OSError as error:
        if error.errno not in AWAY:
            raise
        answer = {"away": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0
