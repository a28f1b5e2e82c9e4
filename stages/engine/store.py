"""What one recipe of one stage has in a workspace: its items and its datasets.

::

    <workspace>/<stage>/<recipe_key>/items/<item_key>/      files, table.parquet, item.json (written last)
    <workspace>/<stage>/<recipe_key>/datasets/<dataset_key>/  items.parquet, manifest.json (written last)
    <workspace>/<stage>/<recipe_key>/state/<item_key>/      what a killed run of a dataset stage resumes from

An item or dataset without its last file is not there.
"""

import hashlib
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mimicmotion.errors import DamagedError, DataError, RejectedItem, StageError
from mimicmotion.weights.fetching import file_digest
from stages.engine.contract import Item
from stages.engine.keys import dataset_key
from stages.engine.records import (
    ITEMS_SCHEMA,
    KEPT,
    MANIFEST_VERSION,
    RECORD_VERSION,
    REJECTED,
    FileFacts,
    ItemRecord,
    ItemState,
    Manifest,
    item_states,
    items_table,
)
from stages.engine.storage.workspace import Workspace, is_remote, staged, version, without_versions

log = logging.getLogger(__name__)

ITEM_RECORD = "item.json"
ITEM_TABLE = "table.parquet"
MANIFEST = "manifest.json"
ITEM_LIST = "items.parquet"

_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_READERS = 8


def check_ids(stage: str, items: Sequence[Item]) -> None:
    """Refuse ids that are not unique or cannot be a file name everywhere.

    Raises:
        StageError: names the first such id.
    """
    seen: dict[str, Item] = {}
    for item in items:
        if not _SAFE_ID.fullmatch(item.id):
            raise StageError(
                f"{stage}: {item.id!r} cannot be the id of an item ({item.label}). "
                "Allowed are letters, digits, '-', '_' and '.', not first '.' or '-', at most 200 of them."
            )
        if item.id in seen:
            raise StageError(
                f"{stage}: two items have the id {item.id!r}: {seen[item.id].label!r} and {item.label!r}."
            )
        seen[item.id] = item


def check_keys(stage: str, work: Sequence[tuple[Item, str]]) -> None:
    """Refuse items that would be stored in one place because they name the same inputs.

    Raises:
        StageError: names the first two such items.
    """
    seen: dict[str, str] = {}
    for item, key in work:
        if key in seen:
            raise StageError(
                f"{stage}: items {seen[key]!r} and {item.id!r} name the same inputs, so they would be one "
                "outcome. Item.inputs must hold everything that tells them apart."
            )
        seen[key] = item.id


def check_schema(stage: str, expected: pa.Schema, table: pa.Table) -> None:
    """Refuse a table whose columns differ from the schema of its stage in name, order or type.

    Raises:
        StageError: names each difference.
    """
    if table.schema.equals(expected, check_metadata=False):
        return
    found = {field.name: field for field in table.schema}
    problems = [f"lacks {field.name} ({field.type})" for field in expected if field.name not in found]
    problems += [f"has {name}, which the schema has not" for name in found if name not in expected.names]
    problems += [
        f"has {field.name} as {found[field.name]}, not {field}"
        for field in expected
        if field.name in found and not found[field.name].equals(field)
    ]
    raise StageError(
        f"{stage}: its table breaks the stage's own schema: "
        f"{'; '.join(problems) or 'columns in another order'}."
    )


