"""Poses land on the reference's body; hidden and wrong points do not pull them away."""

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.pose.alignment import align, release_fit
from mimicmotion.pose.layout import BODY, LEFT_HAND, RIGHT_HAND, from_openpose, to_openpose
from mimicmotion.video.size import Size

SIZE, REFERENCE_SIZE = Size(360, 640), Size(288, 512)
# An upright body in OpenPose order, one unit high.
STANDING = np.array(
    [
        (0.50, 0.10), (0.50, 0.20), (0.40, 0.20), (0.36, 0.35), (0.34, 0.48), (0.60, 0.20), (0.64, 0.35),
        (0.66, 0.48), (0.44, 0.50), (0.44, 0.72), (0.44, 0.95), (0.56, 0.50), (0.56, 0.72), (0.56, 0.95),
        (0.48, 0.08), (0.52, 0.08), (0.45, 0.09), (0.55, 0.09),
    ]
)  # fmt: skip


def body(height, left=0.0, top=0.0, seed=0):
    """COCO-WholeBody keypoints of someone standing, hands at the wrists."""
    points = np.zeros((134, 2))
    points[:18] = STANDING
    random = np.random.default_rng(seed)
    points[18:24] = points[[13, 13, 13, 10, 10, 10]] + random.uniform(-0.02, 0.02, (6, 2))
    points[24:92] = points[0] + random.uniform(-0.03, 0.03, (68, 2))
    points[92:113] = points[7] + random.uniform(0, 0.05, (21, 2))
    points[113:] = points[4] + random.uniform(0, 0.05, (21, 2))
    return from_openpose(points * height + [left, top])


def dance(height, left, top, num_frames=20):
    """The same body over frames, arms swinging, steps aside."""
    frames = []
    for frame in range(num_frames):
        keypoints = body(height, left + 5 * np.sin(frame), top)
        keypoints[7:11] += height * 0.1 * np.sin(frame)
        frames.append(keypoints)
    return np.stack(frames)


SURE = np.full(133, 0.9)


