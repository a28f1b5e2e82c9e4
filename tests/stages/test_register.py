"""The register stage: candidate always, champion only when it is earned."""

from pathlib import Path

import pyarrow as pa
import pytest
from clip_table import clip_row

from mimicmotion.errors import StageError
from stages.register import MODELS_SCHEMA, Register

CHECKPOINT = Path(__file__).parents[1] / "golden" / "network.json"
"""Any file does."""


class FakeRegistry:
    def __init__(self):
        self.versions, self.aliases, self.descriptions = [], {}, []

    def register(self, name, folder, tags, description):
        for number, (_, known) in enumerate(self.versions, start=1):
            if all(known[tag] == tags[tag] for tag in ("checkpoint_key", "checkpoint_sha256")):
                self.versions[number - 1] = (folder, tags)
                self.descriptions[number - 1] = description
                return str(number)
        self.versions.append((folder, tags))
        self.descriptions.append(description)
        return str(len(self.versions))

    def tags(self, name, alias):
        version = self.aliases.get(alias)
        return None if version is None else self.versions[int(version) - 1][1]

    def set_alias(self, name, alias, version):
        self.aliases[alias] = version


class FakeContext:
    report = launch = state = None

    def __init__(self, registry):
        self.registry = registry


class FakeDataset:
    def __init__(self, rows, key="k", files=None, fields=None):
        self.rows, self.key_of_item, self.files, self.fields = rows, key, files or {}, fields or {}
        self.ids = ("all",)

    def item_key(self, item_id):
        return self.key_of_item

    def path(self, item_id, name):
        return self.files[name]

    def table(self):
        return pa.Table.from_pylist(self.rows)


def make_inputs(
    checkpoint,
    value,
    low=None,
    high=None,
    metric="psnr",
    protocol="native",
    first_frame=0,
    backbone=None,
    weights=CHECKPOINT,
    videos=(0.0, 2.0, 10.0),
    copied=None,
    tested=99.0,
    decides="val",
    scored=True,
    framing=(),
    film="film",
    poses="poses",
    threshold=0.3,
    judged=0.3,
    unmeasured=False,
):
    """Scores of as many videos as are given: how far the value moves without each.

    ``tested`` is what the model scored on the other side, test.
    """
    score = {"clip_id": "summary", "method": "model", "metric": metric, "is_primary": True, "value": value}
    score |= {"low": low, "high": high, "protocol": protocol, "note": None, "backbone_sha256": backbone}
    score["without"] = None if value is None else [value + x for x in videos]
    score["split"] = decides
    floor = {**score, "method": "copy_reference", "value": copied}
    of_clip = {**score, "clip_id": f"v-{decides}", "is_primary": False, "split": decides}
    of_clip["value"] = None if unmeasured else value
    scores = [
        floor,
        score,
        *([of_clip] if scored else []),
        *([{**score, "split": "test", "value": tested}] if decides == "val" else []),
    ]
    clip = clip_row("v-val", "v", decides, (32, 48), first_frame=first_frame, num_frames=4, step=1)
    clip |= dict(framing)
    return {
        "train": FakeDataset([{}], checkpoint, {"checkpoint": weights}),
        "evaluate": FakeDataset(scores, "scores", fields={"hand_threshold": threshold, "lpips": "any"}),
        "animate": FakeDataset([], "films", fields={"judge": {"hand_threshold": judged}}),
        "decode": FakeDataset([], film),
        "pose": FakeDataset([], poses),
        "clips": FakeDataset([clip, {**clip, "split": "train"}]),
    }


def register(registry, *args, **kwargs):
    table = Register().run(make_inputs(*args, **kwargs), Path(), FakeContext(registry))
    assert table.schema.equals(MODELS_SCHEMA)
    return table.to_pylist()[0]


@pytest.fixture
def registry():
    registry = FakeRegistry()
    register(registry, "first", 20.0, 19.0, 21.0)
    return registry


def test_the_first_version_is_champion(registry):
    assert registry.aliases == {"candidate": "1", "champion": "1"}
    folder, tags = registry.versions[0]
    assert folder == CHECKPOINT
    assert (tags["primary_metric"], tags["primary_value"], tags["protocol"]) == ("psnr", "20.0", "native")
    assert tags["scores_key"] == "scores"


