"""The command ``report``: the gallery of a config's test videos, as one file that a browser opens."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from mimicmotion.errors import InputError
from stages.adapters.mlflow.tracking import run_page
from stages.engine.config import load_config
from stages.engine.plan import StageGraph
from stages.engine.storage.workspace import is_remote
from stages.parts.scored import GALLERY_FILE, write_reports


def report(
    config: Config,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it; else into the workspace.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
) -> None:
    """Write every test video side by side, sortable by score, into one page that needs no network.

    Pairs without a true film (animate.pairs) have a page of their own beside it. Videos of more than 200 MB
    together lie in a folder beside the page.
    """
    settings = load_config(config, overrides or [])
    graph = StageGraph(settings)
    scores = graph.result("evaluate")
    inputs = graph.read_by(scores)
    runs = {name: dataset.manifest.run_id for name, dataset in {**inputs, "evaluate": scores}.items()}
    pages = {f"MLflow run {name}": run_page(settings, run_id) for name, run_id in runs.items() if run_id}
    links = {name: page for name, page in pages.items() if page}
    if out is None:
        if is_remote(settings.workspace):
            raise InputError(f"workspace {settings.workspace} is not a local folder: give --out FILE.")
        out = Path(settings.workspace) / "reports" / scores.key / GALLERY_FILE
    try:
        written = write_reports(out, scores, inputs, links)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}): give --out FILE.") from error
    Terminal().lines(*(f"{page} ({page.stat().st_size / 1e6:.1f} MB)" for page in written))
    for page in written if show else ():
        webbrowser.open(page.resolve().as_uri())
