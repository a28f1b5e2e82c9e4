"""Writing normalised videos."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.bitstream import BitStreamFilterContext
from av.video.frame import PictureType

from mimicmotion.video.colour import tag_like


class VideoWriter:
    """An H.264 file made for random reads: many key frames, no B-frames, the same bytes every time.

    Args:
        path: the file, ``.mp4``.
        fps: frames per second.
        crf: quality, smaller is better.
        key_frame_interval: frames between key frames.
    """

    def __init__(self, path: Path, fps: Fraction, crf: int, key_frame_interval: int) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"})
        options = {
            "crf": str(crf),
            "preset": "veryfast",
            "x264-params": f"keyint={key_frame_interval}:scenecut=0:bframes=0:threads=1",
        }
        self._stream = self._container.add_stream("libx264", rate=fps, options=options)
        # x264 writes its version and options into every file; they are no part of the video.
        self._plain = BitStreamFilterContext("filter_units=remove_types=6", "h264")
        self._fps = fps
        self.num_frames = 0
        self.width_px = 0
        self.height_px = 0

    def __enter__(self) -> Self:
        return self

    def write(self, frame: av.VideoFrame, times: int) -> None:
        """Append a frame from ``colour.to_yuv`` or ``colour.YuvConverter`` this many times."""
        if self.num_frames == 0:
            self.height_px, self.width_px = frame.height, frame.width
            self._stream.width, self._stream.height = self.width_px, self.height_px
            self._stream.pix_fmt = frame.format.name
            tag_like(self._stream, frame)
        frame.pict_type = PictureType.NONE  # a decoded frame brings its own, and key frames are ours to place
        for _ in range(times):
            frame.pts, frame.time_base = self.num_frames, 1 / self._fps
            self._mux(self._stream.encode(frame))
            self.num_frames += 1

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            self._container.mux(self._plain.filter(packet))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._mux(self._stream.encode(None))
            self._container.mux(self._plain.filter(None))
        self._container.close()
