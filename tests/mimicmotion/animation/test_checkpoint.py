"""What a checkpoint says about itself."""

import hashlib
import json

import pytest
import torch

from mimicmotion.animation.checkpoint import CheckpointFacts, read_checkpoint_facts, released_facts
from mimicmotion.animation.settings import SamplingSettings
from mimicmotion.errors import DataError, WeightsError
from mimicmotion.model.weights import convert, save_released
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.video.size import Size
from mimicmotion.weights.known import KnownFile, KnownWeights


def test_a_trained_checkpoint_tells_style_sizes_and_clip(tmp_path):
    style = DrawingStyle(canvas_short_side_px=480, draw_face=False)
    (tmp_path / "guidance.json").write_text(json.dumps(style.model_dump()))
    training = {
        "sizes_px": [[128, 192]],
        "num_frames": 8,
        "fps": 12.0,
        "motion_bucket": 100,
        "window_fps": 8,
        "steps": 3,
    }
    (tmp_path / "training.json").write_text(json.dumps(training))
    assert read_checkpoint_facts(tmp_path) == CheckpointFacts(
        style=style, sizes_px=(Size(128, 192),), num_frames=8, fps=12.0, motion_bucket=100.0, window_fps=8.0
    )
    assert read_checkpoint_facts(tmp_path).told["noise_aug_strength"] == 0
    (tmp_path / "training.json").write_text(json.dumps({**training, "noise_aug_strength": 0.02}))
    told = read_checkpoint_facts(tmp_path).told
    assert told == {"fps": 12.0, "motion_bucket_id": 100.0, "noise_aug_strength": 0.02}
    assert SamplingSettings().sampler(8, **told).noise_aug_strength == 0.02


def test_a_distilled_file_says_how_it_is_sampled_and_a_pickled_one_is_refused(tmp_path):
    training = {"sizes_px": [[128, 192]], "num_frames": 8, "fps": 12.0, "motion_bucket": 100.0}
    training["sampling"] = {"num_steps": 4, "schedule": "align_your_steps", "guidance_scale": 1.0}
    told = {"training.json": json.dumps(training)}
    save_released({"unet.a": torch.ones(1)}, tmp_path / "student.safetensors", told)
    assert read_checkpoint_facts(tmp_path / "student.safetensors").sampling == training["sampling"]
    with pytest.raises(WeightsError, match=r"a \.pth file cannot say how"):
        save_released({"unet.a": torch.ones(1)}, tmp_path / "student.pth", told)


def test_a_released_file_has_the_released_form(tmp_path):
    facts = read_checkpoint_facts(tmp_path / "MimicMotion_1.pth")
    assert facts == CheckpointFacts()
    assert (facts.num_frames, facts.fps, facts.style.canvas_short_side_px) == (16, 7.0, 2160)
    assert read_checkpoint_facts(tmp_path / "MimicMotion_1-1.pth") == CheckpointFacts(num_frames=72)


def test_a_renamed_released_file_is_known_by_its_content_and_another_is_warned_of(
    tmp_path, monkeypatch, caplog
):
    (tmp_path / "mine.pth").write_bytes(b"weights")
    assert read_checkpoint_facts(tmp_path / "mine.pth").num_frames == 16
    assert "mine.pth does not say how many frames it was trained with: 16 are taken" in caplog.text
    file = KnownFile(path="x.pth", size_bytes=7, sha256=hashlib.sha256(b"weights").hexdigest())
    known = KnownWeights(name="x.pth", page="", licence="", num_frames=72, files=(file,))
    monkeypatch.setattr("mimicmotion.animation.checkpoint.all_known", lambda: (known,))
    assert read_checkpoint_facts(tmp_path / "mine.pth").num_frames == 72


def test_what_a_run_does_otherwise_than_the_training_is_said():
    facts = CheckpointFacts(num_frames=72, window_fps=10.0)
    assert facts.departures(72, 15.0) == facts.departures(72, 7.0) == []
    assert facts.departures(16, 10.0) == ["tiles have 16 slots, the network was trained with 72"]
    (said,) = facts.departures(72, 30.0)
    assert "30 frames a second, the network was trained with 10" in said


def test_files_that_cannot_be_understood_are_refused(tmp_path):
    (tmp_path / "training.json").write_text('{"fps": 12}')
    with pytest.raises(WeightsError, match="lacks motion_bucket, num_frames, sizes_px"):
        read_checkpoint_facts(tmp_path)
    (tmp_path / "training.json").write_text("[]")
    with pytest.raises(WeightsError, match="must hold a JSON object"):
        read_checkpoint_facts(tmp_path)
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(WeightsError, match="is no JSON"):
        read_checkpoint_facts(tmp_path)
    (tmp_path / "training.json").unlink()
    (tmp_path / "guidance.json").write_text('{"draw": true}')
    with pytest.raises(DataError, match="exactly the fields"):
        read_checkpoint_facts(tmp_path)


def test_a_folder_that_says_nothing_of_drawing_draws_as_released(tmp_path):
    (tmp_path / "guidance.json").write_text("{}\n")
    assert read_checkpoint_facts(tmp_path).style == DrawingStyle()


def test_facts_travel_in_the_metadata_of_a_file_and_a_folder_without_any_is_warned_of(tmp_path, caplog):
    training = {
        "sizes_px": [[128, 192]],
        "num_frames": 24,
        "fps": 12.0,
        "motion_bucket": 100,
        "window_fps": 6,
    }
    told = {
        "guidance.json": DrawingStyle(draw_face=False).model_dump_json(),
        "training.json": json.dumps(training),
    }
    save_released({"unet.a": torch.zeros(1)}, tmp_path / "mine.safetensors", told)
    facts = read_checkpoint_facts(tmp_path / "mine.safetensors")
    assert (facts.num_frames, facts.window_fps, facts.sizes_px) == (24, 6.0, ((128, 192),))
    assert not facts.style.draw_face
    assert not caplog.text
    assert read_checkpoint_facts(tmp_path).num_frames == 16
    assert "does not say how many frames it was trained with" in caplog.text
    (tmp_path / "broken.safetensors").write_bytes(b"weights")
    with pytest.raises(WeightsError, match="is no safetensors file"):
        read_checkpoint_facts(tmp_path / "broken.safetensors")


def test_a_released_file_written_in_another_form_keeps_its_number_of_frames(tmp_path):
    torch.save({"unet.a": torch.zeros(1), "pose_net.b": torch.zeros(1)}, tmp_path / "MimicMotion_1-1.pth")
    source, target = tmp_path / "MimicMotion_1-1.pth", tmp_path / "mine.safetensors"
    convert(source, target, told=released_facts(source))
    assert read_checkpoint_facts(target) == CheckpointFacts(num_frames=72)
    assert released_facts(target) == {}
