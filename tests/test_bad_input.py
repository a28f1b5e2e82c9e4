"""Whatever comes in, one clear error comes out: configs, lists, Parquet files, manifests, weights, ids.

Hypothesis makes the input up, the same in every run.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from fake_stages import CLASSES, Letters
from hypothesis import given
from hypothesis import strategies as st
from made_up import few, plain, tried, words
from pydantic import BaseModel

from mimicmotion.errors import ConfigError, DataError, InputError, RejectedItem, StageError, WeightsError
from mimicmotion.pose.files.importing import read_parquet
from mimicmotion.video.listing import list_videos
from stages.engine.config import load_config
from stages.engine.contract import Item
from stages.engine.item_task import ItemTask
from stages.engine.records import REJECTED, Counts, ItemRecord, Manifest, Timings
from stages.engine.store import check_ids

ROOT = Path(__file__).resolve().parents[1]


@few
@given(
    values=st.dictionaries(
        st.one_of(words, st.sampled_from(["letters", "workspace", "ray", "mlflow"])), plain
    )
)
def test_any_yaml_is_a_config_or_one_error(tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "any.yaml"
    file.write_text(yaml.safe_dump(values, allow_unicode=True))
    config, error = tried(load_config, file, classes=CLASSES)
    assert config is not None or "any.yaml" in error


@few
@given(field=st.sampled_from(["factor", "source", "weights", "runtime", "runtime.workers"]), value=plain)
def test_any_value_of_a_field_is_taken_or_named(tmp_path: Path, field: str, value: Any) -> None:
    (tmp_path / "right.yaml").write_text("workspace: space\nletters: {source: source}\n")
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True)
    place = tmp_path / "right.yaml"
    config, error = tried(load_config, place, [f"letters.{field}={text}"], classes=CLASSES)
    if config is None:
        assert "letters" in error
    else:
        letters = config.stages["letters"]
        assert letters.factor >= 1
        assert letters.runtime.workers >= 1


def leaves(section: BaseModel, prefix: str) -> list[tuple[str, Any]]:
    """Every field of a section with its value, by dotted name."""
    found = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        inner = isinstance(value, BaseModel)
        found += leaves(value, f"{prefix}.{name}") if inner else [(f"{prefix}.{name}", value)]
    return found


def test_no_number_of_a_stage_may_be_negative_or_none_at_all() -> None:
    """Every field of every stage is tried, so that a new one is checked too."""
    paper = ROOT / "configs" / "paper.yaml"
    fields = [leaf for name, stage in load_config(paper).stages.items() for leaf in leaves(stage, name)]
    numbers = [name for name, value in fields if type(value) in (int, float)]
    assert len(numbers) > 50
    for value in (".nan", ".inf", "-.inf", "-1", "'1px'", "[]", "{a: 1}"):
        _, error = tried(load_config, paper, [f"{name}={value}" for name in numbers])
        assert [name for name in numbers if f"{name}: " not in error] == [], value


@few
@given(data=st.binary(max_size=200))
def test_any_bytes_are_no_config(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "bytes.yaml"
    file.write_bytes(data)
    with pytest.raises(ConfigError):
        load_config(file, classes=CLASSES)


@few
@given(
    rows=st.lists(st.fixed_dictionaries({"path": plain}, optional={"split": plain, "id": plain}), min_size=1)
)
def test_a_list_of_anything_has_its_problems_named(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    file = tmp_path / "list.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    with pytest.raises(InputError, match=r"list\.jsonl"):
        list_videos(str(file))


@few
@given(data=st.binary(max_size=300), suffix=st.sampled_from([".csv", ".parquet", ".jsonl"]))
def test_any_bytes_are_no_list(tmp_path: Path, data: bytes, suffix: str) -> None:
    file = tmp_path / f"list{suffix}"
    file.write_bytes(data)
    with pytest.raises(InputError, match="list"):
        list_videos(str(file))


@few
@given(paths=st.lists(words, min_size=1, max_size=4))
def test_names_in_a_list_are_files_that_are_there_or_problems(tmp_path: Path, paths: list[str]) -> None:
    file = tmp_path / "list.parquet"
    pq.write_table(pa.table({"path": paths}), file)
    found, error = tried(list_videos, str(file))
    if found is None:
        assert "list.parquet" in error
    else:
        assert all(Path(video.location).is_file() for video in found.videos)


@few
@given(
    cut=st.floats(0, 0.999), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=3)
)
def test_a_damaged_parquet_file_is_named(tmp_path: Path, cut: float, flips: list[tuple[float, int]]) -> None:
    whole = pa.BufferOutputStream()
    pq.write_table(pa.table({"frame": np.arange(100), "score": np.linspace(0, 1, 100)}), whole)
    data = bytearray(whole.getvalue().to_pybytes())
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    file = tmp_path / "poses.parquet"
    file.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(InputError, match=r"poses\.parquet"):
        read_parquet(file)


def manifest() -> Manifest:
    return Manifest(
        stage="letters", stage_version=1, recipe_key="r", dataset_key="d", fields={}, config={}, inputs={},
        git_revision=None, versions={}, counts=Counts(kept=1, rejected=0, rows=3, reasons={}),
        timings=Timings(started="", published="", seconds=1.5, processed=1), items_sha256="",
    )  # fmt: skip


@few
@given(place=st.floats(0, 0.999), bits=st.integers(1, 255), cut=st.booleans())
def test_a_tampered_manifest_is_named(tmp_path: Path, place: float, bits: int, cut: bool) -> None:
    data = bytearray(manifest().sealed())
    # The line's end carries nothing.
    index = int(place * (len(data) - 1))
    if cut:
        data = data[:index]
    else:
        data[index] ^= bits
    with pytest.raises(DataError, match=r"manifest\.json"):
        Manifest.opened(bytes(data), "manifest.json", 1)


@few
@given(version=st.integers(2, 10**9))
def test_a_newer_manifest_is_refused_as_newer(version: int) -> None:
    data = manifest().model_copy(update={"schema_version": version}).sealed()
    with pytest.raises(DataError, match="newer mimicmotion"):
        Manifest.opened(data, "manifest.json", 1)


@few
@given(content=plain)
def test_any_json_is_no_record(content: Any) -> None:
    with pytest.raises(DataError, match=r"item\.json"):
        ItemRecord.opened(json.dumps(content).encode(), "item.json", 1)


@few
@given(name=words)
def test_an_id_names_a_folder_here_or_stops_the_stage(tmp_path: Path, name: str) -> None:
    item = Item(name, {"text": "key"})
    _, error = tried(check_ids, "letters", [item])
    if error:
        assert repr(name) in error
    else:
        top = tmp_path / "space"
        assert (top / name).resolve().parent == top.resolve()


def test_links_out_of_a_folder_and_unreadable_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"0")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(InputError, match=r"lead out of it: link\.mp4"):
        list_videos(str(folder))
    (folder / "link.mp4").unlink()
    (folder / "dead.mp4").symlink_to(folder / "gone.mp4")
    assert [video.name for video in list_videos(str(folder)).videos] == ["dead.mp4"]


@few
@given(data=st.binary(max_size=400), name=st.sampled_from(["model.safetensors", "model.pth"]))
def test_any_bytes_are_no_weights_and_nothing_in_them_runs(tmp_path: Path, data: bytes, name: str) -> None:
    from mimicmotion.model.weights import read_released

    file = tmp_path / name
    file.write_bytes(data)
    with pytest.raises(WeightsError, match="model"):
        read_released(file)


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    import torch

    from mimicmotion.model.weights import read_released

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {tmp_path / 'ran'}",))

    file = tmp_path / "evil.pth"
    torch.save({"unet.x": Evil()}, file)
    with pytest.raises(WeightsError, match="evil"):
        read_released(file)
    assert not (tmp_path / "ran").exists()


class HalfDone(Letters):
    """Writes some files, then fails."""

    length: int
    outcome: str

    def process(self, loaded: Any, item: Item, folder: Path) -> pa.Table:
        for index in range(self.length):
            (folder / f"{index}.txt").write_text("half")
        if self.outcome == "reject":
            raise RejectedItem("bad", "as asked")
        if self.outcome == "bug":
            raise KeyError("a bug")
        if self.outcome == "full":
            raise OSError(28, "No space left on device")
        return pa.table({"other": [1]})


@few
@given(length=st.integers(0, 5), outcome=st.sampled_from(["reject", "bug", "full", "wrong"]))
def test_nothing_partial_is_published(tmp_path: Path, length: int, outcome: str) -> None:
    """Whatever an item wrote before it failed is gone; a reject is a record and no file."""
    space = tmp_path / f"{outcome}-{length}"
    stage = HalfDone(source=tmp_path, length=length, outcome=outcome)
    task = ItemTask(stage, str(space), "recipe")
    item = Item("one", {"text": "key"})
    try:
        assert task.run(item, "key").state == REJECTED
    except (StageError, KeyError):
        assert outcome != "reject"
    files = [path.name for path in space.rglob("*") if path.is_file()]
    assert files == (["item.json"] if outcome == "reject" else [])
