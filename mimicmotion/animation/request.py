"""One request of a user: a reference picture and driving poses in, a video that a browser plays out."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydantic import Field

from mimicmotion.animation.audio import add_audio
from mimicmotion.animation.checkpoint import CheckpointFacts
from mimicmotion.animation.driving import (
    Driver,
    Drivers,
    Driving,
    aligned,
    driver_from_poses,
    driver_from_video,
    driver_of,
    reference_pose,
    reference_pose_from,
)
from mimicmotion.animation.generate import AnimationInputs, Pipeline, generate
from mimicmotion.animation.settings import RequestSettings
from mimicmotion.diffusion.sampler import Progress, Retiled
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.errors import InputError
from mimicmotion.pictures.panels import alignment_preview, enlarged
from mimicmotion.pose.calibration import Calibration
from mimicmotion.pose.framing import framed_track, released_size
from mimicmotion.pose.models.estimator import PoseEstimator
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.smoothing import smoothed
from mimicmotion.pose.table import PoseTrack, stored_models
from mimicmotion.video.files import write_preview
from mimicmotion.video.framing import Framing, framing
from mimicmotion.video.picture_files import read_picture
from mimicmotion.video.size import Size

log = logging.getLogger(__name__)

_NUM_PREVIEWED = 5
_MOST_CUT = 0.1
"""Share of the reference that may be cut off without a word."""
_PREVIEW_CANVAS = 3
"""Canvas of the preview's drawings over its own short side, at most: lines are about 3 px wide and seen."""
_SIDE_MULTIPLE = 8
"""Pixels of a side for each of SVD's latents."""


