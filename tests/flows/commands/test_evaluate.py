"""The command prints the table and writes every score."""

import json
import shutil

import numpy as np
import pytest
import typer
from pydantic import ValidationError
from typer.testing import CliRunner

from flows.commands.evaluate import evaluate
from mimicmotion.animation.judged import judge_generated
from mimicmotion.errors import InputError
from mimicmotion.metrics.settings import JudgeSettings
from mimicmotion.synthetic.faults import WEIGHTS
from mimicmotion.synthetic.judge_validation import clear_film
from mimicmotion.video.files import write_lossless
from mimicmotion.video.picture_files import write_picture


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
    assert "Hand PSNR dB: absent: no graphs in --detector" in result.output
    alone = run(*folders, "--protocol", "native", "--identity", WEIGHTS / "detector.onnx")
    assert "--identity needs --detector and --wholebody" in str(alone.exception)
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert {row["protocol"] for row in rows} == {"native"}
    refused = run(*folders, "--protocol", "tiktok")
    assert isinstance(refused.exception, InputError)


def test_a_config_supplies_networks_and_thresholds_that_are_not_given(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "mimicmotion.metrics.judging.open_judge", lambda settings, *_, **__: opened.append(settings)
    )
    monkeypatch.setattr("mimicmotion.metrics.folders.score_folders", lambda *_: [])
    folders = ("--generated", tmp_path, "--truth", tmp_path, "--protocol", "native")
    for more in ((), ("--config", "demo"), ("--config", "demo", "--window", 12)):
        run(*folders, *more)
    plain, demo, changed = opened
    assert (plain.score_threshold, plain.fvd_small, plain.window) == (0.3, None, None)
    assert (demo.score_threshold, demo.fvd_small.name, demo.window) == (0.5, "fvd_small.safetensors", 8)
    assert changed == demo.replaced(window=12)


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


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """Two pairs of a rendered picture and another dancer's film, with the true answer as each result."""
    folder = tmp_path_factory.mktemp("crossed")
    (folder / "results").mkdir()
    rows = ["image,video,name"]
    for seed in (910_000, 910_001):
        answer, driver = (clear_film(one, 6, dance_seed=930_000).frames for one in (seed, seed + 50))
        write_picture(folder / f"{seed}.png", answer[0])
        write_lossless(folder / f"{seed}.mkv", iter(driver), 12)
        write_lossless(folder / "results" / f"pair-{seed}.mkv", iter(answer), 12)
        rows.append(f"{seed}.png,{seed}.mkv,pair-{seed}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder


@pytest.mark.parametrize("protocol", ["cross-identity", "x-dance"])
def test_pairs_without_a_truth_have_a_table_of_their_own(crossed, protocol, tmp_path):
    models = [part for name in ("detector", "wholebody") for part in (f"--{name}", WEIGHTS / f"{name}.onnx")]
    given = ("--generated", crossed / "results", "--pairs", crossed / "pairs.csv", *models)
    result = run(*given, "--protocol", protocol, "--out", tmp_path / "scores.json")
    assert result.exception is None, result.output
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert {row["protocol"] for row in rows} == {protocol}
    assert all(row["metric"].startswith("judge_") for row in rows)
    (body,) = [row for row in rows if (row["clip_id"], row["metric"]) == ("summary", "judge_body")]
    assert 0 < body["value"] < 0.1
    assert body["num_videos"] == 2
    assert "PSNR" not in result.output


def test_a_pair_that_cannot_be_judged_is_named_and_costs_no_other(crossed, tmp_path, monkeypatch):
    def judge(request, tools, drivers):
        if request.name == "pair-910001":
            raise InputError("nobody was found in the reference picture")
        return judge_generated(request, tools, drivers)

    monkeypatch.setattr("mimicmotion.animation.said.judge_generated", judge)
    models = [part for name in ("detector", "wholebody") for part in (f"--{name}", WEIGHTS / f"{name}.onnx")]
    given = ("--generated", crossed / "results", "--pairs", crossed / "pairs.csv", *models)
    for protocol, written in (("cross-identity", True), ("x-dance", False)):
        out = tmp_path / f"{protocol}.json"
        result = run(*given, "--protocol", protocol, "--out", out)
        assert str(result.exception).splitlines() == [
            "1 of 2 pairs could not be judged:",
            "pair-910001: nobody was found in the reference picture",
        ]
        assert (out.is_file(), "Judge body" in result.output) == (written, written)
    rows = json.loads((tmp_path / "cross-identity.json").read_text())
    assert {row["clip_id"] for row in rows} == {"pair-910000", "summary"}


def test_options_that_change_nothing_and_places_that_are_none_are_refused(crossed, tmp_path):
    results, pairs = ("--generated", crossed / "results"), ("--pairs", crossed / "pairs.csv")
    truth = ("--truth", crossed / "results", "--protocol", "native")
    for given, words in (
        ((*pairs, "--protocol", "x-dance", "--fvd", "i3d.pt", "--window", 8), "--window, --fvd would change"),
        ((*truth, "--align", "none"), "--align would change nothing beside --truth"),
        ((*truth, "--out", tmp_path), "is a folder; name a file"),
        ((*truth, "--out", crossed / "pairs.csv" / "new" / "x.json"), "pairs.csv is no folder"),
    ):
        result = run(*results, *given)
        assert isinstance(result.exception, InputError)
        assert words in str(result.exception)


def test_results_lie_in_a_folder_of_any_name_that_nothing_is_written_to(crossed, tmp_path):
    results = tmp_path / "run.v1"
    shutil.copytree(crossed / "results", results)
    held = sorted(results.iterdir()), results.stat().st_mtime_ns
    models = [part for name in ("detector", "wholebody") for part in (f"--{name}", WEIGHTS / f"{name}.onnx")]
    given = ("--generated", results, "--pairs", crossed / "pairs.csv", *models)
    out = tmp_path / "new" / "scores.json"
    result = run(*given, "--protocol", "x-dance", "--out", out)
    assert result.exception is None, result.output
    assert out.is_file()
    assert (sorted(results.iterdir()), results.stat().st_mtime_ns) == held


def test_protocols_with_and_without_a_truth_are_not_mixed(crossed):
    results, pairs = ("--generated", crossed / "results"), ("--pairs", crossed / "pairs.csv")
    truth = ("--truth", crossed / "results")
    for given, words in (
        ((*results, *pairs, "--protocol", "native"), "protocol native scores true films"),
        ((*results, *truth, "--protocol", "x-dance"), "those for true films are tiktok-335-340-256"),
        ((*results, "--protocol", "x-dance"), "one of --truth and --pairs"),
        (
            ("--generated", crossed, *pairs, "--protocol", "x-dance"),
            "lacks pair-910000, pair-910001 and also has",
        ),
    ):
        result = run(*given)
        assert isinstance(result.exception, InputError)
        assert words in str(result.exception)
    with pytest.raises(ValidationError, match="mimicmotion evaluate --protocol x-dance --pairs"):
        JudgeSettings(protocol="x-dance")
