"""The hard world: harder than the other one in known ways, and poses in which only confidences differ."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from mimicmotion.pose.files.importing import read_parquet
from mimicmotion.pose.models.estimator import open_estimator
from mimicmotion.pose.table import stored_models
from mimicmotion.synthetic.hard import KINDS, WEIGHTS, hard_film, make_hard_world, true_pictures
from mimicmotion.synthetic.hardness import Hardness
from mimicmotion.synthetic.render import Visibility
from mimicmotion.synthetic.world import film
from mimicmotion.weights.fetching import file_digest

SEED = 900_100
OUTSIDE = Visibility.OUTSIDE


def test_without_hardness_a_film_is_what_it_was():
    assert (film(SEED, 2).frames == film(SEED, 2, hardness=Hardness()).frames).all()


@pytest.mark.parametrize(
    ("hardness", "holds"),
    [
        (Hardness(light=0.3), lambda easy, hard: hard.frames.mean() < 0.4 * easy.frames.mean()),
        (Hardness(noise=10), lambda easy, hard: 5 < np.std(hard.frames.astype(float) - easy.frames) < 11),
        (
            Hardness(zoom=1.5, shift=(0.2, 0.3)),
            lambda easy, hard: (hard.visibility == Visibility.OUTSIDE).any(),
        ),
        (Hardness(poster=3), lambda easy, hard: 0.01 < (hard.frames != easy.frames).mean() < 0.5),
        (Hardness(mirror=0.1), lambda easy, hard: 0.01 < (hard.frames != easy.frames).mean() < 0.5),
    ],
)
def test_each_thing_does_what_it_says(hardness, holds):
    options = {"occluded": 0, "blurred": 0}
    assert holds(film(SEED, 2, **options), film(SEED, 2, hardness=hardness, **options))


def test_crossing_hands_come_near_each_other():
    def apart(one):
        hands = one.keypoints[:, 91:].reshape(len(one.keypoints), 2, 21, 2).mean(axis=2)
        return np.linalg.norm(hands[:, 0] - hands[:, 1], axis=-1).mean() / np.ptp(one.keypoints[..., 1])

    seeds = range(SEED, SEED + 6)
    crossed = [apart(film(seed, 4, hardness=Hardness(crossing=True), truth=False)) for seed in seeds]
    assert np.mean(crossed) < 0.5 * np.mean([apart(film(seed, 4, truth=False)) for seed in seeds])


def test_hard_films_hide_more():
    shown = [
        np.mean([(make(seed, 2).visibility == Visibility.VISIBLE).mean() for seed in range(SEED, SEED + 8)])
        for make in (film, hard_film)
    ]
    assert shown[1] < shown[0] - 0.05
    assert len(list(true_pictures([SEED], 2))) == 2


def test_poses_differ_in_confidences_alone(tmp_path):
    models = {role: WEIGHTS / f"{role}.onnx" for role in ("detector", "wholebody")}
    estimator = open_estimator(**models, cuda=False, allow_cpu=True)
    make_hard_world(tmp_path, [SEED, SEED + 1], 2, 3, estimator)
    assert [len(list((tmp_path / "films" / side).iterdir())) for side in ("train", "test")] == [2, 2]
    path = {kind: tmp_path / "poses" / kind / f"hard_{SEED}_1.parquet" for kind in KINDS}
    tables = {kind: read_parquet(one).to_pydict() for kind, one in path.items()}
    for name in ("keypoints", "box", "frame", "person"):
        assert tables["detected"][name] == tables["oracle"][name] == tables["shuffled"][name]
    main = [place for place, person in enumerate(tables["oracle"]["person"]) if person == 0]
    sure = np.float32([tables["oracle"]["confidences"][place] for place in main])
    assert {*np.unique(sure)} <= {np.float32(0.02), np.float32(1)}
    drawn = {tuple(tables["shuffled"]["confidences"][place]) for place in main}
    every = {
        tuple(row)
        for file in (tmp_path / "poses" / "detected").iterdir()
        for row in pq.read_table(file)["confidences"].to_pylist()
    }
    assert drawn <= every
    assert stored_models(path["oracle"]) == {"wholebody": file_digest(models["wholebody"])}
