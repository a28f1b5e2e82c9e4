"""Decisions of people: read, written, and obeyed whatever the form of the windows is by then."""

import json

import pytest

from mimicmotion.clips.choosing import Candidate
from mimicmotion.clips.review import (
    REASON,
    Decision,
    can_accept,
    read_review,
    reviewed,
    verdict,
    write_review,
)
from mimicmotion.clips.windows import Reject, Window, limit_of
from mimicmotion.errors import InputError
from mimicmotion.video.framing import framing
from mimicmotion.video.size import Size

FIT = framing(Size(64, 64), [Size(64, 64)])


def decision(first, last, said, who="anna"):
    return Decision("v", first, last, said, who, "2026-11-30T08:00:00+00:00", "v.mp4")


def candidate(first, num_windows=1, reject=None, references=(40, 41, 42), measures=None):
    measures = {"motion": 0.1} if measures is None else measures
    window = Window(first, 5, 2)  # spans 9 frames
    return Candidate(window, num_windows, FIT, () if reject else references, measures, reject)


STILL = Reject("too_still", "min_motion", "too still")


def spans(found):
    return [(one.window.first, one.num_windows, one.reject.reason if one.reject else "kept") for one in found]


def test_a_list_is_read_as_it_was_written(tmp_path):
    decisions = [decision(0, 9, "reject"), decision(3, 30, "accept", who='ben, "b"')]
    write_review(tmp_path / "review.csv", decisions)
    assert read_review(tmp_path / "review.csv") == decisions
    write_review(tmp_path / "review.csv", [])
    assert read_review(tmp_path / "review.csv") == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("v,0,9,maybe,a,b", "row 2: the decision is 'maybe'; allowed are accept, reject"),
        ("v,9,0,accept,a,b", "frames '9' to '0' are no stretch"),
        ("v,x,9,accept,a,b", "frames 'x' to '9' are no stretch"),
    ],
)
def test_rows_that_are_no_decision_are_refused(tmp_path, row, message):
    (tmp_path / "r.csv").write_text(f"video_id,first_frame,last_frame,decision,who,when\n{row}\n")
    with pytest.raises(InputError, match=message):
        read_review(tmp_path / "r.csv")
    row = {
        "video_id": "v",
        "first_frame": None,
        "last_frame": 9,
        "decision": "accept",
        "who": "a",
        "when": "b",
    }
    (tmp_path / "r.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="frames None to 9 are no stretch"):
        read_review(tmp_path / "r.jsonl")
    (tmp_path / "r.csv").write_text("video_id,decision\nv,accept\n")
    with pytest.raises(InputError, match="lacks the columns first_frame, last_frame, who, when; it has"):
        read_review(tmp_path / "r.csv")


def test_a_decision_holds_for_the_same_time_at_another_rate(tmp_path):
    said = Decision("v", 30, 59, "reject", "anna", "then", "v.mp4", 30.0)
    assert said.at(30.0000001) is said
    half, more = said.at(15.0), said.at(25.0)
    assert (half.first_frame, half.last_frame, half.fps) == (15, 29, 15.0)
    assert (more.first_frame, more.last_frame) == (25, 49)
    assert decision(30, 59, "reject").at(15.0).last_frame == 59
    write_review(tmp_path / "r.csv", [said, decision(0, 9, "accept")])
    assert [one.fps for one in read_review(tmp_path / "r.csv")] == [30.0, None]
    (tmp_path / "r.csv").write_text(
        "video_id,first_frame,last_frame,decision,who,when,fps\nv,0,9,accept,a,b,0\n"
    )
    with pytest.raises(InputError, match="row 2: fps is '0'; write the rate"):
        read_review(tmp_path / "r.csv")


def test_the_last_decision_that_holds_counts():
    decisions = [decision(0, 100, "reject"), decision(0, 20, "accept")]
    assert verdict(decisions, 3, 20) is decisions[1]
    assert verdict(decisions, 3, 21) is decisions[0]
    assert verdict(decisions, 3, 101) is None


def test_windows_within_a_rejected_stretch_go_and_the_others_stay():
    found = reviewed([candidate(0, 20)], [decision(5, 16, "reject")], 16)
    # Those that begin at 5 to 8 span frames 5 to 16; who and when are said.
    assert spans(found) == [(0, 5, "kept"), (5, 4, REASON), (9, 11, "kept")]
    assert found[1].reject.sentence == "anna rejected it on 2026-11-30T08:00:00+00:00"
    assert found[1].references == ()
    assert reviewed([candidate(0, 20)], [], 16) == [candidate(0, 20)]


def test_an_accepted_window_is_kept_in_spite_of_limits_only():
    said = [decision(0, 100, "accept")]
    beside = candidate(60)
    (kept, _) = reviewed([candidate(0, 3, STILL), beside], said, 2)
    assert spans([kept]) == [(0, 3, "kept")]
    assert kept.references == (40, 42)  # those of its neighbours, spread
    (alone,) = reviewed([candidate(0, 3, STILL)], said, 2)
    assert alone.references == (0, 10)
    for reason in ("bad_frames", "no_person"):
        hard = candidate(0, 3, Reject(reason, limit_of(reason), ""))
        assert reviewed([hard], said, 2) == [hard]
    short = candidate(0, 1, Reject("too_short", "num_frames", ""), measures={})
    assert reviewed([short], said, 2) == [short]


def test_an_accepted_window_takes_references_of_its_own_scene():
    said, other = [decision(0, 500, "accept")], candidate(100, references=(140,))
    (kept, _) = reviewed([candidate(0, 3, STILL), other], said, 2, cuts=[90])
    assert kept.references == (0, 10), "the other scene's 140 is no picture of this one"
    (alike, _) = reviewed([candidate(0, 3, STILL), other], said, 2)
    assert alike.references == (140,)


def test_what_may_be_accepted():
    assert can_accept(None, True)
    assert can_accept(STILL, True)
    assert not can_accept(STILL, False)
    assert not can_accept(Reject("near_duplicate", "", ""), True)
    assert (limit_of("too_still"), limit_of("bad_frames"), limit_of("no_such")) == ("min_motion", "", "")


def test_frames_of_a_rejected_stretch_are_no_references():
    rejected, again = decision(38, 41, "reject"), decision(41, 41, "accept")
    assert reviewed([candidate(0)], [rejected], 3)[0].references == (42,)
    assert reviewed([candidate(0)], [rejected, again], 3)[0].references == (41, 42)
    elsewhere = decision(0, 2, "reject"), decision(40, 60, "reject")
    assert reviewed([candidate(0)], elsewhere, 3)[0].references == (3, 5, 8), "its own frames, but the first"
    (lost,) = reviewed([candidate(0)], elsewhere, 0)
    assert lost.reject == Reject(
        REASON, "", "every frame that could be its reference lies in a stretch that was rejected"
    )
    assert lost.references == ()
