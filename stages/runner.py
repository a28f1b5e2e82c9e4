"""Runs one stage: what it lacks, nothing else, and publishes the dataset.

``run_stage(load_config("demo"), "pose")``
"""

import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from mimicmotion.errors import (
    DamagedError,
    MachineError,
    MimicMotionError,
    StageError,
)
from stages.engine.checking import check_stages
from stages.engine.config import PipelineConfig
from stages.engine.contract import Context, DatasetStage, Item, ItemStage, Launcher, Mapper, Runtime
from stages.engine.dataset_task import DatasetTask
from stages.engine.datasets import PublishedDataset
from stages.engine.item_task import ItemTask, outcome_of
from stages.engine.plan import Plan, StageGraph, reasons
from stages.engine.progress import told_if_long, watched
from stages.engine.provenance import git_revision, library_versions
from stages.engine.records import KEPT, Counts, ItemState, Manifest, Timings
from stages.engine.storage.workspace import DAY_S
from stages.engine.store import key_of

if TYPE_CHECKING:
    from stages.adapters.mlflow.tracking import StageRun, Tracked

log = logging.getLogger(__name__)

_BEGUN = "forced"
"""File in the state of a whole stage: which forced run began it, so that its further tries go on from it."""


@dataclass(frozen=True)
class StageResult:
    """What running a stage came to.

    Attributes:
        state: ``fresh`` when there was nothing to do, else ``published``.
        processed: items that were worked on now.
        run_id: MLflow run that shows the dataset, if there is one.
        is_shown: whether pictures and numbers for a person could be made of it.
    """

    name: str
    state: Literal["fresh", "published"]
    dataset_key: str
    kept: int
    rejected: int
    processed: int
    seconds: float
    run_id: str | None
    is_shown: bool = True


def run_stage(
    config: PipelineConfig,
    name: str,
    force: bool = False,
    trusts: bool = True,
    begun_s: float | None = None,
) -> StageResult:
    """Run one stage if its dataset is stale; what it finds damaged of its inputs is made again first.

    Args:
        config: what to run.
        name: which stage.
        force: work on every item again, also on those that are done.
        trusts: whether to take for whole what nobody touched, as ``StageGraph`` does.
        begun_s: when the first try of a forced run began, by ``time.time()``: what was done since then is not
            done again.

    Raises:
        StageError: an input is not published, an item met a bug, too many items were rejected, the disk is
            full, or another process runs this stage.
        MimicMotionError: the config, a source or a weight file cannot be used.
    """
    again_s = (math.inf if begun_s is None else begun_s) if force else None
    mended: set[str] = set()
    while True:
        try:
            return _run_if_stale(config, name, again_s, trusts and not mended)
        except DamagedError as damage:
            if str(damage) in mended:
                raise
            mended.add(str(damage))
            log.warning("%s: making again what is damaged: %s", name, damage)
            _mend(config, name, damage)


def _mend(config: PipelineConfig, name: str, damage: DamagedError) -> None:
    """Make again whatever is damaged of the datasets that a stage reads."""
    graph = StageGraph(config)
    reads = graph.reads(graph.stage(name))
    try:
        for upstream in config.stages:
            if upstream in reads:
                run_stage(config, upstream, trusts=False)
    except MachineError:  # a flow tries these again
        raise
    except MimicMotionError as error:
        raise StageError(damage, f"It could not be made again: {error}") from error


def _run_if_stale(config: PipelineConfig, name: str, again_s: float | None, trusts: bool) -> StageResult:
    """Run a stage where it is stale, or where what was published before ``again_s`` is to be done again."""
    start_s = time.monotonic()
    graph = StageGraph(config, trusts)
    with told_if_long(f"{name} looks at what it reads and what is done"):
        plan = graph.plan(name)
    if again_s is not None or not plan.is_fresh:
        check_stages(config, [name])
        with _locked(graph, name) as alone:
            # Planned again: another process may have worked on it until now.
            plan = StageGraph(config, trusts).plan(name)
            if again_s is not None or not plan.is_fresh:
                return _run(config, plan, again_s, start_s, alone)
    assert plan.manifest is not None
    return fresh_result(plan.manifest, start_s)


def fresh_result(manifest: Manifest, start_s: float) -> StageResult:
    """The result of a stage that had nothing to do, looked at since ``start_s`` of the monotonic clock."""
    log.info("%s: fresh, nothing to do", manifest.stage)
    return _result(manifest, "fresh", 0, start_s)


def track_stage(config: PipelineConfig, name: str) -> "Tracked":
    """Show in MLflow what it lacks of the published dataset of a stage.

    Raises:
        StageError: there is no dataset, MLflow does not take it, or another process runs this stage.
    """
    from stages.adapters.mlflow.tracking import show_again

    graph = StageGraph(config)
    dataset, stage = graph.dataset(name), graph.stage(name)
    inputs = {upstream: graph.dataset(upstream) for upstream in graph.reads(stage)}
    with _locked(graph, name):
        return show_again(config, stage, dataset, inputs)


