"""Stored poses written for other programs, in forms that ``importing`` reads back.

* ``openpose``: a folder, one ``*_keypoints.json`` per frame, 25 body points (OpenPose's BODY_25).
* ``dwpose``: one file, a list of frames with 18 body points, as DWPose for ComfyUI writes it: 1 and the
  place of a point that was found, three zeros elsewhere. Its readers drop every point below 1.
* ``parquet``: one row per frame and person, with time stamps.

JSON speaks of the frames and pixels of the upright source film, which is what these programs open; Parquet of
shares of width and height. Beside ``dwpose`` confidences stay as the model gave them, but none is below 0.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from mimicmotion.durable import in_place, write_file
from mimicmotion.pose.files.importing import VideoShape
from mimicmotion.pose.files.openpose_json import KEYPOINTS_SUFFIX
from mimicmotion.pose.layout import (
    NUM_KEYPOINTS,
    OPENPOSE_BODY,
    OPENPOSE_FACE,
    OPENPOSE_FEET,
    OPENPOSE_LEFT_HAND,
    OPENPOSE_RIGHT_HAND,
    to_openpose,
)
from mimicmotion.pose.table import column_array

PoseForm = Literal["openpose", "dwpose", "parquet"]

_HIPS: Final = (8, 11)
_EYES: Final = (14, 15)
"""Of the 18 body points; OpenPose's face ends with the pupils, where DWPose repeats the eyes."""
_DIGITS: Final = 3
_FOUND: Final = 0.3
"""DWPose finds a point whose confidence is greater (its ``wholebody.py``)."""


def export_poses(table: pa.Table, video: VideoShape, target: Path, form: PoseForm) -> Path:
    """Write the poses of one video, whole or not at all, and give the file or folder.

    Args:
        table: of the pose stage.
        video: which frames and pixels of its source it speaks of.
        target: where, without an ending.
        form: see above.
    """
    if form == "parquet":
        path = target.with_name(f"{target.name}.parquet")
        with in_place(path) as written:
            pq.write_table(_relative(table, video), written)
        return path
    frames = _source_frames(table, video, form)
    if form == "dwpose":
        path = target.with_name(f"{target.name}.json")
        write_file(path, json.dumps(frames).encode())
        return path
    with in_place(target) as written:
        written.mkdir()
        for number, frame in enumerate(frames):
            name = f"{target.name}_{number:012d}{KEYPOINTS_SUFFIX}"
            (written / name).write_text(json.dumps({"version": 1.3, **frame}), encoding="utf-8")
    return target


def _relative(table: pa.Table, video: VideoShape) -> pa.Table:
    size = np.array(video.size, dtype=np.float64)
    keypoints = column_array(table, "keypoints", (NUM_KEYPOINTS, 2)) / size
    boxes = column_array(table, "box", (4,)) / np.tile(size, 2)
    columns = {
        "frame": table["frame"],
        "time_s": pa.array(table["frame"].to_numpy() / video.fps),
        "person": table["person"],
        "box": _lists(boxes),
        "box_score": table["box_score"],
        "keypoints": _lists(keypoints.reshape(len(table), 2 * NUM_KEYPOINTS)),
        "confidences": _lists(np.maximum(column_array(table, "confidences", (NUM_KEYPOINTS,)), 0)),
    }
    return pa.table(columns)


def _lists(values: Float[np.ndarray, "n k"]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), pa.float32()), values.shape[1])


def _source_frames(table: pa.Table, video: VideoShape, form: PoseForm) -> list[dict[str, Any]]:
    """The people of every frame of the source film; one that no normalised frame shows has the last shown."""
    scale = np.array(video.source_size) / video.size
    keypoints = column_array(table, "keypoints", (NUM_KEYPOINTS, 2)) * scale
    confidences = np.maximum(column_array(table, "confidences", (NUM_KEYPOINTS,)), 0)
    points, scores = to_openpose(keypoints, confidences)
    if form == "dwpose":
        scores = (scores > _FOUND).astype(np.float64)
        points = points * scores[..., None]
    people: list[list[dict[str, Any]]] = [[] for _ in range(video.num_frames)]
    for row, (frame, track) in enumerate(
        zip(table["frame"].to_numpy(), table["person"].to_numpy(), strict=True)
    ):
        triples = np.concatenate([points[row], scores[row, :, None]], axis=1)
        people[frame].append({"person_id": [int(track)], **_parts(triples, form == "openpose")})
    canvas = {"canvas_width": video.source_size.width_px, "canvas_height": video.source_size.height_px}
    shown = np.searchsorted(video.source_frames, np.arange(video.source_num_frames or 0), side="right") - 1
    return [{"people": people[max(place, 0)], **canvas} for place in shown]


def _parts(triples: Float[np.ndarray, "134 3"], feet_in_body: bool) -> dict[str, list[float]]:
    body, feet = triples[OPENPOSE_BODY], triples[OPENPOSE_FEET]
    parts = {
        "pose_keypoints_2d": body,
        "face_keypoints_2d": np.concatenate([triples[OPENPOSE_FACE], body[list(_EYES)]]),
        "hand_left_keypoints_2d": triples[OPENPOSE_LEFT_HAND],
        "hand_right_keypoints_2d": triples[OPENPOSE_RIGHT_HAND],
    }
    if feet_in_body:
        hips = body[list(_HIPS)]
        middle = np.append(hips[:, :2].mean(axis=0), hips[:, 2].min())
        parts["pose_keypoints_2d"] = np.concatenate([body[: _HIPS[0]], [middle], body[_HIPS[0] :], feet])
    else:
        parts["foot_keypoints_2d"] = feet
    return {name: values.round(_DIGITS).ravel().tolist() for name, values in parts.items()}
