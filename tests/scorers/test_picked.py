"""Picks become one table, and each rule's rate, gain and ties are counted."""

from __future__ import annotations

import pyarrow as pa

from schemas.results import Estimate
from scorers.picked import pick_all, possible_rules, selected_rates


def tables(problems: int, rewards: list[float]) -> tuple[pa.Table, pa.Table]:
    n = len(rewards)
    completions = pa.table({"sum_logprob": pa.array([-1.0] * (problems * n))})
    scores = pa.table(
        {
            "problem_id": [f"p{i}" for i in range(problems) for _ in rewards],
            "sample_index": pa.array([i % n for i in range(problems * n)], pa.int32()),
            "reward": rewards * problems,
            "parsed_answer": ["1" if reward else "2" for reward in rewards] * problems,
        }
    )
    return completions, scores


def test_rates_gains_and_ties_are_counted_by_rule() -> None:
    selections = pick_all(*tables(10, [1.0, 0.0, 0.0, 0.0]), ["oracle", "majority"], seed=0)
    assert selections.num_rows == 20
    start = Estimate(value=0.25, low=0.1, high=0.4, problems=10, completions=40)
    oracle, majority = selected_rates(selections, start)
    assert (oracle.rate.value, oracle.gain, oracle.problems_with_ties) == (1.0, 0.75, 0)
    assert (majority.rate.value, majority.gain, majority.problems_with_ties) == (0.0, -0.25, 10)
    assert oracle.rate.low < 1.0, "ten of ten is no proof of always"


def test_the_same_seed_picks_the_same_and_another_may_not() -> None:
    made = tables(50, [1.0, 0.0, 0.0, 0.0])
    first = pick_all(*made, ["random"], seed=1)
    assert pick_all(*made, ["random"], seed=1).equals(first)
    assert not pick_all(*made, ["random"], seed=2).equals(first)


def test_completions_without_log_probabilities_allow_every_rule_but_one() -> None:
    unknown = pa.table({"sum_logprob": pa.array([-1.0, None])})
    assert possible_rules(unknown) == ("oracle", "majority", "random")
    assert "likelihood" in possible_rules(tables(2, [1.0])[0])
