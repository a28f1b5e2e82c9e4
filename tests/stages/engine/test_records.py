"""Records and manifests: the same content is the same bytes, and damage is noticed."""

import json

import pyarrow as pa
import pytest

from mimicmotion.errors import DataError
from stages.engine.records import RECORD_VERSION, FileFacts, ItemRecord, ItemState, item_states, items_table

RECORD = ItemRecord(
    stage="pose",
    recipe_key="r",
    item_key="k",
    id="a",
    label="ä.mp4",
    state="kept",
    rows=3,
    files={"table.parquet": FileFacts(size_bytes=3, sha256="00")},
)


def opened(data: bytes) -> ItemRecord:
    return ItemRecord.opened(data, "space/pose/item.json", RECORD_VERSION)


def test_a_record_reads_back_from_its_bytes() -> None:
    assert opened(RECORD.sealed()) == RECORD
    assert opened(RECORD.sealed()).sealed() == RECORD.sealed()


def test_a_change_of_any_byte_is_noticed() -> None:
    data = RECORD.sealed()
    for index in range(len(data) - 1):
        changed = data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :]
        with pytest.raises(DataError, match=r"^space/pose/item\.json: "):
            opened(changed)


def test_every_truncation_is_noticed() -> None:
    data = RECORD.sealed()
    for length in range(len(data) - 1):
        with pytest.raises(DataError, match="damaged"):
            opened(data[:length])


@pytest.mark.parametrize("data", [b"null", b"[]", b"3", b'"x"', b"{}", b'{"schema_version": 1}'])
def test_other_json_is_damage_too(data: bytes) -> None:
    with pytest.raises(DataError, match=r"item\.json: damaged"):
        opened(data)


def test_a_newer_version_is_refused_as_such() -> None:
    content = json.loads(RECORD.sealed()) | {"schema_version": 99, "news": True}
    with pytest.raises(DataError, match=r"newer mimicmotion \(schema version 99, this one knows up to 1\)"):
        opened(json.dumps(content).encode())


def test_an_item_list_reads_back() -> None:
    kept = ItemState("a", "A", "k", "kept", None, None, 3, 1.5, 0.25)
    rejected = ItemState("b", "B", "l", "rejected", "timeout", "slow", 0, 2.0, None)
    table = items_table([kept, rejected])
    assert item_states(table) == [kept, rejected]
    assert table.schema.field("time").type == pa.timestamp("ms", tz="UTC")
    assert kept.is_final
    assert not rejected.is_final


@pytest.mark.parametrize(
    ("reason", "is_final"),
    [("timeout", False), ("worker_died", False), ("decoder_killed", False), ("decoder_crashed", True)],
)
def test_what_the_machine_may_be_to_blame_for_is_tried_again(reason: str, is_final: bool) -> None:
    """More memory or a calmer machine may give another outcome; a decoder that crashes does so again."""
    assert ItemState("b", "B", "l", "rejected", reason, "why", 0, 2.0, None).is_final is is_final