def test_a_student_is_registered_with_the_key_of_its_teacher(registry):
    inputs = make_inputs("taught", 21.0)
    inputs["distill"] = FakeDataset([{}], "student", {"checkpoint": CHECKPOINT})
    Register().run(inputs, Path(), FakeContext(registry))
    tags = registry.versions[1][1]
    assert (tags["checkpoint_key"], tags["teacher_key"]) == ("student", "taught")
    assert "teacher_key" not in registry.versions[0][1]


def test_better_within_the_interval_of_the_change_is_a_candidate_only(registry):
    row = register(registry, "second", 20.9, 20.0, 22.0, videos=(0.4, 1.6, 10.1))
    assert row["aliases"] == ["candidate"]
    assert registry.aliases == {"candidate": "2", "champion": "1"}
    assert "no difference beyond the interval" in row["reason"]


def test_better_on_the_same_videos_becomes_champion_though_the_intervals_overlap(registry):
    row = register(registry, "second", 20.9, 10.0, 30.0, videos=(0.01, 1.98, 10.02))
    assert row["aliases"] == ["candidate", "champion"]
    assert registry.aliases == {"candidate": "2", "champion": "2"}
    assert "on the same videos +0.9 [+0.797, +1]" in row["reason"]
    assert ": better. On the test videos, which were scored once" in row["reason"]


@pytest.mark.parametrize(("metric", "copied"), [("psnr", 20.01), ("fvd", 19.99)])
def test_a_model_worse_than_copying_the_reference_is_no_champion(metric, copied):
    registry = FakeRegistry()
    row = register(registry, "first", 20.0, metric=metric, copied=copied)
    assert (row["aliases"], registry.aliases) == (["candidate"], {"candidate": "1"})
    said = f"{metric} of 20 is worse than that of copying the reference picture, {copied:.4g}: no champion."
    assert row["reason"].startswith(f"Its {said}")
    assert said in registry.descriptions[0]
    assert register(registry, "second", 20.0, metric=metric, copied=20.0)["aliases"][-1] == "champion"


def test_for_a_distance_smaller_is_better():
    registry = FakeRegistry()
    register(registry, "first", 18.1, 18.2, 22.9, metric="fvd")
    worse = register(registry, "second", 18.15, metric="fvd")
    assert (worse["aliases"], ": worse." in worse["reason"]) == (["candidate"], True)
    assert register(registry, "third", 17.0, metric="fvd")["aliases"] == ["candidate", "champion"]


@pytest.mark.parametrize("videos", [(), (0.5,), (0.1, 0.2)])
def test_without_the_same_videos_there_is_no_new_champion(registry, videos):
    row = register(registry, "second", 99.0, videos=videos)
    assert row["aliases"] == ["candidate"]
    assert "this change has no interval" in row["reason"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": "tiktok-335-340-256"}, "protocol native"),
        ({"metric": "ssim"}, "metric psnr"),
        ({"first_frame": 3}, "data_key"),
        ({"framing": {"height_px": 64}}, "data_key"),
        ({"framing": {"left_px": 5}}, "data_key"),
        ({"framing": {"fps": 99.0}}, "data_key"),
        ({"scored": False}, "data_key"),
        ({"unmeasured": True}, "data_key"),
        ({"film": "of another size"}, "data_key"),
        ({"backbone": "ab" * 32}, "backbone"),
    ],
)
def test_scores_of_another_kind_are_not_compared(registry, change, said):
    row = register(registry, "second", 99.0, **change)
    assert row["aliases"] == ["candidate"]
    what = "other clips, true films, poses or thresholds: " if said == "data_key" else ""
    assert f"The champion was measured with {what}{said}" in row["reason"]


@pytest.mark.parametrize(
    ("metric", "change", "is_same"),
    [
        ("psnr", {"threshold": 0.5, "judged": 0.5, "poses": "others"}, True),
        ("hand_psnr", {"judged": 0.5}, True),
        ("hand_psnr", {"threshold": 0.5}, False),
        ("pose_pck_hands", {"poses": "others"}, False),
        ("identity", {"threshold": 0.5}, False),
        ("judge_nobody", {"threshold": 0.5}, True),
        ("judge_nobody", {"judged": 0.5}, False),
        ("judge_nobody", {"poses": "others"}, False),
    ],
)
def test_thresholds_and_poses_count_where_the_metric_reads_them(metric, change, is_same):
    registry = FakeRegistry()
    register(registry, "first", 20.0, metric=metric)
    row = register(registry, "second", 20.0, metric=metric, **change)
    assert ("on the same videos" in row["reason"], "poses or thresholds" in row["reason"]) == (
        is_same,
        not is_same,
    )


