"""The flows on a real Prefect server, over fake stages."""

from pathlib import Path

import httpx
import pytest
from fake_stages import write_texts

from mimicmotion.errors import ConfigError, MachineError, StageError
from stages.engine.storage.workspace import LocalWorkspace

# The server takes ten seconds of a free core to start, and minutes on a busy one.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("prefect_server", "alone"),
]


def runs_of(flow_name: str) -> list:
    """Task runs of the newest run of a flow, by name, as the server knows them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        flows = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=1,
        )
        only = FlowRunFilter(id=FlowRunFilterId(any_=[flows[0].id]))
        return [flows[0], *client.read_task_runs(flow_run_filter=only)]


def test_a_rebuild_runs_what_is_not_fresh_and_shows_it(project: Path) -> None:
    from prefect.artifacts import Artifact

    from flows.rebuild import rebuild

    first = rebuild("fake")
    assert [(result.name, result.state, result.kept) for result in first] == [
        ("decode", "published", 2),
        ("pose", "published", 2),
        ("clips", "published", 1),
    ]
    again = rebuild("fake", ["clips.offset=2"])
    assert [result.state for result in again] == ["fresh", "fresh", "published"]
    artifact = Artifact.get("stage-clips")
    assert artifact is not None
    assert again[2].dataset_key in str(artifact.data)


@pytest.mark.parametrize(
    ("foreign", "status"),
    [({}, 401), ({"Host": "evil.example"}, 403), ({"Origin": "https://evil.example"}, 403)],
)
def test_the_server_of_a_rebuild_refuses_foreign_pages(foreign: dict[str, str], status: int) -> None:
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    asked = f"{api.url}/deployments/filter"
    assert httpx.post(asked, json={}, headers=foreign).status_code == status
    user, _, password = api.auth_string.get_secret_value().partition(":")
    own = httpx.post(asked, json={}, auth=(user, password), headers=foreign)
    assert own.status_code == (403 if foreign else 200)
    assert "access-control-allow-origin" not in own.headers


def test_one_stage_by_name(project: Path) -> None:
    from flows.stage import stage

    assert stage("decode", "fake").state == "published"
    with pytest.raises(StageError, match="pose has no dataset for this config yet"):
        stage("clips", "fake")
    assert stage("pose", "fake", ["pose.mark=ho"]).processed == 2


def test_a_message_for_the_user_is_not_tried_again(project: Path) -> None:
    from flows.rebuild import rebuild

    write_texts(project / "configs" / "source", c="reject", d="reject 2", e="reject 3")
    with pytest.raises(StageError, match="3 of 5 items were rejected"):
        rebuild("fake")
    flow, *tasks = runs_of("rebuild")
    assert flow.state_name == "Failed"
    assert [(task.name, task.run_count) for task in tasks] == [("decode", 1)]


@pytest.mark.parametrize("change", ["film added", "film removed", "config edited"])
def test_a_rebuild_works_on_what_it_found_at_its_start(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The source changes while its second stage works; training before it would be paid for again."""
    from flows import tasks
    from flows.rebuild import rebuild

    def meanwhile(config, name, *arguments, **more):
        result = real(config, name, *arguments, **more)
        if name == "pose":
            source, file = project / "configs" / "source", project / "configs" / "fake.yaml"
            if change == "film added":
                write_texts(source, later="new")
            elif change == "film removed":
                min(source.glob("*.txt")).unlink()
            else:
                file.write_text(file.read_text().replace("pose: {", "pose: {mark: '?', "))
        return result

    real = tasks.run_stage
    monkeypatch.setattr(tasks, "run_stage", meanwhile)
    results = rebuild("fake")
    assert [one.state for one in results] == ["published"] * len(results)
    monkeypatch.setattr(tasks, "run_stage", real)
    # The next one does what is new.
    again = rebuild("fake")
    assert again[0].processed == (change == "film added")


def test_problems_of_a_config_come_before_any_stage(project: Path) -> None:
    from flows.rebuild import rebuild

    with pytest.raises(ConfigError, match="did you mean mark"):
        rebuild("fake", ["pose.marc=1"])
    assert not (project / "configs" / "source" / "log").exists()


def test_two_rebuilds_of_one_workspace_do_not_run_at_once(project: Path) -> None:
    from flows.rebuild import rebuild

    workspace = LocalWorkspace(project / "configs" / "space")
    with (
        workspace.lock("rebuild.lock", "a rebuild"),
        pytest.raises(StageError, match=r"a rebuild of .* is already running"),
    ):
        rebuild("fake")


@pytest.mark.parametrize("fault", [ConnectionError("gone"), MachineError("pose: workers keep dying")])
def test_machine_faults_are_tried_again(
    project: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    from flows import tasks
    from flows.stage import stage

    calls = []
    real = tasks.run_stage

    def unlucky(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 1:
            raise fault
        return real(*arguments, **more)

    monkeypatch.setattr(tasks, "run_stage", unlucky)
    monkeypatch.setattr(tasks.stage_task, "retry_delay_seconds", 0)
    assert stage("decode", "fake").state == "published"
    assert len(calls) == 2


def test_by_force_means_what_was_there_before_and_not_what_the_first_try_did(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import tasks
    from flows.stage import stage

    def unlucky(settings, name, force, begun_s):
        tries.append((force, begun_s))
        if len(tries) < 3:
            raise ConnectionError("the head of the cluster is gone")
        return real(settings, name, force, begun_s=begun_s)

    tries: list[tuple[bool, float]] = []
    real = tasks.run_stage
    monkeypatch.setattr(tasks, "run_stage", unlucky)
    monkeypatch.setattr(tasks.stage_task, "retry_delay_seconds", 0)
    stage("decode", "fake", ["decode.runtime.stage_retries=2"], force=True)
    assert [force for force, _ in tries] == [True, True, True]
    assert len({begun_s for _, begun_s in tries}) == 1


def test_retries_and_the_time_limit_are_those_of_the_config(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import tasks
    from flows.stage import stage

    def gone(*arguments, **more):
        calls.append(arguments)
        raise ConnectionError("the head of the cluster is gone")

    calls: list = []
    real = tasks.run_stage
    monkeypatch.setattr(tasks, "run_stage", gone)
    monkeypatch.setattr(tasks.stage_task, "retry_delay_seconds", 0)
    for retries in (0, 3):
        calls.clear()
        with pytest.raises(ConnectionError):
            stage("decode", "fake", [f"decode.runtime.stage_retries={retries}"])
        assert len(calls) == retries + 1
    monkeypatch.setattr(tasks, "run_stage", real)
    write_texts(project / "configs" / "source", c="hang")
    # The limit is one for the stage, not for each try.
    limits = ["decode.runtime.stage_timeout_s=1", "decode.runtime.stage_retries=1"]
    with pytest.raises(TimeoutError):
        stage("decode", "fake", limits)
    assert (project / "configs" / "source" / "log" / "c.log").exists()
    ended = runs_of("stage")[1]
    assert (ended.state_name, ended.run_count) == ("TimedOut", 1)
