import numpy as np

from mimicmotion.training.data.order import SampleIndex
from mimicmotion.training.data.samples import draw, make_sample
from mimicmotion.training.pictures import _BOX, _CELL, _IGNORED, _with_hands, sample_picture


def test_the_box_is_outlined_and_exactly_the_weighted_cells_are_tinted_each_with_its_edges():
    picture = np.zeros((32, 32, 3), np.uint8)
    weights = np.ones((4, 4), np.float32)
    weights[1:3, 2] = 10
    boxes = np.array([[18, 9, 22, 20], [np.nan] * 4], np.float32)
    shown = _with_hands(picture, boxes, weights)
    outline = (shown == _BOX).all(axis=-1)
    rows, columns = np.nonzero(outline)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (18, 9, 22, 20)
    tinted = np.zeros((32, 32), bool)
    tinted[8:24, 16:24] = True
    edges = np.zeros((32, 32), bool)
    edges[[8, 16]] = edges[:, 16] = True
    assert (shown[tinted & edges & ~outline] == _CELL).all()
    assert (shown[tinted & ~edges & ~outline] == np.array(_CELL) // 2).all()
    assert (shown[~tinted] == 0).all()
    assert (picture == 0).all(), "the sample itself stays as it is"


def test_cells_that_cost_nothing_are_blue():
    weights = np.ones((4, 4), np.float32)
    weights[3] = 0
    shown = _with_hands(np.zeros((32, 32, 3), np.uint8), np.full((2, 4), np.nan), weights)
    assert (shown[24] == _IGNORED).all()
    assert (shown[25:, 1:8] == np.array(_IGNORED) // 2).all()
    assert not shown[:24].any()


def test_reliable_hands_are_marked_on_frames_and_on_poses(clips, recipe):
    def shown(recipe):
        return sample_picture(make_sample(clips[0], draw(clips[0], SampleIndex(0, 0, 0), recipe), recipe))

    marked = (shown(recipe) != shown(recipe.model_copy(update={"hand_threshold": 0.95}))).any(axis=(1, 2))
    half = len(marked) // 2
    assert marked[:half].any()
    assert marked[half:].any()
