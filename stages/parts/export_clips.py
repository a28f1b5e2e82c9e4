"""Kept clips as films for other trainers: the part of ``mimicmotion export-data`` that runs over all workers.

``mimicmotion export-data configs/demo.yaml --for diffsynth --out exported``

One item is one clip: its film and the films beside it (``pictures/conditions.py``), from normalised films and
stored poses. Neighbouring kept windows with one framing are one stretch, which is cut into clips end to end.
What an item holds does not depend on the trainer's metadata, so exports of one length share their items.
"""

import json
import logging
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from mimicmotion.pose.settings import ConfidenceSettings, DrawingStyle
from stages.clip_rows import FRAMING_COLUMNS, POSES_FILE, VIDEO_FILE, ClipRow, framing_columns, video_rows
from stages.engine.contract import Dataset, Item, ItemStage, Stage

log = logging.getLogger(__name__)

EXPORTED_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("frames", pa.list_(pa.int32())),
        ("reference_frame", pa.int32()),
        ("fps", pa.float64()),
        *((name, pa.int32()) for name in FRAMING_COLUMNS),
        ("face_frames", pa.int32()),
        ("left_hand_frames", pa.int32()),
        ("right_hand_frames", pa.int32()),
        ("crowded_frames", pa.int32()),
    ]
)
"""One row per clip; ``frames`` and ``reference_frame`` are those of the normalised film, the other counts say
in how many of them a face, a hand, further people are."""


class ExportClips(ConfidenceSettings, ItemStage):
    """Writes every kept clip as a film, with pose, face, masks, background and reference beside it."""

    name: ClassVar[str] = "export"
    version: ClassVar[int] = 1
    section: ClassVar[str] = "decode"
    reads: ClassVar[tuple[str, ...]] = ("decode", "pose", "clips")
    schema: ClassVar[pa.Schema] = EXPORTED_SCHEMA

    num_frames: int | None = Field(
        None, ge=2, description="Most frames of a clip; null takes whole stretches."
    )
    multiple: int = Field(1, ge=1, description="Clips have this many frames times k, plus 1.")
    drawing: DrawingStyle = DrawingStyle()
    threshold: float = Field(0.3, ge=0, description="Hands and faces of more confidence are there.")
    face_px: int = Field(512, ge=16, description="Sides of the face film, which is square.")

    def idle_fields(self) -> set[str]:
        """No calibration is no part of the recipe."""
        return self.unread_fields()

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        """One item per clip; what is too short for one is logged."""
        from mimicmotion.clips.stretches import pieces
        from mimicmotion.clips.windows import far_frames

        videos, left_over = video_rows(inputs["decode"]), 0
        for row, frames in stretches(inputs):
            video = videos[row.video_id]
            clips, rest = pieces(frames, self.num_frames, self.multiple)
            left_over += rest
            for number, clip in enumerate(clips):
                candidates = np.array(row.reference_frames)
                reference = far_frames(candidates, clip[0], clip[-1], row.reference_distance)[0]
                ignore = [box for box in row.ignore if box[0] <= clip[-1] and clip[0] < box[1]]
                payload: dict[str, Any] = {
                    "video_row": video,
                    "split": row.split,
                    "frames": list(clip),
                    "reference_frame": int(reference),
                    "fps": row.fps,
                    "fit": row.framing(video),
                }
                window = {**{name: payload[name] for name in ("split", "frames", "reference_frame", "fps")}}
                window |= framing_columns(payload["fit"]) | ({"ignore": ignore} if ignore else {})
                yield Item(
                    id=f"{row.clip_id}-{number:03d}",
                    inputs={
                        "video": inputs["decode"].item_key(row.video_id),
                        "poses": inputs["pose"].item_key(row.video_id),
                        "window": json.dumps(window, sort_keys=True),
                    },
                    payload={
                        **payload,
                        "ignore": ignore,
                        "video": inputs["decode"].path(row.video_id, VIDEO_FILE),
                        "poses": inputs["pose"].path(row.video_id, POSES_FILE),
                    },
                    label=f"{video.name} from frame {clip[0]}",
                    num_frames=len(clip),
                )
        if left_over:
            log.info("export: %d frames at the ends of stretches are too few for a clip", left_over)

    def process(self, loaded: None, item: Item, folder: Path) -> pa.Table:
        """Write the films and the reference of one clip."""
        from mimicmotion.clips.overlays import Overlay
        from mimicmotion.pictures.conditions import ClipConditions, further_people
        from mimicmotion.video.reader import open_video

        payload = item.payload
        video, frames = payload["video_row"], payload["frames"]
        table = pq.read_table(payload["poses"])
        conditions = ClipConditions(
            reader=open_video(payload["video"]),
            track=video.track(table, self.opened_calibration()),
            others=further_people(table),
            overlays=[Overlay(*box) for box in payload["ignore"]],
            frames=frames,
            fit=payload["fit"],
            style=self.drawing,
            threshold=self.threshold,
            face_px=self.face_px,
        )
        conditions.write(folder, payload["reference_frame"], payload["fps"])
        left, right = (int(count) for count in conditions.hands.sum(axis=0))
        row = {
            "clip_id": item.id,
            "video_id": video.video_id,
            "source": video.source,
            **{name: payload[name] for name in ("split", "frames", "reference_frame", "fps")},
            **framing_columns(payload["fit"]),
            "face_frames": int(conditions.shows_face.sum()),
            "left_hand_frames": left,
            "right_hand_frames": right,
            "crowded_frames": sum(frame in conditions.others for frame in frames),
        }
        return pa.Table.from_pylist([row], schema=EXPORTED_SCHEMA)


