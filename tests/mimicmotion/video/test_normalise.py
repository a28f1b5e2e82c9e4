"""Ugly sources become upright, right-coloured videos of constant rate, or rejects with a stable code."""

from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mimicmotion.errors import RejectedItem
from mimicmotion.video.files import iter_frames
from mimicmotion.video.geometry import upright_size
from mimicmotion.video.normalise import VideoFacts, normalise_video
from mimicmotion.video.reader import open_video
from mimicmotion.video.settings import NormaliseSettings

SETTINGS = NormaliseSettings(crf=4)


def normalise(source: Path, settings: NormaliseSettings = SETTINGS) -> tuple[VideoFacts, list[np.ndarray]]:
    target = source.with_name(f"{source.stem}-normalised.mp4")
    facts = normalise_video(source, target, settings)
    return facts, list(iter_frames(target))


def reject_code(source: Path, settings: NormaliseSettings = SETTINGS) -> str:
    target = source.with_name("target.mp4")
    with pytest.raises(RejectedItem) as caught:
        normalise_video(source, target, settings)
    assert source.name in caught.value.sentence
    assert sorted(source.parent.glob("*target*")) == []
    return caught.value.code


@pytest.mark.parametrize(
    ("codec", "pixel_format", "matrix", "full_range"),
    [
        ("libx264", "yuv420p", 1, False),
        ("libx264", "yuv420p", 5, False),
        ("libx264", "yuvj420p", 1, True),
        ("libx264", "yuvj420p", 5, True),
        ("libx264", "yuv444p", 1, False),
        ("libx264", "yuv420p10le", 1, False),
        ("libx265", "yuv420p10le", 9, False),
        ("prores_ks", "yuv422p10le", 1, False),
        ("libvpx-vp9", "yuv420p", 5, False),
        ("mpeg4", "yuv420p", 5, False),
    ],
)
def test_colours(ugly, tmp_path: Path, codec: str, pixel_format: str, matrix: int, full_range: bool) -> None:
    suffix = ".mov" if codec == "prores_ks" else ".mkv"
    source = ugly.write(
        tmp_path / f"card{suffix}",
        [ugly.card()] * 3,
        codec=codec,
        pixel_format=pixel_format,
        matrix=matrix,
        full_range=full_range,
    )
    facts, frames = normalise(source)
    assert facts.num_frames == 3
    assert np.abs(ugly.patches(frames[1]) - ugly.card_colours).max() <= 2
    by_index = open_video(source.with_name("card-normalised.mp4")).read([1])[0]
    assert np.abs(ugly.patches(by_index) - ugly.card_colours).max() <= 2


