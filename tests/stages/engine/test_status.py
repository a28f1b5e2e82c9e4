"""Status: each state, and the reason for it."""

import re
from pathlib import Path

import pytest
from fake_stages import Letters, Shouts, Total, make_config, write_texts

from mimicmotion.errors import StageError
from stages.engine.status import StageStatus, status
from stages.runner import run_stage

pytestmark = pytest.mark.usefixtures("alone")


def states(*stages, workspace: Path) -> dict[str, StageStatus]:
    return {line.name: line for line in status(make_config(workspace, *stages))}


def run_all(workspace: Path, *stages) -> None:
    config = make_config(workspace, *stages)
    for name in config.stages:
        run_stage(config, name)


def test_nothing_is_there_at_first(tmp_path: Path, letters: Letters) -> None:
    found = states(letters, Shouts(), workspace=tmp_path / "space")
    assert [(line.state, line.to_do) for line in found.values()] == [("missing", 2), ("missing", None)]
    assert found["shouts"].why == "waits for letters"


def test_all_is_fresh_after_a_run(tmp_path: Path, letters: Letters) -> None:
    run_all(tmp_path / "space", letters, Shouts(), Total())
    for line in states(letters, Shouts(), Total(), workspace=tmp_path / "space").values():
        assert (line.state, line.to_do, line.why) == ("fresh", 0, "")
        assert line.key
        assert line.published


def test_what_a_stage_would_refuse_to_start_for_is_said_before_its_turn(
    tmp_path: Path, letters: Letters, monkeypatch
) -> None:
    monkeypatch.setattr(Shouts, "check", lambda self: ["pairs: pairs.csv is not there"])
    found = states(letters, Shouts(), workspace=tmp_path / "space")
    assert found["shouts"].why == "waits for letters; pairs: pairs.csv is not there"
    run_all(tmp_path / "space", letters)
    found = states(letters, Shouts(), workspace=tmp_path / "space")
    assert (found["shouts"].state, found["shouts"].why) == ("missing", "pairs: pairs.csv is not there")


def test_a_changed_field_makes_its_stage_and_what_follows_stale(tmp_path: Path, letters: Letters) -> None:
    run_all(tmp_path / "space", letters, Shouts(), Total())
    found = states(letters, Shouts(mark="?"), Total(), workspace=tmp_path / "space")
    assert {name: line.state for name, line in found.items()} == {
        "letters": "fresh",
        "shouts": "stale",
        "total": "stale",
    }
    assert found["shouts"].why == "mark ! -> ?"
    assert found["total"].why == "waits for shouts"
    run_stage(make_config(tmp_path / "space", letters, Shouts(mark="?")), "shouts")
    found = states(letters, Shouts(mark="?"), Total(), workspace=tmp_path / "space")
    new = found["shouts"].key
    assert new is not None
    assert re.fullmatch(rf"input shouts changed \(\w{{6}} -> {new[:6]}\)", found["total"].why)
    before, found = found, states(letters, Shouts(), Total(), workspace=tmp_path / "space")
    assert {line.state for line in found.values()} == {"fresh"}, "the old config is still served"
    assert found["shouts"].published < before["shouts"].published, "each row tells of its own dataset"


def test_other_weights_and_another_version(tmp_path: Path, letters: Letters, monkeypatch) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_text("old")
    stage = Letters(source=letters.source, weights=weights)
    run_all(tmp_path / "space", stage)
    weights.write_text("new weights")
    (line,) = states(stage, workspace=tmp_path / "space").values()
    assert line.state == "stale"
    assert line.why.startswith("weights sha256 ")
    weights.unlink()
    (line,) = states(stage, workspace=tmp_path / "space").values()
    assert (line.state, line.kept) == ("stale", 2)
    assert "there is no file or folder" in line.why
    weights.write_text("old")
    monkeypatch.setattr(Letters, "version", 2)
    (line,) = states(stage, workspace=tmp_path / "space").values()
    assert line.why == "version 1 -> 2"


def test_new_items_make_it_partial(tmp_path: Path, letters: Letters) -> None:
    run_all(tmp_path / "space", letters)
    write_texts(letters.source, c="new")
    (line,) = states(letters, workspace=tmp_path / "space").values()
    assert (line.state, line.kept, line.to_do, line.why) == ("partial", 2, 1, "1 items to do")
    (letters.source / "c.txt").unlink()
    write_texts(letters.source, a="changed")
    (line,) = states(letters, workspace=tmp_path / "space").values()
    assert (line.state, line.to_do) == ("partial", 1)
    assert re.fullmatch(r"1 items to do, 1 changed: a\S* \(\w{6} -> \w{6}\)", line.why)
    write_texts(letters.source, b="changed too")
    (line,) = states(letters, workspace=tmp_path / "space").values()
    assert (line.state, line.to_do) == ("stale", 2)
    told = r"its source holds other items, 2 changed: a\S* \((\w{6}) -> (\w{6})\), b\S* \(\w{6} -> \w{6}\)"
    found = re.fullmatch(told, line.why)
    assert found is not None, line.why
    assert found[1] != found[2]


def test_too_many_rejects(tmp_path: Path) -> None:
    letters = Letters(source=write_texts(tmp_path / "source", a="reject", b="reject 2", c="x"))
    with pytest.raises(StageError):
        run_all(tmp_path / "space", letters)
    (line,) = states(letters, workspace=tmp_path / "space").values()
    assert (line.state, line.kept, line.rejected, line.why) == ("rejected", 1, 2, "2 bad_text")


@pytest.mark.parametrize(
    ("name", "said", "to_do"),
    [
        ("manifest.json", "all items done, not published yet; 1 damaged: .*manifest.json: damaged", 0),
        ("items.parquet", "all items done, not published yet; 1 damaged: .*items.parquet: is not what", 0),
        ("item.json", "1 items to do; 1 damaged: .*item.json: damaged", 1),
        ("copy.txt", "1 items to do; 1 damaged: .*copy.txt: has 1 bytes, its record says", 1),
    ],
)
def test_damage_is_told_and_made_again(
    tmp_path: Path, letters: Letters, name: str, said: str, to_do: int
) -> None:
    run_all(tmp_path / "space", letters, Shouts())
    path = next((tmp_path / "space" / "letters").rglob(name))
    path.write_text("{")
    found = states(letters, Shouts(), workspace=tmp_path / "space")
    assert (found["letters"].state, found["letters"].to_do) == ("partial", to_do)
    assert re.match(said, found["letters"].why)
    assert found["shouts"].why == "waits for letters"
    run_stage(make_config(tmp_path / "space", letters), "letters")
    found = states(letters, Shouts(), workspace=tmp_path / "space")
    assert {line.state for line in found.values()} == {"fresh"}


def test_a_damaged_dataset_that_nobody_uses_hurts_nothing(tmp_path: Path, letters: Letters, caplog) -> None:
    run_all(tmp_path / "space", letters)
    (old,) = (tmp_path / "space").rglob("manifest.json")
    write_texts(letters.source, c="new")
    run_all(tmp_path / "space", letters)
    old.write_text("{")
    (line,) = states(letters, workspace=tmp_path / "space").values()
    assert (line.state, line.kept) == ("fresh", 3)
    assert f"{old}: damaged" in caplog.text
