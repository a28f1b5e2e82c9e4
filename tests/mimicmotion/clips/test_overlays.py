"""Overlays: boxes of cells, as long as they stay; lists of boxes; the share of the picture they cover."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mimicmotion.clips.evidence import EVIDENCE_SCHEMA
from mimicmotion.clips.overlays import Overlay, found_overlays, given_overlays, overlay_shares
from mimicmotion.errors import InputError
from mimicmotion.video.framing import framing
from mimicmotion.video.size import Size

SIZE = Size(512, 1024)
"""Twice what is looked at, so a cell is 16 pixels; 32 cells a row."""


def evidence(*cells_of_rows: list[int], score: int = 200) -> pa.Table:
    rows = [
        {"frame": 10 * k, "overlay_cells": cells, "overlay_scores": [score] * len(cells)}
        for k, cells in enumerate(cells_of_rows)
    ]
    return pa.Table.from_pylist(rows, schema=EVIDENCE_SCHEMA)


def test_cells_that_touch_are_a_box_for_as_long_as_it_stays() -> None:
    word, speck = [32, 33, 34, 65], [200, 201]
    table = evidence([*word, *speck], word, [], word)
    box = (0, 16, 48, 48)
    assert found_overlays(table, 40, SIZE, 0.2) == [Overlay(0, 20, *box), Overlay(30, 40, *box)]
    assert found_overlays(evidence(word, score=60), 10, SIZE, 0.2) == [], "no cell is full enough"
    assert len(found_overlays(evidence(word, score=60), 10, SIZE, 0.1)) == 1


def test_the_share_is_of_the_framed_picture() -> None:
    fit = framing(SIZE, [Size(256, 512)])
    shares = overlay_shares([Overlay(0, 5, 0, 0, 512, 256), Overlay(0, 5, 0, 0, 256, 512)], 8, fit)
    assert shares.tolist() == [0.375] * 5 + [0.0] * 3
    cut = framing(SIZE, [Size(256, 256)], (256, 900))
    assert overlay_shares([Overlay(0, 1, 0, 0, 512, 256)], 1, cut).tolist() == [0.0]


FACTS = {
    "video_id": "v",
    "source": "deep/a.mp4",
    "source_width_px": 200,
    "source_height_px": 100,
    "rotation_deg": 90,
    "width_px": 50,
    "height_px": 100,
    "num_frames": 9,
}


def test_boxes_of_a_list_are_in_pixels_of_the_upright_source(tmp_path: Path, caplog) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(
        "Video,left,top,right,bottom\na.mp4,10,20,100,500\ndeep/a.mp4,0,0,2,2\ngone.mp4,0,0,1,1\n"
    )
    with caplog.at_level(logging.WARNING):
        found = given_overlays(path, {"v": FACTS})
    assert found == {"v": [Overlay(0, 9, 5, 10, 50, 100), Overlay(0, 9, 0, 0, 1, 1)]}
    assert "1 names are not of one video, e.g. gone.mp4" in caplog.text


def test_names_of_a_list_differ_in_what_nobody_means(tmp_path: Path, caplog) -> None:
    facts = {**FACTS, "source": "deep/Zo\u00eb.mp4"}
    names = ("Zoe\u0308.mp4", " Zo\u00eb.mp4 ", "./deep/Zoe\u0308.mp4")
    path = tmp_path / "boxes.csv"
    path.write_text("video,left,top,right,bottom\n" + "".join(f"{name},0,0,2,2\n" for name in names))
    assert len(given_overlays(path, {"v": facts})["v"]) == 3
    other = {**FACTS, "video_id": "w", "source": "else/Zo\u00eb.mp4"}
    assert len(given_overlays(path, {"v": facts, "w": other})["v"]) == 1
    assert "2 names are not of one video" in caplog.text


@pytest.mark.parametrize("row", ["a.mp4,10,20,5,40", "a.mp4,x,20,5,40", "a.mp4,,,,"])
def test_a_row_without_a_box_is_named(row: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    path.write_text(f"video,left,top,right,bottom\n{row}\n")
    with pytest.raises(InputError, match=r"row 1 is .* numbers left < right"):
        given_overlays(path, {"v": FACTS})


def test_framed_boxes_follow_the_framing() -> None:
    fit = framing(SIZE, [Size(256, 256)])
    assert np.allclose(Overlay(0, 1, 0, 256, 512, 512).framed(fit), (0, 0, 256, 128))