def test_a_champion_that_is_scored_again_stays_one_and_says_so(registry):
    row = register(registry, "first", 20.0, metric="ssim", copied=30.0)
    assert (row["version"], row["aliases"]) == ("1", ["candidate", "champion"])
    assert "the champion already, though its ssim of 20 is worse than that of copying" in row["reason"]
    assert registry.versions[0][1]["primary_metric"] == "ssim"
    assert "ssim" in registry.descriptions[0]


def test_a_champion_of_an_earlier_version_is_not_compared(registry):
    registry.versions[0][1]["data_key"] = "0123456789abcdef"
    row = register(registry, "second", 99.0)
    assert row["aliases"] == ["candidate"]
    assert "The champion was measured by an earlier version" in row["reason"]


def test_a_version_says_what_it_scored_and_why_it_is_no_champion(registry):
    register(registry, "second", 20.9, 20.0, 22.0, videos=(3.0, 2.0, 1.0))
    assert "**psnr 20.9 [20, 22]** under protocol `native`" in registry.descriptions[1]
    assert "psnr of 20.9 against the champion's 20, on the same videos +0.9 [" in registry.descriptions[1]


def test_the_same_checkpoint_again_is_the_same_version(registry):
    row = register(registry, "first", 20.0, 19.0, 21.0)
    assert (row["version"], row["aliases"]) == ("1", ["candidate", "champion"])
    assert len(registry.versions) == 1


def test_other_weights_under_the_same_key_are_another_version_that_must_win(registry):
    row = register(registry, "first", 19.5, 19.0, 22.0, weights=CHECKPOINT.with_name("sampler.json"))
    assert (row["version"], row["aliases"]) == ("2", ["candidate"])
    assert "psnr of 19.5 against the champion's 20" in row["reason"]
    assert registry.tags("mimicmotion", "champion")["primary_value"] == "20.0"


def test_no_registry_or_no_value_stops_the_stage(registry):
    with pytest.raises(StageError, match="needs a model registry"):
        register(None, "x", 1.0)
    with pytest.raises(StageError, match="has no value"):
        register(registry, "x", None, tested=None)


def test_the_champion_is_chosen_on_val_whatever_the_test_videos_say(registry):
    """A version that is worse on val and far better on test stays a candidate, and both are told."""
    row = register(registry, "second", 19.0, videos=(0.01, 1.98, 10.02), tested=500.0)
    assert (row["aliases"], row["split"]) == (["candidate"], "val")
    assert "decided nothing, it has psnr 500" in row["reason"]
    assert "psnr 500" in registry.descriptions[1]
    assert registry.versions[1][1]["split"] == "val"


def test_without_val_videos_the_test_videos_decide_and_it_says_so():
    registry = FakeRegistry()
    row = register(registry, "first", 20.0, decides="test")
    assert (row["aliases"][-1], row["split"]) == ("champion", "test")
    assert "the test videos decided: they are unseen no longer" in row["reason"]
    later = register(registry, "second", 30.0, decides="val")
    assert "The champion was measured with split test, this version with val" in later["reason"]


class FakeReport:
    def text(self, name, text):
        self.shown = text

    def section(self, title, text):
        self.section_shown = title, text


def test_the_decision_is_shown(registry):
    inputs = make_inputs("second", 21.1, 20.0, 22.0)
    table = Register().run(inputs, Path(), FakeContext(registry))
    report = FakeReport()
    Register().show(FakeDataset(table.to_pylist()), inputs, report)
    assert "# mimicmotion version 2" in report.shown
    assert "candidate, champion" in report.shown
    title, text = report.section_shown
    assert title == "Model"
    assert text.startswith("**mimicmotion version 2**")
    assert "candidate, champion" in text


@pytest.mark.parametrize("name", ["team/dance", "dance:1", " ", ".."])
def test_a_name_that_mlflow_refuses_is_refused_before_the_training(name):
    assert Register(model_name="mimicmotion-own").check() == []
    assert f"model_name: got {name!r}" in Register(model_name=name).check()[0]
