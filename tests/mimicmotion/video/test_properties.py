"""What a film says of its frames is obeyed, or the film is rejected; which stream is the film is one rule."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mimicmotion.animation.audio import add_audio
from mimicmotion.errors import InputError, RejectedItem
from mimicmotion.metrics.folders import score_folders
from mimicmotion.metrics.judging import Judge
from mimicmotion.metrics.protocols import PROTOCOLS
from mimicmotion.metrics.scores import SUMMARY
from mimicmotion.video.files import iter_frames, write_preview
from mimicmotion.video.interlacing import deinterlaced
from mimicmotion.video.normalise import VideoFacts, normalise_video
from mimicmotion.video.settings import NormaliseSettings

INTERLACED = {"flags": "+ildct+ilme", "qscale": "1"}
NATIVE = PROTOCOLS["native"]


def normalised(source: Path) -> tuple[VideoFacts, list[np.ndarray]]:
    target = source.with_name("normalised.mp4")
    return normalise_video(source, target, NormaliseSettings(crf=4)), list(iter_frames(target))


def combed(count: int) -> list[np.ndarray]:
    """A bright bar that moves to the right; odd lines are half a frame later, as a camera takes fields."""
    pictures = []
    for k in range(count):
        picture = np.full((96, 128, 3), 40, np.uint8)
        for field in (0, 1):
            left = 8 * k + 4 * field
            picture[field::2, left : left + 24] = 210
        pictures.append(picture)
    return pictures


def comb(picture: np.ndarray) -> tuple[float, float]:
    """Mean differences of neighbouring lines, and of lines two apart: combs have more of the first."""
    lines = picture[..., 1].astype(int)
    return float(np.abs(np.diff(lines, axis=0)).mean()), float(np.abs(lines[2:] - lines[:-2]).mean())


def test_interlaced_frames_become_one_progressive_frame_each(ugly, tmp_path: Path) -> None:
    source = ugly.write(tmp_path / "v.mpg", combed(12), codec="mpeg2video", options=INTERLACED)
    near, far = comb(combed(12)[5])
    assert near > 2 * far + 0.5
    facts, frames = normalised(source)
    assert (facts.num_frames, facts.fps) == (12, 25)
    for read in (frames, list(iter_frames(source))):
        assert len(read) == 12
        for k, picture in enumerate(read):
            near, far = comb(picture)
            assert near < 2 * far + 0.5
            assert abs(int(np.flatnonzero(picture[48, :, 1] > 125)[0]) - 8 * k) <= 5


def test_progressive_frames_are_left_as_they_are() -> None:
    frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in combed(3)]
    assert [frame for _, frame in deinterlaced(enumerate(frames))] == frames


def transparent(path: Path, codec: str, pixel_format: str) -> Path:
    """A film whose left half is transparent over red."""
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[:, :32], picture[:, 32:] = (200, 0, 0, 0), (0, 0, 200, 255)
    with av.open(str(path), "w") as container:
        options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        for k in range(5):
            frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=pixel_format)
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("v.webm", "libvpx-vp9", "yuva420p"),
        ("v.webm", "libvpx", "yuva420p"),
        ("v.mov", "qtrle", "argb"),
        ("v.mov", "prores_ks", "yuva444p10le"),
        ("v.mkv", "ffv1", "bgra"),
    ],
)
def test_what_is_transparent_lies_on_white(tmp_path: Path, name: str, codec: str, pixel_format: str) -> None:
    source = transparent(tmp_path / name, codec, pixel_format)
    facts, frames = normalised(source)
    assert facts.num_frames == 5
    for picture in (*frames, *iter_frames(source)):
        assert picture[:, :24].min() > 245
        assert np.abs(picture[:, 40:].mean(axis=(0, 1)) - (0, 0, 200)).max() < 12


def joined(target: Path, *parts: Path) -> Path:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


@pytest.mark.parametrize("change", ["size", "pixels"])
def test_a_film_that_changes_on_its_way_is_rejected(ugly, tmp_path: Path, change: str) -> None:
    second = ugly.numbered(10, 96, 96) if change == "size" else ugly.numbered(10)
    aspect = Fraction(16, 15) if change == "pixels" else None
    parts = [
        ugly.write(tmp_path / "a.ts", ugly.numbered(10), options={"bf": "0"}),
        ugly.write(tmp_path / "b.ts", second, options={"bf": "0"}, pixel_aspect=aspect),
    ]
    source = joined(tmp_path / "v.ts", *parts)
    with pytest.raises(RejectedItem, match="changes from 64 x 48 with pixels of 1:1 to") as caught:
        normalised(source)
    assert caught.value.code == "changes_midway"
    with pytest.raises(InputError, match="changes from 64 x 48"):
        list(iter_frames(source))


def with_cover(path: Path, cover: np.ndarray, film: list[np.ndarray]) -> Path:
    """A film behind a still picture that is a stream of its own and not marked as a cover."""
    with av.open(str(path), "w") as container:
        first, second = container.add_stream("mjpeg", rate=25), container.add_stream("libx264", rate=25)
        first.height, first.width, first.pix_fmt = (*cover.shape[:2], "yuvj420p")
        second.height, second.width, second.pix_fmt = (*film[0].shape[:2], "yuv420p")
        for stream, pictures in ((first, [cover]), (second, film)):
            for k, picture in enumerate(pictures):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts = k
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def test_a_cover_is_not_the_film_for_decode_nor_for_evaluate(ugly, tmp_path: Path) -> None:
    cover = np.full((96, 96, 3), 90, np.uint8)
    for side, level in (("made", 30), ("true", 220)):
        (tmp_path / side).mkdir()
        film = [np.full((96, 96, 3), level, np.uint8) for _ in range(10)]
        source = with_cover(tmp_path / side / "a.mp4", cover, film)
        assert [round(float(frame.mean()) / 10) for frame in iter_frames(source)] == [level // 10] * 10
        assert normalise_video(source, tmp_path / "n.mp4", NormaliseSettings()).codec == "h264"
    scores = score_folders(tmp_path / "made", tmp_path / "true", NATIVE, Judge(NATIVE, {}))
    (psnr,) = [s.value for s in scores if (s.clip_id, s.method, s.metric) == (SUMMARY, "model", "psnr")]
    assert psnr is not None
    assert psnr < 10


def test_sound_begins_beside_the_film_and_not_beside_a_cover(ugly, tmp_path: Path) -> None:
    # The film begins half a second after its sound; a cover of time 0 must not hide that.
    sound = ugly.write(tmp_path / "s.mp4", ugly.numbered(25), tone_hz=440)
    with (
        av.open(str(sound)) as old,
        av.open(str(tmp_path / "v.mkv"), "w") as new,
    ):
        cover = new.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        frame = av.VideoFrame.from_ndarray(ugly.numbered(1)[0], format="rgb24")
        frame.pts = 0
        new.mux(cover.encode(frame))
        new.mux(cover.encode(None))
        late = round(Fraction(1, 2) / old.streams.video[0].time_base)
        for packet in old.demux():
            if packet.dts is not None:
                if packet.stream.type == "video":
                    packet.pts, packet.dts = packet.pts + late, packet.dts + late
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    write_preview(tmp_path / "silent.mp4", ugly.numbered(25), 25)
    assert add_audio(tmp_path / "silent.mp4", tmp_path / "v.mkv", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        first = next(container.decode(audio=0)).to_ndarray()
    # From the first picture on there is sound, so no silence stands in front.
    assert np.abs(first[:, 512:]).max() > 0.05


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_tags_in_latin_1_are_no_fault_of_the_pictures(ugly, tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"v{suffix}"
    with av.open(str(source), "w") as container:
        container.metadata["title"] = "Tanz zu XXXX"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k, picture in enumerate(ugly.numbered(5)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = source.read_bytes()
    assert b"zu XXXX" in content
    source.write_bytes(content.replace(b"zu XXXX", b"zu \xe9\xfc\xff\xfe"))
    assert normalised(source)[0].num_frames == 5
    assert len(list(iter_frames(source))) == 5


@pytest.mark.parametrize("said", [b"00:00:0x.200", b"::::::::::::", b"99:99:99.9_9"])
def test_a_length_that_is_no_length_says_nothing(ugly, tmp_path: Path, said: bytes) -> None:
    source = ugly.write(tmp_path / "v.mkv", ugly.numbered(5))
    content = source.read_bytes()
    assert b"00:00:00.200" in content
    source.write_bytes(content.replace(b"00:00:00.200", said))
    assert normalised(source)[0].num_frames == 5


def test_each_normalised_frame_says_which_frame_of_the_source_it_shows(ugly, tmp_path: Path) -> None:
    stamps_ms = [0, 40, 80, 200, 240, 280, 320, 360]
    source = ugly.write(tmp_path / "v.mkv", ugly.numbered(8), stamps_ms=stamps_ms, options={"bf": "2"})
    for fps, wanted in ((25, [0, 1, 2, 2, 2, 3, 4, 5, 6, 7]), (12.5, [0, 2, 2, 4, 6])):
        facts = normalise_video(source, tmp_path / "n.mp4", NormaliseSettings(fps=fps, crf=4))
        assert ugly.numbers(list(iter_frames(tmp_path / "n.mp4"))) == wanted
        assert (facts.source_num_frames, list(facts.source_frames)) == (8, wanted)
