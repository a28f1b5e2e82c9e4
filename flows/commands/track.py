"""The command ``track``: send to MLflow what it did not take while it was away."""

import typer

from flows.commands.run import Config, Overrides
from stages.engine.config import load_config


def track(config: Config, overrides: Overrides = None) -> None:
    """Send what MLflow missed: metrics, pictures, files and whole runs that the workspace keeps."""
    from stages.adapters.mlflow.tracking import send_later

    num_sent, num_left = send_later(load_config(config, overrides or []))
    typer.echo(f"sent {num_sent}; left {num_left}" + (", of other configs" if num_left else ""))
