"""The command ``doctor``: does this machine have what a config needs?"""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from flows.commands.examination import examine
from flows.commands.run import Config, Overrides
from flows.terminal import Terminal
from stages.engine.config import load_config

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    config: Config,
    overrides: Overrides = None,
    strict: Annotated[bool, typer.Option("--strict", help="Count warnings as failures.")] = False,
) -> None:
    """Check this machine against a config; exit code 1 when something it needs is missing."""
    findings = []
    table = Table("", "what")
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    with Terminal(stderr=True).status("looking") as progress:
        for finding in examine(load_config(config, overrides or [])):
            progress.update(f"looked at {finding.what}")
            findings.append(finding)
            style = _STYLES[finding.state]
            texts = map(escape, (finding.what, finding.found, finding.advice))
            table.add_row(f"[{style}]{finding.state}[/{style}]", *texts)
    Terminal().print(table)
    bad = {"fail", "warn"} if strict else {"fail"}
    if any(finding.state in bad for finding in findings):
        raise typer.Exit(1)
