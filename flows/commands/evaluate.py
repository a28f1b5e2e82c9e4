"""The command ``evaluate``: scores two folders of videos, whoever made them.

``mimicmotion evaluate --generated results --truth truth --protocol native --fvd i3d_pretrained_400.pt``
``mimicmotion evaluate --generated results --pairs pairs.csv --protocol cross-identity``

``flows/cli.py`` mounts the function ``evaluate``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markdown import Markdown

from flows.commands.judge import film_judge_settings, judge_all
from flows.commands.options import check_file, option_of
from flows.commands.processes import sigterm_interrupts
from flows.terminal import Terminal
from mimicmotion.errors import InputError
from mimicmotion.pose.settings import AlignmentMode
from stages.engine.config import load_config

if TYPE_CHECKING:
    from mimicmotion.animation.said import FilmJudge
    from mimicmotion.metrics.scores import Score
    from mimicmotion.metrics.settings import FilmJudgeSettings, JudgeSettings


@sigterm_interrupts()
def evaluate(
    generated: Annotated[Path, typer.Option(help="Folder of results: videos, or folders of frames.")],
    protocol: Annotated[
        str,
        typer.Option(help="tiktok-335-340-256, tiktok-disco10-256, native, x-dance or cross-identity."),
    ],
    truth: Annotated[
        Path | None, typer.Option(help="Folder of the true videos, under the same names.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help="For x-dance and cross-identity: the CSV that `animate --pairs` took.")
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=2, help="Frames of a window; else the protocol's.")
    ] = None,
    fvd: Annotated[Path | None, typer.Option(help="I3D weights for FVD.")] = None,
    fid_vid: Annotated[Path | None, typer.Option(help="3D ResNet-50 weights for FID-VID.")] = None,
    fvd_small: Annotated[Path | None, typer.Option(help="The built-in toy world's video network.")] = None,
    fid: Annotated[Path | None, typer.Option(help="Inception as TorchScript for FID.")] = None,
    lpips: Annotated[Path | None, typer.Option(help="VGG as TorchScript for LPIPS.")] = None,
    identity: Annotated[Path | None, typer.Option(help="Face embedding in ONNX, for identity.")] = None,
    videomae: Annotated[Path | None, typer.Option(help="VideoMAE: folder of transformers, or ONNX.")] = None,
    vjepa: Annotated[Path | None, typer.Option(help="V-JEPA: folder of transformers, or ONNX.")] = None,
    detector: Annotated[
        Path | None, typer.Option(help="Person detector in ONNX, for hands and pose.")
    ] = None,
    wholebody: Annotated[
        Path | None, typer.Option(help="Whole-body model in ONNX, for hands and pose.")
    ] = None,
    appearance: Annotated[
        Path | None, typer.Option(help="With --pairs: picture embedding, ONNX or a folder.")
    ] = None,
    align: Annotated[
        AlignmentMode | None,
        typer.Option(help="With --pairs: how driving poses were brought onto the body; else robust."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Config that supplies networks and thresholds that are not given.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for all scores.")] = None,
) -> None:
    """Score results against the truth, or pairs without one, under a named protocol."""
    from mimicmotion.devices import device_and_dtype, has_cuda
    from mimicmotion.metrics.folders import score_folders
    from mimicmotion.metrics.judging import open_judge
    from mimicmotion.metrics.protocols import protocol_by_id

    if (detector is None) != (wholebody is None):
        raise InputError("--detector and --wholebody go together: give both for hands and pose, or none")
    chosen = protocol_by_id(protocol)
    if (truth is None) == (pairs is None):
        raise InputError("one of --truth and --pairs is needed: true films, or pairs without them")
    chosen.check_truth(pairs is None)
    check_file("--out", out)
    sets = {"window": window, "fvd": fvd, "fid_vid": fid_vid, "fvd_small": fvd_small, "fid": fid}
    of_truth: dict[str, Any] = {**sets, "lpips": lpips, "videomae": videomae, "vjepa": vjepa}
    models: dict[str, Any] = {"identity": identity, "detector": detector, "wholebody": wholebody}
    if truth is None or pairs is not None:
        assert pairs is not None  # one of both is given
        _check_unread(of_truth, "--pairs")
        film = film_judge_settings(config, _given({**models, "appearance": appearance}))
        scores, failed, film_judge = _scores_of_pairs(generated, pairs, film, align or "robust", out)
        if scores and not (failed and chosen.id == "x-dance"):
            _show(scores, chosen.id, out)
        if failed:
            raise InputError(*failed)
        film_judge.finished()
        return
    _check_unread({"appearance": appearance, "align": align}, "--truth")
    settings = _judge_settings(config, {"protocol": chosen.id, **of_truth, **models})
    if settings.identity and settings.wholebody is None:
        raise InputError("--identity needs --detector and --wholebody, which find the faces that it compares")
    chosen = settings.chosen_protocol
    device, _ = device_and_dtype(has_cuda(), "float32")
    judge = open_judge(settings, device, cuda=has_cuda(), allow_cpu=True, called=option_of, drives=False)
    _show(score_folders(generated, truth, chosen, judge), chosen.id, out)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _judge_settings(config: str | None, options: Mapping[str, Any]) -> "JudgeSettings":
    """What judges: each field as given, else as in the config's section evaluate."""
    from mimicmotion.metrics.settings import JudgeSettings

    stages = {} if config is None else load_config(config).stages
    fields = dict(stages["evaluate"].part(JudgeSettings)) if "evaluate" in stages else {}
    return JudgeSettings(**{**fields, **_given(options)})


