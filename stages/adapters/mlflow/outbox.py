"""What MLflow has not taken yet, kept in the workspace until it does.

::

    <workspace>/outbox/<run>/<time>-<random>/      note.json (written last), and a file if it has one
"""

import json
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.engine.storage.opening import open_workspace
from stages.engine.storage.workspace import staged

NEW = "new-"
"""What the name of a run starts with that MLflow has yet to make."""
_TOP = "outbox"
_NOTE = "note.json"


@dataclass(frozen=True)
class Note:
    """One thing to show in a run.

    Attributes:
        kind: metrics, picture, file, table, text, tag, section, reads, dataset, run or end.
        fields: what to show, as plain JSON.
        file: a file that belongs to it.
        time_ms: when it happened (ms since 1970).
    """

    kind: str
    fields: Mapping[str, Any]
    file: Path | None = None
    time_ms: int = field(default_factory=lambda: int(time.time() * 1000))


def new_run() -> str:
    """A name for a run that MLflow has yet to make."""
    return f"{NEW}{secrets.token_hex(8)}"


def keep(workspace_uri: str, run_id: str, note: Note) -> None:
    """Keep a note of a run, with a copy of its file."""
    workspace = open_workspace(workspace_uri)
    name = f"{_TOP}/{run_id}/{time.time_ns():020d}-{secrets.token_hex(4)}"
    with staged(workspace, _TOP) as folder:
        content = {"kind": note.kind, "fields": dict(note.fields), "time_ms": note.time_ms}
        if note.file is not None:
            shutil.copyfile(note.file, folder / note.file.name)
            content["file"] = note.file.name
        (folder / _NOTE).write_text(json.dumps(content))
        workspace.publish(folder, name, _NOTE)


def kept(workspace_uri: str) -> dict[str, list[str]]:
    """Names of what is kept, oldest first, by run."""
    workspace = open_workspace(workspace_uri)
    runs = [name for name in workspace.folders(_TOP) if name != "staging"]
    found = {run: sorted(workspace.published(f"{_TOP}/{run}", _NOTE)) for run in runs}
    return {run: names for run, names in found.items() if names}


def num_kept(workspace_uri: str) -> int:
    """How many notes are kept in a workspace."""
    return sum(map(len, kept(workspace_uri).values()))


def notes(workspace_uri: str, run_id: str) -> Iterator[tuple[str, Note]]:
    """What is kept of a run, oldest first, each with its name."""
    workspace = open_workspace(workspace_uri)
    for name in sorted(workspace.published(f"{_TOP}/{run_id}", _NOTE)):
        folder = workspace.fetch(f"{_TOP}/{run_id}/{name}")
        content = json.loads((folder / _NOTE).read_text())
        file = folder / content["file"] if "file" in content else None
        yield name, Note(content["kind"], content["fields"], file, content["time_ms"])


def drop(workspace_uri: str, run_id: str, name: str) -> None:
    """Forget a note that was sent."""
    open_workspace(workspace_uri).remove(f"{_TOP}/{run_id}/{name}")
