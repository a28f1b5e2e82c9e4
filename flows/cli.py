"""The command line: ``mimicmotion --help``."""

import logging
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from flows.commands.processes import spare_loopback
from flows.terminal import Terminal
from mimicmotion.errors import MimicMotionError
from mimicmotion.foreign import says_disk_full, says_out_of_memory
from mimicmotion.redaction import CleanRecord

COMMANDS = {
    "demo": ("demo", "Run the whole pipeline on the built-in toy world, in the current folder."),
    "rebuild": ("run", "Run every stale stage of a config, as a Prefect flow in this process."),
    "stage": ("run", "Run one stage by name, in this process."),
    "status": ("run", "Show which stages are fresh, stale, partial or missing, and what was rejected."),
    "ablation": ("ablation", "Run the arms of an ablation with every seed, and compare their scores."),
    "animate": ("animate", "Animate the person in a picture with the motion of a video."),
    "evaluate": ("evaluate", "Score results against the truth, or pairs without one, under a protocol."),
    "calibrate": ("calibrate", "Make a model's confidences probabilities, and show how reliable they are."),
    "judge": ("judge", "Score films that have no true film, against reference picture and driving poses."),
    "export": ("export", "Write a checkpoint's averaged weights as a pipeline folder and a released file."),
    "export-data": (
        "export_data",
        "Write kept clips with pose, face and masks as another trainer reads them.",
    ),
    "export-poses": ("export_poses", "Write keypoints as OpenPose, DWPose for ComfyUI or Parquet."),
    "review": ("review", "Serve a page on which a person accepts or rejects windows by a key."),
    "report": ("report", "Write one page with every test video side by side, sortable by score."),
    "ui": ("ui", "Serve MLflow's page, and Prefect's if asked, on this machine only."),
    "serve": ("serve", "Serve Prefect with a worker, MLflow and Ray on this machine only, until Ctrl-C."),
    "track": ("track", "Show in MLflow what it lacks of every fresh dataset."),
    "doctor": ("doctor", "Check this machine against a config."),
    "weights": ("weights", "The weight files that a config needs, and their forms."),
}
"""Command -> its module in ``flows/commands``, and what the list of commands says of it.

A module is imported when its command runs, so that help comes at once.
"""


class Commands(TyperGroup):
    """The commands, each imported when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Return the command itself in place of its line in the list."""
        name, line, rest = super().resolve_command(ctx, args)
        return name, load_command(args[0]) if line else None, rest


def load_command(name: str) -> Any:
    """Import a command, or a group of them."""
    from stages.adapters.ray.environment import QUIET_VARIABLES

    for variable, value in QUIET_VARIABLES.items():
        os.environ.setdefault(variable, value)
    module = import_module(f"flows.commands.{COMMANDS[name][0]}")
    found: Any = getattr(module, name.replace("-", "_"))
    if not isinstance(found, typer.Typer):
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name)(found)
        found = single
    command = typer.main.get_command(found)
    command.name = name
    return command


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _root() -> None:
    """Train, run and judge MimicMotion as one staged pipeline."""


_FAILED, _INTERRUPTED = 1, 130


def _for_people(error: Exception) -> MimicMotionError | None:
    """What to tell of an error that a machine, a place or a name causes; None for one that is ours."""
    if isinstance(error, MimicMotionError):
        return error
    if isinstance(error, MemoryError) or says_out_of_memory(error):
        said = str(error).partition("\n")[0] or "the machine has no more"
        return MimicMotionError(f"out of memory: {said}. Ask for less at once, or take a larger machine.")
    if not isinstance(error, OSError):
        return None
    place, why = error.filename2 or error.filename, error.strerror or error
    if says_disk_full(error):
        return MimicMotionError(f"{place or 'a disk'}: {why}. Make room there and run it again.")
    named = place is not None and Path(os.fsdecode(place)).is_absolute()
    if place is None or (isinstance(error, FileNotFoundError) and not named):  # e.g. a program of ours
        return None
    return MimicMotionError(f"{place} cannot be used: {why}. Name another place, or let this user in there.")


def main() -> None:
    """Run a command; what goes wrong on the user's side is one message, without a traceback."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for name in ("flows", "mimicmotion", "stages"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.setLogRecordFactory(CleanRecord)
    spare_loopback()
    console = Terminal(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except Exception as error:
        told = _for_people(error)
        if told is None:
            raise
        console.print("[bold red]error[/bold red]", end=" ")
        console.print(str(told), markup=False)
        sys.exit(_FAILED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # what Typer makes of Ctrl-C
            does = "works on everything again, as --force says" if "--force" in sys.argv else "does the rest"
            console.lines(f"Stopped. What was finished is kept; the same command {does}.")
        raise


if __name__ == "__main__":
    main()
