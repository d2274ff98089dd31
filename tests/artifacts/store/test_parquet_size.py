"""A small Parquet file that would fill the memory is refused before it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.datasets.problems import Datasets
from artifacts.store import parquet_size
from artifacts.store.parquet_size import check_decoded_size
from artifacts.store.tables import Store
from schemas.errors import InputError

ROWS = 1_000_000


def repeated(path: Path, *, as_dictionary: bool) -> Path:
    """A file of a few kilobytes with 20 GB of text."""
    same = np.zeros(ROWS, dtype=np.int32)
    texts = pa.DictionaryArray.from_arrays(same, ["What is 1 + 1? " + "x" * 20_000])
    table = pa.table({"id": texts, "prompt": texts, "expected_answer": pa.array(same)})
    pq.write_table(table, path, compression="zstd", store_schema=as_dictionary)
    assert path.stat().st_size < 2**20
    return path


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_texts_that_repeat_are_counted_without_being_made(
    as_dictionary: bool, tmp_path: Path
) -> None:
    path = repeated(tmp_path / "d.parquet", as_dictionary=as_dictionary)
    before = pa.total_allocated_bytes()
    with pytest.raises(InputError, match="d.parquet: holds more than 4 GB of text"):
        check_decoded_size(path, ("id", "prompt"))
    assert pa.total_allocated_bytes() - before < 2**28


def test_a_dataset_of_repeated_texts_is_refused(tmp_path: Path, store: Store) -> None:
    path = repeated(tmp_path / "d.parquet", as_dictionary=True)
    with pytest.raises(InputError, match="holds more than 4 GB of text"):
        Datasets().load(str(path), "all")


def test_rows_and_texts_that_fit_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "d.parquet"
    texts = ["a" * 10, None, "é"]
    dictionary = pa.array(texts).dictionary_encode()
    pq.write_table(pa.table({"prompt": texts, "id": dictionary, "n": [1, 2, 3]}), path)
    monkeypatch.setattr(parquet_size, "MOST_TEXT_BYTES", 24)
    check_decoded_size(path, ("prompt", "id", "n", "missing"))
    monkeypatch.setattr(parquet_size, "MOST_TEXT_BYTES", 23)
    with pytest.raises(InputError, match="of text"):
        check_decoded_size(path, ("prompt", "id"))
    monkeypatch.setattr(parquet_size, "MOST_ROWS", 2)
    with pytest.raises(InputError, match="has 3 rows; give at most 2"):
        check_decoded_size(path, ())
