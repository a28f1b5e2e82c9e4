"""Groups of workers for training, by Ray Train."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from mimicmotion.errors import MachineError
from stages.adapters.ray.environment import cluster_address, training_variables
from stages.adapters.ray.internals import trainer_class
from stages.adapters.ray.workers import check_resources, connect
from stages.engine.config import RaySettings
from stages.engine.contract import Runtime
from stages.engine.faults import raised

log = logging.getLogger(__name__)


class RayLauncher:
    """Distributed training as ``stages.engine.contract.Launcher`` describes it.

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
        trainer = trainer_class(bool(cluster_address(self._settings)) or self._settings.dashboard)(
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
                worker_runtime_env={
                    "env_vars": training_variables(runtime.cpus_per_worker, runtime.gpus_per_worker)
                },
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
