"""Val and test clips measured one by one: the part of the evaluate stage that runs over all workers.

``mimicmotion stage evaluate configs/demo.yaml`` runs it, and then sums up.

Each clip is two items: what the model made, and the floors that any model must be read against, which are
copying the reference picture, the VAE's round trip of the true frames, and the truth one frame late. Floors
depend on the clip and the VAE, so another model finds them measured.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from mimicmotion.errors import StageError
from mimicmotion.metrics.settings import JudgeSettings
from stages.clip_rows import JUDGED, framing_columns
from stages.engine.contract import WHOLE, Dataset, Item, ItemStage, Runtime
from stages.parts.generated import (
    GeneratedClip,
    driving_pose,
    generated_clips,
    iter_generated,
    iter_truth,
    read_true,
)

if TYPE_CHECKING:
    import torch

    from mimicmotion.metrics.judging import Chunk, Judge
    from mimicmotion.metrics.scores import Measured

_Value = TypeVar("_Value")

MEASURED_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("method", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("count", pa.int64()),
        ("backbone_sha256", pa.string()),
        ("note", pa.string()),
        ("width", pa.int32()),
        ("features", pa.list_(pa.float32())),
    ]
)
"""One row per clip, method and metric: a mean with what it went over, or feature vectors of ``width``, one
behind the other."""

MODEL_PART, FLOORS_PART = "model", "floors"
_AT_A_TIME = 8
"""Frames in memory; the VAE's temporal decoder sees as many together."""


class EvaluateRuntime(Runtime):
    """How the evaluate stage runs."""

    batch_size: int = Field(4, ge=1, description="Windows of frames that a video backbone sees at a time.")
    allow_cpu: bool = Field(False, description="Go on with the CPU where ONNX Runtime cannot use the GPU.")


@dataclass
class Measuring:
    """What a worker measures with.

    Attributes:
        judge: measures.
        device: where the VAE works.
    """

    judge: "Judge"
    device: "torch.device"
    _vaes: dict[Path, Any] = field(default_factory=dict)

    def vae(self, folder: Path) -> Any:
        """The VAE in a checkpoint's folder, loaded on the first call."""
        if folder not in self._vaes:
            from mimicmotion.model.weights import load_vae

            self._vaes[folder] = load_vae(folder).requires_grad_(False).to(self.device)
        return self._vaes[folder]


