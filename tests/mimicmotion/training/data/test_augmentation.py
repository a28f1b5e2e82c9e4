"""Mirrored, misaligned and thinned samples; off by default, and the reference keeps its own pose."""

from dataclasses import replace

import numpy as np
import pytest

from mimicmotion.pose.alignment import NUM_LIMBS
from mimicmotion.pose.hands import hand_boxes, hand_confidences
from mimicmotion.pose.layout import FACE, MIRRORED
from mimicmotion.pose.table import PoseTrack
from mimicmotion.synthetic.body import face_landmarks
from mimicmotion.training.data.augmentation import UNCHANGED, Augmentation, mirrored
from mimicmotion.training.data.order import SampleIndex
from mimicmotion.training.data.samples import draw, make_sample

INDEX = SampleIndex(clip=0, epoch=2, slot=5)


def track(seed: int = 0) -> PoseTrack:
    rng = np.random.default_rng(seed)
    points = rng.uniform(10, 90, (4, 133, 2)).astype(np.float32)
    confidences = rng.uniform(0.4, 1, (4, 133)).astype(np.float32)
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    hands = hand_boxes(points, confidences), hand_confidences(confidences)
    return PoseTrack(points, confidences, np.ones(4, bool), boxes, *hands, width_px=100, height_px=200)


def test_the_mirror_swaps_every_pair_of_the_133_points() -> None:
    order = np.array(MIRRORED)
    np.testing.assert_array_equal(order[order], np.arange(133))
    names = {0: 0, 1: 2, 9: 10, 15: 16, 17: 20, 19: 22, 91: 112, 111: 132}
    assert {point: int(order[point]) for point in names} == names
    face = face_landmarks()
    np.testing.assert_allclose(face[order[FACE] - FACE.start], face * [-1, 1], atol=0.05)


def test_a_mirrored_track_is_that_of_the_mirrored_person_hands_and_boxes_included() -> None:
    before, after = track(), mirrored(track())
    np.testing.assert_allclose(after.keypoints[:, 9, 0], 99 - before.keypoints[:, 10, 0])
    np.testing.assert_allclose(after.hand_boxes, hand_boxes(after.keypoints, after.confidences), rtol=1e-6)
    np.testing.assert_array_equal(after.hand_confidences, hand_confidences(after.confidences))
    np.testing.assert_array_equal(after.hand_confidences, before.hand_confidences[:, ::-1])
    again = mirrored(after)
    np.testing.assert_allclose(again.keypoints, before.keypoints, rtol=1e-6)
    np.testing.assert_allclose(again.boxes, before.boxes, rtol=1e-6)


def test_a_mirrored_sample_mirrors_pictures_poses_and_loss_maps(clips, recipe) -> None:
    drawn = draw(clips[0], INDEX, recipe)
    plain = make_sample(clips[0], drawn, recipe)
    turned = make_sample(clips[0], replace(drawn, augmentation=Augmentation(mirrored=True)), recipe)
    np.testing.assert_array_equal(turned.frames, plain.frames[:, :, ::-1])
    hand, other = turned.hand_boxes[1], plain.hand_boxes[1]
    assert np.isnan(hand[0]).all(), "what was the sure left hand is a right one"
    np.testing.assert_allclose(hand[1, [0, 2]], 63 - other[0, [2, 0]], rtol=1e-5)
    lit = (turned.poses > 0).any(axis=1) & (plain.poses[..., ::-1] > 0).any(axis=1)
    assert lit.sum() > 0.6 * (plain.poses > 0).any(axis=1).sum()


def test_misaligned_drivers_are_another_body_and_the_reference_keeps_its_own() -> None:
    before = track()
    body = Augmentation(limbs=(1.0,) * NUM_LIMBS, scale=1.5, shift=(0.1, -0.05))
    after = body.drivers(before)
    np.testing.assert_array_equal(after.keypoints[0], before.keypoints[0])
    ratios = np.linalg.norm(after.keypoints[1:, 5] - after.keypoints[1:, 11], axis=-1) / np.linalg.norm(
        before.keypoints[1:, 5] - before.keypoints[1:, 11], axis=-1
    )
    np.testing.assert_allclose(ratios, 1.5, rtol=1e-4)
    moved = after.keypoints[1:, 15:17].mean(axis=(0, 1)) - before.keypoints[1:, 15:17].mean(axis=(0, 1))
    np.testing.assert_allclose(moved, [20, -10], rtol=1e-3)
    longer = replace(body, scale=1.0, shift=(0.0, 0.0), limbs=(1, 1, 1, 2, *[1] * (NUM_LIMBS - 4)))
    arms = longer.drivers(before).keypoints[1:]
    np.testing.assert_allclose(
        np.linalg.norm(arms[:, 7] - arms[:, 5], axis=-1),
        2 * np.linalg.norm(before.keypoints[1:, 7] - before.keypoints[1:, 5], axis=-1),
        rtol=1e-4,
    )


def test_dropped_points_are_not_drawn_in_drivers_alone() -> None:
    after = Augmentation(drop=0.25, seed=3).drivers(track())
    gone = after.confidences == 0
    assert not gone[0].any()
    assert gone[1:].mean() == pytest.approx(0.25, abs=0.06)


def test_nothing_is_changed_by_default_and_what_is_drawn_follows_the_settings(clips, recipe) -> None:
    assert draw(clips[0], INDEX, recipe).augmentation.drivers(track()).keypoints.tolist() == (
        track().keypoints.tolist()
    )
    changed = recipe.model_copy(update={"mirror": 0.5, "misalign": 0.1, "drop_points": 0.05})
    drawn = [draw(clips[0], SampleIndex(0, 0, slot), changed) for slot in range(400)]
    plain = [draw(clips[0], SampleIndex(0, 0, slot), recipe) for slot in range(400)]
    assert [replace(one, augmentation=UNCHANGED) for one in drawn] == [
        replace(one, augmentation=UNCHANGED) for one in plain
    ], "what was random before stays as it was"
    found = [one.augmentation for one in drawn]
    assert np.mean([one.mirrored for one in found]) == pytest.approx(0.5, abs=0.08)
    assert all(abs(np.log(one.scale)) <= 0.1 and len(one.limbs) == NUM_LIMBS for one in found)
    assert len({one.seed for one in found}) == 400


def test_the_loss_maps_stay_with_the_true_poses(clips, recipe) -> None:
    drawn = draw(clips[0], INDEX, recipe)
    body = Augmentation(limbs=(1.0,) * NUM_LIMBS, scale=1.2, shift=(0.1, 0.0))
    plain, moved = (
        make_sample(clips[0], replace(drawn, augmentation=one), recipe) for one in (UNCHANGED, body)
    )
    np.testing.assert_array_equal(plain.hand_weights, moved.hand_weights)
    np.testing.assert_array_equal(plain.poses[0], moved.poses[0])
    assert not np.array_equal(plain.poses[1:], moved.poses[1:])
