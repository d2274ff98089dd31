"""The table store: Parquet files named by the digest of their bytes, whole or not there at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from artifacts.store.data_dir import DataDir
from schemas.completions import COMPLETIONS
from schemas.errors import StoreError
from schemas.identity import canonical_json, digest_of, file_digest
from schemas.problems import PROBLEMS
from schemas.provenance import Provenance, Settings
from schemas.references import TableKind, TableRef
from schemas.scores import SCORES
from schemas.selections import SELECTIONS
from schemas.tables import TableSchema
from schemas.training import TRAINING

PROVENANCE_KEY = b"threeloops"
SCHEMAS: Mapping[str, TableSchema] = {
    schema.kind: schema for schema in (PROBLEMS, COMPLETIONS, SCORES, SELECTIONS, TRAINING)
}
READ_TABLES = 8  # the tables read last stay in memory: the tasks of a flow read the same few
LIBRARIES = ("threeloops", "pyarrow", "torch", "transformers")


@lru_cache(maxsize=1)
def code_versions() -> Mapping[str, str]:
    """The versions that a table's bytes may depend on: this code, its libraries, Python."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


class Store:
    """Content-addressed tables below `data_dir.tables`, with an index from task keys to tables.

    It remembers which tables it has validated, as the same bytes stay valid, and the tables that
    it read last.
    """

    def __init__(self, data_dir: DataDir) -> None:
        self.root = data_dir.tables
        self._valid: set[str] = set()
        self._read: OrderedDict[tuple[str, int, int], pa.Table] = OrderedDict()

    def write(
        self,
        kind: TableKind,
        table: pa.Table,
        *,
        producer: str,
        parents: Mapping[str, str] | None = None,
        config: Settings | None = None,
        key: str | None = None,
    ) -> TableRef:
        """Validate `table`, keep it under the digest of its bytes and return its reference.

        `producer` is the task that made it, `parents` name the digests it was made from, `config`
        what it was made with; they travel in the Parquet metadata as one JSON object. With `key`
        (see `task_key`) a later `find` returns this table. No clock enters the file.
        """
        table = SCHEMAS[kind].validate(table)
        provenance = Provenance(
            kind=kind,
            producer=producer,
            parents=parents or {},
            config=config or {},
            versions=code_versions(),
        )
        described = canonical_json(provenance.model_dump())
        table = table.replace_schema_metadata({PROVENANCE_KEY: described})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        content = buffer.getbuffer()

        digest = hashlib.sha256(content).hexdigest()
        path = self._path(kind, digest)
        if not path.exists():
            write_atomic(path, content)
        self._valid.add(digest)
        reference = TableRef(kind=kind, digest=digest, rows=table.num_rows)
        if key is not None:
            write_atomic(self._key_path(key), reference.model_dump_json().encode())
        return reference

    def read(self, reference: TableRef) -> pa.Table:
        """The referenced table, after its bytes matched its digest and its rows its schema."""
        path = self.path(reference)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise StoreError(
                "is not in the store", f"{reference.kind} table {reference.digest[:12]}"
            ) from None
        state = (reference.digest, status.st_mtime_ns, status.st_size)
        if state in self._read:
            self._read.move_to_end(state)
            return self._read[state]
        table = self._read[state] = self._read_intact(path, reference)
        if len(self._read) > READ_TABLES:
            self._read.popitem(last=False)
        return table

    def path(self, reference: TableRef) -> Path:
        """Where the file of a table lies, if it is there."""
        return self._path(reference.kind, reference.digest)

    def drop(self, key: str) -> None:
        """Delete the table of a key, and the key: what it held is kept elsewhere."""
        reference = self.find(key)
        self._key_path(key).unlink(missing_ok=True)
        if reference is not None:
            self.path(reference).unlink(missing_ok=True)

    def _read_intact(self, path: Path, reference: TableRef) -> pa.Table:
        try:
            digest = file_digest(path)
        except FileNotFoundError:  # another process has dropped it since it was found
            raise StoreError("is no longer in the store", str(path)) from None
        if digest != reference.digest:
            raise _changed(path, reference.digest)
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
        path = self._path(kind, digest)
        if not path.exists():
            raise StoreError(f"no such {kind} table in the store", digest[:12])
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise _changed(path, digest)
        # the names asked for are those of today; an earlier version may have written others
        former = {new: old for old, new in SCHEMAS[kind].renamed.items()}
        known = set(pq.read_schema(pa.BufferReader(content)).names)
        written = [name if name in known else former.get(name, name) for name in names]
        table = pq.read_table(pa.BufferReader(content), columns=written)
        # pyarrow drops the metadata, which is the provenance, when it renames
        return table.rename_columns(list(names)).replace_schema_metadata(table.schema.metadata)

    def find(self, key: str) -> TableRef | None:
        """The table that a task with this key wrote before, if it is still there, else None."""
        try:
            reference = TableRef.model_validate_json(self._key_path(key).read_bytes())
        except FileNotFoundError:
            return None
        return reference if self.path(reference).exists() else None

    def lookup(self, kind: TableKind, digest: str) -> TableRef:
        """The reference of a stored table by its digest; StoreError when it is not there."""
        path = self._path(kind, digest)
        if not path.exists():
            raise StoreError(f"no such {kind} table in the store", digest[:12])
        try:
            rows = pq.ParquetFile(path).metadata.num_rows
        except (pa.ArrowException, OSError):
            raise _changed(path, digest) from None
        return TableRef(kind=kind, digest=digest, rows=rows)

    def _path(self, kind: str, digest: str) -> Path:
        return self.root / kind / f"{digest}.parquet"

    def _key_path(self, key: str) -> Path:
        return self.root / "keys" / f"{key}.json"


def _changed(path: Path, digest: str) -> StoreError:
    return StoreError(
        f"its bytes no longer have the digest {digest[:12]}; it was changed after it was written",
        str(path),
        "delete the file and run again",
    )


def task_key(task: str, **inputs: Any) -> str:
    """The identity of one task call: its name, everything it was given, and the code versions."""
    return digest_of({"task": task, "inputs": inputs, "versions": code_versions()})


def read_parquet(path: Path, schema: TableSchema) -> pa.Table:
    """Read and validate one Parquet file; StoreError when it is no Parquet or not of this kind."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"is not a readable Parquet file ({error})", str(path)) from None
    return schema.validate(schema.upgrade(table), str(path))


def provenance_of(table: pa.Table) -> Provenance:
    """The provenance that travels with a table; empty for a table of another program.

    Raises StoreError where it is not one that `Store.write` wrote.
    """
    described = (table.schema.metadata or {}).get(PROVENANCE_KEY)
    try:
        return Provenance.model_validate_json(described) if described else Provenance()
    except ValidationError:
        raise StoreError("its provenance cannot be read", "metadata of a table") from None


def content_digest(table: pa.Table) -> str:
    """SHA-256 of a table's rows alone: equal rows, equal digest, whatever their provenance."""

    sink = io.BytesIO()
    plain = pa.schema([pa.field(name, table[name].type) for name in table.column_names])
    bare = table.cast(plain).combine_chunks()
    with pa.ipc.new_stream(sink, bare.schema) as writer:
        writer.write_table(bare)
    return hashlib.sha256(sink.getbuffer()).hexdigest()


def write_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that it is there whole or not at all, and survives a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
