"""Cells of what is estimated of two policies on the same problems: differences, gains, tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from bench.referee.bars import Counted, in_errors
from bench.referee.populations import PairOfPolicies, Population, Rates, gained
from scorers.statistics.paired import paired_difference

LARGEST_GAIN = 0.6  # that is asked for


def difference_cell(
    pair: PairOfPolicies,
    problems: int,
    samples: tuple[int, int],
    rng: np.random.Generator,
    replications: int,
) -> Counted:
    """How often the interval holds the difference, p is below 0.05, and the two disagree."""
    before, after = pair.draw(rng, (replications, problems))
    change = rng.binomial(samples[1], after) / samples[1]
    change -= rng.binomial(samples[0], before) / samples[0]
    held = rejected = disagreed = 0
    errors: list[float] = []
    for row in change:
        found = paired_difference(row)
        held += found.low <= pair.difference <= found.high
        rejected += found.p_value < 0.05
        disagreed += (found.p_value < 0.05) != (found.low > 0 or found.high < 0)
        errors.append(found.value - pair.difference)
    return {
        "held": (held, replications),
        "rejected": (rejected, replications),
        "disagreed": (disagreed, replications),
        "bias": (in_errors(errors), 1),
    }


def pick_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """A rule that knows nothing: how often it seems to gain or lose against pass@1."""
    correct = rng.binomial(samples, population.draw(rng, (replications, problems)))
    picked = rng.random(correct.shape) < correct / samples
    rejected = sum(
        paired_difference(right - of_all / samples).p_value < 0.05
        for right, of_all in zip(picked, correct, strict=True)
    )
    return {"rejected": (float(rejected), replications)}


def best(samples: int) -> Callable[[Rates], Rates]:
    """How often the best of N is right, at each rate."""
    return lambda rates: 1 - (1 - rates) ** samples


def most(samples: int) -> Callable[[Rates], Rates]:
    """How often more than half of N are right, at each rate."""
    return lambda rates: np.asarray(binom.sf(samples // 2, samples, rates))


def gain_cell(
    least: str, population: Population, problems: int, samples: int,
    rng: np.random.Generator, replications: int,
) -> Counted:  # fmt: skip
    """The gain over pass@1 of the oracle (`least` is `one`) or of a vote (more than `half`)."""
    needed = 1 if least == "one" else samples // 2 + 1
    right = best(samples) if least == "one" else most(samples)
    truth = float(population.mean(lambda rates: right(rates) - rates))
    correct = rng.binomial(samples, population.draw(rng, (replications, problems)))
    held, errors = 0, []
    for row in (correct >= needed) - correct / samples:
        found = paired_difference(row)
        held += found.low <= truth <= found.high
        errors.append(found.value - truth)
    return {"held": (held, replications), "bias": (in_errors(errors), 1)}


def detectable_cell(
    problems: int, samples: int, rng: np.random.Generator, replications: int,
    *, made: Callable[[float], PairOfPolicies] = gained, after_nothing: bool = False,
) -> Counted:  # fmt: skip
    """How often a difference is found that is as large as such runs call detectable.

    `made` gives two policies that differ by so much. With `after_nothing`, as runs call it between
    which nothing changed.
    """

    def changes(size: float, runs: int) -> NDArray[np.float64]:
        before, after = made(size).draw(rng, (runs, problems))
        gain: NDArray[np.float64] = rng.binomial(samples, after) / samples
        return gain - rng.binomial(samples, before) / samples

    size = 0.0 if after_nothing else 0.1
    for _ in range(1 if after_nothing else 12):
        told = float(np.mean([paired_difference(row).detectable for row in changes(size, 200)]))
        # half the way, because a larger change can make what is told smaller
        size = min(LARGEST_GAIN, told if after_nothing else (size + told) / 2)
    found = sum(paired_difference(row).p_value < 0.05 for row in changes(size, replications))
    return {"found": (float(found), replications)}
