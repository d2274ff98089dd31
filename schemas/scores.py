"""The scores table: one scorer's verdict on each row of one completions table.

The provenance, not the rows, names the completions, the problems and the scorer.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.tables import Column, TableSchema

OUTCOMES = ("correct", "wrong_answer", "bad_format", "truncated")

SCORES = TableSchema(
    kind="scores",
    columns={
        "problem_id": Column(pa.string(), not_empty=True),
        "sample_index": Column(pa.int32(), at_least=0),
        "reward": Column(pa.float64(), at_least=0.0, at_most=1.0),
        "outcome": Column(pa.string(), one_of=OUTCOMES),
        "code": Column(pa.string(), not_empty=True),
        "parsed_answer": Column(pa.string(), nullable=True),
    },
    key=("problem_id", "sample_index"),
)
