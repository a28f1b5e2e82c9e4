"""A long run over films goes on where it was stopped."""

from pathlib import Path

import numpy as np
import pytest

from mimicmotion.animation import said
from mimicmotion.animation.judged import JudgeRequest
from mimicmotion.animation.said import FilmJudge
from mimicmotion.metrics.film.film_scores import Verdict
from mimicmotion.metrics.film.looks import FilmTools
from mimicmotion.metrics.scores import Measured
from mimicmotion.metrics.settings import FilmJudgeSettings


@pytest.fixture
def films(tmp_path, monkeypatch):
    """Three films whose score is their size; the fourth call of the judge stops the run."""
    asked: list[str] = []

    def judge_generated(request: JudgeRequest, tools: FilmTools, drivers) -> tuple[Verdict, np.ndarray]:
        if len(asked) == 2 and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        asked.append(request.film_id)
        score = Measured(request.film_id, "model", "judge_body", request.generated.stat().st_size, 1, "ab")
        return Verdict((score,), {}, {"judge_body": np.ones(2)}, ()), np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(said, "judge_generated", judge_generated)
    monkeypatch.setattr(said, "verdict_picture", lambda verdict, reference: reference)
    (tmp_path / "me.png").write_bytes(b"me")
    for number, name in enumerate("abc"):
        (tmp_path / f"{name}.mp4").write_bytes(b"x" * number)
    requests = [
        JudgeRequest(generated=tmp_path / f"{name}.mp4", reference=tmp_path / "me.png") for name in "abc"
    ]
    return requests, asked


def judge(out: Path | None, **settings: float) -> FilmJudge:
    return FilmJudge(FilmTools(absent={}, hashes={}), FilmJudgeSettings(**settings), out)


def value(values):
    return values["scores"]["judge_body"]["value"]


def test_films_that_were_judged_are_not_judged_again(films, tmp_path):
    requests, asked = films
    out, first = tmp_path / "new" / "all.json", judge(tmp_path / "new" / "all.json")
    for request in requests[:2]:
        first.values(request)
    with pytest.raises(KeyboardInterrupt):
        first.values(requests[2])
    lines = out.with_name("all.json.part")
    whole = lines.read_bytes()
    lines.write_bytes(whole[:-9])  # as a power cut leaves it
    (tmp_path / "again").touch()
    second = judge(out)
    assert second.num_known(requests) == 1
    assert [value(second.values(request)) for request in requests] == [0, 1, 2]
    assert asked == ["a", "b", "b", "c"]
    third = judge(out)
    assert third.num_known(requests) == 3
    third.values(requests[0])
    assert asked == ["a", "b", "b", "c"]
    third.finished()
    assert not lines.exists()


def test_another_film_judge_or_picture_is_looked_at_again(films, tmp_path):
    requests, asked = films
    (tmp_path / "again").touch()
    out = tmp_path / "all.json"
    judge(out).values(requests[0])
    judge(out).values(requests[0])
    other = judge(out, hand_threshold=0.4)
    assert (judge(out).num_known(requests), other.num_known(requests)) == (1, 0)
    other.values(requests[0])
    assert asked == ["a", "a"]
    judge(out).values(requests[0], tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()
    judge(out).values(requests[0], tmp_path / "a.png")
    assert asked == ["a", "a", "a"]
    (tmp_path / "b.png").touch()
    judge(out).values(requests[0], tmp_path / "b.png")
    assert asked == ["a", "a", "a", "a"], "the picture there is of another judgement"
    requests[0].generated.write_bytes(b"another")
    assert value(judge(out).values(requests[0])) == 7


def test_without_a_result_nothing_is_kept(films, tmp_path):
    requests, asked = films
    for _ in range(2):
        judge(None).values(requests[0])
    assert asked == ["a", "a"]
    assert not [*tmp_path.glob("*.part")]
