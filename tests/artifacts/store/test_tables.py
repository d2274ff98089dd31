"""Tables are whole, named by their bytes, and noticed when someone changed them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from subprocess import PIPE

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.store.data_dir import DataDir
from artifacts.store.keys import TaskKey, task_key
from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import READ_TABLES, Store, content_digest
from schemas.errors import StoreError
from schemas.identity import file_digest
from schemas.provenance import Provenance
from schemas.references import TableKind, TableRef
from schemas.training import TRAINING
from tests.artifacts.measuring import measure, training_table


def key_of(seed: int) -> TaskKey:
    return task_key("problems", "t", parents={"x": "y"}, config={"seed": seed})


def test_the_same_rows_give_the_same_bytes_and_the_same_reference(data_dir: DataDir) -> None:
    store = Store(data_dir)
    first = store.write("problems", arithmetic("dev"), producer="t", config={"a": 1})
    again = Store(data_dir).write("problems", arithmetic("dev"), producer="t", config={"a": 1})
    assert first == again
    assert file_digest(store.path(first)) == first.digest


def test_what_is_read_is_what_was_written_with_its_provenance(data_dir: DataDir) -> None:
    store = Store(data_dir)
    reference = store.write("problems", arithmetic("dev"), producer="t", parents={"x": "y"})
    table = store.read(reference)
    assert content_digest(table) == content_digest(arithmetic("dev"))
    provenance = provenance_of(table)
    assert provenance.producer == "t"
    assert provenance.parents == {"x": "y"}
    assert set(provenance.versions) >= {"python", "threeloops", "pyarrow", "torch"}


def test_rows_of_text_have_one_digest_however_they_were_cut() -> None:
    rows = arithmetic("dev").select(["problem_id", "prompt", "expected_answer"])
    part = rows.slice(3, 5)
    assert content_digest(part) == content_digest(pa.Table.from_pylist(part.to_pylist()))
    chunked = pa.concat_tables([part.slice(0, 2), part.slice(2)])
    assert content_digest(part) == content_digest(chunked)
    assert content_digest(part) != content_digest(rows.slice(4, 5))


def test_some_columns_of_a_table_keep_its_provenance(data_dir: DataDir) -> None:
    store = Store(data_dir)
    reference = store.write("problems", arithmetic("dev"), producer="t", parents={"x": "y"})
    table = store.columns("problems", reference.digest, ["prompt"])
    assert table.column_names == ["prompt"]
    assert provenance_of(table).parents == {"x": "y"}


@pytest.mark.parametrize("change", ["rows", "order", "metadata", "truncated"])
def test_a_changed_table_is_refused_by_its_digest(data_dir: DataDir, change: str) -> None:
    store = Store(data_dir)
    reference = store.write("problems", arithmetic("dev"), producer="t")
    path = store.path(reference)
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
    key = key_of(1)
    assert store.find(key) is None
    reference = store.keep(key, arithmetic("dev"))
    assert store.find(key) == reference
    assert store.find(key_of(2)) is None
    store.path(reference).unlink()
    assert store.find(key) is None


def test_tables_are_found_after_the_home_folder_moved(data_dir: DataDir, tmp_path: Path) -> None:
    reference = Store(data_dir).write("problems", arithmetic("dev"), producer="t")
    moved = DataDir(tmp_path / "moved")
    data_dir.root.rename(moved.root)
    assert Store(moved).read(reference).num_rows == reference.rows


def test_a_dropped_key_takes_its_table_with_it(store: Store) -> None:
    key = key_of(1)
    reference = store.keep(key, arithmetic("dev"))
    store.drop(key)
    assert store.find(key) is None
    assert not store.path(reference).exists()
    with pytest.raises(StoreError, match="problems table .*: is not in the store"):
        store.read(reference)
    store.drop(key)  # nothing is left to drop


def test_the_table_of_a_wrong_key_is_not_dropped(store: Store) -> None:
    other = store.keep(key_of(2), arithmetic("dev"))
    name = f"{key_of(1).digest}.json"
    (store.root / "keys" / name).write_text(other.model_dump_json())
    store.drop(key_of(1))
    assert store.path(other).exists()
    assert not (store.root / "keys" / name).exists()
    assert store.find(key_of(2)) == other


def test_the_first_to_keep_a_result_decides_which_it_is(data_dir: DataDir) -> None:
    first, second = Store(data_dir), Store(data_dir)
    kept = first.keep(key_of(1), arithmetic("dev").slice(0, 3))
    assert second.keep(key_of(1), arithmetic("dev").slice(0, 4)) == kept
    assert second.find(key_of(1)) == first.find(key_of(1)) == kept


def test_of_processes_that_find_a_wrong_key_one_puts_it_right_and_all_agree(
    data_dir: DataDir,
) -> None:
    other = Store(data_dir).keep(key_of(2), arithmetic("dev"))
    key = data_dir.tables / "keys" / f"{key_of(1).digest}.json"
    key.write_text(other.model_dump_json())
    # each would keep a table of its own length, so that it shows whose was taken
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        kept = list(pool.map(keep_rows, [data_dir] * 8, range(1, 9)))
    assert len({reference.digest for reference in kept}) == 1
    assert Store(data_dir).find(key_of(1)) == kept[0]


def keep_rows(data_dir: DataDir, rows: int) -> TableRef:
    return Store(data_dir).keep(key_of(1), arithmetic("dev").slice(0, rows))


def test_a_damaged_table_is_written_again_with_the_same_bytes(store: Store) -> None:
    reference = store.write("problems", arithmetic("dev"), producer="t")
    whole = store.path(reference).read_bytes()
    store.path(reference).write_bytes(whole[:-1])
    assert store.write("problems", arithmetic("dev"), producer="t") == reference
    assert store.path(reference).read_bytes() == whole


def test_a_folder_in_the_place_of_a_table_is_refused_in_one_line(store: Store) -> None:
    reference = store.write("problems", arithmetic("dev"), producer="t")
    store.path(reference).unlink()
    store.path(reference).mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        store.read(reference)
    with pytest.raises(StoreError, match="cannot be read"):
        store.columns("problems", reference.digest, ["prompt"])
    with pytest.raises(StoreError, match="changed after it was written"):
        store.lookup("problems", reference.digest)


def test_a_file_that_has_its_digest_and_is_no_table_of_its_kind_is_refused(store: Store) -> None:
    made = pa.table({"a": [1]})
    for content in (b"no Parquet", parquet_bytes(made)):
        digest = hashlib.sha256(content).hexdigest()
        path = store.root / "problems" / f"{digest}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with pytest.raises(StoreError):
            store.read(TableRef(kind="problems", digest=digest, rows=1))
        with pytest.raises(StoreError):
            store.columns("problems", digest, ["prompt"])


def parquet_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_a_table_stays_in_memory_until_others_were_read_after_it(store: Store) -> None:
    def write(rows: int) -> TableRef:
        return store.write("problems", arithmetic("dev").slice(0, rows), producer="t")

    first, others = write(1), [write(rows) for rows in range(2, READ_TABLES + 2)]
    table = store.read(first)
    for other in others[:-1]:
        store.read(other)
    assert store.read(first) is table
    for other in others:
        store.read(other)
    assert store.read(first) is not table
    assert store.read(first).equals(table)


def test_a_table_in_memory_is_read_again_when_its_file_changed(store: Store) -> None:
    reference = store.write("problems", arithmetic("dev"), producer="t")
    store.read(reference)
    store.path(reference).write_bytes(b"another")
    with pytest.raises(StoreError, match="changed after it was written"):
        store.read(reference)


def test_a_table_is_found_by_its_digest_while_it_is_whole(store: Store) -> None:
    reference = store.write("problems", arithmetic("dev"), producer="t")
    assert store.lookup("problems", reference.digest) == reference
    unknown: list[tuple[TableKind, str]] = [("problems", "0" * 64), ("scores", reference.digest)]
    for kind, digest in unknown:
        with pytest.raises(StoreError, match=f"no such {kind} table in the store"):
            store.lookup(kind, digest)
    store.path(reference).write_bytes(b"another")
    with pytest.raises(StoreError, match="changed after it was written"):
        store.lookup("problems", reference.digest)


def test_columns_of_a_table_that_is_lost_or_changed_are_refused(store: Store) -> None:
    reference = store.write("problems", arithmetic("dev"), producer="t")
    store.path(reference).write_bytes(store.path(reference).read_bytes() + b"x")
    with pytest.raises(StoreError, match="changed after it was written"):
        store.columns("problems", reference.digest, ["prompt"])
    elsewhere = f"../problems/{reference.digest}"
    with pytest.raises(StoreError, match="no such problems table"):  # no advice to delete it
        store.columns("problems", elsewhere, ["prompt"])
    store.path(reference).unlink()
    with pytest.raises(StoreError, match="no such problems table"):
        store.columns("problems", reference.digest, ["prompt"])


def test_a_table_of_an_earlier_version_is_read_with_the_columns_of_today(store: Store) -> None:
    today = store.read(training_table(store, measure(store, "rw")))
    former = {new: old for old, new in TRAINING.renamed.items()}
    old = today.drop_columns(list(TRAINING.added))
    old = old.rename_columns([former.get(name, name) for name in old.column_names])
    old = old.replace_schema_metadata({"threeloops": '{"kind": "training"}'})
    path = store.root / "training" / "old.parquet"
    pq.write_table(old, path)
    digest = file_digest(path)
    path.rename(path.with_name(f"{digest}.parquet"))

    for reader in (store, Store(DataDir(store.root.parent))):
        table = reader.read(store.lookup("training", digest))
        assert table.column_names == today.column_names
        assert table["valid_format_rate"].to_pylist() == [1.0]
        assert table["passes"].to_pylist() == [None]
        assert provenance_of(table) == Provenance(kind="training")
    some = store.columns("training", digest, ["valid_format_rate", "step"])
    assert some.to_pylist() == [{"valid_format_rate": 1.0, "step": 1}]


def test_a_table_of_someone_else_has_no_provenance() -> None:
    assert provenance_of(pa.table({"a": [1]})) == Provenance()


@pytest.mark.parametrize("described", ["[]", "{", '{"parents": 3}'])
def test_a_provenance_that_was_not_written_here_is_refused(described: str) -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({"threeloops": described})
    with pytest.raises(StoreError, match="its provenance cannot be read"):
        provenance_of(table)


def test_a_table_that_another_process_works_with_is_not_dropped_from_under_it(
    data_dir: DataDir,
) -> None:
    one, two = Store(data_dir), Store(data_dir)
    kept = one.keep(key_of(1), arithmetic("dev"))
    assert two.keep(key_of(1), arithmetic("dev")) == kept
    assert one.hold(kept)
    assert two.hold(kept)
    one.discard(kept)
    assert two.read(kept).num_rows == kept.rows
    assert one.find(key_of(1)) == kept, "its key stays with it"
    two.discard(kept)
    assert not two.path(kept).exists()
    assert two.find(key_of(1)) is None
    assert list((data_dir.tables / "keys").glob("*.json")) == []
    assert not one.hold(kept)


def test_what_a_killed_process_held_is_dropped_by_the_next(data_dir: DataDir) -> None:
    one = Store(data_dir)
    kept = one.keep(key_of(1), arithmetic("dev"))
    holding = (
        "import os, sys; from pathlib import Path; from artifacts.store.in_use import InUse\n"
        "print(InUse().hold(Path(sys.argv[1])), flush=True); sys.stdin.readline()\n"
    )
    words = [sys.executable, "-c", holding, str(one.path(kept))]
    with subprocess.Popen(words, stdin=PIPE, stdout=PIPE, text=True) as holder:
        assert holder.stdout is not None
        # it makes an object that is gone with the line, and its file is still open
        assert holder.stdout.readline() == "True\n"
        one.discard(kept)
        assert one.path(kept).exists()
        holder.kill()
    one.discard(kept)
    assert not one.path(kept).exists()
