"""A published dataset, as stages read it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mimicmotion.errors import DataError, MachineError
from stages.engine.records import KEPT, ItemRecord, ItemState, Manifest
from stages.engine.store import ITEM_TABLE, StageStore

_READERS = 8
_GROUP = 256


class PublishedDataset:
    """The kept items of a published dataset.

    Args:
        store: where its items lie.
        manifest: what it is.
        schema: schema of its rows.
        fetches: whether ``path`` brings files here from a workspace that is not local; where it does not, it
            gives the place where a worker will find the file once it has fetched it.
    """

    def __init__(
        self, store: StageStore, manifest: Manifest, schema: pa.Schema, fetches: bool = True
    ) -> None:
        self.manifest = manifest
        self._store = store
        self._schema = schema
        self._fetches = fetches
        self._records: dict[str, ItemRecord] = {}

    def without_fetching(self) -> "PublishedDataset":
        """The same dataset for listing work: its paths are places, nothing is brought here."""
        return PublishedDataset(self._store, self.manifest, self._schema, fetches=False)

    @property
    def key(self) -> str:
        """Content key of the whole dataset."""
        return self.manifest.dataset_key

    @property
    def fields(self) -> Mapping[str, Any]:
        """The result-changing fields of the section that it was made with, weights by their hash."""
        return self.manifest.fields

    @cached_property
    def items(self) -> Mapping[str, ItemState]:
        """What became of each item, kept or rejected, by id."""
        return {item.id: item for item in self._store.item_list(self.manifest)}

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of the kept items, sorted."""
        return tuple(sorted(item.id for item in self.items.values() if item.state == KEPT))

    @property
    def rejected(self) -> Mapping[str, str]:
        """Names for people of the rejected items, by id."""
        return {item.id: item.label for item in self.items.values() if item.state != KEPT}

    def item_key(self, item_id: str) -> str:
        """Content key of one kept item.

        Raises:
            DataError: there is no such kept item.
        """
        item = self.items.get(item_id)
        if item is None or item.state != KEPT:
            what = "was rejected" if item else "is not in it"
            raise DataError(f"{self._store.stage} dataset {self.key}: item {item_id!r} {what}.")
        return item.item_key

    def path(self, item_id: str, name: str) -> Path:
        """Local path of a file, or of a folder of files, of one kept item.

        Raises:
            DataError: the item has no such file.
            DamagedError: its content is not what was published.
        """
        key = self.item_key(item_id)
        if self._fetches:
            return self._store.open_file(self._record(key), name)
        return self._store.place(key, name)

    def content_sha256(self, item_id: str, name: str) -> str:
        """Hash of the content of a file, or folder of files, of one kept item; opens none.

        Raises:
            DataError: there is no such kept item, or the item has no such file.
        """
        files = self._record(self.item_key(item_id)).files
        inside = {file: facts.sha256 for file, facts in files.items() if f"{file}/".startswith(f"{name}/")}
        if not inside:
            raise DataError(f"{self._store.stage} dataset {self.key}: item {item_id!r} has no file {name}.")
        return hashlib.sha256(json.dumps(sorted(inside.items())).encode()).hexdigest()

    def item_table(self, item_id: str) -> pa.Table:
        """The rows of one kept item, in the schema of its stage.

        Raises:
            DamagedError: the file is missing or not what was published.
        """
        path = self._store.open_file(self._record(self.item_key(item_id)), ITEM_TABLE)
        return pq.ParquetFile(path).read(use_threads=False)

    def table(self) -> pa.Table:
        """The rows of all kept items, in the order of ``ids``.

        Those of many items are remembered in one file of this machine. Its name is that of the list of items,
        for the dataset's key stays what it was when an item is made again. Rows of items that an earlier
        dataset had too come from its file.
        """
        if len(self.ids) <= _GROUP:
            return self._joined(self.ids)
        place = self._index(self.manifest)
        with contextlib.suppress(OSError, pa.ArrowException):
            return _read(place)
        before, places = self._before()
        parts = [self._schema.empty_table()]
        for is_known, group in groupby(self.ids, lambda item_id: _state(self.items[item_id]) in places):
            ids = list(group)
            if is_known:
                runs = _runs(places[_state(self.items[item_id])] for item_id in ids)
                parts += [before.slice(first, end - first) for first, end in runs]
            else:
                parts.append(self._joined(ids))
        table = pa.concat_tables(parts)
        staging = place.with_name(f"{place.name}.{os.getpid()}")
        with contextlib.suppress(OSError):  # a workspace may be read only
            place.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, staging, write_page_checksum=True)
            staging.replace(place)
        return table

    def _index(self, manifest: Manifest) -> Path:
        return self._store.workspace.index(f"{self._store.stage}-{manifest.items_sha256}.parquet")

    def _before(self) -> tuple[pa.Table, Mapping[tuple[str, float], tuple[int, int]]]:
        """Rows of the newest dataset of this recipe that has a file of them, and each item's place in it."""
        for manifest in self._store.manifests():
            with contextlib.suppress(OSError, pa.ArrowException, DataError, MachineError):
                table, places, end = _read(self._index(manifest)), {}, 0
                for item in sorted(self._store.item_list(manifest), key=lambda item: item.id):
                    if item.state == KEPT:
                        places[_state(item)] = end, end + item.rows
                        end += item.rows
                if end == table.num_rows and table.schema.equals(self._schema, check_metadata=False):
                    return table.replace_schema_metadata(None), places
        return self._schema.empty_table(), {}

    def _joined(self, ids: Sequence[str]) -> pa.Table:
        parts = [self._schema.empty_table()]
        with ThreadPoolExecutor(_READERS) as pool:
            # Joined in groups: thousands of tables of a row each take far more memory than their rows.
            for start in range(0, len(ids), _GROUP):
                tables = pool.map(self.item_table, ids[start : start + _GROUP])
                # Metadata is per item (which video, which size); only columns can be joined.
                # Those of an earlier version may hold columns that nobody reads any more.
                plain = [table.select(self._schema.names).replace_schema_metadata(None) for table in tables]
                parts.append(pa.concat_tables(plain).combine_chunks())
        return pa.concat_tables(part.replace_schema_metadata(None) for part in parts)

    def _record(self, key: str) -> ItemRecord:
        if key not in self._records:
            self._records[key] = self._store.record(key)
        return self._records[key]


def _read(place: Path) -> pa.Table:
    return pq.ParquetFile(place, page_checksum_verification=True).read()


def _state(item: ItemState) -> tuple[str, float]:
    """What tells an item's very outcome from another: made again, it has the same key and another time."""
    return item.item_key, item.time_s


def _runs(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The places of rows, those joined that follow each other."""
    runs: list[tuple[int, int]] = []
    for first, end in places:
        if runs and runs[-1][1] == first:
            first = runs.pop()[0]
        runs.append((first, end))
    return runs
