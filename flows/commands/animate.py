"""The command ``animate``: a reference picture and a driving video in, an MP4 out.

``mimicmotion animate --image ref.jpg --video dance.mp4 --out out.mp4 --config demo``
``mimicmotion animate --pairs pairs.csv --out results --config demo``

``flows/cli.py`` mounts the function ``animate``. What is not given comes from the config, then from the
checkpoint, then from the release.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows.commands.animator import Animator, Precision, Sources, Work, run_pairs
from flows.commands.options import checked, takes
from flows.commands.processes import sigterm_interrupts
from mimicmotion.animation.settings import RequestSettings, SamplingSettings
from mimicmotion.errors import InputError, MimicMotionError
from mimicmotion.pose.settings import EstimatorSettings
from stages.engine.config import PipelineConfig, load_config
from stages.engine.contract import WHOLE
from stages.engine.plan import StageGraph

if TYPE_CHECKING:
    from mimicmotion.animation.checkpoint import CheckpointFacts
    from mimicmotion.animation.request import AnimationRequest
    from mimicmotion.diffusion.settings import SamplerSettings
    from mimicmotion.metrics.settings import FilmJudgeSettings
    from mimicmotion.pose.settings import DrawingStyle


Device = Literal["auto", "cuda", "cpu"]

OPTIONS = {
    "num_steps": "--steps",
    "short_side_px": "--resolution",
    "alignment": "--align",
    "smoothing_s": "--smooth",
    "keep_audio": "--audio/--no-audio",
}
"""Fields of settings -> options that have another name."""


def _option(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


_Image = Annotated[Path | None, _option("Reference picture: any size, orientation and mode.")]
_Out = Annotated[Path, _option("The MP4 to write; a folder with --pairs.")]
_Pairs = Annotated[
    Path | None,
    _option("CSV with columns image, video, poses, reference_poses, name, person, seed: one video per row."),
]
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
_Detector = Annotated[Path | None, _option("Person detector, ONNX.")]
_WholeBody = Annotated[Path | None, _option("Whole-body model, ONNX.")]
_Calibration = Annotated[
    Path | None, _option("Calibration of the whole-body model, for checkpoints trained with one.")
]
_Identity = Annotated[Path | None, _option("Face embedding of ArcFace's form, ONNX, for the judge.")]
_Appearance = Annotated[
    Path | None, _option("Picture embedding, ONNX or a folder with image_encoder, for the judge.")
]
_Judged = Annotated[bool, _option("Judge the result, without a true film.", "--judge/--no-judge")]
_Strength = Annotated[float, _option("Factor on the pose features.", min=0)]
_Hide = Annotated[list[str] | None, _option("Part that is not drawn: body, hands or face; may be repeated.")]
_Confidence = Annotated[
    bool, _option("Draw poses as bright as they are confident.", "--confidence/--no-confidence")
]
_Device = Annotated[Device, _option("Where to work.")]
_Precision = Annotated[Precision | None, _option("Number type; else float16 on a GPU, float32 on a CPU.")]
_Compile = Annotated[bool, _option("Compile the network: takes minutes, then samples faster.", "--compile")]
_Offload = Annotated[
    bool, _option("Keep only the module at work on the GPU: for little memory.", "--offload")
]
_Workers = Annotated[
    int,
    _option(
        "Processes that make one video together, each with its own GPU; at most one per tile works.", min=1
    ),
]


@takes(OPTIONS, SamplingSettings, RequestSettings)
@sigterm_interrupts()
def animate(
    out: _Out,
    image: _Image = None,
    pairs: _Pairs = None,
    video: _Video = None,
    poses: _Poses = None,
    reference_poses: _ReferencePoses = None,
    config: _Config = None,
    checkpoint: _Checkpoint = None,
    base: _Base = None,
    detector: _Detector = None,
    wholebody: _WholeBody = None,
    calibration: _Calibration = None,
    pose_strength: _Strength = 1.0,
    hide: _Hide = None,
    confidence: _Confidence = True,
    device: _Device = "auto",
    precision: _Precision = None,
    offload: _Offload = False,
    compile: _Compile = False,
    workers: _Workers = 1,
    judge: _Judged = True,
    identity: _Identity = None,
    appearance: _Appearance = None,
    *,
    given: Mapping[str, Any],
) -> None:
    """Animate the person in a picture with the motion of a video.

    Before it samples, it writes two files beside OUT: .poses.png shows whether the poses fit the body, and
    .poses.parquet holds the driving poses, which --poses takes.
    Afterwards it writes .judge.json and .judge.png: the scores of a judge that needs no true film.
    """
    from mimicmotion.animation.checkpoint import read_checkpoint_facts

    files = {"image": image, "video": video, "poses": poses, "reference_poses": reference_poses}
    wishes = {name: given[name] for name in RequestSettings.model_fields if name in given}
    if pairs is None:
        requests = [_single_request(out, {**files, **wishes})]
    else:
        requests = _requests_of_pairs(pairs, out, files, wishes)
    if not judge and given.get("tries", 1) > 1:
        raise InputError("--tries needs the judge, which chooses among them: leave out --no-judge")
    work = Work(_wants_cuda(device), precision, offload, compile, workers)
    _check_workers(work, pairs)
    with TemporaryDirectory() as folder:
        sources = find_sources(config, checkpoint, base, detector, wholebody, Path(folder))
        if calibration is not None:
            chosen = sources.estimator.replaced(calibration=calibration)
            sources = replace(sources, estimator=chosen)
        facts = read_checkpoint_facts(sources.checkpoint)
        settings = sampler_settings(given, sources.sampling, facts, pose_strength)
        style = shown_style(facts.style, hide or [], confidence)
        if judge:
            files_of_judge = {"identity": identity, "appearance": appearance}
            sources = replace(sources, judge=_judge_settings(sources, config, files_of_judge))
        animator = Animator(sources, facts, style, settings, work)
        if pairs is None:
            animator.run(requests[0])
        else:
            run_pairs(animator, requests)


def _judge_settings(
    sources: Sources, config: str | None, files: Mapping[str, Path | None]
) -> "FilmJudgeSettings":
    """What judges: the models that find poses here, and embeddings as given, else as in the config."""
    from flows.commands.judge import film_judge_settings

    own = {**dict(sources.estimator), **files}
    return film_judge_settings(config, {name: value for name, value in own.items() if value is not None})


def _check_workers(work: Work, pairs: Path | None) -> None:
    from mimicmotion.devices import num_gpus

    if work.workers > 1 and pairs is not None:
        raise InputError(
            f"--workers {work.workers} is given beside --pairs; workers share one video: leave it "
            "out, or give one pair with --image and --video"
        )
    if work.cuda and work.workers > num_gpus():
        raise InputError(
            f"--workers {work.workers}: there are {num_gpus()} GPUs here, and each worker needs one; ask for "
            f"{num_gpus()} at most, or --device cpu"
        )


def _single_request(out: Path, fields: dict[str, Any]) -> "AnimationRequest":
    from mimicmotion.animation.request import AnimationRequest

    if fields["image"] is None:
        raise InputError("no reference picture is given: name one with --image, or many with --pairs")
    request: AnimationRequest = checked(AnimationRequest, {**fields, "out": out}, OPTIONS)
    request.check()
    return request


def _requests_of_pairs(
    pairs: Path, out: Path, files: dict[str, Path | None], wishes: dict[str, Any]
) -> "list[AnimationRequest]":
    from mimicmotion.animation.pairs import read_pairs

    given = [f"--{name.replace('_', '-')}" for name, path in files.items() if path is not None]
    if given:
        raise InputError(f"{given[0]} is given beside --pairs, whose rows name the files; give one of them")
    return read_pairs(pairs, out, wishes)


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
        InputError: there is no checkpoint, or the config's model is not trained yet; says what to run.
    """
    sampling: dict[str, Any] = {}
    estimator = EstimatorSettings()
    loaded = None if config is None else load_config(config)
    if loaded is not None:
        if "pose" in loaded.stages:
            estimator = loaded.stages["pose"].part(EstimatorSettings)
        if "animate" in loaded.stages:
            sampling = loaded.stages["animate"].model_dump(exclude_unset=True)
    if checkpoint is not None and checkpoint.startswith("models:/"):
        place = download_registered(checkpoint, loaded, folder)
    elif checkpoint is not None:
        place = Path(checkpoint)
    elif loaded is not None:
        place = _trained(loaded)
    else:
        raise InputError(
            "no checkpoint is given: name one with --checkpoint, or a config whose model is trained, "
            "e.g. --config demo after `make demo`"
        )
    models = {"detector": detector or estimator.detector, "wholebody": wholebody or estimator.wholebody}
    return Sources(place, base, estimator.replaced(**models), sampling)


