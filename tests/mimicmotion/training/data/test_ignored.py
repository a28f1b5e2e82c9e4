import numpy as np

from mimicmotion.training.data.ignored import counted_cells


def test_cells_of_overlays_and_of_further_people_alone_do_not_count() -> None:
    overlays = np.array([[[0, 0, 15, 8]], [[np.nan] * 4]])
    others = np.array([[[16, 16, 32, 32]], [[16, 16, 32, 32]]])
    person = np.array([[24, 16, 32, 32], [np.nan] * 4])
    counted = counted_cells(overlays, others, person, (4, 4))
    assert [np.argwhere(~one).tolist() for one in counted] == [
        [[0, 0], [0, 1], [2, 2], [3, 2]],
        [[2, 2], [2, 3], [3, 2], [3, 3]],
    ]
    none = np.zeros((2, 0, 4))
    assert counted_cells(none, none, person, (4, 4)).all()
