"""What is printed steers no terminal, whichever way it reaches the console."""

import ast
import io
from pathlib import Path

import pytest
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from flows import cli
from flows.terminal import Terminal


def table() -> Table:
    made = Table("a \x1b[2J name")
    made.add_row("\x9b31m")
    return made


@pytest.mark.parametrize(
    "shown", ["a \x1b[2J name", Text("a \x1b[2J name"), Markdown("# a \x1b[2J name"), table()]
)
def test_escape_sequences_are_text(shown: object) -> None:
    file = io.StringIO()
    Terminal(file=file, width=60).print(shown)
    printed = file.getvalue()
    assert r"\x1b[2J name" in printed
    assert not {"\x1b", "\x9b"} & {*printed}


def test_colours_are_left() -> None:
    file = io.StringIO()
    Terminal(file=file, force_terminal=True).print("[red]no[/red]")
    assert "\x1b[31mno" in file.getvalue()


def test_a_name_stays_on_its_line() -> None:
    file = io.StringIO()
    Terminal(file=file).lines("made a\nerror.mp4", "and [b].mp4")
    assert file.getvalue() == "made a\\nerror.mp4\nand [b].mp4\n"


def test_names_are_printed_without_markup() -> None:
    """Else a folder ``[old]`` is missing in the path that is shown."""
    bare = [
        f"{file.name}:{call.lineno}"
        for file in Path(cli.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "print"
        if "markup" not in {keyword.arg for keyword in call.keywords}
        for given in call.args
        if isinstance(given, ast.JoinedStr)
        for part in given.values
        if isinstance(part, ast.FormattedValue) and not ast.unparse(part.value).startswith("escape(")
    ]
    assert bare == []
