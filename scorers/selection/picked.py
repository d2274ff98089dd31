"""The picks of every selection rule as one table, and how often each rule's picks are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.config import SELECTION_RULES, SelectionRule
from schemas.errors import InputError
from schemas.measurements import Estimate, Gain, SelectedRate
from schemas.selections import SELECTIONS
from scorers.selection.rules import pick
from scorers.statistics.best_of_n import best_of_n_bound, divergence_weights
from scorers.statistics.counts import correct_counts
from scorers.statistics.estimates import mean_rate, pass_rate
from scorers.statistics.paired import paired_difference


def possible_rules(completions: pa.Table) -> tuple[SelectionRule, ...]:
    """Every rule that these completions allow; `likelihood` needs log-probabilities."""
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
            "expected_reward": picks.expected_reward,
            "tied": picks.tied.astype(np.int32),
            "tied_rewards_differ": picks.rewards_differ,
        }
        tables.append(pa.table(columns, schema=SELECTIONS.arrow))
    return pa.concat_tables(tables)


def selected_rates(selections: pa.Table, scores: pa.Table) -> tuple[SelectedRate, ...]:
    """For each rule the pass rate of its picks, and the gain over pass@1 of the same samples.

    `scores` are of B problems × N samples, problem by problem, as the picks are.
    """
    correct, samples = _correct_of_equal_samples(scores)
    rules = np.array(selections["rule"].to_pylist())
    rewards, expected, tied, differ = (
        selections[name].to_numpy()
        for name in ("reward", "expected_reward", "tied", "tied_rewards_differ")
    )
    rates = []
    for rule in dict.fromkeys(rules.tolist()):
        of_rule = rules == rule
        solved = rewards[of_rule] == 1
        change = paired_difference(solved - correct / samples)
        rates.append(
            SelectedRate(
                rule=rule,
                rate=pass_rate(solved.astype(np.int64), 1),
                gain=Gain(value=change.value, low=change.low, high=change.high),
                rate_over_ties=mean_rate(expected[of_rule], samples),
                problems_with_ties=int((tied[of_rule] > 1).sum()),
                problems_contested=int(differ[of_rule].sum()),
            )
        )
    return tuple(rates)


def divergence_of_best(scores: pa.Table) -> tuple[Estimate, float]:
    """What the best of N costs in nats, as a mean over problems, and the bound beside it."""
    correct, samples = _correct_of_equal_samples(scores)
    return mean_divergence(correct, samples), best_of_n_bound(samples)


def mean_divergence(correct: NDArray[np.int64], samples: int) -> Estimate:
    """The divergence of the best of N in nats, from the correct samples of each problem [B].

    Each problem counts with `best_of_n.divergence_weights` of its number of correct samples, whose
    largest bias is added to both ends of the interval over problems.
    """
    weights, bias = divergence_weights(samples)
    largest = float(weights.max()) or 1.0
    found = mean_rate(weights[correct] / largest, samples)
    bound = best_of_n_bound(samples)
    scaled = {
        "value": min(bound, found.value * largest),
        "low": max(0.0, found.low * largest - bias),
        "high": min(bound, found.high * largest + bias),
    }
    return found.model_copy(update=scaled)


def _correct_of_equal_samples(scores: pa.Table) -> tuple[NDArray[np.int64], int]:
    """The correct completions of each problem, [B], and N; InputError if N is not the same."""
    correct, samples = np.array(list(correct_counts(scores).values()), dtype=np.int64).T
    if np.any(samples != samples[0]):
        raise InputError("the problems have different numbers of completions")
    return correct, int(samples[0])
