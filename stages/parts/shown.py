"""What the stages pose, clips and animate show a person: numbers, tables and pictures of their datasets."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from stages.clip_rows import JUDGE_PICTURE, PREVIEW_FILE, VIDEO_FILE, VideoRow, kept_clips, video_rows
from stages.engine.contract import Dataset, Report
from stages.parts.generated import judge_of
from stages.parts.pairs import is_pair
from stages.parts.scored import scores_of_films

if TYPE_CHECKING:
    from mimicmotion.pose.calibration import Calibration

log = logging.getLogger(__name__)

_MAX_VIDEOS_SHOWN = 200
_MAX_SAMPLES_SHOWN = 4
_NUM_ANIMATIONS_SHOWN = 6
_NUM_SHEET_CLIPS, _NUM_SHEET_FRAMES = 10, 5
_HISTOGRAMS = (
    *("mean_confidence", "left_hand_reliability", "right_hand_reliability", "hand_confidence"),
    *("background_motion", "overlay", "hand_sharpness", "face_sharpness", "faded"),
)


def show_poses(
    dataset: Dataset, inputs: Mapping[str, Dataset], report: Report, calibration: "Calibration | None"
) -> None:
    """Log how many frames have a person, confidences by part, and frames with the pose drawn on them."""
    from mimicmotion.clips.windows import spread
    from mimicmotion.pictures.poses import Tally, confidence_picture, pose_on_frame
    from mimicmotion.video.reader import open_video

    tally, shown = Tally(), spread(dataset.ids, _MAX_VIDEOS_SHOWN)
    for video_id in shown:
        tally.add(dataset.item_table(video_id))
    report.metrics(tally.metrics())
    rows = [
        {"video_id": video_id, **asdict(presence)}
        for video_id, presence in zip(shown, tally.presences, strict=True)
    ]
    if rows:
        report.table("people", pa.Table.from_pylist(rows))
        log.info("pose: in %d videos, %s", len(rows), tally.presence.sentence)
    if tally.num_people:
        report.image("confidences", confidence_picture(tally))
    for video_id in spread(dataset.ids, _MAX_SAMPLES_SHOWN):
        table = dataset.item_table(video_id)
        if table.num_rows:
            reader = open_video(inputs["decode"].path(video_id, VIDEO_FILE))
            number = table["frame"][table.num_rows // 2].as_py()
            drawn = pose_on_frame(reader.read([number])[0], table, number, calibration)
            report.image(f"pose/{video_id}", drawn)


def show_clips(
    dataset: Dataset, inputs: Mapping[str, Dataset], report: Report, calibration: "Calibration | None"
) -> None:
    """Log counts per reason, histograms, and sheets of kept and rejected clips."""
    from mimicmotion.clips.split import SIDES
    from mimicmotion.clips.windows import spread
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
            **{f"{side}_clips": float(sum(row["split"] == side for row in kept)) for side in SIDES},
            "train_videos": float(len({row["video_id"] for row in kept if row["split"] == "train"})),
            "hand_reliability": float(np.mean([row["hand_reliability"] for row in kept])),
            **{f"windows_{reason}": float(count) for reason, count in counts.items()},
        }
    )
    report.table("clips", table)
    report.image("reasons", reasons_picture(counts))
    measured = [row for row in rows if row["mean_confidence"] is not None]
    if measured:
        values = {
            name.replace("_", " "): [row[name] for row in measured if row[name] is not None]
            for name in _HISTOGRAMS
        }
        report.image("histograms", histograms_picture(values))
    videos = video_rows(inputs["decode"])
    sheets = {"kept": kept}
    for row in rejected:
        sheets.setdefault(f"rejected/{row['reason']}", []).append(row)
    for name, some in sheets.items():
        report.image(name, _sheet(spread(some, _NUM_SHEET_CLIPS), videos, inputs, calibration))


def _sheet(
    rows: Sequence[dict[str, Any]],
    videos: Mapping[str, VideoRow],
    inputs: Mapping[str, Dataset],
    calibration: "Calibration | None",
) -> np.ndarray:
    """The clips with their poses drawn over them, one per line."""
    from mimicmotion.clips.overlays import Overlay
    from mimicmotion.pictures.clips import clip_row
    from mimicmotion.pictures.panels import grid
    from mimicmotion.pose.table import POSES_SCHEMA
    from mimicmotion.video.reader import open_video

    lines = []
    for row in rows:
        video, video_id = videos[row["video_id"]], row["video_id"]
        seen = row["video_id"] in inputs["pose"].ids
        poses = inputs["pose"].item_table(video_id) if seen else POSES_SCHEMA.empty_table()
        track = video.track(poses, calibration)
        places = np.linspace(0, row["num_frames"] - 1, min(_NUM_SHEET_FRAMES, row["num_frames"]))
        frames = [row["first_frame"] + int(place) * row["step"] for place in places.round()]
        reader = open_video(inputs["decode"].path(video_id, VIDEO_FILE))
        title = f"{row['clip_id']}  {row['source']}  {row['sentence'] or 'kept'}"
        overlays = [Overlay(*values) for values in row["ignore"]]
        lines.append(clip_row(reader, track, frames, row["reference_frames"], title, overlays))
    return grid(lines)


def show_animations(dataset: Dataset, clips: Dataset, report: Report) -> None:
    """Log previews that play in the page, a picture of the first, and what the judge says of test clips."""
    from mimicmotion.metrics.scores import SUMMARY
    from mimicmotion.pictures.panels import grid
    from mimicmotion.video.picture_files import read_picture
    from mimicmotion.video.reader import open_video

    rows: list[np.ndarray] = []
    judged = {clip_id: found for clip_id in dataset.ids if (found := judge_of(dataset, clip_id))}
    of_test = [judged[clip.clip_id] for clip in kept_clips(clips, "test", "clip") if clip.clip_id in judged]
    scores = [one for one in scores_of_films(of_test) if one.clip_id == SUMMARY]
    report.metrics({one.metric: one.value for one in scores if one.value is not None})
    for clip_id in dataset.ids:
        if clip_id in judged:
            report.image(f"judge_{clip_id}", read_picture(dataset.path(clip_id, JUDGE_PICTURE)))
        preview = dataset.path(clip_id, PREVIEW_FILE)
        report.file(preview, f"previews/{clip_id}")
        if len(rows) < _NUM_ANIMATIONS_SHOWN and not is_pair(clip_id):
            reader = open_video(preview)
            rows.append(reader.read([reader.num_frames // 2])[0])
    if rows:
        report.image("reference_pose_generated_true", grid(rows))


def kept_of_clips(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many windows and clips were kept, e.g. ``2 of 3 clips kept, 12 of 14 windows kept``."""
    forms = [(f"{row['form']}s", row["kept"]) for row in rows]
    found, kept = Counter(form for form, _ in forms), Counter(form for form, is_kept in forms if is_kept)
    said = [f"{kept[form]} of {count} {form} kept" for form, count in sorted(found.items())]
    trained = [row["kept"] for row in rows if (row["form"], row["split"]) == ("window", "train")]
    return ", ".join(said + (["none to train on"] if trained and not any(trained) else []))
