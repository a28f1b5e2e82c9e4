"""How stages lie in MLflow: one run for a workspace and config, a nested run for each stage.

Every function works on an MLflow client that it is given; ``stages/adapters/mlflow/client.py`` makes those.
"""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from stages.adapters.mlflow.client import is_refused, quoted
from stages.engine.config import PipelineConfig, redacted
from stages.engine.contract import Stage
from stages.engine.datasets import PublishedDataset
from stages.engine.provenance import git_revision
from stages.engine.records import Manifest

CONFIG_TAG = "mimicmotion.config"
DIGEST_TAG = "mimicmotion.config_digest"
STAGE_TAG = "mimicmotion.stage"
KEY_TAG = "mimicmotion.key"
BEGUN_TAG, SHOWN_TAG = "mimicmotion.dataset", "mimicmotion.shown"
"""Publication of which a run shows something, and of which it shows everything."""
NOTE_TAG = "mlflow.note.content"
PARENT_TAG = "mlflow.parentRunId"
_PARAMS_PER_CALL = 100
_LONGEST_TEXT, _LONGEST_NAME = 5000, 200
LONGEST_NOTE = 8000
"""What MLflow keeps of a tag."""
_SECTION = "\n## "
_STAGES = "Stages"
_STAGES_HEAD = "| stage | kept | rejected | dataset | run |\n|---|---|---|---|---|"


def origin_tags(config: PipelineConfig) -> dict[str, str]:
    """Tags that say which config, fields and revision a run belongs to, and what ran it."""
    return {
        CONFIG_TAG: config.name,
        "overrides": " ".join(config.overrides)[:_LONGEST_TEXT],
        "run_by": config.run_by,
        "git_revision": git_revision() or "unknown",
    }


def find_parent(client: Any, experiment: str, config: PipelineConfig) -> str | None:
    """Id of the run of a workspace and config, or None."""
    return _newest(client, experiment, DIGEST_TAG, config.digest())


def new_run(
    client: Any,
    experiment: str,
    config: PipelineConfig,
    stage: Stage,
    of: Manifest | None = None,
) -> str:
    """Make a stage's run, below that of its config, which is made if need be; returns its id.

    Args:
        client: MLflow's client.
        experiment: where to make it.
        config: of the stage.
        stage: what runs.
        of: a dataset that was made before, while MLflow was away.
    """
    from mlflow.entities import Param

    tags, start_ms = {STAGE_TAG: stage.name, **origin_tags(config)}, None
    tags["again"] = config.command(f"stage {stage.name}")[:_LONGEST_TEXT]
    if of is not None:
        tags |= {BEGUN_TAG: publication(of), "git_revision": of.git_revision or "unknown"}
        start_ms = milliseconds(of.timings.started)
    parent_id = find_parent(client, experiment, config) or _new_parent(client, experiment, config, start_ms)
    tags[PARENT_TAG] = parent_id
    client.set_tag(parent_id, "run_by", config.run_by)
    whole = config.command("rebuild")[:_LONGEST_TEXT]
    client.set_tag(parent_id, "again", tags["again"] if config.run_by == "stage" else whole)
    run_id = str(
        client.create_run(experiment, start_time=start_ms, run_name=stage.name, tags=tags).info.run_id
    )
    fields = flat(stage.model_dump(mode="json"), "")
    batch = [Param(*_changed_fields(config))]
    batch += [Param(name, str(value)[:_LONGEST_TEXT]) for name, value in fields]
    # How it was run may change under one parent, and MLflow's params may not.
    lasting = [
        Param(f"{stage.name}.{p.key}", p.value) for p in batch if not p.key.startswith(("_", "runtime"))
    ]
    for start in range(0, len(batch), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=batch[start : start + _PARAMS_PER_CALL])
        client.log_batch(parent_id, params=lasting[start : start + _PARAMS_PER_CALL])
    client.log_text(run_id, config.to_yaml(), "config.yaml")
    return run_id


def publication(manifest: Manifest) -> str:
    """What tells a published dataset from any other, also from one of the same key that was made by force."""
    return f"{manifest.dataset_key} {manifest.timings.published}"


