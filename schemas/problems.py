"""The problems table: one row a question with one expected integer."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import Column, TableSchema

CANONICAL_INTEGER = r"^(0|-?[1-9][0-9]*)$"

PROBLEMS = TableSchema(
    kind="problems",
    columns={
        "problem_id": Column(pa.string(), not_empty=True),
        "prompt": Column(pa.string(), not_empty=True),
        # text, not int64: integers have no largest one, and the scorer compares text
        "expected_answer": Column(pa.string(), pattern=CANONICAL_INTEGER),
        "family": Column(pa.string(), nullable=True),
        "split": Column(pa.string(), not_empty=True),
    },
    key=("problem_id",),
)


def problem_rows(problems: pa.Table, problem_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The row of each id in a problems table, as int32; null for an id that it does not have."""
    return pc.index_in(problem_ids, problems["problem_id"].combine_chunks())


def expected_answers(problems: pa.Table, problem_ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The expected answer of each id, in the order of the ids."""
    return problems["expected_answer"].take(problem_rows(problems, problem_ids))
