"""The one way to judge generated videos: for the stage, the command, and whoever checks the metrics.

``open_judge(JudgeSettings(...), ...)`` loads what is given; ``add`` takes one video with everything that was
made of it; ``scores`` gives the table. A metric over frames is one more line in ``Scoreboard``; one with a
backbone is a field of ``JudgeSettings`` and a line in ``load_backbone``.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from mimicmotion.metrics.body_scores import add_hands, add_identity, add_pose
from mimicmotion.metrics.features import load_backbone
from mimicmotion.metrics.identity import METRIC as IDENTITY
from mimicmotion.metrics.identity import FaceModel
from mimicmotion.metrics.perceptual import METRIC as LPIPS
from mimicmotion.metrics.perceptual import load_perceptual
from mimicmotion.metrics.protocols import EvaluationProtocol
from mimicmotion.metrics.redetection import find_poses
from mimicmotion.metrics.scoreboard import Backbone, Scoreboard
from mimicmotion.metrics.scores import TRUTH, Score
from mimicmotion.metrics.settings import BACKBONE_FIELDS, JudgeSettings
from mimicmotion.pose.estimator import PoseEstimator, open_estimator
from mimicmotion.pose.hands import hand_boxes, hand_confidences

Pose = tuple[np.ndarray, np.ndarray]
"""Keypoints (n, 133, 2) in pixels and confidences (n, 133) of one person."""


class Judge:
    """Measures what was made of videos against the truth.

    Args:
        protocol: says size and windows; its id belongs beside every number.
        backbones: metric -> loaded network, or the reason why there is none.
        estimator: finds poses again, for scores of the pose; None leaves these out.
        face: face embedding; None leaves identity out.
        keypoint_threshold: points of more confidence in both poses are compared.
        hand_threshold: hands whose smallest confidence exceeds this are compared.
    """

    def __init__(
        self,
        protocol: EvaluationProtocol,
        backbones: Mapping[str, Backbone | str],
        estimator: PoseEstimator | None = None,
        face: FaceModel | None = None,
        keypoint_threshold: float = 0.3,
        hand_threshold: float = 0.3,
    ) -> None:
        self._board = Scoreboard(protocol, backbones)
        self._estimator = estimator
        self._face = face
        self._keypoint_threshold = keypoint_threshold
        self._hand_threshold = hand_threshold

    def add(
        self, clip_id: str, true: np.ndarray, made: Mapping[str, np.ndarray], pose: Pose | None = None
    ) -> None:
        """Measure everything that was made of one video.

        Args:
            clip_id: names the video.
            true: uint8 (n, h, w, 3) RGB.
            made: method -> frames of the same shape.
            pose: driving pose in pixels of these frames; None finds it in the true frames.

        Raises:
            InputError: frames of a method do not pair with the true ones.
        """
        self._board.add_video(clip_id, true, made)
        compared = dict(made)
        if pose is None:
            if self._estimator is None:
                return
            pose = find_poses(list(true), self._estimator)
            if not ((pose[1] > self._keypoint_threshold).sum(axis=1) >= 2).any():
                note = f"nobody is found in the true video {clip_id}"
                for method in made:
                    self._board.add(clip_id, method, "pose_error_body", np.nan, 0, note)
                return
        else:
            compared[TRUTH] = true
        boxes, usable = hand_boxes(*pose), hand_confidences(pose[1]) > self._hand_threshold
        for method, frames in made.items():
            add_hands(self._board, clip_id, method, true, frames, boxes, usable)
            if self._face is not None:
                add_identity(
                    self._board, clip_id, method, true, frames, pose, self._face, self._keypoint_threshold
                )
        if self._estimator is not None:
            for method, frames in compared.items():
                found = find_poses(list(frames), self._estimator)
                add_pose(self._board, clip_id, method, pose, found, self._keypoint_threshold)

    def scores(self) -> list[Score]:
        """Scores of every video, and their summary."""
        return self._board.scores()


def open_judge(
    settings: JudgeSettings,
    device: torch.device,
    *,
    cuda: bool,
    allow_cpu: bool,
    batch_size: int = 4,
    called: Callable[[str], str] = str,
) -> Judge:
    """The judge of these settings, with everything loaded that they name.

    Args:
        settings: what to judge with.
        device: where video and picture backbones work.
        cuda: whether ONNX models shall use the GPU.
        allow_cpu: go on with the CPU where ONNX Runtime cannot use the GPU.
        batch_size: windows that a video backbone sees at a time.
        called: what a person calls a field, for the reasons of absent metrics.

    Raises:
        WeightsError: a file is missing or of another form.
        InputError: CUDA is not there, and the CPU is not allowed.
    """
    backbones: dict[str, Backbone | str] = {}
    for metric in BACKBONE_FIELDS:
        path: Path | None = getattr(settings, metric)
        if path is None:
            backbones[metric] = f"absent: no weights in {called(metric)}"
        elif metric == LPIPS:
            backbones[metric] = load_perceptual(path, device, batch_size)
        elif metric != IDENTITY:
            backbones[metric] = load_backbone(metric, path, device, batch_size)
    estimator = face = None
    if settings.detector is None or settings.wholebody is None:
        for metric in ("pose_error_body", "pose_error_hands"):
            backbones[metric] = f"absent: no graphs in {called('detector')} and {called('wholebody')}"
    else:
        estimator = open_estimator(settings.detector, settings.wholebody, cuda=cuda, allow_cpu=allow_cpu)
    if settings.identity is not None:
        face = FaceModel.open(settings.identity, cuda=cuda, allow_cpu=allow_cpu)
    return Judge(
        settings.chosen_protocol,
        backbones,
        estimator,
        face,
        settings.keypoint_threshold,
        settings.hand_threshold,
    )
