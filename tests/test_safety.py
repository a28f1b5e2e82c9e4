"""Secrets stay where they are, and servers listen on this machine only."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from flows.servers import mlflow_server
from mimicmotion.errors import InputError
from stages.engine.storage.opening import open_workspace

ROOT = Path(__file__).resolve().parents[1]
SECRET = "hunter2"


def test_a_workspace_that_cannot_be_opened_is_named_without_its_password() -> None:
    with pytest.raises(InputError) as error:
        open_workspace(f"gopher://user:{SECRET}@host/space")
    assert SECRET not in str(error.value)
    assert "***@host" in str(error.value)


def test_passwords_are_no_arguments_of_a_process() -> None:
    """Everybody on a machine may read those."""
    command = mlflow_server(f"postgresql://user:{SECRET}@host/mlflow", 5000)
    assert "server" in command
    assert SECRET not in " ".join(command)
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    commands = {name: str(service.get("command", "")) for name, service in services.items()}
    # ``$$NAME`` is read in the container by its shell, whose ``mc`` has no other way.
    assert [
        name for name, command in commands.items() if re.search(r"(?<!\$)\$\{?\w*PASSWORD", command)
    ] == []


def test_no_source_loads_a_pickle() -> None:
    """A pickle runs what it holds. ``torch.load`` reads tensors alone where it is told so."""
    found = []
    for top in ("flows", "stages", "mimicmotion", "benchmarks"):
        for path in (ROOT / top).rglob("*.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            found += [f"{path}:{call.lineno}" for call in calls if opens_pickles(call)]
    assert found == []
    for wrong in ("torch.load(f)", "torch.load(f, weights_only=False)", "pickle.loads(data)", "yaml.load(f)",
                  "np.load(f, allow_pickle=True)", "joblib.load(f)", "pd.read_pickle(f)"):  # fmt: skip
        assert opens_pickles(ast.parse(wrong, mode="eval").body), wrong
    assert not opens_pickles(ast.parse("torch.load(f, weights_only=True)", mode="eval").body)


def opens_pickles(call: ast.expr) -> bool:
    """Whether a call may run what a file holds."""
    assert isinstance(call, ast.Call)
    given = {word.arg: ast.unparse(word.value) for word in call.keywords}
    name = ast.unparse(call.func)
    if name == "torch.load":
        return given.get("weights_only") != "True"
    refused = ("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "yaml.load", "dill.load")
    return name in refused or name.endswith("read_pickle") or "allow_pickle" in given


def test_no_source_names_an_address_that_others_reach() -> None:
    """Only the compose file does, inside its own network."""
    wide = re.compile(r"0\.0\.0\.0|host=\"\"|\[::\]")
    sources = [path for top in ("flows", "stages", "mimicmotion") for path in (ROOT / top).rglob("*.py")]
    sources += [ROOT / "Makefile", ROOT / "prefect.yaml", *(ROOT / "configs").rglob("*.yaml")]
    assert [str(path) for path in sources if wide.search(path.read_text())] == []
