"""What each stage of a config has to do: its inputs, its items, and which of them are done already."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mimicmotion.errors import (
    DamagedError,
    DataError,
    InputError,
    MachineError,
    MimicMotionError,
    MissingSourceError,
    StageError,
)
from stages.engine.config import PipelineConfig, without_workspace
from stages.engine.contract import WHOLE, Item, ItemStage, Stage
from stages.engine.datasets import PublishedDataset
from stages.engine.keys import item_key, key_fields, recipe_key, remembering
from stages.engine.records import ItemState, Manifest
from stages.engine.storage.opening import open_workspace
from stages.engine.storage.workspace import Workspace
from stages.engine.store import StageStore, all_manifests, check_ids, check_keys, key_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """The work of one stage under one config.

    Attributes:
        fields: what the recipe key is made from.
        work: every item with its key, in the order it is worked on.
        states: what became of the items that are done, by item key.
        manifest: the published dataset of exactly this work, if there is one.
        damaged: what was published for this work and is not whole any more, one sentence each.
    """

    stage: Stage
    store: StageStore
    inputs: Mapping[str, PublishedDataset]
    fields: Mapping[str, Any]
    work: Sequence[tuple[Item, str]]
    states: Mapping[str, ItemState]
    manifest: Manifest | None
    damaged: Sequence[str]

    @cached_property
    def todo(self) -> list[tuple[Item, str]]:
        """Items to work on: those without an outcome, and those whose outcome may be the machine's fault."""
        final = {key for key, state in self.states.items() if state.is_final}
        return [(item, key) for item, key in self.work if key not in final]

    @property
    def is_fresh(self) -> bool:
        """Whether there is nothing to do."""
        return self.manifest is not None and not self.todo

    @property
    def input_keys(self) -> dict[str, str]:
        """Keys of the datasets it reads, by stage."""
        return {name: dataset.key for name, dataset in sorted(self.inputs.items())}


