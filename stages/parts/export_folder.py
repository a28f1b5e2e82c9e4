"""The folder of an export: clips under each split, the metadata of a trainer, and where all of it comes from.

It appears when it is complete. Films are copies, so that a trainer that changes them in place changes nothing
in the workspace; where the file system can, a copy takes no space until then.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mimicmotion.clips.trainers import FORMS, ExportedClip, Trainer, write_shards
from mimicmotion.durable import in_place
from mimicmotion.errors import InputError
from mimicmotion.lists import read_list
from mimicmotion.names import by_name
from mimicmotion.pictures.conditions import FILMS
from stages.engine.datasets import PublishedDataset
from stages.engine.provenance import git_revision, library_versions

LINEAGE_FILE, CLIPS_FILE = "lineage.json", "clips.parquet"
_REFERENCE = "reference"
_MOST_BYTES = 1 << 30


def check_out(out: Path) -> None:
    """Refuse a place that holds something already.

    Raises:
        InputError: it is a file, or a folder with something in it, or has no name of its own.
    """
    if not out.name:
        raise InputError(f"--out {out} has no name: name a new folder, e.g. {out / 'exported'}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"--out {out} is there already: name another folder, or delete this one first")


def read_texts(path: Path | None, sources: Sequence[str], text: str) -> dict[str, str]:
    """What each source film shows: of a list with columns path and text, else the one text for all.

    Raises:
        InputError: the list cannot be read, names a film twice or one that is not there, or lacks a text.
    """
    texts = dict.fromkeys(sources, text)
    if path is None:
        return texts
    table = read_list(path, ["path", "text"])
    if "text" not in table.column_names:
        raise InputError(f"{path} has no column text; it has {', '.join(table.column_names)}")
    meant = by_name(sources)
    names = list[str]()
    for written in table["path"].to_pylist():
        if (name := meant(written)) is None:
            raise InputError(
                f"{path} names {written}, which is no film of this config, or several; allowed are paths as "
                f"in its source, e.g. {sources[0] if sources else 'none'}"
            )
        names.append(name)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path} names {twice[0]} more than once")
    said = {name: str(row or "") for name, row in zip(names, table["text"].to_pylist(), strict=True)}
    if without := [name for name, row in said.items() if not row.strip()]:
        raise InputError(f"{path} has no text for {without[0]}: write one, or leave the row out for --text")
    return texts | said


def write_export(
    out: Path,
    trainer: Trainer,
    exported: PublishedDataset,
    texts: Mapping[str, str],
    origin: Mapping[str, Any],
) -> dict[str, int]:
    """Write the folder for a trainer, whole or not at all; gives the number of clips of each split.

    Args:
        out: where; must not hold anything.
        trainer: whose metadata.
        exported: the clips.
        texts: source -> what its clips show.
        origin: for the lineage file: config, dataset keys.
    """
    form, table = FORMS[trainer], exported.table()
    splits: dict[str, list[ExportedClip]] = {}
    for row in table.to_pylist():
        splits.setdefault(row["split"], []).append(_clip(row, texts[row["source"]]))
    counts = {split: len(clips) for split, clips in splits.items()}
    with in_place(out) as folder:
        for split, clips in splits.items():
            place = folder / split
            place.mkdir(parents=True)
            if form.metadata is None:
                write_shards(place, clips, lambda clip, part: exported.path(clip.clip_id, _file(part)))
                continue
            for part in (*FILMS, _REFERENCE):
                (place / part).mkdir()
            for clip in clips:
                for part, name in clip.files.items():
                    _copy(exported.path(clip.clip_id, _file(part)), place / name)
            (place / form.metadata).write_bytes(form.write(clips))
        shown = table.append_column("text", pa.array([texts[name] for name in table["source"].to_pylist()]))
        pq.write_table(shown, folder / CLIPS_FILE)
        lineage = {
            "for": trainer,
            "clips": counts,
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            **origin,
            "export": {"dataset_key": exported.key, "fields": dict(exported.manifest.fields)},
            "texts_sha256": hashlib.sha256(json.dumps(sorted(texts.items())).encode()).hexdigest(),
            "git_revision": git_revision(),
            "versions": library_versions(),
        }
        (folder / LINEAGE_FILE).write_text(json.dumps(lineage, indent=1), encoding="utf-8")
        if out.is_dir():
            out.rmdir()
    return counts


def _file(part: str) -> str:
    return f"{part}.png" if part == _REFERENCE else f"{part}.mp4"


def _clip(row: Mapping[str, Any], text: str) -> ExportedClip:
    files = {part: f"{part}/{row['clip_id']}{Path(_file(part)).suffix}" for part in (*FILMS, _REFERENCE)}
    return ExportedClip(
        clip_id=row["clip_id"],
        text=text,
        width_px=row["width_px"],
        height_px=row["height_px"],
        num_frames=len(row["frames"]),
        fps=row["fps"],
        files=files,
    )


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        try:
            while os.copy_file_range(read.fileno(), written.fileno(), _MOST_BYTES):
                pass
        except OSError:  # another disk, or one whose files can only be read and written
            shutil.copyfile(source, target)
