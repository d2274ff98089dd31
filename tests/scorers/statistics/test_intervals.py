"""Intervals against hand-worked numbers, exact enumeration and their own definition."""

from __future__ import annotations

import itertools
from math import comb, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorers.statistics.intervals import (
    intervals_over_problems,
    levels_of,
    resampled_means,
    wilson_interval,
)
from tests.scorers.statistics.wilson import wilson

Z = 1.959963984540054


def interval(rates: list[float], completions: int, seed: int = 0) -> tuple[float, float]:
    low, high = intervals_over_problems(*levels_of(rates), completions, seed=seed)
    return float(low[0]), float(high[0])


def one_wilson(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """`wilson_interval` for one rate."""
    quantile = NormalDist().inv_cdf(0.5 + level / 2)
    low, high = wilson_interval(np.array([successes / trials]), np.array([float(trials)]), quantile)
    return float(low[0]), float(high[0])


def test_wilson_of_8_in_10_by_hand() -> None:
    # centre (0.8 + z²/20) / (1 + z²/10) = 0.7167, half width z √(0.016 + z²/400) / (1 + z²/10)
    low, high = one_wilson(8, 10)
    assert (low, high) == pytest.approx(wilson(8, 10), abs=1e-12)
    assert (low, high) == pytest.approx((0.49016, 0.94331), abs=1e-5)


def test_wilson_of_none_and_all_is_one_sided_by_hand() -> None:
    # at 0 of n the upper end is z² / (n + z²)
    assert one_wilson(0, 10) == pytest.approx((0.0, Z**2 / (10 + Z**2)), abs=1e-12)
    assert one_wilson(10, 10) == pytest.approx((10 / (10 + Z**2), 1.0), abs=1e-12)
    assert one_wilson(0, 10)[0] == 0.0
    assert one_wilson(10, 10)[1] == 1.0


@given(st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([0.5, 0.8, 0.95, 0.99]))
def test_wilsons_ends_are_where_the_rate_is_z_standard_errors_off(
    trials: int, share: float, level: float
) -> None:
    successes = round(share * trials)
    low, high = one_wilson(successes, trials, level)
    rate = successes / trials
    assert 0 <= low <= rate <= high <= 1
    z = {0.5: 0.6744897501960817, 0.8: 1.2815515655446004, 0.95: Z, 0.99: 2.5758293035489004}
    for end in (low, high):
        if 0 < end < 1:
            assert abs(rate - end) == pytest.approx(
                z[level] * sqrt(end * (1 - end) / trials), rel=1e-6, abs=1e-9
            )


def test_exact_coverage_of_wilson_by_enumeration_of_every_outcome() -> None:
    covered = []
    for rate in np.linspace(0.05, 0.95, 37):
        ends = [one_wilson(successes, 40) for successes in range(41)]
        chance = [comb(40, c) * rate**c * (1 - rate) ** (40 - c) for c in range(41)]
        covered.append(
            sum(p for p, (low, high) in zip(chance, ends, strict=True) if low <= rate <= high)
        )
    assert 0.945 < float(np.mean(covered)) < 0.96
    assert min(covered) > 0.92


def test_resampled_means_have_the_exact_moments_of_drawing_problems_with_replacement() -> None:
    rates = [0.0, 0.25, 0.25, 1.0]
    exact = [np.mean(draw) for draw in itertools.product(rates, repeat=4)]  # all 4⁴ resamples
    means, squares = resampled_means(*levels_of(rates), seed=3, resamples=200_000)
    assert means.mean() == pytest.approx(np.mean(exact), abs=2e-3)
    assert means.std() == pytest.approx(np.std(exact), rel=1e-2)
    assert squares.mean() == pytest.approx(np.mean(np.square(rates)), abs=2e-3)


def test_problems_of_rates_0_and_1_are_trials_of_their_own() -> None:
    low, high = interval([0.0] * 30 + [1.0] * 10, completions=160)
    assert (low, high) == pytest.approx(wilson(10, 40), abs=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_rate_of_0_or_1_never_has_a_zero_width(rate: float) -> None:
    low, high = interval([rate] * 50, completions=800)
    assert high - low == pytest.approx(Z**2 / (50 + Z**2))


def test_equal_rates_tell_no_more_than_independent_completions_would() -> None:
    low, high = interval([0.5] * 40, completions=160)
    student = 2.0226909200367604  # 0.975 quantile at 39 degrees of freedom
    assert (low + high) / 2 == pytest.approx(0.5)
    at_most = student * sqrt(0.25 / 160) / sqrt(1 + student**2 / 160)
    assert (high - low) / 2 == pytest.approx(at_most, rel=0.1)
    assert (high - low) / 2 >= at_most * (1 - 1e-9)


def test_more_samples_narrow_the_interval_but_never_beyond_what_the_problems_differ() -> None:
    generator = np.random.default_rng(0)
    rates = generator.beta(1, 1, size=400)
    widths = []
    for samples in (1, 4, 64):
        observed = generator.binomial(samples, rates) / samples
        low, high = interval(list(observed), completions=400 * samples)
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2] > 2 * Z * sqrt(1 / 12 / 400) * 0.9


def test_one_problem_is_one_trial() -> None:
    low, high = interval([0.5], completions=64)
    assert (low, high) == pytest.approx(wilson(0.5, 1))


def test_two_problems_say_almost_nothing() -> None:
    low, high = interval([0.25, 0.75], completions=8)
    assert high - low > 0.9


def test_the_same_seed_gives_the_same_interval_and_another_hardly_moves_it() -> None:
    rates = [0.0, 0.25, 0.5, 0.75, 1.0] * 20
    assert interval(rates, 400, seed=1) == interval(rates, 400, seed=1)
    assert interval(rates, 400, seed=1) != interval(rates, 400, seed=2)
    assert interval(rates, 400, seed=1) == pytest.approx(interval(rates, 400, seed=2), abs=0.01)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 3))
def test_every_interval_holds_its_mean_and_mirrors_with_it(right: list[int], seed: int) -> None:
    rates = [c / 4 for c in right]
    low, high = interval(rates, 4 * len(rates), seed)
    assert 0 <= low <= np.mean(rates) + 1e-12
    assert np.mean(rates) - 1e-12 <= high <= 1
    assert high - low > 0.02
    mirrored = interval([1 - rate for rate in rates], 4 * len(rates), seed)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=0.03)  # but for the resamples drawn


def test_statistics_side_by_side_get_the_intervals_they_would_get_alone() -> None:
    levels = np.array([[0.0, 0.0], [0.5, 0.75], [1.0, 1.0]])
    counts = np.array([10, 12, 8])
    low, high = intervals_over_problems(levels, counts, 60)
    for column in (0, 1):
        alone = intervals_over_problems(levels[:, [column]], counts, 60)
        assert (low[column], high[column]) == pytest.approx((alone[0][0], alone[1][0]))
