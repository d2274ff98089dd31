"""Rates, differences and intervals as words."""

from __future__ import annotations


def percent(value: float) -> str:
    """A rate as a whole percentage, or with one digit below ten."""
    return f"{100 * value:.0f} %" if value >= 0.0995 or value == 0 else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of rates in percentage points, signed, with one digit."""
    return f"{100 * value:+.1f}"


def interval(low: float, high: float) -> str:
    """The ends of a 95 % interval."""
    return f"{percent(low)} to {percent(high)}"