class AnimationRequest(RequestSettings):
    """What a user asks for."""

    image: Path = Field(description="The reference picture.")
    out: Path = Field(description="The MP4 to write.")
    video: Path | None = Field(None, description="The driving video; its sound is kept.")
    poses: Path | None = Field(None, description="Stored poses in place of those found in the video.")
    reference_poses: Path | None = Field(
        None, description="Stored pose of the reference in place of one found in the picture."
    )

    def check(self) -> None:
        """Refuse what cannot be done before anything is loaded.

        Raises:
            InputError: something is missing or contradicts something else.
        """
        if self.video is None and self.poses is None:
            raise InputError("nothing drives the result: give a video or stored poses")
        if self.video is not None and not self.video.is_file():
            raise InputError(f"no driving video at {self.video}")
        if self.size is not None and self.short_side_px is not None:
            raise InputError("both a size and a resolution are given; give one of them")
        if self.size is not None and any(side % _SIDE_MULTIPLE for side in self.size):
            width, height = (max(side // _SIDE_MULTIPLE, 1) * _SIDE_MULTIPLE for side in self.size)
            raise InputError(
                f"a size of {self.size} was asked for; both sides must be divisible by "
                f"{_SIDE_MULTIPLE}, e.g. {width}x{height}"
            )
        if self.out.suffix != ".mp4":
            raise InputError(f"the result {self.out} must end in .mp4, which every browser plays")
        self._check_place()
        if self.fps is not None and not 1 <= self.fps <= 120:
            raise InputError(f"{self.fps:g} frames per second were asked for; allowed are 1 to 120")

    def _check_place(self) -> None:
        """Refuse a place where no result can be written, or where one would replace what it is made from."""
        folder = self.out.absolute().parent
        if not folder.is_dir():
            raise InputError(f"the folder {folder} for the result is not there; make it, or choose another")
        if self.out.is_dir():
            raise InputError(f"the result {self.out} is a folder; name a file ending in .mp4")
        for name in ("image", "video", "poses", "reference_poses"):
            source: Path | None = getattr(self, name)
            if source is not None and source.resolve() == self.out.resolve():
                raise InputError(f"the result {self.out} would replace the {name} it is made from; rename it")
        try:
            with result_folder(self):
                pass
        except OSError as error:
            raise InputError(f"no result can be written in the folder {folder}: {error}") from error

    def target_size(self, picture: np.ndarray, facts: CheckpointFacts) -> Size:
        """Size of the result for this reference picture."""
        own = Size.of(picture)
        if self.size is not None:
            return self.size
        if self.short_side_px is not None:
            return released_size(own, self.short_side_px)
        if facts.sizes_px:
            return framing(own, facts.sizes_px).target
        return released_size(own)


@dataclass(frozen=True)
class PreparedRequest:
    """A request ready for the network.

    Attributes:
        inputs: reference and poses at the size of the result.
        driving: the poses before alignment.
        driver: everybody's poses, that these were taken from.
        preview: picture of the aligned poses over the reference.
    """

    inputs: AnimationInputs
    driving: Driving
    driver: Driver
    preview: np.ndarray


def prepare(
    request: AnimationRequest,
    facts: CheckpointFacts,
    style: DrawingStyle,
    estimator: PoseEstimator | None,
    tile: int | None = None,
    calibration: Calibration | None = None,
    drivers: Drivers | None = None,
) -> PreparedRequest:
    """Everything before the long work.

    Args:
        request: what is asked for.
        facts: of the checkpoint.
        style: how poses are drawn, usually the checkpoint's.
        estimator: find poses; None where all poses are stored.
        tile: slots of a tile, to warn where that is not the training's; None for the training's.
        calibration: of the model that found the poses, where the network was trained with one.
        drivers: those of requests before this one, of the same checkpoint; the last ones are kept in it.

    Raises:
        InputError: a file cannot be used, nobody is in it, the estimator is missing, or poses would be drawn
            in another way than the network learnt them.
    """
    request.check()
    _check_calibration(request, facts, estimator, calibration)
    picture = read_picture(request.image)
    target = request.target_size(picture, facts)
    fit = framing(Size.of(picture), [target])
    if fit.cut_share > _MOST_CUT:
        log.warning(
            "%.0f %% of the picture %s are cut off around its middle to make it %s; give one of that aspect, "
            "or another --size",
            *(100 * fit.cut_share, request.image, target),
        )
    reference = fit.frames(picture[None])[0]
    own_pose = _reference_pose(request, reference, fit, estimator)
    driver = _driver(request, facts.window_fps, estimator, {} if drivers is None else drivers)
    driving = driver.driving(request.person)
    for departure in facts.departures(tile or facts.num_frames, driving.fps):
        log.warning(departure)
    own_pose = own_pose.calibrated(calibration)
    track = smoothed(driving.track.calibrated(calibration), request.smoothing_s, driving.fps)
    poses = aligned(request.alignment, track, own_pose)
    inputs = AnimationInputs(reference=reference, reference_pose=own_pose, driving=poses, style=style)
    return PreparedRequest(inputs, driving, driver, _preview(inputs))


def _check_calibration(
    request: AnimationRequest,
    facts: CheckpointFacts,
    estimator: PoseEstimator | None,
    calibration: Calibration | None,
) -> None:
    if facts.calibrated and calibration is None:
        raise InputError(
            "this checkpoint was trained on calibrated confidences: give the calibration of your whole-body "
            "model (--calibration, or a config with pose.calibration); make one with `mimicmotion calibrate`"
        )
    if calibration is None:
        return
    if not facts.calibrated:
        raise InputError(
            "a calibration is given, but this checkpoint learnt raw confidences as released weights did: "
            "leave --calibration out, or set pose.calibration to null"
        )
    if estimator is not None and (request.poses is None or request.reference_poses is None):
        calibration.check_files(estimator.files)
    for poses in (request.poses, request.reference_poses):
        if poses is not None:
            calibration.check(stored_models(poses), f"the poses {poses}")


def perform(
    request: AnimationRequest,
    prepared: PreparedRequest,
    pipeline: Pipeline,
    settings: SamplerSettings,
    progress: Progress | None = None,
    retiled: Retiled | None = None,
) -> int:
    """Number of frames written to the request's result; the file appears when it is complete.

    Args:
        request: what is asked for.
        prepared: by ``prepare``.
        pipeline: a loaded pipeline.
        settings: how to sample.
        progress: called with (tiles done, tiles of the whole run).
        retiled: called where the tile becomes smaller for want of memory.
    """
    with result_folder(request) as folder:
        return perform_in(Path(folder), request, prepared, pipeline, settings, progress, retiled)


def result_folder(request: AnimationRequest) -> "TemporaryDirectory[str]":
    """Return a folder beside the result, for what is not complete yet."""
    return TemporaryDirectory(dir=request.out.absolute().parent, prefix=".animate-")


def perform_in(
    folder: Path,
    request: AnimationRequest,
    prepared: PreparedRequest,
    pipeline: Pipeline,
    settings: SamplerSettings,
    progress: Progress | None = None,
    retiled: Retiled | None = None,
) -> int:
    """``perform`` with unfinished files in this folder, which is the caller's to delete."""
    inputs, seed, chunk = prepared.inputs, request.seed, request.decode_chunk
    frames = generate(pipeline, inputs, settings, seed, chunk, progress, retiled)
    silent, sounding = folder / "silent.mp4", folder / "sounding.mp4"
    num_frames = write_preview(silent, frames, prepared.driving.fps)
    (sounding if _sounds(request, silent, sounding) else silent).replace(request.out)
    return num_frames


def _sounds(request: AnimationRequest, silent: Path, sounding: Path) -> bool:
    """Whether a file with sound was written; damaged sound is no reason to lose what was generated."""
    if not request.keep_audio or request.video is None:
        return False
    try:
        return add_audio(silent, request.video, sounding)
    except InputError as error:
        log.warning("%s has no sound: %s", request.out, error)
        return False


def _reference_pose(
    request: AnimationRequest, reference: np.ndarray, fit: Framing, estimator: PoseEstimator | None
) -> PoseTrack:
    if request.reference_poses is not None:
        # Relative to the whole picture, as it is on disk.
        return framed_track(reference_pose_from(request.reference_poses, fit.source), fit)
    if estimator is None:
        raise InputError(
            "finding the pose of the reference needs --detector and --wholebody, or --reference-poses"
        )
    return reference_pose(reference, estimator)


def _driver(
    request: AnimationRequest, most_fps: float, estimator: PoseEstimator | None, drivers: Drivers
) -> Driver:
    key = (request.video, request.poses, request.fps)
    return driver_of(drivers, key, lambda folder: _found(request, most_fps, estimator, folder))


def _found(
    request: AnimationRequest, most_fps: float, estimator: PoseEstimator | None, folder: Path
) -> Driver:
    if request.poses is not None:
        return driver_from_poses(request.poses, request.video, request.fps, folder, most_fps)
    if estimator is None or request.video is None:
        raise InputError(
            "finding the driving poses needs --detector and --wholebody, or stored poses (--poses)"
        )
    return driver_from_video(request.video, request.fps, estimator, folder, most_fps)


def _preview(inputs: AnimationInputs) -> np.ndarray:
    """Only the poses that are shown are drawn, at a size at which a person can judge them."""
    num_driving = len(inputs.driving)
    chosen = np.unique(np.linspace(0, num_driving - 1, min(_NUM_PREVIEWED, num_driving)).round().astype(int))
    reference = enlarged(inputs.reference)
    size = Size.of(reference)
    style = inputs.style
    canvas = min(style.canvas_short_side_px, _PREVIEW_CANVAS * min(size))
    shown = replace(
        inputs,
        reference=reference,
        style=style.model_copy(update={"canvas_short_side_px": canvas}),
        reference_pose=inputs.reference_pose.resized(size),
        driving=inputs.driving.select(chosen).resized(size),
    )
    labels = [f"frame {frame}" for frame in chosen]
    return alignment_preview(reference, list(shown.pose_pictures()), labels)
