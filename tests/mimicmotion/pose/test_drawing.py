"""The drawing agrees with the released code bit for bit, and every switch does one thing."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mimicmotion.errors import DataError, InputError
from mimicmotion.pose.drawing import draw_openpose, draw_pose
from mimicmotion.pose.layout import BODY, FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, to_openpose
from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.video.size import Size

SMALL = DrawingStyle(canvas_short_side_px=480)


def golden_people(vectors, case):
    """The case's people as (p, 134, 2) relative points and (p, 134) scores."""
    score = vectors[f"case{case}_score"]
    people = len(score)
    points, scores = np.zeros((people, 134, 2)), np.zeros((people, 134))
    points[:, :18] = vectors[f"case{case}_candidate"].reshape(people, 18, 2)
    scores[:, :18] = score
    points[:, 24:92], scores[:, 24:92] = vectors[f"case{case}_faces"], vectors[f"case{case}_faces_score"]
    hands, hand_scores = vectors[f"case{case}_hands"], vectors[f"case{case}_hands_score"]
    points[:, 92:113], scores[:, 92:113] = hands[:people], hand_scores[:people]
    points[:, 113:], scores[:, 113:] = hands[people:], hand_scores[people:]
    return points, scores


@pytest.mark.parametrize("case", [0, 1, 2])
def test_equals_the_released_drawing(golden, case):
    with np.load(golden / "drawing.npz") as vectors:
        points, scores = golden_people(vectors, case)
        image = draw_openpose(
            points, scores, Size(*vectors[f"case{case}_size"].tolist()[::-1]), DrawingStyle()
        )
        np.testing.assert_array_equal(image, vectors[f"case{case}_image"])


def plain_drawing(points, scores, size, canvas_short_side_px):
    """The released steps in their plain form: whole canvas, float multiply, whole resize."""
    from matplotlib.colors import hsv_to_rgb

    from mimicmotion.pose.drawing import BODY_COLOURS as COLOURS
    from mimicmotion.pose.layout import HAND_EDGES, LIMBS

    (h, w), scale = size, canvas_short_side_px / min(size)
    H, W = int(h * scale), int(w * scale)
    canvas = np.zeros((H, W, 3), np.uint8)
    px = points * np.array([W, H], float)
    for i, pair in enumerate(LIMBS):
        for p in range(len(points)):
            a, b = scores[p, list(pair)]
            if a < 0.3 or b < 0.3:
                continue
            Y, X = px[p, list(pair), 0], px[p, list(pair), 1]
            length = ((X[0] - X[1]) ** 2 + (Y[0] - Y[1]) ** 2) ** 0.5
            angle = np.degrees(np.arctan2(X[0] - X[1], Y[0] - Y[1]))
            polygon = cv2.ellipse2Poly(
                (int(np.mean(Y)), int(np.mean(X))), (int(length / 2), 4), int(angle), 0, 360, 1
            )
            cv2.fillConvexPoly(canvas, polygon, [int(c * (a * b)) for c in COLOURS[i]])
    canvas = (canvas * 0.6).astype(np.uint8)
    for i in range(18):
        for p in range(len(points)):
            if scores[p, i] > 0.3:
                x, y = (int(v) for v in px[p, i])
                cv2.circle(canvas, (x, y), 4, [int(c * scores[p, i]) for c in COLOURS[i]], thickness=-1)
    for hand in (slice(92, 113), slice(113, 134)):
        for p in range(len(points)):
            xy, s = px[p, hand].astype(int), scores[p, hand]
            for e, (a, b) in enumerate(HAND_EDGES):
                if (xy[a] > 0.01).all() and (xy[b] > 0.01).all():
                    colour = hsv_to_rgb([e / 20, 1.0, 1.0]) * int(s[a] * s[b] * 255)
                    cv2.line(canvas, xy[a].tolist(), xy[b].tolist(), colour, thickness=2)
            for k in range(21):
                if (xy[k] > 0.01).all():
                    cv2.circle(canvas, xy[k].tolist(), 4, (0, 0, int(s[k] * 255)), thickness=-1)
    for p in range(len(points)):
        for k in range(24, 92):
            x, y = (int(v) for v in px[p, k])
            if x > 0.01 and y > 0.01:
                cv2.circle(canvas, (x, y), 3, (int(scores[p, k] * 255),) * 3, thickness=-1)
    return cv2.cvtColor(cv2.resize(canvas, (w, h)), cv2.COLOR_BGR2RGB).transpose(2, 0, 1)


