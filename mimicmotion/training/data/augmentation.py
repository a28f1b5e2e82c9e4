"""Samples changed at random: mirrored, with driving poses of another body, with points left out.

A driving pose that ``animate`` meets comes from somebody else, and fits the picture only roughly; in training
it fits exactly. All of it is off by default.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mimicmotion.pose.alignment import NUM_LIMBS, with_limbs
from mimicmotion.pose.layout import MIRRORED, from_openpose, to_openpose
from mimicmotion.pose.table import PoseTrack
from mimicmotion.training.settings import SampleSettings


@dataclass(frozen=True)
class Augmentation:
    """What is changed of one sample.

    Attributes:
        mirrored: pictures, poses and boxes are mirrored.
        limbs: factors of the lengths of limbs of driving poses, see ``with_limbs``; none for the true body.
        scale: factor of their size.
        shift: of their place, as a share of the picture's height.
        drop: share of their points that are not drawn.
        seed: decides which.
    """

    mirrored: bool = False
    limbs: tuple[float, ...] = ()
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    drop: float = 0.0
    seed: int = 0

    def drivers(self, track: PoseTrack) -> PoseTrack:
        """The poses to draw: slot 0 is the reference and stays, those after it drive."""
        points, confidences = track.keypoints.copy(), track.confidences.copy()
        if self.limbs:
            points[1:] = self._other_body(points[1:], confidences[1:], track.height_px)
        if self.drop:
            rng = np.random.default_rng(self.seed)
            confidences[1:][rng.random(confidences[1:].shape) < self.drop] = 0
        return replace(track, keypoints=points, confidences=confidences)

    def _other_body(
        self, points: Float[np.ndarray, "f 133 2"], confidences: Float[np.ndarray, "f 133"], height_px: int
    ) -> Float[np.ndarray, "f 133 2"]:
        """Another body that makes the same moves, larger or smaller around the feet, and elsewhere."""
        moved = from_openpose(with_limbs(to_openpose(points, confidences)[0], self.limbs))
        feet = points[:, 15:17].mean(axis=(0, 1))
        return (moved - feet) * self.scale + feet + np.array(self.shift) * height_px


UNCHANGED = Augmentation()


def draw_augmentation(rng: np.random.Generator, settings: SampleSettings) -> Augmentation:
    """What is changed of a sample whose own generator this is."""
    chance, seed, most = rng.random(), int(rng.integers(2**63)), settings.misalign
    scale, *limbs = np.exp(rng.uniform(-most, most, 1 + NUM_LIMBS)).tolist()
    right, down = rng.uniform(-most, most, 2).tolist()
    body = Augmentation(limbs=tuple(limbs), scale=scale, shift=(right, down)) if most else UNCHANGED
    return replace(body, mirrored=bool(chance < settings.mirror), drop=settings.drop_points, seed=seed)


def mirrored(track: PoseTrack) -> PoseTrack:
    """The poses in the mirrored picture, where left and right change their names."""
    keypoints = track.keypoints[:, [*MIRRORED]].copy()
    keypoints[..., 0] = track.width_px - 1 - keypoints[..., 0]
    return replace(
        track,
        keypoints=keypoints,
        confidences=track.confidences[:, [*MIRRORED]],
        boxes=mirrored_boxes(track.boxes, track.width_px),
        hand_boxes=mirrored_boxes(track.hand_boxes[:, ::-1], track.width_px),
        hand_confidences=track.hand_confidences[:, ::-1],
    )


def mirrored_boxes(boxes: Float[np.ndarray, "*k 4"], width_px: int) -> Float[np.ndarray, "*k 4"]:
    """Boxes x0, y0, x1, y1 around the same things in a mirrored picture of this width."""
    across: Sequence[int] = (2, 1, 0, 3)
    return np.where([True, False, True, False], width_px - 1 - boxes[..., across], boxes).astype(boxes.dtype)
