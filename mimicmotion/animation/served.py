"""A checkpoint behind one call, as model servers want it: ``predict`` on a picture and poses, all arrays.

MLflow loads it where a registered version is asked for; docs/python.md has it from picture to MP4:

    mlflow.pyfunc.load_model("models:/mimicmotion@champion").predict(
        {"image": picture, "reference_pose": pose, "poses": poses}, params={"num_steps": 10}
    )
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from pydantic import ValidationError

from mimicmotion.animation.checkpoint import read_checkpoint_facts
from mimicmotion.animation.driving import aligned, driver_from_poses, reference_pose
from mimicmotion.animation.generate import AnimationInputs, generate
from mimicmotion.animation.settings import INPUTS, PARAMS, DrivingSettings, SamplingSettings
from mimicmotion.devices import device_and_dtype, has_cuda
from mimicmotion.errors import InputError
from mimicmotion.model.weights import load_pipeline
from mimicmotion.pose.framing import framed_track, released_size
from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.models.estimator import configured_estimator
from mimicmotion.pose.settings import EstimatorSettings
from mimicmotion.pose.table import PoseTrack, stored_models
from mimicmotion.video.framing import framing
from mimicmotion.video.picture_files import read_picture
from mimicmotion.video.size import Size

_FARTHEST = 10.0
"""Shares of a picture that a keypoint may lie away from it; numbers above are pixels."""


def points(track: PoseTrack) -> Float32[np.ndarray, "n 133 3"]:
    """A track as ``predict`` takes it: shares of width and height, and confidence."""
    shares = track.resized(Size(1, 1)).keypoints
    return np.concatenate([shares, track.confidences[..., None]], axis=-1)


def stored_request(
    picture: Path, poses: Path, settings: EstimatorSettings, *, fps: float, person: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What ``predict`` takes, inputs and params, from a picture and stored poses.

    Args:
        picture: the reference, any file that holds a picture.
        poses: a table of the pose stage, or what ``mimicmotion animate`` writes beside its result.
        settings: what finds the pose in the picture, e.g. the section ``pose`` of a config; its calibration
            is applied to both.
        fps: frames per second of the result, by time.
        person: which of the stored people drives; 0 is the main person.

    Raises:
        InputError: a file cannot be used, nobody is in it, or the settings name no models.
    """
    estimator = configured_estimator(settings, cuda=has_cuda(), allow_cpu=True)
    if estimator is None:
        raise InputError(
            "finding the pose in the picture needs a detector and a whole-body model, and these settings "
            "name none: take those of a config that detects poses, e.g. own-videos"
        )
    calibration = settings.opened_calibration()
    if calibration is not None:
        calibration.check_files(estimator.files)
        calibration.check(stored_models(poses), f"the poses {poses}")
    image = read_picture(picture)
    own = reference_pose(image, estimator).calibrated(calibration)
    track = driver_from_poses(poses, None, fps, poses.parent).driving(person).track.calibrated(calibration)
    inputs = {"image": image, "reference_pose": points(own)[0], "poses": points(track)}
    return inputs, {"poses_size_px": [track.width_px, track.height_px]}


