"""What a run came to, in a terminal."""

from types import SimpleNamespace

import pyarrow as pa
import pytest
from rich.console import Console

from flows.commands.summary import _scores


def shown_scores(rows: list[dict], width: int) -> str:
    datasets = {
        "evaluate": SimpleNamespace(table=lambda: pa.Table.from_pylist(rows)),
        "animate": SimpleNamespace(ids=("clip-1", "pair-1", "pair-2"), rejected={"pair-3": "[lost]"}),
    }
    console = Console(width=width, record=True)
    for shown in _scores(SimpleNamespace(dataset=datasets.get)):
        console.print(shown)
    return console.export_text()


def test_pairs_without_a_true_film_have_a_table_of_their_own() -> None:
    row = {"clip_id": "summary", "method": "model"}
    rows = [
        {**row, "split": "test", "metric": "psnr", "value": 21.0, "protocol": "native"},
        {**row, "split": "pairs", "metric": "judge_body", "value": 0.0312, "protocol": "x-dance"},
    ]
    clips, pairs = " ".join(shown_scores(rows, 100).split()).split(
        " pairs without a true film, protocol x-dance "
    )
    assert "21" in clips
    assert "Judge body" not in clips
    assert "Judge body ↓ │ 0.0312" in pairs
    assert "PSNR" not in pairs
    assert "2 of 3 pairs; rejected: [lost]" in pairs
    assert "pairs" not in shown_scores(rows[:1], 100)


def test_a_narrow_terminal_breaks_no_number() -> None:
    methods = ("model", "copy_reference", "vae_round_trip", "truth_one_frame_late", "truth")
    row = {"split": "test", "clip_id": "summary", "metric": "judge_flicker", "protocol": "native"}
    shown = shown_scores([{**row, "method": method, "value": 0.0123456} for method in methods], 80)
    assert shown.count(" 0.01235 ") == len(methods)


@pytest.mark.parametrize(("psnr", "shown"), [(19.0, "! 19"), (21.0, "21")])
def test_scores_say_where_better_is_and_what_is_below_the_floor(psnr: float, shown: str) -> None:
    values = {("model", "psnr"): psnr, ("copy_reference", "psnr"): 20.0, ("copy_reference", "l1"): 0.5}
    values |= {("model", "l1"): 0.25, ("model", "fvd"): None}
    rows = [
        {
            "split": "test",
            "clip_id": "summary",
            "method": method,
            "metric": metric,
            "value": value,
            "protocol": "native",
        }
        for (method, metric), value in values.items()
    ]
    lines = [line.split("│") for line in shown_scores(rows, 120).splitlines()]
    cells = {line[1].strip(): [cell.strip() for cell in line[2:4]] for line in lines if len(line) > 3}
    assert cells["PSNR dB ↑"] == [shown, "20"]
    assert cells["L1 ↓"] == ["0.25", "0.5"]
    assert "FVD ↓" not in cells
