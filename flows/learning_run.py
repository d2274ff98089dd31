"""A learning run while it goes on: what it was given, and how long its steps take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.tracking.run import TrackedRun
from policy.learning.guard import KL_WINDOW, KlReading, attribute_to_step, last_sound
from schemas.config import LearningConfig
from schemas.references import PolicyRef, TableRef
from tasks.runtime.runtime import Runtime
from tasks.train_step import kl_readings


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

    def kl_readings(self, training: TableRef | None) -> Sequence[KlReading]:
        """The KL to the start that each step so far measured."""
        return kl_readings(self.runtime.store.read(training)) if training else ()

    def attributed(
        self, policy: PolicyRef, training: TableRef | None
    ) -> AbstractContextManager[None]:
        """Around what samples from a policy: logits that broke are the fault of its last step."""
        limit, newest = self.config.max_kl_nats, max(policy.step - 1, 0)
        return attribute_to_step(
            policy.step, last_sound(self.kl_readings(training), limit, newest) if newest else 0
        )

    @property
    def checkpoints(self) -> int:
        """How many checkpoints stay while the run goes on.

        Where KL is limited, one of the last `KL_WINDOW` readings was within the limit. A checkpoint
        of that policy or an older one must still be there, or every step would be made again.
        """
        needed = 1 + -(-KL_WINDOW // self.config.checkpoint_every)
        return max(self.config.keep_checkpoints, needed if self.config.max_kl_nats else 0)
