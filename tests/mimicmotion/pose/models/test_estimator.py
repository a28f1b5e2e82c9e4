"""Pictures and videos go through both models; batches and threads change nothing."""

import numpy as np
import pytest

from mimicmotion.pose.models.detector import PersonDetector
from mimicmotion.pose.models.estimator import (
    TopDownEstimator,
    configured_estimator,
    estimate_image,
    estimate_video,
)
from mimicmotion.pose.models.simcc import WholeBodyModel
from mimicmotion.pose.settings import EstimatorSettings


class Video:
    def __init__(self, frames):
        self.frames, self.num_frames = frames, len(frames)

    def read(self, indices):
        return self.frames[list(indices)]


@pytest.fixture
def models(small_detector, small_wholebody):
    return (
        PersonDetector.open(small_detector(None), cuda=False, allow_cpu=True),
        WholeBodyModel.open(small_wholebody(None), cuda=False, allow_cpu=True, max_batch=8),
    )


@pytest.fixture
def frames():
    frames = np.random.default_rng(0).integers(0, 255, (11, 80, 96, 3), dtype=np.uint8)
    frames[3:5] = 0
    return frames


def test_batches_do_not_change_the_people(models, frames):
    alone = estimate_video(TopDownEstimator(*models), Video(frames), frames_per_batch=1)
    together = estimate_video(TopDownEstimator(*models), Video(frames), frames_per_batch=4)
    assert [len(people) for people in alone] == [len(people) for people in together]
    assert len(alone) == 11
    assert sum(len(people) for people in alone) > 11
    for people, others in zip(alone, together, strict=True):
        for person, other in zip(people, others, strict=True):
            np.testing.assert_allclose(person.box, other.box, rtol=1e-4, atol=1e-3)
            np.testing.assert_allclose(person.confidences, other.confidences, rtol=1e-3, atol=1e-4)


def test_a_picture_gives_the_people_of_a_frame_main_person_first(models, frames):
    people = estimate_image(TopDownEstimator(*models), frames[0])
    wanted = estimate_video(TopDownEstimator(*models), Video(frames[:1]), frames_per_batch=1)[0]
    assert len(people) == len(wanted) > 1
    assert sorted(p.box.tolist() for p in people) == sorted(p.box.tolist() for p in wanted)
    width = frames.shape[2]
    off_centre = [min(0.5, abs((p.box[0] + p.box[2]) / 2 / width - 0.5)) for p in people]
    weights = [p.area * p.box_score * (1 - off) for p, off in zip(people, off_centre, strict=True)]
    assert weights[0] == pytest.approx(max(weights))


def test_a_video_with_nobody_gives_empty_frames(models):
    detector, wholebody = models
    strict = PersonDetector(detector.graph, score_threshold=100.0)
    frames = np.zeros((3, 32, 32, 3), np.uint8)
    assert estimate_video(TopDownEstimator(strict, wholebody), Video(frames), frames_per_batch=2) == [
        [],
        [],
        [],
    ]
    assert estimate_image(TopDownEstimator(strict, wholebody), frames[0]) == []


@pytest.mark.parametrize("form", ["mmdeploy", "detr", "yolov10"])
@pytest.mark.parametrize("kind", ["simcc", "heatmaps"])
def test_every_form_goes_through_pose_animate_and_evaluate(
    form, kind, box_detector, small_wholebody, small_heatmaps, frames
):
    import torch

    from mimicmotion.metrics.judging import open_judge
    from mimicmotion.metrics.settings import JudgeSettings
    from stages.pose import Pose

    rows = [[8, 8, 24, 60, 0.9, 0], [30, 4, 62, 60, 0.8, 0]]
    wholebody = {"simcc": small_wholebody, "heatmaps": small_heatmaps}[kind](None)
    models = {"detector": box_detector(form, rows), "wholebody": wholebody}
    stage = Pose(**models, runtime={"allow_cpu": True})
    found = [*stage.load().people([frames[:2]])]
    assert [len(people) for people in found] == [2, 2]
    command = configured_estimator(EstimatorSettings(**models), cuda=False, allow_cpu=True)
    again = [*command.people([frames[:2]])]
    np.testing.assert_allclose(again[0][0].keypoints, found[0][0].keypoints)
    judge = open_judge(JudgeSettings(**models), torch.device("cpu"), cuda=False, allow_cpu=True)
    judge.add("clip", frames, {"model": frames})
    scores = {score.metric: score.value for score in judge.scores() if score.clip_id == "clip"}
    assert scores["pose_error_body"] == pytest.approx(0, abs=1e-6)
