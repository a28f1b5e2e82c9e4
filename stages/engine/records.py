"""What a workspace says about itself: the record of one item, and the manifest of one dataset.

Both are JSON with a sha256 of their own content, so that a truncated or edited one is noticed.
"""

import hashlib
import json
from dataclasses import dataclass
from itertools import starmap
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from mimicmotion.errors import DamagedError, DataError

RECORD_VERSION = 1
MANIFEST_VERSION = 1

KEPT: Literal["kept"] = "kept"
REJECTED: Literal["rejected"] = "rejected"
State = Literal["kept", "rejected"]

MACHINE_REASONS = frozenset({"timeout", "worker_died", "decoder_killed"})
"""Reasons that blame the machine as much as the item; such an item is tried again in the next run."""

ITEMS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("item_key", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("sentence", pa.string()),
        ("rows", pa.int64()),
        ("time", pa.timestamp("ms", tz="UTC")),
        ("seconds", pa.float64()),
    ]
)
"""One row for each item of a dataset: what became of it, when, and in how many seconds (null: unknown)."""


class Sealed(BaseModel):
    """A frozen record that is stored as JSON together with the sha256 of its content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int

    def sealed(self) -> bytes:
        """The record as JSON bytes; the same record gives the same bytes."""
        content = self.model_dump(mode="json")
        return (_canonical({**content, "sha256": _digest(content)}) + "\n").encode()

    @classmethod
    def opened(cls, data: bytes, where: str, newest: int) -> Self:
        """The record in JSON bytes.

        Raises:
            DamagedError: it is truncated or edited; names ``where``.
            DataError: it is of a version newer than ``newest``.
        """
        advice = "Run the stage again."
        try:
            content = json.loads(data)
            version = content["schema_version"]
            if isinstance(version, int) and version > newest:
                raise DataError(
                    f"{where}: written by a newer mimicmotion (schema version {version}, this one knows "
                    f"up to {newest}). Use that release, or another workspace."
                )
            seal = content.pop("sha256")
            if seal != _digest(content):
                raise DamagedError(f"{where}: its content was changed after it was written. {advice}")
            return cls.model_validate(content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(
                f"{where}: damaged, no whole record ({_first_line(error)}). {advice}"
            ) from error


class FileFacts(BaseModel):
    """Size and content of one file of an item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_bytes: int
    sha256: str


class ItemRecord(Sealed):
    """What became of one item. Holds no time and no absolute path: the same outcome is the same bytes."""

    schema_version: int = RECORD_VERSION
    stage: str
    recipe_key: str
    item_key: str
    id: str
    label: str
    state: State
    reason: str | None = None
    sentence: str | None = None
    rows: int = 0
    files: dict[str, FileFacts] = {}


class Counts(BaseModel):
    """How many items a dataset has, and why it lacks others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kept: int
    rejected: int
    rows: int
    reasons: dict[str, int]


class Timings(BaseModel):
    """When a dataset was made: UTC times in ISO form, and the wall-clock seconds of its last run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    started: str
    published: str
    seconds: float
    processed: int


class Manifest(Sealed):
    """What a published dataset is and where it comes from.

    Attributes:
        fields: the result-changing fields its recipe key was made from.
        config: the fully resolved config it was made with, places in the workspace relative to it.
        inputs: keys of the datasets it reads, by stage.
        items_sha256: sha256 of the ``items.parquet`` beside it.
        run_id: MLflow run that shows it, if there was one.
    """

    schema_version: int = MANIFEST_VERSION
    stage: str
    stage_version: int
    recipe_key: str
    dataset_key: str
    fields: dict[str, Any]
    config: dict[str, Any]
    inputs: dict[str, str]
    git_revision: str | None
    versions: dict[str, str]
    counts: Counts
    timings: Timings
    items_sha256: str
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemState:
    """One row of a dataset's item list."""

    id: str
    label: str
    item_key: str
    state: State
    reason: str | None
    sentence: str | None
    rows: int
    time_s: float
    seconds: float | None

    @property
    def is_final(self) -> bool:
        """Whether another run would find the same, as far as anybody can tell."""
        return self.state == KEPT or self.reason not in MACHINE_REASONS


def items_table(items: list[ItemState]) -> pa.Table:
    """The item list of a dataset in ``ITEMS_SCHEMA``."""
    names = [name for name in ITEMS_SCHEMA.names if name != "time"]
    columns: dict[str, list[Any]] = {name: [getattr(item, name) for item in items] for name in names}
    columns["time"] = [round(item.time_s * 1000) for item in items]
    return pa.Table.from_pydict(columns, schema=ITEMS_SCHEMA)


def item_states(table: pa.Table) -> list[ItemState]:
    """The rows of an item list."""
    # By views, since a cast imports all of pyarrow.compute.
    times_ms = [ms for chunk in table["time"].chunks for ms in chunk.view(pa.int64()).to_pylist()]
    columns = {name: table[name].to_pylist() for name in table.column_names if name != "time"}
    columns["time"] = [ms / 1000 for ms in times_ms]
    # By columns, which take a third of the memory of rows; the fields are in the order of the schema.
    return list(starmap(ItemState, zip(*(columns[name] for name in ITEMS_SCHEMA.names), strict=True)))


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(content: Any) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
