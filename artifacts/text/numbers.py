"""Rates, differences and intervals as words."""

from __future__ import annotations

from typing import Protocol


class WithInterval(Protocol):
    """A number with both ends of its 95 % interval."""

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


def percent(value: float) -> str:
    """A rate as a whole percentage, or with one digit below ten."""
    return f"{100 * value:.0f} %" if value >= 0.0995 or value == 0 else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of rates in percentage points, signed, with one digit."""
    return f"{100 * value:+.1f}"


def nats(value: float) -> str:
    """A divergence with two digits, and never a negative zero."""
    return f"{round(value, 2) + 0.0:.2f}"  # adding 0 turns -0.0 into 0.0


def interval(low: float, high: float) -> str:
    """The ends of a 95 % interval."""
    return f"{percent(low)} to {percent(high)}"


def rate_interval(rate: WithInterval) -> str:
    """The ends of a rate's interval."""
    return interval(rate.low, rate.high)


def rate_with_interval(rate: WithInterval) -> str:
    """A rate, with its interval in brackets."""
    return f"{percent(rate.value)} ({rate_interval(rate)})"


def points_interval(change: WithInterval) -> str:
    """The ends of a difference's interval, in points."""
    return f"{points(change.low)} to {points(change.high)}"


def nats_interval(divergence: WithInterval) -> str:
    """The ends of a divergence's interval, in nats."""
    return f"{nats(divergence.low)} to {nats(divergence.high)}"
