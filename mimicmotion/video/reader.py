"""Random access to the frames of normalised videos: one interface, two libraries behind it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from mimicmotion.errors import InputError
from mimicmotion.video.ahead import prefetched
from mimicmotion.video.containers import as_input, open_film
from mimicmotion.video.rgb import RgbConverter
from mimicmotion.video.settings import ReaderName

_INDICES_KEPT = 1024


class VideoReader(ABC):
    """Frames of one normalised file by index. Open it, with ``open_video``, in the thread that uses it.

    Normalised files are upright, of constant rate and full of key frames; read other files with
    ``files.iter_frames``.

    Attributes:
        path: a file written by ``normalise_video`` or ``write_preview``.
        num_frames, fps, width_px, height_px: of the video.
    """

    path: Path
    num_frames: int
    fps: float
    width_px: int
    height_px: int

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Frames uint8 (n, h, w, 3) RGB at the given indices, in their order, repeats allowed.

        Raises:
            InputError: an index lies outside the video, or a frame does not decode.
        """
        wrong = [index for index in indices if not 0 <= index < self.num_frames]
        if wrong:
            raise InputError(f"{self.path} has frames 0 to {self.num_frames - 1}, asked for {wrong[:5]}")
        frames = np.empty((len(indices), self.height_px, self.width_px, 3), np.uint8)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        for index, (first, *others) in sorted(places.items()):
            self._read(index, frames[first])
            frames[others] = frames[first]
        return frames

    @abstractmethod
    def _read(self, index: int, into: np.ndarray) -> None:
        """Put one frame into uint8 (h, w, 3); asked for in rising order by each ``read``."""


def open_video(path: Path, reader: ReaderName = "pyav") -> VideoReader:
    """A reader of a normalised video.

    Args:
        path: the file.
        reader: the library that decodes it.

    Raises:
        InputError: the file is missing or no video.
    """
    if not path.is_file():
        raise InputError(f"no video at {path}")
    return {"pyav": PyavReader, "decord": DecordReader}[reader](path)


@dataclass(frozen=True)
class _Index:
    """Stamps of the frames in the order shown; of each, the one to seek to and the place of its key frame."""

    shown: np.ndarray
    seek: np.ndarray
    key: np.ndarray


class PyavReader(VideoReader):
    """Reads with PyAV, by an index of key frames: the colours of ``iter_frames``, and sooner than decord.

    The index comes from the file's own table where frames are stored in the order shown, else from one pass
    over its packets; it is remembered in the process for as long as the file stays the same.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with as_input(path):
            self._container = open_film(path)
            if not self._container.streams.video:
                raise InputError(f"{path} cannot be read as a video: it holds no video stream")
            stream = self._stream = self._container.streams.video[0]
            stream.codec_context.thread_count = 1  # many readers run side by side, one per worker
            stat = path.stat()
            self._index = _remembered(path, stat.st_size, stat.st_mtime_ns)
        self.num_frames = len(self._index.shown)
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        self.width_px, self.height_px = stream.codec_context.width, stream.codec_context.height
        self._converter = RgbConverter()
        self._decoded: Iterator[Any] = iter(())
        self._next = self.num_frames
        """Frame that comes next without a seek."""

    def _read(self, index: int, into: np.ndarray) -> None:
        at = self._index
        with as_input(self.path):
            if not at.key[index] <= self._next <= index:
                self._container.seek(int(at.seek[index]), stream=self._stream, backward=True)
                self._decoded, self._next = self._container.decode(self._stream), int(at.key[index])
            for frame in self._decoded:
                if frame.pts is None or frame.pts < at.shown[index]:
                    continue
                self._next = index + 1
                if frame.pts != at.shown[index] or frame.is_corrupt:
                    break
                self._converter(frame, into)
                return
        self._next = self.num_frames
        raise InputError(f"{self.path}: frame {index} does not decode; the file is damaged")


@lru_cache(maxsize=_INDICES_KEPT)
def _remembered(path: Path, size_bytes: int, mtime_ns: int) -> _Index:
    with open_film(path) as container:
        stream = container.streams.video[0]
        entries = list(stream.index_entries)
        whole = len(entries) == stream.frames and not stream.codec_context.has_b_frames
        if entries and whole and entries[0].timestamp == stream.start_time:
            stamps = [(e.timestamp, e.timestamp, e.is_keyframe) for e in entries if not e.is_discard]
        else:
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            stamps = [(p.pts, p.pts if p.dts is None else p.dts, p.is_keyframe) for p in packets]
    if not stamps or any(shown is None for shown, *_ in stamps):
        raise InputError(f"{path} cannot be read as a video: its frames carry no times")
    shown, seek, is_key = (np.array(column) for column in zip(*sorted(stamps), strict=True))
    if (np.diff(shown) <= 0).any():
        raise InputError(f"{path} cannot be read as a video: two of its frames have the same time")
    key = np.maximum.accumulate(np.where(is_key, np.arange(len(shown)), 0))
    return _Index(shown, seek[key], key)


def read_ahead(
    path: Path,
    chunks: Iterable[Sequence[int]],
    work: Callable[[np.ndarray], np.ndarray],
    threads: int = 1,
    reader: ReaderName = "pyav",
) -> Iterator[np.ndarray]:
    """What some work makes of the frames of each chunk, in order; threads do both ahead of their use.

    Args:
        path: the video.
        chunks: frames to read together.
        work: of frames uint8 (n, h, w, 3), e.g. their resize.
        threads: how many decode, each with a reader of its own; twice as many chunks wait to be asked for.
        reader: see ``open_video``.
    """
    own = local()

    def done(chunk: Sequence[int]) -> np.ndarray:
        if not hasattr(own, "reader"):
            own.reader = open_video(path, reader)
        return work(own.reader.read(chunk))

    return prefetched(done, chunks, threads, 2 * threads)


class DecordReader(VideoReader):
    """Reads with decord, whose own conversion makes colours about a level darker."""

    def __init__(self, path: Path) -> None:
        # Here, so that everything works without it where nothing asks for it.
        import decord

        self.path = path
        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
        except (decord.DECORDError, RuntimeError) as error:
            raise InputError(f"{path} cannot be read as a video: {error}") from error
        self.num_frames = len(self._reader)
        self.fps = float(self._reader.get_avg_fps())
        self.height_px, self.width_px = (int(side) for side in self._reader[0].shape[:2])

    def _read(self, index: int, into: np.ndarray) -> None:
        # decord takes the padding behind a row of less than 64 pixels for more channels.
        rows = self._reader[index].asnumpy().reshape(self.height_px, -1)
        into[:] = rows[:, : self.width_px * 3].reshape(self.height_px, self.width_px, 3)
