"""The problems table: one row a question with one expected integer."""

from __future__ import annotations

import pyarrow as pa

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
