"""The one way to judge generated videos: for the stage, the command, and whoever checks the metrics.

``open_judge(JudgeSettings(...), ...)`` loads what is given; ``measure`` takes one video with everything that
was made of it, frames in order and a few at a time; a ``Scoreboard`` sums up. A metric over frames is a line
in ``FrameMeter``; one with a backbone is a field of ``JudgeSettings`` and a line in ``load_backbone``.

Where there is no true film: ``open_film_tools(FilmJudgeSettings(...), ...)``, then ``judge_film`` on its
frames and what it was to show.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from mimicmotion.devices import device_and_dtype
from mimicmotion.errors import InputError
from mimicmotion.memory import giving_back
from mimicmotion.metrics.backbones.features import load_backbone
from mimicmotion.metrics.body_scores import BodyJudge, BodyMeter
from mimicmotion.metrics.film.appearance import PictureEmbedding
from mimicmotion.metrics.film.film_scores import FilmMeter, Verdict, Wanted
from mimicmotion.metrics.film.looks import FilmTools
from mimicmotion.metrics.frame_scores import Backbone, ClipMeter
from mimicmotion.metrics.identity import METRIC as IDENTITY
from mimicmotion.metrics.identity import FaceModel
from mimicmotion.metrics.image import check_pair
from mimicmotion.metrics.perceptual import METRIC as LPIPS
from mimicmotion.metrics.perceptual import load_perceptual
from mimicmotion.metrics.protocols import EvaluationProtocol, resize_frames
from mimicmotion.metrics.redetection import Pose
from mimicmotion.metrics.scoreboard import Scoreboard
from mimicmotion.metrics.scores import MODEL, Measured, Score
from mimicmotion.metrics.settings import BACKBONE_FIELDS, FILM_NETWORKS, FilmJudgeSettings, JudgeSettings
from mimicmotion.pose.models.estimator import PoseEstimator, calibrated_estimator
from mimicmotion.video.size import Size
from mimicmotion.weights.fetching import file_digest

_CHUNK_FRAMES, _CHUNK_BYTES = 8, 7_000_000

Chunk = tuple[np.ndarray, Mapping[str, np.ndarray]]
"""True frames uint8 (n, h, w, 3) RGB, and the frames of each method, of the same shape."""


def frames_at_a_time(width: int, height: int) -> int:
    """How many frames of a size are measured together, so that memory stays small: one of full HD."""
    return max(1, min(_CHUNK_FRAMES, _CHUNK_BYTES // (width * height * 3)))


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
        self._protocol = protocol
        self._backbones = {name: one for name, one in backbones.items() if not isinstance(one, str)}
        self._body = BodyJudge(estimator, face, keypoint_threshold, hand_threshold)
        absent = {name: reason for name, reason in backbones.items() if isinstance(reason, str)}
        self.board = Scoreboard(protocol.window, absent)

    def measure(
        self, clip_id: str, chunks: Iterable[Chunk], pose: Pose | None = None, with_truth: bool = True
    ) -> list[Measured]:
        """Measure everything that was made of one video, in one pass over its frames.

        Args:
            clip_id: names the video.
            chunks: its frames in order, all at the size of the truth, or those of a method at the protocol's.
            pose: driving pose in pixels of these frames; None finds it in the true frames.
            with_truth: give features of the true frames too, which distances between sets need.

        Raises:
            InputError: frames of a method do not pair with the true ones, or there is none.
        """
        pictures = ClipMeter(clip_id, self._backbones, self._protocol.window, with_truth)
        body = BodyMeter(self._body, pose, with_truth)
        num_frames = 0
        for true, made in giving_back(chunks):
            num_frames += len(true)
            small = {method: self._protocol.resized(frames) for method, frames in made.items()}
            # What has the protocol's own size is scored as it is; for hands and poses it gets the truth's.
            common, size = self._protocol.frame_size, Size.of(true[0])
            whole = {
                method: resize_frames(frames, size) if Size.of(frames[0]) == common else frames
                for method, frames in made.items()
            }
            for frames in whole.values():
                check_pair(true, frames)
            pictures.add(self._protocol.resized(true), small)
            body.add(true, whole)
        if not num_frames:
            raise InputError(f"there is no frame to compare in {clip_id}")
        return [*pictures.rows(), *body.rows(clip_id)]

    def add(
        self, clip_id: str, true: np.ndarray, made: Mapping[str, np.ndarray], pose: Pose | None = None
    ) -> None:
        """Measure a video whose frames are all there, and put it into the table; see ``measure``."""
        for frames in made.values():
            check_pair(true, frames)
        step = frames_at_a_time(true.shape[2], true.shape[1])
        parts = (slice(begin, begin + step) for begin in range(0, len(true), step))
        chunks = ((true[part], {method: frames[part] for method, frames in made.items()}) for part in parts)
        self.board.add(self.measure(clip_id, chunks, pose))

    def scores(self) -> list[Score]:
        """Scores of every video, and their summary."""
        return self.board.scores()


def absent_metrics(
    settings: JudgeSettings, called: Callable[[str], str] = str, *, drives: bool = True
) -> dict[str, str]:
    """Metrics that these settings leave out, each with the reason; ``called`` names a field for a person.

    Where no poses drive (``drives``), hands too are found by the models.
    """
    absent = {
        metric: f"absent: no weights in {called(metric)}"
        for metric in BACKBONE_FIELDS
        if getattr(settings, metric) is None
    }
    if settings.detector is None or settings.wholebody is None:
        for metric in ("pose_error_body", "pose_error_hands", *(() if drives else ("hand_psnr",))):
            absent[metric] = f"absent: no graphs in {called('detector')} and {called('wholebody')}"
    return absent


def open_judge(
    settings: JudgeSettings,
    device: torch.device,
    *,
    cuda: bool,
    allow_cpu: bool,
    batch_size: int = 4,
    called: Callable[[str], str] = str,
    drives: bool = True,
) -> Judge:
    """The judge of these settings, with everything loaded that they name.

    Args:
        settings: what to judge with.
        device: where video and picture backbones work.
        cuda: whether ONNX models shall use the GPU.
        allow_cpu: go on with the CPU where ONNX Runtime cannot use the GPU.
        batch_size: windows that a video backbone sees at a time.
        called: what a person calls a field, for the reasons of absent metrics.
        drives: whether each video is measured with the poses that drove it.

    Raises:
        WeightsError: a file is missing or of another form.
        InputError: CUDA is not there, and the CPU is not allowed.
    """
    backbones: dict[str, Backbone | str] = {**absent_metrics(settings, called, drives=drives)}
    for metric in BACKBONE_FIELDS:
        path: Path | None = getattr(settings, metric)
        if path is None:
            continue
        if metric == LPIPS:
            backbones[metric] = load_perceptual(path, device, batch_size)
        elif metric != IDENTITY:
            backbones[metric] = load_backbone(metric, path, device, batch_size)
    face = None
    estimator = calibrated_estimator(settings, cuda=cuda, allow_cpu=allow_cpu)
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


def open_film_tools(settings: FilmJudgeSettings, cuda: bool, called: Callable[[str], str] = str) -> FilmTools:
    """What judges films without their truth, with everything loaded that the settings name.

    Args:
        settings: what to judge with.
        cuda: whether to use a GPU, as far as it can be used.
        called: what a person calls a field, for the reasons of absent scores.

    Raises:
        WeightsError: a file is missing or of another form.
    """
    absent, hashes = dict[str, str](), dict[str, str]()
    face = appearance = None
    by_pose = [metric for metric, field in FILM_NETWORKS.items() if field == "wholebody"]
    by_look = [metric for metric, field in FILM_NETWORKS.items() if field == "appearance"]
    estimator = calibrated_estimator(settings, cuda=cuda, allow_cpu=True)
    if estimator is None:
        reason = f"absent: no graphs in {called('detector')} and {called('wholebody')}"
        absent |= dict.fromkeys(by_pose, reason)
    else:
        hashes |= dict.fromkeys(by_pose, " ".join(map(file_digest, estimator.files.values())))
    if settings.identity is None:
        absent["judge_identity"] = f"absent: no weights in {called('identity')}"
    else:
        face = FaceModel.open(settings.identity, cuda=cuda, allow_cpu=True)
        hashes["judge_identity"] = face.sha256
    if settings.appearance is None:
        absent |= dict.fromkeys(by_look, f"absent: no weights in {called('appearance')}")
    else:
        device, _ = device_and_dtype(cuda, "float32")
        appearance = PictureEmbedding.open(settings.appearance, device, cuda=cuda, allow_cpu=True)
        hashes |= dict.fromkeys(by_look, appearance.sha256)
    thresholds = settings.keypoint_threshold, settings.hand_threshold
    return FilmTools(estimator, face, appearance, *thresholds, absent, hashes)


def judge_film(
    frames: Iterable[np.ndarray], wanted: Wanted, tools: FilmTools, film_id: str = "film", method: str = MODEL
) -> Verdict:
    """What can be said of a film without its truth, in one pass over its frames; see ``film_scores``.

    Args:
        frames: uint8 (h, w, 3) RGB each, in order.
        wanted: what the film was to show.
        tools: what looks at it.
        film_id: names it in the scores.
        method: what made it.

    Raises:
        InputError: another number of frames than of driving poses, or of another size than the reference.
    """
    meter, iterator = FilmMeter(tools, wanted), iter(frames)
    at_a_time = frames_at_a_time(*Size.of(wanted.reference))
    several = iter(lambda: list(islice(iterator, at_a_time)), [])
    for chunk in giving_back(several):
        meter.add(np.stack(chunk))
    return meter.verdict(film_id, method)
