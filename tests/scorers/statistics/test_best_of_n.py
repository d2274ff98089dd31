"""What best-of-N costs in nats, by enumeration, and the control of shuffled answers."""

from __future__ import annotations

import itertools
from math import comb, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from scorers.statistics.best_of_n import (
    best_of_n_bound,
    best_of_n_divergence,
    divergence_weights,
    shuffled_pass_at_k,
)


def enumerated_divergence(policy: list[float], rewards: list[int], samples: int) -> float:
    """KL(best-of-N ‖ policy) over every N-tuple of completions, ties broken uniformly."""
    best_of_n = np.zeros(len(policy))
    for drawn in itertools.product(range(len(policy)), repeat=samples):
        chance = float(np.prod([policy[place] for place in drawn]))
        top = max(rewards[place] for place in drawn)
        tied = [place for place in drawn if rewards[place] == top]
        for place in tied:
            best_of_n[place] += chance / len(tied)
    return float(np.sum(best_of_n * np.log(best_of_n / np.array(policy))))


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
@pytest.mark.parametrize("rewards", [[1, 0, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1], [1, 1, 1, 1]])
def test_the_divergence_is_that_of_the_enumerated_policies(
    samples: int, rewards: list[int]
) -> None:
    policy = [0.1, 0.2, 0.3, 0.4]
    chance = sum(p for p, reward in zip(policy, rewards, strict=True) if reward)
    found = float(best_of_n_divergence(chance, samples))
    assert found == pytest.approx(enumerated_divergence(policy, rewards, samples), abs=1e-12)


def test_the_divergence_by_hand() -> None:
    # p = 1/2, N = 2: q = 3/4; KL = 3/4 log(3/2) + 1/4 log(1/2)
    assert float(best_of_n_divergence(0.5, 2)) == pytest.approx(
        0.75 * log(1.5) + 0.25 * log(0.5), abs=1e-15
    )


def test_one_sample_or_a_certain_outcome_costs_nothing() -> None:
    assert best_of_n_divergence([0.0, 0.3, 1.0], 1).tolist() == [0.0, 0.0, 0.0]
    assert best_of_n_divergence([0.0, 1.0], 64).tolist() == [0.0, 0.0]


@given(st.floats(0, 1), st.integers(1, 4096))
def test_the_bound_holds_and_nothing_overflows(chance: float, samples: int) -> None:
    nats = float(best_of_n_divergence(chance, samples))
    assert 0 <= nats <= best_of_n_bound(samples) + 1e-9


def test_the_bound_is_far_from_tight_for_a_reward_of_0_or_1() -> None:
    assert best_of_n_bound(8) == pytest.approx(log(8) - 7 / 8)
    assert float(best_of_n_divergence(0.5, 8)) < 0.6 * best_of_n_bound(8)


def test_impossible_pass_rates_and_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="best of 0"):
        best_of_n_divergence(0.5, 0)
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            best_of_n_divergence([0.5, bad], 2)


# ---- shuffled answers ----


def test_shuffled_pass_at_k_is_that_of_every_draw_from_the_other_problems() -> None:
    answers: list[list[str | None]] = [["1", "2"], ["1", None], ["3", "1"]]
    expected = ["1", "3", "2"]
    for k in (1, 2):
        exact = []
        for place, right in enumerate(expected):
            pool = [a for other, row in enumerate(answers) if other != place for a in row]
            draws = list(itertools.combinations(pool, k))
            exact.append(sum(right in draw for draw in draws) / len(draws))
        assert shuffled_pass_at_k(answers, expected)[k] == pytest.approx(np.mean(exact), abs=1e-14)


def test_a_policy_that_always_says_the_same_gains_nothing_over_its_shuffle() -> None:
    expected = ["1", "2", "1", "3"]
    found = shuffled_pass_at_k([["1", "1"]] * 4, expected)
    assert found == pytest.approx({1: 0.5, 2: 0.5})  # its own pass@1 and pass@2


def test_the_shuffle_needs_two_problems_with_equal_samples() -> None:
    with pytest.raises(InputError, match="two problems"):
        shuffled_pass_at_k([["1"]], ["1"])
    with pytest.raises(InputError, match="same number"):
        shuffled_pass_at_k([["1"], ["1", "2"]], ["1", "2"])
    with pytest.raises(InputError, match="expected answers"):
        shuffled_pass_at_k([["1"], ["2"]], ["1"])
    with pytest.raises(InputError, match="between 1 and 1"):
        shuffled_pass_at_k([["1"], ["2"]], ["1", "2"], ks=[2])


@pytest.mark.parametrize(
    ("samples", "largest"),
    [(2, 0.023), (3, 0.005), (4, 5e-4), (8, 2e-5), (16, 1e-6), (33, 1e-6), (64, 1e-6), (200, 1e-6)],
)
def test_the_weights_have_the_stated_bias_at_every_rate(samples: int, largest: float) -> None:
    weights, bias = divergence_weights(samples)
    rates = np.linspace(0, 1, 1237)
    expected = [
        sum(
            w * comb(samples, c) * p**c * (1 - p) ** (samples - c)
            for c, w in enumerate(weights.tolist())
        )
        for p in rates.tolist()
    ]
    apart = np.abs(np.array(expected) - best_of_n_divergence(rates, samples))
    assert apart.max() <= largest
    assert apart.max() <= 1.05 * bias + 1e-7


@pytest.mark.parametrize("samples", [2, 4, 8, 64])
def test_problems_always_or_never_solved_cost_nothing_and_no_weight_is_negative(
    samples: int,
) -> None:
    weights, _ = divergence_weights(samples)
    assert weights.shape == (samples + 1,)
    assert weights[0] == weights[-1] == 0
    assert weights.min() >= 0


def test_the_plug_in_would_be_biased_by_a_fifth() -> None:
    rate, samples = 0.1, 4
    chance = [comb(4, c) * rate**c * (1 - rate) ** (4 - c) for c in range(5)]
    truth = float(best_of_n_divergence(rate, samples))
    plug_in = float(best_of_n_divergence(np.arange(5) / 4, samples) @ chance)
    assert plug_in < 0.8 * truth
    assert divergence_weights(samples)[0] @ chance == pytest.approx(truth, abs=5e-4)


def test_one_sample_has_nothing_to_pick_from() -> None:
    weights, bias = divergence_weights(1)
    assert (weights.tolist(), bias) == ([0.0, 0.0], 0.0)
    for number in (1, 2, 64):  # they are kept, so nobody may change them
        assert not divergence_weights(number)[0].flags.writeable
    with pytest.raises(InputError, match="the best of 0"):
        divergence_weights(0)
