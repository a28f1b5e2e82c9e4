"""Training samples: slot 0 is the reference with its own pose, then the driving frames of one clip.

Everything random about a sample comes from its place in the run, so any worker makes the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float, Float16, Float32, UInt8
from safetensors import safe_open

from mimicmotion.clips.windows import far_frames
from mimicmotion.diffusion.edm import NOISE_PRESETS
from mimicmotion.errors import DataError, MachineError, StageError, is_machine_fault
from mimicmotion.pose.drawing import draw_pose
from mimicmotion.pose.framing import framed_track
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.pose.table import PoseTrack, read_track
from mimicmotion.training.data.augmentation import (
    UNCHANGED,
    Augmentation,
    draw_augmentation,
    mirrored,
    mirrored_boxes,
)
from mimicmotion.training.data.hand_map import (
    CELL_PX,
    confident_hands,
    face_weight_map,
    hand_weight_map,
)
from mimicmotion.training.data.ignored import counted_cells, ignored_boxes
from mimicmotion.training.data.order import Order, SampleIndex
from mimicmotion.training.settings import FIXED_NOISE, LOG_NOISE, LOG_NOISE_SPREAD, SampleSettings
from mimicmotion.video.framing import Framing


@dataclass(frozen=True)
class Clip:
    """Training windows of one form in one video; small, so that it can be sent to any worker.

    Attributes:
        clip_id: names the clip in every message.
        unit: an epoch shows one window of each unit, i.e. of a video, or of this clip alone.
        video: the normalised video.
        poses: Parquet file with the poses of that video.
        latents: latents of that video, to be read instead of pixels; see ``read_latents``.
        frames: driving frames of the first window, at an even step.
        num_windows: how many windows there are, each beginning one frame after the last.
        references: frames that may stand in slot 0.
        reference_distance: frames between a window and its reference, where possible.
        video_frames: number of frames of the video.
        fit: how frames of the video become training pictures.
        fps: driving frames per second.
        ignore: overlays: first frame, end, left, top, right, bottom in pixels of the video.
    """

    clip_id: str
    unit: str
    video: Path
    poses: Path
    latents: Path | None
    frames: tuple[int, ...]
    num_windows: int
    references: tuple[int, ...]
    reference_distance: int
    video_frames: int
    fit: Framing
    fps: float
    ignore: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Draw:
    """Everything random about one sample.

    Attributes:
        frames: the driving frames.
        reference: the frame in slot 0.
        sigma: noise level.
        reference_noise: standard deviation of the noise on the reference picture, in units of [-1, 1].
        dropped: whether the conditions are dropped.
        noise_seed: seeds the noise on latents and on the reference picture.
        augmentation: what is changed of pictures and poses.
    """

    frames: tuple[int, ...]
    reference: int
    sigma: float
    reference_noise: float
    dropped: bool
    noise_seed: int
    augmentation: Augmentation = UNCHANGED


@dataclass(frozen=True)
class Sample:
    """One sample, on the CPU, in the smallest types that hold it.

    Attributes:
        clip_id: the clip it was made of.
        draw: what was drawn for it.
        frames: pictures, slot 0 the reference; None when latents are given.
        latents: unscaled latents of the same; None when pictures are given.
        image_embedding: of the reference, with latents.
        poses: drawn guidance.
        hand_boxes: boxes of confident hands in pixels of the training picture, NaN elsewhere.
        hand_cells: latent cells in the box of a confident hand, whatever they weigh.
        hand_weights: loss weight of each latent cell for hands; 0 of what is not to be learnt.
        face_weights: the same for the face.
    """

    clip_id: str
    draw: Draw
    frames: UInt8[np.ndarray, "f height width 3"] | None
    latents: Float16[np.ndarray, "f c h w"] | None
    image_embedding: Float16[np.ndarray, "1 d"] | None
    poses: UInt8[np.ndarray, "f 3 height width"]
    hand_boxes: Float32[np.ndarray, "f 2 4"]
    hand_cells: Bool[np.ndarray, "f h w"]
    hand_weights: Float32[np.ndarray, "f h w"]
    face_weights: Float32[np.ndarray, "f h w"]


def order_of(clips: Sequence[Clip], batch: int, seed: int) -> Order:
    """Return the order in which training sees these clips."""
    return Order([(clip.fit.target, clip.unit, clip.num_windows) for clip in clips], batch, seed)


def draw(clip: Clip, index: SampleIndex, settings: SampleSettings) -> Draw:
    """Return what is random about the sample at this index."""
    rng = index.rng(settings.seed)
    later = int(index.rng(settings.seed, 1).integers(clip.num_windows))
    frames = tuple(frame + later for frame in clip.frames)
    references = far_frames(np.array(clip.references), frames[0], frames[-1], clip.reference_distance)
    quantile = torch.tensor([rng.random()], dtype=torch.float64)
    log_noise = rng.normal(LOG_NOISE, LOG_NOISE_SPREAD)
    return Draw(
        frames=frames,
        reference=int(references[rng.integers(len(references))]),
        sigma=float(NOISE_PRESETS[settings.noise].sigmas(quantile)),
        reference_noise={"none": 0.0, "fixed": FIXED_NOISE, "lognormal": float(np.exp(log_noise))}[
            settings.reference_noise
        ],
        dropped=bool(rng.random() < settings.dropout),
        noise_seed=int(rng.integers(2**63)),
        augmentation=draw_augmentation(index.rng(settings.seed, 2), settings),
    )


def make_sample(clip: Clip, drawn: Draw, settings: SampleSettings) -> Sample:
    """Return the sample of a clip.

    Raises:
        StageError: a file of the clip is missing or does not fit; names the clip. An earlier stage vouched
            for it, so it is neither skipped nor replaced.
        MachineError: reading failed by a fault of disk or network.
    """
    try:
        return _make_sample(clip, drawn, settings)
    except Exception as error:
        named = f"clip {clip.clip_id} ({clip.video})"
        if is_machine_fault(error):
            raise MachineError(
                f"{named} cannot be read, perhaps by a fault of disk or network: {error}"
            ) from error
        raise StageError(f"{named} cannot be read, although the clips stage kept it: {error}") from error


def _make_sample(clip: Clip, drawn: Draw, settings: SampleSettings) -> Sample:
    slots, fit = [drawn.reference, *drawn.frames], clip.fit
    width, height = fit.target
    cells = (height // CELL_PX, width // CELL_PX)
    table = pq.read_table(clip.poses)
    person = read_track(table, clip.video_frames, 0, fit.source, settings.opened_calibration())
    track = framed_track(person.select(slots), fit)
    boxes = ignored_boxes(clip.ignore, table, slots, fit)
    if drawn.augmentation.mirrored:
        track, boxes = mirrored(track), [mirrored_boxes(some, width) for some in boxes]
    hands = confident_hands(track.hand_boxes, track.hand_confidences, settings.hand_threshold)
    counted = counted_cells(boxes[0], boxes[1], track.boxes, cells) | (not settings.mask_loss)
    sample = Sample(
        clip_id=clip.clip_id,
        draw=drawn,
        frames=None,
        latents=None,
        image_embedding=None,
        poses=_drawn(drawn.augmentation.drivers(track), settings.drawing),
        hand_boxes=hands.astype(np.float32),
        hand_cells=counted & (hand_weight_map(hands, cells, 2.0) > 1),
        hand_weights=counted * hand_weight_map(hands, cells, settings.hand_weight),
        face_weights=counted
        * face_weight_map(
            track.keypoints, track.confidences, settings.hand_threshold, cells, settings.face_weight
        ),
    )
    if clip.latents is None:
        from mimicmotion.video.reader import open_video  # a machine that trains from latents needs no PyAV

        frames = fit.frames(open_video(clip.video, settings.reader).read(slots))
        return replace(sample, frames=frames[:, :, ::-1].copy() if drawn.augmentation.mirrored else frames)
    latents, embedding = read_latents(clip.latents, slots, fit)
    return replace(sample, latents=latents, image_embedding=embedding)


def _drawn(track: PoseTrack, style: DrawingStyle) -> UInt8[np.ndarray, "f 3 h w"]:
    size = track.size_px
    pairs = zip(track.keypoints, track.confidences, strict=True)
    return np.stack([draw_pose(points[None], scores[None], size, style) for points, scores in pairs])


def read_latents(
    path: Path, slots: list[int], fit: Framing
) -> tuple[Float16[np.ndarray, "f c h w"], Float16[np.ndarray, "1 d"]]:
    """Return the latents of these frames and the image embedding of the first.

    Args:
        path: file of the latents stage.
        slots: the reference, which may lie far from the rest, and the frames of the window.
        fit: framing that training needs.

    Raises:
        DataError: the file was made for another framing, or lacks a frame.
    """
    with safe_open(path, "numpy") as file:
        prefix = framing_text(fit)
        if f"{prefix}/frames" not in file.keys():  # noqa: SIM118 - the file is no mapping
            raise DataError(f"{path} holds no latents of the framing {prefix}: run the latents stage again")
        frames, embedded = (file.get_tensor(f"{prefix}/{name}") for name in ("frames", "embedded_frames"))
        places = _places(path, frames, np.array(slots))
        embedding = int(_places(path, embedded, np.array(slots[:1]))[0])
        latents = file.get_slice(f"{prefix}/latents")
        reference, window = int(places[0]), places[1:]
        first, last = int(window.min()), int(window.max())
        parts = (latents[reference : reference + 1], latents[first : last + 1][window - first])
        embeddings = file.get_slice(f"{prefix}/embeddings")
        return np.concatenate(parts), embeddings[embedding : embedding + 1][0]


def _places(
    path: Path, stored: Float[np.ndarray, " n"], wanted: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " m"]:
    places = np.searchsorted(stored, wanted)
    found = stored[np.minimum(places, len(stored) - 1)] == wanted
    if not found.all():
        raise DataError(f"{path} lacks the frames {wanted[~found].tolist()}: run the latents stage again")
    return places


def framing_text(fit: Framing) -> str:
    """Return the framing as text that names its latents."""
    return ">".join("x".join(map(str, pair)) for pair in (fit.source, fit.scaled, fit.offset, fit.target))
