"""The Ray adapter on a real, small Ray: workers that die, hang, fail, and a training group."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from fake_stages import Letters, NoWeights, count_workers, write_texts
from operated import wait_for

from mimicmotion.errors import InputError, MachineError, StageError, WeightsError
from stages.adapters.mlflow import tracking
from stages.adapters.mlflow.reports import MlflowReport
from stages.adapters.ray import training as ray_training
from stages.adapters.ray import workers as ray_adapter
from stages.engine.config import RaySettings
from stages.engine.contract import Runtime
from stages.engine.faults import is_machine_fault, raised
from stages.engine.item_task import ItemTask, outcome_of
from stages.engine.keys import item_key, recipe_key
from stages.engine.records import ItemState
from stages.engine.storage.opening import open_workspace
from stages.engine.store import StageStore

# One Ray for the whole file: it takes seconds to start, and far longer on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
SETTINGS = RaySettings(num_cpus=2)


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    import ray

    fakes, root = Path(__file__).parents[3] / "fakes", Path(__file__).parents[4]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{fakes}"  # workers import the fakes by name
    ray_adapter.connect(SETTINGS)
    yield
    ray.shutdown()
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


class Case:
    """A stage over some texts, and what the pool makes of it."""

    def __init__(self, folder: Path, runtime: Runtime, **texts: str) -> None:
        self.stage = Letters(source=write_texts(folder / "source", **texts), runtime=runtime)
        recipe = recipe_key(self.stage)
        self.store = StageStore(open_workspace(str(folder / "space")), "letters", recipe)
        self.work = [(item, item_key(recipe, item.inputs)) for item in self.stage.items({})]
        self.task = ItemTask(self.stage, str(folder / "space"), recipe)

    def run(self) -> dict[str, ItemState]:
        def reject(item, key, reason):
            return outcome_of(self.store.reject(item, key, reason), None)

        outcomes = ray_adapter.map_items(
            self.task, "letters", self.work, self.stage.runtime, reject, self.stage.section
        )
        return {outcome.id: outcome for outcome in outcomes}

    def pids(self, name: str) -> list[str]:
        return (self.stage.source / "log" / f"{name}.log").read_text().split()


def test_nothing_listens_to_the_network() -> None:
    me = psutil.Process()
    listening = [
        (process.name(), socket.laddr.ip)
        for process in (me, *me.children(recursive=True))
        for socket in process.net_connections(kind="inet")
        if socket.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > 3
    assert {ip for _, ip in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, listening


def test_items_are_worked_on_by_other_processes_and_published_there(tmp_path: Path) -> None:
    case = Case(tmp_path, Runtime(workers=2, cpus_per_worker=0.5), a="one", b="reject it", c="three")
    outcomes = case.run()
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "a": "kept",
        "b": "rejected",
        "c": "kept",
    }
    assert len(case.store.published_items()) == 3
    assert str(os.getpid()) not in case.pids("a")
    assert outcomes["a"].rows == 3
    assert outcomes["a"].seconds is not None


@pytest.mark.timeout(240)
def test_workers_that_nothing_is_left_for_are_not_waited_for(tmp_path: Path) -> None:
    # Two cores place two of the four workers; the other two wait for a place until the end.
    case = Case(tmp_path, Runtime(workers=4, cpus_per_worker=1), a="1", b="2", c="3", d="4", e="5")
    assert {outcome.state for outcome in case.run().values()} == {"kept"}


def test_a_worker_that_dies_is_replaced_and_its_item_redone(tmp_path: Path) -> None:
    case = Case(tmp_path, Runtime(retries=1, cpus_per_worker=0.5), a="die_once", b="two")
    assert {outcome.state for outcome in case.run().values()} == {"kept"}
    assert len(set(case.pids("a"))) == 2


def test_an_idle_worker_takes_over_where_a_new_one_finds_no_place(tmp_path: Path) -> None:
    """As when a machine is lost after the others have run out of work."""
    import ray

    case = Case(tmp_path, Runtime(workers=2, retries=1), a="one", b="die_late")
    squatters = []

    def squat() -> None:
        wait_for("both items", lambda: all((case.stage.source / "log" / f"{n}.log").exists() for n in "ab"))
        squatters.append(ray.remote(num_cpus=1)(Squatter).remote())  # waits for the place of whoever dies

    thread = threading.Thread(target=squat)
    thread.start()
    try:
        assert {outcome.state for outcome in case.run().values()} == {"kept"}
        assert case.pids("b")[-1] == case.pids("a")[0]
    finally:
        thread.join()
        ray.kill(squatters[0])


class Squatter:
    """Holds a place."""


def test_an_item_that_always_kills_its_worker_is_rejected_and_the_rest_goes_on(tmp_path: Path) -> None:
    case = Case(tmp_path, Runtime(retries=1, cpus_per_worker=0.5), a="die always", b="two")
    outcomes = case.run()
    assert (outcomes["a"].state, outcomes["a"].reason) == ("rejected", "worker_died")
    assert "its worker died 2 times" in (outcomes["a"].sentence or "")
    assert outcomes["b"].state == "kept"
    assert len(case.pids("a")) == 2


def test_an_item_that_hangs_is_ended_and_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Letters, "section", "alphabet")  # where its runtime is set
    case = Case(tmp_path, Runtime(item_timeout_s=3, cpus_per_worker=0.5), a="hang on", b="two")
    outcomes = case.run()
    assert (outcomes["a"].reason, outcomes["b"].state) == ("timeout", "kept")
    assert "longer than 3 s (alphabet.runtime.item_timeout_s)" in (outcomes["a"].sentence or "")


def test_a_bug_stops_the_stage_and_names_the_item(tmp_path: Path, caplog) -> None:
    case = Case(tmp_path, Runtime(cpus_per_worker=0.5), a="bug")
    with pytest.raises(StageError, match=r"letters: stopped at item a\.txt \(a\): KeyError: 'a bug'"):
        case.run()
    assert 'raise KeyError("a bug")' in caplog.text


def test_a_failing_disk_is_a_fault_of_the_machine_and_a_bug_is_not(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"stopped at item a\.txt \(a\): OSError: .* Input/output error"):
        Case(tmp_path, Runtime(cpus_per_worker=0.5), a="away").run()
    assert is_machine_fault(ConnectionResetError())
    assert not is_machine_fault(FileNotFoundError())
    assert type(raised(KeyError("a bug"), "letters", "item a")) is StageError


def test_a_full_disk_comes_through_as_it_is(tmp_path: Path) -> None:
    case = Case(tmp_path, Runtime(cpus_per_worker=0.5), a="full")
    with pytest.raises(StageError, match=r"letters stopped at item a\.txt \(a\): the disk of workspace"):
        case.run()


def test_what_loading_raises_on_purpose_comes_through(tmp_path: Path) -> None:
    case = Case(tmp_path, Runtime(cpus_per_worker=0.5), a="one")
    case.task = NoWeights()
    with pytest.raises(WeightsError, match="no weights here"):
        case.run()


def test_more_than_the_machine_has_is_refused(tmp_path: Path) -> None:
    case = Case(tmp_path, Runtime(gpus_per_worker=1), a="one")
    with pytest.raises(StageError, match="1 GPU asked, 0 there"):
        case.run()


def test_what_no_machine_has_is_told_and_a_cluster_is_waited_for(
    tmp_path: Path, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_of_two = [{"Alive": True, "Resources": {"CPU": 2.0}}] * 2
    monkeypatch.setattr(ray_adapter.ray, "nodes", lambda: two_of_two)
    with pytest.raises(StageError, match="4 CPU asked for a worker, its largest machine has 2"):
        ray_adapter.check_resources("letters", Runtime(cpus_per_worker=4), 1)
    monkeypatch.setattr(ray_adapter.internals, "started_here", lambda: False)
    ray_adapter.check_resources("letters", Runtime(cpus_per_worker=4), 1)
    assert "its largest machine has 2. Waiting for the cluster to grow." in caplog.text
    # A worker that finds no place is told of, and waited for.
    monkeypatch.setattr(ray_adapter, "_PLACE_S", 0.0)
    case = Case(tmp_path, Runtime(cpus_per_worker=0.5), a="one")
    assert case.run()["a"].state == "kept"
    assert caplog.text.count("letters: no worker has loaded in 0 s; each asks 0.5 CPU and 0 GPU") == 1


def test_a_worker_that_finds_no_place_after_the_last_one_died_is_told_too(
    tmp_path: Path, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_adapter, "_PLACE_S", 0.0)
    case = Case(tmp_path, Runtime(workers=1, retries=1, cpus_per_worker=0.5), a="die_once")
    assert case.run()["a"].state == "kept"
    assert caplog.text.count("letters: no worker has loaded in 0 s") == 2


def test_a_training_group_runs_its_loop_on_every_worker(tmp_path: Path) -> None:
    launch = ray_training.RayLauncher("total", tmp_path / "ray", SETTINGS)
    arguments = {"folder": str(tmp_path), "report": MlflowReport("", None), "dies": True}
    launch(count_workers, arguments, Runtime(workers=2, cpus_per_worker=1, retries=1))
    assert (tmp_path / "died").exists(), "the first group must have lost a worker"
    assert [(tmp_path / f"worker-{rank}").read_text() for rank in (0, 1)] == ["2 1 PASSIVE"] * 2


def test_a_bug_in_a_training_loop_is_not_tried_again(tmp_path: Path, caplog) -> None:
    launch = ray_training.RayLauncher("total", tmp_path / "ray", SETTINGS)
    arguments = {"folder": str(tmp_path), "report": MlflowReport("", None), "fails": True}
    with pytest.raises(StageError, match="total: stopped at training: ValueError: the loop is wrong"):
        launch(count_workers, arguments, Runtime(workers=1, retries=3))
    assert "the training loop failed" in caplog.text
    assert "attempt 2" not in caplog.text


class _TimeLimitError(TimeoutError):
    """As Prefect raises it, from the handler of a signal."""


@contextmanager
def time_limit_once(there: Path) -> Iterator[None]:
    """A block that is left by a time limit as soon as a file is there."""

    def alarm() -> None:
        wait_for(f"{there.name}", there.exists)
        os.kill(os.getpid(), signal.SIGALRM)

    def limit(number: int, frame: object) -> None:
        raise _TimeLimitError("a flow's time limit")

    before = signal.signal(signal.SIGALRM, limit)
    try:
        threading.Thread(target=alarm, daemon=True).start()
        with pytest.raises(_TimeLimitError):
            yield
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_time_limit_ends_the_work_on_items(tmp_path: Path) -> None:
    case = Case(tmp_path, Runtime(cpus_per_worker=0.5), a="hang on")
    with time_limit_once(case.stage.source / "log" / "a.log"):
        case.run()


def test_a_time_limit_ends_a_training_and_its_workers(tmp_path: Path) -> None:
    launch = ray_training.RayLauncher("total", tmp_path / "ray", SETTINGS)
    arguments = {"folder": str(tmp_path), "report": MlflowReport("", None), "pause_s": 600}
    with time_limit_once(tmp_path / "worker-0"):
        launch(count_workers, arguments, Runtime(workers=1, retries=3))
    wait_for("the end of its worker", lambda: not training_workers())


def training_workers() -> list[psutil.Process]:
    """Processes that train."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if "RayTrainWorker" in title(process)]


def title(process: psutil.Process) -> str:
    """What a process is called in lists; empty where it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def no_run(config: object, stage: object) -> Iterator[tracking.StageRun]:
    """A stage without MLflow."""
    yield tracking.StageRun("", None)


def test_an_address_that_nobody_answers() -> None:
    import ray

    ray.shutdown()
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:8265 is the address of Ray's page"):
        ray_adapter.connect(RaySettings(address="http://127.0.0.1:8265"))
    with pytest.raises(MachineError, match=r"ray\.address 127\.0\.0\.1:1: cannot be reached"):
        ray_adapter.connect(RaySettings(address="127.0.0.1:1"))


def test_a_dead_cluster_behind_auto_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private import services

    ray.shutdown()
    monkeypatch.setattr(services, "canonicalize_bootstrap_address", lambda address: "127.0.0.1:1")
    with pytest.raises(MachineError, match=r"ray\.address auto: cannot be reached .* refused"):
        ray_adapter.connect(RaySettings(address="auto"))

    def nowhere(address: str) -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(services, "canonicalize_bootstrap_address", nowhere)
    with pytest.raises(MachineError, match=r"ray\.address auto: cannot be reached .*any running Ray"):
        ray_adapter.connect(RaySettings(address="auto"))
