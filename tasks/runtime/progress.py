"""Where long tasks say how far they are: one listener for the process, silent when there is none.

It carries numbers; drawing them is the command line's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: `done` of `total` units, and words to show beside it."""

    work: str
    done: int
    total: int
    unit: str
    notes: dict[str, str] = field(default_factory=dict)


IDLE_STEPS = 10
Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send every report to `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def report(progress: Progress) -> None:
    """Tell whoever listens."""
    for listener in _listeners:
        listener(progress)


def log_message(line: str) -> None:
    """Tell one line that has no measure."""
    report(Progress(line, 0, 0, ""))


def report_step(step: int, steps: int, row: Mapping[str, Any]) -> None:
    """Tell that a step of learning is done, with its reward and its drift.

    Every `IDLE_STEPS` steps whose rewards could teach nothing there is a warning with what to do.
    """
    notes = {"reward": f"{row['reward_mean']:.2f}", "KL": f"{row['kl_nats']:.2f}"}
    report(Progress("learning", step, steps, "steps", notes))
    idle = row["steps_without_signal"]
    if idle and idle % IDLE_STEPS == 0:
        problems = "harder" if row["reward_mean"] > 0.5 else "easier"
        log_message(
            f"warning: in the last {idle} steps all answers to a problem earned the same reward, "
            f"{row['reward_mean']:.2f} on average now, which teaches nothing; "
            f"try {problems} problems, more --samples or another --template"
        )
