"""Exact tests against listed sign patterns and tables worked by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from scorers.statistics import significance
from scorers.statistics.significance import sign_flip_test


def listed(steps: list[int]) -> float:
    """The p-value by listing every sign pattern, in whole numbers."""
    observed = abs(sum(steps))
    sums = [
        abs(sum(sign * step for sign, step in zip(signs, steps, strict=True)))
        for signs in itertools.product([-1, 1], repeat=len(steps))
    ]
    return sum(total >= observed for total in sums) / len(sums)


def mcnemar(better: int, worse: int) -> float:
    """Two-sided p-value of McNemar's exact test: were the flips a fair coin?"""
    flips = better + worse
    tail = sum(math.comb(flips, k) for k in range(min(better, worse) + 1))
    return min(1.0, float(2 * tail / 2**flips))


@pytest.mark.parametrize(
    ("better", "worse", "p_value"),
    # 5 to 1 of 6 flips: 2 · (C(6,0) + C(6,1)) / 64
    [(5, 1, 14 / 64), (1, 5, 14 / 64), (10, 0, 2 / 1024), (3, 3, 1.0)],
)
def test_flips_of_single_verdicts_by_hand(better: int, worse: int, p_value: float) -> None:
    found, exact = sign_flip_test([1.0] * better + [-1.0] * worse + [0.0] * 4, 1)
    assert exact
    assert found == pytest.approx(p_value)
    assert found == pytest.approx(mcnemar(better, worse))


def test_no_flips_are_no_evidence() -> None:
    assert sign_flip_test([0.0, 0.0], 4) == (1.0, True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_built_distribution_is_that_of_all_patterns_listed(steps: list[int]) -> None:
    p_value, exact = sign_flip_test(np.array(steps) / 4, 4)
    assert exact
    assert p_value == pytest.approx(listed(steps), abs=1e-12)


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=200))
def test_with_one_sample_a_problem_it_is_mcnemars_test(flips: list[int]) -> None:
    p_value, _ = sign_flip_test(flips, 1)
    assert p_value == pytest.approx(mcnemar(flips.count(1), flips.count(-1)), abs=1e-12)


def test_equal_sums_count_as_equal_though_their_floats_differ() -> None:
    # 0.1 + 0.2 ≠ 0.3 in floats: a pattern that ties with the observed one must still be counted
    steps = [1, 2, -3, 4]
    assert sign_flip_test(np.array(steps) / 10, 10)[0] == pytest.approx(listed(steps))


def test_sampled_patterns_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    change = generator.integers(-3, 5, size=60) / 4
    exact, was_exact = sign_flip_test(change, 4)
    monkeypatch.setattr(significance, "EXACT_WORK", 0)
    sampled, is_exact = sign_flip_test(change, 4, seed=1)
    assert (was_exact, is_exact) == (True, False)
    assert sampled == pytest.approx(exact, abs=4 * (exact / significance.FLIPS) ** 0.5 + 1e-5)
    assert sign_flip_test(change, 4, seed=1)[0] == sampled


def test_a_sampled_p_value_is_never_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "EXACT_WORK", 0)
    assert sign_flip_test([0.5] * 200, 2)[0] == 1 / (1 + significance.FLIPS)


def test_thousands_of_problems_are_tested_exactly_in_a_moment() -> None:
    change = np.tile([0.25, -0.25, 0.5, 0.0], 500)
    p_value, exact = sign_flip_test(change, 16)
    assert exact
    assert 0 < p_value < 1e-9


def test_a_true_null_is_rejected_at_most_as_often_as_said() -> None:
    generator = np.random.default_rng(4)
    p_values = []
    for _ in range(600):
        rates = generator.beta(1, 1, size=30)
        change = (generator.binomial(4, rates) - generator.binomial(4, rates)) / 4
        p_values.append(sign_flip_test(change, 4)[0])
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.075


def test_nothing_to_compare_and_impossible_differences_are_refused() -> None:
    with pytest.raises(InputError, match="no problems"):
        sign_flip_test([], 1)
    with pytest.raises(InputError, match="between -1 and 1"):
        sign_flip_test([1.5], 2)
