"""What is fresh, stale, partial, missing or rejected, and why, without running anything."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from mimicmotion.errors import MachineError, MimicMotionError
from stages.engine.config import PipelineConfig
from stages.engine.contract import ItemStage
from stages.engine.plan import Plan, StageGraph, reasons, upstream_problem
from stages.engine.records import KEPT, Manifest
from stages.engine.store import all_manifests

Freshness = Literal["fresh", "stale", "partial", "missing", "rejected"]
"""fresh: published for exactly this config and these sources. stale: published for others only. partial:
some items are done, some are not. missing: nothing is there. rejected: too many items were rejected."""


@dataclass(frozen=True)
class StageStatus:
    """One line of ``mimicmotion status``.

    Attributes:
        kept, rejected: items of the current work that are done, or of the newest dataset where that is stale.
        to_do: items to work on; None while what it reads is not there.
        key: of the dataset, where it is fresh.
        published: UTC time of that dataset, ISO form; of the newest where it is not fresh.
        why: what made it not fresh.
        holds: what the dataset holds, where it is fresh and the number of its items does not tell.
    """

    name: str
    state: Freshness
    kept: int
    rejected: int
    to_do: int | None
    key: str | None
    published: str | None
    why: str
    holds: str = ""


def status(config: PipelineConfig, graph: StageGraph | None = None) -> list[StageStatus]:
    """The state of every stage of a config, in running order.

    Args:
        config: what may have run.
        graph: of that config, which then knows the dataset of each fresh stage.

    Raises:
        DataError: a record or manifest in the workspace is newer than this software.
    """
    graph = graph or StageGraph(config)
    lines = (_status(graph, name) for name in config.stages)
    return [line if line.state == "fresh" else _with_problems(line, graph) for line in lines]


def _with_problems(line: StageStatus, graph: StageGraph) -> StageStatus:
    """The line, with what the stage would refuse to start for."""
    found = [problem for problem in graph.stage(line.name).check() if problem not in line.why]
    return replace(line, why="; ".join(filter(None, (line.why, *found))))


def _status(graph: StageGraph, name: str) -> StageStatus:
    newest = next(iter(all_manifests(graph.workspace, name)), None)
    problem = upstream_problem(graph, name)
    if problem is not None:
        upstream = _unready(graph, name)
        return _behind(name, newest, None, f"waits for {upstream}" if upstream else problem)
    try:
        plan = graph.plan(name)
    except MimicMotionError as error:
        return _behind(name, newest, None, str(error))
    manifest = plan.manifest
    kept = sum(state.state == KEPT for state in plan.states.values())
    rejected = len(plan.states) - kept

    def line(state: Freshness, why: str) -> StageStatus:
        published = newest.timings.published if newest else None
        return StageStatus(name, state, kept, rejected, len(plan.todo), None, published, why)

    if manifest and not plan.todo:
        key, published = manifest.dataset_key, manifest.timings.published
        holds = plan.stage.summary(graph.dataset(name))
        return StageStatus(name, "fresh", kept, rejected, 0, key, published, "", holds)
    if plan.damaged:
        return line("partial", f"{_missing_items(plan)}; {len(plan.damaged)} damaged: {plan.damaged[0]}")
    allowed = plan.stage.runtime.max_rejected_fraction * len(plan.work)
    if not plan.todo and (rejected > allowed or rejected == len(plan.work)):
        return line("rejected", reasons(list(plan.states.values())))
    if plan.states:
        return line("partial", _missing_items(plan))
    return _behind(name, newest, len(plan.todo), _changes(plan, newest) if newest else "")


def _behind(name: str, newest: Manifest | None, to_do: int | None, why: str) -> StageStatus:
    if newest is None:
        return StageStatus(name, "missing", 0, 0, to_do, None, None, why)
    counts, published = newest.counts, newest.timings.published
    return StageStatus(name, "stale", counts.kept, counts.rejected, to_do, None, published, why)


def _unready(graph: StageGraph, name: str) -> str:
    """Name of the first stage it reads that is not published itself."""
    for upstream in graph.reads(graph.stage(name)):
        try:
            graph.dataset(upstream)
        except MachineError:
            raise
        except MimicMotionError:
            return upstream
    return ""


def _missing_items(plan: Plan) -> str:
    again = [state for state in plan.states.values() if not state.is_final]
    new = len(plan.work) - len(plan.states)
    parts = [f"{new} items to do{_changed_items(plan)}"] if new else []
    parts += [f"{len(again)} to try again ({reasons(again)})"] if again else []
    return ", ".join(parts) or "all items done, not published yet"


def _changes(plan: Plan, newest: Manifest) -> str:
    changed = _changed_fields(dict(newest.fields), dict(plan.fields))
    if newest.stage_version != plan.stage.version:
        changed.insert(0, f"version {newest.stage_version} -> {plan.stage.version}")
    changed += _changed_inputs(newest.inputs, plan.input_keys)
    if not changed and isinstance(plan.stage, ItemStage):
        return f"its source holds other items{_changed_items(plan)}"
    return "; ".join(changed)


def _changed_items(plan: Plan) -> str:
    """Items that are called as before and are others now, each with its old and its new key."""
    old = {state.label or state.id: state.item_key for state in plan.store.known_states()}
    names = [(item.label or item.id, key) for item, key in plan.todo]
    changed = [f"{name} ({old[name][:6]} -> {key[:6]})" for name, key in names if old.get(name, key) != key]
    more = ", ..." if len(changed) > 3 else ""
    return f", {len(changed)} changed: {', '.join(changed[:3])}{more}" if changed else ""


def _changed_inputs(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    keys = {name: (old.get(name, "none")[:6], new.get(name, "none")[:6]) for name in sorted({*old, *new})}
    changed = [name for name in keys if old.get(name) != new.get(name)]
    return [f"input {name} changed ({keys[name][0]} -> {keys[name][1]})" for name in changed]


def _changed_fields(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping) and "sha256" not in {*before, *after}:
            changed += _changed_fields(before, after, f"{prefix}{name}.")
        else:
            changed.append(f"{prefix}{name} {_short(before)} -> {_short(after)}")
    return changed


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "sha256" in value:
        return f"sha256 {value['sha256'][:12]}"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
