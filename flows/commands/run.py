"""The commands ``rebuild``, ``stage`` and ``status``."""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

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
LengthS = Annotated[float, typer.Option("--seconds", help="With --videos: length of each.", min=0.1)]
Gpu = Annotated[str, typer.Option(help="With --dry-run: the GPU to estimate for.")]


_LOOKING = "every source is looked at, and read where it is new, to see what is done"


def rebuild(
    config: Config,
    overrides: Overrides = None,
    force: Force = False,
    dry_run: DryRun = False,
    videos: Videos = None,
    length_s: LengthS = 20.0,
    gpu: Gpu = "A100",
) -> None:
    """Run every stale stage of a config, as a Prefect flow in this process."""
    settings = load_config(config, overrides or [])
    if dry_run:
        _print_needs(settings, videos, length_s, gpu)
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
        graph = StageGraph(settings)
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
    length_s: LengthS = 20.0,
    clips: Annotated[
        int | None,
        typer.Option(help="With --dry-run: videos to train on (windows with clips.windows: all)."),
    ] = None,
    gpu: Gpu = "A100",
) -> None:
    """Run one stage of a config if it is stale, without a server."""
    settings = load_config(config, overrides or [])
    if dry_run:
        if name not in ("train", "distill") or clips is None:
            _print_needs(settings, videos, length_s, gpu, name)
        if name not in ("train", "distill"):
            return
        from flows.commands.dry_run import training_needs

        Terminal().lines(*training_needs(settings, clips, gpu, name).split("\n"))
        return
    print_summary(Terminal(), settings, [run_stage(settings, name, force)])


def _print_needs(
    settings: PipelineConfig, videos: int | None, length_s: float, gpu: str, only: str | None = None
) -> None:
    from flows.commands.needs import find_films, needs_table, reckon

    try:
        films = find_films(settings, videos, length_s)
    except MissingSourceError as error:
        raise InputError(f"{error}; or give --videos NUMBER, to estimate without them") from error
    found = reckon(settings, films, gpu)
    if only is not None and only not in settings.stages:
        raise InputError(f"config {settings.name} has no stage {only}; it has {', '.join(settings.stages)}")
    Terminal().print(needs_table([one for one in found if only in (None, one.stage)], films))


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
