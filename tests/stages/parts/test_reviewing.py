"""What the review page shows and writes, and that clips obeys it."""

import math
import threading

import pytest
from clip_table import clip_row
from marked_film import HEIGHT, WIDTH, make_datasets
from scored_clips import FakeDataset

from mimicmotion.clips.review import Decision, read_review, write_review
from mimicmotion.errors import InputError
from mimicmotion.video.files import iter_frames
from stages.parts import reviewing
from stages.parts.reviewing import Review


def row(first, reason=None, **changes):
    kept = {"kept": reason is None, "reason": reason, "sentence": reason and f"because {reason}"}
    numbers = {"visibility": 0.9, "motion": 0.25 + first / 100, "source": "anna/film.mov"}
    window = {"first_frame": first, "num_frames": 4, "step": 2, "fps": 6.0}
    return clip_row(f"film-{first}", "film", "train", (WIDTH, HEIGHT), **window, **kept, **numbers, **changes)


@pytest.fixture
def review(tmp_path):
    inputs = make_datasets(tmp_path, [])
    rows = [row(0), row(1, "too_still", num_windows=3), row(9, "bad_frames"), row(10, motion_b=math.nan)]
    rows = [{**one, "motion_b": one.get("motion_b", 0.5)} for one in rows]
    films = tmp_path / "films"
    films.mkdir()
    return Review(FakeDataset({"all": rows}), inputs, tmp_path / "review.csv", "anna", films)


def test_every_window_is_told_with_its_numbers(review):
    told = review.told()
    assert told["columns"][:7] == list(reviewing._COLUMNS)
    assert {"fps", "visibility", "motion", "motion_b"} <= set(told["columns"])
    assert [one["last_frame"] for one in told["windows"]] == [6, 9, 15, 16]
    assert [one["can_accept"] for one in told["windows"]] == [True, True, False, True]
    assert told["windows"][3]["motion_b"] is None
    assert "default-src" not in review.page()
    assert "http" not in review.page()


def test_a_decision_is_written_with_who_and_when_and_can_be_taken_back(review):
    assert review.decide(1, "accept", "now") == [
        {"number": 0, "verdict": None},
        {"number": 1, "verdict": {"decision": "accept", "who": "anna", "when": "now"}},
        {"number": 2, "verdict": None},
        {"number": 3, "verdict": None},
    ]
    review.decide(1, "reject", "later")
    review.decide(0, "reject", "later")
    assert read_review(review.place) == [
        Decision("film", 1, 9, "reject", "anna", "later", "anna/film.mov", 12.0),
        Decision("film", 0, 6, "reject", "anna", "later", "anna/film.mov", 12.0),
    ]
    review.decide(1, "undo", "last")
    assert [one.first_frame for one in read_review(review.place)] == [0]
    for number, said, message in (
        (1, "undo", "no decision of this very stretch"),
        (2, "accept", "no decision overrules bad_frames: because bad_frames"),
        (1, "maybe", "allowed are accept, reject, undo"),
        (4, "accept", "no window 4; they are numbered 0 to 3"),
        ("0", "accept", "no window '0'"),
    ):
        with pytest.raises(InputError, match=message):
            review.decide(number, said, "now")


def test_clips_obeys_on_the_frames_that_were_shown_whatever_the_step(review):
    (row_of,) = [one for one in review.windows if one["number"] == 1]
    review.decide(1, "reject", "now")
    (written,) = read_review(review.place)
    in_film = written.at(row_of["fps"] * row_of["step"])
    assert in_film.holds(row_of["first_frame"], row_of["last_frame"])
    assert not in_film.holds(row_of["first_frame"] + 1, row_of["last_frame"] + 1)


def test_a_list_that_is_there_counts_and_is_gone_on_with(review, tmp_path):
    write_review(tmp_path / "old.csv", [Decision("film", 0, 23, "reject", "ben", "then")])
    again = Review(
        FakeDataset({"all": [row(0), row(1)]}), review._inputs, tmp_path / "old.csv", "anna", tmp_path
    )
    assert {one["verdict"]["who"] for one in again.told()["windows"]} == {"ben"}
    again.decide(0, "accept", "now")
    assert [one["verdict"]["who"] for one in again.told()["windows"]] == ["anna", "ben"]


def test_a_decision_at_another_rate_is_that_of_the_same_stretch(review):
    write_review(review.place, [Decision("film", 0, 13, "reject", "ben", "then", "", 24.0)])
    review.decide(0, "accept", "now")
    assert [(one.last_frame, one.decision) for one in read_review(review.place)] == [(6, "accept")]


def test_two_who_review_with_one_list_keep_what_the_other_decides(review, tmp_path):
    other = Review(FakeDataset({"all": [row(0), row(1)]}), review._inputs, review.place, "ben", tmp_path)
    review.decide(0, "reject", "first")
    other.decide(1, "accept", "second")
    review.decide(3, "reject", "third")
    assert [(one.who, one.when) for one in read_review(review.place)] == [
        ("anna", "first"),
        ("ben", "second"),
        ("anna", "third"),
    ]


def test_the_film_shows_the_windows_frames_and_the_pose_beside_them(review, monkeypatch):
    frames = list(iter_frames(review.film(1)))
    assert (len(frames), frames[0].shape) == (5, (HEIGHT, 2 * WIDTH, 3))  # frames 1, 3, ... 9
    assert review.film(1) == review.film(1)
    monkeypatch.setattr(reviewing, "_MOST_SHOWN", 3)
    review.film(1).unlink()
    assert len(list(iter_frames(review.film(1)))) == 3


def test_a_decision_waits_for_no_film(review, monkeypatch):
    decided = threading.Thread(target=review.decide, args=(0, "reject", "now"), daemon=True)

    def decide_meanwhile(path, frames, fps):
        decided.start()
        decided.join(5)
        path.touch()

    monkeypatch.setattr(reviewing, "write_preview", decide_meanwhile)
    review.film(1)
    assert not decided.is_alive()
    assert [one.decision for one in review.decisions] == ["reject"]
