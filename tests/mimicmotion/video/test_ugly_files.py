"""Files as recorders and editors make them: edit lists, stills in front, long silence, odd names."""

from pathlib import Path

import av
import numpy as np
import pytest

from mimicmotion.errors import RejectedItem
from mimicmotion.video.files import iter_frames
from mimicmotion.video.isolated import normalise_isolated
from mimicmotion.video.listing import list_videos
from mimicmotion.video.normalise import VideoFacts, normalise_video
from mimicmotion.video.settings import NormaliseSettings

SETTINGS = NormaliseSettings(crf=4)
NO_B_FRAMES = {"crf": "4", "bf": "0", "g": "5"}


def normalised(source: Path) -> tuple[VideoFacts, list[np.ndarray]]:
    target = source.with_name("normalised.mp4")
    return normalise_video(source, target, SETTINGS), list(iter_frames(target))


def test_what_an_edit_list_leaves_out_is_decoded_and_not_shown(ugly, tmp_path: Path) -> None:
    whole = ugly.write(tmp_path / "whole.mp4", ugly.numbered(28), options=NO_B_FRAMES)
    cut = tmp_path / "cut.mp4"
    # As a phone trims: the first 7 frames stay in the file, two of them belong to the first group shown.
    with av.open(str(whole)) as old, av.open(str(cut), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        ticks = round(7 / 25 / float(old.streams.video[0].time_base))
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream, packet.pts, packet.dts = stream, packet.pts - ticks, packet.dts - ticks
                new.mux(packet)
    facts, frames = normalised(cut)
    assert ugly.numbers(frames) == list(range(7, 28))
    assert (facts.num_bad_frames, facts.trimmed_s) == (0, 0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_still_in_front_is_passed_over(ugly, tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"v{suffix}"
    with av.open(str(source), "w") as container:
        cover, film = container.add_stream("mjpeg", rate=25), container.add_stream("libx264", rate=25)
        cover.width, cover.height, cover.pix_fmt = 96, 96, "yuvj420p"
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        for stream, pictures in ((cover, ugly.numbered(1, 96, 96)), (film, ugly.numbered(10))):
            for number, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    facts, frames = normalised(source)
    assert (facts.codec, ugly.numbers(frames)) == ("h264", list(range(10)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_picture_shown_for_long_is_believed_where_the_length_is_stated(
    ugly, tmp_path: Path, suffix
) -> None:
    stamps_ms = [0, 40, 80, 20_000, 20_040, 20_080]
    source = ugly.write(tmp_path / f"v{suffix}", ugly.numbered(6), stamps_ms=stamps_ms, options=NO_B_FRAMES)
    facts, frames = normalised(source)
    assert facts.duration_s == pytest.approx(20.12, abs=1 / facts.fps)
    assert ugly.numbers(frames)[1:20] == [2] * 19


def test_a_stream_whose_clock_jumps_goes_on_without_a_gap(ugly, tmp_path: Path) -> None:
    parts = []
    for start_ms in (0, 1_000_000):
        stamps_ms = [start_ms + 40 * k for k in range(50)]
        pictures = ugly.numbered(25) * 2
        part = ugly.write(tmp_path / f"{start_ms}.ts", pictures, stamps_ms=stamps_ms, options=NO_B_FRAMES)
        parts.append(part.read_bytes())
    (tmp_path / "v.ts").write_bytes(b"".join(parts))
    facts, frames = normalised(tmp_path / "v.ts")
    assert facts.duration_s == pytest.approx(4.0)
    assert ugly.numbers(frames) == list(range(25)) * 4


def test_a_reject_does_not_tell_where_the_file_lies(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(RejectedItem) as caught:
        normalise_video(tmp_path / "text.mp4", tmp_path / "target.mp4", SETTINGS)
    assert str(tmp_path) not in caught.value.sentence
    assert "Invalid data found" in caught.value.sentence


NAMES = (
    "-dash.mp4",
    "a b.mp4",
    "%d.mp4",
    "file:x.mp4",
    "new\nline.mp4",
    "quote's \".mp4",
    "舞.mp4",
    "\udcff.mp4",
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_of_a_file(ugly, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    ugly.write(tmp_path / "v.mp4", ugly.numbered(4)).rename(folder / name)
    (video,) = list_videos(str(folder)).videos
    assert video.name.encode().decode() == (r"\xff.mp4" if name == "\udcff.mp4" else name)
    facts = normalise_isolated(Path(video.location), tmp_path / "out.mp4", SETTINGS, timeout_s=100)
    assert facts.num_frames == 4
    Path(video.location).write_text("no video")
    with pytest.raises(RejectedItem) as caught:
        normalise_isolated(Path(video.location), tmp_path / "out.mp4", SETTINGS, timeout_s=100)
    assert caught.value.sentence.encode()
