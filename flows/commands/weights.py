"""The commands ``weights list``, ``weights fetch``, ``weights verify`` and ``weights convert``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.animate import download_registered
from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from mimicmotion.errors import InputError
from mimicmotion.weights.fetching import fetch_file, file_digest, wrong_weights
from mimicmotion.weights.known import KnownFile, KnownWeights, known_weights, named_path
from stages.engine.config import load_config

Endpoint = Annotated[
    str | None, typer.Option(help="A mirror to fetch from; else HF_ENDPOINT, else https://huggingface.co.")
]
_Source = Annotated[
    str, typer.Argument(help="Released .pth or .safetensors, checkpoint folder, or models:/name@alias.")
]
_Target = Annotated[
    Path, typer.Argument(help="A file if it ends in .pth or .safetensors, else a folder in diffusers layout.")
]
_Base = Annotated[
    Path | None, typer.Option(help="SVD folder in diffusers layout, where a released file becomes a folder.")
]
_Registry = Annotated[
    str | None, typer.Option("--config", help="Config that names the MLflow of models:/name@alias.")
]


_BAD = ("missing", "differs", "cannot be loaded")


@dataclass(frozen=True)
class Needed:
    """Weights that a config names.

    Attributes:
        fields: the config's fields that name them.
        path: where they lie or belong.
        known: what is known of them; None for a user's own.
    """

    fields: tuple[str, ...]
    path: Path
    known: KnownWeights | None


def list_weights(config: Config, overrides: Overrides = None) -> None:
    """List the weights a config names: where they lie, where they come from, under which licence."""
    console = Terminal(soft_wrap=True, highlight=False)
    for needed in _needed(config, overrides):
        there = "[green]there[/green]" if _is_complete(needed) else "[red]missing[/red]"
        console.print(f"[bold]{escape(needed.path.name)}[/bold]", there)
        facts = [("path", needed.path), ("used by", ", ".join(needed.fields)), *_facts(needed.known)]
        console.lines(*(f"  {label:<8} {text}" for label, text in facts))


def fetch(config: Config, overrides: Overrides = None, endpoint: Endpoint = None) -> None:
    """Download the weights a config names and that are not there. A stopped download goes on."""
    console = Terminal(soft_wrap=True)
    by_hand = []
    for needed in _needed(config, overrides):
        if _is_complete(needed):
            console.lines(f"{needed.path} is there")
        elif needed.known is None or needed.known.repository is None:
            page = needed.known.page if needed.known else "the config names a file of your own"
            by_hand.append(f"{needed.path}: {page}")
        else:
            _fetch(needed.known, needed.path, endpoint, console)
    if by_hand:
        raise InputError("No address to fetch from; put them there by hand:", *by_hand)


def verify(config: Config, overrides: Overrides = None) -> None:
    """Compare weights with what was published; exit code 1 when one is missing or differs."""
    table = Table("path", "state", "sha256")
    is_bad = False
    for path, file in _files(config, overrides):
        expected = file.sha256 if file else None
        found = file_digest(path) if path.is_file() else None
        state = wrong_weights(path) if found and expected is None else None
        state = "cannot be loaded" if state else _verdict(found, expected)
        is_bad |= state in _BAD
        style = "red" if state in _BAD else "green" if state == "as published" else "yellow"
        table.add_row(escape(str(path)), f"[{style}]{state}[/{style}]", found or "")
    Terminal().print(table)
    if is_bad:
        raise typer.Exit(1)


def convert(source: _Source, target: _Target, base: _Base = None, config: _Registry = None) -> None:
    """Write weights in another form; no tensor changes its value."""
    from mimicmotion.animation.checkpoint import released_facts
    from mimicmotion.model.weights import convert as write_converted

    with TemporaryDirectory() as folder:
        place = Path(source)
        if source.startswith("models:/"):
            loaded = None if config is None else load_config(config)
            place = download_registered(source, loaded, Path(folder))
        write_converted(place, target, base, released_facts(place))
    Terminal().lines(f"wrote {target}")


def _facts(known: KnownWeights | None) -> list[tuple[str, str]]:
    if known is None:
        return [("from", "a file of yours, or shipped with this repository")]
    sizes = [file.size_bytes for file in known.files if file.size_bytes is not None]
    size = f"{sum(sizes) / 1e9:.2f} GB" if len(sizes) == len(known.files) else "unknown"
    digests = [file.sha256 for file in known.files if file.sha256 is not None]
    return [
        ("from", f"{known.page}{' (gated)' if known.gated else ''}"),
        ("licence", known.licence),
        ("size", size),
        ("sha256", digests[0] if len(digests) == len(known.files) == 1 else "unknown"),
        ("note", known.note),
    ]


def _verdict(found: str | None, expected: str | None) -> str:
    if found is None:
        return "missing"
    if expected is None:
        return "there; published sha256 unknown"
    return "as published" if found == expected else "differs"


def _needed(config: str, overrides: list[str] | None) -> list[Needed]:
    """The weights a config names, each once."""
    found: dict[Path, list[str]] = {}
    for name, stage in load_config(config, overrides or []).stages.items():
        for field, path in stage.weight_files().items():
            known = known_weights(path)
            found.setdefault(named_path(path, known) if known else path, []).append(f"{name}.{field}")
    return [Needed(tuple(fields), path, known_weights(path)) for path, fields in sorted(found.items())]


def _files(config: str, overrides: list[str] | None) -> Iterator[tuple[Path, KnownFile | None]]:
    for needed in _needed(config, overrides):
        if needed.known is not None:
            for file in needed.known.files:
                yield needed.known.place(file, needed.path), file
        elif needed.path.is_dir():
            yield from ((path, None) for path in sorted(needed.path.rglob("*")) if path.is_file())
        else:
            yield needed.path, None


def _is_complete(needed: Needed) -> bool:
    if needed.known is None:
        return needed.path.exists()
    places = [needed.known.place(file, needed.path) for file in needed.known.files]
    return all(_is_sound(place) for place in places)


def _is_sound(path: Path) -> bool:
    return path.is_file() and wrong_weights(path) is None


def _fetch(known: KnownWeights, path: Path, endpoint: str | None, console: Terminal) -> None:
    console.print(f"[bold]{escape(known.name)}[/bold]")
    console.lines(*(f"  {label:<8} {text}" for label, text in _facts(known)))
    for file in known.files:
        target = known.place(file, path)
        if known.repository is not None and not _is_sound(target):
            fetch_file(known.repository, file.path, target, file.sha256, endpoint, known.revision)
            if file.sha256 is None and known.revision is None:
                newest = f"the newest of {known.repository}, as no commit or sha256 of it is known here"
                console.lines(f"  {target.name} is {newest}: sha256 {file_digest(target)}")
    console.lines(f"fetched {path}")


weights = typer.Typer(
    no_args_is_help=True, add_completion=False, help="The weight files that a config needs, and their forms."
)
weights.command("list")(list_weights)
for _command in (fetch, verify, convert):
    weights.command()(_command)
