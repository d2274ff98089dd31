"""Where the completions of a step come from: this process, or a server that gets each adapter.

By a server they may be sampled ahead. With `max_off_policy_steps` K the policy after step s samples
step s + 1 + K, while the learner makes the steps before it.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from artifacts.runs.lineage import policies_on_the_way
from flows.learning_run import LearningRun
from flows.sampler import with_tokenizer
from schemas.config import GenerationSettings
from schemas.identity import derive_seed
from schemas.references import PolicyRef, TableRef
from tasks.draw_problems import draw_problems
from tasks.generate import are_known, generate
from tasks.serve_adapter import forget_adapters, serve_adapter


@dataclass
class SamplingAhead:
    """The steps that a server samples while the learner is busy with earlier ones."""

    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="sampling")
    )
    _begun: dict[int, Future[TableRef]] = field(default_factory=dict)

    def begin(self, step: int, sample: Callable[[], TableRef]) -> None:
        """Have a step sampled, unless that has begun."""
        if step not in self._begun:
            context = contextvars.copy_context()  # a flow run's tasks belong to it in a thread too
            self._begun[step] = self._thread.submit(context.run, sample)

    def take(self, step: int) -> TableRef:
        """The completions of a step, once they are there."""
        return self._begun.pop(step).result()

    def close(self, cancel: Callable[[], None]) -> None:
        """End what has begun; `cancel` ends the requests that are under way."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        cancel()
        self._thread.shutdown(wait=True)


@dataclass(frozen=True)
class StepSamples:
    """A step's problems, how its completions are had, and the policy that a server samples with."""

    problems: TableRef
    make: Callable[[], TableRef]
    by: PolicyRef | None = None


@contextmanager
def by_server(run: LearningRun) -> Iterator[None]:
    """Within the block a server may sample steps; then it forgets this run's adapters."""
    if run.served is None:
        yield
        return
    run.ahead = ahead = SamplingAhead()
    try:
        yield
    finally:
        ahead.close(run.runtime.servers.cancel)
        forget_adapters(run.config, run.tracked.reference)


def step_settings(run: LearningRun, step: int) -> GenerationSettings:
    """How the completions of a step are made.

    A server draws by a problem's seed. It is another one at each step: samples that a problem is
    given again must not hang together with those that the policy has learned from.
    """
    settings = run.config.generation()
    if run.served is not None:
        seed = derive_seed("step", run.config.seed, step)
        settings = settings.model_copy(update={"seed": seed})
    if run.runtime.group is not None:  # its rows are the work of several processes
        by = run.runtime.numerics_of_steps(run.config.compute)
        settings = settings.model_copy(update={"computed_by": by})
    return with_tokenizer(settings, run.start_folder)


def samples_of(run: LearningRun, policy: PolicyRef, before: TableRef | None) -> StepSamples:
    """What the step after `policy` learns from; `before` is the table of the policy's own step.

    A server begins to sample this step, and those that it samples ahead.
    """
    step = policy.step + 1
    if run.served is None:
        batch = _drawn(run, step)
        return StepSamples(batch, lambda: _generate(run, step, batch, policy))
    age, ahead = run.config.sampler.max_off_policy_steps, run.ahead
    assert isinstance(ahead, SamplingAhead)
    store = run.runtime.store
    reached = [run.start] if before is None else policies_on_the_way(store, run.start, before)
    by = {
        later: _as_served(run, reached[max(0, later - 1 - age)])
        for later in range(step, min(step + age, run.until or run.config.steps) + 1)
    }
    problems = {later: _drawn(run, later) for later in by}
    for later, served in by.items():
        _serve(run, later, problems[later], served, policy)
        ahead.begin(later, partial(_generate, run, later, problems[later], served))

    def make() -> TableRef:
        ahead.begin(step, partial(_generate, run, step, problems[step], by[step]))
        made = ahead.take(step)
        forget_adapters(run.config, run.tracked.reference, list(by.values()))
        return made

    return StepSamples(problems[step], make, by[step])


def _serve(
    run: LearningRun, step: int, problems: TableRef, by: PolicyRef, learner_at: PolicyRef
) -> None:
    """Have the server load the policy that a step is sampled with, unless nobody will be asked."""
    runtime = run.runtime
    if runtime.servers.adapter_is_loaded(by):
        return
    if not are_known(runtime, problems, by, step_settings(run, step), run.made.get(step)):
        serve_adapter(by, learner_at, run.tracked.reference, run.config)


def _as_served(run: LearningRun, policy: PolicyRef) -> PolicyRef:
    assert run.served is not None
    named = {"name": run.served.name, "engine": run.served.engine}
    return policy.model_copy(update=named)


def _drawn(run: LearningRun, step: int) -> TableRef:
    config = run.config
    return draw_problems(run.problems, step=step, count=config.problems_per_step, seed=config.seed)


def _generate(run: LearningRun, step: int, problems: TableRef, policy: PolicyRef) -> TableRef:
    return generate(
        problems,
        policy,
        step_settings(run, step),
        label=f"step {step}",
        part=True,
        made=run.made.get(step),
    )
