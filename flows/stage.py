"""The flow that runs one stage by name: ``prefect deployment run stage/paper -p name=pose``."""

from prefect import flow

from flows.settings import check_parameters
from flows.tasks import log_into_run, run_as_task
from stages.engine.catalogue import StageName
from stages.engine.config import load_config
from stages.runner import StageResult


@flow(name="stage", flow_run_name="{name} of {config}")
def stage(
    name: StageName, config: str, overrides: list[str] | None = None, force: bool = False
) -> StageResult:
    """Run one stage if its dataset is stale.

    Args:
        name: which stage.
        config: name or path of a config, e.g. ``paper``.
        overrides: changed fields, e.g. ``clips.min_confidence=0.4``.
        force: work on everything again.
    """
    check_parameters(overrides)
    log_into_run()
    return run_as_task(load_config(config, overrides or []), name, force)
