"""The store's promises: whole or not at all, the same bytes, and damage named."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from fake_stages import LETTERS_SCHEMA

from mimicmotion.errors import DamagedError, DataError, RejectedItem, StageError
from stages.engine.contract import Item
from stages.engine.records import ItemState
from stages.engine.storage.hashes import FileHashes
from stages.engine.storage.workspace import LocalWorkspace
from stages.engine.store import StageStore, check_ids, check_keys, check_schema

ITEM = Item("a", {"text": "x"}, label="a.txt")
TABLE = pa.table({"letter": ["a"], "length": [1]}, schema=LETTERS_SCHEMA)

KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fake_stages import LETTERS_SCHEMA
from stages.engine.contract import Item
from stages.engine.store import StageStore
from stages.engine.storage.workspace import LocalWorkspace
import pyarrow as pa

class KilledBeforeRename(LocalWorkspace):
    def publish(self, staging, name, record):
        os.kill(os.getpid(), 9)

store = StageStore(KilledBeforeRename(Path(sys.argv[1])), "letters", "recipe")
table = pa.table({"letter": ["a"], "length": [1]}, LETTERS_SCHEMA)
folder = store.staging()
(folder / "copy.txt").write_text("half")
store.keep(folder, Item("a", {"text": "x"}), "key", table)
"""


def keep(store: StageStore, key: str = "key", item: Item = ITEM) -> Path:
    folder = store.staging()
    (folder / "copy.txt").write_text("text")
    (folder / "parts").mkdir()
    (folder / "parts" / "deep.txt").write_text("deep")
    store.keep(folder, item, key, TABLE)
    return store.workspace.fetch(store.item_name(key))


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(LocalWorkspace(tmp_path / "space"), "letters", "recipe")


def test_a_kept_item_has_its_files_table_and_record(store: StageStore) -> None:
    folder = keep(store)
    names = ["copy.txt", "item.json", "parts", "table.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == names
    record = store.record("key")
    assert (record.state, record.rows, record.id, sorted(record.files)) == (
        "kept",
        1,
        "a",
        ["copy.txt", "parts/deep.txt", "table.parquet"],
    )
    assert list(store.published_items()) == ["key"]


def test_the_same_outcome_is_the_same_bytes_anywhere(store: StageStore, tmp_path: Path) -> None:
    other = StageStore(LocalWorkspace(tmp_path / "another" / "place"), "letters", "recipe")
    first, second = keep(store), keep(other)
    for path in (path for path in first.iterdir() if path.is_file()):
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_rejected_item_is_a_record_with_its_reason(store: StageStore) -> None:
    store.reject(ITEM, "key", RejectedItem("no_person", "nobody is in it"))
    record = store.record("key")
    assert (record.state, record.reason, record.sentence) == ("rejected", "no_person", "nobody is in it")
    assert not record.files


def test_killed_between_writing_and_publishing_nothing_counts(store: StageStore, tmp_path: Path) -> None:
    fakes = str(Path(__file__).parents[2] / "fakes")
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "space"), fakes], check=False)
    assert child.returncode == -signal.SIGKILL
    assert list((tmp_path / "space").rglob("copy.txt")), "the test must reach the write"
    assert store.published_items() == {}
    store.clear_staging(0)
    assert not list((tmp_path / "space").rglob("copy.txt"))
    keep(store)
    assert list(store.published_items()) == ["key"]


@pytest.mark.parametrize("damage", ["truncated", "edited", "elsewhere", "gone"])
def test_a_damaged_record_is_named(store: StageStore, damage: str) -> None:
    path = keep(store) / "item.json"
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[:-10])
    elif damage == "edited":
        path.write_bytes(data.replace(b'"rows":1', b'"rows":2'))
    elif damage == "elsewhere":
        path.rename(path.with_name("moved"))
        keep(StageStore(store.workspace, "letters", "other"))
        (store.workspace.fetch("letters/other/items/key") / "item.json").rename(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"letters/recipe/items/key/item\.json: "):
        store.record("key")


def test_states_come_from_the_list_while_nothing_was_touched(store: StageStore, monkeypatch) -> None:
    path = keep(store) / "item.json"
    ((state,), damaged) = store.states([(ITEM, "key"), (Item("b", {}), "missing")])
    assert (state.id, state.state, state.rows, damaged) == ("a", "kept", 1, [])
    with monkeypatch.context() as patch:
        patch.setattr(StageStore, "record", None)
        assert store.states([(ITEM, "key")], [state]) == ([state], []), "nothing was touched, nothing is read"
    path.write_bytes(b"damaged")
    os.utime(path, (state.time_s, state.time_s))
    (found, (sentence,)) = store.states([(ITEM, "key")], [state])
    assert found == []
    assert "item.json: damaged" in sentence


