"""Runs in MLflow that show what a stage did.

Only this folder knows MLflow. A failure here is logged and never stops a stage. What MLflow shows of a
dataset is made from the published dataset alone, so it can be shown again: ``mimicmotion track CONFIG``.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import pyarrow as pa

from mimicmotion.errors import StageError
from stages.adapters.mlflow.client import check_address, experiment_of, mlflow_client
from stages.adapters.mlflow.registry import MlflowRegistry
from stages.adapters.mlflow.reports import MlflowReport, RepeatedReport
from stages.adapters.mlflow.runs import (
    CONFIG_TAG,
    PARENT_TAG,
    SHOWN_TAG,
    describe,
    end_killed,
    end_run,
    find_parent,
    is_shown,
    link_inputs,
    milliseconds,
    named_run,
    new_run,
    parent_of,
    publication,
    run_of,
)
from stages.engine.config import PipelineConfig, redacted, tracking_uri
from stages.engine.contract import Registry, Report, Stage
from stages.engine.datasets import PublishedDataset
from stages.engine.progress import told_if_long
from stages.engine.records import KEPT

log = logging.getLogger(__name__)

_LONGEST_TEXT = 5000

Tracked = Literal["was there", "shown", "shown without pictures"]
"""Whether a dataset was shown in MLflow already, is shown now, or its pictures could not be made."""


class StageRun:
    """One stage's run in MLflow, nested in the run of its config.

    Attributes:
        report: where the stage shows what it does while it works.
        registry: where it registers models; None when MLflow could not be reached.
        run_id: id of the run; None when MLflow could not be reached.
    """

    def __init__(self, uri: str, run_id: str | None) -> None:
        self.run_id = run_id
        self._shown = RepeatedReport(uri, run_id)
        self._publication: str | None = None
        self.report: Report = MlflowReport(uri, run_id)
        self.registry: Registry | None = MlflowRegistry(mlflow_client(uri), run_id) if run_id else None

    @property
    def is_whole(self) -> bool:
        """Whether MLflow took everything that was shown of a published dataset."""
        return self._shown.is_whole

    def show(self, stage: Stage, dataset: PublishedDataset, inputs: Mapping[str, PublishedDataset]) -> bool:
        """Show what the run lacks of a published dataset: counts, rejects, keys, and what its stage shows.

        Returns:
            Whether the stage could make its pictures and numbers. What MLflow did not take is not told by it.
        """
        manifest = dataset.manifest
        counts, timings = manifest.counts, manifest.timings
        self._shown.send("inputs", lambda client, run_id: link_inputs(client, run_id, inputs))
        self._shown.send("dataset", lambda client, run_id: describe(client, run_id, manifest))
        self._shown.metrics(
            {
                "items_kept": counts.kept,
                "items_rejected": counts.rejected,
                "items_processed": timings.processed,
                "rows": counts.rows,
                "seconds": timings.seconds,
            }
        )
        rejected = [item for item in dataset.items.values() if item.state != KEPT]
        if rejected:
            names = ("id", "label", "reason", "sentence")
            columns = {name: [str(getattr(item, name)) for item in rejected] for name in names}
            self._shown.table("rejected", pa.table(columns))
        try:
            stage.show(dataset, inputs, self._shown)
        except Exception:
            # The dataset is published and right; only its pictures are missing.
            log.exception("%s: its pictures could not be made", stage.name)
            self._tag("show", "failed")
            return False
        self._publication = publication(manifest)
        return True

    def end(self, status: str, error: str = "", time_ms: int | None = None) -> None:
        """Close the run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if error:
            self._tag("error", redacted(error)[:_LONGEST_TEXT])
        self._shown.send("its end", lambda client, run_id: end_run(client, run_id, status, time_ms))
        if self._publication and self.is_whole:
            self._tag(SHOWN_TAG, self._publication)

    def _tag(self, name: str, value: str) -> None:
        self._shown.send(f"tag {name}", lambda client, run_id: client.set_tag(run_id, name, value))


@contextmanager
def stage_run(config: PipelineConfig, stage: Stage) -> Iterator[StageRun]:
    """A run for a stage while it works, below the run of this workspace and config (made if need be)."""
    run = _opened(config, stage)
    try:
        yield run
    except Exception as error:
        run.end("FAILED", str(error))
        raise
    except BaseException as error:  # Ctrl-C, or a flow that is cancelled
        run.end("KILLED", "interrupted" if isinstance(error, KeyboardInterrupt) else str(error))
        raise
    else:
        run.end("FINISHED")


