"""Stored poses: the Arrow table of one video, and the track of one person read back from it.

The table holds raw values. Neck, thresholds, brightness and drawing happen on reading, so that an ablation
draws again without detecting again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32, Int

from mimicmotion.errors import DataError
from mimicmotion.pose.hands import hand_boxes, hand_confidences
from mimicmotion.pose.layout import NUM_KEYPOINTS
from mimicmotion.pose.people import Person
from mimicmotion.video.size import Size

if TYPE_CHECKING:
    from mimicmotion.pose.calibration import Calibration

SCHEMA_VERSION: Final = 1

_BOX = pa.list_(pa.float32(), 4)
# Of variable size, since Parquet cannot give back null lists of fixed size.
_BOX_OR_NULL = pa.list_(pa.float32())
POSES_SCHEMA: Final = pa.schema(
    [
        ("video_id", pa.string()),
        ("frame", pa.int32()),
        ("person", pa.int16()),
        ("box", _BOX),
        ("box_score", pa.float32()),
        ("keypoints", pa.list_(pa.list_(pa.float32(), 2), NUM_KEYPOINTS)),
        ("confidences", pa.list_(pa.float32(), NUM_KEYPOINTS)),
        ("left_hand_box", _BOX_OR_NULL),
        ("right_hand_box", _BOX_OR_NULL),
        ("left_hand_confidence", pa.float32()),
        ("right_hand_confidence", pa.float32()),
    ]
)
"""One row per frame and person, 0 being the main person; in pixels of the normalised video."""

_METADATA_KEY: Final = b"mimicmotion.poses"
MODELS_KEY: Final = b"mimicmotion.models"
"""Key in an import file's metadata under which it may say, in JSON, the sha256 of each model by its role."""


@dataclass(frozen=True, kw_only=True)
class PosesInfo:
    """What the file metadata of a poses table says; also an empty table knows its video.

    Attributes:
        video_id: content hash of the source video.
        width_px, height_px, fps, num_frames: of the normalised video.
        models: sha256 of each model or file that the poses come from, by its role.
        schema_version: version of ``POSES_SCHEMA``.
    """

    video_id: str
    width_px: int
    height_px: int
    fps: float
    num_frames: int
    models: dict[str, str]
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def of(cls, table: pa.Table) -> "PosesInfo":
        """Return what the table's metadata says.

        Raises:
            DataError: the table has none, or of another schema version.
        """
        raw = (table.schema.metadata or {}).get(_METADATA_KEY)
        if raw is None:
            raise DataError(f"the poses table has no {_METADATA_KEY.decode()} in its file metadata")
        values = json.loads(raw)
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"poses of schema version {version}, but {SCHEMA_VERSION} is needed: run the pose stage again"
            )
        missing = {field.name for field in fields(cls)} - set(values)
        if missing:
            raise DataError(f"the metadata of the poses table lacks {sorted(missing)}")
        return cls(**values)


def stored_models(path: Path) -> dict[str, str]:
    """Return the sha256 of each model, by its role, that a file of poses says it comes from; often none.

    Args:
        path: a table of the pose stage, or an import file.
    """
    if path.suffix.lower() != ".parquet":
        return {}
    metadata = pq.read_schema(path).metadata or {}
    if _METADATA_KEY in metadata:
        return dict(json.loads(metadata[_METADATA_KEY])["models"])
    return dict(json.loads(metadata.get(MODELS_KEY, b"{}")))


def poses_table(info: PosesInfo, frames: Sequence[Sequence[tuple[int, Person]]]) -> pa.Table:
    """Return the table of one video in ``POSES_SCHEMA``, sorted by frame and person, with its metadata.

    Args:
        info: facts of the video, written into the metadata.
        frames: per frame, the track number and the person.

    Raises:
        DataError: the number of frames is not that of the video.
    """
    if len(frames) != info.num_frames:
        raise DataError(f"poses of {len(frames)} frames for video {info.video_id} with {info.num_frames}")
    rows = [
        (frame, track, person)
        for frame, people in enumerate(frames)
        for track, person in sorted(people, key=lambda pair: pair[0])
    ]
    people = [person for _, _, person in rows]
    keypoints = _stack([person.keypoints for person in people], (NUM_KEYPOINTS, 2))
    confidences = _stack([person.confidences for person in people], (NUM_KEYPOINTS,))
    hands, reliability = hand_boxes(keypoints, confidences), hand_confidences(confidences)
    columns = [
        pa.array([info.video_id] * len(rows), pa.string()),
        pa.array([frame for frame, _, _ in rows], pa.int32()),
        pa.array([track for _, track, _ in rows], pa.int16()),
        _fixed(_stack([person.box for person in people], (4,))),
        pa.array([person.box_score for person in people], pa.float32()),
        _fixed(keypoints),
        _fixed(confidences),
        _boxes_or_null(hands[:, 0]),
        _boxes_or_null(hands[:, 1]),
        pa.array(reliability[:, 0], pa.float32()),
        pa.array(reliability[:, 1], pa.float32()),
    ]
    metadata = {_METADATA_KEY: json.dumps(asdict(info), sort_keys=True).encode()}
    return pa.Table.from_arrays(columns, schema=POSES_SCHEMA.with_metadata(metadata))


