"""The command ``doctor``: does this machine have what a config needs?"""

from typing import Annotated

import typer
from rich.text import Text

from flows.commands.examination import examine
from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from stages.engine.config import load_config

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_WIDTH = 25
"""Of the longest name of what is looked at."""


def doctor(
    config: Config,
    overrides: Overrides = None,
    strict: Annotated[bool, typer.Option("--strict", help="Count warnings as failures.")] = False,
) -> None:
    """Check this machine against a config; exit code 1 when something it needs is missing."""
    findings, console = [], Terminal()
    cures: dict[str, list[str]] = {}
    with Terminal(stderr=True).status("looking") as progress:
        for finding in examine(load_config(config, overrides or [])):
            progress.update(f"looked at {finding.what}")
            findings.append(finding)
            # A line each, never broken: paths and commands are copied from here.
            state = Text(f"{finding.state:4}", _STYLES[finding.state])
            console.print(state, Text(f"{finding.what:{_WIDTH}} {finding.found}"), soft_wrap=True)
            if finding.advice:
                cures.setdefault(finding.advice, []).append(finding.what)
    if cures:
        console.lines("", "What to do:", *(f"- {', '.join(what)}: {cure}" for cure, what in cures.items()))
    bad = {"fail", "warn"} if strict else {"fail"}
    if any(finding.state in bad for finding in findings):
        raise typer.Exit(1)
