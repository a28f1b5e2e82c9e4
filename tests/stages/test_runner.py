"""Running a stage: only what is lacking, nothing dropped, one clear message when it must stop."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fake_stages import Chorus, Letters, Shouts, Total, make_config, write_texts

from mimicmotion.errors import (
    ConfigError,
    DataError,
    DiskFullError,
    InputError,
    MachineError,
    MissingSourceError,
    RejectedItem,
    StageError,
    WeightsError,
)
from mimicmotion.video.size import Size
from stages.engine import datasets
from stages.engine.contract import Context, Item, Runtime, Stage
from stages.engine.item_task import ItemTask
from stages.engine.plan import StageGraph
from stages.engine.status import status
from stages.engine.storage.hashes import FileHashes
from stages.engine.storage.workspace import LocalWorkspace
from stages.engine.store import StageStore
from stages.runner import run_stage

pytestmark = pytest.mark.usefixtures("alone")

ANY = Runtime(max_rejected_fraction=1)


def processed(source: Path) -> list[str]:
    """Names of the texts that workers saw, once for each time."""
    logs = sorted((source / "log").glob("*.log"))
    return [log.stem for log in logs for _ in log.read_text().split()]


def files_of(workspace: Path) -> dict[str, bytes]:
    """Content of every item file of a workspace."""
    found = (path for path in workspace.rglob("items/*/**/*") if path.is_file())
    return {path.relative_to(workspace).as_posix(): path.read_bytes() for path in found}


def test_a_stage_publishes_and_the_next_reads_it(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Shouts(), Total(offset=10))
    results = [run_stage(config, name) for name in config.stages]
    assert [(result.state, result.kept, result.processed) for result in results] == [
        ("published", 2, 2),
        ("published", 2, 2),
        ("published", 1, 1),
    ]
    graph = StageGraph(config)
    assert graph.dataset("shouts").table().column("shout").to_pylist() == ["ONE!", "THREE!"]
    total = graph.dataset("total")
    assert total.table().to_pylist() == [{"total": 18, "reads": "letters shouts"}]
    assert (total.path("all", "parts") / "note.txt").read_text() == "note"


def test_an_optional_input_is_left_out_where_the_config_lacks_it(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Total())
    for name in config.stages:
        run_stage(config, name)
    assert StageGraph(config).dataset("total").table().to_pylist() == [{"total": 8, "reads": "letters"}]


def test_run_again_there_is_nothing_to_do(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    config = make_config(tmp_path / "space", letters, Shouts(), Total())
    first = [run_stage(config, name).dataset_key for name in config.stages]

    def never(self: object, *arguments: object) -> None:
        raise AssertionError("nothing may run")

    monkeypatch.setattr(Letters, "process", never)
    monkeypatch.setattr(Total, "run", never)
    again = [run_stage(config, name) for name in config.stages]
    assert [result.dataset_key for result in again] == first
    assert {(result.state, result.processed) for result in again} == {("fresh", 0)}


def test_new_items_cost_themselves(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Shouts())
    run_stage(config, "letters")
    run_stage(config, "shouts")
    write_texts(letters.source, c="new", d="newer")
    assert run_stage(config, "letters").processed == 2
    assert run_stage(config, "shouts").processed == 2
    assert processed(letters.source) == ["a", "b", "c", "d"]


def test_rejects_are_rows_and_the_rest_goes_on(tmp_path: Path) -> None:
    letters = Letters(source=write_texts(tmp_path / "source", a="one", b="reject this", c="two"))
    config = make_config(tmp_path / "space", letters)
    result = run_stage(config, "letters")
    assert (result.kept, result.rejected) == (2, 1)
    dataset = StageGraph(config).dataset("letters")
    assert dataset.ids == ("a", "c")
    rejected = dataset.items["b"]
    assert (rejected.label, rejected.reason, rejected.sentence) == ("b.txt", "bad_text", "b.txt asks for it")
    assert rejected.time_s > 1e9
    assert rejected.seconds is not None
    assert dataset.manifest.counts.reasons == {"bad_text": 1}
    with pytest.raises(DataError, match="item 'b' was rejected"):
        dataset.item_key("b")


def test_too_many_rejects_stop_before_publishing_and_lose_nothing(tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source", a="one", b="reject", c="reject 2")
    strict = make_config(tmp_path / "space", Letters(source=source))
    with pytest.raises(
        StageError, match=r"2 of 3 items were rejected \(2 bad_text\), allowed is a share of 0.5"
    ):
        run_stage(strict, "letters")
    lenient = make_config(tmp_path / "space", Letters(source=source, runtime=ANY))
    result = run_stage(lenient, "letters")
    assert (result.state, result.processed, result.kept) == ("published", 0, 1)


def test_a_bug_names_its_item_and_keeps_what_is_done(tmp_path: Path) -> None:
    letters = Letters(source=write_texts(tmp_path / "source", a="one", b="bug", c="two"))
    config = make_config(tmp_path / "space", letters)
    with pytest.raises(KeyError):
        run_stage(config, "letters")
    write_texts(letters.source, b="fixed")
    assert run_stage(config, "letters").processed == 2
    assert processed(letters.source) == ["a", "b", "b", "c"]


def test_a_full_disk_names_item_workspace_and_space(tmp_path: Path) -> None:
    letters = Letters(source=write_texts(tmp_path / "source", a="one", b="full"))
    config = make_config(tmp_path / "space", letters)
    with pytest.raises(
        StageError, match=r"item b.txt \(b\): the disk of workspace .*space is full \(free: .* MB"
    ):
        run_stage(config, "letters")
    write_texts(letters.source, b="fine")
    assert run_stage(config, "letters").processed == 1


def test_a_full_disk_that_another_process_met_is_told_as_one(tmp_path: Path, monkeypatch) -> None:
    """As decode tells it, whose decoder works in a process of its own."""

    def process(self: Letters, *arguments: object) -> pa.Table:
        raise StageError("decoding a failed, and not for the video's sake: OSError: No space left on device")

    monkeypatch.setattr(Letters, "process", process)
    letters = Letters(source=write_texts(tmp_path / "source", a="one"))
    with pytest.raises(StageError, match=r"item a.txt \(a\): the disk of workspace .*space is full \(free: "):
        run_stage(make_config(tmp_path / "space", letters), "letters")


@pytest.mark.parametrize(
    ("error", "free_bytes", "told"),
    [
        (OSError(28, "No space left", "/dev/shm/x"), 9e9, r"\(a\): the disk of /dev/shm/x is full \(free: "),
        (
            OSError(28, "No space left"),
            9e9,
            r"workspace .* is full .*, or the disk of TMPDIR .*, or the memory",
        ),
        (OSError(28, "No space left"), 9e5, r"the disk of workspace \S* is full \(free: 0.9 MB\)\. Nothing"),
        (OSError(122, "Quota"), 9e5, r"the disk of workspace .* has no quota left for this user \(free: "),
    ],
)
def test_the_disk_that_is_full_is_named(tmp_path: Path, monkeypatch, error, free_bytes, told) -> None:
    def process(self: Letters, *arguments: object) -> pa.Table:
        raise error

    monkeypatch.setattr(Letters, "process", process)
    monkeypatch.setattr(LocalWorkspace, "free_bytes", lambda self: free_bytes)
    letters = Letters(source=write_texts(tmp_path / "source", a="one"))
    with pytest.raises(DiskFullError, match=told):
        run_stage(make_config(tmp_path / "space", letters), "letters")


class _FlowLimitError(TimeoutError):
    """What Prefect raises has a class of its own below TimeoutError."""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (_FlowLimitError("the flow's limit"), _FlowLimitError),
        (TimeoutError("a store does not answer"), MachineError),
        (ConnectionResetError("the store is away"), MachineError),
        (KeyError("a bug"), StageError),
    ],
)
def test_what_a_whole_stage_meets_is_told_by_its_kind(
    tmp_path: Path, letters: Letters, monkeypatch, raised: Exception, told: type[Exception]
) -> None:
    def run(self: Total, *arguments: object) -> pa.Table:
        raise raised

    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")
    monkeypatch.setattr(Total, "run", run)
    with pytest.raises(told) as met:
        run_stage(config, "total")
    assert type(met.value) is told


def test_a_reject_on_a_full_disk_is_no_reject(tmp_path: Path, monkeypatch) -> None:
    letters = Letters(source=write_texts(tmp_path / "source", a="reject"))
    monkeypatch.setattr(LocalWorkspace, "free_bytes", lambda self: 1000)
    with pytest.raises(StageError, match="is full"):
        run_stage(make_config(tmp_path / "space", letters), "letters")


def test_killed_and_resumed_the_items_are_the_same_bytes(tmp_path: Path) -> None:
    source = write_texts(tmp_path / "source", a="one", b="bug", c="two")
    killed = make_config(tmp_path / "killed", Letters(source=source), Shouts())
    with pytest.raises(KeyError):
        run_stage(killed, "letters")
    write_texts(source, b="fixed")
    straight = make_config(tmp_path / "straight", Letters(source=source), Shouts())
    for name in ("letters", "shouts"):
        first, second = run_stage(killed, name), run_stage(straight, name)
        assert first.dataset_key == second.dataset_key
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "straight")


def test_another_try_of_a_forced_run_does_what_the_first_one_left(
    tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path / "space", letters, Total(offset=10))
    run_stage(config, "letters")
    run_stage(config, "total")
    begun_s, real = time.time() + 0.01, Letters.process
    time.sleep(0.05)

    def dies(self: Letters, loaded: str, item: Item, folder: Path) -> pa.Table:
        if item.id == "b":
            raise MachineError("a machine is gone")
        return real(self, loaded, item, folder)

    monkeypatch.setattr(Letters, "process", dies)
    with pytest.raises(MachineError):
        run_stage(config, "letters", force=True, begun_s=begun_s)
    monkeypatch.setattr(Letters, "process", real)
    assert run_stage(config, "letters", force=True, begun_s=begun_s).processed == 1
    assert run_stage(config, "letters", force=True, begun_s=begun_s).processed == 0
    assert processed(letters.source) == ["a", "a", "b", "b"]


def test_another_try_of_a_forced_whole_stage_goes_on_from_its_state(
    tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(tmp_path / "space", letters, Total(offset=10))
    run_stage(config, "letters")
    run_stage(config, "total")
    begun_s, real, found = time.time() + 0.01, Total.run, list[bool]()
    time.sleep(0.05)

    def dies(self: Total, inputs: Any, folder: Path, context: Context) -> pa.Table:
        found.append((context.state / "checkpoint").exists())
        (context.state / "checkpoint").touch()
        raise MachineError("a machine is gone")

    plan = StageGraph(config).plan("total")
    (plan.store.state_folder(plan.work[0][1]) / "checkpoint").touch()  # of an earlier run
    monkeypatch.setattr(Total, "run", dies)
    for _ in range(2):
        with pytest.raises(MachineError):
            run_stage(config, "total", force=True, begun_s=begun_s)
    monkeypatch.setattr(Total, "run", real)
    assert run_stage(config, "total", force=True, begun_s=begun_s).processed == 1
    assert found == [False, True]


def test_force_works_on_everything_again(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Total())
    first = run_stage(config, "letters")
    again = run_stage(config, "letters", force=True)
    assert (again.state, again.processed, again.dataset_key) == ("published", 2, first.dataset_key)
    run_stage(config, "total")
    assert run_stage(config, "total", force=True).processed == 1


def test_a_missing_input_says_what_to_run(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Shouts())
    with pytest.raises(
        StageError, match=r"letters has no dataset for this config yet \(2 of 2 items to do\)"
    ):
        run_stage(config, "shouts")


def test_an_empty_source_is_an_error(tmp_path: Path) -> None:
    letters = Letters(source=write_texts(tmp_path / "source"))
    with pytest.raises(InputError, match="letters: its source holds nothing to work on"):
        run_stage(make_config(tmp_path / "space", letters), "letters")


def test_nothing_kept_is_an_error_even_where_all_rejects_are_allowed(tmp_path: Path) -> None:
    letters = Letters(source=write_texts(tmp_path / "source", a="reject"), runtime=ANY)
    with pytest.raises(
        StageError, match=r"all 1 items were rejected .* nothing is left .* Correct the sources\.$"
    ):
        run_stage(make_config(tmp_path / "space", letters), "letters")
    (line,) = status(make_config(tmp_path / "space", letters))
    assert (line.state, line.rejected, line.to_do) == ("rejected", 1, 0)


def test_whoever_forces_one_stage_is_told_of_those_that_stay(tmp_path: Path, caplog) -> None:
    letters = Letters(source=write_texts(tmp_path / "source", a="one"))
    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")
    run_stage(config, "letters", force=True)
    assert "by force" not in caplog.text, "total was never made"
    run_stage(config, "total")
    write_texts(tmp_path / "source", b="another")
    run_stage(config, "letters", force=True)
    assert "by force" not in caplog.text, "total is stale now"
    run_stage(config, "total")
    run_stage(config, "letters", force=True)
    assert "letters was done again by force; total stay fresh" in caplog.text
    caplog.clear()
    run_stage(config, "total", force=True)
    run_stage(replace(config, run_by="rebuild"), "letters", force=True)
    assert "by force" not in caplog.text


def test_an_unknown_stage_and_missing_weights(tmp_path: Path, letters: Letters) -> None:
    with pytest.raises(InputError, match="config fake has no stage 'pose'; it has letters"):
        run_stage(make_config(tmp_path / "space", letters), "pose")
    weightless = Letters(source=letters.source, weights=tmp_path / "gone.onnx")
    with pytest.raises(WeightsError, match=r"letters\.weights: there is no file or folder .*gone\.onnx"):
        run_stage(make_config(tmp_path / "space", weightless), "letters")


def test_problems_that_can_be_seen_first_are_seen_first(
    tmp_path: Path, letters: Letters, monkeypatch
) -> None:
    monkeypatch.setattr(Letters, "check", lambda self: ["the moon is wrong"])
    with pytest.raises(ConfigError, match=r"configs/fake\.yaml: letters: the moon is wrong"):
        run_stage(make_config(tmp_path / "space", letters), "letters")
    assert not (letters.source / "log").exists()


def test_the_rows_of_many_items_are_joined_once(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    config = make_config(tmp_path / "space", letters)
    run_stage(config, "letters")
    joined = StageGraph(config).dataset("letters").table()
    (index,) = {path.parent for path in (tmp_path / "space").glob("index/*")}
    assert not list(index.glob("*.parquet"))  # few items are joined each time

    monkeypatch.setattr(datasets, "_GROUP", 1)
    assert StageGraph(config).dataset("letters").table().equals(joined)
    (place,) = index.glob("*.parquet")
    with monkeypatch.context() as patch:
        patch.setattr(datasets.PublishedDataset, "item_table", None)
        assert StageGraph(config).dataset("letters").table().equals(joined, check_metadata=True)
    place.write_bytes(place.read_bytes()[:20])
    assert StageGraph(config).dataset("letters").table().equals(joined)


def test_workers_that_a_stage_cannot_use_are_refused(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    config = make_config(tmp_path / "space", letters, Total(runtime={"workers": 2}))
    run_stage(config, "letters")
    monkeypatch.setattr(Total, "one_process", True)
    with pytest.raises(ConfigError, match=r"total\.runtime\.workers: got 2, allowed is 1"):
        run_stage(config, "total")


def test_a_part_over_workers_is_kept_though_the_stage_fails(tmp_path: Path, letters: Letters) -> None:
    broken = make_config(tmp_path / "space", letters, Chorus(breaks=True))
    run_stage(broken, "letters")
    with pytest.raises(StageError, match="broken after the part"):
        run_stage(broken, "chorus")
    made = files_of(tmp_path / "space" / "shouts")
    times = [path.stat().st_mtime_ns for path in sorted((tmp_path / "space" / "shouts").rglob("*.json"))]
    config = make_config(tmp_path / "space", letters, Chorus())
    assert run_stage(config, "chorus").kept == 1
    assert StageGraph(config).dataset("chorus").table().to_pylist() == [{"chorus": "ONE! THREE!"}]
    assert files_of(tmp_path / "space" / "shouts") == made
    assert times == [p.stat().st_mtime_ns for p in sorted((tmp_path / "space" / "shouts").rglob("*.json"))]
    dataset = StageGraph(config).dataset("letters")
    whole = dataset.content_sha256("a", "copy.txt")
    assert len(whole) == 64
    assert whole != dataset.content_sha256("b", "copy.txt")
    with pytest.raises(DataError, match=r"has no file copy\.tx"):
        dataset.content_sha256("a", "copy.tx")


def test_a_part_that_is_not_done_stops_the_stage(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    config = make_config(tmp_path / "space", letters, Chorus())
    run_stage(config, "letters")
    monkeypatch.setattr(Shouts, "process", _refuses)
    monkeypatch.setattr("stages.runner._run_items", _run_here)
    with pytest.raises(StageError, match=r"shouts: 2 of 2 items were not done \(2 hoarse\).*Run it again"):
        run_stage(config, "chorus")


def _refuses(self, loaded, item, folder):
    raise RejectedItem("hoarse", "it lost its voice")


def _run_here(config, plan, stage, force):
    task = ItemTask(stage, plan.store.workspace.uri, plan.store.recipe_key)
    return {key: task.run(item, key).seconds for item, key in plan.todo}


def test_a_running_stage_is_left_alone(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters)
    with (
        LocalWorkspace(tmp_path / "space").lock("letters/lock.json", "stage letters"),
        pytest.raises(StageError, match=r"stage letters in workspace .* is already running: process"),
    ):
        run_stage(config, "letters")
    assert run_stage(config, "letters").state == "published"


def test_a_worker_clears_nothing_that_a_long_film_may_still_need(
    tmp_path: Path, letters, monkeypatch
) -> None:
    ages = []
    monkeypatch.setattr(LocalWorkspace, "clear_staging", lambda self, name, age=0: ages.append(age))
    items = Letters.items

    def long(self: Letters, inputs: Any) -> list[Item]:
        return [replace(item, num_frames=10**5) for item in items(self, inputs)]

    run_stage(make_config(tmp_path / "short", letters), "letters")
    monkeypatch.setattr(Letters, "items", long)
    run_stage(make_config(tmp_path / "long", letters), "letters")
    assert [age for age in ages if age] == [24 * 3600, 10**6]


def test_a_part_that_another_process_does_is_left_alone(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Chorus())
    run_stage(config, "letters")
    with (
        LocalWorkspace(tmp_path / "space").lock("shouts/lock.json", "stage shouts"),
        pytest.raises(StageError, match=r"stage shouts in workspace .* is already running: process"),
    ):
        run_stage(config, "chorus")
    assert run_stage(config, "chorus").kept == 1


def test_a_lost_item_is_made_again(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters)
    key = run_stage(config, "letters").dataset_key
    dataset = StageGraph(config).dataset("letters")
    shutil.rmtree(dataset.path("a", "copy.txt").parent)
    again = run_stage(config, "letters")
    assert (again.processed, again.dataset_key) == (1, key)


def test_a_changed_item_file_is_named_by_whoever_reads_it(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters)
    run_stage(config, "letters")
    dataset = StageGraph(config).dataset("letters")
    dataset.path("a", "copy.txt").write_text("longer than it was")
    with pytest.raises(DataError, match=r"copy\.txt: has 18 bytes, its record says 3"):
        dataset.path("a", "copy.txt")
    dataset.path("b", "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"table\.parquet: has 4 bytes, its record says "):
        dataset.item_table("b")
    with pytest.raises(DataError, match=r"item a.txt has no file gone.txt; it has copy.txt, table.parquet"):
        dataset.path("a", "gone.txt")


@pytest.mark.parametrize("reader", [Shouts(), Total()])
def test_what_a_stage_finds_damaged_is_made_again_first(
    tmp_path: Path, letters: Letters, reader: Stage, caplog, monkeypatch
) -> None:
    """A disk that rots changes content and no time, so only whoever opens a file sees it."""
    config = make_config(tmp_path / "space", letters, reader)
    run_stage(config, "letters")
    dataset = StageGraph(config).dataset("letters")
    name = "copy.txt" if isinstance(reader, Shouts) else "table.parquet"
    place = dataset.without_fetching().path("a", name)
    right = place.read_bytes()
    place.write_bytes(bytes(byte ^ 1 for byte in right))
    stage_of_damage = StageStore.states

    def as_listed(self: StageStore, items: Any, known: Any = (), reads: bool = True) -> Any:
        """The list, as if nothing had been touched."""
        if known and reads and self.stage == "letters":
            return list(known), []
        return stage_of_damage(self, items, known, reads)

    monkeypatch.setattr(StageStore, "states", as_listed)
    result = run_stage(config, reader.name)
    assert result.state == "published"
    assert place.read_bytes() == right
    assert processed(letters.source) == ["a", "a", "b"]
    assert f"{reader.name}: making again what is damaged: {place}: is not what was published" in caplog.text


def test_damage_that_cannot_be_made_good_is_named_with_the_reason(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Shouts(), Total())
    run_stage(config, "letters")
    run_stage(config, "shouts")
    place = StageGraph(config).dataset("letters").path("a", "copy.txt")
    place.write_text("six")
    shutil.rmtree(letters.source)
    with pytest.raises(StageError, match=r"copy.txt: is not what .*\nIt could not be made again: .*source"):
        run_stage(config, "shouts", force=True)


def test_other_weights_than_planned_are_not_worked_with(
    tmp_path: Path, letters: Letters, monkeypatch
) -> None:
    """Their sha256 is remembered, and a disk that rots changes no time."""
    weights = tmp_path / "weights.bin"
    weights.write_text("right")
    config = make_config(tmp_path / "space", Letters(source=letters.source, weights=weights))
    monkeypatch.setattr(FileHashes, "sha256", lambda self, path: f"00 of {path.name}")
    with pytest.raises(WeightsError, match=r"letters.weights: .*weights.bin has sha256 .*, and had 00"):
        run_stage(config, "letters")


def test_a_store_that_is_away_is_no_reason_to_take_an_older_result(
    tmp_path: Path, letters: Letters, monkeypatch
) -> None:
    config = make_config(tmp_path / "space", letters)
    run_stage(config, "letters")

    def away(self: StageGraph, name: str) -> Any:
        raise MachineError("the store does not answer")

    monkeypatch.setattr(StageGraph, "dataset", away)
    with pytest.raises(MachineError, match="does not answer"):
        StageGraph(config).result("letters")


def test_a_result_is_used_without_its_sources_and_said_to_be_older(
    tmp_path: Path, letters: Letters, caplog
) -> None:
    config = make_config(tmp_path / "space", letters, Shouts(), Total())
    with pytest.raises(StageError, match="letters has no dataset for this config yet"):
        StageGraph(config).result("total")
    for name in config.stages:
        run_stage(config, name)
    exact = StageGraph(config).result("total")
    assert "newest result" not in caplog.text
    write_texts(letters.source, c="one more")
    older = StageGraph(config).result("total")
    assert older.key == exact.key
    assert older.path("all", "parts/note.txt").read_text() == "note"
    assert "total: using the newest result, of 20" in caplog.text
    shutil.rmtree(letters.source)
    assert StageGraph(config).result("total").key == exact.key
    inputs = StageGraph(config).read_by(older)
    assert {name: dataset.ids for name, dataset in inputs.items()} == {
        "letters": ("a", "b"),
        "shouts": ("a", "b"),
    }
    shutil.rmtree(tmp_path / "space" / "letters")
    with pytest.raises(DataError, match=r"holds no letters dataset .* which total dataset .* was made from"):
        StageGraph(config).read_by(older)


def test_a_result_of_this_config_is_preferred_to_a_newer_one_of_another(
    tmp_path: Path, letters: Letters, caplog
) -> None:
    ours, theirs = Total(offset=1), Total(offset=2)
    for total in (ours, theirs):
        config = make_config(tmp_path / "space", letters, total)
        for name in config.stages:
            run_stage(config, name)
    write_texts(letters.source, c="one more")
    totals = [
        StageGraph(make_config(tmp_path / "space", letters, Total(offset=offset)))
        .result("total")
        .table()["total"]
        for offset in (1, 2, 3)
    ]
    assert [total.to_pylist() for total in totals] == [[9], [10], [10]]
    assert caplog.text.count("made with other settings") == 1


def test_a_source_out_of_reach_still_serves_what_was_made_from_it(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")
    shutil.rmtree(letters.source)
    assert run_stage(config, "total").kept == 1
    with pytest.raises(InputError, match="its source holds nothing"):
        run_stage(config, "letters")


def test_a_workspace_that_moved_with_its_sources_is_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "space").mkdir()
    source = write_texts(tmp_path / "space" / "source", a="one", b="three")
    config = make_config(tmp_path / "space", Letters(source=source), Total())
    for name in config.stages:
        run_stage(config, name)
    (tmp_path / "space").rename(tmp_path / "moved")
    source = tmp_path / "moved" / "source"
    moved = make_config(tmp_path / "moved", Letters(source=source), Total())
    assert [run_stage(moved, name).state for name in moved.stages] == ["fresh", "fresh"]
    for text in source.glob("*.txt"):
        text.unlink()
    assert run_stage(moved, "total", force=True).kept == 1, "out of reach, and the same as before"
    places = [path for path in (tmp_path / "moved").rglob("*") if path.is_file()]
    assert not [path for path in places if str(tmp_path / "space").encode() in path.read_bytes()]


def test_a_source_out_of_reach_is_not_replaced_by_another_of_the_same_recipe(
    tmp_path: Path, letters: Letters
) -> None:
    other = Letters(source=write_texts(tmp_path / "other", x="of another config"))
    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")
    run_stage(make_config(tmp_path / "space", other), "letters")
    shutil.rmtree(letters.source)
    assert run_stage(config, "total").kept == 1
    assert StageGraph(config).dataset("letters").ids == ("a", "b")
    elsewhere = make_config(tmp_path / "space", Letters(source=tmp_path / "elsewhere"), Total())
    with pytest.raises(MissingSourceError, match="its source holds nothing"):
        run_stage(elsewhere, "total")


def test_a_source_that_is_malformed_is_not_out_of_reach(
    tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_row(self: Letters, inputs: object) -> list[Item]:
        raise InputError("the list has 1 problem")

    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")
    monkeypatch.setattr(Letters, "items", bad_row)
    with pytest.raises(InputError, match="the list has 1 problem"):
        run_stage(config, "total")


def test_joined_rows_are_those_of_items_that_were_made_again(
    tmp_path: Path, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.engine.datasets._GROUP", 1)
    config = make_config(tmp_path / "space", letters)
    run_stage(config, "letters")
    before = StageGraph(config).dataset("letters").table()
    assert StageGraph(config).dataset("letters").table().equals(before)
    real = Letters.process

    def one_letter(*arguments: Any) -> pa.Table:
        return real(*arguments).slice(0, 1)

    monkeypatch.setattr(Letters, "process", one_letter)
    run_stage(config, "letters", force=True)
    assert StageGraph(config).dataset("letters").table()["letter"].to_pylist() == ["o", "t"]


def test_a_failing_show_leaves_the_dataset(tmp_path: Path, letters: Letters, monkeypatch, caplog) -> None:
    def show(self: object, *arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Letters, "show", show)
    result = run_stage(make_config(tmp_path / "space", letters), "letters")
    assert (result.state, result.is_shown) == ("published", False)
    assert "letters: its pictures could not be made" in caplog.text


def test_the_manifest_says_where_a_dataset_comes_from(tmp_path: Path, letters: Letters) -> None:
    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")
    run_stage(config, "total")
    manifest = StageGraph(config).dataset("total").manifest
    assert manifest.inputs == {"letters": StageGraph(config).dataset("letters").key}
    assert manifest.fields == {"offset": 0, "pause_s": 0, "trains": False}
    assert manifest.config == config.portable()
    assert str(tmp_path / "space") not in json.dumps(manifest.config)
    assert manifest.versions["python"].startswith("3.")
    assert manifest.counts.kept == 1
    path = next((tmp_path / "space" / "total").rglob("manifest.json"))
    assert json.loads(path.read_bytes())["schema_version"] == 1


def test_the_state_of_a_whole_stage_survives_until_it_is_published(
    tmp_path: Path, letters: Letters, monkeypatch
) -> None:
    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")
    original = Total.run

    def interrupted(self: Total, inputs, folder, context):
        checkpoint = context.state / "checkpoint"
        if not checkpoint.exists():
            checkpoint.write_text("half")
            raise KeyboardInterrupt
        return original(self, inputs, folder, context)

    monkeypatch.setattr(Total, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_stage(config, "total")
    assert list((tmp_path / "space").rglob("checkpoint"))
    assert run_stage(config, "total").kept == 1
    assert not list((tmp_path / "space").rglob("checkpoint"))


def test_a_whole_stage_that_fails_says_so(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    config = make_config(tmp_path / "space", letters, Total())
    run_stage(config, "letters")

    def fails(self: Total, *arguments: object) -> None:
        raise ValueError("no idea")

    monkeypatch.setattr(Total, "run", fails)
    with pytest.raises(StageError, match="total stopped: ValueError: no idea"):
        run_stage(config, "total")

    def full(self: Total, *arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Total, "run", full)
    with pytest.raises(StageError, match=r"total stopped: the disk of workspace .* is full"):
        run_stage(config, "total")


def test_what_an_item_carries_keeps_its_types(tmp_path: Path, letters: Letters) -> None:
    seen: list[Item] = []

    class Noting(type(letters)):
        def process(self, loaded, item, folder):
            seen.append(item)
            raise RejectedItem("hoarse", "it lost its voice")

    carried = {"shape": {"size": Size(64, 128), "pair": (1, [2])}}
    task = ItemTask(Noting(**dict(letters)), str(tmp_path / "space"), "recipe")
    task.run(Item("one", {"text": "key"}, carried), "key")
    assert seen[0].payload == carried
    assert type(seen[0].payload["shape"]["size"]) is Size
