"""Lines that workers print, as lines of a logger, so that a flow run can show them."""

import contextvars
import logging
from collections.abc import Callable
from typing import Any

LINES = "worker_lines"
"""Name of the logger. Nothing shows its lines until a handler is added, as Ray prints them anyway."""

_SERVICES = ("autoscaler", "gcs_server")


def forwarding() -> Callable[[dict[str, Any]], None]:
    """Gives what Ray tells of printed lines to the logger, in the context of whoever calls this.

    A handler of Prefect finds its flow run by the context, which Ray's listening thread lacks.
    """
    context = contextvars.copy_context()
    logger = logging.getLogger(LINES)
    logger.propagate = False
    logger.setLevel(logging.INFO)

    def forward(data: dict[str, Any]) -> None:
        if data.get("pid") in _SERVICES:
            return
        who = f"{data.get('actor_name') or data.get('task_name') or 'worker'} pid={data.get('pid')}"
        for line in data["lines"]:
            context.run(logger.info, "(%s) %s", who, line)

    return forward