def show_again(
    config: PipelineConfig,
    stage: Stage,
    dataset: PublishedDataset,
    inputs: Mapping[str, PublishedDataset],
) -> Tracked:
    """Show what MLflow lacks of a published dataset, in its run, made if need be.

    Raises:
        StageError: MLflow does not answer, or does not take everything.
    """
    manifest, uri = dataset.manifest, tracking_uri(config)
    try:
        client = mlflow_client(uri)
        experiment = experiment_of(client, config)
        if is_shown(client, experiment, manifest):
            return "was there"
        found = run_of(client, experiment, manifest)
        run_id = found or new_run(client, experiment, config, stage, manifest)
    except Exception as error:
        raise StageError(f"MLflow at {redacted(uri)} does not answer: {redacted(error)}") from error
    run = StageRun(uri, run_id)
    is_made = run.show(stage, dataset, inputs)
    run.end("FINISHED", time_ms=milliseconds(manifest.timings.published))
    if not run.is_whole:
        raise StageError(f"MLflow at {redacted(uri)} did not take all of {stage.name}. Try again later.")
    return "shown" if is_made else "shown without pictures"


def parent_run_id(config: PipelineConfig) -> str | None:
    """The run of this workspace and config; None when there is none or MLflow cannot be reached."""
    try:
        uri = tracking_uri(config)
        client = mlflow_client(uri)
        experiment = client.get_experiment_by_name(config.settings.mlflow.experiment)
        return find_parent(client, experiment.experiment_id, config) if experiment else None
    except Exception as error:
        log.warning("MLflow cannot be reached: %s", redacted(error))
        return None


def named_report(
    config: PipelineConfig, key: str, name: str, note: str, parent_id: str | None = None
) -> MlflowReport:
    """A run that shows what several runs came to, found again by its key.

    Args:
        config: says where MLflow is.
        key: names the run for good; the same key renews what is shown.
        name: what people call it.
        note: its description in Markdown.
        parent_id: run that it is nested in.
    """
    uri = tracking_uri(config)
    try:
        client = mlflow_client(uri)
        run_id = named_run(client, experiment_of(client, config), config, key, name, note, parent_id)
    except Exception as error:
        log.warning("%s is not shown in MLflow at %s: %s", name, redacted(uri), redacted(error))
        return MlflowReport(uri, None)
    return MlflowReport(uri, run_id)


def place_below(config: PipelineConfig, parent_id: str | None, name: str) -> None:
    """Nest the run of a config in another and rename it; one that another config began stays where it is."""
    run_id = None if parent_id is None else parent_run_id(config)
    if run_id is None:
        return
    try:
        client = mlflow_client(tracking_uri(config))
        if client.get_run(run_id).data.tags.get(CONFIG_TAG) == config.name:
            client.set_tag(run_id, PARENT_TAG, parent_id)
            client.update_run(run_id, name=name)
    except Exception as error:
        log.warning("MLflow did not take the place of %s: %s", name, redacted(error))


def run_page(config: PipelineConfig, run_id: str) -> str | None:
    """Address of a run's page; None where MLflow is no server or does not answer."""
    uri = tracking_uri(config)
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        experiment = mlflow_client(uri).get_run(run_id).info.experiment_id
    except Exception as error:
        log.warning("MLflow cannot be reached: %s", redacted(error))
        return None
    # Without its view of model training, MLflow's page hides runs and the registry.
    place = f"#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
    return f"{redacted(uri).replace('***@', '').rstrip('/')}/{place}"


def _opened(config: PipelineConfig, stage: Stage) -> StageRun:
    uri = tracking_uri(config)
    check_address(uri)
    try:
        with told_if_long(f"MLflow at {redacted(uri)} takes the run of {stage.name}"):
            client = mlflow_client(uri)
            experiment = experiment_of(client, config)
            if parent_id := find_parent(client, experiment, config):
                end_killed(client, experiment, parent_id, stage.name)
            run_id = new_run(client, experiment, config, stage)
            client.update_run(parent_of(client, run_id), status="RUNNING")
    except Exception as error:
        needed = "; register will stop unless it is back by then" if "register" in config.stages else ""
        log.warning(
            "%s goes on without MLflow at %s%s: %s", stage.name, redacted(uri), needed, redacted(error)
        )
        return StageRun(uri, None)
    return StageRun(uri, run_id)
