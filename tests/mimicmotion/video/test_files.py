"""Files written and read back: exact where lossless, close where a browser plays them."""

import gc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.video.files import iter_frames, write_lossless, write_preview


def smooth_frames(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames with gradients that move, which chroma subsampling cannot spoil."""
    y, x = np.mgrid[:height, :width]
    return [
        np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 10 * k)], axis=-1).astype(np.uint8)
        for k in range(count)
    ]


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (1, 3)])
def test_lossless_gives_back_every_pixel(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = list(np.random.default_rng(0).integers(0, 256, (5, *size, 3), dtype=np.uint8))
    assert write_lossless(tmp_path / "v.mkv", frames, 12) == 5
    read = list(iter_frames(tmp_path / "v.mkv"))
    np.testing.assert_array_equal(read, frames)


def test_lossless_has_same_bytes_when_written_again(tmp_path: Path) -> None:
    frames = smooth_frames(4, 33, 40)
    for name in ("a.mkv", "b.mkv"):
        write_lossless(tmp_path / name, frames, 29.97)
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_preview_plays_in_browsers(tmp_path: Path) -> None:
    frames = smooth_frames(12, 95, 63)
    assert write_preview(tmp_path / "v.mp4", iter(frames), Fraction(30000, 1001)) == 12
    content = (tmp_path / "v.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height) == (64, 96)
        assert stream.average_rate == Fraction(30000, 1001)
    read = np.stack(list(iter_frames(tmp_path / "v.mp4")))[:, :95, :63].astype(int)
    assert np.abs(read - np.stack(frames)).mean() < 2


def test_files_that_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        list(iter_frames(tmp_path / "text.mp4"))
    with pytest.raises(InputError, match="no frames to write"):
        write_preview(tmp_path / "empty.mp4", [], 24)


def test_frames_are_freed_as_soon_as_they_are_read(tmp_path: Path) -> None:
    """Without the collector of rings, which comes late and sees nothing of the memory behind a frame."""
    write_preview(tmp_path / "long.mp4", np.zeros((60, 16, 16, 3), np.uint8), 30)
    gc.collect()
    gc.disable()
    try:
        before = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
        held = [
            sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) - before
            for _ in iter_frames(tmp_path / "long.mp4")
        ]
    finally:
        gc.enable()
    assert max(held) <= 5  # of 60: none waits for the times of others
