"""Frames by index: those that reading in order gives, whatever the file is made of, by either library."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mimicmotion.errors import InputError
from mimicmotion.video import reader as reader_module
from mimicmotion.video.files import iter_frames, write_preview
from mimicmotion.video.normalise import normalise_video
from mimicmotion.video.picture_files import read_picture
from mimicmotion.video.reader import open_video
from mimicmotion.video.settings import NormaliseSettings


def numbered(count: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """Frames that tell their number by their grey, with an edge that moves."""
    frames = [np.full((height, width, 3), 20 + 200 * k // count, np.uint8) for k in range(count)]
    for k, frame in enumerate(frames):
        frame[:, k % width] = 255
    return frames


def write(path: Path, frames: list[np.ndarray], options: dict[str, str], shift: int = 0) -> Path:
    """An H.264 file with B-frames or without, its first stamp at ``shift``."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, 25)
        for k, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = k + shift, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


B_FRAMES = {"bf": "3", "g": "12", "x264-params": "threads=1:b-pyramid=normal:scenecut=0"}
PLAIN = {"bf": "0", "g": "7", "x264-params": "threads=1"}
OPEN_GOP = {"bf": "3", "g": "8", "x264-params": "threads=1:open-gop=1:scenecut=0"}


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mov"])
@pytest.mark.parametrize("options", [B_FRAMES, PLAIN, OPEN_GOP], ids=["b-frames", "plain", "open-gop"])
def test_every_frame_is_the_one_of_its_number(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    path = write(tmp_path / name, numbered(40), options)
    expected = np.stack(list(iter_frames(path)))
    assert len(expected) == open_video(path).num_frames == 40
    for order in (range(40), range(39, -1, -1), [39, 0, 7, 7, 3, 38, 13, 12, 39]):
        np.testing.assert_array_equal(open_video(path).read(order), expected[list(order)])
    one = open_video(path)
    for index in np.random.default_rng(0).integers(0, 40, 60).tolist():
        np.testing.assert_array_equal(one.read([index])[0], expected[index])


@pytest.mark.parametrize("options", [B_FRAMES, PLAIN], ids=["b-frames", "plain"])
def test_an_edit_list_leaves_frames_out_of_both_ways_of_reading(
    tmp_path: Path, options: dict[str, str]
) -> None:
    """Copied without its beginning, as editors cut: an edit list hides five frames."""
    source = write(tmp_path / "source.mp4", numbered(40), options)
    path = tmp_path / "cut.mp4"
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                packet.pts -= 5 * 512
                packet.dts -= 5 * 512
                container.mux(packet)
    expected = np.stack(list(iter_frames(path)))
    assert len(expected) == 35
    np.testing.assert_array_equal(open_video(path).read(range(len(expected))), expected)


@pytest.mark.parametrize("width", [24, 48, 50, 128, 454])
@pytest.mark.parametrize(("name", "most"), [("pyav", 0.0), ("decord", 3.0)])
def test_libraries_agree_with_reading_in_order(tmp_path: Path, width: int, name: str, most: float) -> None:
    write_preview(tmp_path / "v.mp4", numbered(20, 64, width), 24)
    reader = open_video(tmp_path / "v.mp4", name)
    assert (reader.num_frames, reader.width_px, reader.height_px) == (20, width, 64)
    assert reader.fps == pytest.approx(24)
    ordered = np.stack(list(iter_frames(tmp_path / "v.mp4"))).astype(int)
    picked = [19, 0, 7, 7, 3]
    # decord converts colours without accurate rounding, about two levels darker.
    assert np.abs(reader.read(picked).astype(int) - ordered[picked]).mean() <= most
    assert reader.read([]).shape == (0, 64, width, 3)


@pytest.mark.parametrize("name", ["pyav", "decord"])
def test_frames_outside_and_files_that_are_no_videos(tmp_path: Path, name: str) -> None:
    write_preview(tmp_path / "v.mp4", numbered(3, 16, 16), 24)
    with pytest.raises(InputError, match=r"frames 0 to 2, asked for \[3, -1\]"):
        open_video(tmp_path / "v.mp4", name).read([0, 3, -1])
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="cannot be read as a video"):
        open_video(tmp_path / "text.mp4", name)
    with pytest.raises(InputError, match="no video at"):
        open_video(tmp_path / "missing.mp4", name)


def test_sound_alone_and_frames_without_times_are_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match="no video stream"):
        open_video(tmp_path / "sound.mp4")
    write(tmp_path / "v.h264", numbered(5), PLAIN)
    with pytest.raises(InputError, match="no times"):
        open_video(tmp_path / "v.h264")


def test_a_file_damaged_after_it_was_written_is_no_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", numbered(30), PLAIN)
    with av.open(str(path)) as container:
        entry = container.streams.video[0].index_entries[15]
    content = bytearray(path.read_bytes())
    content[entry.pos + 4 : entry.pos + entry.size] = bytes(entry.size - 4)
    path.write_bytes(content)
    reader = open_video(path)
    assert reader.read([3]).shape[0] == 1
    with pytest.raises(InputError, match=r"v\.mp4.*frame 15 does not decode|v\.mp4 cannot be read"):
        reader.read([15])


def test_the_index_is_built_once_until_the_file_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", numbered(9), B_FRAMES)
    reader_module._remembered.cache_clear()
    for _ in range(3):
        open_video(path).read([4])
    assert (reader_module._remembered.cache_info().misses, reader_module._remembered.cache_info().hits) == (
        1,
        2,
    )
    write(path, numbered(12), B_FRAMES)
    assert open_video(path).num_frames == 12


def test_neighbouring_reads_go_on_without_a_seek(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_video(write(tmp_path / "v.mp4", numbered(40), PLAIN))
    seeks = []

    class Spied:
        def __init__(self, container):
            self.container = container

        def seek(self, *given, **named):
            seeks.append(given)
            return self.container.seek(*given, **named)

        def decode(self, stream):
            return self.container.decode(stream)

    reader._container = Spied(reader._container)
    for begin in range(0, 40, 8):
        reader.read(range(begin, begin + 8))
    assert len(seeks) == 1


def test_colours_are_one_way_for_references_and_films(ugly, tmp_path: Path) -> None:
    """The same card as a picture, as a photograph, and as a film read in order and by index."""
    card = ugly.card()
    Image.fromarray(card).save(tmp_path / "card.png")
    Image.fromarray(card).save(tmp_path / "card.jpg", quality=98)
    source = ugly.write(tmp_path / "card.mkv", [card] * 3, codec="libx264", pixel_format="yuv420p", matrix=5)
    normalise_video(source, tmp_path / "card.mp4", NormaliseSettings(crf=1))
    shown = {
        "png": read_picture(tmp_path / "card.png"),
        "jpeg": read_picture(tmp_path / "card.jpg"),
        "source": next(iter_frames(source)),
        "in order": next(iter_frames(tmp_path / "card.mp4")),
        "by index": open_video(tmp_path / "card.mp4").read([1])[0],
    }
    for name, picture in shown.items():
        off = ugly.patches(picture).astype(float) - ugly.card_colours
        assert np.abs(off).max() <= 2, name
        assert np.abs(off.mean(axis=0)).max() <= 0.7, name  # no channel is lighter or darker on the whole
