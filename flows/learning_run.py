"""A learning run while it goes on: what it was given, and how long its steps take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.tracking.run import TrackedRun
from schemas.config import LearningConfig
from schemas.references import PolicyRef, TableRef
from tasks.runtime.runtime import Runtime


@dataclass
class StepClock:
    """Seconds of the whole run, and of each step without the measurements between steps."""

    _started: float = field(default_factory=time.monotonic)
    _step_started: float = field(default_factory=time.monotonic)
    _steps: list[float] = field(default_factory=list)

    def start_step(self) -> None:
        """The next step is measured from here."""
        self._step_started = time.monotonic()

    def end_step(self) -> float:
        """Seconds of the step that has just ended; the next one starts here."""
        now = time.monotonic()
        self._steps.append(now - self._step_started)
        self._step_started = now
        return self._steps[-1]

    @property
    def wall_seconds(self) -> float:
        """Seconds since the run was opened in this process."""
        return time.monotonic() - self._started

    @property
    def seconds_per_step(self) -> float | None:
        """The mean of the steps of this process, None where it made none."""
        return sum(self._steps) / len(self._steps) if self._steps else None


@dataclass
class LearningRun:
    """What every part of a learning run needs.

    `start` is the policy that it learns from, which is its reference, and lies in `start_folder`;
    `problems` are those that it trains on, `dev_steps` the steps after which dev is measured.
    """

    runtime: Runtime
    config: LearningConfig
    tracked: TrackedRun
    start: PolicyRef
    start_folder: Path
    problems: TableRef
    dev_steps: frozenset[int]
    clock: StepClock
