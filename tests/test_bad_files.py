"""Whatever a file of poses or weights holds, it is used as it is meant or refused by one clear error.

Hypothesis makes the contents up, the same in every run; see ``test_bad_input.py`` for all else that comes in.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up import few, plain, tried
from safetensors.torch import save_file

from mimicmotion.errors import InputError, WeightsError
from mimicmotion.model.weights import read_released
from mimicmotion.pose.files.importing import VideoShape, import_poses
from mimicmotion.pose.models.sessions import ImageGraph, open_session
from mimicmotion.video.size import Size

VIDEO = VideoShape(
    num_frames=4,
    fps=12.0,
    size=Size(64, 96),
    source_size=Size(64, 96),
    source_frames=range(4),
    source_num_frames=4,
    source_length_s=4 / 12,
)
NUM_ROWS = 3
NUM_POINTS = 133
DETECTOR = Path(__file__).resolve().parents[1] / "mimicmotion" / "synthetic" / "weights" / "detector.onnx"
odd_numbers = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.sampled_from([float("nan"), -1.0, 1e300])
)
columns = st.one_of(
    st.lists(odd_numbers, min_size=NUM_ROWS, max_size=NUM_ROWS).map(
        lambda values: [None if value is None else float(value) for value in values]
    ),
    st.lists(st.text(max_size=3), min_size=NUM_ROWS, max_size=NUM_ROWS),
    st.sampled_from([[True] * NUM_ROWS, [None] * NUM_ROWS, [[]] * NUM_ROWS, [[0.5], None, [1.0]]]),
    st.integers(0, 300).map(lambda length: [[0.5] * length] * NUM_ROWS),
    odd_numbers.map(lambda value: [[None if value is None else float(value)] * 133] * NUM_ROWS),
    odd_numbers.map(lambda value: [[None if value is None else float(value)] * 266] * NUM_ROWS),
)


def poses() -> dict[str, Any]:
    """Columns of an import file, three frames of one person."""
    return {
        "frame": list(range(NUM_ROWS)),
        "time_s": [index / 12 for index in range(NUM_ROWS)],
        "person": [0] * NUM_ROWS,
        "box": [[0.1, 0.1, 0.9, 0.9]] * NUM_ROWS,
        "box_score": [0.5] * NUM_ROWS,
        "keypoints": [[0.5] * 2 * NUM_POINTS] * NUM_ROWS,
        "confidences": [[0.7] * NUM_POINTS] * NUM_ROWS,
    }


def all_usable(frames: Any) -> bool:
    """Whether what was imported can be drawn: finite everywhere, confidences and scores not negative."""
    people = [person for frame in frames for _, person in frame]
    finite = all(
        np.isfinite(values).all() for one in people for values in (one.box, one.keypoints, one.confidences)
    )
    return finite and all((one.confidences >= 0).all() and 0 <= one.box_score < 1e6 for one in people)


@few
@given(name=st.sampled_from(sorted(poses())), column=columns)
def test_any_column_of_imported_poses_is_taken_or_named(tmp_path: Path, name: str, column: Any) -> None:
    file = tmp_path / "poses.parquet"
    pq.write_table(pa.table({**poses(), name: column}), file)
    frames, error = tried(import_poses, file, VIDEO)
    assert all_usable(frames) if frames is not None else "poses.parquet" in error


person = st.fixed_dictionaries(
    {"pose_keypoints_2d": st.one_of(odd_numbers.map(lambda value: [value] * 54), plain)},
    optional={"hand_left_keypoints_2d": st.one_of(odd_numbers.map(lambda value: [value] * 63), plain)},
)
mmpose = st.fixed_dictionaries(
    {
        "keypoints": st.one_of(odd_numbers.map(lambda value: [[value] * 2] * NUM_POINTS), plain),
        "keypoint_scores": st.one_of(odd_numbers.map(lambda value: [value] * NUM_POINTS), plain),
    }
)
documents = st.one_of(
    plain,
    st.lists(
        st.fixed_dictionaries(
            {"people": st.one_of(st.lists(person, max_size=2), plain)},
            optional={"canvas_width": plain, "canvas_height": odd_numbers},
        ),
        max_size=3,
    ),
    st.fixed_dictionaries(
        {
            "instance_info": st.one_of(
                plain, st.lists(st.fixed_dictionaries({"instances": st.lists(mmpose, max_size=2)}))
            )
        }
    ),
)


@few
@given(document=documents)
def test_any_json_of_poses_is_taken_or_named(tmp_path: Path, document: Any) -> None:
    file = tmp_path / "poses.json"
    file.write_text(json.dumps(document))
    frames, error = tried(import_poses, file, VIDEO)
    assert all_usable(frames) if frames is not None else "poses.json" in error


damages = st.tuples(st.floats(0, 0.999), st.integers(0, 255))


def damaged(data: bytes, place: float, bits: int) -> bytes:
    """A file that ends at a place, or whose bits are flipped there, near its beginning."""
    if not bits:
        return data[: int(place * len(data))]
    index = int(place * min(len(data), 400))
    return data[:index] + bytes([data[index] ^ bits]) + data[index + 1 :]


@few
@given(damage=damages)
def test_a_damaged_safetensors_file_is_named_or_has_its_tensors(
    tmp_path: Path, damage: tuple[float, int]
) -> None:
    file = tmp_path / "model.safetensors"
    save_file({f"unet.{name}": torch.ones(3, 2) for name in "abc"}, file)
    file.write_bytes(damaged(file.read_bytes(), *damage))
    tensors, error = tried(read_released, file)
    assert len(tensors) == 3 if tensors is not None else "model.safetensors" in error


@few
@given(damage=damages)
def test_a_damaged_onnx_file_is_named_or_takes_pictures(tmp_path: Path, damage: tuple[float, int]) -> None:
    file = tmp_path / "detector.onnx"
    file.write_bytes(damaged(DETECTOR.read_bytes(), *damage))
    graph, error = tried(opened, file)
    assert graph.size.height_px > 0 if graph is not None else "detector.onnx" in error


def opened(file: Path) -> ImageGraph:
    """The facts of an ONNX file's graph."""
    return ImageGraph.of(open_session(file, cuda=False, allow_cpu=True, threads=1), file)


def test_a_cut_onnx_file_never_loads(tmp_path: Path) -> None:
    file = tmp_path / "detector.onnx"
    data = DETECTOR.read_bytes()
    for part in (0.0, 0.1, 0.5, 0.999):
        file.write_bytes(data[: int(part * len(data))])
        with pytest.raises(WeightsError, match=r"detector\.onnx"):
            opened(file)


def test_negative_confidences_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "poses.json"
    file.write_text(json.dumps([{"people": [{"pose_keypoints_2d": [0.5, 0.5, -1.0] * 18}]}]))
    with pytest.raises(InputError, match=r"poses\.json.*no confidence negative"):
        import_poses(file, VIDEO)
