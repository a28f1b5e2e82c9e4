"""The command line: what it prints, and how it ends."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_stages import Letters, write_texts
from typer.testing import CliRunner, Result

from flows import cli
from flows.commands import run as run_commands
from mimicmotion.errors import InputError

pytestmark = pytest.mark.usefixtures("alone")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "200"})


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mimicmotion", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_every_command_of_the_list_can_be_loaded_and_help_imports_none() -> None:
    for name in cli.COMMANDS:
        assert cli.load_command(name).name == name
    code = (
        "import sys; from flows.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'pyarrow', 'yaml', 'torch', 'prefect', 'ray', 'mlflow'} & {*sys.modules}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip().endswith("[]")
    assert all(name in shown for name in cli.COMMANDS)
    assert "Did you mean 'status'" in run("statu").output
    as_module = [sys.executable, "-m", "flows.cli", "--help"]
    assert "rebuild" in subprocess.run(as_module, capture_output=True, text=True, check=True).stdout


def test_stage_and_status(project: Path) -> None:
    before = run("status", "fake")
    assert before.exit_code == 0
    assert before.stdout.count("missing") == 3
    assert "pose: waits for decode" in before.stdout
    made = run("stage", "decode", "fake")
    assert made.exit_code == 0
    assert "published" in made.stdout
    assert "mimicmotion ui configs/fake.yaml" in made.stdout
    after = run("status", "configs/fake.yaml", "--set", "pose.mark='?'")
    assert "fresh" in after.stdout
    again = run("stage", "decode", "fake", "--force")
    assert "2" in again.stdout


def test_pictures_that_failed_are_told_below_the_table(project: Path, monkeypatch) -> None:
    def show(self: object, *arguments: object) -> None:
        raise ZeroDivisionError

    assert "could not be made" not in run("stage", "decode", "fake").stdout
    monkeypatch.setattr(Letters, "show", show)
    made = run("stage", "decode", "fake", "--force")
    assert made.exit_code == 0
    assert "decode: the dataset is whole, but its pictures could not be made" in made.stdout


def test_status_says_what_became_stale(project: Path) -> None:
    for name in ("decode", "pose", "clips"):
        assert run("stage", name, "fake").exit_code == 0
    shown = run("status", "fake", "--set", "clips.offset=5").stdout
    assert "clips: offset 1 -> 5" in shown
    assert shown.count("fresh") == 2


def test_what_is_all_fresh_needs_no_server(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("decode", "pose", "clips"):
        run("stage", name, "fake")
    monkeypatch.setattr("flows.servers.start_prefect", lambda config: pytest.fail("no server is needed"))
    listed, items = [], Letters.items
    monkeypatch.setattr(Letters, "items", lambda self, inputs: [listed.append(1), *items(self, inputs)][1:])
    done = run("rebuild", "fake")
    assert done.exit_code == 0
    assert done.stdout.count("fresh") == 3
    assert len(listed) == 1, "the sources are listed once for all stages"
    code = (
        "import sys, fake_pipeline, stages.engine.config as config\nconfig.STAGES = fake_pipeline.STAGES\n"
        "from flows.cli import app\ntry: app(['rebuild', 'fake'])\nexcept SystemExit: pass\n"
        "print(sorted({'pandas', 'pyarrow.compute', 'pyarrow.dataset', 'torch', 'ray'} & {*sys.modules}))"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    again = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True, check=True)
    assert again.stdout.count("fresh") == 3
    assert again.stdout.strip().endswith("[]"), "what nobody needs is not imported"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("status", "nowhere"),
            "config nowhere: there is no file configs/nowhere.yaml. There are: ablation/",
        ),
        (("stage", "posse", "fake"), "config fake has no stage 'posse'; it has decode, pose, clips."),
        (("stage", "pose", "fake"), "decode has no dataset for this config yet (2 of 2 items to do)."),
        (("stage", "pose", "fake", "--set", "pose.marc=1"), "pose.marc: unknown field; did you mean mark?"),
        (("stage", "decode", "fake", "--set", "decode.weights=gone.onnx"), "there is no file or folder"),
        (
            ("status", "fake", "--set", "workspace=~nobody-here/w"),
            "workspace: got ~nobody-here/w, but no such",
        ),
        (("ui", "fake", "--set", "workspace=/proc/x"), "workspace /proc/x cannot be written: No such file"),
        (
            ("serve", "fake", "--set", "workspace=/proc/x"),
            "workspace /proc/x cannot be written: No such file",
        ),
    ],
)
def test_an_error_is_one_message_and_code_1(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch, arguments, message
) -> None:
    assert run_main(monkeypatch, *arguments) == 1
    error = capfd.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/b"),
            "/a/b cannot be used: Permission denied.",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "/tmp/x: No space left on device. Make"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "a disk: Disk quota exceeded. Make room there"),
        (MemoryError("Unable to allocate 9 GiB"), "out of memory: Unable to allocate 9 GiB. Ask for less"),
        (RuntimeError("CUDA out of memory. Tried to allocate\nmore"), "out of memory: CUDA out of memory."),
    ],
)
def test_what_a_machine_refuses_is_one_sentence(capfd, monkeypatch, error, message) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(cli, "app", refuse)
    assert run_main(monkeypatch, "status") == 1
    assert message in capfd.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        OSError("no file is named"),
        RuntimeError("shapes"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "no-such-program"),
    ],
)
def test_a_bug_keeps_its_traceback(monkeypatch, error) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(cli, "app", refuse)
    with pytest.raises(type(error)):
        cli.main()


def test_an_empty_source_ends_with_code_1(project: Path, capfd, monkeypatch) -> None:
    for text in (project / "configs" / "source").glob("*.txt"):
        text.unlink()
    monkeypatch.setattr("flows.servers.start_prefect", lambda config: pytest.fail("no server is needed"))
    assert run_main(monkeypatch, "rebuild", "fake") == 1
    assert "its source holds nothing to work on" in capfd.readouterr().err
    assert run_main(monkeypatch, "stage", "decode", "fake") == 1
    assert "decode: its source holds nothing to work on" in capfd.readouterr().err


def test_ctrl_c_says_how_to_go_on(project: Path, capfd, monkeypatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_commands, "run_stage", interrupted)
    assert run_main(monkeypatch, "stage", "decode", "fake") == 130
    assert "the same command does the rest" in capfd.readouterr().err


def test_a_wrong_command_ends_with_code_2(capfd, monkeypatch) -> None:
    assert run_main(monkeypatch, "nonsense") == 2
    assert "No such command 'nonsense'" in capfd.readouterr().err


def test_weights_are_listed_and_verified(project: Path) -> None:
    weights = project / "yolox_l.onnx"
    named = ("fake", "--set", "decode.weights=yolox_l.onnx")
    listed = run("weights", "list", *named)
    assert "yolox_l.onnx missing" in listed.stdout
    assert "yzd-v/DWPose" in listed.stdout
    assert run("weights", "verify", *named).exit_code == 1
    weights.write_text("not it")
    verified = run("weights", "verify", *named)
    assert verified.exit_code == 1
    assert "differs" in verified.stdout
    own = write_texts(project / "own", w="mine")
    verified = run("weights", "verify", "fake", "--set", f"decode.weights={own / 'w.txt'}")
    assert verified.exit_code == 0
    assert "published sha256 unknown" in verified.stdout


def test_prefect_finds_a_place_in_a_workspace_that_is_not_there_yet(tmp_path, monkeypatch):
    from flows import settings as prefect_setup
    from stages.engine.config import PipelineConfig, Settings

    monkeypatch.setattr(prefect_setup.os, "environ", {})
    workspace = tmp_path / "new" / "workspace"
    prefect_setup.prepare_prefect(PipelineConfig("new", "new.yaml", Settings(workspace=str(workspace)), {}))
    # Prefect makes its own folder, but none above it.
    assert prefect_setup.os.environ["PREFECT_HOME"] == str(workspace / "prefect")
    assert workspace.is_dir()


def test_prefect_keeps_its_history_in_a_workspace_of_any_name(tmp_path, monkeypatch):
    from sqlalchemy import create_engine, make_url

    from flows.settings import prefect_place

    monkeypatch.delenv("PREFECT_HOME", raising=False)
    home = tmp_path / "a%25b?c#d" / "prefect"
    address = prefect_place(home)["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    opened = create_engine(make_url(address).set(drivername="sqlite"))
    home.mkdir(parents=True)
    opened.connect().close()
    opened.dispose()
    assert (home / "prefect.db").is_file()


def test_a_workspace_that_cannot_be_made_is_one_sentence(monkeypatch):
    from flows import settings as prefect_setup
    from stages.engine.config import PipelineConfig, Settings

    monkeypatch.setattr(prefect_setup.os, "environ", {})
    config = PipelineConfig("new", "new.yaml", Settings(workspace="/proc/nowhere"), {})
    with pytest.raises(InputError, match=r"/proc/nowhere cannot be written: .* name another workspace"):
        prefect_setup.prepare_prefect(config)


def test_doctor_breaks_no_path_and_says_each_cure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.commands import doctor as doctor_command
    from flows.commands.examination import Finding

    path, cure = "there is no " + "long/" * 40 + "[a].onnx", "pip install '.[eight-bit]'"
    found = [
        Finding("train", "fail", path, cure),
        Finding("a", "ok", "b"),
        Finding("pose", "warn", "c", cure),
    ]
    monkeypatch.setattr(doctor_command, "examine", lambda config: found)
    shown = run("doctor", "demo")
    assert shown.exit_code == 1
    lines = shown.stdout.splitlines()
    assert lines[0] == f"fail train{'':20} {path}"
    assert lines[3:] == ["", "What to do:", f"- train, pose: {cure}"]
