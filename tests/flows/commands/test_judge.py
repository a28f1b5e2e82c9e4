"""The command judge: one film, a folder of them, and what cannot be judged."""

import json

import pytest
import typer
from typer.testing import CliRunner

from flows.commands.judge import film_judge_settings, judge
from mimicmotion.errors import InputError
from mimicmotion.synthetic.faults import WEIGHTS
from mimicmotion.synthetic.world import film
from mimicmotion.video.files import write_preview
from mimicmotion.video.picture_files import write_picture

MODELS = ("--detector", WEIGHTS / "detector.onnx", "--wholebody", WEIGHTS / "wholebody.onnx")


def run(*arguments):
    app = typer.Typer()
    app.command()(judge)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    (folder / "made").mkdir()
    frames = film(900_000, 6, occluded=0, blurred=0, truth=False).frames
    write_picture(folder / "me.png", frames[0])
    write_preview(folder / "made" / "a.mp4", frames, 12)
    write_preview(folder / "made" / "b.mp4", frames.repeat(2, axis=0), 12)
    return folder


def test_a_folder_is_judged_film_by_film_and_one_that_does_not_fit_stops_no_other(world, tmp_path):
    driving = ("--driving", world / "made" / "a.mp4", "--reference", world / "me.png", "--align", "none")
    out = ("--out", tmp_path / "all.json", "--picture", tmp_path / "pictures")
    result = run("--generated", world / "made", *driving, *MODELS, *out)
    assert "1 of 2 films could not be judged" in str(result.exception)
    assert "b: not judged: " in result.output
    assert "lasts longer than its driver" in result.output
    assert "a: body 0.0" in result.output
    values = json.loads((tmp_path / "all.json").read_text())
    assert list(values) == ["a"]
    assert values["a"]["scores"]["judge_body"]["unit"] == "heights"
    assert values["a"]["scores"]["judge_identity"]["absent"] == "absent: no weights in --identity"
    assert (tmp_path / "pictures" / "a.png").is_file()


def test_places_that_cannot_be_written_are_refused_before_the_work(world, tmp_path):
    film = ("--generated", world / "made" / "a.mp4", "--driving", world / "made" / "a.mp4")
    films = ("--generated", world / "made", "--driving", world / "made")
    (tmp_path / "taken.png").touch()
    for given, words in (
        ((*film, "--out", tmp_path), "--out"),
        ((*films, "--picture", tmp_path / "taken.png"), "taken.png is a file; name a folder"),
    ):
        result = run(*given, "--reference", world / "me.png")
        assert isinstance(result.exception, InputError)
        assert words in str(result.exception)
    result = run(*film, "--reference", world / "me.png", *MODELS, "--picture", tmp_path, "--align", "none")
    assert result.exception is None, result.output
    assert (tmp_path / "a.png").is_file()


def test_models_come_from_the_config_unless_they_are_given(tmp_path):
    ours = film_judge_settings("demo", {"hand_threshold": 0.4})
    assert (ours.appearance.name, ours.score_threshold, ours.hand_threshold) == ("base", 0.5, 0.4)
    assert film_judge_settings(None, {}).detector is None
    with pytest.raises(InputError, match="go together"):
        film_judge_settings(None, {"detector": tmp_path / "a.onnx"})
