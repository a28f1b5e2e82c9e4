"""The command ``export``: weights that animate, from any checkpoint that training has written.

``mimicmotion export configs/paper.yaml .../checkpoints/step-00010000 --out exported``

``flows/cli.py`` mounts the function ``export``.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from mimicmotion.errors import InputError
from stages.engine.config import load_config
from stages.parts.export_folder import check_out
from stages.parts.exporting import export_checkpoint, wrote
from stages.train import Train


def export(
    config: Config,
    checkpoint: Annotated[Path, typer.Argument(help="Folder step-NNNNNNNN, as training prints it.")],
    out: Annotated[Path, typer.Option(help="New folder for `checkpoint` and `released.safetensors`.")],
    overrides: Overrides = None,
) -> None:
    """Write a checkpoint's averaged weights as a pipeline folder and a released file, checked by loading."""
    settings = load_config(config, overrides or [])
    check_out(out)
    sections = [stage for stage in settings.stages.values() if isinstance(stage, Train)]
    train = next((stage for stage in sections if wrote(stage, checkpoint)), None)
    if train is None:
        raise InputError(
            f"config {settings.name}: {checkpoint} was written by none of its sections that train ("
            f"{', '.join(stage.name for stage in sections) or 'it has none'}): name the config, and "
            "the changed fields, of its run"
        )
    step = export_checkpoint(train, checkpoint, out)
    Terminal().lines(f"step {step}: {out / 'checkpoint'} and {out / 'released.safetensors'}")
