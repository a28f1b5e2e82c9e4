"""What a run came to, for a person: stages, scores, and where to look."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.terminal import Terminal
from mimicmotion.errors import MimicMotionError
from mimicmotion.metrics.scores import COPY, MODEL, SUMMARY, is_below_floor, title_of
from stages.engine.config import PipelineConfig
from stages.engine.contract import WHOLE
from stages.engine.plan import StageGraph
from stages.parts.generated import judge_of
from stages.parts.pairs import counted
from stages.parts.scored import PAIRS
from stages.runner import StageResult

_PLACES = {
    "train": ("checkpoint", "trained weights"),
    "distill": ("checkpoint", "distilled weights"),
    "animate": ("", "generated videos"),
    "evaluate": ("best_and_worst.png", "best and worst clips"),
}


def print_summary(
    console: Terminal,
    config: PipelineConfig,
    results: Sequence[StageResult],
    graph: StageGraph | None = None,
) -> None:
    """Print the stages that ran, the scores if they were made, and where everything lies."""
    console.print(_stages_table(results))
    for result in results:
        if not result.is_shown:
            console.print(
                f"[yellow]{escape(result.name)}[/yellow]: the dataset is whole, but its pictures could not "
                "be made; the log above says why",
                soft_wrap=True,
                highlight=False,
            )
    graph = graph or StageGraph(config)
    names = {result.name for result in results}
    if "evaluate" in names:
        for shown in _scores(graph):
            console.print(shown, soft_wrap=isinstance(shown, Text))
    if "animate" in names:
        animations = graph.dataset("animate")
        for clip_id in animations.ids:
            if judged := judge_of(animations, clip_id):
                line = f"judge of {animations.items[clip_id].label}: {judged['kept']['line']}"
                console.lines(line)
    for name, (file, what) in _PLACES.items():
        if name in names:
            console.lines(f"{what}: {_place(graph, name, file)}")
    console.lines(f"curves, pictures, videos: {config.command('ui')}")


def _stages_table(results: Sequence[StageResult]) -> Table:
    table = Table("stage", "state", "kept", "rejected", "processed", "seconds", "dataset")
    for result in results:
        style = "green" if result.state == "fresh" else "bold green"
        table.add_row(
            result.name,
            f"[{style}]{result.state}[/{style}]",
            str(result.kept),
            str(result.rejected),
            str(result.processed),
            f"{result.seconds:.1f}",
            result.dataset_key,
        )
    return table


def _scores(graph: StageGraph) -> Iterator[Table | Text]:
    """Methods against metrics, over all clips; pairs, whose protocol is another one, have their own table."""
    every = graph.dataset("evaluate").table().to_pylist()
    of_clips, of_pairs = (
        [row for row in every if (row["split"], row["clip_id"]) == (split, SUMMARY)]
        for split in ("test", PAIRS)
    )
    yield _scores_table("scores", of_clips)
    if of_pairs:
        yield _scores_table("pairs without a true film", of_pairs)
        yield Text(counted(graph.dataset("animate")))


def _scores_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    metrics = [
        metric
        for metric in dict.fromkeys(row["metric"] for row in rows)
        if any(row["metric"] == metric and row["value"] is not None for row in rows)
    ]
    values = {(row["method"], row["metric"]): row["value"] for row in rows}
    table = Table(
        title=f"{title}, protocol {rows[0]['protocol']}" if rows else title,
        caption="↑ more is better, ↓ less is better; ! worse than copying the reference",
    )
    table.add_column("metric")
    for method in methods:
        # A narrow terminal breaks names, never a number or its mark.
        table.add_column(method.replace("_", "\n"), no_wrap=True, justify="right")
    for metric in metrics:
        floor = values.get((COPY, metric))
        cells = [_cell(method, metric, values.get((method, metric)), floor) for method in methods]
        table.add_row(title_of(metric), *cells)
    return table


def _cell(method: str, metric: str, value: float | None, floor: float | None) -> str:
    if value is None:
        return ""
    is_below = method == MODEL and is_below_floor(metric, value, floor)
    return f"[red]! {value:.4g}[/red]" if is_below else f"{value:.4g}"


def _place(graph: StageGraph, name: str, file: str) -> str:
    try:
        dataset = graph.dataset(name)
        if file:
            return str(dataset.path(WHOLE, file))
        return f"{graph.workspace.shown}/{name}/{dataset.manifest.recipe_key}/items"
    except MimicMotionError as error:
        return str(error)
