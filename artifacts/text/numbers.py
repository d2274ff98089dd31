"""Rates, differences and intervals as words."""

from __future__ import annotations

from math import isnan
from typing import Protocol


class WithEnds(Protocol):
    """Both ends of an interval."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


class WithInterval(WithEnds, Protocol):
    """A number with both ends of its interval."""

    @property
    def value(self) -> float: ...


def percent(value: float) -> str:
    """A rate as a whole percentage, with one digit below 10 % and from 99.5 % on.

    So only a rate of exactly 0 or 1 is printed as 0 % or 100 %; one closer to them than a digit
    can say is `<0.1 %` or `>99.9 %`. What is no rate is shown as it is.
    """
    if isnan(value):
        return "unknown"
    if value in (0, 1):
        return f"{100 * abs(value):.0f} %"  # 0 may be negative
    if not 0 <= value <= 1:
        return f"{100 * value:.1f} %"
    if value < 0.0005:
        return "<0.1 %"
    if value >= 0.9995:
        return ">99.9 %"
    return f"{100 * value:.{0 if 0.0995 <= value < 0.995 else 1}f} %"


def whole_percent(value: float) -> str:
    """A rate in whole percent without the sign; `<1` and `>99` for what is not quite 0 or 1.

    For narrow columns whose title says that they are percentages.
    """
    if value in (0, 1):
        return f"{100 * abs(value):.0f}"
    if 0 < value <= 0.005:
        return "<1"
    return ">99" if 0.995 <= value < 1 else f"{100 * value:.0f}"


def short_rate(rate: float, ends: tuple[float, float]) -> str:
    """A rate in whole percent with the ends of its interval, as in `24 [20, 28]`."""
    return f"{whole_percent(rate)} [{', '.join(map(whole_percent, ends))}]"


def level_in_words(level: float) -> str:
    """The level of an interval as a percentage, with as many digits as tell it from 100 %."""
    digits = 1
    while round(100 * level, digits) >= 100 and digits < 9:
        digits += 1
    return f"{100 * level:.{digits}f} %"


def points(value: float) -> str:
    """A difference of rates in percentage points, signed, with one digit; never a negative zero."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


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


def points_interval(change: WithEnds) -> str:
    """The ends of a difference's interval, in points."""
    return f"{points(change.low)} to {points(change.high)}"


def nats_interval(divergence: WithInterval) -> str:
    """The ends of a divergence's interval, in nats."""
    return f"{nats(divergence.low)} to {nats(divergence.high)}"


def counted(number: int, what: str) -> str:
    """A number with its noun, of which more than one end in s."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