def test_release_equals_the_golden_fit(golden):
    with np.load(golden / "alignment.npz") as vectors:
        chosen = [0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
        sizes = [Size(*vectors[f"{name}_size"].tolist()[::-1]) for name in ("reference", "driving")]
        a, b = release_fit(
            vectors["reference_candidate"][chosen], vectors["driving_candidate"][:, chosen], *sizes
        )
        for part in ("candidate", "hands", "faces"):
            np.testing.assert_allclose(
                vectors[f"driving_{part}"] * a + b, vectors[f"aligned_{part}"], atol=1e-6
            )


def test_release_fits_pixels_as_fractions():
    driving, reference = dance(500, left=100, top=50), body(300, left=20, top=100)
    moved = align("release", driving, np.tile(SURE, (20, 1)), SIZE, reference, SURE, REFERENCE_SIZE)
    chosen = [0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
    extent, reference_extent = np.array(SIZE), np.array(REFERENCE_SIZE)
    fitted = to_openpose(driving, np.tile(SURE, (20, 1)))[0][:, chosen] / extent
    a, b = release_fit(
        to_openpose(reference, SURE)[0][chosen] / reference_extent, fitted, REFERENCE_SIZE, SIZE
    )
    np.testing.assert_allclose(moved, (driving / extent * a + b) * reference_extent, rtol=1e-5)


def test_none_keeps_proportions_and_centre():
    driving = body(500)[None]
    moved = align("none", driving, SURE[None], Size(400, 100), body(200), SURE, Size(200, 200))
    np.testing.assert_allclose(moved, driving / 2 + [0, 75], rtol=1e-5)


@pytest.mark.parametrize("mode", ["release", "robust", "limbs"])
def test_a_dancer_lands_on_the_reference(mode):
    reference = body(300, left=20, top=100)
    driving = dance(500, left=100, top=50)
    moved = align(mode, driving, np.tile(SURE, (20, 1)), SIZE, reference, SURE, REFERENCE_SIZE)
    still = [5, 6, *range(11, 17)]
    np.testing.assert_allclose(np.median(moved[:, still], axis=0), reference[still], atol=6)


def test_robust_survives_wrong_and_hidden_points():
    reference = body(300, left=20, top=100)
    driving, confidences = dance(500, left=100, top=50), np.tile(SURE, (20, 1))
    clean = align("robust", driving, confidences, SIZE, reference, SURE, REFERENCE_SIZE)
    driving[:, 13:17] = 0.0  # knees and ankles were not seen, their coordinates mean nothing
    confidences[:, 13:17] = 0.0
    driving[::5, 0] += 400  # the nose is wrong now and then, and sure of it
    moved = align("robust", driving, confidences, SIZE, reference, SURE, REFERENCE_SIZE)
    seen = [*range(1, 13), *range(91, 133)]
    np.testing.assert_allclose(moved[:, seen], clean[:, seen], atol=8)
    released = align("release", driving, confidences, SIZE, reference, SURE, REFERENCE_SIZE)
    assert np.abs(released[:, seen] - clean[:, seen]).max() > 30


def test_robust_fits_an_upper_body():
    reference, reference_confidences = body(900, left=-150, top=30), SURE.copy()
    reference_confidences[11:23] = 0.1  # below the edge of the picture
    driving = dance(500, left=100, top=50)
    moved = align(
        "robust", driving, np.tile(SURE, (20, 1)), SIZE, reference, reference_confidences, REFERENCE_SIZE
    )
    np.testing.assert_allclose(np.median(moved[:, [5, 6]], axis=0), reference[[5, 6]], atol=10)


def test_frames_without_the_person_do_not_count():
    reference, driving = body(300, left=20, top=100), dance(500, left=100, top=50)
    confidences = np.tile(SURE, (20, 1))
    for mode in ("release", "robust", "limbs"):
        alone = align(mode, driving[:10], confidences[:10], SIZE, reference, SURE, REFERENCE_SIZE)
        confidences[10:], driving[10:] = 0, 0
        moved = align(mode, driving, confidences, SIZE, reference, SURE, REFERENCE_SIZE)
        np.testing.assert_allclose(moved[:10], alone, rtol=1e-4, atol=1e-3)


def lengths(keypoints, bones):
    points = to_openpose(keypoints, np.ones(keypoints.shape[:-1]))[0]
    return np.array([np.linalg.norm(points[..., a, :] - points[..., b, :], axis=-1) for a, b in bones])


def test_limbs_have_the_lengths_of_the_reference():
    short_legs = to_openpose(body(300, left=20, top=100), SURE)[0]
    for hip, knee, ankle in ((8, 9, 10), (11, 12, 13)):
        short_legs[[knee, ankle]] = short_legs[hip] + 0.6 * (short_legs[[knee, ankle]] - short_legs[hip])
    reference = from_openpose(short_legs)
    driving = dance(500, left=100, top=50)
    bones = [(8, 9), (9, 10), (11, 12), (12, 13), (2, 5)]
    moved = align("limbs", driving, np.tile(SURE, (20, 1)), SIZE, reference, SURE, REFERENCE_SIZE)
    np.testing.assert_allclose(lengths(moved[0], bones), lengths(reference, bones), rtol=0.08)
    robust = align("robust", driving, np.tile(SURE, (20, 1)), SIZE, reference, SURE, REFERENCE_SIZE)
    assert (lengths(robust[0], bones[:4]) > 1.2 * lengths(reference, bones[:4])).all()


@pytest.mark.parametrize("mode", ["robust", "limbs"])
def test_hands_stay_at_their_wrists(mode):
    driving = dance(500, left=100, top=50)
    moved = align(mode, driving, np.tile(SURE, (20, 1)), SIZE, body(300), SURE, REFERENCE_SIZE)
    for hand, wrist in ((LEFT_HAND, 9), (RIGHT_HAND, 10)):
        before = np.abs(driving[:, hand] - driving[:, wrist, None]).max() / 500
        after = np.abs(moved[:, hand] - moved[:, wrist, None]).max() / 300
        assert after == pytest.approx(before, rel=0.3)


@pytest.mark.parametrize("mode", ["release", "robust", "limbs"])
def test_too_few_shared_points_are_named(mode):
    confidences = np.zeros(133)
    confidences[BODY.start : BODY.start + 2] = 0.9
    with pytest.raises(InputError, match="only 2 of 14 body points"):
        align(mode, body(500)[None], SURE[None], SIZE, body(300), confidences, REFERENCE_SIZE)


def test_points_without_a_bone_are_named():
    confidences = np.zeros(133)
    confidences[[1, 3, 5]] = 0.9
    with pytest.raises(InputError, match="no bone"):
        align("robust", body(500)[None], SURE[None], SIZE, body(300), confidences, REFERENCE_SIZE)
