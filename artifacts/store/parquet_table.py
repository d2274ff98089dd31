"""A table as a Parquet file: validated both ways, with its provenance in the file's metadata."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from schemas.completions import COMPLETIONS
from schemas.errors import StoreError
from schemas.identity import canonical_json
from schemas.problems import PROBLEMS
from schemas.provenance import Provenance
from schemas.references import TableKind, TableRef
from schemas.scores import SCORES
from schemas.selections import SELECTIONS
from schemas.steps import STEP
from schemas.tables import TableSchema
from schemas.training import TRAINING

PROVENANCE_KEY = b"threeloops"
SCHEMAS: Mapping[str, TableSchema] = {
    schema.kind: schema for schema in (PROBLEMS, COMPLETIONS, SCORES, SELECTIONS, STEP, TRAINING)
}


def encoded(
    kind: TableKind, table: pa.Table, made: Provenance, notes: Mapping[str, str] | None = None
) -> tuple[TableRef, memoryview]:
    """A valid table as the bytes of its file, with the reference that they give it."""
    table = SCHEMAS[kind].validate(table)
    described = {PROVENANCE_KEY: canonical_json(made.model_dump())}
    table = table.replace_schema_metadata(described | dict(notes or {}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getbuffer()
    digest = hashlib.sha256(content).hexdigest()
    return TableRef(kind=kind, digest=digest, rows=table.num_rows), content


def rows_of(path: Path) -> int | None:
    """How many rows the metadata of a file say; None where it is damaged."""
    try:
        return int(pq.ParquetFile(path).metadata.num_rows)
    except (pa.ArrowException, OSError):
        return None


def not_parquet(error: Exception) -> str:
    """What is said of a file that is no Parquet."""
    return f"is not a readable Parquet file ({' '.join(str(error).split())[:200]})"


def read_parquet(path: Path, schema: TableSchema) -> pa.Table:
    """Read and validate one Parquet file; StoreError when it is no Parquet or not of this kind."""
    try:
        table = pq.read_table(path)
        _ = table.column_names  # which may be no text
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StoreError(not_parquet(error), str(path)) from None
    return schema.validate(schema.upgrade(table), str(path))


def provenance_of(table: pa.Table) -> Provenance:
    """The provenance that travels with a table; empty for a table of another program.

    Raises StoreError where it is not one that `Store.write` wrote.
    """
    return _provenance(table.schema)


def provenance_in(path: Path) -> Provenance:
    """As `provenance_of`, of a table's file; StoreError also where it is no Parquet file."""
    try:
        return _provenance(pq.read_schema(path))
    except (pa.ArrowException, OSError) as error:
        raise StoreError(not_parquet(error), str(path)) from None


def _provenance(schema: pa.Schema) -> Provenance:
    described = (schema.metadata or {}).get(PROVENANCE_KEY)
    try:
        return Provenance.model_validate_json(described) if described else Provenance()
    except ValidationError:
        raise StoreError("its provenance cannot be read", "metadata of a table") from None
