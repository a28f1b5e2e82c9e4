"""Pictures for people: panels side by side with labels, and poses over a reference."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

PANEL_HEIGHT_PX = 384
"""Panels smaller than this are enlarged by a whole factor, so that pixels stay what they are."""
LABEL_HEIGHT_PX = 22
_GAP_PX = 4
_INK, _PAPER = (40, 40, 40), (245, 245, 245)


def labelled_row(panels: Mapping[str, np.ndarray]) -> np.ndarray:
    """One picture uint8 (H, W, 3) with the panels side by side, each under its label.

    Args:
        panels: label -> uint8 (h, w, 3), all of one height.
    """
    columns: list[np.ndarray] = []
    for label, panel in panels.items():
        if columns:
            columns.append(np.full((columns[0].shape[0], _GAP_PX, 3), _PAPER, np.uint8))
        columns.append(_labelled(label, enlarged(panel)))
    return np.concatenate(columns, axis=1)


def grid(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of pictures under one another, uint8 (H, W, 3); shorter rows are filled with paper."""
    width = max(row.shape[1] for row in rows)
    padded = [
        cv2.copyMakeBorder(row, 0, _GAP_PX, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=_PAPER)
        for row in rows
    ]
    return np.concatenate(padded)


def enlarged(picture: np.ndarray) -> np.ndarray:
    """The picture enlarged by the whole factor that brings it near ``PANEL_HEIGHT_PX``; never smaller."""
    factor = max(1, round(PANEL_HEIGHT_PX / picture.shape[0]))
    if factor == 1:
        return picture
    size = (picture.shape[1] * factor, picture.shape[0] * factor)
    return cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)


def pose_over(picture: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """The pose picture drawn over a dimmed picture, uint8 (h, w, 3).

    Args:
        picture: uint8 (h, w, 3).
        pose: uint8 (3, h, w), black where nothing is drawn.
    """
    marks = pose.transpose(1, 2, 0)
    drawn = marks.max(axis=2, keepdims=True).astype(np.float32) / 255
    drawn = np.minimum(drawn * 2, 1)
    return (picture * (0.6 * (1 - drawn)) + marks * drawn).round().astype(np.uint8)


def alignment_preview(
    reference: np.ndarray, poses: Sequence[np.ndarray], labels: Sequence[str]
) -> np.ndarray:
    """The reference under its own pose and under some driving poses, uint8 (H, W, 3).

    Args:
        reference: uint8 (h, w, 3).
        poses: uint8 (3, h, w) each, the reference's own pose first.
        labels: of the driving poses.
    """
    panels = {"reference": pose_over(reference, poses[0])}
    panels.update({label: pose_over(reference, pose) for label, pose in zip(labels, poses[1:], strict=True)})
    return labelled_row(panels)


def _labelled(label: str, panel: np.ndarray) -> np.ndarray:
    strip = np.full((LABEL_HEIGHT_PX, panel.shape[1], 3), _PAPER, np.uint8)
    baseline = LABEL_HEIGHT_PX - 7
    cv2.putText(strip, label, (4, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    return np.concatenate([strip, panel])
