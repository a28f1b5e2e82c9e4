"""The evaluate stage as a plain function: the table, its floors, and frames that must pair."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from scored_clips import FakeContext, FakeDataset, make_inputs
from scripted import save_script, save_trusted
from torch import nn

from mimicmotion.errors import DataError, InputError, StageError
from mimicmotion.metrics.backbones.small_video_net import SmallVideoNet
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.video.picture_files import write_picture
from mimicmotion.video.reader import open_video
from stages.animate import Animate
from stages.clip_rows import JUDGE_PICTURE, PREVIEW_FILE
from stages.engine.keys import key_fields, recipe_key
from stages.evaluate import Evaluate
from stages.parts.generated import generated_clips, iter_generated, iter_truth
from stages.parts.measure import Measure, Measuring
from stages.parts.scored import SCORES_SCHEMA, scores_of


@pytest.fixture(autouse=True)
def no_real_vae(monkeypatch):
    """A VAE that loses one level of brightness on its way."""
    monkeypatch.setattr(Measuring, "vae", lambda self, folder: None)
    monkeypatch.setattr("mimicmotion.model.latents.round_trip", lambda vae, true: np.maximum(true, 1) - 1)


def summary(table):
    rows = [row for row in table.to_pylist() if row["clip_id"] == "summary"]
    return {(row["method"], row["metric"]): row for row in rows}


def test_the_table_holds_the_model_and_every_floor(tmp_path):
    table = Evaluate().run(make_inputs(tmp_path), tmp_path, FakeContext())
    assert table.schema.equals(SCORES_SCHEMA)
    rows = summary(table)
    methods = {"model", "copy_reference", "vae_round_trip", "truth_one_frame_late"}
    assert {method for method, _ in rows} == methods
    psnr = {method: rows[method, "psnr"]["value"] for method in methods}
    assert psnr["vae_round_trip"] > psnr["model"] > psnr["truth_one_frame_late"] > psnr["copy_reference"]
    row = rows["model", "psnr"]
    assert row["low"] <= row["value"] <= row["high"]
    assert (row["num_videos"], row["count"], row["protocol"], row["is_primary"]) == (2, 24, "native", True)
    assert rows["model", "hand_psnr"]["count"] == 2 * 24
    assert not rows["model", "ssim"]["is_primary"]


def test_val_and_test_are_summed_up_apart(tmp_path):
    inputs = make_inputs(tmp_path)
    inputs["clips"].tables["all"][0]["split"] = "val"
    table = Evaluate().run(inputs, tmp_path, FakeContext())
    found = {(row["split"], row["clip_id"], row["num_videos"]) for row in table.to_pylist()}
    assert {(split, clip) for split, clip, _ in found} == {
        ("val", "clip-a"),
        ("val", "summary"),
        ("test", "clip-b"),
        ("test", "summary"),
    }
    assert {score.clip_id for score in scores_of(table)} == {"clip-b", "summary"}
    report = FakeReport()
    dataset = FakeDataset({"all": table}, {("all", "best_and_worst.png"): tmp_path / "best_and_worst.png"})
    Evaluate().show(dataset, inputs, report)
    said = report.texts["scores.md"]
    assert "Of the test videos, which were scored once and chose nothing. On val, what the champion" in said
    assert "clip-a" not in report.files["report.html"]
    assert "are not scored" not in said
    lost = {**inputs["clips"].tables["all"][1], "clip_id": "clip-lost"}
    inputs["clips"].tables["all"].append(lost)
    Evaluate().show(dataset, inputs, report)
    assert "1 of 2 test clips are not scored: animate rejected them." in report.texts["scores.md"]
    inputs["clips"].tables["all"].remove(lost)
    inputs["clips"].tables["all"][1]["split"] = "val"
    with pytest.raises(StageError, match="no generated test clip"):
        Evaluate().run(inputs, tmp_path, FakeContext())


def test_a_missing_backbone_is_absent_with_its_reason_and_a_given_one_named(tmp_path):
    torch.manual_seed(0)
    weights = tmp_path / "net.safetensors"
    save_file(SmallVideoNet().state_dict(), weights)
    stage = Evaluate(fvd_small=weights, window=8)
    assert stage.weight_files() == {"fvd_small": weights}
    rows = summary(stage.run(make_inputs(tmp_path), tmp_path, FakeContext()))
    assert rows["model", "fvd"]["value"] is None
    assert "absent: no weights in evaluate.fvd" in rows["model", "fvd"]["note"]
    assert rows["model", "pose_error_body"]["value"] is None
    assert "evaluate.detector" in rows["model", "pose_error_body"]["note"]
    assert len(rows["model", "fvd_small"]["backbone_sha256"]) == 64
    assert rows["model", "fvd_small"]["value"] > 0
    assert rows["model", "fvd_small"]["protocol"] == "native-w8"


def test_a_clip_generated_from_other_frames_is_refused(tmp_path):
    inputs = make_inputs(tmp_path, ("a",))
    inputs["animate"].tables["clip-a"][0]["frames"] = list(range(2, 14))
    with pytest.raises(DataError, match="compared with the wrong ones"):
        Evaluate().run(inputs, tmp_path, FakeContext())


def test_a_missing_frame_is_refused(tmp_path):
    inputs = make_inputs(tmp_path, ("a",), change=lambda frames: frames[:-1])
    with pytest.raises(DataError, match="holds 11 frames of 32x48"):
        Evaluate().run(inputs, tmp_path, FakeContext())


def test_a_protocol_with_a_list_wants_its_videos(tmp_path):
    with pytest.raises(InputError, match="missing: 00335"):
        Evaluate(protocol="tiktok-335-340-256").run(make_inputs(tmp_path), tmp_path, FakeContext())


def test_nothing_generated_stops_the_stage(tmp_path):
    inputs = make_inputs(tmp_path)
    inputs["animate"] = FakeDataset({})
    with pytest.raises(StageError, match="no generated test clip"):
        Evaluate().run(inputs, tmp_path, FakeContext())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"protocol": "tiktok"}, "choose one of tiktok-335-340-256"),
        ({"primary_metric": "vmaf"}, "choose one of psnr"),
        ({"primary_metric": "fid"}, "weights in the field fid"),
        ({"primary_metric": "fvd_per_video"}, "weights in the field fvd"),
        ({"primary_metric": "fvd"}, "needs the weights"),
        ({"primary_metric": "pose_error_body"}, "weights in the field wholebody"),
        ({"detector": Path("d.onnx")}, "go together"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        Evaluate(**fields)


def test_a_primary_metric_of_the_judge_needs_one_in_animate():
    wholebody = FilmJudgeSettings(detector=Path("d.onnx"), wholebody=Path("w.onnx"))
    for metric, judge, field in (
        ("judge_body", None, "judge,"),
        ("judge_joins", None, "judge,"),
        ("judge_body", FilmJudgeSettings(), "judge.wholebody,"),
        ("judge_appearance_drift", wholebody, "judge.appearance,"),
    ):
        (problem,) = Evaluate(primary_metric=metric).conflicts({"animate": Animate(judge=judge)})
        assert f"primary_metric {metric} needs animate.{field}" in problem
    for metric in ("judge_body", "judge_joins", "psnr"):
        assert not Evaluate(primary_metric=metric).conflicts({"animate": Animate(judge=wholebody)})


def test_scripts_that_may_not_run_are_told_before_anything_runs(tmp_path, monkeypatch):
    class Same(nn.Module):
        def forward(self, x):
            return x

    save_script(Same(), tmp_path / "vgg16.pt")
    (problem,) = Evaluate(lpips=tmp_path / "vgg16.pt", fvd=tmp_path / "absent.pt").check()
    assert problem.startswith(f"lpips: {tmp_path / 'vgg16.pt'} is TorchScript")
    save_trusted(Same(), tmp_path / "vgg16.pt", monkeypatch)
    assert Evaluate(lpips=tmp_path / "vgg16.pt").check() == []


class FakeReport:
    def __init__(self):
        self.logged, self.texts, self.images, self.tables = {}, {}, {}, {}
        self.sections, self.files = {}, {}

    def metrics(self, values, step=0):
        self.logged.update(values)

    def table(self, name, table):
        self.tables[name] = table

    def text(self, name, text):
        self.texts[name] = text

    def section(self, title, text, numbers):
        self.sections[title] = text, numbers

    def file(self, path, folder=""):
        self.files[path.name] = path.read_text(encoding="utf-8")

    def image(self, name, image, step=None):
        self.images[name] = image


def test_the_score_table_is_shown(tmp_path):
    inputs = make_inputs(tmp_path)
    table = Evaluate().run(inputs, tmp_path, FakeContext())
    report = FakeReport()
    dataset = FakeDataset({"all": table}, {("all", "best_and_worst.png"): tmp_path / "best_and_worst.png"})
    Evaluate().show(dataset, inputs, report)
    assert report.logged["model/psnr"] == summary(table)["model", "psnr"]["value"]
    assert "model/fvd" not in report.logged
    assert "| PSNR dB ↑ |" in report.texts["scores.md"]
    assert report.images["best_and_worst"].shape[0] > 2 * 300
    assert report.tables["scores"].num_rows == table.num_rows
    text, numbers = report.sections["Scores"]
    first, shown = text.split("\n\n", 1)
    assert first.startswith("PSNR dB ↑: **model** ")
    assert "**copy_reference** " in first
    assert shown == report.texts["scores.md"]
    assert numbers["psnr"] == report.logged["model/psnr"]
    assert "fvd" not in numbers
    page = report.files["report.html"]
    assert page.count("<video") == 2
    assert "a, clip-a" in page
    assert "truth_one_frame_late" in page


def test_pairs_have_a_table_and_a_protocol_of_their_own(tmp_path):
    inputs = make_inputs(tmp_path)
    for name, body in (("one", 0.02), ("two", 0.04)):
        scores = {"judge_body": {"value": body, "count": 9, "sha256": "ab", "absent": None}}
        judge = json.dumps({"film": name, "kept": {"scores": scores}, "others": []})
        inputs["animate"].tables[f"pair-{name}"] = [{"clip_id": f"pair-{name}", "judge": judge}]
        write_picture(tmp_path / "judge.png", np.zeros((4, 4, 3), np.uint8))
        files = {JUDGE_PICTURE: tmp_path / "judge.png", PREVIEW_FILE: tmp_path / "a.mp4"}
        inputs["animate"].files |= {(f"pair-{name}", file): path for file, path in files.items()}
    inputs["animate"].ids = tuple(sorted(inputs["animate"].tables))
    plain, other = Evaluate(), Evaluate(pairs_protocol="x-dance")
    assert recipe_key(plain) != recipe_key(other)
    assert "pairs_protocol" not in key_fields(plain)
    inputs["animate"].rejected = {"pair-1": "lost", "v-2": "no pair"}
    with pytest.raises(StageError, match="every pair of its list, and animate rejected 1: lost"):
        other.run(inputs, tmp_path, FakeContext())
    plain.run(inputs, tmp_path, FakeContext())
    inputs["animate"].rejected = {}
    table = other.run(inputs, tmp_path, FakeContext())
    rows = [row for row in table.to_pylist() if row["split"] == "pairs"]
    assert {(row["clip_id"], row["metric"], row["protocol"]) for row in rows} == {
        (clip, "judge_body", "x-dance") for clip in ("one", "two", "summary")
    }
    assert scores_of(table, "pairs")[-1].value == pytest.approx(0.03)
    assert not any(row["metric"] == "psnr" or row["is_primary"] for row in rows)
    assert not any(score.metric == "judge_body" for score in scores_of(table))
    report = FakeReport()
    dataset = FakeDataset({"all": table}, {("all", "best_and_worst.png"): tmp_path / "best_and_worst.png"})
    other.show(dataset, inputs, report)
    assert "x-dance" in report.texts["scores_of_pairs.md"]
    assert "2 of 2 pairs" in report.texts["scores_of_pairs.md"]
    inputs["animate"].rejected = {"pair-1": "lost", "v-2": "no pair"}
    plain.show(dataset, inputs, report)
    assert "2 of 3 pairs; rejected: lost" in report.texts["scores_of_pairs.md"]
    assert "Judge" not in report.texts["scores.md"]
    page = report.files["report_of_pairs.html"]
    assert page.count("<video") == 2
    assert '<option value="judge_body" data-higher="0" selected>' in page
    assert '<div class="clip" data-judge_body="0.02"><h3>one<' in page
    assert "clip-a" not in page
    assert "pair" not in report.files["report.html"]
    assert {name for name in report.images if name.startswith("judge_")} == {
        "judge_pair-one",
        "judge_pair-two",
    }
    assert report.logged["pairs/judge_body"] == pytest.approx(0.03)
    assert report.sections["Scores of pairs, which have no true film"][1] == {
        "pairs/judge_body": pytest.approx(0.03)
    }


def test_floors_do_not_depend_on_the_model_and_the_deciding_metric_changes_nothing(tmp_path):
    inputs = make_inputs(tmp_path)
    keys = [{item.id: item.inputs for item in Measure().items(inputs)}]
    inputs["animate"].item_key = lambda clip_id: f"another model's {clip_id}"
    keys.append({item.id: item.inputs for item in Measure().items(inputs)})
    assert {name for name in keys[0] if keys[0][name] == keys[1][name]} == {"clip-a.floors", "clip-b.floors"}
    inputs["train"].content_sha256 = lambda item_id, name: f"another {name}"
    changed = {item.id: item.inputs for item in Measure().items(inputs)}
    assert changed["clip-a.floors"] != keys[0]["clip-a.floors"]
    assert key_fields(Measure()) == key_fields(Measure(primary_metric="ssim"))


def test_one_frame_late_is_one_frame_of_the_video_whatever_the_step(tmp_path):
    (clip, _) = generated_clips(make_inputs(tmp_path))
    every_third = replace(clip, frames=(1, 4, 7, 10, 13))
    true = open_video(clip.truth).read(range(14))
    late = [before for _, before in iter_truth(every_third)]
    np.testing.assert_array_equal(late, true[[0, 3, 6, 9, 12]])


def test_a_clip_is_read_in_one_pass_and_few_frames_are_held(tmp_path):
    (clip, _) = generated_clips(make_inputs(tmp_path))
    true = open_video(clip.truth).read(range(13))
    assert all(
        (frame == true[place]).all() and (before == true[place - 1]).all()
        for place, (frame, before) in enumerate(iter_truth(clip), start=1)
    )
    assert len(list(iter_truth(clip))) == len(list(iter_generated(clip))) == 12
