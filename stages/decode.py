"""The decode stage: every source video made upright, of square pixels and constant rate, with its facts.

    mimicmotion stage decode configs/demo.yaml

What follows reads one well-behaved kind of file, whatever the sources were. Each video is decoded in a
child process with a time limit, so a file that hangs or crashes a decoder becomes a reject.
"""

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from mimicmotion.errors import InputError, MissingSourceError, RejectedItem, redacted
from mimicmotion.video.settings import NormaliseSettings
from stages.clip_rows import VIDEO_FILE
from stages.engine.contract import Dataset, Item, ItemStage, Location, Report
from stages.engine.keys import file_sha256, remembered_sha256

if TYPE_CHECKING:
    from mimicmotion.video.listing import SourceVideo

log = logging.getLogger(__name__)
_say_once = cache(log.info)  # every stage of a rebuild asks for the sources again

VIDEOS_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("source", pa.string()),
        ("given_id", pa.string()),
        ("split", pa.string()),
        ("sha256", pa.string()),
        ("codec", pa.string()),
        ("width_px", pa.int32()),
        ("height_px", pa.int32()),
        ("fps", pa.float64()),
        ("num_frames", pa.int32()),
        ("duration_s", pa.float64()),
        ("source_width_px", pa.int32()),
        ("source_height_px", pa.int32()),
        ("source_fps", pa.float64()),
        ("constant_rate", pa.bool_()),
        ("rotation_deg", pa.int16()),
        ("has_audio", pa.bool_()),
        ("scene_cuts", pa.list_(pa.int32())),
        ("fades", pa.list_(pa.list_(pa.int32()))),
        ("num_bad_frames", pa.int32()),
        ("bad_frames", pa.list_(pa.int32())),
        ("trimmed_s", pa.float64()),
        ("source_num_frames", pa.int32()),
        ("source_frames", pa.list_(pa.int32())),
        ("group", pa.string()),
        ("hash_frames", pa.list_(pa.int32())),
        ("hashes", pa.list_(pa.int64())),
    ]
)
"""One row per video, see ``VideoFacts``. ``source`` is its path in the source folder or list; ``given_id``
and ``split`` are what a list or the folders ``train``, ``val`` and ``test`` say, else null; sizes are
upright except those of the source. ``group`` is not divided between splits; ``hashes`` are perceptual hashes
of ``hash_frames``, a picture about every second."""

_ID_LENGTH = 16
_BLOCK_BYTES = 1 << 22
_CHILD_SHARE = 0.95
"""Share of the time limit that the child gets, so that it ends before its worker has to be killed."""
_MAX_SHOWN = 24
_COLUMNS_SHOWN = 6
_THUMBNAIL_HEIGHT_PX = 384


