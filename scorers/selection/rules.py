"""Selection rules: which of the N completions of a problem is used.

Only the rule `oracle` sees a reward before it picks. The others pick without one, and their rewards
are looked up afterwards to measure the rule.

Axes: B problems, N samples of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.config import SELECTION_RULES, SelectionRule
from schemas.errors import InputError
from schemas.identity import derive_seed

Candidates = NDArray[np.bool_]


@dataclass(frozen=True)
class Picks:
    """What one rule picked of B problems, each array [B].

    - `sample_index`: the picked completion's place among the N.
    - `tied`: how many completions are equally good by the rule, the picked one included.
    - `reward`: the picked completion's reward.
    - `expected_reward`: the mean reward of those. Its mean over problems is the rule's mean reward
      without the chance in breaking ties, so it is the less noisy estimate.
    - `rewards_differ`: whether those earned different rewards, so that the draw decided.
    """

    rule: SelectionRule
    sample_index: NDArray[np.int64]
    tied: NDArray[np.int64]
    reward: NDArray[np.float64]
    expected_reward: NDArray[np.float64]
    rewards_differ: NDArray[np.bool_]


def pick(
    rule: SelectionRule,
    *,
    problem_ids: Sequence[str],
    rewards: ArrayLike,
    parsed_answers: Sequence[Sequence[str | None]] | None = None,
    sum_logprobs: ArrayLike | None = None,
    seed: int,
) -> Picks:
    """Pick one completion of each problem.

    - `oracle`: one with the highest reward. It needs the expected answer, so its pass rate is
      pass@N: what selection could reach at best, not what it reaches.
    - `majority`: one whose parsed answer is the most frequent (self-consistency; Wang et al.,
      2022). A completion without a parsed answer never wins, unless all are without.
    - `likelihood`: the highest summed log-probability, in nats under the sampling policy. A sum
      favours short texts.
    - `random`: any; the control, whose expected pass rate is pass@1.

    `rewards`, `parsed_answers` and `sum_logprobs` are [B, N]; the last two are needed by the rules
    that read them. Raises InputError where one is missing or has another shape, where there is
    nothing to pick from, and for an unknown reward or log-probability (null or NaN).

    A tie goes to the completion with the smallest pseudo-random number (`tie_breakers`). The lowest
    place must not win, because stored completions may come in an order that means something (greedy
    first, or sorted). All rules use the same numbers, so two rules that find the same completions
    best pick the same one.
    """
    earned = np.asarray(rewards, dtype=np.float64)
    if earned.ndim != 2 or earned.size == 0:
        raise InputError("there are no completions to pick from")
    unknown = np.argwhere(np.isnan(earned))
    if len(unknown):
        row, column = unknown[0]
        raise InputError(
            f"the reward of {len(unknown)} completions is not a number, "
            f"the first of them sample {column} of problem {row}",
            f"selection rule {rule}",
            "score the completions again",
        )
    if len(problem_ids) != len(earned):
        raise InputError(f"{len(problem_ids)} problem ids for {len(earned)} rows of rewards")
    if rule == "oracle":
        best: Candidates = earned == earned.max(axis=1, keepdims=True)
    elif rule == "majority":
        best = _most_frequent(_shaped(parsed_answers, "parsed_answer", rule, earned.shape, object))
    elif rule == "likelihood":
        best = _most_likely(_shaped(sum_logprobs, "sum_logprob", rule, earned.shape, np.float64))
    elif rule == "random":
        best = np.ones(earned.shape, dtype=np.bool_)
    else:
        raise InputError(
            f"there is no selection rule {rule!r}", remedy=f"there are {', '.join(SELECTION_RULES)}"
        )
    breakers = tie_breakers(problem_ids, earned.shape[1], seed)
    picked = np.where(best, breakers, np.inf).argmin(axis=1)
    tied = best.sum(axis=1)
    reward = np.take_along_axis(earned, picked[:, None], axis=1)[:, 0]
    # equal rewards are their own mean, but a sum of tenths divided by their number is not
    equal = np.all(~best | (earned == reward[:, None]), axis=1)
    expected = np.where(equal, reward, np.where(best, earned, 0.0).sum(axis=1) / tied)
    return Picks(
        rule=rule,
        sample_index=picked.astype(np.int64),
        tied=tied.astype(np.int64),
        reward=reward,
        expected_reward=expected,
        rewards_differ=~equal,
    )


def tie_breakers(problem_ids: Sequence[str], samples: int, seed: int) -> NDArray[np.float64]:
    """Numbers [B, N], uniform in [0, 1), that depend on the seed, the problem's id and the place.

    They do not depend on the problem's row, so a subset of the problems gets the same numbers. A
    SHA-256 of seed and id starts one splitmix64 sequence for each problem (Steele et al., 2014), so
    a problem's first number says nothing about its second.
    """
    start = np.array([derive_seed("tie", seed, name) for name in problem_ids], dtype=np.uint64)
    place = np.arange(1, samples + 1, dtype=np.uint64)
    mixed = start[:, None] + place * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed = (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)
    return np.asarray(mixed * 2.0**-53, dtype=np.float64)


def _most_frequent(answers: NDArray[np.object_]) -> Candidates:
    """Where a row's answer is among its most frequent ones; the whole row where none is known."""
    known = np.asarray(answers != None, dtype=np.bool_)  # noqa: E711, elementwise
    names, codes = np.unique(answers[known].astype(str), return_inverse=True)
    votes = np.zeros(answers.shape, dtype=np.int64)
    ballot = np.nonzero(known)[0] * len(names) + codes
    _, place, count = np.unique(ballot, return_inverse=True, return_counts=True)
    votes[known] = count[place]
    return np.asarray(votes == votes.max(axis=1, keepdims=True))


def _most_likely(sum_logprobs: NDArray[np.float64]) -> Candidates:
    unknown = np.argwhere(np.isnan(sum_logprobs))
    if len(unknown):
        row, column = unknown[0]
        raise InputError(
            f"the log-probability of {len(unknown)} completions is unknown, "
            f"the first of them answer {column + 1} of problem {row + 1}, counted from 1",
            "--pick likelihood",
            "pick by another rule, or generate the completions here",
        )
    return np.asarray(sum_logprobs == sum_logprobs.max(axis=1, keepdims=True))


def _shaped(
    values: ArrayLike | Sequence[Sequence[str | None]] | None,
    name: str,
    rule: str,
    shape: tuple[int, ...],
    dtype: type,
) -> NDArray[Any]:
    """The values as an array of that shape, or InputError."""
    if values is None:
        raise InputError(f"it needs {name}, and none is given", f"selection rule {rule}")
    array: NDArray[Any] = np.asarray(values, dtype=dtype)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}, not {shape}", f"selection rule {rule}")
    return array
