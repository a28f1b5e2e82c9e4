"""The flow that runs every arm of an ablation: ``prefect deployment run ablation/demo``."""

from dataclasses import replace
from functools import partial
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.utilities.annotations import opaque

from flows.rebuild import one_rebuild
from flows.settings import check_parameters
from flows.study import Study, StudyResult, load_study, publish_study
from flows.tasks import log_into_run, run_in_order
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
    made: dict[str, str] = {}
    with one_rebuild(study.config):
        for trial in study.trials:
            label = partial("{2}: {0}, seed {1}".format, trial.arm, trial.seed)
            for result in run_in_order(trial.on(made).config, trial.stages, label=label):
                made[trial.identities[result.name]] = result.dataset_key
        done: Any = opaque(replace(study, trials=tuple(trial.on(made) for trial in study.trials)))
        return compare_task(done)


@task(task_run_name="compare", cache_policy=NO_CACHE)
def compare_task(study: Study) -> StudyResult:
    """Compare the arms, and show the table as a Markdown artifact."""
    result = publish_study(study)
    create_markdown_artifact(key="ablation", markdown=result.markdown, description=study.config.name)
    return result
