"""How long rewards have taught nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.training import steps_without_signal


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