def _stack(arrays: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    return np.stack(arrays).astype(np.float32) if arrays else np.zeros((0, *shape), dtype=np.float32)


def _fixed(values: np.ndarray) -> pa.Array:
    """Return the rows of an array as nested lists of fixed size."""
    array = pa.array(values.reshape(-1), pa.float32())
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _boxes_or_null(boxes: np.ndarray) -> pa.Array:
    return pa.array([None if np.isnan(box).any() else box for box in boxes], _BOX_OR_NULL)


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """One person over all frames of a video. Frames without the person have confidence 0.

    Attributes:
        keypoints: pixels of a picture of ``width_px`` x ``height_px``.
        confidences: raw SimCC maxima.
        present: frames in which the person was found.
        boxes: person boxes x0, y0, x1, y1, nan where absent.
        hand_boxes: boxes of left and right hand, nan where none.
        hand_confidences: smallest of the 21 confidences of left and right hand.
    """

    keypoints: Float32[np.ndarray, "n 133 2"]
    confidences: Float32[np.ndarray, "n 133"]
    present: Bool[np.ndarray, " n"]
    boxes: Float32[np.ndarray, "n 4"]
    hand_boxes: Float32[np.ndarray, "n 2 4"]
    hand_confidences: Float32[np.ndarray, "n 2"]
    width_px: int
    height_px: int

    def __len__(self) -> int:
        return len(self.present)

    @property
    def size_px(self) -> Size:
        """Size of the picture that the keypoints are pixels of."""
        return Size(self.width_px, self.height_px)

    def calibrated(self, calibration: "Calibration | None") -> "PoseTrack":
        """Return the track with probabilities for confidences; without a calibration the track itself."""
        if calibration is None:
            return self
        confidences = calibration.probabilities(self.confidences)
        return replace(self, confidences=confidences, hand_confidences=hand_confidences(confidences))

    def select(self, indices: Sequence[int] | Int[np.ndarray, " m"]) -> "PoseTrack":
        """Return the track at these frames, in their order."""
        chosen = np.asarray(indices, dtype=np.int64)
        arrays = ("keypoints", "confidences", "present", "boxes", "hand_boxes", "hand_confidences")
        return replace(self, **{name: getattr(self, name)[chosen] for name in arrays})

    def resized(self, size: Size) -> "PoseTrack":
        """Return the track on the picture resized to this size."""
        factors = (np.array(size) / self.size_px).astype(np.float32)
        return self._moved(factors, np.zeros(2, dtype=np.float32), size)

    def cropped(self, left_px: int, top_px: int, size: Size) -> "PoseTrack":
        """Return the track on the part of the picture that starts at (left, top)."""
        shift = np.array([-left_px, -top_px], dtype=np.float32)
        return self._moved(np.ones(2, dtype=np.float32), shift, size)

    def _moved(
        self, factors: Float32[np.ndarray, "2"], shift: Float32[np.ndarray, "2"], size: Size
    ) -> "PoseTrack":
        corners, corner_shift = np.tile(factors, 2), np.tile(shift, 2)
        return replace(
            self,
            keypoints=self.keypoints * factors + shift,
            boxes=self.boxes * corners + corner_shift,
            hand_boxes=self.hand_boxes * corners + corner_shift,
            width_px=size.width_px,
            height_px=size.height_px,
        )


def read_track(
    source: pa.Table | Path,
    num_frames: int,
    person: int = 0,
    size: Size | None = None,
    calibration: "Calibration | None" = None,
) -> PoseTrack:
    """Return one person of a poses table over all frames of its video.

    Args:
        source: the table of one video, or the Parquet file of it.
        num_frames: frames of the video.
        person: track number; 0 is the main person.
        size: of the normalised video; read from the table's metadata where not given.
        calibration: makes probabilities of the confidences.

    Raises:
        DataError: the schema is another, or a row lies outside the video.
        InputError: the calibration is for another model than found the poses.
    """
    table = pq.read_table(source) if isinstance(source, Path) else source
    if not table.schema.equals(POSES_SCHEMA):
        wanted, got = (str(schema.remove_metadata()).split("\n") for schema in (POSES_SCHEMA, table.schema))
        raise DataError("a poses table must have the schema:", *wanted, "got:", *got)
    if calibration is not None and len(table):  # a video without poses has no model
        calibration.check(PosesInfo.of(table).models, f"the poses of {num_frames} frames")
    if size is None:
        info = PosesInfo.of(table)
        size = Size(info.width_px, info.height_px)
    rows = np.flatnonzero(table["person"].to_numpy() == person)
    frames = table["frame"].to_numpy()[rows]
    if len(frames) and not 0 <= frames.min() <= frames.max() < num_frames:
        raise DataError(f"poses lie in frames {frames.min()} to {frames.max()}, the video has {num_frames}")
    chosen = table.take(pa.array(rows))

    def spread(column: np.ndarray, fill: float = 0.0) -> np.ndarray:
        full = np.full((num_frames, *column.shape[1:]), fill, dtype=column.dtype)
        full[frames] = column
        return full

    hands = np.stack([column_array(chosen, f"{side}_hand_box", (4,)) for side in ("left", "right")], axis=1)
    reliability = [chosen[f"{side}_hand_confidence"].to_numpy() for side in ("left", "right")]
    return PoseTrack(
        keypoints=spread(column_array(chosen, "keypoints", (NUM_KEYPOINTS, 2))),
        confidences=spread(column_array(chosen, "confidences", (NUM_KEYPOINTS,))),
        present=spread(np.ones(len(rows), dtype=bool)),
        boxes=spread(column_array(chosen, "box", (4,)), np.nan),
        hand_boxes=spread(hands, np.nan),
        hand_confidences=spread(np.stack(reliability, axis=-1)),
        width_px=size.width_px,
        height_px=size.height_px,
    ).calibrated(calibration)


def column_array(table: pa.Table, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a column of (nested) lists as one array, nan where null."""
    array: Any = table[name].combine_chunks()
    valid = np.asarray(array.is_valid())
    for _ in shape:
        array = array.flatten()
    values = np.full((len(valid), *shape), np.nan, dtype=np.float32)
    values[valid] = array.to_numpy(zero_copy_only=False).reshape(-1, *shape)
    return values
