"""What the animate stage works with: its clips, the pipeline of a checkpoint, one clip's inputs and truth."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from mimicmotion.errors import RejectedItem
from mimicmotion.pose.settings import AlignmentMode
from stages.clip_rows import JUDGED, POSES_FILE, VIDEO_FILE, framing_columns, kept_clips, video_rows
from stages.engine.contract import WHOLE, Dataset, Item, Runtime
from stages.parts.generated import READ_AT_A_TIME

if TYPE_CHECKING:
    from mimicmotion.animation.checkpoint import CheckpointFacts
    from mimicmotion.animation.generate import AnimationInputs, Pipeline
    from mimicmotion.metrics.film.looks import FilmTools
    from mimicmotion.pose.calibration import Calibration


class AnimateRuntime(Runtime):
    """How the animate stage runs."""

    tile_batch_size: int = Field(1, ge=1, description="Tiles that the network sees at a time.")
    compile: bool = Field(False, description="Compile the network; slow to start, faster after.")


@dataclass
class Pipelines:
    """The pipeline of each checkpoint a worker was asked for; in practice there is one.

    Attributes:
        wants_gpu: work on the GPU.
        precision: number type of the weights.
        compiled: compile the network.
        warned: what was warned of; once a worker is enough.
        tools: what judges; None judges nothing.
    """

    wants_gpu: bool
    precision: str
    compiled: bool
    warned: set[str] = field(default_factory=set)
    tools: "FilmTools | None" = None
    _loaded: "dict[Path, tuple[Pipeline, CheckpointFacts]]" = field(default_factory=dict)

    def at(self, checkpoint: Path) -> "tuple[Pipeline, CheckpointFacts]":
        """The pipeline in a checkpoint folder, loaded on the first call, and what the folder says of it."""
        if checkpoint not in self._loaded:
            from mimicmotion.animation.checkpoint import read_checkpoint_facts
            from mimicmotion.devices import device_and_dtype
            from mimicmotion.model.weights import load_pipeline

            device, dtype = device_and_dtype(self.wants_gpu, self.precision)
            pipeline = load_pipeline(checkpoint, dtype=dtype).to(device)
            if self.compiled:
                pipeline.compile_unet()
            self._loaded[checkpoint] = pipeline, read_checkpoint_facts(checkpoint)
        return self._loaded[checkpoint]


def clip_items(inputs: Mapping[str, Dataset], weights: Dataset, tries: int) -> Iterator[Item]:
    """One item per kept val and test clip.

    Args:
        inputs: datasets of clips, decode and pose.
        weights: what was trained last.
        tries: films that are generated for each.
    """
    checkpoint, videos = weights.path(WHOLE, "checkpoint"), video_rows(inputs["decode"])
    for clip in (row for side in JUDGED for row in kept_clips(inputs["clips"], side, "clip")):
        video = videos[clip.video_id]
        fit = clip.framing(video)
        window = {
            "first_frame": clip.first_frame,
            "num_frames": clip.num_frames,
            "step": clip.step,
            "reference_frames": clip.reference_frames,
            "framing": framing_columns(fit),
        }
        yield Item(
            id=clip.clip_id,
            inputs={
                "checkpoint": weights.item_key(WHOLE),
                "video": inputs["decode"].item_key(clip.video_id),
                "poses": inputs["pose"].item_key(clip.video_id),
                # Its own window only: another test video leaves this item as it is.
                "window": json.dumps(window, sort_keys=True),
            },
            payload={
                "video_row": video,
                "checkpoint": checkpoint,
                "video": inputs["decode"].path(clip.video_id, VIDEO_FILE),
                "poses": inputs["pose"].path(clip.video_id, POSES_FILE),
                "fps": clip.fps,
                "fit": fit,
                "reference_frame": clip.reference_frames[0],
                "frames": [*clip.frames],
            },
            label=f"{video.name} {clip.clip_id}",
            num_frames=clip.num_frames * tries,
        )


def animation_inputs(
    item: Item,
    facts: "CheckpointFacts",
    calibration: "Calibration | None" = None,
    alignment: AlignmentMode = "none",
    smoothing_s: float = 0,
) -> "tuple[AnimationInputs, Iterator[np.ndarray], str | None]":
    """What the model is to dance, the true frames at the same size, and why the background may move.

    A few true frames are in memory: they are read as they are asked for.

    Raises:
        RejectedItem: nobody is in the reference frame, or in any driving frame.
    """
    from mimicmotion.animation.driving import aligned
    from mimicmotion.animation.generate import AnimationInputs
    from mimicmotion.pose.framing import framed_track
    from mimicmotion.pose.smoothing import smoothed
    from mimicmotion.video.reader import open_video
    from mimicmotion.video.stillness import moving_camera

    payload: Mapping[str, Any] = item.payload
    video, fit = payload["video_row"], payload["fit"]
    slots = [payload["reference_frame"], *payload["frames"]]
    found = video.track(Path(payload["poses"]), calibration)
    track = found.select(slots)
    if not track.present[0] and alignment != "none":
        raise RejectedItem(
            "no_reference_pose",
            f"nobody is in frame {slots[0]}, which is the reference of {item.label}, so that poses cannot be "
            f"aligned with it; animate.alignment is {alignment}, none leaves them as they are",
        )
    if not track.present[1:].any():
        raise RejectedItem("no_driving_pose", f"nobody is in any of the driving frames of {item.label}")
    reader = open_video(Path(payload["video"]))
    (reference,) = fit.frames(reader.read(slots[:1]))
    # Averaged at the rate of the video, before frames are left out; the picture's own pose stays as found.
    dance = smoothed(found, smoothing_s, video.fps).select(payload["frames"])
    own_pose, driving = framed_track(track.select([0]), fit), framed_track(dance, fit)
    if alignment != "none":
        driving = aligned(alignment, driving, own_pose)
    animation = AnimationInputs(
        reference=reference, reference_pose=own_pose, driving=driving, style=facts.style
    )
    chunks = (slots[begin : begin + READ_AT_A_TIME] for begin in range(1, len(slots), READ_AT_A_TIME))
    true = chain.from_iterable(fit.frames(reader.read(chunk)) for chunk in chunks)
    return animation, true, moving_camera(reader, payload["frames"])
