"""Answers animation requests on the console, one or many, with models that are loaded once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.parquet as pq
from rich.markup import escape

from flows.commands.options import option_of
from flows.terminal import Terminal
from mimicmotion.durable import in_place
from mimicmotion.errors import InputError, MimicMotionError
from mimicmotion.pose.settings import EstimatorSettings
from stages.engine.progress import progress

if TYPE_CHECKING:
    from mimicmotion.animation.checkpoint import CheckpointFacts
    from mimicmotion.animation.driving import Drivers
    from mimicmotion.animation.request import AnimationRequest, PreparedRequest
    from mimicmotion.diffusion.settings import SamplerSettings
    from mimicmotion.metrics.film.looks import FilmTools
    from mimicmotion.metrics.settings import FilmJudgeSettings
    from mimicmotion.pose.models.estimator import PoseEstimator
    from mimicmotion.pose.settings import DrawingStyle

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Sources:
    """Where weights lie, and sampling fields of the config's animate section.

    Attributes:
        checkpoint: folder or released file.
        base: SVD's folder, where needed.
        estimator: what finds poses, as the config says.
        sampling: field -> value.
        judge: what judges results; None leaves them unjudged.
    """

    checkpoint: Path
    base: Path | None
    estimator: EstimatorSettings
    sampling: dict[str, Any]
    judge: "FilmJudgeSettings | None" = None


@dataclass(frozen=True)
class Work:
    """Where and how to work.

    Attributes:
        cuda: on the GPU.
        precision: number type; None for the device's own.
        offload: keep only the module at work on the GPU.
        compile: compile the network; slow to start, faster after.
        workers: processes that make one video together, each with a GPU of its own where there are GPUs.
    """

    cuda: bool
    precision: Precision | None
    offload: bool
    compile: bool
    workers: int = 1


@dataclass
class Animator:
    """Answers requests one after another; models are loaded once, when the first request needs them.

    Attributes:
        sources: where weights lie.
        facts: of the checkpoint.
        style: how poses are drawn.
        settings: how to sample.
        work: where and how to work.
    """

    sources: Sources
    facts: "CheckpointFacts"
    style: "DrawingStyle"
    settings: "SamplerSettings"
    work: Work

    def __post_init__(self) -> None:
        self.console = Terminal()
        self._drivers: Drivers = {}

    @cached_property
    def pose_models(self) -> "PoseEstimator | None":
        """Find poses; None where all poses must be stored."""
        return _pose_models(self.sources, self.work.cuda)

    @cached_property
    def pipeline(self) -> Any:
        """The loaded pipeline."""
        with self.console.status("loading weights"):
            return _load(self.sources, self.work)

    @property
    def _guidance(self) -> str:
        if not self.facts.sampling:
            return f"guidance {self.settings.guidance_scale:g}"
        return f"no guidance pass: the checkpoint is distilled to {self.facts.sampling['num_steps']} steps"

    @cached_property
    def tools(self) -> "FilmTools | None":
        """What judges results, loaded."""
        from mimicmotion.metrics.judging import open_film_tools

        if self.sources.judge is None:
            return None
        return open_film_tools(self.sources.judge, self.work.cuda, option_of)

    def run(self, request: "AnimationRequest") -> None:
        """Find poses, show them, sample and judge; says on the console what it does."""
        from mimicmotion.animation.judged import tried, wanted_of
        from mimicmotion.animation.request import prepare
        from mimicmotion.video.picture_files import write_picture

        console = self.console
        with console.status("finding poses"):
            calibration = self.sources.estimator.opened_calibration()
            tile = self.settings.tile
            prepared = prepare(
                request, self.facts, self.style, self.pose_models, tile, calibration, self._drivers
            )
        preview = request.out.with_name(f"{request.out.stem}.poses.png")
        write_picture(preview, prepared.preview)
        driving, (width, height) = prepared.driving, prepared.inputs.size
        console.lines(f"aligned poses over the reference: {preview}")
        stored = request.out.with_name(f"{request.out.stem}.poses.parquet")
        if request.poses is None or request.poses.resolve() != stored.resolve():
            with in_place(stored) as written:
                pq.write_table(prepared.driver.table, written)
        console.lines(f"driving poses of everybody, for --poses: {stored}")
        console.lines(
            f"{len(driving.track)} frames of {width}x{height} at {driving.fps:g} per second by time "
            f"(driving video: {driving.source_fps:g}), {self.settings.num_steps} steps, "
            f"tiles of {self.settings.tile} (trained: {self.facts.num_frames}), "
            f"{self._guidance}"
        )
        console.lines(f"driving poses: {driving.presence.sentence}")
        wanted = partial(wanted_of, prepared.inputs, camera=driving.camera)
        make = partial(self._make, prepared)
        kept = tried(request, make, wanted, self.tools)
        console.print(f"[bold]{escape(str(request.out))}[/bold]")
        if kept is not None:
            console.lines(kept)

    def _make(self, prepared: "PreparedRequest", request: "AnimationRequest") -> "SamplerSettings":
        """Sample one film; gives the settings that memory sufficed for."""
        from mimicmotion.animation.request import perform
        from mimicmotion.animation.workers import WorkerGroup, perform_together

        used = [self.settings]
        if self.work.workers > 1:
            load = partial(_load, self.sources, self.work)
            group = WorkerGroup(self.work.workers, self.work.cuda)
            with _progress() as tell:
                perform_together(group, load, request, prepared, self.settings, tell)
        else:
            pipeline = self.pipeline
            with _progress() as tell:
                perform(request, prepared, pipeline, self.settings, tell, used.append)
        return used[-1]


def run_pairs(animator: Animator, requests: "list[AnimationRequest]") -> None:
    """Answer all requests; one that cannot be answered does not stop the others.

    Raises:
        InputError: some could not be answered; names them. The other results are there.
    """
    failed: list[str] = []
    for number, request in enumerate(requests, start=1):
        animator.console.rule(escape(f"{number} of {len(requests)}: {request.out.name}"))
        judged = request.out.with_suffix(".judge.json")
        if request.out.exists() and animator.sources.judge is not None and not judged.exists():
            said = f"{request.out} is there, but was not judged, or not the best of its tries was chosen"
            animator.console.lines(f"{said}: delete it to make it again, or give --no-judge")
            failed.append(f"{request.out.stem}: {said}")
            continue
        if request.out.exists():
            animator.console.lines(f"{request.out} is there already; delete it to make it again")
            continue
        try:
            animator.run(request)
        except MimicMotionError as error:
            animator.console.print(f"[red]{escape(str(error))}[/red]")
            failed.append(f"{request.out.stem}: {error}")
    if failed:
        raise InputError(f"{len(failed)} of {len(requests)} pairs could not be animated:", *failed)


def _pose_models(sources: Sources, cuda: bool) -> "PoseEstimator | None":
    from mimicmotion.pose.models.estimator import configured_estimator

    return configured_estimator(sources.estimator, cuda=cuda, allow_cpu=True)


def _load(sources: Sources, work: Work) -> Any:
    from mimicmotion.devices import device_and_dtype
    from mimicmotion.model.weights import load_pipeline

    device, dtype = device_and_dtype(work.cuda, work.precision or ("float16" if work.cuda else "float32"))
    pipeline = load_pipeline(sources.checkpoint, sources.base, dtype=dtype)
    if work.compile:
        pipeline.compile_unet()
    if work.offload:
        pipeline.offload_modules(device)
        return pipeline
    return pipeline.to(device)


@contextmanager
def _progress() -> Iterator[Any]:
    with progress("sampling", "tiles") as show:
        yield lambda done, total: show(done, total, "decoding and writing frames" if done == total else "")
