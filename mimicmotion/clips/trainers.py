"""The metadata that other trainers read beside a folder of clips, each in the form that it documents.

Read in: DiffSynth-Studio's ``docs/en/Model_Details/Wan.md`` (1b47e1d) and its package 2.1.12, VideoX-Fun's
``scripts/wan2.2/README_TRAIN.md`` (a2097c5) and ``videox_fun/data`` (16ca683), LTX-2's
``packages/ltx-trainer/docs/dataset-preparation.md`` (94a2c9a) and ``scripts/process_videos.py`` (29aff0b),
Hugging Face datasets 5.2, webdataset 1.0.
"""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from mimicmotion.durable import in_place

Trainer = Literal["diffsynth", "videox-fun", "ltx", "huggingface", "webdataset"]

_SHARD_BYTES: Final = 1_000_000_000
"""A shard takes no further clip beyond this."""


@dataclass(frozen=True)
class ExportedClip:
    """One clip for a trainer.

    Attributes:
        clip_id: names its files.
        text: what it shows.
        width_px, height_px, num_frames, fps: of its film.
        files: part (``video``, ``pose``, ..., ``reference``) -> path, relative to the folder of its split.
    """

    clip_id: str
    text: str
    width_px: int
    height_px: int
    num_frames: int
    fps: float
    files: Mapping[str, str]


@dataclass(frozen=True)
class Form:
    """What a trainer reads.

    Attributes:
        multiple: its clips have ``multiple`` k + 1 frames.
        num_frames: most frames of a clip unless asked otherwise: what its documented command takes from the
            start of each film; None where it draws frames from anywhere in it.
        metadata: name of the file beside the clips, None where the clips themselves carry it.
        write: makes its content.
    """

    multiple: int
    num_frames: int | None
    metadata: str | None = None
    write: Callable[[Sequence[ExportedClip]], bytes] = lambda clips: b""


def _diffsynth(clips: Sequence[ExportedClip]) -> bytes:
    """One column for each input of Wan's models that has a file here; ``--extra_inputs`` chooses."""
    columns = {
        "video": "video",
        "input_image": "reference",
        "animate_pose_video": "pose",
        "animate_face_video": "face",
        "animate_inpaint_video": "background",
        "animate_mask_video": "person",
        "control_video": "pose",
        "reference_image": "reference",
        "vace_video": "pose",
        "vace_reference_image": "reference",
    }
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["prompt", *columns])
    for clip in clips:
        rows.writerow([clip.text, *(clip.files[part] for part in columns.values())])
    return text.getvalue().encode()


def _videox_fun(clips: Sequence[ExportedClip]) -> bytes:
    return _json(
        {
            "file_path": clip.files["video"],
            "control_file_path": clip.files["pose"],
            "face_file_path": clip.files["face"],
            "ref_file_path": clip.files["reference"],
            "background_file_path": clip.files["background"],
            "mask_file_path": clip.files["person"],
            "text": clip.text,
            "type": "video",
            "width": clip.width_px,
            "height": clip.height_px,
        }
        for clip in clips
    )


def _ltx(clips: Sequence[ExportedClip]) -> bytes:
    return _json(
        {"caption": clip.text, "video": clip.files["video"], "reference_video": clip.files["pose"]}
        for clip in clips
    )


def _huggingface(clips: Sequence[ExportedClip]) -> bytes:
    """Columns that end in ``file_name`` are films; the reference is a picture, so its does not."""
    films = [part for part in clips[0].files if part != "reference"] if clips else []
    rows = [
        {
            **{"file_name" if part == "video" else f"{part}_file_name": clip.files[part] for part in films},
            "reference": clip.files["reference"],
            "text": clip.text,
            **_facts(clip),
        }
        for clip in clips
    ]
    content = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), content)
    return content.getvalue()


def _json(rows: Iterator[dict[str, Any]]) -> bytes:
    return json.dumps(list(rows), ensure_ascii=False, indent=1).encode()


def _facts(clip: ExportedClip) -> dict[str, Any]:
    names = ("clip_id", "width_px", "height_px", "num_frames", "fps")
    return {name: getattr(clip, name) for name in names}


FORMS: Final[Mapping[Trainer, Form]] = {
    "diffsynth": Form(4, 81, "metadata.csv", _diffsynth),
    "videox-fun": Form(4, None, "metadata.json", _videox_fun),
    "ltx": Form(8, 49, "dataset.json", _ltx),
    "huggingface": Form(1, None, "metadata.parquet", _huggingface),
    "webdataset": Form(1, None),
}


def write_shards(
    folder: Path, clips: Sequence[ExportedClip], path_of: Callable[[ExportedClip, str], Path]
) -> int:
    """Write the clips as tar shards for WebDataset, and give how many; the same clips give the same bytes.

    Args:
        folder: where ``000000.tar`` and so on go.
        clips: in their order.
        path_of: file of a part of a clip.
    """
    shards = list(_shards(clips, path_of))
    for number, members in enumerate(shards):
        with in_place(folder / f"{number:06d}.tar") as written, tarfile.open(written, "w") as tar:
            for clip in members:
                for part, name in clip.files.items():
                    _add(tar, f"{clip.clip_id}.{part}{Path(name).suffix}", path_of(clip, part).read_bytes())
                _add(tar, f"{clip.clip_id}.txt", clip.text.encode())
                _add(tar, f"{clip.clip_id}.json", json.dumps(_facts(clip)).encode())
    return len(shards)


def _shards(
    clips: Sequence[ExportedClip], path_of: Callable[[ExportedClip, str], Path]
) -> Iterator[list[ExportedClip]]:
    shard, size = list[ExportedClip](), 0
    for clip in clips:
        shard.append(clip)
        size += sum(path_of(clip, part).stat().st_size for part in clip.files)
        if size >= _SHARD_BYTES:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, BytesIO(content))
