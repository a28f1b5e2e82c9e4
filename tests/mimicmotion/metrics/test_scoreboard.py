"""The score table: means as published, floors, absent metrics with their reason, intervals."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mimicmotion.errors import InputError
from mimicmotion.metrics.backbones.features import BackboneForm, VideoBackbone, load_backbone
from mimicmotion.metrics.backbones.small_video_net import SmallVideoNet
from mimicmotion.metrics.image import psnr
from mimicmotion.metrics.intervals import NUM_GROUPS
from mimicmotion.metrics.judging import Judge
from mimicmotion.metrics.perceptual import PerceptualDistance
from mimicmotion.metrics.protocols import PROTOCOLS
from mimicmotion.metrics.scoreboard import Scoreboard
from mimicmotion.metrics.scores import SUMMARY, Measured, is_better, metric_name, summary_markdown
from mimicmotion.metrics.settings import JudgeSettings
from mimicmotion.video.size import Size

CPU = torch.device("cpu")
NATIVE = PROTOCOLS["native"].with_window(4)


def backbone(width=3):
    """Mean colour of a window as its features."""
    form = BackboneForm(torch.nn.Identity, Size(8, 8), (0.0, 0.0, 0.0), 255.0, width, 1)
    return VideoBackbone("fvd_small", "ab" * 32, form, lambda v: v.mean((2, 3, 4)), torch.device("cpu"), 7)


def video(seed, num_frames=8):
    return np.random.default_rng(seed).integers(0, 256, (num_frames, 16, 12, 3)).astype(np.uint8)


def brighter(frames, levels):
    return np.clip(frames.astype(int) + levels, 0, 255).astype(np.uint8)


def board(num_videos=4, backbones=None, worse=40):
    scores = Judge(NATIVE, {"fvd_small": backbone()} if backbones is None else backbones)
    for seed in range(num_videos):
        true = video(seed, 8 + seed)
        made = {"model": brighter(true, 10 + seed), "copy_reference": brighter(true, worse)}
        scores.add(f"clip{seed}", true, made)
    return scores


def rows(scores, **wanted):
    return [s for s in scores.scores() if all(getattr(s, k) == v for k, v in wanted.items())]


def only(scores, **wanted):
    found = rows(scores, **wanted)
    assert len(found) == 1
    return found[0]


def test_a_distance_counts_the_videos_that_gave_a_window():
    scores = Judge(NATIVE.with_window(10), {"fvd_small": backbone()})
    for seed, num_frames in enumerate((8, 12, 9, 14)):
        scores.add(f"clip{seed}", video(seed, num_frames), {"model": brighter(video(seed, num_frames), 9)})
    for metric in ("fvd_small", "fvd_small_mmd"):
        row = only(scores, clip_id=SUMMARY, method="model", metric=metric)
        assert row.num_videos == 2
        assert "2 of 4 videos are shorter than the window of 10 frames" in row.note
    assert only(scores, clip_id=SUMMARY, method="model", metric="psnr").num_videos == 4


def test_a_note_says_of_which_method_and_of_how_many_videos_it_speaks():
    scores = Judge(NATIVE, {})
    for seed in range(3):
        true = video(seed)
        half_same = np.concatenate([true[:4], brighter(true[4:], 9)])
        made = {"model": brighter(true, 9), "copy_reference": half_same if seed else brighter(true, 9)}
        scores.add(f"clip{seed}", true, made)
    text = summary_markdown(scores.scores(), "native")
    assert "PSNR dB, copy_reference: 4 identical frames count 100 dB each (in 2 of 3 videos)" in text


def test_the_summary_is_the_mean_over_all_frames_not_over_videos():
    frames = [psnr(video(i, 8 + i), brighter(video(i, 8 + i), 10 + i)) for i in range(4)]
    summary = only(board(), clip_id=SUMMARY, method="model", metric="psnr")
    assert summary.value == pytest.approx(np.concatenate(frames).mean())
    assert summary.low < summary.value < summary.high
    assert (summary.count, summary.num_videos) == (8 + 9 + 10 + 11, 4)
    assert only(board(), clip_id="clip2", method="model", metric="psnr").value == pytest.approx(
        frames[2].mean()
    )


def test_a_better_method_scores_better_in_every_metric():
    scores = board()
    for metric in ("psnr", "l1", "fvd_small"):
        model, floor = (
            only(scores, clip_id=SUMMARY, method=m, metric=metric) for m in ("model", "copy_reference")
        )
        assert is_better(metric, model.value - floor.value, 0.0), metric


def test_video_distance_names_its_backbone_and_counts_windows():
    score = only(board(), clip_id=SUMMARY, method="model", metric="fvd_small")
    assert score.backbone_sha256 == "ab" * 32
    assert score.count == sum(n - 3 for n in (8, 9, 10, 11))
    assert score.low < score.value < score.high
    assert len(score.without) == 4


def test_more_videos_than_groups_give_the_same_distance_as_all_at_once():
    count = NUM_GROUPS + 5
    score = only(board(count), clip_id=SUMMARY, method="model", metric="fvd_small")
    true, made = [], []
    for seed in range(count):
        frames = video(seed, 8 + seed)
        true.append(backbone().features(frames, 4))
        made.append(backbone().features(brighter(frames, 10 + seed), 4))
    from mimicmotion.metrics.frechet import FeatureStatistics, frechet_distance

    expected = frechet_distance(*(FeatureStatistics.of(np.concatenate(f)) for f in (true, made)))
    assert score.value == pytest.approx(expected, rel=1e-6)


def test_a_missing_backbone_leaves_the_metric_absent_with_the_reason():
    scores = board(backbones={"fvd": "no file given"})
    absent = rows(scores, metric="fvd")
    assert {row.method for row in absent} == {"model", "copy_reference"}
    assert all(row.value is None and row.note == "no file given" for row in absent)


def test_videos_shorter_than_a_window_say_so():
    scores = Judge(PROTOCOLS["native"].with_window(4), {"fvd_small": backbone()})
    scores.add("short", video(0, 3), {"model": video(1, 3)})
    score = only(scores, metric="fvd_small")
    assert score.value is None
    assert "windows of 4 frames" in score.note


def test_per_video_mode_has_one_vector_a_video():
    scores = board(num_videos=5)
    score = only(scores, clip_id=SUMMARY, method="model", metric="fvd_small_per_video")
    assert (score.count, score.num_videos) == (5, 5)
    assert "5 videos" not in (score.note or "")
    assert 0 < score.value < only(scores, clip_id=SUMMARY, method="copy_reference", metric=score.metric).value
    assert score.backbone_sha256 == "ab" * 32


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_table_does_not_depend_on_the_batch_size(batch_size, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    save_file(SmallVideoNet().state_dict(), path)

    def table(size):
        scores = Judge(NATIVE.with_window(8), {"fvd_small": load_backbone("fvd_small", path, CPU, size)})
        for seed in range(4):
            true = video(seed, 13 + seed)
            scores.add(f"clip{seed}", true, {"model": brighter(true, 12)})
        return scores.scores()

    for one, other in zip(table(4), table(batch_size), strict=True):
        assert one.metric == other.metric
        assert other.value == pytest.approx(one.value, rel=1e-6, abs=1e-6)


def test_lpips_is_a_mean_over_frames_and_names_its_network():
    network = PerceptualDistance("cd" * 32, lambda x: x.mean((2, 3)) / 255, CPU, 3)
    scores = board(backbones={"lpips": network})
    score = only(scores, clip_id=SUMMARY, method="model", metric="lpips")
    assert (score.count, score.backbone_sha256) == (8 + 9 + 10 + 11, "cd" * 32)
    assert score.value < only(scores, clip_id=SUMMARY, method="copy_reference", metric="lpips").value


def test_one_video_has_no_interval_and_one_frame_no_flicker():
    scores = Judge(NATIVE, {})
    scores.add("one", video(0, 1), {"model": video(1, 1)})
    assert only(scores, clip_id=SUMMARY, metric="psnr").low is None
    assert only(scores, clip_id=SUMMARY, metric="flicker").value is None


def test_identical_frames_are_counted_and_said():
    scores = Judge(NATIVE, {})
    true = video(0)
    made = true.copy()
    made[3:] = 255 - made[3:]
    scores.add("half", true, {"model": made})
    assert "3 identical frames count 100 dB" in only(scores, clip_id="half", metric="psnr").note


def test_unpaired_frames_are_refused():
    with pytest.raises(InputError, match="compared by index"):
        Judge(NATIVE, {}).add("bad", video(0, 8), {"model": video(0, 7)})


def test_numbers_measured_elsewhere_are_weighed_by_their_count():
    scores = Scoreboard(16, {})
    rows = [("a", 0.1, 30, None), ("b", 0.2, 10, None), ("c", None, 0, "nobody found")]
    scores.add(Measured(clip, "model", "pose_error_body", v, n, note=note) for clip, v, n, note in rows)
    summary = only(scores, clip_id=SUMMARY)
    assert summary.value == pytest.approx(0.125)
    assert summary.num_videos == 2
    assert "nobody found" in summary.note


def test_the_summary_names_the_network_though_the_first_video_had_nothing_to_measure():
    scores = Scoreboard(16, {})
    nobody = Measured("a", "model", "pose_error_body", None, note="nobody found")
    scores.add([nobody, Measured("b", "model", "pose_error_body", 0.2, 10, backbone_sha256="ab")])
    assert only(scores, clip_id=SUMMARY).backbone_sha256 == "ab"


@pytest.mark.parametrize(
    ("name", "told", "problem"),
    [
        ("videomae", {"num_frames": 8, "tubelet_size": 2}, "takes windows of 8 frames, window is 16"),
        ("videomae", {"num_frames": 16, "tubelet_size": 2}, None),
        ("vjepa", {"tubelet_size": 3}, "sees 3 frames at a time, window is 16"),
        ("vjepa", {"tubelet_size": 2}, None),
    ],
)
def test_windows_that_a_folder_of_transformers_does_not_take_are_told_unloaded(tmp_path, name, told, problem):
    (tmp_path / "config.json").write_text(json.dumps(told))
    problems = JudgeSettings(**{name: tmp_path}).window_problems()
    assert [one.partition(f"{tmp_path} ")[2] for one in problems] == ([problem] if problem else [])


def test_the_table_reads_well():
    text = summary_markdown(
        board(backbones={"fvd": "no file given", "fvd_small": backbone()}).scores(), NATIVE.id
    )
    assert "Protocol `native-w4`" in text
    assert "| metric | model | copy_reference |" in text
    assert "| PSNR dB ↑ |" in text
    assert "| FVD ↓ |" not in text
    assert "FVD: no file given" in text
    assert "backbone sha256" in text


def test_better_means_beyond_the_interval_of_the_change():
    assert is_better("psnr", 1.1, 1.0)
    assert is_better("psnr", 0.9, 1.0) is None
    assert is_better("fvd", -6.0, 5.0)
    assert is_better("fvd", 6.0, 5.0) is False
    assert is_better("psnr", 5.0, None) is None
    with pytest.raises(InputError, match="choose one of"):
        metric_name("vmaf")


def test_a_kernel_distance_stands_beside_the_frechet_distance():
    """Of windows side by side, and with an interval also where features are too wide for the other one."""
    scores = board()
    model, floor = (
        only(scores, clip_id=SUMMARY, method=method, metric="fvd_small_mmd")
        for method in ("model", "copy_reference")
    )
    assert model.low < model.value < model.high
    assert floor.value > model.value > 0
    assert (model.count, model.num_videos, model.backbone_sha256) == (2 + 2 + 2 + 2, 4, "ab" * 32)
    alone = only(board(num_videos=1), clip_id=SUMMARY, method="model", metric="fvd_small_mmd")
    assert alone.value is None
    assert "needs 2 videos" in alone.note
