"""How long a server that is away is waited for: each outage anew, whatever came before it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from artifacts.unsent import answers
from artifacts.unsent.answers import PATIENCE, UnreachableError, asked


class Clock:
    """Time that goes on while something is done, or waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(answers, "time", made)
    return made


def failing(clock: Clock, error: Exception, *lasting: float) -> Callable[[bool], str]:
    """A call whose first tries last so many seconds and fail; then it is answered."""
    coming = list(lasting)

    def call(again: bool) -> str:
        if not coming:
            return "answered"
        clock.sleep(coming.pop(0))
        raise error

    return call


def test_many_short_outages_do_not_add_up(clock: Clock) -> None:
    for _ in range(100):
        assert asked(failing(clock, ConnectionError("reset"), 0.1, 0.1, 0.1)) == "answered"
    assert clock.now > PATIENCE


def test_what_was_cut_off_after_it_had_worked_for_long_is_tried_again(clock: Clock) -> None:
    call = failing(clock, ConnectionError("reset"), 2 * PATIENCE, 0.0, 2 * PATIENCE)
    assert asked(call) == "answered"


def test_a_server_that_is_frozen_is_waited_for_no_longer_than_that(clock: Clock) -> None:
    call = failing(clock, TimeoutError("nothing came"), *[10.0] * 10)
    with pytest.raises(UnreachableError, match="TimeoutError"):
        asked(call)
    assert clock.now < PATIENCE + 10


def test_one_that_refuses_every_connection_is_given_up_after_some_tries(clock: Clock) -> None:
    call = failing(clock, ConnectionError("refused"), *[0.0] * 10)
    with pytest.raises(UnreachableError, match="ConnectionError"):
        asked(call)
    assert clock.now == pytest.approx(sum(answers.PAUSES))
