"""How often the intervals hold what they promise: simulated measurements with a known pass rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scorers.statistics.estimates import pass_rate
from scorers.statistics.intervals import levels_of, resampled_means

Rates = NDArray[np.float64]
Interval = Callable[[NDArray[np.int64], int], tuple[float, float]]


@dataclass(frozen=True)
class Scenario:
    """B problems with N samples each; `rate` is the mean over the population of problems.

    `concentration` is a + b of the Beta distribution of the problems' own pass rates: infinite
    for problems that are all equally hard, 1 for widely different ones, 0.2 for problems that are
    nearly always or nearly never solved.
    """

    problems: int
    samples: int
    rate: float
    concentration: float


@dataclass(frozen=True)
class Coverage:
    """The share of replications whose interval held the true rate, and the mean width."""

    scenario: Scenario
    replications: int
    covered: float
    width: float


def simulate_coverage(
    scenario: Scenario,
    *,
    replications: int,
    seed: int,
    interval: Interval | None = None,
) -> Coverage:
    """Draw problems and completions `replications` times and count the intervals that hold.

    `interval` takes the correct completions [B] and N; by default it is that of `pass_rate`.
    """
    method = interval or _of_pass_rate
    generator = np.random.default_rng(seed)
    ends = np.array(
        [method(_drawn(scenario, generator), scenario.samples) for _ in range(replications)]
    )
    held = (ends[:, 0] <= scenario.rate) & (scenario.rate <= ends[:, 1])
    return Coverage(
        scenario, replications, float(held.mean()), float((ends[:, 1] - ends[:, 0]).mean())
    )


def percentile_interval(correct: NDArray[np.int64], samples: int) -> tuple[float, float]:
    """The plain percentile bootstrap over problems, for comparison; see `Interval`."""
    levels, counts = levels_of(correct / samples)
    means, _ = resampled_means(levels, counts, seed=0, resamples=1000)
    low, high = np.quantile(means[:, 0], [0.025, 0.975])
    return float(low), float(high)


def _of_pass_rate(correct: NDArray[np.int64], samples: int) -> tuple[float, float]:
    estimate = pass_rate(correct, samples, resamples=1000)
    return estimate.low, estimate.high


def _drawn(scenario: Scenario, generator: np.random.Generator) -> NDArray[np.int64]:
    """The correct completions of one simulated measurement, [B]."""
    if np.isinf(scenario.concentration):
        rates: Rates = np.full(scenario.problems, scenario.rate)
    else:
        rates = generator.beta(
            scenario.rate * scenario.concentration,
            (1 - scenario.rate) * scenario.concentration,
            size=scenario.problems,
        )
    return generator.binomial(scenario.samples, rates)
