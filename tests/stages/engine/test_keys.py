"""Keys: equal for equal work wherever it lies, different for everything that can change a result."""

from pathlib import Path

import pytest
from fake_stages import Letters, Shouts

from mimicmotion.errors import InputError, WeightsError
from stages.engine.contract import Runtime
from stages.engine.keys import (
    check_weights,
    content_sha256,
    dataset_key,
    file_sha256,
    item_key,
    key_fields,
    recipe_key,
)


def weights_in(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_text(text)
    return folder


def test_a_key_is_the_same_as_ever() -> None:
    """Pinned: a change here makes every dataset of every user stale."""
    assert recipe_key(Shouts()) == "2bcf07f55f3a630a5836"
    assert item_key("recipe", {"text": "abc"}) == "db6a911f2814ee731b96"
    assert dataset_key([("a", "1", "kept")]) == "2cfbb9d2d1bc0f4dac8f"


def test_fields_change_the_key_but_runtime_and_source_do_not(tmp_path: Path) -> None:
    key = recipe_key(Letters(source=tmp_path))
    assert recipe_key(Letters(source=tmp_path, factor=2)) != key
    assert recipe_key(Letters(source=tmp_path / "elsewhere")) == key
    assert recipe_key(Letters(source=tmp_path, runtime=Runtime(workers=9))) == key


def test_weights_are_keyed_by_content_not_by_place(tmp_path: Path) -> None:
    first, copy = weights_in(tmp_path / "first", "w"), weights_in(tmp_path / "copy", "w")
    other = weights_in(tmp_path / "other", "x")
    keys = [recipe_key(Letters(source=tmp_path, weights=folder)) for folder in (first, copy, other)]
    assert keys[0] == keys[1] != keys[2]
    assert key_fields(Letters(source=tmp_path, weights=first))["weights"] == {"sha256": content_sha256(first)}


def test_a_folder_is_keyed_by_its_names_too(tmp_path: Path) -> None:
    first = weights_in(tmp_path / "first", "w")
    before = content_sha256(first)
    (first / "weights.bin").rename(first / "renamed.bin")
    assert content_sha256(first) != before


def test_what_systems_and_downloads_leave_in_a_folder_does_not_count(tmp_path: Path) -> None:
    folder = weights_in(tmp_path / "base", "w")
    before = content_sha256(folder)
    for name in (".DS_Store", ".cache/huggingface/download/a.lock", "unet/.nfs01", "unet/Thumbs.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert content_sha256(folder) == before
    (folder / "unet" / "config.json").touch()
    assert content_sha256(folder) != before


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"letters\.weights: there is no file or folder .*gone"):
        recipe_key(Letters(source=tmp_path, weights=tmp_path / "gone"))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.bin: cannot be read"):
        file_sha256(tmp_path / "gone.bin")


def test_a_dataset_key_ignores_order_and_knows_states() -> None:
    items = [("a", "1", "kept"), ("b", "2", "rejected")]
    assert dataset_key(items) == dataset_key(items[::-1])
    assert dataset_key(items) != dataset_key([("a", "1", "kept"), ("b", "2", "kept")])


def test_only_the_weights_of_the_plan_are_worked_with(tmp_path: Path) -> None:
    stage = Letters(source=tmp_path, weights=weights_in(tmp_path / "there", "w"))
    fields = key_fields(stage)
    check_weights(stage, fields)
    (tmp_path / "there" / "weights.bin").write_text("x")
    with pytest.raises(WeightsError, match=r"letters\.weights: .*/there has sha256 .*, and had .* when this"):
        check_weights(stage, fields)
