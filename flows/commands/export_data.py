"""The command ``export-data``: kept clips as films, masks and metadata that another trainer reads.

``mimicmotion export-data configs/paper.yaml --for diffsynth --out exported``

``flows/cli.py`` mounts the function ``export_data``.
"""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from mimicmotion.clips.trainers import FORMS, Trainer
from mimicmotion.errors import InputError
from stages.engine.config import load_config
from stages.engine.plan import StageGraph
from stages.parts.export_clips import exporter
from stages.parts.export_folder import check_out, read_texts, write_export
from stages.runner import run_part

_TEXT = "a person is dancing"


def export_data(
    config: Config,
    trainer: Annotated[Trainer, typer.Option("--for", help="The trainer, or the form, to write for.")],
    out: Annotated[Path, typer.Option(help="The folder to make; it must not be there, or be empty.")],
    overrides: Overrides = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Most frames of a clip. Else 81 for diffsynth, 49 for ltx, whole stretches for others.",
        ),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Draw poses in full colours; else as bright as they are confident."),
    ] = False,
    text: Annotated[str, typer.Option(help="What every clip shows.")] = _TEXT,
    captions: Annotated[
        Path | None, typer.Option(help="List with columns path and text, for films with a text of their own.")
    ] = None,
) -> None:
    """Write every kept clip with pose, face, masks, background and reference, as another trainer reads them.

    Clips are made once and kept in the workspace, so the command can be stopped and given again.
    """
    check_out(out)
    settings = load_config(config, overrides or [])
    graph, form = StageGraph(settings), FORMS[trainer]
    clips = graph.result("clips")
    inputs = {**graph.read_by(clips), "clips": clips}
    sources = inputs["decode"].table()["source"].to_pylist()
    texts = read_texts(captions, sources, text)
    most = form.num_frames if frames is None else frames
    if most is not None and most <= form.multiple:
        raise InputError(
            f"--frames {most}: clips for {trainer} have {form.multiple} k + 1 frames, so {form.multiple + 1} "
            "or more are needed"
        )
    part = exporter(settings.stages, plain=plain, num_frames=most, multiple=form.multiple)
    exported = run_part(settings, part, inputs)
    if not exported.table().num_rows:
        raise InputError(
            f"no stretch of kept windows is long enough: clips for {trainer} have at least "
            f"{form.multiple + 1} frames; choose another --for, or keep more neighbouring windows (clips)"
        )
    origin = {
        "config": settings.portable(),
        "datasets": {name: dataset.key for name, dataset in sorted(inputs.items())},
    }
    counts = write_export(out, trainer, exported, texts, origin)
    shown = ", ".join(f"{count} {split}" for split, count in counts.items())
    Terminal().lines(f"{out}: clips: {shown}; written for {trainer}")
