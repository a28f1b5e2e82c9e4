"""A film in which every frame says its number: by a bright bar, and a person who stands in it."""

import numpy as np
import pyarrow.parquet as pq
from clip_table import clip_row
from scored_clips import FakeDataset

from mimicmotion.pose.people import Person
from mimicmotion.pose.table import PosesInfo, poses_table
from mimicmotion.video.files import write_preview

WIDTH, HEIGHT, NUM_FRAMES, FPS = 128, 96, 24, 12.0
BAR_PX = 4


def bar(frame):
    """Left edge of the bar in a frame."""
    return 8 + BAR_PX * frame


def number_in(picture, scale=1.0):
    """The number that a picture of the film, or a mask or pose of it, says by where its bright bar is."""
    columns = picture.astype(float).sum(axis=(0, 2))
    return round((np.argmax(columns > columns.max() / 2) / scale - 8) / BAR_PX)


def person(frame, left=None):
    """Nose, face and left hand stand in the bar; the right hand is unsure."""
    left = bar(frame) if left is None else left
    keypoints = np.full((133, 2), (left + 1.0, 50.0))
    keypoints[23:91] = [(left + (point % 4), 40 + point % 4) for point in range(68)]
    keypoints[91:112] = [(left + BAR_PX * (point % 2), 60 + 8 * (point % 2)) for point in range(21)]
    confidences = np.full(133, 0.9)
    confidences[112:] = 0.1
    box = np.array([left, 30, left + BAR_PX, 80], np.float32)
    return Person(box, 0.9, keypoints.astype(np.float32), confidences.astype(np.float32))


def make_film(folder, others=(), faceless=()):
    """The film and its poses; gives their paths."""
    pictures = []
    for frame in range(NUM_FRAMES):
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[:, bar(frame) : bar(frame) + BAR_PX] = 255
        pictures.append(picture)
    write_preview(folder / "film.mp4", pictures, FPS)
    people = []
    for frame in range(NUM_FRAMES):
        main = person(frame)
        if frame in faceless:
            main.confidences[23:91] = 0.0
        people.append([(0, main), *([(1, person(frame, left=100))] if frame in others else [])])
    info = PosesInfo(
        video_id="film", width_px=WIDTH, height_px=HEIGHT, fps=FPS, num_frames=NUM_FRAMES, models={}
    )
    pq.write_table(poses_table(info, people), folder / "film.parquet")
    return folder / "film.mp4", folder / "film.parquet"


def make_datasets(folder, rows, cuts=(), **film):
    """Datasets of decode, pose and clips over the film; rows as ``clip_row`` takes them."""
    video, poses = make_film(folder, **film)
    facts = {"video_id": "film", "source": "anna/film.mov", "width_px": WIDTH, "height_px": HEIGHT}
    facts |= {"fps": FPS, "num_frames": NUM_FRAMES, "scene_cuts": [*cuts]}
    clips = [
        clip_row(f"film-{row['first_frame']:06d}", "film", row.pop("split", "train"), (WIDTH, HEIGHT), **row)
        for row in rows
    ]
    return {
        "decode": FakeDataset({"film": [facts]}, {("film", "video.mp4"): video}),
        "pose": FakeDataset({"film": pq.read_table(poses)}, {("film", "table.parquet"): poses}),
        "clips": FakeDataset({"all": clips}),
    }
