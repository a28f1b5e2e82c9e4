"""The evaluate stage: generated and true test videos in, one row per score out.

``mimicmotion stage evaluate configs/demo.yaml``

Beside the model stand three floors that any model must be read against: copying the reference picture,
the VAE's round trip of the true frames, and the truth one frame late.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from mimicmotion.errors import StageError, WeightsError
from mimicmotion.metrics.settings import JudgeSettings
from mimicmotion.weights.scripts import check_script
from stages.clip_rows import GeneratedClip, generated_clips, read_generated, read_truth
from stages.engine.contract import WHOLE, Context, Dataset, DatasetStage, Report, Runtime, Stage

if TYPE_CHECKING:
    import torch

    from mimicmotion.metrics.scores import Score

_LOG = logging.getLogger(__name__)

SCORES_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("method", pa.string()),
        ("metric", pa.string()),
        ("is_primary", pa.bool_()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("count", pa.int64()),
        ("num_videos", pa.int32()),
        ("protocol", pa.string()),
        ("backbone_sha256", pa.string()),
        ("note", pa.string()),
        ("without", pa.list_(pa.float64())),
    ]
)
"""One row per clip, method and metric, and one with clip_id ``summary`` over all clips.

``value`` is null where a metric is absent; ``note`` says why. ``without`` is, in rows of the summary, the
value without each clip, or group of clips, in turn: from it come intervals of changes between models.
"""

PICTURE_FILE, GALLERY_FILE = "best_and_worst.png", "report.html"
_OF_WHOLE_VIDEOS = (
    ("clips", "test_clips", "whole_video"),
    ("clips", "test_step", 1),
    ("decode", "fps", None),
    ("decode", "on_broken_tail", "reject"),
)
"""Section, field and the value that protocols over whole videos need."""
_NUM_PICTURED = 5
_NUM_IN_GALLERY = 40


class EvaluateRuntime(Runtime):
    """How the evaluate stage runs."""

    batch_size: int = Field(4, ge=1, description="Windows of frames that a video backbone sees at a time.")
    allow_cpu: bool = Field(False, description="Go on with the CPU where ONNX Runtime cannot use the GPU.")


class Evaluate(JudgeSettings, DatasetStage):
    """Measures generated test videos against the true ones under a named protocol."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("animate", "clips", "decode", "pose", "train")
    schema: ClassVar[pa.Schema] = SCORES_SCHEMA

    runtime: EvaluateRuntime = EvaluateRuntime()

    def check(self) -> list[str]:
        """Networks whose code may not run here."""
        problems = []
        for field, path in self.weight_files().items():
            try:
                check_script(path)
            except WeightsError as error:
                problems.append(f"{field}: {error}")
        return problems

    def conflicts(self, others: Mapping[str, Stage]) -> list[str]:
        """What a protocol over whole videos forbids, said before anything is generated."""
        if not self.chosen_protocol.whole_videos:
            return []
        return [
            f"protocol {self.protocol} scores every frame of whole videos: {section}.{field} is {got}, "
            f"it must be {needed}"
            for section, field, needed in _OF_WHOLE_VIDEOS
            if section in others and (got := getattr(others[section], field)) != needed
        ]

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        """Score every generated clip; writes a picture of the best and worst."""
        from mimicmotion.metrics.judging import open_judge
        from mimicmotion.metrics.scores import COPY, LATE, MODEL, ROUND_TRIP

        clips = list(generated_clips(inputs))
        if not clips:
            raise StageError("there is no generated clip to evaluate: the animate stage kept none")
        protocol = self.chosen_protocol
        protocol.check_videos(clip.source_name for clip in clips)
        for clip in clips:
            video, cut = clip.video, clip.fit.cut_share
            protocol.check_frames(clip.source_name, video.num_frames, clip.reference_frame, clip.frames, cut)
        runtime, device = self.runtime, self._device()
        judge = open_judge(
            self,
            device,
            # As in the pose stage: without a reserved GPU and with leave to use the CPU, the GPU is not ours.
            cuda=runtime.gpus_per_worker > 0 or not runtime.allow_cpu,
            allow_cpu=runtime.allow_cpu,
            batch_size=runtime.batch_size,
            called=lambda field: f"evaluate.{field}",
        )
        vae = _load_vae(inputs["train"].path(WHOLE, "checkpoint"), device)
        for number, clip in enumerate(clips, start=1):
            _LOG.info("clip %s (%d of %d)", clip.clip_id, number, len(clips))
            true, late, reference, track = read_truth(clip)
            made = {
                MODEL: read_generated(clip),
                COPY: np.repeat(reference[None], len(true), axis=0),
                ROUND_TRIP: _round_trip(vae, true),
                LATE: late,
            }
            whole = clip.fit.without_padding
            shown = {method: whole(frames) for method, frames in made.items()}
            judge.add(clip.clip_id, whole(true), shown, (track.keypoints, track.confidences))
        scores = judge.scores()
        _save_picture(folder / PICTURE_FILE, clips, scores, self.primary_metric)
        rows = [
            {**asdict(score), "is_primary": score.metric == self.primary_metric, "protocol": protocol.id}
            for score in scores
        ]
        return pa.Table.from_pylist(rows, schema=SCORES_SCHEMA)

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log the score table, its numbers, and the best and worst clips."""
        from mimicmotion.metrics.scores import MODEL, headline, summary_markdown
        from mimicmotion.video.picture_files import read_picture

        table = dataset.table()
        scores = scores_of(table)
        summary = [score for score in scores if score.clip_id == "summary"]
        report.metrics({f"{s.method}/{s.metric}": s.value for s in summary if s.value is not None})
        report.table("scores", table)
        shown = summary_markdown(scores, table["protocol"][0].as_py())
        report.text("scores.md", shown)
        report.image("best_and_worst", read_picture(dataset.path(WHOLE, PICTURE_FILE)))
        of_model = {s.metric: s.value for s in summary if s.method == MODEL and s.value is not None}
        first = headline(summary, self.primary_metric)
        report.section("Scores", "\n\n".join(filter(None, (first, shown))), of_model)
        with TemporaryDirectory() as folder:
            report.file(write_report(Path(folder) / GALLERY_FILE, dataset, inputs, most=_NUM_IN_GALLERY))
            for video in sorted(Path(folder, "videos").glob("*")):
                report.file(video, "videos")

    def _device(self) -> "torch.device":
        import torch

        wants_gpu = self.runtime.gpus_per_worker > 0
        return torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")


def scores_of(table: pa.Table) -> list["Score"]:
    """The scores in a table of this stage."""
    from mimicmotion.metrics.scores import Score

    names = Score.__dataclass_fields__
    rows = [{**row, "without": tuple(row["without"] or ())} for row in table.to_pylist()]
    return [Score(**{name: row[name] for name in names}) for row in rows]


def write_report(
    path: Path,
    scores: Dataset,
    inputs: Mapping[str, Dataset],
    links: Mapping[str, str] | None = None,
    most: int | None = None,
) -> Path:
    """Write the gallery of this stage's dataset; see ``write_gallery``.

    Args:
        path: where the page goes.
        scores: dataset of this stage.
        inputs: what it read.
        links: addresses by name, e.g. of runs.
        most: videos to show at most; all by default.
    """
    from mimicmotion.pictures.gallery import GalleryClip, write_gallery

    table = scores.table()
    (primary,) = {row["metric"] for row in table.to_pylist() if row["is_primary"]}
    about = {
        "protocol": table["protocol"][0].as_py(),
        "generated": inputs["animate"].key,
        "checkpoint": inputs["train"].key,
        "test clips": inputs["clips"].key,
        "scores": scores.key,
    }
    clips = [
        GalleryClip(clip.clip_id, f"{clip.source_name}, {clip.clip_id}", clip.preview)
        for clip in generated_clips(inputs)
    ]
    return write_gallery(path, about, clips, scores_of(table), primary, links, most)


def _load_vae(checkpoint: Path, device: "torch.device") -> Any:
    from diffusers import AutoencoderKLTemporalDecoder

    # Without the accelerate package diffusers warns about its own default.
    vae = AutoencoderKLTemporalDecoder.from_pretrained(
        checkpoint / "vae", low_cpu_mem_usage=False, local_files_only=True
    )
    return vae.eval().requires_grad_(False).to(device)


def _round_trip(vae: Any, true: np.ndarray) -> np.ndarray:
    """What the VAE alone makes of the true frames: no model that uses it can be better."""
    import torch

    from mimicmotion.model.latents import decode_frames, encode_frames

    made: list[np.ndarray] = []
    for begin in range(0, len(true), 8):
        pixels = torch.from_numpy(true[begin : begin + 8]).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents = encode_frames(vae, pixels) * vae.config.scaling_factor
        made.extend(decode_frames(vae, latents))
    return np.stack(made)


def _save_picture(path: Path, clips: list[GeneratedClip], scores: list["Score"], primary: str) -> None:
    """A picture of the best and the worst clips by the primary metric, the middle frame of each."""
    from mimicmotion.metrics.scores import METRICS, MODEL
    from mimicmotion.pictures.panels import grid, labelled_row
    from mimicmotion.video.picture_files import write_picture

    by_clip = {s.clip_id: s.value for s in scores if s.method == MODEL and s.metric == primary}
    if not by_clip.keys() & {clip.clip_id for clip in clips}:
        primary = "psnr"  # a distance between sets of videos says nothing about one of them
        by_clip = {s.clip_id: s.value for s in scores if s.method == MODEL and s.metric == primary}
    known = [clip for clip in clips if by_clip.get(clip.clip_id) is not None]
    known.sort(key=lambda clip: by_clip[clip.clip_id] or 0.0, reverse=METRICS[primary].higher_is_better)
    chosen = known if len(known) <= 2 * _NUM_PICTURED else known[:_NUM_PICTURED] + known[-_NUM_PICTURED:]
    rows = []
    for clip in chosen:
        true, _, reference, _ = read_truth(clip)
        middle = len(true) // 2
        value = f"{primary} {by_clip[clip.clip_id]:.{METRICS[primary].digits}f}"
        panels = {"reference": reference, value: read_generated(clip)[middle], "true": true[middle]}
        rows.append(labelled_row(panels))
    write_picture(path, grid(rows))
