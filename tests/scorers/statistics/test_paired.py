"""Two runs on the same problems: flips, intervals that cover, and what could have been seen."""

from __future__ import annotations

from collections.abc import Mapping
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from scorers.statistics.looks import level_of_look
from scorers.statistics.paired import FEWEST, compare_paired, paired_difference


def run(correct: list[int], samples: int = 1) -> Mapping[str, tuple[int, int]]:
    return {f"p{place}": (right, samples) for place, right in enumerate(correct)}


def test_single_samples_are_compared_by_their_flips() -> None:
    before = run([1] * 40 + [0] * 60)
    after = run([1] * 35 + [0] * 5 + [1] * 20 + [0] * 40)
    found = compare_paired(before, after)
    assert (found.before, found.after) == (0.4, 0.55)
    assert found.difference.value == pytest.approx(0.15)
    assert (found.difference.better, found.difference.worse) == (20, 5)
    fair_coin = 2 * sum(comb(25, k) for k in range(6)) / 2**25  # McNemar's exact test
    assert found.difference.p_value == pytest.approx(fair_coin, rel=0.5)
    # Wald's paired interval, near enough here: 0.15 ± 1.984 √((0.25 − 0.15²)/99)
    assert found.difference.low == pytest.approx(0.15 - 0.0951, abs=0.006)
    assert found.difference.high == pytest.approx(0.15 + 0.0951, abs=0.006)


def test_pairing_sees_what_two_separate_intervals_do_not() -> None:
    before = run([16] * 50 + [0] * 50, 16)
    after = run([16] * 50 + [2] * 50, 16)
    found = compare_paired(before, after)
    # 102 problems, with one that rose by 1 and one that fell by 1; t(99) = 1.98422
    centre = 50 * 0.125 / 102
    half = 1.98422 * sqrt(((50 * 0.125**2 + 2) / 102 - centre**2) / 102)
    ends = (found.difference.low, found.difference.high)
    assert ends == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert found.difference.p_value == pytest.approx(1.07e-4, rel=0.01)


def test_two_equal_runs_differ_by_nothing_but_not_with_certainty() -> None:
    found = compare_paired(run([1, 0] * 50), run([1, 0] * 50))
    assert (found.difference.value, found.difference.p_value) == (0.0, 1.0)
    assert found.difference.low < -0.01
    assert found.difference.high > 0.01
    assert found.difference.detectable > 0.01


def test_problems_are_matched_by_id_and_not_by_row() -> None:
    before = {"a": (1, 1), "b": (0, 1)}
    found = compare_paired(before, {"b": (0, 1), "a": (1, 1)})
    assert (found.difference.better, found.difference.worse) == (0, 0)


def test_different_problems_are_refused_with_their_counts() -> None:
    with pytest.raises(InputError, match="1 are in both, 2 only in the first, 1 only in the sec"):
        compare_paired({"a": (1, 1), "b": (0, 1), "c": (0, 1)}, {"a": (1, 1), "d": (0, 1)})


def test_no_problems_and_impossible_counts_are_refused() -> None:
    with pytest.raises(InputError, match="no problems"):
        compare_paired({}, {})
    with pytest.raises(InputError, match="no problems"):
        paired_difference([])
    with pytest.raises(InputError, match="more correct completions"):
        compare_paired({"a": (2, 1)}, {"a": (1, 1)})


def test_runs_with_different_numbers_of_samples_can_be_compared() -> None:
    found = compare_paired(run([1, 2, 0] * 10, 2), run([3, 3, 1] * 10, 3))
    assert found.difference.value == pytest.approx((0.5 + 0 + 1 / 3) / 3)
    assert (found.difference.better, found.difference.worse) == (20, 0)
    assert found.difference.p_value == pytest.approx(1.037e-4, rel=0.01)


def test_families_are_compared_one_by_one() -> None:
    families = {f"p{place}": ["sum", "product", None][place % 3] for place in range(90)}
    after = [1 if place % 3 == 0 else 0 for place in range(90)]
    found = compare_paired(run([0] * 90), run(after), families=families)
    assert list(found.families) == ["product", "sum"]
    assert found.families["sum"].value == 1.0
    assert (found.families["product"].value, found.families["product"].problems) == (0.0, 30)


def test_the_interval_swaps_and_mirrors_with_the_runs() -> None:
    before, after = run([0, 1, 2, 3, 4] * 8, 4), run([1, 1, 4, 2, 4] * 8, 4)
    there = compare_paired(before, after).difference
    back = compare_paired(after, before).difference
    assert (there.value, there.better, there.worse) == (-back.value, back.worse, back.better)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.01)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=30))
def test_every_interval_holds_its_difference_and_has_a_width(steps: list[int]) -> None:
    found = paired_difference(np.array(steps) / 4)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.01
    assert 0 < found.detectable <= 1
    assert 0 <= found.p_value <= 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-4, 4), min_size=2, max_size=40), st.sampled_from([0.5, 0.8, 0.95, 0.99])
)
def test_the_test_and_the_interval_never_disagree(steps: list[int], level: float) -> None:
    found = paired_difference(np.array(steps) / 4, level=level)
    excluded = found.low > 0 or found.high < 0
    assert excluded == (found.p_value < 1 - level)


def found_different(
    problems: int, samples: tuple[int, int], rates: np.ndarray, seed: int, replications: int = 400
) -> float:
    """How often two policies are called different that have these rates [2, kinds of problems].

    Each problem is of a kind drawn with equal chances.
    """
    generator = np.random.default_rng(seed)
    called = 0
    for _ in range(replications):
        before, after = rates[:, generator.integers(rates.shape[1], size=problems)]
        right = generator.binomial(samples[0], before), generator.binomial(samples[1], after)
        change = right[1] / samples[1] - right[0] / samples[0]
        called += paired_difference(change).p_value < 0.05
    return called / replications


