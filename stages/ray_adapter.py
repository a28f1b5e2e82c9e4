"""Everything the project asks of Ray: workers for items, and groups of workers for training.

No other file imports Ray. Frames never pass through here: a worker publishes what it made and sends back a
few numbers.
"""

import logging
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.ray_logging import global_worker_stdstream_dispatcher as printed_by_workers
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from mimicmotion.errors import MachineError, RejectedItem, StageError
from stages.config import RaySettings
from stages.contract import Item, Runtime
from stages.item_task import Task, Worker
from stages.ray_environment import (
    cluster_address,
    cluster_environment,
    own_sigterm,
    prepare_local,
    start_patiently,
    training_variables,
)
from stages.records import ItemState
from stages.worker_faults import doing, raised, worker_error
from stages.worker_lines import LINES, forwarding

log = logging.getLogger(__name__)

_DEATHS = (RayActorError, OutOfMemoryError, WorkerCrashedError)
_WAIT_S = 1.0  # Ray answers to signals when it has waited only
_KNOCK_S = 10.0
_ABORT_S = 10.0
_MEGABYTE = 1 << 20


def connect(settings: RaySettings) -> None:
    """Join the cluster of the config, or start Ray on this machine until the process ends.

    What workers print becomes lines of the logger ``worker_lines``, in the context of whoever connected last.

    Raises:
        MachineError: the cluster cannot be reached.
    """
    printed_by_workers.remove_handler(LINES)
    printed_by_workers.add_handler(LINES, forwarding())
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
            ray_constants.ENABLE_RAY_CLUSTER = False  # Ray read LOOPBACK_VARIABLE when it was imported
            local: dict[str, Any] = {
                "num_cpus": settings.num_cpus,
                "include_dashboard": settings.dashboard,
                "dashboard_host": "127.0.0.1",
                "object_store_memory": settings.object_store_mb * _MEGABYTE,
            }
            start_patiently(lambda: ray.init(address="local", **local, **quiet), ray.shutdown)


def _join(address: str, settings: RaySettings, quiet: dict[str, Any]) -> None:
    try:
        _knock(address)
        ray.init(address=address, runtime_env=cluster_environment(settings), **quiet)
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


