"""The deployments of ``prefect.yaml`` on a real server and worker: form, runs, logs, artifacts, cancel."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fake_stages import write_texts
from operated import ROOT, Operated, operated, wait_for

from stages.engine.config import STAGES

# A server, a worker and two Rays take half a minute of a free machine, and minutes of a busy one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

CONFIG = """\
workspace: space
decode: {source: source, runtime: {workers: 2, stage_retries: 0}}
pose: {}
clips: {offset: 1}
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("operated")) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config of fake stages over two texts."""
    write_texts(tmp_path / "source", a="one", b="three")
    (tmp_path / "fake.yaml").write_text(CONFIG)
    return tmp_path / "fake.yaml"


def test_the_page_shows_a_form(there: Operated) -> None:
    form = there.get("deployments/name/stage/demo")["parameter_openapi_schema"]
    fields = form["properties"]
    assert fields["name"]["enum"] == list(STAGES)
    assert fields["config"]["type"] == "string"
    assert fields["force"]["type"] == "boolean"
    assert {"type": "array", "items": {"type": "string"}} in fields["overrides"]["anyOf"]
    assert "which stage" in fields["name"]["description"]


def test_every_config_has_its_deployments_and_two_rebuilds_do_not_run_at_once(there: Operated) -> None:
    configs = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    found = there.post("deployments/filter", limit=100)
    named = {flow["id"]: flow["name"] for flow in there.post("flows/filter", limit=100)}
    for flow in ("rebuild", "stage"):
        mine = [one for one in found if named[one["flow_id"]] == flow]
        assert configs <= {one["name"] for one in mine}
        assert all(one["parameters"]["config"] == one["name"] for one in mine)
        assert all(
            (one["global_concurrency_limit"] or {}).get("limit") == 1 for one in mine if flow == "rebuild"
        )


def test_a_rebuild_then_one_stage_with_a_changed_field(there: Operated, config: Path) -> None:
    there.command("deployment", "run", "rebuild/demo", "-p", f"config={config}", "--watch")
    run = there.newest_run()
    assert run["state_type"] == "COMPLETED"
    tasks = there.post("task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
    assert sorted(task["name"] for task in tasks) == ["clips", "decode", "pose"]
    lines = there.lines(run["id"])
    assert any(line.startswith("decode: published ") for line in lines)
    # What workers of Ray say is among the lines of the run.
    assert any("a.txt: INFO 3 letters" in line for line in lines)
    row = there.artifact("stage-decode", run["id"])
    assert (row["state"], row["kept"], row["rejected"], row["processed"]) == ("published", 2, 0, 2)

    changed = ("-p", f"config={config}", "-p", "name=clips", "-p", 'overrides=["clips.offset=2"]')
    there.command("deployment", "run", "stage/demo", *changed, "--watch")
    run = there.newest_run()
    assert run["state_type"] == "COMPLETED"
    again = there.artifact("stage-clips", run["id"])
    assert (again["state"], again["processed"]) == ("published", 1)
    assert again["seconds"] > 0
    assert again["MLflow run"]
    assert again["description"] == "clips of fake"


def test_a_wrong_field_fails_the_run_with_its_message(there: Operated, config: Path) -> None:
    run_id = there.start("stage/demo", config=str(config), name="pose", overrides=["pose.marc=1"])
    wait_for("the end", lambda: there.state(run_id) == "FAILED")
    assert "did you mean mark" in there.get(f"flow_runs/{run_id}")["state"]["message"]


def test_cancelling_ends_the_workers_and_keeps_what_is_done(there: Operated, config: Path) -> None:
    log = there.folder / "worker.log"
    said_before = len(log.read_text())
    source = write_texts(config.parent / "source", c="hang")
    run_id = there.start("stage/demo", config=str(config), name="decode")
    items = config.parent / "space" / "decode"
    wait_for("two items", lambda: len(list(items.glob("*/items/*/item.json"))) == 2)
    pid_of_worker = int(wait_for("the third", lambda: _text(source / "log" / "c.log")))
    there.post(f"flow_runs/{run_id}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    wait_for("the worker's end", lambda: not psutil.pid_exists(pid_of_worker), 30)
    wait_for("the end", lambda: there.state(run_id) == "CANCELLED")
    # From its own beginning on: the test before may still have been writing its error.
    said = log.read_text()[said_before:].partition(f"decode of {config}")[2]
    assert "was cancelled" in said
    assert "Traceback" not in said
    write_texts(source, c="four")
    run_id = there.start("stage/demo", config=str(config), name="decode")
    wait_for("the next run", lambda: there.state(run_id) == "COMPLETED")
    assert there.artifact("stage-decode", run_id)["processed"] == 1
    assert [len(_text(source / "log" / f"{name}.log").split()) for name in "ab"] == [1, 1]


def _text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""
