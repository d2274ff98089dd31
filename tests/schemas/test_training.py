"""The training table: how long rewards taught nothing, and tables of an earlier version."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from schemas.training import (
    TRAINING,
    TrainingRow,
    clipped_steps,
    steps_without_signal,
    training_rows,
)


def test_clipped_steps_are_counted_where_every_row_says() -> None:
    rows = [TrainingRow.model_construct(clipped=value) for value in (True, False, True)]
    assert clipped_steps(rows) == 2
    assert clipped_steps([*rows, TrainingRow.model_construct(clipped=None)]) is None


@pytest.mark.parametrize(
    ("groups", "rewards", "grouped", "idle"),
    [
        ([0, 0, 0], [0.0, 0.5, 1.0], True, 3),
        ([0, 2, 0], [0.0, 0.5, 0.5], True, 1),
        ([0, 0, 1], [0.0, 0.0, 0.1], True, 0),
        # one completion a problem: no group can differ, but problems can
        ([0, 0, 0], [0.0, 0.5, 0.0], False, 1),
        ([0, 0, 0], [1.0, 1.0, 0.5], False, 0),
        ([0, 0, 0], [0.0, 0.0, 0.0], False, 3),
    ],
)
def test_steps_are_counted_back_to_the_last_that_taught_something(
    groups: list[int], rewards: list[float], grouped: bool, idle: int
) -> None:
    rows = [
        TrainingRow.model_construct(groups_with_signal=group, reward_mean=reward)
        for group, reward in zip(groups, rewards, strict=True)
    ]
    assert steps_without_signal(rows, grouped=grouped) == idle


def test_a_row_tells_its_numbers_and_leaves_out_what_an_earlier_version_did_not_write() -> None:
    given: dict[str, Any] = dict.fromkeys(TRAINING.columns, 1)
    given |= {"clipped": True, "passes": None}
    digests = ("completions_digest", "scores_digest", "policy_lineage", "step_digest")
    given |= dict.fromkeys(digests, "0" * 64)
    (row,) = training_rows(pa.table({name: [value] for name, value in given.items()}))
    numbers = row.numbers()
    assert numbers["clipped"] == 1.0
    assert "passes" not in numbers
    assert "policy_lineage" not in numbers
    assert numbers["reward_mean"] == 1.0


def test_a_table_of_an_earlier_version_keeps_its_metadata() -> None:
    old = [name for name in TRAINING.columns if name not in TRAINING.added]
    names = ["right_format" if name == "valid_format_rate" else name for name in old]
    table = pa.table({name: pa.nulls(1) for name in names}).replace_schema_metadata({"a": "b"})
    upgraded = TRAINING.upgrade(table)
    assert upgraded.column_names == list(TRAINING.columns)
    assert upgraded.schema.metadata == {b"a": b"b"}


def test_a_table_without_the_numbers_of_today_reads_with_nulls_in_their_places() -> None:
    numbers = {"advantage_std", "kl_error_nats", "kl_nats_k3", "clipped", "passes"}
    numbers |= {"sampling_gap_nats", "step_digest", "off_policy_steps", "truncated_share"}
    old = {
        "right_format" if name == "valid_format_rate" else name: (
            "0" * 64 if name.endswith(("digest", "lineage")) else 1
        )
        for name in TRAINING.columns
        if name not in numbers
    }
    read = TRAINING.validate(TRAINING.upgrade(pa.Table.from_pylist([old])))
    (row,) = read.to_pylist()
    assert {name for name, value in row.items() if value is None} == numbers
    assert row["valid_format_rate"] == 1.0