def test_result_is_tagged_and_made_for_random_reads(ugly, tmp_path: Path) -> None:
    source = ugly.write(tmp_path / "v.mp4", [ugly.card()] * 25, pixel_format="yuvj420p", full_range=True)
    normalise(source)
    with av.open(str(tmp_path / "v-normalised.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.has_b_frames) == ("h264", "yuv420p", False)
        assert (int(context.colorspace), int(context.color_range)) == (1, 1)
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert [k for k, packet in enumerate(packets) if packet.is_keyframe] == [0, 10, 20]
    assert b"x264" not in (tmp_path / "v-normalised.mp4").read_bytes()


@pytest.mark.parametrize(
    ("rotation_deg", "mirrored"),
    [(0, True), (90, False), (90, True), (180, False), (180, True), (270, False), (270, True)],
)
def test_upright(ugly, tmp_path: Path, rotation_deg: int, mirrored: bool) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:32, :48] = 255  # the upper left quarter is white
    source = ugly.write(tmp_path / "v.mp4", [picture] * 2, rotation_deg=rotation_deg, mirrored=mirrored)
    facts, frames = normalise(source)
    shown = np.rot90(picture, k=-rotation_deg // 90)
    if mirrored:
        shown = shown[:, ::-1]
    assert (facts.height_px, facts.width_px) == shown.shape[:2]
    assert facts.rotation_deg == rotation_deg
    assert upright_size(asdict(facts)).shape == shown.shape[:2]
    assert np.abs(frames[0].astype(int) - shown).mean() < 4


@pytest.mark.parametrize(
    ("size", "aspect", "short_side_px", "expected"),
    [
        ((64, 96), Fraction(1), None, (64, 96)),
        ((64, 96), Fraction(1), 32, (32, 48)),
        ((64, 96), Fraction(1), 500, (64, 96)),
        ((64, 96), Fraction(4, 3), None, (64, 128)),
        ((64, 96), Fraction(1, 2), None, (128, 96)),
        ((64, 96), Fraction(1, 2), 48, (64, 48)),
        ((66, 98), Fraction(1), 33, (32, 48)),
    ],
)
def test_square_pixels_and_size(ugly, tmp_path, size, aspect, short_side_px, expected) -> None:
    source = ugly.write(tmp_path / "v.mp4", [np.full((*size, 3), 90, np.uint8)] * 2, pixel_aspect=aspect)
    facts, frames = normalise(source, NormaliseSettings(short_side_px=short_side_px))
    assert (facts.height_px, facts.width_px) == expected == frames[0].shape[:2]


def test_odd_size_loses_one_row_and_column(ugly, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (7, 11, 1), np.uint8).repeat(9, 0).repeat(9, 1)
    picture = picture.repeat(3, 2)  # 63 x 99
    source = ugly.write(tmp_path / "v.mkv", [picture] * 2, codec="ffv1", pixel_format="yuv444p", options={})
    facts, frames = normalise(source)
    assert (facts.height_px, facts.width_px) == (62, 98)
    assert np.abs(frames[0].astype(int) - picture[:62, :98]).mean() < 2


def test_variable_rate_shows_at_each_instant_what_was_shown_then(ugly, tmp_path: Path) -> None:
    stamps_ms = [0, 40, 80, 120, 400, 410, 420, 430, 700, 1000]
    source = ugly.write(tmp_path / "v.mkv", ugly.numbered(10), stamps_ms=stamps_ms)
    facts, frames = normalise(source, NormaliseSettings(crf=4, fps=50))
    instants_ms = [20 * k for k in range(len(frames))]
    shown = [max(i for i, stamp in enumerate(stamps_ms) if stamp <= now) for now in instants_ms]
    assert ugly.numbers(frames) == shown
    assert not facts.constant_rate
    assert facts.duration_s == pytest.approx(1.0 + 0.04, abs=1 / 50)  # Matroska's default duration


def test_variable_rate_keeps_its_duration_at_its_own_average(ugly, tmp_path: Path) -> None:
    stamps_ms = [0, 33, 67, 100, 300, 600, 900, 933, 967, 1500, 1520, 2000]
    facts, frames = normalise(ugly.write(tmp_path / "v.mkv", ugly.numbered(12), stamps_ms=stamps_ms))
    assert facts.duration_s == pytest.approx(2.0 + 2.0 / 11, abs=1 / facts.fps)
    assert ugly.numbers(frames) == sorted(ugly.numbers(frames))


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(24), Fraction(15)])
def test_rounded_stamps_give_the_true_rate_frame_by_frame(ugly, tmp_path: Path, fps: Fraction) -> None:
    stamps_ms = [round(k * 1000 / fps) + 700 for k in range(28)]
    facts, frames = normalise(ugly.write(tmp_path / "v.mkv", ugly.numbered(28), stamps_ms=stamps_ms, fps=fps))
    assert facts.constant_rate
    assert facts.fps == pytest.approx(float(fps), rel=1e-3)
    assert ugly.numbers(frames) == list(range(28))


def test_gap_in_constant_rate_is_held(ugly, tmp_path: Path) -> None:
    stamps_ms = [40 * k for k in range(30) if k not in (12, 13)]
    facts, frames = normalise(ugly.write(tmp_path / "v.mkv", ugly.numbered(28), stamps_ms=stamps_ms))
    assert ugly.numbers(frames)[10:16] == [10, 11, 11, 11, 12, 13]
    assert facts.fps == 25
    assert facts.bad_frames == ()