class StageGraph:
    """A config together with what its workspace holds now. Short-lived: it remembers what it saw.

    Args:
        config: what may have run.
        trusts: whether an item is taken for whole where nothing of it was touched since it was listed; else
            its files are checked.
    """

    def __init__(self, config: PipelineConfig, trusts: bool = True) -> None:
        self.config = config
        self.workspace: Workspace = open_workspace(config.workspace)
        self._trusts = trusts
        self._datasets: dict[str, PublishedDataset] = {}

    def stage(self, name: str) -> Stage:
        """A stage by its name.

        Raises:
            InputError: the config has no section of that name.
        """
        try:
            return self.config.stages[name]
        except KeyError:
            raise InputError(
                f"config {self.config.name} has no stage {name!r}; it has {', '.join(self.config.stages)}."
            ) from None

    def store(self, name: str) -> StageStore:
        """Where the outcomes of a stage lie under this config."""
        return self._store(self.stage(name))

    def _store(self, stage: Stage) -> StageStore:
        with remembering(self.workspace.hashes):
            return StageStore(self.workspace, stage.name, recipe_key(stage))

    def plan(self, name: str) -> Plan:
        """The work of a stage.

        Raises:
            StageError: a dataset it reads is not published, or there is nothing to work on.
        """
        stage = self.stage(name)
        inputs = {upstream: self.dataset(upstream) for upstream in self.reads(stage)}
        plan = self.plan_of(stage, inputs)
        if plan.manifest is not None:
            self._datasets[name] = self._published(name, plan.manifest)
        return plan

    def dataset(self, name: str) -> PublishedDataset:
        """The published dataset of a stage, for exactly this config and what lies in its sources now.

        In a run of several stages it is the one that the run made, or found, when it was the stage's turn.

        Raises:
            StageError: it is not published; says what to run.
        """
        if name not in self._datasets:
            key = self.config.made.get(name)
            self._datasets[name] = self._find(name) if key is None else self._of_key(name, key)
        return self._datasets[name]

    def result(self, name: str) -> PublishedDataset:
        """The dataset of a stage for this config, else the newest of its workspace; the log then says so.

        Using a result needs neither the sources nor the weights that it was made from.

        Raises:
            MimicMotionError: there is none; says what to run.
        """
        try:
            return self.dataset(name)
        except MachineError:  # a store that is away says nothing of what is in it
            raise
        except MimicMotionError as error:
            found = all_manifests(self.workspace, name)
            ours = self._settings_of(self.config.resolved(), name)
            same = [manifest for manifest in found if self._settings_of(manifest.config, name) == ours]
            if not found:
                raise
            chosen, how = (same or found)[0], "" if same else ", made with other settings"
            log.warning(
                "%s: using the newest result, of %s%s, which is not of what lies in its sources now: %s",
                name, chosen.timings.published, how, error,
            )  # fmt: skip
            return self._published(name, chosen)

    def read_by(self, dataset: PublishedDataset) -> dict[str, PublishedDataset]:
        """The very datasets that a dataset was made from, by stage.

        Raises:
            DataError: one of them is gone.
        """
        inputs = {}
        for name, key in dataset.manifest.inputs.items():
            inputs[name] = self._of_key(
                name, key, f", which {dataset.manifest.stage} dataset {dataset.key} was made from"
            )
        return inputs

    def _of_key(self, name: str, key: str, why: str = "") -> PublishedDataset:
        for manifest in all_manifests(self.workspace, name):
            if manifest.dataset_key == key:
                return self._published(name, manifest)
        raise DataError(
            f"{self.workspace.shown}: holds no {name} dataset {key} any more{why}. "
            f"Run again: {self.config.command('rebuild')}"
        )

    def _published(self, name: str, manifest: Manifest) -> PublishedDataset:
        store = StageStore(self.workspace, name, manifest.recipe_key)
        return PublishedDataset(store, manifest, self.stage(name).schema)

    @staticmethod
    def _settings_of(config: Mapping[str, Any], name: str) -> dict[str, Any]:
        section = without_workspace(config).get(name, {})
        return {field: value for field, value in section.items() if field != "runtime"}

    def reads(self, stage: Stage) -> list[str]:
        """Names of the stages whose datasets a stage reads under this config."""
        return [*stage.reads, *(name for name in stage.optional_reads if name in self.config.stages)]

    def _find(self, name: str) -> PublishedDataset:
        stage = self.stage(name)
        try:
            plan = self.plan(name)
        except MissingSourceError as error:
            # Where the sources are out of reach (another machine), what was made from them still serves.
            manifest = self._made_from_same_sources(stage)
            if manifest is None:
                raise
            log.warning("%s: using the dataset of %s: %s", name, manifest.timings.published, error)
            return self._published(name, manifest)
        if plan.manifest is None:
            left = f"{len(plan.todo)} of {len(plan.work)} items to do" if plan.todo else "not published"
            raise StageError(
                f"{name} has no dataset for this config yet ({left}). "
                f"Run it first: {self.config.command(f'stage {name}')}"
            )
        return self._published(name, plan.manifest)

    def _made_from_same_sources(self, stage: Stage) -> Manifest | None:
        """The newest dataset of a stage that reads no other, made from the very sources this config names.

        Its recipe does not tell: where sources lie is no part of it, and configs may share one.
        """
        ours = self._settings_of(self.config.resolved(), stage.name)
        for manifest in [] if self.reads(stage) else self.store(stage.name).manifests():
            theirs = self._settings_of(manifest.config, stage.name)
            if all(field in theirs and theirs[field] == ours[field] for field in stage.source_fields):
                return manifest
        return None

    def plan_of(self, stage: Stage, inputs: Mapping[str, PublishedDataset]) -> Plan:
        """The work of a stage, or of a part of one, over these inputs.

        Raises:
            StageError: there is nothing to work on.
        """
        store = self._store(stage)
        for name, dataset in inputs.items():
            if not dataset.ids:
                raise StageError(
                    f"{stage.name} has nothing to work on: {name} kept none of its {len(dataset.items)} items"
                    f" ({reasons(list(dataset.items.values()))})."
                )
        with remembering(self.workspace.hashes):
            items, fields = _items(stage, inputs), key_fields(stage)
        work = [(item, item_key(store.recipe_key, item.inputs)) for item in items]
        check_keys(stage.name, work)
        found, damaged = store.states(work, store.known_states() if self._trusts else ())
        manifest = None
        if len(found) == len(work):
            try:
                manifest = store.manifest(key_of(found))
                if manifest:
                    store.check_list(manifest)
            except DamagedError as error:
                manifest, damaged = None, [*damaged, str(error)]
        states = {state.item_key: state for state in found}
        return Plan(stage, store, inputs, fields, work, states, manifest, damaged)


def reasons(items: Sequence[ItemState]) -> str:
    """Rejected items counted by reason, most frequent first, e.g. ``12 no_person, 3 unreadable``."""
    counts = Counter(item.reason for item in items if item.reason)
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "none rejected"


def upstream_problem(graph: StageGraph, name: str) -> str | None:
    """Why the datasets that a stage reads are not there, or None where all are."""
    for upstream in graph.reads(graph.stage(name)):
        try:
            graph.dataset(upstream)
        except MachineError:
            raise
        except MimicMotionError as error:
            return str(error)
    return None


def _items(stage: Stage, inputs: Mapping[str, PublishedDataset]) -> list[Item]:
    if not isinstance(stage, ItemStage):
        return [Item(WHOLE, {name: dataset.key for name, dataset in inputs.items()}, label=stage.name)]
    items = list(stage.items({name: dataset.without_fetching() for name, dataset in inputs.items()}))
    check_ids(stage.name, items)
    if not items and not inputs:
        raise MissingSourceError(f"{stage.name}: its source holds nothing to work on.")
    if not items:
        found = ", ".join(
            f"{name} kept {len(data.ids)} of {len(data.items)} ({reasons(list(data.items.values()))})"
            for name, data in inputs.items()
        )
        raise StageError(f"{stage.name} has nothing to work on: its inputs gave no item. {found}.")
    return items
