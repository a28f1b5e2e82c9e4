"""Clips for other trainers: which frames, which reference, what the rows say."""

import pyarrow.parquet as pq
import pytest
from marked_film import NUM_FRAMES, make_datasets, number_in

from mimicmotion.video.files import iter_frames
from mimicmotion.video.picture_files import read_picture
from stages.engine.config import load_config
from stages.parts.export_clips import EXPORTED_SCHEMA, ExportClips, exporter, stretches


def window(first, num_frames=7, step=1, **changes):
    return {
        "first_frame": first,
        "num_frames": num_frames,
        "step": step,
        "reference_frames": [0, 23],
        **changes,
    }


def frames_of(items):
    return [item.payload["frames"] for item in items]


def test_windows_of_a_stretch_are_one_clip_of_four_k_and_one(tmp_path):
    rows = [window(0), window(3), window(6, kept=False), window(9), window(12, form="clip")]
    inputs = make_datasets(tmp_path, rows)
    items = list(ExportClips(multiple=4).items(inputs))
    assert frames_of(items) == [list(range(9)), list(range(9, 14))]
    assert [item.id for item in items] == ["film-000000-000", "film-000009-000"]
    # The reference lies outside the clip where it can.
    assert [item.payload["reference_frame"] for item in items] == [23, 0]
    short = ExportClips(multiple=4, num_frames=5)
    assert frames_of(short.items(inputs)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [9, 10, 11, 12, 13]]


def test_windows_that_begin_one_frame_after_the_other_are_a_stretch(tmp_path):
    inputs = make_datasets(tmp_path, [window(0, num_windows=5), window(5, num_windows=3, left_px=4)])
    assert [list(frames) for _, frames in stretches(inputs)] == [
        list(range(11)),
        list(range(5, 14)),
    ]


def test_a_stretch_ends_at_a_cut_though_windows_are_kept_on_both_sides(tmp_path):
    inputs = make_datasets(tmp_path, [window(0, num_windows=4), window(10, num_windows=5)], cuts=[10])
    assert [list(frames) for _, frames in stretches(inputs)] == [list(range(10)), list(range(10, 21))]


def test_overlays_of_a_stretch_reach_the_clips_that_show_them(tmp_path):
    early, late = [0, 4, 4, 2, 20, 12], [10, 24, 60, 80, 100, 90]
    rows = [window(0, ignore=[early]), window(5, ignore=[late]), window(9, ignore=[late])]
    stage, inputs = ExportClips(num_frames=8), make_datasets(tmp_path, rows)
    first, second = stage.items(inputs)
    assert [item.payload["ignore"] for item in (first, second)] == [[(*early,)], [(*late,)]]
    (tmp_path / "item").mkdir()
    stage.process(None, first, tmp_path / "item")
    ignored = [bool(picture.max() > 128) for picture in iter_frames(tmp_path / "item" / "ignore.mp4")]
    assert ignored == [True] * 4 + [False] * 4
    # A clip without overlays is the item that it was; one with others is another.
    plain = [window(0), window(5, ignore=[[23, 24, 0, 0, 9, 9]]), window(9)]
    bare, same = stage.items(make_datasets(tmp_path, plain))
    assert ["ignore" in one.inputs["window"] for one in (bare, first)] == [False, True]
    assert same.inputs != second.inputs


def test_val_and_test_videos_give_their_clip(tmp_path):
    rows = [window(1, split="test", reference_frames=[0]), window(3, split="val", form="window")]
    inputs = make_datasets(tmp_path, rows)
    (item,) = ExportClips().items(inputs)
    assert (item.payload["split"], item.payload["frames"]) == ("test", list(range(1, 8)))
    assert item.payload["reference_frame"] == 0


def test_a_clip_becomes_films_and_a_row(tmp_path):
    inputs = make_datasets(tmp_path, [window(2, step=2)], others=(4, 5), faceless=(6,))
    stage = ExportClips(face_px=32)
    (item,) = stage.items(inputs)
    (tmp_path / "item").mkdir()
    table = stage.process(None, item, tmp_path / "item")
    assert table.schema.equals(EXPORTED_SCHEMA)
    (row,) = table.to_pylist()
    frames = list(range(2, 16, 2))
    assert (row["frames"], row["reference_frame"], row["source"]) == (frames, 0, "anna/film.mov")
    counts = {name: row[f"{name}_frames"] for name in ("face", "left_hand", "right_hand", "crowded")}
    assert counts == {"face": 6, "left_hand": 7, "right_hand": 0, "crowded": 1}
    assert [number_in(frame) for frame in iter_frames(tmp_path / "item" / "video.mp4")] == frames
    assert number_in(read_picture(tmp_path / "item" / "reference.png")) == 0
    again = tmp_path / "again"
    again.mkdir()
    stage.process(None, item, again)
    assert all(path.read_bytes() == (tmp_path / "item" / path.name).read_bytes() for path in again.iterdir())


@pytest.mark.parametrize("plain", [False, True])
def test_drawing_threshold_and_workers_are_those_of_the_config(plain):
    part = exporter(load_config("demo").stages, plain=plain, num_frames=81, multiple=4)
    assert part.drawing.canvas_short_side_px == 480
    assert part.drawing.use_confidence is not plain
    assert (part.threshold, part.runtime.workers, part.num_frames) == (0.6, 2, 81)


def test_what_another_clip_does_leaves_an_item_as_it_is(tmp_path):
    one = list(ExportClips().items(make_datasets(tmp_path, [window(0)])))
    two = list(ExportClips().items(make_datasets(tmp_path, [window(0), window(16)])))
    assert one[0].inputs == two[0].inputs
    assert max(max(frames) for frames in frames_of(two)) < NUM_FRAMES
    assert pq.read_table(one[0].payload["poses"]).num_rows == NUM_FRAMES
