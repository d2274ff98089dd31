"""How many completions of each problem are correct: the counts that rates are estimated from."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

Counts = dict[str, tuple[int, int]]


def correct_counts(scores: pa.Table) -> Counts:
    """For each problem how many of its completions earned a reward of 1, and how many it has.

    The problems come in the order in which the table names them first.
    """
    right = pc.cast(pc.equal(scores["reward"], 1.0), pa.int64())
    table = pa.table({"problem_id": scores["problem_id"], "right": right})
    # one thread, because several return the groups in any order
    groups = table.group_by("problem_id", use_threads=False)
    counted = groups.aggregate([("right", "sum"), ("right", "count")])
    columns = (counted[name].to_pylist() for name in ("problem_id", "right_sum", "right_count"))
    return {identity: (correct, total) for identity, correct, total in zip(*columns, strict=True)}