class Decode(NormaliseSettings, ItemStage):
    """Normalises source videos; one video is one item, named by its content."""

    name: ClassVar[str] = "decode"
    version: ClassVar[int] = 8
    schema: ClassVar[pa.Schema] = VIDEOS_SCHEMA
    source_fields: ClassVar[tuple[str, ...]] = ("source",)

    source: Location = Field(
        description="Folder or s3:// prefix (with train/, val/ and test/ in it, or not), or list (.csv, "
        ".parquet, .jsonl) with columns path, split, id, group."
    )

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        """One item per source video; copies of the same content become items that reject themselves.

        Raises:
            MissingSourceError: the source is missing or out of reach.
            InputError: it holds no video, or is a list with problems.
        """
        from mimicmotion.video.listing import list_videos

        listing = list_videos(self.source)
        if listing.num_ignored:
            _say_once(f"decode: passed over in {redacted(self.source)}: {listing.passed_over()}")
        copies: dict[str, list[SourceVideo]] = {}
        for video in listing.videos:
            try:
                sha256 = _sha256(video)
            except InputError as error:
                if not video.is_local:
                    raise  # the store is away, which is not the video's fault
                yield _unreadable(video, error)
                continue
            first = copies.setdefault(sha256, [])
            yield _item(video, sha256, first)
            first.append(video)

    def process(self, loaded: None, item: Item, folder: Path) -> pa.Table:
        """Return the facts of one video, whose normalised form is then ``video.mp4`` in the folder.

        Raises:
            RejectedItem: see ``normalise_isolated``; and ``duplicate``, or ``unreadable`` where no byte of it
                can be read.
            StageError: decoding failed for a reason that is not the video's.
        """
        from mimicmotion.video.isolated import normalise_isolated

        payload = item.payload
        if "unreadable" in payload:
            raise RejectedItem("unreadable", payload["unreadable"])
        if payload["duplicate_of"] is not None:
            raise RejectedItem(
                "duplicate", f"{payload['source']} has the same content as {payload['duplicate_of']}"
            )
        with tempfile.TemporaryDirectory(prefix="decode-") as scratch:
            path = _fetched(payload["location"], payload["source"], Path(scratch))
            timeout_s = _CHILD_SHARE * self.runtime.item_timeout_s
            facts = normalise_isolated(path, folder / VIDEO_FILE, self, timeout_s, self.runtime.retries)
        hashes = _hashes(folder / VIDEO_FILE, self.key_frame_interval)
        row = {**payload, "video_id": item.id, **asdict(facts), **hashes}
        return pa.Table.from_pylist([{name: row[name] for name in VIDEOS_SCHEMA.names}], schema=VIDEOS_SCHEMA)

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log totals, the table of facts, and a frame from the middle of some videos."""
        table = dataset.table()
        rows = table.to_pylist()
        report.metrics(
            {
                "videos": float(len(rows)),
                "hours": sum(row["duration_s"] for row in rows) / 3600,
                "scene_cuts": float(sum(len(row["scene_cuts"]) for row in rows)),
                "fades": float(sum(len(row["fades"]) for row in rows)),
                "bad_frames": float(sum(row["num_bad_frames"] for row in rows)),
                "trimmed_videos": float(sum(row["trimmed_s"] > 0 for row in rows)),
            }
        )
        report.table("videos", table.drop_columns(["source_frames", "hash_frames", "hashes"]))
        if rows:
            report.image("videos", _contact_sheet(dataset, rows))


def _hashes(path: Path, key_frame_interval: int) -> dict[str, list[int]]:
    """Perceptual hashes of key frames, which cost a picture each to read, about one a second."""
    from mimicmotion.clips.copies import picture_hash
    from mimicmotion.video.reader import open_video

    reader = open_video(path)
    step = max(1, round(reader.fps / key_frame_interval)) * key_frame_interval
    frames = list(range(0, reader.num_frames, step))
    return {"hash_frames": frames, "hashes": [picture_hash(reader.read([frame])[0]) for frame in frames]}


def _contact_sheet(dataset: Dataset, rows: list[dict[str, Any]]) -> np.ndarray:
    """Middle frames of some videos, evenly spread over all."""
    from mimicmotion.clips.windows import spread
    from mimicmotion.pictures.panels import grid, labelled_row
    from mimicmotion.video.reader import open_video

    panels = {}
    for row in spread(rows, _MAX_SHOWN):
        reader = open_video(dataset.path(row["video_id"], VIDEO_FILE))
        panels[row["source"]] = _thumbnail(reader.read([reader.num_frames // 2])[0])
    names = list(panels)
    lines = [names[start : start + _COLUMNS_SHOWN] for start in range(0, len(names), _COLUMNS_SHOWN)]
    return grid([labelled_row({name: panels[name] for name in line}) for line in lines])


def _item(video: "SourceVideo", sha256: str, copies: "list[SourceVideo]") -> Item:
    video_id = sha256[:_ID_LENGTH]
    duplicate_of = copies[0].name if copies else None
    # Everything that the row says, for the row is part of the outcome.
    keys = {"content": sha256, "source": video.name}
    given = {"split": video.split, "given_id": video.given_id, "group": video.group}
    given["duplicate_of"] = duplicate_of
    payload: dict[str, Any] = {"location": video.location, "source": video.name, "sha256": sha256, **given}
    return Item(
        id=f"{video_id}-dup{len(copies)}" if copies else video_id,
        inputs={**keys, **{name: value for name, value in given.items() if value is not None}},
        payload=payload,
        label=video.name,
    )


def _unreadable(video: "SourceVideo", error: InputError) -> Item:
    """An item that rejects itself; once the file can be read, it is another item."""
    video_id = hashlib.sha256(video.name.encode()).hexdigest()[:_ID_LENGTH]
    sentence = f"{video.name} cannot be read: {getattr(error.__cause__, 'strerror', None) or error}"
    return Item(video_id, {"unreadable": video.name}, {"unreadable": sentence}, video.name)


def _sha256(video: "SourceVideo") -> str:
    if video.is_local:
        return file_sha256(Path(video.location))
    name = f"{redacted(video.location)} {video.size_bytes} {video.mtime_ns}"
    return remembered_sha256(name, lambda: _remote_sha256(video.location))


def _remote_sha256(uri: str) -> str:
    digest = hashlib.sha256()
    try:
        with _opened(uri) as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except (OSError, pa.ArrowException) as error:
        raise MissingSourceError(redacted(f"{uri} cannot be read: {error}")) from error
    return digest.hexdigest()


def _fetched(location: str, name: str, scratch: Path) -> Path:
    """Local path of a source, brought to the scratch folder under its own name if it is elsewhere."""
    if "://" not in location:
        return Path(location)
    local = scratch / PurePosixPath(name).name
    with _opened(location) as source, local.open("wb") as target:
        shutil.copyfileobj(source, target, _BLOCK_BYTES)
    return local


def _opened(uri: str) -> pa.NativeFile:
    from pyarrow import fs

    store, path = fs.FileSystem.from_uri(uri)
    return store.open_input_stream(path)


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    import cv2

    width_px = max(1, round(picture.shape[1] * _THUMBNAIL_HEIGHT_PX / picture.shape[0]))
    return np.asarray(cv2.resize(picture, (width_px, _THUMBNAIL_HEIGHT_PX), interpolation=cv2.INTER_AREA))
