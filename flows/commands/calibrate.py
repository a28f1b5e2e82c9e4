"""The command ``calibrate``: from a whole-body model's raw confidences to probabilities, for one config.

``mimicmotion calibrate demo``
``mimicmotion calibrate finetune --truth annotations --annotations coco.json --pictures val2017``
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from mimicmotion.durable import make_folder
from mimicmotion.errors import InputError
from mimicmotion.pose.settings import EstimatorSettings
from stages.clip_rows import VIDEO_FILE
from stages.engine.config import PipelineConfig, load_config
from stages.engine.keys import file_sha256
from stages.engine.plan import StageGraph
from stages.engine.storage.workspace import is_remote

if TYPE_CHECKING:
    import numpy as np

    from mimicmotion.metrics.confidence.reliability import Points, Reliability, TruePicture
    from mimicmotion.pose.models.estimator import PoseEstimator

Truth = Literal["world", "annotations", "agreement"]
_WORLD_SEEDS = {"fit": 800_000, "held-out": 850_000}
"""First dancers; those that the shipped models were trained on lie below, those of demos above."""
_FRAMES_OF_A_FILM = 3


def calibrate(
    config: Config,
    overrides: Overrides = None,
    truth: Annotated[
        Truth,
        typer.Option(
            help="Where true places come from: hard films of the built-in toy world; annotations of "
            "COCO-WholeBody's form; or agreement with mirrored, scaled and shifted copies of your own films."
        ),
    ] = "world",
    annotations: Annotated[Path | None, typer.Option(help="With annotations: the JSON file.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="With annotations: folder of the pictures.")] = None,
    number: Annotated[
        int, typer.Option(min=2, help="Most films or pictures to use: one half makes it, the other tests it.")
    ] = 400,
    out: Annotated[Path | None, typer.Option(help="The file to write; else one in the workspace.")] = None,
) -> None:
    """Make a calibration for a config's whole-body model, and show how reliable it is on other pictures."""
    from mimicmotion.devices import has_cuda
    from mimicmotion.metrics.confidence.reliability import fit, reliability
    from mimicmotion.pictures.reliability import reliability_chart
    from mimicmotion.pose.models.estimator import configured_estimator
    from mimicmotion.video.picture_files import write_picture

    settings = load_config(config, overrides or [])
    pose = (
        settings.stages["pose"].part(EstimatorSettings) if "pose" in settings.stages else EstimatorSettings()
    )
    estimator = configured_estimator(pose, cuda=has_cuda(), allow_cpu=True)
    if estimator is None or pose.wholebody is None:
        raise InputError(
            f"{settings.source}: there is nothing to calibrate: set pose.detector and pose.wholebody"
        )
    if {annotations is not None, pictures is not None} != {truth == "annotations"}:
        raise InputError("--truth annotations, --annotations FILE and --pictures FOLDER go together")
    if out is None and is_remote(settings.workspace):
        raise InputError(f"workspace {settings.workspace} is not a local folder: give --out FILE.")
    if out is not None and (out.suffix != ".json" or out.is_dir()):
        raise InputError(f"--out {out} must name a file ending in .json; a chart is drawn beside it")
    target = out or Path(settings.workspace, "calibrations", f"{pose.wholebody.stem}-{truth}.json")
    make_folder(target.parent)  # before minutes of work
    if annotations is not None and pictures is not None:
        made, tested = _annotated(estimator, annotations, pictures, number)
    elif truth == "agreement":
        made, tested = _agreed(estimator, settings, number)
    else:
        made, tested = (_in_world(estimator, first, number // 2) for first in _WORLD_SEEDS.values())
    facts = {
        "truth": truth,
        "wholebody": pose.wholebody.name,
        "people": len(made.raw),
        "held_out": len(tested.raw),
    }
    calibration = fit(made, file_sha256(pose.wholebody), facts)
    rows = reliability(tested, calibration)
    calibration.write(target)
    write_picture(target.with_suffix(".png"), reliability_chart(rows))
    console = Terminal()
    console.print(_table(rows))
    used = join(["--set", f"pose.calibration={target}"])
    console.lines(target, target.with_suffix(".png"), f"use it: {settings.command('rebuild')} {used}")


def _in_world(estimator: "PoseEstimator", first: int, number: int) -> "Points":
    from mimicmotion.metrics.confidence.reliability import judge_pictures
    from mimicmotion.synthetic.hard import true_pictures

    return judge_pictures(estimator, true_pictures(range(first, first + number), _FRAMES_OF_A_FILM))


def _annotated(
    estimator: "PoseEstimator", annotations: Path, folder: Path, number: int
) -> "Sequence[Points]":
    from mimicmotion.metrics.confidence.annotations import annotated_pictures
    from mimicmotion.metrics.confidence.reliability import judge_pictures

    def half(which: int) -> "Iterator[TruePicture]":
        return (one for _, one in islice(annotated_pictures(annotations, folder), which, number, 2))

    return [judge_pictures(estimator, half(which)) for which in (0, 1)]


def _agreed(estimator: "PoseEstimator", settings: PipelineConfig, number: int) -> "Sequence[Points]":
    from mimicmotion.metrics.confidence.reliability import judge_agreement
    from mimicmotion.video.reader import open_video

    decoded = StageGraph(settings).result("decode")
    if len(decoded.ids) < 2:
        raise InputError("agreement needs two decoded films at least, one to make it and one to test it")

    def frames(ids: Sequence[str]) -> "Iterator[np.ndarray]":
        each = max(1, number // len(decoded.ids))
        for video_id in ids[: number // 2]:
            reader = open_video(decoded.path(video_id, VIDEO_FILE))
            count = min(each, reader.num_frames)
            for place in range(count):
                yield reader.read([(2 * place + 1) * reader.num_frames // (2 * count)])[0]

    return [judge_agreement(estimator, frames(decoded.ids[which::2])) for which in (0, 1)]


def _table(rows: "Sequence[Reliability]") -> Table:
    table = Table(
        "part", "points", "error raw", "error calibrated", title="Expected calibration error, held out"
    )
    for row in rows:
        errors = (f"{error:.3f}" if row.num_points else "-" for error in (row.error_before, row.error_after))
        table.add_row(row.part, str(row.num_points), *errors)
    return table
