"""Tables are whole, named by their bytes, and noticed when someone changed them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store, content_digest, provenance_of, task_key, write_atomic
from schemas.errors import StoreError
from schemas.identity import file_digest


def test_the_same_rows_give_the_same_bytes_and_the_same_reference(data_dir: DataDir) -> None:
    first = Store(data_dir).write("problems", arithmetic("dev"), producer="t", config={"a": 1})
    again = Store(data_dir).write("problems", arithmetic("dev"), producer="t", config={"a": 1})
    assert first == again
    assert file_digest(Path(first.path)) == first.digest


def test_what_is_read_is_what_was_written_with_its_provenance(data_dir: DataDir) -> None:
    store = Store(data_dir)
    reference = store.write("problems", arithmetic("dev"), producer="t", parents={"x": "y"})
    table = store.read(reference)
    assert content_digest(table) == content_digest(arithmetic("dev"))
    provenance = provenance_of(table)
    assert provenance["producer"] == "t"
    assert provenance["parents"] == {"x": "y"}
    assert set(provenance["versions"]) >= {"python", "threeloops", "pyarrow", "torch"}


def test_some_columns_of_a_table_keep_its_provenance(data_dir: DataDir) -> None:
    store = Store(data_dir)
    reference = store.write("problems", arithmetic("dev"), producer="t", parents={"x": "y"})
    table = store.columns("problems", reference.digest, ["prompt"])
    assert table.column_names == ["prompt"]
    assert provenance_of(table)["parents"] == {"x": "y"}


@pytest.mark.parametrize("change", ["rows", "order", "metadata", "truncated"])
def test_a_changed_table_is_refused_by_its_digest(data_dir: DataDir, change: str) -> None:
    store = Store(data_dir)
    reference = store.write("problems", arithmetic("dev"), producer="t")
    path = Path(reference.path)
    table = pq.read_table(path)
    if change == "rows":
        answers = ["0", *table["expected_answer"].to_pylist()[1:]]
        pq.write_table(table.set_column(2, "expected_answer", pa.array(answers)), path)
    elif change == "order":
        pq.write_table(table.take(list(reversed(range(len(table))))), path)
    elif change == "metadata":
        pq.write_table(table.replace_schema_metadata({b"threeloops": b"{}"}), path)
    else:
        path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(StoreError, match="changed after it was written"):
        store.read(reference)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("expected_answer", "1.5", "column expected_answer fails"),
        ("expected_answer", "07", "column expected_answer fails"),
        ("prompt", "", "column prompt fails"),
        ("prompt", None, "column prompt is null in row 1"),
        ("problem_id", "SECOND", "fails"),
    ],
)
def test_a_row_outside_the_schema_is_never_written(
    data_dir: DataDir, column: str, value: str | None, reason: str
) -> None:
    rows = arithmetic("dev").slice(0, 3).to_pylist()
    rows[0][column] = rows[1]["problem_id"] if value == "SECOND" else value
    with pytest.raises(StoreError, match=reason) as caught:
        Store(data_dir).write("problems", pa.Table.from_pylist(rows), producer="t")
    assert "\n" not in str(caught.value)
    assert not list(data_dir.tables.rglob("*.parquet"))


def test_an_empty_table_and_strange_columns_are_refused(data_dir: DataDir) -> None:
    with pytest.raises(StoreError, match="has no rows"):
        Store(data_dir).write("problems", arithmetic("dev").slice(0, 0), producer="t")
    with pytest.raises(StoreError, match="a problems table has problem_id, prompt"):
        Store(data_dir).write("problems", arithmetic("dev").drop_columns("family"), producer="t")


def test_a_task_key_finds_its_table_until_the_table_is_gone(data_dir: DataDir) -> None:
    store = Store(data_dir)
    key = task_key("t", a=1)
    assert store.find(key) is None
    reference = store.write("problems", arithmetic("dev"), producer="t", key=key)
    assert store.find(key) == reference
    assert store.find(task_key("t", a=2)) is None
    Path(reference.path).unlink()
    assert store.find(key) is None


def test_a_write_that_is_interrupted_leaves_nothing(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(data_dir.root / "file", b"content")
    assert list(data_dir.root.iterdir()) == []


def test_tables_are_found_after_the_home_folder_moved(data_dir: DataDir, tmp_path: Path) -> None:
    reference = Store(data_dir).write("problems", arithmetic("dev"), producer="t")
    moved = DataDir(tmp_path / "moved")
    data_dir.root.rename(moved.root)
    assert Store(moved).read(reference).num_rows == reference.rows
