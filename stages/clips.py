"""The clips stage: windows to train on, clips to test on, and every rejected window with its reason.

    mimicmotion stage clips configs/demo.yaml

Reads facts and poses only, no picture, so a changed threshold costs seconds. A training window has
``num_frames - 1`` driving frames at an even step inside one scene, and reference candidates outside it where
there are any. Of every test video the longest usable run is taken: its first frame is the reference, the
others are generated and scored.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from mimicmotion.errors import StageError
from stages.clip_rows import VIDEO_FILE, VideoRow, video_rows
from stages.engine.contract import Context, Dataset, DatasetStage, Report

if TYPE_CHECKING:
    from pathlib import Path

    from mimicmotion.clips.choosing import Candidate, Shape
    from mimicmotion.clips.quality import FrameQuality
    from mimicmotion.clips.windows import Limits, Measures

CLIPS_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("first_frame", pa.int32()),
        ("num_frames", pa.int32()),
        ("step", pa.int32()),
        ("fps", pa.float64()),
        ("reference_frames", pa.list_(pa.int32())),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("sentence", pa.string()),
        ("visibility", pa.float32()),
        ("mean_confidence", pa.float32()),
        ("box_height", pa.float32()),
        ("crowded", pa.float32()),
        ("motion", pa.float32()),
        ("left_hand_reliability", pa.float32()),
        ("right_hand_reliability", pa.float32()),
        ("hand_reliability", pa.float32()),
    ]
)
"""One row per window, kept or not. ``num_frames`` counts driving frames, ``step`` apart in the video;
``reason`` and ``sentence`` are null where it is kept, numbers are null where nothing could be measured."""

_NUM_SHEET_CLIPS = 10
_NUM_SHEET_FRAMES = 5


_NOT_SEEN = "no_poses"


@dataclass(frozen=True)
class Choice:
    """What one video offers to either side of the split.

    Attributes:
        train: rows of all its windows.
        test: the row of its longest run, without the reference before it.
        limits: how many windows each limit rejected.
    """

    train: pa.Table
    test: pa.Table
    limits: Mapping[str, int]

    @property
    def usable(self) -> bool:
        """Whether the video could serve on either side."""
        return all(any(table["kept"].to_pylist()) for table in (self.train, self.test))


class Clips(DatasetStage):
    """Chooses training windows and test clips from poses and facts of the videos."""

    name: ClassVar[str] = "clips"
    version: ClassVar[int] = 2
    reads: ClassVar[tuple[str, ...]] = ("decode", "pose")
    schema: ClassVar[pa.Schema] = CLIPS_SCHEMA

    num_frames: int = Field(
        16, ge=2, description="Slots of a training window: the reference, then the driving frames."
    )
    step: int = Field(1, ge=1, description="Video frames from one driving frame to the next.")
    fps: float | None = Field(
        None, gt=0, description="Rate of driving frames: takes the nearest step, by each video's own rate."
    )
    stride: int | None = Field(
        None, ge=1, description="Video frames between starts of windows; null lays them end to end."
    )
    keypoint_threshold: float = Field(0.3, ge=0, description="A body point of more confidence is sure.")
    hand_threshold: float = Field(
        0.3, ge=0, description="A hand whose 21 points all have more confidence counts as reliable."
    )
    min_visibility: float = Field(0.6, ge=0, le=1, description="Least mean share of sure body points.")
    min_confidence: float = Field(0.5, ge=0, description="Least mean confidence of the body points.")
    min_height_share: float = Field(
        0.3, ge=0, le=1, description="Least mean height of the person over that of the picture."
    )
    max_crowded_fraction: float = Field(
        0.1, ge=0, le=1, description="Most frames of a window that may show further people, as a share."
    )
    min_motion: float = Field(
        0.02, ge=0, description="Least mean speed of body points, in heights of the person per second."
    )
    reference_distance: int = Field(
        8, ge=1, description="Video frames between a window and its reference candidates, where possible."
    )
    max_references: int = Field(16, ge=1, description="Most reference candidates of a window.")
    max_test_frames: int = Field(300, ge=1, description="Most driving frames of a test clip.")
    test_fraction: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of videos for testing, by a hash; a split that the source gives wins.",
    )
    seed: int = Field(0, ge=0, description="Seed of the hash that splits the videos.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fps is not None and self.step != 1:
            raise ValueError("step and fps say the same thing: set one of them")
        if self.max_test_frames < self.num_frames - 1:
            raise ValueError(
                f"max_test_frames must be at least num_frames - 1 = {self.num_frames - 1}, "
                f"got {self.max_test_frames}"
            )
        return self

    def run(self, inputs: Mapping[str, Dataset], folder: "Path", context: Context) -> pa.Table:
        """Return every window of every video.

        Raises:
            StageError: no window is kept; counts the reasons.
        """
        from mimicmotion.clips.split import split_videos

        videos = {row["video_id"]: row for row in inputs["decode"].table().to_pylist()}
        seen = set(inputs["pose"].ids)
        choices = {
            name: self._choice(videos[name], inputs["pose"].item_table(name) if name in seen else None)
            for name in sorted(videos)
        }
        split = split_videos(
            {name: choice.usable for name, choice in choices.items()},
            {name: row["split"] for name, row in videos.items()},
            self.test_fraction,
            self.seed,
        )
        chosen = [
            (choices[name].test if side == "test" else choices[name].train) for name, side in split.items()
        ]
        table = pa.concat_tables(chosen)
        if not any(table["kept"].to_pylist()):
            raise StageError(self._nothing_kept(table, choices.values()))
        return table

    def _choice(self, video: Mapping[str, Any], poses: pa.Table | None) -> Choice:
        from mimicmotion.clips.choosing import Candidate, testing_clip, training_windows, whole
        from mimicmotion.clips.windows import Reject

        shape = self._shape(video["fps"])
        if poses is None:
            reject = Reject(_NOT_SEEN, "", "the pose stage rejected the video")
            test = Candidate(whole(video["num_frames"], shape.step), (), None, reject)
            train = [test]
        else:
            quality = self._quality(video, poses)
            train = training_windows(quality, video["scene_cuts"], self._limits, shape)
            test = testing_clip(quality, video["scene_cuts"], self._limits, shape)
        return Choice(
            _rows(video, "train", train),
            _rows(video, "test", [test]),
            Counter(found.reject.limit for found in train if found.reject and found.reject.limit),
        )

    def _quality(self, video: Mapping[str, Any], poses: pa.Table) -> "FrameQuality":
        from mimicmotion.clips.quality import frame_quality
        from mimicmotion.pose.table import read_track

        return frame_quality(
            read_track(poses, video["num_frames"], 0, video["width_px"], video["height_px"]),
            np.bincount(poses["frame"].to_numpy(), minlength=video["num_frames"]),
            video["fps"],
            video["bad_frames"],
            self.keypoint_threshold,
            self.hand_threshold,
        )

    @property
    def _limits(self) -> "Limits":
        from mimicmotion.clips.windows import Limits

        return Limits(**{name: getattr(self, name) for name in Limits.__dataclass_fields__})

    def _shape(self, video_fps: float) -> "Shape":
        from mimicmotion.clips.choosing import Shape

        step = self.step if self.fps is None else max(1, round(video_fps / self.fps))
        num_frames = self.num_frames - 1
        return Shape(
            num_frames=num_frames,
            step=step,
            stride=self.stride or num_frames * step,
            reference_distance=self.reference_distance,
            max_references=self.max_references,
            max_test_frames=self.max_test_frames,
        )

    def _nothing_kept(self, table: pa.Table, choices: Iterable[Choice]) -> str:
        reasons = Counter(table["reason"].to_pylist())
        counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        message = f"clips keeps none of {table.num_rows} windows: {counted}. "
        limits = sum((Counter(choice.limits) for choice in choices), Counter[str]())
        if limits:
            name, count = limits.most_common(1)[0]
            message += f"clips.{name} = {getattr(self, name):g} rejected most ({count}): change it, or "
        return message + "look at the poses that the pose stage shows."

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log counts per reason, histograms of confidence and hands, sheets of kept and rejected clips."""
        from mimicmotion.pictures.clips import histograms_picture, reasons_picture

        table = dataset.table()
        rows = table.to_pylist()
        kept = [row for row in rows if row["kept"]]
        rejected = [row for row in rows if not row["kept"]]
        counts = Counter(row["reason"] or "kept" for row in rows)
        report.metrics(
            {
                "windows": float(len(rows)),
                "kept_fraction": len(kept) / max(1, len(rows)),
                "train_clips": float(sum(row["split"] == "train" for row in kept)),
                "test_clips": float(sum(row["split"] == "test" for row in kept)),
                "train_videos": float(len({row["video_id"] for row in kept if row["split"] == "train"})),
                "hand_reliability": float(np.mean([row["hand_reliability"] for row in kept])),
                **{f"windows_{reason}": float(count) for reason, count in counts.items()},
            }
        )
        report.table("clips", table)
        report.image("reasons", reasons_picture(counts))
        measured = [row for row in rows if row["mean_confidence"] is not None]
        names = {
            "mean confidence": "mean_confidence",
            "left hand reliability": "left_hand_reliability",
            "right hand reliability": "right_hand_reliability",
        }
        if measured:
            values = {title: [row[name] for row in measured] for title, name in names.items()}
            report.image("histograms", histograms_picture(values))
        videos = video_rows(inputs["decode"])
        for name, some in (("kept", kept), ("rejected", rejected)):
            if some:
                report.image(name, _sheet(_spread(some), videos, inputs))