def exporter(stages: Mapping[str, Stage], **fields: Any) -> ExportClips:
    """The part, with drawing, threshold and workers of a config's stages; ``plain`` draws in full colours."""
    drawing = stages["train"].drawing if "train" in stages else DrawingStyle()  # type: ignore[attr-defined]
    if fields.pop("plain", False):
        drawing = drawing.model_copy(update={"use_confidence": False})
    runtime = {
        name: getattr(stages["decode"].runtime, name) for name in type(ExportClips().runtime).model_fields
    }
    clips: Any = stages["clips"]
    read = {"threshold": clips.hand_threshold, "calibration": clips.calibration}
    return ExportClips(drawing=drawing, runtime=runtime, **read, **fields)


def stretches(inputs: Mapping[str, Dataset]) -> Iterator[tuple[ClipRow, Sequence[int]]]:
    """Each stretch of kept windows or clips: its first row with references and overlays of all, its frames.

    Of training videos the windows, of val and test videos the clips. A window that was not kept, or is framed
    otherwise, ends a stretch, and so does a cut.
    """
    from mimicmotion.clips.stretches import joined

    cuts = {row["video_id"]: row["scene_cuts"] for row in inputs["decode"].table().to_pylist()}
    rows = inputs["clips"].table().to_pylist()
    rows = [row for row in rows if (row["split"] == "train") == (row["form"] == "window")]

    def alike(row: Mapping[str, Any]) -> tuple[Any, ...]:
        scene = bisect(cuts[row["video_id"]], row["first_frame"])
        return (scene, *(row[name] for name in ("video_id", "split", "kept", *FRAMING_COLUMNS)))

    for _, group in groupby(rows, key=alike):
        found = [ClipRow.of(row) for row in group if row["kept"]]
        for begin, end, frames in joined([_every_frame(row) for row in found]):
            together = found[begin:end]
            references = sorted({frame for row in together for frame in row.reference_frames})
            ignore = sorted({(*box,) for row in together for box in row.ignore})
            yield replace(together[0], reference_frames=references, ignore=ignore), frames


def _every_frame(row: ClipRow) -> range:
    return range(row.first_frame, row.frames[-1] + row.num_windows, row.step)