class StageStore:
    """Items and datasets of one recipe of one stage."""

    def __init__(self, workspace: Workspace, stage: str, recipe_key: str) -> None:
        self.workspace = workspace
        self.stage = stage
        self.recipe_key = recipe_key
        self.top = f"{stage}/{recipe_key}"

    def item_name(self, item_key: str) -> str:
        """Name of an item's folder in the workspace."""
        return f"{self.top}/items/{item_key}"

    def version_name(self, record: ItemRecord) -> str:
        """Name of an item's folder with the content that its record describes."""
        return version(self.item_name(record.item_key), record.sealed())

    def place(self, item_key: str, name: str) -> Path:
        """Where a file of a published item lies on this machine, or will lie once a worker fetched it."""
        if is_remote(self.workspace.uri):
            return self.workspace.path(f"{self.version_name(self.record(item_key))}/{name}")
        return self.workspace.path(f"{self.item_name(item_key)}/{name}")  # without reading its record

    def dataset_name(self, key: str) -> str:
        """Name of a dataset's folder in the workspace."""
        return f"{self.top}/datasets/{key}"

    def state_folder(self, item_key: str) -> Path:
        """Local folder for what a killed run of a dataset stage resumes from."""
        return self.workspace.scratch(f"{self.top}/state/{item_key}")

    def published_items(self) -> dict[str, float]:
        """Item keys that are published, with the time of the last change of each (s since 1970)."""
        return self.workspace.published(f"{self.top}/items", ITEM_RECORD)

    def staging(self) -> Path:
        """A new folder to write one item to."""
        return self.workspace.staging(self.top)

    def clear_staging(self, older_than_s: float) -> None:
        """Delete what killed runs left behind. Only the holder of the stage's lock may give an age of 0."""
        self.workspace.clear_staging(self.top, older_than_s)

    def record(self, item_key: str) -> ItemRecord:
        """The record of a published item.

        Raises:
            DamagedError: it is missing, damaged or belongs elsewhere; names the file.
            DataError: it is newer than this software.
        """
        name = f"{self.item_name(item_key)}/{ITEM_RECORD}"
        where = f"{self.workspace.shown}/{name}"
        data = self._read(name)
        if data is None:
            raise DamagedError(f"{where}: is not there. {self._advice}")
        record = ItemRecord.opened(data, where, RECORD_VERSION)
        if (record.stage, record.recipe_key, record.item_key) != (self.stage, self.recipe_key, item_key):
            raise DamagedError(f"{where}: is the record of {record.stage} item {record.item_key}.")
        return record

    def open_file(self, record: ItemRecord, name: str) -> Path:
        """Local path of a file, or of a folder of files, of an item, with the content that was published.

        Raises:
            DataError: the item has no such file.
            DamagedError: it has other content; the item then no longer counts as published.
        """
        inside = [file for file in record.files if file == name or file.startswith(f"{name}/")]
        item, folder = self.item_name(record.item_key), self.version_name(record)
        if not inside:
            raise DataError(
                f"{self.workspace.shown}/{item}: item {record.label or record.id} has no file {name}; "
                f"it has {', '.join(sorted(record.files))}."
            )
        path = self.workspace.fetch(f"{folder}/{name}")
        if self._damage(record, inside):
            self.workspace.forget(item)
            self.workspace.fetch(f"{folder}/{name}")
        damage = self._damage(record, inside)
        if damage:
            self.workspace.doubt(item, ITEM_RECORD)
            raise DamagedError(damage)
        return path

    def _damage(self, record: ItemRecord, files: Sequence[str]) -> str | None:
        """What is wrong with files of an item on this machine; each is read once, until it is touched."""
        folder = self.workspace.path(self.version_name(record))
        for name in files:
            path, facts = folder / name, record.files[name]
            try:
                size, found = path.stat().st_size, self.workspace.hashes.sha256(path)
            except OSError as error:
                return f"{path}: cannot be read ({error.strerror or error}). {self._advice}"
            if size != facts.size_bytes:
                return f"{path}: has {size} bytes, its record says {facts.size_bytes}. {self._advice}"
            if found != facts.sha256:
                return f"{path}: is not what was published, though as long. {self._advice}"
        return None

    def _read(self, name: str) -> bytes | None:
        try:
            return self.workspace.read(name)
        except OSError as error:
            where = f"{self.workspace.shown}/{name}"
            raise DamagedError(
                f"{where}: cannot be read ({error.strerror or error}). {self._advice}"
            ) from error

    @property
    def _advice(self) -> str:
        return f"Bring it back from a backup, or make it again: mimicmotion stage {self.stage} CONFIG."

    def keep(self, folder: Path, item: Item, item_key: str, table: pa.Table) -> ItemRecord:
        """Publish an item with the files in ``folder``, which is gone afterwards."""
        pq.write_table(table, folder / ITEM_TABLE, compression="zstd")
        kept = {"state": KEPT, "rows": table.num_rows}
        record = self._record(folder, item, item_key).model_copy(update=kept)
        return self._publish_item(folder, record)

    def reject(self, item: Item, item_key: str, reason: RejectedItem) -> ItemRecord:
        """Publish that an item cannot be used."""
        with staged(self.workspace, self.top) as folder:
            record = self._record(folder, item, item_key).model_copy(
                update={"state": REJECTED, "reason": reason.code, "sentence": reason.sentence}
            )
            return self._publish_item(folder, record)

    def states(
        self, items: Sequence[tuple[Item, str]], known: Sequence[ItemState] = (), reads: bool = True
    ) -> tuple[list[ItemState], list[str]]:
        """What became of those (item, item key) that are published whole, and what is damaged of the others.

        Args:
            items: what may be published.
            known: not looked at again where nothing of them changed since.
            reads: whether to read files too, where they are on this machine; else only records are read.
        """
        published = self.published_items()
        same = {
            state.item_key: state
            for state in known
            if state.time_s == _milliseconds(published.get(state.item_key, -1))
        }
        reads = reads and not is_remote(self.workspace.uri)

        def state(item: Item, key: str) -> ItemState | str:
            try:
                record = self.record(key)
            except DamagedError as error:
                return str(error)
            damage = self._damage(record, list(record.files)) if reads else None
            return damage or ItemState(
                item.id, item.label, key, record.state, record.reason, record.sentence, record.rows,
                _milliseconds(published[key]), None,
            )  # fmt: skip

        there = [pair for pair in items if pair[1] in published]
        changed = [pair for pair in there if pair[1] not in same]
        with ThreadPoolExecutor(_READERS) as pool:
            looked = pool.map(lambda pair: state(*pair), changed)
            read = {key: one for (_, key), one in zip(changed, looked, strict=True)}
        found = [same.get(key) or read[key] for _, key in there]
        whole = [one for one in found if isinstance(one, ItemState)]
        return whole, [one for one in found if isinstance(one, str)]

    def manifest(self, key: str) -> Manifest | None:
        """The manifest of a dataset, or None where it is not published.

        Raises:
            DamagedError: it is damaged; names the file.
            DataError: it is newer than this software.
        """
        name = f"{self.dataset_name(key)}/{MANIFEST}"
        data = self._read(name)
        if data is None:
            return None
        return Manifest.opened(data, f"{self.workspace.shown}/{name}", MANIFEST_VERSION)

    def manifests(self) -> list[Manifest]:
        """All published datasets of this recipe that can be read, newest first; says which cannot."""
        found = []
        for name in self.workspace.folders(f"{self.top}/datasets"):
            try:
                found += [manifest] if (manifest := self.manifest(name)) else []
            except DataError as error:
                log.warning("%s", error)
        return sorted(found, key=lambda manifest: manifest.timings.published, reverse=True)

    def item_list(self, manifest: Manifest) -> list[ItemState]:
        """What became of each item of a published dataset, sorted by id.

        Raises:
            DamagedError: the list is missing or damaged; names the file.
        """
        table = pq.ParquetFile(pa.BufferReader(self.check_list(manifest))).read()  # read_table imports pandas
        if not table.schema.equals(ITEMS_SCHEMA, check_metadata=False):
            where = f"{self.workspace.shown}/{self._list_name(manifest)}"
            raise DataError(f"{where}: its columns are not those of an item list.")
        return item_states(table)

    def check_list(self, manifest: Manifest) -> bytes:
        """The file of the item list of a published dataset, as it was published.

        Raises:
            DamagedError: it is missing or damaged; names the file.
        """
        name = self._list_name(manifest)
        data = self._read(name)
        if data is None or hashlib.sha256(data).hexdigest() != manifest.items_sha256:
            wrong = "missing" if data is None else "not what was published"
            raise DamagedError(f"{self.workspace.shown}/{name}: is {wrong}. {self._advice}")
        return data

    def _list_name(self, manifest: Manifest) -> str:
        return f"{self.dataset_name(manifest.dataset_key)}/{ITEM_LIST}"

    def known_states(self) -> list[ItemState]:
        """The item list of the newest dataset whose list is sound."""
        for manifest in self.manifests():
            try:
                return self.item_list(manifest)
            except DamagedError as error:
                log.warning("%s", error)
        return []

    def publish_dataset(self, manifest: Manifest, items: Sequence[ItemState]) -> Manifest:
        """Publish a dataset; gives the manifest with what is only known now."""
        ordered = sorted(items, key=lambda item: item.id)
        with staged(self.workspace, self.top) as folder:
            pq.write_table(items_table(ordered), folder / ITEM_LIST, compression="zstd")
            digest = hashlib.sha256((folder / ITEM_LIST).read_bytes()).hexdigest()
            sealed = manifest.model_copy(update={"items_sha256": digest})
            (folder / MANIFEST).write_bytes(sealed.sealed())
            self.workspace.publish(folder, self.dataset_name(manifest.dataset_key), MANIFEST)
        return sealed

    def _record(self, folder: Path, item: Item, item_key: str) -> ItemRecord:
        return ItemRecord(
            stage=self.stage,
            recipe_key=self.recipe_key,
            item_key=item_key,
            id=item.id,
            label=item.label,
            state=REJECTED,
            files={
                file.relative_to(folder).as_posix(): _facts(file)
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            },
        )

    def _publish_item(self, folder: Path, record: ItemRecord) -> ItemRecord:
        (folder / ITEM_RECORD).write_bytes(record.sealed())
        self.workspace.publish(folder, self.item_name(record.item_key), ITEM_RECORD)
        return record


def open_in(workspace: Workspace, name: str) -> Path:
    """Local path of what lies at a name in a workspace; what was published has the content that was.

    Raises:
        DamagedError: it has not.
    """
    parts = name.split("/", 4)
    if len(parts) < 5 or parts[2] != "items":
        return workspace.fetch(name)
    store = StageStore(workspace, parts[0], parts[1])
    return store.open_file(store.record(without_versions(parts[3])), parts[4])


def all_manifests(workspace: Workspace, stage: str) -> list[Manifest]:
    """The datasets of a stage, whatever their recipe, newest first."""
    recipes = [StageStore(workspace, stage, recipe) for recipe in workspace.folders(stage)]
    found = [manifest for store in recipes for manifest in store.manifests()]
    return sorted(found, key=lambda manifest: manifest.timings.published, reverse=True)


def key_of(items: Sequence[ItemState]) -> str:
    """Key of the dataset that these items make."""
    return dataset_key((item.id, item.item_key, item.state) for item in items)


def _facts(path: Path) -> FileFacts:
    return FileFacts(size_bytes=path.stat().st_size, sha256=file_digest(path))


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000) / 1000
