"""Video transformers whose files say their own form: VideoMAE (``videomae``) and V-JEPA 2 (``vjepa``).

Given is a folder in transformers' layout (``config.json``, ``model.safetensors``), or an ONNX graph of any
such encoder, e.g. VideoMAE v2 or the first V-JEPA with its attentive probe: one float32 input
(n, 3, t, h, w) or (n, t, 3, h, w), and features (n, d), or tokens (n, k, d), whose mean is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.pose.models.sessions import first_output, open_session
from mimicmotion.video.size import Size
from mimicmotion.weights.fetching import file_digest

MODEL_TYPES = {"videomae": "videomae", "vjepa": "vjepa2"}
"""Metric -> what ``config.json`` calls its network."""
IMAGENET_MEAN, IMAGENET_SCALE = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""RGB in 0..255 that both families subtract, and divide by."""


@dataclass(frozen=True)
class VideoEncoder:
    """A loaded encoder.

    Attributes:
        sha256: of the file with its weights.
        network: maps (b, 3, t, h, w) to (b, width).
        size: of its input.
        frames: of a window, where it takes no other number.
        width: numbers in a feature vector.
    """

    sha256: str
    network: Callable[[Tensor], Tensor]
    size: Size
    frames: int | None
    width: int


def open_encoder(metric: str, path: Path, device: torch.device) -> VideoEncoder:
    """The encoder of a metric from a folder of transformers or an ONNX graph.

    Raises:
        WeightsError: it is another network, or of another form.
    """
    if path.is_dir():
        return _from_folder(metric, path, device)
    if path.suffix == ".onnx":
        return _from_graph(path, device)
    raise WeightsError(
        f"{path} cannot be the network of {metric}: give a folder in transformers' layout with "
        "model.safetensors, or an .onnx graph"
    )


def _from_folder(metric: str, folder: Path, device: torch.device) -> VideoEncoder:
    from transformers import AutoConfig, AutoModel  # seconds to import

    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise WeightsError(f"{folder} lacks model.safetensors: files of another form may hold code")
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{folder}: its config.json is no network's ({error})") from error
    if config.model_type != MODEL_TYPES[metric]:
        raise WeightsError(f"{folder} holds {config.model_type}; {metric} needs {MODEL_TYPES[metric]}")
    model, found = AutoModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
    )
    # A head beside the encoder is not needed.
    if found["missing_keys"] or found["mismatched_keys"]:
        lacking = sorted({*map(str, found["missing_keys"]), *map(str, found["mismatched_keys"])})
        raise WeightsError(f"{folder} does not hold the whole encoder: {len(lacking)} tensors {lacking[:3]}")
    model = model.eval().requires_grad_(False).to(device)
    is_vjepa = config.model_type == "vjepa2"

    def network(video: Tensor) -> Tensor:
        frames = video.transpose(1, 2)
        if frames.shape[1] % config.tubelet_size:
            raise InputError(
                f"{metric} sees {config.tubelet_size} frames at a time and would drop the last ones of a "
                f"window of {frames.shape[1]}: choose a window that it divides"
            )
        told = (
            {"pixel_values_videos": frames, "skip_predictor": True} if is_vjepa else {"pixel_values": frames}
        )
        tokens: Tensor = model(**told).last_hidden_state
        return tokens.mean(1)

    side = config.crop_size if is_vjepa else config.image_size
    # VideoMAE has a place for each frame; V-JEPA 2 turns with time, so any even number will do.
    frames = None if is_vjepa else config.num_frames
    return VideoEncoder(file_digest(weights), network, Size(side, side), frames, config.hidden_size)


def _from_graph(path: Path, device: torch.device) -> VideoEncoder:
    session = open_session(path, cuda=device.type == "cuda", allow_cpu=True, threads=1)
    given, made = session.get_inputs(), session.get_outputs()[0]
    shape = given[0].shape
    width: Any = made.shape[-1] if made.shape else None
    colours = [place for place in (1, 2) if len(shape) == 5 and shape[place] == 3]
    fits = (
        len(given) == 1
        and given[0].type == "tensor(float)"
        and len(colours) == 1
        and all(isinstance(side, int) for side in (*shape[3:], width))
        and len(made.shape) in (2, 3)
    )
    if not fits:
        raise WeightsError(
            f"{path} takes {[(one.type, one.shape) for one in given]} and gives {made.shape}; needed are one "
            "float32 input (n, 3, t, h, w) or (n, t, 3, h, w) with h and w fixed, and features (n, d) or "
            "tokens (n, k, d)"
        )

    def network(video: Tensor) -> Tensor:
        ordered = (video if colours == [1] else video.transpose(1, 2)).contiguous().cpu().numpy()
        vectors = first_output(session, ordered, path)
        return torch.from_numpy(vectors.mean(1) if vectors.ndim == 3 else vectors)

    frames = shape[3 - colours[0]]
    return VideoEncoder(
        file_digest(path),
        network,
        Size(shape[4], shape[3]),
        frames if isinstance(frames, int) else None,
        width,
    )
