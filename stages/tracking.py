"""Runs in MLflow that show what a stage did.

Only this file and ``stages/model_registry.py`` know MLflow. A failure here is logged and never stops a stage.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.config import PipelineConfig, redacted, tracking_uri
from stages.contract import Registry, Report, Stage
from stages.datasets import PublishedDataset
from stages.mlflow_runs import (
    CONFIG_TAG,
    NOTE_TAG,
    PARENT_TAG,
    STAGE_TAG,
    dataset_facts,
    describe,
    end_killed,
    find_parent,
    flat,
    named_run,
    new_parent,
    origin_tags,
)
from stages.model_registry import MlflowRegistry
from stages.records import KEPT
from stages.run_notes import with_section

log = logging.getLogger(__name__)

_PARAMS_PER_CALL = 100
_LONGEST_TEXT = 5000
_PAUSE_S = 60.0
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Else MLflow's page takes the experiment for one about prompts, and hides runs and models."""


class MlflowReport:
    """Shows things in one MLflow run. Picklable; usable in any process that reaches MLflow.

    Args:
        uri: MLflow's address.
        run_id: the run; None shows nothing.
    """

    def __init__(self, uri: str, run_id: str | None) -> None:
        self._uri = uri
        self._run_id = run_id
        self._silent_until_s = 0.0

    @property
    def run_id(self) -> str | None:
        """Id of the run; None where nothing is shown."""
        return self._run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers under their names, in one call."""

        def send(client: Any) -> None:
            from mlflow.entities import Metric

            now_ms = int(time.time() * 1000)
            batch = [Metric(name, float(value), now_ms, step) for name, value in values.items()]
            client.log_batch(self._run_id, metrics=batch)

        self._send("metrics", send)

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        """Log a picture, uint8 (h, w, 3) RGB; with a step it joins the evolution of its name."""

        def send(client: Any) -> None:
            if step is None:
                client.log_image(self._run_id, image, artifact_file=f"{name}.png")
            else:
                client.log_image(self._run_id, image, key=name, step=step, synchronous=True)

        self._send(f"picture {name}", send)

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file under an artifact folder."""
        self._send(
            f"file {path.name}",
            lambda client: client.log_artifact(self._run_id, str(path), folder or None),
        )

    def table(self, name: str, table: pa.Table) -> None:
        """Log a table that people can browse."""
        self._send(
            f"table {name}",
            lambda client: client.log_table(self._run_id, table.to_pydict(), f"{name}.json"),
        )

    def text(self, name: str, text: str) -> None:
        """Log a text file."""
        self._send(f"text {name}", lambda client: client.log_text(self._run_id, text, name))

    @contextmanager
    def watched(self, machine: str = "") -> Iterator[None]:
        """Log the load of this machine within the block: processor, memory, disk, network, GPUs.

        Args:
            machine: stands in the names of the numbers, where several machines report.
        """
        monitors: list[Any] = []

        def start(client: Any) -> None:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitors.append(
                SystemMetricsMonitor(
                    self._run_id, node_id=machine or None, resume_logging=True, tracking_uri=self._uri
                )
            )
            monitors[0].start()

        self._send("system metrics", start)
        try:
            yield
        finally:
            for monitor in monitors:
                monitor.finish()

    def section(self, title: str, text: str) -> None:
        """Put a section of Markdown on the page of the parent run, in place of the one of that title."""

        def send(client: Any) -> None:
            parent_id = client.get_run(self._run_id).data.tags[PARENT_TAG]
            note = client.get_run(parent_id).data.tags[NOTE_TAG]
            client.set_tag(parent_id, NOTE_TAG, with_section(note, title, text))

        self._send(f"section {title}", send)

    def _send(self, what: str, send: Callable[[Any], None]) -> None:
        if self._run_id is None or time.monotonic() < self._silent_until_s:
            return
        try:
            send(mlflow_client(self._uri))
        except Exception as error:
            # A server that is away must not slow every step down, so it is left alone for a while.
            self._silent_until_s = time.monotonic() + _PAUSE_S
            log.warning("MLflow did not take %s, nor what follows for %g s: %s", what, _PAUSE_S, error)


