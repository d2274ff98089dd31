"""Picks become one table, and each rule's rate, gain and ties are counted."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers.selection.picked import (
    divergence_of_best,
    mean_divergence,
    pick_all,
    possible_rules,
    selected_rates,
)
from scorers.statistics.best_of_n import best_of_n_divergence


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
    completions, scores = tables(10, [1.0, 0.0, 0.0, 0.0])
    selections = pick_all(completions, scores, ["oracle", "majority", "random"], seed=0)
    assert selections.num_rows == 30
    oracle, majority, random = selected_rates(selections, scores)
    assert (oracle.rate.value, oracle.gain.value, oracle.problems_with_ties) == (1.0, 0.75, 0)
    assert (majority.rate.value, majority.gain.value) == (0.0, -0.25)
    assert (majority.problems_with_ties, majority.problems_contested) == (10, 0)
    assert random.rate_over_ties.value == 0.25, "the control without its luck is pass@1"
    assert random.problems_contested == 10
    assert oracle.rate.low < 1.0, "ten of ten is no proof of always"


def test_the_gain_is_paired_by_problem() -> None:
    # half the problems always right, half never: no rule can gain, though both rates are uncertain
    completions = pa.table({"sum_logprob": pa.array([-1.0] * 800)})
    scores = pa.table(
        {
            "problem_id": [f"p{i // 4}" for i in range(800)],
            "reward": [float(i < 400) for i in range(800)],
            "parsed_answer": ["1"] * 800,
        }
    )
    (oracle,) = selected_rates(pick_all(completions, scores, ["oracle"], seed=0), scores)
    assert oracle.gain.value == 0.0
    assert oracle.rate.high - oracle.rate.low > 2 * (oracle.gain.high - oracle.gain.low)


def test_what_the_best_of_n_costs_is_unbiased_where_every_problem_is_alike() -> None:
    # at p = 1/2 and N = 4, 16 problems have 0, 1, 2, 3, 4 correct as often as they should
    counts = [0] * 1 + [1] * 4 + [2] * 6 + [3] * 4 + [4] * 1
    rows = [
        (f"p{place}", float(sample < right))
        for place, right in enumerate(counts)
        for sample in range(4)
    ]
    names, rewards = zip(*rows, strict=True)
    nats, bound = divergence_of_best(pa.table({"problem_id": names, "reward": rewards}))
    # the best of 4 is right with q = 15/16: q log(q/p) + 3/16 log(1/2)
    assert nats.value == pytest.approx(
        15 / 16 * math.log(15 / 8) + 3 / 16 * math.log(0.5), abs=5e-4
    )
    assert bound == pytest.approx(math.log(4) - 0.75)
    assert nats.low < nats.value < nats.high <= bound


def test_what_the_best_of_n_costs_is_never_above_its_bound() -> None:
    nats, bound = divergence_of_best(tables(10, [1.0, 0.0])[1])
    assert nats.low <= nats.value <= nats.high <= bound == pytest.approx(math.log(2) - 0.5)


def test_one_sample_leaves_nothing_to_pick_and_costs_nothing() -> None:
    nats, bound = divergence_of_best(tables(10, [1.0])[1])
    assert (nats.value, nats.low, nats.high, bound) == (0.0, 0.0, 0.0, 0.0)


def test_the_same_seed_picks_the_same_and_another_may_not() -> None:
    made = tables(50, [1.0, 0.0, 0.0, 0.0])
    first = pick_all(*made, ["random"], seed=1)
    assert pick_all(*made, ["random"], seed=1).equals(first)
    assert not pick_all(*made, ["random"], seed=2).equals(first)


def test_completions_without_log_probabilities_allow_every_rule_but_one() -> None:
    unknown = pa.table({"sum_logprob": pa.array([-1.0, None])})
    assert possible_rules(unknown) == ("oracle", "majority", "random")
    assert "likelihood" in possible_rules(tables(2, [1.0])[0])


def test_problems_with_different_numbers_of_completions_are_refused() -> None:
    scores = pa.table({"problem_id": ["a", "a", "b"], "reward": [1.0, 0.0, 1.0]})
    with pytest.raises(InputError, match="different numbers of completions"):
        divergence_of_best(scores)


def test_picks_and_counts_belong_to_the_same_problems_however_many_there_are() -> None:
    # problem i has i mod 3 correct of 2; the oracle's gain is 1/2 exactly where one of two is
    ids = [f"p{(place * 7919) % 3001}" for place in range(3001)]
    rewards = [float(sample < place % 3) for place in range(3001) for sample in range(2)]
    scores = pa.table(
        {
            "problem_id": [name for name in ids for _ in range(2)],
            "sample_index": pa.array([0, 1] * 3001, pa.int32()),
            "reward": rewards,
            "parsed_answer": pa.nulls(6002, pa.string()),
        }
    )
    completions = pa.table({"sum_logprob": pa.array([-1.0] * 6002)})
    picks = pick_all(completions, scores, ("oracle",), seed=0)
    (rate,) = selected_rates(picks, scores)
    halves = sum(place % 3 == 1 for place in range(3001))
    assert rate.gain.value == pytest.approx(halves / 2 / 3001)
    assert rate.gain.low > 0.1, "no problem is paired with another one's rate"


@pytest.mark.parametrize(("problems", "samples"), [(20, 64), (60, 16), (120, 16), (60, 32)])
def test_the_divergence_is_held_where_a_few_hard_problems_make_most_of_it(
    problems: int, samples: int
) -> None:
    # 5 % of the problems at 0.02, the rest at 0.98: most samples show next to nothing of the few,
    # and the interval held the divergence in 54 to 79 %
    generator = np.random.default_rng(2)
    truth = float(best_of_n_divergence([0.02] + [0.98] * 19, samples).mean())
    held, runs = 0, 400
    for _ in range(runs):
        rates = np.where(generator.random(problems) < 0.05, 0.02, 0.98)
        found = mean_divergence(generator.binomial(samples, rates), samples)
        held += found.low <= truth <= found.high
    assert held / runs >= 0.93


def test_a_draw_decided_only_where_the_tied_rewards_differ() -> None:
    # three tenths are not quite three times a tenth, which is no reason to call the draw decisive
    for rewards, contested in (([0.1, 0.1, 0.1], 0), ([0.1, 0.1, 0.7], 1)):
        scores = pa.table({"problem_id": ["a"] * 3, "reward": rewards, "parsed_answer": ["1"] * 3})
        completions = pa.table({"sum_logprob": pa.array([-1.0] * 3)})
        (found,) = selected_rates(pick_all(completions, scores, ["majority"], seed=0), scores)
        assert (found.problems_with_ties, found.problems_contested) == (1, contested)


@pytest.mark.parametrize("seed", range(6))  # some of them pick the middle one
def test_a_draw_decides_too_where_it_picks_what_the_tied_earn_on_average(seed: int) -> None:
    scores = pa.table(
        {"problem_id": ["a"] * 3, "reward": [0.0, 0.5, 1.0], "parsed_answer": ["1"] * 3}
    )
    completions = pa.table({"sum_logprob": pa.array([-1.0] * 3)})
    (found,) = selected_rates(pick_all(completions, scores, ["random"], seed=seed), scores)
    assert found.problems_contested == 1
