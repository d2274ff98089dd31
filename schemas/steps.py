"""The table of one step of learning: one row a completion that it learned from, and its own row.

It is all that a step leaves. What the step measured as a whole is its row of the training table,
which travels in the metadata. It holds no clock time, so that the same run gives the same bytes.
"""

from __future__ import annotations

import pyarrow as pa
from pydantic import ValidationError

from schemas.completions import COMPLETIONS
from schemas.errors import StoreError
from schemas.scores import SCORES
from schemas.tables import Column, TableSchema
from schemas.training import TrainingRow

STEP_ROW = "threeloops.step"  # the step's own row, in the metadata
_SAMPLED = {"token_count", "sum_logprob", "shard_seed", "token_ids", "logprobs"}

STEP = TableSchema(
    kind="step",
    columns={
        # as in the completions table; a step samples itself, so nothing is missing
        name: Column(column.type, at_least=column.at_least, at_most=column.at_most)
        if name in _SAMPLED
        else column
        for name, column in COMPLETIONS.columns.items()
    }
    | {name: column for name, column in SCORES.columns.items() if name not in SCORES.key}
    | {
        # advantage = reward - beta * kl_penalty_nats - baseline; with the penalty in the loss,
        # reward - baseline; `group_normalized`: see `policy.learning.objective`
        "baseline": Column(pa.float64()),
        "advantage": Column(pa.float64()),
        "kl_penalty_nats": Column(pa.float64()),
        # log-probabilities of the whole completion, in nats, computed as learning does; beside
        # them `sum_logprob` is what the sampler recorded
        "sum_logprob_before": Column(pa.float64()),
        "sum_logprob_after": Column(pa.float64(), nullable=True),
        "sum_logprob_reference": Column(pa.float64(), nullable=True),
    },
    key=("problem_id", "sample_index"),
)


def completions_in(step: pa.Table) -> pa.Table:
    """The completions of a step, as the rows of a completions table."""
    columns = {name: step[name] for name in COMPLETIONS.columns}
    return pa.table(columns).cast(COMPLETIONS.arrow)


def scores_in(step: pa.Table) -> pa.Table:
    """The scores of a step's completions, as the rows of a scores table."""
    return pa.table({name: step[name] for name in SCORES.columns}).cast(SCORES.arrow)


def step_row_in(step: pa.Table) -> TrainingRow:
    """What a step measured as a whole; StoreError where its table does not say it."""
    told = (step.schema.metadata or {}).get(STEP_ROW.encode())
    if told is None:
        raise StoreError("has no row of its step", "metadata of a step table")
    try:
        return TrainingRow.model_validate_json(told)
    except ValidationError:
        raise StoreError("its step's row cannot be read", "metadata of a step table") from None
