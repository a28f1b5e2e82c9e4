"""The command ``judge``: scores films that have no true film, against picture and driving poses.

``mimicmotion judge --generated out.mp4 --driving dance.mp4 --reference me.jpg --config demo``

``flows/cli.py`` mounts the function ``judge``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markdown import Markdown

from flows.commands.options import check_file, checked, option_of, takes
from flows.commands.processes import sigterm_interrupts
from flows.terminal import Terminal
from mimicmotion.diffusion.settings import Fusion
from mimicmotion.errors import InputError, MimicMotionError
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.pose.settings import AlignmentMode, EstimatorSettings
from stages.engine.config import load_config

if TYPE_CHECKING:
    from mimicmotion.animation.judged import JudgeRequest
    from mimicmotion.animation.said import FilmJudge

_File = Path | None


@takes({}, FilmJudgeSettings)
@sigterm_interrupts()
def judge(
    generated: Annotated[
        _File, typer.Option(help="The film: a video or a folder of frames; or a folder of films.")
    ] = None,
    driving: Annotated[_File, typer.Option(help="The driving video, or a folder of them by name.")] = None,
    reference: Annotated[_File, typer.Option(help="The reference picture, or a folder by name.")] = None,
    poses: Annotated[_File, typer.Option(help="Stored driving poses, or a folder of them by name.")] = None,
    reference_poses: Annotated[_File, typer.Option(help="Import file with the reference's pose.")] = None,
    pairs: Annotated[
        _File,
        typer.Option(help="CSV with columns generated, reference, driving, poses, reference_poses, name."),
    ] = None,
    config: Annotated[str | None, typer.Option(help="Config that supplies the models, e.g. demo.")] = None,
    align: Annotated[
        AlignmentMode, typer.Option(help="How driving poses were brought onto the reference's body.")
    ] = "robust",
    person: Annotated[int, typer.Option(min=0, help="Which person drives; 0 is the main person.")] = 0,
    tile: Annotated[
        int | None, typer.Option(min=2, help="Slots of a tile of these films, the reference included.")
    ] = None,
    overlap: Annotated[int | None, typer.Option(min=0, help="Slots that neighbouring tiles share.")] = None,
    fusion: Annotated[Fusion, typer.Option(help="How tiles of these films were joined.")] = "progressive",
    out: Annotated[_File, typer.Option(help="JSON file for all scores, curves and worst frames.")] = None,
    picture: Annotated[
        _File, typer.Option(help="PNG for curves and worst frames; a folder for several films.")
    ] = None,
    *,
    given: Mapping[str, Any],
) -> None:
    """Judge films without a true film: pose, likeness, drift, joins, background, jerk and sharpness."""
    from mimicmotion.animation.judged import judge_requests
    from mimicmotion.animation.said import FilmJudge
    from mimicmotion.devices import has_cuda
    from mimicmotion.durable import write_file
    from mimicmotion.metrics.film.verdicts import scores_in
    from mimicmotion.metrics.judging import open_film_tools
    from mimicmotion.metrics.scoreboard import Scoreboard
    from mimicmotion.metrics.scores import summary_markdown

    files = {"generated": generated, "driving": driving, "reference": reference, "poses": poses}
    wishes = {"alignment": align, "person": person, "tile": tile, "overlap": overlap, "fusion": fusion}
    requests = judge_requests(pairs, {**files, "reference_poses": reference_poses}, wishes)
    # One film's picture goes into a folder, too, where that is what is named.
    one_picture = len(requests) == 1 and picture is not None and bool(picture.suffix or picture.is_file())
    check_file("--out", out)
    if one_picture:
        check_file("--picture", picture)
    elif picture is not None and picture.is_file():
        raise InputError(f"--picture {picture} is a file; name a folder for pictures of several films")
    settings = film_judge_settings(config, given)
    tools = open_film_tools(settings, has_cuda(), option_of)
    console, board = Terminal(), Scoreboard(2, {})
    film_judge = FilmJudge(tools, settings, out)
    if known := film_judge.num_known(requests):
        console.lines(
            f"{known} of {len(requests)} films were judged before, in the same way, and are not again"
        )
    pictures = None
    if picture is not None:
        names = [request.film_id for request in requests]
        pictures = {name: picture if one_picture else picture / f"{name}.png" for name in names}
    values, failed = judge_all(film_judge, requests, console, pictures)
    for film_id, said in values.items():
        board.add(scores_in(said, film_id))
    if values:
        console.print(Markdown(summary_markdown(board.scores(), "judge, without truth")))
    if out is not None:
        write_file(out, (json.dumps(values, indent=1) + "\n").encode())
    if failed:
        raise InputError(f"{len(failed)} of {len(requests)} films could not be judged:", *failed)
    film_judge.finished()


def judge_all(
    film_judge: "FilmJudge",
    requests: "Sequence[JudgeRequest]",
    console: Terminal,
    pictures: Mapping[str, Path] | None = None,
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What is said of each film, by its name, and a line for each that could not be judged.

    Args:
        film_judge: judges.
        requests: the films; the failure of a single one is raised.
        console: says a line for each.
        pictures: where the picture of each film goes.
    """
    from mimicmotion.metrics.film.verdicts import scores_in, verdict_line

    values, failed = dict[str, dict[str, Any]](), list[str]()
    for request in requests:
        name = request.film_id
        try:
            values[name] = film_judge.values(request, None if pictures is None else pictures[name])
        except MimicMotionError as error:
            if len(requests) == 1:
                raise
            console.lines(f"{name}: not judged: {error}")
            failed.append(f"{name}: {error}")
        else:
            console.lines(f"{name}: {verdict_line(scores_in(values[name], name))}")
    return values, failed


def film_judge_settings(config: str | None, given: Mapping[str, Any]) -> FilmJudgeSettings:
    """What judges: each field as given, else as the config's animate and pose sections say."""
    fields: dict[str, Any] = {}
    if config is not None:
        stages = load_config(config).stages
        for section in ("pose", "animate"):
            values = {} if section not in stages else stages[section].model_dump()
            values = (values.get("judge") or {}) if section == "animate" else values
            known = EstimatorSettings.model_fields
            names = known if section == "pose" else FilmJudgeSettings.model_fields
            fields |= {name: values[name] for name in names if values.get(name) is not None}
    own = {name: given[name] for name in FilmJudgeSettings.model_fields if name in given}
    chosen = {**fields, **own}
    if ("detector" in chosen) != ("wholebody" in chosen):
        raise InputError("--detector and --wholebody go together: give both for scores of the pose, or none")
    settings: FilmJudgeSettings = checked(FilmJudgeSettings, chosen, {})
    return settings
