"""The command ``animate``: a reference picture and a driving video in, an MP4 out.

``mimicmotion animate --image ref.jpg --video dance.mp4 --out out.mp4 --config demo``

``flows/cli.py`` mounts the function ``animate``. What is not given comes from the config, then from the
checkpoint, then from the release.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mimicmotion.errors import InputError
from stages.config import PipelineConfig, load_config
from stages.contract import WHOLE
from stages.pipeline import Pipeline

if TYPE_CHECKING:
    from mimicmotion.animation.checkpoint import CheckpointFacts
    from mimicmotion.animation.driving import PoseModels
    from mimicmotion.animation.request import AnimationRequest
    from mimicmotion.diffusion.sampler import SamplerSettings
    from mimicmotion.guidance.drawing import GuidanceStyle


Align = Literal["none", "release", "robust", "limbs"]
Fusion = Literal["progressive", "release", "uniform", "none"]
Device = Literal["auto", "cuda", "cpu"]
Precision = Literal["float32", "bfloat16", "float16"]


def _option(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


_Image = Annotated[Path, _option("Reference picture: any size, orientation and mode.")]
_Out = Annotated[Path, _option("The MP4 to write.")]
_Video = Annotated[Path | None, _option("Driving video; its sound is kept.")]
_Poses = Annotated[
    Path | None, _option("Stored poses: a table of the pose stage, or an import file with --video.")
]
_ReferencePoses = Annotated[Path | None, _option("Import file with the pose of the reference picture.")]
_Config = Annotated[str | None, _option("Config that supplies models, checkpoint and settings, e.g. demo.")]
_Checkpoint = Annotated[
    str | None, _option("Checkpoint folder, released .pth or .safetensors, or models:/name@alias.")
]
_Base = Annotated[Path | None, _option("SVD folder in diffusers layout, for a released file.")]
_Detector = Annotated[Path | None, _option("YOLOX person detector, ONNX.")]
_WholeBody = Annotated[Path | None, _option("SimCC whole-body model, ONNX.")]
_Size = Annotated[str | None, _option("WIDTHxHEIGHT of the result.")]
_Resolution = Annotated[int | None, _option("Short side of the result at 9:16 or 16:9, a multiple of 64.")]
_Fps = Annotated[
    float | None, _option("Frames per second of the result, by time; else the video's, at most 15.")
]
_Steps = Annotated[int | None, _option("Denoising steps.", min=1)]
_Guidance = Annotated[float | None, _option("Guidance scale; at most 1 means a single pass.", min=0)]
_Seed = Annotated[int, _option("Seed of all randomness.", min=0)]
_Tile = Annotated[int | None, _option("Slots of a tile, the reference included.", min=2)]
_Overlap = Annotated[int | None, _option("Slots that neighbouring tiles share.", min=0)]
_Fusion = Annotated[Fusion | None, _option("How overlapping tiles are joined.")]
_Align = Annotated[Align, _option("How driving poses are brought onto the reference's body.")]
_Person = Annotated[int, _option("Which person drives; 0 is the main person.", min=0)]
_Strength = Annotated[float, _option("Factor on the pose features.", min=0)]
_Hide = Annotated[list[str] | None, _option("Part that is not drawn: body, hands or face; may be repeated.")]
_Confidence = Annotated[
    bool, _option("Draw poses as bright as they are confident.", "--confidence/--no-confidence")
]
_Audio = Annotated[bool, _option("Keep the driving video's sound.", "--audio/--no-audio")]
_Device = Annotated[Device, _option("Where to work.")]
_Precision = Annotated[Precision | None, _option("Number type; else float16 on a GPU, float32 on a CPU.")]
_Offload = Annotated[bool, _option("Keep only the module at work on the GPU, for small ones.", "--offload")]


@dataclass(frozen=True)
class Sources:
    """Where weights lie, and sampling fields of the config's animate section.

    Attributes:
        checkpoint: folder or released file.
        base: SVD's folder, where needed.
        detector, wholebody: ONNX files; None where none are known.
        sampling: field -> value.
    """

    checkpoint: Path
    base: Path | None
    detector: Path | None
    wholebody: Path | None
    sampling: dict[str, Any]


@dataclass(frozen=True)
class Work:
    """Where and how to work.

    Attributes:
        cuda: on the GPU.
        precision: number type; None for the device's own.
        offload: keep only the module at work on the GPU.
    """

    cuda: bool
    precision: Precision | None
    offload: bool


def animate(
    image: _Image,
    out: _Out,
    video: _Video = None,
    poses: _Poses = None,
    reference_poses: _ReferencePoses = None,
    config: _Config = None,
    checkpoint: _Checkpoint = None,
    base: _Base = None,
    detector: _Detector = None,
    wholebody: _WholeBody = None,
    size: _Size = None,
    resolution: _Resolution = None,
    fps: _Fps = None,
    steps: _Steps = None,
    guidance: _Guidance = None,
    seed: _Seed = 0,
    tile: _Tile = None,
    overlap: _Overlap = None,
    fusion: _Fusion = None,
    align: _Align = "robust",
    person: _Person = 0,
    pose_strength: _Strength = 1.0,
    hide: _Hide = None,
    confidence: _Confidence = True,
    audio: _Audio = True,
    device: _Device = "auto",
    precision: _Precision = None,
    offload: _Offload = False,
) -> None:
    """Let the person of a picture dance as the one in a video does."""
    from mimicmotion.animation.checkpoint import read_checkpoint_facts
    from mimicmotion.animation.request import AnimationRequest

    request = AnimationRequest(
        image=image,
        out=out,
        video=video,
        poses=poses,
        reference_poses=reference_poses,
        person=person,
        size=_parsed_size(size),
        short_side_px=resolution,
        fps=fps,
        alignment=align,
        seed=seed,
        keep_audio=audio,
    )
    request.check()
    given = {"num_steps": steps, "guidance": guidance, "tile": tile, "overlap": overlap, "fusion": fusion}
    work = Work(_wants_cuda(device), precision, offload)
    with TemporaryDirectory() as folder:
        sources = find_sources(config, checkpoint, base, detector, wholebody, Path(folder))
        facts = read_checkpoint_facts(sources.checkpoint)
        settings = sampler_settings(given, sources.sampling, facts, pose_strength)
        _run(request, sources, facts, shown_style(facts.style, hide or [], confidence), settings, work)


def _run(
    request: "AnimationRequest",
    sources: Sources,
    facts: "CheckpointFacts",
    style: "GuidanceStyle",
    settings: "SamplerSettings",
    work: Work,
) -> None:
    """Find poses, show them, then sample; says on the console what it does."""
    from mimicmotion.animation.preview import write_picture
    from mimicmotion.animation.request import perform, prepare

    console = Console()
    with console.status("finding poses"):
        prepared = prepare(request, facts, style, _pose_models(sources, work.cuda))
    preview = request.out.with_name(f"{request.out.stem}.poses.png")
    write_picture(preview, prepared.preview)
    driving, (height, width) = prepared.driving, prepared.performance.size
    console.print(f"aligned poses over the reference: {preview}")
    console.print(
        f"{len(driving.track)} frames of {width}x{height} at {driving.fps:g} per second by time "
        f"(driving video: {driving.source_fps:g}), {settings.num_steps} steps, "
        f"guidance {settings.guidance_max:g}"
    )
    with console.status("loading weights"):
        pipeline = _load(sources, work)
    with _progress_bar(console) as progress:
        perform(request, prepared, pipeline, settings, progress)
    console.print(f"[bold]{request.out}[/bold]")


def find_sources(
    config: str | None,
    checkpoint: str | None,
    base: Path | None,
    detector: Path | None,
    wholebody: Path | None,
    folder: Path,
) -> Sources:
    """Where all weights lie: as given, else as the config says.

    Args:
        config: name or path of a config.
        checkpoint: folder, released file, or a registered model.
        base, detector, wholebody: as given.
        folder: where a registered model is brought.

    Raises:
        InputError: there is no checkpoint.
        StageError: the config's model is not trained yet; says what to run.
    """
    sampling: dict[str, Any] = {}
    loaded = None if config is None else load_config(config)
    if loaded is not None:
        if "pose" in loaded.stages:
            pose = loaded.stages["pose"].model_dump()
            detector, wholebody = detector or pose["detector"], wholebody or pose["wholebody"]
        if "animate" in loaded.stages:
            sampling = loaded.stages["animate"].model_dump()
    if checkpoint is not None and checkpoint.startswith("models:/"):
        place = _download(checkpoint, loaded, folder)
    elif checkpoint is not None:
        place = Path(checkpoint)
    elif loaded is not None:
        place = Pipeline(loaded).dataset("train").path(WHOLE, "checkpoint")
    else:
        raise InputError(
            "no checkpoint is given: name one with --checkpoint, or a config whose model is trained, "
            "e.g. --config demo after `make demo`"
        )
    return Sources(place, base, detector, wholebody, sampling)


def sampler_settings(
    given: dict[str, Any], config: dict[str, Any], facts: "CheckpointFacts", pose_strength: float
) -> "SamplerSettings":
    """How to sample: each field as given, else as in the config, else as released.

    Args:
        given: field of the animate stage -> value or None.
        config: fields of the config's animate section.
        facts: of the checkpoint.
        pose_strength: factor on the pose features.
    """
    from mimicmotion.diffusion.sampler import SamplerSettings

    chosen = {**config, **{name: value for name, value in given.items() if value is not None}}
    same = ("num_steps", "schedule", "sigma_max", "overlap", "fusion", "noise")
    fields = {name: chosen[name] for name in same if name in chosen}
    if "guidance" in chosen:
        fields["guidance_min"] = fields["guidance_max"] = chosen["guidance"]
    return SamplerSettings(
        **fields,
        tile=chosen.get("tile") or facts.num_frames,
        fps=facts.fps,
        motion_bucket_id=facts.motion_bucket,
        pose_strength=pose_strength,
    )


def shown_style(style: "GuidanceStyle", hidden: list[str], confidence: bool) -> "GuidanceStyle":
    """The checkpoint's style with parts left out.

    Raises:
        InputError: there is no such part.
    """
    parts = {"body": "draw_body", "hands": "draw_hands", "face": "draw_face"}
    unknown = [part for part in hidden if part not in parts]
    if unknown:
        raise InputError(f"--hide {unknown[0]}: there is no such part; choose one of {', '.join(parts)}")
    changes: dict[str, Any] = {parts[part]: False for part in hidden}
    if not confidence:
        changes["use_confidence"] = False
    return replace(style, **changes)


def _download(model: str, config: PipelineConfig | None, folder: Path) -> Path:
    from stages.config import tracking_uri
    from stages.model_registry import download_model
    from stages.tracking import mlflow_client

    uri = os.environ.get("MLFLOW_TRACKING_URI") if config is None else tracking_uri(config)
    if uri is None:
        raise InputError(f"{model}: which MLflow? Give --config, or set MLFLOW_TRACKING_URI")
    return download_model(mlflow_client(uri), model, folder)


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise InputError(f"--size {text} is not understood; write WIDTHxHEIGHT, e.g. 576x1024")
    return int(width), int(height)


def _wants_cuda(device: Device) -> bool:
    from mimicmotion.animation.generate import has_cuda

    if device == "cuda" and not has_cuda():
        raise InputError("--device cuda: torch finds no GPU here; see `mimicmotion doctor`, or use cpu")
    return device != "cpu" and has_cuda()


def _pose_models(sources: Sources, cuda: bool) -> "PoseModels | None":
    from mimicmotion.animation.driving import PoseModels

    if sources.detector is None or sources.wholebody is None:
        return None
    return PoseModels.open(sources.detector, sources.wholebody, cuda=cuda)


def _load(sources: Sources, work: Work) -> Any:
    from mimicmotion.animation.generate import device_and_dtype
    from mimicmotion.model.weights import load_pipeline

    device, dtype = device_and_dtype(work.cuda, work.precision or ("float16" if work.cuda else "float32"))
    pipeline = load_pipeline(sources.checkpoint, sources.base, dtype=dtype)
    if work.offload:
        pipeline.offload_modules(device)
        return pipeline
    return pipeline.to(device)


@contextmanager
def _progress_bar(console: Console) -> Iterator[Any]:
    columns = (TextColumn("tiles"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("sampling", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield progress
