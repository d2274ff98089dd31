"""What is told of a step, and the warning after many that could teach nothing."""

from __future__ import annotations

import pytest

from artifacts.recording.record import RecordedStep
from flows.learning_steps import report_step
from schemas.training import TrainingRow
from tasks.runtime.progress import Event, Message, Progress, ProgressHub


def told(without_signal: int, reward: float = 0.0) -> list[Event]:
    """What is told of a step after so many without signal."""
    hub, heard = ProgressHub(), list[Event]()
    row = TrainingRow.model_construct(step=30, reward_mean=reward, kl_nats=0.1)
    with hub.listening(heard.append):
        report_step(hub, 50, RecordedStep(row, without_signal))
    return heard


@pytest.mark.parametrize("steps", [0, 1, 9, 11])
def test_a_step_is_one_report(steps: int) -> None:
    notes = {"reward": "0.00", "KL": "0.10"}
    assert told(steps) == [Progress("learning", 30, 50, "steps", notes=notes)]


@pytest.mark.parametrize("steps", [10, 20])
def test_every_ten_steps_without_signal_there_is_one_line_with_the_remedy(steps: int) -> None:
    _, warning = told(steps)
    assert isinstance(warning, Message)
    assert warning.text.startswith(f"warning: in the last {steps} steps all completions")
    for remedy in ("easier problems", "--samples", "--template"):
        assert remedy in warning.text
    assert "\n" not in warning.text


def test_problems_that_are_always_solved_are_too_easy() -> None:
    warning = told(10, reward=1.0)[1]
    assert isinstance(warning, Message)
    assert "harder problems" in warning.text
