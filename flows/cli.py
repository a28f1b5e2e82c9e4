"""The command line: ``mimicmotion --help``."""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from flows.commands import (
    ablation,
    animate,
    doctor,
    evaluate,
    export,
    report,
    run,
    serve,
    track,
    ui,
    weights,
)
from flows.terminal import Terminal
from mimicmotion.errors import MimicMotionError
from mimicmotion.redaction import CleanRecord
from stages.adapters.ray.environment import QUIET_VARIABLES

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, run and judge MimicMotion as one staged pipeline.",
)
weights_app = typer.Typer(no_args_is_help=True, help="The weight files that a config needs, and their forms.")
app.add_typer(weights_app, name="weights")

_COMMANDS: dict[str, Callable[..., Any]] = {
    "rebuild": run.rebuild,
    "stage": run.stage,
    "status": run.status,
    "ablation": ablation.ablation,
    "animate": animate.animate,
    "evaluate": evaluate.evaluate,
    "export": export.export,
    "report": report.report,
    "ui": ui.ui,
    "serve": serve.serve,
    "track": track.track,
    "doctor": doctor.doctor,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
weights_app.command("list")(weights.list_weights)
weights_app.command("fetch")(weights.fetch)
weights_app.command("verify")(weights.verify)
weights_app.command("convert")(weights.convert)

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
    logging.setLogRecordFactory(CleanRecord)
    console = Terminal(stderr=True, soft_wrap=True, highlight=False)
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
