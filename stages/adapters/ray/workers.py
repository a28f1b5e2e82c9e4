"""What the project asks of Ray: a connection, and workers for items.

Frames never pass through here: a worker publishes what it
made and sends back a few numbers.
"""

import logging
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from mimicmotion.errors import InputError, MachineError, RejectedItem, StageError
from stages.adapters.ray import internals
from stages.adapters.ray.environment import (
    cluster_address,
    cluster_environment,
    own_sigterm,
    prepare_local,
    start_patiently,
)
from stages.adapters.ray.worker_lines import LINES, forwarding
from stages.engine.config import RaySettings
from stages.engine.contract import Item, Runtime
from stages.engine.faults import doing, worker_error
from stages.engine.item_task import Task, Worker
from stages.engine.progress import told_if_long
from stages.engine.records import ItemState

log = logging.getLogger(__name__)

_DEATHS = (RayActorError, OutOfMemoryError, WorkerCrashedError)
_WAIT_S = 1.0  # Ray answers to signals when it has waited only
_KNOCK_S = 10.0
_PLACE_S = 60.0
_MEGABYTE = 1 << 20


def connect(settings: RaySettings) -> None:
    """Join the cluster of the config, or start Ray on this machine until the process ends.

    What workers print becomes lines of the logger ``worker_lines``, in the context of whoever connected last.

    Raises:
        MachineError: the cluster cannot be reached.
    """
    internals.forward_lines(LINES, forwarding())
    if ray.is_initialized():
        if _is_alive():
            return
        log.warning("Ray is gone; connecting again")
        ray.shutdown()
    quiet: dict[str, Any] = {"log_to_driver": True, "logging_level": logging.ERROR}
    with own_sigterm():
        if address := cluster_address(settings):
            _join(address, settings, quiet)
        else:
            prepare_local(settings)
            internals.stay_on_this_machine()
            local: dict[str, Any] = {
                "num_cpus": settings.num_cpus,
                "include_dashboard": settings.dashboard,
                "dashboard_host": "127.0.0.1",
                "object_store_memory": settings.object_store_mb * _MEGABYTE,
            }
            start_patiently(lambda: ray.init(address="local", **local, **quiet), ray.shutdown)


def _join(address: str, settings: RaySettings, quiet: dict[str, Any]) -> None:
    if address.startswith(("http://", "https://")):
        raise InputError(
            f"ray.address {address} is the address of Ray's page. Give host:port of its head, or "
            "`auto`; leave the field and RAY_ADDRESS out to run on this machine."
        )
    try:
        head = internals.head_behind_auto() if address == "auto" else address
        _check_reachable(head)
        with told_if_long(f"Ray at {address} answers"):
            ray.init(address=address, runtime_env=cluster_environment(settings, head), **quiet)
    except (OSError, RayError, RuntimeError, ValueError) as error:
        raise MachineError(
            f"ray.address {address}: cannot be reached ({error}). "
            "Start that cluster, or leave the field and RAY_ADDRESS out to run on this machine."
        ) from error


def _is_alive() -> bool:
    """Whether the connected Ray still answers."""
    try:
        return any(node["Alive"] for node in ray.nodes())
    except RayError:
        return False