def _locked(graph: StageGraph, name: str) -> AbstractContextManager[bool]:
    holder = f"stage {name} in workspace {graph.workspace.shown}"
    return graph.workspace.lock(f"{name}/lock.json", holder)


def _run(
    config: PipelineConfig, plan: Plan, again_s: float | None, start_s: float, alone: bool
) -> StageResult:
    from stages.adapters.mlflow.tracking import stage_run

    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    name = plan.stage.name
    todo = _to_do(plan, again_s)
    for damage in plan.damaged:
        log.warning("%s: making again: %s", name, damage)
    log.info("%s: %d of %d items to do", name, len(todo), len(plan.work))
    plan.store.clear_staging(0 if alone else DAY_S)
    with stage_run(config, plan.stage) as run:
        if isinstance(plan.stage, ItemStage):
            seconds = _run_items(config, plan, plan.stage, again_s)
        else:
            assert isinstance(plan.stage, DatasetStage)
            seconds = _run_whole(config, plan, plan.stage, run, again_s) if todo else {}
        states = _states_now(plan, seconds)
        _check_rejected(plan, states)
        manifest = _manifest(
            config, plan, states, started, time.monotonic() - start_s, len(seconds), run.run_id
        )
        manifest = plan.store.publish_dataset(manifest, states)
        dataset = PublishedDataset(plan.store, manifest, plan.stage.schema)
        is_shown = run.show(plan.stage, dataset, plan.inputs)
    if not run.is_whole:
        log.warning("%s: MLflow lacks some of it; show it later: %s", name, config.command("track"))
    _clear_state(plan)
    holds = plan.stage.summary(dataset) or f"{manifest.counts.kept} kept, {reasons(states)}"
    log.info("%s: published %s (%s)", name, manifest.dataset_key, holds)
    if again_s is not None and config.run_by == "stage" and plan.manifest is not None:
        _warn_of_fresh(config, plan.stage.name, plan.manifest.dataset_key == manifest.dataset_key)
    return replace(_result(manifest, "published", len(seconds), start_s), is_shown=is_shown)


def _warn_of_fresh(config: PipelineConfig, name: str, same_key: bool) -> None:
    """Name the stages that stay fresh though what they were made from was made again under the same key."""
    graph, later = StageGraph(config), [name]
    for other, stage in config.stages.items():
        if same_key and {*later} & {*stage.reads, *stage.optional_reads}:
            with suppress(MimicMotionError):  # it is not made yet
                graph.dataset(other)
                later.append(other)
    if later[1:]:
        log.warning(
            "%s was done again by force; %s stay fresh, since keys say what something is made from: force "
            "them too where its result changed", later[0], ", ".join(later[1:]),
        )  # fmt: skip


def _states_now(plan: Plan, seconds: Mapping[str, float]) -> list[ItemState]:
    """What became of all items; what workers have just published and hashed is not read again."""
    found, damaged = plan.store.states(plan.work, list(plan.states.values()), reads=False)
    if damaged:
        raise DamagedError(damaged[0])
    return [replace(state, seconds=seconds.get(state.item_key, state.seconds)) for state in found]


def _to_do(plan: Plan, again_s: float | None) -> list[tuple[Item, str]]:
    """What is left, and what was published before ``again_s``."""
    if again_s is None:
        return list(plan.todo)
    return [(item, key) for item, key in plan.work if _published_s(plan, key) < again_s]


def _published_s(plan: Plan, key: str) -> float:
    return plan.states[key].time_s if key in plan.states else -math.inf


def _run_items(
    config: PipelineConfig, plan: Plan, stage: ItemStage, again_s: float | None
) -> dict[str, float]:
    """Work on what is left over Ray; gives the seconds of each item by its key."""
    todo = _to_do(plan, again_s)
    if not todo:
        return {}
    from stages.adapters.ray.workers import connect, map_items

    connect(config.settings.ray)
    workspace = plan.store.workspace
    longest_s = max(stage.runtime.limit_s(item) for item, _ in todo)
    task = ItemTask(stage, workspace.uri, plan.store.recipe_key, workspace.path(""), plan.fields, longest_s)

    def reject(item: Any, key: str, reason: Any) -> ItemState:
        return outcome_of(plan.store.reject(item, key, reason), None)

    seconds = {}
    with watched(stage.name, len(todo)) as watch:
        for outcome in map_items(task, stage.name, todo, stage.runtime, reject, stage.section):
            seconds[outcome.item_key] = outcome.seconds or 0.0
            watch(outcome)
    return seconds


def _run_whole(
    config: PipelineConfig, plan: Plan, stage: DatasetStage, run: "StageRun", again_s: float | None
) -> dict[str, float]:
    """Run a dataset stage; gives the seconds of its one item by its key."""
    ((item, key),) = plan.work
    state = plan.store.state_folder(key)
    if again_s is not None:
        begun = state / _BEGUN
        if again_s == math.inf or not begun.exists() or begun.read_text() != repr(again_s):
            _clear_state(plan)
            plan.store.state_folder(key)
            begun.write_text(repr(again_s))
    launch, mapper = _launcher(config, stage.name, state), _mapper(config, again_s)
    context = Context(run.report, launch, state, run.registry, mapper)
    task = DatasetTask(
        stage, plan.inputs, plan.store.workspace.uri, plan.store.recipe_key, context, plan.fields
    )
    return {key: task.run(item, key).seconds or 0.0}


