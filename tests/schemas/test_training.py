"""The training table: how long rewards taught nothing, and tables of an earlier version."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.training import TRAINING, steps_without_signal


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
    table = pa.table({"groups_with_signal": groups, "reward_mean": rewards})
    assert steps_without_signal(table, grouped=grouped) == idle


def test_a_table_without_the_numbers_of_today_reads_with_nulls_in_their_places() -> None:
    numbers = {"advantage_std", "kl_nats_k3", "clipped", "passes", "sampling_gap_nats"}
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
