"""Real videos, the awkward ones first: each ends as it should, and nothing hangs or crashes."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from mimicmotion.errors import RejectedItem
from mimicmotion.video.files import iter_frames
from mimicmotion.video.isolated import normalise_isolated
from mimicmotion.video.normalise import VideoFacts
from mimicmotion.video.reader import open_video
from mimicmotion.video.settings import NormaliseSettings

# File -> reason of its reject, or (width, height, frames, frames per second, rotation, scene cuts).
EXPECTED = {
    "awkward/datajuicer_humanv.mp4": "no_video_stream",
    "awkward/datajuicer_video1.mp4": (640, 360, 282, 24, 0, (144, 237)),
    "awkward/decord_corrupted.mp4": "broken_tail",
    "awkward/decord_pancake.mkv": (426, 240, 310, 30, 0, ()),
    "awkward/decord_unordered.mov": (50, 50, 4, 32, 0, ()),
    "awkward/decord_video_180.mov": (568, 320, 3, 30, 180, ()),
    "awkward/decord_video_90.mov": (320, 568, 3, 30, 90, ()),
    "awkward/mmaction2_demo_b.mp4": (456, 256, 300, 29.97, 0, (5,)),
    "awkward/mmaction2_tests_test.avi": (320, 240, 164, 25, 0, ()),
    "awkward/mmpose_demo.mp4": (960, 540, 5, 5, 0, ()),
    "awkward/torchcodec_av1_video.mkv": (640, 360, 125, 25, 0, ()),
    "awkward/torchcodec_bt709_full_range.mp4": (1024, 576, 30, 30, 0, ()),
    "awkward/torchcodec_h265_video.mp4": (128, 128, 10, 10, 0, ()),
    "awkward/torchcodec_var_fps_video.mp4": (128, 128, 300, 20.04, 0, ()),
    "people/datajuicer_video5.mp4": (362, 640, 284, 24, 0, ()),
    "people/fast_dwpose_dance.mp4": (576, 1024, 61, 30, 0, ()),
    "people/mmaction2_struct.mp4": (1024, 576, 300, 29.97, 0, (179, 294)),
    "people/musepose_dance.mp4": (576, 1024, 288, 24, 0, ()),
    "people/unianimate_source_video.mp4": (576, 922, 150, 16, 0, ()),
}
LONG = ("people/", "awkward/datajuicer_video1", "awkward/mmaction2_demo_b", "awkward/decord_pancake")

Normalise = Callable[..., tuple[VideoFacts, Path]]


@pytest.fixture
def normalise(real_data: Path, tmp_path: Path) -> Normalise:
    def run(name: str, **settings: object) -> tuple[VideoFacts, Path]:
        target = tmp_path / "video.mp4"
        facts = normalise_isolated(real_data / name, target, NormaliseSettings(**settings), timeout_s=300)
        return facts, target

    return run


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith(LONG) else ()) for name in EXPECTED]
)
def test_outcome(normalise: Normalise, name: str) -> None:
    expected = EXPECTED[name]
    if isinstance(expected, str):
        with pytest.raises(RejectedItem) as caught:
            normalise(name, short_side_px=576)
        assert caught.value.code == expected
        return
    facts, target = normalise(name, short_side_px=576)
    fps = round(facts.fps, 2)
    assert expected == (
        facts.width_px,
        facts.height_px,
        facts.num_frames,
        fps,
        facts.rotation_deg,
        facts.scene_cuts,
    )
    assert facts.num_bad_frames == 0
    reader = open_video(target)
    assert (reader.width_px, reader.height_px, reader.num_frames) == expected[:3]
    assert reader.fps == pytest.approx(facts.fps, rel=1e-4)


def test_every_real_file_is_expected(real_data: Path) -> None:
    found = {path.relative_to(real_data).as_posix() for path in real_data.glob("[ap][we]*/*.*")}
    assert found == set(EXPECTED)


def test_corrupted_video_keeps_its_good_part(normalise: Normalise) -> None:
    facts, target = normalise("awkward/decord_corrupted.mp4", on_broken_tail="trim", short_side_px=180)
    assert facts.num_frames == len(list(iter_frames(target))) == 28
    assert facts.trimmed_s == pytest.approx(2.2)
    assert facts.num_bad_frames == 22


def test_variable_rate_keeps_its_duration(normalise: Normalise, real_data: Path) -> None:
    name = "awkward/torchcodec_var_fps_video.mp4"
    facts, _ = normalise(name)
    with av.open(str(real_data / name)) as container:
        stream = container.streams.video[0]
        duration_s = float(stream.duration * stream.time_base)
    assert facts.duration_s == pytest.approx(duration_s, abs=1 / facts.fps)
    assert not facts.constant_rate


@pytest.mark.parametrize("name", ["torchcodec_bt709_full_range.mp4", "torchcodec_h265_video.mp4"])
def test_colours_are_those_of_the_formula(normalise: Normalise, real_data: Path, name: str) -> None:
    _, target = normalise(f"awkward/{name}", crf=1, short_side_px=None)
    with av.open(str(real_data / "awkward" / name)) as container:
        frame = next(container.decode(video=0))
        y, cb, cr = (_plane(plane) for plane in frame.planes)
        full = frame.format.name.startswith("yuvj") or int(frame.color_range) == 2
        red_weight, blue_weight = (0.2126, 0.0722) if int(frame.colorspace) == 1 else (0.299, 0.114)
    luma = y / 255 if full else (y - 16) / 219
    blue, red = ((chroma.repeat(2, 0).repeat(2, 1) - 128) / (255 if full else 224) for chroma in (cb, cr))
    r = luma + 2 * (1 - red_weight) * red
    b = luma + 2 * (1 - blue_weight) * blue
    g = (luma - red_weight * r - blue_weight * b) / (1 - red_weight - blue_weight)
    reference = np.clip(np.stack([r, g, b], axis=-1), 0, 1) * 255
    shown = next(iter_frames(target)).astype(float)
    flat = (_blocks(reference).std(axis=(1, 3)) < 1).all(axis=-1)
    assert flat.mean() > 0.5
    difference = np.abs(_middles(shown) - _middles(reference))[flat]
    assert difference.max() <= 2


def _plane(plane: av.video.plane.VideoPlane) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width].astype(float)


def _blocks(picture: np.ndarray) -> np.ndarray:
    """Blocks of 16 x 16 pixels, (rows, 16, columns, 16, 3)."""
    height, width = (side - side % 16 for side in picture.shape[:2])
    return picture[:height, :width].reshape(height // 16, 16, width // 16, 16, 3)


def _middles(picture: np.ndarray) -> np.ndarray:
    """Colours in the middle of each block, where the way that chroma is spread does not show."""
    return _blocks(picture)[:, 6:10, :, 6:10].mean(axis=(1, 3))
