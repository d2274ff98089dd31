"""The table store: Parquet files named by the digest of their bytes, whole or not there at all.

It knows kinds and digests; it does not know what a row means.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.store.data_dir import DataDir, current_data_dir
from schemas.completions import COMPLETIONS
from schemas.errors import StoreError
from schemas.identity import canonical_json, digest_of, file_digest
from schemas.problems import PROBLEMS
from schemas.references import TableKind, TableRef
from schemas.scores import SCORES
from schemas.selections import SELECTIONS
from schemas.tables import TableSchema
from schemas.training import TRAINING

PROVENANCE_KEY = b"threeloops"
SCHEMAS: Mapping[str, TableSchema] = {
    schema.kind: schema for schema in (PROBLEMS, COMPLETIONS, SCORES, SELECTIONS, TRAINING)
}
# digests of tables that this process has validated: with the same bytes they are valid still
_valid: set[str] = set()
LIBRARIES = ("threeloops", "pyarrow", "torch", "transformers")


@lru_cache(maxsize=1)
def code_versions() -> Mapping[str, str]:
    """The versions that a table's bytes may depend on: this code, its libraries, Python."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


class Store:
    """Content-addressed tables below `data_dir.tables`, with an index from task keys to tables."""

    def __init__(self, data_dir: DataDir | None = None) -> None:
        self.root = (data_dir or current_data_dir()).tables

    def write(
        self,
        kind: TableKind,
        table: pa.Table,
        *,
        producer: str,
        parents: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> TableRef:
        """Validate `table`, keep it under the digest of its bytes and return its reference.

        `producer` is the task that made it, `parents` name the digests it was made from, `config`
        what it was made with; they travel in the Parquet metadata as one JSON object. With `key`
        (see `task_key`) a later `find` returns this table. No clock enters the file.
        """
        table = SCHEMAS[kind].validate(table)
        provenance = {
            "kind": kind,
            "producer": producer,
            "parents": dict(parents or {}),
            "config": dict(config or {}),
            "versions": code_versions(),
        }
        table = table.replace_schema_metadata({PROVENANCE_KEY: canonical_json(provenance)})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        content = buffer.getbuffer()

        digest = hashlib.sha256(content).hexdigest()
        path = self._path(kind, digest)
        if not path.exists():
            write_atomic(path, content)
        _valid.add(digest)
        reference = TableRef(kind=kind, digest=digest, path=str(path), rows=table.num_rows)
        if key is not None:
            write_atomic(self._key_path(key), reference.model_dump_json().encode())
        return reference

    def read(self, reference: TableRef) -> pa.Table:
        """The referenced table, after its bytes matched its digest and its rows its schema."""
        path = Path(reference.path)
        if not path.exists():  # the data folder may have moved; the digest has not
            path = self._path(reference.kind, reference.digest)
        if not path.exists():
            raise StoreError(
                "is not in the store", f"{reference.kind} table {reference.digest[:12]}"
            )
        status = path.stat()
        return _read_intact(path, reference, status.st_mtime_ns, status.st_size)

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
        today = SCHEMAS[kind].renamed
        former = {new: old for old, new in today.items()}
        known = set(pq.read_schema(pa.BufferReader(content)).names)
        written = [name if name in known else former.get(name, name) for name in names]
        table = pq.read_table(pa.BufferReader(content), columns=written)
        # pyarrow drops the metadata, which is the provenance, when it renames
        return table.rename_columns(list(names)).replace_schema_metadata(table.schema.metadata)

    def find(self, key: str) -> TableRef | None:
        """The table that a task with this key wrote before, if it is still there, else None."""
        path = self._key_path(key)
        if not path.exists():
            return None
        reference = TableRef.model_validate_json(path.read_bytes())
        here = self._path(reference.kind, reference.digest)
        return reference.model_copy(update={"path": str(here)}) if here.exists() else None

    def lookup(self, kind: TableKind, digest: str) -> TableRef:
        """The reference of a stored table by its digest; StoreError when it is not there."""
        path = self._path(kind, digest)
        if not path.exists():
            raise StoreError(f"no such {kind} table in the store", digest[:12])
        try:
            rows = pq.ParquetFile(path).metadata.num_rows
        except (pa.ArrowException, OSError):
            raise _changed(path, digest) from None
        return TableRef(kind=kind, digest=digest, path=str(path), rows=rows)

    def _path(self, kind: str, digest: str) -> Path:
        return self.root / kind / f"{digest}.parquet"

    def _key_path(self, key: str) -> Path:
        return self.root / "keys" / f"{key}.json"


@lru_cache(maxsize=8)
def _read_intact(path: Path, reference: TableRef, mtime_ns: int, size: int) -> pa.Table:
    """The table of a file, read and checked once for each state of the file.

    The tasks of a flow read the same few tables again and again; tables cannot be changed.
    """
    if file_digest(path) != reference.digest:
        raise _changed(path, reference.digest)
    if reference.digest in _valid:
        return SCHEMAS[reference.kind].upgrade(pq.read_table(path))
    table = read_parquet(path, SCHEMAS[reference.kind])
    _valid.add(reference.digest)
    return table


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


def provenance_of(table: pa.Table) -> dict[str, Any]:
    """The provenance that travels with a table, or an empty dict for a table of someone else's."""
    raw = (table.schema.metadata or {}).get(PROVENANCE_KEY)
    return json.loads(raw) if raw else {}


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
