"""Films judged without their truth: which frames belong together, best of tries, lists and folders."""

import json
import unicodedata
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from mimicmotion.animation import judged
from mimicmotion.animation.driving import driver_from_video
from mimicmotion.animation.judged import judge_generated, judge_requests
from mimicmotion.errors import InputError
from mimicmotion.metrics.film.verdicts import mean_ranks, scores_in, verdict_line, verdict_values
from mimicmotion.metrics.judging import open_film_tools
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.pictures.verdict import verdict_picture
from mimicmotion.pose.calibration import PARTS, ROLE, Calibration, Curve
from mimicmotion.pose.models.estimator import CalibratedEstimator
from mimicmotion.synthetic.faults import WEIGHTS
from mimicmotion.synthetic.world import film
from mimicmotion.video.files import write_preview
from mimicmotion.video.picture_files import write_picture
from mimicmotion.weights.fetching import file_digest

SETTINGS = FilmJudgeSettings(
    detector=WEIGHTS / "detector.onnx", wholebody=WEIGHTS / "wholebody.onnx", score_threshold=0.5
)


@pytest.fixture(scope="module")
def tools():
    return open_film_tools(SETTINGS, cuda=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A dancer's film of 12 frames at 12 a second, the same as 6 frames at 6, and the first picture."""
    folder = tmp_path_factory.mktemp("world")
    frames = film(900_000, 12, occluded=0, blurred=0, truth=False).frames
    write_preview(folder / "dance.mp4", frames, 12)
    write_preview(folder / "slower.mp4", frames[::2], 6)
    write_preview(folder / "part.mp4", frames[:4], 12)
    write_picture(folder / "me.png", frames[0])
    return folder


def request(world, **changes):
    files = {"generated": world / "dance.mp4", "driving": world / "dance.mp4", "reference": world / "me.png"}
    wishes = {"alignment": "none", "tile": 8, "overlap": 3}
    return judge_requests(None, {**files, **changes}, wishes)[0]


def test_a_film_is_judged_against_its_driver_by_time_and_may_be_shorter(world, tools):
    whole, reference = judge_generated(request(world), tools)
    assert whole["judge_body"].value < 0.01
    assert whole["judge_joins"].value is not None
    assert verdict_picture(whole, reference).ndim == 3
    for name in ("slower.mp4", "part.mp4"):
        verdict, _ = judge_generated(request(world, generated=world / name), tools)
        assert verdict["judge_body"].value < 0.02, name
    with pytest.raises(InputError, match="has 12 frames and lasts longer than its driver, which has 4"):
        judge_generated(request(world, driving=world / "part.mp4"), tools)


def test_a_film_with_uneven_times_is_judged_by_them(world, tools, tmp_path):
    frames = film(900_000, 12, occluded=0, blurred=0, truth=False).frames
    with av.open(tmp_path / "uneven.mp4", "w") as file:
        stream = file.add_stream("libx264", rate=12, options={"crf": "10"})
        stream.height, stream.width = frames.shape[1:3]
        for place in (0, 1, 2, 3, 8, 9, 10, 11):
            shown = av.VideoFrame.from_ndarray(frames[place], "rgb24")
            shown.pts, shown.time_base = place, Fraction(1, 12)
            file.mux(stream.encode(shown))
        file.mux(stream.encode())
    verdict, _ = judge_generated(request(world, generated=tmp_path / "uneven.mp4"), tools)
    assert verdict["judge_body"].value < 0.02


def test_a_film_of_as_many_frames_as_an_uneven_driver_is_compared_frame_by_frame(world, tools, tmp_path):
    frames = film(900_000, 12, occluded=0, blurred=0, truth=False).frames
    uneven = (0, 9, 22, 30, 44, 170, 182, 190, 201, 213, 220, 231)
    for name, times in (("uneven.mp4", uneven), ("even.mp4", range(0, 120, 10))):
        with av.open(tmp_path / name, "w") as file:
            stream = file.add_stream("libx264", rate=12, options={"crf": "10"})
            stream.height, stream.width = frames.shape[1:3]
            stream.codec_context.time_base = Fraction(1, 120)
            for frame, place in zip(frames, times, strict=True):
                shown = av.VideoFrame.from_ndarray(frame, "rgb24")
                shown.pts, shown.time_base = place, Fraction(1, 120)
                file.mux(stream.encode(shown))
            file.mux(stream.encode())
    pair = {"driving": tmp_path / "uneven.mp4", "generated": tmp_path / "even.mp4"}
    verdict, _ = judge_generated(request(world, **pair), tools)
    assert verdict["judge_body"].value < 0.02


def test_a_folder_of_frames_has_no_rate_and_is_compared_by_number(world, tools, tmp_path):
    frames = film(900_000, 12, occluded=0, blurred=0, truth=False).frames
    for number, frame in enumerate(frames):
        write_picture(tmp_path / f"frame_{number}.png", frame)
    verdict, _ = judge_generated(request(world, generated=tmp_path), tools)
    assert verdict["judge_body"].value < 0.02
    (tmp_path / "frame_11.png").unlink()
    with pytest.raises(InputError, match=r"folder of 11 frames without a rate.*has 12"):
        judge_generated(request(world, generated=tmp_path), tools)


def test_without_models_or_tiles_scores_are_absent_with_the_reason(world, tools):
    bare = replace(tools, estimator=None)
    with pytest.raises(InputError, match="the pose of the reference needs"):
        judge_generated(request(world), bare)
    unknown = request(world).replaced(tile=None)
    verdict, _ = judge_generated(unknown, tools)
    assert verdict["judge_joins"].note == "tile and overlap of this film are not given"
    assert verdict["judge_appearance"].note == "absent: no weights in appearance"


def test_a_verdict_survives_json(world, tools):
    verdict, _ = judge_generated(request(world, generated=world / "part.mp4"), tools)
    values = json.loads(json.dumps(verdict_values(verdict), allow_nan=False))
    assert scores_in(values, "part") == list(verdict.scores)
    line = verdict_line(verdict.scores)
    assert line.startswith("body 0.0")
    assert line.endswith("absent: identity, appearance, appearance drift, joins")


def test_ranks_are_means_over_scores_that_all_tries_have(world, tools):
    verdict, _ = judge_generated(request(world), tools)

    def of(**values):
        scores = [replace(s, value=values.get(s.metric.removeprefix("judge_"))) for s in verdict.scores]
        return replace(verdict, scores=tuple(scores))

    tries = [of(body=0.1, appearance=0.9), of(body=0.2, appearance=0.95), of(body=0.1, appearance=0.8)]
    assert mean_ranks(tries) == [(1.5 + 2) / 2, (3 + 1) / 2, (1.5 + 3) / 2]
    assert mean_ranks([of(body=0.1), of(appearance=0.9)]) == [1, 1]
    # These are written and decide nothing.
    assert mean_ranks([of(body=0.2, jerk=0.1), of(body=0.1, jerk=0.9)]) == [2, 1]
    assert mean_ranks([of(body=0.2, joins=1.0, sharp_face=1.0), of(body=0.1, joins=3.0, sharp_face=0.1)]) == [
        2,
        1,
    ]


def test_what_animate_writes_beside_its_films_does_not_make_frames_of_them(world, tmp_path):
    name = unicodedata.normalize("NFD", "café")
    for folder in ("made", "driving"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.mp4").write_bytes((world / "part.mp4").read_bytes())
    write_picture(tmp_path / "made" / f"{name}.judge.png", np.zeros((8, 8, 3), np.uint8))
    write_picture(tmp_path / "made" / f"{name}.poses.png", np.zeros((8, 8, 3), np.uint8))
    files = {"generated": tmp_path / "made", "driving": tmp_path / "driving"}
    (one,) = judge_requests(None, {**files, "reference": world / "me.png"}, {})
    assert (one.film_id, one.driving.parent.name) == (unicodedata.normalize("NFC", name), "driving")


def test_films_of_one_name_do_not_replace_each_other(world, tmp_path):
    pairs, more = tmp_path / "pairs.csv", f"{world / 'me.png'},{world / 'dance.mp4'}"
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "out.mp4").write_bytes((world / "part.mp4").read_bytes())
    rows = [f"one/out.mp4,{more},", f"two/out.mp4,{more},"]
    pairs.write_text("\n".join(["generated,reference,driving,name", *rows]))
    with pytest.raises(InputError, match="films are called out: each needs a plain name of its own"):
        judge_requests(pairs, {}, {})
    pairs.write_text("\n".join(["generated,reference,driving,name", f"{rows[0]}a", f"{rows[1]}../b"]))
    with pytest.raises(InputError, match=r"films are called \.\./b: each"):
        judge_requests(pairs, {}, {})


def test_stored_poses_get_the_probabilities_that_found_ones_have(world, tools, tmp_path, monkeypatch):
    poses, found = tmp_path / "poses.parquet", tools.estimator
    table = driver_from_video(world / "dance.mp4", 12, found, tmp_path).table
    ((key, value),) = table.schema.metadata.items()
    nobodys = json.dumps({**json.loads(value), "models": {}})
    pq.write_table(table.replace_schema_metadata({key: nobodys}), poses)
    sha, curve = file_digest(found.files[ROLE]), Curve((0.0, 1.0), (0.1, 0.5))
    calibration = Calibration(sha, dict.fromkeys(PARTS, curve))
    calibrated = replace(tools, estimator=CalibratedEstimator(found, calibration))
    with pytest.raises(InputError, match=f"does not fit the poses {poses}"):
        judge_generated(request(world, poses=poses), calibrated)
    pq.write_table(table, poses)
    monkeypatch.setattr(judged, "judge_film", lambda _, wanted, *more: wanted)
    raw, _ = judge_generated(request(world, poses=poses), tools)
    wanted, _ = judge_generated(request(world, poses=poses), calibrated)
    assert wanted.driving[1] == pytest.approx(calibration.probabilities(raw.driving[1]))
    assert wanted.reference_pose[1] == pytest.approx(calibration.probabilities(raw.reference_pose[1]))


def test_folders_pair_by_name_and_lists_are_checked_as_a_whole(world, tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for name in ("a", "b"):
        (films / f"{name}.mp4").write_bytes((world / "part.mp4").read_bytes())
    files = {"generated": films, "driving": films, "reference": world / "me.png"}
    found = judge_requests(None, files, {})
    assert [(one.film_id, one.driving.name, one.reference.name) for one in found] == [
        ("a", "a.mp4", "me.png"),
        ("b", "b.mp4", "me.png"),
    ]
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="other has 0 files of the kind driving called a"):
        judge_requests(None, {**files, "driving": tmp_path / "other"}, {})
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(f"generated,reference,driving,name\nfilms/a.mp4,{world / 'me.png'},films/b.mp4,one\n")
    (one,) = judge_requests(pairs, {}, {})
    assert (one.film_id, one.generated) == ("one", tmp_path / "films" / "a.mp4")
    pairs.write_text("generated,reference,song\na.mp4,me.png,x\n")
    with pytest.raises(InputError, match="allowed are generated, driving"):
        judge_requests(pairs, {}, {})
    with pytest.raises(InputError, match="no reference is given"):
        judge_requests(None, {"generated": Path("a.mp4")}, {})
    with pytest.raises(InputError, match=r"generated nowhere.mp4.* is not there"):
        judge_requests(None, {"generated": Path("nowhere.mp4"), "reference": world / "me.png"}, {})


def test_what_animate_wrote_beside_its_films_is_found_by_name(world, tmp_path):
    for name in ("a", "b.c"):
        (tmp_path / f"{name}.mp4").write_bytes((world / "part.mp4").read_bytes())
        for ending in ("judge.json", "judge.png", "poses.png", "poses.parquet"):
            (tmp_path / f"{name}.{ending}").touch()
    found = judge_requests(
        None, {"generated": tmp_path, "reference": world / "me.png", "poses": tmp_path}, {}
    )
    assert [one.poses.name for one in found] == ["a.poses.parquet", "b.c.poses.parquet"]
    (tmp_path / "a.json").touch()
    with pytest.raises(InputError, match=r"2 files of the kind poses called a, or a\.poses\.parquet"):
        judge_requests(None, {"generated": tmp_path, "reference": world / "me.png", "poses": tmp_path}, {})


def test_a_driver_of_many_films_is_looked_at_once(world, tools, monkeypatch):
    looked, drivers = [], {}

    def find(*asked):
        looked.append(asked[0])
        return driver_from_video(*asked)

    monkeypatch.setattr(judged, "driver_from_video", find)
    monkeypatch.setattr(judged, "judge_film", lambda _, wanted, *more: wanted)
    first, second = (judge_generated(request(world), tools, drivers)[0] for _ in range(2))
    assert looked == [world / "dance.mp4"]
    assert (first.driving[0] == second.driving[0]).all()
