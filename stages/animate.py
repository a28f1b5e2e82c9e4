"""The animate stage: every test clip danced again by the trained model, from one picture of it.

``mimicmotion stage animate configs/demo.yaml``

The reference is a frame of the true video, the driving poses are its own, so the result can be compared
with the truth frame by frame. Pairs of a list (``pairs``) have no truth; see ``stages/parts/pairs.py``.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from mimicmotion.animation.settings import DrivingSettings, SamplingSettings
from mimicmotion.errors import InputError
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.pose.settings import AlignmentMode, ConfidenceSettings
from stages.clip_rows import (
    GENERATED_FILE,
    JUDGE_FILE,
    JUDGE_PICTURE,
    PREVIEW_FILE,
    checkpoint_of,
)
from stages.engine.contract import Dataset, Item, ItemStage, Report, Stage
from stages.parts.animating import AnimateRuntime, Pipelines, animation_inputs, clip_items
from stages.parts.pairs import is_pair, pair_items, prepared_pair, read_requests

if TYPE_CHECKING:
    from mimicmotion.animation.generate import AnimationInputs
    from mimicmotion.animation.request import AnimationRequest
    from mimicmotion.diffusion.settings import SamplerSettings

log = logging.getLogger(__name__)

ANIMATIONS_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("num_frames", pa.int32()),
        ("fps", pa.float64()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("seed", pa.int64()),
        ("reference_frame", pa.int32()),
        ("frames", pa.list_(pa.int32())),
        ("judge", pa.string()),
    ]
)
"""One row per generated clip; ``frames`` names the true frame of each generated one. ``judge`` is what a
judge says of all tries, as JSON; null where none was asked. Only clips have ``video_id``, ``reference_frame``
and ``frames``, and pairs have not."""


class Animate(SamplingSettings, DrivingSettings, ConfidenceSettings, ItemStage):
    """Generates every val and test clip from one frame of it and its poses."""

    name: ClassVar[str] = "animate"
    version: ClassVar[int] = 3
    reads: ClassVar[tuple[str, ...]] = ("train", "clips", "decode", "pose")
    source_fields: ClassVar[tuple[str, ...]] = ("pairs",)
    optional_reads: ClassVar[tuple[str, ...]] = ("distill",)
    schema: ClassVar[pa.Schema] = ANIMATIONS_SCHEMA
    renamed: ClassVar[Mapping[str, str]] = {"guidance": "guidance_scale"}
    follows: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("calibration", "judge.score_threshold", "judge.nms_threshold"), "pose"
    )

    runtime: AnimateRuntime = AnimateRuntime()
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Number type of weights and work."
    )
    alignment: AlignmentMode = Field(
        "none", description="How driving poses are brought onto the reference's body, here the same one."
    )

    judge: FilmJudgeSettings | None = Field(
        None, description="What judges each clip without its truth; null judges none."
    )
    pairs: Path | None = Field(
        None,
        description="CSV of pairs without a true film, as `animate --pairs` takes it, to animate and judge "
        "too; their poses are aligned as alignment says, and by robust where it says none.",
    )

    def idle_fields(self) -> set[str]:
        """No smoothing, no judge and one try are no part of the recipe."""
        off = {"smoothing_s": not self.smoothing_s, "judge": self.judge is None, "tries": self.tries == 1}
        return self.unread_fields() | {name for name, is_off in off.items() if is_off}

    def weight_files(self) -> dict[str, Path]:
        """What the judge looks with."""
        files = {} if self.judge is None else self.judge.files()
        return {f"judge.{name}": path for name, path in files.items()}

    def check(self) -> list[str]:
        """Tries that nothing chooses among, and pairs that cannot be read or judged."""
        problems = ["tries needs judge, which chooses among them"] if self.tries > 1 else []
        problems += ["pairs needs judge, since nothing else can score them"] if self.pairs else []
        if self.judge is None:
            return problems
        try:
            self.requests()
        except InputError as error:
            return [f"pairs: {error}"]
        return []

    def requests(self) -> "list[AnimationRequest]":
        """What the pairs ask for; none without a list.

        Raises:
            InputError: the list cannot be used.
        """
        if self.pairs is None:
            return []
        wishes = {name: getattr(self, name) for name in ("seed", "tries", "smoothing_s", "decode_chunk")}
        alignment = "robust" if self.alignment == "none" else self.alignment
        return read_requests(self.pairs, {**wishes, "alignment": alignment})

    def conflicts(self, others: Mapping[str, Stage]) -> list[str]:
        """Poses drawn in another way than the network learnt them, and what its sampler does not take."""
        problem = self.problem_when_distilled() if "distill" in others else None
        problems = [problem] if problem else []
        try:
            if tile := self.tile or getattr(others.get("clips"), "num_frames", None):
                self.overlap_of(tile)
        except InputError as error:
            problems.append(str(error))
        trained = getattr(others.get("train"), "calibration", self.calibration)
        if (self.calibration is None) == (trained is None):
            return problems
        return [
            *problems,
            f"calibration is {self.calibration}, train.calibration is {trained}: set "
            "pose.calibration, which both follow, or give both one",
        ]

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        """One item per kept val and test clip, and one per pair."""
        weights = checkpoint_of(inputs)
        yield from clip_items(inputs, weights, self.tries)
        yield from pair_items(self.requests(), weights)

    def load(self) -> Pipelines:
        """A holder that loads the checkpoint named by the first item."""
        cuda, tools = self.runtime.gpus_per_worker > 0, None
        if self.judge is not None:
            from mimicmotion.metrics.judging import open_film_tools

            judge = self.judge.replaced(calibration=self.calibration)
            tools = open_film_tools(judge, cuda, lambda name: f"animate.judge.{name}")
        return Pipelines(cuda, self.precision, self.runtime.compile, tools=tools)

    def process(self, loaded: Pipelines, item: Item, folder: Path) -> pa.Table:
        """Generate one clip; writes it without loss, and beside reference, pose and truth for a browser.

        Raises:
            RejectedItem: nobody is in the reference frame, or in any driving frame.
        """
        from mimicmotion.animation.generate import side_by_side
        from mimicmotion.video.files import iter_frames, write_preview

        make = self._of_pair if is_pair(item.id) else self._of_clip
        row, animation, true = make(loaded, item, folder)
        generated = iter_frames(folder / GENERATED_FILE)
        write_preview(folder / PREVIEW_FILE, side_by_side(animation, generated, true), row["fps"])
        width, height = animation.size
        row |= {"clip_id": item.id, "width_px": width, "height_px": height}
        return pa.Table.from_pylist([row], schema=ANIMATIONS_SCHEMA)

    def _of_pair(
        self, loaded: Pipelines, item: Item, folder: Path
    ) -> "tuple[dict[str, Any], AnimationInputs, Iterator[np.ndarray] | None]":
        _, facts = loaded.at(Path(item.payload["checkpoint"]))
        assert loaded.tools is not None  # see ``check``
        calibration = self.opened_calibration()
        request, prepared = prepared_pair(item, folder, facts, loaded.tools, self.tile, calibration)
        fps, camera = prepared.driving.fps, prepared.driving.camera
        made = self._tried(loaded, item, prepared.inputs, fps, request.seed, camera, folder)
        return {**made, "fps": fps}, prepared.inputs, None

    def _of_clip(
        self, loaded: Pipelines, item: Item, folder: Path
    ) -> "tuple[dict[str, Any], AnimationInputs, Iterator[np.ndarray] | None]":
        _, facts = loaded.at(Path(item.payload["checkpoint"]))
        calibration = self.opened_calibration()
        animation, true, camera = animation_inputs(item, facts, calibration, self.alignment, self.smoothing_s)
        fps = item.payload["fps"]
        row = {
            **self._tried(loaded, item, animation, fps, self.seed, camera, folder),
            "video_id": item.payload["video_row"].video_id,
            "fps": fps,
            "reference_frame": item.payload["reference_frame"],
            "frames": item.payload["frames"],
        }
        return row, animation, true

    def _tried(
        self,
        loaded: Pipelines,
        item: Item,
        animation: "AnimationInputs",
        fps: float,
        first_seed: int,
        camera: str | None,
        folder: Path,
    ) -> dict[str, Any]:
        """Generate a film, the best of its tries, into the folder."""
        from mimicmotion.animation.generate import generate
        from mimicmotion.animation.judged import judge_tries, wanted_of
        from mimicmotion.video.files import write_lossless

        pipeline, facts = loaded.at(Path(item.payload["checkpoint"]))
        settings = self.sampler(
            facts.num_frames,
            bool(facts.sampling),
            **facts.told,
            tile_batch_size=self.runtime.tile_batch_size,
        )
        for departure in {*facts.departures(settings.tile, fps)} - loaded.warned:
            log.warning("%s: %s", item.label, departure)
            loaded.warned.add(departure)
        tries = {seed: folder / f"{seed}.mkv" for seed in range(first_seed, first_seed + self.tries)}
        used: dict[int, SamplerSettings] = {}
        for seed, path in tries.items():
            told = [settings]
            frames = generate(pipeline, animation, settings, seed, self.decode_chunk, retiled=told.append)
            num_frames = write_lossless(path, frames, fps)
            used[seed] = told[-1]
        seed, said = first_seed, None
        if loaded.tools is not None:
            wanted = {seed: wanted_of(animation, tiled, camera) for seed, tiled in used.items()}
            judged = judge_tries(tries, wanted, loaded.tools, item.payload.get("name", item.id))
            judged.write(folder / JUDGE_FILE, folder / JUDGE_PICTURE, animation.reference)
            seed, said = first_seed + judged.best, json.dumps(judged.values)
        tries.pop(seed).rename(folder / GENERATED_FILE)
        for path in tries.values():
            path.unlink()
        return {"num_frames": num_frames, "seed": seed, "judge": said}

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log every preview as a video that plays in the page, and a picture of the first clips."""
        from stages.parts.shown import show_animations

        show_animations(dataset, inputs["clips"], report)
