"""The flow that runs every arm of an ablation: ``prefect deployment run ablation/demo``."""

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.rebuild import one_rebuild
from flows.settings import check_parameters
from flows.study import StudyResult, load_study, publish_study
from flows.tasks import log_into_run, run_as_task
from stages.engine.checking import check_stages


@flow(name="ablation", flow_run_name="ablation {config}", validate_parameters=True)
def ablation(config: str, overrides: list[str] | None = None) -> StudyResult:
    """Run what each arm and seed of a config's ablation does not share with the ones before, then compare.

    Args:
        config: name or path of a config with a section ``ablation``, e.g. ``ablation/demo``.
        overrides: changed fields of every arm, e.g. ``train.steps=200`` or ``ablation.seeds=[0]``.
    """
    check_parameters(overrides)
    log_into_run()
    study = load_study(config, overrides or [])
    for trial in study.trials:
        check_stages(trial.config, list(trial.stages))
    with one_rebuild(study.config):
        for trial in study.trials:
            for name in trial.stages:
                label = f"{name}: {trial.arm}, seed {trial.seed}"
                run_as_task(name, config, list(trial.overrides), False, "ablation", label)
        return compare_task(config, overrides or [])


@task(task_run_name="compare")
def compare_task(config: str, overrides: list[str]) -> StudyResult:
    """Compare the arms, and show the table as a Markdown artifact."""
    study = load_study(config, overrides)
    result = publish_study(study)
    create_markdown_artifact(key="ablation", markdown=result.markdown, description=study.config.name)
    return result
