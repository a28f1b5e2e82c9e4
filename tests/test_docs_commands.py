"""Every command that the documents show is one that the programs know, with all its options."""

import re
import shlex
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import typer
from cyclopts import CycloptsError
from prefect.cli._app import _app
from typer.core import TyperGroup
from typer.main import get_command

from flows.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
DOCUMENTS += [
    ROOT / "docs" / f"{name}.md"
    for name in ("operations", "recipe", "ablation", "metrics", "your-videos", "first-day")
]


def shown(program: str) -> list[str]:
    """Commands of a program in code blocks, over several lines too, and in code spans."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S))
        found += re.findall(rf"^{program} [^#\n]+", blocks, re.M)
        # A bar separates alternatives; three dots stand for what the reader knows.
        spans = re.findall(rf"`({program} [^`|]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
        found += [span for span in spans if "..." not in span]
    return sorted({" ".join(command.split()) for command in found})


def check_ours(line: str) -> None:
    """Raise a usage error where a command of ours cannot be given like this."""
    command, words = get_command(app), shlex.split(line)[1:]
    while isinstance(command, TyperGroup):
        _, found, words = command.resolve_command(typer.Context(command), words)
        assert found is not None
        command = found
    if words:  # else only the command is named, not what it takes
        with suppress(typer.Exit):  # how --help ends; what cannot be given ends with a usage error
            command.make_context(line, list(words))


def check_prefects(line: str) -> None:
    """Raise ``CycloptsError`` where a command of Prefect cannot be given like this."""
    words = [word for word in shlex.split(line.replace("<id>", str(uuid4())))[1:] if word != "--no-prompt"]
    _app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("line", shown("mimicmotion"))
def test_our_commands_are_there(line: str) -> None:
    check_ours(line)


@pytest.mark.parametrize("line", shown("prefect"))
def test_prefects_commands_are_there(line: str) -> None:
    check_prefects(line)


def test_there_are_such_commands_and_a_wrong_one_is_noticed() -> None:
    assert len(shown("mimicmotion")) > 15
    assert len(shown("prefect")) > 8
    for wrong in ("mimicmotion rebuilt demo", "mimicmotion rebuild demo --fasst"):
        with pytest.raises(Exception, match="No such"):
            check_ours(wrong)
    for wrong in ("prefect deployment walk a/b", "prefect deployment schedule create a/b --chron x"):
        with pytest.raises(CycloptsError):
            check_prefects(wrong)
