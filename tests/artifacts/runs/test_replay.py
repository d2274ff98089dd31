"""Stored completions come in only when they belong to the problems, every one to every one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.runs.replay import first_problems, import_jsonl, stored_completions
from artifacts.store.data_dir import DataDir
from artifacts.store.instrument import instrument_of
from artifacts.store.tables import Store
from schemas.errors import InputError
from schemas.references import TableRef

IDS = arithmetic("dev").slice(0, 3)["problem_id"].to_pylist()


@pytest.fixture
def problems(data_dir: DataDir) -> TableRef:
    return Store(data_dir).write("problems", arithmetic("dev").slice(0, 3), producer="t")


def answers(folder: Path, *rows: object) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_both_forms_of_a_line_come_in_and_keep_their_text(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    path = answers(
        tmp_path,
        {"id": IDS[2], "samples": ["Final: 1 ", {"completion": "", "finish_reason": "length"}]},
        {"id": IDS[0], "samples": ["a", "b"]},
        {"id": IDS[1], "samples": ["\ud800", "\n"]},
    )
    table = Store(data_dir).read(import_jsonl(path, Store(data_dir), problems))
    assert table["problem_id"].to_pylist() == [i for i in IDS for _ in range(2)]
    assert table["text"].to_pylist() == ["a", "b", "\\ud800", "\n", "Final: 1 ", ""]
    assert table["finish_reason"].to_pylist() == ["stop"] * 5 + ["length"]
    assert table["sum_logprob"].null_count == 6


GOOD = [{"id": identity, "completion": "x"} for identity in IDS]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "has no rows"),
        ([*GOOD, {"id": "strange", "completion": "x"}], "1 of 4 ids are not in the dataset"),
        (GOOD[:2], "1 of 3 problems have no completion"),
        ([*GOOD[:2], {"id": IDS[2], "samples": ["a", "b"]}], "different numbers of completions"),
        ([*GOOD, GOOD[0]], "row 4: id .* appears twice"),
        ([{"id": IDS[0]}], 'row 1: needs either "completion" or "samples"'),
        ([{"id": IDS[0], "completion": 4}], "row 1: completion is '4', not text"),
        ([{"id": IDS[0], "samples": []}], "row 1: samples is not a list"),
        ([{"id": IDS[0], "completion": "x", "finish_reason": "eos"}], "finish_reason is 'eos'"),
        ([{"completion": "x"}], "row 1: id is missing"),
    ],
)
def test_what_does_not_belong_together_is_counted_and_refused(
    data_dir: DataDir, problems: TableRef, tmp_path: Path, rows: list[object], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        import_jsonl(answers(tmp_path, *rows), Store(data_dir), problems)


def test_a_table_of_ours_brings_its_problems(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    store = Store(data_dir)
    made = import_jsonl(answers(tmp_path, *GOOD), store, problems)
    assert stored_completions(made.path, store) == (problems, made)


def test_someone_elses_table_is_refused(data_dir: DataDir, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="a completions table has problem_id"):
        stored_completions(str(tmp_path / "t.parquet"), Store(data_dir))
    with pytest.raises(InputError, match="no such file"):
        stored_completions(str(tmp_path / "none.parquet"), Store(data_dir))
    with pytest.raises(InputError, match="no such run"):
        stored_completions("no-run", Store(data_dir))


def test_a_cut_keeps_problems_and_completions_together(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    store = Store(data_dir)
    made = import_jsonl(answers(tmp_path, *GOOD), store, problems)
    fewer, cut = first_problems(store, problems, made, 2)
    assert store.read(fewer)["problem_id"].to_pylist() == IDS[:2]
    assert store.read(cut)["problem_id"].to_pylist() == IDS[:2]
    assert first_problems(store, problems, made, 9) == (problems, made)


def test_the_instrument_changes_with_each_of_its_parts(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    store = Store(data_dir)
    made = store.read(import_jsonl(answers(tmp_path, *GOOD), store, problems))
    table = store.read(problems)
    base = instrument_of(table, made, "a@1:x")
    assert instrument_of(table, made, "a@2:x").digest != base.digest
    assert instrument_of(table.slice(0, 2), made, "a@1:x").dataset != base.dataset
    families = pa.nulls(3, pa.string())
    same = table.set_column(3, "family", families)
    assert instrument_of(same, made, "a@1:x") == base, "a family is no part of the question"
