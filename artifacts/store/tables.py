"""The table store: Parquet files named by the digest of their bytes, whole or not there at all.

A key leads from what a task was asked for to its table. It is an index, not evidence: a table is
taken only if its own provenance says the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.store.data_dir import DataDir
from artifacts.store.key_index import KeyIndex
from artifacts.store.keys import TaskKey, made_now
from artifacts.store.parquet_table import (
    SCHEMAS,
    encoded,
    not_parquet,
    provenance_of,
    read_parquet,
    rows_of,
)
from artifacts.store.shared.keys import SharedKeys
from artifacts.store.shared.objects import Objects
from artifacts.store.table_files import SHA256, TableFiles, changed, missing
from schemas.errors import StoreError
from schemas.provenance import Provenance, Settings
from schemas.references import DrawnRows, TableKind, TableRef

READ_TABLES = 8  # the tables read last stay in memory: the tasks of a flow read the same few
log = logging.getLogger(__name__)


class TableGoneError(StoreError):
    """A key leads to a table that has been deleted, which is no fault."""


class Store:
    """Content-addressed tables below `data_dir.tables`, with an index from task keys to tables.

    With a shared store tables and keys are there, and the files of the data folder are a cache.

    It remembers which tables it has validated, as the same bytes stay valid, and the tables that
    it read last. Several threads may use it at once.
    """

    def __init__(self, data_dir: DataDir, shared: Objects | None = None) -> None:
        self.root = data_dir.tables
        self._files = TableFiles(self.root, shared)
        self._keys = SharedKeys(shared) if shared else KeyIndex(self.root / "keys")
        self._valid: set[str] = set()
        self._read: OrderedDict[tuple[str, int, int], pa.Table] = OrderedDict()
        self._remembering = threading.Lock()

    def write(
        self,
        kind: TableKind,
        table: pa.Table,
        *,
        producer: str,
        parents: Mapping[str, str] | None = None,
        config: Settings | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> TableRef:
        """Validate `table`, keep it under the digest of its bytes and return its reference.

        `producer` is the task that made it, `parents` name the digests it was made from, `config`
        what it was made with; they travel in the Parquet metadata as one JSON object, with `notes`
        beside it. No clock enters the file.
        """
        return self._write(kind, table, made_now(kind, producer, parents, config), notes)

    def keep(self, key: TaskKey, table: pa.Table) -> TableRef:
        """Write the result that `key` asks for, so that a later `find` returns it.

        The first to keep a result under a key decides: where another process was first, its table
        is returned.
        """
        reference = self._write(key.kind, table, key.asked)
        while not self._keys.add(key.digest, reference):
            with self._keys.changing:
                try:
                    first = self._behind(key)
                except StoreError:  # proven wrong; `find` has said so
                    self._keys.remove_wrong(key.digest)
                    continue
            if first is not None:
                return first
        return reference

    def find(self, key: TaskKey) -> TableRef | None:
        """The table that a task with this key wrote before, if it is still there, else None.

        It is read, and believed only if its bytes have their digest and its provenance is what the
        key asks for. Otherwise one line of warning says what is wrong.
        """
        try:
            return self._behind(key)
        except TableGoneError:
            return None
        except StoreError as fault:
            line = f"{fault.where}: {fault.what}"  # without the remedy: it is what happens now
            log.warning("warning: %s; the result is computed anew", line)
            return None

    def hold(self, reference: TableRef) -> bool:
        """Keep a table from other processes that would drop it, until this one does or ends.

        False where one of them has dropped it by now.
        """
        return self._files.hold(reference.kind, reference.digest)

    def drop(self, key: TaskKey) -> None:
        """Delete the table of a key, and the key: what it held is kept elsewhere.

        The table that a wrong key leads to is another's, and stays; one that another process holds
        is left to it, with its key. The key goes last, so that who is killed in between leaves
        something to drop again.
        """
        if not self._keys.has(key.digest):
            return
        with self._keys.changing:
            try:
                reference = self._behind(key)
            except StoreError:
                reference = None
            if reference is None or self._files.delete(reference.kind, reference.digest):
                self._keys.remove(key.digest)

    def discard(self, reference: TableRef) -> None:
        """Delete a table and its key, if it has one: what it held is kept elsewhere."""
        with contextlib.suppress(StoreError):  # it is gone or damaged
            self.drop(TaskKey(reference.kind, provenance_of(self.read(reference))))
        self._files.delete(reference.kind, reference.digest)

    def would_be(self, key: TaskKey, table: pa.Table) -> TableRef:
        """The reference that `keep` would return for a first result; nothing is written."""
        return encoded(key.kind, table, key.asked)[0]

    def _write(
        self,
        kind: TableKind,
        table: pa.Table,
        made: Provenance,
        notes: Mapping[str, str] | None = None,
    ) -> TableRef:
        reference, content = encoded(kind, table, made, notes)
        self._files.write(kind, reference.digest, content)  # before any key leads to it
        self._valid.add(reference.digest)
        return reference

    def _behind(self, key: TaskKey) -> TableRef | None:
        """The table that a key leads to, or None without a key; StoreError for a wrong one."""
        reference = self._keys.read(key.digest)
        if reference is None:
            return None
        where = f"key {key.digest[:12]}"
        if reference.kind != key.kind:
            raise StoreError(f"it leads to a {reference.kind} table, not to {key.kind}", where)
        # from now on it is used: whoever drops what nothing refers to leaves it
        if not self._files.freshen(reference.kind, reference.digest):
            raise TableGoneError("its table is no longer in the store", where)
        table = self.read(reference)
        if table.num_rows != reference.rows:
            raise StoreError(
                f"it says {reference.rows} rows, and its table has {table.num_rows}", where
            )
        found, asked = provenance_of(table).digest, key.asked.digest
        if found != asked:
            raise StoreError(
                f"its table {reference.digest[:12]} is not what was asked for "
                f"(provenance {found[:12]}, asked {asked[:12]})",
                where,
            )
        return reference

    def read(self, reference: TableRef) -> pa.Table:
        """The referenced table, after its bytes matched its digest and its rows its schema."""
        if isinstance(reference, DrawnRows):
            return self.read(reference.drawn_from).take(list(reference.places))
        path = self.path(reference)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise StoreError(
                "is not in the store", f"{reference.kind} table {reference.digest[:12]}"
            ) from None
        state = (reference.digest, status.st_mtime_ns, status.st_size)
        with self._remembering:
            if state in self._read:
                self._read.move_to_end(state)
                return self._read[state]
        table = self._read_intact(reference)
        with self._remembering:
            self._read[state] = table
            if len(self._read) > READ_TABLES:
                self._read.popitem(last=False)
        return table

    def path(self, reference: TableRef) -> Path:
        """Where the file of a table lies, if it is there; one in the shared store is fetched."""
        return self.here(reference.kind, reference.digest)

    def _read_intact(self, reference: TableRef) -> pa.Table:
        path = self._files.whole(reference.kind, reference.digest)
        schema = SCHEMAS[reference.kind]
        if reference.digest in self._valid:
            return schema.upgrade(pq.read_table(path))
        table = read_parquet(path, schema)
        self._valid.add(reference.digest)
        return table

    def columns(self, kind: TableKind, digest: str, names: Sequence[str]) -> pa.Table:
        """Some columns of a stored table, after its bytes matched its digest.

        They were valid when they were written; checking every rule again would cost far more than
        reading does, which counts where a report reads hundreds of tables.
        """
        path, content = self._files.content(kind, digest)
        # the names asked for are those of today; an earlier version may have written others
        former = {new: old for old, new in SCHEMAS[kind].renamed.items()}
        try:
            known = set(pq.read_schema(pa.BufferReader(content)).names)
            written = [name if name in known else former.get(name, name) for name in names]
            table = pq.read_table(pa.BufferReader(content), columns=written)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(not_parquet(error), str(path)) from None
        if table.column_names != written:
            raise StoreError(f"is not a {kind} table", str(path))
        # pyarrow drops the metadata, which is the provenance, when it renames
        return table.rename_columns(list(names)).replace_schema_metadata(table.schema.metadata)

    def lookup(self, kind: TableKind, digest: str) -> TableRef:
        """The reference of a stored table by its digest; StoreError when it is not there."""
        path = self.here(kind, digest)
        # a digest may come from the metadata of a file that anybody wrote
        if not (SHA256.fullmatch(digest) and path.exists()):
            raise missing(kind, digest)
        rows = rows_of(path)
        if rows is None and self._files.fetch_again(kind, path):
            rows = rows_of(path)
        if rows is None:
            raise changed(path, digest)
        return TableRef(kind=kind, digest=digest, rows=rows)

    def here(self, kind: str, digest: str) -> Path:
        """Where a table's file lies, after it was fetched if only the shared store has it."""
        return self._files.path(kind, digest)


def content_digest(table: pa.Table) -> str:
    """SHA-256 of a table's rows alone, whatever their provenance.

    Equal rows of text without nulls have equal digests, however they were read or cut out of a
    larger table. Other columns need not: Arrow may hold equal lists, or what lies under a null, in
    different bytes.
    """
    sink = io.BytesIO()
    plain = pa.schema([pa.field(name, table[name].type) for name in table.column_names])
    # a slice keeps the bytes of the rows before it; what was taken has its own alone
    bare = table.cast(plain).take(pa.array(range(table.num_rows), pa.int64())).combine_chunks()
    with pa.ipc.new_stream(sink, bare.schema) as writer:
        writer.write_table(bare)
    return hashlib.sha256(sink.getbuffer()).hexdigest()
