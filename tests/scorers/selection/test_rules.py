"""Selection rules on hand-made groups, and what they may not look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.config import SELECTION_RULES
from schemas.errors import InputError
from scorers.selection.rules import Picks, pick, tie_breakers
from scorers.statistics.estimates import pass_at_k

IDS = ["a", "b", "c"]
REWARDS = [[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
PARSED: list[list[str | None]] = [
    ["7", "12", "7", "12"],
    [None, None, None, None],
    ["5", "6", "6", None],
]
LOGPROBS = [[-1.0, -2.0, -0.5, -3.0], [-1.0, -1.0, -2.0, -2.0], [-9.0, -4.0, -4.5, -5.0]]


def picks(rule: Any, seed: int = 0) -> Picks:
    return pick(
        rule,
        problem_ids=IDS,
        rewards=REWARDS,
        parsed_answers=PARSED,
        sum_logprobs=LOGPROBS,
        seed=seed,
    )


def test_the_oracle_picks_a_correct_one_wherever_there_is_one() -> None:
    found = picks("oracle")
    assert found.reward.tolist() == [1.0, 0.0, 1.0]
    assert found.tied.tolist() == [2, 4, 1]
    assert found.sample_index[0] in (1, 3)
    assert found.sample_index[2] == 0
    assert found.expected_reward.tolist() == [1.0, 0.0, 1.0]


def test_the_majority_picks_the_most_frequent_answer_right_or_wrong() -> None:
    found = picks("majority")
    assert found.tied.tolist() == [4, 4, 2]  # 7 and 12 tie; nobody has an answer; two say 6
    assert found.sample_index[2] in (1, 2)
    assert found.reward[2] == 0.0
    assert found.expected_reward.tolist() == [0.5, 0.0, 0.0]


def test_an_unparsable_completion_never_wins_the_majority_unless_all_are() -> None:
    for seed in range(50):
        found = pick(
            "majority",
            problem_ids=["x"],
            rewards=[[0.0, 0.0, 0.0, 1.0]],
            parsed_answers=[[None, None, None, "3"]],
            seed=seed,
        )
        assert (found.sample_index[0], found.tied[0]) == (3, 1)


def test_the_same_answer_in_another_problem_is_no_vote() -> None:
    found = pick(
        "majority",
        problem_ids=["x", "y"],
        rewards=[[0.0] * 3, [0.0] * 3],
        parsed_answers=[["1", "2", "2"], ["1", "1", "2"]],
        seed=0,
    )
    assert found.tied.tolist() == [2, 2]
    assert found.sample_index[0] in (1, 2)
    assert found.sample_index[1] in (0, 1)


def test_likelihood_picks_the_highest_sum() -> None:
    found = picks("likelihood")
    assert found.sample_index.tolist()[::2] == [2, 1]
    assert found.sample_index[1] in (0, 1)
    assert found.tied.tolist() == [1, 2, 1]


@pytest.mark.parametrize("unknown", [None, float("nan")])
def test_an_unknown_likelihood_is_refused(unknown: float | None) -> None:
    with pytest.raises(InputError, match="unknown, the first of them answer 2 of problem 1"):
        pick(
            "likelihood",
            problem_ids=["x"],
            rewards=[[0.0, 1.0]],
            sum_logprobs=[[-1.0, unknown]],  # type: ignore[arg-type]
            seed=0,
        )


def test_only_the_oracle_looks_at_the_rewards() -> None:
    other = 1 - np.array(REWARDS)
    for rule in SELECTION_RULES:
        again = pick(
            rule,
            problem_ids=IDS,
            rewards=other,
            parsed_answers=PARSED,
            sum_logprobs=LOGPROBS,
            seed=0,
        )
        same = np.array_equal(again.sample_index, picks(rule).sample_index)
        assert same == (rule != "oracle"), rule


def test_random_picks_every_place_equally_often() -> None:
    names = [f"problem {number}" for number in range(8000)]
    found = pick("random", problem_ids=names, rewards=np.zeros((8000, 4)), seed=1)
    counts = np.bincount(found.sample_index, minlength=4)
    assert counts.sum() == 8000
    assert np.all(np.abs(counts - 2000) < 160)  # four standard deviations


def test_the_numbers_that_break_ties_are_uniform_and_independent_of_each_other() -> None:
    numbers = tie_breakers([str(number) for number in range(5000)], 6, seed=3)
    assert np.all((numbers >= 0) & (numbers < 1))
    assert abs(numbers.mean() - 0.5) < 0.01
    correlations = np.corrcoef(numbers, rowvar=False) - np.eye(6)
    assert np.abs(correlations).max() < 0.06
    assert len(np.unique(numbers)) == numbers.size


def test_a_subset_of_the_problems_in_another_order_picks_the_same() -> None:
    whole = picks("random")
    some = pick("random", problem_ids=["c", "a"], rewards=[REWARDS[2], REWARDS[0]], seed=0)
    assert some.sample_index.tolist() == [whole.sample_index[2], whole.sample_index[0]]


def test_the_same_seed_picks_the_same_and_another_differs_somewhere() -> None:
    names = [str(number) for number in range(100)]
    rewards = np.zeros((100, 8))
    first = pick("random", problem_ids=names, rewards=rewards, seed=0).sample_index
    assert np.array_equal(
        first, pick("random", problem_ids=names, rewards=rewards, seed=0).sample_index
    )
    assert not np.array_equal(
        first, pick("random", problem_ids=names, rewards=rewards, seed=1).sample_index
    )


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=20))
def test_the_oracle_reaches_pass_at_n_and_random_expects_pass_at_1(rows: list[list[bool]]) -> None:
    rewards = np.array(rows, dtype=np.float64)
    names = [str(number) for number in range(len(rows))]
    estimates = pass_at_k(rewards.sum(axis=1), 5)
    oracle = pick("oracle", problem_ids=names, rewards=rewards, seed=0)
    control = pick("random", problem_ids=names, rewards=rewards, seed=0)
    assert oracle.reward.mean() == pytest.approx(estimates[5].value)
    assert control.expected_reward.mean() == pytest.approx(estimates[1].value)


@pytest.mark.parametrize("rule", ["majority", "likelihood"])
def test_a_rule_without_what_it_reads_is_refused(rule: Any) -> None:
    with pytest.raises(InputError, match="and none is given"):
        pick(rule, problem_ids=["x"], rewards=[[0.0, 1.0]], seed=0)


def test_wrong_shapes_unknown_rules_and_empty_groups_are_refused() -> None:
    with pytest.raises(InputError, match="has shape"):
        pick("majority", problem_ids=["x"], rewards=[[0.0, 1.0]], parsed_answers=[["1"]], seed=0)
    with pytest.raises(InputError, match="no selection rule 'best'"):
        pick("best", problem_ids=["x"], rewards=[[0.0]], seed=0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no completions"):
        pick("random", problem_ids=[], rewards=np.zeros((0, 4)), seed=0)
    with pytest.raises(InputError, match="1 problem ids for 2 rows"):
        pick("random", problem_ids=["x"], rewards=np.zeros((2, 4)), seed=0)


@pytest.mark.parametrize("rule", ["oracle", "random"])
def test_a_reward_that_is_no_number_is_refused(rule: Any) -> None:
    with pytest.raises(InputError, match=r"reward of 1 completions .* sample 1 of problem 0"):
        pick(rule, problem_ids=["a"], rewards=[[0.0, float("nan")]], seed=0)
