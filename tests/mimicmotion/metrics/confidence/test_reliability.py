"""Points beside their truth: who is matched, how near is right, and what a calibration makes better."""

import numpy as np
import pytest

from mimicmotion.errors import InputError
from mimicmotion.metrics.confidence.reliability import (
    SIGMAS,
    TruePicture,
    fit,
    judge_agreement,
    judge_pictures,
    radii,
    reliability,
)
from mimicmotion.pictures.reliability import reliability_chart
from mimicmotion.pose.calibration import PARTS
from mimicmotion.pose.layout import MIRRORED, NUM_KEYPOINTS
from mimicmotion.pose.people import Person

AREA = 900.0


def places(rng):
    return rng.uniform(20, 80, (NUM_KEYPOINTS, 2)).astype(np.float32)


class Guesser:
    """Finds people where told, off by a lot with the chance that its confidence leaves, or boasts of more."""

    def __init__(self, people):
        self.coming = iter(people)

    def people(self, chunks):
        for frames in chunks:
            for _ in frames:
                yield next(self.coming)


def world(number, seed, boast=1.0):
    """Pictures of one person each, and an estimator whose points are right as often as confidence / boast."""
    rng = np.random.default_rng(seed)
    pictures, people = [], []
    for _ in range(number):
        true, sure = places(rng), rng.uniform(0, 1, NUM_KEYPOINTS)
        wrong = rng.random(NUM_KEYPOINTS) > sure
        found = true + np.where(wrong, 3, 0.3)[:, None] * radii(AREA)[:, None] * [1, 0]
        box = np.array([18, 18, 82, 82], np.float32)
        raw = np.minimum(sure ** (1 / boast) * 1.2, 1.2).astype(np.float32)
        people.append([Person(box, 0.9, found.astype(np.float32), raw)])
        known = np.ones((1, NUM_KEYPOINTS), bool)
        known[0, 40:50] = False
        pictures.append(TruePicture(np.zeros((100, 100, 3), np.uint8), true[None], known, np.array([AREA])))
    return Guesser(people), pictures


def test_radii_are_those_of_a_similarity_of_one_half():
    similarity = np.exp(-(radii(AREA) ** 2) / (2 * AREA * (2 * SIGMAS) ** 2))
    np.testing.assert_allclose(similarity, 0.5)
    assert len(SIGMAS) == NUM_KEYPOINTS


def test_a_calibration_brings_the_error_on_other_pictures_down():
    made, tested = (judge_pictures(*world(40, seed, boast=3)) for seed in (0, 1))
    rows = {row.part: row for row in reliability(tested, fit(made, "a", {}))}
    assert [*rows] == ["body", "feet", "face", "hands", "all"]
    assert rows["all"].error_before == pytest.approx(0.35, abs=0.03)
    assert all(row.error_after < row.error_before / 3 for row in rows.values())
    assert rows["face"].num_points == 40 * (68 - 10)
    assert reliability_chart([*rows.values()]).shape[2] == 3


def test_a_part_that_no_held_out_picture_shows_has_no_error_and_an_empty_panel():
    made, tested = (judge_pictures(*world(40, seed, boast=3)) for seed in (0, 1))
    tested.raw[:, PARTS["feet"]] = np.nan
    rows = {row.part: row for row in reliability(tested, fit(made, "a", {}))}
    assert rows["feet"].num_points == 0
    assert np.isnan([rows["feet"].error_before, rows["feet"].error_after]).all()
    assert np.isfinite(rows["all"].error_after)
    assert reliability_chart([*rows.values()]).shape[2] == 3


def test_people_are_matched_with_themselves():
    rng = np.random.default_rng(0)
    near, far = places(rng), places(rng) + np.float32([200, 0])
    boxes = [np.array([18, 18, 82, 82], np.float32), np.array([218, 18, 282, 82], np.float32)]
    sure = np.ones(NUM_KEYPOINTS, np.float32)
    stranger = Person(np.array([100, 100, 140, 140], np.float32), 1.0, near + 90, sure)
    people = [stranger, Person(boxes[1], 0.8, far, sure), Person(boxes[0], 0.9, near, 0.5 * sure)]
    known = np.ones((2, NUM_KEYPOINTS), bool)
    picture = TruePicture(
        np.zeros((200, 300, 3), np.uint8), np.stack([near, far]), known, np.array([AREA, AREA])
    )
    points = judge_pictures(Guesser([people]), [picture])
    assert points.right.all()
    assert sorted(points.raw[:, 0].tolist()) == [0.5, 1.0]


def test_too_little_is_refused_or_told(caplog):
    guesser, pictures = world(1, 0)
    with pytest.raises(InputError, match=r"6 points of the feet.*at least 10"):
        fit(judge_pictures(guesser, pictures), "a", {})
    fit(judge_pictures(*world(4, 0)), "a", {})
    assert "the curve of the feet rests on 24 points only" in caplog.text
    with pytest.raises(InputError, match="none of the people"):
        judge_pictures(Guesser([[]]), pictures[:1])


class Blob:
    """Finds a bright square as somebody who faces us, left points on one side of it."""

    def people(self, chunks):
        mirrored, every = np.array(MIRRORED), np.arange(NUM_KEYPOINTS)
        shape = np.stack([10 * np.sign(mirrored - every), np.minimum(mirrored, every) % 31 - 15], axis=-1)
        for frames in chunks:
            for frame in frames:
                middle = np.argwhere(frame[..., 0] > 128).mean(axis=0)[::-1]
                box = np.float32([*(middle - 20), *(middle + 20)])
                points = (middle + shape).astype(np.float32)
                yield [Person(box, 1.0, points, np.ones(NUM_KEYPOINTS, np.float32))]


def test_what_every_copy_shows_counts_as_right():
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[38:42, 28:32] = 255
    points = judge_agreement(Blob(), [frame])
    # Small points demand more than a pixel of a copy gives; shoulders do not.
    assert points.right[0, [5, 6, 11, 12]].all()


def test_mirroring_twice_is_nothing_and_swaps_sides():
    assert [MIRRORED[place] for place in MIRRORED] == [*range(NUM_KEYPOINTS)]
    pairs = {5: 6, 17: 20, 23: 39, 23 + 36: 23 + 45, 23 + 30: 23 + 30, 91: 112}
    assert {one: MIRRORED[one] for one in pairs} == pairs