def _rows(video: Mapping[str, Any], split: str, candidates: "Sequence[Candidate]") -> pa.Table:
    video_id = video["video_id"]
    rows = []
    for found in candidates:
        window, measures = found.window, found.measures
        rows.append(
            {
                "clip_id": f"{video_id}-test" if split == "test" else f"{video_id}-{window.first:06d}",
                "video_id": video_id,
                "source": video["source"],
                "split": split,
                "first_frame": window.first,
                "num_frames": window.num_frames,
                "step": window.step,
                "fps": video["fps"] / window.step,
                "reference_frames": list(found.references),
                "kept": found.reject is None,
                "reason": found.reject.reason if found.reject else None,
                "sentence": found.reject.sentence if found.reject else None,
                **(_numbers(measures) if measures else {}),
            }
        )
    return pa.Table.from_pylist(rows, schema=CLIPS_SCHEMA)


def _numbers(measures: "Measures") -> dict[str, float]:
    return {
        "visibility": measures.visibility,
        "mean_confidence": measures.confidence,
        "box_height": measures.height_share,
        "crowded": measures.crowded,
        "motion": measures.motion,
        "left_hand_reliability": measures.left_hand_reliability,
        "right_hand_reliability": measures.right_hand_reliability,
        "hand_reliability": (measures.left_hand_reliability + measures.right_hand_reliability) / 2,
    }


