"""One Prefect task: a stage brought up to date, with a table of what it did."""

import logging
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows.prefect_setup import LOGGERS
from mimicmotion.errors import MimicMotionError
from stages.config import load_config
from stages.runner import StageResult, run_stage

_RETRIES = 1
_RETRY_DELAY_S = 10


def _is_machine_fault(work: "Task[Any, Any]", run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: everything that is not a clear message to the user."""
    failure = state.result(raise_on_failure=False)
    return isinstance(failure, Exception) and not isinstance(failure, MimicMotionError)


@task(
    task_run_name="{name}",
    retries=_RETRIES,
    retry_delay_seconds=_RETRY_DELAY_S,
    retry_condition_fn=_is_machine_fault,
)
def stage_task(name: str, config: str, overrides: list[str], force: bool) -> StageResult:
    """Bring the dataset of one stage up to date, and show it as a table artifact."""
    result = run_stage(load_config(config, overrides), name, force)
    create_table_artifact(
        key=f"stage-{name}",
        table=[
            {
                "stage": result.name,
                "state": result.state,
                "kept": result.kept,
                "rejected": result.rejected,
                "processed": result.processed,
                "seconds": round(result.seconds, 1),
                "dataset": result.dataset_key,
                "MLflow run": result.run_id or "",
            }
        ],
        description=f"{name} of {config}",
    )
    return result


def log_into_run() -> None:
    """Let the lines of our own loggers reach the flow run's logs."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