def _knock(address: str) -> None:
    """Raise ``OSError`` soon where nobody listens at host:port; Ray itself waits for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
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
) -> Iterator[ItemState]:
    """Outcomes of items as workers finish them, in any order.

    Args:
        task: what a worker does.
        stage: name for messages.
        work: items with their keys.
        runtime: how many workers, with what, how long, how often again.
        reject: publishes that an item took too long or keeps killing its worker.

    Raises:
        StageError: an item met a bug; names the item.
        MachineError: workers die whatever they work on, or a disk or network failed; names the item.
        MimicMotionError: what the worker raised on purpose.
    """
    pool = _Pool(task, stage, runtime, reject)
    try:
        yield from pool.outcomes(work)
    finally:
        pool.stop()


@dataclass
class _Slot:
    """One place for a worker: its actor, what it does now, and since when."""

    actor: Any
    ref: Any
    item: tuple[Item, str] | None = None
    since_s: float = 0.0


class _Pool:
    def __init__(
        self, task: Task, stage: str, runtime: Runtime, reject: Callable[[Item, str, RejectedItem], ItemState]
    ) -> None:
        self._task = ray.put(task)
        self._stage = stage
        self._runtime = runtime
        self._reject = reject
        self._slots: list[_Slot] = []
        self._deaths: Counter[str] = Counter()
        self._deaths_in_a_row = 0
        self._queue: deque[tuple[Item, str]] = deque()
        self._actor = ray.remote(Worker).options(
            num_cpus=runtime.cpus_per_worker,
            num_gpus=runtime.gpus_per_worker,
            max_restarts=0,
            max_task_retries=0,
        )

    def outcomes(self, work: Sequence[tuple[Item, str]]) -> Iterator[ItemState]:
        """Work on everything; at most one item is with each worker, so memory does not grow."""
        check_resources(self._stage, self._runtime, 1)
        self._queue.extend(work)
        self._slots = [self._started() for _ in range(min(self._runtime.workers, len(work)))]
        # A worker that is still loading, or waits for a place in the cluster, has nothing to hold up the end.
        while self._queue or any(slot.item for slot in self._slots):
            busy = [slot for slot in self._slots if slot.ref is not None]
            ready = _first_ready([slot.ref for slot in busy], self._patience_s(busy))
            for slot in busy:
                outcome = self._taken(slot) if slot.ref in ready else self._overdue(slot)
                if outcome is not None:
                    yield outcome
                if slot.ref is None:
                    self._assign(slot)

    def stop(self) -> None:
        """End all workers at once, whatever they do."""
        for slot in self._slots:
            ray.kill(slot.actor, no_restart=True)
        self._slots = []

    def _started(self) -> _Slot:
        actor = self._actor.remote(self._task, self._stage)
        return _Slot(actor, actor.load.remote())

    def _restart(self, slot: _Slot) -> None:
        ray.kill(slot.actor, no_restart=True)
        slot.actor = self._actor.remote(self._task, self._stage)
        slot.ref, slot.item = slot.actor.load.remote(), None

    def _assign(self, slot: _Slot) -> None:
        slot.item = self._queue.popleft() if self._queue else None
        if slot.item:
            slot.ref, slot.since_s = slot.actor.run.remote(*slot.item), time.monotonic()

    def _patience_s(self, busy: Sequence[_Slot]) -> float:
        ends = [slot.since_s + self._runtime.item_timeout_s for slot in busy if slot.item]
        return min([_WAIT_S, *(max(0.01, end - time.monotonic()) for end in ends)])

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
            self._restart(slot)
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
        limit_s = self._runtime.item_timeout_s
        if slot.item is None or time.monotonic() < slot.since_s + limit_s:
            return None
        item = slot.item
        ray.kill(slot.actor, no_restart=True)
        sentence = f"took longer than {limit_s:g} s ({self._stage}.runtime.item_timeout_s)"
        outcome = self._reject(*item, RejectedItem("timeout", sentence))
        self._replace(slot)
        return outcome

    def _replace(self, slot: _Slot) -> None:
        """A new worker in a slot, unless nothing is left for it."""
        slot.ref = slot.item = None
        if self._queue:
            self._restart(slot)


def check_resources(stage: str, runtime: Runtime, num_workers: int) -> None:
    """Refuse work that this Ray can never place; a cluster that grows is only warned about.

    Raises:
        StageError: says what is asked and what is there.
    """
    there = cluster_resources()
    asked = {"CPU": runtime.cpus_per_worker * num_workers, "GPU": runtime.gpus_per_worker * num_workers}
    lacking = [
        f"{amount:g} {name} asked, {there.get(name, 0):g} there"
        for name, amount in asked.items()
        if amount > there.get(name, 0)
    ]
    if not lacking:
        return
    message = f"{stage}: Ray has too little for {num_workers} worker(s): {'; '.join(lacking)}."
    if len(ray.nodes()) > 1:
        log.warning("%s Waiting for the cluster to grow.", message)
        return
    raise StageError(f"{message} Lower {stage}.runtime or use a larger machine.")


class RayLauncher:
    """Distributed training as ``stages.contract.Launcher`` describes it.

    Args:
        stage: name of the stage, for messages.
        folder: where Ray Train keeps its own files.
    """

    def __init__(self, stage: str, folder: Path, settings: RaySettings) -> None:
        self._stage = stage
        self._folder = folder
        self._settings = settings

    def __call__(
        self, loop: Callable[[dict[str, Any]], None], arguments: dict[str, Any], runtime: Runtime
    ) -> None:
        """Run ``loop(arguments)`` on each worker; groups that lose a worker start again, bugs do not.

        Raises:
            StageError: the loop met a bug.
            MachineError: workers died more often than ``runtime.retries``.
            MimicMotionError: what the loop raised on purpose.
        """
        connect(self._settings)
        check_resources(self._stage, runtime, runtime.workers)
        reserved = _reserved_groups()
        for attempt in range(runtime.retries + 1):
            failure = self._fit(loop, arguments, runtime)
            if failure is None:
                return
            if not cluster_address(self._settings):
                _free_groups(_reserved_groups() - reserved)
            log.warning("%s: a worker was lost in attempt %d: %s", self._stage, attempt + 1, failure)
        raise MachineError(
            f"{self._stage}: workers were lost {runtime.retries + 1} times, last: {failure}. "
            "Run it again to go on from the last checkpoint."
        )

    def _fit(
        self, loop: Callable[[dict[str, Any]], None], arguments: dict[str, Any], runtime: Runtime
    ) -> Exception | None:
        from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
        from ray.train.v2.api.exceptions import TrainingFailedError

        resources = {"CPU": runtime.cpus_per_worker, "GPU": runtime.gpus_per_worker}
        trainer = _trainer_class(bool(cluster_address(self._settings)) or self._settings.dashboard)(
            loop,
            train_loop_config=arguments,
            scaling_config=ScalingConfig(
                num_workers=runtime.workers,
                use_gpu=runtime.gpus_per_worker > 0,
                resources_per_worker={name: amount for name, amount in resources.items() if amount},
            ),
            run_config=RunConfig(
                name=self._stage,
                storage_path=str(self._folder),
                failure_config=FailureConfig(max_failures=0),
                worker_runtime_env={"env_vars": training_variables(runtime.cpus_per_worker)},
                logging_config=LoggingConfig(log_level="WARNING"),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            failures = list(getattr(error, "worker_failures", {}).values()) or [error]
            for failure in failures:
                cause = failure.cause if isinstance(failure, RayTaskError) else failure
                # What Ray raises by itself is a lost worker or machine, which the others' loops see as a lost
                # connection; all else is a fault of the loop.
                if not (type(cause).__module__.startswith("ray.") or isinstance(cause, ConnectionError)):
                    log.error("%s: the training loop failed, see its lines above: %s", self._stage, cause)
                    raise raised(cause, self._stage, "training") from None
            return Exception(failures[0])
        return None


def _reserved_groups() -> set[str]:
    """Ids of the placement groups that hold resources now."""
    return {name for name, group in ray.util.placement_group_table().items() if group["state"] != "REMOVED"}


def _free_groups(names: set[str]) -> None:
    """Free what a lost training group still holds, else the next one would wait for it for ever."""
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    for name in names:
        remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(name)))


def _first_ready(refs: Sequence[Any], timeout_s: float) -> list[Any]:
    """The first of some results that is there, or nothing in that time.

    Ray gives what a signal raised meanwhile (a flow's time limit) as the cause of a SystemError.
    """
    try:
        ready: list[Any] = ray.wait(list(refs), timeout=timeout_s)[0]
    except SystemError as error:
        raise error.__cause__ or error from None
    return ready


def _trainer_class(has_dashboard: bool) -> Any:
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.constants import get_env_vars_to_propagate
    from ray.train.v2._internal.execution.controller import TrainController

    class Interruptible(TorchTrainer):
        """Waits so that a signal's exception ends the training at once, and its workers with it.

        Ray itself waits without a look at signals but Ctrl-C, at which it would end the process without a
        word. Its controller and workers are actors of their own: after a flow's time limit they would train
        on beside the next try, in the same folder.
        """

        def _initialize_and_run_controller(self, **arguments: Any) -> Any:
            here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
            variables = {
                "env_vars": {"RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0", **get_env_vars_to_propagate()}
            }
            make = ray.remote(num_cpus=0, label_selector=here, runtime_env=variables)(TrainController)
            controller = make.remote(**arguments)
            try:
                done = controller.run.remote()
                while not _first_ready([done], _WAIT_S):
                    pass
                ray.get(done)
                return ray.get(controller.get_result.remote())
            except RayError:
                raise
            except BaseException:
                with suppress(RayError):  # it ends itself, so that no answer comes
                    ray.get(controller.abort.remote(), timeout=_ABORT_S)
                raise

    class WithoutCleaner(Interruptible):
        """Leaves out the actor that asks the dashboard every second whether training is alive.

        Without a dashboard it would only warn every second; a local Ray ends with this process anyway.
        """

        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [call for call in callbacks if type(call).__name__ != "PlacementGroupCleanerCallback"]

    return Interruptible if has_dashboard else WithoutCleaner