class ServedModel:
    """A loaded checkpoint that answers one request at a time.

    Args:
        checkpoint: folder in diffusers layout.
    """

    def __init__(self, checkpoint: Path) -> None:
        device, dtype = device_and_dtype(has_cuda(), "float16" if has_cuda() else "float32")
        self._pipeline = load_pipeline(checkpoint, dtype=dtype).to(device)
        self._facts = read_checkpoint_facts(checkpoint)

    def predict(
        self, model_input: Mapping[str, Any], params: Mapping[str, Any] | None = None
    ) -> UInt8[np.ndarray, "n height width 3"]:
        """Return one frame for each pose, at the size the checkpoint was trained with.

        Args:
            model_input: ``image``, the reference: uint8 (h, w, 3) RGB; ``reference_pose`` (133, 3): x and y
                as shares of the image's width and height (0 to 1), and confidence, of each COCO-WholeBody
                keypoint; ``poses`` (n, 133, 3), the same of the driving frames.
            params: what differs from ``PARAMS``: ``poses_size_px`` (width, height) of the driving frames,
                else the image's; ``alignment``, ``num_steps`` (else 25, or what a distilled checkpoint asks
                for), ``guidance_scale`` (else 2, or none), ``overlap`` of tiles (else what fits), ``seed``.

        Raises:
            InputError: something is missing, unknown or of another shape.
        """
        request = _checked({**model_input, **(params or {})})
        inputs = self._animation_inputs(request)
        kinds = {"num_steps": int, "guidance_scale": float, "overlap": int}
        wishes = {name: kind(request[name]) for name, kind in kinds.items() if request[name] is not None}
        try:
            choices = SamplingSettings(**{**self._facts.sampling, **wishes})
            seed = DrivingSettings(seed=int(request["seed"])).seed
        except ValidationError as error:
            said = [f"{one['loc'][0]} is {one['input']}: {one['msg']}" for one in error.errors()]
            raise InputError(*said) from error
        settings = choices.sampler(
            self._facts.num_frames,
            bool(self._facts.sampling),
            **self._facts.told,
        )
        return np.stack(list(generate(self._pipeline, inputs, settings, seed)))

    def _animation_inputs(self, request: Mapping[str, Any]) -> AnimationInputs:
        picture = _picture(request["image"])
        shown = Size.of(picture)
        fit = framing(shown, self._facts.sizes_px or (released_size(shown),))
        own = framed_track(_track(_points(request, "reference_pose")[None], shown), fit)
        given = [*request["poses_size_px"]] or shown
        if len(given) != 2 or min(given) < 1:
            raise InputError(f"poses_size_px is {given}; allowed is [width, height] in pixels")
        driving = _track(_points(request, "poses"), Size(*given))
        if driving.size_px == shown:
            driving = framed_track(driving, fit)
        return AnimationInputs(
            reference=fit.frames(picture[None])[0],
            reference_pose=own,
            driving=aligned(request["alignment"], driving, own),
            style=self._facts.style,
        )


def _checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with every default."""
    lacking, strange = INPUTS.keys() - request.keys(), request.keys() - INPUTS.keys() - PARAMS.keys()
    if lacking or strange:
        raise InputError(
            f"missing: {', '.join(sorted(lacking)) or 'none'}. "
            f"Unknown: {', '.join(sorted(strange)) or 'none'}. "
            f"Required: {', '.join(sorted(INPUTS))}. Optional: {', '.join(sorted(PARAMS))}."
        )
    return {**{name: default for name, (_, default) in PARAMS.items()}, **request}


def _picture(image: Any) -> UInt8[np.ndarray, "height width 3"]:
    picture = np.asarray(image)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise InputError(f"image has the shape {picture.shape}; allowed is (height, width, 3)")
    if picture.dtype.kind not in "iu" or picture.min() < 0 or picture.max() > 255:
        raise InputError(
            f"image holds {picture.dtype} from {picture.min():g} to {picture.max():g}; allowed are whole "
            "numbers from 0 to 255 in RGB. Multiply a picture from 0 to 1 by 255 and round it."
        )
    return picture.astype(np.uint8)


def _points(request: Mapping[str, Any], name: str) -> Float32[np.ndarray, "*n 133 3"]:
    points = np.asarray(request[name], np.float32)
    num_axes = 2 if name == "reference_pose" else 3
    if points.ndim != num_axes or points.shape[-2:] != (NUM_KEYPOINTS, 3) or not len(points):
        wanted = "(133, 3)" if num_axes == 2 else "(frames, 133, 3)"
        raise InputError(f"{name} has the shape {points.shape}; allowed is {wanted}: x, y, confidence")
    if not (farthest := np.abs(points[..., :2]).max()) <= _FARTHEST:
        raise InputError(
            f"{name} has coordinates up to {farthest:g}; allowed are shares of the picture's width and "
            "height (0 to 1). Divide x by the width and y by the height."
        )
    return points


def _track(points: Float32[np.ndarray, "n 133 3"], size_px: Size) -> PoseTrack:
    """The points as a track; boxes play no part in drawing or alignment."""
    width, height = size_px
    return PoseTrack(
        keypoints=points[..., :2] * np.asarray(size_px, np.float32),
        confidences=points[..., 2],
        present=points[..., 2].max(axis=1) > 0,
        boxes=np.full((len(points), 4), np.nan, np.float32),
        hand_boxes=np.full((len(points), 2, 4), np.nan, np.float32),
        hand_confidences=np.zeros((len(points), 2), np.float32),
        width_px=width,
        height_px=height,
    )


def open_model(checkpoint: Path) -> ServedModel:
    """The model of a checkpoint folder; libraries that load it show no bars and notices from then on."""
    import diffusers
    import transformers

    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return ServedModel(checkpoint)


def _load_pyfunc(data_path: str) -> ServedModel:
    """The name by which MLflow calls the loader of a model."""
    return open_model(Path(data_path))
