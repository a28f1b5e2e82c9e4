"""The poses that drive a result: from a video, or stored already, at an even rate by time."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from mimicmotion.errors import InputError, RejectedItem
from mimicmotion.pose.alignment import align
from mimicmotion.pose.files.importing import VideoShape, import_poses, read_parquet
from mimicmotion.pose.layout import BODY
from mimicmotion.pose.models.estimator import PoseEstimator, estimate_image, estimate_video
from mimicmotion.pose.people import Person, Presence
from mimicmotion.pose.settings import AlignmentMode
from mimicmotion.pose.table import POSES_SCHEMA, PosesInfo, PoseTrack, poses_table, read_track, stored_models
from mimicmotion.pose.tracks import link
from mimicmotion.video.isolated import normalise_isolated
from mimicmotion.video.normalise import VideoFacts
from mimicmotion.video.reader import VideoReader, open_video
from mimicmotion.video.settings import NormaliseSettings
from mimicmotion.video.size import Size
from mimicmotion.video.sources import read_outline
from mimicmotion.video.stillness import moving_camera
from mimicmotion.weights.fetching import file_digest

log = logging.getLogger(__name__)

MAX_DEFAULT_FPS = 15.0
"""Most frames per second unless asked for more, as released."""
MIN_BODY_POINTS = 4
"""Fewer visible body points than this say nothing about a pose."""
_SURE = 0.3
_WORKING_SHORT_SIDE_PX = 1080
_TIMEOUT_S = 3600.0
_FRAMES_PER_BATCH = 8
_FINEST_FPS = 60.0
"""Most often that poses of a film with uneven times are looked for."""


@dataclass(frozen=True)
class Driving:
    """Poses of one person over time.

    Attributes:
        track: one pose for each frame of the result.
        fps: frames per second of the result.
        source_fps: of the driving video.
        presence: in how many frames the person is.
        camera: the reason why the background may move, None where the camera stands still.
    """

    track: PoseTrack
    fps: float
    source_fps: float
    presence: Presence
    camera: str | None = None


@dataclass(frozen=True)
class Driver:
    """Everybody's poses over a driving video: found once, for each person and each picture, and stored.

    Attributes:
        table: as of the pose stage; of another rate than the result where it was stored so.
        fps: frames per second of the result.
        source_fps: of the driving video.
        where: what to call it.
        camera: the reason why the background may move, None where the camera stands still.
    """

    table: pa.Table
    fps: float
    source_fps: float
    where: str
    camera: str | None = "without the driving film it is not known whether its camera moves"

    def driving(self, person: int = 0) -> Driving:
        """The poses of one person, by track number; 0 is the main person.

        Raises:
            InputError: the person is not in it.
        """
        info = PosesInfo.of(self.table)
        whole = read_track(self.table, info.num_frames, person)
        track = whole.select(frames_by_time(info.num_frames, info.fps, self.fps))
        presence = Presence.of(whole.present, self.table["frame"].to_numpy())
        track = _checked(track, self.where, person)
        return Driving(track, self.fps, self.source_fps, presence, self.camera)


def reference_pose(picture: np.ndarray, estimator: PoseEstimator) -> PoseTrack:
    """The pose of the main person in a picture, a track of one frame.

    Raises:
        InputError: nobody is found, or too little of the body.
    """
    people = estimate_image(estimator, picture)
    return _checked(_track_of([list(enumerate(people))], Size.of(picture)), "reference picture")


def reference_pose_from(poses: Path, size: Size) -> PoseTrack:
    """The first pose of person 0 in a file with relative coordinates, for a picture of this size.

    Raises:
        InputError: the file is of another form or holds nobody.
    """
    shape = VideoShape(num_frames=1, fps=1.0, size=size, source_size=size, source_frames=[0])
    return _checked(_track_of(import_poses(poses, shape), size), f"reference poses {poses}")


def driver_from_video(
    video: Path,
    fps: float | None,
    estimator: PoseEstimator,
    folder: Path,
    most_fps: float = MAX_DEFAULT_FPS,
) -> Driver:
    """Poses found in a video.

    Args:
        video: any file.
        fps: of the result; None for the video's own, at most ``most_fps``.
        estimator: finds the poses.
        folder: for a normalised copy.
        most_fps: the rate of the windows that the network was trained with.

    Raises:
        InputError: the video cannot be used.
    """
    reader, facts = _normalised(video, fps, folder, most_fps)
    people = estimate_video(estimator, reader, _FRAMES_PER_BATCH)
    linked = link(people, facts.fps, Size(facts.width_px, facts.height_px))
    models = {role: file_digest(path) for role, path in estimator.files.items()}
    return _driver(linked, facts, f"driving video {video}", reader, models)


def driver_from_poses(
    poses: Path, video: Path | None, fps: float | None, folder: Path, most_fps: float = MAX_DEFAULT_FPS
) -> Driver:
    """Poses that are stored: a table of the pose stage or of ``animate``, or an import file with its video.

    Args:
        poses: the file.
        video: the video that they belong to, which tells whether its camera moves; needed for an import file,
            whose poses carry no size.
        fps: of the result; None for the video's own, at most ``most_fps``.
        folder: for a normalised copy of the video.
        most_fps: the rate of the windows that the network was trained with.

    Raises:
        InputError: the file cannot be used.
    """
    if not poses.exists():
        raise InputError(f"no poses at {poses}")
    table = read_parquet(poses) if poses.suffix.lower() == ".parquet" else None
    if table is not None and table.schema.equals(POSES_SCHEMA):
        stored_fps = PosesInfo.of(table).fps
        rate = min(stored_fps, most_fps) if fps is None else fps
        driver = Driver(table, rate, stored_fps, f"poses {poses}")
        if video is None:
            return driver
        reader, facts = _normalised(video, rate, folder, most_fps)
        return replace(driver, camera=moving_camera(reader, range(facts.num_frames)))
    if video is None:
        raise InputError(
            f"{poses} is an import file: its poses are relative to a video; give that video too (--video)"
        )
    reader, facts = _normalised(video, fps, folder, most_fps)
    shape = VideoShape.of(asdict(facts))
    return _driver(import_poses(poses, shape), facts, f"poses {poses}", reader, stored_models(poses))


Drivers = dict[tuple[Path | None, Path | None, float | None], Driver]
"""Driving poses that were found already, by video, stored poses and rate."""
_MOST_DRIVERS = 32


def driver_of(
    drivers: Drivers, key: tuple[Path | None, Path | None, float | None], find: Callable[[Path], Driver]
) -> Driver:
    """The driver of this key, found in a temporary folder where it is not known; the last ones are kept."""
    if key not in drivers:
        while len(drivers) >= _MOST_DRIVERS:
            del drivers[next(iter(drivers))]
        with TemporaryDirectory() as folder:
            drivers[key] = find(Path(folder))
    return drivers[key]


def source_shape(video: Path | None, poses: Path | None) -> tuple[int, float]:
    """Frames and rate of what drives: of a stored table of poses, else of the video."""
    table = read_parquet(poses) if poses is not None and poses.suffix.lower() == ".parquet" else None
    if table is not None and table.schema.equals(POSES_SCHEMA):
        info = PosesInfo.of(table)
        return info.num_frames, info.fps
    if video is None:
        raise InputError(f"{poses} is an import file: its poses are relative to a video; give that video too")
    try:
        outline = read_outline(video)
    except RejectedItem as error:
        raise InputError(f"the driving video {video} cannot be used: {error.sentence}") from error
    return outline.num_packets, float(outline.rate.fps)


def uneven_timing(video: Path) -> tuple[float, np.ndarray] | None:
    """A rate fine enough for a film whose frames come unevenly, and when each is shown; None for others.

    Poses are found at an even rate by time, where a frame is shown from the first moment on that is not
    before its own: so when a frame is shown says which pose is its.
    """
    outline = read_outline(video)
    if outline.rate.constant:
        return None
    fps = min(_FINEST_FPS, 1 / float(np.quantile(np.diff(outline.times_s), 0.1)))
    return fps, np.ceil(outline.times_s * fps - 1e-6) / fps


def aligned(mode: AlignmentMode, driving: PoseTrack, reference: PoseTrack) -> PoseTrack:
    """The driving poses on the body of the reference, in pixels of the reference picture.

    Raises:
        InputError: too few points are visible in both.
    """
    keypoints = align(
        mode,
        driving.keypoints,
        driving.confidences,
        driving.size_px,
        reference.keypoints[0],
        reference.confidences[0],
        reference.size_px,
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
    if facts.damage is not None:
        log.warning("driving video %s is damaged: %s", video, facts.damage)
    return open_video(target), facts


def _driver(
    frames: Sequence[Sequence[tuple[int, Person]]],
    facts: VideoFacts,
    where: str,
    reader: VideoReader,
    models: dict[str, str],
) -> Driver:
    table = _table_of(frames, Size(facts.width_px, facts.height_px), facts.fps, models)
    camera = moving_camera(reader, range(facts.num_frames))
    return Driver(table, facts.fps, facts.source_fps, where, camera)


def _table_of(
    frames: Sequence[Sequence[tuple[int, Person]]],
    size: Size,
    fps: float = 1.0,
    models: dict[str, str] | None = None,
) -> pa.Table:
    sides = size._asdict()
    info = PosesInfo(video_id="", **sides, fps=fps, num_frames=len(frames), models=models or {})
    return poses_table(info, frames)


def _track_of(frames: Sequence[Sequence[tuple[int, Person]]], size: Size) -> PoseTrack:
    return read_track(_table_of(frames, size), len(frames))


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
