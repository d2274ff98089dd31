"""Which completion each selection rule picks, as a selections table, and how often that is right.

It measures every rule by the same rewards; `oracle` alone is given them to pick by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schemas.config import SelectionRule
from schemas.errors import InputError
from schemas.identity import derive_seed
from schemas.results import Estimate, SelectedRate
from schemas.selections import SELECTIONS
from scorers.estimates import pass_rate


@dataclass(frozen=True)
class Group:
    """The N completions of one problem, as a rule may see them."""

    rewards: Sequence[float]
    parsed: Sequence[str | None]
    logprobs: Sequence[float | None]


def by_oracle(group: Group) -> list[int]:
    """The completions with the highest reward: best-of-N by a verifier that knows the answer."""
    best = max(group.rewards)
    return [i for i, reward in enumerate(group.rewards) if reward == best]


def by_majority(group: Group) -> list[int]:
    """The completions that give the integer that most give (Wang et al., "Self-Consistency", 2022).

    Completions without a readable integer have no vote, and are picked only if none has one.
    """
    votes = Counter(answer for answer in group.parsed if answer is not None)
    if not votes:
        return list(range(len(group.parsed)))
    most = max(votes.values())
    return [i for i, a in enumerate(group.parsed) if a is not None and votes[a] == most]


def by_likelihood(group: Group) -> list[int]:
    """The completions with the highest summed log-probability under the policy."""
    known = [value for value in group.logprobs if value is not None]
    if len(known) < len(group.logprobs):
        raise InputError(
            "these completions came without log-probabilities",
            "--pick likelihood",
            "pick by oracle, majority or random, or generate them here",
        )
    return [i for i, value in enumerate(known) if value == max(known)]


def by_random(group: Group) -> list[int]:
    """Any completion: the control, whose pass rate is pass@1 but for chance."""
    return list(range(len(group.rewards)))


RULES: dict[SelectionRule, Callable[[Group], list[int]]] = {
    "oracle": by_oracle,
    "majority": by_majority,
    "likelihood": by_likelihood,
    "random": by_random,
}


def pick_all(
    completions: pa.Table, scores: pa.Table, rules: Sequence[SelectionRule], seed: int
) -> pa.Table:
    """A selections table: for every problem and rule the completion picked, and how many tied.

    Ties are broken by a draw that depends on the seed, the problem and the rule alone, not by the
    sample index: the first of N would be no fair choice where samples are sorted.
    """
    ids = scores["problem_id"].to_pylist()
    indexes = scores["sample_index"].to_pylist()
    columns = (
        scores["reward"].to_pylist(),
        scores["parsed_answer"].to_pylist(),
        completions["sum_logprob"].to_pylist(),
    )
    rows = []
    places: dict[str, list[int]] = {}
    for place, identity in enumerate(ids):
        places.setdefault(identity, []).append(place)
    for identity, own in places.items():
        group = Group(*([column[place] for place in own] for column in columns))
        for rule in rules:
            tied = RULES[rule](group)
            chosen = tied[derive_seed("tie", seed, identity, rule) % len(tied)]
            rows.append(
                {
                    "problem_id": identity,
                    "rule": rule,
                    "sample_index": indexes[own[chosen]],
                    "reward": group.rewards[chosen],
                    "tied": len(tied),
                }
            )
    return pa.Table.from_pylist(rows, schema=SELECTIONS.arrow)


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