def _mapper(config: PipelineConfig, again_s: float | None) -> Mapper:
    return partial(run_part, config, again_s=again_s)


def run_part(
    config: PipelineConfig, stage: ItemStage, inputs: Mapping[str, Any], again_s: float | None = None
) -> PublishedDataset:
    """The dataset of an item stage outside the catalogue: what it lacks is done over all workers.

    Raises:
        StageError: an item was rejected, or met a bug, or another process does this part.
    """
    graph = StageGraph(config, trusts=False)
    plan = graph.plan_of(stage, inputs)
    if again_s is not None or not plan.is_fresh:
        with _locked(graph, stage.name) as alone:
            # Planned again: another process may have worked on it until now.
            plan = StageGraph(config, trusts=False).plan_of(stage, inputs)
            if again_s is not None or not plan.is_fresh:
                return _run_part(config, plan, stage, again_s, alone)
    assert plan.manifest is not None
    return PublishedDataset(plan.store, plan.manifest, stage.schema)


def _run_part(
    config: PipelineConfig, plan: Plan, stage: ItemStage, again_s: float | None, alone: bool
) -> PublishedDataset:
    started, start_s = datetime.now(UTC).isoformat(timespec="milliseconds"), time.monotonic()
    log.info("%s: %d of %d items to do", stage.name, len(plan.todo), len(plan.work))
    plan.store.clear_staging(0 if alone else DAY_S)
    seconds = _run_items(config, plan, stage, again_s)
    states = _states_now(plan, seconds)
    if rejected := [state for state in states if state.state != KEPT]:
        raise StageError(
            f"{stage.name}: {len(rejected)} of {len(states)} items were not done ({reasons(states)}). "
            f"The first: {rejected[0].label}: {rejected[0].sentence}. Run it again; what is done is kept."
        )
    took_s = time.monotonic() - start_s
    manifest = _manifest(config, plan, states, started, took_s, len(seconds), None)
    return PublishedDataset(plan.store, plan.store.publish_dataset(manifest, states), stage.schema)


def _launcher(config: PipelineConfig, name: str, state: Any) -> Launcher:
    def launch(loop: Callable[[dict[str, Any]], None], arguments: dict[str, Any], runtime: Runtime) -> None:
        from stages.adapters.ray.training import RayLauncher

        RayLauncher(name, state / "ray", config.settings.ray)(loop, arguments, runtime)

    return launch


def _clear_state(plan: Plan) -> None:
    if isinstance(plan.stage, DatasetStage):
        for _, key in plan.work:
            shutil.rmtree(plan.store.state_folder(key), ignore_errors=True)


def _check_rejected(plan: Plan, states: list[ItemState]) -> None:
    name = plan.stage.name
    rejected = [state for state in states if state.state != KEPT]
    if len(rejected) == len(states):
        raise StageError(
            f"{name}: all {len(states)} items were rejected ({reasons(states)}), so nothing is left to work "
            f"on. The first: {rejected[0].label or rejected[0].id}: {rejected[0].sentence}. Correct the "
            "sources."
        )
    allowed = plan.stage.runtime.max_rejected_fraction
    if len(rejected) > allowed * len(states):
        first = rejected[0]
        raise StageError(
            f"{name}: {len(rejected)} of {len(states)} items were rejected ({reasons(states)}), allowed is "
            f"a share of {allowed:g}. The first: {first.label or first.id}: {first.sentence}. "
            f"Correct the sources, or raise {name}.runtime.max_rejected_fraction."
        )


def _manifest(
    config: PipelineConfig,
    plan: Plan,
    states: list[ItemState],
    started: str,
    seconds: float,
    processed: int,
    run_id: str | None,
) -> Manifest:
    kept = [state for state in states if state.state == KEPT]
    return Manifest(
        stage=plan.stage.name,
        stage_version=plan.stage.version,
        recipe_key=plan.store.recipe_key,
        dataset_key=key_of(states),
        fields=dict(plan.fields),
        config=config.portable(),
        inputs=plan.input_keys,
        git_revision=git_revision(),
        versions=library_versions(),
        counts=Counts(
            kept=len(kept),
            rejected=len(states) - len(kept),
            rows=sum(state.rows for state in kept),
            reasons=dict(sorted(Counter(state.reason for state in states if state.reason).items())),
        ),
        timings=Timings(
            started=started,
            published=datetime.now(UTC).isoformat(timespec="milliseconds"),
            seconds=round(seconds, 3),
            processed=processed,
        ),
        items_sha256="",
        run_id=run_id,
    )


def _result(
    manifest: Manifest, state: Literal["fresh", "published"], processed: int, start_s: float
) -> StageResult:
    return StageResult(
        name=manifest.stage,
        state=state,
        dataset_key=manifest.dataset_key,
        kept=manifest.counts.kept,
        rejected=manifest.counts.rejected,
        processed=processed,
        seconds=time.monotonic() - start_s,
        run_id=manifest.run_id,
    )
