"""Notes brought to MLflow: as they happen, or later from the outbox of the workspace.

Every function works on an MLflow client that it is given; ``stages/adapters/mlflow/tracking.py`` makes those.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mimicmotion.errors import StageError
from stages.adapters.mlflow.outbox import NEW, Note, drop, kept, notes
from stages.adapters.mlflow.run_notes import with_section
from stages.adapters.mlflow.runs import (
    NOTE_TAG,
    PARENT_TAG,
    STAGE_TAG,
    dataset_input,
    describe,
    end_run,
    find_parent,
    flat,
    new_parent,
    origin_tags,
    parent_of,
)
from stages.engine.config import PipelineConfig, redacted
from stages.engine.storage.opening import open_workspace

log = logging.getLogger(__name__)

_PARAMS_PER_CALL = 100
_LONGEST_TEXT = 5000
_KEPT_TAG = "mimicmotion.kept"
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")


def is_refused(error: Exception) -> bool:
    """Whether MLflow has read something and will never take it."""
    return getattr(error, "error_code", None) in _REFUSALS


def stage_note(config: PipelineConfig, stage: str, section: Mapping[str, Any]) -> Note:
    """What a stage's run is made from."""
    params = {name: str(value)[:_LONGEST_TEXT] for name, value in flat(section, "")}
    fields = {"stage": stage, "digest": config.digest(), "params": params, "config": config.to_yaml()}
    return Note("run", fields)


def make_run(
    client: Any, experiment: str, config: PipelineConfig, note: Note, tags: Mapping[str, str]
) -> tuple[str, str]:
    """Make a stage's run, below that of its config; gives the ids of both, the parent's first."""
    from mlflow.entities import Param

    stage, params = note.fields["stage"], note.fields["params"]
    parent_id = find_parent(client, experiment, config) or new_parent(client, experiment, config)
    tags = {PARENT_TAG: parent_id, STAGE_TAG: stage, **origin_tags(config), **tags}
    run = client.create_run(experiment, start_time=note.time_ms, run_name=stage, tags=tags)
    run_id = str(run.info.run_id)
    batch = [Param(name, value) for name, value in params.items()]
    # How it was run may change under one parent, and MLflow's params may not.
    lasting = [Param(f"{stage}.{p.key}", p.value) for p in batch if not p.key.startswith("runtime")]
    for start in range(0, len(batch), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=batch[start : start + _PARAMS_PER_CALL])
        client.log_batch(parent_id, params=lasting[start : start + _PARAMS_PER_CALL])
    client.log_text(run_id, note.fields["config"], "config.yaml")
    return parent_id, run_id


def deliver(client: Any, run_id: str, note: Note) -> None:
    """Show one note in a run of MLflow; raises whatever MLflow does."""
    fields = note.fields
    if note.kind == "metrics":
        _deliver_numbers(client, run_id, fields["values"], note.time_ms, fields["step"])
    elif note.kind == "picture":
        _deliver_picture(client, run_id, note)
    elif note.kind == "file":
        client.log_artifact(run_id, str(note.file), fields["folder"] or None)
    elif note.kind == "table":
        client.log_table(run_id, pq.read_table(note.file).to_pydict(), f"{fields['name']}.json")
    elif note.kind == "text":
        client.log_text(run_id, fields["text"], fields["name"])
    elif note.kind == "tag":
        client.set_tag(run_id, fields["name"], fields["value"])
    elif note.kind == "end":
        end_run(client, run_id, fields["status"], note.time_ms)
    elif note.kind == "reads":
        read = [dataset_input(facts) for facts in fields["datasets"]]
        # On the parent too: stages that were fresh have no run below it.
        for reader in (run_id, parent_of(client, run_id)):
            client.log_inputs(reader, read)
    elif note.kind == "dataset":
        describe(client, run_id, fields["facts"])
    elif note.kind == "section":
        parent_id = parent_of(client, run_id)
        page = client.get_run(parent_id).data.tags[NOTE_TAG]
        client.set_tag(parent_id, NOTE_TAG, with_section(page, fields["title"], fields["text"]))
        _deliver_numbers(client, parent_id, fields.get("numbers", {}), note.time_ms, 0)


def _deliver_numbers(client: Any, run_id: str, values: Mapping[str, float], time_ms: int, step: int) -> None:
    from mlflow.entities import Metric

    client.log_batch(run_id, metrics=[Metric(name, value, time_ms, step) for name, value in values.items()])


def _deliver_picture(client: Any, run_id: str, note: Note) -> None:
    from PIL import Image

    name, step = note.fields["name"], note.fields["step"]
    assert note.file is not None
    with Image.open(note.file) as file:
        image = np.asarray(file.convert("RGB"))
    if step is None:
        client.log_image(run_id, image, artifact_file=f"{name}.png")
    else:
        client.log_image(run_id, image, key=name, step=step, synchronous=True)


def send_kept(client: Any, experiment: str, config: PipelineConfig) -> int:
    """Send everything that is kept in a workspace; gives how many notes MLflow took.

    What belongs to another config stays, as does everything from the first note that does not get through.

    Raises:
        StageError: another process is sending.
    """
    num_sent = 0
    with open_workspace(config.workspace).lock(
        "outbox.lock", f"sending to MLflow from {redacted(config.workspace)}"
    ):
        for run in kept(config.workspace):
            run_id = _found_or_made(client, experiment, config, run) if run.startswith(NEW) else run
            if run_id is None:
                continue
            for name, note in notes(config.workspace, run):
                try:
                    deliver(client, run_id, note)
                except Exception as error:
                    if not is_refused(error):
                        raise
                    log.warning("MLflow refuses %s of run %s: %s", note.kind, run_id, redacted(error))
                drop(config.workspace, run, name)
                num_sent += 1
    return num_sent


def try_to_send(client: Any, experiment: str, config: PipelineConfig) -> None:
    """Send what is kept, if nothing is in the way."""
    try:
        num_sent = send_kept(client, experiment, config) if kept(config.workspace) else 0
    except StageError as error:
        log.info("%s", redacted(error))
    except Exception as error:
        log.warning("MLflow did not take what is kept: %s", redacted(error))
    else:
        if num_sent:
            log.info("MLflow took %d things that were kept", num_sent)


def _found_or_made(client: Any, experiment: str, config: PipelineConfig, run: str) -> str | None:
    """Id of the run that stands for one that could not be made; None where another config has to make it."""
    found = client.search_runs([experiment], f"tags.`{_KEPT_TAG}` = '{run}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    first = next((note for _, note in notes(config.workspace, run) if note.kind == "run"), None)
    if first is None or first.fields["digest"] != config.digest():
        return None
    return make_run(client, experiment, config, first, {_KEPT_TAG: run})[1]
