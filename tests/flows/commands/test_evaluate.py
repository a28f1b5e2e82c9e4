"""The command prints the table and writes every score."""

import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from flows.commands.evaluate import evaluate
from mimicmotion.errors import InputError
from mimicmotion.video.files import write_lossless


def run(*arguments):
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_table_and_a_file(tmp_path):
    for side in ("generated", "truth"):
        (tmp_path / side).mkdir()
        frames = np.random.default_rng(len(side)).integers(0, 255, (4, 16, 16, 3)).astype(np.uint8)
        write_lossless(tmp_path / side / "a.mkv", frames, 12)
    folders = ("--generated", tmp_path / "generated", "--truth", tmp_path / "truth")
    result = run(*folders, "--protocol", "native", "--out", tmp_path / "scores.json")
    assert result.exception is None, result.output
    assert "PSNR dB" in result.output
    assert "no weights in --fid-vid" in result.output
    assert "no graphs in --detector" in result.output
    assert "native" in result.output
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert {row["protocol"] for row in rows} == {"native"}
    refused = run(*folders, "--protocol", "tiktok")
    assert isinstance(refused.exception, InputError)


@pytest.mark.parametrize("protocol", ["tiktok-335-340-256", "tiktok-disco10-256"])
def test_the_name_of_a_list_is_not_put_beside_numbers_of_other_videos(tmp_path, protocol):
    for side in ("generated", "truth"):
        (tmp_path / side).mkdir()
        write_lossless(tmp_path / side / "00337.mkv", np.zeros((4, 16, 16, 3), np.uint8), 12)
    folders = ("--generated", tmp_path / "generated", "--truth", tmp_path / "truth")
    result = run(*folders, "--protocol", protocol, "--out", tmp_path / "scores.json")
    assert isinstance(result.exception, InputError)
    assert "needs exactly the videos" in str(result.exception)
    assert "PSNR" not in result.output
    assert not (tmp_path / "scores.json").exists()