def _trained(config: PipelineConfig) -> Path:
    weights = "distill" if "distill" in config.stages else "train"
    try:
        return StageGraph(config).result(weights).path(WHOLE, "checkpoint")
    except MimicMotionError as error:
        raise InputError(
            f"config {config.name} has no trained model here: {error}",
            "Train it with `mimicmotion rebuild "
            f"{config.name}` (`make demo` for demo), or name weights with --checkpoint",
        ) from error


def sampler_settings(
    given: Mapping[str, Any], config: Mapping[str, Any], facts: "CheckpointFacts", pose_strength: float
) -> "SamplerSettings":
    """How to sample: each field as given, else as the checkpoint asks, else as in the config or as released.

    Args:
        given: field -> value of the options that were given.
        config: fields of the config's animate section.
        facts: of the checkpoint.
        pose_strength: factor on the pose features.

    Raises:
        InputError: a value is not allowed.
    """
    if not math.isfinite(pose_strength):
        raise InputError(f"--pose-strength: got {pose_strength}, allowed: a finite number of at least 0")
    chosen = {**config, **facts.sampling, **given}
    values = {name: chosen[name] for name in SamplingSettings.model_fields if name in chosen}
    return checked(SamplingSettings, values, OPTIONS).sampler(
        facts.num_frames,
        bool(facts.sampling),
        **facts.told,
        pose_strength=pose_strength,
    )


def shown_style(style: "DrawingStyle", hidden: list[str], confidence: bool) -> "DrawingStyle":
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
    return style.model_copy(update=changes)


def download_registered(model: str, config: PipelineConfig | None, folder: Path) -> Path:
    """The checkpoint folder of ``models:/name@alias``, brought into a folder.

    Args:
        model: the registered model.
        config: says which MLflow; None for the variable ``MLFLOW_TRACKING_URI``.
        folder: where to bring it.

    Raises:
        InputError: no MLflow is named, or it has no such model.
    """
    from stages.adapters.mlflow.client import mlflow_client
    from stages.adapters.mlflow.registry import download_model
    from stages.engine.config import tracking_uri

    uri = os.environ.get("MLFLOW_TRACKING_URI") if config is None else tracking_uri(config)
    if uri is None:
        raise InputError(f"{model}: which MLflow? Give --config, or set MLFLOW_TRACKING_URI")
    return download_model(mlflow_client(uri), model, folder)


def _wants_cuda(device: Device) -> bool:
    from mimicmotion.devices import has_cuda

    if device == "cuda" and not has_cuda():
        raise InputError("--device cuda: torch finds no GPU here; see `mimicmotion doctor`, or use cpu")
    return device != "cpu" and has_cuda()
