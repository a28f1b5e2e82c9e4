"""What a worker does with one item: process it, check its table, publish the outcome."""

import errno
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Protocol

from mimicmotion.errors import (
    DamagedError,
    DiskFullError,
    MachineError,
    MimicMotionError,
    RejectedItem,
    StageError,
)
from mimicmotion.foreign import says_disk_full
from mimicmotion.parent import end_with_parent
from mimicmotion.redaction import CleanRecord, printable
from stages.engine.contract import Item, ItemStage
from stages.engine.keys import check_weights, remembering
from stages.engine.records import ItemRecord, ItemState
from stages.engine.storage.opening import open_workspace
from stages.engine.storage.workspace import DAY_S, Workspace, free_bytes_at, staged
from stages.engine.store import StageStore, check_schema, open_in

_FULL_BYTES = 1 << 20
_ROOM_BYTES = 1 << 26


class Task(Protocol):
    """What runs in a worker; picklable."""

    def load(self) -> None:
        """Load what every item needs."""

    def run(self, item: Item, key: str) -> ItemState:
        """Work on one item and publish its outcome."""


class Worker:
    """A task in a process of its own, whose log lines name the item."""

    def __init__(self, task: Task, stage: str) -> None:
        # A signal to a flow's group ends Ray with it, and Ray's workers would only notice seconds later.
        end_with_parent()
        self._task = task
        self._stage = stage
        logging.setLogRecordFactory(CleanRecord)
        self._lines = logging.StreamHandler()
        root = logging.getLogger()
        root.handlers = [self._lines]
        root.setLevel(logging.INFO)

    def __repr__(self) -> str:
        return self._stage

    def load(self) -> None:
        """Load what every item needs."""
        self._name("loading")
        self._task.load()

    def run(self, item: Item, key: str) -> ItemState:
        """Work on one item and publish its outcome."""
        self._name(item.label or item.id)
        return self._task.run(item, key)

    def _name(self, what: str) -> None:
        what = printable(what).replace("%", "%%")
        self._lines.setFormatter(logging.Formatter(f"{what}: %(levelname)s %(message)s"))


@dataclass
class ItemTask:
    """The work of one item stage, sent to each worker once.

    Attributes:
        stage: what to do.
        workspace_uri: where to publish.
        recipe_key: under which recipe.
        planned_top: where the workspace's files lie on the machine that listed the items, whose cache may be
            another folder than this machine's; None where it is the same.
        fields: what the recipe key was made from; weights are read and compared with it. None: they are not.
        longest_s: the most that an item may take; what lies aside for longer belongs to nobody.
    """

    stage: ItemStage
    workspace_uri: str
    recipe_key: str
    planned_top: Path | None = None
    fields: Mapping[str, Any] | None = None
    longest_s: float = 0
    _loaded: Any = field(default=None, init=False)

    @cached_property
    def _store(self) -> StageStore:
        return StageStore(open_workspace(self.workspace_uri), self.stage.name, self.recipe_key)

    def load(self) -> None:
        """Load what every item needs, and make room where a killed worker of this machine left something.

        Raises:
            WeightsError: a weight file is not the one that the items were planned with.
        """
        workspace = self._store.workspace
        workspace.clear_staging(self._store.top, max(DAY_S, self.longest_s))
        if self.fields is not None:
            check_weights(self.stage, self.fields)
        self._loaded = self.stage.load()

    def run(self, item: Item, key: str) -> ItemState:
        """Work on one item and publish its outcome, kept or rejected.

        Raises:
            StageError: the disk is full, or the stage broke its own schema; names the item.
            DamagedError: a file that it reads is not what was published.
        """
        start_s = time.monotonic()
        store, workspace = self._store, self._store.workspace
        try:
            with remembering(workspace.hashes):
                record = self._publish(store, self._with_files_here(workspace, item), key)
        except (DiskFullError, DamagedError):
            raise
        except MimicMotionError as error:
            if is_disk_full(error, workspace):
                raise disk_full(self._doing(item), workspace, error) from error
            kind = MachineError if isinstance(error, MachineError) else StageError
            raise kind(f"{self._doing(item)}: {error}") from error
        except Exception as error:
            if is_disk_full(error, workspace):
                raise disk_full(self._doing(item), workspace, error) from error
            raise
        return outcome_of(record, time.monotonic() - start_s)

    def _publish(self, store: StageStore, item: Item, key: str) -> ItemRecord:
        with staged(store.workspace, store.top) as folder:
            try:
                table = self.stage.process(self._loaded, item, folder)
            except RejectedItem as reason:
                # A decoder that cannot write may well blame the video.
                if is_disk_full(reason, store.workspace):
                    raise disk_full(self._doing(item), store.workspace, reason) from reason
                return store.reject(item, key, reason)
            check_schema(self.stage.name, self.stage.schema, table)
            return store.keep(folder, item, key, table)

    def _with_files_here(self, workspace: Workspace, item: Item) -> Item:
        """The item with every file of its payload that lies in the workspace brought here and checked."""
        top = self.planned_top or workspace.path("")

        def here(value: Any) -> Any:
            if isinstance(value, Path) and value.is_relative_to(top):
                return open_in(workspace, value.relative_to(top).as_posix())
            if isinstance(value, Mapping):
                return {key: here(inner) for key, inner in value.items()}
            if isinstance(value, (list, tuple)):
                parts = [here(inner) for inner in value]
                # A named tuple, such as a size, takes its fields one by one.
                return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
            return value

        payload = {name: here(value) for name, value in item.payload.items()}
        return replace(item, payload=payload)

    def _doing(self, item: Item) -> str:
        return f"{self.stage.name} stopped at item {item.label or item.id} ({item.id})"


def outcome_of(record: ItemRecord, seconds: float | None) -> ItemState:
    """An item's row for the item list, published just now."""
    return ItemState(
        id=record.id,
        label=record.label,
        item_key=record.item_key,
        state=record.state,
        reason=record.reason,
        sentence=record.sentence,
        rows=record.rows,
        time_s=time.time(),
        seconds=seconds,
    )


def is_disk_full(error: BaseException, workspace: Workspace) -> bool:
    """Whether an error comes from a full disk, however the library that met it says so."""
    return _full(error) is not None or workspace.free_bytes() < _FULL_BYTES


def disk_full(doing: str, workspace: Workspace, error: BaseException) -> DiskFullError:
    """What to tell about a full disk: which one it is, or may be."""
    found = _full(error)
    what = "has no quota left for this user" if getattr(found, "errno", None) == errno.EDQUOT else "is full"
    free = {workspace.disk: workspace.free_bytes()}
    name = getattr(found, "filename", None)
    if isinstance(name, str) and not Path(name).is_relative_to(workspace.path("")):
        free = {f"the disk of {name}": free_bytes_at(Path(name))}
    elif free[workspace.disk] > _ROOM_BYTES:
        # Where the error names no file, a decoder or a loader may have filled another one.
        others = {"the disk of TMPDIR": Path(gettempdir()), "the memory of": Path("/dev/shm")}
        free |= {f"{disk} {place}": free_bytes_at(place) for disk, place in others.items()}
    disks = ", or ".join(f"{disk} {what} (free: {size / 1e6:.1f} MB)" for disk, size in free.items())
    return DiskFullError(
        f"{doing}: {disks}. Nothing half-written counts; make room and run it again, finished items are kept."
    )


def _full(error: BaseException | None) -> BaseException | None:
    """The error among those that led to this one which tells of a full disk."""
    while error is not None and not says_disk_full(error):
        error = error.__cause__ or error.__context__
    return error
