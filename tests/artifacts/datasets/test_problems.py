"""A person's own file is read whole or refused in one line with row and reason."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.datasets.arithmetic import SPLITS, arithmetic
from artifacts.datasets.files import read_problem_file
from artifacts.datasets.problems import Datasets, refuse_shared_prompts
from artifacts.datasets.rows import MOST_LINE_BYTES
from schemas.errors import InputError

GOOD = {"id": "a", "prompt": "What is 1 + 1?", "expected_answer": 2}


def jsonl(folder: Path, *rows: object) -> str:
    path = folder / "problems.jsonl"
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return str(path)


BAD_ROWS = {
    "missing field": ({"id": "b", "prompt": "p"}, "expected_answer is missing"),
    "null": ({"id": "b", "prompt": None, "expected_answer": 1}, "prompt is null"),
    "decimal": ({"id": "b", "prompt": "p", "expected_answer": 1.5}, "1.5 is not an integer"),
    "whole decimal": ({"id": "b", "prompt": "p", "expected_answer": 1.0}, "1.0 is not an integer"),
    "boolean": ({"id": "b", "prompt": "p", "expected_answer": True}, "true is not an integer"),
    "word": ({"id": "b", "prompt": "p", "expected_answer": "two"}, '"two" is not an integer'),
    "leading zero": ({"id": "b", "prompt": "p", "expected_answer": "02"}, "is not an integer"),
    "arabic digit": ({"id": "b", "prompt": "p", "expected_answer": "٢"}, "is not an integer"),
    "trailing newline": ({"id": "b", "prompt": "p", "expected_answer": "2\n"}, "not an integer"),
    "duplicate id": ({"id": "a", "prompt": "p", "expected_answer": 1}, "duplicate of row 1"),
    "empty prompt": ({"id": "b", "prompt": " ", "expected_answer": 1}, "prompt is empty"),
    "empty id": ({"id": "", "prompt": "p", "expected_answer": 1}, "id is empty"),
    "two answers": (GOOD | {"id": "b", "expected_answer": 3}, "answer 3 here and 2 in row 1"),
    "a list": ([1], "is not a JSON object"),
    "no JSON": ("{", "is not JSON"),
    "a number as prompt": (
        {"id": "b", "prompt": 1.5, "expected_answer": 1},
        "prompt is 1.5, not text",
    ),
    "a key twice": (
        '{"id": "b", "prompt": "x", "prompt": "y", "expected_answer": 1}',
        "'prompt' is there twice; leave one of them",
    ),
    "a key twice further in": (
        '{"id": "b", "prompt": "x", "expected_answer": 1, "of": [{"from": 1, "from": 2}]}',
        "'from' is there twice",
    ),
    "half a surrogate pair": (
        {"id": "b", "prompt": "\ud800", "expected_answer": 1},
        "half of a surrogate pair",
    ),
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_refused_in_one_line_with_its_number(
    tmp_path: Path, row: object, reason: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_problem_file(jsonl(tmp_path, GOOD, row))
    assert reason in str(caught.value)
    assert ", row 2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "caf\xe9"}')
    with pytest.raises(InputError, match="row 2: byte 0xe9 is not UTF-8"):
        read_problem_file(str(path))


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with path.open("wb") as file:
        file.write(json.dumps(GOOD).encode() + b"\n{")
        file.truncate(MOST_LINE_BYTES * 16)  # a gibibyte, of which nearly all is a hole
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="row 2: is longer than 64 MB") as caught:
            read_problem_file(str(path))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert most < 4 * MOST_LINE_BYTES


def test_no_rows_no_file_and_a_strange_ending_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no rows"):
        read_problem_file(jsonl(tmp_path, ""))
    with pytest.raises(InputError, match="no such file"):
        read_problem_file(str(tmp_path / "none.jsonl"))
    (tmp_path / "p.xlsx").touch()
    with pytest.raises(InputError, match="ending .xlsx"):
        read_problem_file(str(tmp_path / "p.xlsx"))


def test_the_three_formats_give_the_same_table(tmp_path: Path) -> None:
    rows = [GOOD | {"family": "addition"}, {"id": "b", "prompt": "5, 6?", "expected_answer": -30}]
    from_jsonl = read_problem_file(jsonl(tmp_path, *rows))
    (tmp_path / "p.csv").write_text(
        'id,prompt,expected_answer,family\na,What is 1 + 1?,2,addition\nb,"5, 6?",-30,\n'
    )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert read_problem_file(str(tmp_path / "p.csv")).equals(from_jsonl)
    assert read_problem_file(str(tmp_path / "p.parquet")).equals(from_jsonl)
    assert from_jsonl["family"].to_pylist() == ["addition", None]


def test_csv_faults_name_the_row(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,prompt\na,b\n")
    with pytest.raises(InputError, match="no column expected_answer"):
        read_problem_file(str(path))
    path.write_text("id,prompt,expected_answer\na,one, two,2\n")
    with pytest.raises(InputError, match="row 2: has more fields than row 1"):
        read_problem_file(str(path))
    path.write_text("id,prompt,expected_answer\na,one,\n")
    with pytest.raises(InputError, match="row 2: expected_answer is null"):
        read_problem_file(str(path))
    path.write_text('id,prompt,expected_answer\na,"one" two,2\n')
    with pytest.raises(InputError, match=r"row 2: is not CSV \("):
        read_problem_file(str(path))


def test_a_column_of_csv_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("id,prompt,prompt,expected_answer\na,x,y,4\n")
    with pytest.raises(InputError) as caught:
        read_problem_file(str(path))
    assert (
        str(caught.value) == f"{path}, row 1: the column 'prompt' is there twice; leave one of them"
    )
    path.write_text("id,prompt,expected_answer,,\na,x,4,,\n")
    assert read_problem_file(str(path)).num_rows == 1, "columns without a name are none"


def test_an_integer_of_any_size_survives(tmp_path: Path) -> None:
    digits = "9" * 5000
    path = jsonl(tmp_path, f'{{"id": 7, "prompt": "p", "expected_answer": -{digits}}}')
    table = read_problem_file(path)
    assert table["expected_answer"].to_pylist() == [f"-{digits}"]
    assert table["problem_id"].to_pylist() == ["7"]


def test_splits_are_told_apart_and_half_given_splits_are_refused(tmp_path: Path) -> None:
    other = {"id": "b", "prompt": "p", "expected_answer": 1, "split": "train"}
    path = jsonl(tmp_path, GOOD | {"split": "holdout"}, other)
    assert Datasets().load(path, "train")["problem_id"].to_pylist() == ["b"]
    with pytest.raises(InputError, match="no row has the split 'dev'.*holdout, train"):
        Datasets().load(path, "dev")
    with pytest.raises(InputError, match="row 1: split is missing"):
        Datasets().load(jsonl(tmp_path, GOOD, other), "train")
    assert Datasets().load(jsonl(tmp_path, GOOD), "dev")["split"].to_pylist() == ["all"]


def test_a_prompt_that_is_trained_on_cannot_be_measured(tmp_path: Path) -> None:
    table = read_problem_file(jsonl(tmp_path, GOOD))
    with pytest.raises(InputError, match="'a' is measured, but its prompt is also trained on"):
        refuse_shared_prompts(table, table, "problems.jsonl")


def test_a_parquet_file_may_be_one_of_our_problems_tables(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(arithmetic("dev"), path)
    assert read_problem_file(str(path)).equals(arithmetic("dev"))


def test_parquet_faults_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"id": ["a"], "prompt": ["p"]}), path)
    with pytest.raises(InputError, match="has no column expected_answer; it has id, prompt;"):
        read_problem_file(str(path))
    path.write_text("text")
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        read_problem_file(str(path))


def test_a_file_says_which_splits_and_answers_it_has(tmp_path: Path) -> None:
    other = {"id": "b", "prompt": "p", "expected_answer": 1, "split": "train"}
    path, datasets = jsonl(tmp_path, GOOD | {"split": "holdout"}, other), Datasets()
    assert [datasets.has_split(path, name) for name in ("train", "dev")] == [True, False]
    assert datasets.expected_answers(path) == {"a": "2", "b": "1"}
    assert datasets.parsed == 1


def test_the_built_in_dataset_has_every_split_and_all_answers() -> None:
    datasets = Datasets()
    assert [datasets.has_split("arithmetic", name) for name in ("dev", "test")] == [True, False]
    answers = datasets.expected_answers("arithmetic")
    assert len(answers) == sum(arithmetic(split).num_rows for split in SPLITS)
    assert answers[arithmetic("train")["problem_id"][0].as_py()]


def test_a_limit_takes_the_first_problems(tmp_path: Path) -> None:
    path = jsonl(tmp_path, GOOD, GOOD | {"id": "b"})
    assert Datasets().load(path, "dev", 1)["problem_id"].to_pylist() == ["a"]
