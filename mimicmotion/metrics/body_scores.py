"""Scores that look at hands, pose and face, added to a table for one method on one video."""

import numpy as np

from mimicmotion.metrics.hand_crops import hand_scores
from mimicmotion.metrics.identity import METRIC as IDENTITY
from mimicmotion.metrics.identity import FaceModel, identity_scores
from mimicmotion.metrics.pose_fidelity import pose_fidelity
from mimicmotion.metrics.scoreboard import Scoreboard


def add_hands(
    board: Scoreboard,
    clip_id: str,
    method: str,
    true: np.ndarray,
    frames: np.ndarray,
    boxes: np.ndarray,
    usable: np.ndarray,
) -> None:
    """Add ``hand_psnr`` and ``hand_ssim``.

    Args:
        board: the table.
        clip_id: names the video.
        method: what made the frames.
        true: uint8 (n, h, w, 3).
        frames: the same shape.
        boxes: float (n, 2, 4) xyxy pixels of the hands in the true frames.
        usable: bool (n, 2), hands that were seen surely.
    """
    psnrs, ssims = hand_scores(true, frames, boxes, usable)
    for metric, values in (("hand_psnr", psnrs), ("hand_ssim", ssims)):
        if len(values):
            board.add(clip_id, method, metric, values.mean(), len(values))
        else:
            board.add(clip_id, method, metric, np.nan, 0, "no hand is confident enough")


def add_pose(
    board: Scoreboard,
    clip_id: str,
    method: str,
    driving: tuple[np.ndarray, np.ndarray],
    found: tuple[np.ndarray, np.ndarray],
    threshold: float,
) -> None:
    """Add ``pose_error_*``, ``pose_pck_*`` and ``pose_found_*`` by part of the body.

    Args:
        board: the table.
        clip_id: names the video.
        method: what made the frames.
        driving: keypoints (n, 133, 2) in pixels and confidences (n, 133) of the driving pose.
        found: the same, found again on the frames.
        threshold: points of more confidence in both poses are compared.
    """
    for part, result in pose_fidelity(*driving, *found, threshold).items():
        note = None if result.num_points else "no point is confident in both poses"
        board.add(clip_id, method, f"pose_error_{part}", result.error, result.num_points, note)
        board.add(clip_id, method, f"pose_pck_{part}", result.pck, result.num_points, note)
        note = None if result.num_wanted else "no driving point is confident"
        board.add(clip_id, method, f"pose_found_{part}", result.found, result.num_wanted, note)


def add_identity(
    board: Scoreboard,
    clip_id: str,
    method: str,
    true: np.ndarray,
    frames: np.ndarray,
    driving: tuple[np.ndarray, np.ndarray],
    model: FaceModel,
    threshold: float,
) -> None:
    """Add ``identity``.

    Args:
        board: the table.
        clip_id: names the video.
        method: what made the frames.
        true: uint8 (n, h, w, 3).
        frames: the same shape.
        driving: keypoints (n, 133, 2) in pixels and confidences (n, 133) of the true frames.
        model: the face embedding.
        threshold: face points must be surer than this.
    """
    values = identity_scores(true, frames, *driving, model, threshold)
    value, note = (values.mean(), None) if len(values) else (np.nan, "no face is confident enough")
    board.add(clip_id, method, IDENTITY, value, len(values), note, model.sha256)
