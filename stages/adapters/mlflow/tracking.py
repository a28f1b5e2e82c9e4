"""Runs in MLflow that show what a stage did.

Only this file, ``mlflow_delivery.py``, ``mlflow_runs.py`` and ``model_registry.py`` know MLflow. A failure
here is logged and never stops a stage; what MLflow does not take is kept in the workspace and sent later.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mimicmotion.errors import StageError
from stages.adapters.mlflow.delivery import deliver, is_refused, make_run, send_kept, stage_note, try_to_send
from stages.adapters.mlflow.outbox import NEW, Note, keep, new_run, num_kept
from stages.adapters.mlflow.registry import MlflowRegistry
from stages.adapters.mlflow.runs import (
    CONFIG_TAG,
    PARENT_TAG,
    dataset_facts,
    end_killed,
    find_parent,
    named_run,
)
from stages.engine.config import PipelineConfig, redacted, tracking_uri
from stages.engine.contract import Registry, Report, Stage
from stages.engine.datasets import PublishedDataset
from stages.engine.records import KEPT

log = logging.getLogger(__name__)

_LONGEST_TEXT = 5000
_PAUSE_S = 60.0
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Else MLflow's page takes the experiment for one about prompts, and hides runs and models."""


class MlflowReport:
    """Shows things in one MLflow run. Picklable; usable in any process that reaches MLflow.

    Args:
        uri: MLflow's address.
        run_id: the run; None shows nothing.
        workspace: where to keep what MLflow does not take; None drops it.
    """

    def __init__(self, uri: str, run_id: str | None, workspace: str | None = None) -> None:
        self._uri = uri
        self._run_id = run_id
        self._workspace = workspace
        self._silent_until_s = 0.0

    @property
    def run_id(self) -> str | None:
        """Id of the run; None where nothing is shown."""
        return self._run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers under their names, in one call."""
        self.show(Note("metrics", {"values": {name: float(values[name]) for name in values}, "step": step}))

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        """Log a picture, uint8 (h, w, 3) RGB; with a step it joins the evolution of its name."""
        from PIL import Image

        with TemporaryDirectory() as folder:
            file = Path(folder, "picture.png")
            Image.fromarray(image).save(file)
            self.show(Note("picture", {"name": name, "step": step}, file))

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file under an artifact folder."""
        self.show(Note("file", {"folder": folder}, path))

    def table(self, name: str, table: pa.Table) -> None:
        """Log a table that people can browse."""
        with TemporaryDirectory() as folder:
            file = Path(folder, "table.parquet")
            pq.write_table(table, file)
            self.show(Note("table", {"name": name}, file))

    def text(self, name: str, text: str) -> None:
        """Log a text file."""
        self.show(Note("text", {"name": name, "text": text}))

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

        if self._run_id is not None and not self._run_id.startswith(NEW):
            self._try("system metrics", start)
        try:
            yield
        finally:
            for monitor in monitors:
                monitor.finish()

    def section(self, title: str, text: str, numbers: Mapping[str, float] = MappingProxyType({})) -> None:
        """Put a section of Markdown and numbers on the page of the parent run, in place of the old ones."""
        self.show(Note("section", {"title": title, "text": text, "numbers": dict(numbers)}))

    def show(self, note: Note) -> None:
        """Show a note now, else keep it for later."""
        run_id = self._run_id
        if run_id is None:
            return
        sent = not run_id.startswith(NEW) and self._try(
            note.kind, lambda client: deliver(client, run_id, note)
        )
        if not sent and self._workspace is not None:
            try:
                keep(self._workspace, run_id, note)
            except OSError as error:
                log.warning("What MLflow did not take cannot be kept either: %s", redacted(error))

    def _try(self, what: str, send: Callable[[Any], None]) -> bool:
        """Whether MLflow took something, or will never take it."""
        if time.monotonic() < self._silent_until_s:
            return False
        try:
            send(mlflow_client(self._uri))
        except Exception as error:
            if is_refused(error):
                log.warning("MLflow refuses %s: %s", what, redacted(error))
                return True
            # A server that is away must not slow every step down, so it is left alone for a while.
            self._silent_until_s = time.monotonic() + _PAUSE_S
            log.warning(
                "MLflow did not take %s, nor what follows for %g s: %s", what, _PAUSE_S, redacted(error)
            )
            return False
        return True


class StageRun:
    """One stage's run in MLflow, nested in the run of its config.

    Attributes:
        report: where the stage shows what it did.
        registry: where it registers models; None when MLflow could not be reached.
        run_id: id of the run; None when MLflow could not be reached.
    """

    def __init__(self, uri: str, run_id: str | None, workspace: str | None = None, new: str = "") -> None:
        self.run_id = run_id
        self._report = MlflowReport(uri, run_id or new or None, workspace)
        self.report: Report = self._report
        self.registry: Registry | None = MlflowRegistry(mlflow_client(uri), run_id) if run_id else None

    def tag(self, name: str, value: str) -> None:
        """Tag the run."""
        self._report.show(Note("tag", {"name": name, "value": value}))

    def reads(self, inputs: Mapping[str, PublishedDataset]) -> None:
        """Show which datasets the stage reads, each with its key and counts."""
        if found := [dataset_facts(dataset.manifest) for dataset in inputs.values()]:
            self._report.show(Note("reads", {"datasets": found}))

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
        self._report.show(Note("dataset", {"facts": dataset_facts(manifest)}))

    def end(self, status: str, error: str = "") -> None:
        """Close the run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if error:
            self.tag("error", redacted(error)[:_LONGEST_TEXT])
        self._report.show(Note("end", {"status": status}))


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
    finally:
        if num_kept(config.workspace):
            _send_or_say(config)


def _send_or_say(config: PipelineConfig) -> None:
    try:
        client = mlflow_client(tracking_uri(config))
        try_to_send(client, _experiment(client, config), config)
    except Exception as error:
        log.warning("MLflow is still away: %s", redacted(error))
    if left := num_kept(config.workspace):
        advice = f"but kept in the workspace: `mimicmotion track {config.source}` sends them"
        log.warning("%d things are not in MLflow yet, %s", left, advice)


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
        run_id = named_run(client, _experiment(client, config), config, key, name, note, parent_id)
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


def send_later(config: PipelineConfig) -> tuple[int, int]:
    """Send to MLflow what the workspace keeps for it; gives how many things went and how many are left.

    Raises:
        StageError: MLflow does not answer, or another process is sending.
    """
    uri = tracking_uri(config)
    try:
        client = mlflow_client(uri)
        num_sent = send_kept(client, _experiment(client, config), config)
    except StageError:
        raise
    except Exception as error:
        raise StageError(
            f"MLflow at {redacted(uri)} did not take everything ({redacted(error)}). Try again later."
        ) from error
    return num_sent, num_kept(config.workspace)


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
    note = stage_note(config, stage.name, stage.model_dump(mode="json"))
    try:
        client = mlflow_client(uri)
        experiment = _experiment(client, config)
        if parent_id := find_parent(client, experiment, config):
            end_killed(client, experiment, parent_id, stage.name)
        parent_id, run_id = make_run(client, experiment, config, note, {})
        client.update_run(parent_id, status="RUNNING")
        try_to_send(client, experiment, config)
    except Exception as error:
        log.warning("%s goes on without MLflow at %s: %s", stage.name, redacted(uri), redacted(error))
        new = new_run()
        keep(config.workspace, new, note)
        return StageRun(uri, None, config.workspace, new)
    return StageRun(uri, run_id, config.workspace)


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
