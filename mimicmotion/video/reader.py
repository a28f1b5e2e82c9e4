"""Random access to normalised videos, with decord."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mimicmotion.errors import InputError


class VideoReader:
    """Frames of one normalised file by index.

    Normalised files are upright, of constant rate and full of key frames, which is what decord reads
    well. Open it in the process that uses it, and read other files with ``files.iter_frames``.

    Args:
        path: a file written by ``normalise_video`` or ``write_preview``.

    Raises:
        InputError: the file is missing or no video.
    """

    def __init__(self, path: Path) -> None:
        # Here, so that training from latents and everything on a bare GPU machine works without it.
        import decord

        self.path = path
        if not path.is_file():
            raise InputError(f"no video at {path}")
        try:
            # One thread: many readers run side by side, one per worker.
            self._reader = decord.VideoReader(str(path), num_threads=1)
        except (decord.DECORDError, RuntimeError) as error:
            raise InputError(f"{path} cannot be read as a video: {error}") from error
        self.num_frames: int = len(self._reader)
        self.fps: float = float(self._reader.get_avg_fps())
        self.height_px, self.width_px, self._channels = (int(n) for n in self._reader[0].shape)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) RGB at the given indices, in their order, repeats allowed.

        Raises:
            InputError: an index lies outside the video.
        """
        wrong = [index for index in indices if not 0 <= index < self.num_frames]
        if wrong:
            raise InputError(f"{self.path} has frames 0 to {self.num_frames - 1}, asked for {wrong[:5]}")
        if not indices:
            return np.zeros((0, self.height_px, self.width_px, 3), dtype=np.uint8)
        if self._channels == 3:
            return np.asarray(self._reader.get_batch(list(indices)).asnumpy())
        return np.stack([self._read_narrow(index) for index in indices])

    def _read_narrow(self, index: int) -> np.ndarray:
        # decord takes the padding behind a row of less than 64 pixels for more channels.
        rows = self._reader[index].asnumpy().reshape(self.height_px, -1)
        return rows[:, : self.width_px * 3].reshape(self.height_px, self.width_px, 3)
