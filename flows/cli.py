"""The command line: ``mimicmotion --help``."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console

from flows import (
    ablation_command,
    animate_command,
    doctor_command,
    evaluate_command,
    export_command,
    report_command,
    run_commands,
    serve_command,
    track_command,
    ui_command,
    weights_commands,
)
from mimicmotion.errors import MimicMotionError
from stages.ray_environment import QUIET_VARIABLES

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, run and judge MimicMotion as one staged pipeline.",
)
weights = typer.Typer(no_args_is_help=True, help="The weight files that a config needs, and their forms.")
app.add_typer(weights, name="weights")

_COMMANDS: dict[str, Callable[..., Any]] = {
    "rebuild": run_commands.rebuild,
    "stage": run_commands.stage,
    "status": run_commands.status,
    "ablation": ablation_command.ablation,
    "animate": animate_command.animate,
    "evaluate": evaluate_command.evaluate,
    "export": export_command.export,
    "report": report_command.report,
    "ui": ui_command.ui,
    "serve": serve_command.serve,
    "track": track_command.track,
    "doctor": doctor_command.doctor,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
weights.command("list")(weights_commands.list_weights)
weights.command("fetch")(weights_commands.fetch)
weights.command("verify")(weights_commands.verify)
weights.command("convert")(weights_commands.convert)

_FAILED, _INTERRUPTED = 1, 130


def main() -> None:
    """Run a command; what goes wrong on the user's side is one message, without a traceback."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for name in ("flows", "mimicmotion", "stages"):
        logging.getLogger(name).setLevel(logging.INFO)
    for name, value in QUIET_VARIABLES.items():
        os.environ.setdefault(name, value)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except MimicMotionError as error:
        console.print("[bold red]error[/bold red]", end=" ")
        console.print(str(error), markup=False)
        sys.exit(_FAILED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # what Typer makes of Ctrl-C
            console.print("Stopped. What was finished is kept; the same command does the rest.")
        raise
