"""What the project needs of Ray and Ray does not offer in public: the only file that reaches into it.

Tried with the version of ``TRIED``. Where another version has these things elsewhere, the project goes on
without them and says what is lost.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from stages.adapters.ray.environment import LOOPBACK_VARIABLE

log = logging.getLogger(__name__)

TRIED = "2.60"
"""Version of Ray that these were written against."""
_WAIT_S = 1.0
_ABORT_S = 10.0


def _warn(lost: str) -> None:
    log.warning("Ray %s differs inside from %s, which this was tried with: %s", ray.__version__, TRIED, lost)


def forward_lines(name: str, handler: Callable[[Any], None]) -> None:
    """Hand what workers print to a handler, in place of the one of that name."""
    try:
        from ray._private.ray_logging import global_worker_stdstream_dispatcher as printed_by_workers
    except ImportError:
        _warn("lines of workers go to the terminal only, not to the log of a flow run")
        return
    printed_by_workers.remove_handler(name)
    printed_by_workers.add_handler(name, handler)


def stay_on_this_machine() -> None:
    """Let a local Ray listen on 127.0.0.1 alone: it read its variable when it was imported."""
    try:
        from ray._private import ray_constants
    except ImportError:
        _warn(f"set {LOOPBACK_VARIABLE}=0 before the start to keep Ray on 127.0.0.1")
        return
    ray_constants.ENABLE_RAY_CLUSTER = False


def head_behind_auto() -> str:
    """host:port of the cluster that the address ``auto`` means; it may be dead.

    Raises:
        ConnectionError: this machine has none.
    """
    try:
        from ray._private.services import canonicalize_bootstrap_address
    except ImportError:
        _warn("a dead cluster behind the address auto is noticed after minutes")
        return "auto"
    return canonicalize_bootstrap_address("auto") or "auto"


def started_here() -> bool:
    """Whether the connected Ray is this process's own, so that nobody adds machines to it."""
    try:
        node = ray._private.worker._global_node
    except AttributeError:
        _warn("a request that this machine can never meet waits instead of failing")
        return False
    return node is not None and node.is_head()


def first_ready(refs: Sequence[Any], timeout_s: float) -> list[Any]:
    """The first of some results that is there, or nothing in that time.

    Ray gives what a signal raised meanwhile (a flow's time limit) as the cause of a SystemError.
    """
    try:
        ready: list[Any] = ray.wait(list(refs), timeout=timeout_s)[0]
    except SystemError as error:
        raise error.__cause__ or error from None
    return ready


def trainer_class(has_dashboard: bool) -> Any:
    """A TorchTrainer that a signal's exception ends at once; Ray's own where this Ray is another inside.

    Args:
        has_dashboard: whether the cluster serves a dashboard.
    """
    from ray.train.torch import TorchTrainer

    try:
        from ray.train.v2._internal.constants import get_env_vars_to_propagate
        from ray.train.v2._internal.execution.controller import TrainController
    except ImportError:
        _warn("a time limit or SIGTERM ends a training only when Ray itself notices")
        return TorchTrainer

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
                while not first_ready([done], _WAIT_S):
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
