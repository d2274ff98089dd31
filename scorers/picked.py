"""The picks of every selection rule as one table, and how often each rule's picks are right.

The rules are in `scorers.selection`; this arranges columns for them and counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from schemas.config import SELECTION_RULES, SelectionRule
from schemas.results import Estimate, SelectedRate
from schemas.selections import SELECTIONS
from scorers.estimates import pass_rate
from scorers.selection import pick


def possible_rules(completions: pa.Table) -> tuple[SelectionRule, ...]:
    """Every rule that these completions allow: without log-probabilities not `likelihood`."""
    unknown = completions["sum_logprob"].null_count > 0
    return tuple(rule for rule in SELECTION_RULES if rule != "likelihood" or not unknown)


def pick_all(
    completions: pa.Table, scores: pa.Table, rules: Sequence[SelectionRule], seed: int
) -> pa.Table:
    """A selections table: for every rule and problem the completion picked, and how many tied.

    Both tables hold B problems × N samples, problem by problem.
    """
    ids = list(dict.fromkeys(scores["problem_id"].to_pylist()))
    shape = (len(ids), scores.num_rows // len(ids))
    rewards = scores["reward"].to_numpy().reshape(shape)
    parsed = np.array(scores["parsed_answer"].to_pylist(), dtype=object).reshape(shape)
    logprobs = completions["sum_logprob"].to_numpy().reshape(shape)
    tables = []
    for rule in rules:
        picks = pick(
            rule,
            problem_ids=ids,
            rewards=rewards,
            parsed_answers=parsed.tolist(),
            sum_logprobs=logprobs,
            seed=seed,
        )
        columns = {
            "problem_id": ids,
            "rule": [rule] * len(ids),
            "sample_index": picks.sample_index.astype(np.int32),
            "reward": picks.reward,
            "tied": picks.tied.astype(np.int32),
        }
        tables.append(pa.table(columns, schema=SELECTIONS.arrow))
    return pa.concat_tables(tables)


def selected_rates(selections: pa.Table, pass_at_1: Estimate) -> list[SelectedRate]:
    """For each rule the pass rate of its picks, and the gain over pass@1 of the same samples."""
    rules = np.array(selections["rule"].to_pylist())
    rewards, tied = selections["reward"].to_numpy(), selections["tied"].to_numpy()
    rates = []
    for rule in dict.fromkeys(rules.tolist()):
        of_rule = rules == rule
        rate = pass_rate((rewards[of_rule] == 1).astype(np.int64), 1)
        rates.append(
            SelectedRate(
                rule=rule,
                rate=rate,
                gain=rate.value - pass_at_1.value,
                problems_with_ties=int((tied[of_rule] > 1).sum()),
            )
        )
    return rates
