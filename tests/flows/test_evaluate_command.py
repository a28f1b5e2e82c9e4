"""The command prints the table and writes every score."""

import json

import numpy as np
import typer
from typer.testing import CliRunner

from flows.evaluate_command import evaluate
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
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert {row["protocol"] for row in rows} == {"native"}
    refused = run(*folders, "--protocol", "tiktok")
    assert isinstance(refused.exception, InputError)