@pytest.mark.parametrize("damage", ["flipped", "emptied", "gone", "nested"])
def test_a_damaged_file_is_named_and_its_item_no_longer_counts(store: StageStore, damage: str) -> None:
    folder = keep(store)
    ((state,), _) = store.states([(ITEM, "key")])
    path = folder / ("parts/deep.txt" if damage == "nested" else "copy.txt")
    stat = path.stat()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "emptied" else bytes(byte ^ 1 for byte in path.read_bytes()))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    said = {"gone": "cannot be read", "emptied": "has 0 bytes, its record says 4"}.get(
        damage, "is not what was"
    )
    found, (sentence,) = store.states([(ITEM, "key")], [state])
    assert found == []
    assert f"{path}: {said}" in sentence
    with pytest.raises(DamagedError, match=f"{path.name}: {said}"):
        store.open_file(store.record("key"), path.relative_to(folder).as_posix())


def test_what_was_found_damaged_is_looked_at_again_and_counts_once_it_was_brought_back(
    store: StageStore, monkeypatch
) -> None:
    path = keep(store) / "copy.txt"
    ((state,), _) = store.states([(ITEM, "key")])
    # A disk that rots changes content and no time.
    monkeypatch.setattr(FileHashes, "sha256", lambda self, path: "0" * 64)
    with pytest.raises(DamagedError, match=r"copy\.txt: is not what was published, though as long"):
        store.open_file(store.record("key"), "copy.txt")
    assert store.states([(ITEM, "key")], [state])[0] == []
    monkeypatch.undo()
    assert [one.id for one in store.states([(ITEM, "key")], [state])[0]] == ["a"]
    assert path.read_text() == "text"


def test_ids_must_be_unique_and_safe() -> None:
    check_ids("letters", [ITEM, Item("b-1_c.d", {})])
    with pytest.raises(StageError, match=r"two items have the id 'a': 'a.txt' and 'z.txt'"):
        check_ids("letters", [ITEM, Item("a", {}, label="z.txt")])
    for bad in ("", "..", "../x", "a/b", ".hidden", "-x", "ä", "a b", "x" * 201, "a\n", "a\0"):
        with pytest.raises(StageError, match="cannot be the id of an item"):
            check_ids("letters", [Item(bad, {})])


def test_items_that_name_the_same_inputs_are_refused() -> None:
    with pytest.raises(StageError, match="items 'a' and 'b' name the same inputs"):
        check_keys("letters", [(ITEM, "k"), (Item("b", {}), "k")])


def test_a_table_must_be_exactly_in_its_schema() -> None:
    check_schema("letters", LETTERS_SCHEMA, TABLE.replace_schema_metadata({"fps": "12"}))
    wrong = pa.table({"letter": ["a"], "size": [1.0]})
    with pytest.raises(StageError, match=r"lacks length \(int64\); has size, which the schema has not"):
        check_schema("letters", LETTERS_SCHEMA, wrong)
    with pytest.raises(StageError, match="has length as"):
        check_schema("letters", LETTERS_SCHEMA, pa.table({"letter": ["a"], "length": [1.0]}))
    with pytest.raises(StageError, match="columns in another order"):
        check_schema("letters", LETTERS_SCHEMA, TABLE.select(["length", "letter"]))


def test_a_changed_item_list_is_named(store: StageStore) -> None:
    from stages.engine.records import Counts, Manifest, Timings

    manifest = Manifest(
        stage="letters",
        stage_version=1,
        recipe_key="recipe",
        dataset_key="data",
        fields={},
        config={},
        inputs={},
        git_revision=None,
        versions={},
        counts=Counts(kept=1, rejected=0, rows=1, reasons={}),
        timings=Timings(started="s", published="p", seconds=1, processed=1),
        items_sha256="",
    )
    items = [ItemState("a", "a.txt", "key", "kept", None, None, 1, 1.0, 0.5)]
    published = store.publish_dataset(manifest, items)
    assert store.manifest("data") == published == store.manifests()[0]
    assert store.item_list(published) == items
    path = store.workspace.fetch(store.dataset_name("data"))
    (path / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"items\.parquet: is not what was published"):
        store.item_list(published)
    content = json.loads((path / "manifest.json").read_bytes())
    (path / "manifest.json").write_text(json.dumps(content | {"dataset_key": "other"}))
    with pytest.raises(DataError, match=r"data/manifest\.json: its content was changed"):
        store.manifest("data")
    assert store.manifest("nowhere") is None
