"""The sound of the driving video comes along."""

from fractions import Fraction

import av
import numpy as np
import pytest

from mimicmotion.animation.audio import add_audio
from mimicmotion.errors import InputError
from mimicmotion.video.files import iter_frames, write_preview


def silent_video(path, num_frames=24):
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 32, 32, 3)).astype(np.uint8)
    write_preview(path, frames, 12)
    return path


def sounding_file(path, seconds=5):
    """A 440 Hz tone, mono, 44.1 kHz, with no picture at all."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        for start in range(0, 44100 * seconds, 4410):
            tone = 8000 * np.sin(2 * np.pi * 440 / 44100 * np.arange(start, start + 4410))
            frame = av.AudioFrame.from_ndarray(tone.astype(np.int16)[None], format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_pictures_stay_and_sound_ends_with_them(tmp_path):
    silent = silent_video(tmp_path / "silent.mp4")
    assert add_audio(silent, sounding_file(tmp_path / "tone.wav"), tmp_path / "out.mp4")
    before, after = (np.stack(list(iter_frames(p))) for p in (silent, tmp_path / "out.mp4"))
    assert (before == after).all()
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
        rate = container.streams.audio[0].rate
    assert abs(sound.shape[1] / rate - 2.0) < 0.1
    spectrum = np.abs(np.fft.rfft(sound[0]))
    assert abs(spectrum.argmax() * rate / sound.shape[1] - 440) < 2


def shifted_sound(path, video_s, audio_s, lost_s=(2, 2)):
    """Twelve pictures a second from one time on, a loud tone of 1.5 s from another, some of it lost."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=12)
        video.width, video.height, video.pix_fmt = 32, 32, "bgr0"
        audio = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        for index in range(24):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            picture = picture.reformat(format="bgr0")
            picture.pts, picture.time_base = index + round(video_s * 12), Fraction(1, 12)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        for start in range(0, 72000, 4800):
            tone = (20000 * np.sin(np.arange(start, start + 4800) / 8)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            frame.rate, frame.pts = 48000, start + round(audio_s * 48000)
            frame.time_base = Fraction(1, 48000)
            if not lost_s[0] <= start / 48000 < lost_s[1]:
                container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    return path


def test_lost_sound_is_silent_and_moves_nothing(tmp_path):
    source = shifted_sound(tmp_path / "source.mkv", 0, 0, lost_s=(0.5, 1.1))
    assert add_audio(silent_video(tmp_path / "silent.mp4"), source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)[0]
    loud = np.flatnonzero(np.abs(sound) > 0.2) / 48000
    gap = int(np.diff(loud).argmax())
    assert (loud[gap], loud[gap + 1], loud[-1]) == pytest.approx((0.5, 1.1, 1.5), abs=0.05)


def test_sound_begins_with_the_first_picture_that_decodes(tmp_path):
    """A transport stream that begins within a group of pictures, as a recording of a broadcast does."""
    source = tmp_path / "source.ts"
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=12, options={"g": "8", "sc_threshold": "0"})
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout="mono")
        packets = []
        for index in range(36):
            picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), index * 5, np.uint8), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 12)
            packets += video.encode(picture)
        # The first key frame is lost; the next one comes after eight pictures.
        for packet in [*packets, *video.encode(None)][1:]:
            container.mux(packet)
        for start in range(0, 144000, 1024):
            loud = 1.5 <= start / 48000 < 2
            frame = av.AudioFrame.from_ndarray(
                loud * 0.6 * np.sin(np.arange(1024) / 8)[None].astype(np.float32), "fltp", "mono"
            )
            frame.rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    assert add_audio(silent_video(tmp_path / "silent.mp4"), source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)[0]
    loud = np.flatnonzero(np.abs(sound) > 0.2) / 48000
    assert (loud[0], loud[-1]) == pytest.approx((1.5 - 8 / 12, 2 - 8 / 12), abs=0.05)


@pytest.mark.parametrize(
    ("video_s", "audio_s", "loud_s"), [(0, 0.5, (0.5, 2.0)), (0.5, 0, (0, 1.0)), (0.5, 0.5, (0, 1.5))]
)
def test_sound_stays_where_it_is_beside_the_pictures(tmp_path, video_s, audio_s, loud_s):
    source = shifted_sound(tmp_path / "source.mkv", video_s, audio_s)
    assert add_audio(silent_video(tmp_path / "silent.mp4"), source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)[0]
    loud = np.flatnonzero(np.abs(sound) > 0.2) / 48000
    assert (loud[0], loud[-1]) == pytest.approx(loud_s, abs=0.05)


def test_a_silent_driving_video_adds_nothing(tmp_path):
    silent = silent_video(tmp_path / "silent.mp4")
    assert not add_audio(silent, silent, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_an_unreadable_source_is_refused(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="cannot be kept"):
        add_audio(silent_video(tmp_path / "silent.mp4"), tmp_path / "broken.mp4", tmp_path / "out.mp4")
