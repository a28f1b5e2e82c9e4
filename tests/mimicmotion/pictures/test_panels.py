"""Pictures for people."""

import numpy as np

from mimicmotion.pictures.panels import (
    LABEL_HEIGHT_PX,
    alignment_preview,
    grid,
    labelled_row,
    pose_over,
)


def test_a_row_holds_every_panel_enlarged_under_its_label():
    panels = {
        "true": np.full((192, 128, 3), 200, np.uint8),
        "generated": np.full((192, 128, 3), 10, np.uint8),
    }
    row = labelled_row(panels)
    assert row.shape == (2 * 192 + LABEL_HEIGHT_PX, 2 * 256 + 4, 3)
    assert (row[LABEL_HEIGHT_PX:, :256] == 200).all()
    assert (row[LABEL_HEIGHT_PX:, -256:] == 10).all()
    label = row[:LABEL_HEIGHT_PX, :256]
    assert label.min() < 100 < 240 < label.max()


def test_large_panels_keep_their_pixels():
    panel = np.random.default_rng(0).integers(0, 256, (400, 30, 3)).astype(np.uint8)
    assert (labelled_row({"a": panel})[LABEL_HEIGHT_PX:] == panel).all()


def test_rows_of_different_width_stack():
    rows = [np.zeros((10, 20, 3), np.uint8), np.zeros((10, 12, 3), np.uint8)]
    assert grid(rows).shape == (28, 20, 3)


def test_a_pose_covers_only_where_it_is_drawn():
    picture = np.full((4, 4, 3), 100, np.uint8)
    pose = np.zeros((3, 4, 4), np.uint8)
    pose[0, 1, 2] = 255
    over = pose_over(picture, pose)
    assert over[1, 2].tolist() == [255, 0, 0]
    assert (over[0] == 60).all()


def test_the_alignment_preview_shows_the_reference_and_every_given_pose():
    poses = np.zeros((3, 3, 400, 40), np.uint8)
    shown = alignment_preview(np.full((400, 40, 3), 200, np.uint8), poses, ["frame 0", "frame 9"])
    assert shown.shape == (400 + LABEL_HEIGHT_PX, 3 * 40 + 2 * 4, 3)
    assert (shown[LABEL_HEIGHT_PX:, :40] == 120).all()
