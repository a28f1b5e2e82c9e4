"""What a stage is: its section of the config, the datasets it reads, the Arrow schema it writes.

An item stage turns one item into one outcome, in any order and on any machine. A dataset stage sees its
inputs at once. Both are plain functions to a test: a fake ``loaded`` or a fake ``Context`` goes straight
in, and a local folder takes what they write.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from mimicmotion.settings import Section

_YEAR_S = 365 * 24 * 3600
"""The longest time limit; what waits longer overflows timers."""

WHOLE = "all"
"""Id of the single item of a dataset stage."""


class Location(str):
    """A local path or a URI (``s3://...``, ``models:/name@alias``), as the type of a field.

    A relative path in it becomes absolute when the config is loaded, exactly as in a field of type ``Path``.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))


class Runtime(Section):
    """How a stage runs. Nothing here can change a result, so none of it enters a key."""

    workers: int = Field(1, ge=1, description="Processes that work on items at the same time.")
    cpus_per_worker: float = Field(1, gt=0, description="CPU cores reserved for each worker.")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs reserved for each worker; fractions share one.")
    item_timeout_s: float = Field(
        3600, gt=0, le=_YEAR_S, description="Seconds one item may take before it is rejected, at least."
    )
    frame_timeout_s: float = Field(
        10, ge=0, le=_YEAR_S, description="Seconds a long film may take for each of its frames; 0: no more."
    )
    retries: int = Field(
        2, ge=0, description="How often an item is redone after its worker or decoder was killed."
    )
    max_rejected_fraction: float = Field(
        0.5, ge=0, le=1, description="Largest share of rejected items; above it the stage fails."
    )
    stage_retries: int = Field(
        1, ge=0, description="How often a flow runs the stage again after a fault of the machine."
    )
    stage_timeout_s: float | None = Field(
        None, gt=0, le=_YEAR_S, description="Seconds until a flow stops the stage; else never."
    )

    def limit_s(self, item: "Item") -> float:
        """Seconds that an item may take: a long film gets more."""
        return min(_YEAR_S, max(self.item_timeout_s, self.frame_timeout_s * item.num_frames))


@dataclass(frozen=True, slots=True)
class Item:
    """One unit of work.

    Attributes:
        id: unique in its stage, letters, digits, ``-``, ``_`` and ``.`` only; names the item everywhere.
        inputs: content keys of everything the outcome depends on, by name.
        payload: what ``process`` needs, small and picklable (paths, numbers; never frames).
        label: what a person calls it, e.g. the file name.
        num_frames: what its length grows with, each pass over a film counted; 0 where it grows with none.
    """

    id: str
    inputs: Mapping[str, str]
    payload: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    num_frames: int = 0


class Dataset(Protocol):
    """A published dataset, as stages read it."""

    @property
    def key(self) -> str:
        """Content key of the whole dataset."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The result-changing fields of the section that it was made with, weights by their hash."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the kept items, sorted."""

    @property
    def rejected(self) -> Mapping[str, str]:
        """Names for people of the rejected items, by id."""

    def item_key(self, item_id: str) -> str:
        """Content key of one kept item."""

    def path(self, item_id: str, name: str) -> Path:
        """Local path of a file of one kept item."""

    def item_table(self, item_id: str) -> pa.Table:
        """The rows of one kept item, in the schema of its stage."""

    def table(self) -> pa.Table:
        """The rows of all kept items, in the order of ``ids``."""

    def content_sha256(self, item_id: str, name: str) -> str:
        """Hash of the content of a file, or folder of files, of one kept item, as its record has it."""


class Report(Protocol):
    """Where a stage shows what it did. Picklable; a call never raises into the stage."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers under their names."""

    def image(self, name: str, image: np.ndarray, step: int | None = None) -> None:
        """Log a picture, uint8 (h, w, 3) RGB; with a step it joins the evolution of its name."""

    def file(self, path: Path, folder: str = "") -> None:
        """Log a file (a video, a page) under an artifact folder."""

    def table(self, name: str, table: pa.Table) -> None:
        """Log a table that people can browse."""

    def text(self, name: str, text: str) -> None:
        """Log a text file, e.g. Markdown."""

    def watched(self, machine: str = "") -> AbstractContextManager[None]:
        """Log the load of this machine within the block; a name tells several machines apart."""

    def section(self, title: str, text: str, numbers: Mapping[str, float] = MappingProxyType({})) -> None:
        """Put a section of Markdown, and numbers, on the page of the whole config's run, for its old ones."""


