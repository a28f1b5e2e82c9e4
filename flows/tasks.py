"""One Prefect task: a stage, run if it is stale, with a table of what it did."""

import logging
import time
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows.commands.processes import spare_loopback
from flows.settings import LOGGERS
from mimicmotion.errors import MachineError, MimicMotionError
from mimicmotion.redaction import CleanRecord
from stages.adapters.mlflow.tracking import run_page
from stages.engine.config import PipelineConfig, load_config
from stages.engine.plan import StageGraph
from stages.runner import StageResult, run_stage

_RETRY_DELAY_S = 10


def _is_machine_fault(work: "Task[Any, Any]", run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: faults of machines, and what nobody foresaw."""
    failure = state.result(raise_on_failure=False)
    if isinstance(failure, MimicMotionError):
        return isinstance(failure, MachineError)
    return isinstance(failure, Exception)


def run_as_task(
    name: str, config: str, overrides: list[str], force: bool, run_by: str, label: str | None = None
) -> StageResult:
    """Run one stage, if it is stale, as a task, with the retries and the time limit of its config.

    Args:
        name: which stage.
        config: name or path of a config.
        overrides: changed fields.
        force: work on everything again.
        run_by: the flow, for MLflow.
        label: what the task is called; else as the stage.

    Raises:
        ConfigError: the config is wrong; lists every problem.
        InputError: there is no such stage.
    """
    runtime = StageGraph(load_config(config, overrides)).stage(name).runtime
    work = stage_task.with_options(
        task_run_name=label or name,
        retries=runtime.stage_retries,
        timeout_seconds=runtime.stage_timeout_s,
    )
    return work(name, config, overrides, force, run_by, time.time() if force else None)


@task(retry_delay_seconds=_RETRY_DELAY_S, retry_condition_fn=_is_machine_fault)
def stage_task(
    name: str, config: str, overrides: list[str], force: bool, run_by: str, begun_s: float | None = None
) -> StageResult:
    """Run one stage if its dataset is stale, and show it as a table artifact.

    ``begun_s`` is one for all tries, so that another one goes on from what the first did, by force or not.
    """
    settings = replace(load_config(config, overrides), run_by=run_by)
    result = run_stage(settings, name, force, begun_s=begun_s)
    _show(settings, result)
    return result


def _show(settings: PipelineConfig, result: StageResult) -> None:
    page = run_page(settings, result.run_id) if result.run_id else None
    create_table_artifact(
        key=f"stage-{result.name}",
        table=[
            {
                "stage": result.name,
                "state": result.state,
                "kept": result.kept,
                "rejected": result.rejected,
                "processed": result.processed,
                "seconds": round(result.seconds, 1),
                "dataset": result.dataset_key,
                "MLflow run": page or result.run_id or "",
            }
        ],
        description=f"{result.name} of {settings.name}" + (f": [its MLflow run]({page})" if page else ""),
    )


def log_into_run() -> None:
    """Let the lines of our own loggers reach the flow run's logs, without secrets."""
    logging.setLogRecordFactory(CleanRecord)
    spare_loopback()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
