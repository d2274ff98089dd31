"""The training table: one row a step of learning, with the digests of what the step learned from.

It holds no clock time, so that the same run gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pydantic import ConfigDict

from schemas.frozen import Frozen
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
        "kl_error_nats": Column(pa.float64(), nullable=True, at_least=0.0),
        "kl_nats_k3": Column(pa.float64(), nullable=True),
        "entropy_nats_per_token": Column(pa.float64()),
        "gradient_norm": Column(pa.float64(), at_least=0.0),
        "clipped": Column(pa.bool_(), nullable=True),
        "sampling_gap_nats": Column(pa.float64(), nullable=True, at_least=0.0),
        "learning_rate": Column(pa.float64(), at_least=0.0),
        "completions_digest": Column(pa.string(), pattern=DIGEST),
        "scores_digest": Column(pa.string(), pattern=DIGEST),
        "policy_lineage": Column(pa.string(), pattern=DIGEST),
        # its completions and scores have tables of their own only where this is null
        "step_digest": Column(pa.string(), nullable=True, pattern=DIGEST),
        "off_policy_steps": Column(pa.int32(), nullable=True, at_least=0),
        "truncated_share": Column(pa.float64(), nullable=True, at_least=0.0, at_most=1.0),
    },
    key=("step",),
    renamed={"right_format": "valid_format_rate"},
    added=(
        "passes",
        "advantage_std",
        "kl_error_nats",
        "kl_nats_k3",
        "clipped",
        "sampling_gap_nats",
        "step_digest",
        "off_policy_steps",
        "truncated_share",
    ),
)


class TrainingRow(Frozen):
    """One row of the training table; KL and loss may be infinite where learning went wrong.

    - `completions_digest`, `scores_digest`: what the step learned from; earlier versions kept these
      tables.
    - `step_digest`: the step's own table, which has the same rows; None of an earlier version.
    - `off_policy_steps`, `truncated_share`: how old the policy was that sampled, and the share of
      importance weights that were truncated; None where the policy that learned has sampled.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="strings"
    )

    step: int
    problems: int
    completions: int
    tokens: int
    passes: int | None
    reward_mean: float
    advantage_std: float | None
    valid_format_rate: float
    groups_with_signal: int
    loss: float
    kl_nats: float
    kl_error_nats: float | None
    kl_nats_k3: float | None
    entropy_nats_per_token: float
    gradient_norm: float
    clipped: bool | None
    sampling_gap_nats: float | None
    learning_rate: float
    completions_digest: str
    scores_digest: str
    policy_lineage: str
    step_digest: str | None = None
    off_policy_steps: int | None = None
    truncated_share: float | None = None

    def numbers(self) -> dict[str, float]:
        """Everything that can be drawn against the step, by name."""
        return {
            name: float(value)
            for name, value in self.model_dump().items()
            if isinstance(value, int | float)
        }


def training_rows(training: pa.Table) -> tuple[TrainingRow, ...]:
    """The rows of a training table, the first step first."""
    return tuple(TrainingRow.model_validate(row) for row in training.to_pylist())


def clipped_steps(rows: Sequence[TrainingRow]) -> int | None:
    """How many steps had their gradient scaled down; None where some row does not say."""
    clipped = [row.clipped for row in rows if row.clipped is not None]
    return sum(clipped) if len(clipped) == len(rows) else None


def steps_without_signal(rows: Sequence[TrainingRow], *, grouped: bool) -> int:
    """How many steps have passed in a row, up to the last, whose rewards could teach nothing.

    With a baseline taken from the group, `grouped`, such a step has no problem whose completions
    earned different rewards; otherwise all its completions earned 0, or all 1.
    """
    without = 0
    for row in reversed(rows):
        if row.groups_with_signal or not (grouped or row.reward_mean in (0.0, 1.0)):
            break
        without += 1
    return without
