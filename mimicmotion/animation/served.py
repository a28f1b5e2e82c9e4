"""A checkpoint behind one call, as model servers want it: ``predict`` on a picture and poses, all arrays.

MLflow loads it where a registered version is asked for:

    mlflow.pyfunc.load_model("models:/mimicmotion@champion").predict(
        {"image": picture, "reference_pose": pose, "poses": poses}
    )
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from mimicmotion.animation.checkpoint import read_checkpoint_facts
from mimicmotion.animation.driving import aligned
from mimicmotion.animation.generate import AnimationInputs, generate
from mimicmotion.devices import device_and_dtype, has_cuda
from mimicmotion.diffusion.settings import SamplerSettings
from mimicmotion.errors import InputError
from mimicmotion.model.weights import load_pipeline
from mimicmotion.pose.framing import framed_track, released_size
from mimicmotion.pose.table import PoseTrack
from mimicmotion.video.framing import framing
from mimicmotion.video.picture_files import read_picture

NUM_KEYPOINTS = 133
PICTURES_VARIABLE = "MIMICMOTION_PICTURES"
"""Environment variable with the folder whose pictures clients of a served model may name."""
_REQUIRED = {"image", "reference_pose", "poses"}
_OPTIONAL = {"poses_size_px", "alignment", "num_steps", "guidance_scale", "overlap", "seed"}


class ServedModel:
    """A loaded checkpoint that answers one request at a time.

    Args:
        checkpoint: folder in diffusers layout.
    """

    def __init__(self, checkpoint: Path) -> None:
        device, dtype = device_and_dtype(has_cuda(), "float16" if has_cuda() else "float32")
        self._pipeline = load_pipeline(checkpoint, dtype=dtype).to(device)
        self._facts = read_checkpoint_facts(checkpoint)

    def predict(self, model_input: Mapping[str, Any]) -> UInt8[np.ndarray, "n height width 3"]:
        """Return one frame for each pose, at the size the checkpoint was trained with.

        Args:
            model_input: ``image``, the reference: uint8 (h, w, 3) RGB, or the name of a picture in the folder
                that the operator of the server gives by ``MIMICMOTION_PICTURES``;
                ``reference_pose`` (133, 3): x and y in pixels of the image, and confidence, of each
                COCO-WholeBody keypoint; ``poses`` (n, 133, 3), of the driving frames. Optional:
                ``poses_size_px`` (width, height) of the driving pictures, else the image's; ``alignment``
                (``robust``), ``num_steps`` (25), ``guidance_scale`` (2.0), ``overlap``
                of tiles (6), ``seed`` (0).

        Raises:
            InputError: something is missing, unknown or of another shape.
        """
        request = _checked(model_input)
        inputs = self._animation_inputs(request)
        guidance = float(request.get("guidance_scale", 2.0))
        settings = SamplerSettings(
            num_steps=int(request.get("num_steps", 25)),
            guidance_scale=guidance,
            tile=self._facts.num_frames,
            overlap=int(request.get("overlap", min(6, self._facts.num_frames - 2))),
            fps=self._facts.fps,
            motion_bucket_id=self._facts.motion_bucket,
        )
        frames = generate(self._pipeline, inputs, settings, int(request.get("seed", 0)))
        return np.stack(list(frames))

    def _animation_inputs(self, request: Mapping[str, Any]) -> AnimationInputs:
        picture = _picture(request["image"])
        height, width = picture.shape[:2]
        sizes = self._facts.sizes_px or (released_size(width, height),)
        fit = framing((width, height), sizes)
        own = framed_track(_track(_points(request, "reference_pose")[None], (width, height)), fit)
        size = tuple(request.get("poses_size_px", (width, height)))
        driving = _track(_points(request, "poses"), size)
        if size == (width, height):
            driving = framed_track(driving, fit)
        return AnimationInputs(
            reference=fit.frames(picture[None])[0],
            reference_pose=own,
            driving=aligned(request.get("alignment", "robust"), driving, own),
            style=self._facts.style,
        )


def _checked(request: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(request, Mapping):
        raise InputError(f"a request is a mapping with {sorted(_REQUIRED)}, got a {type(request).__name__}")
    lacking, strange = _REQUIRED - request.keys(), request.keys() - _REQUIRED - _OPTIONAL
    if lacking or strange:
        raise InputError(
            f"missing: {', '.join(sorted(lacking)) or 'none'}. "
            f"Unknown: {', '.join(sorted(strange)) or 'none'}. "
            f"Required: {', '.join(sorted(_REQUIRED))}. Optional: {', '.join(sorted(_OPTIONAL))}."
        )
    return request


def _picture(image: Any) -> UInt8[np.ndarray, "height width 3"]:
    if isinstance(image, (str, Path)):
        return read_picture(_allowed(Path(image)))
    picture = np.asarray(image)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise InputError(f"image has the shape {picture.shape}; allowed is (height, width, 3), or a path")
    if picture.dtype.kind not in "iu" or picture.min() < 0 or picture.max() > 255:
        raise InputError(
            f"image holds {picture.dtype} from {picture.min():g} to {picture.max():g}; allowed are whole "
            "numbers from 0 to 255 in RGB. Multiply a picture from 0 to 1 by 255 and round it."
        )
    return picture.astype(np.uint8)


def _allowed(name: Path) -> Path:
    """The picture of a name, in the folder that the operator opens to clients."""
    given = os.environ.get(PICTURES_VARIABLE)
    if given is None:
        raise InputError(
            "image is a path, and this server opens no files for its clients: send the picture as an array. "
            f"Its operator may open a folder to them by the environment variable {PICTURES_VARIABLE}."
        )
    folder = Path(given).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise InputError(f"image {name} lies outside of the folder that this server opens to clients")
    return path


def _points(request: Mapping[str, Any], name: str) -> Float32[np.ndarray, "*n 133 3"]:
    points = np.asarray(request[name], np.float32)
    num_axes = 2 if name == "reference_pose" else 3
    if points.ndim != num_axes or points.shape[-2:] != (NUM_KEYPOINTS, 3) or not len(points):
        wanted = "(133, 3)" if num_axes == 2 else "(frames, 133, 3)"
        raise InputError(f"{name} has the shape {points.shape}; allowed is {wanted}: x, y, confidence")
    return points


def _track(points: Float32[np.ndarray, "n 133 3"], size_px: tuple[int, ...]) -> PoseTrack:
    """The points as a track; boxes play no part in drawing or alignment."""
    width, height = size_px
    return PoseTrack(
        keypoints=points[..., :2],
        confidences=points[..., 2],
        present=points[..., 2].max(axis=1) > 0,
        boxes=np.full((len(points), 4), np.nan, np.float32),
        hand_boxes=np.full((len(points), 2, 4), np.nan, np.float32),
        hand_confidences=np.zeros((len(points), 2), np.float32),
        width_px=width,
        height_px=height,
    )


def _load_pyfunc(data_path: str) -> ServedModel:
    """The name by which MLflow calls the loader of a model."""
    return ServedModel(Path(data_path))
