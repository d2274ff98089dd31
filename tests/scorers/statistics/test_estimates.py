"""Pass rates and pass@k against hand-worked numbers and exact enumeration."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InputError
from scorers.statistics.estimates import family_rates, mean_rate, pass_at_k, pass_at_k_of, pass_rate
from tests.scorers.statistics.clopper_pearson import exact_interval


def test_the_pass_rate_is_the_mean_over_problems() -> None:
    found = pass_rate([1, 0, 4, 3], 4)
    assert found.value == 0.5
    assert (found.problems, found.completions) == (4, 16)
    assert 0 < found.low < 0.5 < found.high < 1


def test_every_problem_weighs_the_same_however_many_samples_it_has() -> None:
    # 1 of 1 and 0 of 9: 0.5 over problems, though one completion in ten is correct
    found = pass_rate([1, 0], [1, 9])
    assert (found.value, found.completions) == (0.5, 10)


def test_with_one_sample_a_problem_the_interval_is_the_exact_one() -> None:
    found = pass_rate([1] * 30 + [0] * 70, 1)
    assert (found.low, found.high) == pytest.approx(exact_interval(30, 100), abs=1e-9)


def test_four_samples_a_problem_are_not_four_times_the_problems() -> None:
    # each problem is solved always or never: the other three samples say nothing new
    clustered = pass_rate([4] * 30 + [0] * 70, 4)
    assert (clustered.low, clustered.high) == pytest.approx(exact_interval(30, 100), abs=1e-9)
    naive = exact_interval(120, 400)
    assert clustered.high - clustered.low > 1.9 * (naive[1] - naive[0])


@pytest.mark.parametrize("call", [pass_rate, pass_at_k, mean_rate])
def test_no_problems_have_no_rate(call) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match="no problems"):
        call([], [])


@pytest.mark.parametrize(
    ("correct", "samples", "message"),
    [
        ([1], [0], "no samples"),
        ([2], [1], "more correct completions than completions"),
        ([-1], [1], "fewer than 0"),
        ([0.5], [1], "whole"),
        ([1, 1], [1, 1, 1], "3 numbers of samples are given for 2 problems"),
    ],
)
def test_counts_that_cannot_be_are_refused(
    correct: list[float], samples: list[int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pass_rate(correct, samples)


def test_a_mean_reward_outside_0_and_1_is_refused() -> None:
    assert mean_rate([0.25, 0.5], 4).value == 0.375
    for bad in (1.5, -0.1, float("nan")):
        with pytest.raises(InputError, match="between 0 and 1"):
            mean_rate([0.5, bad], 4)


# ---- pass@k ----


def test_pass_at_k_by_hand() -> None:
    # 2 correct of 5: pass@1 = 2/5, pass@2 = 1 − C(3,2)/C(5,2) = 7/10, pass@3 = 1 − 1/10, then 1
    assert pass_at_k_of([2], 5)[0] == pytest.approx([0.4, 0.7, 0.9, 1.0, 1.0], abs=1e-15)


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_correct_sample() -> None:
    for samples in range(1, 8):
        for right in range(samples + 1):
            rewards = [1] * right + [0] * (samples - right)
            for k in range(1, samples + 1):
                subsets = list(itertools.combinations(rewards, k))
                exact = sum(any(subset) for subset in subsets) / len(subsets)
                assert pass_at_k_of([right], samples)[0, k - 1] == pytest.approx(exact, abs=1e-14)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_k_agrees_with_exact_fractions_for_every_k(case: tuple[int, int]) -> None:
    samples, right = case
    found = pass_at_k_of([right], samples)[0]
    for k in {1, 2, samples // 2, samples - 1, samples} & set(range(1, samples + 1)):
        exact = 1 - Fraction(comb(samples - right, k), comb(samples, k))
        assert found[k - 1] == pytest.approx(float(exact), abs=1e-12)


def test_pass_at_k_stays_finite_for_thousands_of_samples() -> None:
    found = pass_at_k_of([0, 1, 4096], 4096)
    assert np.all(found[0] == 0)
    assert found[1] == pytest.approx(np.arange(1, 4097) / 4096, abs=1e-12)  # k/N for one correct
    assert np.all(found[2] == 1)


def test_pass_at_k_is_unbiased_where_the_biased_formula_is_not() -> None:
    # exact expectation over all 2⁴ outcomes of 4 samples with chance p: pass@2 is 1 − (1 − p)²
    chance, samples, k = 0.3, 4, 2
    unbiased = biased = 0.0
    for outcome in itertools.product([0, 1], repeat=samples):
        right = sum(outcome)
        weight = chance**right * (1 - chance) ** (samples - right)
        unbiased += weight * pass_at_k_of([right], samples)[0, k - 1]
        biased += weight * (1 - (1 - right / samples) ** k)
    assert unbiased == pytest.approx(1 - (1 - chance) ** k, abs=1e-12)
    assert biased < unbiased - 0.01


def test_pass_at_1_is_the_pass_rate_with_the_same_interval() -> None:
    correct = [0, 1, 2, 3, 4, 0, 0, 2]
    one, rate = pass_at_k(correct, 4)[1], pass_rate(correct, 4)
    assert one.value == rate.value
    assert (one.low, one.high) == pytest.approx((rate.low, rate.high), abs=1e-12)


def test_pass_at_k_rises_with_k_and_pass_at_n_is_the_share_of_solved_problems() -> None:
    found = pass_at_k([0, 1, 2, 4, 0, 3] * 5, 4)
    assert list(found) == [1, 2, 3, 4]
    values = [estimate.value for estimate in found.values()]
    assert values == sorted(values)
    assert found[4].value == pytest.approx(4 / 6)
    assert (found[4].low, found[4].high) == pytest.approx(exact_interval(20, 30))
    assert all(e.low <= e.value <= e.high for e in found.values())


def test_only_the_ks_asked_for_are_given() -> None:
    assert list(pass_at_k([1, 2], 8, [1, 8])) == [1, 8]


@pytest.mark.parametrize("k", [0, 5, -1])
def test_k_beyond_the_samples_is_refused(k: int) -> None:
    with pytest.raises(InputError, match=f"pass@{k} cannot be estimated from 4 samples"):
        pass_at_k([1, 2], 4, [k])


def test_problems_with_different_numbers_of_samples_have_no_pass_at_k() -> None:
    with pytest.raises(InputError, match="they have 3 to 4 samples"):
        pass_at_k([1, 1], [4, 3])


# ---- families ----


def test_each_family_gets_its_own_rate_and_problems_without_one_are_left_out() -> None:
    found = family_rates([1, 0, 1, 1], 1, ["sum", "product", None, "sum"])
    assert list(found) == ["product", "sum"]
    assert (found["sum"].value, found["sum"].problems) == (1.0, 2)
    assert (found["product"].value, found["product"].problems) == (0.0, 1)
    assert found["sum"] == pass_rate([1, 1], 1)


def test_families_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="1 families are given for 2 problems"):
        family_rates([1, 1], 1, ["sum"])


def test_no_family_at_all_gives_no_rates() -> None:
    assert family_rates([1], 1, [None]) == {}
