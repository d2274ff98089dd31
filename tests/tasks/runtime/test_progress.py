"""What is told of a step, and the warning after many that taught nothing."""

from __future__ import annotations

import pytest

from tasks.runtime.progress import Progress, listening, report_step


def told(idle: int, reward: float = 0.0) -> list[Progress]:
    """What is told of a step after so many without signal."""
    heard: list[Progress] = []
    with listening(heard.append):
        report_step(30, 50, {"reward_mean": reward, "kl_nats": 0.1, "steps_without_signal": idle})
    return heard


@pytest.mark.parametrize("idle", [0, 1, 9, 11])
def test_a_step_is_one_report(idle: int) -> None:
    (step,) = told(idle)
    assert (step.work, step.done, step.total) == ("learning", 30, 50)


@pytest.mark.parametrize("idle", [10, 20])
def test_every_ten_idle_steps_there_is_one_line_with_the_remedy(idle: int) -> None:
    _, warning = told(idle)
    assert warning.work.startswith(f"warning: in the last {idle} steps all answers")
    for remedy in ("easier problems", "--samples", "--template"):
        assert remedy in warning.work
    assert "\n" not in warning.work


def test_problems_that_are_always_solved_are_too_easy() -> None:
    assert "harder problems" in told(10, reward=1.0)[1].work
