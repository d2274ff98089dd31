"""The promise of a 95 % interval, kept in simulation where plain percentiles break it."""

from __future__ import annotations

from math import inf

import pytest

from bench.interval_coverage import Scenario, percentile_interval, simulate_coverage

pytestmark = pytest.mark.slow

REPLICATIONS = 400  # three standard errors of a covered share of 0.95 are 0.033


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(problems=50, samples=1, rate=0.3, concentration=inf),
        Scenario(problems=50, samples=4, rate=0.03, concentration=1.0),
        Scenario(problems=50, samples=4, rate=0.9, concentration=0.2),
        Scenario(problems=50, samples=16, rate=0.5, concentration=1.0),
        Scenario(problems=128, samples=4, rate=0.3, concentration=1.0),
        Scenario(problems=128, samples=16, rate=0.1, concentration=0.2),
        Scenario(problems=500, samples=8, rate=0.5, concentration=inf),
    ],
)
def test_the_interval_holds_the_true_rate_about_95_times_in_100(scenario: Scenario) -> None:
    found = simulate_coverage(scenario, replications=REPLICATIONS, seed=11)
    assert 0.915 <= found.covered <= 0.99, found


@pytest.mark.parametrize("rate", [0.03, 0.3, 0.9])
@pytest.mark.parametrize("concentration", [inf, 1.0, 0.2])
def test_with_few_problems_it_errs_on_the_safe_side(rate: float, concentration: float) -> None:
    scenario = Scenario(problems=12, samples=4, rate=rate, concentration=concentration)
    assert simulate_coverage(scenario, replications=REPLICATIONS, seed=5).covered >= 0.92


def test_percentiles_of_the_resamples_alone_would_break_the_promise() -> None:
    scenario = Scenario(problems=20, samples=4, rate=0.03, concentration=1.0)
    ours = simulate_coverage(scenario, replications=REPLICATIONS, seed=5)
    plain = simulate_coverage(
        scenario, replications=REPLICATIONS, seed=5, interval=percentile_interval
    )
    assert plain.covered < 0.8 < 0.92 < ours.covered
    assert ours.width > plain.width


def test_a_simulation_is_repeatable() -> None:
    scenario = Scenario(problems=20, samples=4, rate=0.3, concentration=1.0)
    first = simulate_coverage(scenario, replications=20, seed=1)
    assert simulate_coverage(scenario, replications=20, seed=1) == first
