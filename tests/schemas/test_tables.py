"""What a table is checked for, with the column and the row that fail named."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from schemas.completions import COMPLETIONS
from schemas.errors import StoreError
from schemas.problems import PROBLEMS
from schemas.scores import SCORES
from schemas.selections import SELECTIONS
from schemas.steps import STEP
from schemas.tables import Column, TableSchema
from schemas.training import TRAINING

SCHEMA = TableSchema(
    kind="fruit",
    columns={
        "name": Column(pa.string(), not_empty=True),
        "count": Column(pa.int32(), at_least=0, at_most=9),
        "colour": Column(pa.string(), nullable=True, one_of=("red", "green")),
        "code": Column(pa.string(), pattern="^[a-z][0-9]$"),
        "weight": Column(pa.float64(), nullable=True),
    },
    key=("name", "count"),
    renamed={"number": "count"},
    added=("weight",),
)
GOOD = {
    "name": ["apple", "apple", "pear"],
    "count": [1, 2, 1],
    "colour": ["red", None, "green"],
    "code": ["a1", "a2", "b1"],
    "weight": [0.5, None, 1.5],
}


def test_a_good_table_is_cast_to_the_schema_and_keeps_its_metadata() -> None:
    table = pa.table(GOOD).replace_schema_metadata({"provenance": "here"})
    found = SCHEMA.validate(table)
    assert found.schema.field("count").type == pa.int32()
    assert found.schema.metadata == {b"provenance": b"here"}
    assert found.to_pydict() == GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ["apple", "", "pear"]}, r"column name fails .*in row 2 \(''\)"),
        ({"count": [1, 2, 10]}, r"column count fails .*in row 3 \('10'\)"),
        ({"count": [-1, 2, 1]}, "column count fails .*in row 1"),
        ({"colour": ["blue", None, "green"]}, r"column colour fails .*in row 1 \('blue'\)"),
        ({"code": ["a1", "a22", "b1"]}, r"column code fails .*in row 2 \('a22'\)"),
        ({"name": ["apple", None, "pear"]}, "column name is null in row 2; give a value"),
        ({"count": ["one", "2", "3"]}, "one"),  # cannot be cast
        ({"count": [1, 1, 1]}, "name fails multiple_fields_uniqueness in row 1"),  # one key
    ],
)
def test_a_bad_value_names_its_column_and_row(change: dict[str, Any], message: str) -> None:
    table = pa.table(GOOD | change)
    with pytest.raises(StoreError, match=message) as caught:
        SCHEMA.validate(table, "fruit.parquet")
    assert str(caught.value).startswith("fruit.parquet: ")
    assert "\n" not in str(caught.value)


def test_other_columns_and_no_rows_are_refused() -> None:
    table = pa.table(GOOD)
    with pytest.raises(StoreError, match="fruit table: columns are name, count, colour, code;"):
        SCHEMA.validate(table.drop_columns(["weight"]))
    with pytest.raises(StoreError, match="has no rows"):
        SCHEMA.validate(table.slice(0, 0))


def test_a_table_of_an_earlier_version_gets_today_s_columns() -> None:
    old = pa.table(
        {
            "code": GOOD["code"],
            "name": GOOD["name"],
            "number": pa.array(GOOD["count"], pa.int32()),
            "colour": GOOD["colour"],
        }
    )
    found = SCHEMA.upgrade(old)
    assert found.column_names == list(SCHEMA.columns)
    assert found["count"].to_pylist() == GOOD["count"]
    assert found["weight"].to_pylist() == [None] * 3
    assert SCHEMA.validate(found).num_rows == 3


def test_today_s_table_is_left_as_it_is_and_an_unknown_one_too() -> None:
    table = pa.table(GOOD)
    assert SCHEMA.upgrade(table) is table
    unknown = table.append_column("price", pa.array([1, 2, 3]))
    assert "price" in SCHEMA.upgrade(unknown).column_names, "validating says what is wrong"


ROWS: dict[str, tuple[TableSchema, dict[str, Any]]] = {
    "problems": (
        PROBLEMS,
        {"problem_id": "p", "prompt": "?", "expected_answer": "-7", "family": None, "split": "dev"},
    ),
    "completions": (
        COMPLETIONS,
        dict.fromkeys(COMPLETIONS.columns)
        | {"problem_id": "p", "sample_index": 0, "text": "", "finish_reason": "stop"},
    ),
    "scores": (
        SCORES,
        {
            "problem_id": "p",
            "sample_index": 0,
            "reward": 1.0,
            "outcome": "correct",
            "code": "exact",
            "parsed_answer": None,
        },
    ),
    "selections": (
        SELECTIONS,
        {
            "problem_id": "p",
            "rule": "oracle",
            "sample_index": 0,
            "reward": 1.0,
            "expected_reward": 0.5,
            "tied": 2,
            "tied_rewards_differ": True,
        },
    ),
    "step": (
        STEP,
        {
            "problem_id": "p",
            "sample_index": 0,
            "text": "Final: 1",
            "finish_reason": "stop",
            "token_count": 1,
            "sum_logprob": -0.5,
            "shard_seed": 7,
            "token_ids": [4],
            "logprobs": [-0.5],
            "reward": 1.0,
            "outcome": "correct",
            "code": "exact",
            "parsed_answer": None,
            "baseline": 0.5,
            "advantage": 0.5,
            "kl_penalty_nats": -0.25,
            "sum_logprob_before": -0.5,
            "sum_logprob_after": None,
            "sum_logprob_reference": -0.25,
        },
    ),
    "training": (
        TRAINING,
        {name: "0" * 64 if name.endswith(("digest", "lineage")) else 1 for name in TRAINING.columns}
        | {"clipped": True},
    ),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_row_of_each_kind_is_accepted(kind: str) -> None:
    schema, row = ROWS[kind]
    assert schema.kind == kind
    found = schema.validate(pa.Table.from_pylist([row], schema=schema.arrow))
    assert found.num_rows == 1


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("problems", {"expected_answer": "007"}),
        ("problems", {"expected_answer": "-0"}),
        ("problems", {"prompt": ""}),
        ("completions", {"finish_reason": "eos"}),
        ("completions", {"sum_logprob": 0.1}),
        ("completions", {"sample_index": -1}),
        ("scores", {"reward": 1.5}),
        ("scores", {"outcome": "right"}),
        ("scores", {"code": ""}),
        ("selections", {"rule": "best"}),
        ("selections", {"tied": 0}),
        ("step", {"reward": 1.5}),
        ("step", {"sum_logprob": None}),
        ("step", {"logprobs": None}),
        ("step", {"baseline": None}),
        ("training", {"step": 0}),
        ("training", {"step_digest": "x"}),
        ("training", {"scores_digest": "x"}),
        ("training", {"advantage_std": -1.0}),
        ("training", {"passes": 0}),
        ("training", {"sampling_gap_nats": -0.1}),
    ],
)
def test_a_row_that_cannot_be_true_is_refused(kind: str, change: dict[str, Any]) -> None:
    schema, row = ROWS[kind]
    with pytest.raises(StoreError, match=next(iter(change))):
        schema.validate(pa.Table.from_pylist([row | change], schema=schema.arrow))
