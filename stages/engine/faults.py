"""What to tell about an error that a worker met, wherever it ran."""

import logging
from typing import Any

from mimicmotion.errors import MachineError, MimicMotionError, StageError
from mimicmotion.errors import is_machine_fault as is_machine_fault
from stages.engine.contract import Item

log = logging.getLogger(__name__)


def doing(item: Item | None) -> str:
    """What a worker did, for a message."""
    return f"item {_named(item)}" if item else "loading its models"


def worker_error(error: Any, stage: str, item: Item | None) -> MimicMotionError:
    """The error to raise for one that an item's worker raised; its traceback goes to the log."""
    if not isinstance(error.cause, MimicMotionError):
        log.error("%s: %s failed in its worker:\n%s", stage, doing(item), error)
    return raised(error.cause, stage, doing(item))


def raised(cause: Any, stage: str, what: str) -> MimicMotionError:
    """The error to raise for a cause: itself if it was meant for people, else one that says what to do."""
    if isinstance(cause, MimicMotionError):
        return cause
    kind = MachineError if is_machine_fault(cause) else StageError
    return kind(
        f"{stage}: stopped at {what}: {type(cause).__name__}: {cause}. The log has the traceback; "
        "finished work is kept, so the stage goes on from here when it is run again."
    )


def _named(item: Item) -> str:
    return f"{item.label} ({item.id})" if item.label and item.label != item.id else item.id