class Measure(JudgeSettings, ItemStage):
    """Measures val and test clips, what the model made of each and what floors do."""

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 2
    section: ClassVar[str] = "evaluate"
    reads: ClassVar[tuple[str, ...]] = ("animate", "clips", "decode", "pose", "train")
    schema: ClassVar[pa.Schema] = MEASURED_SCHEMA

    runtime: EvaluateRuntime = EvaluateRuntime()

    def idle_fields(self) -> set[str]:
        """Which metric decides changes none of them."""
        return {"primary_metric", *self.unchanged_fields()}

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        """Two items per generated clip.

        Raises:
            StageError: there is none.
            InputError: they are not what the protocol asks for.
        """
        clips = [clip for split in JUDGED for clip in generated_clips(inputs, split)]
        of_test = [clip.source_name for clip in clips if clip.split == "test"]
        if not of_test:
            raise StageError("there is no generated test clip to evaluate: the animate stage kept none")
        protocol = self.chosen_protocol
        protocol.check_videos(of_test)
        checkpoint = inputs["train"].path(WHOLE, "checkpoint")
        vae_sha256 = inputs["train"].content_sha256(WHOLE, "checkpoint/vae")
        for clip in clips:
            video, cut = clip.video, clip.fit.cut_share
            protocol.check_frames(clip.source_name, video.num_frames, clip.reference_frame, clip.frames, cut)
            truth = {
                "video": inputs["decode"].item_key(video.video_id),
                "poses": inputs["pose"].item_key(video.video_id),
                "clip": json.dumps([clip.clip_id, clip.frames, framing_columns(clip.fit)]),
            }
            payload: dict[str, Any] = {"clip": {one.name: getattr(clip, one.name) for one in fields(clip)}}
            label, length = f"{video.name} {clip.clip_id}", len(clip.frames)
            made = {"generated": inputs["animate"].item_key(clip.clip_id)}
            yield Item(f"{clip.clip_id}.{MODEL_PART}", {**truth, **made}, payload, f"{label}, model", length)
            floors = {"vae": vae_sha256, "reference": str(clip.reference_frame)}
            with_vae = {**payload, "checkpoint": checkpoint}
            yield Item(
                f"{clip.clip_id}.{FLOORS_PART}", {**truth, **floors}, with_vae, f"{label}, floors", length
            )

    def load(self) -> Measuring:
        """Every network that the config names."""
        import torch

        from mimicmotion.metrics.judging import open_judge

        runtime = self.runtime
        wants_gpu = runtime.gpus_per_worker > 0
        device = torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")
        judge = open_judge(
            self,
            device,
            # As in the pose stage: without a reserved GPU and with leave to use the CPU, the GPU is not ours.
            cuda=wants_gpu or not runtime.allow_cpu,
            allow_cpu=runtime.allow_cpu,
            batch_size=runtime.batch_size,
            called=called,
        )
        return Measuring(judge, device)

    def process(self, loaded: Measuring, item: Item, folder: Path) -> pa.Table:
        """Measure one clip, a few frames at a time.

        Raises:
            DataError: the generated file holds other frames than its row says.
        """
        clip = GeneratedClip(**item.payload["clip"])
        track = driving_pose(clip, self.opened_calibration())
        is_floors = "checkpoint" in item.payload
        chunks = _floors(clip, loaded.vae(item.payload["checkpoint"])) if is_floors else _made(clip)
        pose = track.keypoints, track.confidences
        rows = loaded.judge.measure(clip.clip_id, chunks, pose, with_truth=is_floors)
        return pa.Table.from_pylist([_row(measured) for measured in rows], schema=MEASURED_SCHEMA)


def called(name: str) -> str:
    """What a person calls a field of the judge's settings."""
    return f"evaluate.{name}"


def measured_rows(table: pa.Table) -> "Iterator[Measured]":
    """What the rows of one item hold."""
    from mimicmotion.metrics.scores import Measured

    features = table.column("features").combine_chunks()
    for number, row in enumerate(table.drop_columns("features").to_pylist()):
        width = row.pop("width")
        vectors = None if width is None else features[number].values.to_numpy().reshape(-1, width)
        yield Measured(**row, features=vectors)


def _row(measured: "Measured") -> dict[str, Any]:
    vectors = measured.features
    row = {one.name: getattr(measured, one.name) for one in fields(measured)}
    shape = None if vectors is None else vectors.shape[1]
    return {**row, "width": shape, "features": None if vectors is None else vectors.ravel()}


def _made(clip: GeneratedClip) -> "Iterator[Chunk]":
    from mimicmotion.metrics.scores import MODEL

    whole = clip.fit.without_padding
    for pairs in _several(zip(iter_truth(clip), iter_generated(clip), strict=True)):
        true = np.stack([frame for (frame, _), _ in pairs])
        yield whole(true), {MODEL: whole(np.stack([frame for _, frame in pairs]))}


def _floors(clip: GeneratedClip, vae: Any) -> "Iterator[Chunk]":
    from mimicmotion.metrics.scores import COPY, LATE, ROUND_TRIP
    from mimicmotion.model.latents import round_trip

    whole = clip.fit.without_padding
    reference = read_true(clip, clip.reference_frame)
    for pairs in _several(iter_truth(clip)):
        true, late = (np.stack([pair[side] for pair in pairs]) for side in (0, 1))
        floors = {
            COPY: np.broadcast_to(reference, true.shape),
            ROUND_TRIP: round_trip(vae, true),
            LATE: late,
        }
        yield whole(true), {method: whole(frames) for method, frames in floors.items()}


def _several(frames: Iterable[_Value]) -> Iterator[list[_Value]]:
    iterator = iter(frames)
    while chunk := list(islice(iterator, _AT_A_TIME)):
        yield chunk