def _check_unread(options: Mapping[str, Any], beside: str) -> None:
    """Refuse options that would change nothing."""
    unread = [option_of(name) for name, value in options.items() if value is not None]
    if unread:
        raise InputError(f"{', '.join(unread)} would change nothing beside {beside}: leave out what is named")


def _scores_of_pairs(
    generated: Path, pairs: Path, settings: "FilmJudgeSettings", align: "AlignmentMode", out: Path | None
) -> "tuple[list[Score], list[str], FilmJudge]":
    """Scores and summary of pairs, and in lines which failed; a missing or foreign result is refused."""
    from mimicmotion.animation.judged import JudgeRequest
    from mimicmotion.animation.pairs import read_pairs
    from mimicmotion.animation.said import FilmJudge
    from mimicmotion.devices import has_cuda
    from mimicmotion.metrics.film.verdicts import scores_in
    from mimicmotion.metrics.folders import entries
    from mimicmotion.metrics.judging import open_film_tools
    from mimicmotion.metrics.scoreboard import Scoreboard
    from mimicmotion.names import normal

    films = entries(generated)
    # Nothing is written beside the results, which may be read-only.
    with TemporaryDirectory() as folder:
        requests = {normal(request.out.stem): request for request in read_pairs(pairs, Path(folder), {})}
    lacking, foreign = sorted(requests.keys() - films.keys()), sorted(films.keys() - requests.keys())
    if lacking or foreign:
        raise InputError(
            f"{generated} does not hold the results of {pairs}: it lacks {', '.join(lacking) or 'nothing'} "
            f"and also has {', '.join(foreign) or 'nothing'}; a result is called as its pair, IMAGE_VIDEO "
            "unless the column name says otherwise"
        )
    tools = open_film_tools(settings, has_cuda(), option_of)
    board, film_judge = Scoreboard(2, {}), FilmJudge(tools, settings, out)
    films_to_judge = list[JudgeRequest]()
    for name, request in requests.items():
        named = {"generated": films[name], "reference": request.image, "driving": request.video, "name": name}
        more = {"poses": request.poses, "reference_poses": request.reference_poses, "person": request.person}
        films_to_judge.append(JudgeRequest(**named, **more, alignment=align))
    values, failed = judge_all(film_judge, films_to_judge, Terminal())
    for name, said in values.items():
        board.add(scores_in(said, name))
    if failed:
        failed = [f"{len(failed)} of {len(requests)} pairs could not be judged:", *failed]
    return board.scores() if values else [], failed, film_judge


def _show(scores: "list[Score]", protocol: str, out: Path | None) -> None:
    from mimicmotion.durable import write_file
    from mimicmotion.metrics.scores import summary_markdown

    Terminal().print(Markdown(summary_markdown(scores, protocol)))
    if out is not None:
        rows = [{**asdict(score), "protocol": protocol} for score in scores]
        write_file(out, (json.dumps(rows, indent=1) + "\n").encode())