def _check_reachable(address: str) -> None:
    """Raise ``OSError`` soon where nobody listens at host:port; Ray itself waits for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        if int(port) >= 2**16:
            raise OSError(f"{port} is no port")
        with socket.create_connection((host, int(port)), timeout=_KNOCK_S):
            return


def cluster_resources() -> dict[str, float]:
    """What the connected Ray has in all, e.g. ``{"CPU": 8.0, "GPU": 1.0}``."""
    return {name: float(amount) for name, amount in ray.cluster_resources().items()}


def ray_version() -> str:
    """Version of the installed Ray."""
    return str(ray.__version__)


def map_items(
    task: Task,
    stage: str,
    work: Sequence[tuple[Item, str]],
    runtime: Runtime,
    reject: Callable[[Item, str, RejectedItem], ItemState],
    section: str = "",
) -> Iterator[ItemState]:
    """Outcomes of items as workers finish them, in any order.

    Args:
        task: what a worker does.
        stage: name for messages.
        work: items with their keys.
        runtime: how many workers, with what, how long, how often again.
        reject: publishes that an item took too long or keeps killing its worker.
        section: of a config, where the runtime is set; the stage's by default.

    Raises:
        StageError: an item met a bug; names the item.
        MachineError: workers die whatever they work on, or a disk or network failed; names the item.
        MimicMotionError: what the worker raised on purpose.
    """
    pool = _Pool(task, stage, runtime, reject, section or stage)
    try:
        yield from pool.outcomes(work)
    finally:
        pool.stop()


@dataclass
class _Slot:
    """One place for a worker: its actor, what it does now, and since when."""

    actor: Any = None
    ref: Any = None
    item: tuple[Item, str] | None = None
    since_s: float = 0.0


class _Pool:
    def __init__(
        self,
        task: Task,
        stage: str,
        runtime: Runtime,
        reject: Callable[[Item, str, RejectedItem], ItemState],
        section: str,
    ) -> None:
        self._section = section
        self._task = ray.put(task)
        self._stage = stage
        self._runtime = runtime
        self._reject = reject
        self._slots: list[_Slot] = []
        self._deaths: Counter[str] = Counter()
        self._deaths_in_a_row = 0
        self._waits_since_s: float | None = None
        self._queue: deque[tuple[Item, str]] = deque()
        self._actor = ray.remote(Worker).options(
            num_cpus=runtime.cpus_per_worker,
            num_gpus=runtime.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
        )

    def outcomes(self, work: Sequence[tuple[Item, str]]) -> Iterator[ItemState]:
        """Work on everything; at most one item is with each worker, so memory does not grow."""
        check_resources(self._section, self._runtime, 1)
        self._queue.extend(work)
        self._waits_since_s = time.monotonic()
        self._slots = [_Slot() for _ in range(min(self._runtime.workers, len(work)))]
        for slot in self._slots:
            self._start(slot)
        # A worker that is still loading, or waits for a place in the cluster, has nothing to hold up the end.
        while self._queue or any(slot.item for slot in self._slots):
            self._warn_if_unplaced()
            busy = [slot for slot in self._slots if slot.ref is not None]
            ready = internals.first_ready([slot.ref for slot in busy], self._patience_s(busy))
            for slot in busy:
                outcome = self._taken(slot) if slot.ref in ready else self._overdue(slot)
                if outcome is not None:
                    yield outcome
                self._assign_idle()

    def stop(self) -> None:
        """End all workers at once, whatever they do."""
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor, no_restart=True)
        self._slots = []

    def _start(self, slot: _Slot) -> None:
        if not any(other.item or (other.actor is not None and other.ref is None) for other in self._slots):
            self._waits_since_s = time.monotonic()  # nobody is at work: say so where that lasts
        slot.actor = self._actor.remote(self._task, self._stage)
        slot.ref = slot.actor.load.remote()

    def _idle(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.ref is None and slot.actor is not None]

    def _assign_idle(self) -> None:
        for slot in self._idle()[: len(self._queue)]:
            slot.item = self._queue.popleft()
            slot.ref, slot.since_s = slot.actor.run.remote(*slot.item), time.monotonic()

    def _patience_s(self, busy: Sequence[_Slot]) -> float:
        ends = [slot.since_s + self._runtime.limit_s(slot.item[0]) for slot in busy if slot.item]
        return min([_WAIT_S, *(max(0.01, end - time.monotonic()) for end in ends)])

    def _warn_if_unplaced(self) -> None:
        """Say once that no worker has come up: a cluster may have no place for them."""
        if self._waits_since_s is None or time.monotonic() < self._waits_since_s + _PLACE_S:
            return
        self._waits_since_s = None
        there = ", ".join(f"{cluster_resources().get(name, 0):g} {name}" for name in ("CPU", "GPU"))
        log.warning(
            "%s: no worker has loaded in %g s; each asks %g CPU and %g GPU of one machine, Ray has "
            "%s in all. Waiting.",
            self._stage,
            _PLACE_S,
            self._runtime.cpus_per_worker,
            self._runtime.gpus_per_worker,
            there,
        )

    def _taken(self, slot: _Slot) -> ItemState | None:
        """The outcome of a worker that is done; None when it was loading or its item is to be redone."""
        ref, slot.ref = slot.ref, None
        try:
            outcome: ItemState | None = ray.get(ref)
        except _DEATHS as error:
            return self._died(slot, error)
        except RayTaskError as error:
            raise worker_error(error, self._stage, slot.item[0] if slot.item else None) from None
        self._deaths_in_a_row = 0
        self._waits_since_s = None
        slot.item = None
        return outcome

    def _died(self, slot: _Slot, error: Exception) -> ItemState | None:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        what = doing(slot.item[0] if slot.item else None)
        log.warning("%s: a worker died at %s: %s", self._stage, what, error)
        self._deaths_in_a_row += 1
        # One bad item cannot reach this many in a row before it is rejected; a broken machine does.
        if self._deaths_in_a_row > 2 * (self._runtime.retries + 1) + self._runtime.workers:
            raise MachineError(
                f"{self._stage}: workers keep dying, {self._deaths_in_a_row} in a row, last at {what} "
                f"({reason}). Look for too little memory or a broken GPU driver; finished items are kept, so "
                "run it again."
            ) from error
        item = slot.item
        if item is None:
            self._replace(slot)
            return None
        self._deaths[item[1]] += 1
        outcome = None
        if self._deaths[item[1]] > self._runtime.retries:
            sentence = f"its worker died {self._deaths[item[1]]} times ({reason})"
            outcome = self._reject(*item, RejectedItem("worker_died", sentence))
            self._deaths_in_a_row = 0
        else:
            self._queue.appendleft(item)
        self._replace(slot)
        return outcome

    def _overdue(self, slot: _Slot) -> ItemState | None:
        if slot.item is None:
            return None
        item, limit_s = slot.item, self._runtime.limit_s(slot.item[0])
        if time.monotonic() < slot.since_s + limit_s:
            return None
        ray.kill(slot.actor, no_restart=True)
        field = "item" if limit_s == self._runtime.item_timeout_s else "frame"
        sentence = f"took longer than {limit_s:g} s ({self._section}.runtime.{field}_timeout_s)"
        outcome = self._reject(*item, RejectedItem("timeout", sentence))
        self._replace(slot)
        return outcome

    def _replace(self, slot: _Slot) -> None:
        """A new worker in a slot, unless nothing is left for it.

        One that is idle comes first: it may hold the only place in the cluster, after a machine was lost.
        """
        ray.kill(slot.actor, no_restart=True)
        slot.actor = slot.ref = slot.item = None
        if len(self._queue) > len(self._idle()):
            self._start(slot)


def check_resources(stage: str, runtime: Runtime, num_workers: int) -> None:
    """Refuse work that a Ray of this machine can never place; a cluster may grow, so that is only a warning.

    Raises:
        StageError: says what is asked and what is there.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    lacking = []
    for name, one in (("CPU", runtime.cpus_per_worker), ("GPU", runtime.gpus_per_worker)):
        there = [node.get(name, 0.0) for node in nodes]
        if one * num_workers > sum(there):
            lacking.append(f"{one * num_workers:g} {name} asked, {sum(there):g} there")
        elif one > max(there):
            lacking.append(f"{one:g} {name} asked for a worker, its largest machine has {max(there):g}")
    if not lacking:
        return
    message = f"{stage}: Ray has too little for {num_workers} worker(s): {'; '.join(lacking)}."
    if internals.started_here():
        raise StageError(f"{message} Lower {stage}.runtime or use a larger machine.")
    log.warning("%s Waiting for the cluster to grow.", message)