class Launcher(Protocol):
    """Starts one training function on a group of workers and waits for it."""

    def __call__(
        self, loop: Callable[[dict[str, Any]], None], arguments: dict[str, Any], runtime: Runtime
    ) -> None:
        """Run ``loop(arguments)`` on ``runtime.workers`` processes that share a torch process group."""


class Mapper(Protocol):
    """Has a part of a dataset stage's work done item by item over all workers, and kept for the next time."""

    def __call__(self, stage: "ItemStage", inputs: Mapping[str, Dataset]) -> Dataset:
        """The dataset of an item stage over these inputs: what it lacks is done, no item may be rejected."""


class Registry(Protocol):
    """Keeps trained models under a name, as numbered versions with tags and aliases."""

    def register(self, name: str, folder: Path, tags: Mapping[str, str], description: str) -> str:
        """Store a checkpoint folder as a new version of a model; returns the version.

        Where a version has the same tags ``checkpoint_key`` (how it was made) and ``checkpoint_sha256``
        (content of its files), that version is returned, with its tags renewed.
        """

    def tags(self, name: str, alias: str) -> Mapping[str, str] | None:
        """Tags of the version an alias points to, or None where there is no such version."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias point to a version."""


@dataclass(frozen=True)
class Context:
    """What a dataset stage may use besides its inputs.

    Attributes:
        report: where to show curves and pictures.
        launch: starts distributed training.
        state: folder that survives a killed run of this very work, for checkpoints to resume from.
        registry: keeps trained models; None where nothing keeps them.
        map: does a part of the work over all workers; None where there are none.
    """

    report: Report
    launch: Launcher
    state: Path
    registry: Registry | None = None
    map: Mapper | None = None


class Stage(Section, ABC):
    """What item stages and dataset stages share. The fields of a subclass are its section of the config."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Raised when the same fields and inputs come to mean another result."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Names of the stages whose datasets it reads."""
    optional_reads: ClassVar[tuple[str, ...]] = ()
    """Stages that it reads too where the config has a section for them; absent from ``inputs`` otherwise."""
    schema: ClassVar[pa.Schema]
    """Schema of the rows it writes; the runner checks every table against it."""
    source_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that only say where input lies; the content found there is keyed instead.

    A stage gets a file's content from ``keys.file_sha256``, which remembers it between runs. A field
    of type ``Path`` that stands neither here nor in ``weight_files`` is keyed by the content it names.
    """

    follows: ClassVar[Mapping[str, str]] = {}
    """Fields that take the value of the same field in another section where a config gives them none; those
    within a part only where a config has it, as ``judge.score_threshold``."""

    runtime: Runtime = Runtime()

    def weight_files(self) -> dict[str, Path]:
        """Weight files (or folders) by field name; their sha256 enters the key in place of the path."""
        return {}

    def idle_fields(self) -> set[str]:
        """Fields that change nothing at their present value and therefore stay out of the key."""
        return set()

    def check(self) -> list[str]:
        """Problems that can be seen before anything runs, one sentence each."""
        return []

    def conflicts(self, others: Mapping[str, "Stage"]) -> list[str]:
        """Fields that do not go with those of other stages of the config, one sentence each."""
        return []

    def summary(self, dataset: Dataset) -> str:
        """What the dataset holds, in a few words, where the number of its items does not tell."""
        return ""

    def show(self, dataset: Dataset, inputs: Mapping[str, Dataset], report: Report) -> None:
        """Log pictures and numbers of the published dataset for a person."""


class ItemStage(Stage):
    """A stage that works item by item."""

    section: ClassVar[str] = ""
    """Name of the section of a config whose runtime it has; its own by default."""

    @abstractmethod
    def items(self, inputs: Mapping[str, Dataset]) -> Iterable[Item]:
        """List the work. Cheap: opens no video and no model."""

    def load(self) -> Any:
        """Load what every item needs, once per worker."""
        return None

    @abstractmethod
    def process(self, loaded: Any, item: Item, folder: Path) -> pa.Table:
        """Turn one item into rows, and files written to ``folder``.

        The same item must give the same bytes: no time stamps, no absolute paths in rows or files.

        Raises:
            RejectedItem: the item cannot be used; any other error stops the stage.
        """


class DatasetStage(Stage):
    """A stage that sees its inputs at once."""

    one_process: ClassVar[bool] = True
    """Whether it neither launches a group of workers nor has items done by workers."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Dataset], folder: Path, context: Context) -> pa.Table:
        """Turn the inputs into rows, and files written to ``folder``."""
