"""A film judged without its truth, against its reference picture and the poses that drove it."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.metrics.film.driven import MISSED, DrivingPose
from mimicmotion.metrics.film.film_scores import Wanted
from mimicmotion.metrics.film.looks import FilmTools
from mimicmotion.metrics.judging import judge_film, open_film_tools
from mimicmotion.metrics.scores import JUDGE, METRICS
from mimicmotion.metrics.settings import FilmJudgeSettings
from mimicmotion.pose.people import Person
from mimicmotion.synthetic.faults import WEIGHTS, blurred, faulty
from mimicmotion.synthetic.world import film
from mimicmotion.video.size import Size

SIZE = Size(40, 60)


@dataclass
class KnowingEstimator:
    """Finds in the n-th frame whatever it is told is there; nobody where that is None."""

    poses: list
    files: dict = field(default_factory=dict)

    def people(self, chunks):
        for frames in chunks:
            for _ in frames:
                points = self.poses.pop(0)
                yield [] if points is None else [Person(np.zeros(4), 1.0, points, np.ones(133, np.float32))]


class AverageColour:
    """An embedding of three numbers."""

    sha256 = "a" * 64

    def vector(self, picture):
        mean = picture.mean(axis=(0, 1))
        return (mean / np.linalg.norm(mean)).astype(np.float32)


def poses(num, seed=0):
    points = np.random.default_rng(seed).uniform((15, 10), (25, 50), (num, 133, 2)).astype(np.float32)
    return points, np.ones((num, 133), np.float32)


def frames(num, level=100):
    return np.random.default_rng(1).integers(0, level, (num, *SIZE.shape, 3)).astype(np.uint8)


def wanted(num, **changes):
    own = poses(1)
    fields = {"reference": frames(1)[0], "reference_pose": own, "driving": poses(num), "borders": ()}
    return Wanted(**{**fields, **changes})


def test_every_score_has_a_unit_and_is_there_or_says_why_not():
    verdict = judge_film(frames(6), wanted(6), FilmTools(absent={"judge_identity": "absent: no file"}))
    known = [name for name in METRICS if name.startswith(JUDGE)]
    assert [score.metric for score in verdict.scores] == known
    assert all(METRICS[name].unit for name in known)
    assert all((score.value is None) == bool(score.note) for score in verdict.scores)
    assert verdict["judge_identity"].note == "absent: no file"
    assert verdict["judge_joins"].note == "the film is one tile"


def test_a_point_counts_as_far_as_it_is_off_weighted_by_the_drivers_confidence():
    points, sure = poses(5)
    points[:, 0], points[:, 16] = (20, 10), (20, 50)
    sure[:, :17] = 0.5
    sure[:, 0] = 1.0
    found = points.copy()
    found[:, 0] += (4, 0)  # a tenth of the height of 40
    values = DrivingPose((points, sure), SIZE, 0.3).values(0, (found, np.ones_like(sure)))
    np.testing.assert_allclose(values["judge_body"], 0.1 * 1.0 / (1.0 + 16 * 0.5), rtol=1e-3)
    np.testing.assert_allclose(values["judge_hands"], 0)
    nobody = DrivingPose((points, sure), SIZE, 0.3).values(0, (found, np.zeros_like(sure)))
    np.testing.assert_allclose(nobody["judge_body"], MISSED)
    np.testing.assert_allclose(nobody["judge_nobody"], 1)


def test_points_outside_the_picture_and_unsure_ones_are_not_asked_for():
    points, sure = poses(4)
    sure[:, 17:] = 0.2
    points[:, 1:17] += 1000
    found = points + 1
    values = DrivingPose((points, sure), SIZE, 0.3).values(0, (found, np.ones_like(sure)))
    assert np.isnan(values["judge_hands"]).all()
    assert (values["judge_body"] < 0.01).all()


def test_jerk_is_zero_for_a_shift_and_grows_with_trembling():
    points, sure = poses(12)
    points[:] = points[:1]
    driving = DrivingPose((points, sure), SIZE, 0.3)
    shake = np.random.default_rng(2).normal(0, 1, points.shape)
    assert driving.jerk((points + 3, sure)) == (0.0, 9 * 17)
    light, strong = (driving.jerk((points + level * shake, sure))[0] for level in (0.2, 1))
    assert 0 < light < strong
    assert np.isnan(driving.jerk((points[:3], sure[:3]))[0])


def test_a_film_with_nobody_in_it_misses_every_point():
    task = wanted(6)
    verdict = judge_film(frames(6), task, FilmTools(KnowingEstimator([None] * 6)))
    assert verdict["judge_nobody"].value == 1.0
    assert verdict["judge_body"].value == pytest.approx(MISSED)
    assert verdict["judge_jerk"].value is None
    assert {moment.metric for moment in verdict.worst} >= {"judge_body"}


def test_one_frame_alone_has_no_change():
    verdict = judge_film(frames(1), wanted(1), FilmTools(KnowingEstimator([poses(1)[0][0]])))
    assert verdict["judge_body"].value == pytest.approx(0)
    absent = {score.metric for score in verdict.scores if score.value is None}
    assert {"judge_jerk", "judge_colour_drift", "judge_flicker", "judge_joins"} <= absent


def test_the_worst_moment_is_the_frame_it_says():
    points = poses(20)[0]
    found = [*points]
    found[13] = points[13] + 5
    shown = frames(20)
    verdict = judge_film(iter(shown), wanted(20), FilmTools(KnowingEstimator(found)))
    (worst,) = [moment for moment in verdict.worst if moment.metric == "judge_body"]
    assert worst.frame == 13
    assert (worst.picture == shown[13]).all()
    assert np.nanargmax(verdict.per_frame["judge_body"]) == 13


def test_the_background_is_looked_at_outside_the_person_and_only_where_the_camera_stands():
    reference = frames(1)[0]
    shown = np.repeat(reference[None], 5, 0)
    shown[:, 20:40, 16:24] = 255  # inside the person
    still = judge_film(shown, wanted(5, reference=reference), FilmTools())
    assert (still["judge_background"].value, still["judge_flicker"].value) == (0, 0)
    changed = shown.copy()
    changed[3:, :5] += 10
    moved = judge_film(changed, wanted(5, reference=reference), FilmTools())
    assert moved["judge_background"].value > 0
    assert moved["judge_flicker"].value > 0
    unknown = judge_film(changed, wanted(5, reference=reference, background="the camera moves"), FilmTools())
    assert unknown["judge_background"].note == unknown["judge_flicker"].note == "the camera moves"


def test_clothes_that_change_colour_are_another_appearance_that_drifts():
    reference = np.full((*SIZE.shape, 3), (90, 60, 30), np.uint8)
    kept = np.repeat(reference[None], 40, 0)
    drifting = kept.copy()
    drifting[..., 2] += np.arange(40, dtype=np.uint8)[:, None, None]
    tools = FilmTools(appearance=AverageColour(), hashes={"judge_appearance": "a" * 64})
    task = wanted(40, reference=reference)
    good, bad = (judge_film(shown, task, tools) for shown in (kept, drifting))
    assert good["judge_appearance"].value == pytest.approx(1)
    assert bad["judge_appearance"].value < 0.99
    assert bad["judge_appearance"].backbone_sha256 == "a" * 64
    for metric in ("judge_appearance_drift", "judge_colour_drift"):
        assert good[metric].value == pytest.approx(0, abs=1e-4)
        assert bad[metric].value > 0.5
        assert list(bad.curves[metric]) == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    ("num_frames", "num_poses", "size", "said"),
    [
        (6, 5, SIZE, "more frames than the 5 poses"),
        (5, 6, SIZE, "has 5 frames, and 6 poses"),
        (0, 0, SIZE, "at least 1"),
        (5, 5, Size(44, 60), "40x60 pixels and its reference 44x60"),
    ],
)
def test_films_that_do_not_fit_are_refused(num_frames, num_poses, size, said):
    task = wanted(num_poses, reference=np.zeros((*size.shape, 3), np.uint8))
    with pytest.raises(InputError, match=said):
        judge_film(frames(num_frames), task, FilmTools())


def test_the_shipped_models_see_the_faults_of_a_rendered_dancer():
    settings = FilmJudgeSettings(
        detector=WEIGHTS / "detector.onnx", wholebody=WEIGHTS / "wholebody.onnx", appearance=WEIGHTS / "base"
    )
    tools = open_film_tools(settings, cuda=False)
    one = film(900_000, 9, occluded=0, blurred=0)
    sure = (one.visibility == 0).astype(np.float32)
    task = Wanted(
        reference=one.frames[0],
        reference_pose=(one.keypoints[:1], sure[:1]),
        driving=(one.keypoints[1:], sure[1:]),
        borders=(4,),
    )
    made = faulty(one, 900_000)
    verdicts = {name: judge_film(made[name][1:], task, tools) for name in ("truth", "another dancer")}
    truth, other = verdicts["truth"], verdicts["another dancer"]
    assert truth["judge_body"].value < 0.03 < other["judge_body"].value
    assert truth["judge_appearance"].value > 0.95 > other["judge_appearance"].value
    assert truth["judge_background"].value < 1 < other["judge_background"].value
    soft = judge_film(blurred(one.frames[1:], 2.0), task, tools)
    assert soft["judge_sharp_face"].value < truth["judge_sharp_face"].value
    assert len(truth["judge_body"].backbone_sha256.split()) == 2
    assert truth["judge_identity"].note == "absent: no weights in identity"
    shifted = replace(task, driving=(one.keypoints[1:] + 8, sure[1:]))
    assert judge_film(one.frames[1:], shifted, tools)["judge_body"].value > 0.05


def test_a_file_that_is_not_there_is_refused(tmp_path):
    settings = FilmJudgeSettings(appearance=tmp_path / "dinov2.onnx")
    with pytest.raises(WeightsError, match=r"no ONNX model at .*dinov2.onnx"):
        open_film_tools(settings, cuda=False)