class StageRun:
    """One stage's run in MLflow, nested in the run of its config.

    Attributes:
        report: where the stage shows what it did.
        registry: where it registers models; None when MLflow could not be reached.
        run_id: id of the run; None when MLflow could not be reached.
    """

    def __init__(self, uri: str, parent_id: str | None, run_id: str | None) -> None:
        self.run_id = run_id
        self._uri = uri
        self._parent_id = parent_id
        self.report: Report = MlflowReport(uri, run_id)
        self.registry: Registry | None = MlflowRegistry(mlflow_client(uri), run_id) if run_id else None

    def tag(self, name: str, value: str) -> None:
        """Tag the run."""
        self._safely("a tag", lambda client: client.set_tag(self.run_id, name, value))

    def reads(self, inputs: Mapping[str, PublishedDataset]) -> None:
        """Show which datasets the stage reads, each with its key and counts."""

        def send(client: Any) -> None:
            from mlflow.entities import Dataset as Entity
            from mlflow.entities import DatasetInput, InputTag

            found = [
                DatasetInput(Entity(name, **dataset_facts(dataset)), [InputTag("mlflow.data.context", name)])
                for name, dataset in inputs.items()
            ]
            if found:
                client.log_inputs(self.run_id, found)

        self._safely("the inputs of a stage", send)

    def published(self, dataset: PublishedDataset) -> None:
        """Show the counts, the rejects and the keys of a dataset, and refresh the parent's description."""
        manifest = dataset.manifest
        counts, timings = manifest.counts, manifest.timings
        self.report.metrics(
            {
                "items/kept": counts.kept,
                "items/rejected": counts.rejected,
                "items/processed": timings.processed,
                "rows": counts.rows,
                "seconds": timings.seconds,
            }
        )
        rejected = [item for item in dataset.items.values() if item.state != KEPT]
        if rejected:
            names = ("id", "label", "reason", "sentence")
            columns = {name: [str(getattr(item, name)) for item in rejected] for name in names}
            self.report.table("rejected", pa.table(columns))
        self.tag("dataset_key", manifest.dataset_key)
        self._safely("the dataset of a stage", lambda client: describe(client, self._parent_id, dataset))

    def end(self, status: str, error: str = "") -> None:
        """Close the run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if error:
            self.tag("error", error[:_LONGEST_TEXT])
        self._safely("the end of a run", lambda client: client.set_terminated(self.run_id, status))
        self._safely("the end of a run", lambda client: client.set_terminated(self._parent_id, status))

    def _safely(self, what: str, send: Callable[[Any], None]) -> None:
        if self.run_id is None:
            return
        try:
            send(mlflow_client(self._uri))
        except Exception as error:
            log.warning("MLflow did not take %s: %s", what, error)


@contextmanager
def stage_run(config: PipelineConfig, stage: Stage) -> Iterator[StageRun]:
    """A run for a stage while it works, below the run of this workspace and config (made if need be)."""
    run = _opened(config, stage)
    try:
        yield run
    except KeyboardInterrupt:
        run.end("KILLED", "interrupted")
        raise
    except BaseException as error:
        run.end("FAILED", str(error))
        raise
    run.end("FINISHED")


def parent_run_id(config: PipelineConfig) -> str | None:
    """The run of this workspace and config; None when there is none or MLflow cannot be reached."""
    try:
        uri = tracking_uri(config)
        client = mlflow_client(uri)
        experiment = client.get_experiment_by_name(config.settings.mlflow.experiment)
        return find_parent(client, experiment.experiment_id, config) if experiment else None
    except Exception as error:
        log.warning("MLflow cannot be reached: %s", error)
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
        run_id = named_run(client, _experiment(client, config), config, key, name, note, parent_id)
    except Exception as error:
        log.warning("%s is not shown in MLflow at %s: %s", name, redacted(uri), error)
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
        log.warning("MLflow did not take the place of %s: %s", name, error)


def run_page(config: PipelineConfig, run_id: str) -> str | None:
    """Address of a run's page; None where MLflow is no server or does not answer."""
    uri = tracking_uri(config)
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        experiment = mlflow_client(uri).get_run(run_id).info.experiment_id
    except Exception as error:
        log.warning("MLflow cannot be reached: %s", error)
        return None
    # Without its view of model training, MLflow's page hides runs and the registry.
    place = f"#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
    return f"{redacted(uri).replace('***@', '').rstrip('/')}/{place}"


def reach(config: PipelineConfig) -> str:
    """MLflow's address and version, after asking it something.

    Raises:
        MlflowException: it does not answer.
    """
    uri = tracking_uri(config)
    client = mlflow_client(uri)
    import mlflow

    client.search_experiments(max_results=1)
    return f"{mlflow.__version__} at {redacted(uri)}"


def _opened(config: PipelineConfig, stage: Stage) -> StageRun:
    uri = tracking_uri(config)
    try:
        client = mlflow_client(uri)
        experiment = _experiment(client, config)
        parent_id = find_parent(client, experiment, config) or new_parent(client, experiment, config)
        end_killed(client, experiment, parent_id, stage.name)
        client.update_run(parent_id, status="RUNNING")
        tags = {PARENT_TAG: parent_id, STAGE_TAG: stage.name, **origin_tags(config)}
        run = client.create_run(experiment, run_name=stage.name, tags=tags)
        run_id: str = run.info.run_id
        _log_params(client, run_id, stage.model_dump(mode="json"))
        client.log_text(run_id, config.to_yaml(), "config.yaml")
    except Exception as error:
        log.warning("%s goes on without MLflow at %s: %s", stage.name, redacted(uri), error)
        return StageRun(uri, None, None)
    return StageRun(uri, parent_id, run_id)


def mlflow_client(uri: str) -> Any:
    """MLflow's client of an address, quiet, and without the patience that would hold a stage up."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Its own patience (7 retries, 2 minutes each) would hold a training up for a quarter of an hour.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(uri, registry_uri=uri)


def _experiment(client: Any, config: PipelineConfig) -> str:
    name = config.settings.mlflow.experiment
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    in_workspace = tracking_uri(config) == f"sqlite:///{config.workspace}/mlflow.db"
    artifacts = Path(config.workspace, "mlartifacts").as_uri() if in_workspace else None
    return str(client.create_experiment(name, artifact_location=artifacts, tags=_EXPERIMENT_TAGS))


def _log_params(client: Any, run_id: str, section: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(name, str(value)[:_LONGEST_TEXT]) for name, value in flat(section, "")]
    for start in range(0, len(params), _PARAMS_PER_CALL):
        client.log_batch(run_id, params=params[start : start + _PARAMS_PER_CALL])
