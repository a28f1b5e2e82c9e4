"""What is shown in a run of MLflow: live, or again from published data.

A failure here is logged and never stops a stage: what a published dataset shows can be shown again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from stages.adapters.mlflow.client import is_refused, mlflow_client
from stages.adapters.mlflow.runs import log_numbers, parent_of, write_section
from stages.engine.config import redacted

log = logging.getLogger(__name__)

_PAUSE_S = 60.0


class MlflowReport:
    """Shows things in one MLflow run. Picklable; usable in any process that reaches MLflow.

    Args:
        uri: MLflow's address.
        run_id: the run; None shows nothing.

    Attributes:
        is_whole: whether MLflow took everything so far.
    """

    def __init__(self, uri: str, run_id: str | None) -> None:
        self._uri = uri
        self.run_id = run_id
        self.is_whole = run_id is not None
        self._silent_until_s = 0.0

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers under their names, in one call."""

        def send(client: Any, run_id: str) -> None:
            new = {name: value for name, value in values.items() if self._lacks_number(client, name, step)}
            log_numbers(client, run_id, new, step)

        self.send("metrics", send)

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        """Log a picture, uint8 (h, w, 3) RGB; with a step it joins the evolution of its name."""
        if step is None:
            file = f"{name}.png"
            self._log_once(file, lambda client, run_id: client.log_image(run_id, image, artifact_file=file))
        else:
            self._log_once(
                f"images/{name.replace('/', '~')}+step+{step}+",  # as MLflow calls such a file
                lambda client, run_id: client.log_image(run_id, image, key=name, step=step, synchronous=True),
            )

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file under an artifact folder."""
        place = f"{folder}/{path.name}" if folder else path.name
        self._log_once(place, lambda client, run_id: client.log_artifact(run_id, str(path), folder or None))

    def table(self, name: str, table: pa.Table) -> None:
        """Log a table that people can browse."""
        file = f"{name}.json"
        self._log_once(file, lambda client, run_id: client.log_table(run_id, table.to_pydict(), file))

    def text(self, name: str, text: str) -> None:
        """Log a text file."""
        self._log_once(name, lambda client, run_id: client.log_text(run_id, text, name))

    def section(self, title: str, text: str, numbers: Mapping[str, float] = MappingProxyType({})) -> None:
        """Put a section of Markdown and numbers on the page of the parent run, in place of the old ones."""

        def send(client: Any, run_id: str) -> None:
            parent_id = parent_of(client, run_id)
            write_section(client, parent_id, title, text)
            log_numbers(client, parent_id, numbers, 0)

        self.send("section", send)

    @contextmanager
    def watched(self, machine: str = "") -> Iterator[None]:
        """Log the load of this machine within the block: processor, memory, disk, network, GPUs.

        Args:
            machine: stands in the names of the numbers, where several machines report.
        """
        monitors: list[Any] = []

        def start(client: Any, run_id: str) -> None:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitors.append(
                SystemMetricsMonitor(
                    run_id, node_id=machine or None, resume_logging=True, tracking_uri=self._uri
                )
            )
            monitors[0].start()

        self.send("system metrics", start)
        try:
            yield
        finally:
            for monitor in monitors:
                monitor.finish()

    def send(self, what: str, send: Callable[[Any, str], None]) -> None:
        """Call a function with MLflow's client and the run, unless MLflow was away a moment ago."""
        if self.run_id is None:
            return
        if time.monotonic() < self._silent_until_s:
            self.is_whole = False
            return
        try:
            send(mlflow_client(self._uri), self.run_id)
        except Exception as error:
            if is_refused(error):
                log.warning("MLflow refuses %s: %s", what, redacted(error))
                return
            # A server that is away must not slow every step down, so it is left alone for a while.
            self.is_whole = False
            self._silent_until_s = time.monotonic() + _PAUSE_S
            log.warning(
                "MLflow did not take %s, nor what follows for %g s: %s", what, _PAUSE_S, redacted(error)
            )

    def _log_once(self, place: str, send: Callable[[Any, str], None]) -> None:
        def send_if_lacking(client: Any, run_id: str) -> None:
            if self._lacks_file(client, place):
                send(client, run_id)

        self.send(place, send_if_lacking)

    def _lacks_number(self, client: Any, name: str, step: int) -> bool:
        return True

    def _lacks_file(self, client: Any, place: str) -> bool:
        return True


class RepeatedReport(MlflowReport):
    """Shows what the run lacks and leaves the rest as it is, so the same may be shown any number of times."""

    def __init__(self, uri: str, run_id: str | None) -> None:
        super().__init__(uri, run_id)
        self._names: set[str] | None = None
        self._steps: dict[str, set[int]] = {}
        self._files: dict[str, list[str]] = {}

    def _lacks_number(self, client: Any, name: str, step: int) -> bool:
        if self._names is None:
            self._names = set(client.get_run(self.run_id).data.metrics)
        if name not in self._steps:
            points = client.get_metric_history(self.run_id, name) if name in self._names else []
            self._steps[name] = {int(point.step) for point in points}
        return step not in self._steps[name]

    def _lacks_file(self, client: Any, place: str) -> bool:
        listed = self._listed(client, place.rpartition("/")[0])
        return place not in listed and not any(
            file.startswith(place) for file in listed if place.endswith("+")
        )

    def _listed(self, client: Any, folder: str) -> list[str]:
        """What lay in an artifact folder when it was first asked for."""
        if folder not in self._files:
            is_there = not folder or folder in self._listed(client, folder.rpartition("/")[0])
            listed = client.list_artifacts(self.run_id, folder or None) if is_there else []
            self._files[folder] = [file.path for file in listed]
        return self._files[folder]
