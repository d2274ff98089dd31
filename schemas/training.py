"""The training table: one row a step of learning, with the digests of what the step learned from.

There is no clock time in it, so that the same run gives the same bytes; times are tracked as
metrics.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.tables import Column, TableSchema

DIGEST = r"^[0-9a-f]{64}$"

TRAINING = TableSchema(
    kind="training",
    columns={
        "step": Column(pa.int32(), at_least=1),
        "problems": Column(pa.int32(), at_least=1),
        "completions": Column(pa.int32(), at_least=1),
        "tokens": Column(pa.int64(), at_least=1),
        "passes": Column(pa.int32(), nullable=True, at_least=1),
        "reward_mean": Column(pa.float64(), at_least=0.0, at_most=1.0),
        "advantage_std": Column(pa.float64(), nullable=True, at_least=0.0),
        "valid_format_rate": Column(pa.float64(), at_least=0.0, at_most=1.0),
        "groups_with_signal": Column(pa.int32(), at_least=0),
        "loss": Column(pa.float64()),
        "kl_nats": Column(pa.float64()),
        "kl_nats_k3": Column(pa.float64(), nullable=True),
        "entropy_nats_per_token": Column(pa.float64()),
        "gradient_norm": Column(pa.float64(), at_least=0.0),
        "clipped": Column(pa.bool_(), nullable=True),
        "sampling_gap_nats": Column(pa.float64(), nullable=True, at_least=0.0),
        "learning_rate": Column(pa.float64(), at_least=0.0),
        "completions_digest": Column(pa.string(), pattern=DIGEST),
        "scores_digest": Column(pa.string(), pattern=DIGEST),
        "policy_lineage": Column(pa.string(), pattern=DIGEST),
    },
    key=("step",),
    renamed={"right_format": "valid_format_rate"},
    added=("passes", "advantage_std", "kl_nats_k3", "clipped", "sampling_gap_nats"),
)


def steps_without_signal(training: pa.Table, *, grouped: bool) -> int:
    """How many of the last steps, without a break, had rewards from which nothing can be learned.

    With a baseline taken from the group, `grouped`, such a step has no problem whose completions
    earned different rewards; otherwise all its completions earned 0, or all 1.
    """
    rows = training.select(["groups_with_signal", "reward_mean"]).to_pylist()
    steps = 0
    for row in reversed(rows):
        if row["groups_with_signal"] or not (grouped or row["reward_mean"] in (0.0, 1.0)):
            break
        steps += 1
    return steps
