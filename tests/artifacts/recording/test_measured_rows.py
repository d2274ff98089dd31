"""The rows of a measurement are read and joined once."""

from __future__ import annotations

import pytest

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.store.tables import Store
from schemas.errors import StoreError
from tests.artifacts.measuring import measure


def test_rows_are_joined_once_each_with_its_problem_and_its_score(store: Store) -> None:
    measured = measure(store, "rb", "wr")
    rows = MeasuredRows.read(store, measured)
    assert rows.measured == measured
    assert rows.joined is rows.joined
    columns = ["problem", "sample", "prompt", "expected", "completion", "code"]
    assert rows.joined.select(columns).to_pylist()[1] == {
        "problem": "p0",
        "sample": 1,
        "prompt": "0 + 1?",
        "expected": "1",
        "completion": "<b>1",
        "code": rows.scores["code"][1].as_py(),
    }
    assert rows.joined["reward"].to_pylist() == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", ["problems", "completions", "scores"])
def test_a_table_that_is_lost_is_named(store: Store, name: str) -> None:
    measured = measure(store, "r")
    reference = getattr(measured, name)
    store.path(reference).unlink()
    with pytest.raises(StoreError, match=f"{name} table .*: is not in the store"):
        MeasuredRows.read(store, measured)
