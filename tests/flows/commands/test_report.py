"""The command writes the gallery of published scores into one file."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from scored_clips import FakeDataset, make_inputs
from typer.testing import CliRunner

from flows.commands import report as report_command
from mimicmotion.errors import StageError
from mimicmotion.metrics.scores import Score
from mimicmotion.pictures import gallery


class FakePipeline:
    """Published datasets by name, in the place of a workspace."""

    inputs: dict
    scores: FakeDataset | None = None

    def __init__(self, config):
        pass

    def read_by(self, dataset):
        return self.inputs

    def result(self, name):
        if name != "evaluate":
            return self.inputs[name]
        if self.scores is None:
            raise StageError("evaluate has no dataset for this config yet")
        return self.scores


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakePipeline]:
    FakePipeline.inputs = make_inputs(tmp_path)
    rows = [
        {
            "clip_id": clip,
            "method": "model",
            "metric": "psnr",
            "is_primary": True,
            "value": 20.0 + place,
        }
        for place, clip in enumerate(("clip-a", "clip-b", "summary"))
    ]
    empty = {"split": "test", "low": None, "high": None, "count": 12, "num_videos": 1, "protocol": "native"}
    rows = [{**row, **empty, "backbone_sha256": None, "note": None, "without": []} for row in rows]
    FakePipeline.scores = FakeDataset({"all": rows})
    for dataset in (*FakePipeline.inputs.values(), FakePipeline.scores):
        dataset.manifest = SimpleNamespace(run_id="abc")
    monkeypatch.setattr(report_command, "StageGraph", FakePipeline)
    monkeypatch.setattr(report_command, "run_page", lambda config, run_id: f"http://mlflow/{run_id}")
    return FakePipeline


def run(*arguments):
    app = typer.Typer()
    app.command()(report_command.report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_one_file_with_videos_scores_and_links(published, tmp_path: Path) -> None:
    page = tmp_path / "pages" / "report.html"
    result = run("demo", "--no-open", "--out", page)
    assert result.exception is None, result.output
    assert str(page) in result.output.replace("\n", "")
    text = page.read_text(encoding="utf-8")
    assert text.count("<video") == 2
    assert 'href="http://mlflow/abc"' in text


def test_many_videos_lie_beside_the_page(published, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gallery, "MAX_EMBEDDED_BYTES", 10)
    page = tmp_path / "pages" / "report.html"
    assert run("demo", "--no-open", "--out", page).exception is None
    text = page.read_text(encoding="utf-8")
    assert "base64" not in text
    assert 'src="videos/clip-a.mp4"' in text
    assert {path.name for path in (page.parent / "videos").iterdir()} == {"clip-a.mp4", "clip-b.mp4"}


def test_only_the_best_and_the_worst_where_there_are_too_many(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, names=("a", "b", "c", "d", "e"))
    scores = [
        Score(f"clip-{name}", "model", metric, value)
        for metric, sign in (("psnr", 1), ("l1", -1))
        for name, value in zip("abcde", (sign * place for place in (3.0, 1.0, 5.0, 2.0, 4.0)), strict=True)
    ]
    clips = [
        gallery.GalleryClip(clip, clip, inputs["animate"].path(clip, "preview.mp4"))
        for clip in inputs["animate"].ids
    ]
    for primary in ("psnr", "l1", "fvd"):
        chosen = gallery._extremes(clips, scores, primary, 3)
        assert [clip.clip_id for clip in chosen] == ["clip-b", "clip-e", "clip-c"]


def test_without_scores_it_says_what_to_run(published, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(published, "scores", None)
    result = run("demo", "--no-open", "--out", tmp_path / "report.html")
    assert isinstance(result.exception, StageError)
    assert not (tmp_path / "report.html").exists()
