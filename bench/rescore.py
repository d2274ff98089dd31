"""Seconds to score a million stored completions with `final_int@1`, and the memory that it takes.

Three ways on the same tables: the scorer alone on Arrow columns; the task `score`, which reads and
checks both tables, scores, checks the verdicts and writes them; and, as the floor, the few column
operations that fill four columns of the same size without finding out why an answer is wrong. The
tables are made by another process beforehand (`bench.completions_tables`).
"""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.store.data_dir import current_data_dir
from artifacts.store.tables import Store
from bench.process import Record, answer
from schemas.finish_reasons import STOP
from schemas.problems import expected_answers
from schemas.references import TableRef
from scorers.final_int import FINAL_INT_1
from tasks.score import score

SCORER = "final_int@1"


def measure(
    problems: Record, completions: Record, repeats: int = 3, through: str = "task"
) -> Record:
    """`through` the task alone, so that the peak memory is the task's; or the columns alone."""
    asked, answered = TableRef(**problems), TableRef(**completions)
    if through == "task":
        started = time.perf_counter()
        written = score(asked, answered, SCORER)
        return {"rows": written.rows, "task_seconds": time.perf_counter() - started}
    store = Store(current_data_dir())
    table = store.read(answered)
    expected = expected_answers(store.read(asked), table["problem_id"])
    columns = (table["text"], table["finish_reason"], expected)
    verdicts, floor = FINAL_INT_1.score(*columns), column_operations(*columns)
    if not verdicts["reward"].equals(floor["reward"]):
        raise ValueError("the column operations reward other rows than the scorer")
    return {
        "rows": len(table),
        "correct": pc.sum(verdicts["reward"]).as_py(),
        "scorer_seconds": _median_seconds(FINAL_INT_1.score, columns, repeats),
        "column_seconds": _median_seconds(column_operations, columns, repeats),
    }


def column_operations(text: Any, finish_reason: Any, expected: Any) -> pa.Table:
    """Four columns as large as verdicts, from one comparison of text."""
    wanted = pc.binary_join_element_wise("Final: ", expected, "")
    right = pc.and_(pc.equal(text, wanted), pc.equal(finish_reason, STOP))
    return pa.table(
        {
            "reward": pc.cast(right, pa.float64()),
            "outcome": pc.if_else(right, "correct", "wrong_answer"),
            "code": pc.if_else(right, "exact", "other_integer"),
            "parsed_answer": pc.if_else(right, expected, pa.scalar(None, pa.string())),
        }
    )


def _median_seconds(call: Any, columns: Any, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        call(*columns)
        seconds.append(time.perf_counter() - started)
    return sorted(seconds)[repeats // 2]


if __name__ == "__main__":
    answer(measure)
