"""The clock of a learning run: seconds of its steps, without what happens between them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flows.learning_run import StepClock


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock of this process shows; the last is now."""
    shown = [100.0]
    monkeypatch.setattr("flows.learning_run.time", SimpleNamespace(monotonic=lambda: shown[-1]))
    return shown


@pytest.fixture
def clock(seconds: list[float]) -> StepClock:
    """A clock that starts now."""
    return StepClock(seconds[-1], seconds[-1])


def test_without_a_step_there_is_no_mean() -> None:
    assert StepClock().seconds_per_step is None


def test_a_step_ends_where_the_next_begins(clock: StepClock, seconds: list[float]) -> None:
    seconds.append(103.0)
    assert clock.end_step() == 3.0
    seconds.append(104.0)
    assert clock.end_step() == 1.0
    assert clock.seconds_per_step == 2.0


def test_what_happens_between_steps_counts_for_the_run_alone(
    clock: StepClock, seconds: list[float]
) -> None:
    seconds.append(110.0)
    clock.start_step()
    seconds.append(112.0)
    assert clock.end_step() == 2.0
    seconds.append(130.0)
    clock.start_step()
    seconds.append(134.0)
    assert clock.end_step() == 4.0
    assert (clock.seconds_per_step, clock.wall_seconds) == (3.0, 34.0)
