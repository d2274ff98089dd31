"""The completions table: one row a sampled answer, keyed by (problem_id, sample_index).

Verdicts are in the scores table, so that another scorer never changes this one.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.finish_reasons import FINISH_REASONS
from schemas.tables import Column, TableSchema

COMPLETIONS = TableSchema(
    kind="completions",
    columns={
        "problem_id": Column(pa.string(), not_empty=True),
        "sample_index": Column(pa.int32(), at_least=0),
        # what the model emitted, special tokens included, without the one end token
        "text": Column(pa.string()),
        "finish_reason": Column(pa.string(), one_of=FINISH_REASONS),
        # the columns below are null for completions that came from outside
        "token_count": Column(pa.int32(), nullable=True, at_least=0),
        "sum_logprob": Column(pa.float64(), nullable=True, at_most=0.0),
        "shard_seed": Column(pa.int64(), nullable=True, at_least=0),
        "token_ids": Column(pa.list_(pa.int32()), nullable=True),
        "logprobs": Column(pa.list_(pa.float32()), nullable=True),
    },
    key=("problem_id", "sample_index"),
)
