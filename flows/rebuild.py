"""The flow that runs every stale stage of a pipeline: ``prefect deployment run rebuild/paper``."""

from contextlib import AbstractContextManager
from dataclasses import replace

from prefect import flow

from flows.settings import check_parameters
from flows.tasks import log_into_run, run_in_order
from stages.engine.checking import check_stages
from stages.engine.config import PipelineConfig, load_config, redacted
from stages.engine.storage.opening import open_workspace
from stages.runner import StageResult


@flow(name="rebuild", flow_run_name="rebuild {config}", validate_parameters=True)
def rebuild(config: str, overrides: list[str] | None = None, force: bool = False) -> list[StageResult]:
    """Run every stage of a config that is not fresh, in order, on the films of its start.

    Args:
        config: name or path of a config, e.g. ``paper``.
        overrides: changed fields, e.g. ``train.steps=200``.
        force: work on everything again.
    """
    check_parameters(overrides)
    log_into_run()
    settings = replace(load_config(config, overrides or []), run_by="rebuild")
    check_stages(settings, list(settings.stages))
    with one_rebuild(settings):
        return run_in_order(settings, list(settings.stages), force)


def one_rebuild(settings: PipelineConfig) -> AbstractContextManager[bool]:
    """Hold the workspace, so that no other rebuild works in it."""
    return open_workspace(settings.workspace).lock(
        "rebuild.lock", f"a rebuild of {redacted(settings.workspace)}"
    )
