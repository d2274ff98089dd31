"""Clopper and Pearson's interval, found by bisection on the chances themselves."""

from __future__ import annotations

from collections.abc import Callable
from math import comb


def exact_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """The rates at which a result at least as far off has a chance of (1 − level)/2."""
    tail = (1 - level) / 2

    def chance(counts: range, rate: float) -> float:
        return sum(comb(trials, c) * rate**c * (1 - rate) ** (trials - c) for c in counts)

    above, below = range(successes, trials + 1), range(successes + 1)
    low = 0.0 if successes == 0 else _where(lambda rate: chance(above, rate) > tail)
    high = 1.0 if successes == trials else _where(lambda rate: chance(below, rate) < tail)
    return low, high


def _where(holds: Callable[[float], bool]) -> float:
    """The rate from which on it holds."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
