"""The poses that drive a result: from a video, or stored already, at an even rate by time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from mimicmotion.errors import InputError, RejectedItem
from mimicmotion.pose.alignment import align
from mimicmotion.pose.estimator import PoseEstimator, estimate_image, estimate_video
from mimicmotion.pose.importing import VideoShape, import_poses, read_parquet
from mimicmotion.pose.layout import BODY
from mimicmotion.pose.people import Person, Presence
from mimicmotion.pose.settings import AlignmentMode
from mimicmotion.pose.table import POSES_SCHEMA, PosesInfo, PoseTrack, poses_table, read_track
from mimicmotion.pose.tracks import link
from mimicmotion.video.isolated import normalise_isolated
from mimicmotion.video.normalise import VideoFacts
from mimicmotion.video.reader import VideoReader, open_video
from mimicmotion.video.settings import NormaliseSettings
from mimicmotion.video.sources import read_outline

MAX_DEFAULT_FPS = 15.0
"""Most frames per second unless asked for more, as released."""
MIN_BODY_POINTS = 4
"""Fewer visible body points than this say nothing about a pose."""
_SURE = 0.3
_WORKING_SHORT_SIDE_PX = 1080
_TIMEOUT_S = 3600.0
_FRAMES_PER_BATCH = 8


@dataclass(frozen=True)
class Driving:
    """Poses of one person over time.

    Attributes:
        track: one pose for each frame of the result.
        fps: frames per second of the result.
        source_fps: of the driving video.
        presence: in how many frames the person is.
    """

    track: PoseTrack
    fps: float
    source_fps: float
    presence: Presence


def reference_pose(picture: np.ndarray, estimator: PoseEstimator) -> PoseTrack:
    """The pose of the main person in a picture, a track of one frame.

    Raises:
        InputError: nobody is found, or too little of the body.
    """
    people = estimate_image(estimator, picture)
    return _checked(
        _track_of([list(enumerate(people))], picture.shape[1], picture.shape[0], 0), "reference picture"
    )


def reference_pose_from(poses: Path, width_px: int, height_px: int) -> PoseTrack:
    """The first pose of person 0 in a file with relative coordinates, for a picture of this size.

    Raises:
        InputError: the file is of another form or holds nobody.
    """
    shape = VideoShape(
        num_frames=1,
        fps=1.0,
        width_px=width_px,
        height_px=height_px,
        source_width_px=width_px,
        source_height_px=height_px,
        source_frames=[0],
    )
    return _checked(_track_of(import_poses(poses, shape), width_px, height_px, 0), f"reference poses {poses}")


def driving_from_video(
    video: Path,
    fps: float | None,
    estimator: PoseEstimator,
    folder: Path,
    person: int = 0,
    most_fps: float = MAX_DEFAULT_FPS,
) -> Driving:
    """Poses found in a video.

    Args:
        video: any file.
        fps: of the result; None for the video's own, at most ``most_fps``.
        models: find the poses.
        folder: for a normalised copy.
        person: track number, 0 is the main person.
        most_fps: the rate of the windows that the network was trained with.

    Raises:
        InputError: the video cannot be used, or the person is not in it.
    """
    reader, facts = _normalised(video, fps, folder, most_fps)
    people = estimate_video(estimator, reader, _FRAMES_PER_BATCH)
    linked = link(people, facts.fps, (facts.height_px, facts.width_px))
    return _driving(linked, facts, f"driving video {video}", person)


def driving_from_poses(
    poses: Path,
    video: Path | None,
    fps: float | None,
    folder: Path,
    person: int = 0,
    most_fps: float = MAX_DEFAULT_FPS,
) -> Driving:
    """Poses that are stored: a table of the pose stage, or an import file together with its video.

    Args:
        poses: the file.
        video: the video that they belong to; needed for an import file, whose poses carry no size.
        fps: of the result; None for the video's own, at most ``most_fps``.
        folder: for a normalised copy of the video.
        person: track number, 0 is the main person.
        most_fps: the rate of the windows that the network was trained with.

    Raises:
        InputError: the file cannot be used, or the person is not in it.
    """
    if not poses.exists():
        raise InputError(f"no poses at {poses}")
    table = read_parquet(poses) if poses.suffix.lower() == ".parquet" else None
    if table is not None and table.schema.equals(POSES_SCHEMA):
        return _from_table(table, poses, fps, person, most_fps)
    if video is None:
        raise InputError(
            f"{poses} is an import file: its poses are relative to a video; give that video too (--video)"
        )
    _, facts = _normalised(video, fps, folder, most_fps)
    shape = VideoShape.of(asdict(facts))
    return _driving(import_poses(poses, shape), facts, f"poses {poses}", person)


def aligned(mode: AlignmentMode, driving: PoseTrack, reference: PoseTrack) -> PoseTrack:
    """The driving poses on the body of the reference, in pixels of the reference picture.

    Raises:
        InputError: too few points are visible in both.
    """
    keypoints = align(
        mode,
        driving.keypoints,
        driving.confidences,
        (driving.height_px, driving.width_px),
        reference.keypoints[0],
        reference.confidences[0],
        (reference.height_px, reference.width_px),
    )
    return replace(driving, keypoints=keypoints, width_px=reference.width_px, height_px=reference.height_px)


def frames_by_time(num_frames: int, source_fps: float, fps: float) -> np.ndarray:
    """Frame of the source shown at each instant of the result; at least one."""
    num_shown = max(1, int(np.floor(num_frames / source_fps * fps + 1e-6)))
    indices = np.floor(np.arange(num_shown) / fps * source_fps + 1e-6).astype(int)
    return np.minimum(indices, num_frames - 1)


def _normalised(
    video: Path, fps: float | None, folder: Path, most_fps: float
) -> tuple[VideoReader, VideoFacts]:
    if not video.is_file():
        raise InputError(f"no driving video at {video}")
    target = folder / "driving.mp4"
    try:
        rate = min(float(read_outline(video).rate.fps), most_fps) if fps is None else fps
        settings = NormaliseSettings(
            short_side_px=_WORKING_SHORT_SIDE_PX, fps=rate, on_broken_tail="trim", min_num_frames=1
        )
        facts = normalise_isolated(video, target, settings, _TIMEOUT_S)
    except RejectedItem as error:
        raise InputError(f"the driving video {video} cannot be used: {error.sentence}") from error
    return open_video(target), facts


def _driving(
    frames: Sequence[Sequence[tuple[int, Person]]], facts: VideoFacts, where: str, person: int
) -> Driving:
    track = _checked(_track_of(frames, facts.width_px, facts.height_px, person), where, person)
    seen = np.flatnonzero([len(people) > 0 for people in frames])
    return Driving(track, facts.fps, facts.source_fps, Presence.of(track.present, seen))


def _from_table(table: pa.Table, path: Path, fps: float | None, person: int, most_fps: float) -> Driving:
    info = PosesInfo.of(table)
    rate = min(info.fps, most_fps) if fps is None else fps
    whole = read_track(table, info.num_frames, person)
    track = whole.select(frames_by_time(info.num_frames, info.fps, rate))
    presence = Presence.of(whole.present, table["frame"].to_numpy())
    return Driving(_checked(track, f"poses {path}", person), rate, info.fps, presence)


def _track_of(
    frames: Sequence[Sequence[tuple[int, Person]]], width_px: int, height_px: int, person: int
) -> PoseTrack:
    info = PosesInfo(
        video_id="", width_px=width_px, height_px=height_px, fps=1.0, num_frames=len(frames), models={}
    )
    return read_track(poses_table(info, frames), len(frames), person)


def _checked(track: PoseTrack, where: str, person: int = 0) -> PoseTrack:
    """Refuse a track that shows nobody, or too little of a body to tell a pose."""
    if not track.present.any():
        who = "nobody was found" if person == 0 else f"person {person} was not found"
        raise InputError(f"{who} in the {where}; choose one that shows a person clearly")
    most = int((track.confidences[:, BODY] > _SURE).sum(axis=1).max())
    if most < MIN_BODY_POINTS:
        raise InputError(
            f"at most {most} of 17 body points are visible in the {where}; "
            f"at least {MIN_BODY_POINTS} are needed to tell a pose"
        )
    return track
