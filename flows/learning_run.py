"""A learning run while it goes on: what it was given, and how long its steps take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median

from artifacts.store.shared.lease import Turn
from artifacts.tracking.run import TrackedRun
from policy.learning.guard import KL_WINDOW, KlReading, attribute_to_step, last_sound
from schemas.config import LearningConfig
from schemas.references import PolicyRef, TableRef
from tasks.runtime.progress import Event, Progress, ProgressHub
from tasks.runtime.runtime import Runtime
from tasks.runtime.time_left import RECENT
from tasks.train_step import kl_readings

MORE_THAN_EVALUATION = 1.5  # times: KL to the start and the report come on top
COPIES = 4  # of the weights that are written at the end: the checkpoint's three, and the version
BYTES_PER_SECOND = 60e6  # of weights that are written and have their digest taken


@dataclass
class StepClock:
    """Seconds of the whole run, of each step without the measurements between steps, and of those.

    `evaluation` is how long the first evaluation took, None where its completions were found.
    """

    _started: float = field(default_factory=lambda: time.monotonic())
    _step_started: float = field(default_factory=lambda: time.monotonic())
    _steps: list[float] = field(default_factory=list)
    _dev: list[float] = field(default_factory=list)
    evaluation: float | None = None

    def start_step(self) -> None:
        """The next step is measured from here."""
        self._step_started = time.monotonic()

    def end_step(self) -> float:
        """Seconds of the step that has just ended; the next one starts here."""
        now = time.monotonic()
        self._steps.append(now - self._step_started)
        self._step_started = now
        return self._steps[-1]

    def end_dev(self) -> None:
        """Dev was measured since the last step; the next one starts here."""
        now = time.monotonic()
        self._dev.append(now - self._step_started)
        self._step_started = now

    @contextmanager
    def evaluating(self, hub: ProgressHub) -> Iterator[None]:
        """Measure an evaluation, if completions are sampled in it; those that are found take none.

        Where a part of them is found, the time of the others is taken for as many as all.
        """
        sampled: list[Progress] = []

        def hear(event: Event) -> None:
            if isinstance(event, Progress) and event.unit == "completions":
                sampled.append(event)

        began = time.monotonic()
        with hub.listening(hear):
            yield
        if sampled:
            total = sampled[0].total
            share = (total - sampled[0].done) / total
            self.evaluation = (time.monotonic() - began) / max(share, 1 / total)

    @property
    def wall_seconds(self) -> float:
        """Seconds since the run was opened in this process."""
        return time.monotonic() - self._started

    @property
    def seconds_per_step(self) -> float | None:
        """The mean of the steps of this process, None where it made none."""
        return sum(self._steps) / len(self._steps) if self._steps else None

    def seconds_for(self, steps: int, dev: int) -> float:
        """How long so many more steps and measurements on dev will take: the median of the last
        ones; 0 where there was none.
        """
        return sum(
            count * median(seconds[-RECENT:])
            for count, seconds in ((steps, self._steps), (dev, self._dev))
            if seconds
        )


@dataclass
class LearningRun:
    """What every part of a learning run needs.

    `start` is the policy that it learns from, which is its reference, and lies in `start_folder`;
    `problems` are those that it trains on, `dev_steps` the steps after which dev is measured, and
    `measured_problems` how many are measured before and after. `made` are the tables of steps that
    were made already, by step, also of those that are made again.
    """

    runtime: Runtime
    config: LearningConfig
    tracked: TrackedRun
    start: PolicyRef
    start_folder: Path
    problems: TableRef
    dev_steps: frozenset[int]
    clock: StepClock
    measured_problems: int = 0
    made: dict[int, TableRef] = field(default_factory=dict)
    turn: Turn = field(default_factory=Turn)  # of those who may go on with this run
    served: PolicyRef | None = None  # the start as a server has it that samples the steps
    ahead: object = None  # what that server samples (see `flows.step_sampling`)
    until: int = 0  # the last step that is made, by default the configuration's

    def kl_readings(self, newest: TableRef | None) -> Sequence[KlReading]:
        """The KL to the start that each step up to the newest measured."""
        return kl_readings(self.runtime.archive.steps.rows(newest))

    def make(self, step: int, table: TableRef) -> bool:
        """Note that a step was made; returns whether it is another than was known of it."""
        known = self.made.get(step)
        self.made[step] = table
        return known is None or known.digest != table.digest

    def attributed(self, policy: PolicyRef, step: TableRef | None) -> AbstractContextManager[None]:
        """Around what samples from a policy: logits that broke are the fault of its last step."""
        limit, newest = self.config.max_kl_nats, max(policy.step - 1, 0)
        return attribute_to_step(
            policy.step, last_sound(self.kl_readings(step), limit, newest) if newest else 0
        )

    def seconds_left(self, step: int) -> float:
        """How long the steps after this one will take, with the measurements on dev among them.

        With `max_minutes` no longer than that allows.
        """
        seconds = self.clock.seconds_for(
            self.config.steps - step, sum(one >= step for one in self.dev_steps)
        )
        limit = self.config.max_minutes
        return seconds if limit is None else max(0.0, min(seconds, self._seconds_free(limit)))

    def out_of_time(self, step: int) -> bool:
        """Whether another step, measured on dev if that is due, no longer fits `max_minutes`.

        The time of what comes after the last step is kept free.
        """
        limit = self.config.max_minutes
        if limit is None:
            return False
        return self._seconds_free(limit) < self.clock.seconds_for(1, step + 1 in self.dev_steps)

    def _seconds_free(self, max_minutes: float) -> float:
        """How much of the time limit is there for steps.

        The evaluation after learning is taken to be as long as that before. Where the latter was
        found, it is taken to be as long as steps for as many completions, which learn too.
        """
        config, evaluation = self.config, self.clock.evaluation
        if evaluation is None:
            in_a_step = min(config.problems_per_step, self.problems.rows) * config.samples
            completions = self.measured_problems * config.evaluation_samples
            evaluation = self.clock.seconds_for(1, 0) * completions / in_a_step
        after = MORE_THAN_EVALUATION * evaluation + COPIES * self._weights / BYTES_PER_SECOND
        return 60 * max_minutes - self.clock.wall_seconds - after

    @cached_property
    def _weights(self) -> int:
        """Bytes of the weights that it starts from."""
        return sum(file.stat().st_size for file in self.start_folder.glob("*.safetensors"))

    @property
    def checkpoints(self) -> int:
        """How many checkpoints stay while the run goes on.

        Where KL is limited, one of the last `KL_WINDOW` readings was within the limit. A checkpoint
        of that policy or an older one must still be there, or every step would be made again.
        """
        needed = 1 + -(-KL_WINDOW // self.config.checkpoint_every)
        return max(self.config.keep_checkpoints, needed if self.config.max_kl_nats else 0)
