"""How stages lie in MLflow: one run for a workspace and config, a nested run for each stage.

Every function works on an MLflow client that it is given; ``stages/adapters/mlflow/tracking.py`` makes those.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stages.adapters.mlflow.run_notes import first_note, with_stage_row
from stages.engine.config import PipelineConfig
from stages.engine.provenance import git_revision
from stages.engine.records import Manifest

CONFIG_TAG = "mimicmotion.config"
DIGEST_TAG = "mimicmotion.config_digest"
STAGE_TAG = "mimicmotion.stage"
KEY_TAG = "mimicmotion.key"
NOTE_TAG = "mlflow.note.content"
PARENT_TAG = "mlflow.parentRunId"


def origin_tags(config: PipelineConfig) -> dict[str, str]:
    """Tags that say which config and which revision a run belongs to."""
    return {CONFIG_TAG: config.name, "git_revision": git_revision() or "unknown"}


def find_parent(client: Any, experiment: str, config: PipelineConfig) -> str | None:
    """Id of the run of a workspace and config, or None."""
    wanted = f"tags.`{DIGEST_TAG}` = '{config.digest()}'"
    found = client.search_runs([experiment], wanted, max_results=1, order_by=["attributes.start_time DESC"])
    return str(found[0].info.run_id) if found else None


def new_parent(client: Any, experiment: str, config: PipelineConfig) -> str:
    """Make the run of a workspace and config; returns its id."""
    tags = {DIGEST_TAG: config.digest(), NOTE_TAG: first_note(config), **origin_tags(config)}
    run = client.create_run(experiment, run_name=f"rebuild {config.name}", tags=tags)
    client.log_text(run.info.run_id, config.to_yaml(), "config.yaml")
    return str(run.info.run_id)


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
    found = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
    parent = {} if parent_id is None else {PARENT_TAG: parent_id}
    tags = {KEY_TAG: key, NOTE_TAG: note, **parent, **origin_tags(config)}
    if not found:
        run_id = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
        client.set_terminated(run_id, "FINISHED")
        return run_id
    run_id = str(found[0].info.run_id)
    for tag, value in tags.items():
        client.set_tag(run_id, tag, value)
    return run_id


def end_killed(client: Any, experiment: str, parent_id: str, stage: str) -> None:
    """Close runs of this stage that a killed process left open; the stage's lock says that none is alive."""
    wanted = f"tags.`{PARENT_TAG}` = '{parent_id}' and tags.`{STAGE_TAG}` = '{stage}'"
    for run in client.search_runs([experiment], f"{wanted} and attributes.status = 'RUNNING'"):
        client.set_terminated(run.info.run_id, "KILLED")


def describe(client: Any, run_id: str, facts: Mapping[str, Any]) -> None:
    """Write the dataset of a stage's run into the description of its parent run.

    Args:
        facts: of ``dataset_facts``.
    """
    parent_id, stage, counts = parent_of(client, run_id), facts["stage"], facts["counts"]
    row = f"| {stage} | {counts['kept']} | {counts['rejected']} | `{facts['key']}` | {run_id} |"
    note = client.get_run(parent_id).data.tags[NOTE_TAG]
    client.set_tag(parent_id, NOTE_TAG, with_stage_row(note, stage, row))
    client.set_tag(parent_id, f"dataset.{stage}", facts["key"])
    client.log_inputs(parent_id, [dataset_input(facts)])


def end_run(client: Any, run_id: str, status: str, time_ms: int) -> None:
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


def dataset_facts(manifest: Manifest) -> dict[str, Any]:
    """What MLflow is told of a dataset, as plain JSON: stage, key, place and counts."""
    counts = manifest.counts
    return {
        "stage": manifest.stage,
        "key": manifest.dataset_key,
        "source": {"stage": manifest.stage, "recipe": manifest.recipe_key, "run": manifest.run_id},
        "counts": {"kept": counts.kept, "rejected": counts.rejected, "rows": counts.rows},
    }


def dataset_input(facts: Mapping[str, Any]) -> Any:
    """A dataset as MLflow keeps it, from ``dataset_facts``."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entity = Dataset(
        name=facts["stage"],
        digest=facts["key"],
        source_type="mimicmotion",
        source=json.dumps(facts["source"]),
        profile=json.dumps(facts["counts"]),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", facts["stage"])])


def flat(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Fields of nested sections with dotted names."""
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
