"""Flicker, hand crops, pose fidelity, protocols."""

from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from mimicmotion.errors import InputError
from mimicmotion.metrics.flicker import flicker
from mimicmotion.metrics.hand_crops import MIN_SIDE_PX, crop_bounds, hand_scores
from mimicmotion.metrics.pose_fidelity import pose_fidelity
from mimicmotion.metrics.protocols import PROTOCOLS, protocol_by_id, resize_frames
from mimicmotion.video.size import Size


def frames(seed=0, shape=(4, 40, 30, 3)):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.uint8)


def test_a_still_error_does_not_flicker_and_an_alternating_one_does():
    true = frames()
    assert flicker(true, true + 20).max() == 0
    blinking = true.copy()
    blinking[1::2] += 51
    np.testing.assert_allclose(flicker(true, blinking), 0.2)
    with pytest.raises(InputError, match="at least 2"):
        flicker(true[:1], true[:1])


def test_hand_crops_see_only_the_hand():
    true = frames()
    generated = true.copy()
    generated[:, 25:, 18:] = 0
    boxes = np.full((4, 2, 4), np.nan)
    boxes[:, 0] = [2, 2, 10, 10]
    boxes[:, 1] = [22, 30, 28, 38]
    usable = np.ones((4, 2), bool)
    usable[3] = False
    psnrs, ssims = hand_scores(true, generated, boxes, usable)
    assert psnrs[::2].tolist() == [100.0] * 3
    assert psnrs[1::2].max() < 20
    assert ssims[::2].min() == pytest.approx(1)
    assert ssims[1::2].max() < 0.9


def test_hand_crops_stay_inside_the_picture_and_are_never_tiny():
    top, bottom, left, right = crop_bounds(np.array([-3.0, 36, 1, 40]), Size(30, 40))
    assert (left, bottom) == (0, 40)
    assert bottom - top == right - left == MIN_SIDE_PX
    assert crop_bounds(np.array([np.nan] * 4), Size(30, 40)) is None
    assert crop_bounds(np.array([31.0, 0, 35, 5]), Size(30, 40)) is None


SIZE = Size(200, 200)


def poses(num_frames=5):
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(10, 90, (num_frames, 133, 2))
    keypoints[:, 0, 1], keypoints[:, 1, 1] = 0, 100  # spans exactly 100 px
    return keypoints, np.ones((num_frames, 133))


def test_pose_fidelity_is_in_units_of_body_height_by_part():
    driving, confidences = poses()
    found = driving.copy()
    found[:, 91:133, 0] += 8
    found[:, 23:91, 0] += 2
    result = pose_fidelity(driving, confidences, found, confidences, SIZE)
    assert result["body"].error == 0
    assert result["hands"].error == pytest.approx(0.08)
    assert result["hands"].pck == 0
    assert result["face"].error == pytest.approx(0.02)
    assert result["face"].pck == 1


def test_pose_fidelity_compares_only_points_confident_in_both_and_counts_the_lost():
    driving, confidences = poses()
    found_confidences = confidences.copy()
    found = driving + 0.0
    found[:, 5] += 1000
    found_confidences[:, 5] = 0.1
    driving_confidences = confidences.copy()
    driving_confidences[:, 6] = 0.1
    result = pose_fidelity(driving, driving_confidences, found, found_confidences, SIZE)
    assert result["body"].error == 0
    assert result["body"].num_points == 15 * 5
    assert result["body"].found == pytest.approx(15 / 16)


def test_points_outside_of_the_picture_are_not_asked_for():
    driving, confidences = poses()
    driving[:, 17:23, 1] += 1000
    found, found_confidences = driving.copy(), confidences.copy()
    found[:, 17:23], found_confidences[:, 17:23] = 3, 0.9
    result = pose_fidelity(driving, confidences, found, found_confidences, SIZE)
    assert (result["body"].error, result["body"].found) == (0, 1)


def test_pose_fidelity_when_nobody_is_found():
    driving, confidences = poses()
    result = pose_fidelity(driving, confidences, driving, confidences * 0, SIZE)
    assert np.isnan(result["body"].error)
    assert result["body"].found == 0
    with pytest.raises(InputError, match="no scale"):
        pose_fidelity(driving, confidences * 0, driving, confidences, SIZE)


def test_the_two_tiktok_sets_are_not_confused():
    paper = protocol_by_id("tiktok-335-340-256")
    disco = protocol_by_id("tiktok-disco10-256")
    assert len(paper.videos) == 6
    assert len(disco.videos) == 10
    assert set(paper.videos) & set(disco.videos) == {"00337", "00338"}
    paper.check_videos(paper.videos)
    with pytest.raises(InputError, match="missing: 201_002_1x1"):
        disco.check_videos(disco.videos[:2] + disco.videos[3:])
    with pytest.raises(InputError, match="not part of it: 00001"):
        paper.check_videos([*paper.videos, "00001"])
    with pytest.raises(
        InputError, match=f"each of its videos once, and several are called {paper.videos[0]}"
    ):
        paper.check_videos([*paper.videos, paper.videos[0]])
    assert (paper.id_on("test"), paper.id_on("val")) == (paper.id, f"{paper.id}-val")
    with pytest.raises(InputError, match="choose one of"):
        protocol_by_id("tiktok")


def test_a_protocol_with_another_window_has_another_id():
    native = PROTOCOLS["native"]
    assert native.with_window(16) is native
    assert native.with_window(8).id == "native-w8"
    native.check_videos(["anything"])
    assert native.id_on("val") == native.id
    assert native.resized(frames()).shape == (4, 40, 30, 3)


@pytest.mark.parametrize(
    ("num_frames", "reference", "scored", "cut", "sentence"),
    [
        (300, 0, range(1, 300), 0.0, None),
        (300, 0, range(1, 300), 0.02, None),
        (300, 0, range(4, 300, 4), 0.0, "299 frames of 00335.*There are 74, from frame 4 at step 4"),
        (300, 0, range(1, 299), 0.0, "There are 298"),
        (300, 1, range(1, 300), 0.0, "with frame 1 as reference"),
        (300, 0, range(1, 300), 0.0201, "2.0% of those of 00335 are cut off, 2% are allowed"),
    ],
)
def test_a_named_protocol_refuses_other_frames_and_cut_pictures(num_frames, reference, scored, cut, sentence):
    for name in ("tiktok-335-340-256", "tiktok-disco10-256"):
        refused = pytest.raises(InputError, match=sentence) if sentence else nullcontext()
        with refused:
            protocol_by_id(name).check_frames("00335", num_frames, reference, scored, cut)
    PROTOCOLS["native"].check_frames("00335", num_frames, reference, scored, cut)


def test_frames_come_to_the_size_of_the_protocol_by_pillows_bicubic_filter():
    resized = protocol_by_id("tiktok-335-340-256").resized(frames())
    assert resized.shape == (4, 256, 256, 3)
    wanted = Image.fromarray(frames()[1]).resize((256, 256), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resized[1], np.asarray(wanted))
    flat = np.full((2, 100, 80, 3), 77, np.uint8)
    assert (resize_frames(flat, Size(20, 30)) == 77).all()