def run_of(client: Any, experiment: str, manifest: Manifest) -> str | None:
    """Id of the run that a dataset was begun to be shown in, or None."""
    if found := _newest(client, experiment, BEGUN_TAG, publication(manifest)):
        return found
    try:
        run = client.get_run(manifest.run_id) if manifest.run_id else None
    except Exception as error:
        if not is_refused(error):
            raise
        return None
    return manifest.run_id if run and run.info.lifecycle_stage == "active" else None


def is_shown(client: Any, experiment: str, manifest: Manifest) -> bool:
    """Whether MLflow shows everything of a dataset."""
    return _newest(client, experiment, SHOWN_TAG, publication(manifest)) is not None


def _newest(client: Any, experiment: str, tag: str, value: str) -> str | None:
    found = client.search_runs(
        [experiment],
        f"tags.`{tag}` = {quoted(value)}",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    return str(found[0].info.run_id) if found else None


def _new_parent(client: Any, experiment: str, config: PipelineConfig, start_ms: int | None) -> str:
    tags = {DIGEST_TAG: config.digest(), NOTE_TAG: first_note(config), **origin_tags(config)}
    name = " ".join([config.name, *config.overrides])[:_LONGEST_NAME]
    run_id = str(client.create_run(experiment, start_time=start_ms, run_name=name, tags=tags).info.run_id)
    client.log_param(run_id, *_changed_fields(config))
    client.log_text(run_id, config.to_yaml(), "config.yaml")
    return run_id


def _changed_fields(config: PipelineConfig) -> tuple[str, str]:
    """A param that stands first where MLflow's page compares runs, as it sorts by name."""
    return "_changed", (" ".join(config.overrides) or "nothing")[:_LONGEST_TEXT]


def named_run(
    client: Any,
    experiment: str,
    config: PipelineConfig,
    key: str,
    name: str,
    note: str,
    parent_id: str | None,
) -> str:
    """Id of the finished run with this key, made if need be; name and description are renewed."""
    run_id = _newest(client, experiment, KEY_TAG, key)
    parent = {} if parent_id is None else {PARENT_TAG: parent_id}
    again = {"again": config.command("ablation")[:_LONGEST_TEXT]}
    tags = {KEY_TAG: key, NOTE_TAG: fitted(note), **again, **parent, **origin_tags(config)}
    if run_id is None:
        run_id = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
        client.set_terminated(run_id, "FINISHED")
        return run_id
    for tag, value in tags.items():
        client.set_tag(run_id, tag, value)
    return run_id


def end_killed(client: Any, experiment: str, parent_id: str, stage: str) -> None:
    """Close runs of this stage that a killed process left open; the stage's lock says that none is alive."""
    wanted = f"tags.`{PARENT_TAG}` = '{parent_id}' and tags.`{STAGE_TAG}` = '{stage}'"
    for run in client.search_runs([experiment], f"{wanted} and attributes.status = 'RUNNING'"):
        client.set_terminated(run.info.run_id, "KILLED")


def describe(client: Any, run_id: str, manifest: Manifest) -> None:
    """Write the dataset of a stage's run into its tags and into the description of its parent run."""
    parent_id, counts = parent_of(client, run_id), manifest.counts
    stage, key = manifest.stage, manifest.dataset_key
    client.set_tag(run_id, "dataset_key", key)
    client.set_tag(run_id, BEGUN_TAG, publication(manifest))
    row = f"| {stage} | {counts.kept} | {counts.rejected} | `{key}` | {run_id} |"
    note = client.get_run(parent_id).data.tags[NOTE_TAG]
    client.set_tag(parent_id, NOTE_TAG, fitted(with_stage_row(note, stage, row)))
    client.set_tag(parent_id, f"dataset.{stage}", key)
    client.log_inputs(parent_id, [dataset_input(manifest)])


def link_inputs(client: Any, run_id: str, inputs: Mapping[str, PublishedDataset]) -> None:
    """Write which datasets a stage reads into its run."""
    read = [dataset_input(dataset.manifest) for dataset in inputs.values()]
    # On the parent too: stages that were fresh have no run below it.
    for reader in (run_id, parent_of(client, run_id)) if read else ():
        client.log_inputs(reader, read)


def end_run(client: Any, run_id: str, status: str, time_ms: int | None = None) -> None:
    """Close a stage's run, and that of its config unless another of its stages is at work."""
    client.set_terminated(run_id, status, time_ms)
    run = client.get_run(run_id)
    parent_id = run.data.tags.get(PARENT_TAG)
    if parent_id is None:
        return
    alive = f"tags.`{PARENT_TAG}` = '{parent_id}' and attributes.status = 'RUNNING'"
    if not client.search_runs([run.info.experiment_id], alive, max_results=1):
        client.set_terminated(parent_id, status, time_ms)


def parent_of(client: Any, run_id: str) -> str:
    """Id of the run that a stage's run is nested in."""
    return str(client.get_run(run_id).data.tags[PARENT_TAG])


def log_numbers(client: Any, run_id: str, values: Mapping[str, float], step: int) -> None:
    """Log numbers under their names."""
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    if values:
        client.log_batch(
            run_id, metrics=[Metric(name, float(value), now_ms, step) for name, value in values.items()]
        )


def dataset_input(manifest: Manifest) -> Any:
    """A dataset as MLflow keeps it: stage, key, place and counts."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    stage, counts = manifest.stage, manifest.counts
    source = {"stage": stage, "recipe": manifest.recipe_key, "run": manifest.run_id}
    entity = Dataset(
        name=stage,
        digest=manifest.dataset_key,
        source_type="mimicmotion",
        source=json.dumps(source),
        profile=json.dumps({"kept": counts.kept, "rejected": counts.rejected, "rows": counts.rows}),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", stage)])


def flat(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Fields of nested sections with dotted names."""
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def first_note(config: PipelineConfig) -> str:
    """The description of a new run of a config: what it is, and an empty table of stages.

    What came out is added by ``with_section`` above the stages, since MLflow's page shows the first lines.
    """
    return (
        f"{config.settings.title or config.name}\n"
        f"{_SECTION}{_STAGES}\n\n"
        "Each nested run is one stage: its curves, pictures and videos are under its artifacts.\n\n"
        f"* datasets: `{redacted(config.workspace)}`\n"
        f"* all stages: `{config.command('rebuild')}`\n"
        f"* one stage: `{config.command('stage NAME')}`\n\n"
        f"{_STAGES_HEAD}\n"
    )


def with_stage_row(note: str, stage: str, row: str) -> str:
    """The description with the row of a stage, in place of the row that the stage had before."""
    before, heading, stages = note.partition(f"{_SECTION}{_STAGES}\n")
    lines = [line for line in stages.splitlines() if not line.startswith(f"| {stage} ")]
    return before + heading + "\n".join([*lines, row]) + "\n"


def with_section(note: str, title: str, text: str) -> str:
    """The description with a section above the stages, in place of the one of that title."""
    before, heading, stages = note.partition(f"{_SECTION}{_STAGES}\n")
    head, *sections = before.split(_SECTION)
    others = [section.rstrip("\n") for section in sections if section.partition("\n")[0] != title]
    parts = [head.rstrip("\n") + "\n", *(f"{section}\n" for section in [*others, f"{title}\n\n{text}"])]
    return _SECTION.join(parts) + heading + stages


def write_section(client: Any, run_id: str, title: str, text: str) -> None:
    """Put a section of Markdown into the description of a config's run."""
    page = client.get_run(run_id).data.tags[NOTE_TAG]
    client.set_tag(run_id, NOTE_TAG, fitted(with_section(page, title, text)))


def fitted(note: str) -> str:
    """The description within MLflow's limit, which cuts the end: long sections give way, never the stages."""
    before, heading, stages = note.partition(f"{_SECTION}{_STAGES}\n")
    head, *sections = before.split(_SECTION)
    for place in sorted(range(len(sections)), key=lambda place: -len(sections[place])):
        if len(_SECTION.join([head, *sections]) + heading + stages) <= LONGEST_NOTE:
            break
        title = sections[place].partition("\n")[0]
        sections[place] = (
            f"{title}\n\nToo long for this page: see the files of this run and of those nested in it.\n"
        )
    return _SECTION.join([head, *sections]) + heading + stages


def milliseconds(time_iso: str) -> int:
    """A time in ISO form as MLflow counts it, since 1970."""
    return round(datetime.fromisoformat(time_iso).timestamp() * 1000)
