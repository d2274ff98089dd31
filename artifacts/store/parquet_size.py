"""How large a Parquet file is once it is read: a repeated text takes hardly any room in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import InputError

MOST_TEXT_BYTES = 4 * 2**30
MOST_ROWS = 50_000_000
BATCH = 2**16


def check_decoded_size(path: Path, columns: Sequence[str]) -> None:
    """InputError for a file whose texts, or whose rows, are more than any dataset has.

    Repeated texts are counted without being made. Columns that are not there, or hold no text, are
    left to whoever reads them. Raises ArrowException and OSError where the file cannot be read.
    """
    with pq.ParquetFile(path) as file:
        rows = file.metadata.num_rows
        fields = {field.name: field.type for field in file.schema_arrow}
    if rows > MOST_ROWS:
        raise InputError(f"has {rows:,} rows", str(path), f"give at most {MOST_ROWS:,}")
    texts = [name for name in columns if name in fields and _is_text(fields[name])]
    if not texts:
        return
    total = 0
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(BATCH, columns=texts):
            total += sum(_text_bytes(column) for column in batch.columns)
            if total > MOST_TEXT_BYTES:
                most = f"{MOST_TEXT_BYTES // 2**30} GB"
                raise InputError(f"holds more than {most} of text", str(path), "give fewer rows")


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def _text_bytes(column: pa.Array) -> int:
    if pa.types.is_dictionary(column.type):
        lengths = pc.binary_length(column.dictionary).cast(pa.int64())
        column = lengths.take(column.indices)
    else:
        column = pc.binary_length(column).cast(pa.int64())
    return int(pc.sum(column).as_py() or 0)
