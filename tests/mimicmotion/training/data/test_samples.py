import errno
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mimicmotion.errors import MachineError, StageError
from mimicmotion.training.data import samples
from mimicmotion.training.data.augmentation import Augmentation
from mimicmotion.training.data.order import SampleIndex
from mimicmotion.training.data.samples import draw, framing_text, make_sample
from mimicmotion.video.containers import as_input
from mimicmotion.video.framing import framing
from mimicmotion.video.reader import PyavReader, open_video
from mimicmotion.video.size import Size

INDEX = SampleIndex(clip=0, epoch=2, slot=5)


def test_slot_zero_is_the_reference_with_its_own_pose(clips, recipe):
    drawn = replace(draw(clips[0], INDEX, recipe), reference=13)
    sample = make_sample(clips[0], drawn, recipe)
    fit = clips[0].fit
    video = open_video(clips[0].video)
    np.testing.assert_array_equal(sample.frames, fit.frames(video.read([13, 2, 4, 6])))
    assert sample.poses.shape == (4, 3, 64, 64)
    other = make_sample(clips[0], replace(drawn, reference=0), recipe)
    assert not np.array_equal(sample.poses[0], other.poses[0])
    np.testing.assert_array_equal(sample.poses[1:], other.poses[1:])


def test_poses_and_hand_boxes_follow_the_person(clips, recipe):
    sample = make_sample(clips[0], draw(clips[0], INDEX, recipe), recipe)
    # The person's left hand stands 20 pixels right of the square, before the resize from 80 to 64.
    for slot, frame in ((1, 2), (3, 6)):
        x, y = (80 // 3 + 2 * frame + 20) * 0.8, (40 + round(6 * np.sin(frame))) * 0.8
        left, top, right, bottom = sample.hand_boxes[slot, 0]
        assert left < x < right
        assert top < y < bottom
        assert right - left < 8
        assert sample.hand_weights[slot, int(y // 8), int(x // 8)] == 10
    assert np.isnan(sample.hand_boxes[:, 1]).all(), "the right hand is not reliable"
    assert (sample.hand_weights > 1).sum(axis=(1, 2)).max() <= 6


def test_a_wide_video_takes_the_wide_size(wide_clip, recipe):
    sample = make_sample(wide_clip, draw(wide_clip, INDEX, recipe), recipe)
    assert sample.frames.shape == (4, 32, 64, 3)
    assert sample.hand_weights.shape == (4, 4, 8)


def test_draws_depend_on_the_place_and_follow_the_recipe(clips, recipe):
    clip = clips[0]
    assert draw(clip, INDEX, recipe) == draw(clip, INDEX, recipe)
    draws = [draw(clip, SampleIndex(0, 0, slot), recipe) for slot in range(3000)]
    assert {drawn.reference for drawn in draws} == {0, 9, 13}
    assert np.mean([drawn.dropped for drawn in draws]) == pytest.approx(0.1, abs=0.02)
    logs = np.log([drawn.sigma for drawn in draws])
    assert (logs.mean(), logs.std()) == pytest.approx((0.7, 1.6), abs=0.1)
    assert len({drawn.noise_seed for drawn in draws}) == 3000


def test_every_epoch_draws_a_window_of_the_run_and_a_reference_away_from_it(clips, recipe):
    run = replace(clips[0], num_windows=4, references=tuple(range(14)), reference_distance=2)
    draws = [draw(run, SampleIndex(0, epoch, 5), recipe) for epoch in range(200)]
    assert {drawn.frames for drawn in draws} == {tuple(k + f for f in (2, 4, 6)) for k in range(4)}
    assert all(
        drawn.reference <= drawn.frames[0] - 2 or drawn.reference >= drawn.frames[-1] + 2 for drawn in draws
    )
    assert len({drawn.reference for drawn in draws}) > 5


def test_reference_noise_is_as_named(clips, recipe):
    def noises(kind):
        named = recipe.model_copy(update={"reference_noise": kind})
        return np.array(
            [draw(clips[0], SampleIndex(0, 0, slot), named).reference_noise for slot in range(500)]
        )

    assert not noises("none").any()
    assert (noises("fixed") == 0.02).all()
    logs = np.log(noises("lognormal"))
    assert (logs.mean(), logs.std()) == pytest.approx((-3.0, 0.5), abs=0.1)


def test_the_reader_is_a_choice(clips, recipe):
    drawn = draw(clips[0], INDEX, recipe)
    decord = make_sample(clips[0], drawn, recipe.model_copy(update={"reader": "decord"})).frames.astype(int)
    off = decord - make_sample(clips[0], drawn, recipe).frames
    assert off.any(), "decord's colours are a level darker"
    assert np.abs(off).mean() < 3


def test_a_bad_clip_stops_with_its_name(clips, recipe, tmp_path):
    broken = replace(clips[0], video=tmp_path / "gone.mp4")
    with pytest.raises(StageError, match=r"video0-clip.*no video at .*gone\.mp4"):
        make_sample(broken, draw(broken, INDEX, recipe), recipe)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ESTALE, MachineError), (errno.ETIMEDOUT, MachineError), (errno.ENOENT, StageError)],
)
def test_a_hiccup_of_the_file_system_may_be_tried_again(clips, recipe, monkeypatch, number, kind):
    def read(self, slots):
        with as_input(self.path):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(PyavReader, "read", read)
    with pytest.raises(StageError, match=clips[0].clip_id) as caught:
        make_sample(clips[0], draw(clips[0], INDEX, recipe), recipe)
    assert type(caught.value) is kind


