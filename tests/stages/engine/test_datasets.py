"""The rows of a published dataset, joined anew and from what an earlier dataset joined."""

import pytest
from fake_stages import Letters, make_config, write_texts

from stages.engine import datasets
from stages.engine.datasets import PublishedDataset
from stages.engine.plan import StageGraph
from stages.runner import run_stage

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def opened(monkeypatch):
    """The items whose own tables were opened."""
    monkeypatch.setattr(datasets, "_GROUP", 1)
    opened, item_table = [], PublishedDataset.item_table
    monkeypatch.setattr(
        PublishedDataset, "item_table", lambda self, id: [opened.append(id), item_table(self, id)][1]
    )
    return opened


def test_of_one_more_item_only_its_own_rows_are_read(letters: Letters, tmp_path, opened) -> None:
    config = make_config(tmp_path / "space", letters)

    def rows(**texts: str):
        write_texts(letters.source, **texts)
        run_stage(config, "letters")
        dataset = StageGraph(config).dataset("letters")
        opened.clear()
        table = dataset.table()
        read = sorted(opened)
        assert table.equals(dataset._joined(dataset.ids)), "as if every item was read"
        assert table.equals(dataset.table()), "as remembered"
        return read, "".join(table["letter"].to_pylist())

    assert rows() == (["a", "b"], "onethree")
    assert rows(ab="six") == (["ab"], "onesixthree")
    assert rows(c="", ab="ten") == (["ab", "c"], "onetenthree"), "what changed and what is new"
    (letters.source / "a.txt").unlink()
    assert rows() == ([], "tenthree"), "an item less"
    run_stage(config, "letters", force=True)
    assert rows()[0] == ["ab", "b", "c"], "made again, so not what was joined"
    for file in (tmp_path / "space" / "index").glob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-9])
    assert rows(d="x")[0] == ["ab", "b", "c", "d"], "a broken file of joined rows is none"
