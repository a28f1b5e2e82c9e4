"""The command ``track``: show in MLflow what it lacks, from what is published."""

from dataclasses import replace

import typer

from flows.commands.run import Config, Overrides
from stages.engine.config import load_config
from stages.engine.status import status
from stages.runner import track_stage


def track(config: Config, overrides: Overrides = None) -> None:
    """Show in MLflow what it lacks of every fresh dataset: numbers over steps, pictures, tables, inputs."""
    settings = replace(load_config(config, overrides or []), run_by="track")
    states = {}
    for line in status(settings):
        # Only what is published for this very config can be shown.
        states[line.name] = track_stage(settings, line.name) if line.state == "fresh" else f"is {line.state}"
        typer.echo(f"{line.name}: {states[line.name]}")
    if "shown without pictures" in states.values():
        raise typer.Exit(1)
