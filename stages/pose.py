"""The pose stage: 133 keypoints of everybody in every frame of the normalised videos, as one table per video.

    mimicmotion stage pose configs/demo.yaml

Keypoints are either detected (a person detector, then a whole-body model, in ONNX Runtime) or imported from
files that a user already has. Raw values are stored; thresholds and drawing come later, on reading. Beside
the poses lies what the pictures tell: motion of the background, lasting text, sharpness of hands and face.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from pydantic import Field, field_validator, model_validator

from mimicmotion.errors import DataError, InputError, RejectedItem
from mimicmotion.pose.calibration import ROLE
from mimicmotion.pose.people import Presence
from mimicmotion.pose.settings import DetectionSettings
from mimicmotion.pose.table import POSES_SCHEMA, PosesInfo, poses_table, stored_models
from mimicmotion.video.settings import ReaderSettings
from mimicmotion.video.size import Size
from stages.clip_rows import EVIDENCE_FILE, VIDEO_COLUMNS, VIDEO_FILE
from stages.engine.contract import Dataset, Item, ItemStage, Report, Runtime
from stages.engine.keys import content_sha256, file_sha256

if TYPE_CHECKING:
    from mimicmotion.pose.matching import Match
    from mimicmotion.pose.models.estimator import PoseEstimator
    from mimicmotion.pose.people import Person

log = logging.getLogger(__name__)

_PRECISION = re.compile("fp16|bf16|fp8|int8|int4|tf32|precision|low_?prec", re.IGNORECASE)
"""What options of providers are called, or set to, that choose a precision."""
_IMPORT_COLUMNS = (
    "source_width_px",
    "source_height_px",
    "rotation_deg",
    "trimmed_s",
    "source_num_frames",
    "source_frames",
)


class PoseRuntime(Runtime):
    """How the pose stage runs."""

    allow_cpu: bool = Field(False, description="Go on with the CPU where ONNX Runtime cannot use the GPU.")
    threads: int = Field(1, ge=1, description="CPU threads of each of the two models.")
    frames_per_batch: int = Field(8, ge=1, description="Frames read and searched for people together.")
    people_per_batch: int = Field(32, ge=1, description="People whose keypoints are placed together.")
    decode_threads: int = Field(
        1, ge=1, description="Threads that decode ahead of the models; a GPU needs a core for each."
    )
    batches_in_flight: int = Field(
        1, ge=1, description="Batches that each model works on at the same time, so that no GPU waits."
    )
    providers: dict[str, dict[str, str | int]] = Field(
        {},
        description="Options of ONNX Runtime's execution providers by name, e.g. CUDAExecutionProvider; one "
        "that is named is asked for, in this order, before the usual ones.",
    )

    @field_validator("providers")
    @classmethod
    def _keep_results(cls, providers: dict[str, dict[str, str | int]]) -> dict[str, dict[str, str | int]]:
        for name, options in providers.items():
            if changing := [one for one, value in options.items() if _PRECISION.search(f"{one}={value}")]:
                raise ValueError(
                    f"{name} must not choose the precision by {', '.join(changing)}, which changes results: "
                    "set half_precision"
                )
        return providers


class Pose(DetectionSettings, ReaderSettings, ItemStage):
    """Finds, or imports, everybody's keypoints; one normalised video is one item."""

    name: ClassVar[str] = "pose"
    version: ClassVar[int] = 5
    reads: ClassVar[tuple[str, ...]] = ("decode",)
    schema: ClassVar[pa.Schema] = POSES_SCHEMA
    source_fields: ClassVar[tuple[str, ...]] = ("import_folder",)

    runtime: PoseRuntime = PoseRuntime()
    source: Literal["detect", "import"] = Field(
        "detect", description="Detect keypoints with the two models, or import them from import_folder."
    )
    import_folder: Path | None = Field(
        None,
        description="Folder with one <source stem>.parquet (or .json) per source video; needed to import.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        models = (self.detector, self.wholebody)
        if self.source == "detect" and None in models:
            raise ValueError("source detect needs both detector and wholebody: name two ONNX files")
        if self.source == "import" and models != (None, None):
            raise ValueError("source import uses no models: set detector and wholebody to null")
        if (self.source == "import") != (self.import_folder is not None):
            raise ValueError("source import needs import_folder, and source detect must not have one")
        return self

    def weight_files(self) -> dict[str, Path]:
        """The two models, where keypoints are detected."""
        models = {"detector": self.detector, "wholebody": self.wholebody}
        return {name: path for name, path in models.items() if path is not None}

    def idle_fields(self) -> set[str]:
        """The calibration, since what is stored is raw and readers key it; and precision as it always was."""
        return {"calibration"} | self.unread_fields()

    def check(self) -> list[str]:
        """Name an import folder that is not there, and a calibration of another model."""
        problems = []
        if self.import_folder is not None and not self.import_folder.is_dir():
            problems.append(
                f"pose.import_folder: {self.import_folder} is no folder; name one with poses per source video"
            )
        try:
            if self.wholebody is not None and (calibration := self.opened_calibration()):
                calibration.check({ROLE: file_sha256(self.wholebody)}, f"poses found by {self.wholebody}")
        except InputError as error:
            problems.append(f"pose.calibration: {error}")
        return problems

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        """One item per normalised video."""
        from mimicmotion.pose.matching import match_imports

        decode, given = inputs["decode"], self.import_folder
        rows = decode.table().select([*VIDEO_COLUMNS, *(_IMPORT_COLUMNS if given else ())]).to_pylist()
        matches = match_imports(given, [row["source"] for row in rows]) if given else {}
        for row in rows:
            video_id, source = row["video_id"], row["source"]
            keys = {"video": decode.item_key(video_id)}
            # A path, not its text: a worker fetches what lies in an object store by its type.
            payload = {**row, "video": decode.path(video_id, VIDEO_FILE)}
            if match := matches.get(source):
                keys["poses"], payload["poses"] = _keyed(match)
            yield Item(video_id, keys, payload, source, row["num_frames"])

    def load(self) -> "PoseEstimator | None":
        """Open the models; nothing to open where poses are imported.

        Raises:
            WeightsError: a file is missing or of another form.
            InputError: CUDA is not there, and the CPU is not allowed.
        """
        if self.detector is None:
            return None
        from mimicmotion.pose.models.estimator import configured_estimator

        # Without a reserved GPU and with leave to use the CPU, the GPU belongs to others.
        cuda = self.runtime.gpus_per_worker > 0 or not self.runtime.allow_cpu
        own = PoseRuntime.model_fields.keys() - Runtime.model_fields.keys() - {"decode_threads"}
        given = {name: getattr(self.runtime, name) for name in own}
        return configured_estimator(self, cuda=cuda, half=self.half_precision, **given)

    def process(self, loaded: "PoseEstimator | None", item: Item, folder: Path) -> pa.Table:
        """Return the poses of one video; an empty table where nobody is in it.

        Raises:
            RejectedItem: there are no poses to import, or they cannot be used.
            DataError: the video is not as long as its row says.
        """
        if loaded is None:
            frames, models = self._import(item)
        else:
            frames = self._detect(loaded, item)
            models = {role: file_sha256(path) for role, path in loaded.files.items()}
        same = {name: item.payload[name] for name in ("width_px", "height_px", "fps", "num_frames")}
        info = PosesInfo(video_id=item.id, models=models, **same)
        table = poses_table(info, frames)
        self._look_at_pictures(table, item, folder)
        present = np.array([any(track == 0 for track, _ in people) for people in frames], dtype=bool)
        presence = Presence.of(present, table["frame"].to_numpy())
        if presence.num_nobody or presence.num_lost:
            log.warning("%s: %s", item.label, presence.sentence)
        return table

    def _look_at_pictures(self, poses: pa.Table, item: Item, folder: Path) -> None:
        """Write what the pictures tell beside the poses, for the limits of ``clips``."""
        from mimicmotion.clips.evidence import picture_evidence
        from mimicmotion.video.reader import open_video

        facts = item.payload
        reader = open_video(facts["video"], self.reader)
        evidence = picture_evidence(reader, poses, facts["num_frames"], facts["fps"])
        parquet.write_table(evidence, folder / EVIDENCE_FILE)

    def _detect(self, estimator: "PoseEstimator", item: Item) -> "list[list[tuple[int, Person]]]":
        from mimicmotion.pose.tracks import link
        from mimicmotion.video.reader import open_video, read_ahead

        facts = item.payload
        reader = open_video(facts["video"], self.reader)
        if reader.num_frames != facts["num_frames"]:
            raise DataError(
                f"{reader.path} has {reader.num_frames} frames, its row says {facts['num_frames']}"
            )
        size, threads = self.runtime.frames_per_batch, self.runtime.decode_threads
        frames = range(reader.num_frames)
        chunks = [frames[first : first + size] for first in frames[::size]]
        people = estimator.people(read_ahead(facts["video"], chunks, np.asarray, threads, self.reader))
        return link(list(people), facts["fps"], Size(facts["width_px"], facts["height_px"]))

    def _import(self, item: Item) -> "tuple[list[list[tuple[int, Person]]], dict[str, str]]":
        from mimicmotion.pose.files.importing import VideoShape, import_poses
        from mimicmotion.video.containers import reading

        facts = item.payload
        match: Match = facts["poses"]
        if match.path is None:
            raise RejectedItem(match.code, match.sentence)
        shape = VideoShape.of(facts)
        try:
            with reading(match.path, "poses", "unusable_poses"):
                found = import_poses(match.path, shape)
                return found, {"import": item.inputs["poses"], **stored_models(match.path)}
        except InputError as error:
            raise RejectedItem("unusable_poses", str(error)) from error

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log how many frames have a person, confidences by part, and frames with the pose drawn on them."""
        from stages.parts.shown import show_poses

        show_poses(dataset, inputs, report, self.opened_calibration())


def _keyed(match: "Match") -> "tuple[str, Match]":
    """Return what identifies the poses of a video, and these; what cannot be read is none."""
    if match.path is None:
        return match.code, match
    try:
        return content_sha256(match.path), match
    except InputError as error:
        return "unreadable", replace(match, path=None, code="unusable_poses", sentence=str(error))
