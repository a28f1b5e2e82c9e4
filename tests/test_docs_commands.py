"""Every command of the documents is one that the programs know, and is run by a test or says why not."""

import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import typer
from cyclopts import CycloptsError
from prefect.cli._app import _app
from typer.core import TyperGroup
from typer.main import get_command

from flows.cli import app
from mimicmotion.video.files import write_preview
from mimicmotion.video.picture_files import read_picture
from stages.engine.config import load_config

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HISTORY = ("log.md", "decisions.md")
"""What was run at its time, and may be gone since."""
RUN_BY = {
    "mimicmotion ablation": "flows/test_ablation.py",
    "mimicmotion animate": "flows/commands/test_animate.py",
    "mimicmotion calibrate": "flows/commands/test_calibrate.py",
    "mimicmotion doctor": "flows/commands/test_examination.py",
    "mimicmotion evaluate": "flows/commands/test_evaluate.py",
    "mimicmotion export": "flows/commands/test_export.py",
    "mimicmotion export-data": "flows/commands/test_export_data.py",
    "mimicmotion export-poses": "flows/commands/test_export_data.py",
    "mimicmotion judge": "flows/commands/test_judge.py",
    "mimicmotion rebuild": "flows/test_rebuild.py",
    "mimicmotion report": "flows/commands/test_report.py",
    "mimicmotion review": "flows/commands/test_review.py",
    "mimicmotion serve": "flows/commands/test_serve.py",
    "mimicmotion stage": "flows/test_cli.py",
    "mimicmotion status": "flows/test_cli.py",
    "mimicmotion track": "stages/adapters/mlflow/test_outages.py",
    "mimicmotion ui": "flows/commands/test_ui.py",
    "mimicmotion weights": "flows/commands/test_weights.py",
    "pip install .": "test_wheel.py",
    "prefect deployment": "flows/test_deployments.py",
    "python -c": "test_docs_commands.py",
    "python -m mimicmotion.synthetic.hard": "mimicmotion/synthetic/test_hard.py",
    "python -m mimicmotion.synthetic.judge_validation": "mimicmotion/synthetic/test_judge_validation.py",
    "python benchmarks/faults.py": "benchmarks/test_faults.py",
    "python benchmarks/gpu_": "benchmarks/test_gpu_scripts.py",
    "python benchmarks/remote.py": "benchmarks/test_remote.py",
}
"""First words of a command -> the test that runs what they call."""
NOT_RUN = {
    "mimicmotion demo": "takes minutes: renders and rebuilds; its films and its stages are tested apart",
    "make": "sets up an environment; each target is a line of the Makefile with a command of this table",
    "source": "of the shell",
    "export": "of the shell; the variables are read in tests/flows and tests/mimicmotion/weights",
    "mkdir": "of the shell",
    "ls": "copies films of the reader",
    "cp": "copies files of the reader",
    "git": "fetches a newer version",
    "pip install playwright": "for one test, which skips without",
    "mlflow": "another program's own, on the reader's database",
    "prefect server database upgrade": "another program's own, on the reader's database",
    "prefect --no-prompt deploy": "needs a server; tests/flows/test_deployments.py reads what it deploys",
    "prefect deploy": "as above",
    "prefect flow-run": "needs a server with a run on it, by which it was tried",
    "ray": "needs a second machine; benchmarks/cluster_servers.py ran it",
    "python benchmarks/": "measures for minutes or hours; docs/log.md has what it printed, with the date",
    "python -m mimicmotion.synthetic": "makes pictures or measures for minutes; docs/log.md has its results",
    "python -m flows.cli": "is the command mimicmotion itself",
}
"""First words of a command -> why no test runs it."""


def blocks(text: str) -> list[str]:
    """Lines of the code blocks that are of no language and hold commands, continued ones joined."""
    joined = text.replace("\\\n", " ")
    found = "\n".join(re.findall(r"^ *```\n(.*?)^ *```$", joined, re.M | re.S)).splitlines()
    lines = [re.sub(r"\s+#.*", "", line).strip() for line in found]
    return [part for line in lines if STARTS.match(line) for part in line.split(" && ")]


def spans(text: str) -> list[str]:
    """Code spans that are commands; a bar separates alternatives, three dots stand for what is known."""
    prose = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    found = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return [span for span in found if STARTS.match(span) and not re.search(r"\||\.\.\.|\+ ", span)]


