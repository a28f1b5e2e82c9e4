"""The dry run of every stage: counted work over devices, from films that are here or assumed."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from flows import cli
from flows.commands.needs import epoch_samples, find_films, needs_table, reckon
from flows.commands.run import rebuild, stage
from mimicmotion.errors import InputError
from mimicmotion.video.files import write_preview
from stages.engine.config import load_config

ROOT = Path(__file__).resolve().parents[3]


def test_the_papers_rebuild_stage_by_stage():
    paper = load_config("paper")
    films = find_films(paper, 4436, 20.0)
    found = {one.stage: one for one in reckon(paper, films, "A100")}
    assert list(found) == ["decode", "pose", "clips", "latents", "train", "animate", "evaluate", "register"]
    assert [found[name].items for name in ("decode", "latents", "train", "animate")] == [
        4436,
        4170,
        10425,
        266,
    ]
    assert (found["train"].device, found["decode"].device) == ("8 A100", "32 cores")
    assert found["train"].work_s == pytest.approx(41.9 * 3600, rel=0.01)
    assert found["latents"].work_s == pytest.approx(16.6 * 3600, rel=0.01)
    # Every frame of a film of 20 s at 576x1024: four channels of half precision an 8x8 patch.
    assert found["latents"].disk == pytest.approx(4170 * 600 * 576 * 1024 / 64 * 8, rel=0.01)
    # Of windows end to end, ten of 16 frames a film.
    every = reckon(load_config("paper", ["clips.windows=all"]), films, "A100")
    assert every[3].disk == pytest.approx(found["latents"].disk * 160 / 600, rel=0.01)
    twice = reckon(paper, find_films(paper, 4436, 40.0), "A100")
    assert twice[0].work_s == pytest.approx(2 * found["decode"].work_s)
    more = load_config("paper", ["animate.tries=3"])
    assert {one.stage: one for one in reckon(more, films, "A100")}["animate"].work_s == pytest.approx(
        3 * found["animate"].work_s, rel=0.05
    )
    # An epoch is every film once, so longer films do not train longer.
    assert twice[4].work_s == pytest.approx(found["train"].work_s)


def test_a_stage_without_an_estimate_is_named_and_the_others_are_estimated(caplog):
    demo = load_config("demo")
    more = replace(demo, stages={**demo.stages, "brightness": demo.stages["pose"]})
    films = find_films(demo, 3, 2.0)
    assert reckon(more, films, "A100") == reckon(demo, films, "A100")
    assert "no estimate of brightness: a method of this name in flows.commands.needs" in caplog.text


def test_one_gpu_is_enough_for_finetuning():
    config = load_config("finetune")
    found = {one.stage: one for one in reckon(config, find_films(config, 40, 20.0), "A100")}
    assert {one.device for one in found.values() if "A100" in one.device} == {"1 A100"}
    assert found["latents"].devices == 1


def test_the_first_days_proof_is_one_of_ten_minutes_on_one_gpu():
    text = (ROOT / "docs/first-day.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (run,) = re.findall(r"^mimicmotion rebuild finetune (--set decode.source=data/proof .*[^n])$", text, re.M)
    proof = load_config("finetune", re.findall(r"--set (\S+)", run))
    found = reckon(proof, find_films(proof, 20, 20.0), "A100")
    assert sum(one.work_s / one.devices for one in found) < 7 * 60
    assert sum(one.disk for one in found) == pytest.approx(47e9, rel=0.02)


def test_the_demo_is_near_what_it_was_measured_to_take(tmp_path: Path):
    for side, num in (("train", 10), ("test", 4), ("val", 2)):
        (tmp_path / side).mkdir()
        for number in range(num):
            frames = list(np.full((36, 192, 128, 3), number, np.uint8))
            write_preview(tmp_path / side / f"{number}.mp4", frames, 12)
    demo = load_config("demo", [f"decode.source={tmp_path}"])
    films = find_films(demo, None, 0)
    assert (films.num, films.judged, films.size_px) == (16, 6, (128, 192))
    found = {one.stage: one for one in reckon(demo, films, "A100")}
    seconds = {name: one.work_s / one.devices for name, one in found.items()}
    assert found["train"].items == 60
    # Measured on two idle cores: 187 s and 50 s (docs/log.md).
    assert 187 / 2 < seconds["train"] < 187 * 2
    assert 50 / 3 < seconds["animate"] < 50 * 3
    assert needs_table(list(found.values()), films).row_count == len(found) + 1


def test_a_film_on_its_side_counts_like_an_upright_one(tmp_path: Path):
    for number, (height, width) in enumerate([(192, 128), (128, 192)]):
        write_preview(tmp_path / f"{number}.mp4", [np.full((height, width, 3), number, np.uint8)] * 12, 12)
    films = find_films(load_config("demo", [f"decode.source={tmp_path}"]), None, 0)
    assert films.size_px == (128, 192)


def test_films_without_a_header_are_assumed_and_said_so(tmp_path: Path):
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:5,\nother.mp4\n")
    films = find_films(load_config("demo", [f"decode.source={tmp_path}"]), None, 20.0)
    assert (films.num, films.length_s) == (1, 20.0)
    assert films.known.startswith("no header can be read from here: 1 films of 20 s")


def test_unknown_gpus_stages_and_missing_sources_are_named(tmp_path: Path):
    demo = load_config("demo", [f"decode.source={tmp_path / 'gone'}"])
    with pytest.raises(InputError, match="'Abacus' is not known"):
        reckon(demo, find_films(demo, 1, 1.0), "Abacus")
    with pytest.raises(Exception, match="there is no folder or list of source videos"):
        find_films(demo, None, 20.0)
    app = typer.Typer()
    app.command("rebuild")(rebuild)
    app.command("stage")(stage)
    gone = ["--dry-run", "--videos", "3", "--set", f"decode.source={tmp_path / 'gone'}"]
    told = CliRunner().invoke(app, ["rebuild", "demo", *gone])
    lacking = CliRunner().invoke(app, ["rebuild", "demo", "--dry-run", *gone[3:]]).exception
    assert "or give --videos NUMBER, to estimate without them" in str(lacking)
    assert told.exit_code == 0
    assert "3 films of 20 s" in told.output
    assert "register" in told.output
    assert "train" in CliRunner().invoke(app, ["stage", "train", "demo", *gone]).output
    refused = CliRunner().invoke(app, ["stage", "latents", "demo", *gone]).exception
    assert "has no stage 'latents'; it has decode, pose" in str(refused)


def test_every_film_is_compared_with_every_other():
    finetune = load_config("finetune")

    def compared_s(num: int) -> float:
        films = find_films(finetune, num, 15.0)
        return {one.stage: one for one in reckon(finetune, films, "A100")}["clips"].work_s - 0.1 * num

    assert compared_s(500) == pytest.approx(7.96, rel=0.01)  # as measured
    assert compared_s(1000) == pytest.approx(4 * compared_s(500))


def test_disk_of_training_follows_what_trains_and_how_many_checkpoints_are_kept():
    def disk(*overrides: str) -> float:
        config = load_config("finetune", overrides)
        return {one.stage: one.disk for one in reckon(config, find_films(config, 40, 20.0), "A100")}["train"]

    # 1,524.8 M parameters, 720.3 M of them trained: 14.74 GB a checkpoint, 6.10 GB each form of the weights.
    assert disk() == pytest.approx(6 * 14.74e9 + 3 * 6.10e9 + 2.92e9, rel=0.01)
    assert disk("train.runtime.keep=2") == pytest.approx(2 * 14.74e9 + 3 * 6.10e9 + 2.92e9, rel=0.01)
    assert disk("train.steps=10") == pytest.approx(14.74e9 + 3 * 6.10e9 + 2.92e9, rel=0.01)


def test_less_is_computed_again_with_selective_checkpointing():
    def work_s(*overrides: str) -> float:
        config = load_config("paper", overrides)
        return {one.stage: one.work_s for one in reckon(config, find_films(config, 9, 20.0), "A100")}["train"]

    selective = work_s("train.runtime.activation_checkpointing=selective")
    assert selective / work_s() == pytest.approx(166.4 / 197.6, rel=0.01)


def test_imported_poses_are_looked_at_beside_every_frame(tmp_path: Path):
    importing = [
        "pose.source=import",
        f"pose.import_folder={tmp_path}",
        "pose.detector=null",
        "pose.wholebody=null",
    ]
    config = load_config("paper", importing)
    (pose,) = (one for one in reckon(config, find_films(config, 4436, 20.0), "A100") if one.stage == "pose")
    # 2.7 million frames of about a megapixel, milliseconds each.
    assert 1.5 * 3600 < pose.work_s / pose.devices * 32 < 12 * 3600


def _run(*arguments: str) -> "tuple[int, str, BaseException | None]":
    told = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    return told.exit_code, told.output, told.exception


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["rebuild", "paper", "--videos", "4436"],
            "--videos is read with --dry-run only, and nothing was run",
        ),
        (["rebuild", "paper", "--gpu", "H100"], "--gpu is read with --dry-run only"),
        (["stage", "train", "finetune", "--clips", "5000"], "--clips is read with --dry-run only"),
        (["rebuild", "demo", "--dry-run", "--seconds", "3"], "give --videos too"),
        (["rebuild", "demo", "--dry-run", "--force"], "--force changes nothing with --dry-run"),
        (["stage", "pose", "demo", "--dry-run", "--clips", "3"], "--clips is for a stage that trains"),
        (["stage", "train", "demo", "--dry-run", "--clips", "3", "--videos", "3"], "in place of --videos"),
        (["stage", "latents", "demo", "--dry-run", "--videos", "3"], "has no stage 'latents'; it has decode"),
    ],
)
def test_what_would_not_be_read_is_refused_and_nothing_runs(arguments: list[str], message: str):
    with pytest.raises(InputError, match=re.escape(message)):
        raise _run(*arguments)[2]


def test_training_is_estimated_from_films_where_no_clips_are_published(tmp_path: Path):
    sets = [f"workspace={tmp_path}", "train.steps=null", "train.epochs=8", "train.warmup_steps=1"]
    config = load_config("demo", sets)
    batch, films = config.stages["train"].batch, find_films(config, 40, 20.0)
    told = ["stage", "train", "demo", "--dry-run", *(word for one in sets for word in ("--set", one))]
    for more, samples in ((["--videos", "40"], epoch_samples(config, films)), (["--clips", "200"], 200)):
        code, said, error = _run(*told, *more)
        assert (code, error) == (0, None)
        assert f"{round(8 * samples / batch):,} steps of {batch} samples" in said