def _spread(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some rows, evenly spread; of few, all."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(_NUM_SHEET_CLIPS, len(rows))).round().astype(int))
    return [rows[place] for place in places]


def _sheet(
    rows: list[dict[str, Any]], videos: Mapping[str, VideoRow], inputs: Mapping[str, Dataset]
) -> np.ndarray:
    """The clips with their poses drawn over them, one per line."""
    from mimicmotion.pictures.clips import clip_row
    from mimicmotion.pictures.panels import grid
    from mimicmotion.pose.table import POSES_SCHEMA
    from mimicmotion.video.reader import VideoReader

    lines = []
    for row in rows:
        video, video_id = videos[row["video_id"]], row["video_id"]
        seen = row["reason"] != _NOT_SEEN
        poses = inputs["pose"].item_table(video_id) if seen else POSES_SCHEMA.empty_table()
        track = video.track(poses)
        places = np.linspace(0, row["num_frames"] - 1, min(_NUM_SHEET_FRAMES, row["num_frames"]))
        frames = [row["first_frame"] + int(place) * row["step"] for place in places.round()]
        reader = VideoReader(inputs["decode"].path(video_id, VIDEO_FILE))
        title = f"{row['clip_id']}  {row['source']}  {row['sentence'] or 'kept'}"
        lines.append(clip_row(reader, track, frames, row["reference_frames"], title))
    return grid(lines)