STARTS = re.compile(
    r"(mimicmotion|prefect|make|pip|python|ray|mlflow|git|source|export|mkdir|cp|curl|docker|kubectl)( |$)"
)
COMMANDS = sorted(
    {
        " ".join(command.split())
        for document in DOCUMENTS
        if document.name not in HISTORY
        for text in [document.read_text(encoding="utf-8")]
        for command in blocks(text) + spans(text)
    }
)


def shown(program: str) -> list[str]:
    """Commands of a program, with words after its name."""
    return [command for command in COMMANDS if command.startswith(f"{program} ")]


def check_ours(line: str) -> dict[str, Any]:
    """The values of its arguments and options; a usage error where a command of ours cannot be given so."""
    command, words = get_command(app), shlex.split(line)[1:]
    while isinstance(command, TyperGroup):
        _, found, words = command.resolve_command(typer.Context(command), words)
        assert found is not None
        command = found
    if words:  # else only the command is named, not what it takes
        with suppress(typer.Exit):  # how --help ends; what cannot be given ends with a usage error
            return dict(command.make_context(line, list(words)).params)
    return {}


def check_prefects(line: str) -> None:
    """Raise ``CycloptsError`` where a command of Prefect cannot be given like this."""
    words = [word for word in shlex.split(line.replace("<id>", str(uuid4())))[1:] if word != "--no-prompt"]
    _app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("line", shown("mimicmotion"))
def test_our_commands_are_there_and_the_config_takes_what_is_set(line: str) -> None:
    given = check_ours(line)
    if (config := given.get("config")) and config not in ("CONFIG", "<name>"):
        load_config(config, given.get("overrides") or [])


@pytest.mark.parametrize("line", shown("prefect"))
def test_prefects_commands_are_there(line: str) -> None:
    check_prefects(line)


@pytest.mark.parametrize("line", [line for line in shown("python") if not line.startswith("python -c")])
def test_scripts_and_their_options_are_there(line: str) -> None:
    words = shlex.split(line)[1:]
    path = Path(*words[1].split(".")).with_suffix(".py") if words[0] == "-m" else Path(words[0])
    text = (ROOT / path).read_text(encoding="utf-8")
    assert [word for word in words if word.startswith("--") and f'"{word}"' not in text] == []


def test_the_line_that_cuts_out_a_dancer_does(tmp_path: Path) -> None:
    (line,) = (line for line in shown("python") if line.startswith("python -c"))
    code = shlex.split(line)[2]
    (film,) = re.findall(r"av\.open\('([^']+)'\)", code)
    (tmp_path / film).parent.mkdir(parents=True)
    write_preview(tmp_path / film, [np.full((16, 24, 3), 200, np.uint8)] * 2, 12)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert read_picture(tmp_path / "dancer.png").shape == (16, 24, 3)


def test_each_command_is_run_by_a_test_or_says_why_not() -> None:
    known = sorted({**RUN_BY, **NOT_RUN}, key=len, reverse=True)
    used = {command: next((one for one in known if command.startswith(one)), None) for command in COMMANDS}
    assert [command for command, one in used.items() if one is None] == []
    assert set(known) - set(used.values()) == set()
    for words, test in RUN_BY.items():
        name = re.split(r"[ ./]", words.removesuffix(".py").removesuffix(" ."))[-1]
        assert name in (ROOT / "tests" / test).read_text(encoding="utf-8"), (words, test)


def test_there_are_such_commands_and_a_wrong_one_is_noticed() -> None:
    assert len(shown("mimicmotion")) > 50
    assert len(shown("prefect")) > 8
    for wrong in ("mimicmotion rebuilt demo", "mimicmotion rebuild demo --fasst"):
        with pytest.raises(Exception, match="No such"):
            check_ours(wrong)
    for wrong in ("prefect deployment walk a/b", "prefect deployment schedule create a/b --chron x"):
        with pytest.raises(CycloptsError):
            check_prefects(wrong)


def test_every_test_that_operations_names_is_there() -> None:
    named = set(
        re.findall(r"`((?:tests/[\w/]+/)?test_\w+\.py)`", (ROOT / "docs" / "operations.md").read_text())
    )
    assert len(named) > 20
    assert [
        name for name in sorted(named) if not [*ROOT.glob(name if "/" in name else f"tests/**/{name}")]
    ] == []
