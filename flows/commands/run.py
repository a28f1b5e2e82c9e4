"""The commands ``rebuild``, ``stage`` and ``status``."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.summary import print_summary
from flows.settings import check_parameters
from flows.terminal import Terminal
from mimicmotion.errors import InputError, MissingSourceError
from stages.engine.catalogue import STAGES
from stages.engine.checking import check_stages
from stages.engine.config import PipelineConfig, load_config, redacted
from stages.engine.plan import StageGraph
from stages.engine.progress import told_if_long
from stages.engine.status import StageStatus
from stages.engine.status import status as statuses_of
from stages.runner import StageResult, fresh_result, run_stage

if TYPE_CHECKING:
    from flows.commands.needs import Films

Config = Annotated[str, typer.Argument(help="Name (demo) or path (configs/demo.yaml) of a config.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="section.field=value in YAML; may be repeated.")
]
Force = Annotated[bool, typer.Option("--force", help="Work on everything again, also on what is done.")]

_STYLES = {"fresh": "green", "stale": "yellow", "partial": "yellow", "missing": "dim", "rejected": "red"}


DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it will need, and run nothing.")]
Videos = Annotated[
    int | None,
    typer.Option(min=1, help="With --dry-run: number of films, where the source is not here yet."),
]
LengthS = Annotated[
    float | None, typer.Option("--seconds", help="With --videos: length of each. Else 20.", min=0.1)
]
Gpu = Annotated[str | None, typer.Option(help="With --dry-run: the GPU to estimate for. Else A100.")]


_GPU = "A100"
_LOOKING = "every source is looked at, and read where it is new, to see what is done"


def rebuild(
    config: Config,
    overrides: Overrides = None,
    force: Force = False,
    dry_run: DryRun = False,
    videos: Videos = None,
    length_s: LengthS = None,
    gpu: Gpu = None,
) -> None:
    """Run every stale stage of a config, as a Prefect flow in this process."""
    settings = load_config(config, overrides or [])
    _check_unread(dry_run, force, {"--videos": videos, "--seconds": length_s, "--gpu": gpu})
    if dry_run:
        _print_needs(settings, _films(settings, videos, length_s), gpu or _GPU, list(settings.stages))
        return
    graph = StageGraph(settings)
    with told_if_long(_LOOKING):
        before = statuses_of(settings, graph)
    if force or any(line.state != "fresh" for line in before):
        check_parameters(overrides)
        check_stages(settings, list(settings.stages))
        if before[0].to_do is None:
            raise InputError(before[0].why)  # no server need start to say so
        from flows.servers import start_prefect

        start_prefect(settings)
        # Imported late, as Prefect is.
        from flows.rebuild import rebuild as flow

        results: Sequence[StageResult] = flow(config, overrides or [], force)
        graph = StageGraph(replace(settings, made={one.name: one.dataset_key for one in results}))
    else:
        results = [fresh_result(graph.dataset(line.name).manifest, time.monotonic()) for line in before]
    print_summary(Terminal(), settings, results, graph)


def stage(
    name: Annotated[str, typer.Argument(help=", ".join(STAGES))],
    config: Config,
    overrides: Overrides = None,
    force: Force = False,
    dry_run: DryRun = False,
    videos: Videos = None,
    length_s: LengthS = None,
    clips: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run: videos to train on (windows with clips.windows: all)."),
    ] = None,
    gpu: Gpu = None,
) -> None:
    """Run one stage of a config if it is stale, without a server."""
    settings = load_config(config, overrides or [])
    given = {"--videos": videos, "--seconds": length_s, "--clips": clips, "--gpu": gpu}
    _check_unread(dry_run, force, given)
    if dry_run:
        _stage_dry_run(settings, name, clips, videos, length_s, gpu or _GPU)
        return
    print_summary(Terminal(), settings, [run_stage(settings, name, force)])


def _check_unread(dry_run: bool, force: bool, given: Mapping[str, object]) -> None:
    """Refuse options that would change nothing."""
    named = [option for option, value in given.items() if value is not None]
    if named and not dry_run:
        raise InputError(f"{named[0]} is read with --dry-run only, and nothing was run: add --dry-run")
    if force and dry_run:
        raise InputError("--force changes nothing with --dry-run: leave one out")
    if "--seconds" in named and "--videos" not in named:
        raise InputError("--seconds is the length of films that --videos counts: give --videos too")


def _stage_dry_run(
    settings: PipelineConfig,
    name: str,
    clips: int | None,
    videos: int | None,
    length_s: float | None,
    gpu: str,
) -> None:
    from flows.commands.dry_run import published_samples, training_needs
    from flows.commands.needs import epoch_samples
    from stages.train import Train

    trains = isinstance(StageGraph(settings).stage(name), Train)
    if clips is not None and (not trains or videos is not None):
        raise InputError("--clips is for a stage that trains, in place of --videos: leave one out")
    if clips is None:
        films = _films(settings, videos, length_s)
        known = None if videos or not trains else published_samples(settings)
        _print_needs(settings, films, gpu, [name], known)
        clips = known or epoch_samples(settings, films)
    if trains:
        Terminal().lines(*training_needs(settings, clips, gpu, name).split("\n"))


def _films(settings: PipelineConfig, videos: int | None, length_s: float | None) -> "Films":
    from flows.commands.needs import find_films

    try:
        return find_films(settings, videos, 20.0 if length_s is None else length_s)
    except MissingSourceError as error:
        raise InputError(f"{error}; or give --videos NUMBER, to estimate without them") from error


def _print_needs(
    settings: PipelineConfig, films: "Films", gpu: str, names: Sequence[str], samples: int | None = None
) -> None:
    from flows.commands.needs import needs_table, reckon

    found = reckon(settings, films, gpu, samples)
    Terminal().print(needs_table([one for one in found if one.stage in names], films))


def status(config: Config, overrides: Overrides = None) -> None:
    """Show what is fresh, stale, partial, missing or rejected, and why. Runs nothing."""
    settings = load_config(config, overrides or [])
    console = Terminal()
    with told_if_long(_LOOKING):
        lines = statuses_of(settings)
    console.print(_status_table(lines))
    for line in lines:
        if said := line.why or line.holds:
            console.print(
                f"[bold]{escape(line.name)}[/bold]: {escape(said)}", soft_wrap=True, highlight=False
            )
    console.lines(f"workspace: {redacted(settings.workspace)}")


def _local_time(time_iso: str) -> str:
    return datetime.fromisoformat(time_iso).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _status_table(lines: Sequence[StageStatus]) -> Table:
    table = Table("stage", "state", "kept", "rejected", "to do", "dataset", "published")
    for line in lines:
        style = _STYLES[line.state]
        table.add_row(
            line.name,
            f"[{style}]{line.state}[/{style}]",
            str(line.kept),
            str(line.rejected),
            "?" if line.to_do is None else str(line.to_do),
            (line.key or "")[:8],
            _local_time(line.published) if line.published else "",
        )
    return table
