"""Numbers as words: short, with their unit, and never a negative zero."""

from __future__ import annotations

import pytest

from artifacts.text.numbers import (
    interval,
    level_in_words,
    nats,
    nats_interval,
    percent,
    points,
    points_interval,
    rate_interval,
    rate_with_interval,
    short_rate,
    whole_percent,
)
from schemas.measurements import Gain


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (0, "0 %"),
        (0.004, "0.4 %"),
        (0.0994, "9.9 %"),
        (0.0996, "10 %"),
        (0.5, "50 %"),
        (0.9949, "99 %"),
        (957 / 960, "99.7 %"),
        (1, "100 %"),
        (1e-9, "<0.1 %"),
        (1 - 1e-9, ">99.9 %"),
        (-0.0, "0 %"),
        (1.01, "101.0 %"),
        (-0.2, "-20.0 %"),
        (float("nan"), "unknown"),
    ],
)
def test_only_exact_rates_are_printed_as_0_or_100_percent(rate: float, words: str) -> None:
    assert percent(rate) == words


@pytest.mark.parametrize(
    ("level", "words"),
    [(0.95, "95.0 %"), (0.9696, "97.0 %"), (0.99962, "99.96 %"), (0.999924, "99.99 %")],
)
def test_the_level_of_an_interval_is_never_printed_as_100_percent(level: float, words: str) -> None:
    assert level_in_words(level) == words


@pytest.mark.parametrize(("change", "words"), [(0.125, "+12.5"), (-0.02, "-2.0"), (0, "+0.0")])
def test_a_difference_has_its_sign(change: float, words: str) -> None:
    assert points(change) == words


@pytest.mark.parametrize(("value", "words"), [(-0.001, "0.00"), (-0.01, "-0.01"), (1.256, "1.26")])
def test_a_divergence_is_never_a_negative_zero(value: float, words: str) -> None:
    assert nats(value) == words


def test_intervals_are_told_by_both_ends() -> None:
    change = Gain(value=0.125, low=-0.001, high=0.25)
    assert interval(0.1, 0.9) == "10 % to 90 %"
    assert rate_interval(Gain(value=0.5, low=0.1, high=0.9)) == "10 % to 90 %"
    assert rate_with_interval(Gain(value=0.5, low=0.1, high=0.9)) == "50 % (10 % to 90 %)"
    assert points_interval(change) == "-0.1 to +25.0"
    assert nats_interval(change) == "0.00 to 0.25"


def test_a_difference_that_rounds_to_0_has_no_minus() -> None:
    assert [points(value) for value in (-0.0001, -0.0, 0.0001)] == ["+0.0"] * 3


@pytest.mark.parametrize(
    ("rate", "words"),
    [(0, "0"), (-0.0, "0"), (1e-9, "<1"), (0.0051, "1"), (0.016, "2"), (0.24, "24"), (0.9949, "99"),
     (957 / 960, ">99"), (1 - 1e-9, ">99"), (1, "100")],
)  # fmt: skip
def test_nor_are_they_in_a_narrow_column(rate: float, words: str) -> None:
    assert whole_percent(rate) == words


def test_a_rate_in_a_narrow_column_has_its_interval() -> None:
    assert short_rate(957 / 960, (0.9905, 0.9995)) == ">99 [99, >99]"