@pytest.mark.parametrize(
    ("fps", "expected"), [(12.5, list(range(0, 24, 2))), (50, [k // 2 for k in range(48)])]
)
def test_target_rate(ugly, tmp_path: Path, fps: float, expected: list[int]) -> None:
    source = ugly.write(tmp_path / "v.mp4", ugly.numbered(24))
    facts, frames = normalise(source, NormaliseSettings(crf=4, fps=fps))
    assert ugly.numbers(frames) == expected
    assert (facts.fps, facts.source_fps, facts.duration_s) == (fps, 25, pytest.approx(0.96))


def test_same_bytes_when_run_again(ugly, tmp_path: Path) -> None:
    source = ugly.write(tmp_path / "v.mp4", [ugly.card()] * 12)
    for name in ("a.mp4", "b.mp4"):
        normalise_video(source, tmp_path / name, SETTINGS)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_sound_is_noted_and_left_out(ugly, tmp_path: Path) -> None:
    source = ugly.write(tmp_path / "v.mp4", ugly.numbered(20), tone_hz=440)
    facts, _ = normalise(source)
    assert facts.has_audio
    with av.open(str(tmp_path / "v-normalised.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_scene_cuts_are_counted_in_normalised_frames(ugly, tmp_path: Path) -> None:
    pictures = [np.full((48, 64, 3), 40, np.uint8)] * 12 + [np.full((48, 64, 3), 200, np.uint8)] * 12
    facts, _ = normalise(ugly.write(tmp_path / "v.mp4", pictures), NormaliseSettings(fps=50))
    assert facts.scene_cuts == (24,)


def test_stills_are_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert reject_code(tmp_path / "sound.mp4") == "no_video_stream"


@pytest.mark.parametrize("content", [b"", b"just text, no video", bytes(4096)])
def test_files_that_are_no_videos(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.mp4").write_bytes(content)
    assert reject_code(tmp_path / "v.mp4") == "unreadable"


def test_too_short_and_too_small(ugly, tmp_path: Path) -> None:
    source = ugly.write(tmp_path / "v.mp4", ugly.numbered(5))
    assert reject_code(source, NormaliseSettings(min_num_frames=6)) == "too_short"
    assert reject_code(source, NormaliseSettings(min_short_side_px=50)) == "too_small"
    assert reject_code(source, NormaliseSettings(short_side_px=40, min_short_side_px=48)) == "too_small"


def noise(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return list(random.integers(0, 256, (count, 24, 32, 1), np.uint8).repeat(2, 1).repeat(2, 2).repeat(3, 3))


@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_file_that_breaks_off(ugly, tmp_path: Path, keep: float) -> None:
    whole = ugly.write(tmp_path / "whole.mp4", noise(60), container_options={"movflags": "+faststart"})
    content = whole.read_bytes()
    source = tmp_path / "cut.mp4"
    source.write_bytes(content[: int(len(content) * keep)])
    assert reject_code(source) == "broken_tail"
    facts, frames = normalise(source, NormaliseSettings(on_broken_tail="trim"))
    assert 60 * keep - 6 < facts.num_frames == len(frames) < 60 * keep + 3
    assert facts.duration_s + facts.trimmed_s == pytest.approx(60 / 25, abs=0.6)


def test_file_without_its_index(ugly, tmp_path: Path) -> None:
    content = ugly.write(tmp_path / "whole.mp4", noise(30)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    assert reject_code(tmp_path / "cut.mp4") == "unreadable"


def test_damage_in_the_middle_is_listed_up_to_the_next_key_frame(ugly, tmp_path: Path) -> None:
    options = {"crf": "10", "g": "20", "bf": "0", "sc_threshold": "0"}
    source = ugly.write(tmp_path / "v.mp4", noise(60), options=options)
    with av.open(str(source)) as container:
        hurt = [packet for packet in container.demux(video=0) if packet.size][25]
    content = bytearray(source.read_bytes())
    content[hurt.pos + 5 : hurt.pos + 60] = b"\xff" * 55
    source.write_bytes(content)
    facts, frames = normalise(source, NormaliseSettings(crf=4))
    assert facts.num_frames == len(frames) == 60
    assert facts.bad_frames == tuple(range(25, 40))
    assert facts.num_bad_frames == 15
    # Stand-ins repeat the last good picture.
    assert np.abs(frames[30].astype(int) - frames[24]).mean() < 3
