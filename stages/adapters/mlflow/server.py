"""MLflow's server for pages of its own alone: ``mlflow server --app-name mimicmotion --allowed-hosts ...``.

MLflow itself lets pages of every port of this machine ask, and checks origins on some of its paths only.
``pyproject.toml`` makes this known to MLflow.
"""

import os

from stages.adapters.guard import Guard

APP_NAME = "mimicmotion"
"""Name of the application in ``pyproject.toml``."""
_HOSTS_VARIABLE = "MLFLOW_SERVER_ALLOWED_HOSTS"  # what MLflow's command makes of --allowed-hosts


def guarded() -> Guard:
    """MLflow's application behind the guard, reached at the hosts of ``--allowed-hosts``."""
    from mlflow.server.fastapi_app import app

    return Guard(app, os.environ.get(_HOSTS_VARIABLE, "").split(","))
