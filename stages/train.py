"""The stages that train: UNet and PoseNet follow poses; their averaged weights become a checkpoint folder.

    mimicmotion stage train configs/demo.yaml
    mimicmotion stage distill configs/demo-distilled.yaml

``train`` learns from films. ``distill``, where a config has it, teaches a copy of the trained model to do
the same in a few steps without a guidance pass; the stages after it use that copy. The run itself is
``mimicmotion/training/loop.py``, on each worker. A run that was stopped or killed goes on from its newest
checkpoint when the stage is run again. Where the config has a ``latents`` section, latents are read
instead of pictures. On several machines the workspace must lie on a file system that all share.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pyarrow as pa
from pydantic import model_validator

from mimicmotion.errors import StageError
from mimicmotion.training.settings import DistillationSettings, TrainingRuntime, TrainingSettings
from stages.clip_rows import training_clips
from stages.engine.contract import WHOLE, Context, Dataset, DatasetStage, Report, Runtime, Stage

if TYPE_CHECKING:
    from mimicmotion.training.data.samples import Clip
    from mimicmotion.training.job import TrainingJob

CHECKPOINT_FOLDER = "checkpoint"
TRAINING_FILE = "training.json"
CLIPS_FILE = "clips.jsonl"
_TOLD = ("base", "drawing", "fps", "motion_bucket", "reference_noise")
TRAINED_SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("released", pa.string()),
        ("steps", pa.int64()),
        ("batch", pa.int64()),
        ("num_clips", pa.int64()),
        ("num_videos", pa.int64()),
        ("num_parameters", pa.int64()),
        ("num_trained_parameters", pa.int64()),
        ("validation_loss", pa.float64()),
    ]
)
"""One row per exported checkpoint: names of its diffusers folder and its released-form file."""


class TrainRuntime(TrainingRuntime, Runtime):
    """How training runs."""

    renamed: ClassVar[Mapping[str, str]] = {
        "sharing": "strategy (ddp for replicate, fsdp for shard)",
        "recompute": "activation_checkpointing",
        "sample_guidance": "sample_guidance_scale",
    }


class Train(TrainingSettings, DatasetStage):
    """Trains on the kept windows and exports the moving average in diffusers layout."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 4
    reads: ClassVar[tuple[str, ...]] = ("clips", "decode", "pose")
    optional_reads: ClassVar[tuple[str, ...]] = ("latents",)
    schema: ClassVar[pa.Schema] = TRAINED_SCHEMA
    one_process: ClassVar[bool] = False
    follows: ClassVar[Mapping[str, str]] = {"calibration": "pose"}
    renamed: ClassVar[Mapping[str, str]] = {"guidance": "drawing", "sizes_px": "clips.sizes_px"}

    runtime: TrainRuntime = TrainRuntime()

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        share = self.runtime.workers * (self.runtime.micro_batch or 1)
        if self.batch % share:
            raise ValueError(
                f"batch must be a multiple of runtime.workers x runtime.micro_batch = {share}, "
                f"got {self.batch}"
            )
        return self

    def idle_fields(self) -> set[str]:
        """No calibration is no part of the recipe."""
        return self.unread_fields()

    def weight_files(self) -> dict[str, Path]:
        """The pretrained pipeline, and what is started from."""
        started = {} if self.init_from is None else {"init_from": self.init_from}
        return {"base": self.base, **started}

    def check(self) -> list[str]:
        """Name a package that is missing."""
        if self.optimiser != "adamw_8bit" or find_spec("torchao") is not None:
            return []
        return [
            "train.optimiser: adamw_8bit needs the package torchao, which is not installed: "
            "pip install -c constraints.txt -e '.[eight-bit]', or set it to adamw"
        ]

    def conflicts(self, others: Mapping[str, Stage]) -> list[str]:
        """What stored latents cannot give."""
        latents = others.get("latents")
        if latents is None:
            return []
        remedy = "remove the section latents to train from pictures"
        problems = []
        if self.reference_noise != "none":
            problems.append(
                f"{self.name}.reference_noise is {self.reference_noise}, but stored latents know only clean "
                f"references: set it to none, or {remedy}"
            )
        if self.mirror:
            problems.append(
                f"{self.name}.mirror is {self.mirror:g}, but stored latents cannot be mirrored: set it to 0, "
                f"or {remedy}"
            )
        if (base := getattr(latents, "base", self.base)) != self.base:
            problems.append(
                f"latents.base is {base}, {self.name}.base is {self.base}: set them alike, or {remedy}"
            )
        return problems

    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        """Train and write the weights in both forms, the curves and the pictures; give the weights' row.

        Raises:
            StageError: training stopped; says at which step, with which clips, and whether it can go on.
        """
        from mimicmotion.training.distributed.stopping import signals_write
        from mimicmotion.training.loop import train

        job = self._job(inputs, context.state)
        job.stop_request.unlink(missing_ok=True)
        with signals_write(job.stop_request):
            context.launch(train, {"job": job, "report": context.report}, self.runtime)
        if not job.result.is_dir():
            raise StageError(
                f"train: stopped before its {job.steps} steps were done; the checkpoint is kept in "
                f"{job.checkpoints}. Run the stage again to go on."
            )
        return self._exported(job, folder, inputs)

    def _job(self, inputs: Mapping[str, Dataset], state: Path) -> "TrainingJob":
        """What the workers are told; lists of clips are written beside their checkpoints."""
        from mimicmotion.training.data.samples import order_of
        from mimicmotion.training.job import TrainingJob, write_clips

        clips, test_clips = training_clips(inputs)
        per_epoch = order_of(clips, self.batch, self.seed).steps_per_epoch
        state.mkdir(parents=True, exist_ok=True)
        write_clips(state / CLIPS_FILE, clips)
        write_clips(state / "test_clips.jsonl", test_clips)
        return TrainingJob(
            settings=self._settings(inputs),
            runtime=self.runtime.part(TrainingRuntime),
            steps=self.steps or max(1, round((self.epochs or 0) * per_epoch)),
            clips=state / CLIPS_FILE,
            test_clips=state / "test_clips.jsonl",
            state=state,
        )

    def _settings(self, inputs: Mapping[str, Dataset]) -> TrainingSettings:
        """What the run learns, and from which start."""
        return self.part(TrainingSettings)

    def _exported(self, job: "TrainingJob", folder: Path, inputs: Mapping[str, Dataset]) -> pa.Table:
        """Write the result of the run as a pipeline folder and a released file; give its row."""
        from mimicmotion.training.curves import publish_curves
        from mimicmotion.training.export import RELEASED_FILE, export, read_result
        from mimicmotion.training.job import read_clips

        network, facts = read_result(job)
        clips = read_clips(job.clips)
        keys = {name: dataset.key for name, dataset in sorted(inputs.items())}
        training = {**self.training_facts(clips), "inputs": keys}
        export(network, job.settings.base, job.settings.drawing, folder, training)
        publish_curves(job.recorded, folder)
        row = {
            "checkpoint": CHECKPOINT_FOLDER,
            "released": RELEASED_FILE,
            "num_clips": len(clips),
            "num_videos": len({clip.video for clip in clips}),
            **{name: facts[name] for name in TRAINED_SCHEMA.names if name in facts},
        }
        return pa.Table.from_pylist([row], schema=TRAINED_SCHEMA)

    def training_facts(self, clips: "Sequence[Clip]") -> dict[str, Any]:
        """What an exported checkpoint says of its training with these clips."""
        return {
            "sizes_px": sorted({clip.fit.target for clip in clips}),
            "num_frames": 1 + len(clips[0].frames),
            "window_fps": median(clip.fps for clip in clips),
            "fps": self.fps,
            "motion_bucket": self.motion_bucket,
            **self.told_noise,
            **({"sampling": self.sampling} if self.sampling else {}),
            **({"calibrated": True} if self.calibration else {}),
            "config": self.model_dump(mode="json", exclude={"runtime", "base", "init_from", "calibration"}),
        }

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log the row, the curves and pictures, and what the checkpoint says of itself."""
        from mimicmotion.training.curves import CURVES_FILE, PICTURES_FOLDER, show_curves

        (item,), (row,) = dataset.ids, dataset.table().to_pylist()
        report.table("checkpoints", dataset.table())
        has_pictures = row["validation_loss"] is not None
        pictures = dataset.path(item, PICTURES_FOLDER) if has_pictures else None
        show_curves(dataset.path(item, CURVES_FILE), pictures, report)
        training = dataset.path(item, f"{CHECKPOINT_FOLDER}/{TRAINING_FILE}")
        report.text(TRAINING_FILE, training.read_text())


class Distill(DistillationSettings, Train):
    """Teaches a copy of the trained model to sample in few steps, each a single pass."""

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ("train", "clips", "decode", "pose")
    follows: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(_TOLD, "train"),
        **dict.fromkeys(("hand_weight", "hand_threshold", "face_weight", "trained"), "train"),
        **Train.follows,
    }

    def conflicts(self, others: Mapping[str, Stage]) -> list[str]:
        """Fields that must be those that the teacher was trained with."""
        teacher = others.get("train")
        return super().conflicts(others) + [
            f"distill.{name} is {getattr(self, name)}, train.{name} is {getattr(teacher, name)}: the student "
            "is told what its teacher was; set them alike"
            for name in _TOLD
            if isinstance(teacher, Train) and getattr(self, name) != getattr(teacher, name)
        ]

    def _settings(self, inputs: Mapping[str, Dataset]) -> TrainingSettings:
        teacher = inputs["train"].path(WHOLE, CHECKPOINT_FOLDER)
        return self.part(DistillationSettings).model_copy(update={"init_from": teacher})