@pytest.mark.parametrize(
    ("problems", "samples"), [(20, (1, 64)), (60, (1, 16)), (240, (4, 64)), (240, (64, 1))]
)
def test_equal_policies_with_unequal_samples_differ_no_more_often_than_promised(
    problems: int, samples: tuple[int, int]
) -> None:
    same = np.full((2, 1), 0.02)  # flipped signs called 68 % of the first different
    assert found_different(problems, samples, same, seed=3) <= 0.08


@pytest.mark.parametrize("problems", [20, 240])
@pytest.mark.parametrize("samples", [(64, 64), (4, 16)])
def test_policies_that_differ_but_not_on_average_are_not_called_different(
    problems: int, samples: tuple[int, int]
) -> None:
    apart = np.array([[0.4, 0.6], [0.6, 0.4]])  # permuted completions reject in up to 43 %
    assert found_different(problems, samples, apart, seed=4) <= 0.08


@pytest.mark.parametrize(
    ("problems", "share", "base"), [(240, 0.01, 0.1), (240, 0.01, 0.0), (1000, 0.0025, 0.1)]
)
@pytest.mark.parametrize("the_other_way_round", [False, True])
def test_a_rare_kind_of_problems_does_not_break_the_level(
    problems: int, share: float, base: float, the_other_way_round: bool
) -> None:
    # a few problems rise by 0.9, all others fall by as much in sum; where none of the few is drawn,
    # the others look like a sure difference, and 4 to 14 % were called different
    fall = 0.9 * share / (1 - share)
    before = max(base, fall)
    generator = np.random.default_rng(6)
    runs, called, at_a_look = 600, 0, 0
    for _ in range(runs):
        after = np.where(generator.random(problems) < share, before + 0.9, before - fall)
        right = generator.binomial(64, before, size=problems), generator.binomial(64, after)
        change = (right[1] - right[0]) / 64 * (-1 if the_other_way_round else 1)
        called += paired_difference(change).p_value < 0.05
        at_a_look += paired_difference(change, level=level_of_look(1)).low > 0
    assert called / runs <= 0.055
    assert at_a_look / runs <= 0.03  # nominal 0.015


@pytest.mark.parametrize("problems", range(1, 12))
def test_six_problems_are_the_fewest_that_can_show_a_difference(problems: int) -> None:
    most = paired_difference(np.ones(problems))
    assert (most.low > 0) == (problems >= FEWEST)
    some = paired_difference([1.0] * (problems - 1) + [0.5])
    assert some.low <= most.low, "nothing shows more than every problem that rose from 0 to 1"
    # nor can any test at 5 %, where each rises or falls with the same chance
    assert (2 * 0.5**problems < 0.05) == (problems >= FEWEST)


def test_what_is_called_detectable_after_no_change_is_found_three_times_in_four() -> None:
    # 9.3 points were told at 60 x 4, and found in 69 %
    told = [paired_difference(simulated(60, 4, 0.0, seed)).detectable for seed in range(200)]
    size = float(np.mean(told))
    runs = [simulated(60, 4, 2 * size, seed) for seed in range(400)]
    assert 0.75 < np.mean([paired_difference(run).low > 0 for run in runs]) < 0.9


@pytest.mark.parametrize("change", [[0.1, float("nan")], [0.5, 1.1], [-2.0, 0.0], [float("inf")]])
def test_a_change_that_no_two_rates_can_have_is_refused(change: list[float]) -> None:
    with pytest.raises(InputError, match="difference of rates is not between -1 and 1"):
        paired_difference(change)


def simulated(problems: int, samples: int, shift: float, seed: int) -> np.ndarray:
    """Differences of two runs whose problems are alike; the true difference is shift / 2."""
    generator = np.random.default_rng(seed)
    rates = generator.beta(1, 1, size=problems)
    better = rates + shift * (1 - rates)
    change = generator.binomial(samples, better) - generator.binomial(samples, rates)
    return np.asarray(change / samples)


@pytest.mark.parametrize(("problems", "samples"), [(20, 1), (50, 1), (50, 8), (200, 4)])
def test_the_interval_holds_the_true_difference_about_95_times_in_100(
    problems: int, samples: int
) -> None:
    held = 0
    for seed in range(400):
        found = paired_difference(simulated(problems, samples, 0.1, seed))
        held += found.low <= 0.05 <= found.high
    # it is wider than for these problems alone, for a few of another kind might not be drawn
    assert 0.915 <= held / 400 <= 0.995


@pytest.mark.parametrize(("problems", "samples"), [(20, 4), (60, 1), (240, 4)])
def test_a_difference_of_the_detectable_size_is_found_four_times_in_five(
    problems: int, samples: int
) -> None:
    size = 0.1
    for _ in range(6):  # the size that such runs call detectable, on average
        told = [
            paired_difference(simulated(problems, samples, 2 * size, seed)).detectable
            for seed in range(100)
        ]
        size = float(np.mean(told))
    runs = [simulated(problems, samples, 2 * size, seed) for seed in range(400)]
    found = np.mean([paired_difference(run).low > 0 for run in runs])
    assert 0.73 < found < 0.9


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("problems", [5, 20, 60, 240])
def test_the_interval_holds_a_gain_that_a_few_problems_make(problems: int, share: float) -> None:
    # every problem was never solved, and a share of them is always solved now: enumerated
    held = 0.0
    for solved in range(problems + 1):
        found = paired_difference([1.0] * solved + [0.0] * (problems - solved))
        chance = comb(problems, solved) * share**solved * (1 - share) ** (problems - solved)
        held += chance * (found.low <= share <= found.high)
    assert held >= 0.93
