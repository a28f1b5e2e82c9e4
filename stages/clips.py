"""The clips stage: windows to train on, clips to test on, and every rejected one with its reason.

    mimicmotion stage clips configs/demo.yaml

Reads facts, poses and what the pose stage saw in pictures, but no picture, so a changed threshold costs
seconds. A training window has ``num_frames - 1`` driving frames at an even step inside one scene, and
reference candidates outside it where there are any; what its framing cuts off counts as not seen. Of every
val and test video the longest usable run is taken, or the whole video: its first frame is the reference, the
others are generated and scored.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from pyarrow import parquet

from mimicmotion.clips.settings import SplitSettings, WindowSettings
from mimicmotion.errors import StageError
from stages.clip_rows import (
    EVIDENCE_FILE,
    FRAMING_COLUMNS,
    Form,
    framing_columns,
)
from stages.engine.contract import Context, Dataset, DatasetStage, Report

if TYPE_CHECKING:
    from pathlib import Path

    from mimicmotion.clips.choosing import Candidate
    from mimicmotion.clips.overlays import Overlay
    from mimicmotion.clips.quality import PosedVideo

log = logging.getLogger(__name__)

CLIPS_SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("form", pa.string()),
        ("first_frame", pa.int32()),
        ("num_frames", pa.int32()),
        ("step", pa.int32()),
        ("num_windows", pa.int32()),
        ("unit", pa.string()),
        ("fps", pa.float64()),
        ("reference_frames", pa.list_(pa.int32())),
        ("reference_distance", pa.int32()),
        *((name, pa.int32()) for name in FRAMING_COLUMNS),
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
        ("hand_confidence", pa.float32()),
        ("faded", pa.float32()),
        ("background_motion", pa.float32()),
        ("overlay", pa.float32()),
        ("hand_sharpness", pa.float32()),
        ("face_sharpness", pa.float32()),
        ("ignore", pa.list_(pa.list_(pa.int32()))),
        ("video_frames_nobody", pa.int32()),
        ("video_frames_person_lost", pa.int32()),
    ]
)
"""One row per window or clip (``form``), kept or not. ``num_frames`` counts driving frames, ``step`` apart in
the video; a row stands for ``num_windows`` windows that begin one frame after the other and share a framing.
An epoch shows one window of each ``unit``: of a video, or with ``windows: all`` of the row itself.
``ignore`` are overlays: first frame, end, left, top, right, bottom, in pixels of the normalised video.
``reason`` and ``sentence`` are null where it is kept, numbers are null where nothing could be measured."""

REVIEW_FILE = "review.csv"


class Clips(WindowSettings, SplitSettings, DatasetStage):
    """Chooses training windows, val clips and test clips from poses and facts of the videos."""

    name: ClassVar[str] = "clips"
    version: ClassVar[int] = 7
    reads: ClassVar[tuple[str, ...]] = ("decode", "pose")
    schema: ClassVar[pa.Schema] = CLIPS_SCHEMA
    follows: ClassVar[Mapping[str, str]] = {"calibration": "pose"}

    def idle_fields(self) -> set[str]:
        """Without a longest run its length means nothing; no list of decisions is no field."""
        idle = {"max_test_frames"} if self.test_clips == "whole_video" else set()
        return idle | self.unread_fields() | (set() if self.review else {"review"})

    def _review(
        self,
        videos: Mapping[str, Any],
        windows: "dict[str, list[Candidate]]",
        clips: "dict[str, Candidate]",
        folder: "Path",
    ) -> None:
        """Obey the list of a review, and keep it with who and when beside what came of it."""
        if self.review is None:
            return
        from mimicmotion.clips.review import read_review, reviewed, write_review

        decisions = read_review(self.review)
        for name in videos:
            own = [one.at(videos[name]["fps"]) for one in decisions if one.video_id == name]
            cuts = videos[name]["scene_cuts"]
            windows[name] = reviewed(windows[name], own, self.max_references, cuts)
            (clips[name],) = reviewed([clips[name]], own, max_references=0)
        write_review(folder / REVIEW_FILE, decisions)
        if any(one.fps is None for one in decisions):
            log.warning("clips: %s has rows without fps: their frames are of the rate of now", self.review)
        if gone := {one.source or one.video_id for one in decisions if one.video_id not in videos}:
            log.warning("clips: %s names %d videos that are not there: %s", self.review, len(gone), min(gone))

    def run(self, inputs: Mapping[str, Dataset], folder: "Path", context: Context) -> pa.Table:
        """Return every window and clip of every video.

        Raises:
            StageError: nothing is kept; counts the reasons.
        """
        from mimicmotion.clips.choosing import generated_clip, near_duplicate, training_windows
        from mimicmotion.clips.copies import Fingerprint, near_copies
        from mimicmotion.clips.overlays import given_overlays
        from mimicmotion.clips.split import divided, joined_groups, split_videos, uneven_sides
        from mimicmotion.pose.people import Presence

        videos = {row["video_id"]: row for row in inputs["decode"].table().to_pylist()}
        windows, clips = dict[str, list["Candidate"]](), dict[str, "Candidate"]()
        prints = dict[str, Fingerprint]()
        given = given_overlays(self.overlay_boxes, videos) if self.overlay_boxes else {}
        for name, facts in sorted(videos.items()):
            video, unseen = self._posed(facts, inputs["pose"], given.get(name, ()))
            if odd := video.odd_confidences:
                log.warning("clips: %s was given poses of another kind of model: %s", facts["source"], odd)
            prints[name] = Fingerprint.of(video, facts["hash_frames"], facts["hashes"])
            facts["presence"] = None if unseen else Presence.of(video.track.present, video.frames)
            facts["overlays"] = video.overlays
            windows[name] = [unseen] if unseen else training_windows(video)
            clips[name] = unseen or generated_clip(video)
        self._review(videos, windows, clips, folder)
        usable = {
            name: clip.reject is None and any(window.reject is None for window in windows[name])
            for name, clip in clips.items()
        }
        copies = near_copies(prints)
        groups = joined_groups({name: row["group"] for name, row in videos.items()}, copies)
        sides = {name: row["split"] for name, row in videos.items()}
        split = split_videos(usable, sides, groups, self)
        for uneven in uneven_sides(split, sides, groups, self):
            log.warning("clips: %s", uneven)
        for name, twin in divided(copies, split):
            found = near_duplicate(videos[name]["source"], videos[twin]["source"], split[twin])
            windows[name] = [one.rejected(found) for one in windows[name]]
            clips[name] = clips[name].rejected(found)
        of_each = (self._rows(videos[name], side, windows[name], clips[name]) for name, side in split.items())
        rows = [row for rows in of_each for row in rows]
        if not any(row["kept"] for row in rows):
            raise StageError(self._nothing_kept(rows, windows.values()))
        return pa.Table.from_pylist(rows, schema=CLIPS_SCHEMA)

    def _posed(
        self, facts: Mapping[str, Any], pose: Dataset, given: "Sequence[Overlay]"
    ) -> "tuple[PosedVideo, Candidate | None]":
        """A video with its poses, and the one outcome of a video without any that can be used."""
        from mimicmotion.clips.choosing import whole
        from mimicmotion.clips.evidence import EVIDENCE_SCHEMA
        from mimicmotion.clips.quality import PosedVideo
        from mimicmotion.clips.windows import Reject
        from mimicmotion.pose.table import POSES_SCHEMA

        seen = facts["video_id"] in pose.ids
        poses, evidence = POSES_SCHEMA.empty_table(), EVIDENCE_SCHEMA.empty_table()
        if seen:
            poses = pose.item_table(facts["video_id"])
            evidence = parquet.read_table(pose.path(facts["video_id"], EVIDENCE_FILE))
        video = PosedVideo.of(facts, poses, evidence, self, given)
        reject = None if seen else Reject("no_poses", "", "the pose stage rejected the video")
        if video.odd_confidences and self.odd_confidences == "reject":
            reject = Reject("odd_confidences", "", video.odd_confidences)
        return video, whole(video, reject) if reject else None

    def _rows(
        self, facts: Mapping[str, Any], side: str, windows: "Sequence[Candidate]", clip: "Candidate"
    ) -> list[dict[str, Any]]:
        """Rows of one video: its windows to train or validate on, its clip to generate and score."""
        rows = [] if side == "test" else [_row(facts, side, "window", found) for found in windows]
        rows += [] if side == "train" else [_row(facts, side, "clip", clip)]
        unit = "video_id" if self.windows == "random" else "clip_id"
        return [{**row, "unit": row[unit], "reference_distance": self.reference_distance} for row in rows]

    def _nothing_kept(self, rows: Sequence[Mapping[str, Any]], found: "Iterable[Sequence[Candidate]]") -> str:
        counted = ", ".join(f"{n} {why}" for why, n in Counter(row["reason"] for row in rows).most_common())
        forms = Counter(f"{row['form']}s" for row in rows)
        of = " and ".join(f"{count} {form}" for form, count in sorted(forms.items(), reverse=True))
        message = f"clips keeps none of {of}: {counted}. "
        of_all = (one.reject for candidates in found for one in candidates if one.reject)
        limits = Counter(reject.limit for reject in of_all if reject.limit)
        for name, count in limits.most_common(1):
            message += f"clips.{name} = {getattr(self, name):g} rejected most ({count}): change it, or "
        return message + "look at the poses that the pose stage shows."

    def summary(self, dataset: Dataset) -> str:
        """How many of the windows and of the clips were kept."""
        from stages.parts.shown import kept_of_clips

        return kept_of_clips(dataset.table().to_pylist())

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log counts per reason, histograms of confidence and hands, sheets of kept and rejected clips."""
        from stages.parts.shown import show_clips

        show_clips(dataset, inputs, report, self.opened_calibration())


def _row(facts: Mapping[str, Any], side: str, form: Form, found: "Candidate") -> dict[str, Any]:
    window, video_id = found.window, facts["video_id"]
    return {
        "clip_id": f"{video_id}-{side}" if form == "clip" else f"{video_id}-{window.first:06d}",
        "video_id": video_id,
        "source": facts["source"],
        "split": side,
        "form": form,
        "first_frame": window.first,
        "num_frames": window.num_frames,
        "step": window.step,
        "num_windows": found.num_windows,
        "fps": facts["fps"] / window.step,
        "reference_frames": list(found.references),
        **framing_columns(found.fit),
        "kept": found.reject is None,
        "reason": found.reject.reason if found.reject else None,
        "sentence": found.reject.sentence if found.reject else None,
        "ignore": [
            list(one)
            for one in facts["overlays"]
            if one.first <= window.last + found.num_windows - 1 and window.first < one.end
        ],
        "video_frames_nobody": facts["presence"] and facts["presence"].num_nobody,
        "video_frames_person_lost": facts["presence"] and facts["presence"].num_lost,
        **found.numbers,
    }
