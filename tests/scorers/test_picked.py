"""Each rule picks what it says, sees no more than it may, and breaks ties without favour."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.errors import InputError
from schemas.results import Estimate
from scorers.picked import Group, by_likelihood, by_majority, by_oracle, pick_all, selected_rates


def group(
    rewards: list[float], parsed: list[str | None], logprobs: list[float | None] | None = None
) -> Group:
    return Group(rewards, parsed, logprobs or [-1.0] * len(rewards))


def test_the_oracle_picks_what_the_scorer_rewards() -> None:
    assert by_oracle(group([0, 1, 0, 1], ["1", "2", None, "2"])) == [1, 3]
    assert by_oracle(group([0, 0], [None, "1"])) == [0, 1]


def test_the_majority_is_of_readable_answers_and_blind_to_the_reward() -> None:
    assert by_majority(group([1, 0, 0, 0], ["7", "8", "8", None])) == [1, 2]
    assert by_majority(group([0, 0, 0, 0], [None, None, None, "3"])) == [3]
    assert by_majority(group([0, 0], ["1", "2"])) == [0, 1]
    assert by_majority(group([0, 0], [None, None])) == [0, 1]


def test_likelihood_picks_the_likeliest_and_refuses_to_guess() -> None:
    assert by_likelihood(group([1, 0, 0], ["1"] * 3, [-3.0, -0.5, -2.0])) == [1]
    with pytest.raises(InputError, match="without log-probabilities"):
        by_likelihood(group([1, 0], ["1", "1"], [-3.0, None]))


def tables(problems: int, rewards: list[float]) -> tuple[pa.Table, pa.Table]:
    ids = [f"p{i}" for i in range(problems) for _ in rewards]
    n = len(rewards)
    indexes = [i % n for i in range(problems * n)]
    completions = pa.table({"sum_logprob": pa.array([-1.0] * (problems * n))})
    scores = pa.table(
        {
            "problem_id": ids,
            "sample_index": pa.array(indexes, pa.int32()),
            "reward": rewards * problems,
            "parsed_answer": ["1" if reward else "2" for reward in rewards] * problems,
        }
    )
    return completions, scores


def test_ties_are_broken_evenly_and_the_same_way_each_time() -> None:
    made = tables(400, [1.0, 0.0, 0.0, 0.0])
    first = pick_all(*made, ["random"], seed=1)
    assert pick_all(*made, ["random"], seed=1).equals(first)
    assert not pick_all(*made, ["random"], seed=2).equals(first)
    picked = first["sample_index"].to_pylist()
    for index in range(4):
        assert 70 <= picked.count(index) <= 130  # 100 expected, standard deviation 8.7


def test_rates_gains_and_ties_are_counted_by_rule() -> None:
    selections = pick_all(*tables(10, [1.0, 0.0, 0.0, 0.0]), ["oracle", "majority"], seed=0)
    start = Estimate(value=0.25, low=0.1, high=0.4, problems=10, completions=40)
    oracle, majority = selected_rates(selections, start)
    assert (oracle.rate.value, oracle.gain, oracle.problems_with_ties) == (1.0, 0.75, 0)
    assert (majority.rate.value, majority.gain, majority.problems_with_ties) == (0.0, -0.25, 10)
    assert oracle.rate.low < 1.0, "ten of ten is no proof of always"
