"""Which rows a report is made of: each verdict beside the completion that it judges."""

from __future__ import annotations

import pyarrow as pa

from artifacts.report.sections import VerdictCount
from artifacts.report.write import in_order_of, verdict_counts


def scores(*keys: tuple[str, int]) -> pa.Table:
    return pa.table(
        {
            "problem_id": [name for name, _ in keys],
            "sample_index": pa.array([sample for _, sample in keys], pa.int32()),
            "outcome": ["correct" if sample == 0 else "bad_format" for _, sample in keys],
            "code": [f"{name}{sample}" for name, sample in keys],
        }
    )


def test_other_scores_are_put_beside_the_same_completions() -> None:
    these = scores(("b", 0), ("a", 1))
    others = scores(("a", 0), ("a", 1), ("b", 0))
    assert in_order_of(these, others)["code"].to_pylist() == ["b0", "a1"]
    assert in_order_of(others, others) is others


def test_verdicts_are_counted_over_every_row() -> None:
    counted = verdict_counts(scores(("a", 0), ("a", 1), ("a", 1)))
    assert set(counted) == {
        VerdictCount("bad_format", "a1", 2),
        VerdictCount("correct", "a0", 1),
    }
