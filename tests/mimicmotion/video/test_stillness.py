"""Whether the camera of a film stands still."""

import numpy as np

from mimicmotion.video.stillness import moving_camera


class Reader:
    def __init__(self, frames):
        self.frames = frames
        self.height_px, self.width_px = frames.shape[1:3]

    def read(self, indices):
        return self.frames[list(indices)]


def test_a_person_who_moves_leaves_the_camera_still_and_a_pan_does_not():
    room = np.random.default_rng(0).integers(0, 255, (24, 60, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    still = np.stack([room[:, :320]] * 20)
    for number, frame in enumerate(still):
        frame[40:150, 4 * number : 4 * number + 100] = (250, 240, 10)
    assert moving_camera(Reader(still), range(20)) is None
    pan = np.stack([room[:, 8 * number : 8 * number + 320] for number in range(20)])
    assert "the camera of the driving film moves" in moving_camera(Reader(pan), range(20))
    assert moving_camera(Reader(still[:1]), range(1)) is None
