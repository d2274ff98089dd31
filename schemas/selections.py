"""The selections table: which completion each selection rule picked for each problem.

`reward` is the picked completion's, to measure the rule; only `oracle` uses it to pick.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.config import SELECTION_RULES
from schemas.tables import Column, TableSchema

SELECTIONS = TableSchema(
    kind="selections",
    columns={
        "problem_id": Column(pa.string(), not_empty=True),
        "rule": Column(pa.string(), one_of=SELECTION_RULES),
        "sample_index": Column(pa.int32(), at_least=0),
        "reward": Column(pa.float64(), at_least=0.0, at_most=1.0),
        # the mean reward of all that are equally good by the rule: without the chance in a tie
        "expected_reward": Column(pa.float64(), at_least=0.0, at_most=1.0),
        # how many of the N completions are equally good by the rule, before the tie is broken
        "tied": Column(pa.int32(), at_least=1),
        # whether those earned different rewards, so that breaking the tie decided
        "tied_rewards_differ": Column(pa.bool_(), nullable=True),
    },
    key=("problem_id", "rule"),
    added=("tied_rewards_differ",),
)
