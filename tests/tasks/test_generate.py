"""What is told while completions are drawn."""

from __future__ import annotations

import pyarrow as pa

from tasks.generate import PassRateSoFar

PROBLEMS = pa.table({"problem_id": ["a", "b"], "expected_answer": ["4", "5"]})


def shard(*rows: tuple[str, str]) -> pa.Table:
    """Completions of problems, each ended by the model."""
    ids, texts = zip(*rows, strict=True)
    return pa.table({"problem_id": ids, "text": texts, "finish_reason": ["stop"] * len(rows)})


def test_the_pass_rate_so_far_is_of_all_shards_that_are_done() -> None:
    so_far = PassRateSoFar("final_int@1")
    assert so_far.notes() == {}
    so_far.add(PROBLEMS, shard(("a", "Final: 4"), ("a", "Final: 5")))
    assert so_far.notes() == {"pass rate so far": "50 %"}
    so_far.add(PROBLEMS, shard(("b", "Final: 5"), ("b", "Final: 5")))
    assert so_far.notes() == {"pass rate so far": "75 %"}


def test_a_scorer_of_someone_else_is_not_asked_twice() -> None:
    so_far = PassRateSoFar("mymodule:scorer")
    so_far.add(PROBLEMS, shard(("a", "Final: 4")))
    assert so_far.notes() == {}
