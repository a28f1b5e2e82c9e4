"""Scores that look at hands, pose and face, of what was made of one video, frames in order."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from mimicmotion.metrics.hand_crops import hand_scores
from mimicmotion.metrics.identity import METRIC as IDENTITY
from mimicmotion.metrics.identity import FaceModel, identity_scores
from mimicmotion.metrics.pose_fidelity import pose_fidelity
from mimicmotion.metrics.redetection import Pose, PoseFinder, joined
from mimicmotion.metrics.scores import TRUE_SIDE, TRUTH, Measured
from mimicmotion.pose.hands import hand_boxes, hand_confidences
from mimicmotion.pose.models.estimator import PoseEstimator
from mimicmotion.video.size import Size
from mimicmotion.weights.fetching import file_digest


@dataclass(frozen=True)
class BodyJudge:
    """What scores of the body need.

    Attributes:
        estimator: finds poses again, for scores of the pose; None leaves these out.
        face: face embedding; None leaves identity out.
        keypoint_threshold: points of more confidence in both poses are compared.
        hand_threshold: hands whose smallest confidence exceeds this are compared.
    """

    estimator: PoseEstimator | None
    face: FaceModel | None
    keypoint_threshold: float
    hand_threshold: float

    @cached_property
    def pose_sha256(self) -> str | None:
        """Of the files that find poses, joined by ``+``."""
        files = {} if self.estimator is None else self.estimator.files
        return "+".join(file_digest(path) for _, path in sorted(files.items())) or None


class BodyMeter:
    """Measures hands, face and pose of one video; holds a frame and the keypoints of all.

    Args:
        judge: what it needs.
        pose: driving pose of the whole video; None finds it in the true frames.
        with_truth: look for the pose in the true frames too, as a method of its own.
    """

    def __init__(self, judge: BodyJudge, pose: Pose | None, with_truth: bool) -> None:
        self._judge, self._pose, self._with_truth = judge, pose, with_truth
        self._num_frames, self._size = 0, Size(0, 0)
        self._finders: dict[str, PoseFinder] = {}
        self._found: dict[str, list[Pose]] = defaultdict(list)
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, true: np.ndarray, made: Mapping[str, np.ndarray]) -> None:
        """Go on with frames uint8 (n, h, w, 3), of the truth and of each method."""
        if self._pose is None and self._judge.estimator is None:
            return
        frames, self._size = slice(self._num_frames, self._num_frames + len(true)), Size.of(true[0])
        self._num_frames = frames.stop
        if self._pose is None:
            driving = self._find(TRUE_SIDE, true)
        else:
            driving = self._pose[0][frames], self._pose[1][frames]
            if self._with_truth and self._judge.estimator is not None and TRUTH not in made:
                self._find(TRUTH, true)
        boxes, usable = hand_boxes(*driving), hand_confidences(driving[1]) > self._judge.hand_threshold
        for method, shown in made.items():
            if self._judge.estimator is not None:
                self._find(method, shown)
            for metric, values in zip(
                ("hand_psnr", "hand_ssim"), hand_scores(true, shown, boxes, usable), strict=True
            ):
                self._values[method, metric] += values.tolist()
            if self._judge.face is not None:
                threshold = self._judge.keypoint_threshold
                alike = identity_scores(true, shown, *driving, self._judge.face, threshold)
                self._values[method, IDENTITY] += alike.tolist()

    def rows(self, clip_id: str) -> Iterator[Measured]:
        """What was measured: ``hand_*``, ``identity``, and ``pose_*`` by part of the body."""
        driving, threshold = (
            self._pose or (joined(parts) if (parts := self._found.pop(TRUE_SIDE, [])) else None),
            self._judge.keypoint_threshold,
        )
        if driving is None:
            return
        nobody_drives = not ((driving[1] > threshold).sum(axis=1) >= 2).any()
        if self._judge.estimator is not None and nobody_drives:
            where = "the true video" if self._pose is None else "the driving pose of"
            nobody = f"nobody is found in {where} {clip_id}"
            for method in dict.fromkeys(method for method, _ in self._values):
                yield Measured(clip_id, method, "pose_error_body", None, note=nobody)
            return
        lacking = {IDENTITY: "no face is confident enough"}
        for (method, metric), values in self._values.items():
            mean = float(np.mean(values)) if values else None
            note = None if values else lacking.get(metric, "no hand is confident enough")
            sha256 = self._judge.face.sha256 if metric == IDENTITY and self._judge.face else None
            yield Measured(clip_id, method, metric, mean, len(values), sha256, note)
        for method, parts in self._found.items():
            yield from self._pose_rows(clip_id, method, driving, joined(parts))

    def _find(self, method: str, frames: np.ndarray) -> Pose:
        assert self._judge.estimator is not None
        finder = self._finders.setdefault(method, PoseFinder(self._judge.estimator))
        pose = finder.find(frames)
        self._found[method].append(pose)
        return pose

    def _pose_rows(self, clip_id: str, method: str, driving: Pose, found: Pose) -> Iterator[Measured]:
        row = partial(Measured, clip_id, method, backbone_sha256=self._judge.pose_sha256)
        for part, result in pose_fidelity(
            *driving, *found, self._size, self._judge.keypoint_threshold
        ).items():
            note = None if result.num_points else "no point is confident in both poses"
            for metric, value in (("error", result.error), ("pck", result.pck)):
                known = value if result.num_points else None
                yield row(f"pose_{metric}_{part}", known, result.num_points, note=note)
            note = None if result.num_wanted else "no driving point is confident"
            known = result.found if result.num_wanted else None
            yield row(f"pose_found_{part}", known, result.num_wanted, note=note)