@pytest.fixture
def latents_clip(clips, recipe, tmp_path):
    prefix = framing_text(clips[0].fit)
    frames = np.array([0, 2, 4, 6, 9], np.int32)
    tensors = {
        "frames": frames,
        "latents": np.broadcast_to(frames[:, None, None, None], (5, 4, 8, 8)).astype(np.float16),
        "embedded_frames": np.array([0, 9], np.int32),
        "embeddings": np.array([0, 9], np.float16)[:, None, None].repeat(16, axis=2),
    }
    named = {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}
    save_file(named, tmp_path / "latents.safetensors")
    return replace(clips[0], latents=tmp_path / "latents.safetensors", references=(9,))


def test_stored_latents_replace_pictures(latents_clip, recipe):
    sample = make_sample(latents_clip, draw(latents_clip, INDEX, recipe), recipe)
    assert sample.frames is None
    assert sample.latents[:, 0, 0, 0].tolist() == [9, 2, 4, 6]
    assert (sample.image_embedding == 9).all()
    assert sample.image_embedding.shape == (1, 16)


def test_of_stored_latents_only_the_reference_and_the_window_are_read(latents_clip, recipe, monkeypatch):
    rows = []

    class SpiedFile:
        def __init__(self, *given):
            self.file = safe_open(*given)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def __getattr__(self, name):
            return getattr(self.file, name)

        def get_slice(self, name):
            return (
                SpiedRows(self.file.get_slice(name))
                if name.endswith("/latents")
                else self.file.get_slice(name)
            )

    class SpiedRows:
        def __init__(self, stored):
            self.stored = stored

        def __getitem__(self, where):
            rows.extend(range(where.start, where.stop))
            return self.stored[where]

    monkeypatch.setattr(samples, "safe_open", SpiedFile)
    clip = replace(latents_clip, frames=(0, 2))
    sample = make_sample(clip, draw(clip, INDEX, recipe), recipe)
    assert sample.latents[:, 0, 0, 0].tolist() == [9, 0, 2]
    assert rows == [4, 0, 1]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"references": (13,)}, r"lacks the frames \[13\]"),
        ({"frames": (2, 5, 6)}, r"lacks the frames \[5\]"),
        ({"references": (4,)}, r"lacks the frames \[4\]"),
    ],
)
def test_latents_that_lack_a_frame_stop_the_run(latents_clip, recipe, changed, problem):
    clip = replace(latents_clip, **changed)
    with pytest.raises(StageError, match=problem):
        make_sample(clip, draw(clip, INDEX, recipe), recipe)


def test_latents_of_another_framing_stop_the_run(latents_clip, recipe):
    other = replace(latents_clip, fit=framing(Size(80, 80), [Size(48, 64)]))
    with pytest.raises(StageError, match="holds no latents of the framing 80x80>64x64>8x0>48x64"):
        make_sample(other, draw(other, INDEX, recipe), recipe)


def test_hands_are_measured_where_they_weigh_nothing_more(clips, recipe):
    weighed = make_sample(clips[0], draw(clips[0], INDEX, recipe), recipe)
    plain = make_sample(
        clips[0], draw(clips[0], INDEX, recipe), recipe.model_copy(update={"hand_weight": 1.0})
    )
    assert (plain.hand_weights == 1).all()
    np.testing.assert_array_equal(plain.hand_cells, weighed.hand_weights == 10)
    assert plain.hand_cells.any()


def test_overlays_and_further_people_weigh_nothing_in_the_frames_that_show_them(clips, recipe, tmp_path):
    table = pq.read_table(clips[0].poses)
    rows = table.to_pylist()
    stranger = {**rows[4], "person": 1, "box": [64.0, 0.0, 80.0, 16.0]}
    crowded = pa.Table.from_pylist([*rows, stranger], schema=table.schema)
    pq.write_table(crowded, tmp_path / "poses.parquet")
    clip = replace(clips[0], poses=tmp_path / "poses.parquet", ignore=((0, 5, 0, 60, 40, 80),))
    drawn = replace(draw(clip, INDEX, recipe), reference=13)
    sample = make_sample(clip, drawn, recipe)
    # Slots show frames 13, 2, 4 and 6; of 80 pixels are made 64, so 8 x 8 cells.
    overlay, person = sample.hand_weights[:, 6:, :4] == 0, sample.hand_weights[:, :2, 7] == 0
    assert overlay.all(axis=(1, 2)).tolist() == [False, True, True, False]
    assert person.any(axis=1).tolist() == [False, False, True, False]
    assert (sample.hand_weights == 0).tolist() == (sample.face_weights == 0).tolist()
    plain = make_sample(clip, drawn, recipe.model_copy(update={"mask_loss": False}))
    assert (plain.hand_weights > 0).all()
    mirror = replace(drawn, augmentation=Augmentation(mirrored=True))
    turned = make_sample(clip, mirror, recipe)
    assert (turned.hand_weights[1, 7, 4:] == 0).all()
