"""The clock of a learning run: seconds of its steps, without what happens between them."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.learning_run import LearningRun, StepClock
from schemas.config import LearningConfig
from schemas.references import PolicyRef, TableRef
from tasks.runtime.progress import Progress, ProgressHub


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


def run_with(clock: StepClock, dev_steps: Collection[int] = (), **config: Any) -> LearningRun:
    """A run of 50 steps of 4 problems x 2, that measures 6 problems x 4 before and after."""
    settings = LearningConfig(
        steps=50, problems_per_step=4, samples=2, evaluation_samples=4, **config
    )
    none: Any = None
    return LearningRun(
        runtime=none,
        config=settings,
        tracked=none,
        start=PolicyRef(name="start", digest="d"),
        start_folder=Path(),
        problems=TableRef(kind="problems", digest="p", rows=100),
        dev_steps=frozenset(dev_steps),
        clock=clock,
        measured_problems=6,
    )


def steps_of(clock: StepClock, seconds: list[float], *lengths: float) -> None:
    for length in lengths:
        seconds.append(seconds[-1] + length)
        clock.end_step()


def dev_of(clock: StepClock, seconds: list[float], length: float) -> None:
    seconds.append(seconds[-1] + length)
    clock.end_dev()


def test_the_time_that_is_left_is_of_the_median_step_with_dev_where_it_is_due(
    clock: StepClock, seconds: list[float]
) -> None:
    run = run_with(clock, {0, 10, 20, 30, 40, 50})
    dev_of(clock, seconds, 30.0)
    steps_of(clock, seconds, 400.0, *[3.0] * 4, 90.0, *[3.0] * 3)
    assert run.seconds_left(9) == 41 * 3.0 + 5 * 30.0, "no step that was slow once counts"
    steps_of(clock, seconds, 3.0)
    assert run.seconds_left(10) == 40 * 3.0 + 5 * 30.0, "dev is yet to be measured here"
    dev_of(clock, seconds, 32.0)
    assert clock.seconds_per_step == pytest.approx((400 + 90 + 24) / 10), "dev is no part of it"
    steps_of(clock, seconds, *[5.0] * 10)
    assert run.seconds_left(49) == 5.0 + 31.0, "the last ten steps and measurements"


def sampled(clock: StepClock, seconds: list[float], length: float, found: int = 0) -> None:
    """The first evaluation, of 24 completions, of which some are found."""
    hub = ProgressHub()
    with clock.evaluating(hub):
        if found < 24:
            hub.report(Progress("holdout", found, 24, "completions"))
        seconds.append(seconds[-1] + length)


@pytest.mark.parametrize(
    ("minutes", "steps"),
    # the evaluation takes 20 s and keeps 30 s free after the steps, each of which takes 10 s
    [(0.1, 1), (1.0, 1), (1.16, 1), (1.17, 2), (1.34, 3), (1.49, 3), (1.51, 4)],
)
def test_no_step_is_taken_that_would_end_the_run_after_its_limit(
    clock: StepClock, seconds: list[float], minutes: float, steps: int
) -> None:
    run = run_with(clock, max_minutes=minutes)
    sampled(clock, seconds, 20.0)
    clock.start_step()
    for step in range(1, 50):
        steps_of(clock, seconds, 10.0)
        if run.out_of_time(step):
            break
    assert step == steps
    assert step == 1 or clock.wall_seconds + 30.0 <= 60 * minutes


def test_a_measurement_on_dev_must_fit_too_where_it_is_due(
    clock: StepClock, seconds: list[float]
) -> None:
    run = run_with(clock, {0, 10}, max_minutes=1.0)
    sampled(clock, seconds, 10.0)
    clock.start_step()
    dev_of(clock, seconds, 10.0)
    steps_of(clock, seconds, 10.0)
    # 30 of 60 s are over and 15 s are kept free: 15 s are left
    assert not run.out_of_time(1)
    assert run.out_of_time(9), "the step takes 10 s and dev 10 s"
    assert run.seconds_left(1) == 15.0


def test_an_evaluation_that_was_found_is_taken_to_be_as_long_as_steps_for_its_completions(
    clock: StepClock, seconds: list[float]
) -> None:
    run = run_with(clock, max_minutes=1.0)
    sampled(clock, seconds, 0.5, found=24)
    assert clock.evaluation is None
    clock.start_step()
    steps_of(clock, seconds, 4.0)
    # 24 completions are 3 steps of 8: 12 s, and 18 s are kept free
    assert run.seconds_left(1) == pytest.approx(60 - 4.5 - 18)


def test_where_a_part_of_an_evaluation_was_found_the_whole_takes_longer(
    clock: StepClock, seconds: list[float]
) -> None:
    sampled(clock, seconds, 5.0, found=12)
    assert clock.evaluation == 10.0


def test_without_a_limit_no_time_is_out(clock: StepClock, seconds: list[float]) -> None:
    steps_of(clock, seconds, 1e9)
    assert not run_with(clock).out_of_time(1)


def test_the_time_that_writing_the_weights_takes_is_kept_free(
    clock: StepClock, seconds: list[float], tmp_path: Path
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    os.truncate(tmp_path / "model.safetensors", 300_000_000)  # no block of it is on the disk
    run = run_with(clock, max_minutes=1.0)
    sampled(clock, seconds, 10.0)
    free = run.seconds_left(1)
    assert replace(run, start_folder=tmp_path).out_of_time(1) is False
    clock.start_step()
    steps_of(clock, seconds, 10.0)
    assert run.seconds_left(1) == 25.0
    assert replace(run, start_folder=tmp_path).seconds_left(1) == 5.0, "1.2 GB are written"
    assert free == 0.0, "nothing is known of steps yet"
