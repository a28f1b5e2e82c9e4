"""What a checkpoint says about itself."""

import json

import pytest

from mimicmotion.animation.checkpoint import CheckpointFacts, read_checkpoint_facts
from mimicmotion.errors import DataError, WeightsError
from mimicmotion.pose.settings import DrawingStyle


def test_a_trained_checkpoint_tells_style_sizes_and_clip(tmp_path):
    style = DrawingStyle(canvas_short_side_px=480, draw_face=False)
    (tmp_path / "guidance.json").write_text(json.dumps(style.model_dump()))
    training = {"sizes_px": [[128, 192]], "num_frames": 8, "fps": 12.0, "motion_bucket": 100, "steps": 3}
    (tmp_path / "training.json").write_text(json.dumps(training))
    assert read_checkpoint_facts(tmp_path) == CheckpointFacts(
        style=style, sizes_px=((128, 192),), num_frames=8, fps=12.0, motion_bucket=100.0
    )


def test_a_released_file_has_the_released_form(tmp_path):
    facts = read_checkpoint_facts(tmp_path / "MimicMotion_1-1.pth")
    assert facts == CheckpointFacts()
    assert (facts.num_frames, facts.fps, facts.style.canvas_short_side_px) == (16, 7.0, 2160)


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