@settings(deadline=None, max_examples=40)
@given(
    h=st.integers(20, 400),
    w=st.integers(20, 400),
    short=st.sampled_from([90, 480, 512, 777]),
    people=st.integers(1, 2),
    spread=st.sampled_from([0.1, 0.3, 0.8]),
    seed=st.integers(0, 2**31),
)
@example(h=392, w=20, short=480, people=1, spread=0.3, seed=394)  # a long limb's tip beside all points
def test_equals_the_plain_form_at_any_size_and_place(h, w, short, people, spread, seed):
    random = np.random.default_rng(seed)
    points = random.uniform(-0.2, 1.2, (people, 1, 2)) + random.normal(0, spread, (people, 134, 2))
    scores = random.uniform(-0.1, 1.3, (people, 134))
    style = DrawingStyle(canvas_short_side_px=short)
    np.testing.assert_array_equal(
        draw_openpose(points, scores, Size(w, h), style), plain_drawing(points, scores, (h, w), short)
    )


@pytest.fixture
def person():
    random = np.random.default_rng(0)
    return random.uniform(20, 100, (1, NUM_KEYPOINTS, 2)), np.full((1, NUM_KEYPOINTS), 0.8)


def test_pixels_are_those_of_relative_points(person):
    points, scores = to_openpose(*person)
    relative = points / np.array([128.0, 192.0])
    np.testing.assert_array_equal(
        draw_pose(*person, Size(128, 192), SMALL), draw_openpose(relative, scores, Size(128, 192), SMALL)
    )


@pytest.mark.parametrize(
    ("switch", "parts"),
    [("draw_body", [BODY]), ("draw_face", [FACE]), ("draw_hands", [LEFT_HAND, RIGHT_HAND])],
)
def test_a_switch_removes_its_part(person, switch, parts):
    keypoints, confidences = person
    without = draw_pose(
        keypoints, confidences, Size(128, 192), DrawingStyle(canvas_short_side_px=480, **{switch: False})
    )
    others = {"draw_body", "draw_face", "draw_hands"} - {switch}
    alone = DrawingStyle(canvas_short_side_px=480, **dict.fromkeys(others, False))
    assert draw_pose(keypoints, confidences, Size(128, 192), alone).any()
    for part in parts:
        keypoints = keypoints.copy()
        keypoints[:, part] = 5.0
    np.testing.assert_array_equal(
        draw_pose(
            keypoints, confidences, Size(128, 192), DrawingStyle(canvas_short_side_px=480, **{switch: False})
        ),
        without,
    )


def test_brightness_follows_confidence_and_saturates(person):
    keypoints, confidences = person
    levels = [draw_pose(keypoints, confidences * s, Size(128, 192), SMALL).sum() for s in (0.5, 1.0, 1.25)]
    assert levels[0] < levels[1] < levels[2]
    # Limbs follow the product of two confidences: all channels are full from 4 on.
    np.testing.assert_array_equal(
        draw_pose(keypoints, np.full_like(confidences, 4.0), Size(128, 192), SMALL),
        draw_pose(keypoints, np.full_like(confidences, 5.0), Size(128, 192), SMALL),
    )


def test_without_confidence_points_are_full_or_absent(person):
    keypoints, confidences = person
    hard = DrawingStyle(canvas_short_side_px=480, use_confidence=False)
    sure = np.random.default_rng(1).uniform(0.31, 0.9, confidences.shape)
    full = draw_pose(keypoints, np.ones_like(confidences), Size(128, 192), SMALL)
    np.testing.assert_array_equal(draw_pose(keypoints, sure, Size(128, 192), hard), full)
    assert not draw_pose(keypoints, np.full_like(confidences, 0.3), Size(128, 192), hard).any()


def test_nobody_gives_a_black_picture():
    nobody = np.zeros((0, NUM_KEYPOINTS, 2)), np.zeros((0, NUM_KEYPOINTS))
    assert not draw_pose(*nobody, Size(48, 64), SMALL).any()
    missing = np.zeros((1, NUM_KEYPOINTS, 2)), np.zeros((1, NUM_KEYPOINTS))
    image = draw_pose(*missing, Size(48, 64), SMALL)
    assert image.shape == (3, 64, 48)
    assert not image.any()


def test_refuses_numbers_that_are_not_finite(person):
    keypoints, confidences = person
    keypoints[0, 3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        draw_pose(keypoints, confidences, Size(128, 192), SMALL)


def test_style_survives_its_dict():
    style = DrawingStyle(canvas_short_side_px=480, draw_face=False)
    assert DrawingStyle.stored(style.model_dump()) == style
    with pytest.raises(DataError, match="line_width"):
        DrawingStyle.stored({**style.model_dump(), "line_width": 3})
