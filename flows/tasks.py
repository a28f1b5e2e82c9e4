"""One Prefect task: a stage, run if it is stale, with a table of what it did."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import Task
from prefect.utilities.annotations import opaque

from flows.commands.processes import spare_loopback
from flows.settings import LOGGERS
from mimicmotion.errors import MachineError, MimicMotionError
from mimicmotion.redaction import CleanRecord
from stages.adapters.mlflow.tracking import run_page
from stages.engine.config import PipelineConfig
from stages.engine.plan import StageGraph
from stages.runner import StageResult, run_stage

_RETRY_DELAY_S = 10


def _is_machine_fault(work: "Task[Any, Any]", run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: faults of machines, and what nobody foresaw."""
    failure = state.result(raise_on_failure=False)
    if isinstance(failure, TaskRunTimeoutError):  # the limit is one for all tries
        return False
    if isinstance(failure, MimicMotionError):
        return isinstance(failure, MachineError)
    return isinstance(failure, Exception)


def run_in_order(
    config: PipelineConfig, names: Sequence[str], force: bool = False, label: Callable[[str], str] = str
) -> list[StageResult]:
    """Run stages as tasks, each on what those before it made or found: the config and films of its start.

    Args:
        config: what to run; what its ``made`` names is read as it is.
        names: which stages, in order.
        force: work on everything again.
        label: what a task is called, by its stage.
    """
    results: list[StageResult] = []
    for name in names:
        made = {**config.made, **{result.name: result.dataset_key for result in results}}
        results.append(run_as_task(replace(config, made=made), name, force, label(name)))
    return results


def run_as_task(config: PipelineConfig, name: str, force: bool, label: str | None = None) -> StageResult:
    """Run one stage, if it is stale, as a task, with the retries and the time limit of its config.

    Args:
        config: what to run. Its file is not read again: who changes it meanwhile means the next run.
        name: which stage.
        force: work on everything again.
        label: what the task is called; else as the stage.

    Raises:
        InputError: there is no such stage.
    """
    runtime = StageGraph(config).stage(name).runtime
    work = stage_task.with_options(
        task_run_name=label or name,
        retries=runtime.stage_retries,
        timeout_seconds=runtime.stage_timeout_s,
    )
    whole: Any = opaque(config)  # Prefect need not look into it
    return work(whole, name, force, time.time() if force else None)


@task(retry_delay_seconds=_RETRY_DELAY_S, retry_condition_fn=_is_machine_fault, cache_policy=NO_CACHE)
def stage_task(config: PipelineConfig, name: str, force: bool, begun_s: float | None = None) -> StageResult:
    """Run one stage if its dataset is stale, and show it as a table artifact.

    ``begun_s`` is one for all tries, so that another one goes on from what the first did, by force or not.
    """
    result = run_stage(config, name, force, begun_s=begun_s)
    _show(config, result)
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
